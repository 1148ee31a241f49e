"""A file is hashed while it is written; what was read so is believed only when it is what somebody expects, and any other
copy is read again from its beginning when hsi is done with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import zlib
from pathlib import Path

import pytest
from fakes import FakeHpss
from house import House

from tacc_sync.outside.hpss.interface import Fetched, Session
from tacc_sync.pipeline import hashing
from tacc_sync.pipeline.hashing import Arriving, AtOnce, Hashing
from tacc_sync.pipeline.retriever import MISLED
from tacc_sync.rules import retrieval
from tacc_sync.rules.documents import File
from tacc_sync.workspace.posix_disk import PosixDisk

KB = 1024
ALGORITHMS = ("sha512", "md5", "adler32")
CONTENT = random.Random(1).randbytes(900 * KB)


def sha512(content):
    return hashlib.sha512(content).hexdigest()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(hashing, "BEHIND", 64 * KB)
    monkeypatch.setattr(retrieval, "FOLLOWED_FROM", 256 * KB)


@pytest.fixture
def reads(monkeypatch):
    """(offset, bytes) of each read."""
    seen, real = [], os.preadv

    def preadv(file, buffers, offset):
        count = real(file, buffers, offset)
        seen.append((offset, count))
        return count

    monkeypatch.setattr(os, "preadv", preadv)
    return seen


class Writer:
    """What hsi does to one file."""

    def __init__(self, path):
        self.path = path

    def write(self, at, content, *, mode="r+b"):
        with open(self.path, mode if self.path.exists() else "w+b") as file:
            file.seek(at)
            file.write(content)

    def resize(self, size):
        os.truncate(self.path, size)

    def replace(self, content):
        beside = self.path.with_name("beside")
        beside.write_bytes(content)
        beside.rename(self.path)


class OneFile:
    """Hashing of one file `f`, in one thread."""

    def __init__(self, root, content=CONTENT, may_go_on=lambda: True):
        self.disk, self.content = PosixDisk(str(root)), content
        self.writer = Writer(root / "f")
        self.file = Arriving(0, "f", ALGORITHMS, lambda hashes: hashes["sha512"] == sha512(content))
        self.hashing = Hashing(self.disk, AtOnce(), may_go_on, [self.file])

    @property
    def at(self):
        return self.file.begun.at if self.file.begun else 0

    def over(self):
        self.hashing.begin(0, "f", len(self.content), ALGORITHMS)

    def hashes(self):
        return self.hashing.hashes(0, "f", ALGORITHMS)

    @property
    def judged(self):
        return self.hashing.well_followed, self.hashing.badly_followed


@pytest.fixture
def session(tmp_path):
    return OneFile(tmp_path)


def test_what_has_arrived_is_read_once_and_only_the_rest_when_hsi_is_done(session, reads):
    for end in range(100 * KB, len(CONTENT) + 1, 100 * KB):
        session.writer.write(end - 100 * KB, CONTENT[end - 100 * KB : end])
        session.hashing.look()
        assert session.at == end - 64 * KB
    read_early = sum(count for _, count in reads)
    session.over()
    assert session.hashes() == {
        "sha512": sha512(CONTENT),
        "md5": hashlib.md5(CONTENT).hexdigest(),
        "adler32": f"{zlib.adler32(CONTENT):08x}",
    }
    assert read_early == len(CONTENT) - 64 * KB
    assert sum(count for _, count in reads) == len(CONTENT)
    assert session.judged == (1, 0)


def test_a_file_that_is_not_there_yet_is_looked_for_again(session):
    session.hashing.look()
    assert session.at == 0
    session.writer.write(0, CONTENT[: 300 * KB])
    session.hashing.look()
    assert session.at == 236 * KB


def test_no_more_than_so_much_at_a_time(session, monkeypatch):
    monkeypatch.setattr(hashing, "MOST", 100 * KB)
    session.writer.write(0, CONTENT)
    for looks in (1, 2, 3):
        session.hashing.look()
        assert session.at == looks * 100 * KB


def test_a_hole_is_not_read_and_what_fills_it_is(session, reads):
    session.writer.write(0, CONTENT[: 128 * KB])
    session.writer.write(512 * KB, CONTENT[512 * KB :])
    session.hashing.look()
    session.hashing.look()
    assert session.at == 64 * KB
    assert max(offset + count for offset, count in reads) <= 128 * KB, "a hole was read"
    session.writer.write(128 * KB, CONTENT[128 * KB : 512 * KB])
    session.hashing.look()
    assert session.at == len(CONTENT) - 64 * KB
    session.over()
    assert session.hashes()["sha512"] == sha512(CONTENT)
    assert session.judged == (1, 0)


def test_a_hole_in_front_is_waited_for(session):
    session.writer.write(256 * KB, CONTENT[256 * KB :])
    session.hashing.look()
    assert session.at <= 0
    session.writer.write(0, CONTENT[: 256 * KB])
    session.over()
    assert session.hashes()["sha512"] == sha512(CONTENT)
    assert session.judged == (0, 0), "nothing had been read, so nothing is judged"


def test_zeros_that_are_filled_later_are_read_again(session, reads):
    # Blocks that a writer has laid out, on a file system that does not call them a hole.
    session.writer.write(0, bytes(len(CONTENT)))
    session.hashing.look()
    assert session.at > 0
    session.writer.write(0, CONTENT)
    session.over()
    assert session.hashes()["sha512"] == sha512(CONTENT)
    assert session.judged == (0, 1)
    assert sum(count for offset, count in reads if offset == 0) >= 2, "not read from its beginning"


@pytest.mark.parametrize("again", ["the same", "other"])
def test_a_beginning_that_is_written_again(session, again):
    first = CONTENT[: 400 * KB] if again == "the same" else b"X" * 400 * KB
    session.writer.write(0, first)
    session.hashing.look()
    session.writer.write(0, CONTENT)
    session.over()
    assert session.hashes()["sha512"] == sha512(CONTENT)
    assert session.judged == ((1, 0) if again == "the same" else (0, 1))


def test_a_file_that_was_cut_and_grows_again_is_read_from_its_beginning(session, reads):
    session.writer.write(0, b"X" * 400 * KB)
    session.hashing.look()
    session.writer.resize(0)
    session.writer.write(0, CONTENT[: 100 * KB])
    session.hashing.look()
    assert session.at == 0
    session.hashing.look()
    assert session.at == 36 * KB
    session.writer.write(100 * KB, CONTENT[100 * KB :])
    session.over()
    assert session.hashes()["sha512"] == sha512(CONTENT)
    assert session.judged == (1, 0)


def test_another_file_in_its_place_is_read_from_its_beginning(session):
    session.writer.write(0, b"X" * 400 * KB)
    session.hashing.look()
    session.writer.replace(CONTENT)
    session.over()
    assert session.hashes()["sha512"] == sha512(CONTENT)


def test_another_file_that_comes_after_hsi_was_done_is_read_again(session):
    session.writer.write(0, CONTENT)
    session.hashing.look()
    session.over()
    session.writer.replace(b"X" * len(CONTENT))
    assert session.hashes()["sha512"] == sha512(b"X" * len(CONTENT))


def test_what_is_written_after_hsi_was_done_is_read_again(session):
    session.writer.write(0, CONTENT)
    session.hashing.look()
    session.over()
    session.writer.write(0, b"X")
    assert session.hashes()["sha512"] == sha512(b"X" + CONTENT[1:])


def test_wrong_content_is_read_twice_and_is_not_blamed_on_early_reading(session, reads):
    session.writer.write(0, b"X" * len(CONTENT))
    session.hashing.look()
    session.over()
    assert session.hashes()["sha512"] == sha512(b"X" * len(CONTENT))
    assert session.judged == (0, 0)
    assert sum(offset == 0 for offset, _ in reads) == 2


def test_a_file_that_stays_short_is_left_alone(session):
    session.writer.write(0, CONTENT[: 500 * KB])
    session.hashing.look()
    session.over()
    assert session.hashes()["sha512"] == sha512(CONTENT[: 500 * KB])


def test_after_one_that_was_read_in_vain_no_other_one_is_followed(tmp_path):
    disk = PosixDisk(str(tmp_path))
    files = [
        Arriving(n, name, ["sha512"], lambda hashes: hashes["sha512"] == sha512(CONTENT)) for n, name in enumerate("ab")
    ]
    session = Hashing(disk, AtOnce(), lambda: True, files)
    Writer(tmp_path / "a").write(0, b"X" * len(CONTENT))
    session.look()
    Writer(tmp_path / "a").write(0, CONTENT)
    session.begin(0, "a", len(CONTENT), ["sha512"])
    Writer(tmp_path / "b").write(0, CONTENT)
    session.look()
    assert files[1].begun is None


def test_files_are_followed_in_their_order_whether_or_not_all_are_told_of(tmp_path):
    disk = PosixDisk(str(tmp_path))
    files = [Arriving(n, name, ["sha512"], lambda _hashes: True) for n, name in enumerate("abc")]
    session = Hashing(disk, AtOnce(), lambda: True, files)
    for name in "ac":
        Writer(tmp_path / name).write(0, CONTENT)
    session.look()
    assert [file.begun is not None for file in files] == [True, False, False]
    for index, name in enumerate("ab"):
        session.begin(index, name, len(CONTENT), ["sha512"])
    session.look()
    assert [file.begun is not None for file in files] == [True, False, True]


def test_a_worker_that_may_not_go_on_reads_no_further(tmp_path, reads):
    may = [True]
    session = OneFile(tmp_path, may_go_on=lambda: may[0])
    session.writer.write(0, CONTENT)
    may[0] = False
    session.hashing.look()
    assert len(reads) <= 1
    with pytest.raises(InterruptedError):
        session.hashes()


def test_nobody_waits_for_the_tape_with_a_thread_of_its_own(tmp_path):
    """Ten sessions whose files grow slowly leave the only core to others between two looks."""
    with hashing.threads(1) as executor:
        disk = PosixDisk(str(tmp_path))
        sessions = []
        for number in range(10):
            Writer(tmp_path / f"f{number}").write(0, CONTENT[: 300 * KB])
            file = Arriving(0, f"f{number}", ["sha512"], lambda hashes: hashes["sha512"] == sha512(CONTENT))
            sessions.append((Hashing(disk, executor, lambda: True, [file]), file, Writer(tmp_path / f"f{number}")))
        for session, _, _ in sessions:
            session.look()
        assert executor.submit(lambda: "free").result(30) == "free"
        for number, (session, _, writer) in enumerate(sessions):
            writer.write(300 * KB, CONTENT[300 * KB :])
            session.begin(0, f"f{number}", len(CONTENT), ["sha512"])
            assert session.hashes(0, f"f{number}", ["sha512"])["sha512"] == sha512(CONTENT)
            assert (session.well_followed, session.badly_followed) == (1, 0)


# --- whose file is followed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "archive_hash", "vouched", "is_followed"),
    [
        (256 * KB, "sha512:ab", {}, True),
        (256 * KB, "md5:ab", {}, True),
        (256 * KB, "", {"list": "sha512:ab"}, True),
        (256 * KB, "adler32:ab", {"catalog": "sha512:ab"}, True),
        (256 * KB - 1, "sha512:ab", {}, False),
        (256 * KB, "", {}, False),
        (256 * KB, "adler32:ab", {}, False),
        (256 * KB, "crc32:ab", {"list": "adler32:ab"}, False),
    ],
)
def test_whose_file_is_followed(size, archive_hash, vouched, is_followed):
    file = File(path="/a", destination="/b", size=size, archive_hash=archive_hash, vouched=vouched)
    assert retrieval.is_followed(file) == is_followed


def test_all_who_vouch_must_agree():
    file = File(path="/a", destination="/b", size=1, archive_hash="md5:1", vouched={"list": "sha512:2"})
    assert retrieval.is_expected(file, {"md5": "1", "sha512": "2"})
    assert not retrieval.is_expected(file, {"md5": "1", "sha512": "3"})
    assert not retrieval.is_expected(file, {"md5": "3", "sha512": "2"})
    assert not retrieval.is_expected(File(path="/a", destination="/b", size=1), {"md5": "1", "sha512": "2"})


# --- with the retriever ----------------------------------------------------------------------------------------------


class Slow(FakeHpss):
    """An archive whose session asks whether it may go on after each step of writing; `steps(path, content)` yields."""

    stops_after = 10**9

    @staticmethod
    def steps(path, content):
        for at in range(0, len(content), 100 * KB):
            Writer(path).write(at, content[at : at + 100 * KB])
            yield

    def get(self, fetches, *, session_name, may_go_on=lambda: True, on_fetched=lambda _i: None, on_last=lambda: None):
        self.sessions.append([fetch.hpss_path for fetch in fetches])
        fetched, asked = [], 0
        for number, fetch in enumerate(fetches):
            for _ in self.steps(Path(fetch.local_path), self.files[fetch.hpss_path].content):
                asked += 1
                if not may_go_on() or asked >= self.stops_after:
                    silent = [Fetched(None, "") for _ in fetches[number:]]
                    return Session(fetched + silent, -9, ("HPSS-AWAY", "killed"), [])
            fetched.append(Fetched(len(self.files[fetch.hpss_path].content), ""))
            on_fetched(number)
        return Session(fetched, 0, None, [])


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path, hpss=Slow())
    for number, name in enumerate(("a", "b")):
        house.archive(name, name.encode() + CONTENT, section=number)
    house.drop()
    house.run("syncer")
    return house


def outcomes(house):
    (work,) = [*house.documents("globus_queue").values(), *house.documents("reaper_queue").values()]
    return {file["path"][-1]: file for file in work["files"]}


def reads_from_the_beginning(reads):
    return sum(offset == 0 for offset, _ in reads)


def test_the_retriever_hashes_what_arrives(house, reads):
    house.run("retriever")
    assert reads_from_the_beginning(reads) == 2
    assert sum(count for _, count in reads) == 2 * (len(CONTENT) + 1)
    for name, file in outcomes(house).items():
        assert (file["outcome"], file["proof"]) == ("retrieved", "hash")
        assert file["hashes"]["sha512"] == sha512(name.encode() + CONTENT)
    house.run()
    assert house.delivered() == {name: name.encode() + CONTENT for name in "ab"}


def test_the_retriever_reads_again_what_was_written_otherwise(house, reads):
    def steps(path, content):
        Writer(path).write(0, b"X" * len(content))
        yield
        Writer(path).write(0, content)
        yield

    house.hpss.steps = steps
    house.run("retriever")
    # Of the second one nothing was read early any more.
    assert reads_from_the_beginning(reads) == 3
    assert {file["outcome"] for file in outcomes(house).values()} == {"retrieved"}
    assert [event for event, _ in house.events].count("copy_read_too_early") == 1


def test_where_it_is_always_in_vain_it_is_left(tmp_path, reads):
    house = House(tmp_path, hpss=Slow())
    house.settings.units.files = 1
    for number in range(MISLED + 2):
        house.archive(f"f{number}", CONTENT, section=number)
    house.drop()
    house.run("syncer")

    def steps(path, content):
        Writer(path).write(0, b"X" * len(content))
        yield
        Writer(path).write(0, content)

    house.hpss.steps = steps
    retriever = house.component("retriever")
    for number in range(MISLED + 2):
        reads.clear()
        retriever.step()
        assert reads_from_the_beginning(reads) == (2 if number < MISLED else 1)


def test_a_full_size_file_with_a_hole_is_refused_all_the_same(house):
    def steps(path, content):
        Writer(path).write(0, content[: 300 * KB])
        yield
        Writer(path).resize(len(content))
        yield

    house.hpss.steps = steps
    house.component("retriever").step()
    assert {file["why"]["code"] for file in outcomes(house).values()} == {"FILE-HAS-HOLES"}


def test_wrong_content_is_told_by_its_hash_all_the_same(house):
    def steps(path, content):
        Writer(path).write(0, content[: 500 * KB])
        yield
        Writer(path).write(500 * KB, b"X" * (len(content) - 500 * KB))
        yield

    house.hpss.steps = steps
    house.component("retriever").step()
    files = outcomes(house)
    assert {file["why"]["code"] for file in files.values()} == {"CHECKSUM-DIFFERS"}
    wrong = b"a" + CONTENT[: 500 * KB - 1] + b"X" * (len(CONTENT) + 1 - 500 * KB)
    assert hashlib.md5(wrong).hexdigest() in files["a"]["why"]["text"]


def test_what_a_killed_session_has_written_counts_as_nothing(house):
    house.hpss.stops_after = 15
    with contextlib.suppress(Exception):
        house.component("retriever").step()
    assert {name: file.get("outcome", "waiting") for name, file in outcomes(house).items()} == {
        "a": "retrieved",
        "b": "waiting",
    }


def test_a_file_without_a_hash_is_read_when_hsi_is_done(tmp_path, reads):
    house = House(tmp_path, hpss=Slow())
    house.archive("a", CONTENT, hash=None)
    house.drop()
    house.run("syncer")

    def steps(path, content):
        Writer(path).write(0, content)
        yield

    house.hpss.steps = steps
    house.component("retriever").step()
    assert reads_from_the_beginning(reads) == 1
    (file,) = outcomes(house).values()
    assert (file["outcome"], file["proof"]) == ("retrieved", "line")


def test_small_files_cost_nothing_while_they_arrive(tmp_path, monkeypatch):
    house = House(tmp_path, hpss=Slow())
    for number in range(20):
        house.archive(f"f{number}", b"x" * 1000, section=number)
    house.drop()
    house.run("syncer")
    monkeypatch.setattr(PosixDisk, "follow", lambda *_args, **_about: pytest.fail("a small file was followed"))
    house.run("retriever")
    assert {file["outcome"] for file in outcomes(house).values() if file} == {"retrieved"}


def test_what_changes_behind_the_reader_is_found_by_the_record_of_its_delivery_and_recalled(house):
    spoilt = []

    def steps(path, content):
        Writer(path).write(0, content)
        yield
        if not spoilt:
            # After it was read, and before hsi is done with it: nobody here can tell.
            Writer(path).write(100 * KB, b"X" * KB)
            spoilt.append(path)
        yield

    house.hpss.steps = steps
    house.run()
    assert house.delivered() == {name: name.encode() + CONTENT for name in "ab"}
    assert sum("/a" in "".join(paths) for paths in house.hpss.sessions) == 2

"""Copies are hashed while the tape goes on, and nothing that was hashed is taken for what it is no more."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest
from fakes import FakeHpss
from house import House

from tacc_sync.pipeline import hashing
from tacc_sync.pipeline.hashing import AtOnce, Hashing
from tacc_sync.pipeline.retriever import Retriever
from tacc_sync.workspace.posix_disk import PosixDisk
from tacc_sync.workspace.posix_hash import digest_open

NAMES = ("a", "b", "c")


class Meddler(FakeHpss):
    """An archive whose session calls `meddle(local path)` after each file that was announced as over."""

    meddle = staticmethod(lambda _path: None)

    def get(self, fetches, *, on_fetched=lambda _i: None, **about):
        def over(index):
            on_fetched(index)
            self.meddle(fetches[index].local_path)

        return super().get(fetches, on_fetched=over, **about)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path, hpss=Meddler())
    for number, name in enumerate(NAMES):
        house.archive(name, name.encode() * 1000, section=number)
    house.drop()
    house.run("syncer")
    return house


def outcomes(house):
    (work,) = [*house.documents("globus_queue").values(), *house.documents("reaper_queue").values()]
    return {file["path"][-1]: file for file in work["files"]}


def watch_digests(house, monkeypatch):
    """The paths that are hashed, each with what was going on at HPSS meanwhile."""
    seen, real = [], PosixDisk.digest

    def digest(self, path, *rest):
        seen.append((path.rpartition("/")[2], bool(house.hpss.in_use)))
        return real(self, path, *rest)

    monkeypatch.setattr(PosixDisk, "digest", digest)
    return seen


def test_each_copy_is_hashed_once_while_the_tape_goes_on(house, monkeypatch):
    seen = watch_digests(house, monkeypatch)
    placed = []
    house.hpss.meddle = lambda _path: placed.extend(f for f in house.buffer_files() if not f.startswith("."))
    house.run("retriever")
    assert [during for _, during in seen] == [True] * 3
    assert len({name for name, _ in seen}) == 3
    assert placed == [], "something counted as retrieved while hsi was at work"
    assert {file["outcome"] for file in outcomes(house).values()} == {"retrieved"}


def test_what_hsi_had_no_word_about_is_hashed_at_the_end(house, monkeypatch):
    seen = watch_digests(house, monkeypatch)
    real = FakeHpss.get

    def get(self, fetches, *, session_name, may_go_on, **_about):
        return real(self, fetches, session_name=session_name, may_go_on=may_go_on)

    monkeypatch.setattr(FakeHpss, "get", get)
    house.run("retriever")
    assert [during for _, during in seen] == [False] * 3
    assert {file["outcome"] for file in outcomes(house).values()} == {"retrieved"}


@pytest.mark.parametrize("archive_hash", ["md5", None])
def test_a_copy_that_changes_behind_its_hash_is_hashed_again(tmp_path, monkeypatch, archive_hash):
    house = House(tmp_path, hpss=Meddler())
    house.archive("a", b"a" * 1000, hash=archive_hash)
    house.drop()
    house.run("syncer")

    def flip(path):
        times = os.stat(path)
        with open(path, "r+b") as file:
            file.write(b"X")
        # As sly as it can be done: same size, same time of modification.
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    house.hpss.meddle = flip
    seen = watch_digests(house, monkeypatch)
    house.component("retriever").step()
    (file,) = outcomes(house).values()
    assert [during for _, during in seen] == [True, False]
    if archive_hash:
        assert (file.get("outcome", "waiting"), file["why"]["code"]) == (
            "waiting",
            "CHECKSUM-DIFFERS",
        )
        assert hashlib.md5(b"a" * 1000).hexdigest() in file["why"]["text"]
        assert hashlib.md5(b"X" + b"a" * 999).hexdigest() in file["why"]["text"]
    else:
        # Nobody could know; but what is said of it is true, so what Globus says is held against the right hash.
        assert file["hashes"]["sha512"] == hashlib.sha512(b"X" + b"a" * 999).hexdigest()


def test_a_cartridge_is_free_while_copies_are_still_being_hashed(house, monkeypatch):
    real, go_on, free_when_hashed = PosixDisk.digest, threading.Event(), []

    def digest(self, path, *rest):
        assert go_on.wait(60), "the cartridge was not released"
        free_when_hashed.append(not list((house.root / "ws/cartridges").iterdir()))
        return real(self, path, *rest)

    monkeypatch.setattr(PosixDisk, "digest", digest)
    bench = house.bench("retriever")

    def wake(_component):
        # Rung when the last file is begun, and as soon as the cartridge is free.
        if not list((house.root / "ws/cartridges").iterdir()):
            go_on.set()

    bench = type(bench)(bench.home, bench.settings, bench.report, wake)
    with hashing.threads(2) as executor:
        Retriever(bench, house.hpss, executor=executor).step()
    assert free_when_hashed == [True] * 3
    assert {file["outcome"] for file in outcomes(house).values()} == {"retrieved"}


def test_a_mismatch_is_recalled_again_and_then_quarantined_with_both_values(house):
    path = next(path for path in house.hpss.files if path.endswith("/b"))
    house.hpss.damage[path] = b"X" * 1000
    house.settings.patience.attempts, house.settings.patience.at_least = 2, 0.0
    house.run()
    assert sum(path in session for session in house.hpss.sessions) == 2
    (work,) = house.documents("quarantine/retriever").values()
    assert hashlib.md5(b"b" * 1000).hexdigest() in str(work)
    assert hashlib.md5(b"X" * 1000).hexdigest() in str(work)
    assert "b" not in house.delivered()


def test_a_read_that_failed_early_is_done_again(tmp_path):
    disk = PosixDisk(str(tmp_path))
    disk.create("a", b"abc")
    failing = Hashing(disk, AtOnce(), lambda: True)
    failing.begin(0, "gone", 3, ["sha512"])
    assert failing.hashes(0, "a", ["sha512"]) == {"sha512": hashlib.sha512(b"abc").hexdigest()}


def test_reading_stops_when_the_worker_may_not_go_on(tmp_path):
    disk = PosixDisk(str(tmp_path))
    disk.create("a", b"abc")
    may = [True]
    stopped = Hashing(disk, AtOnce(), lambda: may[0])
    may[0] = False
    stopped.begin(0, "a", 3, ["sha512"])
    with pytest.raises(InterruptedError):
        stopped.hashes(0, "a", ["sha512"])
    over = Hashing(disk, AtOnce(), lambda: True)
    over.end()
    with pytest.raises(InterruptedError):
        over.hashes(0, "a", ["sha512"])


@pytest.mark.parametrize("keep", [0, 1 << 40])
@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 40 << 20])
def test_one_read_serves_all_algorithms_whatever_becomes_of_the_page_cache(tmp_path, size, keep):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "f").write_bytes(content)
    file = os.open(tmp_path / "f", os.O_RDONLY)
    try:
        found = digest_open(file, ["sha512", "md5", "adler32"], keep=keep)
    finally:
        os.close(file)
    assert found["sha512"] == hashlib.sha512(content).hexdigest()
    assert found["md5"] == hashlib.md5(content).hexdigest()

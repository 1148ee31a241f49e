"""`stage` of the testbed: asked for at once, read as the drive chooses, and what that gains."""

from __future__ import annotations

import random
import time

import pytest

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.hsi_gets import Staging
from tacc_sync.outside.hpss.interface import Fetch
from tacc_sync.testbed import hpss_log, hpss_site, tape_queue
from tacc_sync.testbed.hpss_settings import Settings, SitePaths
from tacc_sync.testbed.tape_catalogue import Catalogue, Entry
from tacc_sync.testbed.tape_clock import TapeClock
from tacc_sync.testbed.tape_queue import TapeQueue

SIZE = 1000
ONE_TAPE = {"two_cartridge_share": 0.0, "disk_share": 0.0, "hash_shares": (1, 0, 0)}


@pytest.fixture
def site(tmp_path):
    def make(files=6, **settings):
        root = tmp_path / "site"
        hpss_site.make_synthetic_site(root, files=files, tapes=1, size=SIZE, settings=settings, **ONE_TAPE)
        hpss_site.install(root)
        return root

    return make


def files_of(root):
    """All files, in tape order."""
    catalogue = Catalogue(SitePaths(str(root)).catalogue)
    found = sorted(catalogue.files(), key=lambda entry: entry.start)
    catalogue.close()
    return [entry.path.decode() for entry in found]


def recall(root, tmp_path, staging, **settings):
    archive = Hsi(
        clock=SystemClock(), scratch=tmp_path / "scratch", command=[str(root / "bin/hsi")], tick_seconds=0.02,
        staging=staging, **settings,
    )  # fmt: skip
    here = tmp_path / f"buffer-{time.monotonic_ns()}"
    here.mkdir()
    asked = [Fetch(path, f"{here}/{number}") for number, path in enumerate(files_of(root))]
    began = time.monotonic()
    session = archive.get(asked, session_name="s")
    return session, time.monotonic() - began


@pytest.mark.parametrize("options", [(), ("-A",), ("-w",), ("-A", "-w")])
@pytest.mark.parametrize("popen", [("-q",), ("-P",)])
def test_a_session_that_stages_brings_the_same(site, tmp_path, options, popen):
    root = site()
    session, _ = recall(root, tmp_path, Staging(options, 2), get_options=popen)
    assert (session.exit_status, session.trouble, session.unexplained) == (0, None, [])
    confirmed = SIZE if popen == ("-q",) else None
    assert {each.reported_bytes for each in session.fetched} == {confirmed}
    assert {each.error for each in session.fetched} == {""}
    log = hpss_log.read_log(root)
    assert [event["path"] for event in log.of("stage")] == files_of(root)
    assert sorted(event["path"] for event in log.of("staged")) == sorted(files_of(root))
    assert len(log.mounts) == 1


@pytest.mark.parametrize("what", ["error", "vanish"])
def test_a_stage_that_fails_costs_nothing_but_a_line(site, tmp_path, what):
    root = site()
    spoilt = files_of(root)[2]
    hpss_site.set_faults(root, [{"match": {"command": "stage", "path": spoilt}, "what": what}])
    session, _ = recall(root, tmp_path, Staging((), 100))
    assert (session.exit_status, session.trouble) == (64, None)
    assert {each.reported_bytes for each in session.fetched} == {SIZE}
    assert {each.error for each in session.fetched} == {""}


def test_a_file_that_stages_well_and_cannot_be_fetched_is_the_files_fault(site, tmp_path):
    root = site()
    spoilt = files_of(root)[2]
    hpss_site.set_faults(root, [{"match": {"command": "get", "path": spoilt}, "what": "error"}])
    session, _ = recall(root, tmp_path, Staging((), 100))
    assert [n for n, each in enumerate(session.fetched) if each.error] == [2]


def test_what_it_says_of_a_stage_is_unexplained(site, tmp_path):
    root = site(stage_says="stage: queued {path}")
    session, _ = recall(root, tmp_path, Staging((), 100))
    assert session.trouble is None
    assert 1 <= len(session.unexplained) <= 3
    assert {each.reported_bytes for each in session.fetched} == {SIZE}


def test_one_that_hangs_or_dies_among_its_stages(site, tmp_path):
    root = site()
    hpss_site.set_faults(root, [{"match": {"command": "stage"}, "what": "hang"}])
    session, _ = recall(root, tmp_path, Staging((), 100), stage_stall_seconds=0.5, stall_seconds=60)
    assert session.trouble[0] == "HPSS-HANGING"
    hpss_site.set_faults(root, [{"match": {"command": "stage"}, "what": "signal"}])
    session, _ = recall(root, tmp_path, Staging((), 100))
    assert session.trouble[0] == "HSI-CRASHED"


def test_a_wait_for_the_drive_is_no_hanging(site, tmp_path):
    root = site(mount_seconds=1.0)
    session, took = recall(root, tmp_path, Staging((), 100), stage_stall_seconds=30, stall_seconds=0.2)
    assert session.trouble is None
    assert took >= 1.0


# --- what it gains ------------------------------------------------------------------------------------------------


class Drive:
    """A session's queue and drive on time that only passes when somebody sleeps."""

    def __init__(self, monkeypatch, tmp_path, **settings):
        self.now = 1000.0
        monkeypatch.setattr(tape_queue.time, "sleep", self.pass_time)
        self.settings = Settings(
            {"serpentine": True, "read_bytes_per_second": 360e6, "tape_capacity": 15 * 10**12, **settings}
        )
        root = tmp_path / "drive"
        (root / "hpss" / "sessions").mkdir(parents=True, exist_ok=True)
        self.clock = TapeClock(SitePaths(str(root)), self.settings, "s", lambda *_, **__: None)
        self.order = []
        self.queue = TapeQueue(self.settings, self.clock, self.note, lambda: self.now)

    def pass_time(self, seconds):
        self.now += seconds

    def note(self, _event, path="", **_):
        self.order.append(path)

    def recall(self, entries, ahead):
        began = self.now
        for entry in entries[:ahead]:
            self.queue.ask(entry)
        for number, entry in enumerate(entries):
            self.queue.bring(entry)
            for later in entries[number + ahead : number + ahead + 1]:
                self.queue.ask(later)
        return self.now - began


def sparse(seed, runs=80, of=3, size=2 * 10**9, capacity=15 * 10**12):
    """Files of a tape that is mostly other people's: runs of neighbours, anywhere on it."""
    rng = random.Random(seed)
    starts = sorted(rng.randrange(capacity - of * size) for _ in range(runs))
    return [
        Entry(b"/f%05d" % (number * of + k), "f", size, volumes="AA0001", start=start + k * size)
        for number, start in enumerate(starts)
        for k in range(of)
    ]


def gain(monkeypatch, tmp_path, entries, ahead, **settings):
    one = Drive(monkeypatch, tmp_path / f"one-{ahead}", **settings).recall(entries, 1)
    return one / Drive(monkeypatch, tmp_path / f"many-{ahead}", **settings).recall(entries, ahead)


def test_many_requests_at_once_gain_on_a_sparse_tape_and_few_do_not(monkeypatch, tmp_path):
    entries = sparse(seed=1)
    gains = {ahead: gain(monkeypatch, tmp_path, entries, ahead) for ahead in (8, 32, 128)}
    assert 0.9 < gains[8] < 1.15, gains
    assert 1.15 < gains[32] < gains[128] < 2.0, gains


def test_nothing_is_gained_where_files_lie_side_by_side_or_nobody_reorders(monkeypatch, tmp_path):
    dense = sparse(seed=2, runs=1, of=60)
    assert gain(monkeypatch, tmp_path, dense, 60) == pytest.approx(1.0, abs=0.02)
    assert gain(monkeypatch, tmp_path, sparse(seed=3, runs=40), 128, stage_reorders=False) == pytest.approx(1.0)


def test_the_drive_works_while_the_session_does_something_else(monkeypatch, tmp_path):
    drive = Drive(monkeypatch, tmp_path, serpentine=False, locate_seconds=10.0, read_bytes_per_second=1e9)
    entries = sparse(seed=4, runs=3, of=1, size=10**9)
    for entry in entries:
        drive.queue.ask(entry)
    drive.queue.bring(entries[0])
    drive.now += 100
    before = drive.now
    drive.queue.bring(entries[1])
    drive.queue.bring(entries[2])
    assert drive.now == before
    assert sorted(drive.order) == [f"/f{n:05d}" for n in range(3)]


def test_a_request_that_comes_later_is_not_foreseen(monkeypatch, tmp_path):
    drive = Drive(monkeypatch, tmp_path, serpentine=False, locate_seconds=10.0, read_bytes_per_second=1e9)
    first, second = sparse(seed=5, runs=2, of=1, size=10**9)
    drive.queue.ask(first)
    drive.queue.bring(first)
    drive.now += 100
    drive.queue.ask(second)
    before = drive.now
    drive.queue.bring(second)
    assert drive.now - before == pytest.approx(11)

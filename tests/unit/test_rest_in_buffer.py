"""What lies in the buffer for long, or over a restart, is hashed again before it is sent."""

from __future__ import annotations

import os
import threading

import pytest
from house import House

from tacc_sync.pipeline import hashing
from tacc_sync.pipeline.globus_xfer import GlobusXfer
from tacc_sync.pipeline.step import Moved, Waits
from tacc_sync.rules import retrieval
from tacc_sync.rules.documents import File
from tacc_sync.rules.patience import to_iso
from tacc_sync.workspace.posix_disk import PosixDisk

DAY = 86400.0


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    for name in "ab":
        house.archive(name, name.encode() * 1000)
    house.drop()
    house.run("syncer", "retriever")
    return house


def copies(house):
    return [house.root / "nersc/buffer" / name for name in house.buffer_files() if not name.startswith(".")]


def flip(path):
    """One bit, and no trace of it in size and times."""
    times = path.stat()
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def count_digests(monkeypatch):
    seen, real = [], PosixDisk.digest

    def digest(self, path, *rest):
        seen.append(path)
        return real(self, path, *rest)

    monkeypatch.setattr(PosixDisk, "digest", digest)
    return seen


@pytest.mark.parametrize("wait", [10.0, 2 * DAY], ids=["restarted", "lain for long"])
def test_a_copy_that_changed_at_rest_is_recalled_and_never_sent(house, wait):
    if wait > DAY:
        house._components["globus_xfer"] = house.component("globus_xfer")
    house.clock.time += wait
    flip(copies(house)[0])
    house.run()
    assert house.delivered() == {name: name.encode() * 1000 for name in "ab"}
    sent = [item.source for task in house.globus.tasks.values() for item in task.order.items]
    assert len(sent) == len(set(sent)) == 2, "the rotten copy was sent, too"
    assert len(house.hpss.sessions) == 2
    (rotten,) = [about for event, about in house.events if event == "copy_rotten"]
    assert rotten["code"] == "BUFFER-ROTTEN"


def test_copies_that_rot_again_and_again_end_in_quarantine(house):
    house.settings.patience.attempts, house.settings.patience.at_least = 2, 0.0
    for _ in range(2):
        house.clock.time += 2 * DAY
        flip(copies(house)[0])
        house.run("globus_xfer", "reaper", rounds=50)
        house.clock.time += DAY
        house.run("retriever")
    house.run()
    assert sum(event == "copy_rotten" for event, _ in house.events) == 2
    (work,) = house.documents("quarantine/retriever").values()
    assert "BUFFER-ROTTEN" in str(work)


def test_what_was_checked_is_not_read_again_for_the_next_attempt(house, monkeypatch):
    seen = count_digests(monkeypatch)
    xfer, reaper = house.component("globus_xfer"), house.component("reaper")
    house.clock.time += 2 * DAY
    house.globus.fate = "FAILED"
    house.globus.leave_out = {f"/buffer/{path.parent.name}/{path.name}" for path in copies(house)}
    for _ in range(100):
        steps = [component.step() for component in (xfer, reaper)]
        if not any(isinstance(step, Moved) for step in steps):
            house.clock.time += 60
        if len(house.globus.tasks) == 3:
            break
    assert len(house.globus.tasks) == 3, "it was not sent again"
    assert len(seen) == 2, "hashed once each, though sent more than once"


def test_fresh_copies_are_sent_unread(tmp_path, monkeypatch):
    house = House(tmp_path)
    house.archive("a", b"content")
    house.drop()
    seen = count_digests(monkeypatch)
    house.run()
    assert [path.split("/")[0] for path in seen] == [".part"]
    assert house.delivered() == {"a": b"content"}


def test_nobody_waits_while_copies_are_hashed_again(house, monkeypatch):
    go_on, real = threading.Event(), PosixDisk.digest
    monkeypatch.setattr(PosixDisk, "digest", lambda *given: go_on.wait(60) and real(*given))
    house.clock.time += 10
    with hashing.threads(2) as executor:
        xfer = GlobusXfer(house.bench("globus_xfer"), house.globus, executor, house.clock.now())
        assert isinstance(xfer.step(), Moved)
        waits = xfer.step()
        assert isinstance(waits, Waits)
        assert waits.moving
        assert "hashed again" in waits.waits_for
        assert house.globus.tasks == {}
        assert house.tree("globus_slots") != []
        go_on.set()
        executor.shutdown(wait=True)
    assert isinstance(xfer.step(), Moved)
    assert len(house.globus.tasks) == 1
    (work,) = house.documents("globus_queue").values()
    assert all(file["checked_at"] for file in work["files"])


@pytest.mark.parametrize(
    ("retrieved", "checked", "has_lain"),
    [(100, 0, True), (1000, 0, False), (1001, 0, False), (100, 1000, False), (999, 0, True)],
)
def test_before_this_process_is_long_ago(retrieved, checked, has_lain):
    file = File(path="/a", destination="/b", size=1, retrieved_at=to_iso(retrieved), checked_at=to_iso(checked))
    assert retrieval.has_lain(file, now=1500.0, running_since=1000.7, longest=DAY) is has_lain
    assert retrieval.has_lain(file, now=1001.0 + DAY + 1, running_since=0.0, longest=DAY) is (
        max(retrieved, checked) <= 1001
    )

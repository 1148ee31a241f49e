"""A retriever is killed or frozen in the middle of a session: its hsi, and what hsi has started, is gone before anybody
takes over, and writes nothing afterwards. With the installed command, and a tape so slow that hsi is met at work."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest
from bed import Bed, is_alive, wait_for
from ledger import LEDGER

from tacc_sync.testbed import hpss_site, site

# Long, so that a busy host does not matter: hsi has to be gone after 0.4 of it.
LEASE, GRACE = 15, 4
SETTINGS = {
    "lease.beat": "0.5", "lease.lease": str(LEASE), "lease.grace": str(GRACE), "lease.turn": "5", "hsi.sessions": "1",
    "run.poll": "0.2", "run.log_format": "json",
}  # fmt: skip
FILES = {name: name.encode() * 400_000 for name in "abc"}
SLOW, BRISK, FAST = 10_000, 150_000, 0.0
PATIENCE = 180.0
# hsi may be a script that starts the program proper; the kernel kills one process, the leash has to see to the rest.
WRAPPER = """#!/bin/sh
{hsi} "$@"
exit $?
"""
LEADER = '"$@" & wait'

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def bed(tmp_path):
    root = tmp_path / "bed"
    root.mkdir()
    placement = {"two_cartridge_share": 0.0, "disk_share": 0.0}
    with Bed(root, FILES, tapes=1, settings=SETTINGS, hpss={"read_bytes_per_second": SLOW}, placement=placement) as bed:
        wrapper = root / "wrapped-hsi"
        wrapper.write_text(WRAPPER.format(hsi=bed.environment["TACC_SYNC_HSI"]))
        wrapper.chmod(0o755)
        bed.environment["TACC_SYNC_HSI"] = shlex.quote(str(wrapper))
        yield bed


@pytest.fixture(autouse=True)
def counted(request):
    began, failed = time.monotonic(), request.session.testsfailed
    yield
    LEDGER.count("kills", tried=1, violations=request.session.testsfailed - failed, seconds=time.monotonic() - began)


class Met:
    """A session that was met at work: its processes, and the file that it is writing."""

    def __init__(self, bed):
        self.bed = bed
        (self.hsi,) = wait_for(bed.hsi_pids, "no hsi at work")
        self.group = os.getpgid(self.hsi)
        part = bed.place / "nersc" / site.BUFFER[1:] / ".part"
        found = wait_for(
            lambda: [path for path in part.glob("*/*/*") if path.is_file() and path.stat().st_size], "no byte"
        )
        # Held open: whoever renames or removes it does not hide from us what is written to it.
        self.file = os.open(found[0], os.O_RDONLY)
        self.worker = found[0].parent.parent.name
        size = self.size
        wait_for(lambda: self.size > size, "it does not grow")

    @property
    def size(self):
        return os.fstat(self.file).st_size

    @property
    def is_over(self):
        return not is_alive(self.hsi) and not is_alive(self.group)

    def written(self):
        status = os.fstat(self.file)
        return status.st_size, status.st_mtime_ns

    def is_taken_over(self):
        """Whether anything of that worker was taken away: its home, or its directory in the buffer."""
        part = self.bed.place / "nersc" / site.BUFFER[1:] / ".part"
        return not (self.bed.workspace / "claims" / self.worker).exists() or not (part / self.worker).exists()


def finish(bed, key, *others):
    """Let it come to its end, by all components; the end is as it should be."""
    hpss_site.set_settings(bed.place, read_bytes_per_second=FAST)
    running = bed.start("run")
    wait_for(lambda: bed.is_finished(key), "the end of the request", PATIENCE)
    for one in (running, *others):
        assert one.stop() == 0, one.said
        assert "error_of_ours" not in one.said
    bed.run("reaper")
    bed.assert_finished(key)
    assert bed.names("claims/*") == []
    assert bed.hsi_log().contentions == []


def watch_it_end(met, deadline):
    """Until hsi is gone; that nobody takes over before."""
    end = time.monotonic() + deadline
    while True:
        # In this order: what is taken over now was so before we look at hsi.
        taken, over = met.is_taken_over(), met.is_over
        if over:
            return
        assert not taken, "taken over while hsi writes"
        assert time.monotonic() < end, "hsi goes on"
        time.sleep(0.02)


def test_a_frozen_retrievers_hsi_is_gone_before_its_lease_is_over(bed):
    key = bed.request()
    bed.run("syncer")
    frozen = bed.start("run", "retriever")
    met = Met(bed)
    other = bed.start("run", "retriever")
    wait_for(lambda: bed.names("claims/retriever.*")[1:], "the other one does not come")
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        watch_it_end(met, PATIENCE)
        written = met.written()
        wait_for(met.is_taken_over, "nobody takes over", PATIENCE)
        finish(bed, key, other)
        assert met.written() == written
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    # It finds everything gone, ends itself or begins anew, and harms nothing.
    time.sleep(2 * float(SETTINGS["lease.beat"]))
    frozen.process.send_signal(signal.SIGTERM)
    assert frozen.wait() in {0, os.EX_TEMPFAIL}, frozen.said
    assert met.written() == written
    bed.assert_finished(key)


@pytest.mark.parametrize("again", range(2))
def test_a_killed_retrievers_hsi_is_gone_before_anybody_takes_over(bed, again):
    """The other one, on the same host, is certain of its death at once."""
    key = bed.request()
    bed.run("syncer")
    killed = bed.start("run", "retriever")
    met = Met(bed)
    other = bed.start("run", "retriever")
    wait_for(lambda: bed.names("claims/retriever.*")[1:], "the other one does not come")
    killed.kill()
    watch_it_end(met, PATIENCE)
    written = met.written()
    wait_for(met.is_taken_over, "nobody takes over", PATIENCE)
    finish(bed, key, other)
    assert met.written() == written
    # Nor is a leash left, or what hsi has started.
    hsi = str(bed.root / "wrapped-hsi")
    assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and _mentions(pid, hsi)]


def test_a_retriever_whose_leader_is_killed_goes_on(bed):
    """As with a script around it that the batch system kills alone: it lives, so its session does."""
    key = bed.request()
    bed.run("syncer")
    hpss_site.set_settings(bed.place, read_bytes_per_second=BRISK)
    leader = bed.start_led("run", "--once", "retriever", by=["sh", "-c", LEADER, "sh"])
    met = Met(bed)
    os.kill(leader.pid, signal.SIGKILL)
    leader.process.wait()
    wait_for(lambda: bed.names("globus_queue/*.json"), "the session does not come to its end", PATIENCE)
    wait_for(lambda: not bed.names("claims/*"), "it does not end", PATIENCE)
    assert met.is_over
    assert set(bed.gets().values()) == {1}
    finish(bed, key)


def test_an_hsi_whose_leader_is_killed_is_gone_with_all_it_started(bed):
    """The script around hsi is killed alone: the program proper must not go on writing into what is given up."""
    key = bed.request()
    bed.run("syncer")
    running = bed.start("run", "retriever")
    met = Met(bed)
    assert met.group != met.hsi
    os.kill(met.group, signal.SIGKILL)
    wait_for(lambda: met.is_over, "hsi goes on", PATIENCE)
    written = met.written()
    finish(bed, key, running)
    assert met.written() == written
    ended = [json.loads(line) for line in running.said.splitlines() if '"session_ended"' in line]
    assert ended[0]["trouble"].startswith("HSI-CRASHED"), ended


def _mentions(pid, word):
    try:
        return word in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False

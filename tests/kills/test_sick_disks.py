"""A full, read-only or frozen file system, below the workspace or below the transfer buffer: nothing is torn, nothing is
lost, and work goes on when the trouble is over."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time

import pytest
from bed import wait_for
from lanes import STAGES, Lane
from ledger import LEDGER, on_all
from mounts import Mount, Refused
from scenarios import COMPONENTS, SUBMIT, command, prepare
from test_kills import go_on

LANES = 2
MEGABYTES = 24
EX_SOFTWARE = 70
# When some of a unit's files can't be written, the others are delivered meanwhile: one task more.
ROUNDS = ("transfer_attempts",)
STRUCK = SUBMIT | COMPONENTS

WHERE = ("workspace", "buffer")

pytestmark = pytest.mark.timeout(1800)


class SickLane(Lane):
    """A lane whose workspace and transfer buffer lie on two file systems of their own."""

    def __init__(self, root, number):
        super().__init__(root, number)
        self.mounts = {}
        try:
            beside = self.root / "mounted"
            beside.mkdir()
            for name, at in (("workspace", beside), ("buffer", self.bed.place / "nersc")):
                self.mounts[name] = Mount("ext4", self.root / f"{name}.image", at, MEGABYTES)
        except BaseException:
            self.close()
            raise
        self.buffer.mkdir()
        self.bed.workspace = beside / "workspace"
        self.bed.environment["TACC_SYNC_WORK_ROOT"] = str(self.bed.workspace)

    def close(self):
        for mount in self.mounts.values():
            mount.thaw_if_frozen()
        super().close()
        for mount in self.mounts.values():
            mount.close()

    def run_in_trouble(self, scenario):
        """Run it on the sick file system; what it says must be the world's fault, not ours."""
        done = subprocess.run(
            command(self, scenario), capture_output=True, text=True, timeout=120, check=False, **self.options
        )
        assert done.returncode != EX_SOFTWARE and "error_of_ours" not in done.stderr, done.stderr[-3000:]
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        return done

    @contextlib.contextmanager
    def filled(self, which):
        """A file system that is full to the last byte; it is freed at the end, whatever happens."""
        path = self.mounts[which].place / "filler"
        try:
            with path.open("wb", buffering=0) as file:
                for size in (1 << 20, 1 << 12, 1):
                    while True:
                        try:
                            file.write(b"\0" * size)
                        except OSError as error:
                            if error.errno != errno.ENOSPC:
                                raise
                            break
            yield
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def read_only(self, which):
        mount = self.mounts[which]
        mount.remount("ro")
        try:
            yield
        finally:
            mount.remount("rw")

    @contextlib.contextmanager
    def frozen(self, which):
        mount = self.mounts[which]
        mount.freeze()
        try:
            yield
        finally:
            mount.thaw()


@pytest.fixture(scope="module")
def sick(place_in_memory):
    """The lanes; the states from which the components start; how an undisturbed run ends."""
    lanes = []
    try:
        try:
            lanes += [SickLane(place_in_memory / f"sick-{number}", 32 + number) for number in range(LANES)]
        except Refused as refused:
            pytest.skip(f"no file system of our own here: {refused}")
        yield lanes, lanes[0].stages(), lanes[0].end(ROUNDS)
    finally:
        for lane in lanes:
            lane.close()


def on_all_lanes(lanes, jobs, do):
    """Do each job; what went wrong with any of them."""
    began = time.monotonic()

    def carefully(lane, job):
        try:
            do(lane, *job)
        except (AssertionError, subprocess.TimeoutExpired) as wrong:
            return f"{' '.join(job)}: {wrong}"
        return None

    wrong = [one for one in on_all(lanes, jobs, carefully) if one]
    LEDGER.count("disk errors", tried=len(jobs), violations=len(wrong), seconds=time.monotonic() - began)
    assert not wrong, "\n\n".join(wrong)


def assert_heals(lane, scenario, reference):
    lane.bed.assert_documents_whole()
    assert go_on(lane, scenario) == []
    assert lane.wrong(tasks=scenario.tasks and None) == []
    assert lane.end(ROUNDS) == reference


@pytest.mark.fault("ws-full")
@pytest.mark.parametrize("trouble", ["filled", "read_only"])
def test_from_the_beginning(trouble, sick):
    lanes, states, reference = sick

    def do(lane, name, which):
        scenario = STRUCK[name]
        prepare(lane, scenario, states)
        with getattr(lane, trouble)(which):
            done = lane.run_in_trouble(scenario)
        if which == "workspace":
            assert done.returncode != 0, done.stderr
        assert_heals(lane, scenario, reference)

    on_all_lanes(lanes, [(name, which) for name in STRUCK for which in WHERE], do)


def test_in_the_middle_of_a_run(sick):
    """All components at work, and the file system fails again and again for a moment."""
    lanes, states, reference = sick

    def do(lane, trouble, which):
        scenario = COMPONENTS["syncer"]
        prepare(lane, scenario, states)
        finished = lane.workspace / "finished" / lane.key / "request.json"
        running = lane.bed.start("run")
        # Whoever cannot even begin ends, and says so; this is about those that have begun.
        wait_for(lambda: len(os.listdir(lane.workspace / "claims")) > len(STAGES), "nobody is at work")
        for pause in (0.1, 0.3, 0.5, 0.7):
            time.sleep(pause)
            with getattr(lane, trouble)(which):
                time.sleep(1.0)
        try:
            wait_for(finished.exists, "the end of the request")
        except AssertionError as waited:
            raise AssertionError(f"{waited}: {lane.run('status').stdout}\n{running.said[-3000:]}") from None
        assert running.stop() == 0, running.said
        assert "error_of_ours" not in running.said, running.said
        assert_heals(lane, scenario, reference)

    on_all_lanes(lanes, [(trouble, which) for trouble in ("filled", "frozen") for which in WHERE], do)

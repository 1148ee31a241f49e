"""A full, read-only or frozen file system, below the workspace or below the transfer buffer: nothing is torn, nothing is
lost, and work goes on when the trouble is over."""

from __future__ import annotations

import errno
import os
import subprocess
import time

import pytest
from bed import wait_for
from lanes import STAGES, Lane
from ledger import LEDGER
from mounts import Mount, Refused
from scenarios import COMPONENTS, SUBMIT, command, prepare
from test_kills import go_on

MEGABYTES = 24
EX_SOFTWARE = 70
STRUCK = SUBMIT | COMPONENTS

pytestmark = pytest.mark.timeout(600)


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


@pytest.fixture(autouse=True)
def counted(request):
    """For the table at the end."""
    began, failed = time.monotonic(), request.session.testsfailed
    yield
    LEDGER.count(
        "disk errors", tried=1, violations=request.session.testsfailed - failed, seconds=time.monotonic() - began
    )


@pytest.fixture(scope="module")
def sick(place_in_memory):
    """The lane; the states from which the components start; how an undisturbed run ends."""
    try:
        lane = SickLane(place_in_memory / "sick", 32)
    except Refused as refused:
        pytest.skip(f"no file system of our own here: {refused}")
    try:
        yield lane, lane.stages(), lane.end()
    finally:
        lane.close()


@pytest.fixture
def filled(sick):
    """Fill a file system to the last byte; it is freed at the end, whatever happens."""
    fillers = []

    def fill(which):
        path = sick[0].mounts[which].place / "filler"
        fillers.append(path)
        with path.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                while True:
                    try:
                        file.write(b"\0" * size)
                    except OSError as error:
                        if error.errno != errno.ENOSPC:
                            raise
                        break
        return path

    yield fill
    for path in fillers:
        path.unlink(missing_ok=True)


def assert_heals(lane, scenario, reference):
    lane.bed.assert_documents_whole()
    assert go_on(lane, scenario) == []
    assert lane.wrong(tasks=scenario.tasks) == []
    assert lane.end() == reference


def run_in_trouble(lane, scenario):
    """Run it on the sick file system; what it says must be the world's fault, not ours."""
    done = subprocess.run(
        command(lane, scenario), capture_output=True, text=True, timeout=120, check=False, **lane.options
    )
    assert done.returncode != EX_SOFTWARE and "error_of_ours" not in done.stderr, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return done


@pytest.mark.parametrize("which", ["workspace", "buffer"])
@pytest.mark.parametrize("name", list(STRUCK))
def test_a_full_disk(name, which, sick, filled):
    lane, states, reference = sick
    scenario = STRUCK[name]
    prepare(lane, scenario, states)
    filler = filled(which)
    done = run_in_trouble(lane, scenario)
    if which == "workspace":
        assert done.returncode != 0, done.stderr
    filler.unlink()
    assert_heals(lane, scenario, reference)


@pytest.mark.parametrize("which", ["workspace", "buffer"])
@pytest.mark.parametrize("name", list(STRUCK))
def test_a_disk_that_is_read_only(name, which, sick):
    lane, states, reference = sick
    scenario = STRUCK[name]
    prepare(lane, scenario, states)
    mount = lane.mounts[which]
    mount.remount("ro")
    try:
        done = run_in_trouble(lane, scenario)
    finally:
        mount.remount("rw")
    if which == "workspace":
        assert done.returncode != 0, done.stderr
    assert_heals(lane, scenario, reference)


@pytest.mark.parametrize("which", ["workspace", "buffer"])
@pytest.mark.parametrize("trouble", ["full", "frozen"])
def test_trouble_in_the_middle_of_a_run(which, trouble, sick, filled):
    """All components at work, and the file system fails again and again for a moment."""
    lane, states, reference = sick
    scenario = COMPONENTS["syncer"]
    prepare(lane, scenario, states)
    mount = lane.mounts[which]
    finished = lane.workspace / "finished" / lane.key / "request.json"
    running = lane.bed.start("run")
    # Whoever cannot even begin ends, and says so; this is about those that have begun.
    wait_for(lambda: len(os.listdir(lane.workspace / "claims")) > len(STAGES), "nobody is at work")
    for pause in (0.1, 0.3, 0.5, 0.7):
        time.sleep(pause)
        if trouble == "frozen":
            mount.freeze()
            try:
                time.sleep(1.0)
            finally:
                mount.thaw()
        else:
            filler = filled(which)
            time.sleep(1.0)
            filler.unlink()
    wait_for(finished.exists, "the end of the request")
    assert running.stop() == 0, running.said
    assert "error_of_ours" not in running.said, running.said
    assert_heals(lane, scenario, reference)

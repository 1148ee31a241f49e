"""All workers of one process: when a run that goes on until nothing moves may end."""

import threading

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.host.linux import LinuxHost
from tacc_sync.pipeline.attempt import World
from tacc_sync.pipeline.run import Runner
from tacc_sync.pipeline.step import Moved, Waits
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout
from tacc_sync.workspace.posix_disk import PosixDisk


class FindsWorkLater:
    """Has nothing to do at first. Then, unannounced, there is something, which takes longer than anybody's patience;
    and when that is done there is more."""

    def __init__(self):
        self.looked = 0
        self.done = []
        self.may_end = threading.Event()

    def step(self):
        self.looked += 1
        if self.looked < 2:
            return Waits("another's session", due=0.0, moving=True)
        if self.looked == 2:
            return Waits("work")
        if len(self.done) < 2:
            self.may_end.wait(1.5)
            self.done.append(self.looked)
            return Moved("something")
        return Waits("work")


def world(root):
    disk = PosixDisk(str(root))
    layout.init(disk, "w", b"")
    return World(disk, None, SystemClock(), LinuxHost(), Settings(), lambda *_, **__: None)


def test_a_run_does_not_end_while_somebody_is_at_work(tmp_path):
    """What a worker said before it found something to do is no reason to end."""
    late = FindsWorkLater()

    class KeepsTheRunGoing:
        """Until the other one is at work."""

        def step(self):
            return Waits("work", moving=late.looked < 3)

    factories = {"retriever": lambda _bench: late, "reaper": lambda _bench: KeepsTheRunGoing()}
    ending = Runner(world(tmp_path), factories, {}).run(once=True)
    assert len(late.done) == 2
    assert ending.waits["retriever"].waits_for == "work"
    assert not ending.faults

"""All workers of one process: when a run that goes on until nothing moves may end."""

import threading
from collections import Counter

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


class Costly(SystemClock):
    """Each look at what there is costs this thread a tenth of a second of CPU, by this clock."""

    def __init__(self):
        self.cost = threading.local()

    def effort(self):
        return getattr(self.cost, "seconds", 0.0)


def looks_of(root, clock, seconds, cost, ring=None, workers=1, by=None):
    """When a component looked that found nothing, in seconds from the first look; `by`: how often each worker did."""
    looked = []

    class FindsNothing:
        def step(self):
            looked.append(clock.uptime())
            if by is not None:
                by[id(self)] += 1
            clock.cost.seconds = clock.effort() + cost
            return Waits("work")

    root.mkdir(exist_ok=True)
    disk = PosixDisk(str(root))
    layout.init(disk, "w", b"")
    settings = Settings()
    settings.run.poll = 0.1
    world = World(disk, None, clock, LinuxHost(), settings, lambda *_, **__: None)
    runner = Runner(world, {"reaper": lambda _bench: FindsNothing()}, {"reaper": workers})
    if ring is not None:
        threading.Timer(ring, runner.wake, ["reaper"]).start()
    runner.run(seconds=seconds)
    return [look - looked[0] for look in looked]


def test_a_look_that_finds_nothing_and_costs_much_is_repeated_less_often(tmp_path):
    assert len(looks_of(tmp_path / "cheap", Costly(), 1.0, 0.0)) >= 4
    # And yet once in twelve times the usual pause: another host may have changed something.
    _, *later = looks_of(tmp_path / "dear", Costly(), 2.0, 0.1)
    assert later
    assert later[0] >= 1.2


def test_and_yet_who_is_rung_for_looks_at_once(tmp_path):
    looks = looks_of(tmp_path, Costly(), 1.5, 0.1, ring=0.5)
    assert len(looks) == 2
    assert looks[1] < 0.9


def test_where_looks_cost_much_the_workers_of_a_component_look_in_turn(tmp_path):
    looks = looks_of(tmp_path, Costly(), 3.2, 0.1, workers=5)
    # Each once at first; then one of them each 1.2 seconds.
    assert 6 <= len(looks) <= 8


def test_each_of_them_has_its_turn(tmp_path):
    by = Counter()
    looks_of(tmp_path, Costly(), 6.2, 0.1, workers=3, by=by)
    # Else nobody would know that all of them have seen what there is, and `run --once` would never end.
    assert len(by) == 3
    assert min(by.values()) >= 2
    assert max(by.values()) - min(by.values()) <= 1

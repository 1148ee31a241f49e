"""The searches, as functions: each returns how much it tried and raises `Found` with the way to see it again.

`python tests/simulation/again.py '<reproducer>'` is not needed: each search is deterministic, and its message names the
boundary, the variant and what happened up to there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crew import Solo
from invariants import check, check_all_delivered
from world import Killed, Violation, World, make_files, small_settings

from tacc_sync.workspace import layout


class Found(BaseException):
    """A search found a way to break a law. (No `Exception`: see `Violation`.)"""


@dataclass(frozen=True)
class Ending:
    """When a world has come to its end, and what must hold then."""

    done: Callable
    finish: Callable

    def reach(self, world, host):
        """Fresh processes bring everything to its end."""
        Solo(world, host).run(self.done)
        self.finish(world)


@dataclass
class Tally:
    """What a search has tried; `between_sessions`: of that, while a session read its last file and the next one of its tape
    could begin; `handed_over`: how often one did, when nothing disturbed it. It ends when it has found so many ways to break
    a law."""

    limit: int = 3
    boundaries: int = 0
    tried: int = 0
    between_sessions: int = 0
    handed_over: int = 0
    calls: int = 0
    found: list[str] = field(default_factory=list)
    ending: Ending | None = None


def a_world(files=5, tapes=2, *, seed=1, joints=0, habits=(), fates=(), twins=False, drop=True, **changes):
    """A request for several units on several tapes."""
    world = World(make_files(files, tapes, seed, joints=joints), small_settings(**changes))
    world.checker = check
    for n, habit in enumerate(habits):
        world.hpss.habits[sorted(world.hpss.files)[n]] = [habit]
    world.globus.fates = list(fates)
    for n in range(drop * (1 + twins)):
        world.drop(f"request{n}.json", **({"request_id": "0123abcd-4567-4abc-8def-0123456789ab"} if twins else {}))
    return world


def a_world_with_rounds():
    """Some files can't be had at first, a task fails half-way, a record has no checksum: units go round."""
    return a_world(4, 2, habits=("short", "error"), fates=("fails half-way", "no checksum"))


def is_done(world, requests=1):
    """All requests are finished, nothing is on its way."""
    root = world.ws.root.entries
    finished = sum("request.json" in found.entries for found in root["finished"].entries.values())
    # Given up before they were planned.
    rejected = root["finished"].entries["rejected"].entries
    finished += sum(name.endswith(".json") and not name.endswith(".why.json") for name in rejected)
    return finished >= requests and not root["request_queue"].entries and is_quiet(world)


def is_between_sessions(world):
    """Does one of them read its last file, and hands its cartridge over?"""
    return any(name.endswith(layout.AT_LAST_FILE) for name in world.ws.directory(layout.CARTRIDGES).entries)


def is_quiet(world):
    """Nothing is on its way, and nothing of the dead lies about."""
    root = world.ws.root.entries
    if any(root[queue].entries for queue in ("inbox", "hpss_queue", "globus_queue", "reaper_queue")):
        return False
    # And whatever others have left lying about is cleared away.
    ours = {home for name, home in root["claims"].entries.items() if is_alive(world, name)}
    return len(ours) == len(root["claims"].entries) and all(
        is_alive(world, name) for name in world.buffer.root.entries[".part"].entries
    )


def is_stuck(world):
    """Only a person can go on: whatever is not finished lies in quarantine."""
    root = world.ws.root.entries
    there = any(directory.entries for directory in root["quarantine"].entries.values())
    return there and is_quiet(world)


def is_alive(world, worker):
    parts = worker.split(".")
    pid = parts[2].rpartition("-")[2] if len(parts) > 2 else ""
    return "~" not in worker and pid.isdigit() and int(pid) in world.hosts[parts[1]].alive


# One request, and all of its files are there.
DELIVERED = Ending(is_done, check_all_delivered)


def explain(world, what, violation):
    lines = [f"{what}: {violation}", "what had happened:"]
    lines += [f"  {time:>9} {event} {about}" for time, event, about in world.events[-25:]]
    lines += [
        "what lies where:",
        *(f"  {path} {file.content[:200]!r}" for path, file in world.ws.below() if "/" in path),
    ]
    lines += [f"  {world.buffer_root}/{path} {file.content!r}" for path, file in world.buffer.below()]
    return "\n".join(lines)


def run_dry(world, host, what, tally, ending=None):
    """Fresh processes recover and bring everything to its end."""
    before = world.count
    try:
        (ending or tally.ending or DELIVERED).reach(world, host)
    except Violation as violation:
        tally.found.append(explain(world, what, violation))
        if len(tally.found) >= tally.limit:
            raise Found("\n\n".join(tally.found)) from None
    finally:
        tally.calls += world.count - before


def conclude(tally):
    if tally.found:
        raise Found("\n\n".join(tally.found))
    return tally


class Forking:
    """A hook that, at each boundary where the state is new, tries other futures on a copy of the world."""

    def __init__(self, tally, futures):
        self.tally, self.futures, self.seen = tally, futures, None

    def __call__(self, process, kind, path):
        world = process.world
        self.tally.boundaries += 1
        # A kill leaves nothing but the raw state: where that is the same as at the last boundary, so are all futures.
        state = (world.ws.version, world.buffer.version, world.globus.version, world.time, len(world.globus.tasks))
        if state == self.seen:
            return
        self.seen = state
        where = f"boundary {self.tally.boundaries} ({kind} {path})"
        for name, future in self.futures.items():
            copy = world.clone()
            victim = copy.processes[-1]
            self.tally.tried += 1
            self.tally.between_sessions += is_between_sessions(world)
            future(copy, victim, f"{name} at {where}", self.tally)


def _certainly_dead(world, victim, what, tally):
    world.end(victim)
    run_dry(world, "a", what, tally)


def _silent(world, victim, what, tally):
    # Others cannot know whether it lives; its hsi goes on until its lifeline ends it.
    world.end(victim, leash=False)
    run_dry(world, "b", what, tally)


def _power_loss(ws, buffer, zeros=False):
    def future(world, victim, what, tally):
        try:
            world.power_loss(ws=ws, buffer=buffer, zeros=zeros)
        except Violation as violation:
            tally.found.append(explain(world, what, violation))
            raise Found(tally.found[-1]) from None
        run_dry(world, "a", what, tally)

    return future


def _long_ago(world, victim, what, tally):
    # By then the service knows the submission id no more.
    world.end(victim)
    world.advance(world.time + 2 * 86400.0)
    world.globus.by_submission.clear()
    run_dry(world, "a", what, tally)


KILLS = {"killed": _certainly_dead, "killed, unseen": _silent, "killed, found two days later": _long_ago}
POWER_LOSSES = {
    "power loss": _power_loss(1.0, 1.0),
    "power loss of the workspace only": _power_loss(1.0, 0.0),
    "power loss of the buffer only": _power_loss(0.0, 1.0, zeros=True),
    "power loss of the last half": _power_loss(0.5, 0.5),
}


def every_fork(futures, make=a_world, limit=3, done=is_done, finish=check_all_delivered):
    """One undisturbed run; at each of its boundaries each of the futures."""
    tally = Tally(limit)
    world = make()
    solo = Solo(world, "a")
    solo.process.world = world
    world.hook = Forking(tally, futures)
    try:
        solo.run(done)
        finish(world)
    except Violation as violation:
        # Without any crash at all.
        raise Found(explain(world, "undisturbed", violation)) from None
    tally.calls += world.count
    tally.handed_over = world.hpss.handed_over
    return conclude(tally)


def every_fault(kinds, strike, make=a_world, *, most=100_000, limit=3):
    """The n-th call of these kinds goes wrong, for n = 1, 2, 3 … until a run has fewer calls."""
    tally = Tally(limit)
    for n in range(1, most):
        world = make()
        solo = Solo(world, "a")
        struck = Striker(world, kinds, strike, n)
        what = f"call {n} of {'/'.join(kinds)}"
        try:
            solo.run(is_done)
        except Killed:
            run_dry(world, "a", what, tally)
        except Violation as violation:
            tally.found.append(explain(world, f"{what} ({struck.at})", violation))
        else:
            finish_fault(world, f"{what} ({struck.at})", tally)
        tally.calls += world.count
        if not struck.done:
            tally.boundaries = n - 1
            break
        tally.tried += 1
        if len(tally.found) >= tally.limit:
            break
    return conclude(tally)


def finish_fault(world, what, tally):
    world.hook = world.after = None
    try:
        check_all_delivered(world)
    except Violation:
        # What a worker could not tidy away when it left, the next one does.
        run_dry(world, "a", what, tally)


class Striker:
    """Counts calls of some kinds, and strikes at the n-th."""

    def __init__(self, world, kinds, strike, n):
        self.kinds, self.strike, self.left, self.done, self.at = frozenset(kinds), strike, n, False, None
        self.world = world
        if strike.before:
            world.hook = self.hook
        else:
            world.after = self.after

    def hook(self, process, kind, path):
        if kind in self.kinds:
            self.left -= 1
            if self.left == 0:
                self.done, self.at = True, f"{kind} {path}"
            if self.left <= 0:
                self.strike(self.world, process, kind, path, -self.left)

    def after(self, process, kind, path, flight):
        if kind in self.kinds and (flight is None or flight.error is None):
            self.left -= 1
            if self.left == 0:
                self.done, self.at = True, f"{kind} {path}"
                self.strike(self.world, process, kind, path, 0)


def every_second_crash(first_points, make=a_world, limit=3):
    """A process is killed, and so is the one that takes over: at each boundary of its own."""
    tally = Tally(limit)
    world = make()
    solo = Solo(world, "a")
    solo.process.world = world
    copies = []
    fork = Forking(Tally(), {"killed": lambda copy, victim, what, _: copies.append((copy, victim, what))})
    world.hook = fork
    solo.run(is_done)
    step = max(1, len(copies) // first_points)
    for copy, victim, what in copies[step // 2 :: step]:
        copy.end(victim)
        successor = Solo(copy, "a")
        successor.process.world = copy
        copy.hook = Forking(tally, {f"{what}, then killed again": _certainly_dead})
        before = copy.count
        successor.run(is_done)
        tally.calls += copy.count - before
    return conclude(tally)

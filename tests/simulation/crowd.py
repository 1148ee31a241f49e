"""Several hosts, several processes, each component in each of them, under one seeded scheduler.

Each worker is a greenlet; at each boundary the scheduler may let another one go on. Faults strike at drawn moments: a
process is killed (its hsi with it, or not), stops for longer than its lease, the power fails, replies are lost, a disk
fills, HPSS or Globus goes away. After the last fault all are killed, and one fresh process brings everything to its end.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field, replace

from crew import Hands, Solo, command
from greenlet import getcurrent, greenlet
from invariants import check, check_at_rest, check_tasks
from searches import is_done, is_stuck
from strikes import MUTATIONS, NEED_SPACE
from world import DESTINATION, SOURCE, Killed, Violation, World, make_files, small_settings

from tacc_sync.pipeline.attempt import attempt, tidy
from tacc_sync.pipeline.step import Moved
from tacc_sync.rules.faults import Fault, Fenced, OperatorFault
from tacc_sync.rules.route import COMPONENTS
from tacc_sync.workspace import ownership

FAULTS = (
    "kill",
    "kill, hsi lives on",
    "stall",
    "power loss",
    "lost reply",
    "disk full",
    "I/O error",
    "ambiguous error",
    "HPSS away",
    "Globus away",
    "new process",
    "HPSS away for hours",
    "HPSS full",
    "listing cut off",
    "a file vanishes",
    "a file grows",
    "login expired",
    "HPSS login lost",
    "429",
    "pending",
    "consent",
    "identical",
    "hold",
    "unhold",
    "release",
    "abandon",
    "fence",
    "submit",
)
# "stubborn": so often that the attempts are used up, and those after a release too.
HABITS = (
    "error",
    "nothing",
    "breaks",
    "breaks off",
    "hangs",
    "short",
    "zeros",
    "silent",
    "wrong",
    "other first",
    "stubborn",
    "login lost",
)
# What only the archive's own hash tells.
NEED_A_HASH = ("silent", "wrong")
FATES = (
    "fails half-way",
    "cancelled",
    "cancelled by an administrator",
    "garbage",
    "skips one",
    "no checksum",
    "record missing",
    "wrong size",
    "inactive",
    "paused",
    "forgotten",
    "history deleted",
)
SPOILING = ("a file vanishes", "a file grows")
# With these nobody can promise that it is noted at once that a component is on hold.
HINDERING = ("disk full", "I/O error", "lost reply", "ambiguous error")


@dataclass(frozen=True)
class Case:
    """A world and what happens in it: all that is needed to see it again."""

    seed: int = 0
    files: int = 4
    tapes: int = 2
    joints: int = 0
    requests: int = 1
    twins: bool = False
    quota: int = 400
    sessions: int = 1
    handover: bool = True
    limit: int = 0
    tasks: int = 3
    queued: int = 0
    skew: int = 0
    processes: tuple[str, ...] = ("a", "b")
    habits: tuple[str, ...] = ()
    fates: tuple[str, ...] = ()
    faults: tuple[tuple[int, str], ...] = ()
    calls: int = 4000


class Lock:
    """A lock between greenlets."""

    def __init__(self):
        self.taken = False

    def __enter__(self):
        while self.taken:
            getcurrent().parent.switch()
        self.taken = True

    def __exit__(self, *_):
        self.taken = False


@dataclass(eq=False)
class Thread:
    process: object
    greenlet: object
    wake: float = 0.0
    component: str = ""


@dataclass(eq=False)
class Crowd:
    world: World
    case: Case
    random: random.Random
    threads: list[Thread] = field(default_factory=list)
    current: Thread | None = None
    left: int = 0
    stalled: dict = field(default_factory=dict)
    doomed: dict = field(default_factory=dict)
    strikes: list = field(default_factory=list)

    # --- what the world calls

    def hook(self, process, kind, path):
        doomed = self.doomed.get(process)
        if doomed is not None:
            self.doomed[process] = doomed - 1
            if doomed <= 0:
                self.world.end(process)
                raise Killed
        for strike in self.strikes:
            if strike[0] == "before" and kind in strike[1]:
                self.strikes.remove(strike)
                raise OSError(strike[2], "simulated", str(path))
        self.left -= 1
        if self.left < 0:
            getcurrent().parent.switch()

    def after(self, process, kind, path, flight):
        if flight is None or flight.error is not None:
            return
        for strike in self.strikes:
            if strike[0] == "after" and kind in MUTATIONS:
                self.strikes.remove(strike)
                if strike[2] == "lost":
                    self.world.lose_reply(kind)
                raise OSError(strike[2], "simulated", str(path))

    def sleep(self, process, seconds):
        self.current.wake = self.world.time + seconds
        getcurrent().parent.switch()
        if not process.alive:
            raise Killed

    # --- processes

    def start(self, host):
        world = self.world
        process = world.start(host)
        hands = Hands(world, process)
        workers = [name for name in COMPONENTS for _ in range(hands.copies(name))]
        for main, name in ((self._recover, ""), (self._pulse, ""), *((self._work, name) for name in workers)):
            thread = Thread(process, None, world.time, name)
            thread.greenlet = greenlet(lambda main=main, name=name: self._guard(main, hands, process, name))
            self.threads.append(thread)

    def operate(self, host, action):
        """A person types a command on a host; like everybody else, it may be killed anywhere."""
        process = self.world.start(host)
        hands = Hands(self.world, process)
        thread = Thread(process, None, self.world.time)
        thread.greenlet = greenlet(lambda: self._guard(self._command, hands, process, action))
        self.threads.append(thread)

    def _command(self, hands, process, action):
        try:
            command(hands, action, self.random.choice)
        except (Fault, Fenced, OSError) as error:
            self.world.report("command_refused", command=action, text=str(error))
        self.world.end(process)

    @staticmethod
    def _guard(main, hands, process, name):
        try:
            main(hands, process, name)
        except Killed:
            pass

    def _home(self, hands, process, component):
        home = hands.home(component)
        home._beating = Lock()
        home.enter()
        process.homes.append(home)
        return home

    def _recover(self, hands, process, _name):
        while True:
            try:
                home = self._home(hands, process, "recovery")
                ownership.claim(home)
                recovery = hands.recovery(home)
                while True:
                    ownership.must_be_ours(hands.disk, hands.buffer)
                    tidy(hands.edges, recovery.round)
                    hands.clock.sleep(150.0)
            except Fenced:
                process.homes.remove(home)
            except OperatorFault as fault:
                raise Violation(f"the workspace is refused: {fault}") from None
            except OSError:
                hands.clock.sleep(60.0)

    def _pulse(self, hands, process, _name):
        section = self.world.settings.lease
        while True:
            landed = False
            for home in list(process.homes):
                try:
                    home.beat()
                    landed = True
                except Fenced:
                    home.lost = True
                except OSError:
                    pass
            if landed or not process.homes:
                process.pulse = self.world.time
            hands.clock.sleep(section.beat)

    def _wake(self, process, component):
        for thread in self.threads:
            if thread.process is process and thread.component == component == "retriever":
                thread.wake = min(thread.wake, self.world.time)

    def _work(self, hands, process, name):
        while True:
            home = None
            try:
                home = self._home(hands, process, name)
                component = hands.component(name, home, lambda name: self._wake(process, name))
                while True:
                    step, fault = attempt(hands.edges, name, component, home)
                    if isinstance(step, Moved):
                        continue
                    due = step.due - hands.clock.now() if step.due is not None else 300.0
                    hands.clock.sleep(min(max(due, 1.0), 60.0 if fault else 300.0))
            except Fenced:
                process.homes.remove(home)
                home.lost = True
            except OSError:
                hands.clock.sleep(60.0)

    # --- the scheduler

    def run(self):
        world, rng = self.world, self.random
        faults = sorted(self.case.faults)
        world.hook, world.after, world.scheduler = self.hook, self.after, self
        begun = world.count
        while world.count - begun < self.case.calls:
            while faults and faults[0][0] <= world.count - begun:
                self._strike(faults.pop(0)[1])
            self.threads = [thread for thread in self.threads if not thread.greenlet.dead]
            now = world.time
            ready = [t for t in self.threads if t.wake <= now and self.stalled.get(t.process, 0.0) <= now]
            if not ready:
                waking = [max(t.wake, self.stalled.get(t.process, 0.0)) for t in self.threads]
                if not waking:
                    self.start(rng.choice(self.case.processes))
                    continue
                world.advance(min(waking))
                self._watchdogs()
                continue
            thread = rng.choice(ready)
            self.left = rng.choice((0, 1, 3, 10, 30))
            self.current = thread
            thread.greenlet.switch()
            if rng.random() < 0.02:
                world.let_orphans_write()
        world.hook = world.after = world.scheduler = None
        for process in {thread.process for thread in self.threads}:
            self._kill(process, leash=True)

    def _watchdogs(self):
        # Who slept for half a lease kills itself within a second; a few calls may still get through.
        world = self.world
        for process, until in list(self.stalled.items()):
            if until <= world.time:
                del self.stalled[process]
                if process.alive and world.time - process.pulse >= world.settings.lease.lease / 2:
                    self.doomed[process] = self.random.choice((0, 1, 5, 20, 60))

    def _kill(self, process, *, leash):
        self.world.end(process, leash=leash)
        self.stalled.pop(process, None)
        for thread in self.threads:
            # One that has not begun yet needs no end.
            if thread.process is process and thread.greenlet:
                thread.greenlet.throw(Killed)
        self.threads = [thread for thread in self.threads if thread.process is not process]

    def _strike(self, fault):
        world, rng = self.world, self.random
        alive = [process for process in world.processes if process.alive]
        match fault:
            case "kill" | "kill, hsi lives on":
                if alive:
                    self._kill(rng.choice(alive), leash=fault == "kill")
            case "stall":
                if alive:
                    self.stalled[rng.choice(alive)] = world.time + rng.choice((1000.0, 1900.0, 2800.0, 4000.0))
            case "power loss":
                for process in alive:
                    self._kill(process, leash=True)
                world.power_loss(
                    ws=rng.choice((0.0, 0.5, 1.0)), buffer=rng.choice((0.0, 1.0)), zeros=rng.random() < 0.5
                )
            case "lost reply":
                self.strikes.append(("after", None, "lost"))
            case "ambiguous error":
                self.strikes.append(("after", None, errno.EIO))
            case "disk full":
                self.strikes += [("before", NEED_SPACE, errno.ENOSPC)] * 5
            case "I/O error":
                self.strikes.append(("before", (*MUTATIONS, "read", "names", "sync"), errno.EIO))
            case "HPSS away" | "HPSS away for hours":
                world.hpss.away_until = world.time + (3600 if fault == "HPSS away" else 30 * 3600)
            case "HPSS full":
                world.hpss.full_until = world.time + 3600
            case "listing cut off":
                world.hpss.lists_cut_off = 2
            case "a file vanishes" | "a file grows":
                path = rng.choice(list(world.hpss.files))
                known = world.hpss.files[path]
                grown = replace(known, content=known.content + b"more")
                world.hpss.since.setdefault(path, None if fault == "a file vanishes" else grown)
            case "login expired":
                world.globus.login_until = world.time + 3000
            case "HPSS login lost":
                world.hpss.login_lost = True
            case "429" | "pending" | "consent" | "identical":
                world.globus.refusals.append(fault)
            case "hold" | "unhold" | "release" | "abandon" | "fence" | "submit":
                self.operate(rng.choice(("a", "b", "c")), fault)
            case "Globus away":
                world.globus.away_until = world.time + 3600
            case "new process":
                self.start(rng.choice(self.case.processes))


def make(case):
    files = make_files(case.files, case.tapes, case.seed, joints=case.joints if case.tapes > 1 else 0)
    changes = {"quota": case.quota, "sessions": case.sessions, "handover": case.handover}
    world = World(files, small_settings(tasks=case.tasks, queued=case.queued, **changes))
    world.hpss.limit = case.limit
    world.can_hold = not any(fault in HINDERING for _, fault in case.faults)
    world.globus.at_once = max(case.tasks, 1)
    world.checker = check
    world.hosts["b"].offset = float(case.skew)
    rng = random.Random(case.seed)
    hashed = [path for path, file in files.items() if file.hash]
    for habit in case.habits:
        path = rng.choice(hashed if habit in NEED_A_HASH else list(files))
        of_this = world.hpss.habits.setdefault(path, [])
        # One release is given to each file: what fails more often than that will be given up, rightly.
        of_this.extend((["error"] * 8 if habit == "stubborn" else [habit])[: 8 - len(of_this)])
    world.globus.fates = list(case.fates)
    if case.requests == 1:
        world.drop()
    else:
        for n in range(2):
            world.drop(f"r{n}.json", source=f"{SOURCE}/d{n}", destination=f"{DESTINATION}/d{n}")
    if case.twins:
        same = "0123abcd-4567-4abc-8def-0123456789ab"
        for name in list(world.ws.directory("inbox").entries):
            del world.ws.directory("inbox").entries[name]
        for n in range(2):
            world.drop(f"twin{n}.json", request_id=same)
    return world


def live(case):
    """Let a world live through its faults, and bring it to its end; the world."""
    world = make(case)
    crowd = Crowd(world, case, random.Random(case.seed))
    try:
        for host in case.processes:
            crowd.start(host)
        crowd.run()
    finally:
        world.hook = world.after = world.scheduler = None
        for process in world.processes:
            crowd._kill(process, leash=True)
    heal(world)
    requests = (case.requests if not case.twins else 1) + sum(
        event == "request_submitted" for _, event, _ in world.events
    )
    settle(world, requests)
    survey = check_at_rest(world, quarantine=case.twins)
    check_tasks(world)
    all_accounted_for(world, case, survey)
    return world


def heal(world):
    world.hpss.away_until = world.hpss.full_until = 0.0
    for habits in world.hpss.habits.values():
        habits[:] = [habit for habit in habits if habit != "login lost"]
    world.hpss.lists_cut_off = 0
    world.globus.away_until = world.globus.login_until = 0.0
    world.globus.refusals.clear()


def settle(world, requests):
    """One process and one person bring everything to its end: what is in quarantine is released, and what comes back
    again and again is given up."""
    by_hand(world, "unhold")
    for number in range(8):
        Solo(world, "a").run(lambda world: is_done(world, requests) or is_stuck(world))
        if is_done(world, requests):
            return
        by_hand(world, "release all" if number < 3 else "abandon all")
    raise Violation("what is in quarantine comes back again and again")


def by_hand(world, action):
    process = world.start("c")
    command(Hands(world, process), action, lambda choice: choice[0])
    world.end(process)


def all_accounted_for(world, case, survey):
    """Each file of each request is at its destination, or was given up: by the operator, or because it is no more."""
    faults = {fault for _, fault in case.faults}
    given_up = {
        file.path
        for found in survey.places.values()
        for _, document in found
        for file in document.doc.files
        if file.outcome == "abandoned"
    }
    if "abandon" not in faults and not given_up <= world.hpss.since.keys():
        raise Violation(f"given up, though it could be had: {given_up - world.hpss.since.keys()}")
    if faults.isdisjoint((*SPOILING, "abandon")):
        wanted = {path.replace(SOURCE, DESTINATION, 1): f.content for path, f in world.hpss.files.items()}
        missing = wanted.keys() - world.globus.destination.keys()
        if missing or any(world.globus.destination[path] != content for path, content in wanted.items()):
            raise Violation(f"not all has arrived: {missing}")
    for key, (where, request) in survey.requests.items():
        if not where.startswith("finished/"):
            raise Violation(f"request {key} is in {where}")
        carried = {file.path for unit in request.plan.units for file in survey.places[unit][0][1].doc.files}
        source = request.source if isinstance(request.source, str) else request.source[0]
        there = {path for path in world.hpss.files if path.startswith(source + "/")}
        if carried - there or there - carried - world.hpss.since.keys():
            raise Violation(f"request {key} has carried {carried}, asked for were {there}")

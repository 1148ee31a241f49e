"""Processes that do what `tacc-sync run` does: enter, recover, step the components, wait.

`Solo` is one process with all components and one warden, in a straight line: enough for every search in which a process is
killed and others take over. Only its retrievers, of which there are twice as many as sessions, work at once, for else none
would ever take another one's place: each goes on until it waits for hsi or rings for the others (`Shift`). The crowd's
processes (crowd.py) are built of the same parts.

What they do is not `pipeline/run.py` itself: a Runner is threads, bells and events of the operating system, and here each
worker has to stop at each of its calls and be copied with the world. All that touches the workspace is the same code, though:
a step and what follows from its failure (`pipeline/attempt.py`), homes, recovery, ownership. Said again here are only the
order (claim the workspace, recover, employ, step, beat), and what is done with a step (again at once, or wait until it is
due). The Runner's own loop is tried with real processes, in tests/unit/test_cli_run.py, tests/system and tests/kills.
"""

from __future__ import annotations

from collections import deque

import msgspec
from greenlet import getcurrent, greenlet
from sim_disk import SimDisk
from world import SOURCE, Killed, SimClock, SimGlobus, SimHost, SimHpss, Violation, again

from tacc_sync.operator import control, quarantine
from tacc_sync.operator import submit as submitting
from tacc_sync.operator.hands import hands as operators_hands
from tacc_sync.outside.clock.interface import Clock  # noqa: F401  what SimClock implements
from tacc_sync.pipeline.attempt import World as Edges
from tacc_sync.pipeline.attempt import attempt, tidy
from tacc_sync.pipeline.finisher import Finisher
from tacc_sync.pipeline.globus_xfer import GlobusXfer
from tacc_sync.pipeline.reaper import Reaper
from tacc_sync.pipeline.retriever import Retriever
from tacc_sync.pipeline.sessions import Sessions
from tacc_sync.pipeline.step import Bench, Moved
from tacc_sync.pipeline.syncer import Syncer
from tacc_sync.rules.failing import Streak
from tacc_sync.rules.faults import Fault, Fenced, OperatorFault
from tacc_sync.rules.route import COMPONENTS
from tacc_sync.workspace import layout, ownership
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery

# What the others wait for when a worker's lease has run out and its calls have landed.
LONG = 600.0


class ShortlyWaiting(Home):
    """Asks for the turn a few times less often: what it waits for here is mostly a lease, never another thread."""

    def turn(self, patience=0.05):
        return super().turn(patience)


class Hands:
    """One process's edges."""

    def __init__(self, world, process):
        self.world, self.process = world, process
        self.disk = SimDisk(world, process, world.ws, "/ws")
        self.buffer = SimDisk(world, process, world.buffer, world.buffer_root)
        self.clock, self.host = SimClock(world, process), SimHost(world, process)
        self.hpss, self.globus = SimHpss(world, process), SimGlobus(world, process)
        self.edges = Edges(self.disk, self.buffer, self.clock, self.host, world.settings, world.report)
        self.streak, self.sessions = Streak(), Sessions(world.settings.hsi.sessions)
        self.threads = 0

    def copies(self, component):
        """How many workers of a component a process has."""
        return 2 * self.world.settings.hsi.sessions if component == "retriever" else 1

    def home(self, component):
        self.threads += 1
        return ShortlyWaiting(self.disk, self.buffer, self.clock, self.host, component=component, thread=self.threads)

    def component(self, name, home, wake=lambda _component: None):
        bench = Bench(home, self.world.settings, self.world.report, wake)
        match name:
            case "syncer":
                return Syncer(bench, self.hpss, self.globus)
            case "retriever":
                return Retriever(bench, self.hpss, self.streak, sessions=self.sessions)
            case "globus_xfer":
                return GlobusXfer(bench, self.globus)
            case "reaper":
                return Reaper(bench)
            case _:
                return Finisher(bench)

    def recovery(self, home):
        return Recovery(home, self.edges.lease, lambda event, what: self.world.report(event, what=what))


class Shift:
    """Workers of one process that are at work at once: each takes a step, and another one when it is rung for. One goes on
    until it waits for something outside or rings; then it is another one's turn. Made anew for each round of steps."""

    def __init__(self, world, process, steps, between=lambda: None):
        self.world, self.process, self.steps, self.between = world, process, steps, between
        self.called = deque(range(len(steps)))
        # Greenlets that have paused: until when, and whose step it is.
        self.paused: dict[greenlet, tuple[float, int]] = {}
        self.results: list = []

    def run(self):
        """What the steps returned, as they ended."""
        self.main, self.process.shift = getcurrent(), self
        try:
            while self.called or self.paused:
                self._go_on()
        except BaseException:
            # Of one process: all end together, and in the middle of whatever they do.
            for other in list(self.paused):
                try:
                    other.throw(Killed)
                except Killed:
                    pass
            raise
        finally:
            self.process.shift = None
        return self.results

    def _go_on(self):
        if self.called:
            number = self.called.popleft()
            worker = greenlet(self.steps[number])
        else:
            worker = min(self.paused, key=self.paused.get)
            until, number = self.paused[worker]
            if until > self.world.time:
                self.world.advance(until)
                self.between()
            self.paused.pop(worker)
        self.at_work = number
        result = worker.switch()
        if worker.dead:
            self.results.append(result)
        else:
            self.paused[worker] = result, number

    def ring(self):
        """Called by one of the workers: those that are idle look again, and do so first."""
        busy = {self.at_work, *(number for _, number in self.paused.values())}
        self.called.extend(n for n in range(len(self.steps)) if n not in busy and n not in self.called)
        self.main.switch(self.world.time)

    def sleep(self, process, seconds):
        """Called by one of the workers."""
        if getcurrent() is self.main:
            self.world.advance(self.world.time + seconds)
        else:
            self.main.switch(self.world.time + seconds)
        if not process.alive:
            raise Killed


class Solo:
    """One process in which everybody takes a step in turn."""

    def __init__(self, world, host, components=COMPONENTS):
        self.world, self.names = world, components
        self.process = world.start(host)
        self.hands = Hands(world, self.process)
        self.workers: dict[str, list[tuple]] = {name: [] for name in components}
        self.warden = None
        self.recovery = None
        self.looked_after = world.time

    def enter(self):
        """Take up work; may be called again after a fault that kept somebody out."""
        world = self.world
        if self.warden is None:
            warden = self.hands.home("recovery")
            warden.enter()
            try:
                ownership.claim(warden)
            except OperatorFault as fault:
                raise Violation(f"the workspace is refused: {fault}") from None
            self.warden, self.recovery = warden, self.hands.recovery(warden)
        self._recover()
        for name in self.names:
            while len(self.workers[name]) < self.hands.copies(name):
                self._employ(name)
        self.process.pulse = world.time

    def _employ(self, name):
        home = self.hands.home(name)
        home.enter()
        self.workers[name].append((home, self.hands.component(name, home, self._wake)))

    def _wake(self, component):
        # Of the others each looks in its turn.
        if component == "retriever" and self.process.shift is not None:
            self.process.shift.ring()

    @property
    def homes(self):
        return [home for workers in self.workers.values() for home, _ in workers]

    def _recover(self):
        try:
            tidy(self.hands.edges, self.recovery.round)
        except Fenced:
            self.warden = None

    def cycle(self):
        """A step of everybody; True when anything moved, and else when something is due."""
        moved, dues = False, []
        for name in self.names:
            for step in self.steps_of(name):
                if step is None or isinstance(step, Moved):
                    moved = True
                elif step.due is not None:
                    dues.append(step.due)
        return moved, dues

    def steps_of(self, name):
        """A step of each worker of a component; None for one that was fenced."""
        workers = list(self.workers[name])
        if len(workers) > 1:
            steps = [lambda worker=worker: self._step(name, worker) for worker in workers]
            return Shift(self.world, self.process, steps, self.look_after).run()
        return [self._step(name, worker) for worker in workers]

    def _step(self, name, worker):
        home, component = worker
        if worker not in self.workers[name]:
            return None
        try:
            return attempt(self.hands.edges, name, component, home)[0]
        except Fenced:
            self.world.report("fenced", worker=home.name)
            home.lost = True
            self.workers[name].remove(worker)
            return None

    def beat(self):
        for home in [self.warden, *self.homes]:
            if home is not None:
                try:
                    tidy(self.hands.edges, home.beat)
                except Fenced:
                    home.lost = True
        self.process.pulse = self.world.time

    def look_after(self):
        """Of the dead, and that we are not taken for such, now and then."""
        if self.world.time - self.looked_after > 100:
            self._recover_if_there()
            self.beat()
            self.looked_after = self.world.time

    def run(self, done, seconds=100_000.0):
        """Until done; at the end leave. Violation when that does not come."""
        world = self.world
        idle = 0
        started = self.looked_after = world.time
        world.most = world.count + 400_000
        while world.time - started < seconds:
            try:
                self.enter()
                moved, dues = self.cycle()
            except OSError as error:
                world.report("could_not_enter", text=str(error))
                moved, dues = False, []
            self.look_after()
            if moved:
                idle = 0
                continue
            if done(world):
                self.leave()
                return
            idle += 1
            now = self.hands.clock.now()
            soonest = min((due - now for due in dues), default=LONG)
            self.hands.clock.sleep(min(max(soonest, 1.0 if idle < 3 else 50.0), 100.0 if idle < 3 else LONG))
        raise Violation(f"it does not come to rest: {world.events[-8:]}")

    def _recover_if_there(self):
        if self.recovery is not None:
            self._recover()

    def leave(self):
        for home in [*self.homes, self.warden]:
            if home is not None:
                tidy(self.hands.edges, home.leave)
        self.world.end(self.process)


def command(hands, action, choose):
    """What the operator's commands do, each by the functions behind them. Fails as they do."""
    settings, disk = hands.world.settings, hands.disk
    with operators_hands(disk, hands.clock, hands.host) as home:
        match action:
            case "hold":
                control.hold(home, choose(COMPONENTS), "simulated")
            case "unhold":
                # After a login by hand.
                hands.world.hpss.login_lost = False
                for process in hands.world.processes:
                    process.refused = 0
                for component in COMPONENTS:
                    control.unhold(home, component)
            case "fence":
                # With the buffer, as the command has it where there is one: the part goes first.
                workers = [name for name in disk.names(layout.CLAIMS) if "~" not in name and name != home.name]
                if workers:
                    home.buffer = hands.buffer
                    try:
                        control.fence(home, settings.lease, choose(workers))
                    finally:
                        home.buffer = None
            case "submit":
                document = {"version": 1, "source": SOURCE, "destination": again(hands.world.number())}
                content = msgspec.json.encode(document)
                submitting.put(home, submitting.of_document(content, hands.host, settings.legacy))
                hands.world.report("request_submitted")
            case _:
                entries = quarantine.choose(disk, [], everything=True)
                for entry in entries if action.endswith(" all") else entries[:1]:
                    _decide(hands, home, action.partition(" ")[0], entry)


def _decide(hands, home, action, entry):
    try:
        if action == "release":
            quarantine.release(home, entry, quota=hands.world.settings.buffer.quota)
        else:
            quarantine.abandon(home, entry)
    except Fault as fault:
        hands.world.report("command_refused", command=action, text=str(fault))


__all__ = ["Hands", "Killed", "Shift", "Solo", "command"]

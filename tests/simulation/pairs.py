"""A sleeper and a recoverer: the sleeper Z stops at its step i, past its lease; the recoverer R takes it for dead, fences
it, waits the grace, drains and goes on for j steps; then Z wakes for 1, 3 or all its steps; R ends, Z ends, others run dry.

What Z had on the wire when it stopped lands within the grace, or when Z goes on, whichever comes first. Its hsi is ended
by its lifeline half a lease after its last beat. Z is not made to kill itself, though a real worker would: the laws must
hold without that, but for the session of hsi.
"""

from __future__ import annotations

from crew import Hands, Shift, Solo
from greenlet import getcurrent, greenlet
from searches import DELIVERED, Found, Tally, a_world, conclude, explain
from world import Killed, Violation

from tacc_sync.pipeline.attempt import attempt, tidy
from tacc_sync.pipeline.step import Moved
from tacc_sync.rules.faults import Fenced

WAKES = (1, 3, 10**9)


# --- where the pair begins


def _at_once(world, components, reached):
    """Run these components until a condition holds, then leave the workspace tidy."""
    solo = Solo(world, "a", components)
    for _ in range(200):
        solo.enter()
        for name in components:
            solo.steps_of(name)
            if reached(world):
                solo.leave()
                return world
        solo.hands.clock.sleep(1.0)
    raise AssertionError("the beginning was not reached")


def _count(world, place):
    return sum(name.endswith(".json") for name in world.ws.directory(place).entries)


def beginnings(**changes):
    """name → (component, a world in which that component has something to do)."""

    def fresh(files=3, tapes=1, **more):
        return a_world(files, tapes, **{**changes, **more})

    def ended(world):
        return world.globus.tasks and not world.globus.live()

    to_retriever = ("syncer", "retriever")
    to_globus = (*to_retriever, "globus_xfer")
    submitted = _at_once(fresh(), to_globus, lambda w: len(w.globus.tasks) >= 1)
    submitted.advance(submitted.time + 200)
    assert ended(submitted)
    failing = fresh()
    failing.globus.fates = ["fails half-way"]
    failing = _at_once(failing, to_globus, lambda w: len(w.globus.tasks) >= 1)
    failing.advance(failing.time + 200)
    broken = fresh(1)
    broken.hpss.habits = {min(broken.hpss.files): ["error"]}
    unproven = fresh(1)
    unproven.globus.fates = ["no checksum"]
    return {
        "reaper sends back to Globus": (
            "reaper",
            _at_once(unproven, to_globus, lambda w: _count(w, "reaper_queue")),
        ),
        "syncer": ("syncer", fresh()),
        "retriever": ("retriever", _at_once(fresh(), ("syncer",), lambda w: _count(w, "hpss_queue"))),
        "globus_xfer submits": ("globus_xfer", _at_once(fresh(), to_retriever, lambda w: _count(w, "globus_queue"))),
        "globus_xfer settles": ("globus_xfer", submitted),
        "globus_xfer settles a failure": ("globus_xfer", failing),
        "reaper": ("reaper", _at_once(fresh(), to_globus, lambda w: _count(w, "reaper_queue"))),
        "reaper sends round": (
            "reaper",
            _at_once(broken, to_globus, lambda w: _count(w, "reaper_queue")),
        ),
        "finisher": (
            "finisher",
            _at_once(fresh(), (*to_globus, "reaper"), lambda w: not any(map(w.busy, ("hpss", "globus", "reaper")))),
        ),
    }


# --- the two


class Sleeper:
    """Z: one worker, in a greenlet of its own; or several of one process, which take over from one another (`workers`). With
    a `partner`, it is of that one's process."""

    def __init__(self, world, component, moves=1, workers=1, partner=None):
        self.world, self.component, self.moves, self.partner = world, component, moves, partner
        self.process = partner.process if partner else world.start("a")
        self.hands = partner.hands if partner else Hands(world, self.process)
        self.homes = []
        for _ in range(workers):
            home = self.hands.home(component)
            home.enter()
            self.homes.append(home)
        self.home = self.homes[0]
        self.left = 0
        self.steps = 0
        self.greenlet = self.at = greenlet(self._run)
        self.outside = None
        if partner:
            partner.partner = self

    def _run(self):
        try:
            works = [self.hands.component(self.component, home, self._wake) for home in self.homes]
            steps = [lambda one=one: self._work(*one) for one in zip(works, self.homes, strict=True)]
            if len(steps) > 1:
                Shift(self.world, self.process, steps).run()
            else:
                steps[0]()
            for home in self.homes:
                if not home.lost:
                    tidy(self.hands.edges, home.leave)
        except (Fenced, Killed):
            pass
        if self.partner is None or self.partner.greenlet.dead:
            self.world.end(self.process)

    def _work(self, work, home):
        moves = 0
        for _ in range(8):
            try:
                step, _ = attempt(self.hands.edges, self.component, work, home)
            except Fenced:
                home.lost = True
                break
            moves += isinstance(step, Moved)
            if not isinstance(step, Moved) or moves >= self.moves:
                break

    def _wake(self, component):
        if component == self.component and self.process.shift is not None:
            self.process.shift.ring()

    def is_at_work(self, process):
        """Is it we who are at one of our steps?"""
        return process is self.process and (self.partner is None or getcurrent() is self.greenlet)

    def hook(self, process, kind, path):
        if self.is_at_work(process):
            if self.left <= 0:
                # To whoever let us go on; and here, in one of our workers, it will go on again.
                self.at = getcurrent()
                self.outside.switch()
            self.left -= 1
            self.steps += 1

    def go(self, steps):
        """Run for so many boundaries; False when it has ended."""
        self.left = steps
        if not self.greenlet.dead:
            self.outside = self.greenlet.parent = getcurrent()
            self.at.switch()
        return not self.greenlet.dead

    def kill(self, *, leash=True):
        if not self.greenlet.dead:
            self.world.end(self.process, leash=leash)
            if self.greenlet:
                self.greenlet.parent = getcurrent()
                self.at.throw(Killed)


class Harmless(BaseException):
    """Z ended without having changed anything after it woke: the rest is R alone, which one schedule has tried."""


def recover(world, component, host="b", moves=4):
    """R: sees that the beats have stopped, fences, waits, drains, and does the work."""
    process = world.start(host)
    hands = Hands(world, process)
    warden = hands.home("recovery")
    warden.enter()
    recovery = hands.recovery(warden)
    lease = world.settings.lease
    recovery.round()
    yield process
    recovery.round()
    recovery.round()
    hands.clock.sleep(lease.grace)
    recovery.round()
    home = hands.home(component)
    home.enter()
    work = hands.component(component, home)
    for _ in range(moves):
        step, _ = attempt(hands.edges, component, work, home)
        if not isinstance(step, Moved):
            break
    tidy(hands.edges, home.leave)
    tidy(hands.edges, warden.leave)
    world.end(process)


class Recoverer:
    """Runs R in the main greenlet, and wakes Z at R's step j."""

    def __init__(self, world, sleeper, component):
        self.world, self.sleeper, self.j, self.wake = world, sleeper, -1, 0
        self.steps = 0
        self.parts = recover(world, component)
        world.hook = self.hook
        self.process = next(self.parts)
        # The lease runs out. What Z has on the wire it has sent just now.
        flight, sleeper.process.flight = sleeper.process.flight, None
        world.advance(world.time + world.settings.lease.lease)
        if flight is not None:
            flight.since = world.time
            sleeper.process.flight = flight

    def hook(self, process, kind, path):
        self.sleeper.hook(process, kind, path)
        if process is getattr(self, "process", None):
            process.pulse = self.world.time
            if self.steps == self.j:
                self.where = f"{kind} {path}"
                self.steps += 1
                before = self.world.version, len(self.world.hpss.sessions)
                if not self.sleeper.go(self.wake) and before == (self.world.version, len(self.world.hpss.sessions)):
                    # It found itself fenced and has changed nothing: R goes on as if there had been no Z.
                    raise Harmless
            else:
                self.steps += 1

    def run(self, j, wake):
        """True when step j was reached."""
        self.j, self.wake = j, wake
        for _ in self.parts:
            pass
        return self.steps > j


def fingerprint(world):
    ws = frozenset(
        (path, file.content)
        for path, file in world.ws.below()
        if not path.endswith("heartbeat.json") and not path.startswith("observed/")
    )
    buffer = frozenset((path, file.content) for path, file in world.buffer.below())
    dirs = frozenset(world.buffer.root.entries), frozenset(world.ws.directory("claims").entries)
    tasks = tuple((task.status, task.order.label) for task in world.globus.tasks.values())
    return hash((ws, buffer, dirs, tasks, len(world.globus.destination)))


def schedule(base, component, i, j, wake, tally, seen, workers=1):
    """One schedule; (Z reached i, R reached j)."""
    world = base.clone()
    what = f"Z = {component} sleeps at its step {i}, wakes at R's step {j} for {wake if wake < 10**9 else 'all'} steps"
    sleeper = Sleeper(world, component, workers=workers)
    world.hook = sleeper.hook
    recoverer = None
    reached_j = False
    try:
        alive = sleeper.go(i)
        if not alive:
            return False, False
        recoverer = Recoverer(world, sleeper, component)
        reached_j = recoverer.run(j, wake)
        if reached_j:
            sleeper.go(10**9)
        sleeper.kill()
        world.hook = None
        tally.tried += 1
        mark = fingerprint(world)
        if mark not in seen:
            tally.ending.reach(world, "c")
            seen.add(mark)
    except Harmless:
        reached_j = True
        tally.tried += 1
    except Violation as violation:
        at = getattr(recoverer, "where", "")
        tally.found.append(explain(world, f"{what} ({at})", violation))
        world.hook = None
    finally:
        world.checker = None
        sleeper.kill()
        tally.calls += world.count - base.count
    return True, reached_j


def every_pair(base, component, *, wakes=WAKES, stride=1, offset=0, limit=3, first=0, ending=DELIVERED, workers=1):
    """All i, all j (or every `stride`-th, beginning at a place that moves with i)."""
    tally, seen = Tally(limit, ending=ending), set()
    i = first
    while True:
        most = 0
        for wake in wakes:
            j = (i + offset) % stride
            while True:
                reached_i, reached_j = schedule(base, component, i, j, wake, tally, seen, workers)
                if not reached_i:
                    tally.boundaries = max(tally.boundaries, i)
                    return conclude(tally)
                most = max(most, j)
                if len(tally.found) >= limit:
                    raise Found("\n\n".join(tally.found))
                if not reached_j:
                    break
                j += stride
        i += 1


def every_late(base, component, *, limit=3, ending=DELIVERED, workers=1):
    """Z stops at each of its steps, and wakes when the others have long finished everything."""
    tally = Tally(limit, ending=ending)
    for i in range(10**6):
        world = base.clone()
        sleeper = Sleeper(world, component, workers=workers)
        world.hook = sleeper.hook
        try:
            if not sleeper.go(i):
                tally.boundaries = i
                sleeper.kill()
                break
            flight, sleeper.process.flight = sleeper.process.flight, None
            world.advance(world.time + world.settings.lease.lease)
            if flight is not None:
                flight.land()
                sleeper.process.flight = flight
            # For us: the others have to clear away after it too. No other host can know.
            world.hosts["a"].alive.discard(sleeper.process.pid)
            ending.reach(world, "b")
            sleeper.go(10**9)
            world.hook = None
            ending.reach(world, "c")
        except Violation as violation:
            tally.found.append(
                explain(world, f"Z = {component} sleeps at its step {i} till all is finished", violation)
            )
        finally:
            world.hook = world.checker = None
            sleeper.kill()
        tally.tried += 1
        tally.calls += world.count - base.count
        if len(tally.found) >= limit:
            break
    return conclude(tally)


def every_two(
    base, component, other=None, *, stride=1, offset=0, limit=3, moves=2, ending=DELIVERED, one_process=False
):
    """Two living workers, of one process or of two: A stops at its step i, B goes on up to its step j, A ends its work, B
    ends, others run dry."""
    tally, seen = Tally(limit), set()
    other = other or component
    i = 0
    while True:
        j = (i + offset) % stride
        while True:
            world = base.clone()
            first = Sleeper(world, component, moves)
            second = Sleeper(world, other, moves, partner=first if one_process else None)

            def hook(process, kind, path, first=first, second=second):
                first.hook(process, kind, path)
                second.hook(process, kind, path)

            world.hook = hook
            try:
                if not first.go(i):
                    tally.boundaries = i
                    first.kill()
                    second.kill()
                    return conclude(tally)
                alive = second.go(j)
                first.go(10**9)
                second.go(10**9)
                world.hook = None
                tally.tried += 1
                mark = fingerprint(world)
                if mark not in seen:
                    ending.reach(world, "c")
                    seen.add(mark)
            except Violation as violation:
                what = f"A = {component} stops at its step {i}, B = {other} at its step {j}"
                tally.found.append(explain(world, what, violation))
                alive = True
            finally:
                world.hook = world.checker = None
                first.kill()
                second.kill()
                tally.calls += world.count - base.count
            if len(tally.found) >= limit:
                raise Found("\n\n".join(tally.found))
            if not alive:
                break
            j += stride
        i += 1


def every_fencing(base, component="retriever", *, stride=1, offset=0, limit=3, ending=DELIVERED):
    """Of two workers of a process one is fenced by hand at their step i, and drained, after the grace, at their step i + j;
    the other one lives all the time, and goes on."""
    tally, seen = Tally(limit), set()
    i = 0
    while True:
        for victim in (0, 1):
            j = (i + offset) % stride
            while True:
                reached_i, reached_j = _fencing(base, component, victim, i, j, tally, seen, ending)
                if not reached_i:
                    tally.boundaries = max(tally.boundaries, i)
                    return conclude(tally)
                if len(tally.found) >= limit:
                    raise Found("\n\n".join(tally.found))
                if not reached_j:
                    break
                j += stride
        i += 1


def _fencing(base, component, victim, i, j, tally, seen, ending):
    world = base.clone()
    sleeper = Sleeper(world, component, workers=2)
    world.hook = sleeper.hook
    reached_j = False
    try:
        if not sleeper.go(i):
            return False, False
        process = world.start("b")
        hands = Hands(world, process)
        warden = hands.home("recovery")
        warden.enter()
        recovery = hands.recovery(warden)
        home = sleeper.homes[victim]
        recovery.fence(home.name)
        recovery.round()
        # Its next beat tells it.
        home.lost = True
        reached_j = sleeper.go(j)
        for _ in range(2):
            # The other one goes on beating, and what a process has on the wire lands within the grace.
            sleeper.process.pulse = process.pulse = world.time
            world.advance(world.time + world.settings.lease.grace / 2 + 1.0)
        sleeper.process.pulse = world.time
        for session in world.hpss.sessions:
            # Long before: it is asked once a second whether it may go on.
            session.alive &= home.name not in session.fetches[0].local_path
        recovery.round()
        tidy(hands.edges, warden.leave)
        world.end(process)
        sleeper.go(10**9)
        world.hook = None
        tally.tried += 1
        mark = fingerprint(world)
        if mark not in seen:
            ending.reach(world, "c")
            seen.add(mark)
    except Violation as violation:
        what = f"{component} {victim} is fenced at step {i}, and drained {j} steps later"
        tally.found.append(explain(world, what, violation))
        world.hook = None
    finally:
        world.hook = world.checker = None
        sleeper.kill()
        tally.calls += world.count - base.count
    return True, reached_j

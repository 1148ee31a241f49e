"""What all five components share: recover, claim, do, move, wait with a reason.

Guarantee: starting is recovering, and being killed is a way to stop. A fault of the world gives every claim back and
counts nothing; a worker that could not beat for half a lease dies, its hsi with it, before anybody takes its claims.
Nothing is begun in a workspace that was copied or restored, or whose buffer is not there (workspace/ownership.py).
Fails with `OperatorFault` of the latter, at the start only, and `OSError`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from tacc_sync.outside.clock.interface import Bell
from tacc_sync.pipeline.attempt import Factory, World, attempt, stand_down, tidy
from tacc_sync.pipeline.step import Bench, Component, Moved, Step, Waits
from tacc_sync.rules import liveness
from tacc_sync.rules.faults import Fault, Fenced, WorldFault, of_os_error
from tacc_sync.workspace import layout, ownership
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery, remove_tree

# A run that goes on until nothing moves any more waits for what is due by itself within so many seconds.
SOON = 90.0
# A look that found nothing to do is repeated, unasked, no sooner than after so many times the CPU it took, and at most
# FAR times the usual pause: of ten thousand units that wait, nine workers are to cost less than a hundredth of a core.
# Who is rung for, and what is due, does not wait.
REST_AFTER_LOOK = 1000.0
FAR = 12.0
# The same for a run that ends when nothing moves: it has to find everybody at rest.
REST_AT_ONCE = 30.0


@dataclass(slots=True)
class Worker:
    """One thread's state, as the others of this process see it."""

    component: str
    number: int
    bell: Bell
    home: Home | None = None
    step: Step | None = None
    fault: Fault | None = None
    seen_generation: int = -1
    # It is at work, or looks whether there is some: what `step` says is of earlier.
    busy: bool = False
    # Our heartbeat does not say yet what we wait for.
    unsaid: bool = False


@dataclass(slots=True)
class Ending:
    """How a run ended: what each component waits for, and the faults that it stood down for."""

    waits: dict[str, Waits] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


class Runner:
    """All the workers of one process."""

    def __init__(self, world: World, components: Mapping[str, Factory], copies: Mapping[str, int]) -> None:
        self._world = world
        self._factories = components
        self._workers = [
            Worker(name, number, world.clock.bell()) for name in components for number in range(copies.get(name, 1))
        ]
        self._stop = threading.Event()
        # Nothing has to be kept alive any more.
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._generation = 0
        # When somebody of a component has last begun to look unasked.
        self._looked: dict[str, float] = {}
        # Its workers that wait for their turn to, first to last.
        self._in_turn: dict[str, list[Worker]] = {}
        self._longest_pause = float("inf")
        # Why nobody may do anything for now: this workspace is not the right one any more, or its buffer not there.
        self._refusal: Fault | None = None

    def stop(self) -> None:
        """Take no new work; what is begun is brought to its end."""
        self._stop.set()
        for worker in self._workers:
            worker.bell.ring()

    def wake(self, component: str) -> None:
        """Something has come for a component."""
        for worker in self._workers:
            if worker.component == component:
                worker.bell.ring()

    def run(self, *, once: bool = False, seconds: float | None = None) -> Ending:
        """Run until stopped, for a time, or (once) until nothing moves any more."""
        world = self._world
        if once:
            # The end is near when everybody has looked and found nothing, so everybody looks often.
            self._longest_pause = 0.25
        started = world.clock.uptime()
        homes: list[Home] = []
        begun = self._begin(homes, once=once, until=None if seconds is None else started + seconds)
        if isinstance(begun, Ending):
            self._over.set()
            return begun
        warden, recovery = begun
        # Starting is recovering: what a dead predecessor on this host held is back in the queues before anybody looks.
        tidy(world, recovery.round)
        threads = [threading.Thread(target=self._live, args=(worker, homes), daemon=True) for worker in self._workers]
        for target in (self._beat_for_all, self._watch_for_all):
            threading.Thread(target=target, args=(homes,), daemon=True).start()
        for thread in threads:
            thread.start()
        next_round = world.clock.uptime() + min(60.0, world.lease.lease / 10)
        while not self._stop.wait(0.05 if once else 0.5):
            now = world.clock.uptime()
            if seconds is not None and now - started >= seconds:
                self.stop()
            if once and self._is_quiet():
                self.stop()
            if now >= next_round:
                next_round = now + min(60.0, world.lease.lease / 10)
                tidy(world, self._look_whose_it_is)
                if self._refusal is not None:
                    continue
                try:
                    tidy(world, recovery.round)
                except Fenced:
                    self._forget(homes, warden)
                    warden, recovery = self._warden(homes)
        for thread in threads:
            thread.join()
        tidy(world, warden.leave)
        self._over.set()
        return self._ending()

    def snapshot(self) -> list[Worker]:
        """The workers, for a progress display."""
        return list(self._workers)

    # --- one worker -------------------------------------------------------------------------------------------

    def _home(self, component: str, number: int) -> Home:
        world = self._world
        return Home(world.disk, world.buffer, world.clock, world.host, component=component, thread=number)

    def _begin(self, homes: list[Home], *, once: bool, until: float | None) -> tuple[Home, Recovery] | Ending:
        """Enter; a world in which that cannot be done now (a full disk, say) is waited for, as it is later on."""
        world = self._world
        bell = world.clock.bell()
        while True:
            try:
                return self._enter_all(homes)
            except (WorldFault, OSError) as error:
                fault = error if isinstance(error, WorldFault) else of_os_error(error, "run")
                if fault is None:
                    raise
                world.report("stood_down", component="run", code=fault.code, text=fault.text, remedy=fault.remedy)
                over = until is not None and world.clock.uptime() >= until
                if once or over or self._stop.is_set():
                    return Ending(faults=[fault])
            pause = world.clock.uptime() + (fault.retry_after or world.settings.run.stand_down)
            while not self._stop.is_set() and world.clock.uptime() < pause:
                world.clock.wait(bell, 0.5)

    def _enter_all(self, homes: list[Home]) -> tuple[Home, Recovery]:
        world = self._world
        ownership.must_be_ours(world.disk, world.buffer, world.settings.run.also_at, world.clock.sleep)
        if world.buffer is not None:
            layout.open_buffer(world.buffer)
        # What we start from now on may run for as long as somebody beats.
        world.pulse()
        warden, recovery = self._warden(homes)
        try:
            ownership.claim(warden, world.settings.run.also_at)
        except (Fault, OSError):
            # Another workspace has just marked the same buffer; or nothing can be written.
            self._forget(homes, warden)
            tidy(world, warden.leave)
            raise
        return warden, recovery

    def _enter(self, home: Home) -> None:
        try:
            ownership.must_be_ours(home.disk, home.buffer, self._world.settings.run.also_at, self._world.clock.sleep)
            home.enter()
        except Exception:
            # Its name has never been a home: nobody knows of what was made of it, and the next try has another name.
            tidy(self._world, lambda: remove_tree(self._world.disk, layout.home(layout.UNBORN + home.name)))
            raise

    def _warden(self, homes: list[Home]) -> tuple[Home, Recovery]:
        """Who looks after the dead of this workspace, on behalf of this process."""
        world = self._world
        warden = self._home("recovery", 0)
        self._enter(warden)
        homes.append(warden)
        return warden, Recovery(warden, world.lease, lambda event, what: world.report(event, what=what))

    def _look_whose_it_is(self) -> None:
        """A buffer may be unmounted, a backup restored or a copy begun while we run."""
        world = self._world
        try:
            ownership.must_be_ours(world.disk, world.buffer, world.settings.run.also_at, world.clock.sleep)
        except Fault as fault:
            self._refusal = fault
        else:
            self._refusal = None

    @staticmethod
    def _forget(homes: list[Home], home: Home) -> None:
        # From now on nobody beats for it. A session that still runs on its behalf is ended.
        home.lost = True
        if home in homes:
            homes.remove(home)

    def _live(self, worker: Worker, homes: list[Home]) -> None:
        world = self._world
        while not self._stop.is_set():
            home = self._home(worker.component, worker.number)
            worker.home = home
            try:
                self._enter(home)
                homes.append(home)
                component = self._factories[worker.component](Bench(home, world.settings, world.report, self.wake))
                while not self._stop.is_set():
                    self._turn_of(worker, component, home)
                self._forget(homes, home)
                tidy(world, home.leave)
            except Fenced:
                # Whatever we held is somebody else's now. A new home, a new name, a new start.
                self._forget(homes, home)
                worker.busy = False
                world.report("fenced", component=worker.component, worker=home.name)
            except Exception as error:  # noqa: BLE001  a thread that dies in silence would look like one that waits
                worker.seen_generation = self._generation
                worker.step, worker.fault = stand_down(world, worker.component, home, error)
                worker.busy = False
                world.clock.wait(worker.bell, world.settings.run.stand_down)

    def _turn_of(self, worker: Worker, component: Component, home: Home) -> None:
        world = self._world
        worker.busy = True
        generation = self._generation
        refusal = self._refusal
        begun = world.clock.effort()
        done: tuple[Step, Fault | None] = (
            attempt(world, worker.component, component, home)
            if refusal is None
            else stand_down(world, worker.component, home, refusal)
        )
        step, fault = done
        with self._lock:
            worker.step, worker.fault, worker.busy = step, fault, False
            if isinstance(step, Moved):
                self._generation += 1
                return
            worker.seen_generation = generation
        self._say(worker, home, step)
        now = world.clock.now()
        if fault is not None:
            # A bell does not mend the world. The operator's stop does end the wait.
            until = world.clock.uptime() + ((step.due or now) - now)
            while not self._stop.is_set() and world.clock.uptime() < until:
                world.clock.wait(worker.bell, max(0.01, until - world.clock.uptime()))
            return
        took, poll = world.clock.effort() - begun, world.settings.run.poll
        pause = min(poll, self._longest_pause)
        rest = REST_AFTER_LOOK if self._longest_pause > poll else REST_AT_ONCE
        pause = max(pause, min(took * rest, FAR * poll))
        if step.due is not None:
            pause = min(pause, max(0.01, step.due - now))
        self._rest(worker, pause, in_turn=poll < pause)

    def _rest(self, worker: Worker, pause: float, *, in_turn: bool) -> None:
        """Wait to be rung for, or until it is time to look unasked. Where looks cost much the workers of a component
        look in turn, who has waited longest first: what one of them does not find, another one would not find either.
        """
        clock, left = self._world.clock, pause
        if not in_turn:
            clock.wait(worker.bell, left)
            return
        with self._lock:
            waiting = self._in_turn.setdefault(worker.component, [])
            waiting.append(worker)
        is_its_turn = False
        while not is_its_turn and not clock.wait(worker.bell, left) and not self._stop.is_set():
            with self._lock:
                now = clock.uptime()
                left = self._looked.get(worker.component, now - pause) + pause - now
                is_its_turn = left <= 0 and waiting[0] is worker
                if is_its_turn:
                    self._looked[worker.component] = now
                elif left <= 0:
                    left = self._world.settings.run.poll
        with self._lock:
            waiting.remove(worker)

    def _say(self, worker: Worker, home: Home, step: Waits) -> None:
        if home.doing != ("", step.waits_for):
            home.say(waits_for=step.waits_for, upcoming=step.upcoming)
            worker.unsaid = True
        # A heartbeat costs a write: often enough for a person, not at every change. Who stands down will not come by
        # here again soon.
        if worker.unsaid and (worker.fault is not None or home.clock.uptime() - home.last_beat > 2.0):
            tidy(self._world, home.beat)
            worker.unsaid = False

    # --- the whole process ------------------------------------------------------------------------------------

    def _beat_for_all(self, homes: list[Home]) -> None:
        world = self._world
        while not self._over.is_set():
            world.clock.sleep(min(world.lease.beat, 5.0))
            for home in list(homes):
                if world.clock.uptime() - home.last_beat < world.lease.beat:
                    continue
                try:
                    home.beat()
                except Fenced:
                    home.lost = True
                except OSError as error:
                    world.report("could_not_beat", worker=home.name, text=str(error))
            # Only a process whose beats land keeps its hsi alive.
            if not any(liveness.must_die(home.last_beat, world.clock.uptime(), world.lease) for home in list(homes)):
                world.pulse()

    def _watch_for_all(self, homes: list[Home]) -> None:
        # Does no input and output, so that it cannot hang with the disk: see SUICIDE_SHARE.
        world = self._world
        while not self._over.is_set():
            for home in list(homes):
                if not home.lost and liveness.must_die(home.last_beat, world.clock.uptime(), world.lease):
                    world.die(f"{home.name} could not beat for half a lease")
            world.clock.sleep(min(1.0, world.lease.lease / 20))

    def _is_quiet(self) -> bool:
        now = self._world.clock.now()
        with self._lock:
            for worker in self._workers:
                step = worker.step
                if worker.busy or not isinstance(step, Waits) or worker.seen_generation != self._generation:
                    return False
                soon = worker.fault is None and step.due is not None and step.due - now < SOON
                if step.moving or soon:
                    return False
        return True

    def _ending(self) -> Ending:
        ending = Ending()
        for worker in self._workers:
            if isinstance(worker.step, Waits):
                ending.waits.setdefault(worker.component, worker.step)
            if worker.fault is not None:
                ending.faults.append(worker.fault)
        return ending

"""What all five components share: recover, claim, do, move, wait with a reason.

Guarantee: starting is recovering, and being killed is a way to stop. A fault of the world gives every claim back and
counts nothing; a worker that could not beat for half a lease dies, its hsi with it, before anybody takes its claims.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tacc_sync.outside.clock.interface import Bell, Clock
from tacc_sync.outside.host.interface import Host
from tacc_sync.pipeline.step import Bench, Component, Moved, Report, Step, Waits
from tacc_sync.rules import liveness
from tacc_sync.rules.faults import Fault, Fenced, OperatorFault, WorldFault, of_os_error
from tacc_sync.rules.liveness import Lease
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery, give_back

Factory = Callable[[Bench], Component]

# Trying again by ourselves could do harm (lock an account, ask for a password for ever): the component holds itself.
HOLDING = frozenset({"HPSS-UNAUTHENTICATED"})
# A run that goes on until nothing moves any more waits for what is due by itself within so many seconds.
SOON = 90.0


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


@dataclass(frozen=True, slots=True)
class World:
    """The edges that every worker needs."""

    disk: Disk
    buffer: Disk | None
    clock: Clock
    host: Host
    settings: Settings
    report: Report
    # Tells what outlives a blocked thread (hsi) that we are alive.
    pulse: Callable[[], None] = lambda: None
    # Ends this process at once.
    die: Callable[[str], None] = lambda _why: None

    @property
    def lease(self) -> Lease:
        """When a silent worker is taken for dead."""
        section = self.settings.lease
        return Lease(section.beat, section.lease, section.grace, section.turn)


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
        self._lock = threading.Lock()
        self._generation = 0

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
        if world.buffer is not None:
            layout.open_buffer(world.buffer)
        warden = self._home("recovery", 0, with_buffer=True)
        warden.enter()
        recovery = Recovery(warden, world.lease, lambda event, what: world.report(event, what=what))
        # Starting is recovering: what a dead predecessor on this host held is back in the queues before anybody looks.
        recovery.round()
        homes = [warden]
        threads = [threading.Thread(target=self._live, args=(worker, homes), daemon=True) for worker in self._workers]
        for target in (self._beat_for_all, self._watch_for_all):
            threading.Thread(target=target, args=(homes,), daemon=True).start()
        for thread in threads:
            thread.start()
        started = world.clock.uptime()
        next_round = started + min(60.0, world.lease.lease / 10)
        while not self._stop.wait(0.05 if once else 0.5):
            now = world.clock.uptime()
            if seconds is not None and now - started >= seconds:
                self.stop()
            if once and self._is_quiet():
                self.stop()
            if now >= next_round:
                next_round = now + min(60.0, world.lease.lease / 10)
                self._guard(recovery.round)
        for thread in threads:
            thread.join()
        self._guard(warden.leave)
        homes.clear()
        return self._ending()

    def snapshot(self) -> list[Worker]:
        """The workers, for a progress display."""
        return list(self._workers)

    # --- one worker -------------------------------------------------------------------------------------------

    def _home(self, component: str, number: int, *, with_buffer: bool) -> Home:
        world = self._world
        return Home(
            world.disk,
            world.buffer if with_buffer else None,
            world.clock,
            world.host,
            component=component,
            thread=number,
        )

    def _live(self, worker: Worker, homes: list[Home]) -> None:
        world = self._world
        while not self._stop.is_set():
            home = self._home(worker.component, worker.number, with_buffer=world.buffer is not None)
            worker.home = home
            try:
                home.enter()
                homes.append(home)
                component = self._factories[worker.component](Bench(home, world.settings, world.report, self.wake))
                while not self._stop.is_set():
                    self._turn_of(worker, component, home)
                homes.remove(home)
                self._guard(home.leave)
            except Fenced:
                # Whatever we held is somebody else's now. A new home, a new name, a new start.
                home.lost = True
                homes.remove(home)
                world.report("fenced", component=worker.component, worker=home.name)
            except Exception as error:  # noqa: BLE001  a thread that dies in silence would look like one that waits
                worker.step, worker.fault = self._stand_down(worker, home, error)
                world.clock.wait(worker.bell, world.settings.run.stand_down)

    def _turn_of(self, worker: Worker, component: Component, home: Home) -> None:
        world = self._world
        generation = self._generation
        step, fault = self._attempt(worker, component, home)
        worker.step, worker.fault = step, fault
        if isinstance(step, Moved):
            with self._lock:
                self._generation += 1
            return
        worker.seen_generation = generation
        self._say(home, step)
        now = world.clock.now()
        if fault is not None:
            # A bell does not mend the world. The operator's stop does end the wait.
            until = world.clock.uptime() + ((step.due or now) - now)
            while not self._stop.is_set() and world.clock.uptime() < until:
                world.clock.wait(worker.bell, max(0.01, until - world.clock.uptime()))
            return
        pause = world.settings.run.poll
        if step.due is not None:
            pause = min(pause, max(0.01, step.due - now))
        world.clock.wait(worker.bell, pause)

    def _attempt(self, worker: Worker, component: Component, home: Home) -> tuple[Step, Fault | None]:
        try:
            if queues.is_held(self._world.disk, worker.component):
                return Waits("the operator", f"`tacc-sync unhold {worker.component}` lets it go on"), None
            return component.step(), None
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is reported, and the claim given back
            return self._stand_down(worker, home, error)

    @staticmethod
    def _say(home: Home, step: Waits) -> None:
        if home.doing != ("", step.waits_for):
            home.say(waits_for=step.waits_for, upcoming=step.upcoming)
            # A heartbeat costs a write: often enough for a person, not at every change.
            if home.clock.uptime() - home.last_beat > 2.0:
                home.beat()

    def _stand_down(self, worker: Worker, home: Home, error: Exception) -> tuple[Waits, Fault]:
        """Somebody's fault: give back what we hold, and say how long we wait."""
        world = self._world
        now, pause = world.clock.now(), world.settings.run.stand_down
        fault: Fault
        if isinstance(error, WorldFault):
            fault, pause = error, error.retry_after or pause
        elif isinstance(error, OperatorFault):
            fault = error
            pause *= 5
            if error.code in HOLDING:
                self._guard(lambda: world.disk.create(f"{layout.HOLD}/{worker.component}", f"{error}\n".encode()))
        elif isinstance(error, OSError) and (known := of_os_error(error, worker.component)):
            fault = known
        else:
            text = "".join(traceback.format_exception(error))
            world.report("error_of_ours", component=worker.component, traceback=text)
            fault = Fault("OURS", f"{type(error).__name__}: {error}", "report it, with the traceback in the log")
        if fault.code != "OURS":
            world.report(
                "stood_down",
                component=worker.component,
                code=fault.code,
                text=fault.text,
                remedy=fault.remedy,
            )
        self._guard(lambda: give_back(home, home.path, home.name, lambda *_: None))
        return Waits(str(fault), fault.remedy or "tries again by itself", now + pause), fault

    def _guard(self, operation: Callable[[], None]) -> None:
        """Do something that may fail without harm: recovery makes up for it."""
        try:
            operation()
        except (OSError, Fenced) as error:
            self._world.report("could_not_tidy", text=f"{type(error).__name__}: {error}")

    # --- the whole process ------------------------------------------------------------------------------------

    def _beat_for_all(self, homes: list[Home]) -> None:
        world = self._world
        while homes:
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
        while homes:
            for home in list(homes):
                if not home.lost and liveness.must_die(home.last_beat, world.clock.uptime(), world.lease):
                    world.die(f"{home.name} could not beat for half a lease")
            world.clock.sleep(min(1.0, world.lease.lease / 20))

    def _is_quiet(self) -> bool:
        now = self._world.clock.now()
        with self._lock:
            for worker in self._workers:
                step = worker.step
                if not isinstance(step, Waits) or worker.seen_generation != self._generation:
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

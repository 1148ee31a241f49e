"""One step of a component, and what follows from whose fault its failure is.

Guarantee: after a fault that the worker survives nothing is claimed any more: it lies in its queue again, uncounted
when the fault was the world's; an error of ours is reported with its traceback and has the same effect.
Fails with `Fenced` only.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.host.interface import Host
from tacc_sync.pipeline.step import Bench, Component, Report, Step, Waits, Watcher
from tacc_sync.pipeline.trouble import hold_where_trying_harms
from tacc_sync.rules.faults import Fault, Fenced, OperatorFault, WorldFault, of_os_error
from tacc_sync.rules.liveness import Lease
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import ownership, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import give_back, remove_tree

Factory = Callable[[Bench], Component]


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


def attempt(world: World, name: str, component: Component, home: Home) -> tuple[Step, Fault | None]:
    """One step; with the fault when the component has to stand down."""
    try:
        if home.must_give_back:
            _give_back(home)
        if queues.is_held(world.disk, name):
            # No new work; what is at work outside is still brought to its end.
            if isinstance(component, Watcher) and not isinstance(step := component.watch(), Waits):
                return step, None
            return Waits("the operator", f"`tacc-sync unhold {name}` lets it go on"), None
        return component.step(), None
    except Fenced:
        raise
    except OSError as error:
        if of_os_error(error, name) is None:
            if (refusal := _refusal(world)) is not None:
                # What is not to be found is not ours, or not mounted: nobody has fenced us.
                return stand_down(world, name, home, refusal)
            if _is_fenced(world, home):
                raise Fenced(home.name) from error
        return stand_down(world, name, home, error)
    except Exception as error:  # noqa: BLE001  whatever it is, it is reported, and the claim given back
        return stand_down(world, name, home, error)


def stand_down(world: World, name: str, home: Home, error: Exception) -> tuple[Waits, Fault]:
    """Somebody's fault: give back what we hold, and say how long we wait."""
    now, pause = world.clock.now(), world.settings.run.stand_down
    fault: Fault
    if isinstance(error, WorldFault):
        fault, pause = error, error.retry_after or pause
    elif isinstance(error, OperatorFault):
        fault = error
        pause *= 5
        tidy(world, lambda: hold_where_trying_harms(world.disk, name, fault))
    elif isinstance(error, Fault):
        fault = error
    elif isinstance(error, OSError) and (known := of_os_error(error, name)):
        fault = known
    else:
        text = "".join(traceback.format_exception(error))
        world.report("error_of_ours", component=name, traceback=text)
        fault = Fault("OURS", f"{type(error).__name__}: {error}", "report it, with the traceback in the log")
    if fault.code != "OURS":
        world.report("stood_down", component=name, code=fault.code, text=fault.text, remedy=fault.remedy)
    home.must_give_back = True
    tidy(world, lambda: _give_back(home))
    return Waits(str(fault), fault.remedy or "tries again by itself", now + pause), fault


def _refusal(world: World) -> Fault | None:
    try:
        ownership.must_be_ours(world.disk, world.buffer, world.settings.run.also_at)
    except Fault as fault:
        return fault
    except OSError as error:
        _could_not_tidy(world, error)
    return None


def _is_fenced(world: World, home: Home) -> bool:
    try:
        return home.is_fenced()
    except OSError as error:
        _could_not_tidy(world, error)
        return False


def _give_back(home: Home) -> None:
    # When this fails too (the disk is still full), it is done before the next step.
    give_back(home, home.path, home.name, lambda *_: None)
    if home.buffer is not None:
        # What an interrupted session left half-written is nobody's, and would keep us from leaving.
        for left in home.buffer.names(home.part):
            remove_tree(home.buffer, f"{home.part}/{left}")
    home.must_give_back = False


def tidy(world: World, operation: Callable[[], None]) -> None:
    """Do something that may fail without harm: recovery makes up for it."""
    try:
        operation()
    except OSError as error:
        _could_not_tidy(world, error)


def _could_not_tidy(world: World, error: OSError) -> None:
    world.report("could_not_tidy", text=f"{type(error).__name__}: {error}")

"""A campaign: one request for a whole catalogue, carried by the real components under a simulated clock.

Syncer, retriever, globus_xfer, reaper and finisher, the workspace's code and all rules are those of production; only
the neighbours are simulated: the archive with its drives, the transfer service with its network, disks, host and clock.
What they do is checked while it happens: the buffer is never above its quota, a cartridge never in two sessions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from heapq import heapreplace
from typing import Any, TypeVar

from tacc_sync.campaign.archive import Figures, Library, SimHpss
from tacc_sync.campaign.catalogues import Catalogue
from tacc_sync.campaign.kernel import EPOCH, Kernel, SimBell, SimClock
from tacc_sync.campaign.memory_disk import Content, Copy, MemoryDisk
from tacc_sync.campaign.service import Network, Service, SimGlobus
from tacc_sync.campaign.tape_model import Geometries
from tacc_sync.campaign.weather import Trouble, Weather
from tacc_sync.outside.host.interface import ProcessIdentity
from tacc_sync.pipeline.attempt import World, attempt
from tacc_sync.pipeline.finisher import Finisher
from tacc_sync.pipeline.globus_xfer import GlobusXfer
from tacc_sync.pipeline.reaper import Reaper
from tacc_sync.pipeline.retriever import Retriever
from tacc_sync.pipeline.sessions import Sessions
from tacc_sync.pipeline.step import Bench, Component, Moved, Step, Waits
from tacc_sync.pipeline.syncer import Syncer
from tacc_sync.rules import documents, measuring
from tacc_sync.rules.documents import Request
from tacc_sync.rules.failing import Streak
from tacc_sync.rules.faults import Fault
from tacc_sync.rules.identity import parse_entry
from tacc_sync.rules.route import FINISHED, GLOBUS_QUEUE, HPSS_QUEUE
from tacc_sync.rules.settings import Settings
from tacc_sync.rules.site_rates import SiteRates
from tacc_sync.workspace import layout, ownership
from tacc_sync.workspace.home import Home

_Result = TypeVar("_Result")

# Nobody waits longer than this without looking again, whatever nobody woke him for.
LONGEST_LOOK = 3600.0
# After so long without any event nothing will come any more: longer than any maintenance, rest or patience.
STILL = 30 * 86400.0
# What a retriever decides on: while nothing of this changes, nor does its decision.
LOOKED_AT = (
    HPSS_QUEUE,
    GLOBUS_QUEUE,
    layout.SLOTS,
    layout.RESERVATIONS,
    layout.CARTRIDGES,
    layout.RESTS,
    layout.LOANS,
    layout.HOLD,
)


class Broken(Exception):
    """A law did not hold in a simulation: what, and when."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a campaign runs in. `buffer`: bytes of quota, 0 is no limit. `idle_dismount`: seconds until a cartridge that
    nobody uses is dismounted. `session_start`: seconds for hsi to start and log in. `hash_rate`: bytes a second that
    one core hashes; `cores`: how many do. `hashes`: the archive keeps one of each file, so that what is hashed while it
    arrives can be believed. `measured`: network and drives were, so that units are large enough for the network.
    `outstanding`: how many requests of a session the archive may choose from,
    as with `recall = "stage"`; 1: it carries them out as they come. `longest`: seconds after which a campaign is given
    up."""

    drives: int
    buffer: int
    network: Network
    idle_dismount: float = 900.0
    session_start: float = 2.0
    hash_rate: float = 500e6
    cores: int = 16
    hashes: bool = True
    measured: bool = True
    outstanding: int = 1
    trouble: Trouble = field(default_factory=Trouble)
    settings: Settings = field(default_factory=Settings)
    seed: int = 1
    longest: float = 10 * 365 * 86400.0


@dataclass(slots=True)
class Sample:
    """The state at a time: bytes reserved, bytes in the buffer, bytes delivered so far, seconds of reading by the
    drives and of moving by the network."""

    at: float
    reserved: int
    held: int
    delivered: int
    reading: float
    moving: float


@dataclass(slots=True)
class Outcome:
    """How a campaign went: seconds until the request was finished (`finished` False: it never was), the drives'
    figures, seconds in which the network moved something, most bytes reserved and most in the buffer at any instant,
    units, files delivered, rounds beyond the first. `units_finished` of the planned ones; the longest time that one lay
    in hpss_queue, and the longest time for which no session was on a tape that was begun and had units waiting
    (`longest_pause`; rests after a failure and maintenance included)."""

    makespan: float
    finished: bool
    drives: Figures
    network_busy: float
    network_bytes: float
    most_reserved: int
    most_held: int
    units: int
    delivered_files: int
    delivered_bytes: int
    more_rounds: int
    tasks: int
    samples: list[Sample]
    events: dict[str, int]
    # By the key of each request.
    finished_at: dict[str, float] = field(default_factory=dict)
    units_finished: int = 0
    longest_wait: float = 0.0
    longest_pause: float = 0.0


def run(
    catalogue: Catalogue, scene: Scene, geometries: Geometries | None = None, requests: Sequence[Request] = ()
) -> Outcome:
    """Run a campaign to its end: that of these requests, or of one for all of the catalogue."""
    return Campaign(catalogue, scene, geometries or Geometries(catalogue.medium, scene.seed), requests).run()


class Campaign:
    """One request (or a few), one process with all workers."""

    def __init__(
        self, catalogue: Catalogue, scene: Scene, geometries: Geometries, requests: Sequence[Request] = ()
    ) -> None:
        self.kernel = kernel = Kernel()
        self.scene = scene
        self.weather = Weather(scene.trouble)
        self.executor = _SimExecutor(kernel, scene.cores)
        self.disk = MemoryDisk("/simulated/workspace", packs=FINISHED)
        self.buffer = MemoryDisk(
            "/simulated/buffer",
            hash_rate=scene.hash_rate,
            # All drives read at once, and share the cores.
            follow_rate=scene.hash_rate * min(1.0, scene.cores / max(1, scene.drives)),
            spend=self.executor.spend,
        )
        self.library = Library(kernel, geometries, self.weather, scene.drives, scene.idle_dismount)
        self.hpss = SimHpss(
            catalogue,
            self.library,
            self.buffer,
            session_start=scene.session_start,
            arriving=self._arriving,
            outstanding=scene.outstanding,
            hashes=scene.hashes,
        )
        self.service = Service(kernel, scene.network, self.weather, self.buffer)
        self.settings = settings_of(scene)
        self.sessions = Sessions(self.settings.hsi.sessions)
        self.events: dict[str, int] = {}
        self.samples: list[Sample] = []
        self._reserved = self._held = self._arrivals = 0
        self.most_reserved = self.most_held = 0
        self.delivered_files = self.delivered_bytes = self.units = self.rounds = self.units_finished = 0
        self._waits = _Waits()
        self._finished = False
        # How many events there were, and since when.
        self._happened = (0, 0.0)
        self._links: dict[str, int] = {}
        self._bells: dict[str, list[SimBell]] = {}
        self._next_poll = 0.0
        self.service.told = self._service_told
        self._last_look: tuple[object, Waits] | None = None
        self.disk.watch, self.buffer.watch = self._workspace_changed, self._buffer_changed
        self.clock, self.host = SimClock(kernel), _SimHost()
        self.world = World(self.disk, self.buffer, self.clock, self.host, self.settings, self._report)
        layout.init(self.disk, self.host.new_uuid(), b"")
        layout.open_buffer(self.buffer)
        if scene.measured:
            self.disk.create(layout.SITE_RATES, documents.encode_any(rates_of(scene, catalogue.medium.rate)))
        everything = Request(version=documents.VERSION, source=catalogue.source, destination="/simulated/archive")
        self._open = len(requests) or 1
        self._finished_at: dict[str, float] = {}
        for number, request in enumerate(requests or [everything]):
            self.disk.create(f"inbox/request-{number:04d}.json", documents.encode(request))

    def run(self) -> Outcome:
        """Until the request is finished, or nothing moves any more."""
        scene, streak = self.scene, Streak()
        warden = self._home("recovery", 0)
        warden.enter()
        ownership.claim(warden)
        globus = SimGlobus(self.service)
        factories: dict[str, tuple[int, Callable[[Bench], Component]]] = {
            "syncer": (1, lambda bench: Syncer(bench, self.hpss)),
            "retriever": (
                2 * self.settings.hsi.sessions,
                lambda bench: Retriever(bench, self.hpss, streak, self.executor, self.sessions),
            ),
            "globus_xfer": (1, lambda bench: GlobusXfer(bench, globus, self.executor, EPOCH)),
            "reaper": (1, Reaper),
            "finisher": (1, Finisher),
        }
        for name, (copies, factory) in factories.items():
            self._bells[name] = [SimBell(self.kernel) for _ in range(copies)]
            for number in range(copies):
                self.kernel.spawn(lambda n=name, i=number, f=factory: self._live(n, i, f))  # type: ignore[misc]
        self.kernel.at(0.0, self._sample)
        self.kernel.at(scene.longest, self.kernel.stop)
        self.kernel.run()
        return Outcome(
            makespan=self.kernel.now,
            finished=self._finished,
            drives=self.library.close(),
            network_busy=self.service.busy,
            network_bytes=self.service.moved_bytes,
            most_reserved=self.most_reserved,
            most_held=self.most_held,
            units=self.units,
            delivered_files=self.delivered_files,
            delivered_bytes=self.delivered_bytes,
            more_rounds=self.rounds,
            tasks=self.service.number,
            samples=self.samples,
            events=self.events,
            finished_at=self._finished_at,
            units_finished=self.units_finished,
            longest_wait=self._waits.longest,
            longest_pause=self._waits.longest_pause,
        )

    # --- workers --------------------------------------------------------------------------------------------

    def _home(self, component: str, number: int) -> Home:
        return Home(self.disk, self.buffer, self.clock, self.host, component=component, thread=number)

    def _live(self, name: str, number: int, factory: Callable[[Bench], Component]) -> None:
        """What `run` does with a worker: step after step, and when there is nothing to do, wait to be woken.

        `run` looks every few seconds besides, since another host may have changed something. Here nobody else does, so
        a look that would find what the last one found is left out."""
        home = self._home(name, number)
        home.enter()
        component = factory(Bench(home, self.settings, self._report, self._wake))
        bell = self._bells[name][number]
        while True:
            step, fault = self._look(name, component, home)
            if isinstance(step, Moved):
                continue
            if fault is not None and step.due is not None:
                # A bell does not mend the world.
                self.kernel.sleep_until(step.due - EPOCH)
                continue
            until = self.kernel.now + LONGEST_LOOK
            if name == "globus_xfer" and step.moving and step.due is not None:
                # Whatever it sees at the service before the next change there, it has just seen.
                self._next_poll = step.due - EPOCH
            elif step.due is not None:
                until = max(self.kernel.now + 0.01, min(until, step.due - EPOCH))
            self.kernel.wait(bell, until)

    def _look(self, name: str, component: Component, home: Home) -> tuple[Step, Fault | None]:
        if name != "retriever":
            return attempt(self.world, name, component, home)
        state = self._looked_at()
        if self._last_look is not None and self._last_look[0] == state and self._is_ahead(self._last_look[1].due):
            return self._last_look[1], None
        step, fault = attempt(self.world, name, component, home)
        # What one retriever does not find, another would not find either.
        settled = fault is None and isinstance(step, Waits) and self._is_ahead(step.due) and state == self._looked_at()
        self._last_look = (state, step) if settled and isinstance(step, Waits) else None
        return step, fault

    def _is_ahead(self, due: float | None) -> bool:
        return due is None or due - EPOCH > self.kernel.now

    def _service_told(self) -> None:
        """The worker that polls sees a change when it polls the next time."""
        poll, late = self.settings.globus.poll, self.kernel.now - self._next_poll
        when = self._next_poll + (math.ceil(late / poll) * poll if late > 0 else 0.0)
        for bell in self._bells["globus_xfer"]:
            self.kernel.at(when, bell.ring)

    def _looked_at(self) -> object:
        changed = self.disk.changed
        looked_at = [changed.get(directory, 0) for directory in LOOKED_AT]
        return self.weather.down_until(self.kernel.now), self.sessions.changes, looked_at

    def _wake(self, component: str) -> None:
        """Let a component look. What one retriever does not find, another one would not find either: so of those that
        sleep one looks, and when it has claimed something, the next one does."""
        bells = self._bells[component]
        asleep = next((bell for bell in bells if bell.sleeper is not None), None)
        for bell in [asleep] if component == "retriever" and asleep is not None else bells:
            bell.ring()

    # --- what happens ---------------------------------------------------------------------------------------

    def _report(self, event: str, /, **about: Any) -> None:
        self.events[event] = self.events.get(event, 0) + 1
        if event == "error_of_ours":
            raise Broken(about["traceback"])
        if event == "transfer_ended":
            self.delivered_files += about["delivered"]
        elif event == "work_claimed" and about["component"] == "retriever":
            self._wake("retriever")
        elif event == "request_planned":
            self.units += about["units"]
        elif event == "buffer_freed":
            self.delivered_bytes += about["bytes"]
        elif event == "work_moved" and about.get("component") == "reaper" and about["to"] == HPSS_QUEUE:
            self.rounds += 1
        elif event == "work_moved" and about["to"] == FINISHED:
            self.units_finished += 1
        elif event == "request_finished":
            self._finished_at[about["request"]] = self.kernel.now
            self._open -= 1
            if self._open:
                return
            self._finished = True
            self._sample(again=False)
            self.kernel.stop()

    def _workspace_changed(self, directory: str, name: str, _content: Content | None, sign: int) -> None:
        if directory == layout.RESERVATIONS:
            self._reserved += sign * int(name.rpartition(".")[2])
            self.most_reserved = max(self.most_reserved, self._reserved)
            if self.scene.buffer and self._reserved > self.scene.buffer:
                raise Broken(f"{self._reserved} bytes are reserved at {self.kernel.now:.0f} s")
        elif directory == HPSS_QUEUE:
            self._waits.queue(name, sign, self.kernel.now)
        elif directory == layout.CARTRIDGES:
            self._waits.cartridge(name, sign, self.kernel.now)

    def _buffer_changed(self, _directory: str, _name: str, content: Content | None, sign: int) -> None:
        if isinstance(content, Copy):
            links = self._links.get(content.of, 0) + sign
            if links == 0:
                del self._links[content.of]
                self._hold(-content.size)
            else:
                self._links[content.of] = links
                if links == sign == 1:
                    self._hold(content.size)

    def _arriving(self, size: int) -> None:
        self._arrivals += size
        self._hold(0)

    def _hold(self, size: int) -> None:
        self._held += size
        held = self._held + max(0, self._arrivals)
        self.most_held = max(self.most_held, held)
        if held > self._reserved:
            raise Broken(f"{held} bytes lie in the buffer at {self.kernel.now:.0f} s, {self._reserved} are reserved")

    def _sample(self, *, again: bool = True) -> None:
        kernel, reading = self.kernel, self.library.figures.reading
        held = self._held + self._arrivals
        moving = self.service.busy_until_now
        self.samples.append(Sample(kernel.now, self._reserved, held, self.delivered_bytes, reading, moving))
        happened = sum(self.events.values()) - self.events.get("stood_down", 0)
        if happened != self._happened[0]:
            self._happened = (happened, kernel.now)
        elif kernel.now - self._happened[1] > STILL:
            kernel.stop()
        if again:
            # Every hour at first; then so that there are at most some hundreds.
            kernel.at(kernel.now + max(3600.0, kernel.now / 200), self._sample)


def rates_of(scene: Scene, drive_rate: float) -> SiteRates:
    """What `doctor --measure` would have found out."""
    network = scene.network
    return SiteRates(
        version=measuring.VERSION,
        drive_rate=drive_rate,
        session_start=scene.session_start,
        network_rate=network.rate,
        task_start=network.task_start,
        verification=network.verification + network.release,
    )


def settings_of(scene: Scene) -> Settings:
    """The settings of a campaign: those given, with what the scene says."""
    given = scene.settings
    kept = {name: getattr(given, name) for name in given.__struct_fields__}
    hsi, buffer, globus = (_copy(kept[name]) for name in ("hsi", "buffer", "globus"))
    hsi.sessions, buffer.quota = scene.drives, scene.buffer
    globus.source_collection, globus.destination_collection, globus.external_checksum = "source", "destination", ""
    return Settings(**{**kept, "hsi": hsi, "buffer": buffer, "globus": globus})


def _copy(section: Any) -> Any:
    return type(section)(**{name: getattr(section, name) for name in section.__struct_fields__})


class _Waits:
    """Who waits for how long in hpss_queue."""

    def __init__(self) -> None:
        self.longest = self.longest_pause = 0.0
        self._since: dict[str, float] = {}
        # Of each cartridge: since when no session is on it.
        self._idle: dict[str, float] = {}

    def queue(self, entry: str, sign: int, now: float) -> None:
        """A unit has come (1) or gone (-1)."""
        if sign > 0:
            self._since[entry] = now
            return
        self.longest = max(self.longest, now - self._since.pop(entry, now))
        unit = parse_entry(entry)
        if unit is not None and len(unit.cartridges) == 1:
            self.longest_pause = max(self.longest_pause, now - self._idle.get(unit.tape, now))

    def cartridge(self, label: str, sign: int, now: float) -> None:
        """A session's mark on a cartridge has been made (1) or taken away (-1)."""
        if sign > 0:
            self._idle.pop(label, None)
        else:
            self._idle[label] = now


class _SimHost:
    """One host with one process."""

    def __init__(self) -> None:
        self._number = 0

    def identity(self) -> ProcessIdentity:
        return ProcessIdentity("simulated", "boot", "4026531836", 1, 1, "")

    def is_certainly_dead(self, other: ProcessIdentity) -> bool:  # noqa: ARG002
        return False

    def token(self) -> str:
        self._number += 1
        return f"{self._number:08x}"

    def new_uuid(self) -> str:
        self._number += 1
        return f"{self._number * 0x9E3779B97F4A7C15 % 2**32:08x}-0000-4000-8000-{self._number:012x}"

    def file_system(self, path: str) -> str:  # noqa: ARG002
        return "simulated"


class _SimExecutor(Executor):
    """Cores that hash beside the tapes: what is handed in is known at once, but told when a core would have had it."""

    def __init__(self, kernel: Kernel, cores: int) -> None:
        self._kernel = kernel
        self._free_at = [0.0] * max(1, cores)
        self._spent: float | None = None

    def spend(self, seconds: float) -> None:
        """The work in hand takes so long."""
        if self._spent is None:
            self._kernel.sleep(seconds)
        else:
            self._spent += seconds

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        self._spent = 0.0
        future: _SimFuture[_Result] = _SimFuture()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  given to whoever asks for the result
            future.set_exception(error)
        ready = max(self._free_at[0], self._kernel.now) + self._spent
        if self._spent:
            heapreplace(self._free_at, ready)
        self._spent = None
        future.kernel, future.ready = self._kernel, ready
        return future


class _SimFuture(Future[_Result]):
    """What is known at a time."""

    kernel: Kernel
    ready: float

    def done(self) -> bool:
        return self.ready <= self.kernel.now

    def result(self, timeout: float | None = None) -> _Result:
        if self.ready > self.kernel.now:
            self.kernel.sleep_until(self.ready)
        return super().result(timeout)

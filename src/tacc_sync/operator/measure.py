"""What do this site's sessions, drives and network do? Measured on a handful of files that wait on one cartridge.

Guarantee: one session at a time, on a cartridge that nobody else uses meanwhile, within room that is reserved; no file
is read twice. `rates.json` is written whole, or stays as it was; what could not be measured is None there. Killed in
the middle it leaves nothing here that a drain does not remove; at the destination, what it had sent.
Fails with: `OperatorFault` MEASURE-NO-FILES, `WorldFault` MEASURE-NO-ROOM, CARTRIDGE-IN-USE and the faults of HPSS,
`OSError`. What goes wrong after the recall in tape order is a note, and that figure is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tacc_sync.operator import trial_transfer
from tacc_sync.operator.growth import Growth
from tacc_sync.operator.words import counted, duration, files, rate, size
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.globus.interface import Globus
from tacc_sync.outside.hpss.interface import Fetch, Hpss, ListedFile
from tacc_sync.rules import measuring
from tacc_sync.rules.documents import BadDocument, NewerDocument, encode_any
from tacc_sync.rules.faults import EX_USAGE, Fault, OperatorFault, WorldFault
from tacc_sync.rules.identity import buffer_name, cartridge_label, measuring_id
from tacc_sync.rules.measuring import Advice, Arrival, Lying, Sample
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.route import HPSS_QUEUE
from tacc_sync.rules.settings import Settings
from tacc_sync.rules.site_rates import SiteRates
from tacc_sync.workspace import layout, queues, recovery
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

# docs.nersc.gov, archive: at most so many sessions of a user at a time.
MOST_SESSIONS = 15
# Of waiting units so many files are looked up, for each that is wanted.
LOOKED_UP = 4


@dataclass(frozen=True, slots=True)
class Site:
    """What is measured: HPSS asked in tape order and for many files at once, and Globus, when there is one."""

    disk: Disk
    buffer: Disk
    clock: Clock
    settings: Settings
    in_order: Hpss
    at_once: Hpss
    globus: Callable[[], Globus] | None


@dataclass(frozen=True, slots=True)
class Extent:
    """How much: files of each of the two recalls, and the bytes that one of them may have."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: in its unit, in words, and how it was had."""

    name: str
    value: float | None
    unit: str
    words: str
    how: str


@dataclass(slots=True)
class Measured:
    """All of it."""

    rates: SiteRates
    figures: list[Figure]
    advice: Advice
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recall:
    """One session: how long it took in all, when its first byte came, and the files that came whole."""

    seconds: float
    first_byte: float | None
    arrivals: list[Arrival]
    paths: list[str]
    bytes: int


def measure(
    site: Site, home: Home, paths: Sequence[str], extent: Extent, tell: Callable[[str], None] = lambda _text: None
) -> Measured:
    """Measure, remember, and say what it means."""
    site.in_order.check_up()
    _must_not_crowd(site.disk)
    sample = _choose(site, paths, extent)
    with_room = _Room(site, home, sample)
    with_room.take()
    try:
        tell(f"reads {files(1 + 2 * len(sample.ordered))} of {sample.cartridge}, {size(_bytes(sample))} in all")
        return _Measurement(site, home, sample, tell).carry_out()
    finally:
        with_room.give_back()


def _bytes(sample: Sample) -> int:
    return sum(file.size for file in (sample.first, *sample.ordered, *sample.staged))


def _must_not_crowd(disk: Disk) -> None:
    holders = set[bytes]()
    for name in disk.names(layout.CARTRIDGES):
        # Given back, or not a file: no session of ours.
        with suppress(FileNotFoundError, BadDocument):
            holders.add(queues.read_document(disk, f"{layout.CARTRIDGES}/{name}", 4096))
    if len(holders) >= MOST_SESSIONS:
        text = f"{counted(len(holders), 'session')} of this workspace are at work already"
        raise WorldFault("HPSS-SESSIONS", text, "measure when fewer are, or `tacc-sync hold retriever` first")


# --- what is read ---------------------------------------------------------------------------------------------


def _choose(site: Site, paths: Sequence[str], extent: Extent) -> Sample:
    avoid = _in_use(site.disk) | queues.held_cartridges(site.disk.names(layout.HOLD))
    if paths:
        listing = site.in_order.list_trees(paths)
        where = "below " + " and ".join(paths)
    else:
        waiting = _waiting(site.disk, avoid, LOOKED_UP * (2 * extent.files + 1))
        if not waiting:
            raise OperatorFault(
                "MEASURE-NO-FILES",
                "no unit waits in hpss_queue whose files could be read",
                "name files or a directory in HPSS: `tacc-sync doctor --measure PATH`",
                EX_USAGE,
            )
        listing = site.in_order.list_files(waiting)
        where = "of waiting units"
    sample = measuring.choose(map(_lying, listing.files), count=extent.files, limit=extent.bytes, avoid=avoid)
    if sample is None:
        fewest = 2 * measuring.FEWEST + 1
        raise OperatorFault(
            "MEASURE-NO-FILES",
            f"{where} there are no {fewest} files on one cartridge, free and not held, of which {measuring.FEWEST} have"
            f" {size(extent.bytes)} at most",
            "name another directory, or allow more with --bytes",
            EX_USAGE,
        )
    return sample


def _in_use(disk: Disk) -> set[str]:
    """The cartridges of which anything is said, also that a session is about to leave one: nobody is to be ready."""
    return {name.partition("~")[0] for name in disk.names(layout.CARTRIDGES)}


def _lying(file: ListedFile) -> Lying:
    labels = tuple(sorted({cartridge_label(volume) for volume in file.volumes}))
    return Lying(file.path, file.size, labels, (file.section, file.offset))


def _waiting(disk: Disk, avoid: set[str], number: int) -> list[str]:
    """Files that wait for tape, of the cartridge for which most bytes wait."""
    by_tape: dict[str, list[str]] = {}
    weight: dict[str, int] = {}
    for unit in sorted(queues.units(disk, HPSS_QUEUE), key=lambda unit: unit.seq):
        if len(unit.cartridges) == 1 and not avoid.intersection(unit.cartridges):
            by_tape.setdefault(unit.tape, []).append(unit.unit)
            weight[unit.tape] = weight.get(unit.tape, 0) + unit.bytes
    for tape in sorted(by_tape, key=lambda tape: -weight[tape]):
        found: list[str] = []
        for unit_id in by_tape[tape]:
            try:
                work = queues.work_of(disk, layout.entry(HPSS_QUEUE, unit_id))
            except (FileNotFoundError, BadDocument, NewerDocument):
                continue
            found += [file.path for file in work.files if file.outcome == "waiting"]
            if len(found) >= number:
                break
        if len(found) > 2 * measuring.FEWEST:
            return found[:number]
    return []


class _Room:
    """The cartridge, and room in the buffer, for as long as it takes."""

    def __init__(self, site: Site, home: Home, sample: Sample) -> None:
        self._site = site
        self._home = home
        self._cartridge = f"{layout.CARTRIDGES}/{sample.cartridge}"
        self._label = sample.cartridge
        self._size = sample.room
        self._reservation = queues.reservation(measuring_id(sample.room), sample.room)
        self._directory = f"{home.part}/measure"

    def take(self) -> None:
        """Under the turn, as a retriever does."""
        home, quota = self._home, self._site.settings.buffer.quota
        with home.turn() as ours:
            if not ours:
                raise WorldFault("CARTRIDGE-IN-USE", "other workers choose all the time", "try again")
            left = quota - sum(queues.reservations(home.disk).values()) if quota else self._site.buffer.free_bytes()
            left = min(left, self._site.buffer.free_bytes())
            if left < self._size:
                text = f"the buffer has {size(max(0, left))} left, {size(self._size)} are needed"
                raise WorldFault("MEASURE-NO-ROOM", text, "measure when work has been delivered, or less with --bytes")
            # The cartridge first: what is then cut off holds nothing up but its own room.
            if self._label in _in_use(home.disk) or not home.put_new(self._cartridge, home.name.encode()):
                raise WorldFault("CARTRIDGE-IN-USE", f"{self._label} has just come into use", "try again")
            if not home.put_new(self._reservation, home.name.encode()):
                home.take_away(self._cartridge)
                raise WorldFault("MEASURE-NO-ROOM", "another measurement is at work", "wait for its end")
        self._site.buffer.mkdir(self._directory)

    def give_back(self) -> None:
        """First what lies there, then its room."""
        recovery.remove_tree(self._site.buffer, self._directory)
        self._home.take_away(self._reservation)
        self._home.take_away(self._cartridge)


# --- reading it -----------------------------------------------------------------------------------------------


class _Measurement:
    def __init__(self, site: Site, home: Home, sample: Sample, tell: Callable[[str], None]) -> None:
        self._site = site
        self._home = home
        self._sample = sample
        self._tell = tell
        self._notes: list[str] = []

    def carry_out(self) -> Measured:
        site, sample = self._site, self._sample
        began = site.clock.uptime()
        site.in_order.list_files([sample.first.path])
        session_start = site.clock.uptime() - began

        self._tell("the first file of the cartridge")
        first = self._recall(site.in_order, [sample.first])
        self._remove(first.paths)
        mount = None if first.first_byte is None else max(0.0, first.first_byte - session_start)

        self._tell(f"{files(len(sample.ordered))}, one after the other in tape order")
        ordered = self._recall(site.in_order, sample.ordered)
        tape = measuring.tape_figures(ordered.arrivals)
        sent = self._send(ordered)
        self._remove(ordered.paths)

        gain = self._gain(ordered, tape.drive_rate)
        rates = SiteRates(
            version=measuring.VERSION,
            measured_at=to_iso(site.clock.now()),
            cartridges=1,
            files=1 + len(sample.ordered) + len(sample.staged),
            drive_rate=tape.drive_rate,
            session_start=session_start,
            mount=mount,
            locate=tape.locate,
            stage_gain=gain,
            network_rate=sent.rate,
            task_start=sent.start,
            verification=sent.verification,
        )
        self._home.put(layout.SITE_RATES, encode_any(rates))
        if tape.reads_ahead:
            self._notes.append(
                "the gaps between files grew with the files: HPSS seems to read each one whole before it gives its"
                " first byte. That time is in the drive's rate, and not in the gap"
            )
        if tape.drive_rate is None:
            self._notes.append("the files came too fast to see them grow: take larger ones")
        self._notes.append(
            "whether HPSS had a file on its own disks already cannot be told: take files not read lately"
        )
        advice = measuring.advise(gain, ordered.seconds, tape.gaps)
        return Measured(rates, list(_figures(rates, len(ordered.arrivals))), advice, self._notes)

    def _recall(self, hpss: Hpss, wanted: Sequence[Lying]) -> Recall:
        site, home = self._site, self._home
        paths = [f"{home.part}/measure/{buffer_name(index)}" for index in range(len(wanted))]
        fetches = [Fetch(file.path, f"{site.buffer.root}/{path}") for file, path in zip(wanted, paths, strict=True)]
        growth = Growth(site.buffer, site.clock, [(path, file.size) for path, file in zip(paths, wanted, strict=True)])
        began = site.clock.uptime()
        with growth.watched():
            session = hpss.get(fetches, session_name="measure", may_go_on=lambda: not home.lost)
            seconds = site.clock.uptime() - began
        arrivals = growth.arrivals()
        if session.trouble is not None or len(arrivals) < len(wanted):
            recovery.remove_tree(site.buffer, f"{home.part}/measure")
            site.buffer.mkdir(f"{home.part}/measure")
            said = next((fetched.error for fetched in session.fetched if fetched.error), "")
            code, text = session.trouble or ("FILE-NOT-FETCHED", f"a file did not come whole. {said}".strip())
            raise WorldFault(code, f"reading {wanted[0].path} and what follows it: {text}", "measure again, or others")
        first_byte = min((each.first_at for each in arrivals), default=None)
        return Recall(
            seconds,
            None if first_byte is None else first_byte - began,
            arrivals,
            paths,
            sum(file.size for file in wanted),
        )

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._site.buffer.unlink(path)

    def _gain(self, ordered: Recall, drive_rate: float | None) -> float | None:
        self._tell(f"{files(len(self._sample.staged))} at once")
        try:
            staged = self._recall(self._site.at_once, self._sample.staged)
        except Fault as fault:
            self._notes.append(f"asking for files at once went wrong: {fault}")
            return None
        self._remove(staged.paths)
        return measuring.stage_gain((ordered.seconds, ordered.bytes), (staged.seconds, staged.bytes), drive_rate)

    def _send(self, recalled: Recall) -> trial_transfer.Sent:
        site = self._site
        if site.globus is None or not site.settings.destination.scratch:
            why = "not asked for" if site.globus is None else "`destination.scratch` is not set"
            self._notes.append(f"nothing was sent: {why}")
            return trial_transfer.NOTHING
        self._tell(f"the same files through Globus, {size(recalled.bytes)}")
        try:
            sent = trial_transfer.send(self._home, site.buffer, site.globus(), site.settings, recalled.paths)
        except Fault as fault:
            self._notes.append(f"sending went wrong: {fault}")
            return trial_transfer.NOTHING
        self._notes.append(sent.note)
        return sent


def _figures(rates: SiteRates, seen: int) -> Iterable[Figure]:
    def seconds(name: str, value: float | None, how: str) -> Figure:
        words = "not measured" if value is None else f"{value:.1f} s" if value < 60 else duration(value)
        return Figure(name, value, "s", words, how)

    def speed(name: str, value: float | None, how: str) -> Figure:
        return Figure(name, value, "B/s", rate(value) if value is not None else "not measured", how)

    yield seconds("session_start", rates.session_start, "one session that lists one file")
    yield seconds("mount", rates.mount, "until the first byte of the cartridge's first file, less the session's start")
    yield speed("drive_rate", rates.drive_rate, f"while {files(seen)} grew, one after the other")
    yield seconds("locate", rates.locate, "from one file's last byte to the next one's first, the median")
    gain = "not measured" if rates.stage_gain is None else f"{rates.stage_gain:.2f}"
    yield Figure("stage_gain", rates.stage_gain, "", gain, "time in tape order by that of as many neighbours at once")
    yield seconds("task_start", rates.task_start, "from submit until Globus said that bytes had moved")
    yield speed("network_rate", rates.network_rate, "of one task, from its first to its last byte")
    yield seconds("verification", rates.verification, "from its last byte until Globus said that it was over")

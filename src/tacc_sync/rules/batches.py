"""Files to work units: grouped by tape, in tape order, bounded in bytes and in number. Pure.

Guarantee: the same files in any order give the same units under the same ids; every file is in exactly one unit; a unit
holds at most the given number of files, and at most the given bytes unless it is a single file. What can never be
carried (an unspeakable name, a file larger than the whole transfer buffer) is in units of its own, which say why.

A file that runs over the end of a cartridge is in a unit on both of them, together with the file that comes next on the
second one: so a session ends where the next one of that tape goes on, and can be told to be at its last file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, islice
from math import isfinite
from operator import attrgetter
from typing import Any

from msgspec import Struct

from tacc_sync.rules.documents import VERSION, File, Why, Work, readable
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import NO_TAPE, THERE, cartridge_label, printable, tape_name, unit_id
from tacc_sync.rules.presence import Vouched, prove
from tacc_sync.rules.selection import Listed
from tacc_sync.rules.site_rates import SiteRates

# Tasks take no turns, and their sizes differ: so much more than would do if they did not. Then the network is idle for
# about 4 % of the time (three tasks, both times exponentially distributed).
MORE = 2.5


class _OfListing(Struct, array_like=True, gc=False):
    """What the listing says of a file (see `Listed`)."""

    path: str
    size: int
    section: int
    offset: int
    volumes: tuple[str, ...]
    written: str


@readable
class Candidate(_OfListing, array_like=True, gc=False):
    """A file that a request means, and what is known of it before it is cut into a unit.

    `archive_hash` as in a unit's document, `vouched` too (None: nobody has said anything). `lender`: the unit of
    another request that carries it. `why`: it must not be carried unless the operator says so. `is_speakable`: its name
    can stand in a document.
    """

    archive_hash: str = ""
    vouched: dict[str, str] | None = None
    lender: str = ""
    why: Why | None = None
    is_speakable: bool = True


@readable
class Settled(_OfListing, array_like=True, gc=False):
    """A file that a request means and that is at the destination already; `vouched` and `adopted_by` as in `There`."""

    vouched: Vouched | None = None
    adopted_by: str = ""


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """A unit to be written: its id, its cartridges in order, its bytes, its files in tape order.

    `refused` is set when it can not be carried as it is: such a unit belongs into quarantine. `loan`: other requests
    carry its files. `there`: its files are at the destination already.
    """

    unit: str
    tape: tuple[str, ...]
    bytes: int
    listed: Sequence[Candidate]
    refused: Why | None = None
    loan: bool = False
    there: Sequence[Settled] = ()

    def work(
        self, destination_of: Callable[[str], str], *, request_id: str, created_at: str, priority: int = 0
    ) -> Work:
        """Its document. Made when asked for, so that not all of a large request's are in memory at once."""
        files = _carried(self.listed, destination_of) + _settled(self.there, destination_of)
        if self.refused is not None:
            for file, candidate in zip(files, self.listed, strict=True):
                # The unit's reason is that of one of its files.
                why = candidate.why or self.refused
                file.outcome, file.why = "failed", Why(code=why.code, text=why.text, at=created_at)
        return Work(
            version=VERSION,
            unit=self.unit,
            request_id=request_id,
            tape=list(self.tape),
            bytes=self.bytes,
            created_at=created_at,
            priority=priority,
            files=files,
        )


def _files(listed: Sequence[Listed], destination_of: Callable[[str], str]) -> list[File]:
    paths = [file.path for file in listed]
    destinations = list(map(destination_of, paths))
    if not "".join(paths).isascii():
        paths, destinations = list(map(printable, paths)), list(map(printable, destinations))
    return [
        File(
            path=path,
            destination=destination,
            size=file.size,
            section=file.section,
            offset=file.offset,
            written=file.written,
        )
        for file, path, destination in zip(listed, paths, destinations, strict=True)
    ]


def _carried(candidates: Sequence[Candidate], destination_of: Callable[[str], str]) -> list[File]:
    files = _files(candidates, destination_of)
    for file, candidate in zip(files, candidates, strict=True):
        if candidate.archive_hash or candidate.vouched or candidate.lender:
            file.archive_hash, file.vouched = candidate.archive_hash, candidate.vouched or {}
            file.borrowed_from = candidate.lender
    return files


def _settled(there: Sequence[Settled], destination_of: Callable[[str], str]) -> list[File]:
    files = _files(there, destination_of)
    for file, settled in zip(files, there, strict=True):
        file.outcome, file.adopted_by = "present", settled.adopted_by
        if settled.vouched is not None:
            prove(file, settled.vouched)
    return files


def bytes_of_a_unit(unit_bytes: int, *, quota: int, sessions: int, wanted: int = 0) -> int:
    """How many bytes a unit may have, so that units of many tapes fit into the buffer together.

    Each session fills one, another one of its tape drains, and a third is kept free for what its tape goes on with; the
    fourth, and two more, are for what the network is given at once. Where that makes units smaller than `wanted`, two
    instead of four must do: one fills, one drains.
    """
    if quota <= 0:
        return unit_bytes
    usual, most = (max(1, min(unit_bytes, quota // (share * (sessions + 2)))) for share in (4, 2))
    return min(most, max(usual, wanted))


def bytes_for_the_network(rates: SiteRates | None, *, sessions: int, tasks: int) -> int:
    """How many bytes a unit should have, so that tasks that start or are being verified do not leave the network idle:
    while these last, the other ones of the `tasks` at work must have enough to move. 0: that was not measured, or it
    makes no difference."""
    if rates is None or rates.verification is None or not rates.network_rate or tasks < 2:
        return 0
    flow = rates.network_rate
    if rates.drive_rate:
        # No more than what the drives bring.
        flow = min(flow, sessions * rates.drive_rate)
    seconds = max(0.0, rates.task_start or 0.0) + max(0.0, rates.verification)
    wanted = MORE * flow * seconds / (tasks - 1)
    return round(wanted) if wanted > 0 and isfinite(wanted) else 0


def tape_of(volumes: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool]:
    """The name under which units go whose files lie on these volumes, the cartridges in order, and whether they are
    too many for one session."""
    cartridges = tuple(sorted({cartridge_label(volume) for volume in volumes if volume}))
    try:
        return tape_name(cartridges), cartridges, False
    except WorkFault:
        # So many cartridges make no file name; one such file must not stop the request.
        return NO_TAPE, (), True


def plan_units(
    request_key: str,
    by_volumes: Mapping[tuple[str, ...], Sequence[Candidate]],
    *,
    unit_bytes: int,
    unit_files: int,
    quota: int,
    sessions: int,
    wanted: int = 0,
) -> Iterator[PlannedUnit]:
    """The units of a request's files on any volumes, one by one: tape by tape, those of a tape from its beginning, what
    other requests carry next, refused ones last. All files of a tape must be given at once (see `together`)."""
    most = bytes_of_a_unit(unit_bytes, quota=quota, sessions=sessions, wanted=wanted)
    tapes: dict[str, _Tape] = {}
    for volumes, those in by_volumes.items():
        name, cartridges, too_wide = tape_of(volumes)
        tapes.setdefault(name, _Tape(cartridges)).add(volumes, those, too_wide=too_wide)
    taken: dict[str, int] = {}
    for name in sorted(tapes):
        tape = tapes[name]
        carried, refused = tape.sort_out(quota, _by_path if name == NO_TAPE else tape.order)
        lent = [file for file in carried if file.lender]
        own = [file for file in carried if not file.lender] if lent else carried
        own = own[taken.pop(name, 0) :]
        batches: list[tuple[Sequence[Candidate], Why | None, bool]] = []
        batches.extend((batch, None, False) for batch in _cut(own, most, unit_files))
        # `X-Y` comes before `Y`.
        onward = _runs_over_to(own) if len(tapes) > 1 else ""
        if onward in tapes and onward not in taken:
            batch, next_tape = batches[-1][0], tapes[onward]
            following = next_tape.sort_out(quota, next_tape.order)[0][:1]
            size = sum(file.size for file in (*batch, *following))
            if following and not following[0].lender and size <= most and len(batch) < unit_files:
                batches[-1] = [*batch, *following], None, False
                taken[onward] = 1
        batches.extend((batch, None, True) for batch in _cut(lent, most, unit_files))
        for unfit, reason in refused:
            batches.extend((batch, reason, False) for batch in _cut(unfit, most, unit_files))
        for seq, (batch, why, loan) in enumerate(batches):
            size = sum(file.size for file in batch)
            yield PlannedUnit(unit_id(request_key, name, seq, size), tape.cartridges, size, batch, why, loan)


def together(tapes: Iterable[str]) -> Iterator[list[str]]:
    """The names of tapes that are to be planned at once, in order: a tape with those that may run over to it."""
    names = set(tapes)
    before: dict[str, list[str]] = {}
    for name in names:
        onward = name.rpartition("-")[2]
        before.setdefault(onward if onward in names else name, []).append(name)
    for name in sorted(before):
        yield sorted(before[name])


def plan_there(request_key: str, files: Iterable[Settled], unit_files: int) -> Iterator[PlannedUnit]:
    """The units of what is at the destination already."""
    rest = iter(files)
    for seq in count():
        there = list(islice(rest, unit_files))
        if not there:
            return
        size = sum(file.size for file in there)
        yield PlannedUnit(unit_id(request_key, THERE, seq, size), (), size, (), there=there)


_Key = Callable[[Candidate], Any]


class _Tape:
    """What lies on a cartridge, or on a set of cartridges."""

    def __init__(self, cartridges: tuple[str, ...]) -> None:
        self.cartridges = cartridges
        self.files: list[Candidate] = []
        self.too_wide: list[Candidate] = []
        self.order: _Key = _by_position

    def add(self, volumes: tuple[str, ...], files: Sequence[Candidate], *, too_wide: bool) -> None:
        """Files that lie on these volumes."""
        if len(volumes) > 1:
            self.order = _by_place
        if not too_wide:
            self.files += files
            return
        for file in files:
            (self.too_wide if file.is_speakable else self.files).append(file)

    def sort_out(self, quota: int, key: _Key) -> tuple[list[Candidate], list[tuple[list[Candidate], Why]]]:
        """What can be carried, and what cannot, with the reason, both in order."""
        everything = sorted(self.files, key=key)
        files = [file for file in everything if file.why is None and file.is_speakable]
        refused: list[tuple[list[Candidate], Why]] = []
        if len(files) < len(everything):
            doubtful = [file for file in everything if file.why is not None]
            for code in sorted({file.why.code for file in doubtful if file.why}):
                those = [file for file in doubtful if file.why and file.why.code == code]
                refused.append((those, those[0].why or Why(code=code, text="")))
        if quota > 0 and any(file.size > quota for file in files):
            text = f"larger than the whole transfer buffer, whose quota is {quota} bytes"
            why = Why(code="FILE-LARGER-THAN-BUFFER", text=text)
            # Each is larger than any unit may be, so each will be in a unit by itself.
            refused.append(([file for file in files if file.size > quota], why))
            files = [file for file in files if file.size <= quota]
        unspeakable = [file for file in everything if not file.is_speakable] if len(files) < len(everything) else []
        if unspeakable:
            why = Why(code="NAME-UNSPEAKABLE", text="its name is not UTF-8; shown with the odd bytes as \\xNN")
            refused.append((unspeakable, why))
        if self.too_wide:
            why = Why(code="STRIPE-TOO-WIDE", text="it lies on more cartridges than a session can hold")
            refused.append((sorted(self.too_wide, key=key), why))
        return files, refused


_by_path = attrgetter("path")
_by_position = attrgetter("section", "offset", "path")


def _runs_over_to(files: Sequence[Candidate]) -> str:
    """The second of two cartridges on which all of these lie, beginning on the first; "" when they don't."""
    labels = {tuple(cartridge_label(volume) for volume in volumes) for volumes in {file.volumes for file in files}}
    if len(labels) != 1:
        return ""
    (both,) = labels
    return both[1] if len(both) == 2 and both[0] < both[1] else ""


def _by_place(file: Candidate) -> tuple[str, int, int, str]:
    # Of several cartridges the position is that on the first one named.
    return file.volumes[0] if len(file.volumes) > 1 else "", file.section, file.offset, file.path


def _cut(files: Sequence[Candidate], most_bytes: int, most_files: int) -> Iterator[Sequence[Candidate]]:
    ends = list(accumulate(file.size for file in files))
    start = before = 0
    while start < len(files):
        # As many as fit, and always one.
        fitting = bisect_right(ends, before + most_bytes, start, min(start + most_files, len(files)))
        end = max(fitting, start + 1)
        yield files[start:end]
        start, before = end, ends[end - 1]

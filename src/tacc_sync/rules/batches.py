"""Files to work units: grouped by tape, in tape order, bounded in bytes and in number. Pure.

Guarantee: the same files in any order give the same units under the same ids; every file is in exactly one unit; a unit
holds at most the given number of files, and at most the given bytes unless it is a single file. What can never be
carried (an unspeakable name, a file larger than the whole transfer buffer) is in units of its own, which say why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tacc_sync.rules.documents import VERSION, File, Why, Work
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import NO_TAPE, THERE, cartridge_label, printable, tape_name, unit_id
from tacc_sync.rules.presence import prove
from tacc_sync.rules.selection import Listed, Selection, There


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """A unit to be written: its id, its cartridges in order, its bytes, its files in tape order.

    `refused` is set when it can not be carried as it is: such a unit belongs into quarantine. `loan`: other requests
    carry its files. `there`: its files are at the destination already.
    """

    unit: str
    tape: tuple[str, ...]
    bytes: int
    listed: Sequence[Listed]
    refused: Why | None = None
    loan: bool = False
    there: Sequence[There] = ()

    def work(self, selection: Selection, *, request_id: str, created_at: str, priority: int = 0) -> Work:
        """Its document. Made when asked for, so that not all of a large request's are in memory at once."""
        why = None
        if self.refused is not None:
            why = Why(code=self.refused.code, text=self.refused.text, at=created_at)
        return Work(
            version=VERSION,
            unit=self.unit,
            request_id=request_id,
            tape=list(self.tape),
            bytes=self.bytes,
            created_at=created_at,
            priority=priority,
            files=[self._file(selection, file, why) for file in self.listed]
            + [_file_there(selection, file) for file in self.there],
        )

    def _file(self, selection: Selection, listed: Listed, why: Why | None) -> File:
        file = _file(selection, listed)
        if why is not None:
            file.outcome, file.why = "failed", why
        if self.loan:
            file.borrowed_from = selection.borrowed[listed.path]
        return file


def _file(selection: Selection, listed: Listed) -> File:
    return File(
        path=printable(listed.path),
        destination=printable(selection.destination_of(listed.path)),
        size=listed.size,
        section=listed.section,
        offset=listed.offset,
        written=listed.written,
    )


def _file_there(selection: Selection, there: There) -> File:
    file = _file(selection, there.listed)
    file.outcome = "present"
    if there.vouched is not None:
        prove(file, there.vouched)
    return file


def bytes_of_a_unit(unit_bytes: int, *, quota: int, sessions: int) -> int:
    """How many bytes a unit may have, so that units of many tapes fit into the buffer together.

    Each session fills one while another one of its tape drains; two more are on their way to the destination.
    """
    return max(1, min(unit_bytes, quota // (2 * (sessions + 2)))) if quota > 0 else unit_bytes


def plan_units(
    request_key: str, selection: Selection, *, unit_bytes: int, unit_files: int, quota: int, sessions: int
) -> Iterator[PlannedUnit]:
    """The units of a request, one by one: tape by tape, those of a tape from its beginning, refused ones last; and at
    last what needs no tape."""
    most = bytes_of_a_unit(unit_bytes, quota=quota, sessions=sessions)
    tapes = _by_tape(selection)
    for name in sorted(tapes):
        tape = tapes[name]
        in_order = _by_path if name == NO_TAPE else _by_place
        carried, refused = tape.sort_out(quota, in_order, selection.doubtful)
        lent = [file for file in carried if file.path in selection.borrowed]
        own = [file for file in carried if file.path not in selection.borrowed] if lent else carried
        batches: list[tuple[list[Listed], Why | None, bool]] = []
        batches.extend((batch, None, False) for batch in _cut(own, most, unit_files))
        batches.extend((batch, None, True) for batch in _cut(lent, most, unit_files))
        for files, reason in refused:
            batches.extend((batch, reason, False) for batch in _cut(files, most, unit_files))
        for seq, (batch, why, loan) in enumerate(batches):
            size = sum(file.size for file in batch)
            cartridges = tape.cartridges
            yield PlannedUnit(unit_id(request_key, name, seq, size), cartridges, size, batch, why, loan)
    for seq, start in enumerate(range(0, len(selection.there), unit_files)):
        there = selection.there[start : start + unit_files]
        size = sum(file.listed.size for file in there)
        yield PlannedUnit(unit_id(request_key, THERE, seq, size), (), size, (), there=there)


_Key = Callable[[Listed], tuple[str, int, int, str]]


class _Tape:
    """What lies on a cartridge, or on a set of cartridges."""

    def __init__(self, cartridges: tuple[str, ...]) -> None:
        self.cartridges = cartridges
        self.files: list[Listed] = []
        self.unspeakable: list[Listed] = []
        self.too_wide: list[Listed] = []

    def sort_out(
        self, quota: int, key: _Key, doubtful: Mapping[str, Why]
    ) -> tuple[list[Listed], list[tuple[list[Listed], Why]]]:
        """What can be carried, and what cannot, with the reason, both in order."""
        files = sorted(self.files, key=key)
        refused: list[tuple[list[Listed], Why]] = []
        if doubtful:
            for code in sorted({doubtful[file.path].code for file in files if file.path in doubtful}):
                those = [file for file in files if file.path in doubtful and doubtful[file.path].code == code]
                refused.append((those, doubtful[those[0].path]))
            files = [file for file in files if file.path not in doubtful]
        if quota > 0 and any(file.size > quota for file in files):
            text = f"larger than the whole transfer buffer, whose quota is {quota} bytes"
            why = Why(code="FILE-LARGER-THAN-BUFFER", text=text)
            # Each is larger than any unit may be, so each will be in a unit by itself.
            refused.append(([file for file in files if file.size > quota], why))
            files = [file for file in files if file.size <= quota]
        if self.unspeakable:
            why = Why(code="NAME-UNSPEAKABLE", text="its name is not UTF-8; shown with the odd bytes as \\xNN")
            refused.append((sorted(self.unspeakable, key=key), why))
        if self.too_wide:
            why = Why(code="STRIPE-TOO-WIDE", text="it lies on more cartridges than a session can hold")
            refused.append((sorted(self.too_wide, key=key), why))
        return files, refused


def _by_tape(selection: Selection) -> dict[str, _Tape]:
    known: dict[tuple[str, ...], tuple[_Tape, bool]] = {}
    tapes: dict[str, _Tape] = {}

    def tape_of(volumes: tuple[str, ...]) -> tuple[_Tape, bool]:
        if volumes not in known:
            cartridges = tuple(sorted({cartridge_label(volume) for volume in volumes if volume}))
            try:
                name, too_wide = tape_name(cartridges), False
            except WorkFault:
                # So many cartridges make no file name; one such file must not stop the request.
                name, cartridges, too_wide = NO_TAPE, (), True
            known[volumes] = tapes.setdefault(name, _Tape(cartridges)), too_wide
        return known[volumes]

    for file in selection.files:
        tape, too_wide = tape_of(file.volumes)
        (tape.too_wide if too_wide else tape.files).append(file)
    for file in selection.unspeakable:
        tape_of(file.volumes)[0].unspeakable.append(file)
    return tapes


def _by_place(file: Listed) -> tuple[str, int, int, str]:
    # Of several cartridges the position is that on the first one named.
    return file.volumes[0] if len(file.volumes) > 1 else "", file.section, file.offset, file.path


def _by_path(file: Listed) -> tuple[str, int, int, str]:
    return "", 0, 0, file.path


def _cut(files: Iterable[Listed], most_bytes: int, most_files: int) -> Iterator[list[Listed]]:
    batch: list[Listed] = []
    size = 0
    for file in files:
        if batch and (size + file.size > most_bytes or len(batch) >= most_files):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch

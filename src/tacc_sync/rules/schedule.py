"""Which unit next, given the cartridges in use and the room in the buffer. Pure.

Guarantee: never a unit on a cartridge that is in use; never more reserved than the quota; a unit that has waited
longest for room is not overtaken for ever by smaller ones; whoever is not served is told why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tacc_sync.rules.identity import UnitName


@dataclass(frozen=True, slots=True)
class Chosen:
    """This unit, with so many bytes to reserve for it (0 when it has its reservation already), and the unit that it
    overtakes, as that one waits for room."""

    unit: UnitName
    reserve: int
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """No unit can be taken now: what is waited for, when something may change by itself (epoch seconds or None), and
    the unit that waits for room, if one does."""

    waits_for: str
    due: float | None = None
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Buffer:
    """The buffer in bytes: `quota` 0 is no limit; `reserved` by unit."""

    quota: int
    reserved: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes reserved in all."""
        return sum(self.reserved.values())

    @property
    def free(self) -> int:
        """Bytes that can still be reserved; meaningless without a quota."""
        return max(0, self.quota - self.total)


def order_of_recall(
    waiting: Iterable[UnitName], *, priority: Callable[[str], int], mounted: tuple[str, ...] = ()
) -> list[UnitName]:
    """Best first: priority of the request, then the tape that this worker has mounted, then the tape with the most
    bytes left, and on a tape from its beginning."""
    waiting = list(waiting)
    left: dict[str, int] = {}
    for unit in waiting:
        left[unit.tape] = left.get(unit.tape, 0) + unit.bytes
    stay = set(mounted)
    return sorted(
        waiting,
        key=lambda unit: (
            -priority(unit.request),
            not (stay and stay.intersection(unit.cartridges)),
            -left[unit.tape],
            unit.tape,
            unit.request,
            unit.seq,
        ),
    )


def choose_recall(
    ordered: Iterable[UnitName],
    *,
    now: float,
    rests: Mapping[str, float],
    buffer: Buffer,
    cartridges_in_use: AbstractSet[str],
    cartridges_held: AbstractSet[str] = frozenset(),
    patient_since: Callable[[str], float] = lambda _unit: 0.0,
    overtaking_ends_after: float = 6 * 3600.0,
) -> Chosen | Nothing:
    """The first unit of the order that can start now.

    `patient_since(unit)`: for how many seconds a unit has been seen to wait for room. `rests`: epoch seconds before
    which a unit rests."""
    resting: list[float] = []
    held: list[str] = []
    busy = no_room = 0
    too_large = ""
    first_blocked: UnitName | None = None
    for unit in ordered:
        if not cartridges_held.isdisjoint(unit.cartridges):
            held += [label for label in unit.cartridges if label in cartridges_held][:1]
            continue
        rest = rests.get(unit.unit, 0.0)
        if rest > now:
            resting.append(rest)
            continue
        if not cartridges_in_use.isdisjoint(unit.cartridges):
            busy += 1
            continue
        if unit.unit in buffer.reserved:
            return Chosen(unit, 0, first_blocked.unit if first_blocked else "")
        if buffer.quota and unit.bytes > buffer.quota:
            too_large = too_large or unit.unit
            continue
        if buffer.quota and unit.bytes > buffer.free:
            no_room += 1
            first_blocked = first_blocked or unit
            continue
        if first_blocked and patient_since(first_blocked.unit) > overtaking_ends_after:
            # It has waited long enough: what is freed from now on is kept for it.
            continue
        return Chosen(unit, unit.bytes, first_blocked.unit if first_blocked else "")
    due = min(resting, default=None)
    if first_blocked:
        text = (
            f"room in the transfer buffer: {first_blocked.unit} needs {first_blocked.bytes} bytes, "
            f"{buffer.free} of {buffer.quota} are free"
        )
        return Nothing(text + _also(held), due, first_blocked.unit)
    if busy:
        return Nothing(f"a cartridge: {busy} units wait, all on cartridges in use" + _also(held), due)
    if too_large:
        text = f"a larger quota: {too_large} is larger than the whole transfer buffer of {buffer.quota} bytes"
        return Nothing(text + _also(held), due)
    if resting:
        return Nothing(f"the end of a rest: {len(resting)} units rest after a failure" + _also(held), due)
    if held:
        return Nothing(f"the operator{_also(held)}", due)
    return Nothing("work in hpss_queue")


def _also(held: list[str]) -> str:
    if not held:
        return ""
    labels = sorted(set(held))
    shown = ", ".join(labels[:3]) + (" ..." if len(labels) > 3 else "")
    return f"; {len(held)} units wait for cartridges on hold ({shown})"

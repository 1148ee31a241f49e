"""What of that which `check` read can be mended without thought, and how. Pure.

Guarantee: a mend loses nothing that is not proven to be settled, and takes nothing from a worker that may live. A unit
in two places, a torn document, and a sum that does not add up are never mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tacc_sync.rules.audit import Reading, UnitFacts
from tacc_sync.rules.identity import UnitName, buffer_name
from tacc_sync.rules.route import FINISHED, GLOBUS_QUEUE, UNIT_QUEUES

Kind = Literal[
    "directory", "turn", "reason", "rest", "slot", "cartridge", "reservation", "reserve", "buffer", "unborn", "fenced"
]

SAYS: dict[Kind, str] = {
    "directory": "made the directory {}",
    "turn": "made the turn anew",
    "reason": "removed the reason {}, whose document has gone on",
    "rest": "removed the marks that {} rests, which waits nowhere",
    "slot": "took the slot from {}, which is not in globus_queue",
    "cartridge": "gave back cartridge {}, whose worker is gone",
    "reservation": "gave back the room that was reserved for {}, of which the buffer has nothing",
    "reserve": "reserved the room that {} takes in the buffer",
    "buffer": "removed the copies of {} from the buffer: the unit is finished",
    "unborn": "removed {}, a home whose process died while it was furnished",
    "fenced": "removed {}, an empty home that was fenced",
}


# Of a unit that was seen nowhere, and is not missed by any request.
GONE = "gone"


@dataclass(frozen=True, slots=True)
class Mend:
    """One thing to mend: what kind, and of what (a path, a unit, a cartridge). `about`: what it hangs on (the bytes of
    a reservation, the holder of a cartridge, how many files a unit has, whether it is `GONE`)."""

    kind: Kind
    what: str
    about: str = ""

    def __str__(self) -> str:
        return SAYS[self.kind].format(self.what)


def plan(reading: Reading) -> list[Mend]:
    """Everything that is safe to mend, in the order in which it should be done."""
    places: dict[str, list[UnitFacts]] = {}
    for facts in reading.units:
        places.setdefault(facts.name.unit, []).append(facts)
    planned = {unit for request in reading.requests for unit in request.plan.units}
    return [
        *(Mend("directory", path) for path in reading.missing_directories),
        *_turn(reading),
        *_vacant(reading),
        *_reasons(reading, places),
        *_rests(reading, places, planned),
        *_slots(reading, places, planned),
        *_cartridges(reading),
        *_buffer(reading, places),
        *_reserve(reading, places),
        *_reservations(reading, places, planned),
    ]


def _turn(reading: Reading) -> Iterator[Mend]:
    if not reading.turns:
        yield Mend("turn", "turn")


def _vacant(reading: Reading) -> Iterator[Mend]:
    for home in reading.vacant:
        if home.name.startswith("new~") and home.is_dead:
            yield Mend("unborn", home.name)
        # With a heartbeat the grace decides, unless death is certain; without one its drain was cut off at its end.
        elif home.name.startswith("dead~") and home.is_empty and (home.is_dead or not home.has_heartbeat):
            yield Mend("fenced", home.name)


def _reasons(reading: Reading, places: dict[str, list[UnitFacts]]) -> Iterator[Mend]:
    for path in reading.orphaned_reasons:
        stem = path.rpartition("/")[2].removesuffix(".why.json")
        seen = places.get(stem, [])
        # The reason is written before the document comes: in somebody's hands it may be on its way there.
        in_hands = any(facts.path.startswith("claims/") for facts in seen) if seen else reading.requests_claimed
        if not in_hands:
            yield Mend("reason", path)


def _rests(reading: Reading, places: dict[str, list[UnitFacts]], planned: set[str]) -> Iterator[Mend]:
    for unit in dict.fromkeys(reading.rests):
        lost = unit.unit not in places and unit.unit in planned
        if not lost and not _is_in(places, unit, UNIT_QUEUES):
            yield Mend("rest", unit.unit, "" if unit.unit in places else GONE)


def _slots(reading: Reading, places: dict[str, list[UnitFacts]], planned: set[str]) -> Iterator[Mend]:
    for unit in reading.slots:
        lost = unit.unit not in places and unit.unit in planned
        if not lost and not _is_in(places, unit, (GLOBUS_QUEUE,)):
            yield Mend("slot", unit.unit, "" if unit.unit in places else GONE)


def _cartridges(reading: Reading) -> Iterator[Mend]:
    if reading.in_buffer is None:
        # Whether its hsi could still be writing cannot be seen from here.
        return
    for label, holder in sorted(reading.cartridges.items()):
        is_writing = any(holder in part for part in reading.parts)
        # Without a name in it, nobody can say whose hsi may still use it.
        if holder and holder not in reading.homes and not is_writing:
            yield Mend("cartridge", label, holder)


def _buffer(reading: Reading, places: dict[str, list[UnitFacts]]) -> Iterator[Mend]:
    for unit in sorted(reading.in_buffer or {}):
        seen = places.get(unit, [])
        if len(seen) == 1 and _is_settled(seen[0]):
            ours = {buffer_name(index) for index in range(seen[0].files)}
            if ours.issuperset((reading.in_buffer or {})[unit]):
                yield Mend("buffer", unit, str(seen[0].files))


def _reserve(reading: Reading, places: dict[str, list[UnitFacts]]) -> Iterator[Mend]:
    reserved = {unit.unit: size for unit, size in reading.reservations}
    for unit, there in sorted((reading.in_buffer or {}).items()):
        seen = places.get(unit, [])
        if not there or len(seen) != 1 or seen[0].place == FINISHED:
            continue
        # A unit's reservation is for all of its bytes, whatever lies there now: the rest is recalled on it.
        size = seen[0].name.bytes
        if reserved.get(unit, 0) < size:
            yield Mend("reserve", unit, str(size))


def _reservations(reading: Reading, places: dict[str, list[UnitFacts]], planned: set[str]) -> Iterator[Mend]:
    for unit, size in reading.reservations:
        seen = places.get(unit.unit, [])
        over = all(_is_settled(facts) for facts in seen) if seen else unit.unit not in planned
        left = (reading.in_buffer or {}).get(unit.unit, [])
        will_go = len(seen) == 1 and all(name.isdigit() for name in left)
        if reading.in_buffer is not None and over and (unit.unit not in reading.in_buffer or will_go):
            yield Mend("reservation", unit.unit, str(size))


def _is_settled(facts: UnitFacts) -> bool:
    """Is nothing of it undelivered, as far as its document can be believed?"""
    return facts.place == FINISHED and not facts.error and not facts.contradictions


def _is_in(places: dict[str, list[UnitFacts]], unit: UnitName, queues: tuple[str, ...]) -> bool:
    return any(facts.place in queues for facts in places.get(unit.unit, ()))

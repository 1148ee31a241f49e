"""The order in which an archive carries out requests that are open at once: coalesced shortest locate first. Pure.

HPSS, or the drive, knows where on the tape each file truly lies, and may choose among all requests that it has. It is
taken to read through what lies close behind another request, and to go from such a run to the one that is nearest by
its own reckoning. With one request at a time there is nothing to choose: ours is the order.

Guarantee: each request is carried out once, never before it was made; with one open request the order is the given one.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence

from tacc_sync.campaign.tape_model import Extent, Geometry

# What lies so many seconds of reading behind another request belongs to its run.
READ_THROUGH = 12.0

# A request in the order of the tape: where it begins and ends, and its index.
_Open = tuple[int, int, int]


def served(geometry: Geometry, rate: float, extents: Sequence[Extent], *, outstanding: int, at: float) -> Iterator[int]:
    """The indices of one session's requests on one cartridge in the order in which they are carried out. `at`: where
    the tape stands.

    `outstanding` are made beforehand, and one more as soon as the first one that is not fetched has been: a session
    fetches its files in its own order."""
    if outstanding <= 1:
        yield from range(len(extents))
        return
    over = [False] * len(extents)
    made, fetched = 0, 0
    waiting: list[_Open] = []
    while fetched < len(extents):
        for index in range(made, min(fetched + outstanding, len(extents))):
            insort(waiting, (extents[index].start, extents[index].end, index))
            made = index + 1
        run = _nearest(geometry, READ_THROUGH * rate, waiting, at)
        for _, end, index in waiting[run]:
            yield index
            at, over[index] = end, True
        del waiting[run]
        while fetched < len(extents) and over[fetched]:
            fetched += 1


def tape_time(geometry: Geometry, mount: float, extents: Sequence[Extent], order: Iterator[int]) -> float:
    """Seconds for which a drive is busy with one cartridge: mount, all of it in this order, unload."""
    seconds, at = geometry.in_order(extents[index] for index in order)
    return mount + seconds + geometry.unload(at)


def _nearest(geometry: Geometry, reach: float, waiting: Sequence[_Open], at: float) -> slice:
    """Of the runs among requests in the order of the tape, the one whose beginning is nearest."""
    begins = [0]
    begins += [number for number in range(1, len(waiting)) if waiting[number][0] - waiting[number - 1][1] > reach]
    best = min(range(len(begins)), key=lambda run: geometry.locate(at, waiting[begins[run]][0]))
    return slice(begins[best], begins[best + 1] if best + 1 < len(begins) else len(waiting))

"""How long a drive takes: mounts, locates, wrap turns, reads, rewinds. Pure.

Data lie on a cartridge in wraps that alternate in direction; a place that is near in bytes may be far away in metres.
Published drive figures and fitted locate times, from mean values of the literature: see docs/simulate.md. Times are
seconds, sizes and places on tape bytes.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

# A cassette that is moved by the robot, one way.
ROBOT = 15.0
# At the end of each wrap.
WRAP_TURN = 2.5
# From one end of 960 m of tape to the other when nothing is read.
WIND = 104.3
WIND_METRES = 960.0
# How much the capacity of a wrap differs from the mean.
JITTER = 0.002
BANDS = 4


@dataclass(frozen=True, slots=True)
class Medium:
    """A kind of drive with its cartridge: bytes a second, bytes, wraps, metres, and seconds to load and to unload.
    `winding`: how long it winds, as a multiple of the model."""

    name: str
    rate: float
    capacity: float
    wraps: int
    metres: float
    load: float = 17.0
    eject: float = 25.0
    winding: float = 1.0

    @property
    def wind(self) -> float:
        """Seconds from one end of the tape to the other."""
        return WIND * self.metres / WIND_METRES * self.winding

    @property
    def mount(self) -> float:
        """Seconds until a cartridge from its shelf is ready."""
        return ROBOT + self.load


MEDIA = {
    medium.name: medium
    for medium in (
        Medium("TS1155", 360e6, 15e12, 240, 1072),
        Medium("TS1160", 400e6, 20e12, 272, 1163),
        Medium("LTO7", 300e6, 6e12, 112, 960),
        Medium("LTO8", 360e6, 12e12, 208, 960),
        Medium("LTO9", 400e6, 18e12, 280, 1035),
        Medium("T10000D", 252e6, 8.5e12, 144, 1147),
    )
}


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a file, or a part of one that runs over the end of a tape, lies."""

    cartridge: str
    start: int
    end: int


class Geometry:
    """The wraps of one cartridge, which nobody outside the drive knows. `label` and `seed` decide the small
    differences from the mean."""

    __slots__ = ("_bounds", "_medium", "_per_band")

    def __init__(self, medium: Medium, label: str, seed: int = 0) -> None:
        chance = random.Random(f"{seed} {label}")  # noqa: S311  a model
        mean = medium.capacity / medium.wraps
        self._medium = medium
        self._per_band = max(1, medium.wraps // BANDS)
        # Of the beginnings of all wraps. More than the nominal capacity fits, as data are compressed.
        lengths = (mean * (1 + chance.uniform(-JITTER, JITTER)) for _ in range(2 * medium.wraps))
        self._bounds = [0.0, *accumulate(lengths)]

    def place(self, at: float) -> tuple[int, float]:
        """The wrap, and how far along the tape (0 is its beginning, 1 its end)."""
        bounds = self._bounds
        wrap = min(bisect_right(bounds, at) - 1, len(bounds) - 2)
        along = (at - bounds[wrap]) / (bounds[wrap + 1] - bounds[wrap])
        return wrap, 1 - along if wrap % 2 else along

    def locate(self, here: float, there: float) -> float:
        """Seconds from one place to another."""
        if here == there:
            return 0.0
        (wrap, x), (other, y) = self.place(here), self.place(there)
        seconds = 4.29 + self._medium.wind * abs(x - y)
        if wrap != other:
            seconds += 6.69
            seconds += 3.2 if wrap // self._per_band != other // self._per_band else 0.0
            seconds -= 6.04 if (x < 0.5) != (y < 0.5) else 0.0
            seconds += 5.22 if wrap % 2 != other % 2 else 0.0
        elif there < here:
            seconds += 11.32
        # What lies between may as well be read through.
        return min(seconds, (there - here) / self._medium.rate) if there > here else seconds

    def read(self, start: float, end: float) -> float:
        """Seconds to read what lies there, once the drive is there."""
        turns = self.place(max(start, end - 1))[0] - self.place(start)[0]
        return (end - start) / self._medium.rate + WRAP_TURN * turns

    def unload(self, here: float) -> float:
        """Seconds until the cartridge is back on its shelf and the drive is free."""
        return self._medium.wind * self.place(here)[1] + self._medium.eject + ROBOT

    def in_order(self, extents: Iterable[Extent]) -> tuple[float, float]:
        """(seconds, place at the end) to read these from the beginning of the tape in the given order."""
        at, seconds = 0.0, 0.0
        for extent in extents:
            seconds += self.locate(at, extent.start) + self.read(extent.start, extent.end)
            at = extent.end
        return seconds, at

    def tape_time(self, extents: Sequence[Extent]) -> float:
        """Seconds for which a drive is busy with this cartridge: mount, everything in tape order, unload."""
        seconds, at = self.in_order(sorted(extents, key=lambda extent: extent.start))
        return self._medium.mount + seconds + self.unload(at)


class Geometries:
    """Those of all cartridges of one kind, made when they are asked for."""

    def __init__(self, medium: Medium, seed: int = 0) -> None:
        self.medium = medium
        self._seed = seed
        self._known: dict[str, Geometry] = {}

    def of(self, label: str) -> Geometry:
        """The geometry of a cartridge."""
        found = self._known.get(label)
        if found is None:
            found = self._known[label] = Geometry(self.medium, label, self._seed)
        return found

"""What lies on the tapes: made from a seed, or read from a listing.

A catalogue has what a listing tells (all that planning sees) and where each file truly lies on its cartridges (which
only the simulated drives know). Sizes in bytes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tacc_sync.campaign.tape_model import MEDIA, Extent, Medium
from tacc_sync.outside.hpss.interface import ListedFile
from tacc_sync.rules.identity import cartridge_label

SOURCE = "/home/projects/archive"
DAYS = 3600
STREAMS = 8
# How full a cartridge is when the next one is begun.
FILL = 0.97


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a catalogue is made. `share` of each tape is ours, in runs of `run` files (a geometric mean); sizes are
    lognormal with this median and sigma."""

    files: int
    median: float
    sigma: float
    share: float
    run: float


RECIPES = {
    # A real case: large bundles in a file family of their own; the same on tapes shared with others; bound by seeks;
    # bound by what each file costs; and many files of a middling size.
    "A": Recipe(43_000, 95e9, 0.35, 1.0, 20),
    "A2": Recipe(43_000, 95e9, 0.35, 0.3, 3),
    "B": Recipe(200_000, 2e9, 1.3, 0.155, 3),
    "C": Recipe(1_000_000, 50e6, 1.2, 0.017, 10),
    "M": Recipe(1_000_000, 7.3e9, 0.8, 1.0, 20),
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Files in the order in which they are listed, and where they lie, by path."""

    name: str
    files: list[ListedFile]
    extents: dict[str, tuple[Extent, ...]]
    medium: Medium
    source: str = SOURCE

    @property
    def bytes(self) -> int:
        """All sizes together."""
        return sum(file.size for file in self.files)

    def by_cartridge(self) -> dict[str, list[Extent]]:
        """What lies on each cartridge."""
        found: dict[str, list[Extent]] = {}
        for extents in self.extents.values():
            for extent in extents:
                found.setdefault(extent.cartridge, []).append(extent)
        return found


def make(name: str, *, scale: float = 1.0, seed: int = 1, medium: str = "TS1155") -> Catalogue:
    """One of the recipes; `scale` is the share of its files (and so of its tapes)."""
    recipe, kind = RECIPES[name], MEDIA[medium]
    chance = random.Random(f"{seed} {name}")  # noqa: S311  a model
    wanted = max(1, round(recipe.files * scale))
    files: list[ListedFile] = []
    extents: dict[str, tuple[Extent, ...]] = {}
    cartridges = 0
    for stream in range(STREAMS):
        tape = _Stream(stream, kind.capacity * FILL)
        mine = wanted // STREAMS + (stream < wanted % STREAMS)
        left_of_run = 0
        for number in range(mine):
            size = max(1, round(chance.lognormvariate(0.0, recipe.sigma) * recipe.median))
            if recipe.share < 1:
                if left_of_run == 0:
                    left_of_run = _geometric(chance, recipe.run)
                    # Other people's data before the run, so that on the average our share is as wanted.
                    mean = recipe.run * _mean(recipe) * (1 - recipe.share) / recipe.share
                    tape.skip(int(chance.expovariate(1 / mean)))
                left_of_run -= 1
            section, places = tape.put(size)
            day = number * DAYS // mine
            path = f"{SOURCE}/{2012 + day // 360}/{day % 360:03d}/{chance.getrandbits(64):016x}.zip"
            volumes = tuple(place.cartridge for place in places)
            files.append(ListedFile(path, size, section, 0, volumes, "2021-03-01T11:15:47"))
            extents[path] = places
        cartridges += tape.number + 1
    files.sort(key=lambda file: file.path)
    return Catalogue(name, files, extents, kind)


def of_listing(files: Iterable[ListedFile], *, medium: str = "TS1155", dense: bool = False) -> Catalogue:
    """A catalogue of what a real archive has listed. Where exactly the files lie is not told: they are taken to lie
    one after the other, in the order of their positions, evenly over as much of the cartridge as they need; the
    section numbers, where they leave gaps, as gaps (not when they are to be taken as `dense`)."""
    listed, kind = list(files), MEDIA[medium]
    on: dict[str, list[ListedFile]] = {}
    shares = _shares(listed)
    for file in listed:
        for label in _cartridges(file)[: 1 if file.path not in shares else None]:
            on.setdefault(label, []).append(file)
    extents: dict[str, tuple[Extent, ...]] = dict.fromkeys((file.path for file in listed), ())
    for label, there in on.items():
        at = 0.0
        # The first cartridge's position is the one that is told; on the others the file begins the tape.
        there.sort(key=lambda file: (_cartridges(file)[0] == label, file.section, file.offset, file.path))
        last = max((file.section for file in there), default=0) + 1
        ours = sum(shares.get(file.path, file.size) for file in there)
        spare = 0.0 if dense else max(0.0, kind.capacity * FILL - ours)
        for file in there:
            size = shares.get(file.path, file.size)
            if _cartridges(file)[0] == label:
                at = max(at, spare * file.section / last)
            extents[file.path] += (Extent(label, int(at), int(at) + size),)
            at += size
    for file in listed:
        if file.path in shares:
            place = _cartridges(file).index
            extents[file.path] = tuple(sorted(extents[file.path], key=lambda extent: place(extent.cartridge)))
    common = _common(file.path for file in listed)
    return Catalogue("listing", listed, extents, kind, common)


def _cartridges(file: ListedFile) -> list[str]:
    """Each once, in the order in which they are listed."""
    return list(dict.fromkeys(map(cartridge_label, file.volumes)))


def _shares(listed: list[ListedFile]) -> dict[str, int]:
    """By path, of files that run over the end of a cartridge: the bytes on each of their cartridges, in equal parts.

    A file on several cartridges may as well be striped over them. It is taken to run over when no other one lies on the
    same ones, and nothing comes after it on the first. A stripe is taken to lie whole on its first cartridge, as if
    that was a set that is mounted and read as one."""
    several = [file for file in listed if len(file.volumes) > 1 and len(_cartridges(file)) > 1]
    if not several:
        return {}
    alike = Counter(file.volumes for file in several)
    ends: dict[str, tuple[int, int]] = {}
    for file in listed:
        if file.volumes:
            label = cartridge_label(file.volumes[0])
            ends[label] = max(ends.get(label, (0, 0)), (file.section, file.offset))
    return {
        file.path: file.size // len(_cartridges(file))
        for file in several
        if alike[file.volumes] == 1 and (file.section, file.offset) == ends[cartridge_label(file.volumes[0])]
    }


def _common(paths: Iterable[str]) -> str:
    """The deepest directory that all of these lie in."""
    common: list[str] | None = None
    for path in paths:
        parts = path.split("/")[:-1]
        if common is None:
            common = parts
        else:
            same = 0
            for one, other in zip(common, parts, strict=False):
                if one != other:
                    break
                same += 1
            del common[same:]
    return "/".join(common or []) or "/"


def _geometric(chance: random.Random, mean: float) -> int:
    length = 1
    while chance.random() > 1 / mean:
        length += 1
    return length


def _mean(recipe: Recipe) -> float:
    return float(recipe.median * 2.718281828459045 ** (recipe.sigma**2 / 2))


class _Stream:
    """Cartridges that are filled one after the other."""

    def __init__(self, stream: int, capacity: float) -> None:
        self._prefix = "ABCDEFGH"[stream % 8]
        self._capacity = int(capacity)
        self.number = 0
        self._at = self._section = 0

    @property
    def _label(self) -> str:
        return f"{self._prefix}{self.number:05d}"

    def skip(self, size: int) -> None:
        self._at += size
        self._section += 1
        while self._at >= self._capacity:
            self._at -= self._capacity
            self._next()

    def put(self, size: int) -> tuple[int, tuple[Extent, ...]]:
        section, places = self._section, []
        self._section += 1
        while size > 0:
            here = min(size, self._capacity - self._at)
            places.append(Extent(self._label, self._at, self._at + here))
            self._at += here
            size -= here
            if self._at >= self._capacity:
                self._next()
                self._at = 0
        return section, tuple(places)

    def _next(self) -> None:
        self.number += 1
        self._section = 0

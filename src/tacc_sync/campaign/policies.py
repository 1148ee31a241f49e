"""Other ways to run the same campaign, as small models, to compare ours with. Pure.

They are models and no more: what is not told of them (their own sleeps, failures, overheads) costs them nothing here,
so that they look better than they are. Times in seconds, sizes in bytes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from tacc_sync.campaign.catalogues import Catalogue
from tacc_sync.campaign.tape_model import Extent, Geometries
from tacc_sync.outside.hpss.interface import ListedFile


@dataclass(frozen=True, slots=True)
class Ran:
    """How it went. `makespan` None: it never ends, as `stuck` units are larger than the buffer."""

    makespan: float | None
    mounts: int
    drive_seconds: float
    stuck: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """Drives, bytes of buffer (0 is no limit), bytes a second of network, and seconds from a transfer's last byte until
    its room is free."""

    drives: int
    buffer: float
    network: float
    latency: float


class _Drives:
    """Drives that keep what they have until another cartridge needs the one that was not used for longest."""

    def __init__(self, geometries: Geometries, number: int) -> None:
        self._geometries, self._number = geometries, number
        # cartridge -> where the tape stands; the one used last stands last.
        self._loaded: dict[str, float] = {}
        self.mounts = 0

    def read(self, extents: Iterable[Extent]) -> float:
        seconds = 0.0
        for extent in extents:
            geometry = self._geometries.of(extent.cartridge)
            at = self._loaded.pop(extent.cartridge, None)
            if at is None:
                if len(self._loaded) >= self._number:
                    label, where = next(iter(self._loaded.items()))
                    del self._loaded[label]
                    seconds += self._geometries.of(label).unload(where)
                self.mounts += 1
                seconds += self._geometries.medium.mount
                at = 0.0
            seconds += geometry.locate(at, extent.start) + geometry.read(extent.start, extent.end)
            self._loaded[extent.cartridge] = float(extent.end)
        return seconds

    def unload_all(self) -> float:
        """The rest of the work of the drives."""
        return sum(self._geometries.of(label).unload(at) for label, at in self._loaded.items())


def listing_order(catalogue: Catalogue, geometries: Geometries, site: Site) -> Ran:
    """One session that reads the files as they are listed; the drives keep the cartridges that it used last."""
    drives = _Drives(geometries, site.drives)
    clock, network = 0.0, 0.0
    held: list[tuple[float, int]] = []
    used = 0
    stuck = sum(file.size > site.buffer > 0 for file in catalogue.files)
    for file in catalogue.files:
        while site.buffer and held and used + file.size > site.buffer:
            freed, size = heapq.heappop(held)
            clock = max(clock, freed)
            used -= size
        clock += drives.read(catalogue.extents[file.path])
        network = max(network, clock) + file.size / site.network
        used += file.size
        heapq.heappush(held, (network + site.latency, file.size))
    busy = clock + drives.unload_all()
    return Ran(None if stuck else network + site.latency, drives.mounts, busy, stuck)


def whole_units(catalogue: Catalogue, geometries: Geometries, site: Site, *, sessions: int) -> Ran:
    """A unit for each tape (or set of tapes), for the whole of which the buffer is reserved; so many sessions."""
    units: dict[tuple[str, ...], list[ListedFile]] = {}
    for file in catalogue.files:
        units.setdefault(file.volumes, []).append(file)
    free = [0.0] * max(1, sessions)
    held: list[tuple[float, int]] = []
    used = mounts = stuck = 0
    network = started = busy_seconds = 0.0
    ready: list[tuple[float, int]] = []

    def send_until(when: float) -> float:
        """Transfers, one after the other as they are ready."""
        nonlocal network
        while ready and ready[0][0] <= when:
            at, size = heapq.heappop(ready)
            network = max(network, at) + size / site.network
            heapq.heappush(held, (network + site.latency, size))
        return network

    for volumes in sorted(units):
        files = sorted(units[volumes], key=_place)
        size = sum(file.size for file in files)
        if site.buffer and size > site.buffer:
            # What can never fit stops all that comes after it.
            stuck += 1
            continue
        start = max(heapq.heappop(free), started)
        send_until(start)
        while site.buffer and used + size > site.buffer:
            if not held:
                send_until(ready[0][0])
            freed, gone = heapq.heappop(held)
            used -= gone
            start = max(start, freed)
        started = start
        used += size
        drives = _Drives(geometries, 1)
        seconds = drives.read(extent for file in files for extent in catalogue.extents[file.path])
        # Two sessions may well want one cartridge, as a file runs over from one to the next; that costs nothing here.
        end = start + seconds
        unload = drives.unload_all()
        mounts += drives.mounts
        busy_seconds += seconds + unload
        heapq.heappush(free, end + unload)
        heapq.heappush(ready, (end, size))
    end = send_until(float("inf"))
    return Ran(None if stuck else end + site.latency, mounts, busy_seconds, stuck)


def _place(file: ListedFile) -> tuple[int, int]:
    return file.section, file.offset

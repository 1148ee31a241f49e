"""No campaign can be shorter than this, whatever its policy: a lower bound from drives, network and buffer. Pure.

Files are read in tape order, as a drive that is given one request after the other does. Times in seconds, sizes in
bytes.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from tacc_sync.campaign.catalogues import Catalogue
from tacc_sync.campaign.tape_model import Extent, Geometries


@dataclass(frozen=True, slots=True)
class Bound:
    """Seconds: by the drives together, by the longest tape, by the network, by the buffer; `tape_seconds` is what the
    drives are busy with, `enough_buffer` the bytes that keep the slower of tapes and network at work (B*)."""

    drives: float
    tape: float
    network: float
    buffer: float
    tape_seconds: float
    enough_buffer: float

    @property
    def seconds(self) -> float:
        """The bound."""
        return max(self.drives, self.tape, self.network, self.buffer)

    @property
    def by(self) -> str:
        """What it is that bounds."""
        times = {"drives": self.drives, "a tape": self.tape, "network": self.network, "buffer": self.buffer}
        return max(times, key=times.__getitem__)


@dataclass(frozen=True, slots=True)
class Tapes:
    """What the cartridges of a catalogue take: computed once for many bounds. `unloads`: the longest first."""

    times: list[float]
    unloads: list[float]
    first: float
    bytes: int
    weighted: float
    files: int
    smallest: int
    rate: float


def tapes_of(catalogue: Catalogue, geometries: Geometries) -> Tapes:
    """Look at each cartridge of a catalogue."""
    times, unloads, first = [], [], float("inf")
    for label, extents in catalogue.by_cartridge().items():
        geometry = geometries.of(label)
        extents.sort(key=_start)
        seconds, at = geometry.in_order(extents)
        mount, unload = catalogue.medium.mount, geometry.unload(at)
        times.append(mount + seconds + unload)
        unloads.append(unload)
        begin = extents[0]
        first = min(first, mount + geometry.locate(0.0, begin.start) + geometry.read(begin.start, begin.end))
    sizes = [file.size for file in catalogue.files if file.volumes]
    total = sum(sizes)
    return Tapes(
        times=times,
        unloads=sorted(unloads, reverse=True),
        first=first,
        bytes=total,
        weighted=sum(size * size for size in sizes) / max(1, total),
        files=len(sizes),
        smallest=min(sizes, default=0),
        rate=catalogue.medium.rate,
    )


def bound(
    tapes: Tapes, *, drives: int, buffer: float, network: float, per_file: float = 0.0, latency: float = 0.0
) -> Bound:
    """The bound of one campaign. `buffer` 0 is no limit. `network`: bytes a second. `per_file`: seconds of it that each
    file costs besides. `latency`: seconds from a file's last byte until its room is free."""
    busy = sum(tapes.times)
    tail = tapes.smallest / network + latency
    # The last cartridge of each drive need not be unloaded.
    by_drives = (busy - sum(tapes.unloads[:drives])) / drives + tail
    longest = max(0.0, max(tapes.times, default=0.0) - max(tapes.unloads, default=0.0))
    by_network = tapes.first + tapes.bytes / network + tapes.files * per_file + latency
    hold = tapes.weighted / tapes.rate + tapes.weighted / network + latency
    by_buffer = tapes.bytes * hold / buffer if buffer else 0.0
    efficiency = tapes.bytes / tapes.rate / busy if busy else 1.0
    flow = min(network, drives * tapes.rate * efficiency)
    return Bound(by_drives, longest + tail, by_network, by_buffer, busy, flow * hold)


def shortest_schedule(times: list[float], drives: int) -> float:
    """Seconds until all tapes are read when each drive takes the longest that is left: near the best that can be
    done with whole tapes."""
    ends = [0.0] * max(1, drives)
    for time in sorted(times, reverse=True):
        heapq.heappush(ends, heapq.heappop(ends) + time)
    return max(ends)


def _start(extent: Extent) -> int:
    return extent.start

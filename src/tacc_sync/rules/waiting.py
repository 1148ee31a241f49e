"""The units that wait for tape, by tape: what a listing of the queue says, sorted once and not at each look. Pure.

Guarantee: after `update` it holds exactly the units of the last listing; what it remembers saves time and nothing else.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator

from tacc_sync.rules.identity import UnitName, parse_entry


class Reel:
    """The waiting units of one tape: by request, in order. `largest`: at least as large as each of them."""

    __slots__ = ("bytes", "cartridges", "largest", "requests")

    def __init__(self, cartridges: tuple[str, ...]) -> None:
        self.cartridges = cartridges
        self.requests: dict[str, list[tuple[int, UnitName]]] = {}
        self.bytes = self.largest = 0

    def __iter__(self) -> Iterator[UnitName]:
        for units in self.requests.values():
            for _, unit in units:
                yield unit

    def add(self, unit: UnitName) -> None:
        """One more."""
        insort(self.requests.setdefault(unit.request, []), (unit.seq, unit))
        self.bytes += unit.bytes
        self.largest = max(self.largest, unit.bytes)

    def remove(self, unit: UnitName) -> None:
        """One less."""
        units = self.requests[unit.request]
        units.remove((unit.seq, unit))
        if not units:
            del self.requests[unit.request]
        self.bytes -= unit.bytes


class Waiting:
    """All of them."""

    def __init__(self, units: Iterable[UnitName] = ()) -> None:
        self.reels: dict[str, Reel] = {}
        self._entries: set[str] = set()
        for unit in units:
            self._add(unit)

    def update(self, entries: Iterable[str]) -> None:
        """The queue's entries are these now."""
        now = set(entries)
        gone, come = self._entries - now, now - self._entries
        self._entries = now
        for unit in map(parse_entry, gone):
            if unit is not None:
                reel = self.reels[unit.tape]
                reel.remove(unit)
                if not reel.requests:
                    del self.reels[unit.tape]
        for unit in map(parse_entry, come):
            if unit is not None:
                self._add(unit)

    def __iter__(self) -> Iterator[UnitName]:
        for reel in self.reels.values():
            yield from reel

    def _add(self, unit: UnitName) -> None:
        if unit.tape not in self.reels:
            self.reels[unit.tape] = Reel(unit.cartridges)
        self.reels[unit.tape].add(unit)

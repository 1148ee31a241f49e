"""The units that wait for tape, by tape: what a listing of the queue says, sorted once and not at each look. Pure.

Guarantee: after `update` it holds exactly the units of the last listing; what it remembers saves time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tacc_sync.rules.chains import Chains
from tacc_sync.rules.identity import UnitName, parse_entry
from tacc_sync.rules.reel import Reel


class Waiting:
    """All of them: `reels` by the names of their tapes, `requests` with how many units each has, `bytes` in all.
    `chains`: what they are to a choice; `stale`: the names of reels that have changed since that was looked at."""

    def __init__(self, units: Iterable[UnitName] = ()) -> None:
        self.reels: dict[str, Reel] = {}
        self.requests: dict[str, int] = {}
        self.bytes = 0
        self.stale: set[str] = set()
        self.chains = Chains()
        self._listed: list[str] = []
        self._entries: set[str] = set()
        for unit in units:
            self._add(unit)

    def update(self, entries: Iterable[str]) -> None:
        """The queue's entries are these now."""
        listed = list(entries)
        if listed == self._listed:
            # Of ten thousand names, much the most frequent case: looked at again, and nothing has changed.
            return
        before, now = self._entries, set(listed)
        self._listed, self._entries = listed, now
        gone = before - now
        come = now - before if len(now) > len(before) - len(gone) else set()
        for unit in map(parse_entry, gone):
            if unit is not None:
                self._remove(unit)
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
        self.bytes += unit.bytes
        self.requests[unit.request] = self.requests.get(unit.request, 0) + 1
        self.stale.add(unit.tape)

    def _remove(self, unit: UnitName) -> None:
        reel = self.reels[unit.tape]
        reel.remove(unit)
        self.bytes -= unit.bytes
        if not reel.requests:
            del self.reels[unit.tape]
        self.requests[unit.request] -= 1
        if not self.requests[unit.request]:
            del self.requests[unit.request]
        self.stale.add(unit.tape)

"""The waiting units of one tape. Pure."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator

from tacc_sync.rules.identity import UnitName


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

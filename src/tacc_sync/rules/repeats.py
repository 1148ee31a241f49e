"""Does anything occur twice among many millions of texts? Eight bytes each are remembered. Pure.

Guarantee: what occurs twice is among the suspects. So may be a text whose hash another one has, one in about 10^12 of
ten million: whoever asks looks at the suspects themselves.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

_PARTS = 256


class Repeats:
    """A memory of texts by their hashes, which differ from process to process."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTS)]

    def add(self, text: str) -> None:
        """Remember one."""
        number = hash(text)
        self._parts[number & (_PARTS - 1)].append(number)

    def suspects(self) -> set[int]:
        """The hashes that occurred more than once."""
        found: set[int] = set()
        for part in self._parts:
            if len(set(part)) < len(part):
                once: set[int] = set()
                for number in part:
                    (found if number in once else once).add(number)
        return found

    def also_in(self, texts: Iterable[str]) -> list[str]:
        """Of these texts those that may have been remembered."""
        asked: dict[int, list[str]] = {}
        for text in texts:
            asked.setdefault(hash(text), []).append(text)
        found: list[str] = []
        for part in self._parts:
            for number in asked.keys() & part:
                found += asked[number]
        return sorted(found)

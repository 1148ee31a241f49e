"""Does anything occur twice among many millions of texts, or of paths? Eight bytes each are remembered. Pure.

Guarantee: what occurs twice is among the suspects. So may be a text whose hash another one has, one in about 10^12 of
ten million: whoever asks looks at the suspects themselves.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable

# Bits of a hash that choose its part, and how many hashes are sorted into their parts at once.
_BITS = 8
_AT_ONCE = 1 << 16
# The first hash of each part but the first one.
_BOUNDS = [(part << (64 - _BITS)) - (1 << 63) for part in range(1, 1 << _BITS)]


class Repeats:
    """A memory of texts by their hashes, which differ from process to process."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(1 << _BITS)]
        self._new = array("q")

    def add(self, text: str) -> None:
        """Remember one."""
        self.add_all((text,))

    def add_all(self, texts: Iterable[str]) -> None:
        """Remember all of these."""
        self._new.extend(map(hash, texts))
        if len(self._new) >= _AT_ONCE:
            self._put_away()

    def suspects(self) -> set[int]:
        """The hashes that occurred more than once."""
        self._put_away()
        found: set[int] = set()
        for part in self._parts:
            if len(set(part)) < len(part):
                once: set[int] = set()
                for number in part:
                    (found if number in once else once).add(number)
        return found

    def also_in(self, texts: Iterable[str]) -> list[str]:
        """Of these texts those that may have been remembered."""
        self._put_away()
        asked: dict[int, list[str]] = {}
        for text in texts:
            asked.setdefault(hash(text), []).append(text)
        found: list[str] = []
        for part in self._parts:
            for number in asked.keys() & part:
                found += asked[number]
        return sorted(found)

    def _put_away(self) -> None:
        numbers = sorted(self._new)
        start = 0
        for part, bound in zip(self._parts, [*_BOUNDS, None], strict=True):
            end = len(numbers) if bound is None else bisect_left(numbers, bound, start)
            part.extend(numbers[start:end])
            start = end
        del self._new[:]


class Paths:
    """A memory of paths, which come directory by directory; some hundred bytes more for each directory."""

    def __init__(self) -> None:
        self._hashes = array("q")
        # Of each directory, where the hashes of its names begin and end, one stretch after the other.
        self._stretches: dict[str, list[int]] = {}

    def add(self, path: str) -> None:
        """Remember one."""
        directory, _, name = path.rpartition("/")
        self.add_names(directory, (name,))

    def add_names(self, directory: str, names: Iterable[str]) -> None:
        """Remember what lies in a directory."""
        begin = len(self._hashes)
        self._hashes.extend(map(hash, names))
        stretches = self._stretches.setdefault(directory, [])
        if stretches and stretches[-1] == begin:
            stretches[-1] = len(self._hashes)
        else:
            stretches += begin, len(self._hashes)

    @property
    def directories(self) -> Collection[str]:
        """In which any of them lie."""
        return self._stretches.keys()

    def repeated(self) -> set[str]:
        """The directories in which one may lie that was named twice."""
        return {each for each in self._stretches if len(set(names := self._names(each))) < len(names)}

    def nested(self) -> set[str]:
        """Of the directories, and those that they lie in, the ones that may themselves be among the paths."""
        needed: set[str] = set()
        for each in self._stretches:
            above = each
            while above and above not in needed:
                needed.add(above)
                above = above.rpartition("/")[0]
        inside: dict[str, dict[int, str]] = {}
        for each in needed:
            parent, _, name = each.rpartition("/")
            if parent in self._stretches:
                inside.setdefault(parent, {})[hash(name)] = each
        return {those[name] for parent, those in inside.items() for name in those.keys() & set(self._names(parent))}

    def _names(self, directory: str) -> array[int]:
        stretches, found = self._stretches[directory], array("q")
        for begin, end in zip(stretches[::2], stretches[1::2], strict=True):
            found += self._hashes[begin:end]
        return found

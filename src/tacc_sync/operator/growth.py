"""Files that somebody else is writing, as they are seen to grow.

Guarantee: nothing is believed but sizes that were seen; what came between two looks has no rate, only a time.
Never fails: a file that cannot be looked at has not grown.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.rules.measuring import Arrival
from tacc_sync.workspace.disk import Disk

PAUSE = 0.05
# How many files ahead of the newest one are looked for: hsi skips those that it can't fetch.
LOOK_AHEAD = 4


class Growth:
    """Files that come one after the other, of known sizes."""

    def __init__(self, disk: Disk, clock: Clock, files: Sequence[tuple[str, int]]) -> None:
        """`files`: paths and the sizes that they will have, in order."""
        self._disk = disk
        self._clock = clock
        self._files = files
        self._first: dict[int, tuple[float, int]] = {}
        self._last: dict[int, tuple[float, int]] = {}
        self._growing: list[int] = []
        self._next = 0

    def look(self) -> None:
        """Look at what grows and at what comes next."""
        for index in list(self._growing):
            self._look_at(index)
        # From the first that has not begun: between two looks at neighbours both may begin.
        index, missing = self._next, 0
        while index < len(self._files) and missing < LOOK_AHEAD:
            has_begun = index in self._first or self._look_at(index)
            missing = 0 if has_begun else missing + 1
            index += 1
        while self._next in self._first:
            self._next += 1

    def _look_at(self, index: int) -> bool:
        """Whether it has grown."""
        path, whole = self._files[index]
        size = self._size(path)
        if size <= self._last.get(index, (0.0, 0))[1]:
            return False
        now = self._clock.uptime()
        if index not in self._first:
            self._first[index] = now, size
            self._growing.append(index)
        self._last[index] = now, size
        if size >= whole:
            self._growing.remove(index)
        return True

    def arrivals(self) -> list[Arrival]:
        """The files that have come whole, in the order in which they began to."""
        whole = [index for index, (_, size) in self._last.items() if size == self._files[index][1]]
        found = [Arrival(self._files[index][1], *self._first[index], self._last[index][0]) for index in whole]
        return sorted(found, key=lambda each: each.first_at)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look again and again, beside what is done meanwhile."""
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                self.look()
                self._clock.sleep(PAUSE)

        thread = threading.Thread(target=watch, name="growth", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()

    def _size(self, path: str) -> int:
        try:
            found = self._disk.status(path)
        except OSError:
            return 0
        return found.size if found is not None and found.kind == "file" else 0

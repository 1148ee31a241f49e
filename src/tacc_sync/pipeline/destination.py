"""What lies at the destination, directory by directory: asked for in a measured pace, and remembered for a while.

Guarantee: a directory that is not there is empty; anything else that goes wrong is an error, and never looks like an
empty destination.
Fails with what `Globus.listing` fails with.
"""

from __future__ import annotations

from collections.abc import Callable

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.globus.interface import Globus, NoSuchDirectory
from tacc_sync.rules.faults import WorkFault, WorldFault
from tacc_sync.rules.presence import Remote
from tacc_sync.rules.validity import is_within

Listing = dict[str, Remote]

# Entries that are remembered at once: some ten megabytes.
MOST_ENTRIES = 200_000


class Destination:
    """One collection's directories, as they were when they were listed."""

    def __init__(self, globus: Globus, clock: Clock, collection: str, *, age: float, per_second: float) -> None:
        self._globus = globus
        self._clock = clock
        self._collection = collection
        self._age = age
        self._pause = 1.0 / per_second if per_second > 0 else 0.0
        self._listings: dict[str, tuple[float, Listing]] = {}
        self._directories: dict[str, tuple[float, frozenset[str]]] = {}
        self._kept = 0
        self._next_call = 0.0
        # Directories that were asked for since the last `forget`.
        self.calls = 0

    def listing(self, directory: str, root: str, go_on: Callable[[], None] = lambda: None) -> Listing:
        """What lies in a directory (a path inside the collection, at or below `root`), by name. `go_on` raises when it
        is not to be asked any more."""
        known = self._listings.get(directory)
        if known is not None and self._clock.uptime() - known[0] < self._age:
            return known[1]
        if self._is_absent(directory, root, go_on):
            return {}
        return self._ask(directory, go_on)[0]

    def _is_absent(self, directory: str, root: str, go_on: Callable[[], None]) -> bool:
        """Whether the directory above tells that this one is not there: of a tree that is not there yet, one call
        does."""
        parent, _, name = directory.rpartition("/")
        is_inside = directory != root and is_within(directory, root)
        return is_inside and name not in self._below(parent or "/", root, go_on)

    def _below(self, directory: str, root: str, go_on: Callable[[], None]) -> frozenset[str]:
        """What is no file in a directory: what may be a directory."""
        known = self._directories.get(directory)
        if known is not None and self._clock.uptime() - known[0] < self._age:
            return known[1]
        if self._is_absent(directory, root, go_on):
            return frozenset()
        return self._ask(directory, go_on)[1]

    def _ask(self, directory: str, go_on: Callable[[], None]) -> tuple[Listing, frozenset[str]]:
        go_on()
        now = self._clock.uptime()
        if now < self._next_call:
            self._clock.sleep(self._next_call - now)
        asked = self._clock.uptime()
        self._next_call = asked + self._pause
        self.calls += 1
        try:
            entries = self._globus.listing(self._collection, directory)
        except NoSuchDirectory:
            entries = []
        except WorkFault as fault:
            # The service does not want to list it: that says nothing of the request's files.
            raise WorldFault(fault.code, fault.text, fault.remedy) from fault
        # What is no file has no size that a file could have.
        found = {
            entry.name: Remote(entry.size, entry.mtime) if entry.kind == "file" else Remote(-1, None)
            for entry in entries
        }
        below = frozenset(entry.name for entry in entries if entry.kind != "file")
        self._keep(directory, asked, found)
        self._directories[directory] = asked, below
        return found, below

    def _keep(self, directory: str, asked: float, found: Listing) -> None:
        self._kept -= len(self._listings.pop(directory, (0.0, {}))[1])
        self._listings[directory] = asked, found
        self._kept += len(found)
        # The oldest go, so that an archive of any size fits into memory; not the one that was asked for just now.
        while self._kept > MOST_ENTRIES and len(self._listings) > 1:
            oldest = next(iter(self._listings))
            self._kept -= len(self._listings.pop(oldest)[1])

    def forget(self) -> None:
        """Ask anew from now on."""
        self._listings.clear()
        self._directories.clear()
        self._kept = 0
        self.calls = 0

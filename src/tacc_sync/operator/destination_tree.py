"""Everything that lies below some directories at the destination, in a measured pace, never all of it in memory.

Guarantee: a directory that is not there is empty; one that cannot be listed is tried again a few times, and then it is
an error, never an empty one. What changes while we look may be told twice.
Fails with what `Globus.entries` fails with, a refusal (`WorkFault`) as `WorldFault`; `OperatorFault` AUDIT-OUTSIDE for
what the collection does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.globus.interface import Globus, NoSuchDirectory, RemoteEntry
from tacc_sync.rules.faults import OperatorFault, WorkFault, WorldFault
from tacc_sync.rules.identity import printable
from tacc_sync.rules.scope import outermost
from tacc_sync.rules.settings import Settings, to_collection
from tacc_sync.rules.validity import is_within

# Seconds of rest before a directory is tried again: one answer that is lost must not cost hours of listing.
RESTS = (5.0, 20.0, 60.0)


class Entry(NamedTuple):
    """An entry, and its path as the site names it."""

    path: str
    entry: RemoteEntry


class DestinationTree:
    """Lists the destination collection."""

    def __init__(self, globus: Globus, clock: Clock, settings: Settings) -> None:
        self._globus = globus
        self._clock = clock
        self._shown = settings.destination
        self._collection = settings.globus.destination_collection
        rate = settings.skip.requests_per_second
        self._pause = 1.0 / rate if rate > 0 else 0.0
        self._next_call = 0.0
        self.calls = 0

    def walk(self, trees: Iterable[str], tops: Iterable[str], places: Iterable[str]) -> Iterator[Entry]:
        """Everything below these trees, and what lies at these places. Trees that are among `tops` are directories, if
        they are anything; of the others it is looked up."""
        trees, tops = outermost(trees), frozenset(tops)
        wanted: dict[str, set[str]] = {}
        for place in (*places, *(tree for tree in trees if tree not in tops)):
            if place in trees or not any(is_within(place, tree) for tree in trees):
                parent, _, name = place.rpartition("/")
                wanted.setdefault(parent or "/", set()).add(name)
        found = [tree for tree in trees if tree in tops]
        for parent, names in wanted.items():
            for entry in self._entries(parent):
                path = f"{parent.rstrip('/')}/{entry.name}"
                if entry.name in names:
                    yield Entry(printable(path), entry)
                    if entry.kind == "dir" and path in trees:
                        found.append(path)
        yield from self._below(found)

    def _below(self, directories: list[str]) -> Iterator[Entry]:
        while directories:
            directory = directories.pop()
            below = set[str]()
            for entry in self._entries(directory):
                path = f"{directory.rstrip('/')}/{entry.name}"
                if entry.kind == "dir":
                    below.add(path)
                yield Entry(printable(path), entry)
            directories += below

    def _entries(self, directory: str) -> Iterator[RemoteEntry]:
        path = to_collection(directory, self._shown.path_prefix, self._shown.globus_prefix)
        if path is None:
            raise OperatorFault(
                "AUDIT-OUTSIDE",
                f"{printable(directory)} lies outside of what the destination collection shows",
                "correct `path_prefix` and `globus_prefix` in [destination] of tacc-sync.toml",
            )
        for rest in (*RESTS, None):
            self._keep_pace()
            try:
                yield from self._globus.entries(self._collection, path or "/")
            except NoSuchDirectory:
                return
            except WorkFault as fault:
                raise WorldFault(fault.code, fault.text, fault.remedy) from fault
            except WorldFault as fault:
                if rest is None:
                    raise
                self._clock.sleep(max(rest, fault.retry_after or 0.0))
            else:
                return

    def _keep_pace(self) -> None:
        now = self._clock.uptime()
        if now < self._next_call:
            self._clock.sleep(self._next_call - now)
        self._next_call = self._clock.uptime() + self._pause
        self.calls += 1

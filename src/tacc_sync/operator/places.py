"""Where everything lies: the workspace walked once in the direction of flow, by names alone.

Guarantee: a unit that moves on while we look may be seen twice, and then the place furthest down counts; it is missed
only if it goes back meanwhile, or its name moves within a directory that is being read. Nothing is changed.
Fails with `OSError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tacc_sync.rules import identity
from tacc_sync.rules.identity import SUFFIX, UnitName
from tacc_sync.rules.route import (
    COMPONENTS,
    FINISHED,
    HPSS_QUEUE,
    INBOX,
    QUARANTINE,
    REQUEST_QUEUE,
    UNIT_QUEUES,
)
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import STAGING

STAGED = "staging"


class Sighting(NamedTuple):
    """A unit, the place of the pipeline that it is in, and where exactly. `by` is the worker that holds it, or in
    quarantine the component that put it there."""

    unit: UnitName
    place: str
    path: str
    by: str = ""


class RequestSighting(NamedTuple):
    """A request's document: its place (inbox, request_queue, quarantine, finished), and where exactly."""

    entry: str
    place: str
    path: str
    by: str = ""


def names(disk: Disk, directory: str) -> list[str]:
    """The names in a directory; none when it is gone (a worker that left)."""
    try:
        return disk.names(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def units(disk: Disk, keys: Iterable[str]) -> Iterator[Sighting]:
    """All units on their way, and the finished ones of these requests; most upstream first."""
    yield from _staged(disk)
    for queue in UNIT_QUEUES:
        yield from _units_in(disk, queue, queue)
        for worker in names(disk, layout.CLAIMS):
            yield from _units_in(disk, queue, f"{layout.CLAIMS}/{worker}/{queue}", worker)
    for component in COMPONENTS:
        yield from _units_in(disk, QUARANTINE, layout.quarantine(component), component)
    for key in keys:
        yield from _units_in(disk, FINISHED, layout.finished(key))


def furthest(sightings: Iterable[Sighting]) -> dict[str, Sighting]:
    """Each unit where it was seen furthest down."""
    return {sighting.unit.unit: sighting for sighting in sightings}


def requests(disk: Disk) -> Iterator[RequestSighting]:
    """The documents of all requests but the finished ones; most upstream first."""
    workers = names(disk, layout.CLAIMS)
    for place in (INBOX, REQUEST_QUEUE):
        yield from _documents_in(disk, place, place)
        for worker in workers:
            yield from _documents_in(disk, place, f"{layout.CLAIMS}/{worker}/{place}", worker)
    for component in COMPONENTS:
        for found in _documents_in(disk, QUARANTINE, layout.quarantine(component), component):
            if identity.parse_entry(found.entry) is None:
                yield found


def finished_keys(disk: Disk) -> list[str]:
    """The directories of requests in finished, whether or not they are finished yet."""
    return sorted(name for name in names(disk, FINISHED) if identity.is_key(name))


def _units_in(disk: Disk, place: str, directory: str, by: str = "") -> Iterator[Sighting]:
    for name in names(disk, directory):
        unit = identity.parse_entry(name)
        if unit is not None:
            yield Sighting(unit, place, f"{directory}/{name}", by)


def _documents_in(disk: Disk, place: str, directory: str, by: str = "") -> Iterator[RequestSighting]:
    for name in sorted(names(disk, directory)):
        if layout.is_document(name):
            yield RequestSighting(name, place, f"{directory}/{name}", by)


def _staged(disk: Disk) -> Iterator[Sighting]:
    # Between the commit of a plan and the last of its units being published, some lie here.
    for worker in names(disk, layout.CLAIMS):
        for stem in names(disk, f"{layout.CLAIMS}/{worker}/{STAGING}"):
            if disk.status(f"{layout.CLAIMS}/{worker}/{INBOX}/{stem}{SUFFIX}") is not None:
                continue
            for folder in (HPSS_QUEUE, QUARANTINE):
                directory = f"{layout.CLAIMS}/{worker}/{STAGING}/{stem}/{folder}"
                yield from _units_in(disk, STAGED, directory, worker)

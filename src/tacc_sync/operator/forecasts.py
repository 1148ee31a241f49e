"""What a forecast is made of, read from the workspace; and where forecasts are kept.

Guarantee: what is left is read from the names of units, so that it costs little however many there are; a unit that
moves meanwhile counts once, where it was seen furthest down. A forecast is whole or not there, and one that cannot be
kept, or read, costs nothing else.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from tacc_sync.operator import places
from tacc_sync.rules import documents
from tacc_sync.rules.documents import VERSION, BadDocument, NewerDocument, Request, Work
from tacc_sync.rules.forecast import Forecast, Forecasts, with_entry
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.observed import Observed, Seen
from tacc_sync.rules.route import GLOBUS_QUEUE, HPSS_QUEUE
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk
from tacc_sync.workspace.home import Home

# So many of the latest finished units tell what the site is seen to do.
MOST_UNITS = 2000
# So many units that wait tell how their files lie on tape.
MOST_SAMPLED = 100


class Left(NamedTuple):
    """A unit that is still to be moved. `tape` is () when it needs none any more; `seq`: its place among those of the
    tape."""

    tape: tuple[str, ...]
    seq: int
    bytes: int


@dataclass(slots=True)
class Open:
    """A request that is under way, and what is left of it. `files` of a unit: on the average."""

    key: str
    request: Request
    left: list[Left]
    files_of_a_unit: float


def open_requests(disk: Disk) -> list[Open]:
    """The requests under way, the one of highest priority first. What lies in quarantine waits for a person, and is
    not counted; nor is what other requests carry for one."""
    found: dict[str, Open] = {}
    for key in queues.requests(disk):
        try:
            request = queues.read_request(disk, layout.entry("request_queue", key))
        except (FileNotFoundError, BadDocument, NewerDocument):
            continue
        if request.plan is not None:
            files = request.plan.files / max(1, len(request.plan.units))
            found[key] = Open(key, request, [], files)
    loans = set(queues.loans(disk))
    for unit, sighting in places.furthest(places.units(disk, found)).items():
        name = sighting.unit
        if name.request not in found or unit in loans:
            continue
        if sighting.place == HPSS_QUEUE:
            found[name.request].left.append(Left(name.cartridges, name.seq, name.bytes))
        elif sighting.place == GLOBUS_QUEUE:
            found[name.request].left.append(Left((), name.seq, name.bytes))
    for each in found.values():
        each.left.sort()
    return sorted(found.values(), key=lambda each: (-each.request.priority, each.key))


def waiting_units(disk: Disk) -> Iterator[Work]:
    """Some units that wait for tape, tape by tape."""
    names = sorted(queues.units(disk, HPSS_QUEUE), key=lambda unit: (unit.tape, unit.request, unit.seq))
    for name in islice(names, MOST_SAMPLED):
        work = _work(disk, f"{HPSS_QUEUE}/{name.unit}{SUFFIX}")
        if work is not None:
            yield work


def seen(disk: Disk) -> Seen:
    """What the latest finished units show of the site."""
    keys = places.finished_keys(disk)
    status = {key: disk.status(layout.finished(key)) for key in keys}
    # A directory's date is that of the last unit that moved in.
    keys.sort(key=lambda key: getattr(status[key], "mtime", 0), reverse=True)
    observed = Observed()
    for work in islice(_finished(disk, keys), MOST_UNITS):
        observed.add(work)
    return observed.seen()


def _finished(disk: Disk, keys: list[str]) -> Iterator[Work]:
    for key in keys:
        for unit in sorted(queues.units(disk, layout.finished(key))):
            work = _work(disk, f"{layout.finished(key)}/{unit.unit}{SUFFIX}")
            if work is not None:
                yield work


def _work(disk: Disk, path: str) -> Work | None:
    try:
        return queues.read_work(disk, path)
    except (FileNotFoundError, BadDocument, NewerDocument):
        return None


# --- where they are kept --------------------------------------------------------------------------------------------


def path_of(key: str) -> str:
    """Where the forecasts of a request are kept: beside its finished units."""
    return f"{layout.finished(key)}/{layout.FORECASTS}"


def read(disk: Disk, key: str) -> list[Forecast]:
    """The forecasts of a request; none when there are none that can be read."""
    content = _content(disk, path_of(key))
    found = documents.decode_or_none(content, Forecasts) if content is not None else None
    return found.entries if found is not None and found.version <= VERSION else []


def keep(home: Home, key: str, forecast: Forecast) -> None:
    """Add a forecast to those of a request. Of two that are made at once, one may be lost."""
    entries = with_entry(read(home.disk, key), forecast)
    home.put(path_of(key), documents.encode_any(Forecasts(version=VERSION, request=key, entries=entries)))


def _content(disk: Disk, path: str) -> bytes | None:
    try:
        return disk.read(path, 1 << 20)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in NO_DOCUMENT:
            raise
        return None

"""What the other requests of this workspace know of the files of a new one: delivered by them, or on their way.

Guarantee: nothing is changed here but the index of the request that is being planned. A delivery is read from the
finished unit itself, with its receipt; an index from the request that is committed and not finished.
Fails with `OSError`, and with `BadDocument` of an index (of a unit that cannot be read nothing is known).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from tacc_sync.rules import route
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request, Work
from tacc_sync.rules.identity import SUFFIX, THERE, is_key
from tacc_sync.rules.presence import Vouched, vouched_by
from tacc_sync.rules.route import FINISHED, REQUEST_QUEUE
from tacc_sync.rules.validity import is_within
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk

# Lines of a part of an index: some ten megabytes.
PART_LINES = 50_000


@dataclass(slots=True)
class Earlier:
    """Of destinations: what was delivered there last, and where a task was at work of which nothing is proven."""

    vouched: dict[str, Vouched] = field(default_factory=dict)
    unproven: set[str] = field(default_factory=set)


class Carried(NamedTuple):
    """A line of an index: a file that a request carries itself."""

    destination: str
    source: str
    size: int
    written: str
    unit: str


_decoder = msgspec.json.Decoder(Carried)


def deliveries(disk: Disk, wanted: Collection[str], root: str) -> Earlier:
    """What finished units say of these destinations, all of which lie below `root`."""
    earlier = Earlier()
    for key in sorted(name for name in disk.names(FINISHED) if is_key(name)):
        place = disk.status(layout.finished(key))
        if place is None or place.kind != "directory" or not _may_overlap(disk, key, root):
            continue
        for unit in queues.units(disk, layout.finished(key)):
            if unit.tape != THERE:
                _add(earlier, disk, key, unit.unit, wanted)
    return earlier


def _add(earlier: Earlier, disk: Disk, key: str, unit: str, wanted: Collection[str]) -> None:
    try:
        work = queues.work_of(disk, f"{layout.finished(key)}/{unit}{SUFFIX}")
    except (FileNotFoundError, BadDocument, NewerDocument):
        return
    for index, file in enumerate(work.files):
        if file.destination not in wanted:
            continue
        if file.outcome == "delivered" and route.may_free(file):
            known = earlier.vouched.get(file.destination)
            if known is None or known.delivered_at < file.delivered_at:
                earlier.vouched[file.destination] = vouched_by(key, file)
        elif any(index in task.items for task in work.tasks):
            earlier.unproven.add(file.destination)


def _may_overlap(disk: Disk, key: str, root: str) -> bool:
    request: Request | None = None
    for path in (f"{layout.finished(key)}/request{SUFFIX}", layout.entry(REQUEST_QUEUE, key)):
        try:
            request = queues.read_request(disk, path)
            break
        except (FileNotFoundError, BadDocument, NewerDocument):
            continue
    if request is None:
        # Somebody holds it just now.
        return True
    theirs = request.destination.rstrip("/") or "/"
    return theirs == root or is_within(theirs, root) or is_within(root, theirs)


def lenders(disk: Disk, keys: Iterable[str], wanted: Container[str]) -> dict[str, Carried]:
    """Which of these destinations the requests `keys`, committed and unfinished, carry themselves."""
    found: dict[str, Carried] = {}
    for key in keys:
        for carried in read_index(disk, key):
            if carried.destination in wanted:
                found.setdefault(carried.destination, carried)
    return found


def read_index(disk: Disk, key: str) -> Iterator[Carried]:
    """The files that a planned request carries itself; nothing of one that was planned before there were indices."""
    part = 0
    while True:
        path = layout.index(key, part)
        try:
            content = queues.read_document(disk, path)
        except FileNotFoundError:
            return
        try:
            yield from map(_decoder.decode, content.splitlines())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadDocument("", f"{path} cannot be read: {error}", "restore it from another copy") from None
        part += 1


def index_parts(units: Iterable[Work]) -> Iterator[bytes]:
    """The index of a request that carries the files of these units, part by part."""
    lines: list[bytes] = []
    encode = msgspec.json.Encoder().encode
    for work in units:
        for file in work.files:
            lines.append(encode(Carried(file.destination, file.path, file.size, file.written, work.unit)))
            if len(lines) >= PART_LINES:
                yield b"\n".join(lines) + b"\n"
                lines.clear()
    if lines:
        yield b"\n".join(lines) + b"\n"

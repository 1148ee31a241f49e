"""What the other requests of this workspace know of the files of a new one: delivered by them, or on their way.

Guarantee: nothing is changed here but the index of the request that is being planned. A delivery is read from the
finished unit itself, with its receipt; an index from the request that is committed and not finished.
Fails with `OSError`, and with `BadDocument` of an index (of a unit that cannot be read nothing is known).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from tacc_sync.outside.host.spool import Spool
from tacc_sync.rules import route
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request, Work, readable
from tacc_sync.rules.identity import SUFFIX, THERE, is_key
from tacc_sync.rules.presence import Adopted, Vouched, vouched_by
from tacc_sync.rules.route import FINISHED, REQUEST_QUEUE
from tacc_sync.rules.validity import is_within
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk

# Lines of a part of an index: some megabytes.
PART_LINES = 20_000


@dataclass(slots=True)
class Earlier:
    """Of destinations: what was delivered there last, what was adopted there, and where a task was at work of which
    nothing is proven."""

    vouched: dict[str, Vouched] = field(default_factory=dict)
    adopted: dict[str, Adopted] = field(default_factory=dict)
    unproven: set[str] = field(default_factory=set)


@readable
class Delivery(Struct, array_like=True, gc=False):
    """What a finished unit says of a destination: delivered (`vouched`), adopted, or that a task was at work there."""

    destination: str
    vouched: Vouched | None = None
    adopted: Adopted | None = None


@readable
class Carried(Struct, array_like=True, frozen=True, gc=False):
    """A line of an index: a file that a request carries, or will carry when the unit that it is borrowed from gives it
    up."""

    destination: str
    source: str
    size: int
    written: str
    unit: str
    borrowed_from: str = ""


_decoder = msgspec.json.Decoder(Carried)


def finished_units(disk: Disk, root: str) -> list[tuple[str, str]]:
    """The key and the id of each unit that is finished and whose request is about destinations below, or above, `root`;
    those that had nothing to carry, and have adopted nothing, left out."""
    found: list[tuple[str, str]] = []
    for key in sorted(name for name in disk.names(FINISHED) if is_key(name)):
        place = disk.status(layout.finished(key))
        if place is None or place.kind != "directory":
            continue
        request = _request(disk, key)
        if request is not None and not _may_overlap(request, root):
            continue
        units = queues.units(disk, layout.finished(key))
        has_adopted = request is None or request.present == "adopt"
        found += [(key, unit.unit) for unit in units if unit.tape != THERE or has_adopted]
    return found


def deliveries(disk: Disk, units: Iterable[tuple[str, str]]) -> Iterator[Delivery]:
    """What finished units say of their destinations."""
    for key, unit in units:
        yield from _of_unit(disk, key, unit)


def _of_unit(disk: Disk, key: str, unit: str) -> Iterator[Delivery]:
    try:
        work = queues.work_of(disk, f"{layout.finished(key)}/{unit}{SUFFIX}")
    except (FileNotFoundError, BadDocument, NewerDocument):
        return
    for index, file in enumerate(work.files):
        if file.outcome == "delivered" and route.may_free(file):
            yield Delivery(file.destination, vouched_by(key, file))
        elif file.outcome == "present" and file.adopted_by:
            yield Delivery(file.destination, adopted=Adopted(file.adopted_by, file.size, file.written))
        elif any(index in task.items for task in work.tasks):
            yield Delivery(file.destination)


def of_these(deliveries: Iterable[Delivery], wanted: Container[str]) -> Earlier:
    """What is known of the destinations that are wanted."""
    earlier = Earlier()
    for delivery in deliveries:
        if delivery.destination not in wanted:
            continue
        if delivery.adopted is not None:
            earlier.adopted[delivery.destination] = delivery.adopted
            continue
        if delivery.vouched is None:
            earlier.unproven.add(delivery.destination)
            continue
        known = earlier.vouched.get(delivery.destination)
        if known is None or known.delivered_at < delivery.vouched.delivered_at:
            earlier.vouched[delivery.destination] = delivery.vouched
    return earlier


def _request(disk: Disk, key: str) -> Request | None:
    """A planned request; None when somebody holds it just now."""
    for path in (f"{layout.finished(key)}/request{SUFFIX}", layout.entry(REQUEST_QUEUE, key)):
        try:
            return queues.read_request(disk, path)
        except (FileNotFoundError, BadDocument, NewerDocument):
            continue
    return None


def _may_overlap(request: Request, root: str) -> bool:
    theirs = request.destination.rstrip("/") or "/"
    return theirs == root or is_within(theirs, root) or is_within(root, theirs)


def carried(disk: Disk, keys: Iterable[str]) -> Iterator[Carried]:
    """What the requests `keys` (committed ones) carry, or wait for."""
    for key in keys:
        yield from read_index(disk, key)


def lenders(carried: Iterable[Carried], wanted: Container[str]) -> dict[str, Carried]:
    """Which of these destinations somebody carries.

    Of those that wait for one another it is the last: when all before it give a file up it recalls that, and who had
    borrowed it from one further up would do so as well.
    """
    found: dict[str, list[Carried]] = {}
    for one in carried:
        if one.destination in wanted:
            found.setdefault(one.destination, []).append(one)
    return {destination: _last(queue) for destination, queue in found.items()}


def _last(queue: list[Carried]) -> Carried:
    lend = {carried.borrowed_from for carried in queue}
    return next((carried for carried in queue if carried.unit not in lend), queue[0])


def committed(disk: Disk, known: Container[str] = ()) -> set[str]:
    """The requests that have been planned in this workspace, finished or not, but for the `known` ones."""
    # Each has its place in finished before it is committed, and keeps it.
    keys = {name for name in disk.names(FINISHED) if is_key(name) and name not in known}
    found = keys.intersection(queues.requests(disk))
    if found == keys:
        return found
    # The finisher has it.
    found |= keys.intersection(claimed.entry.removesuffix(SUFFIX) for claimed in queues.claims(disk, [REQUEST_QUEUE]))
    found |= {key for key in keys - found if disk.status(f"{layout.finished(key)}/request{SUFFIX}")}
    # Once more: one may have been given back meanwhile.
    return found | keys.intersection(queues.requests(disk))


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


class Index:
    """The index of a request that is being planned: which files it carries, or waits for."""

    def __init__(self, keep: Callable[[bytes], None]) -> None:
        """`keep` is given the parts, one after the other."""
        self._keep = keep
        self._encode = msgspec.json.Encoder().encode_lines
        # The lines of the part that is being written, and how many they are.
        self._lines: list[bytes] = []
        self._count = 0
        # The lines of a unit each, in memory only a few.
        self._aside: Spool[bytes] = Spool(bytes, in_memory=2, block=1)

    def add(self, work: Work) -> None:
        """Note the files of a unit."""
        self._lines.append(self._lines_of(work))
        self._count += len(work.files)
        if self._count >= PART_LINES:
            self.end()

    def put_aside(self, work: Work) -> None:
        """Note the files of a unit that is not carried for what lies at its destination: that may just have come by a
        request of which nothing was known yet."""
        self._aside.append(self._lines_of(work))

    def end(self) -> None:
        """Nothing more is added."""
        if self._lines:
            self._keep(b"".join(self._lines))
        self._lines, self._count = [], 0

    def has_any(self, destinations: Iterable[str], carried: Iterable[Carried]) -> bool:
        """Whether one of these is among what is carried (what the parts say: see `read_index`), or was put aside."""
        ours = {hash(one.destination) for one in carried}
        for part in self._aside:
            ours.update(hash(_decoder.decode(line).destination) for line in part.splitlines())
        return any(hash(destination) in ours for destination in destinations)

    def _lines_of(self, work: Work) -> bytes:
        unit = work.unit
        return self._encode(
            [
                Carried(file.destination, file.path, file.size, file.written, unit, file.borrowed_from)
                for file in work.files
            ]
        )

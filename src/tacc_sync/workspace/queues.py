"""Reading the workspace: what lies where. The names alone are enough to schedule.

Guarantee: nothing is changed here. A listing may be slightly out of date or miss a name that is being moved; whoever
decides on it must be safe against that (see rules/completion.py and the turn).
Fails with `OSError`; whatever reads a document also with `BadDocument` (an entry that is no plain file among them) and
`NewerDocument`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tacc_sync.rules import documents, identity, sanity
from tacc_sync.rules.documents import BadDocument, Request, Work
from tacc_sync.rules.identity import SUFFIX, UnitName
from tacc_sync.rules.liveness import Heartbeat
from tacc_sync.rules.route import CLAIMABLE, GLOBUS_QUEUE, REQUEST_QUEUE
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk
from tacc_sync.workspace.home import HEARTBEAT


def units(disk: Disk, directory: str) -> list[UnitName]:
    """The units in a queue (or in any directory that holds them)."""
    parse = identity.parse_entry
    return [unit for name in disk.names(directory) if (unit := parse(name)) is not None]


def strangers(disk: Disk, directory: str) -> list[str]:
    """Entries of a unit queue that are no unit of ours."""
    return [name for name in disk.names(directory) if identity.parse_entry(name) is None]


def requests(disk: Disk) -> list[str]:
    """The keys of the requests in request_queue."""
    names = disk.names(REQUEST_QUEUE)
    keys = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
    return sorted(key for key in keys if identity.is_key(key))


def read_document(disk: Disk, path: str, limit: int = documents.MAX_BYTES) -> bytes:
    """The bytes of a document."""
    try:
        return disk.read(path, limit)
    except OSError as error:
        if error.errno not in NO_DOCUMENT:
            raise
        text = f"it is no plain file of a usable size that we may read: {error.strerror}"
        raise BadDocument("", text, "look at it, and remove it") from None


def read_work(disk: Disk, path: str) -> Work:
    """A unit's document, whatever it says of itself: for looking at."""
    return documents.decode(read_document(disk, path), Work)


def read_request(disk: Disk, path: str) -> Request:
    """A request's document, whatever it says of itself: for looking at."""
    return documents.decode(read_document(disk, path), Request)


def work_of(disk: Disk, path: str) -> Work:
    """A unit's document to be acted on: it fits the name that it lies under."""
    work = read_work(disk, path)
    sanity.check_work(work, _stem(path))
    return work


def request_of(disk: Disk, path: str) -> Request:
    """A planned request's document to be acted on: it fits the name that it lies under."""
    request = read_request(disk, path)
    sanity.check_request(request, _stem(path))
    return request


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(SUFFIX)


def read_why(disk: Disk, path: str) -> WhyDocument | None:
    """The reason beside a document in quarantine; None when there is none that can be read."""
    try:
        return documents.decode_or_none(read_document(disk, path, 1 << 24), WhyDocument)
    except (FileNotFoundError, BadDocument):
        return None


@documents.readable
class WhyDocument(documents.Struct, kw_only=True):
    """`<name>.why.json` in quarantine: the reason, the remedy, and whose document it is about."""

    code: str
    text: str
    remedy: str = ""
    field: str = ""
    at: str = ""
    by: str = ""
    document: str = ""
    files: list[str] = []  # noqa: RUF012


def reservations(disk: Disk) -> dict[str, int]:
    """Bytes reserved in the transfer buffer, by unit. Exact under the turn: reservations are never renamed, only made
    there and removed by the reaper."""
    found: dict[str, int] = {}
    for name in disk.names(layout.RESERVATIONS):
        unit, _, size = name.rpartition(".")
        if identity.parse_unit(unit) and is_number(size):
            found[unit] = max(found.get(unit, 0), int(size))
    return found


def is_number(text: str) -> bool:
    """Is it a number as we write it? `²` is a digit to Python, but no number to `int`."""
    return text.isascii() and text.isdigit()


def reservation(unit: str, size: int) -> str:
    """The path of a reservation."""
    return f"{layout.RESERVATIONS}/{unit}.{size}"


def loans(disk: Disk) -> list[str]:
    """The units whose files other requests carry."""
    return sorted(name for name in disk.names(layout.LOANS) if identity.parse_unit(name))


def cartridges(disk: Disk) -> set[str]:
    """The cartridges in use, but for those of which a session reads only its last file."""
    return {name for name in disk.names(layout.CARTRIDGES) if not name.endswith(layout.AT_LAST_FILE)}


def cartridges_at_last_file(disk: Disk) -> set[str]:
    """The cartridges from which a session reads its last file."""
    end = layout.AT_LAST_FILE
    return {name.removesuffix(end) for name in disk.names(layout.CARTRIDGES) if name.endswith(end)}


def cartridge(label: str) -> str:
    """The path of the mark that a cartridge is in use."""
    return f"{layout.CARTRIDGES}/{label}"


def cartridge_at_last_file(label: str) -> str:
    """The path of the mark that a session reads its last file from a cartridge."""
    return f"{layout.CARTRIDGES}/{label}{layout.AT_LAST_FILE}"


def slots(disk: Disk) -> list[str]:
    """The units that hold one of the slots for tasks at Globus."""
    return sorted(name for name in disk.names(layout.SLOTS) if identity.parse_unit(name))


def backlog(disk: Disk) -> int:
    """Bytes of the units that wait for one of the slots."""
    at_work = set(slots(disk))
    return sum(unit.bytes for unit in units(disk, GLOBUS_QUEUE) if unit.unit not in at_work)


def rests(disk: Disk) -> dict[str, float]:
    """Epoch seconds before which units rest."""
    found: dict[str, float] = {}
    for name in disk.names(layout.RESTS):
        unit, _, due = name.rpartition("~")
        if is_number(due):
            found[unit] = max(found.get(unit, 0.0), float(due))
    return found


def rest_marks(disk: Disk, unit: str) -> list[str]:
    """The paths of all marks that a unit rests."""
    return sorted(f"{layout.RESTS}/{name}" for name in disk.names(layout.RESTS) if name.startswith(f"{unit}~"))


def rest(unit: str, due: float) -> str:
    """The path of the mark that a unit rests until `due` (epoch seconds)."""
    return f"{layout.RESTS}/{unit}~{int(due)}"


def is_held(disk: Disk, component: str) -> bool:
    """Did the operator (or a component for itself) say to take no new work?"""
    return disk.status(f"{layout.HOLD}/{component}") is not None


def held(disk: Disk) -> dict[str, str]:
    """The components and cartridges (`cartridge~LABEL`) on hold, and why: the first line of the reason."""
    found = {}
    for name in sorted(disk.names(layout.HOLD)):
        try:
            content = read_document(disk, f"{layout.HOLD}/{name}", 1 << 24)
        except FileNotFoundError:
            continue
        except BadDocument as error:
            content = error.text.encode()
        found[name] = content.decode("utf-8", "replace").strip().partition("\n")[0]
    return found


def held_cartridges(names: Iterable[str]) -> set[str]:
    """The labels of the cartridges among what is on hold."""
    return {name.removeprefix(layout.OF_CARTRIDGE) for name in names if name.startswith(layout.OF_CARTRIDGE)}


@dataclass(frozen=True, slots=True)
class Claimed:
    """An entry in a worker's hands."""

    worker: str
    queue: str
    entry: str

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"{layout.CLAIMS}/{self.worker}/{self.queue}/{self.entry}"


def claims(disk: Disk, of: Iterable[str] = CLAIMABLE) -> list[Claimed]:
    """Everything that is claimed from these queues, by the living and the dead."""
    found = []
    for worker in disk.names(layout.CLAIMS):
        for queue in of:
            try:
                entries = disk.names(f"{layout.CLAIMS}/{worker}/{queue}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            found += [Claimed(worker, queue, entry) for entry in entries]
    return found


def heartbeats(disk: Disk) -> list[Heartbeat]:
    """The heartbeats of all workers that have a home, dead ones (`dead~…`) left out."""
    found = []
    for worker in sorted(disk.names(layout.CLAIMS)):
        if not identity.is_worker(worker):
            continue
        beat = heartbeat(disk, worker)
        if beat is not None:
            found.append(beat)
    return found


def heartbeat(disk: Disk, home: str) -> Heartbeat | None:
    """The heartbeat in a home; None when there is none that can be read."""
    try:
        content = read_document(disk, f"{layout.CLAIMS}/{home}/{HEARTBEAT}", 65536)
    except (FileNotFoundError, NotADirectoryError, BadDocument):
        return None
    return documents.decode_or_none(content, Heartbeat)

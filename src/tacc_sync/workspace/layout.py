"""Where everything lies in a workspace and in the transfer buffer; making one, and opening one.

`init` makes every directory beforehand, so that no move ever needs to make one. Paths are relative to the disk's root.
Fails with `OperatorFault` WORKSPACE-MISSING, WORKSPACE-NEWER, WORKSPACE-DAMAGED or WORKSPACE-EXISTS.
"""

from __future__ import annotations

import msgspec

from tacc_sync.rules import documents
from tacc_sync.rules.faults import EX_CANTCREAT, OperatorFault
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.route import COMPONENTS, FINISHED, INBOX, QUARANTINE, REQUEST_QUEUE, STANDING, UNIT_QUEUES
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk, Status

FORMAT = 1

CONFIG = "tacc-sync.toml"
FORMAT_FILE = "format.json"
# Which workspace this is, also in its buffer: see workspace/ownership.py.
IDENTITY = "identity.json"
# What both endpoints verify: see operator/checksum_probe.py.
CHECKSUMS = "checksums.json"
# What this site was seen to do: see rules/site_rates.py.
SITE_RATES = "rates.json"
MARKER = ".tacc-sync.json"
TURN = "turn"
CLAIMS = "claims"
RESERVATIONS = "reservations"
CARTRIDGES = "cartridges"
# Behind a cartridge's label: the session there reads its last file, and the next one may be ready.
AT_LAST_FILE = "~last"
SLOTS = "globus_slots"
RESTS = "rests"
# Units whose files are carried by units of other requests.
LOANS = "loans"
HOLD = "hold"
# In `hold`, before a cartridge's label.
OF_CARTRIDGE = "cartridge~"
OBSERVED = "observed"
DEAD = "dead~"
UNBORN = "new~"
WHY = ".why.json"

INDEX = "index."
# In staging: the parts of the index of a request that is being planned.
INDICES = "index"
# In `finished/<request>`: what was foretold of its end.
FORECASTS = "forecasts.json"
# The certificates of all finished requests, in the order in which they were written; made with the first of them.
CHAIN = f"{FINISHED}/chain"

# Parts of listings that go on; made with the first of them, one directory a request.
LISTINGS = "listings"

PART = ".part"

DIRECTORIES = (
    STANDING,
    INBOX,
    REQUEST_QUEUE,
    *UNIT_QUEUES,
    FINISHED,
    # What was never planned and given up by the operator, and units of the earlier tacc-sync that were taken over.
    f"{FINISHED}/rejected",
    f"{FINISHED}/adopted",
    QUARANTINE,
    *(f"{QUARANTINE}/{component}" for component in COMPONENTS),
    CLAIMS,
    RESERVATIONS,
    CARTRIDGES,
    SLOTS,
    RESTS,
    LOANS,
    HOLD,
    OBSERVED,
)


@documents.readable
class Format(documents.Struct, kw_only=True):
    """`format.json`: which version of the layout this is, and which workspace (a random id)."""

    version: int
    workspace_id: str


def init(disk: Disk, workspace_id: str, config: bytes) -> None:
    """Make a workspace in an existing directory; what is there already is left as it is."""
    if disk.status(FORMAT_FILE) is not None:
        raise OperatorFault(
            "WORKSPACE-EXISTS", f"{disk.root} is a workspace already", "use it, or name another", EX_CANTCREAT
        )
    for directory in DIRECTORIES:
        _make(disk, directory)
    for path, content in ((CONFIG, config), (TURN, b"{}\n")):
        try:
            disk.create(path, content)
        except FileExistsError:
            continue
    for directory in ("", FINISHED, QUARANTINE):
        disk.sync(directory)
    # Last: a directory without it is not a workspace yet, and `init` can be run again.
    disk.create(FORMAT_FILE, documents.encode_any(Format(version=FORMAT, workspace_id=workspace_id)))
    disk.sync("")


def open_workspace(disk: Disk) -> Format:
    """Check that there is a workspace that we understand, whole."""
    found = _read_format(disk)
    for directory in DIRECTORIES:
        must_be_directory(disk, directory)
    for directory in (CHAIN, LISTINGS):
        must_be_directory(disk, directory, may_be_missing=True)
    return found


def open_incomplete(disk: Disk) -> Format:
    """Check that there is a workspace that we understand. Directories may be missing in it, as `check --repair` mends
    that; nothing else may be in their place."""
    found = _read_format(disk)
    for directory in DIRECTORIES:
        must_be_directory(disk, directory, may_be_missing=True)
    return found


def _read_format(disk: Disk) -> Format:
    try:
        content = disk.read(FORMAT_FILE, 65536)
    except (FileNotFoundError, NotADirectoryError):
        raise OperatorFault(
            "WORKSPACE-MISSING", f"{disk.root} is no workspace", f"make one with `tacc-sync init {disk.root}`"
        ) from None
    try:
        found = msgspec.json.decode(content, type=Format)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise OperatorFault(
            "WORKSPACE-DAMAGED", f"{disk.root}/{FORMAT_FILE}: {error}", "restore it from another copy"
        ) from None
    if found.version > FORMAT:
        raise OperatorFault(
            "WORKSPACE-NEWER",
            f"{disk.root} has format {found.version}, this program knows {FORMAT}",
            "upgrade tacc-sync on this host",
        )
    return found


def open_buffer(disk: Disk) -> None:
    """Make sure that the buffer has its directory for files that are being written."""
    _make(disk, PART)


def entry(queue: str, name: str) -> str:
    """The path of a document in a queue."""
    return f"{queue}/{name}{SUFFIX}"


def is_document(name: str) -> bool:
    """Is it the name of a request or a unit? A reason beside one is none, nor is what begins with a dot."""
    return name.endswith(SUFFIX) and not name.endswith(WHY) and not name.startswith(".")


def home(worker: str) -> str:
    """A worker's own directory."""
    return f"{CLAIMS}/{worker}"


def part(worker: str) -> str:
    """Where a worker's files are while they are being written, in the buffer."""
    return f"{PART}/{worker}"


def quarantine(component: str) -> str:
    """A component's quarantine."""
    return f"{QUARANTINE}/{component}"


def listing(name: str) -> str:
    """Where the parts of one request's listing are kept."""
    return f"{LISTINGS}/{name}"


def finished(request_key: str) -> str:
    """Where a request's finished units, and at last its own document and manifest, lie."""
    return f"{FINISHED}/{request_key}"


def index(request_key: str, part: int) -> str:
    """A part of the list of files that a planned request carries itself."""
    return f"{finished(request_key)}/{INDEX}{part:04d}.jsonl"


def staged_index(staging: str, part: int) -> str:
    """Where that part waits while the request is being planned."""
    return f"{staging}/{INDICES}/{part:04d}"


def _make(disk: Disk, directory: str) -> None:
    try:
        disk.mkdir(directory)
    except FileExistsError:
        must_be_directory(disk, directory)


def must_be_directory(disk: Disk, directory: str, *, may_be_missing: bool = False) -> None:
    """Return when a directory lies there; OperatorFault WORKSPACE-DAMAGED otherwise."""
    try:
        found = disk.status(directory)
    except OSError as error:
        if error.errno not in NO_DOCUMENT:
            raise
        found = Status("other", 0, has_hole=False)
    if may_be_missing if found is None else found.kind == "directory":
        return
    what = {"link": "is a link", None: "is missing"}.get(found.kind if found else None, "is no directory")
    raise OperatorFault(
        "WORKSPACE-DAMAGED",
        f"{disk.root}/{directory} {what}: a directory belongs there",
        "put back the directory itself, with what was in it; when it was empty, an empty one (`mkdir -m 700`)",
    )

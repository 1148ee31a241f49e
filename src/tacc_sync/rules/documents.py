"""The JSON documents on disk: requests, standing ones, units, files. What they may say, read strictly, written tersely.

Guarantee: what `encode` writes, `decode` reads back equal; whatever is not exactly a document of a known version is
refused with a `BadDocument` that names the field and the remedy, or, when a newer tacc-sync wrote it, with
`NewerDocument`. Sizes are bytes; times are ISO 8601 in UTC with a `Z`; hashes are written `algorithm:hex`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeVar

import msgspec

from tacc_sync.rules.faults import WorkFault

VERSION = 1

# `proven` and `present` files were at the destination before we would have recalled them: see rules/presence.py.
Outcome = Literal["waiting", "retrieved", "delivered", "failed", "abandoned", "proven", "present"]


class BadDocument(WorkFault):
    """A document that cannot be understood: `field` (dotted path, "" for the whole), text, remedy."""

    def __init__(self, field: str, text: str, remedy: str) -> None:
        where = f"field `{field}`: " if field else ""
        super().__init__("DOCUMENT-BAD", where + text, remedy)
        self.field = field


class NewerDocument(Exception):
    """A newer tacc-sync wrote this document: leave it where it is."""


class Struct(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all documents: unknown fields are an error, defaults are not written."""


_Kind = TypeVar("_Kind")


def readable(kind: type[_Kind]) -> type[_Kind]:
    """Work out now how a document is read. msgspec would do so when the first one is read, and crashes the process when
    two threads do it at once."""
    msgspec.json.Decoder(kind)
    return kind


class Why(Struct, kw_only=True, gc=False):
    """Why something failed or waits: a code of the runbook, and words for people."""

    code: str
    text: str
    at: str = ""


@readable
class Admission(Struct, kw_only=True):
    """Proof that this copy of a request is the one that owns its id in the workspace."""

    token: str
    at: str


class Strange(Struct, kw_only=True):
    """Something that was met in the source and cannot be carried: a link, a device, an unreadable directory."""

    path: str
    kind: str
    text: str


class Plan(Struct, kw_only=True):
    """What the syncer made of a request. `units` are ids, in no particular order. `there_files` (and bytes) of its
    files are at the destination already, `borrowed_files` are carried by other requests."""

    planned_at: str
    files: int
    bytes: int
    units: list[str]
    listed_files: int = 0
    there_files: int = 0
    there_bytes: int = 0
    borrowed_files: int = 0
    strange: list[Strange] = []
    warnings: list[str] = []


class Result(Struct, kw_only=True):
    """What became of a finished request."""

    finished_at: str
    delivered_files: int
    delivered_bytes: int
    abandoned_files: int = 0
    abandoned_bytes: int = 0
    there_files: int = 0
    there_bytes: int = 0
    certificate: int = 0


@readable
class Request(Struct, kw_only=True):
    """What the operator asks for. See docs/workspace.md, which describes each field."""

    version: int
    source: str | list[str]
    destination: str
    include: list[str] = []
    exclude: list[str] = []
    files: list[str] = []
    pattern_rules: Literal["path", "globset"] = "path"
    checksums: str = ""
    present: Literal["accept", "recall", "quarantine", "adopt"] = "accept"
    conflict: Literal["quarantine", "overwrite"] = "quarantine"
    priority: int = 0
    label: str = ""
    requested_by: str = ""
    created_at: str = ""
    request_id: str = ""
    standing: str = ""
    run: int = 0
    unit_bytes: int = 0
    admitted: Admission | None = None
    plan: Plan | None = None
    result: Result | None = None

    @property
    def sources(self) -> list[str]:
        """The source paths, always as a list."""
        return [self.source] if isinstance(self.source, str) else list(self.source)


@readable
class StandingRequest(Struct, kw_only=True):
    """A request that renews itself `every` so many seconds: what each of its runs asks for, which one was begun last
    (0: none) and when, whether that one was handed in, and when the next is due. See rules/standing.py."""

    version: int
    standing_id: str
    every: float
    due: str
    run: int = 0
    begun_at: str = ""
    handed_in: bool = False
    request: Request


class File(Struct, kw_only=True, gc=False):
    """One file of a unit: where from, where to, where on tape, what has become of it.

    `section` and `offset`: position on tape. `written`: the archive's date, in the site's own time zone.
    `archive_hash`: the archive's own hash, "" where it has none. `vouched`: hashes that others vouch for,
    `algorithm:hex` by who does. `hashes`: of the copy in the buffer, by algorithm. `proof`: what proved the retrieval:
    "hash" (equal to the archive's, or to one vouched for), "line" (hsi's own line with the byte count) or "size" (the
    operator configured that size and freedom from holes suffice). `retrieved_at` is set while a verified copy lies in
    the buffer, and after delivery. `mtime`: the copy's, in whole epoch seconds, as the transfer keeps it. `checked_at`:
    when that copy, having lain for long, was hashed again and found unchanged. `receipt`: the checksum in Globus'
    record. `vouched_by`: the request whose delivery proves that it is at the destination. `adopted_by`: the request
    by which the operator has taken over what was there. `borrowed_from`: the unit of
    another request that carries it.
    """

    path: str
    destination: str
    size: int
    section: int = 0
    offset: int = 0
    written: str = ""
    archive_hash: str = ""
    vouched: dict[str, str] = {}
    outcome: Outcome = "waiting"
    hashes: dict[str, str] = {}
    proof: Literal["", "hash", "line", "size"] = ""
    retrieved_at: str = ""
    mtime: int | None = None
    checked_at: str = ""
    failures: int = 0
    first_failed_at: str = ""
    why: Why | None = None
    task_id: str = ""
    receipt: str = ""
    delivered_at: str = ""
    vouched_by: str = ""
    adopted_by: str = ""
    borrowed_from: str = ""


class Task(Struct, kw_only=True):
    """One attempt of a unit at Globus. `items` are indices into the unit's files, frozen before the submit.

    `task_id` is "" until the service has accepted; `ended_at` is "" until its records have been read.
    `cancelled_why` and `cancelled_for` (by whose fault) are set before we cancel it.
    """

    attempt: int
    submission_id: str
    label: str
    prepared_at: str
    items: list[int]
    bytes: int
    task_id: str = ""
    trouble_since: str = ""
    cancelled_why: Why | None = None
    cancelled_for: Literal["", "work", "world", "operator"] = ""
    ended_at: str = ""
    status: str = ""


@readable
class Work(Struct, kw_only=True):
    """A work unit: some files of one tape (or of one set of tapes), in tape order.

    `begun` and `ended` count attempts of any step: their difference is how often a worker died with this unit.
    `round` counts how often the unit has been sent to the tape.
    """

    version: int
    unit: str
    request_id: str
    tape: list[str]
    bytes: int
    created_at: str
    priority: int = 0
    round: int = 1
    begun: int = 0
    ended: int = 0
    rest_until: str = ""
    tasks: list[Task] = []
    files: list[File]


_Document = TypeVar("_Document", Request, StandingRequest, Work)
_Any = TypeVar("_Any")
_AT = re.compile(r" - at `(?P<at>[^`]*)`$")
_VERSION = msgspec.json.Decoder(type=dict[str, msgspec.Raw])

# A document is one JSON object; beyond this something else was dropped into the queue. A unit of 100,000 files with
# paths of 1,000 characters each is 300 MB; ours are at most a few thousand files.
MAX_BYTES = 512 * 1024 * 1024
# Anybody's, and read as plain JSON, which takes up to twenty times as much memory. It holds half a million paths.
MAX_REQUEST_BYTES = 64 * 1024 * 1024


def decode(data: bytes, kind: type[_Document]) -> _Document:
    """Read a document; raises `BadDocument` or `NewerDocument`."""
    try:
        document = msgspec.json.decode(data, type=kind, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # What we do not understand may be no fault of the document's, when a newer tacc-sync wrote it.
        if (_version_of(data) or 0) > VERSION:
            raise NewerDocument from None
        raise _explained(error) from None
    if document.version > VERSION:
        raise NewerDocument
    if document.version < 1:
        raise BadDocument("version", "must be at least 1", f"write {VERSION}")
    return document


def decode_exactly(data: bytes, kind: type[_Any]) -> _Any:
    """Read a document that claims no version (the earlier tacc-sync's), as strictly; raises `BadDocument`."""
    try:
        return msgspec.json.decode(data, type=kind, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _explained(error) from None


def decode_or_none(data: bytes, kind: type[_Any]) -> _Any | None:
    """Read a small document (heartbeat, reasons) that is made anew, or done without, when it cannot be read."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _version_of(data: bytes) -> int | None:
    try:
        return msgspec.json.decode(_VERSION.decode(data)["version"], type=int)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        return None


def fields_of(data: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of a JSON object, undecoded; raises `BadDocument`, also when a name stands twice."""
    try:
        data.decode("utf-8")
        fields = _VERSION.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument("", f"is not a JSON object in UTF-8 ({error})", "write one JSON object to the file") from None
    try:
        json.loads(data, object_pairs_hook=_refuse_repeated)
    except (ValueError, RecursionError) as error:
        raise BadDocument("", f"is not a JSON object ({error})", "write one JSON object to the file") from None
    return fields


def encode(document: Request | Work) -> bytes:
    """Write a document: the head, then each file on a line of its own, so that `grep` and `diff` are of use."""
    if isinstance(document, Request):
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    encoder = msgspec.json.Encoder()
    files, document_files = document.files, msgspec.structs.replace(document, files=[])
    head = encoder.encode(document_files)
    if not head.endswith(b'"files":[]}'):
        raise AssertionError(head[-40:])
    # In JSON there is no line end within a text.
    return b"".join((head[:-2], b"\n", encoder.encode_lines(files)[:-1].replace(b"\n", b",\n"), b"\n]}\n"))


def encode_any(document: Any) -> bytes:
    """Write any other small document (heartbeat, reasons), readable, keys in the given order."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _explained(error: Exception) -> BadDocument:
    text = str(error)
    match = _AT.search(text)
    field = match["at"].removeprefix("$").removeprefix(".") if match else ""
    text = text[: match.start()] if match else text
    if "unknown field" in text:
        named = re.search(r"`([^`]+)`", text)
        field = ".".join(filter(None, [field, named[1] if named else ""]))
        return BadDocument(field, "is not a field of this document", "remove it, or see docs/workspace.md for its name")
    if "missing required field" in text:
        named = re.search(r"`([^`]+)`", text)
        field = ".".join(filter(None, [field, named[1] if named else ""]))
        return BadDocument(field, "is missing", "add it; docs/workspace.md has an example")
    return BadDocument(field, text[:300], "correct its type; docs/workspace.md has an example")


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    # JSON decoders keep the last of two equal names in silence; a person who wrote a field twice should hear of it.
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadDocument(twice, "stands twice", "name each field once")

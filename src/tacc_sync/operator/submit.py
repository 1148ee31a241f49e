"""Putting a request into the inbox.

Guarantee: when this returns the request lies in the inbox, whole and on disk; a request that could not be planned as
it stands is refused here, before anything is written.
Fails with `BadDocument` (field and remedy), `OperatorFault` DOCUMENT-NEWER; `Fenced` and `OSError`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tacc_sync.outside.host.interface import Host
from tacc_sync.rules import documents, legacy, selection, standing
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request, StandingRequest
from tacc_sync.rules.faults import EX_DATAERR, OperatorFault
from tacc_sync.rules.identity import SUFFIX, request_key
from tacc_sync.rules.route import INBOX, REQUEST_QUEUE, STANDING
from tacc_sync.rules.settings import Legacy
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home


@dataclass(frozen=True, slots=True)
class Submission:
    """A request and the bytes in which it goes into the inbox."""

    request: Request
    content: bytes

    @property
    def key(self) -> str:
        """By which the workspace will know it."""
        return request_key(self.request.request_id)


def of_request(request: Request) -> Submission:
    """A request that was made from words; it has an id already."""
    selection.validate(request)
    return Submission(request, documents.encode(request))


def of_document(content: bytes, host: Host, base: Legacy) -> Submission:
    """An existing document, ours or the earlier tacc-sync's; one that has no id gets one, any other goes in as it
    is."""
    try:
        fields = documents.fields_of(content)
        if legacy.is_legacy_work(fields):
            raise BadDocument("", "this is a work unit of the earlier tacc-sync", "hand it to `tacc-sync adopt`")
        if legacy.is_legacy_request(fields):
            request = legacy.convert_request(content, base.hpss_base_path, base.tacc_base_path)
            return Submission(request, content)
        request = documents.decode(content, Request)
    except NewerDocument as newer:
        raise OperatorFault(
            "DOCUMENT-NEWER",
            f"the document has version {newer}, this program knows {documents.VERSION}",
            "upgrade tacc-sync on this host",
            EX_DATAERR,
        ) from None
    for field in ("unit_bytes", "admitted", "plan", "result", "standing", "run"):
        if getattr(request, field):
            raise BadDocument(field, "is written by tacc-sync, never by hand", f"remove `{field}`")
    if request.request_id:
        selection.validate(request)
        return Submission(request, content)
    return of_request(msgspec.structs.replace(request, request_id=host.new_uuid()))


def put(home: Home, submission: Submission) -> str:
    """Put it into the inbox; its path there. Doing it again with the same content is harmless while it waits."""
    path = layout.entry(INBOX, submission.request.request_id)
    if in_use(home.disk, submission.key) or not home.put_new(path, submission.content):
        raise BadDocument(
            "request_id",
            f"{submission.request.request_id} is in use in this workspace (its first twelve hex digits count)",
            "leave `request_id` out, and the request gets a new one",
        )
    return path


def put_standing(home: Home, made: StandingRequest) -> str:
    """Make a standing request, whose first run is due; its path."""
    path = layout.entry(STANDING, made.standing_id)
    if not home.put_new(path, standing.encode(made)):
        raise AssertionError(path)
    return path


def in_use(disk: Disk, key: str) -> bool:
    """Is a request of this key planned or finished? (The syncer makes sure once more, and then it counts.)"""
    paths = (layout.entry(REQUEST_QUEUE, key), f"{layout.finished(key)}/request{SUFFIX}")
    return any(disk.status(path) is not None for path in paths)

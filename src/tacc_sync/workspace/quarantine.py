"""Putting documents that cannot go on where a person looks at them, with the reason, losing nothing.

Guarantee: the reason is written first; the document arrives by one rename, its bytes untouched; nothing that lies in
quarantine is ever overwritten."""

from __future__ import annotations

import hashlib
import itertools

from tacc_sync.rules import documents
from tacc_sync.rules.documents import BadDocument
from tacc_sync.rules.faults import Fault
from tacc_sync.rules.identity import SUFFIX, printable, shortened
from tacc_sync.rules.patience import to_iso
from tacc_sync.workspace import layout
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.queues import WhyDocument, read_document, read_why


def quarantine_stranger(home: Home, claimed: str, component: str, fault: Fault) -> str:
    """Quarantine a document that came from outside under a name of its own choice; its new path."""
    entry = claimed.rpartition("/")[2]
    stem = shortened(entry.removesuffix(SUFFIX))
    fingerprint = _fingerprint(home, claimed)
    reason = why(home, fault, component, document=fingerprint)
    for number in itertools.count(1):
        name = stem if number == 1 else f"{stem}~{number}"
        # The reason is made exclusively, and so reserves the name for its document.
        path = f"{layout.quarantine(component)}/{name}"
        if home.disk.status(path + SUFFIX) is not None:
            continue
        if home.put_new(path + layout.WHY, documents.encode_any(reason)) or _is_ours(home, path, fingerprint):
            home.move(claimed, path + SUFFIX)
            return path + SUFFIX
    raise AssertionError


def quarantine_unit(home: Home, claimed: str, component: str, fault: Fault, files: list[str] | None = None) -> str:
    """Quarantine a unit, whose name is its own for ever; `files` are the lines for the report."""
    entry = claimed.rpartition("/")[2]
    path = f"{layout.quarantine(component)}/{entry.removesuffix(SUFFIX)}"
    there = home.disk.status(path + layout.WHY)
    if home.disk.status(path + SUFFIX) is not None or (there is not None and there.kind == "directory"):
        # Somebody has copied it, or is in the way: this one gets another name, and nothing is lost.
        return quarantine_stranger(home, claimed, component, fault)
    home.put(path + layout.WHY, documents.encode_any(why(home, fault, component, files=files)))
    home.move(claimed, path + SUFFIX)
    return path + SUFFIX


def why(home: Home, fault: Fault, component: str, *, document: str = "", files: list[str] | None = None) -> WhyDocument:
    """The reason as a document."""
    return WhyDocument(
        code=fault.code,
        text=printable(fault.text),
        remedy=printable(fault.remedy),
        field=getattr(fault, "field", ""),
        at=to_iso(home.clock.now()),
        by=component,
        document=document,
        files=files or [],
    )


def _fingerprint(home: Home, path: str) -> str:
    try:
        return "sha256:" + hashlib.sha256(read_document(home.disk, path)).hexdigest()
    except BadDocument:
        return f"no plain file of a usable size: {printable(path.rpartition('/')[2])}"


def _is_ours(home: Home, path: str, fingerprint: str) -> bool:
    # A run that was cut off between the reason and the move: same document, and nothing lies there yet.
    if home.disk.status(path + SUFFIX) is not None:
        return False
    found = read_why(home.disk, path + layout.WHY)
    return found is not None and found.document == fingerprint

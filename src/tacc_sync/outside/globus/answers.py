"""Reads the transfer service's documents: JSON in, our records out.

Guarantee: what comes out has the types that interface.py promises, and no control characters in texts for
people; a document that lacks what we decide on is refused, never filled with a guess.
Fails with: WorldFault GLOBUS-STRANGE-ANSWER.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

from tacc_sync.outside.globus.interface import Collection, RemoteEntry, TaskEvent, Transferred
from tacc_sync.rules.evidence import algorithm_name
from tacc_sync.rules.faults import WorldFault
from tacc_sync.rules.tasks import TaskView

if TYPE_CHECKING:
    from collections.abc import Mapping

END_OF_TIME = 32_503_680_000.0  # the year 3000
LONGEST_CHECKSUM = 256
STATUSES = ("ACTIVE", "INACTIVE", "SUCCEEDED", "FAILED")


def strange(what: str) -> NoReturn:
    """Refuse an answer."""
    raise WorldFault(
        "GLOBUS-STRANGE-ANSWER",
        f"an answer that Globus should not give: {what}",
        "is a proxy between us and Globus? Otherwise the service has changed: tell the developers",
    )


def plain(text: object, longest: int = 300) -> str:
    """A stranger's text as one short line that cannot do anything to a terminal."""
    said = str(text)
    if not said.isprintable():
        said = "".join(c if c.isprintable() else " " for c in said)
    line = " ".join(said.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def document(data: object, what: str) -> Mapping[str, Any]:
    """`data` as a JSON object."""
    if not isinstance(data, dict):
        strange(f"{what} is not a JSON object")
    return cast("dict[str, Any]", data)


def entries(doc: Mapping[str, Any], what: str) -> list[Mapping[str, Any]]:
    """The objects of a list document."""
    rows = doc.get("DATA")
    if not isinstance(rows, list):
        strange(f"{what} has no list DATA")
    return [document(row, f"an entry of {what}") for row in rows]


def text(doc: Mapping[str, Any], key: str, what: str) -> str:
    """A string that must be there."""
    value = doc.get(key)
    if not isinstance(value, str) or not value:
        strange(f"{what} has no {key}")
    return value


def number(doc: Mapping[str, Any], key: str) -> int | None:
    """A whole number, or None when there is none; `true` is none, and neither is what no counter can hold."""
    value = doc.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def epoch(said: object) -> float | None:
    """Epoch seconds of a time as the service writes it; without a zone it is UTC. None when it is no time, or none
    that the service could have seen."""
    if not isinstance(said, str):
        return None
    try:
        when = datetime.fromisoformat(said.strip())
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < END_OF_TIME else None


def task_view(data: object) -> TaskView:
    """A task document."""
    doc = document(data, "a task")
    status = doc.get("status")
    if status not in STATUSES:
        strange(f"a task has the status {plain(status)!r}")
    requested_at = epoch(doc.get("request_time"))
    if requested_at is None:
        strange(f"a task has the request_time {plain(doc.get('request_time'))!r}")
    nice = doc.get("nice_status")
    said = [doc.get("nice_status_short_description"), doc.get("nice_status_details")]
    return TaskView(
        task_id=text(doc, "task_id", "a task"),
        label=str(doc.get("label") or ""),
        status=cast('Literal["ACTIVE", "INACTIVE", "SUCCEEDED", "FAILED"]', status),
        nice_status=plain(nice) if nice else None,
        nice_status_text=plain("; ".join(dict.fromkeys(str(s) for s in said if s and s != nice))),
        is_paused=doc.get("is_paused") is True,
        faults=number(doc, "faults") or 0,
        fatal_error=_fatal_error(doc.get("fatal_error")),
        files=number(doc, "files") or 0,
        files_transferred=number(doc, "files_transferred") or 0,
        files_skipped=number(doc, "files_skipped") or 0,
        bytes_transferred=number(doc, "bytes_transferred") or 0,
        bytes_checksummed=number(doc, "bytes_checksummed") or 0,
        requested_at=requested_at,
        completed_at=epoch(doc.get("completion_time")),
        deadline=epoch(doc.get("deadline")),
        canceled_by_admin=_canceled_by(doc),
        history_deleted=doc.get("history_deleted") is True,
    )


def _fatal_error(said: object) -> str:
    if isinstance(said, dict):
        return plain(": ".join(str(said[key]) for key in ("code", "description") if said.get(key)))
    return plain(said) if said else ""


def _canceled_by(doc: Mapping[str, Any]) -> str:
    who, why = doc.get("canceled_by_admin"), doc.get("canceled_by_admin_message")
    return plain(f"{who}: {why}" if why else who) if who else ""


def transferred(data: object) -> Transferred:
    """One record of a transferred file. The paths stay as they are: they are compared, not shown."""
    doc = document(data, "a record of a transferred file")
    destination, checksum = doc.get("destination_path"), doc.get("checksum")
    if not isinstance(destination, str):
        # The service leaves it out for those who have no role on the destination, and then it proves nothing.
        strange("a record of a transferred file has no destination_path")
    return Transferred(
        source=str(doc.get("source_path") or ""),
        destination=destination,
        size=number(doc, "size"),
        checksum=plain(checksum, LONGEST_CHECKSUM).lower() or None if isinstance(checksum, str) else None,
        algorithm=algorithm_name(plain(doc.get("checksum_algorithm") or "", LONGEST_CHECKSUM)),
    )


def task_event(data: object) -> TaskEvent:
    """One event. Its text is for people: the service promises nothing about its form."""
    doc = document(data, "an event")
    said = [doc.get("description"), doc.get("details")]
    return TaskEvent(
        time=epoch(doc.get("time")) or 0.0,
        code=plain(doc.get("code") or "UNKNOWN"),
        is_error=doc.get("is_error") is True,
        text=plain(": ".join(str(s) for s in said if s), 600),
    )


def remote_entry(data: object) -> RemoteEntry:
    """One entry of a directory."""
    doc = document(data, "an entry of a directory")
    name = text(doc, "name", "an entry of a directory")
    if "/" in name or "\0" in name or name in {".", ".."}:
        strange(f"an entry of a directory has the name {plain(name)!r}")
    said, size = doc.get("type"), number(doc, "size")
    kind: Literal["file", "dir", "other"] = "file" if said == "file" else "dir" if said == "dir" else "other"
    if size is None or size < 0:
        if kind == "file":
            strange(f"the file {plain(name)!r} of a directory has no size")
        size = 0
    return RemoteEntry(name=name, kind=kind, size=size, mtime=epoch(doc.get("last_modified")))


def collection(data: object) -> Collection:
    """An endpoint document."""
    doc = document(data, "a collection")
    collection_id = text(doc, "id", "a collection")
    return Collection(
        collection_id=collection_id,
        display_name=plain(doc.get("display_name") or doc.get("canonical_name") or collection_id),
        entity_type=plain(doc.get("entity_type") or ""),
        disable_verify=doc.get("disable_verify") is True,
        force_verify=doc.get("force_verify") is True,
        high_assurance=doc.get("high_assurance") is True,
    )

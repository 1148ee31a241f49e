"""Is a request finished, and what does its manifest say? Pure.

Guarantee: finished only on positive evidence: each unit of the plan was found, by name, in `finished/<request>/`, and
says of each of its files that it was delivered or given up by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tacc_sync.rules.documents import File, Plan, Work

# Nothing is left to do for a file of these outcomes.
SETTLED = frozenset({"delivered", "abandoned", "proven", "present"})


def missing_units(plan: Plan, finished: set[str]) -> list[str]:
    """The units of the plan that are not among the finished ones."""
    return [unit for unit in plan.units if unit not in finished]


def is_settled(work: Work) -> bool:
    """Is there nothing left to do for any file of a unit?"""
    return all(file.outcome in SETTLED for file in work.files)


def manifest_lines(work: Work) -> Iterator[dict[str, Any]]:
    """One record a file, in the order of the unit."""
    attempts = dict.fromkeys(range(len(work.files)), 0)
    for task in work.tasks:
        for item in task.items:
            attempts[item] += 1
    for index, file in enumerate(work.files):
        yield {
            "source": file.path,
            "destination": file.destination,
            "size": file.size,
            "written": file.written,
            "tape": work.tape,
            "section": file.section,
            "offset": file.offset,
            "archive_hash": file.archive_hash or None,
            "hashes": file.hashes,
            "proof_of_retrieval": file.proof or None,
            "retrieved_at": file.retrieved_at or None,
            "outcome": file.outcome,
            "why": file.why.code + ": " + file.why.text if file.why and file.outcome == "abandoned" else None,
            "globus_task": file.task_id or None,
            "receipt": file.receipt or None,
            "delivered_at": file.delivered_at or None,
            "transfer_attempts": attempts[index],
            "rounds": work.round,
            "mtime": file.mtime,
            "vouched_by": file.vouched_by or None,
            "unit": work.unit,
        }


def checksum_line(file: File, destination_root: str) -> str | None:
    """A line that `sha512sum -c` takes in the destination directory; None for a file that is not proven to be there.

    coreutils escapes backslash, newline and carriage return in names, and marks such a line by a leading backslash.
    """
    sha512 = file.hashes.get("sha512")
    if file.outcome not in {"delivered", "proven"} or sha512 is None:
        return None
    name = file.destination.removeprefix(destination_root.rstrip("/") + "/")
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{sha512}  {escaped}\n"

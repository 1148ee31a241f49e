"""Is a request finished, and what does its manifest say? Pure.

Guarantee: finished only on positive evidence: each unit of the plan was found, by name, in `finished/<request>/`, and
says of each of its files that it was delivered or given up by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tacc_sync.rules.certificate import VOUCHERS
from tacc_sync.rules.documents import File, Work

# Nothing is left to do for a file of these outcomes.
SETTLED = frozenset({"delivered", "abandoned", "proven", "present"})
# They were at the destination without a task of their own request.
THERE = frozenset({"proven", "present"})
# Their bytes are known to be at the destination.
PROVEN = frozenset({"delivered", "proven"})


def missing(planned: frozenset[str], finished: Iterable[str]) -> int:
    """How many of the planned entries are not among the finished ones."""
    return len(planned) - len(planned.intersection(finished))


def is_settled(work: Work) -> bool:
    """Is there nothing left to do for any file of a unit?"""
    return all(file.outcome in SETTLED for file in work.files)


def attempts(work: Work) -> list[int]:
    """How many tasks had each file of a unit."""
    counts = [0] * len(work.files)
    for task in work.tasks:
        for item in task.items:
            counts[item] += 1
    return counts


def manifest_lines(work: Work) -> Iterator[dict[str, Any]]:
    """One record a file, in the order of the unit."""
    tasks = attempts(work)
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
            "vouched": vouchers(file),
            "proof_of_retrieval": file.proof or None,
            "listed_at": work.created_at or None,
            "retrieved_at": file.retrieved_at or None,
            "outcome": file.outcome,
            "why": file.why.code + ": " + file.why.text if file.why and file.outcome == "abandoned" else None,
            "globus_task": file.task_id or None,
            "receipt": file.receipt or None,
            "delivered_at": file.delivered_at or None,
            "transfer_attempts": tasks[index],
            "rounds": work.round,
            "mtime": file.mtime,
            "vouched_by": file.vouched_by or None,
            "adopted_by": file.adopted_by or None,
            "unit": work.unit,
        }


def vouchers(file: File) -> dict[str, list[str]]:
    """Who says that a file's hashes are its own, by algorithm: the archive, the list given with the request, the file
    catalog, our reading of the copy in the buffer, and Globus' record of the delivered file."""
    found = {}
    for algorithm, digest in file.hashes.items():
        value = f"{algorithm}:{digest}"
        said = {"archive": file.archive_hash, **file.vouched, "buffer": value, "destination": file.receipt}
        found[algorithm] = [who for who in VOUCHERS if said.get(who) == value]
    return found

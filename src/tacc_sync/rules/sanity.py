"""Does a document that a component is about to act on fit the name it lies under, and point at nothing outside? Pure.

Documents in the queues are our own; but somebody may have copied, edited, renamed or made one. A unit is known by its
file's name, and all that is reserved, locked or freed for it goes by that name.

Guarantee: what passes names no other unit and no other request, has sizes, indices and times that can be reckoned
with, and only paths that are absolute and in their normal form.
Fails with: `BadDocument`.
"""

from __future__ import annotations

import datetime as dt
import functools
import re

from tacc_sync.rules.documents import BadDocument, File, Request, Task, Work
from tacc_sync.rules.evidence import COMPUTABLE
from tacc_sync.rules.identity import is_key, parse_unit, request_key

# What may stand in an address of the transfer service.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NO_NAMES = frozenset({"", ".", ".."})
_HEX = re.compile(r"[0-9a-f]+")
_REMEDY = "restore the document that tacc-sync wrote, or quarantine and request its files anew"
# Beyond that a sum of sizes is no number of bytes any more.
_LARGEST = 2**63 - 1


def check_work(work: Work, name: str) -> None:
    """Return when this may be the document of the unit `name`."""
    parsed = parse_unit(name)
    if parsed is None or work.unit != name:
        raise _bad("unit", f"{work.unit[:150]!a} is not the unit that the file's name says")
    if request_key(work.request_id) != parsed.request:
        raise _bad("request_id", f"{work.request_id[:80]!a} is not the request that the file's name says")
    if not work.files:
        raise _bad("files", "is empty")
    for index, file in enumerate(work.files):
        _check_file(file, index)
    size = sum(file.size for file in work.files)
    if not size == work.bytes == parsed.bytes:
        raise _bad("bytes", f"its files have {size} bytes, it says {work.bytes}, its name {parsed.bytes}")
    if min(work.begun, work.ended, work.round) < 0:
        raise _bad("begun", "counts are not negative")
    _check_time("rest_until", work.rest_until)
    for index, task in enumerate(work.tasks):
        _check_task(task, f"tasks[{index}]", len(work.files))


def check_request(request: Request, key: str) -> None:
    """Return when this may be the document of the planned request `key`."""
    if not is_key(key) or request_key(request.request_id) != key:
        raise _bad("request_id", f"{request.request_id[:80]!a} is not the request that the file's name says")
    if request.plan is None:
        raise BadDocument("plan", "is missing", "drop the request into inbox, not into request_queue")
    seen: set[str] = set()
    for index, unit in enumerate(request.plan.units):
        parsed = parse_unit(unit)
        if parsed is None or parsed.request != key:
            raise _bad(f"plan.units[{index}]", f"{unit[:150]!a} is no unit of this request")
        if unit in seen:
            raise _bad(f"plan.units[{index}]", f"{unit!a} stands twice")
        seen.add(unit)


def _check_file(file: File, index: int) -> None:
    # For each file at each reading of its unit: what an error is called is put together when there is one.
    for path in (file.path, file.destination):
        # Other oddities of names (control characters, say) are the archive's own, and dealt with where they matter.
        if not path.startswith("/") or not _NO_NAMES.isdisjoint(path[1:].split("/")):
            name = "path" if path is file.path else "destination"
            raise _bad(f"files[{index}].{name}", f"{path[:150]!a} is not absolute and in its normal form")
    if not 0 <= file.size <= _LARGEST:
        raise _bad(f"files[{index}].size", "is no size")
    if file.failures < 0:
        raise _bad(f"files[{index}].failures", "is negative")
    if file.archive_hash:
        algorithm, _, digits = file.archive_hash.partition(":")
        if not (algorithm in COMPUTABLE and _HEX.fullmatch(digits)):
            raise _bad(f"files[{index}].archive_hash", f"{file.archive_hash[:80]!a} is no hash")
    if not (_is_time(file.first_failed_at) and _is_time(file.retrieved_at) and _is_time(file.delivered_at)):
        for name in ("first_failed_at", "retrieved_at", "delivered_at"):
            _check_time(f"files[{index}].{name}", getattr(file, name))


def _check_task(task: Task, field: str, files: int) -> None:
    if len(set(task.items)) != len(task.items) or not all(0 <= item < files for item in task.items):
        raise _bad(f"{field}.items", "does not name files of this unit, each once")
    for name in ("submission_id", "task_id"):
        word: str = getattr(task, name)
        if not _WORD.fullmatch(word) and (word or name == "submission_id"):
            raise _bad(f"{field}.{name}", f"{word[:80]!a} is no id")
    for name in ("prepared_at", "trouble_since", "ended_at"):
        _check_time(f"{field}.{name}", getattr(task, name))


def _check_time(field: str, text: str) -> None:
    if not _is_time(text):
        raise _bad(field, f"{text[:40]!a} is not a time in ISO 8601 with its zone")


# The files of a unit come and go together: few times, again and again.
@functools.lru_cache(maxsize=1024)
def _is_time(text: str) -> bool:
    try:
        return not text or dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _bad(field: str, text: str) -> BadDocument:
    return BadDocument(field, text, _REMEDY)

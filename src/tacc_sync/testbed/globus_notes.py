"""What a pass over a task of the testbed's Globus service has to tell: records, events, faults; and what it is told.

Guarantee: what was noted is in the journal at most FLUSH_SECONDS later, or when `flush` returns, and always together
with the task's own numbers.
Fails with: `Trouble` where a fault rule wants one, or where a trouble ends the task.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tacc_sync.testbed import globus_faults
from tacc_sync.testbed.globus_faults import Rule
from tacc_sync.testbed.globus_journal import Record, Task, event
from tacc_sync.testbed.globus_mover import Copied
from tacc_sync.testbed.globus_sandbox import Trouble

if TYPE_CHECKING:
    from tacc_sync.testbed.globus_tasks import Engine

FLUSH_SECONDS = 0.1
FLUSH_RECORDS = 500


@dataclass(frozen=True, slots=True)
class Unit:
    """One file to move, one directory to look into, or one path to delete."""

    source: str
    destination: str
    item: Mapping[str, Any]
    recursive: bool | None


class Notes:
    """The notes of one pass."""

    def __init__(self, engine: Engine, task: Task) -> None:
        self._engine = engine
        self._task = task
        self._pending: list[Record] = []
        self._flushed = time.monotonic()
        self.failed = 0  # files that met a fault in this pass

    def event(self, code: str, details: str) -> None:
        """Something happened that is no fault."""
        self._pending.append(event(code, details=details))
        self.flush()

    def transferred(self, unit: Unit, copied: Copied, algorithm: str | None, progress_seconds: float) -> None:
        """A file has arrived."""
        task = self._task
        task.files += 1
        task.files_transferred += 1
        if not task.hard_deadline:
            task.deadline = max(task.deadline, time.time() + progress_seconds)
        document: dict[str, Any] = {
            "DATA_TYPE": "successful_transfer",
            "source_path": unit.source,
            "destination_path": unit.destination,
            "size": copied.size,
            "checksum": copied.digests[algorithm] if algorithm else None,
            "checksum_algorithm": algorithm,
            "dynamic": False,
        }
        kind = "successful"
        for rule in self.fired(globus_faults.RECORD, unit):
            if rule.what == "record_missing":
                kind = "record_missing"  # kept under a name that nobody asks for: the file is done
            elif rule.what == "record_wrong_size":
                document["size"] += 1
            elif rule.what == "record_wrong_checksum":
                document["checksum"] = (document["checksum"] or "0" * 32)[::-1]
            else:
                document["checksum"] = document["checksum_algorithm"] = None
        self._pending.append((kind, document))

    def file_rules(self, unit: Unit) -> list[Rule]:
        """The rules that fire for this try of a file; raises `Trouble` if one says so."""
        fired = list(self.fired(globus_faults.FILE, unit))
        for rule in fired:
            if rule.what == "fault":
                code = str(rule.options.get("code", "FILE_NOT_FOUND"))
                raise Trouble(code, str(rule.options.get("message", f"{code}: {unit.source}")))
        return fired

    def fired(self, kinds: frozenset[str], unit: Unit) -> Iterator[Rule]:
        """The rules of these kinds that fire for a file."""
        paths = (unit.source, unit.destination)
        for rule in self._engine.faults.fired(kinds, label=self._task.label or "", paths=paths):
            self._engine.log.write("fault", task_id=self._task.task_id, what=rule.what, rule=rule.key, path=unit.source)
            yield rule

    def trouble(self, unit: Unit, trouble: Trouble) -> None:
        """One file met a fault: skip it if the submitter said so, end the task if fatal, else try again."""
        order = self._task.order
        if trouble.fatal or (trouble.code == "QUOTA_EXCEEDED" and order.get("fail_on_quota_errors")):
            raise trouble
        if order.get("skip_source_errors") and trouble.code in {"FILE_NOT_FOUND", "PERMISSION_DENIED"}:
            self._skip(unit, trouble)
            return
        self.failed += 1
        self.fault(trouble)

    def _skip(self, unit: Unit, trouble: Trouble) -> None:
        self._task.skipped_errors += 1
        self._task.files += 1
        document = {
            "DATA_TYPE": "skipped_error",
            "checksum_algorithm": unit.item.get("checksum_algorithm"),
            "destination_path": unit.destination,
            "error_code": trouble.code,
            "error_details": trouble.text,
            "error_time": time.time(),
            "external_checksum": unit.item.get("external_checksum"),
            "is_delete_destination_extra": False,
            "is_directory": bool(unit.recursive),
            "is_symlink": False,
            "source_path": unit.source,
        }
        self._pending.append(("skipped_error", document))

    def fault(self, trouble: Trouble) -> None:
        """Count a fault and tell it."""
        self._task.faults += 1
        self._task.error, self._task.error_text = trouble.code, trouble.text
        self._pending.append(event(trouble.code, is_error=True, details=trouble.text))
        self.flush(when_due=True)

    def flush(self, *, when_due: bool = False) -> None:
        """Put the notes into the journal; `when_due` only when there are many, or old ones."""
        now = time.monotonic()
        if when_due and now - self._flushed < FLUSH_SECONDS and len(self._pending) < FLUSH_RECORDS:
            return
        self._flushed = now
        records, self._pending = self._pending, []
        self._engine.journal.save(self._task, records)

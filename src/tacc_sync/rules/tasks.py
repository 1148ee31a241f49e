"""What a Globus task's state means, and what to do about it: wait, read its records, or give it up.

Guarantee: no task is given up for a trouble that heals by itself or that only a person can mend; every wait
has a name and says what comes next; the end of a task, good or bad, only says that its records may be read.
Fails with: nothing. Codes of the service that we do not know are waited for: the service itself ends a task
that makes no progress (after 24 to 72 hours).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from tacc_sync.rules.evidence import Delivered, NeedsHash, NotDelivered, judge_record

__all__ = [
    "Delivered",
    "Ended",
    "GiveUp",
    "InProgress",
    "NeedsHash",
    "NotDelivered",
    "TaskView",
    "Verdict",
    "assess",
    "judge_record",
]

Whose = Literal["work", "world", "operator"]

PATIENCE = 900.0
"""Seconds for which a fault that does not heal by itself is looked at before the task is given up."""
LONG_PATIENCE = 4 * 3600.0
"""The same for checksum errors: the service sends the file again, and a file may take an hour."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as the service tells it now. Times are epoch seconds (UTC), sizes bytes.

    There is no status CANCELED: a cancelled task is FAILED. `nice_status` is None when the task has ended.
    `fatal_error` is "CODE: description" when FAILED and told.
    """

    task_id: str
    label: str
    status: Literal["ACTIVE", "INACTIVE", "SUCCEEDED", "FAILED"]
    nice_status: str | None
    nice_status_text: str
    is_paused: bool
    faults: int
    fatal_error: str
    files: int
    files_transferred: int
    files_skipped: int
    bytes_transferred: int
    bytes_checksummed: int
    requested_at: float
    completed_at: float | None
    deadline: float | None
    canceled_by_admin: str
    history_deleted: bool


@dataclass(frozen=True, slots=True)
class InProgress:
    """Wait. `code` names the trouble, if any, for the runbook.

    `stuck` is true while a trouble is seen for which patience runs out: the caller keeps the time when it
    first saw that as `since`, and forgets it as soon as an answer comes without.
    """

    waits_for: str
    next: str
    code: str = ""
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The task will not change any more: read its records, they alone tell what was delivered.

    `records` is false when the service has forgotten them. `code` and `text` say why it failed, by `whose`
    fault; they are empty when it succeeded.
    """

    succeeded: bool
    records: bool
    code: str = ""
    text: str = ""
    whose: Whose = "work"


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Cancel the task; when it has ended, read its records: what has arrived has arrived."""

    code: str
    text: str
    whose: Whose


Verdict = InProgress | Ended | GiveUp


@dataclass(frozen=True, slots=True)
class _Trouble:
    code: str
    whose: Whose
    means: str
    patience: Literal["short", "long", "endless"] = "short"


_MISSING = _Trouble("TASK-FILE-MISSING", "work", "a file of the task is not where it should be")
_DENIED = _Trouble("TASK-PERMISSION", "operator", "a collection refuses to read or write a file")
_FULL = _Trouble("TASK-QUOTA", "world", "the destination has no room")
_PATH = _Trouble("TASK-PATH", "work", "a collection cannot make sense of a path")
_CHANGED = _Trouble("TASK-FILE-CHANGED", "work", "a file changed while it was read", "long")
_DIFFERS = _Trouble("TASK-CHECKSUM", "work", "the copy of a file differs from it", "long")
_LOGIN = _Trouble("TASK-CREDENTIALS", "operator", "a collection wants a new login", "endless")
_PAUSED = _Trouble("TASK-PAUSED", "operator", "an administrator or a person has paused it", "endless")

_TROUBLES = {
    "FILE_NOT_FOUND": _MISSING,
    "PATH_NOT_FOUND": _MISSING,
    "PERMISSION_DENIED": _DENIED,
    "QUOTA_EXCEEDED": _FULL,
    "QUOTA": _FULL,
    "NO_SPACE": _FULL,
    "NO_SPACE_LEFT": _FULL,
    "DISK_FULL": _FULL,
    "AMBIGUOUS_PATH": _PATH,
    "INVALID_PATH": _PATH,
    "NOT_A_FILE": _PATH,
    "IS_A_DIRECTORY": _PATH,
    "FILE_SIZE_CHANGED": _CHANGED,
    "VERIFY_CHECKSUM": _DIFFERS,
    "CHECKSUM_MISMATCH": _DIFFERS,
    "EXTERNAL_CHECKSUM": _DIFFERS,
    "AUTH": _LOGIN,
    "NO_CREDENTIALS": _LOGIN,
    "EXPIRED_CREDENTIALS": _LOGIN,
    "LOGIN_FAILED": _LOGIN,
    "PAUSED": _PAUSED,
    "PAUSED_BY_ADMIN": _PAUSED,
    "GC_PAUSED": _PAUSED,
}
_UNTROUBLED = {"OK", "QUEUED", "STARTED", "UNPAUSED", "PROGRESS"}
_TRANSIENT = {
    "CONNECT_FAILED",
    "CONNECTION_BROKEN",
    "CONNECTION_FAILED",
    "CONNECTION_RESET",
    "DEADLINE",
    "ENDPOINT_ERROR",
    "ENDPOINT_TOO_BUSY",
    "EXPIRED",
    "GC_NOT_CONNECTED",
    "NO_APPEND_FILESYSTEM",
    "TIMEOUT",
}
_RENEW = "run `tacc-sync login`, or renew the consent for the task in Globus' web application"


def assess(
    view: TaskView,
    *,
    now: float,
    since: float | None = None,
    patience: float = PATIENCE,
    long_patience: float = LONG_PATIENCE,
) -> Verdict:
    """What to do with a task that looks so.

    `since`: when the answers began to be `stuck` without interruption; None when the last one was not.
    """
    if view.status == "SUCCEEDED":
        return Ended(succeeded=True, records=not view.history_deleted)
    if view.status == "FAILED":
        return _failed(view)
    if view.status == "INACTIVE":
        # Only expired credentials do this, and only a person mends it. The files wait where they are.
        return InProgress(
            f"somebody to renew the credentials of task {view.task_id}: it is INACTIVE{_said(view)}",
            f"{_RENEW}; the task then goes on by itself{_deadline(view)}",
            "TASK-INACTIVE",
        )
    if view.is_paused:
        return InProgress(
            f"task {view.task_id} to be unpaused{_said(view)}",
            f"ask the collection's administrators; the task then goes on by itself{_deadline(view)}",
            "TASK-PAUSED",
        )
    return _active(view, now, since, patience, long_patience)


def _active(view: TaskView, now: float, since: float | None, patience: float, long_patience: float) -> Verdict:
    said = _code(view.nice_status)
    if said == "QUEUED":
        return InProgress(
            f"Globus to begin with task {view.task_id}: it works on three tasks of a user at a time",
            "it begins by itself when another task has ended",
        )
    if not said or said in _UNTROUBLED:
        return InProgress(f"task {view.task_id} to transfer its files", "its records are read when it has ended")
    trouble = _trouble(said)
    if trouble is None:
        return InProgress(
            f"task {view.task_id} to get over {said}{_said(view)}; {view.faults} faults so far",
            f"Globus tries again by itself{_deadline(view)}",
            "TASK-STUMBLES",
        )
    if trouble.patience == "endless":
        remedy = _RENEW if trouble is _LOGIN else "ask the collection's administrators"
        return InProgress(
            f"{trouble.means}: task {view.task_id} says {said}{_said(view)}",
            f"{remedy}; the task then goes on by itself{_deadline(view)}",
            trouble.code,
        )
    # A clock that was set back must not make us impatient, nor make us wait for ever.
    waited = 0.0 if since is None else max(0.0, now - since)
    limit = long_patience if trouble.patience == "long" else patience
    if waited < limit:
        return InProgress(
            f"task {view.task_id} to get over {said}: {trouble.means}{_said(view)}",
            f"it is given up in {_duration(limit - waited)} if that stays so",
            trouble.code,
            stuck=True,
        )
    return GiveUp(
        trouble.code,
        f"task {view.task_id} says {said} for {_duration(waited)}, with {view.faults} faults: "
        f"{trouble.means}{_said(view)}",
        trouble.whose,
    )


def _failed(view: TaskView) -> Ended:
    records = not view.history_deleted
    why = f": {view.fatal_error}" if view.fatal_error else ""
    if view.canceled_by_admin:
        text = f"task {view.task_id} was cancelled by an administrator ({view.canceled_by_admin}){why}"
        return Ended(False, records, "TASK-CANCELED-BY-ADMIN", text, "operator")
    said = _code(view.fatal_error.partition(":")[0])
    if said.startswith("CANCEL"):
        return Ended(False, records, "TASK-CANCELED", f"task {view.task_id} was cancelled{why}", "operator")
    trouble = _trouble(said)
    if trouble is not None:
        return Ended(False, records, trouble.code, f"task {view.task_id} failed{why}: {trouble.means}", trouble.whose)
    whose: Whose = "world" if said in _TRANSIENT else "work"
    return Ended(False, records, "TASK-FAILED", f"task {view.task_id} failed{why}", whose)


def _code(text: str | None) -> str:
    return (text or "").strip().upper().replace(" ", "_").replace("-", "_")


def _trouble(said: str) -> _Trouble | None:
    known = _TROUBLES.get(said)
    # There is no complete list of the service's codes, and the one for quota is not known for sure.
    return known or (_FULL if "QUOTA" in said else None)


def _said(view: TaskView) -> str:
    return f" ({view.nice_status_text})" if view.nice_status_text else ""


def _deadline(view: TaskView) -> str:
    return "" if view.deadline is None else f"; Globus ends it at {_utc(view.deadline)} if nothing moves"


def _utc(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"

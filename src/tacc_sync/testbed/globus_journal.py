"""What the testbed's Globus service must not forget: tasks, records, tokens, submission ids, counts.

One SQLite file, `ROOT/globus/state.db`. Guarantee: what has been answered to a client is in the file before
the answer leaves, so the service may be killed at any moment (a power cut is not among the dangers: nothing
is flushed).
Fails with: `sqlite3.Error`, which is our bug or a full disk.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SCHEMA = """
create table if not exists tasks (task_id text primary key, items text not null, state text not null);
create table if not exists submissions (submission_id text primary key, task_id text);
create table if not exists records (n integer primary key, task_id text, kind text, document text);
create index if not exists records_of_task on records (task_id, kind, n);
create table if not exists tokens (token text primary key, document text);
create table if not exists counts (rule text primary key, seen integer, fired integer);
"""


# What the service says beside a code.
SHORT = {
    "FILE_NOT_FOUND": "file not found",
    "PERMISSION_DENIED": "permission denied",
    "QUOTA_EXCEEDED": "quota exceeded",
    "VERIFY_CHECKSUM": "checksum verification failed",
    "FILE_SIZE_CHANGED": "file size changed",
    "PAUSED_BY_ADMIN": "paused by administrator",
    "AUTH": "authentication failed",
}

Record = tuple[str, dict[str, Any]]


def describe(code: str) -> str:
    """The few words that go with a code."""
    return SHORT.get(code, code.lower().replace("_", " "))


def event(code: str, *, is_error: bool = False, details: str = "") -> Record:
    """An event of a task, as a record of its journal."""
    document = {
        "code": code,
        "is_error": is_error,
        "description": describe(code),
        "details": details,
        "time": time.time(),
    }
    return "event", document


@dataclass(slots=True)
class Task:
    """A task as the service knows it. Times are epoch seconds."""

    task_id: str
    submission_id: str
    owner_id: str
    kind: str  # TRANSFER or DELETE
    order: dict[str, Any]  # the submitted document without its items
    paths: str  # digest of what goes where: two live tasks may not have the same
    request_time: float
    deadline: float
    hard_deadline: bool
    label: str | None = None
    status: str = "ACTIVE"
    completion_time: float | None = None
    started: bool = False
    error: str | None = None  # code of the last fault, until some pass went without
    error_text: str = ""
    fatal_error: dict[str, str] | None = None
    held_by: str | None = None  # the fault rule that keeps it INACTIVE or paused
    is_paused: bool = False
    pause_message: str | None = None
    canceled_by_admin: str | None = None
    canceled_by_admin_message: str | None = None
    removed: bool = False
    judged: list[str] = field(default_factory=list)  # the task rules that have had their say
    faults: int = 0
    files: int = 0
    directories: int = 0
    symlinks: int = 0
    files_skipped: int = 0
    files_transferred: int = 0
    skipped_errors: int = 0
    retrying: int = 0
    bytes_transferred: int = 0
    bytes_checksummed: int = 0
    # Not kept: what is true of this process only.
    items: list[dict[str, Any]] = field(default_factory=list)
    working: bool = False
    cancel: bool = False
    not_before: float = 0.0

    @property
    def live(self) -> bool:
        """Whether it has not ended yet."""
        return self.status in {"ACTIVE", "INACTIVE"}


_FORGOTTEN = {"items", "working", "cancel", "not_before"}
_KEPT = tuple(f.name for f in fields(Task) if f.name not in _FORGOTTEN)


def _state(task: Task) -> str:
    return json.dumps({name: getattr(task, name) for name in _KEPT})


class Journal:
    """The file. Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=off")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Nothing can be written afterwards."""
        with self._lock:
            self._db.close()

    # Tasks.

    def accept(self, task: Task) -> None:
        """A new task and its submission id, at one stroke."""
        with self._lock, self._db:
            self._db.execute("begin")
            self._db.execute("insert into tasks values (?, ?, ?)", (task.task_id, json.dumps(task.items), _state(task)))
            self._db.execute("insert or replace into submissions values (?, ?)", (task.submission_id, task.task_id))

    def save(self, task: Task, records: Sequence[Record] = ()) -> None:
        """The task as it is now, with new records (kind, document), at one stroke."""
        rows = [(task.task_id, kind, json.dumps(document)) for kind, document in records]
        with self._lock, self._db:
            self._db.execute("begin")
            self._db.execute("update tasks set state = ? where task_id = ?", (_state(task), task.task_id))
            self._db.executemany("insert into records (task_id, kind, document) values (?, ?, ?)", rows)

    def tasks(self) -> list[Task]:
        """All tasks, oldest first, as they were when last saved."""
        with self._lock:
            rows = self._db.execute("select items, state from tasks order by rowid").fetchall()
        return [Task(**json.loads(state), items=json.loads(items)) for items, state in rows]

    def records(self, task_id: str, kind: str, after: int = 0, limit: int = -1) -> list[tuple[int, Any]]:
        """Records of a task with their numbers, oldest first, from behind a number on."""
        with self._lock:
            rows = self._db.execute(
                "select n, document from records where task_id = ? and kind = ? and n > ? order by n limit ?",
                (task_id, kind, after, limit),
            ).fetchall()
        return [(n, json.loads(document)) for n, document in rows]

    # Submission ids.

    def issue(self, submission_id: str) -> None:
        """A submission id that no task has yet."""
        with self._lock:
            self._db.execute("insert into submissions values (?, null)", (submission_id,))

    def issued(self, submission_id: str) -> tuple[bool, str | None]:
        """Whether we gave out this id, and the task that has it."""
        with self._lock:
            row = self._db.execute(
                "select task_id from submissions where submission_id = ?", (submission_id,)
            ).fetchone()
        return (False, None) if row is None else (True, row[0])

    # Tokens, codes, consents.

    def put_token(self, token: str, document: Mapping[str, Any]) -> None:
        """Remember a token and what it is good for."""
        with self._lock:
            self._db.execute("insert or replace into tokens values (?, ?)", (token, json.dumps(document)))

    def token(self, token: str) -> dict[str, Any] | None:
        """What a token is good for."""
        with self._lock:
            row = self._db.execute("select document from tokens where token = ?", (token,)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def drop_token(self, token: str) -> None:
        """Forget a token."""
        with self._lock:
            self._db.execute("delete from tokens where token = ?", (token,))

    # Fault counts.

    def count(self, rule: str, nth: int, times: int | None) -> bool:
        """Count a match: True when it is the nth or later and the rule has not fired `times` times."""
        with self._lock:
            row = self._db.execute("select seen, fired from counts where rule = ?", (rule,)).fetchone()
            seen, fired = row or (0, 0)
            seen += 1
            fires = seen >= nth and (times is None or fired < times)
            self._db.execute("insert or replace into counts values (?, ?, ?)", (rule, seen, fired + int(fires)))
        return fires

    def keep_counts(self, rules: Iterable[str]) -> None:
        """Forget the counts of all other rules."""
        with self._lock:
            for (rule,) in self._db.execute("select rule from counts").fetchall():
                if rule not in rules:
                    self._db.execute("delete from counts where rule = ?", (rule,))

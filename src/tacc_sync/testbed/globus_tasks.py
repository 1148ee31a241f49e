"""The tasks of the testbed's Globus service: accepted, queued, worked three at a time, ended.

A task that meets a fault stays ACTIVE, tells the fault in nice_status and in its events, rests, and tries
again, until it succeeds, is cancelled, or its deadline comes: just as the real service does.

Guarantee: an accepted task is in the journal before its submitter hears of it, and goes on after the
service was killed; a submission id is accepted once; two live tasks never have identical paths; a task ends
once.
Fails with: `Duplicate`, `IdenticalPaths`, `TooManyPending` (answers to a submitter).
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from tacc_sync.testbed import globus_faults, globus_mover
from tacc_sync.testbed.globus_journal import Task, event
from tacc_sync.testbed.globus_pass import Pass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tacc_sync.testbed.globus_faults import Faults, Rule
    from tacc_sync.testbed.globus_journal import Journal
    from tacc_sync.testbed.globus_settings import Log, Watched

WORKERS = 6  # threads; more than one owner's three, so that two owners do not wait for each other


class Duplicate(Exception):
    """The submission id has its task already."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id


class IdenticalPaths(Exception):
    """A live task does the same already."""


class TooManyPending(Exception):
    """The owner has as many live tasks as he may."""


class Engine:
    """All tasks, and the threads that work on them."""

    def __init__(self, settings: Watched, faults: Faults, journal: Journal, log: Log) -> None:
        self.settings = settings
        self.faults = faults
        self.journal = journal
        self.log = log
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        self.tasks: dict[str, Task] = {task.task_id: task for task in journal.tasks()}
        self._live = {task_id: task for task_id, task in self.tasks.items() if task.live}
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(WORKERS)]

    def start(self) -> None:
        """Begin, or go on where a killed service left off."""
        self.log.write("service_started", live=len(self._live))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let no more bytes move. What is under way is done again after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(5)
        self.journal.close()

    # What clients ask for.

    def submit(self, kind: str, order: dict[str, Any], items: list[dict[str, Any]], owner_id: str) -> Task:
        """Accept a task; raises `Duplicate`, `IdenticalPaths`, `TooManyPending`."""
        settings = self.settings.now()
        submission_id = order["submission_id"]
        with self._changed:
            _, known = self.journal.issued(submission_id)
            if known is not None:
                self.log.write("duplicate", task_id=known, submission_id=submission_id)
                raise Duplicate(known)
            paths = _digest(kind, order, items)
            mine = [task for task in self._live.values() if task.owner_id == owner_id]
            if any(task.paths == paths for task in mine):
                raise IdenticalPaths
            if len(mine) >= settings.pending_cap:
                raise TooManyPending
            now = time.time()
            deadline = order.get("deadline_seconds")
            task = Task(
                task_id=str(uuid.uuid4()),
                submission_id=submission_id,
                owner_id=owner_id,
                kind=kind,
                order=order,
                items=items,
                paths=paths,
                label=order.get("label"),
                request_time=now,
                deadline=deadline or now + settings.deadline_seconds,
                hard_deadline=bool(deadline),
            )
            self.journal.accept(task)
            self.tasks[task.task_id] = self._live[task.task_id] = task
            self.log.write(
                "accepted",
                task_id=task.task_id,
                kind=kind,
                label=task.label,
                submission_id=submission_id,
                items=len(items),
            )
            self._changed.notify_all()
        return task

    def cancel(self, task: Task, patience: float = 5.0) -> str:
        """Ask for a task's end: Canceled, CancelAccepted (not yet), or TaskComplete (it had ended)."""
        with self._changed:
            if not task.live:
                return "TaskComplete"
            task.cancel = True
            self._changed.notify_all()
            if not task.working:
                self._end_cancelled(task)
            self._changed.wait_for(lambda: not task.live, patience)
            return "CancelAccepted" if task.live else "Canceled"

    def update(self, task: Task, change: Callable[[Task], None]) -> bool:
        """Change a live task; False when it has ended."""
        with self._changed:
            if not task.live:
                return False
            change(task)
            self.journal.save(task)
            return True

    def remove(self, task: Task) -> bool:
        """Hide an ended task from lists; False while it is live."""
        with self._changed:
            if task.live:
                return False
            task.removed = True
            self.journal.save(task)
            return True

    # What the threads do.

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                Pass(self, task).run()
            except globus_mover.Stopped:
                pass
            except Exception as error:  # noqa: BLE001  a thread that dies would stop the service silently
                self.log.write("bug", task_id=task.task_id, error=repr(error))
                self.end(task, "FAILED", fatal=("UNKNOWN", f"testbed: {error!r}"))
            finally:
                with self._changed:
                    task.working = False
                    if task.live and task.cancel:
                        self._end_cancelled(task)
                    self._changed.notify_all()

    def _next(self) -> Task | None:
        """The next task to work on, marked as worked; waits for one. None when the service stops."""
        with self._changed:
            while not self._stopping:
                self.faults.refresh()
                worked = Counter(task.owner_id for task in self._live.values() if task.working)
                at_once = self.settings.now().tasks_at_once
                for task in list(self._live.values()):
                    self._look_after(task)
                    if worked[task.owner_id] < at_once and self._may_start(task):
                        task.working = True
                        return task
                # Idle, nothing happens without a call; but a held task is let go by a file's change.
                self._changed.wait(0.03 if self._live else None)
            return None

    def _look_after(self, task: Task) -> None:
        if task.working or not task.live:
            return
        if task.cancel:
            self._end_cancelled(task)
        elif time.time() > task.deadline:
            self.expire(task)
        elif task.held_by is not None and not self.faults.stands(task.held_by):
            was_paused, task.is_paused, task.pause_message = task.is_paused, False, None
            task.held_by, task.status = None, "ACTIVE"
            self.journal.save(task, [event("UNPAUSED")] if was_paused else [])
            self.log.write("released", task_id=task.task_id)

    @staticmethod
    def _may_start(task: Task) -> bool:
        return task.live and not task.working and task.held_by is None and time.monotonic() >= task.not_before

    def may_go_on(self, task: Task) -> bool:
        """Whether a pass may move more bytes of this task."""
        return not (self._stopping or task.cancel or time.time() > task.deadline)

    # How a task ends, or is held.

    def end(self, task: Task, status: str, *, fatal: tuple[str, str] | None = None) -> None:
        """End a task, once."""
        with self._changed:
            if not task.live:
                return
            task.status = status
            task.completion_time = time.time()
            task.fatal_error = {"code": fatal[0], "description": fatal[1]} if fatal else None
            task.is_paused, task.held_by, task.working = False, None, False
            if status == "SUCCEEDED":
                closing = event("SUCCEEDED", details=json.dumps({"files_succeeded": task.files_transferred}))
            else:
                code, text = fatal or ("UNKNOWN", "")
                closing = event(code, is_error=code != "CANCELED", details=text)
            self.journal.save(task, [closing])
            del self._live[task.task_id]
            task.items = []  # the journal has them; a long campaign would keep them all in memory
            self.log.write(
                "ended",
                task_id=task.task_id,
                label=task.label,
                status=status,
                fatal=task.fatal_error,
                files=task.files_transferred,
                skipped=task.files_skipped,
                bytes=task.bytes_transferred,
                faults=task.faults,
                seconds=round(task.completion_time - task.request_time, 3),
            )
            self._changed.notify_all()

    def _end_cancelled(self, task: Task) -> None:
        self.end(task, "FAILED", fatal=("CANCELED", "canceled"))

    def expire(self, task: Task) -> None:
        """End a task whose deadline has come."""
        self.end(task, "FAILED", fatal=("EXPIRED", "deadline exceeded"))

    def hold(self, task: Task, rule: Rule) -> None:
        """Keep a task INACTIVE or paused as long as a rule stands."""
        with self._changed:
            if not task.live:
                return
            task.held_by = rule.key
            if rule.what == "inactive":
                task.status = "INACTIVE"
                told = event("AUTH", is_error=True, details=str(rule.options.get("message", "credentials expired")))
            else:
                task.is_paused = True
                task.pause_message = str(rule.options.get("message", "paused for maintenance"))
                told = event("PAUSED", details=task.pause_message)
            self.journal.save(task, [told])
            self.log.write("held", task_id=task.task_id, what=rule.what, rule=rule.key)

    def judge(self, task: Task) -> Rule | None:
        """The task rule that has its say now, if any. Each rule looks at each task once."""
        if not self.faults.any_of(globus_faults.TASK):
            return None
        for rule in self.faults.of_kinds(globus_faults.TASK):
            if rule.key in task.judged or task.files_transferred < int(rule.options.get("after_files", 0)):
                continue
            task.judged.append(rule.key)
            if rule.fits(verb=rule.verb, label=task.label or "", paths=_paths(task)) and self.faults.count(rule):
                self.log.write("fault", task_id=task.task_id, what=rule.what, rule=rule.key)
                return rule
        return None


def _paths(task: Task) -> list[str]:
    return [item[key] for item in task.items for key in ("source_path", "destination_path", "path") if key in item]


def _digest(kind: str, order: Mapping[str, Any], items: list[dict[str, Any]]) -> str:
    pairs = sorted((item.get("source_path", ""), item.get("destination_path", item.get("path", ""))) for item in items)
    where = [kind, order.get("source_endpoint"), order.get("destination_endpoint", order.get("endpoint"))]
    return hashlib.sha256(json.dumps([where, pairs]).encode()).hexdigest()

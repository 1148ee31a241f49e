"""The calls of the testbed's Transfer API that are about tasks: submit, look, list, change, cancel.

Guarantee: what is refused has changed nothing; nobody sees another owner's tasks.
Fails with: `Refusal`, with the codes of the real service where they are known.
"""

from __future__ import annotations

import fnmatch
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tacc_sync.testbed import globus_documents, globus_tasks
from tacc_sync.testbed.globus_http import Call, Refusal, Reply
from tacc_sync.testbed.globus_settings import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tacc_sync.testbed.globus_auth import Auth
    from tacc_sync.testbed.globus_journal import Task
    from tacc_sync.testbed.globus_tasks import Engine

PAGE = 10  # of lists whose caller names no limit
PAGE_MAX = 1000
LABEL_MAX = 128
FORGET = frozenset({"forget"})


class Transfer:
    """The calls."""

    def __init__(self, engine: Engine, auth: Auth) -> None:
        self._engine = engine
        self._auth = auth

    # Submitting.

    def submission_id(self, call: Call) -> Reply:
        """GET /submission_id."""
        self._auth.transfer_grant(call.owner())
        fresh = str(uuid.uuid4())
        self._engine.journal.issue(fresh)
        return Reply({"DATA_TYPE": "submission_id", "value": fresh})

    def transfer(self, call: Call) -> Reply:
        """POST /transfer."""
        order, items = _order(call.body)
        ends = [str(order.get("source_endpoint")), str(order.get("destination_endpoint"))]
        if not items:
            raise Refusal(400, "ClientError.BadRequest.NoTransferItems", "A transfer requires at least one item")
        for item in items:
            _check_item(item)
        if order.get("sync_level") not in {None, 0, 1, 2, 3}:
            raise _bad(f"Invalid sync_level: {order.get('sync_level')!r}")
        if order.get("delete_destination_extra"):
            raise _bad("delete_destination_extra is not for this testbed: it would remove what nobody named")
        return self._submit(call, "TRANSFER", order, items, ends)

    def delete(self, call: Call) -> Reply:
        """POST /delete."""
        order, items = _order(call.body)
        if not items or not all(isinstance(item.get("path"), str) for item in items):
            raise _bad("A delete requires at least one item with a path")
        if order.get("interpret_globs"):
            raise _bad("interpret_globs is not for this testbed")
        return self._submit(call, "DELETE", order, items, [str(order.get("endpoint"))])

    def _submit(
        self, call: Call, kind: str, order: dict[str, Any], items: list[dict[str, Any]], ends: list[str]
    ) -> Reply:
        settings = self._engine.settings.now()
        for end in ends:
            if end not in settings.collections:
                raise Refusal(404, "EndpointNotFound", f"No such endpoint '{end}'")
        if settings.submit_items_max and len(items) > settings.submit_items_max:
            raise _bad(f"Too many items: {len(items)} of at most {settings.submit_items_max}")
        self._auth.transfer_grant(call.owner(), *ends)
        self._check_order(order)
        duplicate = False
        try:
            task_id = self._engine.submit(kind, order, items, call.owner().identity_id).task_id
        except globus_tasks.Duplicate as known:
            task_id, duplicate = known.task_id, True
        except globus_tasks.IdenticalPaths as error:
            raise Refusal(409, "Conflict", "A transfer with identical paths has not yet completed") from error
        except globus_tasks.TooManyPending as error:
            message = f"You have {settings.pending_cap} pending tasks already"
            raise Refusal(409, "ClientError.Conflict.TooManyPendingJobs", message) from error
        about = globus_documents.submitted(task_id, order["submission_id"], kind, duplicate=duplicate)
        return Reply(_signed(about, call), 200 if duplicate else 202)

    def _check_order(self, order: dict[str, Any]) -> None:
        submission_id = order.get("submission_id")
        if not isinstance(submission_id, str) or not self._engine.journal.issued(submission_id)[0]:
            raise _bad(f"Invalid submission_id: {submission_id!r}")
        _check_label(order.get("label"))
        if order.get("deadline"):
            order["deadline_seconds"] = _seconds(str(order["deadline"]))

    # One task.

    def task(self, call: Call) -> Reply:
        """GET /task/ID."""
        return Reply(self._document(self._task(call)))

    def update(self, call: Call) -> Reply:
        """PUT /task/ID: label and deadline, while it lives."""
        task, body = self._task(call), call.body
        unknown = set(body) - {"DATA_TYPE", "label", "deadline"}
        if unknown:
            raise _bad(f"Not to be changed: {', '.join(sorted(unknown))}")
        _check_label(body.get("label"))
        deadline = _seconds(str(body["deadline"])) if body.get("deadline") else None

        def change(task: Task) -> None:
            if "label" in body:
                task.label = body["label"]
            if deadline is not None:
                task.deadline, task.hard_deadline = deadline, True

        if not self._engine.update(task, change):
            raise Refusal(409, "Conflict", "The task has completed")
        return self._result(call, "Updated", "Updated the task successfully")

    def cancel(self, call: Call) -> Reply:
        """POST /task/ID/cancel."""
        code = self._engine.cancel(self._task(call))
        message, status = {
            "Canceled": ("The task has been cancelled successfully.", 200),
            "CancelAccepted": ("The task cancellation has been queued for processing.", 202),
            "TaskComplete": ("The task completed before the cancel request was processed.", 200),
        }[code]
        return self._result(call, code, message, status)

    def remove(self, call: Call) -> Reply:
        """POST /task/ID/remove: hide an ended task."""
        if not self._engine.remove(self._task(call)):
            raise Refusal(409, "Conflict", "The task has not completed yet")
        return self._result(call, "Removed", "The task has been removed successfully.")

    def pause_info(self, call: Call) -> Reply:
        """GET /task/ID/pause_info."""
        return Reply(globus_documents.pause_info(self._task(call)))

    def event_list(self, call: Call) -> Reply:
        """GET /task/ID/event_list: newest first."""
        task = self._task(call)
        rows = [document for _, document in self._engine.journal.records(task.task_id, "event")][::-1]
        match call.query.get("filter", ""):
            case "is_error:1":
                rows = [row for row in rows if row["is_error"]]
            case "is_error:0":
                rows = [row for row in rows if not row["is_error"]]
        limit, offset = _window(call)
        shown = [globus_documents.told(row) for row in rows[offset : offset + limit]]
        return Reply(globus_documents.page("event_list", shown, len(rows), limit, offset))

    def successful_transfers(self, call: Call) -> Reply:
        """GET /task/ID/successful_transfers: of a task that has ended."""
        return self._marked(call, "successful", "successful_transfers", dict)

    def skipped_errors(self, call: Call) -> Reply:
        """GET /task/ID/skipped_errors: of a task that has ended."""
        return self._marked(call, "skipped_error", "skipped_errors", globus_documents.skipped)

    def _marked(self, call: Call, kind: str, name: str, show: Callable[[dict[str, Any]], dict[str, Any]]) -> Reply:
        task = self._task(call)
        marker = _number(call, "marker", 0)
        size = self._engine.settings.now().page_size
        rows = [] if task.live else self._engine.journal.records(task.task_id, kind, marker, size + 1)
        following = rows[size - 1][0] if len(rows) > size else None
        shown = [show(document) for _, document in rows[:size]]
        return Reply(globus_documents.marked(name, shown, marker, following))

    # Many tasks.

    def task_list(self, call: Call) -> Reply:
        """GET /task_list."""
        self._auth.transfer_grant(call.owner())
        tasks = [task for task in list(self._engine.tasks.values()) if self._visible(task, call)]
        documents = [self._document(task) for task in tasks][::-1]
        for clause in filter(None, call.query.get("filter", "").split("/")):
            name, _, wanted = clause.partition(":")
            documents = [each for each in documents if _chosen(each, name, wanted)]
        documents = ordered(documents, call.query.get("orderby") or "request_time DESC")
        limit, offset = _window(call)
        shown = documents[offset : offset + limit]
        if fields := call.query.get("fields"):
            shown = [{key: each[key] for key in fields.split(",") if key in each} for each in shown]
        return Reply(globus_documents.page("task_list", shown, len(documents), limit, offset))

    def _visible(self, task: Task, call: Call) -> bool:
        if task.owner_id != call.owner().identity_id or task.removed:
            return False
        rules = self._engine.faults.of_kinds(FORGET)
        return not any(rule.fits(verb="task_list", label=task.label or "", paths=()) for rule in rules)

    def _task(self, call: Call) -> Task:
        self._auth.transfer_grant(call.owner())
        task_id = call.params["task_id"]
        task = self._engine.tasks.get(task_id)
        lost = Refusal(404, "ClientError.NotFound", f"No task found with id '{task_id}'")
        if task is None or task.owner_id != call.owner().identity_id:
            raise lost
        if self._engine.faults.fired(FORGET, verb=call.verb, label=task.label or ""):
            raise lost
        return task

    def _document(self, task: Task) -> dict[str, Any]:
        return globus_documents.task(task, self._engine.settings.now().collections)

    @staticmethod
    def _result(call: Call, code: str, message: str, status: int = 200) -> Reply:
        document = globus_documents.result("result", code, message, call.request_id, call.resource)
        return Reply(document, status)


def _signed(document: dict[str, Any], call: Call) -> dict[str, Any]:
    return {**document, "request_id": call.request_id, "resource": call.resource}


def _bad(message: str) -> Refusal:
    return Refusal(400, "ClientError.BadRequest", message)


def _order(body: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    order = dict(body)
    items = order.pop("DATA", [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _bad("DATA is not a list of items")
    order.pop("deadline_seconds", None)
    return order, items


def _check_item(item: dict[str, Any]) -> None:
    if item.get("DATA_TYPE", "transfer_item") != "transfer_item":
        raise _bad(f"Items of type {item.get('DATA_TYPE')} are not for this testbed")
    for key in ("source_path", "destination_path"):
        if not isinstance(item.get(key), str) or not item[key]:
            raise _bad(f"An item needs a {key}")
    algorithm = item.get("checksum_algorithm")
    if algorithm is not None and str(algorithm).upper() not in ALGORITHMS:
        raise _bad(f"Unknown checksum_algorithm: {algorithm!r}")
    if item.get("external_checksum") and item.get("recursive"):
        raise _bad("external_checksum is for files only")


def _check_label(label: Any) -> None:
    if label is None:
        return
    if not isinstance(label, str) or len(label) > LABEL_MAX or label != label.strip() or set(label) & {"\r", "\n"}:
        raise _bad("Invalid label: at most 128 characters, one line, no blanks at its ends")


def _seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _bad(f"Invalid deadline: {text!r}") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(call: Call, name: str, default: int) -> int:
    try:
        value = int(call.query.get(name, default))
    except ValueError as error:
        raise _bad(f"Invalid {name}") from error
    if value < 0:
        raise _bad(f"Invalid {name}")
    return value


def _window(call: Call) -> tuple[int, int]:
    return min(_number(call, "limit", PAGE), PAGE_MAX), _number(call, "offset", 0)


def _chosen(document: dict[str, Any], name: str, wanted: str) -> bool:
    """Whether a filter clause lets a task through: `a,b`, `~glob`, `=exact`, `!not`, `from,to` for times."""
    if name not in document:
        raise _bad(f"Unknown filter: {name}")
    value = str(document[name] if document[name] is not None else "")
    if name.endswith("_time"):
        low, _, high = wanted.partition(",")
        return (not low or value >= low.replace(" ", "T")) and (not high or value <= high.replace(" ", "T"))
    values = wanted.split(",")
    refused = [each[1:] for each in values if each.startswith("!")]
    allowed = [each for each in values if not each.startswith("!")]
    return not any(matches(value, each) for each in refused) and (
        not allowed or any(matches(value, each) for each in allowed)
    )


def matches(value: str, wanted: str) -> bool:
    """One value of a filter against a field: `~` begins a glob, `=` an exact word."""
    if wanted.startswith("~"):
        return fnmatch.fnmatchcase(value.lower(), wanted[1:].lower())
    return value == wanted.removeprefix("=")


def ordered(documents: list[dict[str, Any]], orderby: str) -> list[dict[str, Any]]:
    """Sort as `orderby` says: `a ASC,b DESC`."""
    for part in reversed(_parts(orderby)):
        name, _, way = part.strip().partition(" ")
        if documents and name not in documents[0]:
            raise _bad(f"Unknown orderby: {name}")
        documents = sorted(documents, key=lambda d: (d[name] is not None, d[name]), reverse=way.upper() == "DESC")
    return documents


def _parts(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]

"""Globus Transfer through globus-sdk.

Guarantee: what is submitted says all that matters (checksums verified, no deadline, nothing skipped); lists
are whole or an error; each error is one of those that interface.py names; a call gives up in about a minute.
Several threads may use it at once. Fails with: what interface.py says.
"""

# globus-sdk is imported inside the functions: it costs a third of a second, and most commands never need it.
# ruff: noqa: PLC0415

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tacc_sync.outside.globus import answers
from tacc_sync.outside.globus.answers import entries, number, plain, strange, text
from tacc_sync.outside.globus.calls import Service
from tacc_sync.outside.globus.interface import (
    Accepted,
    Collection,
    IdenticalPaths,
    NoSuchDirectory,
    Order,
    RemoteEntry,
    TaskEvent,
    TaskView,
    Transferred,
    UnknownTask,
)
from tacc_sync.rules.faults import OperatorFault, WorkFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from globus_sdk import GlobusAPIError, GlobusHTTPResponse, TransferClient, TransferData

    from tacc_sync.outside.globus.login import Credentials

LISTING_PAGE = 100_000
"""The most entries that the service lists at once. It lists all anew for each page, so pages are large."""
TASKS_PAGE = 100
TASKS_REACHABLE = 1000
"""The service does not go further back in its task list."""
SLOW = 60.0
"""Seconds for answers that a collection's host must give, and for orders of thousands of files."""
_NO_COLLECTION = re.compile(r"(?i)(no such )?(endpoint|collection)\b")


class GlobusSdk:
    """The transfer service, as interface.py's `Globus`.

    `encrypt`: encrypt the data on its way, at some cost in speed; a collection may force it anyhow. An answer
    is waited for `http_timeout` seconds; a request is repeated at most `retries` times, and no more when
    `give_up_after` seconds are over.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        encrypt: bool = False,
        http_timeout: float = 30.0,
        give_up_after: float = 20.0,
        retries: int = 3,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._encrypt = encrypt
        self._service = Service(credentials, http_timeout, give_up_after, retries, now)

    def __repr__(self) -> str:
        return f"GlobusSdk({self._service})"

    def new_submission_id(self) -> str:
        """A fresh submission id."""
        answer = self._service.ask("getting a submission id", lambda client: client.get_submission_id())
        return text(answer, "value", "a submission id")

    def submit(self, order: Order) -> Accepted:
        """Submit, at most once for a submission id, however often the request itself is repeated."""
        assert order.items, "a task without files"
        data = self._transfer_data(order)

        def refused(error: GlobusAPIError) -> Exception | None:
            # Of the 409s only the plain Conflict is this one; others say more in their code.
            is_plain = error.http_status == 409 and (error.code or "").rpartition(".")[2] == "Conflict"
            return IdenticalPaths(order.label) if is_plain else None

        doing = f"submitting task {order.label}"
        answer = self._service.ask(doing, lambda client: client.submit_transfer(data), refused, SLOW)
        code = answer.get("code")
        if code not in {"Accepted", "Duplicate"}:
            strange(f"a submit was answered with the code {plain(code)!r}")
        return Accepted(text(answer, "task_id", "the answer to a submit"), duplicate=code == "Duplicate")

    def _transfer_data(self, order: Order) -> TransferData:
        from globus_sdk import MISSING, TransferData

        data = TransferData(
            order.source_collection,
            order.destination_collection,
            label=order.label,
            submission_id=order.submission_id,
            verify_checksum=True,
            preserve_timestamp=True,
            encrypt_data=self._encrypt,
            # A missing file must be an error, and a full destination must not keep a task alive for days.
            skip_source_errors=False,
            fail_on_quota_errors=True,
            notify_on_succeeded=False,
            notify_on_failed=False,
            notify_on_inactive=False,
            # No deadline: one that is set is a hard kill, the service's own moves with the progress. No sync
            # level: it would skip files of which nothing but their size or time is known.
        )
        for item in order.items:
            data.add_item(
                item.source,
                item.destination,
                recursive=False,
                external_checksum=item.checksum or MISSING,
                checksum_algorithm=item.algorithm.upper() if item.checksum and item.algorithm else MISSING,
            )
        return data

    def task(self, task_id: str) -> TaskView:
        """The task as it is now."""
        answer = self._of_task("asking for", task_id, lambda client: client.get_task(task_id))
        return answers.task_view(answer)

    def tasks_labelled(self, label: str) -> list[TaskView]:
        """Our tasks with exactly this label, newest first."""
        wanted = {"type": "TRANSFER"}
        if not any(c in label for c in ",/:~=!*"):  # these mean something to the service's filter
            wanted["label"] = label

        def page_at(offset: int, client: TransferClient) -> GlobusHTTPResponse:
            return client.task_list(limit=TASKS_PAGE, offset=offset, orderby="request_time DESC", filter={**wanted})

        found: list[TaskView] = []
        offset = 0
        while offset < TASKS_REACHABLE:
            answer = self._service.ask(f"looking for tasks {plain(label)}", partial(page_at, offset))
            page = entries(answer, "the task list")
            # The filter may be content with other cases of letters, or with a part of the label.
            found += [answers.task_view(doc) for doc in page if doc.get("label") == label]
            offset += len(page)
            if not page or offset >= (number(answer, "total") or 0):
                break
        return sorted(found, key=lambda task: task.requested_at, reverse=True)

    def cancel(self, task_id: str) -> None:
        """Ask for the task's end."""
        try:
            self._of_task("cancelling", task_id, lambda client: client.cancel_task(task_id))
        except WorkFault:
            # How the service refuses to cancel what has ended is not known: look whether it has.
            if self.task(task_id).status not in {"SUCCEEDED", "FAILED"}:
                raise

    def transferred(self, task_id: str) -> Iterator[Transferred]:
        """The record of each file; the first page is asked for at once, the others on the way."""

        def page_at(marker: str | None) -> Mapping[str, Any]:
            from globus_sdk import MISSING

            return self._of_task(
                "reading the records of",
                task_id,
                lambda client: client.task_successful_transfers(task_id, marker=marker or MISSING),
            )

        def all_from(page: Mapping[str, Any]) -> Iterator[Transferred]:
            seen: set[str] = set()
            while True:
                yield from map(answers.transferred, entries(page, "the records of a task"))
                marker = page.get("next_marker")
                if marker is None or marker == "":
                    return
                if not isinstance(marker, str | int) or str(marker) in seen:
                    strange(f"the records of task {task_id} lead round in a circle")
                seen.add(str(marker))
                page = page_at(str(marker))

        return all_from(page_at(None))

    def events(self, task_id: str, limit: int = 20) -> list[TaskEvent]:
        """The newest events of a task."""
        answer = self._of_task(
            "asking for the events of", task_id, lambda client: client.task_event_list(task_id, limit=limit)
        )
        return [answers.task_event(doc) for doc in entries(answer, "the events of a task")][:limit]

    def listing(self, collection: str, path: str) -> list[RemoteEntry]:
        """The entries of a directory, all of them."""
        return list({entry.name: entry for entry in self.entries(collection, path)}.values())

    def entries(self, collection: str, path: str) -> Iterator[RemoteEntry]:
        """The entries of a directory, page by page."""

        def refused(error: GlobusAPIError) -> Exception | None:
            said = error.message or ""
            if "c=PATH_NOT_FOUND" in said:
                return NoSuchDirectory(path)
            # Neither a wrong collection nor a proxy's "not found" may look like an empty destination.
            missing = error.http_status == 404 and (error.code or "").endswith("NotFound")
            of_collection = "Endpoint" in (error.code or "") or _NO_COLLECTION.match(said)
            return NoSuchDirectory(path) if missing and not of_collection else None

        def page_at(offset: int, client: TransferClient) -> GlobusHTTPResponse:
            return client.operation_ls(collection, path=path, show_hidden=True, limit=LISTING_PAGE, offset=offset)

        offset = 0
        doing = f"listing {plain(path)} on collection {collection}"
        while True:
            answer = self._service.ask(doing, partial(page_at, offset), refused, SLOW)
            page = [answers.remote_entry(doc) for doc in entries(answer, "a directory")]
            yield from page
            offset += len(page)
            total = number(answer, "total")
            if offset >= total if total is not None else len(page) < LISTING_PAGE:
                return
            if not page:
                # A part of a directory would look like missing files, which would be recalled from tape.
                strange(f"the listing of {plain(path)} ends after {offset} of {total} entries")

    def collection(self, collection_id: str) -> Collection:
        """What the service says of a collection."""

        def refused(error: GlobusAPIError) -> Exception | None:
            if error.http_status not in {400, 404} or not error.code:
                return None
            unknown = f"Globus knows no collection {plain(collection_id)!r}"
            return OperatorFault("GLOBUS-COLLECTION", unknown, "correct its id in the configuration")

        doing = f"asking for collection {plain(collection_id)}"
        answer = self._service.ask(doing, lambda client: client.get_endpoint(collection_id), refused)
        return answers.collection(answer)

    def whoami(self) -> str:
        """How we are logged in; a token is got, whether or not the transfer service accepts it."""
        return self._service.whoami()

    def _of_task(
        self, doing: str, task_id: str, call: Callable[[TransferClient], GlobusHTTPResponse]
    ) -> Mapping[str, Any]:
        def refused(error: GlobusAPIError) -> Exception | None:
            # Only the service's own "not found": a proxy's would make us submit a second task.
            missing = error.http_status == 404 and (error.code or "").endswith("NotFound")
            return UnknownTask(task_id) if missing else None

        return self._service.ask(f"{doing} task {task_id}", call, refused)

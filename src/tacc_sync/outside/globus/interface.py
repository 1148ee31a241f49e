"""Globus Transfer as the components see it. One implementation uses globus-sdk (sdk.py).

Every method may raise
- `WorldFault` with code GLOBUS-AWAY (no answer, 5xx, dropped connection: the outcome of the call is
  unknown), GLOBUS-BUSY (429; `retry_after` in seconds when the service said it), GLOBUS-TOO-MANY-PENDING,
  GLOBUS-COLLECTION-AWAY (the service answers, a collection's host does not), GLOBUS-STRANGE-ANSWER (an answer
  that is not the service's: a proxy's, a broken document; the outcome is unknown);
- `OperatorFault` with code GLOBUS-CREDENTIALS (401, no or expired login), GLOBUS-CONSENT (403
  ConsentRequired; the text names the scopes and the command that gives them), GLOBUS-PERMISSION (403),
  GLOBUS-COLLECTION (no such collection), GLOBUS-TOKEN-FILE (the file with the login or the secret);
- `WorkFault` with code GLOBUS-REFUSED (other 4xx: the service finds the request itself wrong; nothing was
  done);
- the answers below, where a method says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from tacc_sync.rules.tasks import TaskView

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Accepted",
    "Collection",
    "Globus",
    "IdenticalPaths",
    "Item",
    "NoSuchDirectory",
    "Order",
    "RemoteEntry",
    "TaskEvent",
    "TaskView",
    "Transferred",
    "UnknownTask",
]


class IdenticalPaths(Exception):
    """409: a transfer with identical paths has not completed yet (the service does not say which)."""


class UnknownTask(Exception):
    """404: the service does not know this task, or no longer."""


class NoSuchDirectory(Exception):
    """The listed directory does not exist on the collection."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a task: absolute paths inside the collections; `checksum` goes along with it."""

    source: str
    destination: str
    checksum: str | None = None
    algorithm: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What a task is to do. `label` is unique to an attempt of a unit; `submission_id` is durable already."""

    submission_id: str
    label: str
    source_collection: str
    destination_collection: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service has the task. `duplicate` when this submission id had been accepted before."""

    task_id: str
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Transferred:
    """The service's record of one transferred file. `algorithm` in lower case, no dash (`md5`, `sha512`)."""

    source: str
    destination: str
    size: int | None
    checksum: str | None
    algorithm: str | None


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One event of a task, newest first: epoch seconds, the service's code, error or not, text for people."""

    time: float
    code: str
    is_error: bool
    text: str


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """One entry of a directory on a collection. `mtime` in epoch seconds, whole; None when not told."""

    name: str
    kind: Literal["file", "dir", "other"]
    size: int
    mtime: float | None


@dataclass(frozen=True, slots=True)
class Collection:
    """What the service says of a collection."""

    collection_id: str
    display_name: str
    entity_type: str
    disable_verify: bool
    force_verify: bool
    high_assurance: bool


class Globus(Protocol):
    """The transfer service."""

    def new_submission_id(self) -> str:
        """A fresh submission id: whatever is submitted with it is done at most once."""

    def submit(self, order: Order) -> Accepted:
        """Submit; raises `IdenticalPaths`. After a WorldFault it is unknown whether the task exists."""

    def task(self, task_id: str) -> TaskView:
        """The task as it is now; raises `UnknownTask`."""

    def tasks_labelled(self, label: str) -> list[TaskView]:
        """Our tasks with exactly this label, newest first."""

    def cancel(self, task_id: str) -> None:
        """Ask for the task's end; content when it has ended already; raises `UnknownTask`."""

    def transferred(self, task_id: str) -> Iterator[Transferred]:
        """The record of each file that an ended task has transferred; raises `UnknownTask` at once.

        Records come in pages: any fault may also come from the iterator, and then the records are incomplete.
        Empty when the service has forgotten them (`history_deleted`), and without what a sync level skipped.
        """

    def events(self, task_id: str, limit: int = 20) -> list[TaskEvent]:
        """The newest events of a task, newest first; raises `UnknownTask`."""

    def listing(self, collection: str, path: str) -> list[RemoteEntry]:
        """All entries of a directory, hidden ones too, never a part of them; raises `NoSuchDirectory`."""

    def entries(self, collection: str, path: str) -> Iterator[RemoteEntry]:
        """The same for directories of any size, as they come.

        Entries come in pages: any fault, `NoSuchDirectory` too, may also come from the iterator, and then the entries
        are incomplete. One that changes meanwhile may come twice.
        """

    def collection(self, collection_id: str) -> Collection:
        """What the service says of a collection."""

    def whoami(self) -> str:
        """How we are logged in, for people: a client id or a user name. Makes sure of a token."""

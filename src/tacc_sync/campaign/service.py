"""The simulated transfer service: tasks that share a network. Times are seconds since the simulation began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tacc_sync.campaign.kernel import EPOCH, Kernel
from tacc_sync.campaign.memory_disk import Copy, MemoryDisk, declared
from tacc_sync.campaign.weather import Weather
from tacc_sync.outside.globus.interface import (
    Accepted,
    Collection,
    Globus,
    NoSuchDirectory,
    Order,
    RemoteEntry,
    TaskEvent,
    TaskView,
    Transferred,
    UnknownTask,
)

AT_WORK = 3


@dataclass(frozen=True, slots=True)
class Network:
    """`rate`: bytes a second between the sites, for all tasks together. `task_start`: seconds until a task moves its
    first byte. `per_file`: seconds of the whole network that each file costs besides. `verification`: seconds from a
    task's last byte to its end. `release`: seconds from then until the service's answers tell it."""

    rate: float
    task_start: float = 5.0
    per_file: float = 0.0
    verification: float = 20.0
    release: float = 0.0


@dataclass(slots=True, eq=False)
class _Task:
    task_id: str
    order: Order | None
    label: str
    size: int
    copies: list[Copy]
    requested: float
    left: float
    stops_at: float
    state: str = "queued"
    told: str = "ACTIVE"
    completed: float | None = None
    delivered: int = 0
    records: list[Transferred] = field(default_factory=list)


class Service:
    """All tasks, and the network between the sites."""

    def __init__(self, kernel: Kernel, network: Network, weather: Weather, buffer: MemoryDisk) -> None:
        self.kernel, self.network, self.weather, self._buffer = kernel, network, weather, buffer
        self.tasks: dict[str, _Task] = {}
        self.by_submission: dict[str, str] = {}
        self.by_label: dict[str, list[str]] = {}
        self._queue: list[_Task] = []
        self._at_work: list[_Task] = []
        self._moving: list[_Task] = []
        self._since = 0.0
        self._generation = 0
        self.number = 0
        self.busy = 0.0
        self.moved_bytes = 0.0
        # Called when the answers about a task have changed.
        self.told: Callable[[], None] = lambda: None

    @property
    def busy_until_now(self) -> float:
        """Seconds in which the network has moved something."""
        return self.busy + (self.weather.up(self._since, self.kernel.now) if self._moving else 0.0)

    def submit(self, order: Order) -> _Task:
        """Take a task."""
        root = self._buffer.root + "/"
        copies = [self._copy(item.source.removeprefix(root)) for item in order.items]
        size = sum(copy.size for copy in copies)
        self.number += 1
        left = size + len(copies) * self.network.per_file * self.network.rate
        # A task that breaks off does so half-way.
        stops_at = left / 2 if self.weather.task_fails() else 0.0
        task = _Task(f"task-{self.number}", order, order.label, size, copies, self.kernel.now, left, stops_at)
        self.tasks[task.task_id] = task
        self.by_submission[order.submission_id] = task.task_id
        self.by_label.setdefault(order.label, []).append(task.task_id)
        self._queue.append(task)
        self._begin_next()
        return task

    def _copy(self, path: str) -> Copy:
        directory, _, name = path.rpartition("/")
        content = self._buffer.entry(directory, name)
        assert isinstance(content, Copy), path
        return content

    def _begin_next(self) -> None:
        while self._queue and len(self._at_work) < AT_WORK:
            task = self._queue.pop(0)
            self._at_work.append(task)
            task.state = "starting"
            self.kernel.at(self.kernel.now + self.network.task_start, lambda task=task: self._start(task))  # type: ignore[misc]

    def _start(self, task: _Task) -> None:
        self._advance()
        task.state = "moving"
        self._moving.append(task)
        self._plan()

    def _advance(self) -> None:
        """What has moved since the last time that anything changed."""
        now = self.kernel.now
        if self._moving:
            seconds = self.weather.up(self._since, now)
            share = seconds * self.network.rate / len(self._moving)
            for task in self._moving:
                task.left -= share
            self.busy += seconds
        self._since = now

    def _plan(self) -> None:
        """When the next of the moving tasks has moved everything."""
        self._generation += 1
        if not self._moving:
            return
        generation = self._generation
        soonest = min(max(0.0, task.left - task.stops_at) for task in self._moving)
        seconds = soonest * len(self._moving) / self.network.rate
        when = self.weather.add_up_time(self.kernel.now, seconds)
        self.kernel.at(when, lambda: self._moved(generation))

    def _moved(self, generation: int) -> None:
        if generation != self._generation:
            return
        self._advance()
        for task in [task for task in self._moving if task.left - task.stops_at <= 1.0]:
            self._moving.remove(task)
            task.state = "verifying"
            self.kernel.at(self.kernel.now + self.network.verification, lambda task=task: self._end(task))  # type: ignore[misc]
        self._plan()

    def _end(self, task: _Task) -> None:
        self._at_work.remove(task)
        self._begin_next()
        items = task.order.items if task.order else ()
        whole = len(items) if not task.stops_at else len(items) // 2
        for item, copy in zip(items[:whole], task.copies, strict=False):
            hashed = declared(copy.of, "md5")
            task.records.append(Transferred(item.source, item.destination, copy.size, hashed, "md5"))
            self.moved_bytes += copy.size
        task.delivered = whole
        if self.network.release > 0:
            self.kernel.at(self.kernel.now + self.network.release, lambda: self._tell(task))
        else:
            self._tell(task)

    def _tell(self, task: _Task) -> None:
        task.state = "ended"
        task.told = "FAILED" if task.stops_at else "SUCCEEDED"
        task.completed = self.kernel.now
        self.told()

    def progress(self, task: _Task) -> int:
        """Bytes that a task at work has moved by now."""
        if task.state in {"queued", "starting"}:
            return 0
        left = task.left
        if task.state == "moving":
            left -= self.weather.up(self._since, self.kernel.now) * self.network.rate / len(self._moving)
        work = task.size + len(task.copies) * self.network.per_file * self.network.rate
        return round(task.size * (1 - max(0.0, left) / work)) if work else task.size

    def forget(self, task: _Task) -> None:
        """Its records have been read: a campaign has too many to keep."""
        task.order, task.copies, task.records = None, [], []


class SimGlobus:
    """The service, as a component sees it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def new_submission_id(self) -> str:
        return f"submission-{self._service.number}-{len(self._service.by_submission)}"

    def submit(self, order: Order) -> Accepted:
        known = self._service.by_submission.get(order.submission_id)
        if known is not None:
            return Accepted(known, duplicate=True)
        return Accepted(self._service.submit(order).task_id, duplicate=False)

    def task(self, task_id: str) -> TaskView:
        return self._view(self._known(task_id))

    def tasks_labelled(self, label: str) -> list[TaskView]:
        service = self._service
        return [self._view(service.tasks[task]) for task in reversed(service.by_label.get(label, ()))]

    def cancel(self, task_id: str) -> None:
        self._known(task_id)
        raise NotImplementedError("no simulated task gives a reason to cancel it")

    def transferred(self, task_id: str) -> Iterator[Transferred]:
        task = self._known(task_id)
        records = task.records
        self._service.forget(task)
        return iter(records)

    def events(self, task_id: str, limit: int = 20) -> list[TaskEvent]:  # noqa: ARG002
        self._known(task_id)
        return []

    def listing(self, collection: str, path: str) -> list[RemoteEntry]:  # noqa: ARG002
        # Nothing of the request is at the destination before.
        raise NoSuchDirectory

    def entries(self, collection: str, path: str) -> Iterator[RemoteEntry]:
        return iter(self.listing(collection, path))

    def collection(self, collection_id: str) -> Collection:
        return Collection(collection_id, "simulated", "GCSv5_mapped_collection", False, False, False)

    def whoami(self) -> str:
        return "a simulation"

    def _known(self, task_id: str) -> _Task:
        found = self._service.tasks.get(task_id)
        if found is None:
            raise UnknownTask
        return found

    def _view(self, task: _Task) -> TaskView:
        active = task.told == "ACTIVE"
        nice = ("QUEUED" if task.state == "queued" else "OK") if active else None
        return TaskView(
            task_id=task.task_id,
            label=task.label,
            status=task.told,  # type: ignore[arg-type]
            nice_status=nice,
            nice_status_text="",
            is_paused=False,
            faults=0,
            fatal_error="ENDPOINT_ERROR: it broke off (simulated)" if task.told == "FAILED" else "",
            files=len(task.copies),
            files_transferred=task.delivered,
            files_skipped=0,
            bytes_transferred=self._service.progress(task) if active else task.size,
            bytes_checksummed=0,
            requested_at=EPOCH + task.requested,
            completed_at=EPOCH + task.completed if task.completed is not None else None,
            deadline=None,
            canceled_by_admin="",
            history_deleted=False,
        )


_GLOBUS: type[Globus] = SimGlobus

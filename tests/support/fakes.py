"""Fakes of the neighbours for tests in one process: an archive and a transfer service over plain dictionaries and directories.

They keep to the interfaces and can be told to misbehave. They are named, shared, and held to the same contract tests as the
real edges, so that they cannot drift.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
from tacc_sync.outside.host.interface import ProcessIdentity
from tacc_sync.outside.hpss.interface import ArchiveHash, Fetched, ListedFile, Listing, Refused, Session
from tacc_sync.rules.faults import WorldFault


class FakeBell:
    def __init__(self):
        self.event = threading.Event()

    def ring(self):
        self.event.set()


class FakeClock:
    """Time that moves only when somebody waits (or a test says so)."""

    def __init__(self, now=1_800_000_000.0):
        self.time = now
        self.booted = now - 1000.0

    def now(self):
        return self.time

    def uptime(self):
        return self.time - self.booted

    def effort(self):
        return 0.0

    def sleep(self, seconds):
        self.time += seconds

    def bell(self):
        return FakeBell()

    def wait(self, bell, seconds):
        rung = bell.event.is_set()
        bell.event.clear()
        if not rung:
            self.time += seconds
        return rung


class FakeHost:
    """A host with processes that a test declares dead."""

    def __init__(self, name="dtn01", pid=100, boot="boot-1"):
        self.name, self.pid, self.boot = name, pid, boot
        self.dead: set[int] = set()
        self.tokens = itertools.count(1)

    def identity(self):
        return ProcessIdentity(self.name, self.boot, "4026531836", self.pid, 12345, "")

    def is_certainly_dead(self, other):
        ours = self.identity()
        if (other.host, other.boot_id, other.pid_namespace) != (ours.host, ours.boot_id, ours.pid_namespace):
            return False
        return other.pid in self.dead or other.started != ours.started

    def token(self):
        return hashlib.sha256(f"{self.name}-{self.pid}-{next(self.tokens)}".encode()).hexdigest()[:8]

    def new_uuid(self):
        h = hashlib.sha256(f"uuid-{self.name}-{self.pid}-{next(self.tokens)}".encode()).hexdigest()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"

    def file_system(self, path):
        return "fake"


@dataclass
class Archived:
    """A file on tape."""

    content: bytes
    volumes: tuple[str, ...] = ("AA0001",)
    section: int = 0
    offset: int = 0
    hash: str | None = "md5"
    written: str = "2021-03-01T11:15:47"


@dataclass
class FakeHpss:
    files: dict[str, Archived] = field(default_factory=dict)
    strange: list[Refused] = field(default_factory=list)
    fault: Exception | None = None
    # path -> what get leaves behind: bytes instead of the content, None for nothing
    damage: dict[str, bytes | None] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    get_lines: bool = True
    trouble: tuple[str, str] | None = None
    trouble_after: int = 0
    sessions: list[list[str]] = field(default_factory=list)
    in_use: set[str] = field(default_factory=set)
    contention: list[str] = field(default_factory=list)
    # How often somebody said that its sessions are wanted.
    pulses: int = 0
    on_get: Callable[[list[str]], None] = lambda _paths: None
    lists_cut_off: bool = False

    def pulse(self):
        self.pulses += 1

    def check_up(self):
        if self.fault:
            raise self.fault

    def _listed(self, path):
        a = self.files[path]
        return ListedFile(path, len(a.content), a.section, a.offset, a.volumes, a.written)

    def list_trees(self, roots, checkpoint=None):
        self.check_up()
        if self.lists_cut_off:
            raise WorldFault("HPSS-LISTING-BROKEN", "the listing broke off")
        listing = Listing(refused=list(self.strange))
        for root in roots:
            found = [p for p in self.files if p == root or p.startswith(root.rstrip("/") + "/")]
            if not found:
                listing.refused.append(Refused(root, "missing", "No such file or directory"))
            listing.files.extend(self._listed(p) for p in found)
        return listing

    def list_files(self, paths):
        self.check_up()
        listing = Listing()
        for path in paths:
            if path in self.files:
                listing.files.append(self._listed(path))
            elif any(other.startswith(path.rstrip("/") + "/") for other in self.files):
                listing.refused.append(Refused(path, "not-a-file", "is a directory"))
            else:
                listing.refused.append(Refused(path, "missing", "No such file or directory"))
        return listing

    def hashes(self, paths):
        self.check_up()
        found = {}
        for path in paths:
            if path not in self.files:
                continue
            kind = self.files[path].hash
            found[path] = ArchiveHash(kind, hashlib.new(kind, self.files[path].content).hexdigest()) if kind else None
        return found

    def get(self, fetches, *, session_name, may_go_on=lambda: True, on_fetched=lambda _i: None, on_last=lambda: None):
        self.check_up()
        tapes = {v[:6] for f in fetches if f.hpss_path in self.files for v in self.files[f.hpss_path].volumes}
        self.contention += sorted(tapes & self.in_use)
        self.in_use |= tapes
        self.sessions.append([f.hpss_path for f in fetches])
        self.on_get([f.hpss_path for f in fetches])
        fetched, status = [], 0
        for n, fetch in enumerate(fetches):
            if not may_go_on():
                fetched += [Fetched(None, "") for _ in fetches[n:]]
                self.trouble, status = ("STOPPED", "we were told not to go on"), 75
                break
            if self.trouble and n >= self.trouble_after:
                fetched.append(Fetched(None, ""))
                status = 75
                continue
            error = self.errors.get(fetch.hpss_path, "")
            if fetch.hpss_path not in self.files:
                error = "get: HPSS_ENOENT: No such file or directory"
            elif not Path(fetch.local_path).parent.is_dir():
                error = "get: opening local file: No such file or directory"
            if error:
                fetched.append(Fetched(None, error))
                status = 64
                continue
            content = self.damage.get(fetch.hpss_path, self.files[fetch.hpss_path].content)
            if content is not None:
                Path(fetch.local_path).write_bytes(content)
            if n == len(fetches) - 1:
                on_last()
            fetched.append(Fetched(len(content) if content is not None and self.get_lines else None, ""))
            on_fetched(n)
        self.in_use -= tapes
        trouble, self.trouble = self.trouble, None
        return Session(fetched, status, trouble, [])


@dataclass
class FakeTask:
    order: Order
    view: TaskView
    records: list[Transferred]


class FakeGlobus:
    """Copies from `source_root` to `destination_root` when a task is looked at for the `slow`-th time."""

    def __init__(self, source_root, destination_root, *, clock=None, slow=0):
        self.source_root, self.destination_root = Path(source_root), Path(destination_root)
        self.tasks: dict[str, FakeTask] = {}
        self.by_submission: dict[str, str] = {}
        self.fault: Exception | None = None
        self.lose_reply = 0
        self.slow = slow
        self.looks: dict[str, int] = {}
        self.clock = clock or FakeClock()
        self.ids = itertools.count(1)
        self.leave_out: set[str] = set()
        self.damage: dict[str, bytes] = {}
        self.records_as: Callable[[Transferred], Transferred | None] = lambda record: record
        self.fate = "SUCCEEDED"
        self.unsupported: set[str] = set()
        self.nice_status: str | None = None
        self.submits = 0
        self.most_at_work = 0

    def new_submission_id(self):
        self._check()
        return f"submission-{next(self.ids)}"

    def _check(self):
        if self.fault:
            raise self.fault

    def submit(self, order):
        self._check()
        self.submits += 1
        if order.submission_id in self.by_submission:
            return Accepted(self.by_submission[order.submission_id], duplicate=True)
        paths = {(i.source, i.destination) for i in order.items}
        for task in self.tasks.values():
            if task.view.status == "ACTIVE" and paths & {(i.source, i.destination) for i in task.order.items}:
                raise IdenticalPaths
        task_id = f"task-{next(self.ids)}"
        view = TaskView(
            task_id, order.label, "ACTIVE", "OK", "", False, 0, "", len(order.items), 0, 0, 0, 0,
            self.clock.now(), None, None, "", False,
        )  # fmt: skip
        self.tasks[task_id] = FakeTask(order, view, [])
        self.by_submission[order.submission_id] = task_id
        live = [t for t in self.tasks.values() if t.view.status == "ACTIVE"]
        self.most_at_work = max(self.most_at_work, len(live))
        if self.lose_reply:
            self.lose_reply -= 1
            raise WorldFault("GLOBUS-AWAY", "the connection broke after the request was sent")
        return Accepted(task_id, duplicate=False)

    def _replace(self, task, **changes):
        from dataclasses import replace

        task.view = replace(task.view, **changes)

    def task(self, task_id):
        self._check()
        if task_id not in self.tasks:
            raise UnknownTask
        task = self.tasks[task_id]
        self.looks[task_id] = self.looks.get(task_id, 0) + 1
        if task.view.status == "ACTIVE":
            if self.nice_status:
                self._replace(task, nice_status=self.nice_status, faults=task.view.faults + 1)
            elif self.looks[task_id] > self.slow:
                self._finish(task)
        return task.view

    def _finish(self, task, fate=None):
        for item in task.order.items:
            if item.source in self.leave_out:
                continue
            source = self.source_root / item.source.lstrip("/")
            target = self.destination_root / item.destination.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = self.damage.get(item.source, source.read_bytes())
            target.write_bytes(content)
            os.utime(target, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
            algorithm = item.algorithm or "md5"
            checksum = hashlib.new(algorithm, content).hexdigest()
            if algorithm in self.unsupported or (item.checksum and item.checksum != checksum):
                fate = "FAILED"
                continue
            record = Transferred(item.source, item.destination, len(content), checksum, algorithm)
            record = self.records_as(record)
            if record:
                task.records.append(record)
        self._replace(
            task, status=fate or self.fate, nice_status=None, completed_at=self.clock.now(),
            fatal_error="" if (fate or self.fate) == "SUCCEEDED" else "ENDPOINT_ERROR: it broke",
        )  # fmt: skip

    def tasks_labelled(self, label):
        self._check()
        return [t.view for t in reversed(self.tasks.values()) if t.view.label == label]

    def cancel(self, task_id):
        self._check()
        if task_id not in self.tasks:
            raise UnknownTask
        if self.tasks[task_id].view.status == "ACTIVE":
            self._replace(
                self.tasks[task_id], status="FAILED", nice_status=None, fatal_error="CANCELED: by the user",
                completed_at=self.clock.now(),
            )  # fmt: skip

    def transferred(self, task_id) -> Iterator[Transferred]:
        self._check()
        # At once, not only when the first record is asked for.
        if task_id not in self.tasks:
            raise UnknownTask
        return iter(self.tasks[task_id].records)

    def events(self, task_id, limit=20) -> list[TaskEvent]:
        if task_id not in self.tasks:
            raise UnknownTask
        return []

    def listing(self, collection, path) -> list[RemoteEntry]:
        root = {"source": self.source_root, "destination": self.destination_root}[collection]
        directory = root / path.lstrip("/")
        if not directory.is_dir():
            raise NoSuchDirectory(path)
        return [
            RemoteEntry(e.name, "dir" if e.is_dir() else "file", e.stat().st_size, e.stat().st_mtime)
            for e in directory.iterdir()
        ]

    def entries(self, collection, path) -> Iterator[RemoteEntry]:
        yield from self.listing(collection, path)

    def collection(self, collection_id) -> Collection:
        return Collection(collection_id, collection_id, "GCSv5_mapped_collection", False, False, False)

    def whoami(self):
        return "fake"

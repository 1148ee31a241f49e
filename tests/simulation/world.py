"""A world in one process: two file systems, an archive, a transfer service, hosts with processes, and one time.

The components, the workspace and the rules are the real ones; only the edges are these. All state is plain data, so that a
world can be copied at any moment (`World.clone`) and two futures tried from it. Every call of a process through an edge
passes `World.boundary`, where a search may kill the process, let another one run, or make the call fail.
"""

from __future__ import annotations

import copy
import errno
import random
import re
from collections import Counter
from dataclasses import dataclass, field, replace

from sim_disk import FALSE_ERROR, File, Fs, SimDisk, hash_of

from tacc_sync.outside.globus.interface import (
    Accepted,
    Collection,
    IdenticalPaths,
    NoSuchDirectory,
    RemoteEntry,
    TaskView,
    Transferred,
    UnknownTask,
)
from tacc_sync.outside.host.interface import ProcessIdentity
from tacc_sync.outside.hpss.interface import ArchiveHash, Fetched, ListedFile, Listing, Refused, Session
from tacc_sync.rules import liveness
from tacc_sync.rules.faults import OperatorFault, WorldFault
from tacc_sync.rules.identity import cartridge_label
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout

EPOCH = 1_800_000_000.0
# A call that was on the wire when its process was fenced lands within this time; less than the grace.
WIRE = 600.0

NAMESPACE, STARTED = "4026531836", 12345

SOURCE = "/home/projects/demo"
DESTINATION = "/ranch/demo"


def again(number):
    """Where another request for the same files brings them."""
    return f"{DESTINATION}/again{number}"


def origin(destination):
    """What of the archive belongs to a path at the destination."""
    return _DESTINATION.sub(SOURCE + "/", destination, count=1)


_DESTINATION = re.compile(rf"^{DESTINATION}/(again\d+/)?")


class Killed(BaseException):
    """This process has ended. Every further call of it raises this again, so that no `finally` helps it."""


class Violation(BaseException):
    """A law is broken. No `Exception`, so that no component can take it for an error of its own."""


# --- hosts, processes, time ------------------------------------------------------------------------------------------


@dataclass
class HostState:
    name: str
    boot: str = "boot-1"
    booted: float = -1000.0
    offset: float = 0.0
    alive: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Process:
    """`pulse`: when its heartbeats last said that it lives, as the leash of its hsi sees it. `shift`: its workers that
    take turns, see crew.py. `refused`: how often its hsi was not let in since somebody has last logged in by hand."""

    host: str
    pid: int
    alive: bool = True
    wake: float = 0.0
    pulse: float = 0.0
    flight: object = None
    greenlet: object = None
    shift: object = None
    refused: int = 0
    homes: list = field(default_factory=list)


class SimClock:
    def __init__(self, world, process):
        self.world, self.process = world, process
        self._host = world.hosts[process.host]

    def now(self):
        return EPOCH + self.world.time + self._host.offset

    def uptime(self):
        return self.world.time - self._host.booted

    def effort(self):
        return 0.0

    def sleep(self, seconds):
        self.world.sleep(self.process, seconds)

    def bell(self):
        raise NotImplementedError

    def wait(self, bell, seconds):
        raise NotImplementedError


class SimHost:
    def __init__(self, world, process):
        self.world, self.process = world, process

    def identity(self):
        host = self.world.hosts[self.process.host]
        return ProcessIdentity(host.name, host.boot, NAMESPACE, self.process.pid, STARTED, "")

    def is_certainly_dead(self, other):
        host = self.world.hosts[self.process.host]
        if (other.host, other.boot_id, other.pid_namespace) != (host.name, host.boot, NAMESPACE):
            return False
        # Numbers of processes are given again: it is the start that tells.
        return other.pid not in host.alive or other.started != STARTED

    def token(self):
        return f"{self.world.number() * 2654435761 % 2**32:08x}"

    def new_uuid(self):
        h = f"{self.world.number() * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"

    def file_system(self, path):
        return "sim"


# --- the archive -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archived:
    content: bytes
    volumes: tuple[str, ...] = ("AA0001",)
    section: int = 0
    hash: str | None = "md5"


NOTHING = Archived(b"", ())
# Seconds for which hsi is looked at while no byte moves.
HANGING = 400.0


@dataclass(eq=False)
class HsiSession:
    """An hsi at work. It writes what it was told to, whether or not anybody still waits for it."""

    unit: str
    process: Process
    fetches: list
    cartridges: frozenset
    fetched: list = field(default_factory=list)
    node: File | None = None
    alive: bool = True
    trouble: tuple[str, str] | None = None
    written: int = 0

    @property
    def is_at_last_file(self):
        left = len(self.fetches) - len(self.fetched)
        return left == 0 or (left == 1 and bool(self.fetched or self.written))

    def waits_for(self, hpss):
        """The session that has a cartridge of ours in its drive: the archive serves one after the other."""
        for other in hpss.sessions:
            if other is self:
                return None
            if other.alive and not other.cartridges.isdisjoint(self.cartridges):
                return other
        return None

    def ends_here(self, code, text):
        """It breaks off, without another word about any of its files."""
        self.trouble = code, text
        self.fetched += [Fetched(None, "") for _ in self.fetches[len(self.fetched) :]]
        return True

    def step(self, world):
        """Go on by one step; False when the session has ended."""
        hpss = world.hpss
        if not self.alive:
            return False
        if (before := self.waits_for(hpss)) is not None:
            # Which goes on by itself, whether or not its worker looks.
            before.step(world)
            return True
        if len(self.fetched) == len(self.fetches):
            self.alive = False
            return False
        fetch = self.fetches[len(self.fetched)]
        archived = hpss.now(fetch.hpss_path)
        if archived is None:
            self.fetched.append(Fetched(None, "get: HPSS_ENOENT: No such file or directory (simulated)"))
            self.node, self.written = None, 0
            return True
        if self.node is None:
            habit = hpss.habit(fetch.hpss_path)
            if habit == "error":
                self.fetched.append(Fetched(None, "get: Error -5 on transfer (simulated)"))
                return True
            if habit == "nothing":
                self.fetched.append(Fetched(None, ""))
                return True
            if habit == "breaks":
                return self.ends_here("HPSS-AWAY", "the connection broke (simulated)")
            if habit == "breaks off":
                # Without any word about a file, as when the connection is cut by a firewall.
                return self.ends_here("HPSS-SESSION-BROKEN", "it ended early (simulated)")
            if habit == "login lost":
                hpss.login_lost = True
                # At its last file another one may have its place already, and is to find out by itself.
                self.process.refused += not self.is_at_last_file
                return self.ends_here("HPSS-UNAUTHENTICATED", "the login has expired (simulated)")
            path = fetch.local_path.removeprefix(world.buffer_root + "/")
            try:
                directory, name = world.buffer.parent(path)
                found = directory.entries.get(name)
                self.node = found if type(found) is File else world.buffer.create(directory, name, path)
            except OSError as error:
                self.fetched.append(Fetched(None, f"get: {error.strerror}"))
                return True
            self.habit = habit
            return True
        content = archived.content
        if self.habit == "hangs":
            # Half of the file is there, and no byte moves any more, until our edge loses its patience.
            world.buffer.write(self.node, content[: len(content) // 2])
            if not self.process.alive:
                return False
            world.sleep(self.process, HANGING)
            return self.ends_here("HPSS-HANGING", "no byte had moved (simulated)")
        if self.written == 0 and len(content) > 1:
            self.written = len(content) // 2
            early = content[: self.written]
            # Tried twice, or in another order than from the first byte to the last.
            world.buffer.write(self.node, bytes(255 - b for b in early) if self.habit == "other first" else early)
            return True
        hole = False
        if self.habit == "short":
            content = content[: len(content) // 2]
        elif self.habit == "zeros":
            content, hole = bytes(len(content)), True
        elif self.habit == "wrong":
            content = bytes(255 - byte for byte in content)
        world.buffer.write(self.node, content, hole=hole)
        reported = None if self.habit == "silent" else len(archived.content)
        hpss.recalled[fetch.hpss_path] += 1
        self.fetched.append(Fetched(reported, ""))
        self.node, self.written = None, 0
        return True

    habit: str = ""


class HpssState:
    def __init__(self, files):
        # What the listing told, or will tell: the truth by which a copy is judged.
        self.files: dict[str, Archived] = files
        # What has become of some of them since: another content, or None, when they are gone.
        self.since: dict[str, Archived | None] = {}
        self.sessions: list[HsiSession] = []
        self.away_until = 0.0
        # What goes wrong with the next gets of a path, first to last; "" is a good one.
        self.habits: dict[str, list[str]] = {}
        self.lists_cut_off = 0
        # How often hsi has brought a path whole.
        self.recalled: Counter[str] = Counter()
        # Until then all sessions are taken; and of so many none is let in, 0: of any number.
        self.full_until = 0.0
        self.limit = 0
        # A person has to log in again, and then takes us off hold.
        self.login_lost = False
        # How many sessions have begun while another one read its last file from their cartridge.
        self.handed_over = 0

    def now(self, path):
        return self.since[path] if path in self.since else self.files.get(path)

    def content(self, path, size):
        """What a file of this path has held when it had this size."""
        for archived in (self.files.get(path), self.since.get(path)):
            if archived is not None and len(archived.content) == size:
                return archived.content
        return None

    def habit(self, path):
        todo = self.habits.get(path)
        return todo.pop(0) if todo else ""


class SimHpss:
    def __init__(self, world, process):
        self.world, self.process = world, process

    def _up(self, what):
        self.world.boundary(self.process, "hpss", what)
        if self.world.time < self.world.hpss.away_until:
            raise WorldFault("HPSS-AWAY", "HPSS is down (simulated)")
        if what == "check_up":
            return
        if self.world.time < self.world.hpss.full_until:
            raise WorldFault("HPSS-SESSIONS", "too many sessions (simulated)")
        if self.world.hpss.login_lost:
            if what == "get":
                self._was_refused()
            raise OperatorFault("HPSS-UNAUTHENTICATED", "the login has expired (simulated)", "log in")

    def _was_refused(self):
        # Those that were at work already may find out by themselves; nobody else is to try.
        world, process = self.world, self.process
        process.refused += 1
        if process.refused > world.sessions_at_once and world.can_hold:
            raise Violation(f"a login that was lost is tried again: {process.refused} times by one process")

    def check_up(self):
        self._up("check_up")

    def _listed(self, path):
        archived = self.world.hpss.now(path)
        return ListedFile(path, len(archived.content), archived.section, 0, archived.volumes, "2021-03-01T11:15:47")

    def _paths(self):
        hpss = self.world.hpss
        return [path for path in hpss.files if hpss.now(path) is not None]

    def list_trees(self, roots, checkpoint=None):
        self._up("list_trees")
        hpss = self.world.hpss
        if hpss.lists_cut_off:
            hpss.lists_cut_off -= 1
            raise WorldFault("HPSS-LISTING-BROKEN", "the listing broke off (simulated)")
        listing = Listing()
        for root in roots:
            found = [path for path in self._paths() if path == root or path.startswith(root.rstrip("/") + "/")]
            if not found:
                listing.refused.append(Refused(root, "missing", "No such file or directory"))
            listing.files.extend(self._listed(path) for path in found)
        return listing

    def list_files(self, paths):
        self._up("list_files")
        listing, known = Listing(), self._paths()
        for path in paths:
            if path in known:
                listing.files.append(self._listed(path))
            elif any(other.startswith(path.rstrip("/") + "/") for other in known):
                listing.refused.append(Refused(path, "not-a-file", "is a directory"))
            else:
                listing.refused.append(Refused(path, "missing", "No such file or directory"))
        return listing

    def hashes(self, paths):
        self._up("hashes")
        found = {}
        for path in paths:
            archived = self.world.hpss.now(path)
            if archived is None:
                continue
            found[path] = (
                ArchiveHash(archived.hash, hash_of(archived.hash, archived.content)) if archived.hash else None
            )
        return found

    def _must_die(self):
        # The watchdog of `run` looks once a second and does not need the disk; a log-in at HPSS takes longer than that.
        world = self.world
        section = world.settings.lease
        lease = liveness.Lease(section.beat, section.lease, section.grace, section.turn)
        if liveness.must_die(self.process.pulse, world.time, lease):
            world.end(self.process)
            raise Killed

    def get(
        self, fetches, *, session_name, may_go_on=lambda: True, on_fetched=lambda _index: None, on_last=lambda: None
    ):
        self._up("get")
        self._must_die()
        world = self.world
        cartridges = frozenset(
            cartridge_label(volume)
            for fetch in fetches
            for volume in (world.hpss.now(fetch.hpss_path) or NOTHING).volumes
        )
        session = HsiSession(session_name, self.process, list(fetches), cartridges)
        world.hpss.sessions = [other for other in world.hpss.sessions if other.alive]
        if world.hpss.limit and len(world.hpss.sessions) >= world.hpss.limit:
            raise WorldFault("HPSS-SESSIONS", "too many sessions (simulated)")
        # Whoever may not go on is stopped within a second too, before hsi has logged in; and so is who was asleep when he
        # was asked, for he reads what has arrived then.
        session.alive = may_go_on()
        self._must_die()
        world.hpss.sessions.append(session)
        world.hpss.handed_over += session.alive and session.waits_for(world.hpss) is not None
        world.changed()
        status, told, over = 0, False, 0
        while True:
            # Not a call of ours: hsi goes on by itself, and we wait for its end.
            world.boundary(self.process, "hsi", session_name)
            self._must_die()
            if not may_go_on():
                session.alive = False
                session.trouble = ("STOPPED", "stopped by its worker")
                session.fetched += [Fetched(None, "") for _ in fetches[len(session.fetched) :]]
                status = 75
                break
            if not session.step(world):
                break
            world.changed()
            while over < len(session.fetched):
                over += 1
                on_fetched(over - 1)
            if not told and session.trouble is None and session.is_at_last_file:
                told = True
                on_last()
            world.sleep(self.process, 5.0)
        if len(session.fetched) < len(fetches):
            # Its lifeline was cut while we slept.
            session.trouble = session.trouble or ("STOPPED", "killed by its leash")
            session.fetched += [Fetched(None, "") for _ in fetches[len(session.fetched) :]]
        return Session(session.fetched, status, session.trouble, [])


# --- the transfer service --------------------------------------------------------------------------------------------


@dataclass(eq=False)
class SimTask:
    task_id: str
    order: object
    submitted: float
    fate: str
    status: str = "ACTIVE"
    nice: str = "OK"
    faults: int = 0
    fatal: str = ""
    next_at: float | None = None
    item: int = 0
    records: list = field(default_factory=list)
    completed: float | None = None
    forgotten: bool = False
    # Waits for a person (its login has expired, an administrator has paused it); once.
    halted: bool = False
    was_halted: bool = False
    by_admin: str = ""


FOREIGN = "somebody else's"
HALTING = ("inactive", "paused")
# Seconds until somebody has renewed a login, unpaused a task, or ended a task that was not ours.
HALTED = 3000.0


class GlobusState:
    at_once = 3
    seconds = 4.0

    def __init__(self):
        self.tasks: dict[str, SimTask] = {}
        self.by_submission: dict[str, str] = {}
        self.destination: dict[str, bytes] = {}
        # What becomes of the next tasks, first to last; "" is a good one.
        self.fates: list[str] = []
        self.away_until = 0.0
        # Until then our login has expired.
        self.login_until = 0.0
        # What the next submits meet, first to last.
        self.refusals: list[str] = []
        self.pending_cap = 100
        self.submits = 0
        self.version = 0

    def live(self):
        return [task for task in self.tasks.values() if task.status in {"ACTIVE", "INACTIVE"}]

    def advance(self, world):
        """What the service has done by now."""
        while True:
            moved = False
            for task in self.live()[: self.at_once]:
                if task.next_at is None:
                    task.next_at = world.time + self.seconds
                if task.next_at <= world.time:
                    moved = True
                    self._go_on(world, task)
            if not moved:
                return

    def next_event(self):
        return min((task.next_at for task in self.live()[: self.at_once] if task.next_at is not None), default=None)

    def _go_on(self, world, task):
        self.version += 1
        items = task.order.items
        if task.halted:
            task.halted, task.status = False, "ACTIVE"
        elif task.fate in HALTING and not task.was_halted and task.item >= len(items) // 2:
            task.halted = task.was_halted = True
            task.status = "INACTIVE" if task.fate == "inactive" else "ACTIVE"
            task.next_at += HALTED
            return
        if task.fate == "cancelled by an administrator":
            task.by_admin = "SOURCE"
            self.end(world, task, "FAILED", "CANCELED: by an administrator")
            return
        if task.fate == FOREIGN:
            self.end(world, task, "FAILED", "CANCELED: by its owner")
            return
        if task.fate == "fails half-way" and task.item >= len(items) // 2:
            self.end(world, task, "FAILED", "ENDPOINT_ERROR: it broke")
            return
        if task.fate == "cancelled":
            self.end(world, task, "FAILED", "CANCELED: by somebody")
            return
        if task.item < len(items):
            item = items[task.item]
            source = world.buffer.at(item.source.removeprefix(world.buffer_root + "/"))
            if type(source) is not File:
                task.nice, task.faults = "FILE_NOT_FOUND", task.faults + 1
                task.next_at += 60.0
                return
            task.nice = "OK"
            content = source.content
            if task.fate == "garbage" and task.item == 0:
                content = content[::-1] + b"!"
                content = content[: len(source.content)] if len(set(content)) > 1 else bytes(len(source.content))
            if not (task.fate == "skips one" and task.item == 0):
                self.destination[item.destination] = content
                record = Transferred(item.source, item.destination, len(content), hash_of("md5", content), "md5")
                if task.fate == "no checksum":
                    record = replace(record, checksum=None, algorithm=None)
                if task.fate == "wrong size" and task.item == 0:
                    record = replace(record, size=record.size + 1)
                if not (task.fate == "record missing" and task.item == 0):
                    task.records.append(record)
            task.item += 1
            task.next_at += self.seconds
            return
        self.end(world, task, "SUCCEEDED", "")

    def end(self, world, task, status, fatal):
        task.status, task.fatal, task.completed, task.next_at = status, fatal, world.time, None
        if task.fate == "forgotten":
            task.forgotten = True
        if task.fate == "history deleted":
            task.records = []


class SimGlobus:
    def __init__(self, world, process):
        self.world, self.process = world, process

    def _call(self, kind, detail, do):
        world = self.world
        world.boundary(self.process, kind, detail)
        if world.time < world.globus.away_until:
            raise WorldFault("GLOBUS-AWAY", "no answer (simulated)")
        if world.time < world.globus.login_until:
            raise OperatorFault("GLOBUS-CREDENTIALS", "the login has expired (simulated)", "log in again")
        result = do()
        world.changed()
        world.replied(self.process, kind, detail)
        return result

    def new_submission_id(self):
        return self._call("submission_id", "", lambda: f"submission-{self.world.number()}")

    def submit(self, order):
        return self._call("submit", order.label, lambda: self._submit(order))

    def _submit(self, order):
        globus = self.world.globus
        globus.submits += 1
        if order.submission_id in globus.by_submission:
            return Accepted(globus.by_submission[order.submission_id], duplicate=True)
        refusal = globus.refusals.pop(0) if globus.refusals else ""
        if refusal == "429":
            raise WorldFault("GLOBUS-BUSY", "slow down (simulated)", retry_after=77.0)
        if refusal == "pending" or len(globus.live()) >= globus.pending_cap:
            raise WorldFault("GLOBUS-TOO-MANY-PENDING", "too many tasks are pending (simulated)")
        if refusal == "consent":
            raise OperatorFault("GLOBUS-CONSENT", "consent is missing (simulated)", "give it")
        if refusal == "identical":
            other = f"task-{self.world.number()}"
            stranger = replace(order, label=FOREIGN)
            until = self.world.time + HALTED
            globus.tasks[other] = SimTask(other, stranger, self.world.time, FOREIGN, next_at=until)
            globus.version += 1
        pairs = {(item.source, item.destination) for item in order.items}
        for task in globus.live():
            if pairs & {(item.source, item.destination) for item in task.order.items}:
                raise IdenticalPaths
        task_id = f"task-{self.world.number()}"
        fate = globus.fates.pop(0) if globus.fates else ""
        globus.tasks[task_id] = SimTask(task_id, order, self.world.time, fate)
        globus.by_submission[order.submission_id] = task_id
        globus.version += 1
        globus.advance(self.world)
        return Accepted(task_id, duplicate=False)

    def _view(self, task):
        live = self.world.globus.live()
        nice = None
        if task.status == "INACTIVE":
            nice = "CREDENTIALS_EXPIRED"
        elif task.halted:
            nice = "PAUSED_BY_ADMIN"
        elif task.status == "ACTIVE":
            nice = task.nice if task in live[: self.world.globus.at_once] else "QUEUED"
        return TaskView(
            task_id=task.task_id, label=task.order.label, status=task.status, nice_status=nice, nice_status_text="",
            is_paused=task.halted and task.status == "ACTIVE", faults=task.faults, fatal_error=task.fatal, files=len(task.order.items),
            files_transferred=len(task.records), files_skipped=0, bytes_transferred=0, bytes_checksummed=0,
            requested_at=EPOCH + task.submitted, completed_at=None if task.completed is None else EPOCH + task.completed,
            deadline=None, canceled_by_admin=task.by_admin, history_deleted=task.fate == "history deleted" and task.completed is not None,
        )  # fmt: skip

    def _known(self, task_id):
        task = self.world.globus.tasks.get(task_id)
        if task is None or task.forgotten:
            raise UnknownTask(task_id)
        return task

    def task(self, task_id):
        return self._call("task", task_id, lambda: self._view(self._known(task_id)))

    def tasks_labelled(self, label):
        return self._call(
            "tasks",
            label,
            lambda: [self._view(t) for t in reversed(self.world.globus.tasks.values()) if t.order.label == label],
        )

    def cancel(self, task_id):
        def do():
            task = self._known(task_id)
            if task.completed is None:
                self.world.globus.version += 1
                self.world.globus.end(self.world, task, "FAILED", "CANCELED: by the user")

        self._call("cancel", task_id, do)

    def transferred(self, task_id):
        # Raises at once, not only when the first record is asked for.
        records = self._call("records", task_id, lambda: list(self._known(task_id).records))
        return self._pages(task_id, records)

    def _pages(self, task_id, records):
        half = (len(records) + 1) // 2
        yield from records[:half]
        if records[half:]:
            self.world.boundary(self.process, "records2", task_id)
            yield from records[half:]

    def events(self, task_id, limit=20):
        self._call("events", task_id, lambda: self._known(task_id))
        return []

    def listing(self, collection, path):
        return self._call("listing", path, lambda: self._listed(path.rstrip("/") + "/"))

    def entries(self, collection, path):
        yield from self.listing(collection, path)

    def _listed(self, top):
        found = {}
        for path, content in self.world.globus.destination.items():
            if path.startswith(top):
                name, _, below = path.removeprefix(top).partition("/")
                # As on the simulated disk, it is always the beginning of time.
                found[name] = (
                    RemoteEntry(name, "dir", 0, 0.0) if below else RemoteEntry(name, "file", len(content), 0.0)
                )
        if not found:
            raise NoSuchDirectory(top)
        return list(found.values())

    def collection(self, collection_id):
        return Collection(collection_id, collection_id, "GCSv5_mapped_collection", False, False, False)

    def whoami(self):
        return "sim"


# --- all of it -------------------------------------------------------------------------------------------------------


def small_settings(**changes):
    """Leases, rests and units that are small enough to be met within a search."""
    settings = Settings()
    settings.buffer.path = "/buffer"
    settings.buffer.globus_path = "/buffer"
    # Most units have two files.
    settings.buffer.quota = changes.pop("quota", 400)
    settings.globus.source_collection = "source"
    settings.globus.destination_collection = "destination"
    settings.globus.queued = changes.pop("queued", 0 if "tasks" in changes else settings.globus.queued)
    settings.globus.tasks = changes.pop("tasks", 3)
    settings.globus.poll = 20.0
    settings.hsi.sessions = changes.pop("sessions", 1)
    settings.hsi.handover = changes.pop("handover", True)
    settings.units.files = changes.pop("unit_files", 2)
    settings.patience.at_least = 600.0
    settings.patience.attempts = 4
    settings.patience.longest_rest = 1800.0
    settings.run.stand_down = 60.0
    settings.run.settle = 60.0
    for name, value in changes.items():
        setattr(settings.run, name, value)
    return settings


class World:
    buffer_root = "/buffer"

    def __init__(self, files, settings=None, hosts=("a", "b", "c")):
        self.settings = settings or small_settings()
        # What the components are told may be sabotaged; the law is this.
        self.tasks_at_once = self.settings.globus.tasks + self.settings.globus.queued
        self.sessions_at_once, self.hands_over = self.settings.hsi.sessions, self.settings.hsi.handover
        # No disk keeps anybody from noting that a component is on hold.
        self.can_hold = True
        self.time = 0.0
        self.count = 0
        self.most = 10**12
        self.ws, self.buffer = Fs("ws"), Fs("buffer")
        self.hpss, self.globus = HpssState(files), GlobusState()
        self.hosts = {name: HostState(name, booted=-1000.0 * n) for n, name in enumerate(hosts, 1)}
        self.numbers = 0
        self.pids = 100
        self.processes: list[Process] = []
        self.events: list = []
        # (unit, index) whose copy in the buffer the world itself has damaged.
        self.hurt: set[tuple[str, int]] = set()
        self.hook = self.after = self.checker = self.scheduler = None
        self.errors: list[str] = []
        self._prepare()

    def _prepare(self):
        process = self.start("a")
        disk = SimDisk(self, process, self.ws, "/ws")
        layout.init(disk, "workspace-1", b"")
        layout.open_buffer(SimDisk(self, process, self.buffer, self.buffer_root))
        for fs in (self.ws, self.buffer):
            fs.undo.clear()
        self.end(process)
        self.count = 0

    def clone(self):
        other = copy.copy(self)
        memo: dict = {}
        other.ws, other.buffer = self.ws.clone(), self.buffer.clone(memo)
        other.hosts = {name: replace(host, alive=set(host.alive)) for name, host in self.hosts.items()}
        processes = {id(p): replace(p, flight=None, greenlet=None, shift=None, homes=[]) for p in self.processes}
        other.processes = list(processes.values())
        other.hpss = copy.copy(self.hpss)
        other.hpss.since = dict(self.hpss.since)
        other.hpss.recalled = Counter(self.hpss.recalled)
        other.hpss.habits = {path: list(todo) for path, todo in self.hpss.habits.items()}
        other.hpss.sessions = [
            replace(
                session,
                process=processes.get(id(session.process), session.process),
                fetched=list(session.fetched),
                node=memo.get(id(session.node)) or (File() if session.node else None),
            )
            for session in self.hpss.sessions
            if session.alive
        ]
        other.globus = copy.copy(self.globus)
        other.globus.tasks = {key: replace(task, records=list(task.records)) for key, task in self.globus.tasks.items()}
        other.globus.by_submission = dict(self.globus.by_submission)
        other.globus.destination = dict(self.globus.destination)
        other.globus.fates = list(self.globus.fates)
        other.globus.refusals = list(self.globus.refusals)
        other.events, other.errors, other.hurt = list(self.events), list(self.errors), set(self.hurt)
        other.hook = other.after = other.scheduler = None
        return other

    def busy(self, queue):
        """Does anything lie in a unit queue?"""
        return bool(self.ws.directory(f"{queue}_queue").entries)

    # --- names and numbers

    def number(self):
        self.numbers += 1
        return self.numbers

    @property
    def version(self):
        return self.ws.version + self.buffer.version + self.globus.version

    # --- processes

    def start(self, host):
        self.pids += 1
        process = Process(host, self.pids, pulse=self.time)
        self.hosts[host].alive.add(self.pids)
        self.processes.append(process)
        return process

    def end(self, process, *, leash=True):
        """The process is gone; its hsi too, unless its leash fails: then the lifeline's end does it."""
        process.alive = False
        self.hosts[process.host].alive.discard(process.pid)
        if leash:
            for session in self.hpss.sessions:
                if session.process is process:
                    session.alive = False

    def power_loss(self, *, ws=1.0, buffer=1.0, zeros=False):
        """All hosts go down, and the file systems lose what was not on disk."""
        for process in list(self.processes):
            self.end(process)
        for host in self.hosts.values():
            host.boot = f"boot-{self.number()}"
            host.booted = self.time
        self.ws.power_loss(ws, zeros)
        self.buffer.power_loss(buffer, zeros)
        self.changed()

    # --- boundaries

    def boundary(self, process, kind, path):
        self.count += 1
        if not process.alive:
            raise Killed
        if self.count > self.most:
            raise Violation(f"it goes on and on: {self.events[-8:]}")
        if self.hook is not None:
            self.hook(process, kind, path)
            if not process.alive:
                raise Killed

    def landed(self, process, kind, path, flight):
        self.changed()
        if self.after is not None:
            if not process.alive:
                raise Killed
            self.after(process, kind, path, flight)

    def replied(self, process, kind, path):
        if self.after is not None:
            if not process.alive:
                raise Killed
            self.after(process, kind, path, None)

    def changed(self):
        if self.checker is not None:
            self.checker(self)

    # --- time

    def sleep(self, process, seconds):
        self.boundary(process, "sleep", seconds)
        scheduler = process.shift or self.scheduler
        if scheduler is not None:
            scheduler.sleep(process, seconds)
        else:
            self.advance(self.time + seconds)

    def advance(self, until):
        """Time goes on, and the world with it: calls on the wire land, orphans write or end, tasks move."""
        lease = self.settings.lease.lease
        while True:
            events = [until]
            for process in self.processes:
                flight = process.flight
                if flight is not None and not flight.done:
                    events.append(flight.since + WIRE)
            for session in self.hpss.sessions:
                if session.alive:
                    events.append(session.process.pulse + lease / 2)
            due = self.globus.next_event()
            if due is not None:
                events.append(due)
            now = max(self.time, min(events))
            self.time = now
            for process in self.processes:
                flight = process.flight
                if flight is not None and not flight.done and flight.since + WIRE <= now:
                    flight.land()
                    self.changed()
            for session in self.hpss.sessions:
                if session.alive and session.process.pulse + lease / 2 <= now:
                    session.alive = False
            self.let_orphans_write()
            before = self.globus.version
            self.globus.advance(self)
            if self.globus.version != before:
                self.changed()
            if now >= until:
                return

    def let_orphans_write(self, steps=1):
        for session in self.hpss.sessions:
            if session.alive and not session.process.alive:
                for _ in range(steps):
                    if session.step(self):
                        self.changed()

    # --- what components are given

    def report(self, event, /, **about):
        self.events.append((round(self.time, 3), event, about))
        if event == "error_of_ours":
            self.errors.append(about["traceback"])

    def drop(self, name="request.json", **fields):
        """A request in the inbox."""
        import msgspec

        document = {"version": 1, "source": SOURCE, "destination": DESTINATION} | fields
        inbox = self.ws.directory("inbox")
        content = msgspec.json.encode(document)
        inbox.entries[name] = File(content, content)
        self.ws.version += 1

    def lose_reply(self, kind):
        raise FALSE_ERROR[kind]

    def full(self, path, code=errno.ENOSPC):
        raise OSError(code, "simulated", str(path))


def make_files(count=4, tapes=2, seed=1, size=10, joints=0):
    """Files on tapes; some tapes hold files without a hash in the archive. `joints`: so many of the last ones on the first
    tape run over to the second one."""
    rng = random.Random(seed)
    files = {}
    for n in range(count):
        tape = n % tapes
        content = bytes(rng.randrange(256) for _ in range(size + n))
        volumes = ("AA000000", "AA000100") if tape == 0 and n // tapes < joints else (f"AA{tape:04d}00",)
        files[f"{SOURCE}/d{n % 2}/f{n}"] = Archived(
            content, volumes, section=count - n, hash=None if tape == 1 else "md5"
        )
    return files

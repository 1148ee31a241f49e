"""Fence, grace, drain: taking over what a dead worker left, without ever hurting a living one.

Guarantee: a claim goes back to its queue only after its worker can no longer touch it: its home and its directory in
the buffer were renamed away at one stroke each, and whatever it had on the wire has had the grace to land. Any number
of processes may do this at once, and each may die anywhere.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tacc_sync.outside.host.interface import ProcessIdentity
from tacc_sync.rules import documents, liveness
from tacc_sync.rules.documents import BadDocument
from tacc_sync.rules.identity import MEASURING, SUFFIX, is_worker, shortened
from tacc_sync.rules.liveness import Heartbeat, Lease, Seen
from tacc_sync.rules.route import CLAIMABLE, FINISHED, HPSS_QUEUE, INBOX, QUARANTINE
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import HEARTBEAT, STAGING, TEMPORARY, TURN, Home

Report = Callable[[str, str], None]


class Recovery:
    """One observer's eyes on all the other workers."""

    def __init__(self, home: Home, lease: Lease, report: Report) -> None:
        self._home = home
        self._lease = lease
        self._report = report

    def round(self) -> None:
        """Look at every home once: fence who is dead, drain who has been fenced long enough."""
        disk = self._home.disk
        names = disk.names(layout.CLAIMS)
        for name in names:
            try:
                self._consider(name)
            except OSError as error:
                # What cannot be recovered now must not keep the others from being recovered.
                self._report("could_not_recover", f"{name}: {type(error).__name__}: {error}")
        try:
            parts = self._orphaned_parts(set(names))
            self._forget_notes({*names, *(_note_of_part(part) for part in parts)})
        except OSError as error:
            self._report("could_not_recover", f"{layout.PART}: {type(error).__name__}: {error}")

    def fence(self, worker: str) -> str | None:
        """Take all that a worker holds at one stroke; the name of the fenced home, None if another was faster."""
        home = self._home
        # The buffer first: once the claims are taken the drain may begin, and it must find nothing still being written.
        by = home.host.token()
        fenced = f"{layout.DEAD}{worker}~{by}"
        if home.buffer is not None:
            try:
                home.buffer.rename(layout.part(worker), f"{layout.PART}/{fenced}")
            except FileNotFoundError:
                pass
            else:
                home.buffer.sync(layout.PART)
        try:
            # One rename of the directory, not one per claim: afterwards no path that the worker knows exists any more.
            home.disk.rename(layout.home(worker), layout.home(fenced))
        except FileNotFoundError:
            return None
        home.disk.sync(layout.CLAIMS)
        self._report("worker_fenced", worker)
        return fenced

    # --- looking ----------------------------------------------------------------------------------------------

    def _consider(self, name: str) -> None:
        if name.startswith(layout.DEAD):
            self._consider_drain(name)
        elif name.startswith(layout.UNBORN):
            self._consider_unborn(name)
        elif is_worker(name) and name != self._home.name:
            self._consider_fence(name)

    def _heartbeat(self, name: str) -> Heartbeat | None:
        return queues.heartbeat(self._home.disk, name)

    def _certainly_dead(self, beat: Heartbeat | None) -> bool:
        if beat is None:
            return False
        return self._home.host.is_certainly_dead(
            ProcessIdentity(beat.host, beat.boot_id, beat.pid_namespace, beat.pid, beat.started, beat.slurm_job)
        )

    def _silent_for(self, name: str, beat_no: int) -> float:
        """Seconds for which this host has seen no change, remembered in a file: an observer may be short-lived."""
        home = self._home
        who = home.host.identity()
        note = self._note(name)
        try:
            previous = documents.decode_or_none(home.disk.read(note, 65536), Seen)
        except FileNotFoundError:
            previous = None
        uptime = home.clock.uptime()
        seen = liveness.observe(previous, boot_id=who.boot_id, uptime=uptime, beat_no=beat_no)
        if seen != previous:
            home.put(note, documents.encode_any(seen), durable=False)
        return liveness.silent_for(seen, uptime)

    def _note(self, name: str) -> str:
        host = self._home.name.split(".")[1]
        return f"{layout.OBSERVED}/{host}~{name}"

    def _forget_notes(self, names: set[str]) -> None:
        host = self._home.name.split(".")[1]
        for note in self._home.disk.names(layout.OBSERVED):
            of_host, _, name = note.partition("~")
            if of_host == host and name not in names:
                self._home.take_away(f"{layout.OBSERVED}/{note}")

    def _consider_fence(self, worker: str) -> None:
        beat = self._heartbeat(worker)
        if self._certainly_dead(beat):
            fenced = self.fence(worker)
            if fenced:
                self._drain(fenced)
            return
        silent = self._silent_for(worker, beat.beat_no if beat else -1)
        holds_turn = self._home.disk.status(f"{layout.home(worker)}/{TURN}/{layout.TURN}") is not None
        if silent >= (self._lease.turn if holds_turn else self._lease.lease):
            self.fence(worker)

    def _consider_drain(self, fenced: str) -> None:
        if self._certainly_dead(self._heartbeat(fenced)) or self._silent_for(fenced, 0) >= self._lease.grace:
            self._drain(fenced)

    def _consider_unborn(self, name: str) -> None:
        beat = self._heartbeat(name)
        if self._certainly_dead(beat) or self._silent_for(name, -1) >= self._lease.lease:
            # It never had a claim.
            remove_tree(self._home.disk, layout.home(name))

    def _orphaned_parts(self, names: set[str]) -> list[str]:
        """Remove what lies in the buffer for a worker that has long had no home; the names seen."""
        buffer = self._home.buffer
        if buffer is None:
            return []
        parts = buffer.names(layout.PART)
        for name in parts:
            worker = name.removeprefix(layout.DEAD).partition("~")[0]
            known = {n for n in names if worker in n}
            if known or worker == self._home.name:
                continue
            # Its worker left between entering the buffer and the workspace, or a drain was cut off.
            if self._silent_for(_note_of_part(name), 0) >= self._lease.lease + self._lease.grace:
                remove_tree(buffer, f"{layout.PART}/{name}")
        return parts

    # --- giving back ------------------------------------------------------------------------------------------

    def _drain(self, fenced: str) -> None:
        worker = fenced.removeprefix(layout.DEAD).rpartition("~")[0]
        buffer = self._home.buffer
        if buffer is not None:
            # Before the claims: what lies here is not reserved for anybody else.
            for name in buffer.names(layout.PART):
                # Under its own name when somebody without the buffer has fenced a measurement: its room goes with it.
                is_measured = name == worker and any(_rooms(self._home.disk, worker))
                if name.startswith(f"{layout.DEAD}{worker}~") or is_measured:
                    remove_tree(buffer, f"{layout.PART}/{name}")
        elif self._heartbeat_has_part(worker) or any(_rooms(self._home.disk, worker)):
            return
        # First what it had not put into place yet: if its last call is still on the wire, as that of a process that was
        # killed a moment ago may be, it must find nothing here that it could put in the place of a claim that has gone
        # back.
        for name in _names(self._home.disk, layout.home(fenced)):
            if name.endswith(TEMPORARY):
                _ignore_missing(lambda name=name: self._home.disk.unlink(f"{layout.home(fenced)}/{name}"))  # type: ignore[misc]
        give_back(self._home, layout.home(fenced), worker, self._report)
        remove_tree(self._home.disk, layout.home(fenced), last=HEARTBEAT)
        self._report("worker_drained", worker)

    @staticmethod
    def _heartbeat_has_part(worker: str) -> bool:
        # A process without access to the buffer leaves retrievers to one that has it.
        return worker.startswith("retriever.")


def give_back(home: Home, owner_path: str, owner: str, report: Report) -> None:
    """Put everything that is claimed below `owner_path` back where it came from; also for a worker's own home, when
    the world stopped it in the middle of something."""
    disk = home.disk
    # Folders may be missing: whoever removed this home before us was cut off.
    for stem in _names(disk, f"{owner_path}/{STAGING}"):
        _settle_staging(home, owner_path, stem)
    for label in disk.names(layout.CARTRIDGES):
        path = f"{layout.CARTRIDGES}/{label}"
        if _holds(disk, path, owner):
            home.take_away(path)
    for reservation in list(_rooms(disk, owner)):
        home.take_away(reservation)
    for queue in CLAIMABLE:
        for entry in _names(disk, f"{owner_path}/{queue}"):
            # Names in the inbox are strangers' choice: somebody may have dropped another file of this name meanwhile.
            target = unique_entry(entry, home.host.token()) if queue == INBOX else entry
            _rename_if_there(disk, f"{owner_path}/{queue}/{entry}", f"{queue}/{target}")
            report("claim_given_back", f"{queue}/{target}")
        disk.sync(queue)
    _rename_if_there(disk, f"{owner_path}/{TURN}/{layout.TURN}", layout.TURN)
    disk.sync("")


def _holds(disk: Disk, path: str, owner: str) -> bool:
    """Whether something names this worker as its holder."""
    try:
        return queues.read_document(disk, path, 4096).decode("utf-8", "replace") == owner
    except (FileNotFoundError, BadDocument):
        return False


def _rooms(disk: Disk, owner: str) -> Iterator[str]:
    """The reservations that are this worker's own, and not a unit's: those of a measurement."""
    for name in disk.names(layout.RESERVATIONS):
        if f".{MEASURING}." in name and _holds(disk, f"{layout.RESERVATIONS}/{name}", owner):
            yield f"{layout.RESERVATIONS}/{name}"


def publish(home: Home, owner_path: str, stem: str) -> None:
    """Move the units of a committed request from staging to their queues; marks that say more of a unit go first."""
    disk = home.disk
    staging = f"{owner_path}/{STAGING}/{stem}"
    for name in _names(disk, f"{staging}/{QUARANTINE}"):
        if name.endswith(layout.WHY):
            _rename_if_there(disk, f"{staging}/{QUARANTINE}/{name}", f"{layout.quarantine('syncer')}/{name}")
    for folder, target in (
        (layout.LOANS, layout.LOANS),
        (QUARANTINE, layout.quarantine("syncer")),
        (FINISHED, ""),
        (HPSS_QUEUE, HPSS_QUEUE),
    ):
        published = _names(disk, f"{staging}/{folder}")
        for name in published:
            # What needs no tape is finished as soon as it is planned, beside the other units of its request.
            place = target or layout.finished(name.partition(".")[0])
            _rename_if_there(disk, f"{staging}/{folder}/{name}", f"{place}/{name}")
        if target:
            disk.sync(target)
        else:
            for key in {name.partition(".")[0] for name in published}:
                disk.sync(layout.finished(key))
    remove_tree(disk, staging)


def remove_tree(disk: Disk, path: str, last: str = "") -> None:
    """Remove a directory and what lies below it, links unfollowed; content when others do the same at once. `last`
    names an entry that goes after all others."""
    found = disk.status(path)
    if found is not None and found.kind != "directory":
        # A stranger's: one name and no more.
        _ignore_missing(lambda: disk.unlink(path))
        return
    # No recursion: a stranger may have nested directories deeper than Python can.
    emptying = [(path, _last(_names(disk, path), last))]
    while emptying:
        here, names = emptying[-1]
        if not names:
            _ignore_missing(lambda here=here: disk.rmdir(here))  # type: ignore[misc]
            emptying.pop()
            continue
        below = f"{here}/{names.pop()}"
        status = disk.status(below)
        if status is not None and status.kind == "directory":
            emptying.append((below, _last(_names(disk, below), "")))
        else:
            _ignore_missing(lambda below=below: disk.unlink(below))  # type: ignore[misc]


def _last(names: list[str], last: str) -> list[str]:
    """To be taken from the end; `last` comes last."""
    return sorted(names, key=lambda name: name != last)


def _settle_staging(home: Home, owner_path: str, stem: str) -> None:
    # The commit was the rename of the request out of this home. Still here: not committed. Gone: committed.
    if home.disk.status(f"{owner_path}/{INBOX}/{stem}{SUFFIX}") is not None:
        remove_tree(home.disk, f"{owner_path}/{STAGING}/{stem}")
    else:
        publish(home, owner_path, stem)


def _note_of_part(name: str) -> str:
    return f"part~{name}"


def unique_entry(entry: str, token: str) -> str:
    """A name under which a request can go back to inbox, whatever somebody has dropped there meanwhile."""
    stem = shortened(entry.removesuffix(SUFFIX).partition("~")[0])
    return f"{stem}~{token}{SUFFIX}"


def _names(disk: Disk, directory: str) -> list[str]:
    try:
        return disk.names(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _rename_if_there(disk: Disk, old: str, new: str) -> None:
    _ignore_missing(lambda: disk.rename(old, new))


def _ignore_missing(operation: Callable[[], None]) -> None:
    try:
        operation()
    except FileNotFoundError:
        pass

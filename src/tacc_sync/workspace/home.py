"""A worker's home: its heartbeat, its claims, and the primitives by which it changes the workspace.

Guarantee: a worker that was fenced (its home renamed away) cannot change anything any more. Everything it makes
begins as a temporary file in its home, everything it takes away goes through its home, so each of its steps fails
once the home is gone. A content is on disk before its name appears; a move is one rename.
Fails with `Fenced` (stop at once) and `OSError` (see rules/faults.py).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tacc_sync import __version__
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.host.interface import Host
from tacc_sync.rules import documents, identity
from tacc_sync.rules.documents import Request, Work
from tacc_sync.rules.faults import Fenced
from tacc_sync.rules.liveness import Heartbeat
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.route import CLAIMABLE
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk

HEARTBEAT = "heartbeat.json"
STAGING = "staging"
TURN = "turn"
# How the names of files end that are not in their place yet.
TEMPORARY = ".tmp"


class Home:
    """The hands of one worker in one workspace (and in the transfer buffer, when it has one)."""

    def __init__(
        self, disk: Disk, buffer: Disk | None, clock: Clock, host: Host, *, component: str, thread: int = 0
    ) -> None:
        self.disk = disk
        self.buffer = buffer
        self.clock = clock
        self.host = host
        who = host.identity()
        self.name = (
            identity.worker_name(component, who.host, f"{who.pid_namespace}-{who.pid}", who.started, thread)
            + "."
            + host.token()
        )
        self.path = layout.home(self.name)
        self.part = layout.part(self.name)
        self._heartbeat = Heartbeat(
            worker=self.name,
            component=component,
            host=who.host,
            boot_id=who.boot_id,
            pid_namespace=who.pid_namespace,
            pid=who.pid,
            started=who.started,
            slurm_job=who.slurm_job,
            version=__version__,
        )
        # The heartbeat is written by the process's pulse as well as by the worker itself.
        self._beating = threading.Lock()
        self._left = False
        self._serial = itertools.count(1)
        self.last_beat = clock.uptime()
        # Set by the pulse when it finds that we could not beat, or were fenced: end whatever is running.
        self.lost = False
        # Set when a fault left something claimed that has to go back to its queue before anything else is taken.
        self.must_give_back = False

    # --- life -------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Make the home; nothing can be claimed before."""
        # Furnished under another name and then renamed: a home without a heartbeat, of which nobody could say whether
        # its owner lives, is never seen.
        beat = self._heartbeat
        beat.entered_at = beat.beat_at = to_iso(self.clock.now())
        unborn = layout.home(layout.UNBORN + self.name)
        make_directory(self.disk, unborn)
        create_once(self.disk, f"{unborn}/{HEARTBEAT}", documents.encode_any(beat))
        for folder in (*CLAIMABLE, TURN, STAGING):
            make_directory(self.disk, f"{unborn}/{folder}")
        if self.buffer is not None:
            make_directory(self.buffer, self.part)
        # A claim must not be lost with the folder that it lies in.
        self.disk.sync(unborn)
        try:
            self.disk.rename(unborn, self.path)
        except FileNotFoundError:
            # A lost reply shows so, see below.
            if self.disk.status(self.path) is None:
                raise
        self.disk.sync(layout.CLAIMS)
        self.last_beat = self.clock.uptime()

    def say(self, *, doing: str = "", waits_for: str = "", upcoming: str = "") -> None:
        """Note what we do or wait for; the next beat shows it."""
        beat = self._heartbeat
        if (doing, waits_for) != (beat.doing, beat.waits_for):
            beat.since = to_iso(self.clock.now())
        beat.doing, beat.waits_for, beat.next = map(identity.printable, (doing, waits_for, upcoming))

    def beat(self, *, doing: str = "") -> None:
        """Show that we live, and what we do."""
        with self._beating:
            if self._left:
                return
            beat = self._heartbeat
            if doing:
                self.say(doing=doing)
            beat.beat_no += 1
            beat.beat_at = to_iso(self.clock.now())
            started = self.clock.uptime()
            self.put(f"{self.path}/{HEARTBEAT}", documents.encode_any(beat), durable=False)
            # Measured from before the write: a beat that took long to land is as old as its beginning.
            self.last_beat = started

    def is_fenced(self) -> bool:
        """Was anything of ours taken away? The part in the buffer goes first; what is claimed must then not be given
        back by ourselves, as what we have written there still lies about."""
        if self.buffer is not None and self.buffer.status(self.part) is None:
            return True
        return self.disk.status(self.path) is None

    @property
    def doing(self) -> tuple[str, str]:
        """What the heartbeat says that we do, and wait for."""
        return self._heartbeat.doing, self._heartbeat.waits_for

    def leave(self) -> None:
        """Remove an empty home. What is still claimed stays for the drain."""
        with self._beating:
            self._left = True
        if self.buffer is not None:
            self.buffer.rmdir(self.part)
        # The turn must not be lost with the folder that it lay in, should the host go down and only our going be on
        # disk.
        self.disk.sync("")
        for folder in (*CLAIMABLE, TURN, STAGING):
            self.disk.rmdir(f"{self.path}/{folder}")
        # Last: without it nobody could be certain that we are gone.
        self.disk.unlink(f"{self.path}/{HEARTBEAT}")
        self.disk.rmdir(self.path)

    # --- the three primitives ---------------------------------------------------------------------------------

    def put(self, path: str, content: bytes | Iterable[bytes], *, durable: bool = True) -> None:
        """Give a path new content: written beside, flushed, renamed over it."""
        with self._fence():
            temporary = self._temporary(content)
            self._rename(temporary, path)
            if durable:
                self.disk.sync(path.rpartition("/")[0])

    def put_new(self, path: str, content: bytes) -> bool:
        """Make a path that does not exist; True also when exactly this content is there already, False when another
        is."""
        with self._fence():
            temporary = self._temporary(content)
            try:
                self.disk.link(temporary, path)
                made = True
            except FileExistsError:
                # A lost reply (NFS) shows as this error too: then it is our own content.
                made = holds(self.disk, path, content)
            self._unlink(temporary)
            self.disk.sync(path.rpartition("/")[0])
            return made

    def take_away(self, path: str) -> bool:
        """Remove a file, through our home, so that a fenced worker cannot; False when it is not there."""
        with self._fence():
            gone = self._new_name()
            if not self._take(path, gone):
                return False
            self.disk.sync(path.rpartition("/")[0])
            self._unlink(gone)
            return True

    def move(self, old: str, new: str) -> None:
        """One rename of an unchanged file, durable."""
        with self._fence():
            self._rename(old, new)
            self.disk.sync(new.rpartition("/")[0])
            self.disk.sync(old.rpartition("/")[0])

    # --- claims -----------------------------------------------------------------------------------------------

    def claim(self, queue: str, entry: str, *, durable: bool = False) -> str | None:
        """Take an entry of a queue; its new path, or None when somebody else has it. What a power loss takes back was
        never claimed; `durable` where something must not outlive that."""
        path = f"{self.path}/{queue}/{entry}"
        with self._fence():
            if not self._take(f"{queue}/{entry}", path):
                return None
            if durable:
                self.disk.sync(path.rpartition("/")[0])
                self.disk.sync(queue)
            return path

    def put_document(self, path: str, document: Work | Request) -> None:
        """Write the document of a claim."""
        self.put(path, documents.encode(document))

    def pass_on(self, claimed: str, queue: str) -> None:
        """Move a claim to a queue (or give it back), under its own name."""
        self.move(claimed, f"{queue}/{claimed.rpartition('/')[2]}")

    # --- the turn ---------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, patience: float = 5.0) -> Iterator[bool]:
        """Hold the turn to choose; yields False when somebody else held it all the time. Never held across a wait or
        a call to the outside."""
        held = self._take_turn(patience)
        yield held
        # Not in a `finally`: whoever is killed or fails inside loses the turn to the drain, as with every claim; but
        # an error that we survive must give it back, and does so in `run` by the same path.
        if held:
            self.give_turn_back()

    def give_turn_back(self) -> None:
        """Let others choose; content when we do not hold it."""
        with self._fence():
            try:
                self.disk.rename(f"{self.path}/{TURN}/{layout.TURN}", layout.TURN)
            except FileNotFoundError:
                self._still_ours()

    def _take_turn(self, patience: float) -> bool:
        pause, waited = 0.002, 0.0
        while True:
            with self._fence():
                if self._take(layout.TURN, f"{self.path}/{TURN}/{layout.TURN}"):
                    return True
            if waited >= patience:
                return False
            self.clock.sleep(pause)
            waited += pause
            pause = min(pause * 1.5, 0.1)

    # --- inside -----------------------------------------------------------------------------------------------

    def _new_name(self) -> str:
        return f"{self.path}/{next(self._serial)}{TEMPORARY}"

    def _temporary(self, content: bytes | Iterable[bytes]) -> str:
        temporary = self._new_name()
        try:
            self.disk.create(temporary, content)
        except FileExistsError:
            # Nobody else makes names here: the reply to our own call was lost. What is in it, we do not know.
            self._unlink(temporary)
            self.disk.create(temporary, content)
        return temporary

    # Over a network a reply may be lost and the call sent again, which then fails because the first one worked: one
    # look tells. Without it a claim would stay with a worker that does not know of it, for as long as it lives.

    def _take(self, path: str, ours: str) -> bool:
        """Rename into our home, where nobody else puts anything; False when it is not there."""
        try:
            self.disk.rename(path, ours)
        except FileNotFoundError:
            self._still_ours()
            return self.disk.status(ours) is not None
        return True

    def _rename(self, ours: str, path: str) -> None:
        """Rename out of our home."""
        try:
            self.disk.rename(ours, path)
        except FileNotFoundError:
            self._still_ours()
            if self.disk.status(path) is None or self.disk.status(ours) is not None:
                raise

    def _unlink(self, temporary: str) -> None:
        try:
            self.disk.unlink(temporary)
        except FileNotFoundError:
            self._still_ours()

    def _still_ours(self) -> None:
        if self.disk.status(self.path) is None:
            raise Fenced(self.name)

    @contextmanager
    def _fence(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self._still_ours()
            raise


def make_directory(disk: Disk, path: str) -> None:
    """Make a directory whose name nobody else would choose; content when it is there: then a reply was lost."""
    try:
        disk.mkdir(path)
    except FileExistsError:
        return


def holds(disk: Disk, path: str, content: bytes) -> bool:
    """Does a plain file with exactly this content lie there?"""
    try:
        return disk.read(path) == content
    except OSError as error:
        if error.errno not in NO_DOCUMENT:
            raise
        return False


def create_once(disk: Disk, path: str, content: bytes) -> None:
    """Make a file whose name nobody else would choose; content when it is there with that content."""
    try:
        disk.create(path, content)
    except FileExistsError:
        if not holds(disk, path, content):
            disk.unlink(path)
            disk.create(path, content)

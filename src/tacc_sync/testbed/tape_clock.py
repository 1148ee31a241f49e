"""Drives, cartridges and the time they take.

Guarantee: a cartridge is in one drive at most, a drive serves one session at a time, also with many hsi
processes, and also when some are killed: a reservation lives exactly as long as its process (it is a lock
that the kernel takes back). Every mount is in the log.

How it goes: a session reserves the drive of a file's cartridges when it reads the file, and keeps them until
it needs other cartridges or ends. A cartridge that nobody uses stays in its drive until another one needs the
drive (the longest unused goes first) or `idle_dismount` seconds are over; it is not mounted anew for the next
session. A session that needs a cartridge which another session holds waits, and the log says
`cartridge-contention`. It gives back what it holds before it waits, so nobody can wait in a circle.

The time for a locate is `locate_seconds` for each file that does not follow the one before, or, with
`serpentine`, a model of wraps: a tape of `tape_capacity` bytes lies in `tape_wraps` wraps that alternate in
direction, so that a place nearby in bytes can be far away in metres, and the other way round.

Fails with: OSError (the site directory is away).
"""

from __future__ import annotations

import fcntl
import json
import time

from tacc_sync.testbed.hpss_sessions import is_alive
from tacc_sync.testbed.hpss_settings import Settings, SitePaths, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_POLL, LONGEST_POLL = 0.01, 0.1


class Drive:
    """A drive: what is in it, who holds it, since when it rests, where the tape stands."""

    __slots__ = ("cartridge", "holder", "place", "resting_since")

    def __init__(self, cartridge: str = "", holder: str = "", resting_since: float = 0.0, place: int = 0) -> None:
        self.cartridge = cartridge
        self.holder = holder
        self.resting_since = resting_since
        self.place = place

    def row(self) -> list[object]:
        """As drives.json stores it."""
        return [self.cartridge, self.holder, self.resting_since, self.place]


class Contention:
    """Why a reservation has to wait: another session holds a cartridge, or (both "") no drive is free."""

    __slots__ = ("cartridge", "holder")

    def __init__(self, cartridge: str, holder: str) -> None:
        self.cartridge = cartridge
        self.holder = holder


class TapeClock:
    """One session's view of the drives."""

    def __init__(
        self,
        paths: SitePaths,
        settings: Settings,
        session: str,
        log: Callable[..., None],
    ) -> None:
        self._paths = paths
        self._settings = settings
        self._session = session
        self._log = log
        self._held: tuple[str, ...] = ()
        self._places: dict[str, int] = {}

    def take(self, cartridges: tuple[str, ...]) -> bool:
        """Return when these cartridges are mounted for us; whether they were not ours before."""
        if cartridges == self._held:
            return False
        if len(cartridges) > self._settings.drives:
            # Fewer drives than stripes: one after the other, which is enough for counting mounts.
            for cartridge in cartridges:
                self.take((cartridge,))
            return True
        reported: set[tuple[str, str]] = set()
        pause = SHORTEST_POLL
        while True:
            with open(self._paths.drives_lock, "w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                drives = self._load()
                self._let_go(drives)
                outcome = self._reserve(drives, cartridges)
                self._save(drives)
            if not isinstance(outcome, Contention):
                break
            if (outcome.cartridge, outcome.holder) not in reported:
                reported.add((outcome.cartridge, outcome.holder))
                if outcome.cartridge:
                    self._log("cartridge-contention", cartridge=outcome.cartridge, holder=outcome.holder)
                else:
                    self._log("drive-wait", cartridges=list(cartridges))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL)
        self._held = cartridges
        self.nap(outcome)
        return True

    def release(self) -> None:
        """Let the cartridges rest in their drives."""
        if not self._held:
            return
        with open(self._paths.drives_lock, "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            drives = self._load()
            self._let_go(drives)
            self._save(drives)

    def locate(self, start: int) -> None:
        """Wind the held cartridges to this byte."""
        seconds = self.seconds_to(start)
        self.wind(start)
        self.nap(seconds)

    def seconds_to(self, start: int) -> float:
        """How long the held cartridges take to this byte."""
        seconds = 0.0
        for cartridge in self._held:
            here = self._places.get(cartridge, 0)
            if here != start:
                model = locate_seconds(self._settings, here, start)
                seconds = max(seconds, model if self._settings.serpentine else self._settings.locate_seconds)
        return seconds

    def wind(self, place: int) -> None:
        """The held cartridges stand at this byte."""
        for cartridge in self._held:
            self._places[cartridge] = place

    def advance(self, size: int) -> None:
        """The held cartridges have been read for that many bytes."""
        for cartridge in self._held:
            self._places[cartridge] = self._places.get(cartridge, 0) + size

    def nap(self, seconds: float) -> None:
        """Let simulated seconds pass."""
        if seconds > 0:
            time.sleep(seconds * self._settings.time_scale)

    def _load(self) -> list[Drive]:
        try:
            with open(self._paths.drives, encoding="utf-8") as file:
                drives = [Drive(*row) for row in json.load(file)]
        except FileNotFoundError:
            drives = []
        # A site whose number of drives was changed keeps what is mounted in those that are left.
        while len(drives) < self._settings.drives:
            drives.append(Drive())
        now = time.time()
        for number, drive in enumerate(drives):
            if drive.holder and drive.holder != self._session and not is_alive(self._paths, drive.holder):
                drive.holder, drive.resting_since = "", now
            if drive.cartridge and not drive.holder:
                over = number >= self._settings.drives
                if over or now - drive.resting_since > self._settings.idle_dismount * self._settings.time_scale:
                    self._log("dismount", cartridge=drive.cartridge, drive=number, why="idle")
                    drive.cartridge = ""
        return [drive for number, drive in enumerate(drives) if number < self._settings.drives or drive.cartridge]

    def _save(self, drives: list[Drive]) -> None:
        write_whole(self._paths.drives, json.dumps([drive.row() for drive in drives]))

    def _let_go(self, drives: list[Drive]) -> None:
        """Everything of ours rests; whether we wait or not, nobody can wait for us in a circle."""
        for drive in drives:
            if drive.holder == self._session:
                drive.holder, drive.resting_since = "", time.time()
                drive.place = self._places.get(drive.cartridge, drive.place)
        self._held = ()

    def _reserve(self, drives: list[Drive], cartridges: tuple[str, ...]) -> float | Contention:
        """Reserve all or nothing; the seconds that robot and drives need for it, or why it has to wait."""
        mounted = {drive.cartridge: drive for drive in drives if drive.cartridge}
        for cartridge in cartridges:
            if cartridge in mounted and mounted[cartridge].holder:
                return Contention(cartridge, mounted[cartridge].holder)
        missing = [cartridge for cartridge in cartridges if cartridge not in mounted]
        free = sorted(
            (
                (bool(drive.cartridge), drive.resting_since, number)
                for number, drive in enumerate(drives)
                if not drive.holder and drive.cartridge not in cartridges
            ),
        )
        if len(free) < len(missing):
            return Contention("", "")
        seconds = 0.0
        for cartridge, (is_full, _, number) in zip(missing, free, strict=False):
            drive = drives[number]
            needed = self._settings.mount_seconds
            if is_full:
                self._log("dismount", cartridge=drive.cartridge, drive=number, why="needed")
                needed += self._settings.unload_seconds + self._rewind(drive.place)
            # The log comes first: if we are killed in between, a mount is told once too often, never hidden.
            self._log("mount", cartridge=cartridge, drive=number)
            drive.cartridge, drive.place = cartridge, 0
            seconds = max(seconds, needed)
        for drive in drives:
            if drive.cartridge in cartridges:
                drive.holder = self._session
                self._places[drive.cartridge] = drive.place
        return seconds

    def _rewind(self, place: int) -> float:
        return locate_seconds(self._settings, place, 0) if self._settings.serpentine and place else 0.0


def locate_seconds(settings: Settings, here: int, there: int) -> float:
    """How long a serpentine tape takes from one byte to another.

    The constants are a fit to LTO drives, scaled by the tape's length: a fixed start, the way along the tape,
    and extra for changing wrap, band, half of the bands and direction, or for going backwards in one wrap.
    Reading through is always possible.
    """
    if here == there:
        return 0.0
    wrap_bytes = settings.tape_capacity / settings.tape_wraps
    end_to_end = 104.3 * settings.tape_metres / 960

    def place(byte: int) -> tuple[int, float]:
        wrap = int(byte / wrap_bytes)
        along = byte / wrap_bytes - wrap
        return wrap, 1 - along if wrap % 2 else along

    wrap_here, along_here = place(here)
    wrap_there, along_there = place(there)
    seconds = 4.29 + end_to_end * abs(along_here - along_there)
    if wrap_here != wrap_there:
        band_here, band_there = 4 * wrap_here // settings.tape_wraps, 4 * wrap_there // settings.tape_wraps
        seconds += 6.69
        seconds += 3.2 * (band_here != band_there)
        seconds -= 6.04 * (band_here // 2 != band_there // 2)
        seconds += 5.22 * (wrap_here % 2 != wrap_there % 2)
    elif there < here:
        seconds += 11.32
    if there > here and settings.read_bytes_per_second:
        seconds = min(seconds, (there - here) / settings.read_bytes_per_second)
    return seconds

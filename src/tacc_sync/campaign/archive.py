"""The simulated archive: drives, cartridges, and sessions that read files into the buffer.

A cartridge is in one drive at most, a drive serves one session at a time. What nobody uses any more is dismounted after
a time, or as soon as a drive is needed; not so a cartridge for which a request is queued already when a session lets go
of it. A session that asks for a cartridge from which another one reads more than its last file, or for which a third
one is queued, is a contention. Times are seconds since the simulation began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tacc_sync.campaign.catalogues import Catalogue
from tacc_sync.campaign.kernel import Kernel, SimBell
from tacc_sync.campaign.memory_disk import Copy, MemoryDisk, declared
from tacc_sync.campaign.reorder import served
from tacc_sync.campaign.tape_model import Geometries
from tacc_sync.campaign.weather import Weather
from tacc_sync.outside.host.spool import Spool
from tacc_sync.outside.hpss.interface import ArchiveHash, Checkpoint, Fetch, Fetched, Hpss, ListedFile, Listing, Session
from tacc_sync.rules.faults import WorldFault

AWAY = ("HPSS-AWAY", "maintenance (simulated)")
BROKEN = ("HPSS-SESSION-BROKEN", "the drive has failed (simulated)")


class _Ended(Exception):
    """A session ends early: the code and the text of its trouble."""

    def __init__(self, trouble: tuple[str, str]) -> None:
        super().__init__(trouble)
        self.trouble = trouble


@dataclass(slots=True, eq=False)
class Drive:
    """A drive. `cartridge` "" when it is empty; `free_at`: when the robot has done with it; `at_last`: its session
    reads its last file; `queued`: who is to have the cartridge next."""

    number: int
    life: float
    cartridge: str = ""
    at: float = 0.0
    held: bool = False
    at_last: bool = False
    queued: SimBell | None = None
    idle_since: float = 0.0
    free_at: float = 0.0


@dataclass(slots=True)
class Figures:
    """What the drives have done: mounts, seconds with a cartridge in use, seconds of reading, bytes read in vain."""

    mounts: int = 0
    busy: float = 0.0
    reading: float = 0.0
    wasted_bytes: int = 0
    sessions: int = 0
    drives_away: float = 0.0
    contentions: int = 0


class Library:
    """The robot and its drives."""

    def __init__(
        self, kernel: Kernel, geometries: Geometries, weather: Weather, drives: int, idle_dismount: float
    ) -> None:
        self.kernel, self.geometries, self.weather = kernel, geometries, weather
        self.figures = Figures()
        self._idle_dismount = idle_dismount
        self.drives = [Drive(number, weather.life_of_drive()) for number in range(drives)]
        # Cartridges on their way back to the shelf, and until when.
        self._away: dict[str, float] = {}
        self._waiting: list[SimBell] = []
        self._repairs: list[tuple[float, float]] = []

    def take(self, label: str, mine: Drive | None) -> Drive:
        """The drive with this cartridge, for one session; `mine` is the drive that it holds and lets go of."""
        while True:
            self._dismount_idle()
            found = next((drive for drive in self.drives if drive.cartridge == label), None)
            if found is not None and (found is mine or not found.held):
                if found is not mine and mine is not None:
                    self.give(mine)
                found.held, found.at_last = True, False
                return found
            if found is not None and found.at_last and found.queued is None:
                if mine is not None:
                    self.give(mine)
                    mine = None
                if self._succeed(found):
                    return found
                continue
            if found is not None:
                self.figures.contentions += 1
            elif (back := self._away.get(label, 0.0)) > self.kernel.now:
                self.until(back)
                continue
            else:
                chosen = mine or self._some_drive()
                if chosen is not None:
                    return self._mount(chosen, label)
            if mine is not None:
                self.give(mine)
                mine = None
            bell = SimBell(self.kernel)
            self._waiting.append(bell)
            soon = [d.free_at for d in self.drives if not d.held and d.free_at > self.kernel.now]
            if soon:
                # A drive that maintenance has emptied comes back without anybody letting go of it.
                self.kernel.at(min(soon), bell.ring)
            outage = self.weather.next_outage(self.kernel.now)
            rung = self.kernel.wait(bell, None if outage == float("inf") else outage)
            if bell in self._waiting:
                self._waiting.remove(bell)
            if not rung:
                raise _Ended(AWAY)

    def close(self) -> Figures:
        """The campaign is over: its figures."""
        now = self.kernel.now
        self.figures.drives_away = sum(max(0.0, min(now, over) - begun) for begun, over in self._repairs)
        return self.figures

    def give(self, drive: Drive) -> None:
        """A session needs this drive no more."""
        drive.at_last = False
        if drive.queued is not None:
            # It stays held, for whoever is queued.
            drive.queued.ring()
            return
        drive.held, drive.idle_since = False, self.kernel.now
        self._call_next()

    def use(self, drive: Drive, seconds: float) -> None:
        """A drive works for so long; the session ends when it fails meanwhile."""
        now = self.kernel.now
        if seconds >= drive.life:
            self.until(now + drive.life)
            self.figures.busy += drive.life
            self._break(drive)
            raise _Ended(BROKEN)
        try:
            self.until(now + seconds)
        finally:
            done = self.kernel.now - now
            drive.life -= done
            self.figures.busy += done

    def until(self, when: float) -> None:
        """Wait; the session ends when maintenance begins."""
        outage = self.weather.next_outage(self.kernel.now)
        if outage < when:
            self.kernel.sleep_until(outage)
            raise _Ended(AWAY)
        self.kernel.sleep_until(when)

    def empty(self, drive: Drive) -> None:
        """Maintenance has begun: the drive is empty afterwards."""
        self._away.pop(drive.cartridge, None)
        self._lose(drive)
        drive.free_at = max(drive.free_at, self.weather.down_until(self.kernel.now))
        self._call_next()

    # --- inside

    def _succeed(self, drive: Drive) -> bool:
        """Wait for the cartridge in a drive until its session lets go of it; False when the drive has lost it."""
        label, bell = drive.cartridge, SimBell(self.kernel)
        drive.queued = bell
        outage = self.weather.next_outage(self.kernel.now)
        rung = self.kernel.wait(bell, None if outage == float("inf") else outage)
        has_it = drive.queued is bell
        if has_it:
            drive.queued = None
        if not rung:
            raise _Ended(AWAY)
        return has_it and drive.cartridge == label

    def _lose(self, drive: Drive) -> None:
        """The cartridge is in this drive no more, whoever held it or is queued for it."""
        drive.cartridge, drive.held, drive.at_last = "", False, False
        if drive.queued is not None:
            drive.queued.ring()
            drive.queued = None

    def _call_next(self) -> None:
        if self._waiting:
            self._waiting.pop(0).ring()

    def _break(self, drive: Drive) -> None:
        now, repair = self.kernel.now, self.weather.repair
        self._repairs.append((now, now + repair))
        self._away[drive.cartridge] = now + 3600.0
        self._lose(drive)
        drive.free_at = now + repair
        drive.life = self.weather.life_of_drive()
        self.kernel.at(now + repair, self._call_next)

    def _dismount_idle(self) -> None:
        now = self.kernel.now
        for drive in self.drives:
            if drive.held or not drive.cartridge:
                continue
            outage = self.weather.next_outage(drive.idle_since)
            if outage <= now:
                drive.cartridge, drive.free_at = "", self.weather.down_until(outage)
            elif drive.idle_since + self._idle_dismount <= now:
                self._unload(drive, drive.idle_since + self._idle_dismount)

    def _unload(self, drive: Drive, when: float) -> None:
        seconds = self.geometries.of(drive.cartridge).unload(drive.at)
        self.figures.busy += seconds
        self._away[drive.cartridge] = drive.free_at = when + seconds
        drive.cartridge = ""

    def _some_drive(self) -> Drive | None:
        """The drive that is ready soonest; one in repair only when there is no other."""
        now = self.kernel.now
        empty = [d for d in self.drives if not d.held and not d.cartridge and d.free_at < now + 600.0]
        if empty:
            return min(empty, key=lambda drive: drive.free_at)
        idle = [d for d in self.drives if not d.held and d.cartridge]
        return min(idle, key=lambda drive: drive.idle_since) if idle else None

    def _mount(self, drive: Drive, label: str) -> Drive:
        kernel = self.kernel
        try:
            if drive.cartridge:
                self._unload(drive, kernel.now)
            drive.held, drive.at_last, drive.cartridge, drive.at = True, False, label, 0.0
            if drive.free_at > kernel.now:
                self.until(drive.free_at)
            self.figures.mounts += 1
            self.use(drive, self.geometries.medium.mount)
        except _Ended as ended:
            if ended.trouble is AWAY:
                self.empty(drive)
            raise
        return drive


class SimHpss:
    """HPSS of a simulation: the same catalogue for all workers."""

    def __init__(
        self,
        catalogue: Catalogue,
        library: Library,
        buffer: MemoryDisk,
        *,
        session_start: float,
        arriving: Callable[[int], None],
        outstanding: int = 1,
        hashes: bool = True,
    ) -> None:
        """`session_start`: seconds from the start of hsi until it asks for its first file. `arriving` is told of bytes
        that begin to arrive, and (negative) of those that lie in the buffer as a file, or have been given up.
        `outstanding`: how many requests of a session are open at a time. `hashes`: it keeps one of each file."""
        self._catalogue, self._library, self._buffer = catalogue, library, buffer
        self._session_start, self._outstanding = session_start, outstanding
        self._arriving, self._hashes = arriving, hashes
        self._sizes = {file.path: file.size for file in catalogue.files}
        self._failed: set[str] = set()

    def check_up(self) -> None:
        if self._library.weather.down_until(self._library.kernel.now):
            raise WorldFault(*AWAY)

    def list_trees(self, roots: Sequence[str], checkpoint: Checkpoint | None = None) -> Listing:  # noqa: ARG002
        self.check_up()
        return Listing(Spool(ListedFile, (file for file in self._catalogue.files if _is_below(file, roots))))

    def list_files(self, paths: Sequence[str]) -> Listing:
        self.check_up()
        wanted = set(paths)
        return Listing(Spool(ListedFile, (file for file in self._catalogue.files if file.path in wanted)))

    def hashes(self, paths: Iterable[str]) -> dict[str, ArchiveHash | None]:
        if not self._hashes:
            # Its own line for each file is the proof.
            return dict.fromkeys(paths)
        return {path: ArchiveHash("md5", declared(path, "md5")) for path in paths}

    def get(
        self,
        fetches: Sequence[Fetch],
        *,
        session_name: str,  # noqa: ARG002  for people
        may_go_on: Callable[[], bool] = lambda: True,
        on_fetched: Callable[[int], None] = lambda _index: None,
        on_last: Callable[[], None] = lambda: None,
    ) -> Session:
        library = self._library
        fetched = [Fetched(None, "")] * len(fetches)
        library.figures.sessions += 1
        reader = _Reader(library)
        trouble: tuple[str, str] | None = None
        root = self._buffer.root + "/"
        try:
            library.until(library.kernel.now + self._session_start)
            for place, number in enumerate(self._order(fetches)):
                fetch = fetches[number]
                if not may_go_on():
                    raise _Ended(("STOPPED", "stopped by its worker"))
                at_last = on_last if place == len(fetches) - 1 else None
                error = self._fetch(reader, fetch.hpss_path, fetch.local_path.removeprefix(root), at_last)
                fetched[number] = Fetched(None if error else self._sizes[fetch.hpss_path], error)
                # Asked every second, but in time that is simulated once for each file: see `MemoryDisk.follow`.
                if may_go_on():
                    on_fetched(number)
        except _Ended as ended:
            trouble = ended.trouble
        reader.leave(trouble)
        return Session(fetched, 0 if trouble is None else 1, trouble, [])

    def _order(self, fetches: Sequence[Fetch]) -> Iterable[int]:
        """In which the archive carries them out. It chooses among requests for one cartridge."""
        given = range(len(fetches))
        if self._outstanding <= 1:
            return given
        extents = [self._catalogue.extents[fetch.hpss_path] for fetch in fetches]
        labels = {extent.cartridge for each in extents for extent in each}
        if len(labels) != 1 or not all(len(each) == 1 for each in extents):
            return given
        (label,) = labels
        library, first = self._library, [each[0] for each in extents]
        at = next((drive.at for drive in library.drives if drive.cartridge == label), 0.0)
        rate = library.geometries.medium.rate
        return served(library.geometries.of(label), rate, first, outstanding=self._outstanding, at=at)

    def _fetch(self, reader: _Reader, path: str, local: str, at_last: Callable[[], None] | None) -> str:
        """Read one file; the error that hsi prints, "" when there is none. `at_last` is called when the last part of it
        is being read."""
        figures, size = self._library.figures, self._sizes[path]
        fails = path not in self._failed and self._library.weather.fails_once(path)
        self._arriving(size)
        done, seconds = 0, 0.0
        try:
            extents = self._catalogue.extents[path]
            for extent in extents:
                end = extent.start + (extent.end - extent.start) // 2 if fails else extent.end
                seconds += reader.read(extent.cartridge, extent.start, end, at_last if extent is extents[-1] else None)
                done += end - extent.start
                if fails:
                    self._failed.add(path)
                    figures.wasted_bytes += done
                    return "get: error -5: the tape could not be read (simulated)"
        except _Ended:
            figures.wasted_bytes += done
            raise
        finally:
            self._arriving(-size)
        self._buffer.place(local, Copy(size, path, seconds=seconds))
        return ""


class _Reader:
    """One session and the drive that it holds."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._drive: Drive | None = None

    def read(self, label: str, start: int, end: int, at_last: Callable[[], None] | None = None) -> float:
        """Read a part of a cartridge, mounting it where that is needed; for how many seconds bytes have come. `at_last`
        is called when it is there, and it is the last part that the session reads."""
        library = self._library
        mine, self._drive = self._drive, None
        drive = self._drive = library.take(label, mine)
        if at_last is not None:
            drive.at_last = True
            at_last()
        geometry = library.geometries.of(label)
        reading = geometry.read(start, end)
        begun, locating = library.kernel.now, geometry.locate(drive.at, start)
        try:
            library.use(drive, locating + reading)
        except _Ended:
            read = max(0.0, library.kernel.now - begun - locating) / reading
            library.figures.wasted_bytes += round(read * (end - start))
            raise
        library.figures.reading += reading
        drive.at = end
        return reading

    def leave(self, trouble: tuple[str, str] | None) -> None:
        """The session is over."""
        drive, self._drive = self._drive, None
        if drive is None or not drive.held:
            # None was needed; or it has failed, or was taken away before it was ours.
            return
        if trouble is AWAY:
            self._library.empty(drive)
        else:
            self._library.give(drive)


def _is_below(file: ListedFile, roots: Sequence[str]) -> bool:
    return any(file.path == root or file.path.startswith(root.rstrip("/") + "/") for root in roots)


_HPSS: type[Hpss] = SimHpss

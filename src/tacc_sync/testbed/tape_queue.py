"""Requests that a session has open with the archive, which its drive may carry out in any order.

Guarantee: the drive begins with a request as soon as it is free and the request is there, and works on while the
session does something else; which one it takes next depends on nothing but where the tape stands and what is open
then. Each file is read once.

`stage` puts a request here and returns. Whoever then wants the file waits until the drive has read it onto the
archive's disks. The time of the drive is reckoned, not slept: only the wait for a file is real. With
`stage_reorders` the drive goes to the nearest request by the tape's hidden geometry, and reads through what lies
close behind; without it they are carried out as they came. What is still open when the session ends is dropped.

Fails with: OSError (the site directory is away).
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tacc_sync.testbed.hpss_settings import Settings
    from tacc_sync.testbed.tape_catalogue import Entry
    from tacc_sync.testbed.tape_clock import TapeClock


# What lies so close behind another file belongs to its run.
READ_THROUGH_SECONDS = 12.0


class Request:
    """A file that was asked for, and when."""

    __slots__ = ("asked_at", "path", "size", "start")

    def __init__(self, path: bytes, start: int, size: int, asked_at: float) -> None:
        self.path = path
        self.start = start
        self.size = size
        self.asked_at = asked_at


class TapeQueue:
    """The open requests of one session, by cartridges; and what it has on the archive's disks."""

    def __init__(
        self,
        settings: Settings,
        clock: TapeClock,
        log: Callable[..., None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._now = now
        self._open: dict[tuple[str, ...], dict[bytes, Request]] = {}
        # When each file was on disk; may be in the future.
        self._read_at: dict[bytes, float] = {}
        self._free_at = 0.0

    def ask(self, entry: Entry) -> None:
        """Open a request for a file on tape; one that is open or over already is not made again."""
        if not entry.volumes or entry.path in self._read_at:
            return
        request = Request(entry.path, entry.start, entry.size, self._now())
        self._open.setdefault(entry.volumes, {}).setdefault(entry.path, request)

    def has(self, entry: Entry) -> bool:
        """Whether this file was asked for."""
        return entry.path in self._read_at or entry.path in self._open.get(entry.volumes, {})

    def bring(self, entry: Entry) -> None:
        """Return when a file that was asked for is on disk."""
        if entry.path not in self._read_at:
            if self._clock.take(entry.volumes):
                self._free_at = self._now()
            waiting = self._open[entry.volumes]
            while entry.path in waiting:
                self._read(waiting)
        wait = self._read_at[entry.path] - self._now()
        if wait > 0:
            time.sleep(wait)

    def use_drive(self) -> None:
        """The drive is wanted for something else: return when the request that it is at is over."""
        if self._free_at > (now := self._now()):
            time.sleep(self._free_at - now)

    def used_drive(self) -> None:
        """From now on it is free again."""
        self._free_at = max(self._free_at, self._now())

    def _heads(self, there: list[Request]) -> list[Request]:
        """The first request of each run: where to begin, without breaking up what is read through anyway."""
        reach = READ_THROUGH_SECONDS * self._settings.read_bytes_per_second
        heads, end = [], float("-inf")
        for request in sorted(there, key=lambda each: each.start):
            if request.start - end > reach:
                heads.append(request)
            end = request.start + request.size
        return heads

    def _read(self, waiting: dict[bytes, Request]) -> None:
        """Carry out one request, in reckoned time."""
        settings = self._settings
        begins = max(self._free_at, min(request.asked_at for request in waiting.values()))
        there = [request for request in waiting.values() if request.asked_at <= begins]
        request = there[0]
        if settings.stage_reorders:
            request = min(self._heads(there), key=lambda each: (self._clock.seconds_to(each.start), each.start))
        seconds = self._clock.seconds_to(request.start)
        self._clock.wind(request.start + request.size)
        if settings.read_bytes_per_second:
            seconds += request.size / settings.read_bytes_per_second
        self._free_at = begins + seconds * settings.time_scale
        self._read_at[request.path] = self._free_at
        del waiting[request.path]
        self._log("staged", path=request.path.decode("utf-8", "surrogateescape"), seconds=round(seconds, 3))

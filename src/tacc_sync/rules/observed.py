"""What this site has been seen to do: rates, delays and failures, from finished units. Pure.

Guarantee: a rate is said only of time in which something was under way. A drive's rate is that of a cartridge from one
of our units to its next one; locates, and waits for room, are in it. What was not seen has no figure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from tacc_sync.rules import completion
from tacc_sync.rules.documents import Work
from tacc_sync.rules.identity import tape_name
from tacc_sync.rules.patience import from_iso

# Longer than a unit takes on any drive: between two units of a cartridge that are so far apart something else was.
PAUSE = 6 * 3600.0
# Less than this of a day says nothing about the day.
LEAST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Bytes a second of one session's drive, and of all tasks together, by day; seconds (median) from a task's end
    until we knew; of so many files, how many were recalled again; of so many tasks, how many failed."""

    drive_days: tuple[float, ...] = ()
    network_days: tuple[float, ...] = ()
    release: float | None = None
    files: int = 0
    files_again: int = 0
    tasks: int = 0
    tasks_failed: int = 0


@dataclass(slots=True)
class Observed:
    """Adds up finished units, in any order."""

    _tapes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    _tasks: list[tuple[float, float, int]] = field(default_factory=list)
    _releases: list[float] = field(default_factory=list)
    _files: int = 0
    _again: int = 0
    _failed: int = 0
    _ended: int = 0

    def add(self, work: Work) -> None:
        """Count a unit."""
        self._files += len(work.files) if work.tape else 0
        self._again += work.round - 1
        delivered = [file for file in work.files if file.outcome == "delivered" and file.retrieved_at]
        if work.tape and work.round == 1 and delivered and len(delivered) == len(work.files):
            at = max(from_iso(file.retrieved_at) for file in delivered)
            self._tapes.setdefault(tape_name(work.tape), []).append((at, work.bytes))
        attempts = completion.attempts(work)
        for task in work.tasks:
            if not task.ended_at:
                continue
            self._ended += 1
            self._failed += task.status != "SUCCEEDED"
            items = [work.files[index] for index in task.items]
            arrived = [
                from_iso(file.delivered_at) for file in items if file.task_id == task.task_id and file.delivered_at
            ]
            if task.status == "SUCCEEDED" and arrived and all(attempts[index] == 1 for index in task.items):
                # By the service's own clock; the beginning is when we handed it in.
                self._tasks.append((from_iso(task.prepared_at), max(arrived), task.bytes))
                self._releases.append(max(0.0, from_iso(task.ended_at) - max(arrived)))

    def seen(self) -> Seen:
        """What can be said."""
        return Seen(
            drive_days=tuple(self._drive_days()),
            network_days=tuple(self._network_days()),
            release=median(self._releases) if self._releases else None,
            files=self._files,
            files_again=self._again,
            tasks=self._ended,
            tasks_failed=self._failed,
        )

    def _drive_days(self) -> list[float]:
        days = _Days()
        for units in self._tapes.values():
            units.sort()
            for (before, _), (at, size) in pairwise(units):
                if 0 < at - before <= PAUSE:
                    days.add(at, size, at - before)
        return days.rates()

    def _network_days(self) -> list[float]:
        days = _Days()
        over = 0.0
        for begin, end, size in sorted(self._tasks):
            # Together with others, the time in which several are under way counts once.
            days.add(end, size, max(0.0, end - max(begin, over)))
            over = max(over, end)
        return days.rates()


class _Days:
    """Bytes and seconds by day."""

    def __init__(self) -> None:
        self._days: dict[int, tuple[int, float]] = {}

    def add(self, at: float, size: int, seconds: float) -> None:
        day = int(at // 86400)
        known = self._days.get(day, (0, 0.0))
        self._days[day] = known[0] + size, known[1] + seconds

    def rates(self) -> list[float]:
        return [
            size / seconds for _, (size, seconds) in sorted(self._days.items()) if seconds >= LEAST_SECONDS and size
        ]

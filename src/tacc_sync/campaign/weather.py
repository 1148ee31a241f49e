"""What goes wrong in a simulated campaign, and when: maintenance, drives and tasks that fail, files that fail once.

Decided by a seed before anything happens, so that the same seed has the same weather whatever the policy is. Times are
seconds since the simulation began.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import dataclass

HOUR = 3600.0
WEEK = 168 * HOUR


@dataclass(frozen=True, slots=True)
class Trouble:
    """Rates of what goes wrong; all 0 is fair weather.

    `outage`: seconds of maintenance at a time, once in `outage_every` seconds, the first one after half of that.
    `files`: the share of files that fail once. `tasks`: the share of transfers that break off half-way.
    `drive_hours`: mean working hours of a drive until it fails; then it is away for `drive_repair` seconds.
    """

    outage: float = 0.0
    outage_every: float = WEEK
    files: float = 0.0
    tasks: float = 0.0
    drive_hours: float = 0.0
    drive_repair: float = 24 * HOUR
    seed: int = 1
    # Further maintenance, (begin, end) each, in order; none touches another one (rules/outages.py).
    planned: tuple[tuple[float, float], ...] = ()


class Weather:
    """The sites' state at any time."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._tasks = random.Random(f"{trouble.seed} tasks")  # noqa: S311  a model
        self._drives = random.Random(f"{trouble.seed} drives")  # noqa: S311  a model
        self._begins = [begin for begin, _ in trouble.planned]

    def _begin(self, number: int) -> float:
        return self._trouble.outage_every * (number + 0.5)

    def _last(self, when: float) -> int:
        """The number of the maintenance that began last."""
        return math.floor(when / self._trouble.outage_every - 0.5)

    def down_until(self, when: float) -> float:
        """The end of the maintenance that goes on at this time; 0 when the sites are up."""
        end, at = 0.0, when
        # One may begin before another one ends.
        while over := max(self._down_until(at), self._planned_until(at)):
            end = at = over
        return end

    def _planned_until(self, when: float) -> float:
        number = bisect_right(self._begins, when) - 1
        return self._trouble.planned[number][1] if number >= 0 and when < self._trouble.planned[number][1] else 0.0

    def _down_until(self, when: float) -> float:
        if self._trouble.outage <= 0:
            return 0.0
        last = self._last(when)
        end = self._begin(last) + self._trouble.outage
        return end if last >= 0 and when < end else 0.0

    def next_outage(self, when: float) -> float:
        """When the next maintenance begins after this time; never is infinity."""
        number = bisect_right(self._begins, when)
        planned = self._begins[number] if number < len(self._begins) else math.inf
        return min(planned, self._next_outage(when))

    def _next_outage(self, when: float) -> float:
        if self._trouble.outage <= 0:
            return math.inf
        following = max(0, self._last(when) + 1)
        # What is divided and multiplied again may be a little less than it was.
        return self._begin(following) if self._begin(following) > when else self._begin(following + 1)

    def up(self, begin: float, end: float) -> float:
        """Seconds between two times in which the sites were up."""
        seconds, at = 0.0, begin
        while at < end:
            at = self.down_until(at) or at
            following = min(end, self.next_outage(at))
            seconds += max(0.0, following - at)
            at = max(at, following)
        return seconds

    def add_up_time(self, begin: float, seconds: float) -> float:
        """The time at which the sites have been up for so many seconds since the beginning."""
        at = begin
        while True:
            over = self.down_until(at)
            at = over or at
            step = self.next_outage(at) - at
            if step >= seconds:
                return at + seconds
            seconds -= step
            at += step

    def fails_once(self, path: str) -> bool:
        """Does this file fail the first time that it is read?"""
        share = self._trouble.files
        return share > 0 and random.Random(f"{self._trouble.seed} {path}").random() < share  # noqa: S311  a model

    def task_fails(self) -> bool:
        """Does the next task break off?"""
        return self._trouble.tasks > 0 and self._tasks.random() < self._trouble.tasks

    def life_of_drive(self) -> float:
        """Working seconds of a drive until its next failure."""
        hours = self._trouble.drive_hours
        return self._drives.expovariate(1 / (hours * HOUR)) if hours > 0 else float("inf")

    @property
    def repair(self) -> float:
        """Seconds for which a failed drive is away."""
        return self._trouble.drive_repair

"""What a forecast is built on: each figure with how sure it is, and where it comes from. Pure.

In this order: what the site's own finished work shows, what `doctor --measure` has found out (`rates.json`), and what a
model of drives and other sites' published figures say. A figure is a list of values that have been seen, or published:
what it will be is drawn from them, so that the spread of a forecast is that of observations. Bytes a second, seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tacc_sync.rules.observed import Seen
from tacc_sync.rules.site_rates import SiteRates

# What a session has brought, as a share of what its drive can do, at sites that have told: RAL 2017 (about 90 MB/s of
# 252), JLab (5 TB/h routine and 10 at the peak, of 14.4), a user at NERSC 2026 (367 MB/s of 360) and ORNL (striped,
# about all).
PUBLISHED_SHARES = (0.36, 0.35, 0.69, 1.0, 1.0)
# Globus between laboratories: 10 Gbit/s, 20, and the 30 that NERSC to ALCF has been seen to reach (2021).
PUBLISHED_NETWORK = (1.25e9, 2.5e9, 3.75e9)
# What was measured within minutes is what the site gives when it does. In routine it may be half of it, as at JLab.
MEASURED_ONCE = (0.5, 0.75, 1.0)
# The model's locates are means of published ones; those of LTO-9 are published to take so much of them.
FAST_LOCATES = 0.6
# As if so many files (tasks) had been seen before, and this many of them had failed: without any failure seen, one in a
# thousand files, and one in a hundred tasks.
FILES_BEFORE, FILES_FAILED_BEFORE = 500.0, 0.5
TASKS_BEFORE, TASKS_FAILED_BEFORE = 50.0, 0.5
# Seconds; see docs/simulate.md.
SESSION_START, MOUNT, TASK_START, VERIFICATION = 2.0, 32.0, 5.0, 20.0


@dataclass(frozen=True, slots=True)
class Figure:
    """Values that were seen; `by_day`: each is that of a day, and a campaign sees many days; otherwise one of them, or
    what lies between them, holds for all of it."""

    values: tuple[float, ...]
    source: str
    by_day: bool = False

    @property
    def middle(self) -> float:
        """The one in the middle."""
        ordered = sorted(self.values)
        return ordered[len(ordered) // 2]


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many have failed."""

    failed: float
    of: float
    source: str


@dataclass(frozen=True, slots=True)
class Basis:
    """All of it. `drive`: of one session while it reads, locates included. `sources`: where it comes from, in words."""

    drive: Figure
    network: Figure
    files: Share
    tasks: Share
    session_start: float = SESSION_START
    mount: float = MOUNT
    task_start: float = TASK_START
    verification: float = VERIFICATION
    release: float = 0.0
    sources: dict[str, str] = field(default_factory=dict)


def basis(seen: Seen, rates: SiteRates | None, *, nominal: float, efficiency: float, medium: str) -> Basis:
    """What to build on. `nominal`: bytes a second of the site's drives; `efficiency`: the share of it that a drive
    model says these files allow, in tape order, locates included."""
    drive, network = _drive(seen, rates, nominal, efficiency, medium), _network(seen, rates)
    from_own_tasks = bool(seen.network_days)
    files = Share(
        seen.files_again + FILES_FAILED_BEFORE,
        seen.files + FILES_BEFORE,
        f"{seen.files_again:,} recalls of {seen.files:,} files were again" if seen.files else "assumed: 1 in 1,000",
    )
    tasks = Share(
        seen.tasks_failed + TASKS_FAILED_BEFORE,
        seen.tasks + TASKS_BEFORE,
        f"{seen.tasks_failed:,} of {seen.tasks:,} tasks failed" if seen.tasks else "assumed: 1 in 100",
    )
    told = rates or SiteRates(version=1)
    return Basis(
        drive=drive,
        network=network,
        files=files,
        tasks=tasks,
        session_start=_seconds(told.session_start, SESSION_START),
        mount=_seconds(told.mount, MOUNT),
        # In a rate from our own tasks it is contained.
        task_start=0.0 if from_own_tasks else _seconds(told.task_start, TASK_START),
        verification=0.0 if from_own_tasks else _seconds(told.verification, VERIFICATION),
        release=seen.release or 0.0,
        sources={
            "drive": drive.source,
            "network": network.source,
            "mount": "the drive model" if told.mount is None else _measured(told),
            "files failing": files.source,
            "tasks failing": tasks.source,
            "release": "assumed: none" if seen.release is None else f"the median of {seen.tasks:,} tasks",
        },
    )


def _drive(seen: Seen, rates: SiteRates | None, nominal: float, efficiency: float, medium: str) -> Figure:
    if seen.drive_days:
        return Figure(seen.drive_days, f"our own sessions, {_days(seen.drive_days)}", by_day=True)
    if rates is not None and _is_there(rates.drive_rate):
        values = tuple(share * (rates.drive_rate or 0.0) for share in MEASURED_ONCE)
        return Figure(values, f"{_measured(rates)}, down to half of it")
    # The more of a drive's time goes into locates, the more of the doubt is theirs.
    fast = 1 / (1 + FAST_LOCATES * (1 / efficiency - 1))
    shares = (*(min(share, fast) for share in PUBLISHED_SHARES), efficiency, MEASURED_ONCE[0] * efficiency)
    values = tuple(share * nominal for share in shares)
    return Figure(values, f"not measured: a model of {medium} drives, and what other sites have published")


def _network(seen: Seen, rates: SiteRates | None) -> Figure:
    if seen.network_days:
        return Figure(seen.network_days, f"our own tasks, {_days(seen.network_days)}", by_day=True)
    if rates is not None and _is_there(rates.network_rate):
        values = tuple(share * (rates.network_rate or 0.0) for share in MEASURED_ONCE)
        return Figure(values, f"{_measured(rates)}, down to half of it")
    return Figure(PUBLISHED_NETWORK, "not measured: 10 to 30 Gbit/s, as other sites have published")


def _is_there(rate: float | None) -> bool:
    return rate is not None and rate > 0


def _seconds(measured: float | None, otherwise: float) -> float:
    return otherwise if measured is None else max(0.0, measured)


def _measured(rates: SiteRates) -> str:
    return f"doctor --measure{f' of {rates.measured_at[:10]}' if rates.measured_at else ''}"


def _days(values: tuple[float, ...]) -> str:
    return f"{len(values)} days" if len(values) != 1 else "1 day"

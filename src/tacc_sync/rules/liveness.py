"""Is a worker dead? Decided from its heartbeat, and from how long one host has seen it unchanged. Pure.

Guarantee: only two things count: certain knowledge about the process, and a beat number that did not change for a
whole lease as measured by one host's own uptime clock. Never a time stamp that another host wrote."""

from __future__ import annotations

from typing import NamedTuple

from tacc_sync.rules.documents import Struct, readable


class Lease(NamedTuple):
    """Seconds."""

    beat: float = 60.0
    # A worker that could not beat for half of this kills itself and its hsi (SUICIDE_SHARE below); so when the lease
    # has passed for an observer, the worker is gone.
    lease: float = 1800.0
    # Calls that were on the wire when a worker was fenced may still land in the renamed directories; nothing is given
    # back before they have had time to.
    grace: float = 900.0
    # The turn is held for milliseconds; its holder is presumed dead much sooner.
    turn: float = 120.0


# Must stay below 1: see Lease.lease, which an observer waits out in full.
SUICIDE_SHARE = 0.5


@readable
class Heartbeat(Struct, kw_only=True):
    """`claims/<worker>/heartbeat.json`: who it is, that it lives, and what it waits for."""

    worker: str
    component: str
    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: int
    slurm_job: str = ""
    version: str = ""
    beat_no: int = 0
    entered_at: str = ""
    beat_at: str = ""
    doing: str = ""
    waits_for: str = ""
    since: str = ""
    next: str = ""


@readable
class Seen(Struct, kw_only=True):
    """What an observer noted: this beat number, first seen at this uptime of this boot of its host."""

    boot_id: str
    uptime: float
    beat_no: int


def observe(previous: Seen | None, *, boot_id: str, uptime: float, beat_no: int) -> Seen:
    """The note to keep: the earlier one when nothing has changed since, a new one otherwise."""
    unchanged = (
        previous is not None
        and previous.boot_id == boot_id
        and previous.beat_no == beat_no
        and previous.uptime <= uptime
    )
    return previous if unchanged and previous else Seen(boot_id=boot_id, uptime=uptime, beat_no=beat_no)


def silent_for(seen: Seen, uptime: float) -> float:
    """Seconds for which the observer has seen no change."""
    return max(0.0, uptime - seen.uptime)


def must_die(last_beat_uptime: float, uptime: float, lease: Lease) -> bool:
    """Must a worker kill itself because it could not beat? (Others wait a whole lease before they take its claims.)"""
    return uptime - last_beat_uptime >= lease.lease * SUICIDE_SHARE

"""How often and how long to try: attempts and rests, decided from what the document says. Pure.

Guarantee: a file is given up only after `attempts` failures that were its own fault *and* `at_least` seconds since
the first of them (or at once, when the fault cannot heal). Faults of the world are never counted here at all."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from tacc_sync.rules.documents import File, Why, Work


class Patience(NamedTuple):
    """Seconds, but for `factor` and `attempts`."""

    first_rest: float = 60.0
    factor: float = 4.0
    longest_rest: float = 6 * 3600.0
    at_least: float = 3 * 86400.0
    attempts: int = 5
    # A unit that was being worked on when its worker died, so many times over, is suspected of killing it. Batch
    # systems kill workers too, so this is generous.
    deaths: int = 10


# What no repetition can heal: the next attempt would find the same.
CANNOT_HEAL = frozenset({"NAME-UNSPEAKABLE", "FILE-LARGER-THAN-BUFFER"})


def to_iso(epoch: float) -> str:
    """Epoch seconds as ISO 8601 in UTC, whole seconds."""
    return datetime.datetime.fromtimestamp(int(epoch), tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str) -> float:
    """ISO 8601 as epoch seconds; 0 for "", and for what is no time."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


def rest_after(failures: int, patience: Patience) -> float:
    """Seconds to rest after so many failures."""
    if failures <= 0:
        return 0.0
    return float(min(patience.first_rest * patience.factor ** min(failures - 1, 60), patience.longest_rest))


def note_failure(file: File, why: Why, now: float, patience: Patience) -> None:
    """Count a failure that is this file's own; decides whether it is given up."""
    file.failures += 1
    file.first_failed_at = file.first_failed_at or to_iso(now)
    file.why = Why(code=why.code, text=why.text, at=to_iso(now))
    worn_out = file.failures >= patience.attempts and now - from_iso(file.first_failed_at) >= patience.at_least
    if why.code in CANNOT_HEAL or worn_out:
        file.outcome = "failed"


def forget_failures(file: File) -> None:
    """A new phase begins, or the operator released the unit: count from zero."""
    file.failures = 0
    file.first_failed_at = ""


def rest_until(work: Work, now: float, patience: Patience) -> float:
    """Epoch seconds before which nothing is to be tried for this unit: the soonest that any of its open files is
    due."""
    rests = [rest_after(file.failures, patience) for file in work.files if file.outcome in {"waiting", "retrieved"}]
    return now + min(rests) if rests else now


def suspected_killer(work: Work, patience: Patience) -> bool:
    """Did too many workers die while they held this unit?"""
    return work.begun - work.ended >= patience.deaths

"""Forecasts in words: when it will be done, how that has moved, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tacc_sync.operator.words import duration
from tacc_sync.rules.forecast import WEEK, Forecast, judged, moved
from tacc_sync.rules.patience import from_iso

# Nearer than this, the hour is told too.
NEAR = 4 * 86400.0
# An older one says how old it is.
STALE = 2 * 86400.0
# Closer to a week than this is a week.
ABOUT_A_WEEK = 86400.0


def done_about(forecast: Forecast) -> str:
    """`done about 2027-01-03 (between 2026-12-30 and 2027-01-09)`."""
    if not forecast.p50:
        return "not done in any time that can be told"
    latest = _day(forecast, forecast.p90) if forecast.p90 else "never"
    return f"done about {_day(forecast, forecast.p50)} (between {_day(forecast, forecast.p10)} and {latest})"


def outlook(entries: Sequence[Forecast], now: float) -> str:
    """The last forecast, and how it has moved; "" when there is none."""
    if not entries:
        return ""
    last = entries[-1]
    text = done_about(last)
    before = moved(entries)
    if before is not None and before.age:
        when = "a week ago" if abs(before.age - WEEK) < ABOUT_A_WEEK else f"{duration(before.age)} before"
        said = _day(before.earlier, before.earlier.p50) if before.earlier.p50 else "never"
        text += f"; {when} it said {said}"
    age = now - from_iso(last.at)
    if age > STALE:
        text += f" (foretold {duration(age)} ago)"
    return text


def in_the_end(entries: Sequence[Forecast], finished_at: str) -> str:
    """What the forecast of the planning was worth; "" when there was none."""
    found = judged(entries, finished_at)
    if found is None:
        return ""
    first = entries[0]
    late = duration(abs(found.late))
    off = "to the second" if not round(found.late) else f"{late} {'after' if found.late > 0 else 'before'} it"
    latest = _day(first, first.p90) if first.p90 else "never"
    within = {
        "earlier": f"earlier than {_day(first, first.p10)}, the earliest foretold",
        "within": f"between {_day(first, first.p10)} and {latest}, as foretold",
        "later": f"later than {latest}, the latest foretold",
    }[found.verdict]
    return f"foretold at its planning for about {_day(first, first.p50)}: it was done {off}, {within}"


def _day(forecast: Forecast, when: str) -> str:
    near = from_iso(forecast.p90 or forecast.p50) - from_iso(forecast.at) < NEAR
    return when[:16].replace("T", " ") if near else when[:10]

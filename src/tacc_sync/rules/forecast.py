"""Forecasts of a request's end: what one says, how it has moved, and what became of it. Pure.

Guarantee: percentiles are in order, and lie within what the runs said; a forecast is compared with one that was really
made. Times are ISO 8601 in UTC with a `Z`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from tacc_sync.rules.documents import Struct, readable
from tacc_sync.rules.patience import from_iso, to_iso

# "It said a week ago": the entry next to that age is meant.
WEEK = 7 * 86400.0
# So many entries are kept; of more, the first ones, and the others ever farther apart the older they are.
MOST_ENTRIES = 120


class Forecast(Struct, kw_only=True, omit_defaults=False):
    """One forecast: when it was made, of how many bytes that were left, from how many runs; the times by which it is
    done in one of ten cases, in one of two, in nine of ten ("": never), and where its figures come from."""

    at: str
    bytes: int
    runs: int
    p10: str
    p50: str
    p90: str
    sources: dict[str, str] = msgspec.field(default_factory=dict)


@readable
class Forecasts(Struct, kw_only=True):
    """`forecasts.json`: those that were made of a request, the earliest first; that one is of its planning."""

    version: int
    request: str
    entries: list[Forecast] = msgspec.field(default_factory=list)


class Moved(NamedTuple):
    """An earlier forecast, and how old it is in seconds."""

    earlier: Forecast
    age: float


class Judged(NamedTuple):
    """What the first forecast was worth: whether the end lay within what it said, and how many seconds after its middle
    it came (negative: before)."""

    verdict: Literal["earlier", "within", "later"]
    late: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the values (in order) lies; between two of them, what lies between."""
    if not ordered:
        raise ValueError(ordered)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    if below == above or ordered[below] == ordered[above]:
        return ordered[below]
    if math.isinf(ordered[above]):
        # Half of never is never.
        return ordered[above] if place > below else ordered[below]
    between = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    return min(max(between, ordered[below]), ordered[above])


def forecast(ends: Sequence[float], *, now: float, size: int, sources: dict[str, str]) -> Forecast:
    """From the seconds that each run took (inf: it never ended)."""
    ordered = sorted(ends)
    p10, p50, p90 = (quantile(ordered, share) for share in (0.1, 0.5, 0.9))
    return Forecast(
        at=to_iso(now),
        bytes=size,
        runs=len(ordered),
        p10=_when(now, p10),
        p50=_when(now, p50),
        p90=_when(now, p90),
        sources=sources,
    )


def moved(entries: Sequence[Forecast]) -> Moved | None:
    """The entry that the last one is compared with: the one whose age is nearest to a week; None when there is none
    but the last."""
    if len(entries) < 2:
        return None
    last = from_iso(entries[-1].at)
    earlier = min(entries[:-1], key=lambda entry: abs(last - from_iso(entry.at) - WEEK))
    return Moved(earlier, max(0.0, last - from_iso(earlier.at)))


def essential(entries: Sequence[Forecast]) -> list[Forecast]:
    """The first one, the one that the last one is compared with, and the last one, in order, each once."""
    before = moved(entries)
    wanted = [*entries[:1], *([before.earlier] if before else []), *entries[-1:]]
    return [entry for number, entry in enumerate(wanted) if entry not in wanted[:number]]


def judged(entries: Sequence[Forecast], finished_at: str) -> Judged | None:
    """The first forecast against the fact; None when there was none, or none with an end."""
    if not entries or not entries[0].p50 or from_iso(entries[0].at) > from_iso(finished_at):
        return None
    first, end = entries[0], from_iso(finished_at)
    late = end - from_iso(first.p50)
    if end < from_iso(first.p10):
        return Judged("earlier", late)
    return Judged("later" if first.p90 and end > from_iso(first.p90) else "within", late)


def with_entry(entries: Sequence[Forecast], entry: Forecast) -> list[Forecast]:
    """Add one, the last; when there are many, every other one of the older half goes, but for the first."""
    # Where the figures came from is told of the last one.
    kept = [*(msgspec.structs.replace(each, sources={}) for each in entries), entry]
    if len(kept) > MOST_ENTRIES:
        half = len(kept) // 2
        kept = [kept[0], *kept[1:half:2], *kept[half:]]
    return kept


def _when(now: float, seconds: float) -> str:
    # Beyond what a calendar can say, too, nobody will see it.
    return to_iso(now + seconds) if seconds < 1e10 else ""

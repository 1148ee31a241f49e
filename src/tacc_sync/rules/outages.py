"""Outages that are known beforehand, once or again and again: how they are written, and when the sites are down. Pure.

`2026-12-09T08:00Z/12h` is one outage of twelve hours, `2026-12-02T08:00Z/10h/14d` one of ten hours every fourteen days
from then on. Times are epoch seconds, lengths seconds. Fails with `ValueError` of a text that is neither.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outage:
    """`every` 0: it comes once."""

    begin: float
    length: float
    every: float = 0.0


def parse_outage(text: str, seconds: Callable[[str], float]) -> Outage:
    """Read one; `seconds` reads a length of time."""
    begin, *lengths = (part.strip() for part in text.split("/"))
    if len(lengths) not in {1, 2}:
        raise ValueError(text)
    when = datetime.datetime.fromisoformat(begin)
    if when.tzinfo is None:
        # In whose time?
        raise ValueError(text)
    length, every = seconds(lengths[0]), seconds(lengths[1]) if len(lengths) == 2 else 0.0
    if length <= 0 or (len(lengths) == 2 and every <= length):
        raise ValueError(text)
    return Outage(when.timestamp(), length, every)


def spans(outages: Iterable[Outage], now: float, horizon: float) -> list[tuple[float, float]]:
    """When the sites are down from now on, for so many seconds: (begin, end) in seconds from now, in order, none
    touching another one."""
    found: list[tuple[float, float]] = []
    for outage in outages:
        first = outage.begin - now
        if not outage.every:
            found.append((first, first + outage.length))
            continue
        # The first one that is not over.
        number = max(0, math.ceil((-first - outage.length) / outage.every))
        while (begin := first + number * outage.every) < horizon:
            found.append((begin, begin + outage.length))
            number += 1
    merged: list[tuple[float, float]] = []
    for begin, end in sorted((max(0.0, begin), end) for begin, end in found if end > 0 and begin < horizon):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged

"""Forecasts, put together: what is left, what the site has been seen to do, the outages, and the simulation of it.

Guarantee: the workspace is only read, but for `keep_forecasts`.
Fails with `OperatorFault` CONFIG-BAD, and `OSError`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tacc_sync.campaign.forecast import Foretold, foretell
from tacc_sync.campaign.remains import Remains
from tacc_sync.campaign.tape_model import MEDIA
from tacc_sync.cli.edges import Edges
from tacc_sync.config import parse_outages, parse_seconds
from tacc_sync.operator import forecasts
from tacc_sync.operator.forecast_text import done_about
from tacc_sync.operator.forecasts import Open
from tacc_sync.operator.hands import hands
from tacc_sync.operator.words import counted, duration, size
from tacc_sync.pipeline.foresight import Foreseen
from tacc_sync.rules.basis import Basis, basis
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.forecast import Forecast, forecast
from tacc_sync.rules.identity import request_key
from tacc_sync.rules.outages import Outage, parse_outage, spans
from tacc_sync.rules.progress import Amount
from tacc_sync.workspace import site_rates

Spread = tuple[float, float, float]
# Rewind and robot, in seconds on the average.
UNLOAD = 100.0
# Seconds for which maintenance that comes again and again is looked ahead.
HORIZON = 20 * 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Told:
    """A forecast of one request, what it is built on, the runs, and how many other requests share the drives."""

    forecast: Forecast
    basis: Basis
    runs: Foretold
    others: int
    pieces: str
    asked: int

    def hours(self, carried: Amount, tapes: int) -> tuple[Spread, Spread]:
        """Hours of drives and of the network that a request of this size takes, each least, middle and most."""
        per_tape = self.basis.mount + UNLOAD
        drives = [(carried.bytes / rate + tapes * per_tape) / 3600 for rate in self.basis.drive.values]
        network = [carried.bytes / rate / 3600 for rate in self.basis.network.values]
        return _spread(drives), _spread(network)

    def lines(self, carried: Amount, tapes: int, quota: int) -> Iterator[str]:
        """For people."""
        runs, (drives, network) = self.runs, self.hours(carried, tapes)
        together = f", together with {counted(self.others, 'request')} under way" if self.others else ""
        yield f"  tape {_hours(drives)} of drives, network {_hours(network)}"
        mounts, most = sorted(runs.mounts)[runs.runs // 2], max(runs.most_reserved)
        of_quota = f" of {size(quota)}" if quota else ""
        yield f"  about {counted(mounts, 'mount')}, at most {size(most)}{of_quota} of the buffer{together}"
        yield f"  {done_about(self.forecast)}, if it is handed in now{together}"
        simulated = f"{runs.runs} runs" if runs.runs == self.asked else f"{runs.runs} of {self.asked} runs"
        yield f"    simulated in {simulated}{f', {self.pieces}' if self.pieces else ''}"
        for what, source in self.forecast.sources.items():
            yield f"    {what}: {source}"

    def document(self, carried: Amount, tapes: int) -> dict[str, Any]:
        """For programs."""
        drives, network = self.hours(carried, tapes)
        return {
            "at": self.forecast.at,
            "p10": self.forecast.p10,
            "p50": self.forecast.p50,
            "p90": self.forecast.p90,
            "runs": self.runs.runs,
            "runs_asked": self.asked,
            "taken_together": self.pieces,
            "other_requests": self.others,
            "drive_hours": drives,
            "network_hours": network,
            "mounts": sorted(self.runs.mounts)[self.runs.runs // 2],
            "most_reserved": max(self.runs.most_reserved),
            "drive_rates": self.runs.drive_rates,
            "network_rates": self.runs.network_rates,
            "sources": self.forecast.sources,
        }


def foretell_plan(edges: Edges, foreseen: Foreseen, carried: Amount, outages: Sequence[Outage]) -> Told | None:
    """When a request would be done that was handed in now, among those under way; None when nothing has to move."""
    if not carried.files:
        return None
    others = forecasts.open_requests(edges.disk)
    left = [unit.bytes for each in others for unit in each.left]
    remains = Remains(carried.files + len(left), carried.bytes + sum(left))
    request = foreseen.request
    key = request_key(request.request_id)
    remains.request(request.request_id, key, request.priority)
    for unit in foreseen.units():
        if unit.refused is None and not unit.loan:
            for file in unit.listed:
                remains.add(key, unit.tape, file.section, file.offset, file.size)
                remains.sample(unit.tape, file.section, file.offset, file.size)
    _add_open(remains, others)
    return _tell(edges, remains, outages)[key]


def foretell_open(edges: Edges, outages: Sequence[Outage]) -> dict[str, Told]:
    """When the requests under way will be done, by their keys; those of which nothing is left are left out."""
    found = forecasts.open_requests(edges.disk)
    left = [unit.bytes for each in found for unit in each.left]
    remains = Remains(len(left), sum(left))
    _add_open(remains, found)
    if not remains.count:
        return {}
    for work in forecasts.waiting_units(edges.disk):
        for file in work.files:
            remains.sample(tuple(work.tape), file.section, file.offset, file.size)
    return _tell(edges, remains, outages)


def keep_forecasts(edges: Edges, told: dict[str, Told]) -> None:
    """Keep them beside the finished units of each request."""
    with hands(edges.disk, edges.clock, edges.host) as home:
        for key, each in told.items():
            forecasts.keep(home, key, each.forecast)


def more_outages(texts: Sequence[str]) -> list[Outage]:
    """Outages that a person names on the command line."""
    try:
        return [parse_outage(text, parse_seconds) for text in texts]
    except (ValueError, OverflowError):
        raise OperatorFault(
            "USAGE", f"--outage cannot be {' '.join(texts)}", "write it like 2026-12-09T08:00Z/12h", EX_USAGE
        ) from None


def _add_open(remains: Remains, requests: Sequence[Open]) -> None:
    for each in requests:
        remains.request(each.request.request_id, each.key, each.request.priority)
        for unit in each.left:
            remains.add(each.key, unit.tape, unit.seq, 0, unit.bytes, max(1, round(each.files_of_a_unit)))


def _tell(edges: Edges, remains: Remains, outages: Sequence[Outage]) -> dict[str, Told]:
    settings, now = edges.settings, edges.clock.now()
    medium = MEDIA.get(settings.forecast.medium)
    if medium is None:
        raise OperatorFault(
            "CONFIG-BAD", f"`forecast.medium` cannot be {settings.forecast.medium!r}", f"one of {', '.join(MEDIA)}"
        )
    built_on = basis(
        forecasts.seen(edges.disk),
        site_rates.read(edges.disk),
        nominal=medium.rate,
        efficiency=remains.efficiency(medium.name),
        medium=medium.name,
    )
    down = spans([*parse_outages(settings.forecast), *outages], now, HORIZON)
    runs = foretell(remains, built_on, settings, down, cpu=time.process_time)
    sources = {**built_on.sources, "outages": f"{len(down)} planned" if down else "none are planned"}
    return {
        key: Told(
            forecast(ends, now=now, size=remains.bytes_of(key), sources=sources),
            built_on,
            runs,
            len(runs.ends) - 1,
            _pieces(remains),
            settings.forecast.runs,
        )
        for key, ends in runs.ends.items()
    }


def _spread(values: Sequence[float]) -> Spread:
    ordered = sorted(values)
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]


def _hours(spread: Spread) -> str:
    least, middle, most = (duration(3600 * hours) for hours in spread)
    return middle if least == most else f"{middle} ({least} to {most})"


def _pieces(remains: Remains) -> str:
    if not remains.grain:
        return ""
    return f"{remains.files:,} files taken together to {remains.count:,} pieces"

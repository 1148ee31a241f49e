"""The status as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacc_sync.operator.forecast_text import in_the_end, outlook
from tacc_sync.operator.places import STAGED
from tacc_sync.operator.standing import StandingStatus
from tacc_sync.operator.status import RequestStatus, Status
from tacc_sync.operator.words import counted, duration, files, percent, rate, size, table
from tacc_sync.operator.workers import ComponentStatus, WorkerStatus
from tacc_sync.rules.patience import from_iso
from tacc_sync.rules.progress import Amount
from tacc_sync.rules.route import FINISHED, QUARANTINE, UNIT_QUEUES

LATEST = 5


def lines(status: Status, *, now: float, everything: bool) -> Iterator[str]:
    """The status for people."""
    yield f"{status.workspace}, {status.at}"
    finished = [request for request in status.requests if request.state == "finished"]
    shown = finished if everything else finished[-LATEST:]
    if len(shown) < len(finished):
        yield ""
        yield f"{counted(len(finished) - len(shown), 'more request')} finished earlier (--all shows them)"
    for request in (*shown, *(r for r in status.requests if r.state != "finished")):
        yield ""
        yield from _request(request, now)
    if not status.requests:
        yield ""
        yield "No requests yet."
    if status.standing:
        yield ""
        for standing in status.standing:
            yield from standing_lines(standing, now)
    yield ""
    yield from table(_places(status))
    yield ""
    yield from table([_component(component, now) for component in status.components])
    attention = list(_attention(status, now))
    if attention:
        yield ""
        yield from attention


def _request(request: RequestStatus, now: float) -> Iterator[str]:
    by = f", by {request.requested_by}" if request.requested_by else ""
    label = f' "{request.label}"' if request.label else ""
    priority = f", priority {request.priority}" if request.priority else ""
    yield f"request {request.request}{label}{by}{priority}: {_state(request)}"
    sources = ", ".join(request.sources[:3]) + (" ..." if len(request.sources) > 3 else "")
    yield f"  {sources} -> {request.destination}"
    rows = [_amount("selected", request.selected, request.selected)]
    rows += [
        _amount(name, amount, request.selected)
        for name, amount in (
            ("already there", request.there),
            ("delivered", request.delivered),
            ("on the way", request.on_the_way),
            ("  of it retrieved", request.retrieved),
            ("quarantined", request.quarantined),
            ("abandoned", request.abandoned),
        )
        if amount.files
    ]
    yield from table(rows)
    places = [f"{request.units_by_place[p]} in {p}" for p in _ORDER if request.units_by_place.get(p)]
    yield f"  {counted(request.units, 'unit')}" + (f": {', '.join(places)}" if places else "")
    yield from _pace(request, now)
    if request.not_carried:
        entries = "entry" if request.not_carried == 1 else "entries"
        yield f"  {request.not_carried:,} {entries} not carried (no plain files; the request's document names them)"
    for warning in request.warnings:
        yield f"  warning: {warning}"


def standing_lines(standing: StandingStatus, now: float) -> Iterator[str]:
    """A standing request for people."""
    label = f' "{standing.label}"' if standing.label else ""
    name = f"standing request {standing.standing_id[:8]}{label}"
    if standing.state == "unreadable":
        yield f"{name}: cannot be read: {standing.error}"
        return
    yield f"{name}, every {duration(standing.every)}: {', '.join(standing.sources[:3])} -> {standing.destination}"
    run = (
        f"run {standing.run} (request {standing.request}, begun {standing.begun_at})" if standing.run else "no run yet"
    )
    left = from_iso(standing.due) - now
    coming = f"next at {standing.due}, in {duration(left)}" if left > 0 else f"next is due since {standing.due}"
    yield f"  {run}{_SAID[standing.state]}; {coming}"


_SAID: dict[str, str] = {
    "waiting": "",
    "beginning": " is being handed in",
    "under way": " is under way",
    "late": " is still under way; the next one begins when it is finished",
    "quarantine": " is in quarantine; the next one begins when it was released and is finished, or given up",
    "lost": " is nowhere any more",
}


_ORDER = (STAGED, *UNIT_QUEUES, QUARANTINE, FINISHED)


def _state(request: RequestStatus) -> str:
    if request.state == "finished":
        took = from_iso(request.finished_at) - from_iso(request.planned_at)
        return f"finished {request.finished_at}, {duration(took)} after it was planned"
    return f"{percent(request.delivered.bytes, request.selected.bytes)} delivered, planned {request.planned_at}"


def _amount(name: str, amount: Amount, whole: Amount) -> tuple[str, ...]:
    return f"  {name}", files(amount.files), size(amount.bytes), percent(amount.bytes, whole.bytes)


def _pace(request: RequestStatus, now: float) -> Iterator[str]:
    if request.state == "finished":
        if request.delivery.overall is not None:
            yield f"  {rate(request.delivery.overall)} overall"
        if said := in_the_end(request.forecasts, request.finished_at):
            yield f"  {said}"
        return
    for name, speed in (("from tape", request.retrieval), ("delivered", request.delivery)):
        if speed.overall is not None:
            yield f"  {name} {rate(speed.recent)} lately, {rate(speed.overall)} overall; last {speed.last_at}"
    if request.forecasts:
        yield f"  {outlook(request.forecasts, now)}"
    elif request.seconds_left is not None:
        yield f"  done in about {duration(request.seconds_left)}, {request.done_about}"


def _places(status: Status) -> list[tuple[str, ...]]:
    rows = []
    for place, found in status.places.items():
        if place == FINISHED:
            continue
        at_work = f"{found.claimed} at work" if found.claimed else ""
        rows.append((place, counted(found.units, "unit"), size(found.bytes), at_work))
    waiting = counted(len(status.inbox), "request")
    planning = f"{len(status.planning)} being planned" if status.planning else ""
    buffer = status.buffer
    quota = f"of {size(buffer.quota)}, {percent(buffer.reserved, buffer.quota)}" if buffer.quota else "no limit"
    return [
        ("inbox", waiting, "", planning),
        *rows,
        ("buffer", counted(buffer.units, "unit"), size(buffer.reserved), quota),
    ]


def _component(component: ComponentStatus, now: float) -> tuple[str, str]:
    if component.held is not None:
        return component.component, f"ON HOLD: {component.held or 'no reason given'}"
    if not component.workers:
        return component.component, "not running"
    told: dict[str, list[WorkerStatus]] = {}
    for worker in component.workers:
        told.setdefault(_worker(worker), []).append(worker)
    parts = []
    for text, workers in sorted(told.items()):
        since = min((worker.since for worker in workers if worker.since), default="")
        many = f"{len(workers)} x " if len(workers) > 1 else ""
        ago = f", for {duration(now - from_iso(since))}" if since else ""
        following = workers[0].next if workers[0].state == "waiting" else ""
        parts.append(many + text + ago + (f" (next: {following})" if following else ""))
    return component.component, "; ".join(parts)


def _worker(worker: WorkerStatus) -> str:
    where = f"process {worker.pid} on {worker.host}"
    match worker.state:
        case "dead":
            return f"DEAD: {where}; `tacc-sync run` takes its work back"
        case "silent":
            return f"OVERDUE: {where}, last heartbeat {worker.beat_at}"
        case "working":
            return worker.doing
    return f"waits for {worker.waits_for}" if worker.waits_for else "begins"


_AFTER = {
    "late": "its last run has not ended; `tacc-sync status` and `tacc-sync quarantine list` tell what it waits for",
    "quarantine": "its last run is in quarantine; release it or abandon it",
}


def _attention(status: Status, now: float) -> Iterator[str]:
    if status.quarantined_units or status.quarantined_requests:
        what = [
            counted(count, noun)
            for count, noun in (
                (status.quarantined_units, "unit"),
                (status.quarantined_requests, "request"),
            )
            if count
        ]
        yield f"! {' and '.join(what)} in quarantine: `tacc-sync quarantine list`"
    for label, why in status.cartridges_held.items():
        yield f"! cartridge {label} is ON HOLD: {why}"
        yield f"    see hold/cartridge~{label}; `tacc-sync unhold cartridge:{label}` lets it go on"
    for standing in status.standing:
        if standing.state == "lost":
            yield f"! standing request {standing.standing_id[:8]} waits for a run that is nowhere any more"
            yield f"    `tacc-sync standing change {standing.standing_id[:8]} --now` hands it in once more"
        elif standing.state == "late" or (standing.state == "quarantine" and from_iso(standing.due) <= now):
            yield f"! standing request {standing.standing_id[:8]} is late: {_AFTER[standing.state]}"
    if status.legacy_units:
        count = counted(len(status.legacy_units), "work unit")
        yield f"! {count} of the earlier tacc-sync, such as {status.legacy_units[0]}: run `tacc-sync adopt`"
    for path in status.strangers[:LATEST]:
        yield f"! {path} is nothing of ours: move it away"
    for path in status.unreadable[:LATEST]:
        yield f"! {path} cannot be read: `tacc-sync check` says why"
    if status.buffer.quota and status.buffer.reserved > status.buffer.quota:
        yield "! more is reserved than the quota allows; nothing is recalled until enough has been freed"

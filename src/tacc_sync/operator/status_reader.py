"""What is going on in a workspace: requests, units by place, sums, rates, what each component waits for.

Guarantee: read from the workspace alone, touching neither HPSS nor Globus nor the transfer buffer; nothing is
changed. Every file of a request is counted once; while units move, the figures are those of about now.
Fails with `OSError`; with `OperatorFault` REQUEST-UNKNOWN for a request that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable

from tacc_sync.operator import forecasts, places
from tacc_sync.operator.places import RequestSighting, Sighting
from tacc_sync.operator.standing import standings
from tacc_sync.operator.status import BufferStatus, PlaceStatus, RequestStatus, Status
from tacc_sync.operator.strangers import strangers
from tacc_sync.operator.workers import components
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.host.interface import Host
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.forecast import essential
from tacc_sync.rules.identity import SUFFIX, is_key, request_key
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.progress import Amount, Standing
from tacc_sync.rules.rates import Tempo, seconds_left
from tacc_sync.rules.route import FINISHED, INBOX, QUARANTINE, REQUEST_QUEUE, UNIT_QUEUES
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk

LOOKS = 3


class _Sums:
    """What is added up over the units of a request."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.retrieval = Tempo()
        self.delivery = Tempo()

    def add(self, part: _Sums) -> None:
        """Add what is known of another unit."""
        self.standing.merge(part.standing)
        self.retrieval.merge(part.retrieval)
        self.delivery.merge(part.delivery)


class Reader:
    """Reads the status, again and again if need be: what has settled in finished is not read twice."""

    def __init__(self, disk: Disk, clock: Clock, host: Host, settings: Settings) -> None:
        self._disk = disk
        self._clock = clock
        self._host = host
        self._settings = settings
        self._settled: dict[str, _Sums] = {}

    def read(self, only: str = "") -> Status:
        """The status; `only`: of the requests that this names (its id, or the beginning of its key, or its label)."""
        layout.open_workspace(self._disk)
        seen = list(places.requests(self._disk))
        unreadable: list[str] = []
        wanted = [status for status in self._requests(seen, unreadable) if _means(only, status)]
        if only and not wanted:
            waiting = [s.entry for s in seen if s.place in {INBOX, QUARANTINE} and only in s.entry]
            hint = f"; but {waiting[0]} is waiting or in quarantine" if waiting else ""
            raise OperatorFault(
                "REQUEST-UNKNOWN",
                f"no request here is {only}{hint}",
                "`tacc-sync status` lists them; finished ones too",
                EX_USAGE,
            )
        open_keys = [status.request for status in wanted if status.state == "open"]
        found = self._sum_up({status.request: status for status in wanted}, open_keys, unreadable)
        unknown, legacies = strangers(self._disk)
        reserved = queues.reservations(self._disk)
        in_quarantine = [s for s in found.values() if s.place == QUARANTINE]
        return Status(
            workspace=self._disk.root,
            at=to_iso(self._clock.now()),
            requests=wanted,
            inbox=[s.entry for s in seen if s.place == INBOX and not s.by],
            planning=[s.entry for s in seen if s.place == INBOX and s.by],
            places=_by_place(found.values()),
            buffer=BufferStatus(self._settings.buffer.quota, sum(reserved.values()), len(reserved)),
            components=components(self._disk, self._clock, self._host, self._settings.lease.beat),
            quarantined_units=len(in_quarantine),
            quarantined_requests=sum(s.place == QUARANTINE for s in seen),
            strangers=unknown,
            legacy_units=legacies,
            unreadable=unreadable,
            standing=standings(self._disk, self._clock.now()),
            cartridges_held={
                name.removeprefix(layout.OF_CARTRIDGE): why
                for name, why in queues.held(self._disk).items()
                if name.startswith(layout.OF_CARTRIDGE)
            },
        )

    # --- requests ---------------------------------------------------------------------------------------------

    def _requests(self, seen: Iterable[RequestSighting], unreadable: list[str]) -> list[RequestStatus]:
        found: dict[str, RequestStatus] = {}
        for sighting in seen:
            if sighting.place == REQUEST_QUEUE:
                self._request(sighting.path, "open", found, unreadable)
            elif sighting.place == QUARANTINE:
                # Only one that has a plan, and so units: the others are listed with the quarantine.
                self._request(sighting.path, "quarantined", found, [])
        for key in places.finished_keys(self._disk):
            self._request(f"{layout.finished(key)}/request{SUFFIX}", "finished", found, unreadable)
        order = {"open": 1, "quarantined": 2, "finished": 0}
        return sorted(found.values(), key=lambda status: (order[status.state], status.planned_at))

    def _request(self, path: str, state: str, found: dict[str, RequestStatus], unreadable: list[str]) -> None:
        try:
            request = queues.read_request(self._disk, path)
        except FileNotFoundError:
            return
        except (BadDocument, NewerDocument, OSError):
            unreadable.append(path)
            return
        if request.plan is None:
            if state != "quarantined":
                unreadable.append(path)
            return
        key = request_key(request.request_id)
        if not is_key(key):
            unreadable.append(path)
            return
        if state == "quarantined":
            if key in found:
                return
            state = "open"
        status = found[key] = _status_of(request, key, state)
        status.forecasts = essential(forecasts.read(self._disk, key))

    # --- units ------------------------------------------------------------------------------------------------

    def _sum_up(
        self, wanted: dict[str, RequestStatus], open_keys: list[str], unreadable: list[str]
    ) -> dict[str, Sighting]:
        """Read the units of the open requests and add them up; where all units were seen."""
        sums = {key: _Sums() for key in open_keys}
        found: dict[str, Sighting] = {}
        read: set[str] = set()
        for _ in range(LOOKS):
            found = places.furthest(places.units(self._disk, open_keys))
            moved = False
            for unit, sighting in found.items():
                key = sighting.unit.request
                if unit in read or key not in sums:
                    continue
                try:
                    part = self._unit(sighting)
                except FileNotFoundError:
                    moved = True  # it went on between the listing and now: look for it again
                    continue
                except (BadDocument, NewerDocument, OSError):
                    unreadable.append(sighting.path)
                    part = _Sums()
                read.add(unit)
                sums[key].add(part)
            if not moved:
                break
        for key, total in sums.items():
            self._fill(wanted[key], total)
        for sighting in found.values():
            status = wanted.get(sighting.unit.request)
            if status is not None and status.state == "open":
                status.units_by_place[sighting.place] = status.units_by_place.get(sighting.place, 0) + 1
        return found

    def _unit(self, sighting: Sighting) -> _Sums:
        unit = sighting.unit.unit
        if sighting.place == FINISHED and unit in self._settled:
            return self._settled[unit]
        work = queues.read_work(self._disk, sighting.path)
        found = _Sums()
        found.standing.add(work, quarantined=sighting.place == QUARANTINE)
        for file in work.files:
            if file.retrieved_at:
                found.retrieval.add(file.retrieved_at, file.size)
            if file.delivered_at:
                found.delivery.add(file.delivered_at, file.size)
        if sighting.place == FINISHED:
            self._settled[unit] = found
        return found

    def _fill(self, status: RequestStatus, sums: _Sums) -> None:
        standing = sums.standing
        status.there = standing.there
        status.delivered, status.abandoned = standing.delivered, standing.abandoned
        status.quarantined, status.retrieved = standing.quarantined, standing.retrieved
        # What was seen nowhere is moving right now.
        missed_files = status.selected.files - standing.total.files
        missed_bytes = status.selected.bytes - standing.total.bytes
        status.on_the_way = standing.on_the_way + Amount(max(0, missed_files), max(0, missed_bytes))
        for speed, tempo in ((status.retrieval, sums.retrieval), (status.delivery, sums.delivery)):
            speed.recent = tempo.recently(status.planned_at)
            speed.overall = tempo.overall(status.planned_at)
            speed.last_at = tempo.last_at
        status.seconds_left = seconds_left(status.on_the_way.bytes, status.delivery.recent)
        if status.seconds_left is not None:
            status.done_about = to_iso(self._clock.now() + status.seconds_left)


def _status_of(request: Request, key: str, state: str) -> RequestStatus:
    plan, result = request.plan, request.result
    assert plan is not None
    status = RequestStatus(
        request=key,
        request_id=request.request_id,
        state=state,
        label=request.label,
        requested_by=request.requested_by,
        priority=request.priority,
        sources=request.sources,
        destination=request.destination,
        planned_at=plan.planned_at,
        selected=Amount(plan.files, plan.bytes),
        units=len(plan.units),
        not_carried=len(plan.strange),
        warnings=plan.warnings,
    )
    if state == "finished" and result is not None:
        status.finished_at = result.finished_at
        status.there = Amount(result.there_files, result.there_bytes)
        status.delivered = Amount(result.delivered_files, result.delivered_bytes)
        status.abandoned = Amount(result.abandoned_files, result.abandoned_bytes)
        status.units_by_place = {FINISHED: len(plan.units)}
        tempo = Tempo()
        tempo.add(result.finished_at, result.delivered_bytes)
        status.delivery.overall = tempo.overall(plan.planned_at)
    return status


def _means(only: str, status: RequestStatus) -> bool:
    plain = only.replace("-", "")
    by_key = len(plain) >= 4 and status.request.startswith(plain[:12])
    return not only or only in {status.request_id, status.label} or by_key


def _by_place(sightings: Iterable[Sighting]) -> dict[str, PlaceStatus]:
    found = {place: PlaceStatus() for place in (places.STAGED, *UNIT_QUEUES, QUARANTINE, FINISHED)}
    for sighting in sightings:
        status = found[sighting.place]
        status.units += 1
        status.claimed += bool(sighting.by) and sighting.place in UNIT_QUEUES
        status.bytes += sighting.unit.bytes
    if not found[places.STAGED].units:
        del found[places.STAGED]
    return found

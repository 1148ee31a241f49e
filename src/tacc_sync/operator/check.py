"""Reading the whole workspace for `check`, again and again until two readings agree, so that it may run while
components do.

Guarantee: nothing is changed, nothing outside is asked. A finding is reported only of a moment in
which nothing had moved while it was read, or, when the workspace does not come to rest, if it stood unchanged in
several readings.
Fails with `OSError`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tacc_sync.operator import places, quarantine
from tacc_sync.operator.buffer_check import check_buffer
from tacc_sync.operator.places import Sighting
from tacc_sync.operator.standing import standings
from tacc_sync.operator.strangers import strangers
from tacc_sync.operator.workers import identity_of
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.host.interface import Host
from tacc_sync.rules import audit, documents, identity, sanity
from tacc_sync.rules.audit import Finding, Reading, RequestFacts, SumOfRequest, UnitFacts, Vacant
from tacc_sync.rules.certificate import CERTIFICATE, CHECKSUMS, MANIFEST
from tacc_sync.rules.documents import Admission, BadDocument, NewerDocument, Request
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.rules.identity import SUFFIX, UnitName, is_worker, request_key
from tacc_sync.rules.route import CLAIMABLE, HPSS_QUEUE, INBOX, QUARANTINE, REQUEST_QUEUE
from tacc_sync.workspace import chain, layout, ownership, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import HEARTBEAT, STAGING, TURN

READINGS = 12
PAUSE = 0.25
MANIFESTS = (MANIFEST, CHECKSUMS)
ADMITTED = "admitted.json"


@dataclass(slots=True)
class Report:
    """What `check` found. `steady`: whether a moment was caught in which nothing moved."""

    steady: bool
    findings: list[Finding]
    sums: list[SumOfRequest]
    units: int
    buffer_bytes: int | None
    reading: Reading

    @property
    def broken(self) -> list[Finding]:
        """The findings that contradict a law."""
        return [finding for finding in self.findings if finding.severity == "broken"]


class Checker:
    """Reads and judges a workspace, and the transfer buffer when there is one."""

    def __init__(
        self,
        disk: Disk,
        buffer: Disk | None,
        clock: Clock,
        host: Host,
        quota: int,
        also_at: Collection[str] = (),
    ) -> None:
        self._disk = disk
        self._buffer = buffer
        self._clock = clock
        self._host = host
        self._quota = quota
        self._also_at = also_at

    def check(self) -> Report:
        """Read until two consecutive readings agree; at last take what all of the last readings found."""
        layout.open_incomplete(self._disk)
        before = self._names()
        stood: dict[Finding, None] | None = None
        for _ in range(READINGS):
            report = self._read()
            after = self._names()
            if before == after:
                report.steady = True
                return report
            # A finding that is due to movement does not survive: it would have to be the same each time.
            found = dict.fromkeys(report.findings)
            stood = found if stood is None else {finding: None for finding in stood if finding in found}
            before = after
            self._clock.sleep(PAUSE)
        report.findings = list(stood or ())
        wrong = {finding.where for finding in report.findings if finding.code == "SUM-WRONG"}
        for each in report.sums:
            each.agrees = each.request not in wrong
        return report

    def _names(self) -> dict[str, list[str]]:
        """All names that matter, by directory."""
        disk = self._disk
        directories = [d for d in layout.DIRECTORIES if d not in {layout.OBSERVED, layout.HOLD}]
        directories += [layout.finished(key) for key in places.finished_keys(disk)]
        for worker in places.names(disk, layout.CLAIMS):
            directories += [f"{layout.CLAIMS}/{worker}/{folder}" for folder in (*CLAIMABLE, TURN)]
            staging = f"{layout.CLAIMS}/{worker}/{STAGING}"
            for stem in places.names(disk, staging):
                directories += [f"{staging}/{stem}/{folder}" for folder in (HPSS_QUEUE, QUARANTINE)]
        return {directory: sorted(places.names(disk, directory)) for directory in directories}

    # --- one reading ------------------------------------------------------------------------------------------

    def _read(self) -> Report:
        reading = Reading(quota=self._quota)
        disk = self._disk
        reading.requests = self._requests(reading)
        sightings = list(places.units(disk, places.finished_keys(disk)))
        reading.units = [self._unit(sighting) for sighting in sightings]
        for name in places.names(disk, layout.RESERVATIONS):
            unit, _, size = name.rpartition(".")
            parsed = identity.parse_unit(unit)
            if parsed is not None and queues.is_number(size):
                reading.reservations.append((parsed, int(size)))
        reading.slots = _parsed(places.names(disk, layout.SLOTS))
        reading.loans = _parsed(places.names(disk, layout.LOANS))
        reading.rests = _parsed(name.rpartition("~")[0] for name in places.names(disk, layout.RESTS))
        self._owner(reading)
        self._directories(reading)
        self._homes(reading)
        self._strangers(reading)
        self._standing(reading)
        self._quarantine(reading)
        findings = audit.judge(reading)
        buffer_bytes = None
        if self._buffer is not None:
            buffer_bytes, more = check_buffer(self._buffer, reading)
            findings += more
        return Report(
            steady=False,
            findings=findings,
            sums=audit.sums(reading),
            units=len(reading.units),
            buffer_bytes=buffer_bytes,
            reading=reading,
        )

    def _unit(self, sighting: Sighting) -> UnitFacts:
        unit, place, path, _by = sighting
        try:
            work = queues.read_work(self._disk, path)
        except FileNotFoundError:
            # It has just moved: this reading will not count.
            return UnitFacts(unit, place, path)
        except NewerDocument as newer:
            return UnitFacts(unit, place, path, error=f"written by a newer tacc-sync (version {newer})")
        except (BadDocument, OSError) as error:
            return UnitFacts(unit, place, path, error=str(error))
        return audit.facts_of(work, unit, place, path)

    def _requests(self, reading: Reading) -> list[RequestFacts]:
        found: dict[str, RequestFacts] = {}
        for sighting in places.requests(self._disk):
            if sighting.place == INBOX:
                continue
            facts = self._request(reading, sighting.path, in_quarantine=sighting.place == QUARANTINE)
            if facts is None:
                continue
            if sighting.place == REQUEST_QUEUE and sighting.entry != f"{facts.key}{SUFFIX}":
                text = f"it is request {facts.key}, under another name"
                reading.noted.append(Finding("broken", "REQUEST-NAME", sighting.path, text, "give it its own name"))
            _keep(found, facts)
        for key in places.finished_keys(self._disk):
            path = f"{layout.finished(key)}/request{SUFFIX}"
            facts = self._request(reading, path, in_quarantine=False)
            if facts is not None:
                facts.finished = True
                facts.has_manifest = all(self._disk.status(f"{layout.finished(key)}/{name}") for name in MANIFESTS)
                number = facts.result.certificate if facts.result else 0
                certified = (f"{layout.finished(key)}/{CERTIFICATE}", chain.entry(number))
                facts.has_certificate = all(self._disk.status(path) is not None for path in certified)
                _keep(found, facts)
        return list(found.values())

    def _request(self, reading: Reading, path: str, *, in_quarantine: bool) -> RequestFacts | None:
        try:
            request: Request = queues.read_request(self._disk, path)
        except FileNotFoundError:
            return None
        except (BadDocument, NewerDocument, OSError) as error:
            if not in_quarantine:  # there it is expected, and listed
                text = str(error) or "written by a newer tacc-sync"
                reading.noted.append(Finding("broken", "DOCUMENT-BAD", path, text, "mend or restore the document"))
            return None
        # What the syncer put into quarantine was never committed, whatever it says of a plan.
        if request.plan is None or path.startswith(layout.quarantine("syncer") + "/"):
            return None
        facts = RequestFacts(request_key(request.request_id), path, request.plan, request.result)
        try:
            sanity.check_request(request, facts.key)
        except BadDocument as bad:
            if not in_quarantine:
                reading.noted.append(Finding("broken", "DOCUMENT-BAD", path, bad.text, bad.remedy))
            # Its key may be anything: nothing is looked for, or made, under that name.
            return facts
        token = request.admitted.token if request.admitted is not None else ""
        facts.admitted = token == self._admitted(facts.key)
        return facts

    def _admitted(self, key: str) -> str | None:
        try:
            content = queues.read_document(self._disk, f"{layout.finished(key)}/{ADMITTED}", 65536)
        except (FileNotFoundError, NotADirectoryError, BadDocument):
            return None
        found = documents.decode_or_none(content, Admission)
        return found.token if found is not None else None

    def _owner(self, reading: Reading) -> None:
        try:
            ownership.must_be_ours(self._disk, self._buffer, self._also_at)
        except OperatorFault as fault:
            reading.noted.append(Finding("broken", fault.code, layout.IDENTITY, fault.text, fault.remedy))

    def _directories(self, reading: Reading) -> None:
        wanted = [*layout.DIRECTORIES, *(layout.finished(r.key) for r in reading.requests if identity.is_key(r.key))]
        for directory in wanted:
            if self._disk.status(directory) is None:
                reading.missing_directories.append(directory)
                text = "the directory is missing, and nothing can move into it"
                reading.noted.append(
                    Finding("broken", "DIRECTORY-MISSING", directory, text, "`tacc-sync check --repair`")
                )

    # --- what must have an owner ------------------------------------------------------------------------------

    def _homes(self, reading: Reading) -> None:
        disk = self._disk
        if disk.status(layout.TURN) is not None:
            reading.turns.append(layout.TURN)
        for name in places.names(disk, layout.CLAIMS):
            home = f"{layout.CLAIMS}/{name}"
            if any(places.names(disk, f"{home}/{folder}") for folder in (INBOX, REQUEST_QUEUE)):
                reading.requests_claimed = True
            turn = f"{home}/{TURN}/{layout.TURN}"
            if disk.status(turn) is not None:
                reading.turns.append(turn)
            if name.startswith(layout.DEAD):
                # Until it is drained, what it held has an owner.
                reading.homes.add(name.removeprefix(layout.DEAD).rpartition("~")[0])
                self._leftover(reading, name, "a fenced worker's home")
                reading.vacant.append(self._vacant(name))
            elif is_worker(name):
                reading.homes.add(name)
                beat = queues.heartbeat(disk, name)
                if beat is not None and self._host.is_certainly_dead(identity_of(beat)):
                    self._leftover(reading, name, "the home of a worker whose process is gone")
            elif name.startswith(layout.UNBORN):
                self._leftover(reading, name, "a home that was never finished")
                reading.vacant.append(self._vacant(name))
            else:
                self._leftover(reading, name, "nothing of ours")
        for label in sorted(places.names(disk, layout.CARTRIDGES)):
            try:
                holder = queues.read_document(disk, f"{layout.CARTRIDGES}/{label}", 4096)
            except FileNotFoundError:
                continue
            except BadDocument:
                holder = b""
            reading.cartridges[label] = holder.decode("utf-8", "replace")

    def _vacant(self, name: str) -> Vacant:
        home = f"{layout.CLAIMS}/{name}"
        beat = queues.heartbeat(self._disk, name)
        there = set(places.names(self._disk, home))
        folders = (*CLAIMABLE, TURN, STAGING)
        is_empty = there <= {HEARTBEAT, *folders} and not any(
            places.names(self._disk, f"{home}/{folder}") for folder in folders
        )
        is_dead = beat is not None and self._host.is_certainly_dead(identity_of(beat))
        return Vacant(name, is_dead, HEARTBEAT in there, is_empty)

    def _leftover(self, reading: Reading, name: str, what: str) -> None:
        claims = [
            f"{folder}/{entry}"
            for folder in CLAIMABLE
            for entry in places.names(self._disk, f"{layout.CLAIMS}/{name}/{folder}")
        ]
        text = what + (f", with {len(claims)} claims: {', '.join(claims[:3])}" if claims else "")
        path = f"{layout.CLAIMS}/{name}"
        reading.noted.append(Finding("untidy", "LEFTOVER", path, text, "`tacc-sync run` gives back what is in it"))

    def _strangers(self, reading: Reading) -> None:
        unknown, legacies = strangers(self._disk)
        away = "move it out of the workspace"
        reading.noted += [Finding("untidy", "STRANGER", path, "nothing of ours", away) for path in unknown]
        theirs = "a work unit of the earlier tacc-sync"
        reading.noted += [Finding("untidy", "STRANGER", path, theirs, "run `tacc-sync adopt`") for path in legacies]

    def _standing(self, reading: Reading) -> None:
        for each in standings(self._disk, self._clock.now()):
            if each.state == "unreadable":
                remedy = "mend or restore the document, or remove it"
                reading.noted.append(Finding("broken", "DOCUMENT-BAD", each.path, each.error, remedy))
            elif each.state == "lost":
                text = f"it waits for its run {each.run}, request {each.request}, which is nowhere any more"
                remedy = f"`tacc-sync standing change {each.standing_id} --now` hands it in once more"
                reading.noted.append(Finding("untidy", "STANDING-RUN-LOST", each.path, text, remedy))

    def _quarantine(self, reading: Reading) -> None:
        for entry in quarantine.entries(self._disk):
            if not entry.document:
                text = "a reason without a document, which has gone on"
                remedy = "`tacc-sync check --repair` removes it"
                reading.orphaned_reasons.append(entry.why_path)
                reading.noted.append(Finding("untidy", "REASON-ORPHAN", entry.why_path, text, remedy))
            elif not entry.code:
                text = "nobody has written why it lies here"
                remedy = "look at the log of that time; then release or abandon it"
                reading.noted.append(Finding("untidy", "REASON-MISSING", entry.path, text, remedy))


def _keep(found: dict[str, RequestFacts], facts: RequestFacts) -> None:
    earlier = found.get(facts.key)
    if earlier is not None:
        facts.copies = earlier.copies + 1
    found[facts.key] = facts


def _parsed(names: Iterator[str] | list[str]) -> list[UnitName]:
    return [unit for unit in map(identity.parse_unit, names) if unit is not None]

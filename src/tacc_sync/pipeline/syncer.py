"""The syncer: takes a request from inbox, puts its work into hpss_queue, moves the request to request_queue.

Guarantee: a request is planned at one instant, the rename into request_queue: before it nothing of the plan is
visible, after it all of it will be, whoever dies when. A listing that broke off makes no plan. What cannot be
understood is kept, byte for byte, with the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from tacc_sync.outside.checksums.interface import Voucher
from tacc_sync.outside.globus.interface import Globus
from tacc_sync.outside.hpss.interface import Hpss, Listing
from tacc_sync.pipeline.already_there import AlreadyThere
from tacc_sync.pipeline.checkpoint import RequestCheckpoint, Sweep, forget
from tacc_sync.pipeline.loans import Loans
from tacc_sync.pipeline.planning import Planning, Prepared, must_be_shown, size_of_units, strange_in, units_of
from tacc_sync.pipeline.renewal import Renewal
from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.rules import documents, legacy, selection
from tacc_sync.rules.batches import PlannedUnit
from tacc_sync.rules.documents import Admission, BadDocument, NewerDocument, Plan, Request, Strange, Work
from tacc_sync.rules.faults import Fault, WorkFault, WorldFault
from tacc_sync.rules.identity import SUFFIX, printable, request_key
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.route import FINISHED, HPSS_QUEUE, INBOX, QUARANTINE, REQUEST_QUEUE
from tacc_sync.workspace import earlier, layout, queues, site_rates
from tacc_sync.workspace.earlier import Index
from tacc_sync.workspace.home import STAGING, create_once, make_directory
from tacc_sync.workspace.quarantine import quarantine_stranger, why
from tacc_sync.workspace.recovery import publish, remove_tree, unique_entry

ADMITTED = "admitted.json"
# Seconds until a request is listed again whose listing broke off.
LISTING_PAUSE = 600.0
# It may be one tree alone of which these are said.
LISTING_FAULTS = frozenset({"HPSS-LISTING-BROKEN", "GLOBUS-REFUSED", "CATALOG-AWAY", "CATALOG-STRANGE"})
# How often the turn is waited for before a request is put back.
TURNS = 20


class _IdInUse(BadDocument):
    """Another request of this workspace has this id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            "request_id",
            f"{request_id} is in use in this workspace (its first twelve hex digits count)",
            "leave `request_id` out, and the request gets a new one",
        )


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of an unreadable file in the inbox, and when (uptime)."""

    fingerprint: str
    since: float


class Syncer:
    """One worker that plans one request at a time."""

    def __init__(
        self, bench: Bench, hpss: Hpss, globus: Globus | None = None, vouchers: Sequence[Voucher] = ()
    ) -> None:
        """Without `globus` the destination is not looked at."""
        self._bench = bench
        self._hpss = hpss
        self._planning = Planning(
            hpss, AlreadyThere(bench, globus), vouchers, asks_for_hashes=bench.settings.hsi.hashes
        )
        self._loans = Loans(bench)
        self._renewal = Renewal(bench)
        self._sweep = Sweep(bench)
        self._looks: dict[str, _Look] = {}
        self._resting: dict[str, tuple[float, WorldFault]] = {}

    def step(self) -> Step:
        """Take the first request of the inbox that can be taken."""
        disk = self._bench.disk
        settled = self._loans.settle_one() or self._renewal.renew_one()
        if settled is not None:
            return settled
        names = sorted(name for name in disk.names(INBOX) if layout.is_document(name))
        self._looks = {name: look for name, look in self._looks.items() if name in names}
        now = self._bench.home.clock.now()
        self._resting = {n: rest for n, rest in self._resting.items() if n in names and rest[0] > now}
        waits: Waits | None = None
        for name in names:
            step = None if name in self._resting else self._consider(name)
            if isinstance(step, Moved):
                return step
            waits = waits or step
        self._sweep.look()
        if self._resting and waits is None:
            # Nothing else to do than to wait for HPSS to list what was asked for.
            raise next(iter(self._resting.values()))[1]
        return waits or self._renewal.waits()

    def _consider(self, name: str) -> Step | None:
        """Take one file of the inbox; None when it has just gone."""
        try:
            content = queues.read_document(self._bench.disk, f"{INBOX}/{name}", documents.MAX_REQUEST_BYTES)
        except FileNotFoundError:
            return None
        except BadDocument as error:
            return self._quarantine(name, error)
        try:
            request = self._read(content)
        except NewerDocument:
            return Waits(f"a newer tacc-sync, for which inbox/{printable(name)} is meant", "upgrade this host")
        except BadDocument as error:
            return self._refuse(name, content, error)
        except WorkFault as fault:
            return self._quarantine(name, fault)
        return self._sync(name, request)

    # --- reading a request ------------------------------------------------------------------------------------

    def _read(self, content: bytes) -> Request:
        fields = documents.fields_of(content)
        if legacy.is_legacy_work(fields):
            raise WorkFault(
                "DOCUMENT-BAD", "this is a work unit of the earlier tacc-sync", "hand it to `tacc-sync adopt`"
            )
        if legacy.is_legacy_request(fields):
            section = self._bench.settings.legacy
            return legacy.convert_request(content, section.hpss_base_path, section.tacc_base_path)
        request = documents.decode(content, Request)
        selection.validate(request)
        must_be_shown(request, self._bench.settings)
        return request

    def _refuse(self, name: str, content: bytes, error: BadDocument) -> Step:
        """A bad request is quarantined; but what is not even JSON may be a file that somebody is still copying in."""
        try:
            documents.fields_of(content)
        except BadDocument:
            uptime = self._bench.home.clock.uptime()
            fingerprint = hashlib.sha256(content).hexdigest()
            look = self._looks.get(name)
            if look is None or look.fingerprint != fingerprint:
                look = self._looks[name] = _Look(fingerprint, uptime)
            left = self._bench.settings.run.settle - (uptime - look.since)
            if left > 0:
                return Waits(
                    f"the end of inbox/{printable(name)}: it does not parse, somebody may still be copying it",
                    "it is quarantined if it does not change",
                    self._bench.home.clock.now() + left,
                    moving=True,
                )
        return self._quarantine(name, error)

    def _quarantine(self, name: str, fault: Fault) -> Step:
        claimed = self._bench.home.claim(INBOX, name)
        if claimed is None:
            return Waits("another worker's move", moving=True)
        return self._quarantine_claimed(claimed, fault)

    def _quarantine_claimed(self, claimed: str, fault: Fault) -> Step:
        path = quarantine_stranger(self._bench.home, claimed, "syncer", fault)
        self._bench.report("request_quarantined", component="syncer", path=path, code=fault.code, text=fault.text)
        return Moved(f"quarantined {path}")

    # --- planning ---------------------------------------------------------------------------------------------

    def _sync(self, name: str, request: Request) -> Step:
        bench = self._bench
        self._hpss.check_up()
        # Durable: staging without the claim beside it means that the request was committed.
        claimed = bench.home.claim(INBOX, name, durable=True)
        if claimed is None:
            return Waits("another worker's move", moving=True)
        try:
            self._must_be_new(request)
            request.request_id = request.request_id or bench.home.host.new_uuid()
            key = request_key(request.request_id)
            bench.home.beat(doing=f"lists {', '.join(map(printable, request.sources))} for request {key}")
            bench.report("request_claimed", component="syncer", request=key, path=name)
            checkpoint = RequestCheckpoint(bench, request, claimed)
            listing = self._list(request, checkpoint)
            strange = strange_in(request, listing.refused)
            others = earlier.committed(bench.disk)
            unfinished = sorted(others.intersection(queues.requests(bench.disk)))

            def say(listed: int) -> None:
                bench.home.beat(doing=f"plans request {key}: {listed} of {len(listing.files)} files")

            prepared = self._planning.prepare(request, listing, unfinished, say)
        except _IdInUse as fault:
            return self._drop_or_quarantine(claimed, request, fault)
        except WorkFault as fault:
            step = self._quarantine_claimed(claimed, fault)
            forget(bench, request)
            return step
        except WorldFault as fault:
            if fault.code not in LISTING_FAULTS:
                raise
            return self._let_rest(claimed, fault)
        return self._plan(claimed, request, prepared, strange, others)

    def _let_rest(self, claimed: str, fault: WorldFault) -> Step:
        """It may be this tree alone that cannot be listed: the others behind it in the inbox are not held up."""
        home = self._bench.home
        entry = unique_entry(claimed.rpartition("/")[2], home.host.token())
        home.move(claimed, f"{INBOX}/{entry}")
        self._resting[entry] = (home.clock.now() + LISTING_PAUSE, fault)
        self._bench.report("listing_broken", component="syncer", path=entry, code=fault.code, text=fault.text)
        return Moved(f"put {entry} back")

    def _must_be_new(self, request: Request) -> None:
        """Refuse an id that is in use; a request that was drained in the middle of its planning is let through."""
        if not request.request_id:
            return
        key = request_key(request.request_id)
        disk = self._bench.disk
        admitted = self._admitted(key)
        ours = admitted is None or (request.admitted is not None and admitted == request.admitted.token)
        places = (layout.entry(REQUEST_QUEUE, key), f"{layout.finished(key)}/request.json")
        claimed = [f"{layout.CLAIMS}/{worker}/{REQUEST_QUEUE}/{key}{SUFFIX}" for worker in disk.names(layout.CLAIMS)]
        # Along the way that a request goes, and the first place once more, so that one that moves meanwhile is not
        # missed.
        if not ours or any(disk.status(path) for path in (*places, *claimed, *places)):
            raise _IdInUse(request.request_id)

    def _drop_or_quarantine(self, claimed: str, request: Request, fault: WorkFault) -> Step:
        if not request.standing:
            return self._quarantine_claimed(claimed, fault)
        # Who handed in this run was cut off, and it was handed in once more: the other copy, of the same id, goes on.
        self._bench.home.take_away(claimed)
        key = request_key(request.request_id)
        self._bench.report("run_dropped", component="syncer", standing=request.standing, run=request.run, request=key)
        return Moved(f"dropped a second copy of request {key}")

    def _admitted(self, key: str) -> str | None:
        try:
            content = self._bench.disk.read(f"{layout.finished(key)}/{ADMITTED}", 65536)
        except FileNotFoundError:
            return None
        found = documents.decode_or_none(content, Admission)
        # Unreadable, it is still somebody's: the id is in use.
        return found.token if found is not None else ""

    def _list(self, request: Request, checkpoint: RequestCheckpoint) -> Listing:
        named = selection.named_files(request)
        if named:
            return self._hpss.list_files(named)
        return self._hpss.list_trees(selection.listing_roots(request), checkpoint)

    def _plan(
        self, claimed: str, request: Request, prepared: Prepared, strange: list[Strange], others: set[str]
    ) -> Step:
        home = self._bench.home
        self._fix_size_of_units(claimed, request)
        stem = claimed.rpartition("/")[2].removesuffix(SUFFIX)
        staging = f"{home.path}/{STAGING}/{stem}"
        folders = (HPSS_QUEUE, QUARANTINE, FINISHED, layout.LOANS, layout.INDICES)
        for directory in (staging, *(f"{staging}/{folder}" for folder in folders)):
            make_directory(home.disk, directory)
        now = to_iso(home.clock.now())
        plan = Plan(planned_at=now, files=0, bytes=0, units=[], listed_files=prepared.listed, strange=strange)
        parts = count()

        def keep(content: bytes) -> None:
            create_once(home.disk, layout.staged_index(staging, next(parts)), content)

        index = Index(keep)
        destination_of = selection.destinations(request)
        key, settings = request_key(request.request_id), self._bench.settings
        for planned in units_of(key, prepared, settings, request.unit_bytes):
            work = planned.work(
                destination_of, request_id=request.request_id, created_at=now, priority=request.priority
            )
            self._stage(staging, planned, work, plan, index)
        index.end()
        for directory in (*(f"{staging}/{folder}" for folder in folders), staging, f"{home.path}/{STAGING}"):
            home.disk.sync(directory)
        plan.warnings = self._warnings(plan)
        if request.checksums and (without := plan.files - plan.there_files - prepared.vouched.get("list", 0)):
            plan.warnings.append(f"{without} of the {plan.files} files do not stand in {printable(request.checksums)}")
        if prepared.uncompared:
            plan.warnings.append(
                f"{prepared.uncompared} files that are there already stand in {printable(request.checksums)}, and no"
                " hash of them is known that could be compared"
            )
        request.plan = plan
        return self._commit(claimed, stem, request, plan, index, others)

    def _fix_size_of_units(self, claimed: str, request: Request) -> None:
        """Chosen once, before the first unit is written: whoever plans this request again makes the same units,
        whatever has been measured meanwhile."""
        home = self._bench.home
        size = size_of_units(request, self._bench.settings, site_rates.read(home.disk))
        if size != request.unit_bytes:
            request.unit_bytes = size
            # It is ours, wherever it goes back to.
            request.admitted = request.admitted or self._admission()
            home.put_document(claimed, request)

    def _admission(self) -> Admission:
        home = self._bench.home
        return Admission(token=home.host.token() + home.host.token(), at=to_iso(home.clock.now()))

    def _stage(self, staging: str, planned: PlannedUnit, work: Work, plan: Plan, index: Index) -> None:
        """Write a unit where it waits for the commit, and note it in the plan and in the index."""
        home = self._bench.home
        folder = QUARANTINE if planned.refused else FINISHED if planned.there else HPSS_QUEUE
        if planned.refused:
            fault = WorkFault(planned.refused.code, planned.refused.text, REMEDIES.get(planned.refused.code, ""))
            reason = why(home, fault, "syncer", files=[file.path for file in work.files])
            create_once(home.disk, f"{staging}/{folder}/{planned.unit}{layout.WHY}", documents.encode_any(reason))
        if planned.loan:
            create_once(home.disk, f"{staging}/{layout.LOANS}/{planned.unit}", b"")
            plan.borrowed_files += len(work.files)
        if folder == HPSS_QUEUE:
            index.add(work)
        elif any(file.outcome != "proven" for file in work.files):
            index.put_aside(work)
        if planned.there:
            plan.there_files += len(work.files)
            plan.there_bytes += planned.bytes
        create_once(home.disk, f"{staging}/{folder}/{planned.unit}{SUFFIX}", documents.encode(work))
        plan.units.append(planned.unit)
        plan.files += len(work.files)
        plan.bytes += planned.bytes

    @staticmethod
    def _warnings(plan: Plan) -> list[str]:
        warnings = []
        if not plan.files:
            warnings.append(f"the patterns match none of the {plan.listed_files} files that were listed")
        if plan.strange:
            warnings.append(f"{len(plan.strange)} entries are no plain files and are not carried; see `strange`")
        return warnings

    def _commit(self, claimed: str, stem: str, request: Request, plan: Plan, index: Index, others: set[str]) -> Step:
        bench = self._bench
        home = bench.home
        key = request_key(request.request_id)
        token = (request.admitted or self._admission()).token
        request.admitted = Admission(token=token, at=to_iso(home.clock.now()))
        home.put_document(claimed, request)
        # The id belongs to whoever makes this file: two requests that claim one id at the same moment cannot both pass.
        self._make(layout.finished(key))
        admission = documents.encode_any(Admission(token=token, at=""))
        if not home.put_new(f"{layout.finished(key)}/{ADMITTED}", admission):
            # Before the claim goes: staging without it would count as committed, and be published.
            remove_tree(home.disk, f"{home.path}/{STAGING}/{stem}")
            return self._drop_or_quarantine(claimed, request, _IdInUse(request.request_id))
        self._write_index(key, f"{home.path}/{STAGING}/{stem}")
        committed = self._move_unless_late(claimed, key, index, others)
        if not committed:
            remove_tree(home.disk, f"{home.path}/{STAGING}/{stem}")
            home.move(claimed, f"{INBOX}/{unique_entry(claimed.rpartition('/')[2], home.host.token())}")
        if committed is None:
            return Waits("the turn to choose", due=home.clock.now() + 1, moving=True)
        if not committed:
            return Moved(f"put request {key} back, as another one for the same files was planned meanwhile")
        publish(home, home.path, stem)
        forget(bench, request)
        bench.report(
            "request_planned",
            component="syncer",
            request=key,
            files=plan.files,
            bytes=plan.bytes,
            units=len(plan.units),
            warnings=plan.warnings,
        )
        bench.wake("retriever")
        bench.wake("finisher")
        return Moved(f"planned request {key}: {plan.files} files in {len(plan.units)} units")

    def _move_unless_late(self, claimed: str, key: str, index: Index, known: set[str]) -> bool | None:
        """Commit, unless a request that we have not looked at carries some of the same files, or has done so meanwhile.
        Under the turn, so that of two that commit at once one sees the other; None when it could not be had."""
        bench, home = self._bench, self._bench.home
        for _ in range(TURNS):
            new = earlier.committed(bench.disk, known)
            theirs = (carried.destination for carried in earlier.carried(bench.disk, new))
            if new and index.has_any(theirs, earlier.read_index(bench.disk, key)):
                return False
            known |= new
            with home.turn() as ours:
                # An index takes too long to read while others wait for the turn.
                if ours and not earlier.committed(bench.disk, known):
                    home.move(claimed, layout.entry(REQUEST_QUEUE, key))
                    return True
        return None

    def _write_index(self, key: str, staging: str) -> None:
        """Say which files this request carries, or waits for, for requests that come later."""
        home, parts = self._bench.home, len(self._bench.disk.names(f"{staging}/{layout.INDICES}"))
        for part in range(parts):
            home.move(layout.staged_index(staging, part), layout.index(key, part))
        # Of an earlier plan that was not committed.
        while home.take_away(layout.index(key, parts)):
            parts += 1

    def _make(self, directory: str) -> None:
        try:
            self._bench.disk.mkdir(directory)
        except FileExistsError:
            return
        self._bench.disk.sync(FINISHED)


# Said of what can never be carried as it is.
REMEDIES = {
    "FILE-LARGER-THAN-BUFFER": "raise [buffer] quota and `tacc-sync quarantine release` it, or `abandon` it",
    "NAME-UNSPEAKABLE": "rename the file in HPSS and request it again; `tacc-sync quarantine abandon` gives it up",
    "DESTINATION-CONFLICT": "look at both; `tacc-sync quarantine release` recalls and overwrites, `abandon` gives up",
    "DESTINATION-PRESENT": "`tacc-sync audit REQUEST --adopt` counts it as there; `quarantine release` recalls and "
    "overwrites it, `abandon` leaves it as it is",
    "ADOPTION-REFUSED": "look at both; `tacc-sync quarantine abandon` gives up, `release` recalls and overwrites",
    "VOUCHERS-DISAGREE": "find out which is right; `tacc-sync quarantine release` recalls and compares, or `abandon`",
    "DESTINATION-CLAIMED": "when the other request is finished: `tacc-sync quarantine release` overwrites what it left",
    "STRIPE-TOO-WIDE": "ask the site to repack the file; `tacc-sync quarantine abandon` gives this one up",
}

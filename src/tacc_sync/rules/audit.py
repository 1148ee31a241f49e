"""Does the workspace add up? The sum law, the state table and everything that must have an owner, judged on what was
read. Pure.

Guarantee: each finding names what, where and the remedy. `broken` findings contradict a law; `untidy` ones are
leftovers that heal by themselves or harm nobody. The reading must be of one moment: see operator/check.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tacc_sync.rules import completion, route, sanity, second_thoughts
from tacc_sync.rules.documents import BadDocument, File, Plan, Result, Work
from tacc_sync.rules.identity import MEASURING, UnitName, task_label
from tacc_sync.rules.progress import Amount, Standing
from tacc_sync.rules.route import FINISHED, GLOBUS_QUEUE, HPSS_QUEUE, QUARANTINE, REAPER_QUEUE

Severity = Literal["broken", "untidy"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is off: a code, where (a path below the workspace, or a name), what, and what to do."""

    severity: Severity
    code: str
    where: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.where}: {self.text}" + (f" -- {self.remedy}" if self.remedy else "")


@dataclass(slots=True)
class UnitFacts:
    """What the judgement needs of a unit. `error`: why its document could not be read. `in_buffer`: bytes of the
    files that must lie in the transfer buffer, by index."""

    name: UnitName
    place: str
    path: str
    error: str = ""
    standing: Standing = field(default_factory=Standing)
    contradictions: list[str] = field(default_factory=list)
    in_buffer: dict[int, int] = field(default_factory=dict)
    files: int = 0
    has_open_task: bool = False


@dataclass(slots=True)
class RequestFacts:
    """A planned request. `result` is that of a finished one; `copies`: in how many places its document lies;
    `admitted`: whether it owns its id, as `finished/<key>/admitted.json` says."""

    key: str
    path: str
    plan: Plan
    result: Result | None = None
    finished: bool = False
    has_manifest: bool = False
    has_certificate: bool = False
    copies: int = 1
    admitted: bool = True


@dataclass(slots=True)
class SumOfRequest:
    """The sum law of one request."""

    request: str
    finished: bool
    selected: Amount
    there: Amount
    delivered: Amount
    abandoned: Amount
    quarantined: Amount
    on_the_way: Amount
    agrees: bool


@dataclass(frozen=True, slots=True)
class Vacant:
    """A home in claims that is half-born or fenced: whether its process is certainly dead, whether there is a heartbeat
    in it, and whether there is anything else."""

    name: str
    is_dead: bool
    has_heartbeat: bool
    is_empty: bool


@dataclass(slots=True)
class Reading:
    """Everything that was read. Places of a unit are listed each time that it was seen."""

    requests: list[RequestFacts] = field(default_factory=list)
    units: list[UnitFacts] = field(default_factory=list)
    reservations: list[tuple[UnitName, int]] = field(default_factory=list)
    quota: int = 0
    slots: list[UnitName] = field(default_factory=list)
    rests: list[UnitName] = field(default_factory=list)
    loans: list[UnitName] = field(default_factory=list)
    cartridges: dict[str, str] = field(default_factory=dict)
    homes: set[str] = field(default_factory=set)
    turns: list[str] = field(default_factory=list)
    # Found while reading, and a finding in itself: strangers, leftovers of dead workers, lone reasons.
    noted: list[Finding] = field(default_factory=list)
    # For mending: what is known of homes that nobody lives in, lone reasons, directories that are missing, and names in
    # the buffer's unit directories and below `.part/` (None without a buffer).
    vacant: list[Vacant] = field(default_factory=list)
    orphaned_reasons: list[str] = field(default_factory=list)
    missing_directories: list[str] = field(default_factory=list)
    in_buffer: dict[str, list[str]] | None = None
    parts: set[str] = field(default_factory=set)
    requests_claimed: bool = False


def facts_of(work: Work, name: UnitName, place: str, path: str) -> UnitFacts:
    """What is to be remembered of a unit, so that no document has to be."""
    facts = UnitFacts(name, place, path, files=len(work.files))
    facts.standing.add(work, quarantined=place == QUARANTINE)
    facts.in_buffer = {i: file.size for i, file in enumerate(work.files) if route.in_buffer(file)}
    facts.contradictions = list(_contradictions(work, name, place, path))
    facts.has_open_task = second_thoughts.has_open_task(work)
    return facts


def _contradictions(work: Work, name: UnitName, place: str, path: str) -> Iterator[str]:
    try:
        sanity.check_work(work, name.unit)
    except BadDocument as bad:
        yield bad.text
    files: dict[str, list[str]] = {}
    for file in work.files:
        for text in _contradictions_of_file(file):
            files.setdefault(text, []).append(file.path)
    for text, paths in files.items():
        yield f"{len(paths)} files are {text}, such as {paths[0]}"
    yield from _contradictions_of_tasks(work)
    is_open = second_thoughts.has_open_task(work)
    outcomes = {file.outcome for file in work.files}
    match place:
        case "staging" if not outcomes <= {"waiting", "failed"} or work.tasks:
            yield "it is about to be published, but something was done with it already"
        case "finished" if not completion.is_settled(work):
            yield "it is finished, but not all of its files are delivered or abandoned"
        case "finished" if name.request not in path.split("/"):
            yield "it lies among the finished units of another request"
        case "globus_queue" if not is_open and "retrieved" not in outcomes:
            yield "nothing of it lies in the buffer, and no task is at work on it"
        case "hpss_queue" | "reaper_queue" | "finished" if is_open:
            yield f"task {work.tasks[-1].task_id or work.tasks[-1].label} was not brought to its end"
        case _:
            pass


def _contradictions_of_file(file: File) -> Iterator[str]:
    match file.outcome:
        case "delivered" if not route.may_free(file):
            yield "called delivered without a receipt"
        case "retrieved" if not (file.retrieved_at and file.proof and file.hashes.get("sha512")):
            yield "called retrieved without a proof"
        case "waiting" if file.retrieved_at:
            yield "called waiting, though they were retrieved"
        case "failed" | "abandoned" if file.why is None:
            yield f"called {file.outcome} without a reason"
        case _:
            pass


def _contradictions_of_tasks(work: Work) -> Iterator[str]:
    for number, task in enumerate(work.tasks, 1):
        if task.attempt != number or task.label != task_label(work.unit, number):
            yield f"its task number {number} is called {task.label}, attempt {task.attempt}"
        if not task.ended_at and number < len(work.tasks):
            yield f"task {task.task_id or task.label} was not brought to its end, and another was begun"
    ids = [task.submission_id for task in work.tasks]
    if len(set(ids)) < len(ids):
        yield "two of its tasks have one submission id"
    known = {task.task_id for task in work.tasks}
    strange = [file.path for file in work.files if file.outcome == "delivered" and file.task_id not in known]
    if strange:
        yield f"{len(strange)} files were delivered by a task that is none of its own, such as {strange[0]}"


def sums(reading: Reading) -> list[SumOfRequest]:
    """The sum law, request by request."""
    by_request: dict[str, Standing] = {}
    seen: set[str] = set()
    for unit in reading.units:
        if unit.name.unit not in seen:
            seen.add(unit.name.unit)
            by_request.setdefault(unit.name.request, Standing()).merge(unit.standing)
    found = []
    for request in reading.requests:
        selected = Amount(request.plan.files, request.plan.bytes)
        standing = by_request.get(request.key, Standing())
        found.append(
            SumOfRequest(
                request=request.key,
                finished=request.finished,
                selected=selected,
                there=standing.there,
                delivered=standing.delivered,
                abandoned=standing.abandoned,
                quarantined=standing.quarantined,
                on_the_way=standing.on_the_way,
                agrees=standing.total == selected,
            )
        )
    return found


def judge(reading: Reading) -> list[Finding]:
    """Everything that is off; [] when the workspace adds up."""
    places: dict[str, list[UnitFacts]] = {}
    for unit in reading.units:
        places.setdefault(unit.name.unit, []).append(unit)
    return [
        *reading.noted,
        *_requests(reading, places),
        *_units(reading, places),
        *_reservations(reading, places),
        *_owners(reading, places),
        *_turn(reading.turns),
    ]


def _requests(reading: Reading, places: Mapping[str, list[UnitFacts]]) -> Iterator[Finding]:
    restore = "look for the document (leftovers in claims, copies), and report it: this must not happen"
    for request in reading.requests:
        if request.copies > 1:
            yield _broken("REQUEST-TWICE", request.key, f"its document lies in {request.copies} places", restore)
        for unit in request.plan.units:
            if unit not in places:
                yield _broken("UNIT-MISSING", unit, f"planned by request {request.key}, and nowhere", restore)
        if request.finished and not request.has_manifest:
            yield _broken("MANIFEST-MISSING", request.path, "the request is finished without a manifest", restore)
        if request.finished and request.result and request.result.certificate and not request.has_certificate:
            text = f"certificate {request.result.certificate} is not beside it, or not in the chain"
            yield _broken("CERTIFICATE-MISSING", request.path, text, "restore the one from the other")
        if not request.admitted:
            text = f"finished/{request.key}/admitted.json does not say that this request owns its id"
            yield _broken("REQUEST-UNADMITTED", request.path, text, restore)
        if request.finished:
            for unit in request.plan.units:
                if any(facts.place != FINISHED for facts in places.get(unit, ())):
                    text = "its request is finished, and it is not"
                    yield _broken("UNIT-STATE", places[unit][0].path, text, restore)
    for found in sums(reading):
        key = found.request
        counted = found.there + found.delivered + found.abandoned + found.quarantined + found.on_the_way
        if not found.agrees:
            text = (
                f"selected are {found.selected.files} files with {found.selected.bytes} bytes, "
                f"found {counted.files} with {counted.bytes}"
            )
            yield _broken("SUM-WRONG", key, text, "the findings about its units say where they are")
    for request in reading.requests:
        if request.result is None and request.finished:
            yield _broken("SUM-WRONG", request.key, "it is finished, and does not say with what", restore)
        if request.result is None:
            continue
        result = request.result
        told = (
            Amount(result.there_files, result.there_bytes)
            + Amount(result.delivered_files, result.delivered_bytes)
            + Amount(result.abandoned_files, result.abandoned_bytes)
        )
        if told != Amount(request.plan.files, request.plan.bytes):
            text = f"it is finished with {told.files} files, {request.plan.files} were selected"
            yield _broken("SUM-WRONG", request.key, text, restore)


def _units(reading: Reading, places: Mapping[str, list[UnitFacts]]) -> Iterator[Finding]:
    planned = {unit for request in reading.requests for unit in request.plan.units}
    for unit, seen in places.items():
        if len(seen) > 1:
            where = ", ".join(facts.path for facts in seen)
            yield _broken("UNIT-TWICE", unit, f"it lies in {len(seen)} places: {where}", "report it")
        if unit not in planned:
            text = "no planned or finished request has it in its plan"
            yield _broken("UNIT-UNPLANNED", seen[0].path, text, "submit its files anew, and move it away")
        for facts in seen:
            if facts.error:
                yield _broken("DOCUMENT-BAD", facts.path, facts.error, "mend or restore the document")
            for text in facts.contradictions:
                yield _broken("UNIT-STATE", facts.path, text, "release it if it is in quarantine; else report it")


def _reservations(reading: Reading, places: Mapping[str, list[UnitFacts]]) -> Iterator[Finding]:
    reserved: dict[str, int] = {}
    for name, size in reading.reservations:
        if name.unit in reserved:
            yield _broken("RESERVATION-TWICE", name.unit, "it has two reservations", "remove the smaller one")
        reserved[name.unit] = max(size, reserved.get(name.unit, 0))
        if size != name.bytes:
            text = f"{size} bytes are reserved, the unit has {name.bytes}"
            yield _broken("RESERVATION-SIZE", f"reservations/{name.unit}.{size}", text, "report it")
        if name.tape == MEASURING and any(worker.startswith("operator.") for worker in reading.homes):
            # `doctor --measure` is at work.
            continue
        if all(facts.place == FINISHED for facts in places.get(name.unit, ())):
            yield _broken(
                "RESERVATION-ORPHAN",
                f"reservations/{name.unit}.{size}",
                "room is reserved for a unit that is finished or gone",
                "`tacc-sync check --repair`, when the buffer has nothing of it",
            )
    total = sum(reserved.values())
    if 0 < reading.quota < total:
        yield _broken(
            "RESERVED-OVER-QUOTA",
            "reservations",
            f"{total} bytes are reserved, the quota is {reading.quota}",
            "if the quota was made smaller: it heals as work is delivered; else report it",
        )
    for unit, seen in places.items():
        held = sum(seen[-1].in_buffer.values())
        if reserved.get(unit, 0) < held:
            text = f"{held} bytes of it lie in the buffer, {reserved.get(unit, 'nothing')} reserved"
            remedy = "`tacc-sync check --repair`; until then the buffer may overflow"
            yield _broken("RESERVATION-MISSING", seen[-1].path, text, remedy)


def _owners(reading: Reading, places: Mapping[str, list[UnitFacts]]) -> Iterator[Finding]:
    for name in reading.slots:
        if not _is_in(places, name, (GLOBUS_QUEUE,)):
            text = "a slot for a task is held by a unit that is not in globus_queue"
            yield _broken("SLOT-ORPHAN", f"globus_slots/{name.unit}", text, "`tacc-sync check --repair`")
    slots = {name.unit for name in reading.slots}
    for unit, seen in places.items():
        if seen[-1].place == GLOBUS_QUEUE and seen[-1].has_open_task and unit not in slots:
            text = "it has a task, and no slot for it"
            yield _untidy("SLOT-MISSING", seen[-1].path, text, "it is given one when there is a free one")
    for name in reading.loans:
        if not _is_in(places, name, (HPSS_QUEUE,)):
            text = "a loan of a unit that does not wait for tape"
            yield _untidy("LOAN-ORPHAN", f"loans/{name.unit}", text, "`tacc-sync run syncer` removes it")
    for name in reading.rests:
        if not _is_in(places, name, (HPSS_QUEUE, GLOBUS_QUEUE, REAPER_QUEUE)):
            text = "a rest of a unit that waits in no queue"
            yield _untidy("REST-ORPHAN", f"rests/{name.unit}", text, "`tacc-sync check --repair`")
    for label, holder in sorted(reading.cartridges.items()):
        if holder not in reading.homes:
            yield _broken(
                "CARTRIDGE-ORPHAN",
                f"cartridges/{label}",
                f"it is in use by {holder or 'nobody'}, who is not there",
                "make sure that no hsi of that worker runs, then `tacc-sync check --repair`",
            )


def _is_in(places: Mapping[str, list[UnitFacts]], name: UnitName, queues: Iterable[str]) -> bool:
    return any(facts.place in queues for facts in places.get(name.unit, ()))


def _turn(turns: list[str]) -> Iterator[Finding]:
    if not turns:
        yield _broken("TURN-MISSING", "turn", "the turn to choose is nowhere", "`tacc-sync check --repair`")
    if len(turns) > 1:
        text = f"there are {len(turns)} turns: {', '.join(turns)}"
        yield _broken("TURN-TWICE", "turn", text, "hold all components and remove all but `turn`")


def _broken(code: str, where: str, text: str, remedy: str) -> Finding:
    return Finding("broken", code, where, text, remedy)


def _untidy(code: str, where: str, text: str, remedy: str) -> Finding:
    return Finding("untidy", code, where, text, remedy)

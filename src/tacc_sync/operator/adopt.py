"""Taking over work units of the earlier tacc-sync: a request of ours is made of them.

Guarantee: nothing is adopted unless all that was named can be; the request lies in the inbox before any unit is put
aside; doing it again after it was cut off makes no second request.
Fails with `BadDocument`, `OperatorFault` UNIT-TOO-FAR and NOTHING-TO-ADOPT; `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tacc_sync.operator import submit
from tacc_sync.operator.submit import Submission
from tacc_sync.rules import documents, legacy
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request
from tacc_sync.rules.faults import EX_DATAERR, OperatorFault
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.legacy import LegacyWork
from tacc_sync.rules.route import FINISHED, HPSS_QUEUE, INBOX, QUARANTINE, REQUEST_QUEUE
from tacc_sync.rules.settings import Legacy
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.home import Home

ADOPTED = f"{FINISHED}/adopted"
# Places of the earlier tacc-sync behind hpss_queue.
TOO_FAR = frozenset({"globus_queue", "reaper_queue", "checksum_queue", "verify_queue", "finished", "quarantine"})


@dataclass(frozen=True, slots=True)
class Found:
    """A document that was named: where it lies (for people), the names of the directories above it (the nearest one
    first), its content; `entry` when it lies in this workspace's own hpss_queue."""

    path: str
    above: tuple[str, ...]
    content: bytes
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Adoption:
    """A request made of units; `tasks`: what the earlier tacc-sync had begun at Globus for them."""

    submission: Submission
    units: list[Found]
    tasks: list[str]


def plan(found: Iterable[Found], base: Legacy) -> list[Adoption]:
    """What would be adopted; raises when any of the documents cannot be."""
    works: dict[str, list[tuple[Found, LegacyWork]]] = {}
    too_far = []
    for document in found:
        if is_too_far(document.above):
            too_far.append(document.path)
            continue
        try:
            work = legacy.convert_work(document.content)
        except BadDocument as bad:
            raise BadDocument("", f"{document.path}: {bad.text}", bad.remedy) from None
        works.setdefault(work.request_id, []).append((document, work))
    if too_far:
        raise OperatorFault(
            "UNIT-TOO-FAR",
            f"beyond hpss_queue, so Globus may be at work on their files: {', '.join(too_far)}",
            "let the earlier tacc-sync finish them, or wait for the end of their tasks (`globus task list`), "
            "move them to its hpss_queue, and adopt them from there",
            EX_DATAERR,
        )
    if not works:
        raise OperatorFault(
            "NOTHING-TO-ADOPT",
            "there is no work unit of the earlier tacc-sync among what was named",
            "name its files, or its hpss_queue",
            EX_DATAERR,
        )
    return [_adoption(works[request_id], base) for request_id in sorted(works)]


def _adoption(of_request: list[tuple[Found, LegacyWork]], base: Legacy) -> Adoption:
    # Without a date, so that doing it again makes the same bytes.
    request = legacy.request_from_works(
        [work for _, work in of_request], hpss_base=base.hpss_base_path, tacc_base=base.tacc_base_path
    )
    tasks = sorted({task for _, work in of_request for task in work.globus_tasks})
    return Adoption(submit.of_request(request), [document for document, _ in of_request], tasks)


def adopt(home: Home, adoption: Adoption) -> bool:
    """Put the request into the inbox, then its units aside; False when the request had been there already."""
    submission = adoption.submission
    fresh = not _is_there(home, submission)
    if fresh:
        submit.put(home, submission)
    for unit in adoption.units:
        if unit.entry:
            _put_aside(home, unit.entry)
    return fresh


def _is_there(home: Home, submission: Submission) -> bool:
    # An earlier call may have been cut off between the request and its units.
    key, stem = submission.key, submission.request.request_id
    paths = (
        layout.entry(INBOX, stem),
        layout.entry(REQUEST_QUEUE, key),
        f"{layout.finished(key)}/request{SUFFIX}",
    )
    return any(_same(_read(home, path), submission.request) for path in paths)


def _read(home: Home, path: str) -> Request | None:
    try:
        return queues.read_request(home.disk, path)
    except (FileNotFoundError, BadDocument, NewerDocument):
        return None


def _same(there: Request | None, ours: Request) -> bool:
    return there is not None and there.request_id == ours.request_id and there.files == ours.files


def _put_aside(home: Home, entry: str) -> None:
    try:
        home.disk.mkdir(ADOPTED)
    except FileExistsError:
        pass
    target = f"{ADOPTED}/{entry}"
    if home.disk.status(target) is not None:
        target = f"{ADOPTED}/{entry.removesuffix(SUFFIX)}~{home.host.token()}{SUFFIX}"
    try:
        home.move(f"{HPSS_QUEUE}/{entry}", target)
    except FileNotFoundError:
        return  # somebody else adopts them too


def is_too_far(above: tuple[str, ...]) -> bool:
    """Does a document lie behind hpss_queue? `above`: the names of the directories above it, the nearest one first."""
    nearest, further = (*above, "", "")[:2]
    return nearest in TOO_FAR or (further == QUARANTINE and nearest != HPSS_QUEUE)


def is_candidate(name: str, content: bytes) -> bool:
    """Of a directory's entries: is this one a unit of the earlier tacc-sync? What is broken counts, so that it is
    named."""
    if not name.endswith(SUFFIX):
        return False
    try:
        return legacy.is_legacy_work(documents.fields_of(content))
    except BadDocument:
        return True

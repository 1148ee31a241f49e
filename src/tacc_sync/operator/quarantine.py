"""What lies in quarantine and why; letting it go round again, or giving it up.

Guarantee: at every moment a document is in one place, and a command that is cut off anywhere leaves it where it was,
or where it was to go, or with the reaper, who sends it on or puts it back here. What cannot be released or given up
is refused before anything changes.
Fails with `OperatorFault` QUARANTINE-UNKNOWN and DOCUMENT-NEWER, `WorkFault` (rules/second_thoughts.py,
DOCUMENT-BAD), `Fenced`, `OSError`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from tacc_sync.operator import places
from tacc_sync.rules import documents, identity, legacy, sanity, second_thoughts
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request, Work
from tacc_sync.rules.faults import EX_DATAERR, EX_USAGE, Fault, OperatorFault, WorkFault
from tacc_sync.rules.identity import SUFFIX, request_key
from tacc_sync.rules.route import COMPONENTS, FINISHED, INBOX, REAPER_QUEUE, REQUEST_QUEUE
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

REJECTED = f"{FINISHED}/rejected"


@dataclass(slots=True)
class Entry:
    """One document in quarantine. `document` is False when only the reason is left, of something that has gone on."""

    name: str
    component: str
    kind: str
    request: str
    code: str = ""
    text: str = ""
    remedy: str = ""
    field: str = ""
    at: str = ""
    files: list[str] = dataclasses.field(default_factory=list)
    document: bool = True

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"{layout.quarantine(self.component)}/{self.name}{SUFFIX}"

    @property
    def why_path(self) -> str:
        """Where its reason lies."""
        return f"{layout.quarantine(self.component)}/{self.name}{layout.WHY}"


# --- looking --------------------------------------------------------------------------------------------------


def entries(disk: Disk) -> Iterator[Entry]:
    """Everything in quarantine, component by component."""
    for component in COMPONENTS:
        found = set(places.names(disk, layout.quarantine(component)))
        stems = {name.removesuffix(layout.WHY) for name in found if name.endswith(layout.WHY)}
        stems |= {name.removesuffix(SUFFIX) for name in found if layout.is_document(name)}
        for stem in sorted(stems):
            yield _entry(disk, component, stem, there=stem + SUFFIX in found)


def _entry(disk: Disk, component: str, stem: str, *, there: bool) -> Entry:
    unit = identity.parse_unit(stem)
    entry = Entry(stem, component, "unit" if unit else "request", unit.request if unit else "", document=there)
    try:
        why = queues.read_why(disk, entry.why_path)
    except OSError:
        return entry
    if why is None:
        return entry
    entry.code, entry.text, entry.remedy = why.code, why.text, why.remedy
    entry.field, entry.at, entry.files = why.field, why.at, why.files
    return entry


def choose(
    disk: Disk, names: Iterable[str], *, everything: bool = False, request: str = "", leftovers: bool = False
) -> list[Entry]:
    """The entries of these names (`component/name` where two have the same), of a request, or all of them."""
    there = list(entries(disk))
    chosen: list[Entry] = []
    for name in names:
        stem = name.rpartition("/")[2].removesuffix(SUFFIX).removesuffix(".why")
        component = name.rpartition("/")[0].rpartition("/")[2]
        found = [e for e in there if e.name == stem and component in {"", e.component}]
        if not found:
            raise OperatorFault(
                "QUARANTINE-UNKNOWN",
                f"{name} is not in quarantine",
                "`tacc-sync quarantine list` shows what is",
                EX_USAGE,
            )
        chosen += found
    if everything or request:
        key = request_key(request) if request else ""
        chosen += [e for e in there if not request or e.request == key]
    unique = {(e.component, e.name): e for e in chosen if e.document or leftovers}
    return list(unique.values())


# --- releasing ------------------------------------------------------------------------------------------------


def release(home: Home, entry: Entry, *, quota: int) -> str:
    """Let it go round again; the queue that it went to, "" when only a leftover reason was removed."""
    if not entry.document:
        home.take_away(entry.why_path)
        return ""
    if entry.kind == "request":
        return _release_request(home, entry)
    return _decide(home, entry, lambda work: second_thoughts.release(work, quota=quota))


def adopt(home: Home, entry: Entry, destinations: Collection[str]) -> str:
    """Take over what lies at these destinations for a unit that was put aside because of it; the queue that it goes
    to."""
    return _decide(home, entry, lambda work: second_thoughts.adopt(work, destinations, entry.request))


def _decide(home: Home, entry: Entry, decide: Callable[[Work], str]) -> str:
    # Refused, if at all, before anything changes.
    decide(_work(home.disk, entry.path))
    # Into the folder from which a drain gives back to reaper_queue. There an unchanged unit is safe: the reaper frees
    # only what is delivered, and puts back into quarantine what still has to lie there; a changed one it sends where it
    # belongs. From any other folder a drain could start a recall or a task for files that have used up their attempts.
    claimed = f"{home.path}/{REAPER_QUEUE}/{entry.name}{SUFFIX}"
    _take(home, entry.path, claimed)
    try:
        work = _work(home.disk, claimed)
        target = decide(work)
    except Fault:
        # Somebody has written to it between the two looks.
        home.move(claimed, entry.path)
        raise
    home.put_document(claimed, work)
    _forget(home, entry)
    home.pass_on(claimed, target)
    return target


def _take(home: Home, path: str, claimed: str) -> None:
    try:
        home.move(path, claimed)
    except FileNotFoundError:
        raise OperatorFault(
            "QUARANTINE-UNKNOWN", f"{path} has just gone", "somebody else released or abandoned it", EX_USAGE
        ) from None


def _forget(home: Home, entry: Entry) -> None:
    # Before the document goes on: a component may put it back here at once, and the new reason must stay.
    home.take_away(entry.why_path)
    for name in home.disk.names(layout.RESTS):
        if name.rpartition("~")[0] == entry.name:
            home.take_away(f"{layout.RESTS}/{name}")


def _work(disk: Disk, path: str) -> Work:
    try:
        work = queues.work_of(disk, path)
    except FileNotFoundError:
        raise OperatorFault(
            "QUARANTINE-UNKNOWN", f"{path} has just gone", "somebody else released or abandoned it", EX_USAGE
        ) from None
    except NewerDocument as newer:
        raise _newer(path, newer) from None
    except BadDocument as bad:
        raise BadDocument("", f"{path}: {bad.text}", f"mend or restore the document first: {bad.remedy}") from None
    return work


def _newer(path: str, newer: NewerDocument) -> OperatorFault:
    return OperatorFault(
        "DOCUMENT-NEWER", f"{path} was written by a newer tacc-sync (version {newer})", "upgrade this host", EX_DATAERR
    )


def _release_request(home: Home, entry: Entry) -> str:
    content = queues.read_document(home.disk, entry.path)
    planned = _planned(content, entry)
    if planned is not None:
        key = request_key(planned.request_id)
        if home.disk.status(layout.entry(REQUEST_QUEUE, key)) is not None:
            raise WorkFault(
                "REQUEST-TWICE",
                f"request {key} is in request_queue and in quarantine",
                "compare the two, and move one of them out of the workspace",
            )
        target, name = REQUEST_QUEUE, f"{key}{SUFFIX}"
    else:
        # A name of its own: somebody may have dropped another file of the old name meanwhile.
        target, name = INBOX, f"{entry.name.partition('~')[0]}~{home.host.token()}{SUFFIX}"
    claimed = f"{home.path}/{target}/{name}"
    _take(home, entry.path, claimed)
    home.take_away(entry.why_path)
    home.pass_on(claimed, target)
    return target


def _planned(content: bytes, entry: Entry) -> Request | None:
    """The request, when it was planned and has its units; None when it still belongs into the inbox. Raises when it
    is unreadable."""
    try:
        fields = documents.fields_of(content)
        if legacy.is_legacy_request(fields):
            return None
        request = documents.decode(content, Request)
        if request.plan is not None and entry.component != "syncer":
            sanity.check_request(request, request_key(request.request_id))
    except NewerDocument as newer:
        raise _newer(entry.path, newer) from None
    except BadDocument as bad:
        raise BadDocument("", f"{entry.path}: {bad.text}", f"mend the document first: {bad.remedy}") from None
    # The syncer's quarantine holds what was never committed, whatever it says of a plan.
    return request if request.plan is not None and entry.component != "syncer" else None


# --- giving up ------------------------------------------------------------------------------------------------


def abandon(home: Home, entry: Entry) -> str:
    """Give it up; where it went, "" when only a leftover reason was removed."""
    if not entry.document:
        home.take_away(entry.why_path)
        return ""
    if entry.kind == "request":
        return _abandon_request(home, entry)
    # The reaper frees the buffer, gives the reservation back, and moves it to finished.
    return _decide(home, entry, lambda work: second_thoughts.abandon(work, home.clock.now()))


def _abandon_request(home: Home, entry: Entry) -> str:
    try:
        planned = _planned(queues.read_document(home.disk, entry.path), entry)
    except BadDocument:
        planned = None  # what cannot be read can still be thrown away
    if planned is not None:
        raise WorkFault(
            "REQUEST-PLANNED",
            f"{entry.name} has {len(planned.plan.units) if planned.plan else 0} units in the workspace",
            "release it; its units can be abandoned when they are in quarantine",
        )
    try:
        home.disk.mkdir(REJECTED)
    except FileExistsError:
        pass
    name = entry.name
    if home.disk.status(f"{REJECTED}/{name}{SUFFIX}") or home.disk.status(f"{REJECTED}/{name}{layout.WHY}"):
        name = f"{name.partition('~')[0]}~{home.host.token()}"
    # The document first: cut off here, what is left is a reason without a document, which `check` shows and `release`
    # removes.
    _take(home, entry.path, f"{REJECTED}/{name}{SUFFIX}")
    try:
        home.move(entry.why_path, f"{REJECTED}/{name}{layout.WHY}")
    except FileNotFoundError:
        pass
    return REJECTED

"""What a person sees of standing requests, and does with them.

Guarantee: looking changes nothing. A change or a stop is one rename of a document that nobody else holds; the run that
is under way goes on.
Fails with `OperatorFault` STANDING-UNKNOWN, `BadDocument`, `NewerDocument`, `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tacc_sync.operator import places
from tacc_sync.rules import standing as rules
from tacc_sync.rules.documents import BadDocument, NewerDocument, StandingRequest
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.identity import SUFFIX, request_key
from tacc_sync.rules.patience import from_iso, to_iso
from tacc_sync.rules.route import STANDING
from tacc_sync.workspace import layout
from tacc_sync.workspace import standing as workspace
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

# How often, and with which pause (seconds), a document is asked for that somebody holds just now.
TRIES, PAUSE = 50, 0.1

# waiting: for the time when it is due. beginning: its run is about to be put into the inbox. under way, quarantine,
# lost: its last run is; late: and the next one is due.
State = Literal["waiting", "beginning", "under way", "late", "quarantine", "lost", "unreadable"]


@dataclass(slots=True)
class StandingStatus:
    """A standing request. `every` is seconds; `run` the number of the run that was begun last (0: none yet), `request`
    its key; `due` is when the next one is due."""

    standing_id: str
    state: State
    path: str
    label: str = ""
    requested_by: str = ""
    every: float = 0.0
    run: int = 0
    request: str = ""
    begun_at: str = ""
    due: str = ""
    sources: list[str] = field(default_factory=list)
    destination: str = ""
    error: str = ""


def standings(disk: Disk, now: float) -> list[StandingStatus]:
    """All of them, those that somebody holds just now too."""
    found: dict[str, StandingStatus] = {}
    for path in _paths(disk):
        try:
            found[path.rpartition("/")[2]] = _status(disk, path, now)
        except FileNotFoundError:
            continue
    return [found[name] for name in sorted(found)]


def _paths(disk: Disk) -> Iterator[str]:
    for directory in (STANDING, *(f"{layout.home(w)}/{STANDING}" for w in places.names(disk, layout.CLAIMS)), STANDING):
        for name in places.names(disk, directory):
            if layout.is_document(name):
                yield f"{directory}/{name}"


def _status(disk: Disk, path: str, now: float) -> StandingStatus:
    stem = path.rpartition("/")[2].removesuffix(SUFFIX)
    try:
        found = workspace.read(disk, path)
    except (BadDocument, NewerDocument) as error:
        text = str(error) or "written by a newer tacc-sync"
        return StandingStatus(stem, "unreadable", path, error=text)
    return StandingStatus(
        standing_id=stem,
        state=_state(disk, found, now),
        path=path,
        label=found.request.label,
        requested_by=found.request.requested_by,
        every=found.every,
        run=found.run,
        request=request_key(workspace.run_in_progress(found)) if found.run else "",
        begun_at=found.begun_at,
        due=found.due,
        sources=found.request.sources,
        destination=found.request.destination,
    )


def _state(disk: Disk, found: StandingRequest, now: float) -> State:
    if found.run == 0:
        return "waiting"
    if not found.handed_in:
        return "beginning"
    match workspace.whereabouts(disk, workspace.run_in_progress(found)):
        case "finished":
            return "waiting"
        case "quarantine":
            return "quarantine"
        case "":
            return "lost"
        case _:
            return "late" if from_iso(found.due) <= now else "under way"


def choose(disk: Disk, name: str) -> str:
    """The id of the one that a person means: by its id, the beginning of that, or its label."""
    plain = name.replace("-", "")
    there = standings(disk, 0.0)
    meant = [
        each.standing_id
        for each in there
        if name in {each.standing_id, each.label}
        or (len(plain) >= 4 and each.standing_id.replace("-", "").startswith(plain))
    ]
    if len(meant) == 1:
        return meant[0]
    raise OperatorFault(
        "STANDING-UNKNOWN",
        f"{len(meant) or 'no'} standing requests here are {name}",
        "`tacc-sync standing list` shows them with their ids",
        EX_USAGE,
    )


def stop(home: Home, standing_id: str) -> None:
    """Let it have no further run."""
    for _ in range(TRIES):
        if workspace.stop(home, standing_id):
            return
        home.clock.sleep(PAUSE)
    raise _held(standing_id)


def change(home: Home, standing_id: str, *, every: float | None, is_due: bool) -> StandingRequest:
    """Give it another interval (seconds), counted from when the next run is due, or make that due now. A run that
    nobody knows of any more counts as ended then."""

    def into(found: StandingRequest) -> StandingRequest:
        changed = msgspec.structs.replace(found, every=found.every if every is None else float(every))
        if is_due:
            changed.due = to_iso(home.clock.now())
            if changed.handed_in and not workspace.whereabouts(home.disk, workspace.run_in_progress(changed)):
                # It is handed in once more, under the same id.
                changed.handed_in = False
        rules.check(changed, standing_id)
        return changed

    for _ in range(TRIES):
        changed = workspace.change(home, standing_id, into)
        if changed is not None:
            return changed
        home.clock.sleep(PAUSE)
    raise _held(standing_id)


def _held(standing_id: str) -> OperatorFault:
    return OperatorFault(
        "STANDING-UNKNOWN",
        f"{standing_id} has just been stopped, or a worker holds it",
        "try again; if that worker is dead, `tacc-sync run` takes it back",
        EX_USAGE,
    )

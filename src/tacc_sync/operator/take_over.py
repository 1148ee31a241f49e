"""`check --adopt`: making a workspace that was copied, moved or restored the right one again.

Guarantee: nothing is submitted, recalled or freed here. Whatever worker has a home in the copy is fenced; each unit
that waits for Globus is compared with the tasks that Globus has of it; the new identity is written last, so that a
command that is cut off anywhere is just begun again.
Fails with `OperatorFault` BUFFER-OF-ANOTHER and IDENTITY-DAMAGED, the faults of Globus, `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from tacc_sync.operator import places
from tacc_sync.operator.places import Sighting
from tacc_sync.outside.globus.interface import Globus, UnknownTask
from tacc_sync.rules import adoption, ownership
from tacc_sync.rules.documents import BadDocument, NewerDocument, Work
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.rules.identity import SUFFIX, is_worker
from tacc_sync.rules.liveness import Lease
from tacc_sync.rules.ownership import Owner
from tacc_sync.rules.route import GLOBUS_QUEUE, QUARANTINE
from tacc_sync.rules.second_thoughts import has_open_task
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace import ownership as owners
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery


@dataclass(frozen=True, slots=True)
class Compared:
    """What Globus says of a unit. `changed`: the unit's document did not know it, and does now."""

    unit: str
    text: str
    changed: bool = False


def wrong_with(disk: Disk, buffer: Disk | None, also: Collection[str]) -> OperatorFault | None:
    """What keeps this workspace from being worked on, and would be settled by adopting it."""
    try:
        owners.must_be_ours(disk, buffer, also)
    except OperatorFault as fault:
        return fault
    return None


def must_be_adoptable(disk: Disk, buffer: Disk) -> None:
    """Return when the buffer is this workspace's, or nobody's: another's is not taken away from it."""
    ours, theirs = owners.identity(disk), owners.marker(buffer)
    if theirs is not None and theirs.workspace_id != ours.workspace_id:
        fault = ownership.judge(ours, theirs, here=ours.workspace_path, buffer=buffer.root)
        assert fault is not None
        raise fault


def fence_all(home: Home, lease: Lease, report: Callable[[str, str], None] = lambda *_: None) -> list[str]:
    """End every worker that has a home here but ourselves; who. What those held whose death is certain is back in the
    queues afterwards."""
    recovery = Recovery(home, lease, report)
    fenced = [
        worker
        for worker in sorted(home.disk.names(layout.CLAIMS))
        if is_worker(worker) and worker != home.name and recovery.fence(worker) is not None
    ]
    recovery.round()
    return fenced


def compare(home: Home, globus: Globus) -> Iterator[Compared]:
    """Ask Globus about each unit that waits for it, or has a task whose end was not seen; what was found and done."""
    for sighting in list(places.units(home.disk, ())):
        if sighting.place == GLOBUS_QUEUE and not sighting.by:
            yield from _settle(home, globus, sighting)
        elif sighting.place in {GLOBUS_QUEUE, QUARANTINE}:
            yield from _look(home, globus, sighting)


def take_over(home: Home, also: Collection[str]) -> Owner:
    """Write the new identity."""
    return owners.take_over(home, also)


def _settle(home: Home, globus: Globus, sighting: Sighting) -> Iterator[Compared]:
    unit = sighting.unit.unit
    claimed = home.claim(GLOBUS_QUEUE, unit + SUFFIX)
    if claimed is None:
        return
    try:
        work = queues.work_of(home.disk, claimed)
    except (BadDocument, NewerDocument):
        home.pass_on(claimed, GLOBUS_QUEUE)
        yield Compared(unit, "its document cannot be read; run puts it into quarantine")
        return
    found = _found(globus, work)
    label = adoption.label_to_ask(work)
    if label is not None and found is not None:
        # The slot first, as when one is given: whoever finds both looks after the task.
        home.put_new(f"{layout.SLOTS}/{unit}", home.name.encode())
        if adoption.take(work, found, submission_id=globus.new_submission_id(), now=home.clock.now()):
            home.put_document(claimed, work)
            home.pass_on(claimed, GLOBUS_QUEUE)
            yield Compared(unit, f"task {found} ({label}) was not known here, and is taken over", changed=True)
            return
        home.take_away(f"{layout.SLOTS}/{unit}")
    home.pass_on(claimed, GLOBUS_QUEUE)
    yield Compared(unit, _told(globus, work, found))


def _look(home: Home, globus: Globus, sighting: Sighting) -> Iterator[Compared]:
    try:
        work = queues.read_work(home.disk, sighting.path)
    except (BadDocument, NewerDocument, FileNotFoundError):
        return
    if sighting.place == QUARANTINE and not has_open_task(work):
        return
    where = f"held by {sighting.by}, whose work run gives back" if sighting.place == GLOBUS_QUEUE else "in quarantine"
    yield Compared(work.unit, f"{_told(globus, work, _found(globus, work))} ({where})")


def _found(globus: Globus, work: Work) -> str | None:
    """The task that Globus has under the label that the unit's next or open attempt has."""
    label = adoption.label_to_ask(work)
    tasks = globus.tasks_labelled(label) if label else []
    return tasks[0].task_id if tasks else None


def _told(globus: Globus, work: Work, found: str | None) -> str:
    label = adoption.label_to_ask(work)
    if label is not None:
        return f"task {found} ({label}) is found when it is started" if found else f"Globus has no task {label}"
    task_id = work.tasks[-1].task_id
    try:
        view = globus.task(task_id)
    except UnknownTask:
        return f"Globus does not know task {task_id} any more; what it may have delivered is sent again"
    return f"task {task_id} is {view.status}; run looks after it"

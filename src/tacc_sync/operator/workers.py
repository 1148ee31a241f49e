"""Who is running, what each component does or waits for, since when, and what happens next; from the heartbeats.

Guarantee: nothing is changed, and nobody is judged: only `tacc-sync run` fences a worker, after a whole lease. A
heartbeat is called overdue by this host's clock, which may differ from that of the host that wrote it.
Fails with `OSError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.host.interface import Host, ProcessIdentity
from tacc_sync.rules.liveness import Heartbeat
from tacc_sync.rules.patience import from_iso
from tacc_sync.rules.route import COMPONENTS
from tacc_sync.workspace import queues
from tacc_sync.workspace.disk import Disk

# A beat may be late because the file system is; three in a row are not.
BEATS_OVERDUE = 3


@dataclass(slots=True)
class WorkerStatus:
    """One worker. `state`: working, waiting, silent (its heartbeat is overdue), dead (its process is known to be
    gone)."""

    worker: str
    host: str
    pid: int
    slurm_job: str
    state: str
    doing: str
    waits_for: str
    since: str
    next: str
    beat_at: str
    entered_at: str


@dataclass(slots=True)
class ComponentStatus:
    """One component: whether any worker of it lives, whether it is on hold and why, and its workers."""

    component: str
    running: bool
    held: str | None = None
    workers: list[WorkerStatus] = field(default_factory=list)


def components(disk: Disk, clock: Clock, host: Host, beat: float) -> list[ComponentStatus]:
    """All five, in the direction of flow."""
    held = queues.held(disk)
    found: dict[str, ComponentStatus] = {
        component: ComponentStatus(component, running=False, held=held.get(component)) for component in COMPONENTS
    }
    for heartbeat in queues.heartbeats(disk):
        status = found.get(heartbeat.component)
        if status is None:
            continue
        worker = _worker(heartbeat, clock, host, beat)
        status.workers.append(worker)
        status.running = status.running or worker.state in {"working", "waiting"}
    return list(found.values())


def _worker(heartbeat: Heartbeat, clock: Clock, host: Host, beat: float) -> WorkerStatus:
    state = "working" if heartbeat.doing else "waiting"
    if clock.now() - from_iso(heartbeat.beat_at) > BEATS_OVERDUE * beat:
        state = "silent"
    if host.is_certainly_dead(identity_of(heartbeat)):
        state = "dead"
    return WorkerStatus(
        worker=heartbeat.worker,
        host=heartbeat.host,
        pid=heartbeat.pid,
        slurm_job=heartbeat.slurm_job,
        state=state,
        doing=heartbeat.doing,
        waits_for=heartbeat.waits_for,
        since=heartbeat.since,
        next=heartbeat.next,
        beat_at=heartbeat.beat_at,
        entered_at=heartbeat.entered_at,
    )


def identity_of(heartbeat: Heartbeat) -> ProcessIdentity:
    """The process behind a heartbeat."""
    return ProcessIdentity(
        heartbeat.host,
        heartbeat.boot_id,
        heartbeat.pid_namespace,
        heartbeat.pid,
        heartbeat.started,
        heartbeat.slurm_job,
    )

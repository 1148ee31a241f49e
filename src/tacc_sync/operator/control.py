"""Holding components and fencing workers.

Guarantee: a component on hold takes no new work, on any host; a fenced worker cannot change anything any more.
Fails with `OperatorFault` WORKER-UNKNOWN; `Fenced` and `OSError`.
"""

from __future__ import annotations

from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.identity import is_worker
from tacc_sync.rules.liveness import Lease
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.settings import LeaseSection
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery


def hold(home: Home, component: str, reason: str) -> None:
    """Put a component (or `cartridge:LABEL`) on hold; a later reason replaces an earlier one."""
    text = f"{reason or 'by the operator'} (since {to_iso(home.clock.now())})\n"
    home.put(_mark(component), text.encode())


def unhold(home: Home, component: str) -> bool:
    """Let it go on; False when it was not on hold."""
    return home.take_away(_mark(component))


def _mark(held: str) -> str:
    kind, colon, label = held.partition(":")
    return f"{layout.HOLD}/{layout.OF_CARTRIDGE}{label}" if colon else f"{layout.HOLD}/{kind}"


def must_be_fenceable(disk: Disk, worker: str) -> None:
    """Return when there is such a worker."""
    if not is_worker(worker) or disk.status(layout.home(worker)) is None:
        raise OperatorFault(
            "WORKER-UNKNOWN",
            f"there is no worker {worker} in this workspace",
            "`tacc-sync status --json` names them",
            EX_USAGE,
        )


def fence(home: Home, lease: LeaseSection, worker: str) -> bool:
    """Take all that it holds at one stroke; False when another was faster."""
    recovery = Recovery(home, Lease(lease.beat, lease.lease, lease.grace, lease.turn), lambda *_: None)
    return recovery.fence(worker) is not None

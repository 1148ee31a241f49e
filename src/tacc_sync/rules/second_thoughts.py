"""What releasing or abandoning a quarantined unit makes of its document. Pure.

Guarantee: a file that is settled stays as it is; what lies verified in the buffer is not recalled again; nothing is
called abandoned without its reason. Fails with `WorkFault` RELEASE-HOPELESS, RELEASE-TOO-LARGE, TASK-OPEN.
"""

from __future__ import annotations

from collections.abc import Collection

from tacc_sync.rules import completion, patience, route
from tacc_sync.rules.documents import File, Why, Work
from tacc_sync.rules.faults import WorkFault

# The next attempt would find the same, whatever the operator mends at our side.
HOPELESS = frozenset({"NAME-UNSPEAKABLE", "STRIPE-TOO-WIDE"})


# A file of the archive's size and date is there, and the request wants the operator to decide.
PRESENT = "DESTINATION-PRESENT"


def has_open_task(work: Work) -> bool:
    """Is there a task at Globus, or about to be, whose records have not been read?"""
    return bool(work.tasks) and not work.tasks[-1].ended_at


def release(work: Work, *, quota: int) -> str:
    """Set a unit's failed files back to what they wait for; the queue that it goes to. `quota` 0 is no limit."""
    again = [file for file in work.files if file.outcome == "failed" and not _is_hopeless(file)]
    hopeless = [file for file in work.files if file.outcome == "failed" and _is_hopeless(file)]
    if hopeless and not again and route.after_reaping(work) == route.QUARANTINE:
        why = hopeless[0].why
        raise WorkFault(
            "RELEASE-HOPELESS",
            f"{work.unit}: trying again would find the same: {why.text if why else ''}",
            "`tacc-sync quarantine abandon` gives these files up by name",
        )
    if 0 < quota < work.bytes and any(not route.in_buffer(file) for file in again):
        raise WorkFault(
            "RELEASE-TOO-LARGE",
            f"{work.unit} has {work.bytes} bytes, the whole transfer buffer may hold {quota}",
            "raise `quota` in [buffer] of tacc-sync.toml (or TRANSFER_QUOTA) first, or abandon the unit",
        )
    for file in again:
        file.outcome = "retrieved" if route.in_buffer(file) else "waiting"
        patience.forget_failures(file)
    work.begun = work.ended
    work.rest_until = ""
    # Its records decide what is delivered; to recall anything before they are read would be in vain.
    return route.GLOBUS_QUEUE if has_open_task(work) else route.after_release(work)


def abandon(work: Work, now: float) -> str:
    """Give up every file that is not delivered; the queue that the unit goes to."""
    if has_open_task(work):
        raise WorkFault(
            "TASK-OPEN",
            f"{work.unit}: Globus may still be at work on its files (task {work.tasks[-1].task_id or 'unknown'})",
            "release it, so that globus_xfer brings the task to its end; then abandon what is left",
        )
    for file in work.files:
        if file.outcome in completion.SETTLED:
            continue
        file.outcome = "abandoned"
        file.why = file.why or Why(code="ABANDONED", text="given up by the operator", at=patience.to_iso(now))
    work.begun = work.ended
    work.rest_until = ""
    return route.REAPER_QUEUE


def adopt(work: Work, destinations: Collection[str], request: str) -> str:
    """Take over what lies at these destinations, of files that were put aside because of it; the queue that the unit
    goes to. What is not among them stays as it is."""
    for file in work.files:
        is_there = file.why is not None and file.why.code == PRESENT
        if file.outcome == "failed" and is_there and file.destination in destinations:
            file.outcome, file.adopted_by = "present", request
    # The reaper puts it back into quarantine when it still has to lie there.
    return route.REAPER_QUEUE


def _is_hopeless(file: File) -> bool:
    return file.why is not None and file.why.code in HOPELESS

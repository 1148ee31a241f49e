"""What a workspace that was copied or restored makes of the tasks that Globus has of its units. Pure.

Guarantee: a task is taken over only by the label that this very attempt of this unit would have; what of it was
delivered is still decided by its records alone.
"""

from __future__ import annotations

from tacc_sync.rules import patience
from tacc_sync.rules.documents import Task, Work
from tacc_sync.rules.identity import task_label
from tacc_sync.rules.second_thoughts import has_open_task


def label_to_ask(work: Work) -> str | None:
    """The label under which Globus may have a task that the unit's document does not name; None when it names the one
    that is at work."""
    if not has_open_task(work):
        return task_label(work.unit, len(work.tasks) + 1)
    return None if work.tasks[-1].task_id else work.tasks[-1].label


def take(work: Work, task_id: str, *, submission_id: str, now: float) -> bool:
    """Note the task as the unit's own; False when nothing of the unit is there that it could have delivered.
    `submission_id` is used for nothing but to fill the field, when the document has none."""
    if has_open_task(work):
        work.tasks[-1].task_id = task_id
        work.ended += 1
        return True
    items = [index for index, file in enumerate(work.files) if file.outcome == "retrieved"]
    if not items:
        return False
    attempt = len(work.tasks) + 1
    work.tasks.append(
        Task(
            attempt=attempt,
            submission_id=submission_id,
            label=task_label(work.unit, attempt),
            prepared_at=patience.to_iso(now),
            items=items,
            bytes=sum(work.files[index].size for index in items),
            task_id=task_id,
        )
    )
    work.begun += 1
    work.ended += 1
    return True

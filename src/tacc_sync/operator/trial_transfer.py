"""Some files sent to the scratch directory at the destination, to see how long a task takes.

Guarantee: under a name that nothing else has, so nothing there is written over; the task is over, or asked to end, when
this returns or raises. What has arrived stays there: this program cannot remove anything at the destination.
Fails with: the faults of Globus, `WorldFault` MEASURE-UNSENT.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tacc_sync.operator.words import duration
from tacc_sync.outside.globus.interface import Globus, Item, Order, TaskView, UnknownTask
from tacc_sync.rules.faults import Fault, WorldFault
from tacc_sync.rules.settings import Settings, to_collection
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

NAME = ".tacc-sync-measure"
# The service is asked so often, and left when no byte has moved for so long.
PAUSE, PATIENCE = 0.5, 1800.0


@dataclass(frozen=True, slots=True)
class Sent:
    """Seconds from submit to the first byte, bytes a second from there to the last one, seconds from there to the end;
    and what a person should know."""

    start: float | None
    rate: float | None
    verification: float | None
    note: str


NOTHING = Sent(None, None, None, "")


def send(home: Home, buffer: Disk, globus: Globus, settings: Settings, paths: Sequence[str]) -> Sent:
    """Send these files of the buffer, and watch."""
    section, clock = settings.destination, home.clock
    place = f"{section.scratch.rstrip('/')}/{NAME}-{home.host.token()}"
    target = to_collection(place, section.path_prefix, section.globus_prefix)
    if target is None:
        text = f"`destination.scratch`, {section.scratch}, does not lie below {section.path_prefix}"
        raise WorldFault("MEASURE-UNSENT", text, "correct `scratch` in [destination]")
    root = (settings.buffer.globus_path or buffer.root).rstrip("/")
    sizes = [found.size if (found := buffer.status(path)) else 0 for path in paths]
    order = Order(
        globus.new_submission_id(),
        f"tacc-sync measure {home.host.token()}",
        settings.globus.source_collection,
        settings.globus.destination_collection,
        [Item(f"{root}/{path}", f"{target}/{path.rpartition('/')[2]}") for path in paths],
    )
    began = clock.uptime()
    task_id = globus.submit(order).task_id
    try:
        first, last, ended = _watch(home, globus, task_id, sum(sizes))
    except BaseException:
        # It would find nothing to send any more.
        with suppress(Fault, UnknownTask):
            globus.cancel(task_id)
        raise
    start = None if first is None else first[0] - began
    rate = None
    if first is not None and last is not None and last > first[0] and sum(sizes) > first[1]:
        rate = (sum(sizes) - first[1]) / (last - first[0])
    return Sent(start, rate, None if last is None else ended - last, f"{place} may be removed: nobody needs it")


def _watch(
    home: Home, globus: Globus, task_id: str, whole: int
) -> tuple[tuple[float, int] | None, float | None, float]:
    """When the first bytes were told, and how many; when all; when it was over."""
    clock = home.clock
    first: tuple[float, int] | None = None
    last: float | None = None
    moved, moved_at = -1, clock.uptime()
    while True:
        view: TaskView = globus.task(task_id)
        now = clock.uptime()
        if view.bytes_transferred != moved:
            moved, moved_at = view.bytes_transferred, now
        if view.bytes_transferred > 0 and first is None:
            first = now, view.bytes_transferred
        if view.bytes_transferred >= whole and last is None:
            last = now
        if view.status == "SUCCEEDED":
            return first, last, now
        if view.status == "FAILED":
            raise WorldFault("MEASURE-UNSENT", f"the task failed: {view.fatal_error or view.nice_status_text}")
        if home.lost or now - moved_at > PATIENCE:
            why = "this command was fenced" if home.lost else f"no byte has moved for {duration(PATIENCE)}"
            raise WorldFault("MEASURE-UNSENT", f"{why}: {view.nice_status or view.status}")
        clock.sleep(PAUSE)

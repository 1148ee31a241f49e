"""What the components that work on units share when a unit cannot be worked on at all."""

from __future__ import annotations

import contextlib

from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.rules.documents import BadDocument, NewerDocument, Work
from tacc_sync.rules.faults import Fault, WorkFault
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.patience import to_iso
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.quarantine import quarantine_unit
from tacc_sync.workspace.queues import rest, rest_marks

# Trying again by ourselves could do harm (lock an account, ask for a password for ever): the component holds itself.
HOLDING = frozenset({"HPSS-UNAUTHENTICATED"})


def hold_where_trying_harms(disk: Disk, component: str, fault: Fault) -> None:
    """Hold a component for the operator after such a fault; `OSError` when that cannot be written."""
    if fault.code in HOLDING:
        with contextlib.suppress(FileExistsError):
            disk.create(f"{layout.HOLD}/{component}", f"{fault}\n".encode())


def cannot_read(bench: Bench, claimed: str, component: str, error: BadDocument | NewerDocument) -> Step:
    """An unreadable unit goes to quarantine, bytes untouched; one of a newer version is left alone."""
    queue, _, entry = claimed.removeprefix(bench.home.path + "/").partition("/")
    if isinstance(error, NewerDocument):
        due = bench.home.clock.now() + 600
        # It rests, so that it is not taken again and again.
        bench.home.put_new(rest(entry.removesuffix(SUFFIX), due), b"")
        bench.home.pass_on(claimed, queue)
        bench.report("newer_document_left_alone", component=component, entry=entry)
        return Waits(f"a newer tacc-sync, which wrote {queue}/{entry}", "upgrade this host", due)
    return out_of_the_way(bench, claimed, component, error)


def killer(bench: Bench, claimed: str, component: str, work: Work) -> Step:
    """A unit whose workers keep dying is taken out of the way."""
    fault = WorkFault(
        "WORKERS-DIED",
        f"{work.begun - work.ended} workers ended without a word while they worked on this unit",
        "see the logs of that time; `tacc-sync quarantine release` lets it go on",
    )
    return out_of_the_way(bench, claimed, component, fault)


def out_of_the_way(
    bench: Bench, claimed: str, component: str, fault: Fault, *, to: str = "", files: list[str] | None = None
) -> Step:
    """A unit that cannot go on is quarantined (in the quarantine of `to`, when that is not the component's own)."""
    path = quarantine_unit(bench.home, claimed, to or component, fault, files)
    bench.report("work_quarantined", component=component, path=path, code=fault.code, text=fault.text)
    return Moved(f"quarantined {claimed.rpartition('/')[2].removesuffix(SUFFIX)}")


def let_rest(home: Home, work: Work, until: float) -> None:
    """Note, in the document and as a mark that a listing shows, that a unit rests. The document is not written here."""
    work.rest_until = to_iso(until)
    home.put_new(rest(work.unit, until), b"")


def end_rest(home: Home, unit: str) -> None:
    """Remove the marks that a unit rests: several, when somebody was cut off between a mark and the document."""
    for path in rest_marks(home.disk, unit):
        home.take_away(path)

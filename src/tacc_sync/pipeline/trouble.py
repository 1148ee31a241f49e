"""What the components that work on units share when a unit cannot be worked on at all."""

from __future__ import annotations

from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.rules.documents import BadDocument, NewerDocument, Work
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.patience import to_iso
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.quarantine import quarantine_unit
from tacc_sync.workspace.queues import rest, rest_marks


def cannot_read(bench: Bench, claimed: str, component: str, error: BadDocument | NewerDocument) -> Step:
    """An unreadable unit goes to quarantine, bytes untouched; one of a newer version is left alone."""
    queue, _, entry = claimed.removeprefix(bench.home.path + "/").partition("/")
    if isinstance(error, NewerDocument):
        due = bench.home.clock.now() + 600
        # It rests, so that it is not taken again and again.
        bench.home.put_new(rest(entry.removesuffix(".json"), due), b"")
        bench.home.pass_on(claimed, queue)
        bench.report("newer_document_left_alone", component=component, entry=entry)
        return Waits(f"a newer tacc-sync, which wrote {queue}/{entry}", "upgrade this host", due)
    path = quarantine_unit(bench.home, claimed, component, error)
    bench.report("work_quarantined", component=component, path=path, code=error.code, text=error.text)
    return Moved(f"quarantined {entry}")


def killer(bench: Bench, claimed: str, component: str, work: Work) -> Step:
    """A unit whose workers keep dying is taken out of the way."""
    fault = WorkFault(
        "WORKERS-DIED",
        f"{work.begun - work.ended} workers ended without a word while they worked on this unit",
        "see the logs of that time; `tacc-sync quarantine release` lets it go on",
    )
    path = quarantine_unit(bench.home, claimed, component, fault)
    bench.report("work_quarantined", component=component, path=path, code=fault.code, text=fault.text)
    return Moved(f"quarantined {work.unit}")


def let_rest(home: Home, work: Work, until: float) -> None:
    """Note, in the document and as a mark that a listing shows, that a unit rests. The document is not written here."""
    work.rest_until = to_iso(until)
    home.put_new(rest(work.unit, until), b"")


def end_rest(home: Home, unit: str) -> None:
    """Remove the marks that a unit rests: several, when somebody was cut off between a mark and the document."""
    for path in rest_marks(home.disk, unit):
        home.take_away(path)

"""The way of a unit through the queues: who may move what from where to where, and when.

`STATES` and `MOVES` are the state machine, as data; ARCHITECTURE.md shows the same table. The functions below are the
only places where a next place is decided. All pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tacc_sync.rules.documents import File, Work

Component = Literal["syncer", "retriever", "globus_xfer", "reaper", "finisher"]
COMPONENTS: tuple[Component, ...] = ("syncer", "retriever", "globus_xfer", "reaper", "finisher")

INBOX = "inbox"
# Requests that renew themselves.
STANDING = "standing"
REQUEST_QUEUE = "request_queue"
HPSS_QUEUE = "hpss_queue"
GLOBUS_QUEUE = "globus_queue"
REAPER_QUEUE = "reaper_queue"
FINISHED = "finished"
QUARANTINE = "quarantine"

# The queues of units in the direction of flow, and of everything that is claimed.
UNIT_QUEUES = (HPSS_QUEUE, GLOBUS_QUEUE, REAPER_QUEUE)
CLAIMABLE = (STANDING, INBOX, REQUEST_QUEUE, *UNIT_QUEUES)


class State(NamedTuple):
    """A state of a unit, in the manner of qmail's INTERNALS: `+` is there, `-` is not, `?` either."""

    name: str
    place: str
    submission_id: str
    task_id: str
    receipts: str
    buffer_files: str
    meaning: str


STATES = (
    State("U1", "claims (staging)", "-", "-", "-", "-", "planned; published after the commit"),
    State("U2", HPSS_QUEUE, "?", "?", "?", "?", "waits for tape"),
    State("U3", "claims", "?", "?", "?", "?", "on its way from tape; drained to U2"),
    State("U4", GLOBUS_QUEUE, "-", "-", "?", "+", "waits for Globus"),
    State("U5", "globus_queue or claims", "+", "-", "?", "+", "about to be submitted, with that id"),
    State("U6", "globus_queue or claims", "+", "+", "?", "+", "in flight"),
    State("U7", "reaper_queue or claims", "-", "-", "?", "?", "its round ends"),
    State("U8", FINISHED, "-", "-", "+", "-", "finished: each file delivered or given up by name"),
    State("UQ", QUARANTINE, "?", "?", "?", "?", "the operator: release or abandon"),
)


class Move(NamedTuple):
    """A permitted change of place."""

    source: str
    target: str
    mover: str
    when: str


MOVES = (
    Move("claims (staging)", HPSS_QUEUE, "syncer", "its request has moved to request_queue"),
    Move("claims (staging)", QUARANTINE, "syncer", "it can never be carried as it is (name, size)"),
    Move("claims (staging)", FINISHED, "syncer", "all of its files are at the destination already"),
    Move(HPSS_QUEUE, REAPER_QUEUE, "syncer", "other requests have carried its files: nothing of it is left to recall"),
    Move(HPSS_QUEUE, GLOBUS_QUEUE, "retriever", "at least one of its files lies in the buffer, verified"),
    Move(HPSS_QUEUE, REAPER_QUEUE, "retriever", "none of its files could be had in this round"),
    Move(HPSS_QUEUE, QUARANTINE, "retriever", "it kills its workers, or is unreadable"),
    Move(
        GLOBUS_QUEUE, REAPER_QUEUE, "globus_xfer", "its task has ended and its records are read; or nothing can be sent"
    ),
    Move(GLOBUS_QUEUE, QUARANTINE, "globus_xfer", "it kills its workers, or is unreadable"),
    Move(REAPER_QUEUE, FINISHED, "reaper", "every file is delivered or abandoned, and freed"),
    Move(REAPER_QUEUE, HPSS_QUEUE, "reaper", "some files have yet to be recalled"),
    Move(REAPER_QUEUE, GLOBUS_QUEUE, "reaper", "what is left lies in the buffer and has yet to be delivered"),
    Move(
        REAPER_QUEUE,
        QUARANTINE,
        "reaper",
        "its files have used up their attempts; the buffer holds a stranger; or it is unreadable",
    ),
    Move(QUARANTINE, HPSS_QUEUE, "operator", "released; some files have yet to be recalled"),
    Move(QUARANTINE, GLOBUS_QUEUE, "operator", "released; what is left lies in the buffer"),
    Move(
        QUARANTINE,
        REAPER_QUEUE,
        "operator",
        "released, nothing left; or abandoned: the copies in the buffer go",
    ),
)


def in_buffer(file: File) -> bool:
    """Does a verified copy lie in the buffer that nothing has proven to be at the destination?"""
    return bool(file.retrieved_at) and file.outcome in {"retrieved", "failed"}


def after_retrieval(work: Work) -> str:
    """Where a unit goes when its session has ended and its document says what was had."""
    return GLOBUS_QUEUE if any(file.outcome == "retrieved" for file in work.files) else REAPER_QUEUE


def after_reaping(work: Work) -> str:
    """Where a unit goes when the delivered files' copies are gone from the buffer."""
    outcomes = {file.outcome for file in work.files}
    if "waiting" in outcomes:
        return HPSS_QUEUE
    if "retrieved" in outcomes:
        return GLOBUS_QUEUE
    if "failed" in outcomes:
        return QUARANTINE
    return FINISHED


def after_release(work: Work) -> str:
    """Where a released unit goes, its failed files having been set back to what they wait for."""
    place = after_reaping(work)
    # A unit with nothing left to do still passes the reaper, who alone gives the reservation back.
    return place if place in UNIT_QUEUES else REAPER_QUEUE


def quarantined_by(work: Work) -> Component:
    """Whose quarantine a unit belongs to: the component at which its files were given up."""
    failed = [file for file in work.files if file.outcome == "failed"]
    return "globus_xfer" if failed and all(in_buffer(file) for file in failed) else "retriever"


def may_free(file: File) -> bool:
    """May this file's copy in the buffer be removed? Only on evidence of delivery or on the operator's word."""
    delivered = file.outcome == "delivered" and bool(file.receipt or file.task_id) and bool(file.delivered_at)
    return delivered or file.outcome == "abandoned"

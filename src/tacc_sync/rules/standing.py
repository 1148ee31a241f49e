"""Requests that renew themselves: what each run is called, what it asks for, and when the next one is due. Pure.

Guarantee: a run's id and its whole document follow from the standing request and the run's number alone, so who hands
it in again hands in the same. Runs are due at fixed intervals from the first one on; those that were missed while one
was still under way are left out.
Fails with `BadDocument`.
"""

from __future__ import annotations

import math

import msgspec

from tacc_sync.rules import documents, validity
from tacc_sync.rules.documents import VERSION, BadDocument, Request, StandingRequest
from tacc_sync.rules.identity import run_id, valid_request_id
from tacc_sync.rules.patience import from_iso, to_iso

# Seconds. More often than that is no renewal: a listing takes longer.
SHORTEST = 60.0
LONGEST = 10 * 366 * 86400.0

_REMEDY = "restore the document that tacc-sync wrote, or stop it with `tacc-sync standing stop` and submit another"


def new(request: Request, *, standing_id: str, every: float, now: float) -> StandingRequest:
    """A standing request whose first run is due at once."""
    template = msgspec.structs.replace(request, request_id="", created_at=request.created_at or to_iso(now))
    made = StandingRequest(
        version=VERSION, standing_id=standing_id, every=float(every), due=to_iso(now), request=template
    )
    check(made, standing_id)
    return made


def check(standing: StandingRequest, name: str) -> None:
    """Return when this may be the standing request that lies under `name`; raises `BadDocument`."""
    if standing.standing_id != name or not valid_request_id(name):
        raise BadDocument("standing_id", f"{standing.standing_id[:80]!a} is not what the file's name says", _REMEDY)
    if not SHORTEST <= standing.every <= LONGEST:
        raise BadDocument("every", f"must be from {SHORTEST:g} seconds to ten years", "write `1d`, say")
    if standing.run < 0 or (standing.run == 0) == bool(standing.begun_at) or (standing.handed_in and not standing.run):
        raise BadDocument("run", "does not fit `begun_at` and `handed_in`", _REMEDY)
    for field, text in (("due", standing.due), ("begun_at", standing.begun_at or standing.due)):
        # What cannot be read is the beginning of time.
        if not from_iso(text) > 0:
            raise BadDocument(field, f"{text[:80]!a} is no time", _REMEDY)
    request = standing.request
    for field in ("request_id", "standing", "run", "unit_bytes", "admitted", "plan", "result"):
        if getattr(request, field):
            raise BadDocument(f"request.{field}", "is each run's own", f"remove `{field}`")
    validity.validate(request)


def begin(standing: StandingRequest, now: float) -> StandingRequest:
    """The next run, about to be handed in."""
    every, due = standing.every, from_iso(standing.due)
    following = due + every * max(1, math.floor((now - due) / every) + 1)
    return msgspec.structs.replace(
        standing, run=standing.run + 1, begun_at=to_iso(now), handed_in=False, due=to_iso(following)
    )


def run_of(standing: StandingRequest) -> Request:
    """The request of the run that was begun last."""
    if not standing.run:
        raise AssertionError(standing.standing_id)
    return msgspec.structs.replace(
        standing.request,
        request_id=run_id(standing.standing_id, standing.run),
        created_at=standing.begun_at,
        standing=standing.standing_id,
        run=standing.run,
    )


def encode(standing: StandingRequest) -> bytes:
    """Its document."""
    return documents.encode_any(standing)

"""Standing requests: hands in the next run when it is due and the last one has ended.

Guarantee: no two runs of one standing request are under way at once; one that takes longer than the interval is named
as late, and the next one begins when it has ended. What cannot be read is left alone, and holds up nothing else.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

from tacc_sync.pipeline.step import Bench, Moved, Waits
from tacc_sync.rules.documents import BadDocument, NewerDocument, StandingRequest
from tacc_sync.rules.identity import printable, request_key
from tacc_sync.rules.patience import from_iso
from tacc_sync.workspace import standing

# Seconds until one that is not due, or whose run is under way, is looked at again: an operator may have changed it.
LOOK = 30.0
# Until one that cannot be read is.
LONG_LOOK = 600.0


class Renewal:
    """Looks after all of them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        # Epoch seconds before which they are not looked at, and what they wait for; of those that are late, their runs.
        self._resting: dict[str, tuple[float, Waits]] = {}
        self._late: dict[str, str] = {}

    def renew_one(self) -> Moved | None:
        """Hand in the run of one; None when none is due."""
        there = standing.names(self._bench.disk)
        self._resting = {name: rest for name, rest in self._resting.items() if name in there}
        now = self._bench.home.clock.now()
        for name in there:
            rests = name in self._resting and self._resting[name][0] > now
            if rests and not (name in self._late and standing.has_ended(self._bench.disk, self._late[name])):
                continue
            moved = self._consider(name, now)
            if moved is not None:
                return moved
        return None

    def waits(self) -> Waits:
        """What the standing requests wait for: the one that is due first, if any; else for requests."""
        nothing = Waits("requests in inbox")
        return min(
            (waits for _, waits in self._resting.values()), key=lambda waits: waits.due or float("inf"), default=nothing
        )

    def _consider(self, name: str, now: float) -> Moved | None:
        bench = self._bench
        self._late.pop(name, None)
        try:
            found = standing.read(bench.disk, standing.path_of(name))
            if self._may_begin(found) or (found.run and not found.handed_in):
                begun = standing.renew(bench.home, name, self._may_begin)
                if begun is None:
                    # Somebody else was faster.
                    return None
                key = request_key(standing.run_in_progress(begun))
                bench.report("run_handed_in", component="syncer", standing=name, run=begun.run, request=key)
                return Moved(f"handed in run {begun.run} of standing request {name}")
        except FileNotFoundError:
            return None
        except (BadDocument, NewerDocument) as error:
            bench.report("standing_request_unreadable", component="syncer", standing=printable(name), text=str(error))
            waits = Waits(f"somebody to mend standing/{printable(name)}", "`tacc-sync check` says what is wrong")
            self._resting[name] = now + LONG_LOOK, waits
            return None
        due = from_iso(found.due)
        if due > now:
            waits = Waits("requests in inbox", f"standing request {_named(found)} is renewed {found.due}", due)
            self._resting[name] = min(due, now + LOOK), waits
        else:
            text = f"run {found.run} of standing request {_named(found)} to end: the next was due {found.due}"
            self._resting[name] = now + LOOK, Waits(text, "it is begun then")
            self._late[name] = standing.run_in_progress(found)
        return None

    def _may_begin(self, found: StandingRequest) -> bool:
        if from_iso(found.due) > self._bench.home.clock.now():
            return False
        if found.run == 0:
            return True
        return found.handed_in and standing.has_ended(self._bench.disk, standing.run_in_progress(found))


def _named(found: StandingRequest) -> str:
    return found.request.label or found.standing_id[:8]

"""The finisher: when each of a request's work units is found in finished, writes the proofs and moves the request
there.

Guarantee: finished on positive evidence only: every unit of the plan is looked up by its name, and every file of it
is settled. What lies in quarantine blocks the request visibly."""

from __future__ import annotations

from tacc_sync.pipeline.proofs import Proofs
from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.rules import completion
from tacc_sync.rules.certificate import total
from tacc_sync.rules.documents import BadDocument, NewerDocument, Result
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.route import COMPONENTS, REQUEST_QUEUE
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.quarantine import quarantine_stranger


class Finisher:
    """One worker that looks whether requests are finished."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        # By request: the entries that its plan wants in finished. It is looked at after each unit, of ten thousand.
        self._planned: dict[str, frozenset[str]] = {}

    def step(self) -> Step:
        """Finish one request, or say which ones are open."""
        keys = queues.requests(self._bench.disk)
        for gone in set(self._planned).difference(keys):
            del self._planned[gone]
        missing = newer = 0
        for key in keys:
            missing_here = self._missing(key)
            if missing_here is None:
                return Moved(f"quarantined request {key}")
            if not missing_here:
                finished = self._finish(key)
                if finished is not None:
                    return finished
                newer += 1
            missing += missing_here
        if not keys:
            return Waits("requests in request_queue")
        if newer:
            return Waits(f"a newer tacc-sync, which wrote units of {newer} requests", "upgrade this host")
        text = f"{missing} units of {len(keys)} requests"
        if quarantined := self._in_quarantine():
            return Waits(f"{text}, {quarantined} of them in quarantine", "`tacc-sync quarantine list` shows them")
        return Waits(text)

    def _missing(self, key: str) -> int | None:
        """How many units; None when the request was no request."""
        disk = self._bench.disk
        if key not in self._planned:
            entry = layout.entry(REQUEST_QUEUE, key)
            try:
                request = queues.request_of(disk, entry)
            except (FileNotFoundError, NewerDocument):
                return 1
            except BadDocument as error:
                claimed = self._bench.home.claim(REQUEST_QUEUE, key + SUFFIX)
                if claimed is not None:
                    quarantine_stranger(self._bench.home, claimed, "finisher", error)
                return None
            if request.plan is None:
                raise AssertionError(key)
            self._planned[key] = frozenset(unit + SUFFIX for unit in request.plan.units)
        try:
            finished = disk.names(layout.finished(key))
        except FileNotFoundError:
            finished = []
        return completion.missing(self._planned[key], finished)

    def _in_quarantine(self) -> int:
        disk = self._bench.disk
        there = {name for component in COMPONENTS for name in disk.names(layout.quarantine(component))}
        return sum(len(planned & there) for planned in self._planned.values()) if there else 0

    def _finish(self, key: str) -> Step | None:
        """None when a newer tacc-sync has to do it."""
        bench = self._bench
        claimed = bench.home.claim(REQUEST_QUEUE, key + SUFFIX)
        if claimed is None:
            return Waits("another worker's move", moving=True)
        request = queues.request_of(bench.disk, claimed)
        bench.home.beat(doing=f"writes the manifest of {key}")
        try:
            written = Proofs(bench.home, request, key).write()
        except NewerDocument:
            bench.home.pass_on(claimed, REQUEST_QUEUE)
            return None
        except WorkFault as fault:
            quarantine_stranger(bench.home, claimed, "finisher", fault)
            bench.report("request_quarantined", component="finisher", request=key, code=fault.code, text=fault.text)
            return Moved(f"quarantined request {key}")
        delivered, abandoned, there = (
            total(written.outcomes, outcomes) for outcomes in ({"delivered"}, {"abandoned"}, completion.THERE)
        )
        request.result = Result(
            finished_at=written.finished_at,
            delivered_files=delivered.files,
            delivered_bytes=delivered.bytes,
            abandoned_files=abandoned.files,
            abandoned_bytes=abandoned.bytes,
            there_files=there.files,
            there_bytes=there.bytes,
            certificate=written.number,
        )
        bench.home.put_document(claimed, request)
        bench.home.move(claimed, f"{layout.finished(key)}/request.json")
        self._planned.pop(key, None)
        bench.report(
            "request_finished",
            component="finisher",
            request=key,
            files=delivered.files,
            bytes=delivered.bytes,
            there=there.files,
            abandoned=abandoned.files,
            certificate=written.number,
            warnings=request.plan.warnings if request.plan else [],
        )
        return Moved(f"finished request {key}")

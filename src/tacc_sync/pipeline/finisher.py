"""The finisher: when each of a request's work units is found in finished, writes the proofs and moves the request
there.

Guarantee: finished on positive evidence only: every unit of the plan is looked up by its name, and every file of it
is settled. What lies in quarantine blocks the request visibly."""

from __future__ import annotations

from tacc_sync.pipeline.proofs import Proofs
from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.rules import completion
from tacc_sync.rules.certificate import total
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request, Result
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.route import COMPONENTS, REQUEST_QUEUE
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.quarantine import quarantine_stranger


class Finisher:
    """One worker that looks whether requests are finished."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._plans: dict[str, Request] = {}

    def step(self) -> Step:
        """Finish one request, or say which ones are open."""
        keys = queues.requests(self._bench.disk)
        for gone in set(self._plans).difference(keys):
            del self._plans[gone]
        missing_units: list[str] = []
        newer = 0
        for key in keys:
            missing = self._missing(key)
            if missing is None:
                return Moved(f"quarantined request {key}")
            if not missing:
                finished = self._finish(key)
                if finished is not None:
                    return finished
                newer += 1
            missing_units += missing
        if not keys:
            return Waits("requests in request_queue")
        if newer:
            return Waits(f"a newer tacc-sync, which wrote units of {newer} requests", "upgrade this host")
        text = f"{len(missing_units)} units of {len(keys)} requests"
        if quarantined := self._in_quarantine(missing_units):
            return Waits(f"{text}, {quarantined} of them in quarantine", "`tacc-sync quarantine list` shows them")
        return Waits(text)

    def _missing(self, key: str) -> list[str] | None:
        disk = self._bench.disk
        if key not in self._plans:
            entry = layout.entry(REQUEST_QUEUE, key)
            try:
                request = queues.request_of(disk, entry)
            except FileNotFoundError:
                return ["?"]
            except NewerDocument:
                return ["?"]
            except BadDocument as error:
                claimed = self._bench.home.claim(REQUEST_QUEUE, key + SUFFIX)
                if claimed is not None:
                    quarantine_stranger(self._bench.home, claimed, "finisher", error)
                return None
            self._plans[key] = request
        plan = self._plans[key].plan
        if plan is None:
            raise AssertionError(key)
        try:
            finished = {unit.unit for unit in queues.units(disk, layout.finished(key))}
        except FileNotFoundError:
            finished = set()
        return completion.missing_units(plan, finished)

    def _in_quarantine(self, missing: list[str]) -> int:
        disk = self._bench.disk
        there = {unit.unit for component in COMPONENTS for unit in queues.units(disk, layout.quarantine(component))}
        return len(there.intersection(missing))

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
        self._plans.pop(key, None)
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

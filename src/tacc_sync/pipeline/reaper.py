"""The reaper: takes work from reaper_queue, removes its files from the transfer buffer, moves it to finished.

Guarantee: a file is removed only on evidence of its delivery or on the operator's word, and only by its id, directly
in its unit's own directory; the reservation goes only when that directory is gone. A unit with files still to do goes
round again."""

from __future__ import annotations

from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.pipeline.trouble import cannot_read, end_rest, let_rest, out_of_the_way
from tacc_sync.rules import patience, route
from tacc_sync.rules.documents import BadDocument, NewerDocument, Work
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import buffer_name
from tacc_sync.workspace import layout, ownership, queues, transfer_buffer


class Reaper:
    """One worker that frees the buffer."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def step(self) -> Step:
        """Free one unit's delivered files and send the unit on."""
        bench = self._bench
        now = bench.home.clock.now()
        rests = queues.rests(bench.disk)
        due: list[float] = []
        for unit in sorted(queues.units(bench.disk, route.REAPER_QUEUE)):
            if rests.get(unit.unit, 0.0) > now:
                due.append(rests[unit.unit])
                continue
            claimed = bench.home.claim(route.REAPER_QUEUE, unit.unit + ".json")
            if claimed is not None:
                if unit.unit in rests:
                    end_rest(bench.home, unit.unit)
                return self._reap(claimed)
        return Waits("work in reaper_queue", due=min(due, default=None))

    def _reap(self, claimed: str) -> Step:
        bench = self._bench
        # Of a buffer that is not there, every file would seem to be gone already.
        ownership.must_be_ours(bench.disk, bench.buffer, bench.settings.run.also_at, bench.home.clock.sleep)
        try:
            work = queues.work_of(bench.disk, claimed)
            self._must_be_known(work)
        except (BadDocument, NewerDocument) as error:
            return cannot_read(bench, claimed, "reaper", error)
        freed, size = self._free(work)
        if freed < self._expected(work) and self._reservations(work.unit):
            # Gone already, as after a kill; or another host has just put it there, and this one does not know it yet.
            # Without a reservation it was freed in an earlier round.
            bench.home.clock.sleep(ownership.SEEN_LATE)
            more, bytes_more = self._free(work)
            freed, size = freed + more, size + bytes_more
        left = transfer_buffer.remaining(bench.buffer, work.unit)
        stay, late = self._sort(work, left)
        strange = [name for name in left if name not in stay | late]
        # What cannot be seen is not gone: the room of an unmounted buffer is still taken.
        ownership.must_be_ours(bench.disk, bench.buffer, bench.settings.run.also_at, bench.home.clock.sleep)
        closed = not left and transfer_buffer.close(bench.buffer, work.unit)
        if closed:
            for unit, reserved in self._reservations(work.unit):
                bench.home.take_away(queues.reservation(unit, reserved))
        bench.report("buffer_freed", component="reaper", unit=work.unit, files=freed, bytes=size)
        if strange:
            fault = transfer_buffer.stranger(bench.buffer, work.unit, strange)
            return out_of_the_way(bench, claimed, "reaper", fault)
        if late or not (left or closed):
            return self._look_again(work, claimed, late)
        return self._send_on(work, claimed)

    def _sort(self, work: Work, left: list[str]) -> tuple[set[str], set[str]]:
        """Of what a unit's directory still holds: what is to stay there, and what is gone by one answer of the file
        system and there by another, as happens on a host that does not know yet what another one has written."""
        stay, late, there = set(), set(), set(left)
        for index, file in enumerate(work.files):
            name = buffer_name(index)
            if route.in_buffer(file):
                stay.add(name)
            elif route.may_free(file) and name in there:
                found = transfer_buffer.status(self._bench.buffer, work.unit, index)
                if found is None or found.kind != "directory":
                    late.add(name)
        return stay, late

    def _look_again(self, work: Work, claimed: str, late: set[str]) -> Step:
        bench = self._bench
        let_rest(bench.home, work, bench.home.clock.now() + ownership.SEEN_LATE)
        bench.home.put_document(claimed, work)
        bench.home.pass_on(claimed, route.REAPER_QUEUE)
        bench.report("buffer_seen_late", component="reaper", unit=work.unit, files=len(late))
        return Moved(f"looks at {work.unit} again later")

    def _must_be_known(self, work: Work) -> None:
        # Every planned request has its place in finished. Nothing is freed for a unit that belongs to none.
        place = layout.finished(self._key(work))
        found = self._bench.disk.status(place)
        if found is None or found.kind != "directory":
            text = f"request {self._key(work)} has no place in this workspace ({place})"
            raise BadDocument("request_id", text, "submit its files anew, and move this document away")

    def _free(self, work: Work) -> tuple[int, int]:
        files = size = 0
        for index, file in enumerate(work.files):
            if route.may_free(file) and transfer_buffer.remove(self._bench.buffer, work.unit, index):
                files += 1
                size += file.size
        return files, size

    @staticmethod
    def _expected(work: Work) -> int:
        """How many files the last task has delivered: they were never freed, unless we were cut off here."""
        return sum(route.may_free(work.files[index]) for index in (work.tasks[-1].items if work.tasks else ()))

    def _reservations(self, unit: str) -> list[tuple[str, int]]:
        prefix = unit + "."
        names = self._bench.disk.names(layout.RESERVATIONS)
        sizes = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        return [(unit, int(size)) for size in sizes if queues.is_number(size)]

    def _send_on(self, work: Work, claimed: str) -> Step:
        bench, now = self._bench, self._bench.home.clock.now()
        place = route.after_reaping(work)
        if place == route.QUARANTINE:
            return self._give_up(work, claimed)
        if place == route.FINISHED:
            work.rest_until = ""
            bench.home.put_document(claimed, work)
            bench.home.move(claimed, f"{layout.finished(self._key(work))}/{work.unit}.json")
            bench.wake("finisher")
        else:
            # Nothing that failed is tried again at once, even when the failure was the world's and so was not counted.
            until = max(patience.rest_until(work, now, bench.patience), now + bench.settings.patience.first_rest)
            if place == route.HPSS_QUEUE:
                work.round += 1
            let_rest(bench.home, work, until)
            bench.home.put_document(claimed, work)
            bench.home.pass_on(claimed, place)
            if place == route.GLOBUS_QUEUE:
                bench.wake("globus_xfer")
        # For what comes back, and for whoever waits for the room that was made.
        bench.wake("retriever")
        bench.report("work_moved", component="reaper", unit=work.unit, to=place)
        return Moved(f"freed {work.unit}")

    def _give_up(self, work: Work, claimed: str) -> Step:
        bench = self._bench
        failed = [file for file in work.files if file.outcome == "failed"]
        reasons = sorted({file.why.code for file in failed if file.why})
        fault = WorkFault(
            reasons[0] if len(reasons) == 1 else "FILES-FAILED",
            f"{len(failed)} of {len(work.files)} files have used up their attempts ({', '.join(reasons)})",
            "mend the cause, then `tacc-sync quarantine release`; or give these files up with `abandon`",
        )
        lines = [f"{file.path}: {file.why.code}: {file.why.text}" if file.why else file.path for file in failed]
        bench.home.put_document(claimed, work)
        return out_of_the_way(bench, claimed, "reaper", fault, to=route.quarantined_by(work), files=lines)

    @staticmethod
    def _key(work: Work) -> str:
        return work.unit.partition(".")[0]

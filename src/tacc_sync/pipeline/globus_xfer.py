"""globus_xfer: takes work from globus_queue; decides whether a Globus transfer must start, is in progress, or has
finished; moves finished work to reaper_queue.

Guarantee: the submission id is on disk before the submit, so one attempt of a unit is one task, whatever dies when;
never more tasks at work than slots; a file counts as delivered only by the service's own record of it with our size
and our checksum."""

from __future__ import annotations

from concurrent.futures import Executor

from tacc_sync.outside.globus.interface import (
    Globus,
    IdenticalPaths,
    Item,
    Order,
    TaskView,
    Transferred,
    UnknownTask,
)
from tacc_sync.pipeline.hashing import AtOnce, Vigil
from tacc_sync.pipeline.priorities import Priorities
from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.pipeline.trouble import cannot_read, end_rest, killer
from tacc_sync.rules import evidence, failing, patience, polling, retrieval, route, tasks
from tacc_sync.rules.documents import BadDocument, File, NewerDocument, Task, Why, Work, decode_or_none
from tacc_sync.rules.external import AUTO, Understood, choose
from tacc_sync.rules.faults import WorkFault, WorldFault
from tacc_sync.rules.identity import SUFFIX, task_label
from tacc_sync.rules.settings import to_collection
from tacc_sync.workspace import layout, ownership, queues, transfer_buffer
from tacc_sync.workspace.disk import Seal

# Seconds after the submit: a small task is over before the usual interval is.
FIRST_LOOK = 0.25
# After a trouble that concerns one unit alone; the others are looked after meanwhile.
UNIT_PAUSE = 300.0
# How often it is looked whether copies have been hashed again.
VIGIL_LOOK = 0.5
HASHED_AGAIN = "copies that have lain in the buffer to be hashed again"
NOTHING = "work in globus_queue"


class GlobusXfer:
    """One worker that starts, watches and settles tasks."""

    def __init__(
        self, bench: Bench, globus: Globus, executor: Executor | None = None, running_since: float | None = None
    ) -> None:
        """`running_since`: when this process began, epoch seconds."""
        self._bench = bench
        self._globus = globus
        self._executor = executor or AtOnce()
        self._running_since = bench.home.clock.now() if running_since is None else running_since
        self._vigils: dict[str, Vigil] = {}
        self._next_look: dict[str, float] = {}
        # What the looks at each unit's task have told, and what tasks have been like: when to look again.
        self._tracks: dict[str, polling.Track] = {}
        self._habits = polling.Habits()
        self._queued: set[str] = set()
        # The open task of each unit, and of which document: a unit of thousands of files is not read at each look.
        self._known: dict[str, tuple[Seal, Task]] = {}
        self._said: dict[str, Waits] = {}
        # When a unit was first seen to wait for a slot.
        self._since: dict[str, float] = {}
        self._priorities = Priorities(bench.disk)
        self._refusals, self._failures = failing.Streak(), failing.Streak()

    def step(self) -> Step:
        """Give a free slot to a waiting unit; then look after the units that have one."""
        # In this order: what can be sent does not wait until the records of others are read.
        given = self._give_slot()
        if isinstance(given, Moved):
            return given
        watched = self.watch()
        if isinstance(watched, Moved) or watched.waits_for == NOTHING:
            return watched if isinstance(watched, Moved) else given
        due = min((wait.due for wait in (watched, given) if wait.due is not None), default=None)
        return Waits(watched.waits_for, watched.upcoming, due, moving=watched.moving)

    def watch(self) -> Step:
        """Look after the units that have a slot."""
        waits: list[Waits] = []
        slots = queues.slots(self._bench.disk)
        for gone in self._known.keys() - set(slots):
            self._forget(gone)
        for unit in slots:
            if self._bench.disk.status(layout.entry(route.GLOBUS_QUEUE, unit)) is not None:
                step = self._look_after(unit)
                if isinstance(step, Moved):
                    return step
                waits.append(step)
        if not waits:
            return Waits(NOTHING)
        # Whatever is in trouble first: of several tasks the one that goes well is the least interesting.
        waits.sort(key=lambda wait: wait.moving)
        texts = list(dict.fromkeys(wait.waits_for for wait in waits))
        due = min((wait.due for wait in waits if wait.due is not None), default=None)
        return Waits("; ".join(texts), waits[0].upcoming, due, moving=any(wait.moving for wait in waits))

    # --- a slot for a unit ------------------------------------------------------------------------------------

    def _give_slot(self) -> Step:
        bench = self._bench
        home, disk = bench.home, bench.disk
        # A look beforehand: the turn is not taken for nothing.
        if (full := self._is_full()) is not None:
            return full
        with home.turn() as ours:
            if not ours:
                return Waits("the turn to choose", due=home.clock.now() + 1, moving=True)
            slots = queues.slots(disk)
            if (full := self._is_full()) is not None:
                return full
            rests = queues.rests(disk)
            now = home.clock.now()
            waiting = [unit for unit in queues.units(disk, route.GLOBUS_QUEUE) if unit.unit not in slots]
            # Who came first goes first, as far as we have seen it: what a tape's name is must not decide who waits.
            known = self._since
            self._since = {unit.unit: known.get(unit.unit, now) for unit in waiting}
            ready = sorted(
                (unit for unit in waiting if rests.get(unit.unit, 0.0) <= now),
                key=lambda unit: (-self._priorities.of(unit.request), self._since[unit.unit], unit),
            )
            if not ready:
                due = min((rests[unit.unit] for unit in waiting), default=None)
                return Waits("the end of a rest" if waiting else NOTHING, "tries again", due)
            unit = ready[0].unit
            claimed = home.claim(route.GLOBUS_QUEUE, unit + SUFFIX)
            if claimed is None:
                return Waits("another worker's move", due=now, moving=True)
            # The slot before anything else: it is what the others count.
            home.put_new(f"{layout.SLOTS}/{unit}", home.name.encode())
            if unit in rests:
                end_rest(home, unit)
            # From now on every earlier copy of this workspace is an old one.
            ownership.raise_epoch(home)
        return self._start(unit, claimed)

    def _is_full(self) -> Waits | None:
        """Whether all slots are taken, on all hosts together."""
        section = self._bench.settings.globus
        taken = len(queues.slots(self._bench.disk))
        if taken < section.tasks + section.queued:
            return None
        text = f"a free slot: {taken} tasks are at work or queued at Globus"
        return Waits(text, "begins when one has ended", moving=True)

    # --- looking after a unit ---------------------------------------------------------------------------------

    def _look_after(self, unit: str) -> Step:
        clock = self._bench.home.clock
        if unit in self._vigils and not self._vigils[unit].is_over:
            return Waits(HASHED_AGAIN, "they are sent then", clock.now() + VIGIL_LOOK, moving=True)
        due = self._next_look.get(unit, 0.0)
        if clock.now() < due:
            said = self._said.get(unit, Waits("Globus", "looks at the task again", moving=True))
            return Waits(said.waits_for, said.upcoming, due, moving=said.moving)
        entry = layout.entry(route.GLOBUS_QUEUE, unit)
        try:
            # The seal first: what is read afterwards is never older than what it stands for.
            seal = self._bench.disk.seal(entry)
            known = self._known.get(unit)
            if known is not None and known[0] == seal:
                return self._watch(unit, known[1])
            task = _open_task(queues.work_of(self._bench.disk, entry))
        except FileNotFoundError:
            return Waits("another worker's move", due=clock.now(), moving=True)
        except (BadDocument, NewerDocument) as error:
            claimed = self._claim(unit)
            if claimed is None:
                return Waits("another worker's move", due=clock.now(), moving=True)
            self._bench.home.take_away(f"{layout.SLOTS}/{unit}")
            return cannot_read(self._bench, claimed, "globus_xfer", error)
        if task is None or not task.task_id:
            # Somebody died between taking the slot and noting the task: go on where it stopped.
            claimed = self._claim(unit)
            return Waits("another worker's move", moving=True) if claimed is None else self._start(unit, claimed)
        if seal is not None:
            self._known[unit] = (seal, task)
        return self._watch(unit, task)

    def _watch(self, unit: str, task: Task) -> Step:
        now = self._bench.home.clock.now()
        try:
            view = self._globus.task(task.task_id)
        except UnknownTask:
            why = Why(code="TASK-FORGOTTEN", text=f"Globus does not know task {task.task_id}")
            return self._settle(unit, None, why, counts=False)
        settings = self._bench.settings.globus
        verdict = tasks.assess(
            view,
            now=now,
            since=patience.from_iso(task.trouble_since) or None,
            patience=settings.trouble_patience,
        )
        match verdict:
            case tasks.InProgress():
                stuck = verdict.stuck
                if stuck != bool(task.trouble_since):
                    return self._note_trouble(unit, patience.to_iso(now) if stuck else "")
                due = self._next_look[unit] = now + self._pause(unit, view, task.bytes, now, verdict)
                return self._say(unit, task.task_id, verdict, due)
            case tasks.GiveUp():
                return self._cancel(unit, verdict)
            case tasks.Ended():
                track = self._tracks.get(unit)
                if verdict.succeeded and track is not None:
                    self._habits.learn(track, task.bytes, now)
                code = verdict.code or "TASK-LEFT-OUT"
                text = verdict.text or f"task {task.task_id} succeeded, but has no record of this file"
                return self._settle(unit, view, Why(code=code, text=text), counts=verdict.whose == "work")

    def _pause(self, unit: str, view: TaskView, size: int, now: float, verdict: tasks.InProgress) -> float:
        track = self._tracks.setdefault(unit, polling.Track())
        track.note(view, size, now)
        (self._queued.add if polling.is_queued(view) else self._queued.discard)(unit)
        usual = self._bench.settings.globus.poll
        pause = polling.pause(track, self._habits, size, now, usual=usual, begun=view.requested_at)
        # What is in trouble may be given up, and its patience is measured from look to look.
        return min(pause, usual) if verdict.code else pause

    def _say(self, unit: str, task_id: str, verdict: tasks.InProgress, due: float) -> Waits:
        code = f"{verdict.code}: " if verdict.code else ""
        waits = Waits(code + verdict.waits_for, verdict.next, due, moving=not verdict.code)
        before = self._said.get(unit)
        self._said[unit] = waits
        if verdict.code and (before is None or not before.waits_for.startswith(code)):
            self._bench.report(
                "transfer_in_trouble",
                component="globus_xfer",
                unit=unit,
                task=task_id,
                code=verdict.code,
                text=verdict.waits_for,
                remedy=verdict.next,
            )
        return waits

    def _note_trouble(self, unit: str, since: str) -> Step:
        claimed, work, task = self._claim_open(unit)
        if claimed and work and task:
            task.trouble_since = since
            self._bench.home.put_document(claimed, work)
            self._bench.home.pass_on(claimed, route.GLOBUS_QUEUE)
        return Moved("noted a task's trouble")

    def _cancel(self, unit: str, verdict: tasks.GiveUp) -> Step:
        claimed, work, task = self._claim_open(unit)
        if not (claimed and work and task):
            return Moved("another worker was faster")
        why = task.cancelled_why
        if why is None:
            why = task.cancelled_why = Why(code=verdict.code, text=verdict.text)
            task.cancelled_for = verdict.whose
            self._bench.home.put_document(claimed, work)
        try:
            self._globus.cancel(task.task_id)
        except UnknownTask:
            pass
        self._bench.home.pass_on(claimed, route.GLOBUS_QUEUE)
        self._next_look[unit] = self._bench.home.clock.now() + 1
        self._bench.report(
            "transfer_cancelled",
            component="globus_xfer",
            unit=unit,
            task=task.task_id,
            code=why.code,
            text=why.text,
        )
        return Moved(f"cancelled task {task.task_id}")

    # --- starting ---------------------------------------------------------------------------------------------

    def _start(self, unit: str, claimed: str) -> Step:
        """Prepare a task for what lies in the buffer, and submit it; or submit again, with the same id, what was
        prepared."""
        bench = self._bench
        ownership.confirm(bench.home, bench.settings.run.also_at)
        try:
            work = queues.work_of(bench.disk, claimed)
        except (BadDocument, NewerDocument) as error:
            bench.home.take_away(f"{layout.SLOTS}/{unit}")
            return cannot_read(bench, claimed, "globus_xfer", error)
        task = _open_task(work)
        outside = next((file for file in work.files if self._mapped(file) is None), None)
        if outside is not None:
            section = bench.settings.destination
            return self._not_now(
                unit,
                claimed,
                "DESTINATION-OUTSIDE",
                f"{outside.destination} does not lie below {section.path_prefix}, all that the collection shows",
                "correct [destination] in tacc-sync.toml",
            )
        if task is not None:
            return self._submit(work, task, claimed)
        if patience.suspected_killer(work, bench.patience):
            bench.home.take_away(f"{layout.SLOTS}/{unit}")
            return killer(bench, claimed, "globus_xfer", work)
        items = self._sendable(work)
        if not self._are_as_they_were(work, items):
            bench.home.pass_on(claimed, route.GLOBUS_QUEUE)
            bench.report("hashing_again", component="globus_xfer", unit=unit)
            return Moved(f"hashes copies of {unit} again")
        items = [item for item in items if work.files[item].outcome == "retrieved"]
        if not items:
            return self._end_round(work, claimed)
        attempt = len(work.tasks) + 1
        task = Task(
            attempt=attempt,
            submission_id=self._globus.new_submission_id(),
            label=task_label(unit, attempt),
            prepared_at=patience.to_iso(bench.home.clock.now()),
            items=items,
            bytes=sum(work.files[item].size for item in items),
        )
        work.tasks.append(task)
        work.begun += 1
        work.rest_until = ""
        bench.home.put_document(claimed, work)
        return self._submit(work, task, claimed)

    def _sendable(self, work: Work) -> list[int]:
        """The files that lie in the buffer; what was purged there has to be recalled again."""
        retrieved = [index for index, file in enumerate(work.files) if file.outcome == "retrieved"]
        lost = self._not_there(work, retrieved)
        if lost:
            # Another host may have put them there a moment ago, and this one does not know it yet.
            self._bench.home.clock.sleep(ownership.SEEN_LATE)
            lost = self._not_there(work, lost)
        for index in lost:
            why = Why(code="BUFFER-LOST", text="its copy in the transfer buffer is gone or cut off")
            self._recall_again(work.files[index], why)
            self._discard(work.unit, index)
        return [index for index in retrieved if work.files[index].outcome == "retrieved"]

    def _not_there(self, work: Work, items: list[int]) -> list[int]:
        lost = []
        for index in items:
            found = transfer_buffer.status(self._bench.buffer, work.unit, index)
            if found is None or (found.kind, found.size) != ("file", work.files[index].size):
                lost.append(index)
        return lost

    def _are_as_they_were(self, work: Work, items: list[int]) -> bool:
        """Whether it is known which of the copies are still what was retrieved; those that are not are to be recalled.
        False: what has lain for long, or since an earlier process, is being hashed again meanwhile."""
        bench = self._bench
        now = bench.home.clock.now()
        vigil = self._vigils.pop(work.unit, None)
        of = (work.round, len(work.tasks))
        if vigil is None or vigil.of != of:
            # What another process has sent or recalled meanwhile is to be looked at anew.
            # With our hashes along, one copy that has changed fails a whole task, and no record tells which one it was.
            fails = bool(self._external()) and bool(work.tasks) and work.tasks[-1].status == "FAILED"
            old = [
                item
                for item in items
                if fails
                or retrieval.has_lain(
                    work.files[item], now=now, running_since=self._running_since, longest=bench.settings.buffer.rest
                )
            ]
            vigil = Vigil(of, bench.buffer, self._executor, lambda: not bench.home.lost)
            for item in old:
                vigil.begin(item, transfer_buffer.path(work.unit, item), retrieval.ours(work.files[item]))
        if not vigil.is_over:
            self._vigils[work.unit] = vigil
            return False
        for item in vigil.begun:
            file = work.files[item]
            found = vigil.found(item)
            if file.outcome != "retrieved" or item not in items:
                continue
            wrong = retrieval.judge_rest(file, found)
            if wrong is None:
                file.checked_at = patience.to_iso(now)
                continue
            self._discard(work.unit, item)
            self._recall_again(file, wrong)
            patience.note_failure(file, wrong, now, bench.patience)
            bench.report(
                "copy_rotten", component="globus_xfer", unit=work.unit, file=file.path, code=wrong.code, text=wrong.text
            )
        return True

    def _submit(self, work: Work, task: Task, claimed: str) -> Step:
        bench = self._bench
        bench.home.beat(doing=f"submits {task.label}")
        # Also at first: a workspace that was put back from a backup does not know what it has submitted since.
        known = self._globus.tasks_labelled(task.label)
        if known:
            task_id, duplicate = known[0].task_id, True
        else:
            try:
                accepted = self._globus.submit(self._order(work, task))
            except IdenticalPaths:
                ours = self._globus.tasks_labelled(task.label)
                if not ours:
                    return self._not_now(
                        work.unit,
                        claimed,
                        "GLOBUS-IDENTICAL-PATHS",
                        f"a task that is not ours is moving the same files as {task.label}",
                        "find and cancel it (`globus task list`), or wait for its end",
                    )
                task_id, duplicate = ours[0].task_id, True
            except WorkFault as fault:
                return self._refused(work, task, claimed, fault)
            else:
                task_id, duplicate = accepted.task_id, accepted.duplicate
        self._refusals.success()
        task.task_id = task_id
        work.ended += 1
        bench.home.put_document(claimed, work)
        bench.home.pass_on(claimed, route.GLOBUS_QUEUE)
        self._next_look[work.unit] = bench.home.clock.now() + FIRST_LOOK
        bench.report(
            "transfer_submitted",
            component="globus_xfer",
            unit=work.unit,
            task=task_id,
            files=len(task.items),
            bytes=task.bytes,
            duplicate=duplicate,
        )
        return Moved(f"submitted task {task_id} for {work.unit}")

    def _not_now(self, unit: str, claimed: str, code: str, text: str, remedy: str) -> Step:
        """A trouble of this unit alone that somebody has to mend: it keeps its slot, and is looked at again later."""
        self._bench.home.pass_on(claimed, route.GLOBUS_QUEUE)
        due = self._bench.home.clock.now() + UNIT_PAUSE
        self._next_look[unit] = due
        self._bench.report(
            "transfer_in_trouble", component="globus_xfer", unit=unit, code=code, text=text, remedy=remedy
        )
        waits = self._said[unit] = Waits(f"{code}: {text}", remedy, due)
        return waits

    def _refused(self, work: Work, task: Task, claimed: str, fault: WorkFault) -> Step:
        """Globus says that it will not do this, and did nothing: a failed attempt."""
        now = self._bench.home.clock.now()
        why = Why(code=fault.code, text=fault.text)
        everywhere = self._refusals.is_everywhere(fault.code, [work.unit])
        for index in task.items:
            if everywhere:
                work.files[index].why = Why(code=why.code, text=why.text, at=patience.to_iso(now))
            else:
                patience.note_failure(work.files[index], why, now, self._bench.patience)
        task.ended_at, task.status = patience.to_iso(now), "REFUSED"
        work.ended += 1
        self._bench.report(
            "transfer_refused", component="globus_xfer", unit=work.unit, code=fault.code, text=fault.text
        )
        step = self._end_round(work, claimed)
        if everywhere:
            raise self._failing(f"one unit after the other is refused: {fault.text}")
        return step

    def _failing(self, text: str) -> WorldFault:
        longer = 5 * self._bench.settings.run.stand_down
        return WorldFault("GLOBUS-FAILING", text, "nothing is counted; it is tried again by itself", longer)

    def _order(self, work: Work, task: Task) -> Order:
        settings = self._bench.settings
        items, algorithm = [], self._external()
        for index in task.items:
            file = work.files[index]
            known = file.hashes.get(algorithm) if algorithm else None
            items.append(
                Item(
                    source=self._source(work.unit, index),
                    destination=self._destination(file),
                    checksum=known,
                    algorithm=algorithm if known else None,
                )
            )
        return Order(
            submission_id=task.submission_id,
            label=task.label,
            source_collection=settings.globus.source_collection,
            destination_collection=settings.globus.destination_collection,
            items=items,
        )

    def _external(self) -> str:
        """The algorithm of the hashes that go along; "" when none do."""
        section = self._bench.settings.globus
        if section.external_checksum != AUTO:
            return section.external_checksum
        try:
            content = self._bench.disk.read(layout.CHECKSUMS, 65536)
        except FileNotFoundError:
            content = b""
        known = decode_or_none(content, Understood)
        return choose(section.external_checksum, known, section.source_collection, section.destination_collection)

    def _source(self, unit: str, index: int) -> str:
        root = self._bench.settings.buffer.globus_path or self._bench.buffer.root
        return f"{root.rstrip('/')}/{transfer_buffer.path(unit, index)}"

    def _mapped(self, file: File) -> str | None:
        section = self._bench.settings.destination
        return to_collection(file.destination, section.path_prefix, section.globus_prefix)

    def _destination(self, file: File) -> str:
        path = self._mapped(file)
        if path is None:
            raise AssertionError(file.destination)
        return path

    # --- settling ---------------------------------------------------------------------------------------------

    def _settle(self, unit: str, view: TaskView | None, why: Why, *, counts: bool = True) -> Step:
        """A task has ended: read its records into the document, and end the round."""
        claimed, work, task = self._claim_open(unit)
        if not (claimed and work and task):
            return Moved("another worker was faster")
        self._bench.home.beat(doing=f"reads the records of task {task.task_id}")
        records: dict[str, Transferred] = {}
        if view is not None:
            try:
                records = {record.destination: record for record in self._globus.transferred(task.task_id)}
            except UnknownTask:
                why = Why(code="TASK-FORGOTTEN", text=f"Globus has no records of task {task.task_id} any more")
                counts = False
        if task.cancelled_why:
            # That Globus calls it cancelled says nothing of the reason, which was ours.
            why, counts = task.cancelled_why, task.cancelled_for == "work"
        now = self._bench.home.clock.now()
        unknown = why.code == "TASK-FAILED" and counts and view is not None and not records
        everywhere = unknown and view is not None and self._failures.is_everywhere(view.fatal_error, [unit])
        counts = counts and not everywhere
        delivered = 0
        for index in task.items:
            file = work.files[index]
            record = records.get(self._destination(file))
            wrong, itself = (why, counts) if record is None else (self._judge(work, index, record), True)
            if wrong is None:
                delivered += 1
                file.outcome, file.task_id, file.why = "delivered", task.task_id, None
                file.delivered_at = patience.to_iso(view.completed_at if view and view.completed_at else now)
                patience.forget_failures(file)
                continue
            if itself:
                patience.note_failure(file, wrong, now, self._bench.patience)
            else:
                file.why = Why(code=wrong.code, text=wrong.text, at=patience.to_iso(now))
            self._bench.report(
                "file_not_delivered",
                component="globus_xfer",
                unit=unit,
                file=file.path,
                task=task.task_id,
                code=wrong.code,
                text=wrong.text,
            )
        task.ended_at = patience.to_iso(now)
        task.status = view.status if view else "UNKNOWN"
        self._bench.report(
            "transfer_ended",
            component="globus_xfer",
            unit=unit,
            task=task.task_id,
            status=task.status,
            delivered=delivered,
            of=len(task.items),
        )
        if delivered:
            self._failures.success()
        step = self._end_round(work, claimed)
        if everywhere:
            raise self._failing(f"one task after the other fails alike: {why.text}")
        return step

    def _judge(self, work: Work, index: int, record: Transferred) -> Why | None:
        file = work.files[index]
        while True:
            verdict = evidence.judge_record(
                size=file.size,
                hashes=file.hashes,
                record_size=record.size,
                record_checksum=record.checksum,
                record_algorithm=record.algorithm,
                accept_without_checksum=self._bench.settings.globus.accept_records_without_checksum,
            )
            match verdict:
                case evidence.Delivered():
                    file.receipt = f"{verdict.algorithm}:{record.checksum}" if verdict.algorithm else "size"
                    return None
                case evidence.NotDelivered():
                    why = Why(code=verdict.code, text=verdict.text)
                    if verdict.code == "RECORD-CHECKSUM-DIFFERS":
                        self._suspect_buffer(work, index)
                    return why
                case evidence.NeedsHash():
                    path = transfer_buffer.path(work.unit, index)
                    found = transfer_buffer.digest(self._bench.buffer, path, ["sha512", verdict.algorithm])
                    if found is None or found["sha512"] != file.hashes.get("sha512"):
                        self._suspect_buffer(work, index)
                        return Why(code="BUFFER-ROTTEN", text="its copy in the buffer is not what was retrieved")
                    file.hashes = {**file.hashes, **found}

    def _suspect_buffer(self, work: Work, index: int) -> None:
        """What arrived differs from what we hashed: is the copy in the buffer still what we hashed?"""
        file, path = work.files[index], transfer_buffer.path(work.unit, index)
        found = transfer_buffer.digest(self._bench.buffer, path, ["sha512"])
        if found is None or found["sha512"] != file.hashes.get("sha512"):
            self._discard(work.unit, index)
            self._recall_again(file, Why(code="BUFFER-ROTTEN", text="its copy in the buffer has changed"))

    def _discard(self, unit: str, index: int) -> None:
        buffer, worker = self._bench.buffer, self._bench.home.name
        transfer_buffer.discard(buffer, worker, unit, index)
        transfer_buffer.clear_part(buffer, worker, unit)

    def _recall_again(self, file: File, why: Why) -> None:
        file.outcome = "waiting"
        file.hashes, file.proof, file.retrieved_at, file.checked_at = {}, "", "", ""
        file.why = Why(code=why.code, text=why.text, at=patience.to_iso(self._bench.home.clock.now()))

    def _end_round(self, work: Work, claimed: str) -> Step:
        home = self._bench.home
        home.put_document(claimed, work)
        # After the document, before the move: a unit whose round has ended needs no slot, and the slot must not
        # outlive it.
        home.take_away(f"{layout.SLOTS}/{work.unit}")
        self._forget(work.unit)
        # The service has begun with the next one.
        soon = home.clock.now() + FIRST_LOOK
        self._next_look.update((unit, min(self._next_look.get(unit, soon), soon)) for unit in self._queued)
        home.pass_on(claimed, route.REAPER_QUEUE)
        self._bench.wake("reaper")
        return Moved(f"ended the round of {work.unit}")

    def _forget(self, unit: str) -> None:
        for of_unit in (self._next_look, self._said, self._tracks, self._known):
            of_unit.pop(unit, None)
        self._queued.discard(unit)

    def _claim(self, unit: str) -> str | None:
        return self._bench.home.claim(route.GLOBUS_QUEUE, unit + SUFFIX)

    def _claim_open(self, unit: str) -> tuple[str | None, Work | None, Task | None]:
        """Claim a unit and read it anew: it may have changed since it was looked at."""
        claimed = self._claim(unit)
        if claimed is None:
            return None, None, None
        work = queues.work_of(self._bench.disk, claimed)
        task = _open_task(work)
        if task is None or not task.task_id:
            self._bench.home.pass_on(claimed, route.GLOBUS_QUEUE)
            return None, work, None
        return claimed, work, task


def _open_task(work: Work) -> Task | None:
    return work.tasks[-1] if work.tasks and not work.tasks[-1].ended_at else None

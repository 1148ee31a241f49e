"""The retriever: takes work from hpss_queue, copies its files with hsi to the transfer buffer, moves it to
globus_queue.

Guarantee: never two sessions on one cartridge, but for one that reads its last file and the next one, which waits for
it; never more reserved than the quota; a file counts as retrieved on what was read back from the buffer, and a file
that cannot be had does not hold up the others of its unit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Literal

from tacc_sync.outside.hpss.interface import Fetch, Hpss, Session
from tacc_sync.pipeline.hashing import Arriving, AtOnce, Hashing
from tacc_sync.pipeline.priorities import Priorities
from tacc_sync.pipeline.sessions import Sessions
from tacc_sync.pipeline.step import Bench, Moved, Step, Waits
from tacc_sync.pipeline.trouble import (
    HOLDING,
    cannot_read,
    end_rest,
    hold_where_trying_harms,
    killer,
    out_of_the_way,
)
from tacc_sync.rules import failing, patience, retrieval, route, schedule
from tacc_sync.rules.documents import BadDocument, File, NewerDocument, Why, Work
from tacc_sync.rules.faults import EX_NOPERM, Fenced, OperatorFault, WorkFault, WorldFault
from tacc_sync.rules.identity import SUFFIX, UnitName, parse_unit
from tacc_sync.rules.route import COMPONENTS
from tacc_sync.rules.waiting import Waiting
from tacc_sync.workspace import layout, ownership, queues, transfer_buffer
from tacc_sync.workspace.disk import Status
from tacc_sync.workspace.home import holds

# What ended a session without being any file's fault: nothing is counted, the unit waits.
WORLD_TROUBLE = failing.LOCAL_CODES | frozenset(
    {"HPSS-AWAY", "HPSS-SESSIONS", "HPSS-UNAUTHENTICATED", "HPSS-FAILING", "HSI-MISSING", "STOPPED", "FENCED"}
)
# Of a session that ended so we know neither why nor whose fault it is.
UNKNOWN_TROUBLE = frozenset({"HPSS-HANGING", "HPSS-SESSION-BROKEN", "HSI-CRASHED"})
# After so many sessions in a row whose files were not what was read of them while they were written, none is read so.
MISLED = 3


class Retriever:
    """One worker that runs one hsi session at a time, and reads back what it has brought while others run theirs."""

    def __init__(
        self,
        bench: Bench,
        hpss: Hpss,
        streak: failing.Streak | None = None,
        executor: Executor | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._bench = bench
        # Those of all retrievers of a process, of which there are more than sessions.
        self._sessions = sessions or Sessions(bench.settings.hsi.sessions)
        # The marks in cartridges/ that are ours, and the cartridge on which our session takes another one's place.
        self._marks: set[str] = set()
        self._relieves = ""
        # An error has left open which marks there are.
        self._must_look = False
        # That of all retrievers of a process, so that they share its cores.
        self._executor = executor or AtOnce()
        self._hpss = hpss
        self._waiting = Waiting()
        self._blocked: tuple[str, float] = ("", 0.0)
        self._priorities = Priorities(bench.disk)
        # That of all retrievers of a process: what goes wrong for each of them is known the sooner.
        self._streak = streak or failing.Streak()
        # How many sessions in a row have written so that what was read meanwhile was worth nothing.
        self._misled = 0

    def step(self) -> Step:
        """Choose a unit, recall it, pass it on."""
        if not self._sessions.is_one_free and not self._sessions.last:
            return Waits("a session: as many are at work as may be", "looks when one ends")
        self._waiting.update(self._bench.disk.names(route.HPSS_QUEUE))
        if not self._waiting.reels:
            return Waits("work in hpss_queue")
        self._hpss.check_up()
        # Nothing is to be written into the place where a buffer was mounted.
        bench = self._bench
        ownership.must_be_ours(bench.disk, bench.buffer, bench.settings.run.also_at, bench.home.clock.sleep)
        try:
            chosen = self._choose()
            if isinstance(chosen, Waits):
                return chosen
            return self._recall(*chosen)
        except OperatorFault as fault:
            self._hold(fault)
            raise
        finally:
            # In memory only: what lies in the workspace is given back by whoever deals with the fault.
            self._marks.clear()
            self._must_look = False
            self._sessions.end(bench.home.name)

    def _hold(self, fault: OperatorFault) -> None:
        """While our place is still taken: else the next worker would try at once what a person has to mend."""
        with contextlib.suppress(OSError):
            hold_where_trying_harms(self._bench.disk, "retriever", fault)

    # --- choosing ---------------------------------------------------------------------------------------------

    def _choose(self) -> tuple[UnitName, str] | Waits:
        home, disk = self._bench.home, self._bench.disk
        with home.turn() as ours:
            if not ours:
                return Waits("the turn to choose", due=home.clock.now() + 1, moving=True)
            rests = queues.rests(disk)
            waiting = self._waiting
            waiting.update(disk.names(route.HPSS_QUEUE))
            # Looked at after the queue: its mark is there before a unit is.
            lent = set(queues.loans(disk))
            at_work = self._sessions.at_work
            # Looked at after the sessions: whoever has to hold us does so before it lets go of its place.
            held = disk.names(layout.HOLD)
            if "retriever" in held:
                return Waits("the operator", "`tacc-sync unhold retriever` lets it go on")
            used = queues.cartridges(disk)
            # On these the next session may be ready before the last one has ended.
            last = self._sessions.last - used
            buffer = schedule.Buffer(self._bench.settings.buffer.quota, queues.reservations(disk), queues.backlog(disk))
            in_use = used | (queues.cartridges_at_last_file(disk) - last)
            feeding = self._sessions.feeding
            others = len((in_use | last) - self._sessions.cartridges)
            feeding.see(home.clock.uptime(), at_work + others, is_fed=buffer.feeds)
            chosen = schedule.choose_recall(
                waiting,
                now=home.clock.now(),
                rests=rests,
                buffer=buffer,
                drives=schedule.Drives(
                    in_use=in_use,
                    last=last,
                    mounted=self._sessions.mounted,
                    stays=not self._bench.settings.hsi.handover,
                    held=queues.held_cartridges(held),
                    sessions=self._sessions.most,
                    at_work=at_work,
                    enough=feeding.enough,
                ),
                lent=lent,
                priority=self._priorities.of,
                patient_since=self._waited_for_room,
                overtaking_ends_after=self._bench.settings.run.overtaking,
                on_its_way=lambda: self._is_anything_on_its_way(set(buffer.reserved), waiting),
            )
            # Also while others are chosen: with one that fits always at hand, it would else never begin to wait.
            if chosen.blocked or isinstance(chosen, schedule.Nothing):
                self._remember_blocked(chosen.blocked)
            if isinstance(chosen, schedule.Nothing):
                if waiting.reels and all(unit.unit in lent for unit in waiting):
                    return Waits("units of other requests, which carry the same files", "looks again by itself")
                return Waits(chosen.waits_for, "looks again by itself", chosen.due)
            unit = chosen.unit
            self._relieves = self._sessions.begin(home.name, unit.cartridges)
            if chosen.reserve:
                home.put_new(queues.reservation(unit.unit, chosen.reserve), b"")
            claimed = home.claim(route.HPSS_QUEUE, unit.unit + SUFFIX)
            if claimed is None:
                return Waits("another worker's move", due=home.clock.now(), moving=True)
            for label in sorted(unit.cartridges):
                if not self._mark(queues.cartridge(label)):
                    # Cannot be under the turn, unless somebody tampered: let go of everything again.
                    raise WorldFault("CARTRIDGE-IN-USE", f"cartridge {label} is in use after all")
            if unit.unit in rests:
                end_rest(home, unit.unit)
        return unit, claimed

    def _mark(self, path: str) -> bool:
        """Make a mark in cartridges/; False when another worker has it."""
        made = self._bench.home.put_new(path, self._bench.home.name.encode())
        if made:
            self._marks.add(path)
        return made

    def _is_anything_on_its_way(self, reserved: set[str], waiting: Waiting) -> bool:
        """Will anybody make room in the buffer who does not wait for it himself, nor for the operator?"""
        disk = self._bench.disk
        if queues.cartridges(disk) or queues.cartridges_at_last_file(disk):
            return True
        reserved.difference_update(unit.unit for unit in waiting)
        for component in COMPONENTS if reserved else ():
            reserved.difference_update(u.unit for u in queues.units(disk, layout.quarantine(component)))
        return bool(reserved)

    def _waited_for_room(self, unit: str) -> float:
        blocked, since = self._blocked
        return self._bench.home.clock.uptime() - since if unit == blocked else 0.0

    def _remember_blocked(self, unit: str) -> None:
        if unit != self._blocked[0]:
            self._blocked = (unit, self._bench.home.clock.uptime())

    # --- recalling --------------------------------------------------------------------------------------------

    def _recall(self, unit: UnitName, claimed: str) -> Step:
        bench = self._bench
        home, report = bench.home, bench.report
        try:
            work = queues.work_of(bench.disk, claimed)
        except (BadDocument, NewerDocument) as error:
            self._release_cartridges(unit)
            return cannot_read(bench, claimed, "retriever", error)
        if patience.suspected_killer(work, bench.patience):
            self._release_cartridges(unit)
            return killer(bench, claimed, "retriever", work)
        work.begun += 1
        work.rest_until = ""
        home.put_document(claimed, work)
        home.beat(doing=f"recalls {unit.unit}")
        report("work_claimed", component="retriever", unit=unit.unit, request=unit.request)

        try:
            trouble = self._bring(unit, work)
        except WorkFault as fault:
            self._release_cartridges(unit)
            return out_of_the_way(bench, claimed, "retriever", fault)
        except (WorldFault, OperatorFault, OSError):
            # We live: the unit has killed nobody. Else an hour without a free session would look like ten dead workers.
            self._take_count_back(claimed)
            raise
        return self._pass_on(work, claimed, trouble)

    def _take_count_back(self, claimed: str) -> None:
        # Read anew: what we know of its files by now may not be durable in the buffer.
        work = queues.work_of(self._bench.disk, claimed)
        work.begun -= 1
        self._bench.home.put_document(claimed, work)

    def _bring(self, unit: UnitName, work: Work) -> tuple[str, str] | None:
        """Fill the unit's directory in the buffer; what was wrong with the session as a whole."""
        bench = self._bench
        transfer_buffer.prepare(bench.buffer, bench.home.name, unit.unit)
        self._adopt_what_is_there(work)
        wanted = [index for index, file in enumerate(work.files) if file.outcome == "waiting"]
        trouble: tuple[str, str] | None = None
        if wanted:
            read_before = self._streak.successes
            arriving = self._arriving(work, wanted)
            hashing = Hashing(bench.buffer, self._executor, lambda: not bench.home.lost, arriving)
            try:
                session = self._session(work, wanted, hashing)
                if session.trouble is not None:
                    self._hold(OperatorFault(*session.trouble))
                self._release_cartridges(unit)
                trouble = self._whose(work, wanted, session)
                self._take_over(work, wanted, session, trouble[0] if trouble else "", read_before, hashing)
            finally:
                hashing.end()
            self._judge_following(work, hashing)
        else:
            self._release_cartridges(unit)
        transfer_buffer.sync(bench.buffer, unit.unit)
        transfer_buffer.clear_part(bench.buffer, bench.home.name, unit.unit)
        return trouble

    def _adopt_what_is_there(self, work: Work) -> None:
        """An earlier worker may have died between placing a verified file and saying so: no need to recall it again."""
        for index, file in enumerate(work.files):
            if file.outcome != "waiting":
                continue
            status = transfer_buffer.status(self._bench.buffer, work.unit, index)
            if status is None:
                continue
            hashes: dict[str, str] = {}
            size = status.size if status.kind == "file" else None
            wrong = retrieval.judge_shape(file, size=size, has_hole=status.has_hole, said="")
            if wrong is None:
                hashes = self._digest(transfer_buffer.path(work.unit, index), file)
                # Nothing is placed there without proof; where the archive has no hash that was hsi's line.
                judged = retrieval.judge_content(file, hashes, reported_bytes=file.size, unhashed="line")
                wrong = judged if isinstance(judged, Why) else None
            if wrong is None:
                self._mark_retrieved(file, status, hashes, "hash" if file.archive_hash or file.vouched else "line")
            else:
                transfer_buffer.discard(self._bench.buffer, self._bench.home.name, work.unit, index)
                self._bench.report(
                    "buffer_copy_discarded", unit=work.unit, file=file.path, code=wrong.code, text=wrong.text
                )

    def _session(self, work: Work, wanted: list[int], hashing: Hashing) -> Session:
        bench = self._bench
        fetches = [
            Fetch(
                work.files[index].path,
                f"{bench.buffer.root}/{transfer_buffer.part_path(bench.home.name, work.unit, index)}",
            )
            for index in wanted
        ]
        bench.report("session_started", component="retriever", unit=work.unit, files=len(fetches))

        def may_go_on() -> bool:
            if bench.home.lost:
                return False
            hashing.look()
            return True

        session = self._get(work, fetches, may_go_on, lambda number: self._begin_to_hash(work, wanted[number], hashing))
        bench.report(
            "session_ended",
            component="retriever",
            unit=work.unit,
            exit_status=session.exit_status,
            trouble=" ".join(session.trouble or ()),
            unexplained=session.unexplained[:3],
        )
        return session

    def _get(
        self, work: Work, fetches: list[Fetch], may_go_on: Callable[[], bool], on_fetched: Callable[[int], None]
    ) -> Session:
        bench, unit = self._bench, parse_unit(work.unit)
        assert unit is not None
        while True:
            try:
                return self._hpss.get(
                    fetches,
                    session_name=work.unit,
                    may_go_on=may_go_on,
                    # While the tape goes on. What it counts for is decided when hsi has ended.
                    on_fetched=on_fetched,
                    on_last=lambda: self._hand_over(unit, len(fetches)),
                )
            except WorldFault as fault:
                label, self._relieves = self._relieves, ""
                if fault.code != "HPSS-SESSIONS" or not label:
                    raise
            # One too many: we begin when the session has ended whose place we take.
            while not bench.home.lost and label in queues.cartridges_at_last_file(bench.disk):
                bench.home.clock.sleep(1.0)

    def _arriving(self, work: Work, wanted: list[int]) -> list[Arriving]:
        """What is to be hashed while it arrives."""
        if self._misled >= MISLED:
            return []
        part = transfer_buffer.part_path
        return [
            Arriving(
                index,
                part(self._bench.home.name, work.unit, index),
                self._algorithms(file),
                lambda hashes, file=file: retrieval.is_expected(file, hashes),  # type: ignore[misc]
            )
            for index in wanted
            if retrieval.is_followed(file := work.files[index])
        ]

    def _judge_following(self, work: Work, hashing: Hashing) -> None:
        """Where hsi writes so that what is read meanwhile is worth nothing, reading it is left."""
        if hashing.badly_followed:
            self._misled += 1
            self._bench.report("copy_read_too_early", component="retriever", unit=work.unit, times=self._misled)
        elif hashing.well_followed:
            self._misled = 0

    def _begin_to_hash(self, work: Work, index: int, hashing: Hashing) -> None:
        file = work.files[index]
        path = transfer_buffer.part_path(self._bench.home.name, work.unit, index)
        hashing.begin(index, path, file.size, self._algorithms(file))

    def _hand_over(self, unit: UnitName, files: int) -> None:
        """Our session reads its last file: let the next one of this tape log in and wait for it in the archive's queue,
        so that the cartridge stays in its drive."""
        if not self._bench.settings.hsi.handover or not unit.cartridges or (len(unit.cartridges) > 1 and files < 2):
            # Of a file on several cartridges nobody tells us which one is in the drive.
            return
        label = unit.cartridges[-1]
        try:
            # In this order: whoever is cut off in between keeps others off the cartridge.
            if self._mark(queues.cartridge_at_last_file(label)):
                self._unmark(queues.cartridge(label))
                self._sessions.at_last_file(self._bench.home.name, label)
                self._bench.wake("retriever")
        except (OSError, Fenced):
            # Not worth the session. Which marks are there we see when hsi has ended; and who is fenced finds that out.
            self._must_look = True

    def _unmark(self, path: str) -> None:
        # First forgotten: once it is gone it may be another worker's.
        self._marks.discard(path)
        self._bench.home.take_away(path)

    def _is_ours(self, path: str) -> bool:
        try:
            return holds(self._bench.disk, path, self._bench.home.name.encode())
        except FileNotFoundError:
            return False

    def _release_cartridges(self, unit: UnitName) -> None:
        # As soon as hsi has ended, before anything is hashed: the next unit of the tape starts while it is still
        # mounted.
        if self._must_look:
            both = (queues.cartridge, queues.cartridge_at_last_file)
            paths = {path(label) for label in unit.cartridges for path in both}
            self._marks = {path for path in paths if self._is_ours(path)}
            self._must_look = False
        for path in sorted(self._marks):
            self._unmark(path)
        self._sessions.end(self._bench.home.name, "".join(unit.cartridges[-1:]))
        self._bench.wake("retriever")

    def _whose(self, work: Work, wanted: list[int], session: Session) -> tuple[str, str] | None:
        """A session that hung or broke off may have met a bad file or the beginning of a maintenance: HPSS is asked."""
        trouble = session.trouble
        for fetched in session.fetched:
            if (code := failing.local_trouble(fetched.error)) and (trouble is None or trouble[0] in UNKNOWN_TROUBLE):
                trouble = code, f"hsi, writing to {self._bench.buffer.root}: {fetched.error}"
        if trouble is not None and trouble[0] in {"HPSS-HANGING", "HPSS-SESSION-BROKEN"}:
            try:
                self._hpss.check_up()
            except WorldFault as fault:
                return fault.code if fault.code in WORLD_TROUBLE else "HPSS-AWAY", fault.text
        if any(fetched.reported_bytes is not None for fetched in session.fetched):
            return trouble
        what = failing.common_error(
            (work.files[index].path, fetched.error) for index, fetched in zip(wanted, session.fetched, strict=True)
        )
        if trouble is not None and trouble[0] in UNKNOWN_TROUBLE:
            what = trouble[0]
        # On one cartridge alone nobody can tell; on several in a row it is none of theirs.
        if what and (trouble is None or trouble[0] in UNKNOWN_TROUBLE) and self._streak.is_everywhere(what, work.tape):
            said = " ".join(trouble) if trouble else what
            return "HPSS-FAILING", f"session after session, on several cartridges, brings nothing: {said}"
        return trouble

    def _take_over(
        self, work: Work, wanted: list[int], session: Session, trouble: str, read_before: int, hashing: Hashing
    ) -> None:
        """Read back what has arrived, and say of each file what became of it."""
        world = trouble in WORLD_TROUBLE
        wrong: dict[int, Why] = {}
        for index in wanted:
            # What hsi had no word about, on all cores too.
            self._begin_to_hash(work, index, hashing)
        for index, fetched in zip(wanted, session.fetched, strict=True):
            why = self._verify(work, index, fetched.reported_bytes, fetched.error, hashing)
            if why is not None:
                wrong[index] = why
        # Of a file that arrived, but wrong, we know enough ourselves; of one that did not, what hsi said.
        # Of one that was cut off with its session (no line about it yet), that it is not the file's fault.
        cut_off = [
            index in wrong and (wrong[index].code == "FILE-NOT-FETCHED" or (world and fetched.reported_bytes is None))
            for index, fetched in zip(wanted, session.fetched, strict=True)
        ]
        said = [
            (fetched.error if not failing.local_trouble(fetched.error) else "")
            if missing
            else "wrong" * (index in wrong)
            for index, fetched, missing in zip(wanted, session.fetched, cut_off, strict=True)
        ]
        counted = retrieval.suspects(said, [index not in wrong for index in wanted])
        if read := len(wanted) - len(wrong):
            self._streak.success(read)
        if trouble == "HPSS-FAILING" or self._blames_cartridge(
            work, wrong, {} if world else dict(zip(wanted, said, strict=True)), read_before
        ):
            # No file has failed by itself.
            counted = [False] * len(counted)
        for index, counts, error in zip(wanted, counted, said, strict=True):
            why = wrong.get(index)
            if why is None or (world and not error):
                continue
            file = work.files[index]
            if counts:
                patience.note_failure(file, why, self._bench.home.clock.now(), self._bench.patience)
            else:
                file.why = why
            self._bench.report(
                "file_not_retrieved",
                component="retriever",
                unit=work.unit,
                file=file.path,
                code=why.code,
                text=why.text,
            )

    def _blames_cartridge(self, work: Work, wrong: dict[int, Why], said: dict[int, str], read_before: int) -> bool:
        """Note what became of the files; when too many of a cartridge have failed, hold it."""
        unit = parse_unit(work.unit)
        if unit is None or len(unit.cartridges) != 1:
            # Of a file that lies on several, nobody can tell which one it is.
            return False
        (label,) = unit.cartridges
        tally = self._streak.tallies.setdefault(label, failing.Tally(read_before=read_before))
        at = patience.to_iso(self._bench.home.clock.now())
        for index, error in said.items():
            tally.note(work.files[index], wrong.get(index), was_tried=bool(error), at=at)
        tally.sessions += any(index in wrong and error for index, error in said.items())
        least, alone = self._bench.settings.hsi.tape_failures, self._streak.is_alone(work.tape)
        if not tally.is_failing(least, self._streak.successes, alone=alone):
            return False
        report = failing.report(label, tally).encode("utf-8", "backslashreplace")
        self._bench.home.put_new(f"{layout.HOLD}/{layout.OF_CARTRIDGE}{label}", report)
        # When it is tried again, it is judged anew.
        self._streak.tallies.pop(label, None)
        self._bench.report("cartridge_held", component="retriever", code="TAPE-FAILING", cartridge=label)
        return True

    def _verify(self, work: Work, index: int, reported_bytes: int | None, said: str, hashing: Hashing) -> Why | None:
        bench, file = self._bench, work.files[index]
        part = transfer_buffer.part_path(bench.home.name, work.unit, index)
        status = bench.buffer.status(part)
        if said.startswith("NAME-UNSPEAKABLE"):
            return Why(code="NAME-UNSPEAKABLE", text=said.removeprefix("NAME-UNSPEAKABLE: "))
        wrong = retrieval.judge_shape(
            file,
            size=status.size if status and status.kind == "file" else None,
            has_hole=status.has_hole if status else False,
            said=said,
        )
        if wrong is not None:
            return wrong
        hashes = hashing.hashes(index, part, self._algorithms(file))
        judged = retrieval.judge_content(
            file, hashes, reported_bytes=reported_bytes, unhashed=bench.settings.hsi.unhashed
        )
        if isinstance(judged, Why):
            return judged
        if not transfer_buffer.place(bench.buffer, bench.home.name, work.unit, index, hashes):
            return Why(code="BUFFER-OCCUPIED", text="another file lies in its place in the transfer buffer")
        self._mark_retrieved(file, status, hashes, judged.proof)
        return None

    def _digest(self, path: str, file: File) -> dict[str, str]:
        return self._bench.buffer.digest(path, self._algorithms(file), lambda: not self._bench.home.lost)

    def _algorithms(self, file: File) -> list[str]:
        return retrieval.algorithms(file, self._bench.settings.globus.record_algorithm)

    def _mark_retrieved(
        self, file: File, copy: Status | None, hashes: dict[str, str], proof: Literal["hash", "line", "size"]
    ) -> None:
        file.outcome = "retrieved"
        file.mtime = copy.mtime if copy is not None else None
        file.borrowed_from = ""
        file.hashes = hashes
        file.proof = proof
        file.retrieved_at = patience.to_iso(self._bench.home.clock.now())
        if file.why is None or file.why.code != "BUFFER-ROTTEN":
            # What rots in the buffer is recalled well each time, and yet not for ever.
            patience.forget_failures(file)
        file.why = None

    def _pass_on(self, work: Work, claimed: str, trouble: tuple[str, str] | None) -> Step:
        bench = self._bench
        work.ended += 1
        retrieved = sum(file.outcome == "retrieved" for file in work.files)
        world = trouble is not None and trouble[0] in WORLD_TROUBLE
        bench.home.put_document(claimed, work)
        if world and not retrieved:
            # Nobody's fault and nothing won: as if it had not been tried. Its reservation stays, so it goes first.
            bench.home.pass_on(claimed, route.HPSS_QUEUE)
        else:
            place = route.after_retrieval(work)
            bench.home.pass_on(claimed, place)
            bench.report("work_moved", component="retriever", unit=work.unit, to=place, retrieved=retrieved)
            bench.wake("globus_xfer" if place == route.GLOBUS_QUEUE else "reaper")
        if world and trouble is not None:
            if trouble[0] in HOLDING:
                raise OperatorFault(*trouble, "run hsi by hand, log in, then `tacc-sync unhold retriever`", EX_NOPERM)
            # What does not get better from one minute to the next costs a mount each time.
            longer = 5 * bench.settings.run.stand_down if trouble[0] == "HPSS-FAILING" else None
            raise WorldFault(trouble[0], trouble[1], retry_after=longer)
        return Moved(f"recalled {retrieved} of {len(work.files)} files of {work.unit}")

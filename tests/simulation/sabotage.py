"""Rules of the protocol, each with a way to switch it off. `RULES`: name → (saboteur, searches that may notice, in order).

A saboteur gets pytest's monkeypatch. The searches are the same as in the other files, made to stop at the first finding.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from functools import partial

import strikes
from crew import Hands, Solo
from crowd import Case, live
from invariants import check, check_at_rest
from pairs import Sleeper, beginnings, every_late, every_pair, every_two
from searches import (
    KILLS,
    POWER_LOSSES,
    Found,
    Tally,
    a_world,
    conclude,
    every_fault,
    every_fork,
    explain,
    is_done,
)
from world import Killed, Violation

from tacc_sync.pipeline import finisher, globus_xfer, reaper, retriever, syncer
from tacc_sync.pipeline.attempt import attempt
from tacc_sync.rules import evidence, liveness, patience, retrieval, route, schedule
from tacc_sync.rules.documents import Work
from tacc_sync.workspace import home as homes
from tacc_sync.workspace import layout, queues, recovery, transfer_buffer

Home = homes.Home

# --- searches --------------------------------------------------------------------------------------------------------


def small():
    """Two units on two tapes."""
    return a_world(2, 2)


def kills(name="killed", make=small):
    return partial(every_fork, {name: KILLS[name]}, make, limit=1)


def power(name, make=small):
    return partial(every_fork, {name: POWER_LOSSES[name]}, make, limit=1)


def faults(kinds, strike, make=small):
    return partial(every_fault, kinds, strike, make, limit=1)


def of_beginning(search, name, **about):
    def run():
        component, base = beginnings()[name]
        return search(base, component, limit=1, **about)

    run.name = f"{search.__name__}: {name}"
    return run


def pair(name, **about):
    return of_beginning(every_pair, name, **{"stride": 3, **about})


def other_two(name, other):
    return of_beginning(every_two, name, other=other, stride=3)


def late(name):
    return of_beginning(every_late, name)


def two(component, make, ready, **about):
    """Two living workers of one component in a narrow world."""

    def run():
        base = make()
        solo = Solo(base, "a", ready)
        for _ in range(12):
            solo.enter()
            for name in ready:
                solo.cycle_of(name)
        solo.leave()
        finish = partial(check_at_rest, quarantine=make is twins)
        return every_two(base, component, limit=1, finish=finish, **{"stride": 3, **about})

    run.name = f"every_two: {component}"
    return run


def undisturbed(make):
    """One run, in which nothing is killed."""

    def run():
        tally, world = Tally(1), make()
        try:
            Solo(world, "a").run(is_done)
            check_at_rest(world)
        except Violation as violation:
            tally.found.append(explain(world, "undisturbed", violation))
        return conclude(tally)

    run.name = "undisturbed, with bad habits"
    return run


def worlds(number=60, **about):
    """Random worlds, by seed."""

    def run():
        tally = Tally(1)
        moments = itertools.product(("kill", "stall"), range(200, 3800, 300))
        faults = list(itertools.islice(moments, number))
        for seed in range(number):
            case = Case(seed=seed, faults=((faults[seed % len(faults)][1], faults[seed % len(faults)][0]),), **about)
            try:
                live(case)
            except Violation as violation:
                tally.found.append(f"{case}: {violation}")
                break
        return conclude(tally)

    run.name = "random worlds"
    return run


def bystander(name):
    """Z is dead; at each step of R, who recovers, another worker of that component takes a step."""

    def run():
        component, base = beginnings()[name]
        tally = Tally(1)
        for asleep in itertools.count(0, 9):
            world = base.clone()
            sleeper = Sleeper(world, component)
            world.hook = sleeper.hook
            if not sleeper.go(asleep):
                sleeper.kill()
                return conclude(tally)
            sleeper.process.flight = None
            world.end(sleeper.process)
            sleeper.kill()
            solo = Solo(world, "a", ())

            def hook(process, kind, path, solo=solo, asleep=asleep):
                if process is solo.process:
                    copy = process.world.clone()
                    try:
                        hands = Hands(copy, copy.start("c"))
                        home = hands.home(component)
                        home.enter()
                        attempt(hands.edges, component, hands.component(component, home), home)
                        tally.tried += 1
                    except Violation as violation:
                        tally.found.append(explain(copy, f"Z stopped at {asleep}, R at {kind} {path}", violation))
                        raise Found(tally.found[0]) from None

            world.hook = hook
            solo.process.world = world
            solo.enter()
            world.hook = None
            tally.calls += world.count
        return None

    run.name = f"bystander: {name}"
    return run


def murderous(killings=14):
    """A unit that kills each worker that recalls it must end in quarantine, not go on killing for ever."""

    def run():
        world = a_world(1, 1)

        def hook(process, kind, path):
            if kind == "hsi":
                world.end(process)
                raise Killed

        world.hook = hook
        for _ in range(killings):
            try:
                Solo(world, "a").run(lambda world: bool(world.ws.directory("quarantine/retriever").entries))
            except Killed:
                continue
            except Violation as violation:
                raise Found(str(violation)) from None
            world.hook = None
            check(world)
            return Tally(boundaries=world.count, tried=1, calls=world.count)
        raise Found(f"{killings} workers were killed by one unit, and it goes on")

    run.name = "a unit that kills its workers"
    return run


def tight():
    """Room for one unit at a time."""
    return a_world(4, 2, quota=20)


def one_slot():
    return a_world(4, 2, tasks=1)


def one_tape():
    return a_world(4, 1, quota=400)


def twins():
    return a_world(2, 1, twins=True)


# --- saboteurs -------------------------------------------------------------------------------------------------------


def publish_before_commit(patch):
    move = Home.move

    def first_publish(self, old, new):
        if new.startswith("request_queue/") and "/inbox/" in old:
            recovery.publish(self, self.path, old.rpartition("/")[2].removesuffix(".json"))
        move(self, old, new)

    patch.setattr(Home, "move", first_publish)


def publish_any_staging(patch):
    patch.setattr(recovery, "_settle_staging", recovery.publish)


def delete_any_staging(patch):
    patch.setattr(
        recovery, "_settle_staging", lambda home, path, stem: recovery.remove_tree(home.disk, f"{path}/staging/{stem}")
    )


def keep_staging_of_the_refused(patch):
    patch.setattr(syncer, "remove_tree", lambda *_: None)


def claim_not_durable(patch):
    claim = Home.claim
    patch.setattr(Home, "claim", lambda self, queue, entry, durable=False: claim(self, queue, entry))


def staging_not_synced(patch):
    from sim_disk import SimDisk

    sync = SimDisk.sync
    patch.setattr(SimDisk, "sync", lambda self, directory: None if "/staging" in directory else sync(self, directory))


def submit_before_noting(patch):
    put = Home.put_document

    def forgetful(self, path, document):
        if isinstance(document, Work) and document.tasks and not document.tasks[-1].task_id:
            return
        put(self, path, document)

    patch.setattr(Home, "put_document", forgetful)


def put_not_synced(patch):
    put = Home.put
    patch.setattr(Home, "put", lambda self, path, content, durable=True: put(self, path, content, durable=False))


def put_in_place(patch):
    def put(self, path, content, *, durable=True):
        data = content if isinstance(content, bytes) else b"".join(content)
        if self.disk.status(path) is not None:
            self.disk.unlink(path)
        self.disk.create(path, data)

    patch.setattr(Home, "put", put)


def content_not_flushed(patch):
    from sim_disk import Fs

    patch.setattr(Fs, "flush", lambda self, file: None)


def buffer_not_synced(patch):
    patch.setattr(transfer_buffer, "sync", lambda *_: None)


def no_label_search(patch):
    from world import SimGlobus

    patch.setattr(SimGlobus, "tasks_labelled", lambda self, label: [])


def finish_when_the_queues_are_empty(patch):
    def missing(self, key):
        disk = self._bench.disk
        plan = queues.read_request(disk, layout.entry("request_queue", key)).plan
        waiting = {unit.unit for queue in route.UNIT_QUEUES for unit in queues.units(disk, queue)}
        return [unit for unit in plan.units if unit in waiting]

    patch.setattr(finisher.Finisher, "_missing", missing)


def believe_any_record(patch):
    patch.setattr(evidence, "judge_record", lambda **about: evidence.Delivered("md5"))


def believe_the_exit_status(patch):
    patch.setattr(retrieval, "judge_shape", lambda *_, **__: None)
    patch.setattr(retrieval, "judge_content", lambda *_, **__: retrieval.Retrieved("size"))


def fence_claim_by_claim(patch):
    def fence(self, worker):
        home, fenced = self._home, f"{layout.DEAD}{worker}~{self._home.host.token()}"
        try:
            home.buffer.rename(layout.part(worker), f"{layout.PART}/{fenced}")
        except FileNotFoundError:
            pass
        source, target = layout.home(worker), layout.home(fenced)
        home.disk.mkdir(target)
        for folder in (*route.CLAIMABLE, "turn", "staging"):
            home.disk.mkdir(f"{target}/{folder}")
            for entry in home.disk.names(f"{source}/{folder}"):
                home.disk.rename(f"{source}/{folder}/{entry}", f"{target}/{folder}/{entry}")
        return fenced

    patch.setattr(recovery.Recovery, "fence", fence)


def temporary_files_outside(patch):
    patch.setattr(Home, "_new_name", lambda self: f"observed/{self.name}-{next(self._serial)}.tmp")


def take_away_directly(patch):
    def take_away(self, path):
        try:
            self.disk.unlink(path)
        except FileNotFoundError:
            return False
        return True

    patch.setattr(Home, "take_away", take_away)


def no_grace(patch):
    patch.setattr(recovery.Recovery, "_consider_drain", lambda self, fenced: self._drain(fenced))


def part_not_fenced(patch):
    fence = recovery.Recovery.fence

    def without(self, worker):
        buffer, self._home.buffer = self._home.buffer, None
        try:
            return fence(self, worker)
        finally:
            self._home.buffer = buffer

    patch.setattr(recovery.Recovery, "fence", without)


def claims_before_part(patch):
    drain = recovery.Recovery._drain

    def without_parts(self, fenced):
        home, worker = self._home, fenced.removeprefix(layout.DEAD).rpartition("~")[0]
        recovery.give_back(home, layout.home(fenced), worker, self._report)
        drain(self, fenced)

    patch.setattr(recovery.Recovery, "_drain", without_parts)


def directory_made_directly(patch):
    patch.setattr(
        transfer_buffer, "_make_through", lambda disk, ours, directory: transfer_buffer._make(disk, directory)
    )


def part_not_synced(patch):
    patch.setattr(
        transfer_buffer,
        "clear_part",
        lambda disk, worker, unit: recovery.remove_tree(disk, f"{layout.part(worker)}/{unit}"),
    )


def free_anything(patch):
    patch.setattr(route, "may_free", lambda file: bool(file.retrieved_at))


def no_reservation(patch):
    put_new = Home.put_new
    patch.setattr(
        Home, "put_new", lambda self, path, content: path.startswith("reservations/") or put_new(self, path, content)
    )


def reservation_given_back_early(patch):
    free = reaper.Reaper._free

    def early(self, work):
        for unit, reserved in self._reservations(work.unit):
            self._bench.home.take_away(queues.reservation(unit, reserved))
        return free(self, work)

    patch.setattr(reaper.Reaper, "_free", early)


def quota_not_counted(patch):
    buffer = schedule.Buffer
    patch.setattr(schedule, "Buffer", lambda quota, reserved: buffer(0, reserved))


def cartridges_not_exclusive(patch):
    patch.setattr(queues, "cartridges", lambda disk: set())
    put_new = Home.put_new

    def put_any(self, path, content):
        if path.startswith("cartridges/"):
            self.put(path, content)
            return True
        return put_new(self, path, content)

    patch.setattr(Home, "put_new", put_any)


def no_turn(patch):
    @contextmanager
    def turn(self, patience=5.0):
        yield True

    patch.setattr(Home, "turn", turn)


def turn_not_drained(patch):
    rename = recovery._rename_if_there
    patch.setattr(
        recovery, "_rename_if_there", lambda disk, old, new: None if new == layout.TURN else rename(disk, old, new)
    )


def cartridges_not_drained(patch):
    from sim_disk import SimDisk

    names = SimDisk.names
    patch.setattr(SimDisk, "names", lambda self, directory: [] if directory == "cartridges" else names(self, directory))
    patch.setattr(queues, "cartridges", lambda disk: set(names(disk, "cartridges")))


def no_slots(patch):
    give = globus_xfer.GlobusXfer._give_slot

    def generous(self):
        self._bench.settings.globus.tasks = 100
        return give(self)

    patch.setattr(globus_xfer.GlobusXfer, "_give_slot", generous)


def no_admission(patch):
    put_new = Home.put_new
    patch.setattr(
        Home, "put_new", lambda self, path, content: path.endswith("admitted.json") or put_new(self, path, content)
    )


def no_rounds(patch):
    after = route.after_reaping
    patch.setattr(
        route, "after_reaping", lambda work: route.FINISHED if after(work) == route.HPSS_QUEUE else after(work)
    )


def deaths_not_counted(patch):
    patch.setattr(patience, "suspected_killer", lambda work, patience: False)


def no_suicide(patch):
    patch.setattr(liveness, "must_die", lambda *_: False)


def no_look_after_a_lost_reply(patch):
    def take(self, path, ours):
        try:
            self.disk.rename(path, ours)
        except FileNotFoundError:
            self._still_ours()
            return False
        return True

    patch.setattr(Home, "_take", take)


def old_rest_marks_stay(patch):
    def end_one(home, unit):
        due = queues.rests(home.disk).get(unit)
        if due is not None:
            home.take_away(queues.rest(unit, due))

    for module in (retriever, globus_xfer):
        patch.setattr(module, "end_rest", end_one)
    patch.setattr(reaper, "end_rest", lambda *_: None)


def notes_of_parts_forgotten(patch):
    patch.setattr(recovery, "_note_of_part", lambda name: f"part~{name}")
    forget = recovery.Recovery._forget_notes
    patch.setattr(
        recovery.Recovery,
        "_forget_notes",
        lambda self, names: forget(self, {name for name in names if not name.startswith("part~")}),
    )


def homes_must_be_whole(patch):
    patch.setattr(recovery, "_names", lambda disk, directory: disk.names(directory))


def fenced_part_is_no_fence(patch):
    patch.setattr(Home, "is_fenced", lambda self: self.disk.status(self.path) is None)


def move_before_content(patch):
    def end_round(self, work, claimed):
        home = self._bench.home
        home.take_away(f"{layout.SLOTS}/{work.unit}")
        home.pass_on(claimed, route.REAPER_QUEUE)
        home.put_document(f"{route.REAPER_QUEUE}/{work.unit}.json", work)
        from tacc_sync.pipeline.step import Moved

        return Moved("ended")

    patch.setattr(globus_xfer.GlobusXfer, "_end_round", end_round)


def slot_outlives_its_round(patch):
    take_away = Home.take_away
    patch.setattr(
        Home, "take_away", lambda self, path: True if path.startswith(layout.SLOTS) else take_away(self, path)
    )


WITH_BAD_DELIVERY = partial(a_world, 4, 2, fates=("garbage", "fails half-way"))
WITH_BAD_FILES = partial(a_world, 4, 2, habits=("zeros", "short"))
BEFORE_RETRIEVER = ("syncer",)
BEFORE_GLOBUS = ("syncer", "retriever")
LOST = (strikes.MUTATIONS, strikes.LostReply())

RULES = {
    "staging: units are published only after the commit": (publish_before_commit, [kills()]),
    "staging: of a request that was not committed it is deleted": (publish_any_staging, [kills()]),
    "staging: of a committed request it is published": (delete_any_staging, [kills()]),
    "staging: of a refused twin it goes before the claim": (
        keep_staging_of_the_refused,
        [two("syncer", twins, ()), worlds(twins=True)],
    ),
    "staging: the claim is durable before it": (claim_not_durable, [power("power loss")]),
    "staging: durable before the commit": (
        staging_not_synced,
        [power("power loss of the last half"), power("power loss")],
    ),
    "put: written beside, then renamed": (put_in_place, [kills()]),
    "put: content flushed before the name appears": (content_not_flushed, [power("power loss of the last half")]),
    "submission id on disk before the submit": (submit_before_noting, [kills()]),
    "sync before the submit": (put_not_synced, [power("power loss of the workspace only")]),
    "content first, place second": (move_before_content, [other_two("globus_xfer settles", "reaper")]),
    "label looked for before an old submission id is used": (no_label_search, [kills("killed, found two days later")]),
    "positive evidence that a request is finished": (
        finish_when_the_queues_are_empty,
        [kills("killed, unseen"), worlds()],
    ),
    "delivered on the record's size and checksum": (believe_any_record, [undisturbed(WITH_BAD_DELIVERY)]),
    "retrieved on what was read back": (believe_the_exit_status, [undisturbed(WITH_BAD_FILES)]),
    "fence by one rename of the directory": (fence_claim_by_claim, [pair("reaper"), pair("globus_xfer settles")]),
    "temporary files in the home": (temporary_files_outside, [late("retriever"), pair("retriever")]),
    "take away through the home": (take_away_directly, [pair("retriever", wakes=(3,), first=65, stride=2)]),
    "grace before the drain": (no_grace, [pair("reaper", stride=1, wakes=(1,)), pair("finisher", stride=1)]),
    "the part in the buffer is fenced": (part_not_fenced, [kills("killed, unseen"), pair("retriever")]),
    "the part is drained before the claims": (claims_before_part, [bystander("retriever")]),
    "a worker whose part was fenced is fenced": (
        fenced_part_is_no_fence,
        [pair("retriever", stride=1, wakes=(10**9,), first=78)],
    ),
    "a unit's directory is made through the part": (directory_made_directly, [late("retriever")]),
    "what lay in the part is gone for good before the unit goes on": (
        part_not_synced,
        [power("power loss of the last half")],
    ),
    "buffer names durable before the document says so": (buffer_not_synced, [power("power loss of the buffer only")]),
    "verified before it is freed": (free_anything, [undisturbed(WITH_BAD_DELIVERY)]),
    "reserved before it is claimed": (no_reservation, [kills()]),
    "reservation given back only when the directory is gone": (reservation_given_back_early, [kills()]),
    "the quota counts": (quota_not_counted, [undisturbed(tight), two("retriever", tight, BEFORE_RETRIEVER)]),
    "cartridges are exclusive": (cartridges_not_exclusive, [two("retriever", one_tape, BEFORE_RETRIEVER)]),
    "cartridges of the dead are released": (cartridges_not_drained, [kills()]),
    "the turn: one chooses at a time (quota)": (no_turn, [two("retriever", tight, BEFORE_RETRIEVER, stride=1)]),
    "the turn: one chooses at a time (slots)": (no_turn, [two("globus_xfer", one_slot, BEFORE_GLOBUS, stride=1)]),
    "the turn of the dead is given back": (turn_not_drained, [kills()]),
    "slots: so many tasks at work": (no_slots, [two("globus_xfer", one_slot, BEFORE_GLOBUS)]),
    "slots are given back": (slot_outlives_its_round, [kills()]),
    "admitted.json: an id belongs to one request": (no_admission, [two("syncer", twins, ()), worlds(twins=True)]),
    "rounds: what is left goes to the tape again": (no_rounds, [undisturbed(WITH_BAD_FILES)]),
    "begun and ended are counted": (deaths_not_counted, [murderous()]),
    "self-kill at half a lease": (no_suicide, [pair("retriever", stride=2, wakes=(3,), first=50)]),
    "a look after a lost reply": (no_look_after_a_lost_reply, [faults(*LOST)]),
    "marks of a rest that was cut off are removed": (old_rest_marks_stay, [late("reaper sends back to Globus")]),
    "notes about orphaned parts are kept": (notes_of_parts_forgotten, [kills()]),
    "a home that is half removed is drained": (homes_must_be_whole, [kills()]),
}

# Searches that run nowhere else: without sabotage they must find nothing.
CONTROLS = [
    two("syncer", twins, (), stride=9),
    worlds(number=20, twins=True),
    worlds(number=20),
    undisturbed(WITH_BAD_DELIVERY),
    undisturbed(WITH_BAD_FILES),
    undisturbed(tight),
    two("retriever", tight, BEFORE_RETRIEVER, stride=41),
    two("retriever", one_tape, BEFORE_RETRIEVER, stride=31),
    two("globus_xfer", one_slot, BEFORE_GLOBUS, stride=9),
    other_two("globus_xfer settles", "reaper"),
    undisturbed(one_slot),
    bystander("retriever"),
    murderous(),
]

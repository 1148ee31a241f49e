"""Rules of the protocol, each with a way to switch it off. `RULES`: name → (saboteur, searches that may notice, in order).

A saboteur gets pytest's monkeypatch. The searches are the same as in the other files, made to stop at the first finding.
"""

from __future__ import annotations

import itertools
import re
from contextlib import contextmanager
from functools import partial

import strikes
from crew import Hands, Solo
from crowd import Case, live
from invariants import check, check_at_rest, check_tasks, unit_of
from pairs import Sleeper, beginnings, every_late, every_pair, every_two
from searches import (
    KILLS,
    POWER_LOSSES,
    Ending,
    Forking,
    Found,
    Tally,
    a_world,
    conclude,
    every_fault,
    every_fork,
    explain,
    is_done,
    is_stuck,
    run_dry,
)
from sim_disk import File
from world import DESTINATION, SOURCE, Archived, Killed, Violation, World, small_settings

from tacc_sync.pipeline import finisher, globus_xfer, reaper, retriever, syncer, trouble
from tacc_sync.pipeline.attempt import attempt
from tacc_sync.rules import documents, evidence, liveness, patience, retrieval, route, schedule
from tacc_sync.rules.documents import Work
from tacc_sync.rules.route import COMPONENTS
from tacc_sync.workspace import chain, layout, quarantine, queues, recovery, transfer_buffer
from tacc_sync.workspace import home as homes

Home = homes.Home

# --- searches --------------------------------------------------------------------------------------------------------


def small():
    """Two units on two tapes."""
    return a_world(2, 2)


def small_again():
    """The same, of a request whose planning was cut off before: how large its units are stands in it already, so nothing
    is written into it before its staging."""
    world = a_world(2, 2, drop=False)
    usual = world.settings.buffer.quota // (4 * (world.settings.hsi.sessions + 2))
    world.drop("request0.json", unit_bytes=usual, admitted={"token": "of-the-first-planning", "at": ""})
    return world


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
                solo.steps_of(name)
        solo.leave()
        ending = Ending(is_done, partial(check_at_rest, quarantine=make is twins))
        return every_two(base, component, limit=1, ending=ending, **{"stride": 3, **about})

    run.name = f"every_two: {component}"
    return run


def two_finishers(stride):
    """Two of them, each with a request whose units are all finished."""

    def run():
        base = two_requests()
        Solo(base, "a", BEFORE_FINISHER).run(
            lambda world: len([path for path, _ in world.ws.below() if re.match(r"finished/.*\.AA", path)]) == 2
        )
        return every_two(base, "finisher", stride=stride, limit=1, ending=Ending(is_done, check_at_rest))

    run.name = "every_two: finishers"
    return run


def undisturbed(make):
    """One run, in which nothing is killed."""

    def run():
        tally, world = Tally(1), make()
        try:
            Solo(world, "a").run(is_done)
            check_at_rest(world)
            check_tasks(world)
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


def found(world, what):
    raise Found(explain(world, "", Violation(what)))


def named(name):
    def with_name(run):
        run.name = name
        return run

    return with_name


@named("a large unit among small ones")
def starving():
    """There is always a small unit that fits, and never room for the large one, unless it is kept for it."""
    small = 36
    files = {f"{SOURCE}/large/f": Archived(bytes(190), ("LL0000",))}
    files |= {f"{SOURCE}/small/f{n}": Archived(bytes([n]) * 10, (f"SS{n:04d}",)) for n in range(small)}
    world = World(files, small_settings(quota=200, tasks=10, overtaking=100.0))
    world.checker = check
    world.globus.at_once, world.globus.seconds = 10, 15.0
    world.drop("small.json", source=f"{SOURCE}/small", destination=f"{DESTINATION}/small")
    solo = Solo(world, "a")
    dropped = False
    while f"{DESTINATION}/large/f" not in world.globus.destination:
        if len(world.globus.destination) == small:
            found(world, "the large unit was overtaken by all of the small ones")
        solo.enter()
        if not solo.cycle()[0]:
            solo.hands.clock.sleep(1.0)
        solo.beat()
        if not dropped and len(world.ws.directory("reservations").entries) >= 3:
            world.drop("large.json", source=f"{SOURCE}/large", destination=f"{DESTINATION}/large")
            dropped = True
    return Tally(tried=1, calls=world.count)


def silent_reaching(world, files):
    """Until these files are failed in quarantine, whatever the others do."""
    return bool(world.ws.directory("quarantine/retriever").entries) and not any(map(world.busy, ("hpss", "globus")))


def outcomes(world):
    survey = check(world)
    return {
        file.path: file for places in survey.places.values() for _, document in places for file in document.doc.files
    }


@named("a bad file before a good one")
def breaking():
    """The session breaks off at one file, again and again: it alone is counted, not those that were cut off with it."""
    world = a_world(2, 1)
    # On a tape with hashes; the file with the smaller section comes first.
    first, second = sorted(world.hpss.files, key=lambda path: world.hpss.files[path].section)
    world.hpss.habits[first] = ["breaks off"] * 100
    try:
        Solo(world, "a").run(lambda world: silent_reaching(world, [first]))
    except Violation as violation:
        found(world, str(violation))
    about = outcomes(world)
    if about[first].outcome != "failed" or about[second].outcome == "failed" or about[second].failures:
        found(world, f"{about[second].path} is counted for what {first} does")
    return Tally(tried=1, calls=world.count)


@named("a site that breaks each session for a day")
def outage():
    """Nothing is counted, nothing goes to quarantine, and in the end all arrives."""
    world = a_world(2, 1)
    for path in world.hpss.files:
        world.hpss.habits[path] = ["breaks"] * 24
    world.globus.refusals = ["429", "pending"] * 12

    def hook(process, kind, path):
        if kind == "hpss" and path == "get":
            world.hook, world.hpss.full_until = None, world.time + 3 * 3600.0

    world.hook = hook
    try:
        Solo(world, "a").run(is_done)
        check_at_rest(world)
    except Violation as violation:
        found(world, str(violation))
    if any(event in {"file_not_retrieved", "work_quarantined"} for _, event, _ in world.events):
        found(world, "the world's fault was counted")
    return Tally(tried=1, calls=world.count)


@named("a file that is never to be had")
def hopeless():
    """It is given up when its attempts are used up, and not before they have taken their time; each attempt is made by
    another process."""
    world = a_world(1, 1)
    (path,) = world.hpss.files
    world.hpss.habits[path] = ["error"] * 100
    patience = world.settings.patience
    for _ in range(3 * patience.attempts):
        left = len(world.hpss.habits[path])
        try:
            Solo(world, "a").run(
                lambda world, left=left: (
                    len(world.hpss.habits[path]) < left or bool(world.ws.directory("quarantine/retriever").entries)
                )
            )
        except Violation as violation:
            found(world, str(violation))
        if world.ws.directory("quarantine/retriever").entries:
            break
    tried = 100 - len(world.hpss.habits[path])
    if tried < patience.attempts or outcomes(world)[path].outcome != "failed":
        found(world, f"given up after {tried} attempts")
    if tried > patience.attempts + 2:
        found(world, f"not given up after {tried} attempts")
    return Tally(tried=1, calls=world.count)


@named("a stranger's file in a file's place")
def occupied():
    """It appears while hsi runs: what was verified is not put over it."""
    world = a_world(1, 1)
    stranger = File(b"somebody else's", b"somebody else's")

    def hook(process, kind, path):
        if kind == "hsi":
            world.buffer.directory(path).entries.setdefault("000000", stranger)
            world.hook = None

    world.hook = hook
    world.checker = None
    solo = Solo(world, "a")
    while not world.busy("reaper") and not world.busy("globus"):
        solo.enter()
        solo.steps_of("syncer")
        solo.steps_of("retriever")
    units = [directory for name, directory in world.buffer.root.entries.items() if unit_of(name) is not None]
    if not any(stranger in directory.entries.values() for directory in units):
        found(world, "it was written over")
    return Tally(tried=1, calls=world.count)


@named("two hosts whose clocks differ by an hour")
def out_of_step():
    """Who beats is not fenced, whatever time it is elsewhere."""
    for offset in (3600.0, -3600.0):
        world = a_world(2, 1)
        world.hosts["b"].offset = offset
        solo = Solo(world, "a")
        solo.enter()
        other = Hands(world, world.start("b"))
        warden = other.home("recovery")
        warden.enter()
        recovery = other.recovery(warden)
        for _ in range(60):
            solo.cycle()
            solo.beat()
            warden.beat()
            recovery.round()
            world.advance(world.time + 60.0)
        if any(event == "worker_fenced" for _, event, _ in world.events):
            found(world, "a worker that beats was fenced")
    return Tally(tried=2)


@named("all components on hold")
def held():
    world = a_world(2, 1)
    for component in COMPONENTS:
        world.ws.directory("hold").entries[component] = File(b"test", b"test")
    solo = Solo(world, "a")
    for _ in range(10):
        solo.enter()
        solo.cycle()
        solo.hands.clock.sleep(300.0)
    if any(event in {"request_claimed", "work_claimed"} for _, event, _ in world.events):
        found(world, "work was taken in spite of the hold")
    return Tally(tried=1)


@named("a request that is copied in slowly")
def copying():
    world = a_world(2, 1)
    entries = world.ws.directory("inbox").entries
    (name,) = entries
    whole = entries.pop(name).content
    solo = Solo(world, "a")
    for size in range(1, len(whole), 9):
        entries[name] = File(whole[:size], whole[:size])
        world.ws.version += 1
        solo.enter()
        solo.cycle()
        solo.hands.clock.sleep(30.0)
    entries[name] = File(whole, whole)
    try:
        solo.run(is_done)
        check_at_rest(world)
    except (Violation, KeyError) as violation:
        found(world, str(violation))
    return Tally(tried=1)


@named("the turn's holder falls silent")
def turn_kept():
    """On a host that nobody can ask: others must choose again long before a whole lease has passed."""
    tally = Tally(1)
    component, base = beginnings()["retriever"]
    for asleep in itertools.count():
        world = base.clone()
        sleeper = Sleeper(world, component)
        world.hook = sleeper.hook
        alive = sleeper.go(asleep)
        world.hook = None
        sleeper.kill()
        if not alive:
            return tally
        home = world.ws.directory(f"claims/{sleeper.home.name}").entries
        if "turn" not in home or not home["turn"].entries or home["hpss_queue"].entries:
            continue
        world.events.clear()
        tally.tried += 1
        lease, solo = world.settings.lease, Solo(world, "b")
        until = world.time + lease.turn + lease.grace + 600.0
        while not any(event == "work_claimed" for _, event, _ in world.events):
            solo.enter()
            solo.cycle()
            solo.beat()
            solo.hands.clock.sleep(50.0)
            if world.time > until:
                found(world, f"the holder fell silent at its step {asleep}, and nobody chooses")
    return None


def recoverers(name):
    """Z falls silent, its hsi lives on; who recovers is killed at each step of the recovery; another one ends it all."""

    def run():
        component, base = beginnings()[name]
        tally = Tally(1)
        for asleep in itertools.count(5, 12):
            world = base.clone()
            sleeper = Sleeper(world, component)
            world.hook = sleeper.hook
            alive = sleeper.go(asleep)
            world.hook = None
            sleeper.kill(leash=False)
            if not alive:
                return conclude(tally)
            solo = Solo(world, "b")
            solo.process.world = world
            fork = Forking(tally, {"the recoverer is killed": KILLS["killed"]})

            def hook(process, kind, path, fork=fork):
                if kind == "rename" and "dead~" in str(path):
                    fork.near = 12
                fork.near = getattr(fork, "near", 0) - 1
                if fork.near > 0:
                    fork(process, kind, path)

            world.hook = hook
            try:
                solo.run(is_done)
            except Violation as violation:
                found(world, str(violation))
        return None

    run.name = f"killed while it recovers: {name}"
    return run


@named("killed where a unit goes to quarantine")
def quarantining():
    """At each boundary there: its reason is there with it."""

    def make():
        world = a_world(1, 1)
        (path,) = world.hpss.files
        world.settings.patience.attempts, world.settings.patience.at_least = 1, 0.0
        world.hpss.habits[path] = ["error"] * 100
        return world

    return every_fork({"killed": to_quarantine}, make, limit=1, done=is_stuck, finish=rest_in_quarantine)


def to_quarantine(world, victim, what, tally):
    world.end(victim)
    run_dry(world, "a", what, tally, Ending(is_stuck, rest_in_quarantine))


def rest_in_quarantine(world):
    check_at_rest(world, quarantine=True)


def tight():
    """Room for one unit at a time."""
    return a_world(4, 2, quota=20)


def one_slot():
    return a_world(4, 2, tasks=1)


def one_tape():
    return a_world(4, 1, quota=400)


def twins():
    return a_world(2, 1, twins=True)


def two_requests():
    """For a file each."""
    world = a_world(2, 1, drop=False)
    for n, path in enumerate(sorted(world.hpss.files)):
        world.drop(f"request{n}.json", files=[path])
    return world


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
    # The second net is taken away too: by itself, the search for the label would find what was submitted.
    no_label_search(patch)
    put = Home.put_document

    def forgetful(self, path, document):
        if isinstance(document, Work) and document.tasks and not document.tasks[-1].task_id:
            return
        put(self, path, document)

    patch.setattr(Home, "put_document", forgetful)


def put_not_synced(patch):
    no_label_search(patch)
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
    patch.setattr(schedule, "Buffer", lambda quota, reserved, _backlog: buffer(0, reserved))


def cartridges_not_exclusive(patch):
    patch.setattr(queues, "cartridges", lambda disk: set())
    put_new = Home.put_new

    def put_any(self, path, content):
        if path.startswith("cartridges/"):
            self.put(path, content)
            return True
        return put_new(self, path, content)

    patch.setattr(Home, "put_new", put_any)


def handed_over_at_the_beginning(patch):
    get = retriever.Retriever._get

    def early(self, work, fetches, on_fetched):
        self._hand_over(unit_of(work.unit), len(fetches))
        return get(self, work, fetches, on_fetched)

    patch.setattr(retriever.Retriever, "_get", early)


def handed_over_without_a_mark(patch):
    mark = retriever.Retriever._mark
    patch.setattr(
        retriever.Retriever, "_mark", lambda self, path: path.endswith(layout.AT_LAST_FILE) or mark(self, path)
    )


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


def slots_counted_before_the_turn_only(patch):
    give, full, looks = globus_xfer.GlobusXfer._give_slot, globus_xfer.GlobusXfer._is_full, {}

    def give_slot(self):
        looks[self] = 0
        return give(self)

    def is_full(self):
        looks[self] += 1
        return full(self) if looks[self] == 1 else None

    patch.setattr(globus_xfer.GlobusXfer, "_give_slot", give_slot)
    patch.setattr(globus_xfer.GlobusXfer, "_is_full", is_full)


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


def home_fenced_before_part(patch):
    def fence(self, worker):
        home = self._home
        fenced = f"{layout.DEAD}{worker}~{home.host.token()}"
        try:
            home.disk.rename(layout.home(worker), layout.home(fenced))
        except FileNotFoundError:
            return None
        home.disk.sync(layout.CLAIMS)
        try:
            home.buffer.rename(layout.part(worker), f"{layout.PART}/{fenced}")
        except FileNotFoundError:
            pass
        return fenced

    patch.setattr(recovery.Recovery, "fence", fence)


def early_reading_is_believed(patch):
    patch.setattr(retrieval, "is_followed", lambda file: True)
    patch.setattr(retrieval, "is_expected", lambda file, hashes: True)


def placed_by_rename(patch):
    def place(disk, worker, unit, index, digest_of_part):
        disk.rename(transfer_buffer.part_path(worker, unit, index), transfer_buffer.path(unit, index))
        return True

    patch.setattr(transfer_buffer, "place", place)


def overtaking_for_ever(patch):
    patch.setattr(retriever.Retriever, "_waited_for_room", lambda self, unit: 0.0)


def all_that_is_missing_is_counted(patch):
    patch.setattr(retrieval, "suspects", lambda errors, have: [not here for here in have])


def the_world_is_counted(patch):
    patch.setattr(retriever, "WORLD_TROUBLE", frozenset())


def sessions_counted_as_deaths(patch):
    patch.setattr(retriever.Retriever, "_take_count_back", lambda self, claimed: None)


def attempts_forgotten(patch):
    put = Home.put_document

    def forgetful(self, path, document):
        for file in getattr(document, "files", None) or ():
            if isinstance(document, Work) and file.outcome == "waiting":
                patience.forget_failures(file)
        put(self, path, document)

    patch.setattr(Home, "put_document", forgetful)


def given_up_at_once(patch):
    patch.setattr(retriever.patience, "CANNOT_HEAL", frozenset({"FILE-NOT-FETCHED"}))


def reason_after_the_move(patch):
    def quarantine_unit(home, claimed, component, fault, files=None):
        path = f"{layout.quarantine(component)}/{claimed.rpartition('/')[2].removesuffix('.json')}"
        home.move(claimed, f"{path}.json")
        reason = quarantine.why(home, fault, component, files=files)
        home.put(path + layout.WHY, documents.encode_any(reason))
        return f"{path}.json"

    patch.setattr(trouble, "quarantine_unit", quarantine_unit)


def nothing_observed(patch):
    decode = documents.decode_or_none
    patch.setattr(documents, "decode_or_none", lambda c, kind: None if kind is liveness.Seen else decode(c, kind))


def clocks_compared(patch):
    def silent_for(self, name, beat_no):
        beat = self._heartbeat(name)
        return self._home.clock.now() - patience.from_iso(beat.beat_at) if beat else 0.0

    patch.setattr(recovery.Recovery, "_silent_for", silent_for)


def orphaned_parts_stay(patch):
    patch.setattr(
        recovery.Recovery, "_orphaned_parts", lambda self, names: self._home.buffer.names(layout.PART) if names else []
    )


def unborn_homes_stay(patch):
    patch.setattr(recovery.Recovery, "_consider_unborn", lambda self, name: None)


def turn_has_the_long_lease(patch):
    patch.setattr(
        recovery.Recovery,
        "__init__",
        lambda self, home, lease, report, init=recovery.Recovery.__init__: init(
            self, home, lease._replace(turn=lease.lease), report
        ),
    )


def holds_ignored(patch):
    patch.setattr(queues, "is_held", lambda disk, name: False)


def impatient_with_the_inbox(patch):
    refuse = syncer.Syncer._quarantine
    patch.setattr(syncer.Syncer, "_refuse", lambda self, name, content, error: refuse(self, name, error))


def same_content_is_no_success(patch):
    patch.setattr(homes, "holds", lambda disk, path, content: False)


def records_of_failures_unread(patch):
    settle = globus_xfer.GlobusXfer._settle

    def unread(self, unit, view, why, *, counts=True):
        failed = view is not None and view.status == "FAILED"
        return settle(self, unit, None if failed else view, why, counts=counts)

    patch.setattr(globus_xfer.GlobusXfer, "_settle", unread)


def any_number_in_the_chain(patch):
    put_new = Home.put_new

    def put(self, path, content):
        if not path.startswith(layout.CHAIN):
            return put_new(self, path, content)
        self.put(path, content)
        return True

    patch.setattr(Home, "put_new", put)


def chain_before_certificate(patch):
    def append(home, path, make):
        number = max(chain.numbers(home.disk), default=0) + 1
        if home.disk.status(layout.CHAIN) is None:
            homes.make_directory(home.disk, layout.CHAIN)
        while not home.put_new(chain.entry(number), content := make(number, chain._previous(home.disk, number))):
            number += 1
        home.put(path, content)
        return content

    patch.setattr(chain, "append", append)


BEFORE_FINISHER = ("syncer", "retriever", "globus_xfer", "reaper")
WITH_BAD_DELIVERY = partial(a_world, 4, 2, fates=("garbage", "fails half-way"))
WITH_BAD_FILES = partial(a_world, 4, 2, habits=("zeros", "short"))
WRITTEN_OTHERWISE = partial(a_world, 4, 2, habits=("other first", "wrong", "other first"))
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
    "staging: the claim is durable before it": (claim_not_durable, [power("power loss", small_again)]),
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
    "what was read early is believed only if somebody expects it": (
        early_reading_is_believed,
        [undisturbed(WRITTEN_OTHERWISE)],
    ),
    "fence by one rename of the directory": (fence_claim_by_claim, [pair("reaper"), pair("globus_xfer settles")]),
    "temporary files in the home": (temporary_files_outside, [late("retriever"), pair("retriever")]),
    "take away through the home": (take_away_directly, [pair("retriever", wakes=(3,), first=65, stride=2)]),
    "grace before the drain": (no_grace, [pair("reaper", stride=1, wakes=(1,)), pair("finisher", stride=1)]),
    "the part in the buffer is fenced": (part_not_fenced, [kills("killed, unseen"), pair("retriever")]),
    "the part is drained before the claims": (claims_before_part, [bystander("retriever")]),
    "a worker whose part was fenced is fenced": (
        fenced_part_is_no_fence,
        [pair("retriever", stride=1, wakes=(10**9,), first=95)],
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
    "a session hands over at its last file": (
        handed_over_at_the_beginning,
        [two("retriever", one_tape, BEFORE_RETRIEVER)],
    ),
    "the last file is marked": (handed_over_without_a_mark, [two("retriever", one_tape, BEFORE_RETRIEVER)]),
    "cartridges of the dead are released": (cartridges_not_drained, [kills()]),
    "the turn: one chooses at a time (quota)": (no_turn, [two("retriever", tight, BEFORE_RETRIEVER, stride=1)]),
    "the turn: one chooses at a time (slots)": (no_turn, [two("globus_xfer", one_slot, BEFORE_GLOBUS, stride=1)]),
    "the turn of the dead is given back": (turn_not_drained, [kills()]),
    "slots: so many tasks at work": (no_slots, [two("globus_xfer", one_slot, BEFORE_GLOBUS)]),
    "slots are counted under the turn": (
        slots_counted_before_the_turn_only,
        [two("globus_xfer", one_slot, BEFORE_GLOBUS, stride=1)],
    ),
    "slots are given back": (slot_outlives_its_round, [kills()]),
    "admitted.json: an id belongs to one request": (no_admission, [two("syncer", twins, ()), worlds(twins=True)]),
    "certificates: a number belongs to one": (
        any_number_in_the_chain,
        [two_finishers(stride=3)],
    ),
    "certificates: beside the manifest before in the chain": (chain_before_certificate, [kills()]),
    "rounds: what is left goes to the tape again": (no_rounds, [undisturbed(WITH_BAD_FILES)]),
    "begun and ended are counted": (deaths_not_counted, [murderous()]),
    "self-kill at half a lease": (no_suicide, [pair("retriever", stride=2, wakes=(3,), first=50)]),
    "a look after a lost reply": (no_look_after_a_lost_reply, [faults(*LOST)]),
    "marks of a rest that was cut off are removed": (old_rest_marks_stay, [late("reaper sends back to Globus")]),
    "notes about orphaned parts are kept": (notes_of_parts_forgotten, [kills()]),
    "a home that is half removed is drained": (homes_must_be_whole, [kills()]),
    "fence: the part in the buffer before the home": (home_fenced_before_part, [recoverers("retriever")]),
    "a file is placed by link, never over another": (placed_by_rename, [occupied]),
    "nobody overtakes for ever": (overtaking_for_ever, [starving]),
    "what was cut off with its session is not counted": (all_that_is_missing_is_counted, [breaking]),
    "the world's faults count nothing: sessions": (the_world_is_counted, [outage]),
    "the world's faults count nothing: begun is taken back": (sessions_counted_as_deaths, [outage]),
    "attempts survive restarts": (attempts_forgotten, [hopeless]),
    "given up only when the attempts are used up": (given_up_at_once, [hopeless]),
    "quarantine: the reason first, then the document": (reason_after_the_move, [quarantining]),
    "what was observed outlives its observer": (nothing_observed, [kills("killed, unseen")]),
    "two hosts' clocks are never compared": (clocks_compared, [out_of_step]),
    "parts without a home are removed": (orphaned_parts_stay, [kills(), kills("killed, unseen")]),
    "homes that were never finished are removed": (unborn_homes_stay, [kills()]),
    "the turn has a shorter lease": (turn_has_the_long_lease, [turn_kept]),
    "a component on hold takes no work": (holds_ignored, [held]),
    "what is still being copied into the inbox is waited for": (impatient_with_the_inbox, [copying]),
    "the same content there already is a success": (same_content_is_no_success, [faults(*LOST)]),
    "records of a failed task are read": (records_of_failures_unread, [undisturbed(WITH_BAD_DELIVERY)]),
}

# Searches that run nowhere else: without sabotage they must find nothing.
CONTROLS = [
    two("syncer", twins, (), stride=9),
    worlds(number=20, twins=True),
    worlds(number=20),
    undisturbed(WITH_BAD_DELIVERY),
    undisturbed(WITH_BAD_FILES),
    undisturbed(WRITTEN_OTHERWISE),
    power("power loss", small_again),
    undisturbed(tight),
    two("retriever", tight, BEFORE_RETRIEVER, stride=41),
    two("retriever", one_tape, BEFORE_RETRIEVER, stride=31),
    two("globus_xfer", one_slot, BEFORE_GLOBUS, stride=9),
    other_two("globus_xfer settles", "reaper"),
    two_finishers(stride=29),
    undisturbed(one_slot),
    bystander("retriever"),
    murderous(),
    recoverers("retriever"),
    occupied,
    starving,
    breaking,
    outage,
    hopeless,
    quarantining,
    out_of_step,
    turn_kept,
    held,
    copying,
]

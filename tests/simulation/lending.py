"""Requests that mean some of the same files: of each file one request brings it, the others wait for that one's unit.

Worlds in which the syncer has something to do with loans: to plan a request whose files others carry (one that will deliver
them, one that has just given some up, one that itself waits), or to settle a loan (whose lender has delivered all, or given
something up). And searches in which the syncer is struck at each boundary of just that, or another one works beside it.

What must hold at the end: each request accounts for each of its files once; each file came from tape once, was sent once,
and is proven to all who asked for it; nothing is lent any more.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

from crew import Hands, Solo, command
from invariants import check_at_rest, check_tasks, root_of
from pairs import Sleeper
from searches import Ending, Forking, Found, Striker, Tally, a_world, conclude, explain, is_done, is_quiet, run_dry
from world import DESTINATION, SOURCE, Killed, Violation

OTHERS = ("retriever", "globus_xfer", "reaper", "finisher")
# Of four files on two tapes, by number: what the first request means, and the second.
FIRST, SECOND = (0, 1, 2), (1, 2, 3)
GIVEN_UP = 1


def paths(world, numbers):
    return [path for n, path in enumerate(sorted(world.hpss.files)) if n in numbers]


def drop(world, name, numbers):
    world.drop(f"{name}.json", files=paths(world, numbers))


def step(world, components, host="a", most=40):
    """Each of these components in turn, until none has anything to do."""
    solo = Solo(world, host, components)
    for _ in range(most):
        solo.enter()
        if not solo.cycle()[0]:
            break
    solo.leave()


# --- worlds ----------------------------------------------------------------------------------------------------------


def planning(*, requests=2):
    """All but the last of these requests are planned; nothing has come from tape yet."""
    world = a_world(4, 2, drop=False)
    for number in range(requests - 1):
        drop(world, f"request{number}", SECOND if number else FIRST)
        step(world, ("syncer",))
    drop(world, "last", SECOND)
    return world


def giving_up(*, requests=2):
    """As `planning`, but of the first one a file has been given up by the operator; its unit is still on its way out."""
    world = a_world(4, 2, drop=False)
    world.settings.patience.attempts, world.settings.patience.at_least = 1, 0.0
    (bad,) = paths(world, (GIVEN_UP,))
    world.hpss.habits[bad] = ["error"]
    drop(world, "request0", FIRST)
    step(world, ("syncer",))
    for number in range(1, requests - 1):
        drop(world, f"request{number}", SECOND)
        step(world, ("syncer",))
    solo = Solo(world, "a", OTHERS[:3])
    solo.run(lambda world: world.ws.directory("quarantine/retriever").entries and not world.globus.live())
    process = world.start("a")
    command(Hands(world, process), "abandon all", None)
    world.end(process)
    drop(world, "last", SECOND)
    return world


def settling(*, gives_up=False, requests=2):
    """All are planned, and what the first one carries is finished: the loans of the others can be settled."""
    world = giving_up(requests=requests) if gives_up else planning(requests=requests)
    step(world, ("syncer",))
    Solo(world, "a", OTHERS[:3]).run(
        lambda world: is_lent_only(world) and not any(map(world.busy, ("globus", "reaper")))
    )
    return world


def is_lent_only(world):
    """Nothing waits for tape but what is lent."""
    waiting = {name.removesuffix(".json") for name in world.ws.directory("hpss_queue").entries}
    return waiting == set(world.ws.directory("loans").entries)


def at_once():
    """Two requests in the inbox, and none is planned."""
    world = a_world(4, 2, drop=False)
    drop(world, "request0", FIRST)
    drop(world, "request1", SECOND)
    return world


WORLDS = {
    "both are planned": (at_once, 2),
    "the second is planned": (planning, 2),
    "the third is planned": (partial(planning, requests=3), 3),
    "the second is planned while the first gives up": (giving_up, 2),
    "the third is planned while the first gives up": (partial(giving_up, requests=3), 3),
    "a loan is settled": (settling, 2),
    "two loans are settled": (partial(settling, requests=3), 3),
    "a loan is settled, the lender has given up": (partial(settling, gives_up=True), 2),
    "loans are settled, the lender has given up": (partial(settling, gives_up=True, requests=3), 3),
}


def world_of(name):
    """A world of that name, and its end."""
    make, requests = WORLDS[name]
    return make(), Ending(partial(is_done, requests=requests), partial(check_shared, requests=requests))


# --- what must hold --------------------------------------------------------------------------------------------------


def check_shared(world, requests):
    """Everything is at rest, and each file was carried by one request, for all that had asked for it."""
    survey = check_at_rest(world)
    finished = {key: request for key, (where, request) in survey.requests.items() if where.startswith("finished/")}
    if len(finished) != requests:
        raise Violation(f"{len(finished)} of {requests} requests are finished")
    accounts = {}
    for key, request in finished.items():
        lines = root_of(world, f"finished/{key}")["manifest.jsonl"].content.decode().splitlines()
        accounts[key] = {line["source"]: line for line in map(json.loads, lines)}
        if len(lines) != len(request.files) or set(accounts[key]) != set(request.files):
            raise Violation(
                f"the manifest of {key} has {sorted(accounts[key])}, asked for were {sorted(request.files)}"
            )
    wanted = {path for request in finished.values() for path in request.files}
    for path in sorted(wanted):
        told = {key: lines[path] for key, lines in accounts.items() if path in lines}
        outcomes = Counter(line["outcome"] for line in told.values())
        if outcomes["delivered"] != 1 or set(outcomes) - {"delivered", "proven", "abandoned"}:
            raise Violation(f"{path}: {dict(outcomes)}")
        bringer = next(key for key, line in told.items() if line["outcome"] == "delivered")
        for key, line in told.items():
            if line["outcome"] == "proven" and line["vouched_by"] != bringer:
                raise Violation(f"{path} is proven to {key} by {line['vouched_by']}, and was delivered by {bringer}")
    if world.hpss.recalled != Counter(wanted):
        raise Violation(f"recalled: {dict(world.hpss.recalled)}")
    contents = {path.replace(SOURCE, DESTINATION, 1): world.hpss.files[path].content for path in wanted}
    if world.globus.destination != contents:
        raise Violation(f"at the destination: {sorted(world.globus.destination)}")
    check_tasks(world)


# --- searches --------------------------------------------------------------------------------------------------------


def _syncer(world, hook=None):
    """One process with a syncer alone, until it has nothing to do."""
    solo = Solo(world, "a", ("syncer",))
    solo.process.world = world
    world.hook = hook
    try:
        for _ in range(40):
            solo.enter()
            moved, _ = solo.cycle()
            if not moved:
                break
        solo.leave()
    finally:
        world.hook = world.after = None


def recalled_meanwhile(world, victim, what, tally):
    """A future: the syncer is killed, and before anybody knows, a retriever recalls whatever there is to recall."""
    world.end(victim)
    try:
        step(world, ("retriever",), "b")
    except Violation as violation:
        raise Found(explain(world, what, violation)) from None
    run_dry(world, "a", what, tally)


def every_loan_fork(name, futures, limit=3):
    """The syncer is undisturbed; at each of its boundaries each of the futures."""
    world, ending = world_of(name)
    tally = Tally(limit, ending=ending)
    try:
        _syncer(world, Forking(tally, futures))
        ending.reach(world, "b")
    except Violation as violation:
        raise Found(explain(world, f"{name}: undisturbed", violation)) from None
    return conclude(tally)


def every_loan_fault(name, kinds, strike, limit=3):
    """The n-th call of these kinds of the syncer goes wrong, for n = 1, 2, 3 …"""
    base, ending = world_of(name)
    tally = Tally(limit, ending=ending)
    while True:
        world = base.clone()
        struck = Striker(world, kinds, strike, tally.boundaries + 1)
        what = f"{name}: call {tally.boundaries + 1} of {'/'.join(kinds)}"
        try:
            _syncer(world, world.hook)
        except Killed:
            pass
        except Violation as violation:
            tally.found.append(explain(world, what, violation))
        if not struck.done:
            return conclude(tally)
        tally.boundaries += 1
        tally.tried += 1
        run_dry(world, "a", f"{what} ({struck.at})", tally)
        if len(tally.found) >= limit:
            return conclude(tally)


def every_overtaking(limit=3, stride=1, offset=0):
    """Of two requests in the inbox one is planned by a worker that stops at each of its steps, though it lives; others
    bring what they can to its end, and then it goes on."""
    base, ending = world_of("both are planned")
    tally = Tally(limit, boundaries=offset % stride, ending=ending)
    while True:
        world = base.clone()
        # One that is put back is planned once more by the same worker.
        sleeper = Sleeper(world, "syncer", moves=3)
        world.hook = sleeper.hook
        what = f"one that plans stops at its step {tally.boundaries}"
        try:
            if not sleeper.go(tally.boundaries):
                sleeper.kill()
                return conclude(tally)
            Solo(world, "b").run(lambda world: not world.ws.directory("request_queue").entries and is_quiet(world))
            sleeper.go(10**9)
            world.hook = None
            tally.tried += 1
            ending.reach(world, "c")
        except Violation as violation:
            tally.found.append(explain(world, what, violation))
        finally:
            world.hook = world.checker = None
            sleeper.kill()
            tally.calls += world.count - base.count
        if len(tally.found) >= limit:
            return conclude(tally)
        tally.boundaries += stride


def every_pair_of(search, name, other=None, **about):
    """One of the searches for pairs, of the syncer and `other` (or another syncer), in a world of that name."""
    base, ending = world_of(name)
    more = {"other": other} if other else {}
    return search(base, "syncer", ending=ending, **more, **about)

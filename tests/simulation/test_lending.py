"""Requests that mean some of the same files: the syncer is struck at each boundary of planning the second or third one, and of
settling a loan, with a lender that delivers and with one that gives something up; another worker stops, wakes, or overtakes
it. At the end each file came from tape once and was sent once, and all who asked for it have it.

`SIMULATION_SCALE` above 1 and a small `SIMULATION_STRIDE` try all of it, as `make simulate MINUTES=60` does.
"""

from __future__ import annotations

import errno
import os

import pytest
from budget import SCALE, SEED, searching
from lending import WORLDS, every_loan_fault, every_loan_fork, every_overtaking, every_pair_of, recalled_meanwhile
from pairs import every_late, every_pair, every_two
from searches import KILLS, POWER_LOSSES
from strikes import MUTATIONS, Ambiguous, LostReply

pytestmark = pytest.mark.timeout(7200)

AT_LENGTH = SCALE > 1 or "SIMULATION_STRIDE" in os.environ
STRIDE = 10 * int(os.environ.get("SIMULATION_STRIDE", "30"))
FUTURES = {**KILLS, **POWER_LOSSES, "killed, recalled meanwhile": recalled_meanwhile}
FAULTS = {
    "the reply to a change is lost": (MUTATIONS, LostReply()),
    "EIO after a change was made": (MUTATIONS, Ambiguous(errno.EIO)),
}
NAMES = tuple(WORLDS)
# All with all others is for a long run.
SHORT = ("the third is planned while the first gives up", "loans are settled, the lender has given up")
KILLED = ("both are planned", "the second is planned", *SHORT, "a loan is settled")
FORKS = [
    *((name, "killed") for name in KILLED),
    (SHORT[1], "power loss"),
    ("the second is planned", "killed, recalled meanwhile"),
]
STRUCK = [(SHORT[1], "the reply to a change is lost")]


@pytest.mark.parametrize(("name", "future"), [(n, f) for n in NAMES for f in FUTURES] if AT_LENGTH else FORKS)
def test_struck_at_each_boundary(name, future):
    with searching(f"lending, {name}: {future} at each boundary") as tallies:
        tallies.append(every_loan_fork(name, {future: FUTURES[future]}))
    assert tallies[0].tried > 50


@pytest.mark.parametrize(("name", "fault"), [(n, f) for n in NAMES for f in FAULTS] if AT_LENGTH else STRUCK)
def test_struck_at_each_call(name, fault):
    with searching(f"lending, {name}: {fault}, at each call") as tallies:
        tallies.append(every_loan_fault(name, *FAULTS[fault]))
    assert tallies[0].tried > 40


@pytest.mark.parametrize("name", NAMES if AT_LENGTH else SHORT)
def test_sleeper_and_recoverer(name):
    with searching(f"pairs of sleeper and recoverer: lending, {name}") as tallies:
        tallies.append(every_pair_of(every_pair, name, stride=STRIDE, offset=SEED))
    assert tallies[0].tried > 5000 / STRIDE


@pytest.mark.parametrize("name", NAMES if AT_LENGTH else SHORT[1:])
def test_sleeper_that_wakes_when_all_is_finished(name):
    with searching(f"sleeper woken at the end: lending, {name}") as tallies:
        tallies.append(every_pair_of(every_late, name))
    assert tallies[0].tried > 40


@pytest.mark.parametrize("other", ["syncer", "retriever"])
@pytest.mark.parametrize("name", NAMES if AT_LENGTH else ("both are planned", *SHORT))
def test_two_living_workers(name, other):
    with searching(f"pairs of living workers: lending, {name}, {other}") as tallies:
        tallies.append(every_pair_of(every_two, name, other, stride=max(1, STRIDE // 5), offset=SEED))
    assert tallies[0].tried > 20


def test_others_plan_and_finish_while_one_plans():
    with searching("lending: overtaken while it plans, at each step") as tallies:
        tallies.append(every_overtaking(stride=1 if AT_LENGTH else 4, offset=SEED))
    assert tallies[0].tried > 30

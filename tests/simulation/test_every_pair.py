"""Every pair of a sleeper and a recoverer, for each component: the sleeper stops at each of its steps i, past its lease; the
recoverer fences it, waits the grace, drains and does its work; at its step j the sleeper wakes for 1, 3 or all of its steps.

All i; all j with `SIMULATION_STRIDE=1` (so does `make simulate MINUTES=60`), else each n-th j, beginning elsewhere for each i,
so that all of them are met with some i. A failure prints i, j, the number of steps, the calls at which both stood, the law
that broke, the last events, and what lies where; the same test prints the same again.
"""

from __future__ import annotations

import functools
import os

import pytest
from budget import SEED, searching
from pairs import beginnings, every_fencing, every_late, every_pair, every_two

pytestmark = pytest.mark.timeout(7200)

STRIDE = int(os.environ.get("SIMULATION_STRIDE", "30"))
NAMES = (
    "syncer",
    "retriever",
    "globus_xfer submits",
    "globus_xfer settles",
    "globus_xfer settles a failure",
    "reaper",
    "reaper sends round",
    "reaper sends back to Globus",
    "finisher",
)


@functools.cache
def bases():
    return beginnings()


@pytest.mark.parametrize("name", NAMES)
def test_sleeper_and_recoverer(name):
    component, base = bases()[name]
    with searching(f"pairs of sleeper and recoverer: {name}") as tallies:
        tallies.append(every_pair(base, component, stride=STRIDE, offset=SEED))
    assert tallies[0].tried > 15_000 / STRIDE


@pytest.mark.parametrize("name", NAMES)
def test_sleeper_that_wakes_when_all_is_finished(name):
    component, base = bases()[name]
    with searching(f"sleeper woken at the end: {name}") as tallies:
        tallies.append(every_late(base, component))
    assert tallies[0].tried > 40


def test_sleeper_of_two_retrievers_that_take_over_from_one_another():
    component, base = bases()["retriever"]
    with searching("pairs of sleeper and recoverer: two retrievers of one process") as tallies:
        tallies.append(every_pair(base, component, stride=3 * STRIDE, offset=SEED, workers=2))
    assert tallies[0].tried > 30_000 / STRIDE


def test_two_retrievers_that_wake_when_all_is_finished():
    component, base = bases()["retriever"]
    with searching("sleeper woken at the end: two retrievers of one process") as tallies:
        tallies.append(every_late(base, component, workers=2))
    assert tallies[0].tried > 200


def test_two_living_retrievers_of_one_process():
    """They know of one another: the second one takes the place of the first while that reads its last file."""
    component, base = bases()["retriever"]
    with searching("pairs of living workers: retrievers of one process") as tallies:
        tallies.append(every_two(base, component, stride=max(1, STRIDE // 2), offset=SEED, one_process=True))
    assert tallies[0].tried > 10_000 / STRIDE


def test_one_of_two_retrievers_is_fenced_by_hand():
    component, base = bases()["retriever"]
    with searching("one of two retrievers of one process is fenced") as tallies:
        tallies.append(every_fencing(base, component, stride=2 * STRIDE, offset=SEED))
    assert tallies[0].tried > 20_000 / STRIDE


@pytest.mark.parametrize("name", NAMES)
def test_two_living_workers(name):
    """Both of one component, and neither was ever silent: what the turn, cartridges, slots and exclusive names are for."""
    component, base = bases()[name]
    with searching(f"pairs of living workers: {name}") as tallies:
        tallies.append(every_two(base, component, stride=STRIDE, offset=SEED))
    assert tallies[0].tried > 2000 / STRIDE

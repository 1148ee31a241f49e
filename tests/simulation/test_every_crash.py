"""A request with several units on several tapes; at each boundary, without exception, the process is killed, the power
fails, a reply is lost or a call refused. Fresh processes then bring it to its end, and all laws hold, all the way.

A failure prints the boundary (its number and call), what was done there, the law that broke, the last events, and what
lies where. Every run is deterministic: the same test prints the same again.
"""

from __future__ import annotations

import errno
from functools import partial

import pytest
from budget import SCALE, searching
from searches import KILLS, POWER_LOSSES, a_world, every_fault, every_fork, every_second_crash
from strikes import GLOBUS, MUTATIONS, NEED_SPACE, READS, Ambiguous, LostReply, NoAnswer, Refused

pytestmark = pytest.mark.timeout(1200)

FAULTS = {
    "the reply to a change is lost": (MUTATIONS, LostReply()),
    "EIO after a change was made": (MUTATIONS, Ambiguous(errno.EIO)),
    "ENOSPC once": (NEED_SPACE, Refused(errno.ENOSPC)),
    "ENOSPC for a while": (NEED_SPACE, Refused(errno.ENOSPC, 12)),
    "EDQUOT at a move": (("rename",), Refused(errno.EDQUOT, 3)),
    "EIO": (MUTATIONS + READS, Refused(errno.EIO, 2)),
    "ESTALE": (MUTATIONS + READS, Refused(errno.ESTALE)),
    "Globus does not answer": (GLOBUS, NoAnswer(before=True)),
    "Globus' answer is lost": (GLOBUS, NoAnswer(before=False)),
}


@pytest.mark.parametrize("name", [*KILLS, *POWER_LOSSES])
def test_at_each_boundary(name):
    futures = {**KILLS, **POWER_LOSSES}
    with searching(f"{name} at each boundary") as tallies:
        tallies.append(every_fork({name: futures[name]}))
    assert tallies[0].boundaries > 1000
    assert tallies[0].tried > 400
    assert tallies[0].between_sessions > 20
    assert tallies[0].handed_over


def refused():
    """The next session of a tape is not let in before the last one has ended."""
    world = a_world(3, 1)
    world.hpss.limit = 1
    return world


OTHER_WORLDS = {
    "units of one file": (partial(a_world, 3, 1, quota=150), 2),
    "the next session is refused": (refused, 0),
    "no handover": (partial(a_world, 3, 1, handover=False), 0),
    "a file on two tapes": (partial(a_world, 4, 2, joints=1), 2),
    "two sessions": (partial(a_world, 3, 2, joints=1, sessions=2, quota=500), 1),
}


@pytest.mark.parametrize("name", OTHER_WORLDS)
def test_killed_at_each_boundary_of_another_world(name):
    make, handed_over = OTHER_WORLDS[name]
    with searching(f"killed at each boundary, {name}") as tallies:
        tallies.append(every_fork({"killed": KILLS["killed"]}, make))
    assert tallies[0].tried > 300
    assert tallies[0].handed_over == handed_over
    assert (tallies[0].between_sessions > 20) == (name != "no handover")


@pytest.mark.parametrize("name", FAULTS)
def test_at_each_call(name):
    with searching(f"{name}, at each call") as tallies:
        tallies.append(every_fault(*FAULTS[name]))
    assert tallies[0].tried >= (10 if "Globus" in name else 100)


def test_the_one_that_takes_over_is_killed_too():
    with searching("killed at each boundary of the recovery") as tallies:
        tallies.append(every_second_crash(max(3, round(3 * SCALE))))
    assert tallies[0].tried > 1000

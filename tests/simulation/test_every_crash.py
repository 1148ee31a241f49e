"""A request with several units on several tapes; at each boundary, without exception, the process is killed, the power
fails, a reply is lost or a call refused. Fresh processes then bring it to its end, and all laws hold, all the way.

A failure prints the boundary (its number and call), what was done there, the law that broke, the last events, and what
lies where. Every run is deterministic: the same test prints the same again.
"""

from __future__ import annotations

import errno

import pytest
from budget import SCALE, searching
from searches import KILLS, POWER_LOSSES, every_fault, every_fork, every_second_crash
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


@pytest.mark.parametrize("name", FAULTS)
def test_at_each_call(name):
    with searching(f"{name}, at each call") as tallies:
        tallies.append(every_fault(*FAULTS[name]))
    assert tallies[0].tried >= (10 if "Globus" in name else 100)


def test_the_one_that_takes_over_is_killed_too():
    with searching("killed at each boundary of the recovery") as tallies:
        tallies.append(every_second_crash(max(3, round(3 * SCALE))))
    assert tallies[0].tried > 1000

"""A request with several units on several tapes; at each boundary, without exception, the process is killed, the power
fails, a reply is lost or a call refused. Fresh processes then bring it to its end, and all laws hold, all the way.

A failure prints the boundary (its number and call), what was done there, the law that broke, the last events, and what
lies where. Every run is deterministic: the same test prints the same again.
"""

from __future__ import annotations

import errno
import time

import pytest
from budget import SCALE, told
from searches import KILLS, POWER_LOSSES, Found, every_fault, every_fork, every_second_crash
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


def run(name, search):
    started = time.monotonic()
    try:
        tally = search()
    except Found as found:
        pytest.fail(f"{name}: {found}", pytrace=False)
    told(f"every crash: {name}", tally, started)
    return tally


@pytest.mark.parametrize("name", [*KILLS, *POWER_LOSSES])
def test_at_each_boundary(name):
    futures = {**KILLS, **POWER_LOSSES}
    tally = run(name, lambda: every_fork({name: futures[name]}))
    assert tally.boundaries > 1000
    assert tally.tried > 400


@pytest.mark.parametrize("name", FAULTS)
def test_at_each_call(name):
    tally = run(name, lambda: every_fault(*FAULTS[name]))
    assert tally.tried >= (10 if "Globus" in name else 100)


def test_the_one_that_takes_over_is_killed_too():
    tally = run("killed twice", lambda: every_second_crash(max(3, round(3 * SCALE))))
    assert tally.tried > 1000

"""Random worlds: several hosts and processes, all components at once, bad habits of the archive and of the transfer service,
and kills, stalls beyond the lease, power losses, lost replies and full disks at drawn moments.

A failure is shrunk by Hypothesis and printed as `Case(...)`, which is the whole reproducer:
`python -c "import crowd; from crowd import Case; crowd.live(Case(...))"` in this directory. In CI the same worlds are drawn
each time; `SIMULATION_SEED` draws others, `SIMULATION_SCALE` more.
"""

from __future__ import annotations

import time

import pytest
from budget import SCALE, SEED, told
from crowd import FATES, FAULTS, HABITS, Case, live
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from searches import Tally
from world import Violation

pytestmark = pytest.mark.timeout(7200)

WORLDS = max(50, round(500 * SCALE))
# For several processes.
PARTS = 5

# Much of what can go wrong does so at the beginning.
moments = st.one_of(st.integers(0, 400), st.integers(0, 4000))

cases = st.builds(
    Case,
    seed=st.integers(0, 2**32 - 1),
    files=st.integers(2, 6),
    tapes=st.integers(1, 3),
    joints=st.sampled_from((0, 0, 1, 2)),
    requests=st.sampled_from((1, 1, 2)),
    twins=st.sampled_from((False,) * 9 + (True,)),
    quota=st.sampled_from((0, 100, 400, 600)),
    sessions=st.sampled_from((1, 1, 2)),
    handover=st.sampled_from((True, True, False)),
    limit=st.sampled_from((0, 0, 1, 2)),
    tasks=st.integers(1, 3),
    queued=st.integers(0, 2),
    skew=st.sampled_from((0, 3600, -3600)),
    processes=st.sampled_from((("a",), ("a", "b"), ("a", "a", "b"))),
    habits=st.lists(st.sampled_from(HABITS), max_size=3).map(tuple),
    fates=st.lists(st.sampled_from(FATES), max_size=3).map(tuple),
    faults=st.lists(st.tuples(moments, st.sampled_from(FAULTS)), max_size=7).map(tuple),
    calls=st.just(4000),
)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_worlds(part):
    tally, handed_over = Tally(), []
    started = time.monotonic()

    @hypothesis_seed(SEED * PARTS + part)
    @settings(
        max_examples=WORLDS // PARTS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(cases)
    def search(case):
        tally.tried += 1
        try:
            world = live(case)
            tally.calls += world.count
            handed_over.append(world.hpss.handed_over)
        except Violation as violation:
            raise AssertionError(f"{violation}") from None

    try:
        search()
    except Exception:
        told("random worlds", tally.tried, started, violations=1)
        raise
    note = f"part {part + 1} of {PARTS}, {sum(handed_over)} cartridges handed over, {tally.calls} calls"
    told("random worlds", tally.tried, started, note=note)
    assert tally.tried >= WORLDS // PARTS
    assert sum(handed_over) > tally.tried // 10

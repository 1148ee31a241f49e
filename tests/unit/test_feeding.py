"""How many sessions feed the network, by what was seen of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.rules.feeding import Feeding

HOUR = 3600.0
LOOKS = st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 20), st.booleans()))


@given(st.integers(0, 20), LOOKS)
def test_it_is_between_one_and_as_many_as_there_were(sessions, looks):
    feeding, now = Feeding(sessions), 0.0
    for seconds, at_work, is_fed in looks:
        now += seconds
        feeding.see(now, at_work, is_fed=is_fed)
        assert 1 <= feeding.enough <= max(1, sessions - 1, *(number for _, number, _ in looks))


def test_it_is_the_average_of_those_at_work_while_the_network_is_fed():
    feeding = Feeding(8)
    assert feeding.enough == 7
    for quarter in range(10 * 24 * 4):
        feeding.see(quarter * 900.0, 3 if quarter % 2 else 4, is_fed=True)
    assert 3.4 < feeding.enough < 3.6
    # What it takes may have grown: while it is hungry, all might be needed.
    for quarter in range(10 * 24 * 4):
        feeding.see(864000 + quarter * 900.0, 3, is_fed=False)
    assert 6.9 < feeding.enough <= 7


def test_what_nobody_saw_and_what_was_down_says_nothing():
    feeding = Feeding(8)
    feeding.see(0.0, 0, is_fed=True)
    feeding.see(100 * HOUR, 0, is_fed=True)
    feeding.see(200 * HOUR, 2, is_fed=True)
    assert feeding.enough == 7
    # Asleep for long.
    feeding.see(300 * HOUR, 2, is_fed=True)
    assert feeding.enough > 6.7

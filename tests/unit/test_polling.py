"""When a task is looked at again: whole tasks are lived through, and the looks and the lateness are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.rules.polling import FAR, SHORTEST, Habits, Track, is_queued, pause
from tacc_sync.rules.tasks import TaskView

USUAL = 5.0
HOUR = 3600.0
GB = 10**9


def view(moved, *, status="ACTIVE", nice="OK", begun=0.0):
    return TaskView(
        "task", "label", status, nice if status == "ACTIVE" else None, "", False, 0, "", 1, 0, 0, moved, 0,
        begun, None, None, "", False,
    )  # fmt: skip


class Life:
    """A task that moves `size` bytes at rates that change: `stages` are (seconds, bytes a second), the last goes on."""

    def __init__(self, size, stages, *, queued=0.0, start=5.0, verification=20.0):
        self.size, self.stages, self.queued, self.start = size, stages, queued, start
        self.full = queued + start + self.seconds_for(size)
        self.end = self.full + verification

    def seconds_for(self, size):
        past = 0.0
        for seconds, rate in self.stages[:-1]:
            if size <= seconds * rate:
                break
            size, past = size - seconds * rate, past + seconds
        else:
            seconds, rate = self.stages[-1]
        return past + size / rate

    def moved(self, at):
        left, moved = at - self.queued - self.start, 0.0
        for seconds, rate in [*self.stages[:-1], (float("inf"), self.stages[-1][1])]:
            part = max(0.0, min(left, seconds))
            moved, left = moved + part * rate, left - part
        return min(self.size, round(moved))

    def view(self, at):
        if at >= self.end:
            return view(self.size, status="SUCCEEDED")
        return view(self.moved(at), nice="Queued" if at < self.queued else "OK")


def look_after(life, habits=None):
    """(looks, how late the end was seen)."""
    habits, track, at = habits or Habits(), Track(), 0.25
    looks = 1
    while (seen := life.view(at)).status != "SUCCEEDED":
        track.note(seen, life.size, at)
        step = pause(track, habits, life.size, at, usual=USUAL, begun=0.0)
        assert SHORTEST <= step <= FAR * USUAL
        looks, at = looks + 1, at + step
    habits.learn(track, life.size, at)
    return looks, at - life.end


def test_a_task_of_ten_hours_costs_few_requests_and_its_end_is_seen_at_once():
    looks, late = look_after(Life(36_000 * GB, [(0, GB)]))
    assert looks < 200
    assert late <= USUAL


def test_of_a_thousand_small_tasks_three_at_a_time_the_requests_stay_far_below_what_is_permitted():
    habits, total, seconds = Habits(), 0, 0.0
    for number in range(1000):
        life = Life(10 * GB + number, [(0, GB)], verification=5.0)
        looks, late = look_after(life, habits)
        assert late <= 1.5
        total, seconds = total + looks, seconds + life.end
    # Each begins with an id and a search for its label, is submitted, and its records are read: four more.
    assert (total + 4 * 1000) / (seconds / 4) < 3.0


@pytest.mark.parametrize("verification", [0.0, 20.0, 300.0])
def test_what_others_were_like_is_remembered(verification):
    habits = Habits()
    first = look_after(Life(100 * GB, [(0, GB)], verification=verification), habits)
    second = look_after(Life(100 * GB, [(0, GB)], verification=verification), habits)
    assert first[1] <= USUAL
    assert second[1] <= 1.5


rates = st.sampled_from([0.05, 0.3, 0.8, 1.0, 2.4])
stages = st.lists(st.tuples(st.floats(10, 5000), rates.map(lambda rate: rate * GB)), min_size=1, max_size=6)


@given(
    stages,
    st.integers(1, 10_000 * GB),
    st.floats(0, 1000),
    st.floats(0, 60),
    st.floats(0, 900),
    st.lists(st.floats(1, 1e4), max_size=3),
)
def test_whatever_the_network_does_up_to_threefold_the_end_is_seen_in_time(how, size, queued, start, verification, old):
    """Slower is never late; faster by up to three times neither. More is as late as the longest look at the most."""
    habits = Habits()
    for seconds in old:
        habits.learn(Track(began=0.0, last=(0.0, 0)), size, seconds)
    life = Life(size, how, queued=queued, start=start, verification=verification)
    looks, late = look_after(life, habits)
    speeds = [rate for _, rate in how]
    steady = all(later <= 3 * min(speeds[:n]) for n, later in enumerate(speeds) if n)
    assert late <= (USUAL if steady else FAR * USUAL) + 0.01
    assert looks <= 60 + life.end / SHORTEST
    if life.end > HOUR:
        assert looks / life.end < 0.5


def test_a_queued_task_is_looked_at_in_the_usual_pace_and_is_not_at_work():
    track = Track()
    track.note(view(0, nice="Queued"), GB, 1000.0)
    assert track.began is None
    assert is_queued(view(0, nice="QUEUED"))
    assert not is_queued(view(0))
    assert pause(track, Habits(), GB, 1000.0, usual=USUAL, begun=0.0) == USUAL


def test_a_clock_that_was_set_back_makes_it_neither_rare_nor_constant():
    track = Track()
    for at in (1000.0, 1100.0, 1200.0):
        track.note(view(int(at - 1000) * GB), 1000 * GB, at)
    assert pause(track, Habits(), 1000 * GB, 1200.0, usual=USUAL, begun=1000.0) > USUAL
    track.note(view(210 * GB), 1000 * GB, 200.0)
    assert SHORTEST <= pause(track, Habits(), 1000 * GB, 200.0, usual=USUAL, begun=1000.0) <= USUAL


@pytest.mark.parametrize(("usual", "longest"), [(0.0, SHORTEST), (-5.0, SHORTEST), (1.0, 1.0), (100.0, 30.0)])
def test_the_setting_is_kept_within_reason(usual, longest):
    assert pause(Track(), Habits(), GB, 1e6, usual=usual, begun=0.0) == longest

"""When to look at a task again: soon when its end is near, seldom when it is far away. Pure.

Guarantee: the pause is at least a second; without a sound estimate it is at most `usual`, so that an end is seen at
most so late; with one it is at most a share of what is left, so that a task that suddenly goes as much faster as one
whose two neighbours have ended is still seen in time, and at most FAR times `usual`, so that a trouble is.
What is kept here is a hint: who has none looks a little more often.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tacc_sync.rules.tasks import TaskView

SHORTEST = 1.0
"""Seconds: ten tasks looked at so often are half of what the service permits (20 requests a second)."""
FAR = 60.0
"""The longest pause, in units of the usual one: while a task's own progress says that its end is far away."""
SHARE = 3.0
"""Three tasks share a network: what is left takes a third of the time when the two others end."""
OVERDUE = 10.0
"""Of the time past without an end, this part is waited until the next look: one comes at most so much too late."""
REMEMBERED = 5
"""So many ended tasks are remembered: networks change."""


@dataclass(slots=True)
class Track:
    """What the looks at one task have told: since when it is at work (epoch seconds); of the first look that saw it
    move, and of the last one, when it was and how many bytes had moved; since when all of them have."""

    began: float | None = None
    first: tuple[float, int] | None = None
    last: tuple[float, int] | None = None
    rate: float = 0.0
    full_since: float | None = None

    def note(self, view: TaskView, size: int, now: float) -> None:
        """Take a look into account."""
        if is_queued(view) or (self.last is not None and now < self.last[0]):
            # It is not at work; or the clock was set back, and nothing that we know can be compared.
            self.began = self.first = self.last = self.full_since = None
            self.rate = 0.0
            if is_queued(view):
                return
        seen = (now, view.bytes_transferred)
        if self.began is None:
            self.began = now
        if self.first is None:
            # The time until the first byte says nothing of the rate.
            self.first = seen if seen[1] > 0 else None
        elif self.last is not None and seen[1] > self.last[1]:
            # The faster of all the time and of lately: the end is then expected too early, not too late.
            self.rate = max(_rate(self.first, seen), _rate(self.last, seen) if now - self.last[0] >= 10.0 else 0.0)
        self.last = seen
        if self.full_since is None and size > 0 and seen[1] >= size:
            self.full_since = now


@dataclass(slots=True)
class Habits:
    """What tasks that have ended were like: bytes a second of their time at work, and seconds from the last byte to
    the end (in which the service verifies)."""

    rates: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    tails: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def learn(self, track: Track, size: int, ended: float) -> None:
        """A task has succeeded, and was seen to have at `ended`."""
        if track.began is None:
            return
        if track.full_since is not None:
            self.tails.append(max(0.0, ended - track.full_since))
        if ended > track.began:
            self.rates.append(size / (ended - track.began))


def is_queued(view: TaskView) -> bool:
    """Does the service work on others of ours first?"""
    return view.status == "ACTIVE" and (view.nice_status or "").strip().upper() == "QUEUED"


def pause(track: Track, habits: Habits, size: int, now: float, *, usual: float, begun: float) -> float:
    """Seconds until the next look at a task of so many bytes, submitted at `begun`."""
    usual = min(max(usual, SHORTEST), 30.0)
    tail = min(habits.tails, default=0.0)
    if track.began is None or track.last is None:
        # Queued, or not seen yet: others end first.
        return min(max((now - begun) / OVERDUE, SHORTEST), usual)
    if track.full_since is not None:
        left = tail - (now - track.full_since)
        return _closer(left, now - track.full_since, usual)
    if track.rate > 0 and track.first is not None:
        left = max(0, size - track.last[1]) / track.rate
        # Its own progress is evidence, for as long again as it has been seen: nothing but a faster network brings the
        # end nearer than a share of that.
        longest = min(max(usual, now - track.first[0]), FAR * usual)
        return min(max((left + tail) / SHARE, SHORTEST), longest)
    at_work = now - track.began
    left = size / max(habits.rates) - at_work if habits.rates else 0.0
    return _closer(left, at_work, usual)


def _closer(left: float, past: float, usual: float) -> float:
    """Half of what should be left comes closer each time; when it should be over, a part of the time past."""
    guess = left / 2 if left > 0 else past / OVERDUE
    return min(max(guess, SHORTEST), usual)


def _rate(then: tuple[float, int], now: tuple[float, int]) -> float:
    return (now[1] - then[1]) / (now[0] - then[0]) if now[0] > then[0] else 0.0

"""How many sessions at once bring what the network takes? Nobody measures it, but it shows: where more than that are at
work, the buffer fills, and where fewer are, it drains; so it is how many there are on the average. Pure.

Guarantee: between one and as many as were ever at work, or one less than there may be. Until anything was seen, it is
that: more than are needed, so that no tape is begun too late.
"""

from __future__ import annotations

from math import exp

# What was seen so many seconds ago counts a third of what is seen now.
MEMORY = 24 * 3600.0
# Whoever looks so seldom has slept, and doesn't know what was at work meanwhile.
LONGEST = 3600.0


class Feeding:
    """`enough` is the number, of all hosts together."""

    def __init__(self, sessions: int) -> None:
        """`sessions`: how many there may be in this process."""
        self._most = max(1, sessions - 1)
        self.enough = float(self._most)
        self._seen: tuple[float, int] | None = None

    def see(self, now: float, at_work: int, *, is_fed: bool) -> None:
        """So many are at work now (seconds of any clock that only runs forward). `is_fed`: does more wait for the
        network than it soon needs?"""
        before, self._seen = self._seen, (now, at_work if is_fed else max(at_work, self._most))
        if before is None or not at_work:
            # While no tape is read it is not the network that decides.
            self._seen = self._seen if at_work else None
            return
        since, number = before
        share = exp(-min(max(0.0, now - since), LONGEST) / MEMORY)
        self.enough = max(1.0, share * self.enough + (1 - share) * number)

"""Simulated time, and workers that wait in it.

Each worker is a thread, but only one runs at a time: whoever waits hands over to whatever is due next. So components
that wait in the middle of their work run unchanged, the order of events depends on nothing but the simulation, and
years pass in seconds. Times are seconds since the simulation began.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from itertools import count

from tacc_sync.outside.clock.interface import Bell, Clock

# The wall clock when a simulation begins, epoch seconds.
EPOCH = 1_800_000_000.0


class Over(BaseException):
    """The simulation has ended. No `Exception`, so that no component takes it for an error of its own."""


class SimBell:
    """A bell of simulated workers."""

    __slots__ = ("_kernel", "rung", "sleeper")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.rung = False
        self.sleeper: _Sleeper | None = None

    def ring(self) -> None:
        """Wake whoever waits on it; remembered until somebody has waited."""
        self.rung = True
        if self.sleeper is not None:
            self._kernel.wake(self.sleeper)
            self.sleeper = None


class _Sleeper:
    """A worker that waits; `ticket` tells whether an entry of the agenda still concerns it."""

    __slots__ = ("baton", "ticket")

    def __init__(self) -> None:
        self.baton = threading.Lock()
        self.baton.acquire()
        self.ticket = 0


class Kernel:
    """The agenda of one simulation."""

    def __init__(self) -> None:
        self.now = 0.0
        self.over = False
        self.failure: BaseException | None = None
        self._serial = count()
        self._agenda: list[tuple[float, int, _Sleeper | Callable[[], None], int]] = []
        self._main = _Sleeper()
        self._current = self._main
        self._threads: list[threading.Thread] = []
        self._sleepers: list[_Sleeper] = []

    # --- what happens ---------------------------------------------------------------------------------------

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something short, which does not wait itself, at a time."""
        heapq.heappush(self._agenda, (max(when, self.now), next(self._serial), do, 0))

    def spawn(self, run: Callable[[], None]) -> None:
        """A worker, which begins when its turn comes."""
        sleeper = _Sleeper()

        def body() -> None:
            sleeper.baton.acquire()
            try:
                if not self.over:
                    self._current = sleeper
                    run()
            except Over:
                pass
            except BaseException as error:  # noqa: BLE001  told to whoever runs the simulation
                self.failure = self.failure or error
                self.stop()
            if not self.over:
                self._hand_over(None)

        thread = threading.Thread(target=body, daemon=True)
        self._threads.append(thread)
        self._sleepers.append(sleeper)
        self._push(self.now, sleeper)
        thread.start()

    def run(self) -> None:
        """Go on until somebody stops it, or nothing is left to do; raises what a worker has failed with."""
        self._dispatch(self._main)
        # Everybody waits for the baton now, or has ended: each gets it once, and finds that it is over.
        for sleeper in self._sleepers:
            sleeper.baton.release()
        for thread in self._threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """End the simulation."""
        if not self.over:
            self.over = True
            self._main.baton.release()

    # --- waiting --------------------------------------------------------------------------------------------

    def sleep_until(self, when: float) -> None:
        """Let the others go on until then."""
        sleeper = self._current
        self._push(max(when, self.now), sleeper)
        self._dispatch(sleeper)

    def sleep(self, seconds: float) -> None:
        """Let the others go on for so long."""
        self.sleep_until(self.now + max(0.0, seconds))

    def wait(self, bell: SimBell, until: float | None) -> bool:
        """Wait for a bell, at most until then; True when it was rung."""
        if not bell.rung:
            sleeper = self._current
            bell.sleeper = sleeper
            sleeper.ticket += 1
            if until is not None:
                heapq.heappush(self._agenda, (max(until, self.now), next(self._serial), sleeper, sleeper.ticket))
            self._dispatch(sleeper)
            bell.sleeper = None
        rung, bell.rung = bell.rung, False
        return rung

    def wake(self, sleeper: _Sleeper) -> None:
        """A waiting worker goes on, in its turn."""
        self._push(self.now, sleeper)

    # --- inside ---------------------------------------------------------------------------------------------

    def _push(self, when: float, sleeper: _Sleeper) -> None:
        sleeper.ticket += 1
        heapq.heappush(self._agenda, (when, next(self._serial), sleeper, sleeper.ticket))

    def _dispatch(self, mine: _Sleeper) -> None:
        """Hand over to what is due next; return when it is this worker's turn."""
        if self.over and mine is not self._main:
            # Also for whoever waits on his way out: nobody would wake him.
            raise Over
        if not self._hand_over(mine):
            mine.baton.acquire()
        if mine is self._main:
            # The end. Whoever brought it about may still be on his way out.
            return
        if self.over:
            raise Over
        self._current = mine

    def _hand_over(self, mine: _Sleeper | None) -> bool:
        """Let whoever is next go on; True when that is this worker itself."""
        while self._agenda and not self.over:
            when, _, what, ticket = heapq.heappop(self._agenda)
            if not isinstance(what, _Sleeper):
                self.now = max(self.now, when)
                what()
            elif ticket == what.ticket:
                self.now = max(self.now, when)
                if what is not mine:
                    what.baton.release()
                return what is mine
        self.stop()
        return False


class SimClock:
    """The clock of a simulation, as components see it."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def now(self) -> float:
        return EPOCH + self._kernel.now

    def uptime(self) -> float:
        return self._kernel.now

    def effort(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self._kernel.sleep(seconds)

    def bell(self) -> Bell:
        return SimBell(self._kernel)

    def wait(self, bell: Bell, seconds: float) -> bool:
        assert isinstance(bell, SimBell)
        return self._kernel.wait(bell, self._kernel.now + seconds)


_CLOCK: type[Clock] = SimClock

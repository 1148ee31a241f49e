"""The clock of this host.

Guarantee: `uptime` never jumps and counts suspended time; a bell that was rung is never lost.
Never fails.
"""

from __future__ import annotations

import threading
import time

from tacc_sync.outside.clock.interface import Bell


class SystemBell:
    """A bell between threads of this process."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_rung = False

    def ring(self) -> None:
        """Wake whoever waits on it; remembered until somebody has waited."""
        with self._changed:
            self._is_rung = True
            self._changed.notify()

    def wait(self, seconds: float) -> bool:
        """Wait, at most so long; True when it was rung."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_rung, min(max(seconds, 0.0), threading.TIMEOUT_MAX))
            was_rung, self._is_rung = self._is_rung, False
            return was_rung


class SystemClock:
    """`Clock` by the kernel."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return time.time()

    def uptime(self) -> float:
        """Seconds since boot. CLOCK_MONOTONIC would stop while the host is suspended; others' leases do not."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def effort(self) -> float:
        """CPU seconds of the calling thread."""
        return time.thread_time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(max(seconds, 0.0))

    def bell(self) -> Bell:
        """A new bell."""
        return SystemBell()

    def wait(self, bell: Bell, seconds: float) -> bool:
        """Wait for one of our own bells."""
        assert isinstance(bell, SystemBell)
        return bell.wait(seconds)

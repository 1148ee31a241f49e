"""How fast something goes, and when it will be done: from the times that the documents carry. Pure.

Guarantee: a rate is said only of time in which something happened; what has not begun has none, and no guess either.
"""

from __future__ import annotations

from tacc_sync.rules.patience import from_iso

WINDOW_MINUTES = 60


class Tempo:
    """Bytes by the minute in which they arrived. Times are ISO 8601 in UTC with a `Z`, as in the documents."""

    def __init__(self) -> None:
        # By minute, not by file: a request may have millions of files.
        self._minutes: dict[str, int] = {}
        self._first = ""
        self._last = ""
        self.bytes = 0

    def add(self, at: str, size: int) -> None:
        """So many bytes arrived then."""
        minute = at[:16]
        self._minutes[minute] = self._minutes.get(minute, 0) + size
        self.bytes += size
        self._last = max(self._last, at)
        self._first = min(self._first or at, at)

    def merge(self, other: Tempo) -> None:
        """Count what another one has counted."""
        for minute, size in other._minutes.items():
            self._minutes[minute] = self._minutes.get(minute, 0) + size
        self.bytes += other.bytes
        self._last = max(self._last, other._last)
        self._first = min(filter(None, (self._first, other._first)), default="")

    @property
    def last_at(self) -> str:
        """When something arrived last; "" when nothing has."""
        return self._last

    def recently(self, begun_at: str) -> float | None:
        """Bytes a second in the last hour in which anything arrived; None when that cannot be said.

        `begun_at`: when the whole began; what arrived first has taken its time since then.
        """
        if not self._last:
            return None
        end = from_iso(self._last)
        window = end - WINDOW_MINUTES * 60
        begun = max(window, from_iso(begun_at or self._first))
        recent = sum(size for minute, size in self._minutes.items() if from_iso(minute + ":59Z") > window)
        return _rate(recent, end - begun)

    def overall(self, begun_at: str) -> float | None:
        """Bytes a second from the beginning to the last arrival, pauses included."""
        if not self._last:
            return None
        return _rate(self.bytes, from_iso(self._last) - from_iso(begun_at or self._first))


def seconds_left(remaining: int, rate: float | None) -> float | None:
    """How long the rest takes at this rate; None when nobody can say."""
    if remaining <= 0 or not rate:
        return None
    return remaining / rate


def _rate(size: int, seconds: float) -> float | None:
    # The documents tell whole seconds: within the first one nothing can be said.
    return size / seconds if seconds >= 1 and size else None

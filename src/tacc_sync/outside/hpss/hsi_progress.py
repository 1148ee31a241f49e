"""Does a retrieval still move? Told by the files it writes, for hsi itself says nothing while it works.

Guarantee: as long as any of the files grows, a session is not stalled, however long it takes.
Never fails: a file that can't be looked at has not grown.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

# How many files ahead of the newest one are looked for: hsi skips those that it can't fetch.
LOOK_AHEAD = 16


class Progress:
    """The local files of one session, in the order in which they are fetched."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._newest = -1
        self._last_sign: object = None
        self._last_sum = 0
        self._moved_at: float | None = None

    def look(self, now: float) -> int:
        """Look at the files; how many are over because a later one has begun."""
        for index in range(self._newest + 1, min(self._newest + 1 + LOOK_AHEAD, len(self._paths))):
            if _bytes_in(self._paths[index]) is not None:
                self._newest = index
        sign = (self._newest, _bytes_in(self._paths[self._newest]) if self._newest >= 0 else None)
        if self._moved_at is None or sign != self._last_sign:
            self._last_sign = sign
            self._moved_at = now
        return max(0, self._newest)

    def is_stalled(self, now: float, seconds: float) -> bool:
        """Whether nothing has moved for so long."""
        if self._moved_at is None or now - self._moved_at <= seconds:
            return False
        # hsi may work in another order than asked for: before the verdict look at everything once.
        everything = sum(_bytes_in(path) or 0 for path in self._paths)
        if everything == self._last_sum:
            return True
        self._last_sum = everything
        self._moved_at = now
        return False

    def has_bytes(self) -> bool:
        """Whether anything of the newest file has arrived."""
        return self._newest >= 0 and bool(_bytes_in(self._paths[self._newest]))

    def has_begun(self) -> bool:
        """Whether any file is there."""
        return self._newest >= 0 or any(_bytes_in(path) is not None for path in self._paths)


def _bytes_in(path: str) -> int | None:
    """A number that grows with the file; None when there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    # A file may get its full size first and its blocks later.
    return status.st_size + status.st_blocks * 512

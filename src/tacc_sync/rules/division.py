"""A large request is planned part by part, so that no more of it is in memory than one part. Pure.

Guarantee: all files of one directory at the destination are in the same part, whoever speaks of them: the archive's
listing, earlier deliveries, other requests.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from tacc_sync.rules.identity import printable
from tacc_sync.rules.selection import destination_of

# Files of a part, about: a hundred megabytes with all that is known of them.
PART_FILES = 50_000


class Division:
    """How many parts, and which file is in which."""

    def __init__(self, sources: Sequence[str], destination: str, files: int, *, part_files: int = PART_FILES) -> None:
        self.parts = max(1, -(-files // part_files))
        self._sources = sources
        self._destination = destination
        self._last = ("\0", 0)

    def of_destination(self, destination: str) -> int:
        """The part of a file with this destination, as documents have it."""
        if self.parts == 1:
            return 0
        return zlib.crc32(destination.rpartition("/")[0].encode("utf-8", "surrogateescape")) % self.parts

    def of_source(self, path: str) -> int:
        """The part of a listed file; `WorkFault` LISTING-STRANGE when it lies in no source."""
        if self.parts == 1:
            return 0
        directory = path.rpartition("/")[0]
        if directory != self._last[0] or path in self._sources:
            destination = printable(destination_of(path, self._sources, self._destination))
            self._last = (directory if path not in self._sources else "\0", self.of_destination(destination))
        return self._last[1]

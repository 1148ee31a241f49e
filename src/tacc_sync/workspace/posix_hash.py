"""Hashing an open file, all algorithms in one read.

Guarantee: what is returned is the digests of the bytes that were read, from the first to the end of the file; the file
is flushed to disk when it is returned. Of a file that is being written nothing is read that is not there yet, where the
file system tells its holes. The page cache is used, and not swept out, see `_KEEP_SHARE`.
Fails with the `OSError` of the call that failed, InterruptedError when told to stop, ValueError for an algorithm that
is not known.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

# Small enough to stay in a core's own cache for a second algorithm, large enough for calls to cost nothing.
_CHUNK = 1024 * 1024
# The kernel is told of so many bytes ahead of the one that is being hashed, so that reading and hashing go on at once,
# also where a read takes its time (network file systems).
_AHEAD = 16 * _CHUNK
# What hsi has just written lies in the page cache; from there we read it, and from there a Globus endpoint on the same
# host reads it once more. So it stays there: unless the file is larger than this share of the memory. Then its head
# would be gone anyway before anybody came back for it, and all other files' pages with it; so its pages are let go of
# behind the reader.
_KEEP_SHARE = 0.25


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Checksum32:
    """zlib's checksums in the manner of hashlib."""

    def __init__(self, function: Callable[[memoryview, int], int], start: int) -> None:
        self._function, self._value = function, start

    def update(self, data: memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def new_hash(algorithm: str) -> _Hash:
    """A hash by its plain name; ValueError when it is not known."""
    match algorithm:
        case "adler32":
            return _Checksum32(zlib.adler32, 1)
        case "crc32":
            return _Checksum32(zlib.crc32, 0)
        case _:
            return hashlib.new(algorithm, usedforsecurity=False)


def largest_to_keep() -> int:
    """Bytes of a file whose pages stay in the cache."""
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * _KEEP_SHARE)


class Running:
    """The hashes of a file's first `at` bytes."""

    __slots__ = ("_freed", "_hashes", "at", "file")

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._hashes = {algorithm: new_hash(algorithm) for algorithm in algorithms}
        self.at = self._freed = 0
        # Which file it is: device and inode.
        self.file = (0, 0)

    def read(
        self, file: int, size: int, end: int, may_go_on: Callable[[], bool] = lambda: True, keep: int | None = None
    ) -> None:
        """Go on in an open file, of `size` bytes as far as is known, up to `end` or to where it ends."""
        lets_go = size > (largest_to_keep() if keep is None else keep)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        buffer = memoryview(bytearray(min(_CHUNK, max(size - self.at, 1))))
        told = self.at
        while self.at < end and (count := os.preadv(file, [buffer[: end - self.at]], self.at)):
            at = self.at + count
            if told < min(at + _AHEAD // 2, size):
                os.posix_fadvise(file, at, _AHEAD, os.POSIX_FADV_WILLNEED)
                told = at + _AHEAD
            for running in self._hashes.values():
                running.update(buffer[:count])
            self.at = at
            if lets_go and self.at - self._freed >= _AHEAD:
                # What is not on disk yet stays, whatever is said here.
                os.posix_fadvise(file, self._freed, self.at - self._freed, os.POSIX_FADV_DONTNEED)
                self._freed = self.at
            if not may_go_on():
                raise InterruptedError(errno.EINTR, "stopped while hashing")

    def digests(self) -> dict[str, str]:
        """Of what was read, lower-case hex."""
        return {algorithm: running.hexdigest() for algorithm, running in self._hashes.items()}


def digest_open(
    file: int,
    algorithms: Iterable[str],
    may_go_on: Callable[[], bool] = lambda: True,
    *,
    keep: int | None = None,
    begun: Running | None = None,
) -> dict[str, str]:
    """The digests of an open file; `keep`: the largest file whose pages stay in the cache."""
    found = os.fstat(file)
    if begun is None or begun.file != (found.st_dev, found.st_ino) or begun.at > found.st_size:
        begun = Running(algorithms)
    begun.read(file, found.st_size, sys.maxsize, may_go_on, keep)
    os.fsync(file)
    return begun.digests()


def follow_open(
    file: int,
    algorithms: Iterable[str],
    begun: Running | None,
    *,
    behind: int,
    most: int,
    may_go_on: Callable[[], bool] = lambda: True,
) -> Running | None:
    """Hash what has arrived of an open file that somebody writes to; see `Disk.follow`."""
    found = os.fstat(file)
    which = found.st_dev, found.st_ino
    if begun is None:
        begun = Running(algorithms)
        begun.file = which
    if begun.file != which or begun.at > found.st_size:
        return None
    end = min(_without_hole(file, begun.at, found) - behind, begun.at + most)
    begun.read(file, found.st_size, end, may_go_on)
    # It was there: so it has been cut since.
    return begun if begun.at >= end else None


def _without_hole(file: int, at: int, found: os.stat_result) -> int:
    """Up to where bytes lie in an open file without a hole, from one of them on."""
    try:
        return min(os.lseek(file, at, os.SEEK_HOLE), found.st_size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return at
        if error.errno != errno.EINVAL:
            raise
        # Nobody tells of holes here: never more than there are bytes in blocks.
        return min(found.st_blocks * 512, found.st_size)

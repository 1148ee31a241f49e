"""Hashing an open file, all algorithms in one read.

Guarantee: what is returned is the digests of the bytes that were read, from the first to the end of the file; the file
is flushed to disk when it is returned. The page cache is used, and not swept out, see `_KEEP_SHARE`.
Fails with the `OSError` of the call that failed, InterruptedError when told to stop, ValueError for an algorithm that
is not known.
"""

from __future__ import annotations

import errno
import hashlib
import os
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


def digest_open(
    file: int, algorithms: Iterable[str], may_go_on: Callable[[], bool] = lambda: True, *, keep: int | None = None
) -> dict[str, str]:
    """The digests of an open file; `keep`: the largest file whose pages stay in the cache."""
    hashes = {algorithm: new_hash(algorithm) for algorithm in algorithms}
    size = os.fstat(file).st_size
    lets_go = size > (largest_to_keep() if keep is None else keep)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer = memoryview(bytearray(min(_CHUNK, max(size, 1))))
    at = told = freed = 0
    while count := os.readv(file, [buffer]):
        at += count
        if told < min(at + _AHEAD // 2, size):
            os.posix_fadvise(file, at, _AHEAD, os.POSIX_FADV_WILLNEED)
            told = at + _AHEAD
        for running in hashes.values():
            running.update(buffer[:count])
        if lets_go and at - freed >= _AHEAD:
            # What is not on disk yet stays, whatever is said here.
            os.posix_fadvise(file, freed, at - freed, os.POSIX_FADV_DONTNEED)
            freed = at
        if not may_go_on():
            raise InterruptedError(errno.EINTR, "stopped while hashing")
    os.fsync(file)
    return {algorithm: running.hexdigest() for algorithm, running in hashes.items()}

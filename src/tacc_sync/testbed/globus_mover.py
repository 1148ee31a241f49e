"""Moves bytes between two directories that the testbed's Globus service calls collections.

Guarantee: a file is
reported as copied only when all its bytes were written and, if asked for, both sides' checksums were
compared. A copy that is cut off leaves a partial file under the final name, as GridFTP does.
Fails with: `Trouble`, whose code is one that the real service uses in events and in nice_status; `Stopped`
when the task is to go no further.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tacc_sync.testbed.globus_sandbox import Place, Trouble, trouble_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 1 << 20


class Stopped(Exception):
    """The task was cancelled, held, or the service goes down."""


class Hash(Protocol):
    """The part of hashlib that we need."""

    def update(self, data: bytes, /) -> object:
        """More data."""

    def hexdigest(self) -> str:
        """The digest of all data so far."""


class Adler32:
    """zlib's checksum, dressed as a hash."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: bytes, /) -> None:
        """More data."""
        self._value = zlib.adler32(data, self._value)

    def hexdigest(self) -> str:
        """Eight hexadecimal digits."""
        return f"{self._value:08x}"


def new_hash(algorithm: str) -> Hash:
    """A hash by Globus' name of it (MD5, SHA256 ...)."""
    if algorithm == "ADLER32":
        return Adler32()
    return hashlib.new(algorithm.lower(), usedforsecurity=False)


@dataclass(slots=True)
class Pace:
    """How fast a task may go, and whether it may go on at all."""

    bytes_per_second: int
    alive: Callable[[], bool]
    meter: Callable[[int], None]

    def spent(self, amount: int) -> None:
        """So many bytes went by: wait as long as they take; raises `Stopped`."""
        self.meter(amount)
        if self.bytes_per_second:
            self.rest(amount / self.bytes_per_second)
        elif not self.alive():
            raise Stopped

    def rest(self, seconds: float) -> None:
        """Wait, with an eye on whether to go on."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self.alive():
                raise Stopped
            time.sleep(min(left, 0.02))
        if not self.alive():
            raise Stopped

    def block(self) -> int:
        """How many bytes to take at once, so that a slow task still answers within a moment."""
        return max(1, min(BLOCK, self.bytes_per_second // 20)) if self.bytes_per_second else BLOCK


@dataclass(frozen=True, slots=True)
class Copied:
    """A file that was copied: what was read at the source."""

    size: int
    mtime_ns: int
    digests: dict[str, str]


@dataclass(frozen=True, slots=True)
class How:
    """How to copy: the hashes to take, the pace, and how to spoil what is written (..._wire)."""

    algorithms: tuple[str, ...]
    pace: Pace
    tamper: str = ""


def copy(source: Place, destination: Place, how: How) -> Copied:
    """Copy one file, hashing what is read; raises `Trouble`, `Stopped`, `IsADirectoryError`."""
    try:
        inn = source.sandbox.open(source.path, os.O_RDONLY)
        try:
            before = os.fstat(inn)
            if stat.S_ISDIR(before.st_mode):
                raise IsADirectoryError(errno.EISDIR, "Is a directory", source.path)
            if not stat.S_ISREG(before.st_mode):
                raise Trouble("FILE_NOT_FOUND", f"Not a plain file: {source.path}")
            out = destination.sandbox.open(destination.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                size, digests = _pour(inn, out, before.st_size, how)
            finally:
                os.close(out)
            after = os.fstat(inn)
        finally:
            os.close(inn)
    except IsADirectoryError:
        raise
    except OSError as error:
        raise trouble_of(error) from error
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns) or size != before.st_size:
        raise Trouble("FILE_SIZE_CHANGED", f"The source changed while it was read: {source.path}")
    return Copied(size, before.st_mtime_ns, digests)


def _pour(inn: int, out: int, expected: int, how: How) -> tuple[int, dict[str, str]]:
    hashes = {name: new_hash(name) for name in how.algorithms}
    size = 0
    for data in _blocks(inn, expected, how.pace):
        for each in hashes.values():
            each.update(data)
        last = size + len(data) >= expected
        size += len(data)
        _write(out, _spoil(data, how.tamper) if how.tamper and last else data)
    return size, {name: each.hexdigest() for name, each in hashes.items()}


def _blocks(handle: int, expected: int, pace: Pace) -> Iterator[bytes]:
    block = pace.block()
    while True:
        # One byte more than a small file has: a short answer then is its end, and saves a second call.
        wanted = min(block, expected + 1)
        data = os.read(handle, wanted)
        if data:
            pace.spent(len(data))
            yield data
        if len(data) < wanted:
            return


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _spoil(data: bytes, tamper: str) -> bytes:
    if tamper == "truncate_wire":
        return data[: len(data) // 2]
    if tamper == "cut_wire":
        return data[:-1]
    if tamper == "zeros_wire":
        return bytes(len(data))
    if tamper == "flip_wire":
        return data[:-1] + bytes([data[-1] ^ 1])
    return data[:-1] + bytes([data[-1] ^ 0xFF])


def digest(place: Place, algorithm: str, pace: Pace) -> tuple[int, str]:
    """Size and checksum of a file as it is now; raises `Trouble`."""
    unhurried = Pace(0, pace.alive, lambda _: None)
    try:
        handle = place.sandbox.open(place.path, os.O_RDONLY)
        try:
            expected = os.fstat(handle).st_size
            result, size = new_hash(algorithm), 0
            for data in _blocks(handle, expected, unhurried):
                result.update(data)
                size += len(data)
        finally:
            os.close(handle)
    except OSError as error:
        raise trouble_of(error) from error
    return size, result.hexdigest()


def spoil_there(place: Place, how: str) -> None:
    """Damage a destination file (..._landed, ..._after); its time of modification stays."""
    found, what = place.sandbox.resolve(place.path), how.partition("_")[0]
    if what == "vanish":
        os.unlink(found)
        return
    before = os.stat(found)
    size = before.st_size
    if what == "truncate":
        os.truncate(found, size // 2)
    elif what == "cut":
        os.truncate(found, max(0, size - 1))
    elif size:
        with open(found, "r+b") as file:
            file.seek(size // 2)
            data = file.read(4096 if what == "zeros" else 1)
            file.seek(size // 2)
            flipped = data[0] ^ (1 if what == "flip" else 0xFF)
            file.write(bytes(len(data)) if what == "zeros" else bytes([flipped]))
    os.utime(found, ns=(before.st_atime_ns, before.st_mtime_ns))


def set_mtime(place: Place, mtime_ns: int, *, whole_seconds: bool) -> None:
    """Give a destination file its source's time."""
    if whole_seconds:
        mtime_ns -= mtime_ns % 1_000_000_000
    os.utime(place.sandbox.resolve(place.path), ns=(mtime_ns, mtime_ns))


def needs_copy(level: int, source: Place, destination: Place, algorithm: str, pace: Pace) -> bool:
    """Whether a sync level wants the file moved: 0 exists, 1 size, 2 source newer, 3 checksum."""
    try:
        there = os.stat(destination.sandbox.resolve(destination.path))
    except FileNotFoundError:
        return True
    try:
        here = os.stat(source.sandbox.resolve(source.path))
    except OSError as error:
        raise trouble_of(error) from error
    if level == 0:
        return False
    if level == 1:
        return here.st_size != there.st_size
    if level == 2:
        # Whole seconds, as GridFTP tells them; and no look at the size, which makes this level unsafe.
        return here.st_mtime_ns // 10**9 > there.st_mtime_ns // 10**9
    if here.st_size != there.st_size:
        return True
    return digest(source, algorithm, pace) != digest(destination, algorithm, pace)

"""Hashing beside the tape: a file's copy is read as soon as hsi is done with it, on several cores, while hsi goes on.

Guarantee: hashes that are given out are those of the copy as it is when they are asked for: a copy whose size, times or
inode have changed since it was read is read again. Nothing is decided here, and nothing counts as retrieved by it.
Fails with: the `OSError` of the last read, InterruptedError when the worker may not go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from tacc_sync.workspace import transfer_buffer
from tacc_sync.workspace.disk import Disk, Seal

_Result = TypeVar("_Result")

Hashes = dict[str, str]


class AtOnce(Executor):
    """Does everything in the caller's thread, at the moment that it is handed in: for tests and simulations."""

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        """Do it now. What is no `Exception` (a simulated death) is not kept for later."""
        future: Future[_Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  given to whoever asks for the result
            future.set_exception(error)
        return future


def threads(number: int) -> Executor:
    """So many threads, made when they are needed. hashlib lets go of the interpreter while it works."""
    return ThreadPoolExecutor(max_workers=number, thread_name_prefix="hashing")


@dataclass(frozen=True, slots=True)
class _Read:
    seal: Seal
    hashes: Hashes


class Hashing:
    """The files of one session, by their index in the unit."""

    def __init__(self, buffer: Disk, executor: Executor, may_go_on: Callable[[], bool]) -> None:
        self._buffer, self._executor = buffer, executor
        self._may_go_on = may_go_on
        self._over = False
        self._reads: dict[int, Future[_Read | None]] = {}

    def begin(self, index: int, path: str, size: int, algorithms: Sequence[str]) -> None:
        """Read this file when a core is free; one that has not its full `size` yet is left alone."""
        if index not in self._reads:
            self._reads[index] = self._executor.submit(self._read, path, size, tuple(algorithms))

    def hashes(self, index: int, path: str, algorithms: Sequence[str]) -> Hashes:
        """The hashes of the copy as it is now; waits for the read, or reads again."""
        begun = self._reads.pop(index, None)
        if begun is not None:
            # A read that failed early is done anew: what was wrong then may be over.
            with contextlib.suppress(OSError):
                read = begun.result()
                if read is not None and read.seal == self._buffer.seal(path):
                    return read.hashes
        return self._buffer.digest(path, algorithms, self._goes_on)

    def end(self) -> None:
        """Nobody asks any more: whatever is still being read stops."""
        self._over = True
        for begun in self._reads.values():
            begun.cancel()

    def _goes_on(self) -> bool:
        return not self._over and self._may_go_on()

    def _read(self, path: str, size: int, algorithms: tuple[str, ...]) -> _Read | None:
        if not self._goes_on():
            return None
        before = self._buffer.seal(path)
        if before is None or before.size != size:
            return None
        return _Read(before, self._buffer.digest(path, algorithms, self._goes_on))


class Vigil:
    """Copies that have lain in the buffer, hashed again without anybody waiting for it. `of`: the round and the number
    of tasks of their unit, in which they are what they are."""

    def __init__(self, of: tuple[int, int], buffer: Disk, executor: Executor, may_go_on: Callable[[], bool]) -> None:
        self.of = of
        self._buffer, self._executor, self._may_go_on = buffer, executor, may_go_on
        self._reads: dict[int, Future[Hashes | None]] = {}

    def begin(self, index: int, path: str, algorithms: Sequence[str]) -> None:
        """Read this copy when a core is free."""
        self._reads[index] = self._executor.submit(
            transfer_buffer.digest, self._buffer, path, tuple(algorithms), self._may_go_on
        )

    @property
    def begun(self) -> list[int]:
        """What is looked at."""
        return list(self._reads)

    @property
    def is_over(self) -> bool:
        """Whether all are read, or can't be."""
        return all(read.done() for read in self._reads.values())

    def found(self, index: int) -> Hashes | None:
        """The hashes of a copy; None when it is gone."""
        return self._reads[index].result()

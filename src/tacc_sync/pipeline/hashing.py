"""Hashing beside the tape: a large file is hashed while hsi writes it, any other one as soon as hsi is done with it; on
several cores, while hsi goes on.

Guarantee: hashes that are given out are those of the copy as it is when they are asked for: a copy whose size, times or
inode have changed since hsi was done with it is read again. Of a copy that was read while it was written, this holds
only if its bytes stayed what they were: nobody can tell whether hsi has gone back behind us. So such hashes are given
out only when one of them is what somebody expects of this file: then what was read was the file, from its first to its
last byte, and all hashes of that one read are the file's, whatever the order in which it was written. Any other copy
is read again from its beginning after hsi is done with it, and then only that counts. Should what lies in the buffer
differ from what was read all the same, as when hsi had gone back and written something else, it is what it is if it
rots there later: these are the hashes to which Globus' record of the delivered file must be equal.
Nothing is decided here, and nothing counts as retrieved by it.
Fails with: the `OSError` of the last read, InterruptedError when the worker may not go on.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tacc_sync.workspace import transfer_buffer
from tacc_sync.workspace.disk import Begun, Disk, Seal

# We stay so far behind the end of a file that is being written: several movers write near it, in any order.
BEHIND = 64 * 1024 * 1024
# Nor is more read at a time, so that a core is soon free for another file: what a drive brings in a second or two.
MOST = 1024 * 1024 * 1024

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


@dataclass(slots=True, eq=False)
class Arriving:
    """A file that is worth to be hashed while hsi writes it. `is_it`: whether these hashes are expected of it."""

    index: int
    path: str
    algorithms: Sequence[str]
    is_it: Callable[[Hashes], bool]
    begun: Begun | None = None
    # hsi is done with it.
    is_over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Hashing:
    """The files of one session, by their index in the unit; `arriving` in the order in which they are fetched."""

    def __init__(
        self, buffer: Disk, executor: Executor, may_go_on: Callable[[], bool], arriving: Iterable[Arriving] = ()
    ) -> None:
        self._buffer, self._executor = buffer, executor
        self._may_go_on = may_go_on
        self._over = False
        self._reads: dict[int, Future[_Read | None]] = {}
        self._arriving = deque(arriving)
        self._followed = {file.index: file for file in self._arriving}
        self._look: Future[None] | None = None
        # How many copies were what was read of them while they were written, and how many were not.
        self.well_followed = self.badly_followed = 0

    def look(self) -> None:
        """Read on in the file that hsi writes, when a core is free. To be called about once a second while hsi is at
        work, by whom it tells of each file that is over."""
        while self._arriving and self._arriving[0].is_over:
            self._arriving.popleft()
        if not self._arriving or self.badly_followed:
            return
        # Never two looks at a time, and no thread that waits between them.
        if self._look is None or self._look.done():
            self._look = self._executor.submit(self._follow, self._arriving[0])

    def begin(self, index: int, path: str, size: int, algorithms: Sequence[str]) -> None:
        """Read this file, or its rest, when a core is free; one that has not its full `size` yet is left alone."""
        if index not in self._reads:
            followed = self._followed.get(index)
            if followed is not None:
                followed.is_over = True
            self._reads[index] = self._executor.submit(self._read, path, size, tuple(algorithms), followed)

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

    def _follow(self, file: Arriving) -> None:
        # What goes wrong shows when the copy is read, and most often it is not there yet.
        with contextlib.suppress(OSError), file.lock:
            if not file.is_over:
                file.begun = self._buffer.follow(
                    file.path,
                    file.algorithms,
                    file.begun,
                    behind=BEHIND,
                    most=MOST,
                    may_go_on=lambda: not file.is_over and self._goes_on(),
                )

    def _read(self, path: str, size: int, algorithms: tuple[str, ...], followed: Arriving | None) -> _Read | None:
        if not self._goes_on():
            return None
        before = self._buffer.seal(path)
        if before is None or before.size != size:
            return None
        hashes = self._read_on(followed) if followed is not None else None
        if hashes is not None:
            return _Read(before, hashes)
        hashes = self._buffer.digest(path, algorithms, self._goes_on)
        if followed is not None and followed.begun is not None and followed.begun.at and followed.is_it(hashes):
            self.badly_followed += 1
        return _Read(before, hashes)

    def _read_on(self, file: Arriving) -> Hashes | None:
        """Read the rest of a copy; its hashes, if they prove that what was read before was the file."""
        with file.lock:
            if file.begun is None or not file.begun.at:
                return None
            hashes = self._buffer.digest(file.path, file.algorithms, self._goes_on, file.begun)
        if not file.is_it(hashes):
            return None
        self.well_followed += 1
        return hashes


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

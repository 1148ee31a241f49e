"""Lists that may be longer than memory: what is beyond a bound lies in a nameless file below $TMPDIR, gone with the
process.

Guarantee: what was put in comes out again, once, each time that it is asked for; in the order it was put in, but for
records whose text is not UTF-8, which come last.
Fails with `OSError` when the local disk is full.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Iterable, Iterator
from typing import IO, Generic, TypeVar

import msgspec

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

# Records that stay in memory: some ten megabytes of listed files.
IN_MEMORY = 50_000
# Records that are read back at once.
BLOCK = 2000


class Shelves(Generic[K, T]):
    """Records of one type, which msgspec can encode, by shelf. Not to be added to while somebody reads."""

    def __init__(self, kind: type[T], *, in_memory: int = IN_MEMORY, block: int = BLOCK) -> None:
        """`in_memory`: records, on all shelves together; `block`: of one shelf, read at once."""
        self._in_memory = in_memory
        self._block = block
        self._pending: dict[K, list[T]] = {}
        self._odd: dict[K, list[T]] = {}
        self._places: dict[K, list[tuple[int, int]]] = {}
        self._file: IO[bytes] | None = None
        self._end = 0
        self._room = in_memory
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode  # type: ignore[valid-type]

    def put(self, shelf: K, record: T) -> None:
        """Put one in."""
        try:
            self._pending[shelf].append(record)
        except KeyError:
            self._pending[shelf] = [record]
        self._room -= 1
        if self._room < 0:
            self._make_room()

    def shelves(self) -> set[K]:
        """Those that anything was put on."""
        return {*self._pending, *self._places, *self._odd}

    def on(self, shelf: K) -> Iterator[T]:
        """All records of one shelf."""
        for place, length in self._places.get(shelf, ()):
            assert self._file is not None
            yield from self._decode(os.pread(self._file.fileno(), length, place))
        yield from self._pending.get(shelf, ())
        yield from self._odd.get(shelf, ())

    def _make_room(self) -> None:
        # The fullest shelves go, so that what is written at once is not tiny.
        average = self._in_memory / len(self._pending)
        for shelf, records in list(self._pending.items()):
            if len(records) >= average:
                self._room += len(records)
                for start in range(0, len(records), self._block):
                    self._write(shelf, records[start : start + self._block])
                del self._pending[shelf]

    def _write(self, shelf: K, records: list[T]) -> None:
        try:
            content = self._encode(records)
        except UnicodeEncodeError:
            plain = [self._is_plain(record) for record in records]
            odd = [record for record, is_plain in zip(records, plain, strict=True) if not is_plain]
            self._odd.setdefault(shelf, []).extend(odd)
            content = self._encode([record for record, is_plain in zip(records, plain, strict=True) if is_plain])
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        done = 0
        while done < len(content):
            done += os.write(self._file.fileno(), memoryview(content)[done:])
        self._places.setdefault(shelf, []).append((self._end, len(content)))
        self._end += len(content)

    def _is_plain(self, record: T) -> bool:
        try:
            self._encode(record)
        except UnicodeEncodeError:
            return False
        return True


class Spool(Generic[T]):
    """One such list."""

    def __init__(
        self, kind: type[T], records: Iterable[T] = (), *, in_memory: int = IN_MEMORY, block: int = BLOCK
    ) -> None:
        self._shelves: Shelves[str, T] = Shelves(kind, in_memory=in_memory, block=block)
        self._length = 0
        self.extend(records)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return self._shelves.on("")

    def append(self, record: T) -> None:
        """Put one in."""
        self._length += 1
        self._shelves.put("", record)

    def extend(self, records: Iterable[T]) -> None:
        """Put all of these in."""
        for record in records:
            self.append(record)

"""Lists that may be longer than memory: what is beyond a bound lies in a nameless file below $TMPDIR, gone with the
process.

Guarantee: what was put in comes out again, once, each time that it is asked for; in the order it was put in, but for
records whose text is not UTF-8, which come last.
Fails with `OSError` when the local disk is full.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Hashable, Iterable, Iterator
from itertools import chain, islice
from typing import IO, Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

# Records that stay in memory: some ten megabytes of listed files.
IN_MEMORY = 50_000
# Records that are read back at once.
BLOCK = 2000


class Shelves(Generic[K, T]):
    """Records of one type, which msgspec can encode, by shelf. Not to be added to while somebody reads.

    Of an `array_like` type, so may be records of another one whose fields are the first ones of this: they come back as
    records of this type.
    """

    def __init__(self, kind: type[T], *, in_memory: int = IN_MEMORY, block: int = BLOCK) -> None:
        """`in_memory`: records, on all shelves together; `block`: of one shelf, read at once."""
        self._kind = kind
        self._in_memory = in_memory
        self._block = block
        self._pending: dict[K, list[Any]] = {}
        self._odd: dict[K, list[Any]] = {}
        self._places: dict[K, list[tuple[int, int]]] = {}
        self._file: IO[bytes] | None = None
        self._end = 0
        self._room = in_memory
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode  # type: ignore[valid-type]

    def put(self, shelf: K, record: Any) -> None:
        """Put one in."""
        self.put_all(shelf, (record,))

    def put_all(self, shelf: K, records: Collection[Any]) -> None:
        """Put all of these in."""
        try:
            self._pending[shelf].extend(records)
        except KeyError:
            self._pending[shelf] = [*records]
        self._room -= len(records)
        if self._room < 0:
            self._make_room()

    def shelves(self) -> set[K]:
        """Those that anything was put on."""
        return {*self._pending, *self._places, *self._odd}

    def on(self, shelf: K) -> Iterator[T]:
        """All records of one shelf."""
        return chain.from_iterable(self.blocks(shelf))

    def blocks(self, shelf: K) -> Iterator[list[T]]:
        """All records of one shelf, many at once."""
        for place, length in self._places.get(shelf, ()):
            assert self._file is not None
            yield self._decode(os.pread(self._file.fileno(), length, place))
        for records in (self._pending.get(shelf), self._odd.get(shelf)):
            if records:
                yield [record if type(record) is self._kind else self._as_kind(record) for record in records]

    def _as_kind(self, record: Any) -> T:
        return self._kind(*msgspec.structs.astuple(record))

    def _make_room(self) -> None:
        # The fullest shelves go, so that what is written at once is not tiny.
        average = self._in_memory / len(self._pending)
        contents: list[bytes] = []
        for shelf, records in list(self._pending.items()):
            if len(records) >= average:
                self._room += len(records)
                for start in range(0, len(records), self._block):
                    content = self._encoded(shelf, records[start : start + self._block])
                    self._places.setdefault(shelf, []).append((self._end, len(content)))
                    self._end += len(content)
                    contents.append(content)
                del self._pending[shelf]
        self._write(b"".join(contents))

    def _write(self, content: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        done = 0
        while done < len(content):
            done += os.write(self._file.fileno(), memoryview(content)[done:])

    def _encoded(self, shelf: K, records: list[Any]) -> bytes:
        try:
            return self._encode(records)
        except UnicodeEncodeError:
            plain = [self._is_plain(record) for record in records]
            odd = [record for record, is_plain in zip(records, plain, strict=True) if not is_plain]
            self._odd.setdefault(shelf, []).extend(odd)
            return self._encode([record for record, is_plain in zip(records, plain, strict=True) if is_plain])

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
        self._at_once = max(1, min(block, in_memory))
        self._length = 0
        self.extend(records)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return self._shelves.on("")

    def blocks(self) -> Iterator[list[T]]:
        """All of them, many at once."""
        return self._shelves.blocks("")

    def append(self, record: T) -> None:
        """Put one in."""
        self._length += 1
        self._shelves.put("", record)

    def extend(self, records: Iterable[T]) -> None:
        """Put all of these in."""
        rest = iter(records)
        while some := list(islice(rest, self._at_once)):
            self._length += len(some)
            self._shelves.put_all("", some)

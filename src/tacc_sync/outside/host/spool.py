"""Lists that may be longer than memory: what is beyond a bound lies in a nameless file below $TMPDIR, gone with the
process.

Guarantee: what was put in comes out again, once, each time that it is asked for; in the order it was put in, but for
records whose text is not UTF-8, which come last.
Fails with `OSError` when the local disk is full.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from copy import copy
from itertools import chain, count, islice, repeat
from typing import IO, Any, Generic, TypeVar, cast

import msgspec

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K", bound=Hashable)

# Records that stay in memory: some ten megabytes of listed files.
IN_MEMORY = 50_000
# Records that are read back at once: few enough for a processor's cache.
BLOCK = 2000
WRITTEN_AT_ONCE = 1 << 18


class Shelves(Generic[K, T]):
    """Records of one type, which msgspec can encode, by shelf. Not to be added to while somebody reads.

    Of an `array_like` type, so may be records of another one whose fields are the first ones of this: they come back as
    records of this type.
    """

    def __init__(
        self, kind: type[T], *, in_memory: int = IN_MEMORY, block: int = BLOCK, is_ordered: bool = False
    ) -> None:
        """`in_memory`: records, on all shelves together; `block`: of one shelf, read at once; `is_ordered`: it is kept
        in mind in which order records of different shelves were put in."""
        self._in_memory = in_memory
        self._block = block
        # Encoded: so a record takes a third of the memory, and is touched once, not again when it is written.
        self._pending: dict[K, list[bytes]] = {}
        self._odd: dict[K, list[T]] = {}
        # Of each record but the odd ones, the number of its shelf.
        self._order = array("I") if is_ordered else None
        self._numbers: dict[K, int] = defaultdict(count().__next__)
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
        self.put_each(repeat(shelf), records)

    def put_each(self, shelves: Iterable[K], records: Collection[Any]) -> None:
        """Put each of these on the shelf that is named beside it."""
        try:
            encoded = list(map(self._encode, records))
        except UnicodeEncodeError:
            shelves, encoded = self._without_odd(shelves, records)
        if self._order is not None:
            shelves = list(islice(shelves, len(encoded)))
            self._order.extend(map(self._numbers.__getitem__, shelves))
        pending = self._pending
        for shelf, content in zip(shelves, encoded):  # noqa: B905 - `shelves` may have no end
            try:
                pending[shelf].append(content)
            except KeyError:
                pending[shelf] = [content]
        self._room -= len(encoded)
        if self._room < 0:
            self._make_room()

    def shelves(self) -> set[K]:
        """Those that anything was put on."""
        return {*self._pending, *self._places, *self._odd}

    @property
    def has_odd(self) -> bool:
        """Whether any record's text is not UTF-8."""
        return bool(self._odd)

    def read_as(self, kind: type[U]) -> Shelves[K, U]:
        """The same records, read as those of another type. Not for odd ones, and not to be added to."""
        assert not self.has_odd
        other = cast("Shelves[K, U]", copy(self))
        other._decode = msgspec.msgpack.Decoder(list[kind]).decode  # type: ignore[valid-type]  # noqa: SLF001
        return other

    def all(self) -> Iterator[T]:
        """All records of all shelves, in the order that they were put in."""
        assert self._order is not None
        shelves = [self._even(shelf) for shelf in self._numbers]
        yield from map(next, map(shelves.__getitem__, self._order))
        yield from chain.from_iterable(self._odd.values())

    def on(self, shelf: K) -> Iterator[T]:
        """All records of one shelf."""
        return chain.from_iterable(self.blocks(shelf))

    def blocks(self, shelf: K) -> Iterator[list[T]]:
        """All records of one shelf, many at once."""
        yield from self._even_blocks(shelf)
        if shelf in self._odd:
            yield self._odd[shelf]

    def _even(self, shelf: K) -> Iterator[T]:
        return chain.from_iterable(self._even_blocks(shelf))

    def _even_blocks(self, shelf: K) -> Iterator[list[T]]:
        for place, length in self._places.get(shelf, ()):
            assert self._file is not None
            yield self._decode(os.pread(self._file.fileno(), length, place))
        for content in self._joined(self._pending.get(shelf, [])):
            yield self._decode(content)

    def _make_room(self) -> None:
        # The fullest shelves go, so that what is written at once is not tiny.
        average = self._in_memory / len(self._pending)
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=WRITTEN_AT_ONCE)  # noqa: SIM115
        for shelf, records in list(self._pending.items()):
            if len(records) >= average:
                self._room += len(records)
                places = self._places.setdefault(shelf, [])
                for content in self._joined(records):
                    places.append((self._end, len(content)))
                    self._end += len(content)
                    self._file.write(content)
                del self._pending[shelf]
        self._file.flush()

    def _joined(self, records: list[bytes]) -> Iterator[bytes]:
        for start in range(0, len(records), self._block):
            some = records[start : start + self._block]
            # In MessagePack, a list is its length (0xDD and four bytes, at most) and then what is in it.
            yield b"".join((b"\xdd", len(some).to_bytes(4, "big"), *some))

    def _without_odd(self, shelves: Iterable[K], records: Iterable[Any]) -> tuple[list[K], list[bytes]]:
        where, encoded = list[K](), list[bytes]()
        for shelf, record in zip(shelves, records):  # noqa: B905 - `shelves` may have no end
            try:
                content = self._encode(record)
            except UnicodeEncodeError:
                self._odd.setdefault(shelf, []).append(record)
            else:
                where.append(shelf)
                encoded.append(content)
        return where, encoded


class Spool(Generic[T]):
    """One such list."""

    def __init__(
        self,
        kind: type[T],
        records: Iterable[T] = (),
        *,
        by: Callable[[T], Hashable] | None = None,
        in_memory: int = IN_MEMORY,
        block: int = BLOCK,
    ) -> None:
        """`by`: what of a record says on which of its shelves it lies; without that they all lie on one."""
        self.is_on_shelves = by is not None
        self.shelves: Shelves[Any, T] = Shelves(kind, in_memory=in_memory, block=block, is_ordered=by is not None)
        self._by = by
        self._at_once = max(1, min(block, in_memory))
        self._length = 0
        self.extend(records)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return self.shelves.all() if self._by is not None else self.shelves.on("")

    def blocks(self) -> Iterator[list[T]]:
        """All of them, many at once."""
        if self._by is None:
            yield from self.shelves.blocks("")
            return
        rest = iter(self)
        while some := list(islice(rest, self._at_once)):
            yield some

    def append(self, record: T) -> None:
        """Put one in."""
        self.extend((record,))

    def extend(self, records: Iterable[T]) -> None:
        """Put all of these in."""
        rest, by = iter(records), self._by
        while some := list(islice(rest, self._at_once)):
            self._length += len(some)
            self.shelves.put_each(repeat("") if by is None else map(by, some), some)

"""Parts of long listings, kept in `listings/<request>.<digest>/` until their request is planned.

A record says of which directories it is, when they were listed, and in which pieces their files are, and is written
after these. All are sealed: a first line with a version, a second one with the SHA-256 of what follows, compressed.

Guarantee: what is recalled is exactly what was kept for this request, by whomever, no longer ago than its age permits;
what is torn, foreign, too old, or says what it can't know, is as if it were not there. Nothing here is needed: what is
lost is listed again.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

import msgspec

from tacc_sync.outside.host.spool import Spool
from tacc_sync.outside.hpss.interface import ListedFile, ListedPart, Refused
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.route import REQUEST_QUEUE
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk
from tacc_sync.workspace.home import Home, make_directory

VERSION = 1
# Files in one piece, and bytes that a sealed one may have, packed and unpacked: a longest path has 1024 bytes.
PIECE = 20_000
MOST_BYTES = 256 * 1024 * 1024
# Files of a part that are in memory while it is recalled.
IN_MEMORY = 20_000
RECORD, FILES = ".record", ".files"

_FIRST = b"tacc-sync listing %d\n" % VERSION
_NAME = re.compile(r"[0-9a-f]{12}\.[0-9a-f]{16}")


class _Refused(msgspec.Struct, array_like=True):
    path: bytes
    kind: Literal["missing", "denied", "not-a-file", "unspeakable", "error"]
    text: bytes


class _Part(msgspec.Struct, array_like=True):
    root: str
    subdirectories: tuple[str, ...] | None
    directories: int
    files: int
    refused: list[_Refused]


class _Record(msgspec.Struct, array_like=True):
    # The directory's name: a record that somebody has copied here from elsewhere is none.
    owner: str
    listed_at: float
    parts: list[_Part]
    # The digest of each piece.
    pieces: list[bytes]


class _Piece(msgspec.Struct, array_like=True):
    files: list[ListedFile]
    # By position, the paths that are not UTF-8.
    odd: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a part is: in which record, and how many files of others come before its own."""

    stem: str
    record: _Record
    part: _Part
    before: int


class KeptListing:
    """What is kept for one request."""

    def __init__(self, home: Home, request_key: str, token: str, age: float) -> None:
        """`token`: what no other request has; `age`: seconds for which a part is good."""
        self._home = home
        self._name = directory_name(request_key, token)
        self.path = layout.listing(self._name)
        self._age = age
        self._places: dict[str, _Place] | None = None
        self._piece: tuple[str, list[ListedFile]] = ("", [])

    # --- keeping ----------------------------------------------------------------------------------------------

    def keep(self, parts: Sequence[ListedPart], listed_at: float) -> None:
        """Keep these."""
        token = self._home.host.token()
        pieces = []
        for number, content in enumerate(_pieces(chain.from_iterable(part.files for part in parts))):
            pieces.append(hashlib.sha256(content).digest())
            self._put(_piece_name(token, number), content)
        noted = [
            _Part(
                part.root,
                part.subdirectories,
                part.directories,
                len(part.files),
                [_Refused(_bytes(each.path), each.kind, _bytes(each.text)) for each in part.refused],
            )
            for part in parts
        ]
        self._put(token + RECORD, msgspec.msgpack.encode(_Record(self._name, listed_at, noted, pieces)))

    def _put(self, name: str, content: bytes) -> None:
        if self._home.disk.status(self.path) is None:
            make_directories(self._home.disk, self.path)
        self._home.put(f"{self.path}/{name}", seal(content))

    # --- recalling --------------------------------------------------------------------------------------------

    def recall(self, directory: str, now: float) -> ListedPart | None:
        """What was kept of a directory."""
        if self._places is None:
            self._places = dict(self._read_records(now))
        place = self._places.get(directory)
        if place is None:
            return None
        part = place.part
        files = Spool(ListedFile, in_memory=IN_MEMORY)
        inside, is_deep = part.root.rstrip("/") + "/", part.subdirectories is None
        for file in self._files(place):
            path = file.path
            if path.startswith(inside):
                if not is_deep and "/" in path[len(inside) :]:
                    return None
            elif path != part.root:
                return None
            files.append(file)
        if len(files) != part.files:
            return None
        refused = [Refused(_text(each.path), each.kind, _text(each.text)) for each in part.refused]
        return ListedPart(part.root, files, part.directories, part.subdirectories, refused)

    def _read_records(self, now: float) -> Iterator[tuple[str, _Place]]:
        found: list[tuple[float, str, _Record]] = []
        for name in names(self._home.disk, self.path):
            if name.endswith(RECORD):
                record = _decoded(self._read(name), _Record)
                if not isinstance(record, _Record) or record.owner != self._name:
                    continue
                # A clock that goes wrong is not worth a listing that is too old.
                if abs(now - record.listed_at) <= self._age:
                    found.append((record.listed_at, name.removesuffix(RECORD), record))
        # The newest comes last, and what lies below a directory after what lies in it: so it stays.
        found.sort(key=lambda each: each[:2])
        for is_deep in (False, True):
            for _, stem, record in found:
                before = 0
                for part in record.parts:
                    if (part.subdirectories is None) == is_deep and _is_sane(part):
                        yield part.root, _Place(stem, record, part, before)
                    before += part.files

    def _files(self, place: _Place) -> Iterator[ListedFile]:
        first, left = place.before, place.part.files
        while left > 0:
            number, start = divmod(first, PIECE)
            files = self._read_piece(place, number)[start : start + left]
            if not files:
                return
            yield from files
            first, left = first + len(files), left - len(files)

    def _read_piece(self, place: _Place, number: int) -> list[ListedFile]:
        name = _piece_name(place.stem, number)
        if self._piece[0] != name:
            content = self._read(name)
            pieces = place.record.pieces
            piece = None
            if number < len(pieces) and content is not None and hashlib.sha256(content).digest() == pieces[number]:
                piece = _decoded(content, _Piece)
            if not isinstance(piece, _Piece):
                return []
            for position, path in piece.odd.items():
                if 0 <= position < len(piece.files):
                    piece.files[position] = msgspec.structs.replace(piece.files[position], path=_text(path))
            self._piece = (name, piece.files)
        return self._piece[1]

    def _read(self, name: str) -> bytes | None:
        try:
            return unseal(self._home.disk.read(f"{self.path}/{name}", MOST_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in NO_DOCUMENT:
                raise
            return None


# --- directories -------------------------------------------------------------------------------------------------


def directory_name(request_key: str, token: str) -> str:
    """What is kept for a request lies in a directory of this name; a token may be anything that somebody wrote."""
    return f"{request_key}.{hashlib.sha256(_bytes(token)).hexdigest()[:16]}"


def is_name(name: str) -> bool:
    """Can it be such a name?"""
    return _NAME.fullmatch(name) is not None


def request_of(name: str) -> str:
    """The key of the request that a directory is for."""
    return name.partition(".")[0]


def is_outdated(disk: Disk, name: str, now: float, age: float) -> bool:
    """Is nothing in a directory good any more? So it is when nothing has been written there for so long."""
    found = [disk.status(f"{layout.listing(name)}/{each}") for each in names(disk, layout.listing(name))]
    return bool(found) and all(status is None or abs(now - status.mtime) > age for status in found)


def is_of_planned(disk: Disk, name: str) -> bool:
    """Has the request been planned? Then nobody goes on with its listing."""
    key = request_of(name)
    places = (layout.entry(REQUEST_QUEUE, key), f"{layout.finished(key)}/request{SUFFIX}")
    return any(disk.status(path) is not None for path in places)


def names(disk: Disk, directory: str) -> list[str]:
    """What lies in a directory, which need not exist."""
    try:
        return disk.names(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def make_directories(disk: Disk, path: str) -> None:
    """Make the directory for a request, and the one for all of them."""
    if disk.status(layout.LISTINGS) is None:
        make_directory(disk, layout.LISTINGS)
        disk.sync("")
    make_directory(disk, path)
    disk.sync(layout.LISTINGS)


# --- bytes -------------------------------------------------------------------------------------------------------


def seal(content: bytes) -> bytes:
    """What is written."""
    packed = zlib.compress(content, 1)
    return b"".join((_FIRST, hashlib.sha256(packed).hexdigest().encode(), b"\n", packed))


def unseal(sealed: bytes) -> bytes | None:
    """What was sealed; None when it is not whole, or not of this version."""
    start = len(_FIRST) + 65
    packed = memoryview(sealed)[start:]
    if sealed[:start] != b"".join((_FIRST, hashlib.sha256(packed).hexdigest().encode(), b"\n")):
        return None
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, MOST_BYTES)
    except zlib.error:
        return None
    return content if unpacker.eof else None


def _pieces(files: Iterator[ListedFile]) -> Iterator[bytes]:
    while piece := list(islice(files, PIECE)):
        try:
            yield msgspec.msgpack.encode(_Piece(piece, {}))
        except UnicodeEncodeError:
            yield msgspec.msgpack.encode(_odd_piece(piece))


def _odd_piece(files: list[ListedFile]) -> _Piece:
    odd = {}
    for position, file in enumerate(files):
        try:
            file.path.encode()
        except UnicodeEncodeError:
            odd[position] = _bytes(file.path)
            files[position] = msgspec.structs.replace(file, path="")
    return _Piece(files, odd)


def _piece_name(stem: str, number: int) -> str:
    return f"{stem}.{number:06d}{FILES}"


def _decoded(content: bytes | None, kind: type[_Record | _Piece]) -> _Record | _Piece | None:
    if content is None:
        return None
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _is_sane(part: _Part) -> bool:
    """Does it speak of what lies in its directory, and of nothing else?"""
    inside = part.root.rstrip("/") + "/"
    below = [*(part.subdirectories or ()), *(_text(each.path) for each in part.refused)]
    return (
        part.root.startswith("/")
        and min(part.files, part.directories) >= 0
        and all(path == part.root or path.startswith(inside) for path in below)
        and all("/" not in path[len(inside) :] and path != part.root for path in part.subdirectories or ())
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")

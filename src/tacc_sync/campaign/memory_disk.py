"""A directory tree in memory: the workspace and the transfer buffer of a simulation.

Nothing is lost here, nothing is late, and a copy of an archive's file is its size and its name: what it would hash to
is declared. That is what the laws of the protocol are not tried with (tests/simulation does that), only its speed.
"""

from __future__ import annotations

import errno
import hashlib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tacc_sync.workspace.disk import Begun, Disk, Seal, Status


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of the archive in the buffer: bytes, the path that it came from, and epoch seconds. `seconds`: how long
    its bytes took to arrive."""

    size: int
    of: str
    mtime: int = 1_614_597_347
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ahead:
    """What was hashed of a copy by the time that it was complete: `at` bytes."""

    at: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A file that is large, and seldom read: its bytes, compressed."""

    size: int
    packed: bytes

    @property
    def content(self) -> bytes:
        """What it holds."""
        return zlib.decompress(self.packed, bufsize=max(1, self.size))


def pack(pieces: Iterable[bytes]) -> Packed:
    """Compress a file piece by piece."""
    size, running, packed = 0, zlib.compressobj(1), []
    for piece in pieces:
        size += len(piece)
        packed.append(running.compress(piece))
    packed.append(running.flush())
    return Packed(size, b"".join(packed))


def declared(path: str, algorithm: str) -> str:
    """The hash that a file of the archive is said to have."""
    return hashlib.new(algorithm, path.encode(), usedforsecurity=False).hexdigest()


Content = bytes | Copy | Packed
# A directory's entries; None stands for a directory, which has its own.
_Entries = dict[str, Content | None]


class MemoryDisk:
    """The dozen file operations. `spend(seconds)` is told how long a digest takes; a copy that arrives is followed at
    `follow_rate`, bytes a second. `changed` counts the changes of each directory's names. What is written piece by
    piece, or comes to lie below `packs`, is kept compressed: a campaign of a million files leaves two gigabytes of
    manifests and of documents that are finished."""

    def __init__(
        self,
        root: str,
        *,
        hash_rate: float = 0.0,
        follow_rate: float = 0.0,
        spend: Callable[[float], None] = lambda _seconds: None,
        packs: str = "",
    ) -> None:
        self._root = root
        self._packs = packs + "/" if packs else ""
        self._directories: dict[str, _Entries] = {"": {}}
        self._hash_rate, self._follow_rate, self._spend = hash_rate, follow_rate, spend
        self.changed: dict[str, int] = {}
        # Told of each name that has appeared (1) or gone (-1): its directory, itself, and what it stands for.
        self.watch: Callable[[str, str, Content | None, int], None] | None = None

    # --- looking

    @property
    def root(self) -> str:
        return self._root

    def names(self, directory: str) -> list[str]:
        return list(self._entries(directory))

    def read(self, path: str, limit: int = 512 * 1024 * 1024) -> bytes:
        found = self._at(path)
        if type(found) is Packed:
            found = found.content
        if type(found) is not bytes:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        if len(found) > limit:
            raise OSError(errno.EFBIG, "too large", path)
        return found

    def status(self, path: str) -> Status | None:
        directory, _, name = path.rpartition("/")
        entries = self._directories.get(directory)
        if entries is None or name not in entries:
            return Status("directory", 0, False) if path == "" else None
        found = entries[name]
        if found is None:
            return Status("directory", 0, False)
        if type(found) is bytes:
            return Status("file", len(found), False)
        if type(found) is Packed:
            return Status("file", found.size, False)
        assert isinstance(found, Copy)
        return Status("file", found.size, False, found.mtime)

    def seal(self, path: str) -> Seal | None:
        found = self.status(path)
        return Seal(found.size, 1, found.mtime, found.mtime) if found is not None and found.kind == "file" else None

    def digest(
        self,
        path: str,
        algorithms: Iterable[str],
        may_go_on: Callable[[], bool] = lambda: True,
        begun: Begun | None = None,
    ) -> dict[str, str]:
        if not may_go_on():
            raise InterruptedError(errno.EINTR, "stopped", path)
        found = self._at(path)
        if isinstance(found, Copy):
            if self._hash_rate > 0:
                self._spend((found.size - (begun.at if begun is not None else 0)) / self._hash_rate)
            return {algorithm: declared(found.of, algorithm) for algorithm in algorithms}
        if found is None:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        if isinstance(found, Packed):
            found = found.content
        return {name: hashlib.new(name, found, usedforsecurity=False).hexdigest() for name in algorithms}

    def follow(
        self,
        path: str,
        algorithms: Iterable[str],  # noqa: ARG002
        begun: Begun | None,  # noqa: ARG002
        *,
        behind: int,
        most: int,  # noqa: ARG002
        may_go_on: Callable[[], bool] = lambda: True,  # noqa: ARG002
    ) -> Begun | None:
        # Asked once, when all of it is there: as much as looks once a second would have got of it on the way, the last
        # of them up to a second ago.
        found = self._at(path)
        if not isinstance(found, Copy) or found.seconds <= 0:
            return None
        seen = found.size * (1 - 1 / max(1.0, found.seconds)) - behind
        return Ahead(max(0, int(min(seen, self._follow_rate * (found.seconds - 1)))))

    def free_bytes(self) -> int:
        return 1 << 60

    def entry(self, directory: str, name: str) -> Content | None:
        """What lies there; KeyError when nothing does."""
        return self._entries(directory)[name]

    def walk(self) -> Iterable[tuple[str, Content]]:
        """Every file with its path."""
        for directory, entries in self._directories.items():
            for name, content in entries.items():
                if content is not None:
                    yield (f"{directory}/{name}" if directory else name), content

    # --- changing

    def create(self, path: str, content: bytes | Iterable[bytes]) -> None:
        self.place(path, content if isinstance(content, bytes) else pack(content))

    def place(self, path: str, content: Content) -> None:
        """Make a new file."""
        directory, entries, name = self._parent(path)
        if name in entries:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self._set(directory, entries, name, content)

    def rename(self, old: str, new: str) -> None:
        old_directory, old_entries, old_name = self._parent(old)
        new_directory, new_entries, new_name = self._parent(new)
        if old_name not in old_entries:
            raise FileNotFoundError(errno.ENOENT, "no such file", old)
        moved = old_entries[old_name]
        if new_name in new_entries:
            there = new_entries[new_name]
            if moved is None and there is not None:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", new)
            if there is None and moved is not None:
                raise IsADirectoryError(errno.EISDIR, "is a directory", new)
            if there is None and self._directories[new]:
                raise OSError(errno.ENOTEMPTY, "not empty", new)
            self._drop(new_directory, new_entries, new_name)
        self._drop(old_directory, old_entries, old_name)
        if type(moved) is bytes and self._packs and new.startswith(self._packs):
            moved = pack([moved])
        self._set(new_directory, new_entries, new_name, moved)
        if moved is None:
            below = [path for path in self._directories if path == old or path.startswith(old + "/")]
            for path in below:
                self._directories[new + path[len(old) :]] = self._directories.pop(path)

    def link(self, old: str, new: str) -> None:
        content = self._at(old)
        if content is None:
            raise PermissionError(errno.EPERM, "is a directory", old)
        self.place(new, content)

    def unlink(self, path: str) -> None:
        if self._at(path) is None:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        self._drop(*self._parent(path))

    def mkdir(self, path: str) -> None:
        directory, entries, name = self._parent(path)
        if name in entries:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self._set(directory, entries, name, None)
        self._directories[path] = {}

    def rmdir(self, path: str) -> None:
        if self._entries(path):
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        self._drop(*self._parent(path))
        del self._directories[path]

    def sync(self, directory: str) -> None:
        self._entries(directory)

    # --- inside

    def _entries(self, directory: str) -> _Entries:
        found = self._directories.get(directory)
        if found is None:
            if self.status(directory) is not None:
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", directory)
            raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
        return found

    def _parent(self, path: str) -> tuple[str, _Entries, str]:
        directory, _, name = path.rpartition("/")
        return directory, self._entries(directory), name

    def _at(self, path: str) -> Content | None:
        _, entries, name = self._parent(path)
        if name not in entries:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return entries[name]

    def _set(self, directory: str, entries: _Entries, name: str, content: Content | None) -> None:
        entries[name] = content
        self.changed[directory] = self.changed.get(directory, 0) + 1
        if self.watch is not None:
            self.watch(directory, name, content, 1)

    def _drop(self, directory: str, entries: _Entries, name: str) -> None:
        content = entries.pop(name)
        self.changed[directory] = self.changed.get(directory, 0) + 1
        if self.watch is not None:
            self.watch(directory, name, content, -1)


_DISK: type[Disk] = MemoryDisk

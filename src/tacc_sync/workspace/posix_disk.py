"""`Disk` on a real file system.

Guarantee: nothing outside the root is read, made, renamed or removed, whatever links or names lie below it; what
`create` and `sync` return from is on disk as far as the file system keeps its promises.
Fails with the `OSError` of the call that failed; the name of the path is in it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from tacc_sync.workspace.disk import NO_DOCUMENT, Status

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 4 * 1024 * 1024


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


class PosixDisk:
    """The operations of `Disk`, below one directory."""

    def __init__(self, root: str, *, mode: int = 0o600) -> None:
        self._root = os.path.abspath(root)
        self._file_mode = mode
        self._directory_mode = mode | (mode & 0o444) >> 2

    @property
    def root(self) -> str:
        return self._root

    def names(self, directory: str) -> list[str]:
        with self._directory(directory) as fd:
            return os.listdir(fd)

    def read(self, path: str, limit: int = 512 * 1024 * 1024) -> bytes:
        with self._parent(path) as (fd, name):
            # O_NONBLOCK: a FIFO that somebody left in a queue must not hang us.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=fd)
        with os.fdopen(file, "rb", buffering=0) as stream:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ELOOP, "is no plain file", path)
            if status.st_size > limit:
                raise OSError(errno.EFBIG, f"is larger than {limit} bytes", path)
            chunks, size = [], 0
            while chunk := stream.read(_CHUNK):
                chunks.append(chunk)
                size += len(chunk)
                # Somebody may be writing to it.
                if size > limit:
                    raise OSError(errno.EFBIG, f"is larger than {limit} bytes", path)
            return b"".join(chunks)

    def create(self, path: str, content: bytes | Iterable[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._parent(path) as (fd, name):
            file = os.open(name, flags, self._file_mode, dir_fd=fd)
        try:
            for piece in (content,) if isinstance(content, bytes) else content:
                view = memoryview(piece)
                while view:
                    view = view[os.write(file, view) :]
            os.fsync(file)
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # NFS reports quota errors here

    def rename(self, old: str, new: str) -> None:
        with self._parent(old) as (old_fd, old_name), self._parent(new) as (new_fd, new_name):
            os.rename(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd)

    def link(self, old: str, new: str) -> None:
        with self._parent(old) as (old_fd, old_name), self._parent(new) as (new_fd, new_name):
            os.link(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        with self._parent(path) as (fd, name):
            os.unlink(name, dir_fd=fd)

    def mkdir(self, path: str) -> None:
        with self._parent(path) as (fd, name):
            os.mkdir(name, self._directory_mode, dir_fd=fd)

    def rmdir(self, path: str) -> None:
        with self._parent(path) as (fd, name):
            os.rmdir(name, dir_fd=fd)

    def sync(self, directory: str) -> None:
        with self._directory(directory) as fd:
            try:
                os.fsync(fd)
            except OSError as error:
                # Some network file systems do not offer it for directories.
                if error.errno != errno.EINVAL:
                    raise

    def status(self, path: str) -> Status | None:
        try:
            with self._parent(path) as (fd, name):
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    return Status("directory", 0, has_hole=False)
                if stat.S_ISLNK(found.st_mode):
                    return Status("link", 0, has_hole=False)
                if not stat.S_ISREG(found.st_mode):
                    return Status("other", 0, has_hole=False)
                has_hole = _has_hole(fd, name, found)
                return Status("file", found.st_size, has_hole=has_hole, mtime=int(found.st_mtime // 1))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def digest(
        self, path: str, algorithms: Iterable[str], may_go_on: Callable[[], bool] = lambda: True
    ) -> dict[str, str]:
        hashes = {algorithm: new_hash(algorithm) for algorithm in algorithms}
        with self._parent(path) as (fd, name):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=fd)
        with os.fdopen(file, "rb", buffering=0) as stream:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.ELOOP, "is no plain file", path)
            size = os.fstat(file).st_size
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            buffer = memoryview(bytearray(min(_CHUNK, max(size, 1))))
            while count := stream.readinto(buffer):
                for running in hashes.values():
                    running.update(buffer[:count])
                if not may_go_on():
                    raise InterruptedError(errno.EINTR, "stopped while hashing", path)
            os.fsync(file)
        return {algorithm: running.hexdigest() for algorithm, running in hashes.items()}

    def free_bytes(self) -> int:
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    @contextmanager
    def _directory(self, path: str) -> Iterator[int]:
        # Opened name by name, anew each time: a descriptor kept from earlier would still reach a directory that was
        # renamed away, and then a fenced worker could go on writing into it.
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in path.split("/") if path else ():
                if name in {"", ".", ".."}:
                    raise ValueError(path)
                below = os.open(name, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        directory, _, name = path.rpartition("/")
        if name in {"", ".", ".."}:
            raise ValueError(path)
        with self._directory(directory) as fd:
            yield fd, name


def _has_hole(directory: int, name: str, found: os.stat_result) -> bool:
    if found.st_size == 0 or found.st_blocks * 512 >= found.st_size:
        return False
    # Fewer blocks than bytes: a hole, or a file system that compresses or packs. SEEK_HOLE tells which.
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno in NO_DOCUMENT:
            return True
        raise
    try:
        # Something else may have taken its place since we looked, and then nothing of it can be trusted.
        if not os.path.samestat(os.fstat(file), found):
            return True
        return os.lseek(file, 0, os.SEEK_HOLE) < found.st_size
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENXIO}:
            return False
        raise
    finally:
        os.close(file)

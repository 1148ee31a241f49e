"""`Disk` on a real file system.

Guarantee: nothing outside the root is read, made, renamed or removed, whatever links or names lie below it; what
`create` and `sync` return from is on disk as far as the file system keeps its promises.
Fails with the `OSError` of the call that failed; the name of the path is in it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from tacc_sync.workspace.disk import NO_DOCUMENT, Begun, Seal, Status
from tacc_sync.workspace.posix_hash import Running, digest_open, follow_open

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 4 * 1024 * 1024
_NO_NAMES = frozenset({"", ".", ".."})


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
        fd = self._directory(directory)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def read(self, path: str, limit: int = 512 * 1024 * 1024) -> bytes:
        file = self._file(path)
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
        fd, name = self._parent(path)
        try:
            file = os.open(name, flags, self._file_mode, dir_fd=fd)
        finally:
            os.close(fd)
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
        with self._two_parents(old, new) as (old_fd, old_name, new_fd, new_name):
            os.rename(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd)

    def link(self, old: str, new: str) -> None:
        with self._two_parents(old, new) as (old_fd, old_name, new_fd, new_name):
            os.link(old_name, new_name, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)

    def unlink(self, path: str) -> None:
        fd, name = self._parent(path)
        try:
            os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)

    def mkdir(self, path: str) -> None:
        fd, name = self._parent(path)
        try:
            os.mkdir(name, self._directory_mode, dir_fd=fd)
        finally:
            os.close(fd)

    def rmdir(self, path: str) -> None:
        fd, name = self._parent(path)
        try:
            os.rmdir(name, dir_fd=fd)
        finally:
            os.close(fd)

    def sync(self, directory: str) -> None:
        fd = self._directory(directory)
        try:
            os.fsync(fd)
        except OSError as error:
            # Some network file systems do not offer it for directories.
            if error.errno != errno.EINVAL:
                raise
        finally:
            os.close(fd)

    def status(self, path: str) -> Status | None:
        try:
            fd, name = self._parent(path)
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    return Status("directory", 0, has_hole=False)
                if stat.S_ISLNK(found.st_mode):
                    return Status("link", 0, has_hole=False)
                if not stat.S_ISREG(found.st_mode):
                    return Status("other", 0, has_hole=False)
                has_hole = _has_hole(fd, name, found)
                return Status("file", found.st_size, has_hole=has_hole, mtime=int(found.st_mtime // 1))
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def seal(self, path: str) -> Seal | None:
        try:
            fd, name = self._parent(path)
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return Seal(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)

    def digest(
        self,
        path: str,
        algorithms: Iterable[str],
        may_go_on: Callable[[], bool] = lambda: True,
        begun: Begun | None = None,
    ) -> dict[str, str]:
        with self._plain(path) as file:
            return digest_open(file, algorithms, may_go_on, begun=_ours(begun))

    def follow(
        self,
        path: str,
        algorithms: Iterable[str],
        begun: Begun | None,
        *,
        behind: int,
        most: int,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> Begun | None:
        with self._plain(path) as file:
            return follow_open(file, algorithms, _ours(begun), behind=behind, most=most, may_go_on=may_go_on)

    def free_bytes(self) -> int:
        found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def _file(self, path: str) -> int:
        """A descriptor of what lies at a path, to be read, for the caller to close."""
        fd, name = self._parent(path)
        try:
            # O_NONBLOCK: a FIFO that somebody left in a queue must not hang us.
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=fd)
        finally:
            os.close(fd)

    @contextmanager
    def _plain(self, path: str) -> Iterator[int]:
        """A plain file, to be read."""
        file = self._file(path)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.ELOOP, "is no plain file", path)
            yield file
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(file)

    def _directory(self, path: str) -> int:
        """A descriptor of a directory, for the caller to close."""
        # Opened name by name, anew each time: a descriptor kept from earlier would still reach a directory that was
        # renamed away, and then a fenced worker could go on writing into it.
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in path.split("/") if path else ():
                if name in _NO_NAMES:
                    raise ValueError(path)
                below = os.open(name, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _parent(self, path: str) -> tuple[int, str]:
        """A descriptor of the directory that a path lies in, for the caller to close, and its name there."""
        # No context manager: most of what a small file costs us is spent here.
        directory, _, name = path.rpartition("/")
        if name in _NO_NAMES:
            raise ValueError(path)
        return self._directory(directory), name

    @contextmanager
    def _two_parents(self, old: str, new: str) -> Iterator[tuple[int, str, int, str]]:
        old_fd, old_name = self._parent(old)
        try:
            new_fd, new_name = self._parent(new)
            try:
                yield old_fd, old_name, new_fd, new_name
            finally:
                os.close(new_fd)
        finally:
            os.close(old_fd)


def _ours(begun: Begun | None) -> Running | None:
    # One of another disk's cannot be gone on with.
    return begun if isinstance(begun, Running) else None


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

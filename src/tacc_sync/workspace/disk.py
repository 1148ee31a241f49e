"""The dozen file operations that we permit ourselves, for the workspace and for the transfer buffer.

Paths are relative to the disk's root, with `/` between names, never with `..`; every operation resolves its path anew
from the root without following links, so that a link planted anywhere below the root cannot lead out of it, and a
directory that was renamed away takes everything below it along.

Fails with the operating system's own `OSError`s: FileNotFoundError, FileExistsError, and so on.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

# What `read` says of a directory, a link, a FIFO, a socket, something huge, or what is not ours to read: the entry's
# trouble, not the disk's.
NO_DOCUMENT = frozenset({errno.EISDIR, errno.EFBIG, errno.ELOOP, errno.ENXIO, errno.EACCES})


@dataclass(frozen=True, slots=True)
class Status:
    """What lies at a path. `size` in bytes; of a file also whether bytes are missing inside it (a hole), and its
    modification time in whole epoch seconds (0 where nobody tells)."""

    kind: Literal["file", "directory", "link", "other"]
    size: int
    has_hole: bool
    mtime: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Seal:
    """What changes when a file is written to: two equal seals of one path mean the same content. `size` in bytes."""

    size: int
    inode: int
    modified_ns: int
    changed_ns: int


class Begun(Protocol):
    """What has been hashed of a file while it was being written: its first `at` bytes. Made by `Disk.follow`."""

    @property
    def at(self) -> int:
        """So many bytes."""


class Disk(Protocol):
    """A directory tree that several hosts may share."""

    @property
    def root(self) -> str:
        """The absolute path of the root, for programs that are told where to write."""

    def names(self, directory: str) -> list[str]:
        """The names in a directory, in no order. A name that is renamed meanwhile may be missed or seen twice."""

    def read(self, path: str, limit: int = 512 * 1024 * 1024) -> bytes:
        """The content of a plain file; OSError EFBIG when it is larger than `limit` bytes, ELOOP when it is a link."""

    def create(self, path: str, content: bytes | Iterable[bytes]) -> None:
        """Make a new file, owner-only, with that content (or these pieces of it), flushed; FileExistsError when the
        name is taken."""

    def rename(self, old: str, new: str) -> None:
        """Move; replaces a file at `new`."""

    def link(self, old: str, new: str) -> None:
        """Give a file a second name; FileExistsError when the name is taken."""

    def unlink(self, path: str) -> None:
        """Remove a name of a file or a link, never of a directory."""

    def mkdir(self, path: str) -> None:
        """Make a directory, owner-only; FileExistsError when the name is taken."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""

    def sync(self, directory: str) -> None:
        """Make the names in a directory durable."""

    def status(self, path: str) -> Status | None:
        """What lies at the path; None when nothing does. Links are not followed."""

    def seal(self, path: str) -> Seal | None:
        """The seal of a plain file; None when there is none."""

    def digest(
        self,
        path: str,
        algorithms: Iterable[str],
        may_go_on: Callable[[], bool] = lambda: True,
        begun: Begun | None = None,
    ) -> dict[str, str]:
        """Lower-case hex digests of a file's content in one read (`md5`, `sha512`, `adler32` …), and flush it to disk.

        Of what `begun` covers they are those of the bytes that lay there then, unless it is another file now, or a
        shorter one: `begun` must not be used again.
        ValueError for an algorithm that is not known; InterruptedError when `may_go_on` said no.
        """

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
        """Hash what has arrived of a file that another program writes, for a later `digest` to go on with: from where
        `begun` ended up to the first hole, but for the last `behind` bytes, at most `most` bytes.

        None when it is another file than it was, or shorter than what was read: nothing of that counts.
        Fails as `digest` does; then `begun` holds as much as was read.
        """

    def free_bytes(self) -> int:
        """Bytes that the file system could still take."""

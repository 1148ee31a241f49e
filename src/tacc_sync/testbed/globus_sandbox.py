"""Paths in the directories that the testbed's Globus service calls collections.

Guarantee: no path, whatever dots or links are in it, is resolved to anything outside its collection. (Whoever swaps
directories for links while a task runs is not guarded against: these are the owner's own directories.)
Fails with: `Trouble`, whose code is one that the real service uses in events and in nice_status.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

TROUBLE_OF_ERRNO = {
    errno.ENOENT: ("FILE_NOT_FOUND", "No such file or directory"),
    errno.ENOTDIR: ("FILE_NOT_FOUND", "Not a directory"),
    errno.EACCES: ("PERMISSION_DENIED", "Permission denied"),
    errno.EPERM: ("PERMISSION_DENIED", "Operation not permitted"),
    errno.EROFS: ("PERMISSION_DENIED", "Read-only file system"),
    errno.EDQUOT: ("QUOTA_EXCEEDED", "Disk quota exceeded"),
    errno.ENOSPC: ("QUOTA_EXCEEDED", "No space left on device"),
}


class Trouble(Exception):
    """A fault of one file. `fatal` faults end the task."""

    def __init__(self, code: str, text: str, *, fatal: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.fatal = fatal


class PathNotAllowed(Trouble):
    """The path would leave its collection."""

    def __init__(self, path: str) -> None:
        super().__init__("PERMISSION_DENIED", f"500 Command failed : Path not allowed. {path}")


def trouble_of(error: OSError) -> Trouble:
    """What the service would say of an error of the operating system."""
    code, text = TROUBLE_OF_ERRNO.get(error.errno or 0, ("ENDPOINT_ERROR", os.strerror(error.errno or 0)))
    return Trouble(code, f"Error (transfer) 500 Command failed : {text}: {error.filename}")


class Sandbox:
    """One collection's directory. Resolved directories are remembered: make a fresh one for each pass."""

    def __init__(self, root: str, default_directory: str = "/") -> None:
        self.root = os.path.realpath(root)
        self._default = default_directory
        self._directories: dict[str, str] = {}
        self._made: set[str] = set()

    def absolute(self, path: str) -> str:
        """The path as the collection sees it: absolute, `~` filled in, no double slash."""
        if path.startswith(("/~/", "~/")) or path in {"/~", "~"}:
            path = self._default + "/" + path.partition("~")[2]
        if not path.startswith("/"):
            path = self._default + "/" + path
        if "\0" in path or ".." in path.split("/"):
            raise PathNotAllowed(path)
        return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})

    def locate(self, path: str) -> str:
        """The file-system path; its directory is inside the collection, the last component may be a link."""
        directory, _, name = self.absolute(path).rpartition("/")
        found = self._directories.get(directory)
        if found is None:
            found = os.path.realpath(self.root + directory)
            self._inside(found, path)
            self._directories[directory] = found
        return f"{found}/{name}" if name else found

    def resolve(self, path: str) -> str:
        """The file-system path with all links followed; it is inside the collection."""
        found = os.path.realpath(self.locate(path))
        self._inside(found, path)
        return found

    def make_parents(self, located: str) -> None:
        """Create the directories above a located path."""
        parent = os.path.dirname(located)
        if parent not in self._made:
            os.makedirs(parent, exist_ok=True)
            self._made.add(parent)

    def open(self, path: str, flags: int) -> int:
        """Open a file; a link at its end is followed as long as it stays inside."""
        located = self.locate(path)
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        if flags & os.O_CREAT:
            self.make_parents(located)
        try:
            return os.open(located, flags, 0o644)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        return os.open(self.resolve(path), flags, 0o644)

    def _inside(self, found: str, path: str) -> None:
        if found != self.root and not found.startswith(self.root + "/"):
            raise PathNotAllowed(path)


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a collection."""

    sandbox: Sandbox
    path: str

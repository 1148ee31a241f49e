"""A tree beside the workspace and the buffer that nobody may touch, and ways to plant things that point at it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path


class Canary:
    def __init__(self, root):
        self.root = Path(root)
        (self.root / "deep/er").mkdir(parents=True)
        for name in ("000000", "000001", "precious", "deep/000000", "deep/er/precious", "request.json"):
            (self.root / name).write_bytes(b"do not touch " + name.encode())
        self.before = self.look()

    def look(self):
        found = {}
        for path in [self.root, *sorted(self.root.rglob("*"))]:
            about = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
            found[str(path.relative_to(self.root))] = (about.st_mode, about.st_mtime_ns, content)
        return found

    def assert_untouched(self):
        assert self.look() == self.before


def _socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_DIRECTORY)
        try:
            # The address may be 108 bytes long.
            made.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def _huge(path):
    with path.open("wb") as file:
        file.truncate(1 << 30)


def _full_directory(path):
    path.mkdir()
    (path / "inside.json").write_text("{}")


def planters(canary):
    """name -> what makes something of that kind at a path."""
    target = canary.root
    kinds = {
        "link to a file": lambda path: path.symlink_to(target / "precious"),
        "link to a directory": lambda path: path.symlink_to(target / "deep"),
        "link to nothing": lambda path: path.symlink_to(target / "nothing"),
        "link to itself": lambda path: path.symlink_to(path.name),
        "hard link": lambda path: os.link(target / "precious", path),
        "directory": _full_directory,
        "fifo": os.mkfifo,
        "socket": _socket,
        "huge": _huge,
        "empty": lambda path: path.write_bytes(b""),
        "torn": lambda path: path.write_bytes(b'{"version":1,"unit":"'),
        "deep": lambda path: path.write_bytes(b"[" * 200_000),
        "not UTF-8": lambda path: path.write_bytes(b'{"version":1,"unit":"\xff\xfe"}'),
        "no object": lambda path: path.write_bytes(b"[1,2,3]"),
        "twice": lambda path: path.write_bytes(b'{"version":1,"version":1,"source":"/a","destination":"/b"}'),
    }
    if os.geteuid() == 0:
        kinds["device"] = lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    return kinds


KINDS = (
    "link to a file", "link to a directory", "link to nothing", "link to itself", "hard link", "directory", "fifo",
    "socket", "huge", "empty", "torn", "deep", "not UTF-8", "no object", "twice",
    *(["device"] if os.geteuid() == 0 else []),
)  # fmt: skip

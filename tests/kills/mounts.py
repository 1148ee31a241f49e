"""File systems of our own, on a file each: cut off as by a power failure, filled up, frozen, made read-only."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

FS_IOC_SHUTDOWN = 0x8004587D
DROP_ALL = 2  # what is not on disk yet is lost, the journal's unwritten part too
SIZES = {"ext4": 64, "xfs": 400}
# The journal is written when somebody asks for it (fsync), not every five seconds.
OPTIONS = {"ext4": "loop,commit=300", "xfs": "loop"}
PATIENCE = 15.0


class Refused(Exception):
    """This host does not let us: no root, no loop devices, no such file system."""


class Mount:
    """One file system."""

    def __init__(self, kind, image, place, megabytes=0):
        self.kind, self.image, self.place = kind, Path(image), Path(place)
        program = shutil.which(f"mkfs.{kind}", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program is None:
            raise Refused(f"mkfs.{kind} is not installed")
        with self.image.open("wb") as file:
            file.truncate((megabytes or SIZES[kind]) << 20)
        self._call(program, "-q", "-F" if kind == "ext4" else "-f", str(self.image))
        self.mount()

    def mount(self):
        self._call("mount", "-t", self.kind, "-o", OPTIONS[self.kind], str(self.image), str(self.place))

    def remount(self, how):
        """`ro` or `rw`; patiently, as somebody may be writing just now."""
        self._patiently("mount", "-o", f"remount,{how}", str(self.place))

    def freeze(self):
        self._call("fsfreeze", "--freeze", str(self.place))

    def thaw(self):
        self._call("fsfreeze", "--unfreeze", str(self.place))

    def flush(self):
        """Everything that was written so far is on disk."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
                raise OSError(ctypes.get_errno(), "syncfs", str(self.place))
        finally:
            os.close(fd)

    def cut(self):
        """The power fails, and comes back."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", DROP_ALL))
        finally:
            os.close(fd)
        self._patiently("umount", str(self.place))
        self.mount()

    def thaw_if_frozen(self):
        subprocess.run(["fsfreeze", "--unfreeze", str(self.place)], capture_output=True, check=False)

    def close(self):
        self.thaw_if_frozen()
        try:
            self._patiently("umount", str(self.place))
        except Refused:
            subprocess.run(["umount", "--lazy", str(self.place)], capture_output=True, check=False)

    def _patiently(self, *command):
        # An hsi whose tacc-sync was just killed is about to end.
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self._call(*command)
            except Refused:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    @staticmethod
    def _call(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(f"{' '.join(command)}: {done.stderr.strip()}")

"""A disk whose process dies, or whose reply is lost, at one of its changes."""

from __future__ import annotations

CHANGES = ("create", "rename", "link", "unlink", "mkdir", "rmdir", "sync")


class Died(BaseException):
    """The process has ended: no `except Exception`, and no further change, helps it."""


class Deaths:
    """Counts the changes of all its disks, and ends the process before the `at`-th, or (`after`) just behind it."""

    def __init__(self, at=None, *, after=False):
        self.at, self.after, self.count, self.dead = at, after, 0, False

    def strike(self, change):
        if self.dead:
            raise Died
        self.count += 1
        if self.count != self.at:
            return change()
        self.dead = True
        if self.after:
            change()
        raise Died


class DyingDisk:
    """A `Disk` for such a process; reading is free."""

    def __init__(self, disk, deaths):
        self._disk, self._deaths = disk, deaths

    def __getattr__(self, name):
        operation = getattr(self._disk, name)
        if name not in CHANGES:
            return operation
        return lambda *arguments: self._deaths.strike(lambda: operation(*arguments))

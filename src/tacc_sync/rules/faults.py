"""Whose fault is an error? The class says what happens next, the code says where the runbook explains it.

| class           | what it means                            | what a component does                            | exit |
|-----------------|------------------------------------------|--------------------------------------------------|------|
| `WorkFault`     | this unit or request cannot succeed now  | counted; it rests, and in the end is quarantined | -    |
| `WorldFault`    | nobody's work can (site down, disk full) | nothing counted, nothing moved; stand down       | 75   |
| `OperatorFault` | bad command, configuration, credentials  | one message, no traceback                        | 64 … |
| `Fenced`        | our claims were taken away               | stop at once, touch nothing                      | 0    |
| anything else   | our bug                                  | traceback; recovery gives the claim back         | 70   |
"""

from __future__ import annotations

import errno

# Exit codes after BSD sysexits.h.
EX_USAGE, EX_DATAERR, EX_UNAVAILABLE, EX_SOFTWARE = 64, 65, 69, 70
EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 73, 74, 75, 77, 78


class Fault(Exception):
    """An error that we understand: a code for the runbook, what was seen, and what to do about it."""

    exit_code = EX_SOFTWARE

    def __init__(self, code: str, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" + (f" -- {self.remedy}" if self.remedy else "")


class WorkFault(Fault):
    """This unit, request or file cannot succeed now."""

    exit_code = EX_DATAERR


class WorldFault(Fault):
    """Nobody's work can succeed now; `retry_after` (seconds) when the world said how long."""

    exit_code = EX_TEMPFAIL

    def __init__(self, code: str, text: str, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(code, text, remedy)
        self.retry_after = retry_after


class OperatorFault(Fault):
    """Only the operator can mend it: a wrong command, configuration, or missing credentials."""

    def __init__(self, code: str, text: str, remedy: str = "", exit_code: int = EX_CONFIG) -> None:
        super().__init__(code, text, remedy)
        self.exit_code = exit_code


class Fenced(Exception):
    """Our home was taken away. Whatever we hold belongs to somebody else: stop, touch nothing."""


# What a file system says when it, not our document, is in trouble.
WORLD_ERRNOS = {
    errno.ENOSPC: ("DISK-FULL", "free some space; work goes on by itself"),
    errno.EDQUOT: ("DISK-QUOTA", "the file system's quota is used up; work goes on by itself"),
    errno.EIO: ("DISK-IO", "the file system reports I/O errors; tell its administrators"),
    errno.ESTALE: ("DISK-STALE", "the file system lost track of a file; usually passes"),
    errno.EROFS: ("DISK-READ-ONLY", "the file system is mounted read-only"),
    errno.ENOTCONN: ("DISK-AWAY", "the file system is not mounted"),
    errno.ETIMEDOUT: ("DISK-AWAY", "the file system does not answer"),
    errno.EHOSTDOWN: ("DISK-AWAY", "the file system does not answer"),
    errno.EMFILE: ("DISK-HANDLES", "too many open files; raise `ulimit -n`"),
    errno.ENFILE: ("DISK-HANDLES", "too many open files on this host"),
    errno.EACCES: ("DISK-PERMISSION", "give the user that runs tacc-sync access"),
    errno.EPERM: ("DISK-PERMISSION", "give the user that runs tacc-sync access"),
    errno.EXDEV: ("DISK-TWO-FILE-SYSTEMS", "the workspace must lie in one file system, fileset and project"),
}


def of_os_error(error: OSError, doing: str) -> WorldFault | None:
    """The world's fault behind an operating-system error, or None when it is not known to be the world's."""
    known = WORLD_ERRNOS.get(error.errno or 0)
    if known is None:
        return None
    code, remedy = known
    return WorldFault(code, f"{doing}: {error}", remedy)

"""Who is logged in: a locked file a session, so that a session counts exactly as long as its process lives.

Guarantee: a killed process leaves a file without a lock, which counts for nothing and is removed by the next
who looks. No pid is trusted, because pids are used again.

Fails with: OSError (the site directory is away).
"""

from __future__ import annotations

import fcntl
import os

from tacc_sync.testbed.hpss_settings import SitePaths


def is_alive(paths: SitePaths, name: str) -> bool:
    """Whether the process of this session lives: then it holds the lock on its file."""
    try:
        descriptor = os.open(os.path.join(paths.sessions, name), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def admit(paths: SitePaths, name: str, limit: int) -> int:
    """Log in as one more session; how many there are now, or 0 when there were `limit` already."""
    with open(paths.sessions_lock, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        living = 0
        for other in os.listdir(paths.sessions):
            if is_alive(paths, other):
                living += 1
            else:
                try:
                    os.unlink(os.path.join(paths.sessions, other))
                except FileNotFoundError:
                    pass  # it has logged out by itself since we listed it
        if living >= limit:
            return 0
        # Never closed: the lock goes when the process goes.
        descriptor = os.open(os.path.join(paths.sessions, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return living + 1


def dismiss(paths: SitePaths, name: str) -> None:
    """Log out."""
    os.unlink(os.path.join(paths.sessions, name))


def living_sessions(root: str) -> list[str]:
    """The names (`pid.nanoseconds`) of the sessions that are open now."""
    paths = SitePaths(root)
    return sorted(name for name in os.listdir(paths.sessions) if is_alive(paths, name))

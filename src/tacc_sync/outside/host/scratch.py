"""A directory of this process for files that no other host needs, and the end of those of processes that were killed.

Guarantee: the directory is owner-only and of an unguessable name; only directories of this user and this host whose
process is gone are removed. That is told by a file lock, which the kernel of this host lets go of when its process
ends; where there are no locks nothing is removed.
Fails with `OSError` when no directory can be made; what cannot be removed stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path

LOCK = "lock"
# The locks of this process: open files, for as long as it lives.
_held: list[int] = []


def make_scratch() -> str:
    """A new directory below $TMPDIR."""
    host = "".join(c if c.isascii() and c.isalnum() else "_" for c in socket.gethostname())
    prefix = f"tacc-sync-{host}-"
    base = Path(tempfile.gettempdir())
    _remove_orphans(base, prefix)
    directory = tempfile.mkdtemp(prefix=prefix, dir=base)
    file = os.open(f"{directory}/{LOCK}~", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It gets its name when it is held: nobody ever sees ours without a holder.
        os.rename(f"{directory}/{LOCK}~", f"{directory}/{LOCK}")
    _held.append(file)
    return directory


def _remove_orphans(base: Path, prefix: str) -> None:
    with contextlib.suppress(OSError):
        for directory in base.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                if directory.is_symlink() or directory.stat().st_uid != os.getuid():
                    continue
                file = os.open(directory / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(directory, ignore_errors=True)
                finally:
                    os.close(file)

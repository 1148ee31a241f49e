"""This Linux machine: who we are on it, and whether another process is certainly gone.

Guarantee: `is_certainly_dead` says True only on proof; whatever can't be read, asked or understood means False.
Never fails, except where the kernel does not tell us about ourselves (OSError: /proc is missing).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from tacc_sync.outside.host.interface import ProcessIdentity

SQUEUE_SECONDS = 10.0
REMEMBERED_SECONDS = 60.0
# Every state in which processes of a job may still run is missing here, COMPLETING among them.
_OVER = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED TIMEOUT".split()  # noqa: SIM905
)
_OCTAL = re.compile(r"\\([0-7]{3})")


class LinuxHost:
    """`Host` by /proc and Slurm."""

    def __init__(self, *, squeue: Sequence[str] = ("squeue",), proc: Path | str = "/proc") -> None:
        """`squeue` asks about jobs; `proc` is elsewhere in tests only."""
        self._squeue = tuple(squeue)
        self._proc = Path(proc)
        self._lock = threading.Lock()
        self._jobs: dict[str, tuple[float, bool]] = {}

    def identity(self) -> ProcessIdentity:
        """Who we are."""
        pid = os.getpid()
        started = self._started(pid)
        assert started is not None
        return ProcessIdentity(
            host=socket.gethostname(),
            boot_id=self._boot_id(),
            pid_namespace=self._pid_namespace(),
            pid=pid,
            started=started,
            slurm_job=_slurm_job(),
        )

    def is_certainly_dead(self, other: ProcessIdentity) -> bool:
        """True only if that process is known not to exist any more."""
        return self._is_gone_from_here(other) or (bool(other.slurm_job) and self._is_job_over(other.slurm_job))

    def token(self) -> str:
        """Eight random hexadecimal digits."""
        return secrets.token_hex(4)

    def new_uuid(self) -> str:
        """A random UUID."""
        return str(uuid.uuid4())

    def file_system(self, path: str) -> str:
        """The type of the file system that a path lies on; "unknown" when the kernel doesn't tell."""
        real = os.path.realpath(path)
        best, kind = -1, "unknown"
        try:
            lines = (self._proc / "self/mountinfo").read_bytes().decode("utf-8", "surrogateescape").splitlines()
        except OSError:
            return kind
        for line in lines:
            before, _, after = line.partition(" - ")
            fields = before.split(" ")
            if len(fields) < 5 or not after:
                continue
            point = _OCTAL.sub(lambda found: chr(int(found.group(1), 8)), fields[4])
            inside = point.rstrip("/") + "/"
            # Of two mounts at one place the later one lies on top.
            if (real == point or real.startswith(inside)) and len(inside) >= best:
                best, kind = len(inside), after.split(" ")[0]
        return kind

    # -- processes of this machine

    def _boot_id(self) -> str:
        return (self._proc / "sys/kernel/random/boot_id").read_text().strip()

    def _pid_namespace(self) -> str:
        return os.readlink(self._proc / "self/ns/pid")

    def _started(self, pid: int) -> int | None:
        """The start time of a living process in clock ticks since boot; None when it is a zombie or can't be read."""
        state, started = self._stat(pid)
        return None if state in "ZXx" else started

    def _stat(self, pid: int) -> tuple[str, int]:
        # The second field is the program's name in brackets, which may hold blanks and brackets itself.
        fields = (self._proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19])

    def _is_gone_from_here(self, other: ProcessIdentity) -> bool:
        try:
            is_here = (
                other.host == socket.gethostname()
                and other.boot_id == self._boot_id()
                and other.pid_namespace == self._pid_namespace()
            )
        except OSError:
            return False
        if not is_here or not other.boot_id or not other.pid_namespace or other.pid <= 0:
            return False
        try:
            started = self._started(other.pid)
        except (FileNotFoundError, ProcessLookupError):
            # With `hidepid` others' processes are missing from /proc; only the signal knows.
            return _is_no_process(other.pid)
        except (OSError, IndexError, ValueError):
            return False
        return started != other.started

    # -- Slurm

    def _is_job_over(self, job: str) -> bool:
        with self._lock:
            known = self._jobs.get(job)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if known is not None and now - known[0] < REMEMBERED_SECONDS:
            return known[1]
        is_over = self._ask_squeue(job)
        with self._lock:
            self._jobs[job] = (now, is_over)
        return is_over

    def _ask_squeue(self, job: str) -> bool:
        number, _, cluster = job.partition("@")
        if not number.isdecimal() or not re.fullmatch(r"[\w.-]*", cluster) or shutil.which(self._squeue[0]) is None:
            return False
        # A job number means something on its own cluster only.
        where = ["-M", cluster] if cluster else []
        try:
            answer = subprocess.run(
                [*self._squeue, "-h", *where, "-j", number, "-o", "%T"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SQUEUE_SECONDS,
                check=False,
                start_new_session=True,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        if answer.returncode:
            return b"Invalid job id" in answer.stderr
        lines = answer.stdout.decode(errors="replace").splitlines()
        states = {line.strip() for line in lines if line.strip() and not line.startswith("CLUSTER:")}
        return states <= _OVER and not answer.stderr.strip()


def _slurm_job() -> str:
    """Our job, with its cluster: `123@perlmutter`; "" outside of Slurm."""
    job, cluster = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_CLUSTER_NAME", "")
    return f"{job}@{cluster}" if job and cluster else job


def _is_no_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False

"""The machine and the process that we are, and what can be known of other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Which process on which machine. `started` is the kernel's start time of the process in clock ticks since boot;
    `slurm_job` is "" outside of Slurm."""

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: int
    slurm_job: str


class Host(Protocol):
    """This machine."""

    def identity(self) -> ProcessIdentity:
        """Who we are."""

    def is_certainly_dead(self, other: ProcessIdentity) -> bool:
        """True only if that process is known not to exist any more: same host, boot and PID namespace and no such
        process, or its Slurm job is over. False means: cannot tell."""

    def token(self) -> str:
        """Eight random hexadecimal digits."""

    def new_uuid(self) -> str:
        """A random UUID, lower case, with dashes."""

    def file_system(self, path: str) -> str:
        """The type of the file system that a path lies on, such as `ext4`, `gpfs`, `lustre`; for people."""

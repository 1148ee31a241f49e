"""Time, as the components see it."""

from __future__ import annotations

from typing import Protocol


class Bell(Protocol):
    """Something that one part of a process rings to wake another."""

    def ring(self) -> None:
        """Wake whoever waits on it; remembered until somebody has waited."""


class Clock(Protocol):
    """Wall clock for people and documents, uptime for measuring. Never compare two hosts' clocks."""

    def now(self) -> float:
        """Epoch seconds, UTC. May jump."""

    def uptime(self) -> float:
        """Seconds since this host booted, suspended time included. Never jumps; shared by this host's processes."""

    def effort(self) -> float:
        """Seconds of CPU that the calling thread has used."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def bell(self) -> Bell:
        """A new bell."""

    def wait(self, bell: Bell, seconds: float) -> bool:
        """Wait for the bell, at most so long; True when it was rung."""

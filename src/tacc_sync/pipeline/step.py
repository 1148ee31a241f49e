"""What a component says after each step, and what it is given to work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tacc_sync.rules.patience import Patience
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home


@dataclass(frozen=True, slots=True)
class Moved:
    """Something was done: look again at once."""

    what: str


@dataclass(frozen=True, slots=True)
class Waits:
    """Nothing can be done now. For what we wait; what happens next; when something is due by itself (epoch seconds);
    and whether something outside is moving meanwhile, so that a run that goes on until nothing moves must not end
    yet."""

    waits_for: str
    upcoming: str = ""
    due: float | None = None
    moving: bool = False


Step = Moved | Waits


class Report(Protocol):
    """Where events go: past-tense names, with the ids that they concern."""

    def __call__(self, event: str, /, **about: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Bench:
    """What every component has before it: its hands, its settings, its voice, and the bells of the others."""

    home: Home
    settings: Settings
    report: Report
    wake: Callable[[str], None]

    @property
    def disk(self) -> Disk:
        """The workspace."""
        return self.home.disk

    @property
    def buffer(self) -> Disk:
        """The transfer buffer."""
        if self.home.buffer is None:
            raise AssertionError("this component has no transfer buffer")
        return self.home.buffer

    @property
    def patience(self) -> Patience:
        """When to try again."""
        section = self.settings.patience
        return Patience(
            section.first_rest,
            section.factor,
            section.longest_rest,
            section.at_least,
            section.attempts,
            section.deaths,
        )


class Component(Protocol):
    """One of the five."""

    def step(self) -> Step:
        """Do one thing, or say what is waited for. Whatever it is killed in, doing it again is harmless."""


@runtime_checkable
class Watcher(Protocol):
    """A component that has something at work outside, which goes on while the component is on hold."""

    def watch(self) -> Step:
        """Look after what has been started; start nothing new."""

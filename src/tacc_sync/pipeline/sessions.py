"""The hsi sessions of one process: how many are at work, and which of them reads its last file.

Guarantee: never more than the given number, those not counted whose place another one has taken while they read their
last file. What keeps two sessions off one cartridge is not here but in the workspace, for all hosts.
Never fails.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tacc_sync.rules.feeding import Feeding


@dataclass(slots=True)
class _AtWork:
    cartridges: tuple[str, ...]
    last: str = ""
    relieved: bool = False


class Sessions:
    """Shared by all retrievers of a process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._at_work: dict[str, _AtWork] = {}
        # What the last ones have let go of, the newest last: most probably still in their drives.
        self._let_go: list[str] = []
        # Grows with each change.
        self.changes = 0
        # Looked at and told only under the turn to choose.
        self.feeding = Feeding(most)

    @property
    def at_work(self) -> int:
        """How many there are, but for those whose place another one has taken."""
        with self._lock:
            return sum(not session.relieved for session in self._at_work.values())

    @property
    def cartridges(self) -> set[str]:
        """All that they read from."""
        with self._lock:
            return {label for session in self._at_work.values() for label in session.cartridges}

    @property
    def is_one_free(self) -> bool:
        """May one more begin?"""
        return self.at_work < self.most

    @property
    def last(self) -> set[str]:
        """The cartridges on which a session reads its last file, and nobody has taken its place yet."""
        with self._lock:
            return {s.last for s in self._at_work.values() if s.last and not s.relieved}

    @property
    def mounted(self) -> list[str]:
        """The cartridges that sessions have let go of last, the newest last, as many as there may be sessions."""
        with self._lock:
            return list(self._let_go)

    def begin(self, worker: str, cartridges: tuple[str, ...]) -> str:
        """A worker's session begins; the cartridge on which it takes another one's place, "" when there is none. Only
        under the turn to choose, so that no two take the same place."""
        with self._lock:
            self.changes += 1
            relieved = ""
            for session in self._at_work.values():
                if session.last in cartridges and not session.relieved:
                    session.relieved, relieved = True, session.last
            self._at_work[worker] = _AtWork(cartridges)
            self._let_go = [label for label in self._let_go if label not in cartridges]
            return relieved

    def at_last_file(self, worker: str, cartridge: str) -> None:
        """A worker's session reads its last file, from this cartridge."""
        with self._lock:
            if worker in self._at_work:
                self.changes += 1
                self._at_work[worker].last = cartridge

    def end(self, worker: str, cartridge: str = "") -> None:
        """A worker's session has ended, and has let go of this cartridge; content when it has none."""
        with self._lock:
            session = self._at_work.pop(worker, None)
            if session is None:
                return
            self.changes += 1
            if cartridge and not session.relieved:
                self._let_go = [*self._let_go, cartridge][-self.most :]

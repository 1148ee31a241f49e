"""What has moved, how fast and with how much trouble, by day, request or tape: figures of finished units. Pure.

Guarantee: each file counts once, in one line; a rate is said only of time in which something was under way, from the
first verified copy in the buffer to the last arrival.
"""

from __future__ import annotations

from typing import Literal

from tacc_sync.rules import completion
from tacc_sync.rules.documents import File, Struct, Work
from tacc_sync.rules.identity import request_key, tape_name
from tacc_sync.rules.patience import from_iso

By = Literal["day", "request", "tape"]


class Figures(Struct, kw_only=True, omit_defaults=False):
    """Of one day, request or tape. `repeats`: how often a file was sent again; `rounds`: how often a unit was sent to
    the tape again. Of a day, what began the day before counts from midnight (UTC)."""

    name: str
    label: str = ""
    files: int = 0
    bytes: int = 0
    abandoned: int = 0
    units: int = 0
    repeats: int = 0
    rounds: int = 0
    first_at: str = ""
    last_at: str = ""
    bytes_per_second: float | None = None
    # Of a request that is finished: whether its end lay within what its first forecast said ("": there was none), and
    # how many seconds after the middle of that.
    forecast: Literal["", "earlier", "within", "later"] = ""
    late: float | None = None


class History:
    """Adds up finished units."""

    def __init__(self, by: By) -> None:
        self._by = by
        self._lines: dict[str, Figures] = {}

    def add(self, work: Work) -> None:
        """Count a unit."""
        last = None
        attempts = completion.attempts(work)
        for index, file in enumerate(work.files):
            line = self._line(self._name(work, file))
            line.repeats += max(0, attempts[index] - 1)
            if file.outcome == "delivered":
                line.files += 1
                line.bytes += file.size
                begun = max(file.retrieved_at, f"{line.name}T00:00:00Z" if self._by == "day" else "")
                line.first_at = min(filter(None, (line.first_at, begun)), default="")
                line.last_at = max(line.last_at, file.delivered_at)
            else:
                line.abandoned += 1
            if last is None or file.delivered_at >= last[0]:
                last = (file.delivered_at, line)
        if last is not None:
            # Of a unit whose files arrived on several days, the trouble belongs to the day of its end.
            last[1].units += 1
            last[1].rounds += work.round - 1

    @property
    def lines(self) -> list[Figures]:
        """All of them, in the order of their names."""
        for line in self._lines.values():
            seconds = from_iso(line.last_at) - from_iso(line.first_at)
            line.bytes_per_second = line.bytes / seconds if line.bytes and seconds >= 1 else None
        return [self._lines[name] for name in sorted(self._lines)]

    def _line(self, name: str) -> Figures:
        return self._lines.setdefault(name, Figures(name=name))

    def _name(self, work: Work, file: File) -> str:
        match self._by:
            case "request":
                return request_key(work.request_id)
            case "tape":
                return tape_name(work.tape)
            case _:
                gave_up = file.why.at if file.why else ""
                return (file.delivered_at or gave_up or work.created_at)[:10]

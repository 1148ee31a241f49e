"""What happened at the simulated HPSS site, read back from log.jsonl.

Guarantee: a half line at the end (a process was killed while writing) is left out, everything else is there;
a session that was killed has no end, its last event stands for it.

Fails with: OSError (the log exists but cannot be read). A site without a log has an empty SiteLog.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class LoggedSession:
    """One run of hsi that was let in. `exit_status` is None when it was killed or still runs."""

    name: str
    pid: int
    argv: tuple[str, ...]
    began: float
    ended: float
    exit_status: int | None


@dataclass(frozen=True, slots=True)
class LoggedMount:
    """A cartridge was put into a drive."""

    time: float
    cartridge: str
    drive: int
    session: str


@dataclass(frozen=True, slots=True)
class LoggedGet:
    """A file was asked for; `ok` is what hsi said of it, not whether the bytes are right."""

    time: float
    path: str
    local: str
    size: int
    ok: bool
    session: str
    cartridges: tuple[str, ...]
    section: int
    offset: int


@dataclass(slots=True)
class SiteLog:
    """Everything in the log, in order of time of writing."""

    sessions: list[LoggedSession] = field(default_factory=list)
    mounts: list[LoggedMount] = field(default_factory=list)
    gets: list[LoggedGet] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def of(self, event: str) -> list[dict[str, Any]]:
        """All events of one name, such as `cartridge-contention`, `drive-wait`, `dismount`, `turned-away`."""
        return [each for each in self.events if each["event"] == event]

    @property
    def contentions(self) -> list[dict[str, Any]]:
        """Each wait of a session for a cartridge that another one held, and had more to read from than its last file:
        `cartridge`, `holder`, `session`."""
        return [each for each in self.of("cartridge-contention") if not self._is_at_last_file(each)]

    def _is_at_last_file(self, contention: dict[str, Any]) -> bool:
        """Whether the holder, of all the files that it was asked for, had but one left; one alone is no last one before
        it has the cartridge, which it had."""
        asked = done = 0
        for event in self.events:
            if event is contention:
                break
            if event["session"] == contention["holder"]:
                asked += event.get("gets", 0) if event["event"] == "asked" else 0
                done += event["event"] == "get"
        return asked > 0 and asked - done <= 1

    @property
    def shell_escapes(self) -> list[dict[str, Any]]:
        """Each time somebody would have run a local command."""
        return self.of("shell-escape")

    @property
    def mounts_per_cartridge(self) -> dict[str, int]:
        """How often each cartridge was mounted."""
        return dict(Counter(mount.cartridge for mount in self.mounts))

    @property
    def bytes_read(self) -> int:
        """Bytes that arrived by successful gets."""
        return sum(get.size for get in self.gets if get.ok)

    @property
    def most_sessions_at_once(self) -> int:
        """The highest number of sessions that were open together, as counted whenever one was let in."""
        return max((event["living"] for event in self.of("session-begin")), default=0)

    @property
    def steps_back(self) -> int:
        """How often a get asked for a place before that of the last get on the same mounted cartridge."""
        last: dict[str, tuple[int, int]] = {}
        count = 0
        for event in self.events:
            if event["event"] == "mount":
                last.pop(event["cartridge"], None)
            elif event["event"] == "get" and event["cartridges"]:
                here = (event["section"], event["offset"])
                first = event["cartridges"][0]
                count += here < last.get(first, (0, 0))
                last[first] = here
        return count


def read_log(root: Path) -> SiteLog:
    """Read the log of the site at `root`."""
    log = SiteLog()
    path = root / "hpss" / "log.jsonl"
    if not path.exists():
        return log
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        log.events.append(event)
    last_seen = {event["session"]: event["t"] for event in log.events}
    ends = {event["session"]: event["exit"] for event in log.events if event["event"] == "session-end"}
    for event in log.events:
        name, when = event["session"], event["t"]
        if event["event"] == "session-begin":
            log.sessions.append(
                LoggedSession(name, event["pid"], tuple(event["argv"]), when, last_seen[name], ends.get(name))
            )
        elif event["event"] == "mount":
            log.mounts.append(LoggedMount(when, event["cartridge"], event["drive"], name))
        elif event["event"] == "get":
            log.gets.append(
                LoggedGet(
                    when,
                    event["path"],
                    event["local"],
                    event["bytes"],
                    event["ok"],
                    name,
                    tuple(event["cartridges"]),
                    event.get("section", 0),
                    event.get("offset", 0),
                )
            )
    return log

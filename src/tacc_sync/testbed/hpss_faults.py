"""Troubles on demand: what ROOT/hpss/faults.json makes the simulated hsi do wrong, where, and how often.

faults.json is a list of rules:

    [{"match": {"command": "get", "path": "/home/projects/demo/run1/*.dat"}, "what": "flip", "times": 2}]

`match` may hold `command` (a name or a list of names; absent: any) and `path` (an exact path or a wildcard
pattern whose `*` also matches `/`; absent: any). `"match": "get"` and `"match": "/some/path"` are short
forms. `times` is how often the rule strikes (default 1; null: always), `after` how many matches pass unharmed
first (default 0). Counts are kept in faults.state.json under a lock, so they hold across processes;
`hpss_site.set_faults` starts them anew.

For one path or one command:
- `sleep`      wait `seconds` (default 1) first
- `hang`       forever, or for `seconds`; in a get after `fraction` (default 0.5) of the bytes;
               `"ignore_term": true` makes it survive SIGTERM
- `signal`     dies by signal `signal` (default 9); in a get after `fraction` of the bytes
- `exit`       all goes well, but the process ends with `exit` (default 75)
- `cut`        a listing ends early, after `after_lines` lines (default: half of them) or, with
               `"inside": true`, inside the next line; the process ends at once with `exit` (default 0)
- `noise`      a `line` (default: one about a connection) appears in the middle of the answer
For one file (a recursive listing asks for each file that it meets):
- `error`      an error line with `code` (default -5), `text` and `name`; `line` replaces it all (`{path}` is
               filled in). Without `name`, a get prints `get: Error CODE on transfer PATH` and leaves
               `fraction` (default 0.5) of the file; with a name (`HPSS_EACCES`) it fails before the first byte.
               Nothing is listed below a directory that has an error. `exit` sets the exit code.
- `vanish`     the file does not exist
- `move`       it lies on `volumes` (a list of labels; [] is: only on disk) at `section`, `offset`
- `size`       it has `size` bytes, or `delta` more than before, and no hash; bytes are cut off or filled up
- `wrong-hash` hashlist shows a wrong hash, hashverify finds a difference
- `flip`       a get delivers one wrong byte and says that all is well
- `truncate`   a get delivers `fraction` of the bytes (or `bytes`) and says that all is well
- `zeros`      a get delivers the full size, but from `fraction` (default 0) on zeros, with `"holes": true` as a
               hole, and says that all is well
The last three happen behind the back of `get -c on`; with `"seen": true` it finds them where there is a hash.

`"command": "connect"` (must be said, "any" does not mean it) strikes before the first command: sleep, hang,
signal, or error, with which the session does not come about.

Fails with: ValueError (faults.json is not what it should be).
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib

from tacc_sync.testbed.hpss_settings import SitePaths, write_whole

COMMAND_KINDS = frozenset({"sleep", "hang", "signal", "exit", "cut", "noise"})
FILE_KINDS = frozenset({"error", "vanish", "move", "size", "wrong-hash", "flip", "truncate", "zeros"})
ALL_KINDS = COMMAND_KINDS | FILE_KINDS


class Fault:
    """A trouble that strikes now: what, and its particulars."""

    __slots__ = ("particulars", "what")

    def __init__(self, what: str, particulars: dict[str, object]) -> None:
        self.what = what
        self.particulars = particulars

    def number(self, key: str, default: float) -> float:
        """A particular that is a number."""
        value = self.particulars.get(key, default)
        if isinstance(value, int | float):
            return value
        raise ValueError(f"faults.json: {self.what}: {key} must be a number, not {value!r}")

    def text(self, key: str, default: str) -> str:
        """A particular that is a text."""
        return str(self.particulars.get(key, default))

    def is_set(self, key: str) -> bool:
        """A particular that is a switch."""
        return bool(self.particulars.get(key, False))

    def volumes(self) -> tuple[str, ...]:
        """The labels of a `move`."""
        value = self.particulars.get("volumes", ["ZZ9999"])
        if isinstance(value, list):
            return tuple(str(label) for label in value)
        raise ValueError(f"faults.json: move: volumes must be a list, not {value!r}")


class Rule:
    """One entry of faults.json."""

    __slots__ = ("after", "commands", "fault", "key", "path", "times")

    def __init__(self, index: int, document: object) -> None:
        if not isinstance(document, dict) or document.get("what") not in ALL_KINDS:
            raise ValueError(f"faults.json: entry {index}: no `what` of {', '.join(sorted(ALL_KINDS))}")
        match = document.get("match", {})
        if isinstance(match, str):
            match = {"path": match} if match.startswith("/") else {"command": match}
        commands = match.get("command")
        self.commands = None if commands is None else frozenset([commands] if isinstance(commands, str) else commands)
        self.path: str | None = match.get("path")
        self.times: int | None = document.get("times", 1)
        self.after: int = document.get("after", 0)
        self.fault = Fault(document["what"], document)
        # The content is in the key: a rule that was rewritten begins to count anew.
        self.key = f"{index}:{zlib.crc32(json.dumps(document, sort_keys=True).encode()):08x}"

    def is_meant(self, command: str, path: str) -> bool:
        """Whether the rule speaks of this command and path."""
        if command == "connect":
            return self.commands is not None and "connect" in self.commands
        if self.commands is not None and command not in self.commands:
            return False
        if self.path is None or self.path == path:
            return True
        from fnmatch import fnmatchcase  # noqa: PLC0415  hardly ever needed

        return fnmatchcase(path, self.path)


class Faults:
    """The rules of a site, with their counts shared by all its processes."""

    def __init__(self, paths: SitePaths) -> None:
        self._paths = paths
        try:
            with open(paths.faults, encoding="utf-8") as file:
                documents = json.load(file)
        except FileNotFoundError:
            documents = []
        if not isinstance(documents, list):
            raise ValueError("faults.json: must be a list")
        self.rules = [Rule(index, document) for index, document in enumerate(documents)]

    def take(self, command: str, candidates: list[bytes], kinds: frozenset[str]) -> list[Fault]:
        """The troubles that strike this command on any of these paths; each is counted once."""
        if not self.rules:
            return []
        names = [os.fsdecode(path) for path in candidates] or [""]
        meant = [
            rule
            for rule in self.rules
            if rule.fault.what in kinds and any(rule.is_meant(command, name) for name in names)
        ]
        if all(rule.times is None and rule.after == 0 for rule in meant):
            return [rule.fault for rule in meant]
        with open(self._paths.faults_lock, "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                with open(self._paths.faults_state, encoding="utf-8") as file:
                    state: dict[str, list[int]] = json.load(file)
            except FileNotFoundError:
                state = {}
            struck = []
            for rule in meant:
                seen, used = state.get(rule.key, [0, 0])
                strikes = seen >= rule.after and (rule.times is None or used < rule.times)
                state[rule.key] = [seen + 1, used + strikes]
                if strikes:
                    struck.append(rule.fault)
            write_whole(self._paths.faults_state, json.dumps(state))
        return struck


def first(faults: list[Fault], *kinds: str) -> Fault | None:
    """The first trouble of one of these kinds."""
    return next((fault for fault in faults if fault.what in kinds), None)

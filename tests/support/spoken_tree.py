"""An hsi without a process, for listings: `Kennel.run` over a tree that a test holds in its hands.

Speaks as `hsi -P in FILE` does: repeats each command, then answers it. `before(line)` is called with each command and may
change the tree, or return the lines to say instead of an answer; `None` is: as it is.
"""

from __future__ import annotations

import bisect
import re
import threading
from collections import Counter

from tacc_sync.outside.hpss.hsi_process import Ended

TAIL = "5\t0\t1\t03/01/2021\t11:15:47\t03/01/2021\t11:30:52"


def file_line(path):
    return f"FILE\t{path}\t10\t10\t840+0\tAG084600\t{TAIL}"


class SpokenTree:
    def __init__(self, files=(), directories=(), piece=None):
        self.files = set(files)
        self.empty = set(directories)
        self.piece = piece
        self.before = lambda _line: None
        self.sessions = []
        self.commands = Counter()
        self.at_once = self.most_at_once = 0
        self.echoes = True
        self._was = None
        self._lock = threading.Lock()

    def _is_as_it_was(self):
        now = (frozenset(self.files), frozenset(self.empty))
        was, self._was = self._was, now
        return was == now

    def _look(self):
        """All paths in order, and which of them are directories."""
        if not self._is_as_it_was():
            directories = set(self.empty)
            for path in [*self.files, *self.empty]:
                parent = path.rpartition("/")[0]
                while parent and parent not in directories:
                    directories.add(parent)
                    parent = parent.rpartition("/")[0]
                while parent:
                    directories.add(parent)
                    parent = parent.rpartition("/")[0]
            self._directories = directories
            self._paths = sorted(self.files | directories)
        return self._paths, self._directories

    # -- Kennel

    def pulse(self):
        pass

    def run(self, command, *, environment, directory, on_output, why_kill):
        with open(command[-1].strip("'\""), encoding="utf-8") as file:
            lines = file.read().splitlines()
        with self._lock:
            self.sessions.append(lines)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self._speak(lines, on_output, why_kill)
        finally:
            with self._lock:
                self.at_once -= 1

    def _speak(self, lines, on_output, why_kill):
        status = 0
        for line in lines:
            with self._lock:
                self.commands[line] += 1
                said = self.before(line)
                if isinstance(said, int):
                    return Ended(said, "")
                said = self._answer(line) if said is None else said
                if any(each.startswith("***") for each in said):
                    status = 64
            text = "".join(f"{each}\n" for each in ([line] if self.echoes else []) + said)
            data = text.encode("utf-8", "surrogateescape")
            size = self.piece or len(data)
            for start in range(0, len(data), size):
                on_output(0, data[start : start + size])
                reason = why_kill(0)
                if reason:
                    return Ended(-15, reason)
        return Ended(status, "")

    def _answer(self, line):
        words, path = re.fullmatch(r"ls ([-A-Za-z ]+) ['\"](.*)['\"]", line).groups()
        paths, directories = self._look()
        if path in self.files:
            return [file_line(path)]
        if path not in directories:
            return ["*** ls: No such file or directory [-2: HPSS_ENOENT]", f"    {path}"]
        inside = path.rstrip("/") + "/"
        found = []
        for each in paths[bisect.bisect_left(paths, inside) :]:
            if not each.startswith(inside):
                break
            if "-R" in words or "/" not in each[len(inside) :]:
                found.append(f"DIRECTORY\t{each}" if each in directories else file_line(each))
        return found

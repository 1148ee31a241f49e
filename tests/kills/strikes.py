"""SIGKILL, or an error, at the so-and-so-many-th system call of a program, by strace; where such calls are, by a run that
is only watched.

Threads of the program count, each for itself (that is how strace counts `when=`); what it executes (hsi) does not, as
strace lets go of a child at its execve. A call at which a process is killed has not taken effect.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, replace

# As the C library calls them here; `open` stands for an openat that makes a file.
CALLS = {
    "rename": ("renameat", "rename", "renameat2"),
    "link": ("linkat", "link"),
    "fsync": ("fsync", "fdatasync"),
    "send": ("sendto", "sendmsg"),
    "unlink": ("unlinkat", "unlink"),
    "mkdir": ("mkdirat", "mkdir"),
    "rmdir": ("rmdir",),
    "open": ("openat",),
    "write": ("write", "pwrite64", "writev"),
}
FEW = ("rename", "link", "fsync", "send")
LINE = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)(.*)$")
NAME = re.compile(r'(?:AT_FDCWD|\d+)(?:<[^>]*>)?, "([^"]*)"')
PATIENCE = 60


@dataclass(frozen=True)
class Seen:
    """One call of the watched run."""

    thread: str
    call: str
    text: str

    @property
    def name(self):
        """What it opens."""
        found = NAME.match(self.text)
        return found.group(1) if found else ""

    @property
    def makes(self):
        # Temporary files elsewhere (the IN files for hsi) have names that nobody knows beforehand.
        return self.call == "openat" and "O_CREAT" in self.text and "/" not in self.name

    def touches(self, root):
        """Whether one of its descriptors lies below a directory."""
        return f"<{root}/" in self.text or f"<{root}>" in self.text


@dataclass(frozen=True)
class Point:
    """Kill at the `number`-th `call` of a thread, of those that concern `names` when there are any."""

    kind: str
    call: str
    number: int
    names: tuple[str, ...] = ()

    def __str__(self):
        return f"{self.call} #{self.number}"


def _strace(log, calls, names=()):
    paths = [word for name in names for word in ("-P", name)]
    # No --seccomp-bpf: it drops `signal=` in silence.
    return ["strace", "-f", "-y", "-qq", "-b", "execve", "-o", str(log), *paths, "-e", f"trace={','.join(calls)}"]


def watch(command, log, **options):
    """Run it, undisturbed but watched; every call of it, in order."""
    every = [name for names in CALLS.values() for name in names]
    done = subprocess.run(
        [*_strace(log, every), *command], capture_output=True, timeout=PATIENCE, check=False, **options
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    seen = []
    for line in log.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if found and found.group(3) == "(":
            seen.append(Seen(found.group(1), found.group(2), found.group(4)))
    return seen


def points(seen, kinds=tuple(CALLS)):
    """All the places where the program of that run can be killed.

    Of two threads the one that is first at its n-th call is the one that is killed there, and the other never gets
    there: how many places are out of reach for that reason, comes along.
    """
    found, hidden = [], 0
    for kind in kinds:
        for call in CALLS[kind]:
            if kind == "open":
                names = tuple(sorted({one.name for one in seen if one.makes}))
                ours = [one for one in seen if one.call == call and one.name in names]
                wanted = {position for position, one in enumerate(ours) if one.makes}
            else:
                names, ours = (), [one for one in seen if one.call == call]
                wanted = set(range(len(ours)))
            counted, reached = Counter(), {}
            for position, one in enumerate(ours):
                counted[one.thread] += 1
                if counted[one.thread] not in reached:
                    reached[counted[one.thread]] = position
                elif position in wanted:
                    hidden += 1
            found += [Point(kind, call, number, names) for number, position in reached.items() if position in wanted]
    return found, hidden


def renamed(point, old, new):
    """The same place in a run for another request."""
    return replace(point, names=tuple(name.replace(old, new) for name in point.names))


def strike(point, command, log, **options):
    """Run it until it is killed at that point. Whether it was, and what it had said by then."""
    inject = ["-e", f"inject={point.call}:signal=SIGKILL:when={point.number}"]
    done = subprocess.run(
        [*_strace(log, [point.call], point.names), *inject, *command], capture_output=True, timeout=PATIENCE, check=False,
        **options,
    )  # fmt: skip
    return done.returncode == -signal.SIGKILL, done


def sick_points(seen, kinds, root):
    """All the places where a call that concerns a directory may fail. Unlike a kill, an error strikes each thread at its
    n-th call."""
    found = []
    for kind in kinds:
        for call in CALLS[kind]:
            names = tuple(sorted({one.name for one in seen if one.makes})) if kind == "open" else ()
            counted, numbers = Counter(), set()
            for one in seen:
                if one.call != call or (names and one.name not in names):
                    continue
                counted[one.thread] += 1
                if one.touches(root) and (kind != "open" or one.makes):
                    numbers.add(counted[one.thread])
            found += [Point(kind, call, number, names) for number in sorted(numbers)]
    return found


def disturb(point, error, times, command, log, **options):
    """Run it to its end, with that error from that call on, so many times. Whether it came to that, and what it said."""
    when = f"{point.number}..{point.number + times - 1}" if times > 1 else str(point.number)
    inject = ["-e", f"inject={point.call}:error={error}:when={when}"]
    done = subprocess.run(
        [*_strace(log, [point.call], point.names), *inject, *command], capture_output=True, text=True, timeout=PATIENCE,
        check=False, **options,
    )  # fmt: skip
    return "(INJECTED)" in log.read_text(errors="replace"), done

"""Failures that are not the files' own: a cartridge on which many files fail, the disk that hsi writes to, and the same
unknown trouble wherever we try. Pure.

Guarantee: nothing that succeeds in between, and nothing that is known to be a file's own (it does not exist, we may not
read it), is ever blamed on a cartridge or on the world."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tacc_sync.rules.documents import File, Why

# Of a file that is not there, or not ours to read, the cartridge knows nothing.
_FILES_OWN = re.compile(
    r"no such file|not found|does not exist|ENOENT|denied|not permitted|EACCES|EPERM", re.IGNORECASE
)
_TAPES = frozenset({"FILE-NOT-FETCHED", "FILE-SIZE-DIFFERS", "FILE-HAS-HOLES", "CHECKSUM-DIFFERS"})
_LOCAL = (
    (re.compile(r"no space left on device|ENOSPC\b", re.IGNORECASE), "DISK-FULL"),
    (re.compile(r"disk quota exceeded|EDQUOT", re.IGNORECASE), "DISK-QUOTA"),
    (re.compile(r"read-only file system|EROFS", re.IGNORECASE), "DISK-READ-ONLY"),
    (re.compile(r"stale (NFS )?file handle|ESTALE", re.IGNORECASE), "DISK-STALE"),
)
LOCAL_CODES = frozenset(code for _, code in _LOCAL)


def local_trouble(said: str) -> str:
    """The code of the trouble that hsi had with the disk that it writes to; "" when what it said is none."""
    return next((code for pattern, code in _LOCAL if pattern.search(said)), "")


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be read, as the site's help desk wants to know it."""

    file: File
    why: Why
    at: str


@dataclass(slots=True)
class Tally:
    """What became of the files of one cartridge that were tried; a file counts as it went last."""

    fine: int = 0
    failed: dict[str, Failure] = field(default_factory=dict)
    # How many files of any cartridge had been read when the first of these sessions began.
    read_before: int = 0
    # How many sessions some of these have failed in.
    sessions: int = 0

    def note(self, file: File, why: Why | None, *, was_tried: bool, at: str) -> None:
        """A session is over for this file."""
        if why is None:
            self.failed.pop(file.path, None)
            self.fine += 1
        elif was_tried and why.code in _TAPES and not _FILES_OWN.search(why.text):
            self.failed[file.path] = Failure(file, why, at)

    def is_failing(self, least: int, read: int, *, alone: bool) -> bool:
        """Is it the cartridge rather than its files: so many of them, and most of those that were tried? And rather
        than the world: has anything been read meanwhile (`read` files of any cartridge up to now), or has it failed
        again while no other cartridge did (`alone`)? `least` 0: never."""
        most = 0 < least <= len(self.failed) and len(self.failed) > self.fine
        return most and (read > self.read_before or (alone and self.sessions >= 2))


def headline(label: str, tally: Tally) -> str:
    """What `status` shows."""
    tried = len(tally.failed) + tally.fine
    return f"TAPE-FAILING: {len(tally.failed)} of {tried} files that were tried on cartridge {label} could not be read"


def report(label: str, tally: Tally) -> str:
    """The headline, and what can be sent to the site's help desk as it is."""
    failures = sorted(tally.failed.values(), key=lambda f: (f.file.section, f.file.offset, f.file.path))
    first, last = min(f.at for f in failures), max(f.at for f in failures)
    tried = len(tally.failed) + tally.fine
    told = f"{len(failures)} of the {tried} files that we tried to retrieve with hsi, from {first} to {last}"
    lines = [
        headline(label, tally),
        "",
        f"On tape cartridge {label}, {told}, could not be read.",
        "Please look at this cartridge, and tell us when we may try these files again, or which of them are lost.",
        "",
        "The files in tape order: path, bytes, position on tape (section+offset), when, and what was seen.",
        "",
    ]
    lines += [
        f"{f.file.path}  {f.file.size}  {f.file.section}+{f.file.offset}  {f.at}  {f.why.code}: {f.why.text}"
        for f in failures
    ]
    return "\n".join(lines) + "\n"


def common_error(files: Iterable[tuple[str, str]]) -> str:
    """What hsi said of all the files (path, error) of which it said anything, the paths taken out; "" when it said
    different things, or something that is a file's own."""
    said = {" ".join(error.replace(path, "").split()) for path, error in files if error}
    if len(said) != 1 or any(_FILES_OWN.search(text) or text.startswith("NAME-UNSPEAKABLE") for text in said):
        return ""
    return said.pop()


class Streak:
    """The same unknown trouble again and again, without a success in between. `successes` counts these; `tallies` are
    those of the cartridges, by label."""

    def __init__(self, limit: int = 3) -> None:
        self._limit = limit
        self._what = ""
        self._where: set[str] = set()
        self.successes = 0
        self.tallies: dict[str, Tally] = {}

    def is_everywhere(self, what: str, where: Iterable[str]) -> bool:
        """Note a trouble, and where it was met (the cartridges, the unit); whether it has now been met in so many
        different places that it is the world's."""
        if what != self._what:
            self._what, self._where = what, set()
        self._where.add("-".join(sorted(where)))
        return len(self._where) >= self._limit

    def is_alone(self, where: Iterable[str]) -> bool:
        """Has nothing else met it since the last success?"""
        return self._where <= {"-".join(sorted(where))}

    def success(self, count: int = 1) -> None:
        """Something has worked, so many times."""
        self._what, self._where = "", set()
        self.successes += count

"""Large trees, listed in parts by several sessions at once.

First what lies directly in a directory is listed, then what lies in its subdirectories, level by level, until there are
enough of them; what lies below each of those is then listed as a whole, many in one session. A directory that turns out
to be too large in this is divided in the same way.

Guarantee: as when a tree is listed in one session, the top is looked at twice, and of all else each line was understood
and the end seen (hsi_parts.py). Each directory that a part names was listed, recalled from the checkpoint, or can hold
nothing that is wanted. One that has vanished is believed to have when the directory in which it lay, listed again, does
not name it any more.
Fails with what a session fails with, as soon as one does; with HPSS-LISTING-BROKEN when the others have ended.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from tacc_sync.outside.host.spool import Shelves
from tacc_sync.outside.hpss.hsi_answers import is_trash
from tacc_sync.outside.hpss.hsi_commands import why_unspeakable
from tacc_sync.outside.hpss.hsi_parts import PartsAnswer, part_of
from tacc_sync.outside.hpss.interface import Checkpoint, ListedFile, ListedPart, Listing, listed_files
from tacc_sync.rules.faults import WorldFault

TRIES = 3
# So many directories are enough to divide the work among sessions, and to lose little when one is cut off.
ENOUGH = 200
# Levels below which no more are looked for, however few directories there are: a chain of them ends somewhere.
LEVELS = 64
# Directories in one session.
MOST_LISTED, MOST_LOOKED_AT = 50, 100
# Beyond so many directories a single one that is too large says nothing about the others.
MOST_DIVIDED_ALIKE = 256
# A session should list the so-and-so-manieth part of what makes a directory too large: what is listed anew when it is
# cut off.
SHARE = 4
# So many directories that can't be listed, and no others are tried.
MOST_BROKEN = 10
SECONDS_BETWEEN_LOOKS = 0.5

BROKEN_REMEDY = "try again later; if it stays so, hsi speaks in a way that we don't know: report the lines"
NO_FILES = listed_files()

# Why a session was ended by us.
FULL, LARGE, UNWANTED = "full", "large", "unwanted"

# Runs one session: what it answers, and its exit status, None when it was ended for one of the reasons above.
RunSession = Callable[[PartsAnswer, Callable[[], str]], int | None]


@dataclass(slots=True, eq=False)
class Group:
    """The directories of one session."""

    directories: list[str]
    deep: bool
    answer: PartsAnswer
    is_cut: bool = False


class DividedListing:
    """The listing of the trees below some roots; used once."""

    def __init__(
        self,
        listing: Listing,
        checkpoint: Checkpoint | None,
        *,
        run: RunSession,
        answer: Callable[[Sequence[str], bool], PartsAnswer],
        sessions: int,
        too_large: int,
    ) -> None:
        """What is found goes into `listing`. `answer` makes the answer that a session is to fill, of these directories,
        deep or not; `too_large`: so many files and directories are, below one directory or in one session."""
        self._listing = listing
        self._checkpoint = checkpoint
        self._run = run
        self._answer = answer
        self._sessions = max(1, sessions)
        self._too_large = too_large
        # Directories that are to be looked at, and those that are to be listed with all that lies below.
        self._to_look: deque[str] = deque()
        self._to_list: deque[str] = deque()
        self._found: list[str] = []
        self._round = 0
        # Of each directory that was named by another one: which.
        self._parents: dict[str, str] = {}
        self._levels: dict[str, ListedPart] = {}
        self._files_of_levels: Shelves[int, ListedFile] = Shelves(ListedFile)
        # A directory that is looked at once more has another shelf.
        self._shelves: dict[str, int] = {}
        self._numbers = itertools.count()
        self._tries: Counter[str] = Counter()
        self._whole: set[str] = set()
        self._was_empty: set[str] = set()
        self._roots: list[str] = []
        self._taken = 0
        # Of what was listed as a whole, in this process: directories and what lies below them.
        self._listed_directories = self._listed_entries = 0
        self._files_so_far = 0
        self._running: dict[Future[int | None], Group] = {}
        self._is_over = False
        self._broken: list[WorldFault] = []

    def list_below(self, roots: Sequence[str]) -> None:
        """List all that lies below these directories, none of which lies inside of another."""
        self._roots = list(roots)
        self._expand(roots)
        self._to_look.extend(directory for directory in self._found if directory in set(roots))
        self._found = [directory for directory in self._found if directory not in set(roots)]
        with ThreadPoolExecutor(self._sessions, "listing") as pool:
            try:
                while self._start(pool) or self._running:
                    done, _ = wait(self._running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                    for future in done:
                        self._end(self._running.pop(future), future)
                    self._say()
            finally:
                # Whatever goes wrong: the sessions end within a tick, and the pool waits for that.
                self._is_over = True
        if self._broken:
            raise self._broken[0]
        for directory, level in self._levels.items():
            self._listing.files.extend(self._files_of_levels.on(self._shelves[directory]))
            self._listing.directories += level.directories
            self._listing.refused += level.refused

    # --- what is to be done -----------------------------------------------------------------------------------

    def _start(self, pool: ThreadPoolExecutor) -> bool:
        """Begin as many sessions as there may be; whether there was anything to begin."""
        began = False
        while len(self._running) < self._sessions:
            group = self._next_group()
            if group is None:
                break
            began = True
            self._running[pool.submit(self._run, group.answer, partial(self._why_end, group))] = group
        return began

    def _next_group(self) -> Group | None:
        if not self._to_look and not any(not group.deep for group in self._running.values()):
            self._settle_round()
        if self._to_look:
            share = -(-len(self._to_look) // max(1, self._sessions - len(self._running)))
            return self._group(self._to_look, min(MOST_LOOKED_AT, share), deep=False)
        if self._to_list and not any(not group.deep for group in self._running.values()):
            # Ever fewer, so that all sessions end at about the same time.
            share = -(-len(self._to_list) // (4 * self._sessions))
            return self._group(self._to_list, min(MOST_LISTED, share, self._as_many_as_fit()), deep=True)
        return None

    def _as_many_as_fit(self) -> int:
        """How many directories a session should list, going by those that were listed."""
        each = self._listed_entries / self._listed_directories if self._listed_directories else 1
        return max(1, int(self._too_large / SHARE / max(each, 1)))

    def _group(self, waiting: deque[str], most: int, *, deep: bool) -> Group:
        directories = [waiting.popleft()]
        # What went wrong twice goes alone.
        while len(directories) < most and waiting and max(self._tries[d] for d in (directories[0], waiting[0])) < 2:
            directories.append(waiting.popleft())
        return Group(directories, deep, self._answer(directories, deep))

    def _settle_round(self) -> None:
        """Of the directories that were found: are there enough of them to list each with all that lies below it?"""
        if not self._found:
            return
        self._round += 1
        if self._taken + len(self._to_list) + len(self._found) < ENOUGH and self._round <= LEVELS:
            self._to_look.extend(self._found)
        else:
            self._to_list.extend(self._found)
        self._found.clear()

    def _why_end(self, group: Group) -> str:
        """Asked by the thread of a session about every second."""
        if self._is_over:
            return UNWANTED
        answer = group.answer
        part, limit = answer.current, self._too_large
        if part.deep and part.entries > limit and part.root not in self._whole and part.is_divisible:
            group.is_cut = True
            return LARGE
        is_last = answer.at + 1 == len(answer.parts)
        return FULL if not is_last and answer.finished_entries > limit else ""

    def _expand(self, directories: Iterable[str]) -> None:
        """Take what was kept of these directories, and of those that lie in them; the others have to be listed."""
        waiting = list(directories)
        while waiting:
            directory = waiting.pop()
            part = self._checkpoint.recall(directory) if self._checkpoint is not None else None
            if part is None:
                self._found.append(directory)
            else:
                waiting += self._take(part)
        self._found.sort()

    # --- what was listed --------------------------------------------------------------------------------------

    def _end(self, group: Group, future: Future[int | None]) -> None:
        try:
            status = future.result()
        except WorldFault as fault:
            if fault.code != "HPSS-SESSIONS" or (self._sessions == 1 and not self._running):
                raise
            # Others of this user have the sessions: we go on with fewer.
            self._sessions = max(1, self._sessions - 1)
            (self._to_list if group.deep else self._to_look).extendleft(reversed(group.directories))
            return
        complete: list[ListedPart] = []
        for part, why in zip(group.answer.parts, group.answer.whys(status), strict=True):
            if why is None or (status is None and not group.is_cut and part is group.answer.current):
                # Not its turn, or we ended the session just then.
                (self._to_list if group.deep else self._to_look).appendleft(part.root)
            elif group.is_cut and part is group.answer.current:
                self._divide(part.root)
            elif why:
                self._again(part.root, why, deep=group.deep)
            elif any(refused.path == part.root and refused.kind == "missing" for refused in part.refused.values()):
                self._has_vanished(part.root, part_of(part))
            elif not self._is_doubted(part.root, part_of(part), deep=group.deep):
                complete.append(part_of(part))
        if complete and self._checkpoint is not None:
            self._checkpoint.keep(complete)
        for listed in complete:
            if group.deep:
                self._listed_directories += 1
                self._listed_entries += len(listed.files) + listed.directories
            self._expand(self._take(listed))

    def _again(self, directory: str, why: str, *, deep: bool) -> None:
        self._tries[directory] += 1
        if self._tries[directory] < TRIES:
            # At once: should all be so, it is soon known.
            (self._to_list if deep else self._to_look).appendleft(directory)
            return
        self._break(directory, why)

    def _break(self, directory: str, why: str) -> None:
        """The listing as a whole has failed; the other directories are listed all the same, for the next time."""
        self._broken.append(
            WorldFault(
                "HPSS-LISTING-BROKEN", f"the listing of {directory} broke off or can't be read: {why}", BROKEN_REMEDY
            )
        )
        if len(self._broken) >= MOST_BROKEN:
            raise self._broken[0]

    def _is_doubted(self, directory: str, part: ListedPart, *, deep: bool) -> bool:
        """Emptiness is a bold claim and has to be made twice; an error may pass, and stands only if it stays."""
        errors = [f"{refused.text} {refused.path}" for refused in part.refused if refused.kind == "error"]
        if errors and self._tries[directory] < TRIES - 1:
            self._again(directory, "; ".join(errors), deep=deep)
            return True
        is_empty = not (len(part.files) or part.directories or part.refused)
        if is_empty and directory not in self._was_empty:
            self._was_empty.add(directory)
            (self._to_list if deep else self._to_look).append(directory)
            return True
        return False

    def _has_vanished(self, directory: str, part: ListedPart) -> None:
        parent = self._parents.pop(directory, None)
        self._tries[directory] += 1
        if parent is None:
            # A root: whoever asked for it hears that it is missing.
            self._listing.refused += part.refused
        elif self._tries[directory] >= TRIES:
            self._break(directory, f"{parent} names it, and yet it does not exist")
        elif self._levels.pop(parent, None) is not None:
            self._to_look.append(parent)

    def _divide(self, directory: str) -> None:
        self._to_look.append(directory)
        if len(self._to_list) <= MOST_DIVIDED_ALIKE:
            # The others may well be as large.
            self._to_look.extend(self._to_list)
            self._to_list.clear()

    def _take(self, part: ListedPart) -> list[str]:
        """Note what was listed; the directories in it that are not known yet."""
        if part.subdirectories is None:
            self._taken += 1
            self._listing.files.extend(part.files)
            self._listing.directories += part.directories
            self._listing.refused += part.refused
            self._files_so_far += len(part.files)
            return []
        wanted = [each for each in part.subdirectories if self._is_wanted(each)]
        if any(why_unspeakable(each) for each in wanted):
            # It can be listed, but not be asked for: only as a part of what it lies in.
            self._whole.add(part.root)
            self._to_list.append(part.root)
            return []
        self._levels[part.root] = ListedPart(part.root, NO_FILES, part.directories, (), part.refused)
        shelf = self._shelves[part.root] = next(self._numbers)
        for file in part.files:
            self._files_of_levels.put(shelf, file)
        self._files_so_far += len(part.files)
        new = [each for each in wanted if each not in self._parents]
        self._parents.update(dict.fromkeys(new, part.root))
        return new

    def _is_wanted(self, directory: str) -> bool:
        if is_trash("/" + directory.rpartition("/")[2]):
            return False
        return self._checkpoint is None or self._checkpoint.may_hold(directory)

    def _say(self) -> None:
        if self._checkpoint is None:
            return
        running = list(self._running.values())
        busy = sum(group.answer.at + 1 for group in running)
        waiting = sum(len(group.directories) for group in running) - busy
        begun = self._taken + len(self._levels) + busy
        left = waiting + len(self._to_look) + len(self._to_list) + len(self._found)
        files = self._files_so_far + sum(len(part.files) for group in running for part in group.answer.parts)
        more = f" and {len(self._roots) - 1} more" if len(self._roots) > 1 else ""
        self._checkpoint.say(f"part {begun} of {begun + left} of {self._roots[0]}{more}: {files:,} files so far")

"""The answer to "list everything below this root", and how we know that it is all of it.

A listing that broke off looks like a small archive: every line of it is right. So behind the listing of the tree the
IN file asks for the top of the tree once more, and that second, cheap answer is the end by which we know the first.

Guarantee: `why_incomplete` is "" only when each line was understood, the end was seen after everything else, both
answers agree about the top of the tree, and the exit status is 0 or comes from errors that name their path. Wherever
the output is cut, at a line's end or inside of a line, and whatever hsi's exit status is, that is noticed.
Never fails: what is wrong with an answer is told, and the caller decides.

With the echo of commands switched on, the end begins with the echo of the last command. Without it, with a file that
lies directly in the root and comes a second time; where there is none, only the complaint about a *stranger* can tell,
a path that doesn't exist and whose name nobody else knows.
Entries below a `.Trash` are left out, and errors about them are ignored: they are what somebody threw away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tacc_sync.outside.host.spool import IN_MEMORY
from tacc_sync.outside.hpss import hsi_commands
from tacc_sync.outside.hpss.hsi_answers import Answer, is_trash
from tacc_sync.outside.hpss.hsi_lines import Dialect
from tacc_sync.outside.hpss.hsi_said import Complaint, Directory, Echo, Noise, Said
from tacc_sync.outside.hpss.interface import ListedFile, Refused, listed_files
from tacc_sync.rules.repeats import Paths

# Exit statuses that no error about a single path explains: away, I/O error, try again, protocol.
NEVER_EXPLAINED = frozenset({69, 74, 75, 76})


class TreeAnswer(Answer):
    """The listing of everything below one root or, when not `deep`, of what lies directly in it."""

    def __init__(
        self,
        root: str,
        dialect: Dialect,
        *,
        stranger: str = "",
        deep: bool = True,
        is_followed: bool = False,
        in_memory: int = IN_MEMORY,
    ) -> None:
        """`is_followed`: the end is known by what follows in the same session, and the root is not looked at again.
        `in_memory`: of so many files."""
        first = hsi_commands.list_tree if deep else hsi_commands.list_level
        lines = [first(root), *([] if is_followed else [hsi_commands.list_top(root)])]
        super().__init__([*lines, *([hsi_commands.list_one(stranger)] if stranger else [])], dialect)
        self.root = root
        self.deep = deep
        self._is_followed = is_followed
        # Whether what follows was seen.
        self.end_seen = False
        self.files = listed_files(in_memory=in_memory)
        self.refused: dict[str, Refused] = {}
        self._inside = root.rstrip("/") + "/"
        self._stranger = stranger
        self._stranger_seen = False
        # Of all files and whatever else is no directory.
        self.paths = Paths()
        # What lies directly in the root and is no directory; and all of the root's entries that anything lies in.
        self._top: set[str] = set()
        self._opened: set[str] = set()
        # How many more files lie directly in the root, where it is not looked at again.
        self._direct = 0
        self._directories: set[str] = set()
        # For each stream what was listed behind the end of the tree; None while it is still the tree.
        self._again: list[set[str] | None] = [None, None]
        self._root_errors = 0
        self._errors = False

    @property
    def directories(self) -> int:
        """How many directories lie below the root."""
        return len(self._directories)

    @property
    def subdirectories(self) -> set[str]:
        """The directories that lie below the root, as far as hsi has named them."""
        return self._directories

    @property
    def entries(self) -> int:
        """How much has been listed so far."""
        return len(self.files) + len(self.refused) + len(self._directories)

    @property
    def is_divisible(self) -> bool:
        """Whether most of what was listed so far lies in directories below the root."""
        return self.entries > 2 * (len(self._top) + self._direct) and bool(self._opened or self._directories)

    @property
    def has_errors(self) -> bool:
        """Whether hsi complained about any path."""
        return self._errors

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was said about what exists."""
        return not (self.files or self.refused or self._directories)

    def take(self, stream: int, text: str) -> None:
        """The hot path: nearly all lines of a listing are plain files, and nearly all others directories."""
        if self._again[stream] is not None or self.ears[stream].pending is not None:
            super().take(stream, text)
            return
        before, *behind = f"\n{text}".split("\nDIRECTORY\t")
        directories, parts = [], [before]
        for part in behind:
            directory, end, rest = part.partition("\n")
            directories.append(directory)
            parts.append(end + rest)
        plain = self.files_heard.plain_lines(parts)
        opened = self._opened_by(plain.names) if plain is not None else None
        if plain is None or opened is None:
            super().take(stream, text)
            return
        # None of these ends the tree, so it makes no difference in which order they are named.
        for directory in directories:
            super().take(stream, f"DIRECTORY\t{directory}")
        for directory, names in plain.names:
            self.paths.add_names(directory, names)
        self._opened |= opened
        self.files.extend(plain.files)

    def _opened_by(self, names: Sequence[tuple[str, Sequence[str]]]) -> set[str] | None:
        """The entries of the root that these names lie in; None when it matters that some lie in none."""
        inside, opened, direct = self._inside, set(), 0
        for directory, those in names:
            if directory == self.root.rstrip("/"):
                direct += len(those)
            elif directory.startswith(inside):
                opened.add(inside + directory[len(inside) :].partition("/")[0])
            else:
                return None
        if direct and not self._is_followed:
            return None
        # Without a second look nobody asks which these are.
        self._direct += direct
        return opened

    def said(self, stream: int, said: Said) -> None:
        """Notices the echo behind which the tree has ended."""
        if isinstance(said, Echo):
            index = self.own_lines[said.line]
            if index == 1:
                self._again[stream] = set()
            elif index == 2:
                self._stranger_seen = True
        super().said(stream, said)

    def heard(self, stream: int, said: Said) -> None:
        """An entry or a complaint."""
        match said:
            case ListedFile():
                self._entry(stream, said.path, said)
            case Directory(path):
                self._directory(stream, path)
            case Complaint(path, ("not-a-file" | "unspeakable") as kind, text) if path:
                self._entry(stream, path, Refused(path, kind, text))
            case Complaint(path, kind, text):
                self._error(Refused(path, kind, text))
            case Noise():
                pass
            case _:
                self.is_strange(f"not the answer to a listing: {said}")

    def _is_top(self, path: str) -> bool:
        return path == self.root or "/" not in path[len(self._inside) :]

    def _entry(self, stream: int, path: str, entry: ListedFile | Refused) -> None:
        """A file or another thing that isn't a directory."""
        if path != self.root and not path.startswith(self._inside):
            self.is_strange(f"not below {self.root}: {path!r}")
        elif is_trash(path.removeprefix(self.root)):
            return
        elif self._again[stream] is not None or (path in self._top and not self.echoed):
            self._repeat(stream, path)
            if path not in self._top:
                self.is_strange(f"only listed at the second look: {path!r}")
        elif path in self._top:
            self.is_strange(f"listed twice: {path!r}")
        else:
            self._note(path)
            if isinstance(entry, ListedFile):
                self.files.append(entry)
            else:
                self.refused[path] = entry

    def _note(self, path: str) -> None:
        self.paths.add(path)
        if self._is_top(path):
            self._top.add(path)
            return
        self._opened.add(self._inside + path[len(self._inside) :].partition("/")[0])

    def _repeat(self, stream: int, path: str) -> None:
        again = self._again[stream]
        if again is None:
            again = self._again[stream] = set()
        again.add(path)
        if not self._is_top(path):
            self.is_strange(f"listed behind the end of the listing: {path!r}")

    def _directory(self, stream: int, path: str) -> None:
        if path == self.root or path.endswith(("/.", "/..")) or is_trash(path.removeprefix(self.root)):
            return
        if not path.startswith(self._inside):
            self.is_strange(f"not below {self.root}: {path!r}")
        elif self._again[stream] is None:
            # Whether a recursive listing shows a directory once, twice or not at all is up to hsi's version.
            self._directories.add(path)
        else:
            self._repeat(stream, path)

    def _error(self, error: Refused) -> None:
        path = error.path
        self._errors = True
        if path and path == self._stranger:
            self._stranger_seen = True
        elif not path:
            self.is_strange(f"an error that names no path: {error.text}")
        elif is_trash(path.removeprefix(self.root)):
            return
        elif path == self.root or path.startswith(self._inside):
            self._root_errors += path == self.root
            self.refused.setdefault(path, error)
        else:
            self.is_strange(f"an error about something else: {error.text} {path}")

    def why_incomplete(self, exit_status: int) -> str:
        """Why this answer doesn't say what exists; "" when it does."""
        if self.strange:
            return self.strange_text()
        if self.troubles:
            return " / ".join(trouble.text for trouble in self.troubles)
        if exit_status < 0 or exit_status > 128:
            return f"hsi crashed (exit status {exit_status})"
        if exit_status in NEVER_EXPLAINED or (exit_status and not self._errors):
            return f"hsi ended with exit status {exit_status} and named no reason"
        if not self.deep and (deeper := [*self._opened, *(d for d in self._directories if not self._is_top(d))]):
            return f"more was listed than what lies directly in {self.root}: {min(deeper)!r}"
        if not self._has_ended():
            return f"the end of the listing was not seen (after {len(self.files) + len(self.refused)} entries)"
        return ("" if self._is_followed else self._difference()) or self._twice()

    def _has_ended(self) -> bool:
        if self._is_followed:
            return self.end_seen
        if self._stranger:
            return self._stranger_seen
        return self._again != [None, None] or self._root_errors > 1

    def _difference(self) -> str:
        """What the two looks at the top of the tree don't agree about."""
        again: set[str] = set().union(*(seen for seen in self._again if seen is not None))
        if not self.echoed:
            # Directories of the second look can't be told from the first one's.
            gone = self._top - again
        else:
            top = self._top | self._opened | self._tops(self._directories)
            gone = top - again
            late = again - top - self._tops(self.refused)
            if late:
                return f"only listed at the second look: {min(late)!r}"
        return f"not listed again at the second look: {min(gone)!r}" if gone else ""

    def _twice(self) -> str:
        """What was listed twice; "" when nothing was."""
        suspects = self.paths.repeated()
        if not suspects:
            return ""
        seen: set[str] = set()
        for paths in (self.refused, (file.path for file in self.files)):
            for path in paths:
                if path.rpartition("/")[0] in suspects:
                    if path in seen:
                        return f"listed twice: {path!r}"
                    seen.add(path)
        return ""

    def _tops(self, paths: Iterable[str]) -> set[str]:
        """The entries of the root that these paths lie in."""
        start = len(self._inside)
        names = {path[start:].partition("/")[0] for path in paths if path != self.root}
        return {self._inside + name for name in names}

"""One session that lists several directories, one after the other.

Guarantee: each directory is judged by itself. hsi repeats each command before its answer, so the answer about one
directory has ended where the command about the next one is repeated; the last one, and those that are said to be looked
at twice, are known to have ended as a tree in a session of its own is (hsi_tree.py). An hsi that does not repeat our
commands can't be asked so.
Never fails: what is wrong with an answer is told, and the caller decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tacc_sync.outside.host.spool import IN_MEMORY
from tacc_sync.outside.hpss.hsi_answers import LONGEST_OUTPUT_LINE, STDERR, STDOUT, Answer
from tacc_sync.outside.hpss.hsi_lines import Dialect
from tacc_sync.outside.hpss.hsi_said import Complaint, Noise, Said
from tacc_sync.outside.hpss.hsi_tree import NEVER_EXPLAINED, TreeAnswer
from tacc_sync.outside.hpss.interface import ListedPart


class PartsAnswer(Answer):
    """The listings of several directories, none inside of another. Itself it hears what comes on standard error."""

    def __init__(self, roots: Sequence[str], dialect: Dialect, *, deep: bool, twice: Collection[str] = ()) -> None:
        """`twice`: directories that are looked at again."""
        # Together as many files in memory as one listing has.
        in_memory = max(IN_MEMORY // max(len(roots), 1), 100)
        self.parts = [
            TreeAnswer(
                root,
                dialect,
                deep=deep,
                is_followed=number < len(roots) and root not in twice,
                in_memory=in_memory,
            )
            for number, root in enumerate(roots, 1)
        ]
        super().__init__([line for part in self.parts for line in part.lines], dialect)
        # The part whose answer is being read, and the first command about each part.
        self.at = 0
        self._firsts = [part.lines[0].encode() for part in self.parts]
        self._rest = b""

    @property
    def current(self) -> TreeAnswer:
        """The part whose answer is being read."""
        return self.parts[self.at]

    @property
    def entries(self) -> int:
        """How much has been listed so far."""
        return sum(part.entries for part in self.parts[: self.at + 1])

    @property
    def finished_entries(self) -> int:
        """How much has been listed of those directories whose end was seen."""
        return sum(part.entries for part in self.parts[: self.at])

    def feed(self, stream: int, data: bytes) -> None:
        """Bytes of one of the two streams: standard output goes to the part that it is about."""
        if stream != STDOUT:
            super().feed(stream, data)
            return
        data = self._rest + data
        lines, end, self._rest = data.rpartition(b"\n")
        if end:
            self._take_apart(lines + end)
        if len(self._rest) > LONGEST_OUTPUT_LINE:
            self.is_strange(f"a line of more than {LONGEST_OUTPUT_LINE} bytes: {self._rest[:200]!r}...")
            self._rest = b""

    def _take_apart(self, lines: bytes) -> None:
        while self.at + 1 < len(self.parts):
            begin = _line_that_is(self._firsts[self.at + 1], lines)
            if begin < 0:
                break
            self.current.feed(STDOUT, lines[:begin])
            self.current.end()
            self.current.end_seen = True
            self.at += 1
            lines = lines[begin:]
        self.current.feed(STDOUT, lines)

    def end(self) -> None:
        """Both streams have ended."""
        self.current.feed(STDOUT, self._rest)
        self.current.end()
        super().end()
        for part in self.parts[: self.at + 1]:
            for trouble in part.troubles:
                self.is_trouble(trouble.code, trouble.text)
            self.echoed = self.echoed or part.echoed

    def heard(self, stream: int, said: Said) -> None:  # noqa: ARG002
        """An error about one of the parts."""
        match said:
            case Complaint(path) if path:
                for part in self.parts:
                    if path == part.root or path.startswith(part.root.rstrip("/") + "/"):
                        part.heard(STDERR, said)
                        return
                self.is_strange(f"an error about something else: {said.text} {path}")
            case Noise():
                pass
            case _:
                self.is_strange(f"not the answer to a listing: {said}")

    def whys(self, exit_status: int | None) -> list[str | None]:
        """Of each part, why its answer doesn't say what exists: "" when it does, None when it was not even begun.

        `exit_status` is None when we ended the session ourselves; what was being read then is not judged complete.
        """
        whole = self.strange_text() or " / ".join(trouble.text for trouble in self.troubles)
        status = 0 if exit_status is None else exit_status
        if 0 < status <= 128 and status not in NEVER_EXPLAINED and any(part.has_errors for part in self.parts):
            # One of the parts explains it.
            status = 0
        whys: list[str | None] = []
        for number, part in enumerate(self.parts):
            if number > self.at:
                whys.append(None)
            elif exit_status is None and number == self.at:
                whys.append("the session was ended before its end was seen")
            elif not part.echoed:
                whys.append(whole or "hsi did not repeat its command")
            else:
                whys.append(whole or part.why_incomplete(status))
        return whys


def part_of(answer: TreeAnswer) -> ListedPart:
    """What a complete answer says."""
    return ListedPart(
        answer.root,
        answer.files,
        answer.directories,
        None if answer.deep else tuple(sorted(answer.subdirectories)),
        list(answer.refused.values()),
        answer.paths,
    )


def _line_that_is(wanted: bytes, lines: bytes) -> int:
    """Where the line begins that holds this text and nothing else; -1 when there is none."""
    found = lines.find(wanted)
    while found >= 0:
        begin = lines.rfind(b"\n", 0, found) + 1
        if lines[begin : lines.index(b"\n", found)].strip() == wanted:
            return begin
        found = lines.find(wanted, found + 1)
    return -1

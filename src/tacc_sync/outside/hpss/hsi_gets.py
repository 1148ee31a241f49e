"""What a retrieval session says about each file, and which files it is done with.

Guarantee: a byte count belongs to a file only when hsi's own success line names exactly its pair of paths; an error
only when it names the file's path, or when hsi had just repeated that file's command. The rest is unexplained, not
guessed. Under some of hsi's options success is silent, so silence means nothing here. What hsi says of a `stage` counts
neither for nor against a file: its `get` decides.
Never fails: the disk has the last word about what was fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tacc_sync.outside.hpss import hsi_commands
from tacc_sync.outside.hpss.hsi_answers import Answer, short
from tacc_sync.outside.hpss.hsi_lines import Dialect
from tacc_sync.outside.hpss.hsi_said import Complaint, Echo, Got, Noise, Said, Unknown
from tacc_sync.outside.hpss.interface import Fetch, Fetched

# Of one file; they go into its unit's document.
MOST_ERRORS = 10
# Of a session: what a `stage` prints is not documented, and must not crowd out what else is strange.
MOST_STAGE_REMARKS = 3
_ENDS_A_PATH = frozenset(" \t'\"`:,;)")
_OF_A_STAGE = re.compile(r"(?:\*\*\* )?stage\b|\*\*\* unrecognized command: [`'\"]?stage\b")


@dataclass(frozen=True, slots=True)
class Staging:
    """How a session asks for its files before it fetches them: options of `stage`, and how many files ahead."""

    options: tuple[str, ...] = ()
    ahead: int = 100


class GetsAnswer(Answer):
    """The output of one session with one `get` a line; `over` counts the fetches that hsi is done with, in order."""

    def __init__(
        self, fetches: Sequence[Fetch], flags: tuple[str, ...], dialect: Dialect, staging: Staging | None = None
    ) -> None:
        """With `staging` each file is also asked for beforehand."""
        gets = [hsi_commands.get(f.hpss_path, f.local_path, flags) for f in fetches]
        lines = gets
        if staging is not None:
            stages = [hsi_commands.stage(f.hpss_path, staging.options) for f in fetches]
            is_short = [len(line.encode()) <= hsi_commands.LONGEST_LINE for line in stages]
            stages = [line if short_enough else "" for line, short_enough in zip(stages, is_short, strict=True)]
            lines = hsi_commands.recall(gets, stages, staging.ahead)
        super().__init__(lines, dialect)
        self._gets = {line: index for index, line in enumerate(gets)}
        self._stages_files = staging is not None
        # How many complaints were about a `stage`; and whether hsi has just repeated one, on each stream.
        self.stage_complaints = 0
        self._stage_remarks = 0
        self._at_a_stage = [False, False]
        self.over = 0
        self.sizes: list[int | None] = [None] * len(fetches)
        self.errors: list[list[str]] = [[] for _ in fetches]
        self._paths = [fetch.hpss_path for fetch in fetches]
        self._pairs = {f"'{f.local_path}' : '{f.hpss_path}'": index for index, f in enumerate(fetches)}
        self._current: list[int | None] = [None, None]

    def said(self, stream: int, said: Said) -> None:
        """Notices which file hsi is at."""
        if isinstance(said, Echo):
            index = self._gets.get(said.line)
            self._at_a_stage[stream] = index is None
            self._current[stream] = index
            if index is not None:
                self.is_over(index)
        if self._stages_files and isinstance(said, Unknown) and self._is_of_a_stage(stream, said.text):
            self._stage_remarks += 1
            if self._stage_remarks > MOST_STAGE_REMARKS:
                return
        super().said(stream, said)

    def _is_of_a_stage(self, stream: int, text: str) -> bool:
        """Whether a line is about a `stage`: it says so, or hsi had just repeated one and names no other command."""
        return _OF_A_STAGE.match(text) is not None or (
            self._at_a_stage[stream] and re.match(r"(?:\*\*\* )?get\b", text) is None
        )

    def heard(self, stream: int, said: Said) -> None:
        """A success or a complaint."""
        match said:
            case Got(pair, size):
                index = self._pairs.get(pair)
                if index is None:
                    self.is_strange(f"a file that nobody asked for: {pair}")
                else:
                    self.sizes[index] = size
                    self.is_over(index + 1)
            case Complaint(path, _, text):
                # The archive has no hash of it: the file came all the same, unless hsi calls it an error.
                if "checksum not set" in text and "Error" not in text:
                    return
                if self._stages_files and self._is_of_a_stage(stream, text):
                    self.stage_complaints += 1
                    return
                named = self._named(f"{text} {path}" if path else text)
                at = named if named is not None else self._current[stream]
                if at is None:
                    self.is_strange(f"{text} {path}".strip())
                else:
                    self._is_wrong(at, text)
            case Noise():
                pass
            case _:
                self.is_strange(f"not the answer to a get: {said}")

    def _is_wrong(self, index: int, text: str) -> None:
        errors = self.errors[index]
        if len(errors) < MOST_ERRORS and short(text) not in errors:
            errors.append(short(text))

    def _named(self, text: str) -> int | None:
        """The file whose path a message holds: the longest, for one path may begin like another."""
        best: int | None = None
        for index, path in enumerate(self._paths):
            at = text.find(path)
            while at >= 0:
                behind = text[at + len(path) : at + len(path) + 1]
                is_whole = not behind or behind in _ENDS_A_PATH
                if is_whole and (best is None or len(path) > len(self._paths[best])):
                    best = index
                at = text.find(path, at + 1)
        return best

    def is_over(self, count: int) -> None:
        """The first `count` files are over, well or not."""
        self.over = max(self.over, count)

    def fetched(self, index: int) -> Fetched:
        """What hsi said of one file."""
        return Fetched(self.sizes[index], "; ".join(dict.fromkeys(self.errors[index])))

    def is_explained(self, *, has_begun: bool) -> bool:
        """Whether a bad exit status says nothing new: a file was named, or only a `stage` went wrong, for hsi went on
        to the last `get`."""
        if any(self.errors):
            return True
        if not self._stages_files or not has_begun or self.over < len(self.sizes) - 1:
            return False
        return self.stage_complaints > 0 or None not in self.sizes

    def unanswered(self) -> list[int]:
        """Files without a word, when hsi had a word for others."""
        silent = [i for i, size in enumerate(self.sizes) if size is None and not self.errors[i]]
        return silent if any(size is not None for size in self.sizes) else []

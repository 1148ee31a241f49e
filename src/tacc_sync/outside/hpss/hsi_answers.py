"""Whole answers of hsi: what a session's output says about each of the paths that were asked for in it.

Guarantee: `why_incomplete` is "" only when each line was understood, none was cut off, and each path asked for was
seen or refused by name; the exit status is no part of the proof.
Never fails: what is wrong with an answer is told, and the caller decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from tacc_sync.outside.hpss import hsi_commands
from tacc_sync.outside.hpss.hsi_file_lines import FileLines
from tacc_sync.outside.hpss.hsi_lines import LOGIN_FAILED, Dialect, Ear, is_prompt
from tacc_sync.outside.hpss.hsi_said import Complaint, Directory, Echo, Hash, Noise, Said, Trouble, Unknown
from tacc_sync.outside.hpss.interface import ArchiveHash, ListedFile, Refused

STDOUT, STDERR = 0, 1
LONGEST_OUTPUT_LINE = 64 * 1024
MOST_STRANGE_LINES = 50


class Answer:
    """What all answers share: bytes to lines, lines to what they say, and a memory of what was strange."""

    def __init__(self, lines: Sequence[str], dialect: Dialect) -> None:
        """`lines` are the commands of the IN file."""
        self.lines = list(lines)
        self.own_lines = {line: index for index, line in enumerate(self.lines)}
        self.files_heard = FileLines()
        self.ears = [Ear(dialect, self.own_lines, self.files_heard) for _ in (STDOUT, STDERR)]
        self.strange: list[str] = []
        self.troubles: list[Trouble] = []
        self.echoed = False
        self._carry = [b"", b""]

    def feed(self, stream: int, data: bytes) -> None:
        """Bytes as they come out of one of the two streams."""
        data = self._carry[stream] + data
        lines, end, carry = data.rpartition(b"\n")
        if len(carry) > LONGEST_OUTPUT_LINE:
            self.is_strange(f"a line of more than {LONGEST_OUTPUT_LINE} bytes: {carry[:200]!r}...")
            carry = b""
        self._carry[stream] = carry
        if end:
            self.take(stream, lines.decode("utf-8", "surrogateescape"))

    def end(self) -> None:
        """Both streams have ended."""
        for stream, ear in enumerate(self.ears):
            for said in ear.end():
                self.said(stream, said)
            rest = self._carry[stream].decode("utf-8", "surrogateescape").strip()
            if not rest or is_prompt(rest):
                continue
            # The last words of a dying session may lack their line end; data without one are cut off.
            last_words = [said for said in ear.hear(rest) if isinstance(said, Trouble)]
            for trouble in last_words:
                self.is_trouble(trouble.code, trouble.text)
            if not last_words:
                self.is_strange(f"cut off inside of a line: {rest!r}")

    def take(self, stream: int, text: str) -> None:
        """Whole lines of one stream, the last one without its line end."""
        hear = self.ears[stream].hear
        for line in text.split("\n"):
            for said in hear(line):
                self.said(stream, said)

    def said(self, stream: int, said: Said) -> None:
        """One thing that hsi said."""
        match said:
            case Trouble(code, text):
                self.is_trouble(code, text)
            case Echo():
                self.echoed = True
            case Unknown(text):
                self.is_strange(text)
            case _:
                self.heard(stream, said)

    def heard(self, stream: int, said: Said) -> None:
        """Something about what was asked."""
        raise NotImplementedError

    def is_strange(self, text: str) -> None:
        """Remember a line that we can't explain; a flood of them is cut short."""
        if len(self.strange) < MOST_STRANGE_LINES:
            self.strange.append(short(text))

    def is_trouble(self, code: str, text: str) -> None:
        """Remember what is the matter with the session; of a flood only the first lines, and every code."""
        if len(self.troubles) < MOST_STRANGE_LINES or code not in {trouble.code for trouble in self.troubles}:
            self.troubles.append(Trouble(code, short(text)))

    def trouble(self) -> tuple[str, str] | None:
        """The trouble of the whole session: its most telling code, and all the lines."""
        text = " / ".join(dict.fromkeys(trouble.text for trouble in self.troubles))
        codes = {trouble.code for trouble in self.troubles}
        for code in ("HPSS-UNAUTHENTICATED", "HPSS-SESSIONS", "HPSS-AWAY", "HSI-CRASHED"):
            if code in codes:
                return code, text
        return ("HPSS-UNAUTHENTICATED", text) if LOGIN_FAILED in codes else None

    def strange_text(self) -> str:
        """The strange lines for a message, the first few in full."""
        shown = " | ".join(repr(line) for line in self.strange[:5])
        more = len(self.strange) - 5
        return shown + (f" and {more} more" if more > 0 else "")


def short(text: str) -> str:
    """A line for a message: no stranger makes it longer than a few lines."""
    return text if len(text) <= 400 else f"{text[:400]}..."


def is_trash(path: str) -> bool:
    """Whether a path, counted from what was asked for, lies in something thrown away."""
    return "/.Trash" in path and ".Trash" in path.split("/")


class FilesAnswer(Answer):
    """The listing of single files. `around` are directories asked for too, to learn what a silent path is."""

    def __init__(self, paths: Sequence[str], dialect: Dialect, *, around: Sequence[str] = ()) -> None:
        lines = [hsi_commands.list_one(path) for path in paths]
        super().__init__([*lines, *(hsi_commands.list_top(path) for path in around)], dialect)
        self.asked = set(paths)
        self.found: dict[str, ListedFile] = {}
        self.refused: dict[str, Refused] = {}
        self._around = set(around)

    def heard(self, stream: int, said: Said) -> None:  # noqa: ARG002
        """An entry or a complaint."""
        match said:
            case ListedFile():
                if said.path not in self.asked:
                    self._is_inside(said.path)
                elif self.found.setdefault(said.path, said) != said:
                    self.is_strange(f"listed twice, differently: {said.path!r}")
            case Directory(path):
                if path in self.asked:
                    self.refused[path] = Refused(path, "not-a-file", "it is a directory")
                elif path not in self._around and not path.endswith(("/.", "/..")):
                    self._is_inside(path)
            case Complaint(path, kind, text):
                name = _as_asked(path, self.asked)
                if name is not None:
                    self.refused.setdefault(name, Refused(name, kind, text))
                elif kind in ("not-a-file", "unspeakable") and path:
                    self._is_inside(path)
                elif not (is_trash(path) or path in self._around):
                    self.is_strange(f"{text} {path}".strip())
            case Echo() | Noise():
                pass
            case _:
                self.is_strange(f"not the answer to a listing: {said}")

    def _is_inside(self, path: str) -> None:
        """Something that nobody asked for: what a directory holds that was asked for like a file."""
        parent = path.rpartition("/")[0] or "/"
        if parent in self.asked:
            self.refused.setdefault(parent, Refused(parent, "not-a-file", "it is a directory"))
        elif parent not in self._around:
            self.is_strange(f"nobody asked for it: {path!r}")

    def silent(self) -> list[str]:
        """The paths about which hsi said nothing, in order."""
        return sorted(self.asked - self.found.keys() - self.refused.keys())

    def why_incomplete(self) -> str:
        """Why this is not an answer; silence about some paths is told by `silent`, not here."""
        return self.strange_text() or " / ".join(trouble.text for trouble in self.troubles)


class HashesAnswer(Answer):
    """The archive's hashes of single files."""

    def __init__(self, paths: Sequence[str], dialect: Dialect) -> None:
        super().__init__([hsi_commands.list_hash(path) for path in paths], dialect)
        self.asked = set(paths)
        self.found: dict[str, ArchiveHash | None] = {}
        self.refused: dict[str, Refused] = {}

    def heard(self, stream: int, said: Said) -> None:  # noqa: ARG002
        """A hash or a complaint."""
        match said:
            case Hash(path, whole, algorithm, digits):
                name = whole if whole in self.asked else _as_asked(path, self.asked)
                if name is None:
                    self.is_strange(f"nobody asked for it: {whole!r}")
                elif algorithm:
                    known = self.found.get(name)
                    # Two hashes of one file: keep the longer one, it proves more.
                    if known is None or len(known.hex) < len(digits):
                        self.found[name] = ArchiveHash(algorithm, digits)
                else:
                    self.found.setdefault(name, None)
            case Complaint(path, kind, text):
                name = _as_asked(path, self.asked)
                if name is None:
                    self.is_strange(f"{text} {path}".strip())
                else:
                    self.refused.setdefault(name, Refused(name, kind, text))
            case Echo() | Noise():
                pass
            case _:
                self.is_strange(f"not the answer to hashlist: {said}")

    def silent(self) -> list[str]:
        """The paths about which hsi said nothing, in order."""
        return sorted(self.asked - self.found.keys() - self.refused.keys())

    def why_incomplete(self) -> str:
        """Why this is not an answer; silence about some paths is told by `silent`, not here."""
        return self.strange_text() or " / ".join(trouble.text for trouble in self.troubles)


def _as_asked(path: str, asked: set[str]) -> str | None:
    """The path that a message names, as it was asked for; messages may lose blanks at its end."""
    if path in asked:
        return path
    return next((name for name in asked if name.rstrip() == path), None) if path else None

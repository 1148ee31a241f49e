"""What hsi says to us: one line of its output at a time, and what that line means.

Guarantee: every line is a file, a directory, a complaint, a hash, a success of `get`, the echo of a command of ours,
trouble of the whole session, known noise, or `Unknown`. What doesn't have the full form of its kind is `Unknown`,
never a guess: half a line is not a file.
Never fails: any text has a meaning here, if only `Unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tacc_sync.outside.hpss.hsi_file_lines import FileLines
from tacc_sync.outside.hpss.hsi_said import (
    Complaint,
    Directory,
    Echo,
    Got,
    Hash,
    Kind,
    Noise,
    Said,
    Trouble,
    Unknown,
    Verified,
)
from tacc_sync.rules.evidence import DIGITS

AUTHENTICATION: Final = (
    r"Unable to authenticate user",
    r"result = -11000, errno = 29\b",
    r"Must run interactively",
    r"Unable to update \.netrc",
    r"Generating \.netrc entry",
    r"(?i)^(?:password|passcode|principal)\b.*:",
)
# Nobody has told the real message of the session limit; these are guesses, which configuration can replace.
SESSIONS: Final = (
    r"(?i)\btoo many (?:concurrent |open )?(?:sessions|connections|logins)",
    r"(?i)\b(?:session|connection)s? limit\b",
    r"(?i)\bmaximum (?:number of )?(?:concurrent )?(?:sessions|connections)",
)
AWAY: Final = (
    r"HPSS Unavailable",
    r"(?i)\bHPSS is (?:down|unavailable|not available)",
    r"connect: Connection (?:refused|timed out)",
    r"hpssex_OpenConnection: unable to obtain remote site info",
    r"Unable to setup communication to HPSS",
    r"(?i)^(?:\*\*\* )?(?:hsi: )?(?:lost connection|connection (?:reset|closed|lost))",
)
NOISE: Final = (
    r"^\[(?:connecting|reading|setting|Site=)[^\]]*\]?$",
    r"^Getting remote site info$",
    r"^Username: .* UID: ",
    r"^[A-Z]: *firewall mode set ",
    r"^\*{0,3} ?(?:Connected|Connecting) to \S+$",
)

_ERRNO_KINDS: Final[dict[str, Kind]] = {
    "ENOENT": "missing",
    "EACCES": "denied",
    "EPERM": "denied",
    "EISDIR": "not-a-file",
}
# Says both "who are you" and "where is HPSS". Alone it means the login, or we would knock for ever.
LOGIN_FAILED: Final = "login failed"

# Something printed behind the last field of a FILE line without a line end between: a prompt, an error, noise.
_GLUED_BEHIND = re.compile(
    r"(FILE\t[^\n]*?\t\d\d/\d\d/\d{4}\t\d\d:\d\d:\d\d\t\d\d/\d\d/\d{4}\t\d\d:\d\d:\d\d)(\S.*)", re.ASCII
)
_PROMPT = re.compile(r"[A-Z]:(?:\[[^\]]*\](?:->|:)?|/[^\t]*?->)(?: |$)")
_PADDED_WORD = re.compile(r"^(FILE|DIRECTORY) +\t")
_OTHER_OBJECT = re.compile(r"([A-Z][A-Z_ -]{1,23})\t *(/[^\t]*)(?:\t.*)?")
_LONG_LINK = re.compile(r"l[-rwxsStT]{9}\S? +.* (?:\d\d:\d\d(?::\d\d \d{4})?|\d{4}) (\S.*?)@? -> .*")
_HEADER = re.compile(r"(/.*):")
_HASH = re.compile(r"([0-9A-Fa-f]+) +(\(?)([A-Za-z][\w-]*)(\)?) (/.*)")
_OWNER = re.compile(r" \[[^\[\]]*\]$")
_NO_HASH = re.compile(r"\(?none\)?  ?(/.*)")
_NO_VALID_HASH = re.compile(r"(/.*?):? failed: no valid checksum found")
_VERIFIED = re.compile(r"(/.*): \(([\w-]+)\) OK")
_GOT_SIZE = re.compile(r"[( ](\d+) bytes\b", re.ASCII)
_IGNORED_DIRECTORY = re.compile(r"(?:\*\*\* )?Warning: [`']?(.*?)'? is a directory - ignored")
_NO_MATCH = re.compile(r"(?:\*\*\* )?Warning: No matching names located for [`']?(.*?)'?")
_STARRED = re.compile(r"\*\*\* \w+: .*")
_COMPLAINT = re.compile(
    r"(?:\w+: Error\b|ERROR: |INFO: I/O error|HTAR: |hpss\w*_\w+: |\w+: .*\[-?\d+: \w+\]$|Error -?\d+ on "
    r"|Aborting transfer|.*\bchecksum not set|.*\bHPSS_E[A-Z]+\b|.*\b(?:Access|Permission) denied)"
)
_CODE_AT_END = re.compile(r"\s*\[-?\d+: \w+\]\s*$")
_QUOTED_PATH = re.compile(r"[`'\"](/[^'\"]*)['\"]")
_LAST_PATH = re.compile(r"(?:^|[\s:=(])(/.*)$")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What a site's hsi says when something is wrong, as regular expressions that are searched in a line."""

    authentication: tuple[str, ...] = AUTHENTICATION
    sessions: tuple[str, ...] = SESSIONS
    away: tuple[str, ...] = AWAY
    noise: tuple[str, ...] = NOISE

    def trouble(self, text: str) -> Trouble | None:
        """The trouble of the whole session that a line tells of. One block of lines may hold several codes."""
        for code, pattern in self._patterns:
            if pattern.search(text):
                return Trouble(code, text)
        return None

    def is_noise(self, text: str) -> bool:
        """Whether a line means nothing."""
        return any(re.search(pattern, text) for pattern in self.noise)

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        pairs = [
            *(("HPSS-UNAUTHENTICATED", pattern) for pattern in self.authentication),
            *(("HPSS-SESSIONS", pattern) for pattern in self.sessions),
            *(("HPSS-AWAY", pattern) for pattern in self.away),
            (LOGIN_FAILED, r"authentication/initialization failed"),
            (
                "HSI-CRASHED",
                r"^(?:.*: )?(?:Segmentation fault|Bus error|Illegal instruction)(?: \(core dumped\))?$",
            ),
            ("", r"^result = -?\d+, errno = \d+$|^\*\*\* HSI: error opening logging"),
        ]
        return [(code, re.compile(pattern)) for code, pattern in pairs]


def kind_of(text: str) -> Kind:
    """The kind of an error, from its HPSS code or else its words."""
    code = re.search(r"\[-?\d+: HPSS_(\w+)\]", text)
    if code:
        return _ERRNO_KINDS.get(code.group(1), "error")
    if re.search(r"(?i)no such file|not found|does not exist", text):
        return "missing"
    if re.search(r"(?i)(?:permission|access) denied|not permitted", text):
        return "denied"
    return "not-a-file" if re.search(r"(?i)is a directory|not a (?:regular )?file", text) else "error"


def is_prompt(text: str) -> bool:
    """Whether a text is nothing but hsi's prompt."""
    return _PROMPT.fullmatch(text) is not None


def _path_in(text: str) -> str:
    """The path that a message names: in quotes, or everything from its first slash to its end; "" when none."""
    text = _CODE_AT_END.sub("", text)
    found = _QUOTED_PATH.search(text) or _LAST_PATH.search(text)
    return found.group(1).strip() if found else ""


class Ear:
    """Understands the lines of one stream of one session; an error's text and its path come on two lines."""

    def __init__(self, dialect: Dialect, own_lines: Container[str], files: FileLines) -> None:
        self._dialect = dialect
        self._own_lines = own_lines
        self._files = files
        self._header = ""
        self.pending: str | None = None

    def hear(self, line: str) -> list[Said]:
        """What this line says; nothing while an error waits for the line that names its path."""
        line = line.removesuffix("\r")
        if line.startswith(("FILE ", "DIRECTORY ")):
            line = _PADDED_WORD.sub(r"\1\t", line)
        if self.pending is not None:
            text, self.pending = self.pending, None
            path = line.strip().strip("'\"")
            if line[:1] in (" ", "\t") and path.startswith("/"):
                return [Complaint(path, kind_of(text), text)]
            return [Complaint("", kind_of(text), text), *self.hear(line)]
        if line.startswith("DIRECTORY\t"):
            return [self._directory(line)]
        if line.startswith("FILE\t"):
            return self._file(line)
        if "\r" in line:
            # Progress text that overwrites itself on a terminal.
            return [said for piece in line.split("\r") for said in self.hear(piece)]
        begin = line.find("FILE\t/")
        if begin > 0 and line[begin - 1] != "\t":
            before = self.hear(line[:begin].rstrip(" ")) if line[:begin].strip() else []
            if self.pending is not None or any(isinstance(said, Unknown) for said in before):
                self.pending = None
                return [Unknown(line)]
            return [*before, *self._file(line[begin:])]
        return self._words(line)

    def end(self) -> list[Said]:
        """The stream has ended: what still waited for a second line."""
        text, self.pending = self.pending, None
        return [] if text is None else [Complaint("", kind_of(text), text)]

    def _file(self, line: str) -> list[Said]:
        said = self._files.plain(line) or self._files.any(line)
        if not isinstance(said, Unknown):
            return [said]
        glued = _GLUED_BEHIND.fullmatch(line)
        if glued:
            first = self._files.any(glued.group(1))
            return [first] if isinstance(first, Unknown) else [first, *self.hear(glued.group(2))]
        if "\r" in line:
            return [said for piece in line.split("\r") for said in self.hear(piece)]
        return [said]

    @staticmethod
    def _directory(line: str) -> Said:
        path, *more = line.removeprefix("DIRECTORY\t").split("\t")
        path = path.strip(" ")
        if not path.startswith("/") or any(text.strip() for text in more) or "FILE\t" in line:
            return Unknown(line)
        return Directory(path.rstrip("/") or "/")

    def _words(self, line: str) -> list[Said]:
        text = line.strip()
        if not text:
            return [Noise()]
        if text in self._own_lines:
            return [Echo(text)]
        prompt = _PROMPT.match(text)
        if prompt:
            rest = text[prompt.end() :]
            return self.hear(rest) if rest.strip() else [Noise()]
        # Data first: a path in it may hold the words of an error.
        data = self._data(text)
        if data:
            return data
        trouble = self._dialect.trouble(text)
        if trouble:
            return [trouble]
        if self._dialect.is_noise(text):
            return [Noise()]
        return self._complaint(text) or self._rest(text)

    @staticmethod
    def _data(text: str) -> list[Said]:
        """Hashes and successes of `get`."""
        if text.startswith("get  '"):
            pair, _, tail = text[3:].strip().rpartition(" (")
            size = _GOT_SIZE.search(f"({tail}") if text.endswith(")") else None
            return [Got(pair.rstrip(), int(size.group(1))) if size else Got(text[3:].strip(), None)]
        if found := _HASH.fullmatch(text):
            digits, opened, name, closed, whole = found.groups()
            algorithm = name.lower().replace("-", "")
            if len(digits) != DIGITS.get(algorithm) or bool(opened) != bool(closed):
                return [Unknown(text)]
            path = whole if opened else _OWNER.sub("", whole)
            return [Hash(path, whole, algorithm, digits.lower())]
        if found := _NO_HASH.fullmatch(text) or _NO_VALID_HASH.fullmatch(text):
            return [Hash(found.group(1), found.group(1), "", "")]
        if found := _VERIFIED.fullmatch(text):
            return [Verified(found.group(1), found.group(2).lower().replace("-", ""))]
        return []

    def _complaint(self, text: str) -> list[Said]:
        if found := _IGNORED_DIRECTORY.fullmatch(text):
            return [Complaint(found.group(1), "not-a-file", text)]
        if found := _NO_MATCH.fullmatch(text):
            return [Complaint(found.group(1), "missing", text)]
        if text.startswith("*** unrecognized command"):
            return [Unknown(text)]
        if not _STARRED.fullmatch(text) and not _COMPLAINT.match(text):
            return []
        path = _path_in(text)
        if path or not (text.startswith("*** ") or _CODE_AT_END.search(text)):
            return [Complaint(path, kind_of(text), text)]
        self.pending = text
        return [Noise()]

    def _rest(self, text: str) -> list[Said]:
        if found := _OTHER_OBJECT.fullmatch(text):
            return [Complaint(found.group(2).rstrip(" "), "not-a-file", f"hsi calls it {found.group(1).strip()}")]
        if found := _LONG_LINK.fullmatch(text):
            name = found.group(1)
            path = name if name.startswith("/") else f"{self._header}/{name}" if self._header else ""
            return [Complaint(path, "not-a-file", f"a symbolic link: {text}")]
        if found := _HEADER.fullmatch(text):
            self._header = found.group(1).rstrip("/")
            return [Noise()]
        return [Unknown(text)]

"""The language of an hsi line: `;`, quotes, backslash, wildcards, `!`, options.

All of it works on bytes, because a path on tape is bytes. Quoted characters mean themselves; what was not
quoted is *live*: a live blank ends a word, a live `;` a command, a live `*?[]{}` is a wildcard, a live `!` at
the beginning asks for a local shell, a live `(` or `)` is grouping, which no path may use by accident and
which we refuse.

Fails with: BadLine (unbalanced quote, live parenthesis), Usage (an option that the command does not have).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLANKS = b" \t\r"


class BadLine(Exception):
    """The line cannot be split into commands."""


class Usage(Exception):
    """The command does not know this option, or lacks an argument."""


class Word:
    """One word: its bytes, and for each byte whether it was live (not quoted)."""

    __slots__ = ("live", "text")

    def __init__(self, text: bytes, live: bytes) -> None:
        self.text = text
        self.live = live

    def is_live(self, text: bytes) -> bool:
        """Whether the word is exactly this text, unquoted."""
        return self.text == text and all(self.live)

    def is_pattern(self) -> bool:
        """Whether it holds a live wildcard."""
        return any(live and byte in b"*?[{" for byte, live in zip(self.text, self.live, strict=True))


def split_line(line: bytes) -> list[list[Word]]:
    """The commands of a line, each a list of words; empty commands and comments are left out."""
    splitter = _Splitter(line)
    while splitter.at < len(line):
        splitter.step()
    splitter.end_command()
    return splitter.commands


class _Splitter:
    """Goes through a line once, byte by byte."""

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.at = 0
        self.commands: list[list[Word]] = []
        self._words: list[Word] = []
        self._text, self._live = bytearray(), bytearray()
        self._is_in_word = False

    def step(self) -> None:
        """Take the next byte, quoted text or escaped byte."""
        byte = self.line[self.at : self.at + 1]
        at_beginning = not self._is_in_word and not self._words
        if at_beginning and byte == b"#":
            self.at = len(self.line)
        elif at_beginning and byte == b"!":
            # A local shell gets the whole rest of the line, semicolons included.
            self._add(self.line[self.at :], is_live=True)
            self.at = len(self.line)
        elif byte in (b"'", b'"'):
            end = self.line.find(byte, self.at + 1)
            if end < 0:
                raise BadLine("unbalanced quote")
            self._add(self.line[self.at + 1 : end], is_live=False)
            self.at = end + 1
        elif byte == b"\\" and self.at + 1 < len(self.line):
            self._add(self.line[self.at + 1 : self.at + 2], is_live=False)
            self.at += 2
        elif byte in (b"(", b")"):
            raise BadLine(f"unexpected {byte.decode()}")
        else:
            self._plain(byte)
            self.at += 1

    def end_command(self) -> None:
        """A semicolon, or the end of the line."""
        self._end_word()
        if self._words:
            self.commands.append(self._words)
        self._words = []

    def _plain(self, byte: bytes) -> None:
        if byte == b";":
            self.end_command()
        elif byte in BLANKS:
            self._end_word()
        else:
            self._add(byte, is_live=True)

    def _add(self, text: bytes, *, is_live: bool) -> None:
        self._text += text
        self._live += (b"\1" if is_live else b"\0") * len(text)
        self._is_in_word = True

    def _end_word(self) -> None:
        if self._is_in_word:
            self._words.append(Word(bytes(self._text), bytes(self._live)))
        self._text, self._live = bytearray(), bytearray()
        self._is_in_word = False


def is_shell_escape(words: list[Word]) -> bool:
    """Whether hsi would hand this line to a local shell."""
    return words[0].text[:1] == b"!" and words[0].live[0] == 1


def options(words: list[Word], plain: bytes, valued: bytes = b"") -> tuple[dict[str, bytes], list[Word]]:
    """Split arguments into options (`-a -b`, `-ab`, `-c VALUE`) before the first path, and the rest."""
    found: dict[str, bytes] = {}
    rest = list(words)
    while rest and rest[0].text[:1] == b"-" and len(rest[0].text) > 1 and rest[0].live[0]:
        letters = rest.pop(0).text[1:]
        while letters:
            letter, letters = letters[:1], letters[1:]
            name = letter.decode("latin-1")
            if letter in valued:
                if not letters and not rest:
                    raise Usage(f"option -{name} needs a value")
                found[name] = letters or rest.pop(0).text
                letters = b""
            elif letter in plain:
                found[name] = b""
            else:
                raise Usage(f"unrecognized option: -{name}")
    return found, rest


def alternatives(word: Word) -> Iterator[Word]:
    """The words that a word with live braces stands for: `{a,b}c` is `ac` and `bc`."""
    text, live = word.text, word.live
    opening = next((i for i, byte in enumerate(text) if byte == ord("{") and live[i]), None)
    if opening is None:
        yield word
        return
    closing = next((i for i in range(opening, len(text)) if text[i] == ord("}") and live[i]), None)
    if closing is None:
        yield word
        return
    start = opening + 1
    for at in range(start, closing + 1):
        if at == closing or (text[at] == ord(",") and live[at]):
            yield from alternatives(
                Word(
                    text[:opening] + text[start:at] + text[closing + 1 :],
                    live[:opening] + live[start:at] + live[closing + 1 :],
                )
            )
            start = at + 1


def pattern_of(word: Word) -> tuple[bytes, re.Pattern[bytes]]:
    """The fixed beginning of a wildcard word (up to a slash), and a pattern for the whole path."""
    source = bytearray()
    fixed: int | None = None
    text, live = word.text, word.live
    at = 0
    while at < len(text):
        byte = text[at : at + 1]
        if not live[at] or byte not in b"*?[":
            source += re.escape(byte)
            at += 1
            continue
        if fixed is None:
            fixed = at
        # As in a shell, a wildcard does not find hidden names.
        if at == 0 or text[at - 1 : at] == b"/":
            source += rb"(?!\.)"
        if byte == b"*":
            source += b"[^/]*"
        elif byte == b"?":
            source += b"[^/]"
        else:
            end = text.find(b"]", at + 2)
            if end < 0:
                source += rb"\["
            else:
                inside = text[at + 1 : end]
                negated = inside[:1] in (b"!", b"^")
                members = inside[1:] if negated else inside
                members = members.replace(b"\\", b"\\\\").replace(b"[", b"\\[")
                source += b"[" + (b"^/" if negated else b"") + members + b"]"
                at = end
        at += 1
    beginning = text[: text.rfind(b"/", 0, fixed) + 1] if fixed is not None else text
    return beginning, re.compile(bytes(source), re.DOTALL)

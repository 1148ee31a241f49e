"""How a glob is written: text in, tokens out, braces multiplied out. Pure.

Guarantee: a pattern that `parse` accepts has at most `MAX_ALTERNATIVES` alternatives and a bounded number of tokens, so
that what is built from it is bounded too. Fails with: `BadPattern`, which names the column and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tacc_sync.rules.faults import WorkFault

Rules = Literal["path", "globset"]

# Hostile or machine-made patterns beyond these are refused: matching costs time for each file of a listing.
MAX_LENGTH = 4096
MAX_ALTERNATIVES = 1000
MAX_DEPTH = 10
MAX_TOKENS = 100_000


class BadPattern(WorkFault):
    """A pattern that cannot be understood: `pattern`, `column` (from 1, 0 for the whole), `field` of the document."""

    def __init__(self, pattern: str, column: int, trouble: str, remedy: str, field: str = "") -> None:
        where = f"field `{field}`: " if field else ""
        shown = ascii(pattern) if len(pattern) <= 200 else ascii(pattern[:200]) + "..."
        at = f", column {column}" if column else ""
        super().__init__("PATTERN-BAD", f"{where}pattern {shown}{at}: {trouble}", remedy)
        self.pattern = pattern
        self.column = column
        self.trouble = trouble
        self.field = field

    def in_field(self, field: str) -> BadPattern:
        """The same, said of a field of a document."""
        return BadPattern(self.pattern, self.column, self.trouble, self.remedy, field)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a pattern.

    `one`: `width` characters that `regex` describes, `text` when they are exactly that text. `star`: any characters.
    `deep`: a `**` of the path rules. `dirs`: a `**/` of the globset rules: nothing, or anything that ends in a slash.
    `either`: one of `options`.
    """

    kind: Literal["one", "star", "deep", "dirs", "either"]
    column: int
    regex: str = ""
    text: str = ""
    width: int = 1
    options: tuple[tuple[Token, ...], ...] = ()


def octets(text: str) -> str:
    """The bytes of a text in UTF-8, each as one character: what the globset rules look at."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


def from_octets(text: str) -> str:
    """The inverse of `octets`."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "surrogateescape")


def parse(pattern: str, rules: Rules) -> tuple[Token, ...]:
    """The tokens of a pattern."""
    if not pattern:
        raise BadPattern(pattern, 0, "is empty", "remove it, or write `**` for everything")
    if len(pattern) > MAX_LENGTH:
        raise BadPattern(pattern, 0, f"is longer than {MAX_LENGTH} characters", "write several shorter patterns")
    tokens = _Parser(pattern, rules).parse()
    alternatives, size = count(_simplified(tokens))
    if alternatives > MAX_ALTERNATIVES or size > MAX_TOKENS:
        trouble = f"its braces multiply to {min(alternatives, 10**9)} alternatives"
        raise BadPattern(pattern, 0, trouble, f"write several patterns of at most {MAX_ALTERNATIVES} alternatives each")
    return tokens


def count(tokens: Iterable[Token]) -> tuple[int, int]:
    """How many alternatives `expand` would return, and how many tokens in them all."""
    alternatives, size = 1, 0
    for token in tokens:
        if token.kind == "either":
            parts = [count(option) for option in token.options]
            more, more_size = sum(part[0] for part in parts), sum(part[1] for part in parts)
            alternatives, size = alternatives * more, size * more + more_size * alternatives
        else:
            size += alternatives
    return alternatives, size


def expand(tokens: Sequence[Token], *, merge: bool) -> list[list[Token]]:
    """All alternatives, without braces; with `merge`, braces whose options are equally wide stay  one token."""
    flats: list[list[Token]] = [[]]
    for token in _simplified(tokens) if merge else tokens:
        if token.kind == "either":
            tails = [tail for option in token.options for tail in expand(option, merge=merge)]
            flats = [head + tail for head in flats for tail in tails]
        else:
            for flat in flats:
                flat.append(token)
    return flats


def _simplified(tokens: Iterable[Token]) -> list[Token]:
    simple: list[Token] = []
    for token in tokens:
        if token.kind != "either":
            simple.append(token)
            continue
        options = tuple(tuple(_simplified(option)) for option in token.options)
        widths = {sum(one.width for one in option) for option in options}
        plain = all(one.kind == "one" and one.regex != "/" for option in options for one in option)
        if plain and len(widths) == 1:
            regex = "|".join("".join(one.regex for one in option) for option in options)
            simple.append(Token("one", token.column, f"(?:{regex})", width=widths.pop()))
        else:
            simple.append(replace(token, options=options))
    return simple


class _Parser:
    def __init__(self, pattern: str, rules: Rules) -> None:
        self.pattern = pattern
        self.globset = rules == "globset"
        self.at = 0
        # The options read so far, of the pattern itself and of each pair of braces that is open.
        self.levels: list[list[list[Token]]] = [[[]]]
        self.opened: list[int] = []

    @property
    def here(self) -> list[Token]:
        return self.levels[-1][-1]

    def parse(self) -> tuple[Token, ...]:
        steps = {
            "*": self._star,
            "?": self._any,
            "[": self._class,
            "{": self._open,
            "}": self._close,
            "\\": self._escape,
        }
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            if char in steps:
                steps[char]()
            elif char == "," and self.opened:
                self.levels[-1].append([])
                self.at += 1
            else:
                self._literal(char, self.at)
                self.at += 1
        if self.opened:
            raise self._bad(
                self.opened[-1],
                "this `{` is never closed",
                "close it by `}`, or write `\\{` for the character",
            )
        tokens = tuple(self.here)
        if len(tokens) == 1 and tokens[0].kind == "dirs":
            return (Token("star", 1),)  # in globset `**` and `**/` alone mean everything
        return tokens

    def _bad(self, at: int, trouble: str, remedy: str) -> BadPattern:
        return BadPattern(self.pattern, at + 1, trouble, remedy)

    def _literal(self, char: str, at: int) -> None:
        for unit in octets(char) if self.globset else char:
            self.here.append(Token("one", at + 1, re.escape(unit), unit))

    def _escape(self) -> None:
        if self.at + 1 == len(self.pattern):
            raise self._bad(self.at, "the `\\` at the end escapes nothing", "write `\\\\` for the character")
        self._literal(self.pattern[self.at + 1], self.at)
        self.at += 2

    def _any(self) -> None:
        self.here.append(Token("one", self.at + 1, "." if self.globset else "[^/]"))
        self.at += 1

    def _open(self) -> None:
        if len(self.opened) == MAX_DEPTH:
            raise self._bad(self.at, f"braces are nested deeper than {MAX_DEPTH}", "write several patterns")
        self.opened.append(self.at)
        self.levels.append([[]])
        self.at += 1

    def _close(self) -> None:
        if not self.opened:
            raise self._bad(self.at, "this `}` closes nothing", "write `\\}` for the character")
        column = self.opened.pop() + 1
        options = self.levels.pop()
        if self.globset:
            options = [option for option in options if option]  # it drops empty alternatives
        if options:
            self.here.append(Token("either", column, options=tuple(map(tuple, options))))
        self.at += 1

    def _star(self) -> None:
        start = self.at
        if self.globset:
            if self.pattern.startswith("**", start):
                self._globset_double_star()
            else:
                self.here.append(Token("star", start + 1))
                self.at += 1
            return
        while self.pattern.startswith("*", self.at):
            self.at += 1
        if self.at - start > 2:
            raise self._bad(start, "more than two stars in a row", "write `*` or `**`")
        self.here.append(Token("star" if self.at - start == 1 else "deep", start + 1))

    def _globset_double_star(self) -> None:
        start, here = self.at, self.here
        self.at += 2
        star, dirs = Token("star", start + 1), Token("dirs", start + 1)
        follows = self.pattern[self.at : self.at + 1]
        ends = not follows or (bool(self.opened) and follows in ",}")
        if not here and (follows == "/" or not follows):
            self.at += 1
            # Inside braces it may follow anything, not just a slash; then it has to be told apart as two alternatives.
            slash = Token("one", start + 1, "/", "/")
            here.append(Token("either", start + 1, options=((), (star, slash))) if self.opened else dirs)
        elif not here or self.pattern[start - 1] != "/" or not (ends or follows == "/"):
            here.append(star)  # it is not a whole component: two single stars
        elif follows == "/":
            self.at += 1
            if here[-1].kind == "one":
                here.append(dirs)
        elif here[-1].kind == "one":
            here.append(star)
        elif here[-1].kind == "dirs" and len(here) > 1:
            here[-1] = star

    def _class(self) -> None:
        start = self.at
        self.at += 1
        negated = self.pattern[self.at : self.at + 1] in {"!", "^"}
        self.at += negated
        ranges: list[tuple[str, str]] = []
        opens_range = False
        while True:
            char, escaped = self._class_char(start)
            if char == "]" and ranges and not escaped:
                break
            if char == "-" and ranges and not escaped and not opens_range:
                opens_range = True
                continue
            low = ranges.pop()[0] if opens_range else char
            if low > char:
                raise self._bad(start, f"the range {low}-{char} runs backwards", f"write {char}-{low}")
            ranges.append((low, char))
            opens_range = False
        if opens_range:
            ranges.append(("-", "-"))
        regex = (
            self._globset_class(start, ranges, negated=negated)
            if self.globset
            else _path_class(ranges, negated=negated)
        )
        self.here.append(Token("one", start + 1, regex))

    def _class_char(self, start: int) -> tuple[str, bool]:
        char = self.pattern[self.at : self.at + 1]
        escaped = char == "\\" and not self.globset
        if escaped:
            self.at += 1
            char = self.pattern[self.at : self.at + 1]
        if not char:
            raise self._bad(start, "this `[` is never closed", "close it by `]`, or write `\\[` for the character")
        if not self.globset:
            if char == "/":
                raise self._bad(self.at, "a class never matches `/`", "write the slash outside of the brackets")
            if char == "[" and not escaped and self.pattern.startswith(":", self.at + 1):
                raise self._bad(self.at, "named classes are not known here", "write ranges, such as `[a-zA-Z0-9]`")
        self.at += 1
        return char, escaped

    def _globset_class(self, start: int, ranges: list[tuple[str, str]], *, negated: bool) -> str:
        body = ""
        for low, high in ranges:
            if low == high:
                body += re.escape(octets(low))
                continue
            # globset looks at bytes: of a range between characters of several bytes only the inner two bytes count.
            first, last = octets(low), octets(high)
            if first[-1] > last[0]:
                raise self._bad(start, f"the range {low}-{high} runs backwards in bytes", "name the characters singly")
            body += f"{re.escape(first)}-{re.escape(last)}"
        return f"[{'^' if negated else ''}{body}]"


def _path_class(ranges: list[tuple[str, str]], *, negated: bool) -> str:
    body = "".join(re.escape(low) + (f"-{re.escape(high)}" if high != low else "") for low, high in ranges)
    if negated:
        return f"[^/{body}]"
    return f"(?!/)[{body}]" if any(low <= "/" <= high for low, high in ranges) else f"[{body}]"

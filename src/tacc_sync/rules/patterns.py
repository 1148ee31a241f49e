"""Globs over paths: which paths does a pattern mean, and below which directories do they lie? Pure.

Two sets of rules. `path` is ours: `*`, `?` and `[...]` stay within one component, `**` is a component of its own and
crosses directories. `globset` is that of the earlier tacc-sync: `*` and `?` cross slashes too, and it looks at bytes.
Patterns match whole strings, case counts, dot files are ordinary. docs/workspace.md has the full wording.

Guarantee: time to match grows with pattern length times path length, never exponentially: after each star the first
place where the text up to the next star fits is taken for good (an atomic group). That is right because all
alternatives are multiplied out, so that this text has one width, and because whatever can follow a later place can
follow an earlier one.
Fails with: `BadPattern`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tacc_sync.rules.glob_syntax import BadPattern, Rules, Token, count, expand, from_octets, octets, parse

__all__ = ["BadPattern", "Glob", "Rules", "any_of", "compile_glob"]

# To tell the directories of a pattern, braces are multiplied out as far as this many directories make sense.
_MANY_DIRECTORIES = 64


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern.

    `subject`: what it is matched against: the absolute path, the path relative to its source, or the bytes of the
    absolute path. `literals` and `regex` together say what matches. `directories`: whatever matches lies below one of
    these, absolute or relative ("" is the source itself) like the subject; none when nothing can ever match.
    """

    text: str
    subject: Literal["path", "relative", "octets"]
    literals: frozenset[str]
    regex: re.Pattern[str] | None
    directories: tuple[str, ...]

    def matches(self, path: str, relative: str) -> bool:
        """Whether it matches a file of that absolute path, and path relative to its source."""
        subject = relative if self.subject == "relative" else octets(path) if self.subject == "octets" else path
        return subject in self.literals or (self.regex is not None and self.regex.fullmatch(subject) is not None)


def compile_glob(text: str, rules: Rules) -> Glob:
    """Compile a pattern; raises `BadPattern`."""
    tokens = parse(text, rules)
    flats = expand(tokens, merge=True)
    subject: Literal["path", "relative", "octets"]
    if rules == "globset":
        subject, to_regex = "octets", _globset_regex
    else:
        subject, to_regex = ("path" if text.startswith("/") else "relative"), _path_regex
        for flat in flats:
            _check_components(text, flat)
    literals = [literal for flat in flats if (literal := _literal(flat)) is not None]
    regexes = [to_regex(flat) for flat in flats if _literal(flat) is None]
    many = count(tokens)[0] > _MANY_DIRECTORIES
    directories = {_directory(flat, subject) for flat in (flats if many else expand(tokens, merge=False))}
    return Glob(
        text=text,
        subject=subject,
        literals=frozenset(literals),
        regex=re.compile("|".join(regexes), re.DOTALL) if regexes else None,
        directories=tuple(sorted(directory for directory in directories if directory is not None)),
    )


def any_of(globs: Iterable[Glob]) -> Callable[[str, str], bool]:
    """Whether any of the patterns matches a path (absolute, relative to its source); quick, for many paths."""
    globs = list(globs)
    tests: dict[str, list[Callable[[str], object]]] = {}
    for subject in {glob.subject for glob in globs}:
        ours = [glob for glob in globs if glob.subject == subject]
        tests[subject] = [glob.regex.fullmatch for glob in ours if glob.regex is not None]
        if literals := frozenset[str]().union(*(glob.literals for glob in ours)):
            tests[subject].insert(0, literals.__contains__)
    on_relative, on_path, on_octets = (tests.get(subject, []) for subject in ("relative", "path", "octets"))

    def test(path: str, relative: str) -> bool:
        if any(matches(relative) for matches in on_relative) or any(matches(path) for matches in on_path):
            return True
        if not on_octets:
            return False
        path = octets(path)
        return any(matches(path) for matches in on_octets)

    return test


def _literal(flat: Sequence[Token]) -> str | None:
    if all(token.kind == "one" and token.text for token in flat) and not (flat and flat[-1].text == "/"):
        return "".join(token.text for token in flat)
    return None


def _directory(flat: Sequence[Token], subject: str) -> str | None:
    text = ""
    for token in flat:
        if token.kind != "one" or not token.text:
            break
        text += token.text
    if subject == "octets":
        if text and not text.startswith("/"):
            return None  # paths are absolute: nothing can match
        text = from_octets(text[: text.rfind("/") + 1])
    directory = text.rpartition("/")[0]
    return directory if directory or subject == "relative" else "/"


# --- The path rules ---


def _components(flat: Sequence[Token]) -> list[list[Token]]:
    components: list[list[Token]] = [[]]
    for token in flat:
        if token.text == "/":
            components.append([])
        else:
            components[-1].append(token)
    return components


def _check_components(pattern: str, flat: Sequence[Token]) -> None:
    # What is refused here could never match a path, and so would silently mean nothing.
    components = _components(flat)
    if not pattern.startswith("/") and flat and flat[0].text == "/":
        raise BadPattern(pattern, flat[0].column, "only some alternatives are absolute", "write two patterns")
    if not flat:
        raise BadPattern(pattern, 0, "one of its alternatives is empty", "leave that alternative out")
    column = 1
    for index, component in enumerate(components):
        column = component[0].column if component else column
        if not component and 0 < index < len(components) - 1:
            raise BadPattern(pattern, column, "two slashes in a row match no path", "write one slash")
        if "".join(token.text if token.kind == "one" else "*" for token in component) in {".", ".."}:
            raise BadPattern(pattern, column, "`.` and `..` match no path", "write the path without them")
        for token in component:
            if token.kind == "deep" and len(component) > 1:
                raise BadPattern(
                    pattern,
                    token.column,
                    "`**` must stand alone between slashes",
                    "write `*` to stay within a directory, `**/` before the name to cross directories",
                )


def _path_regex(flat: Sequence[Token]) -> str:
    components = _components(flat)
    regex = ""
    if not components[0]:
        regex = "/"
        del components[0]
    if not components[-1]:
        components[-1] = [Token("deep", 0)]  # `dir/` is `dir/**`
    # Runs of components between one `**` and the next; each run has its own number of slashes.
    runs: list[list[str]] = [[]]
    for component in components:
        if component[0].kind == "deep":
            runs.append([])
        else:
            runs[-1].append(_component_regex(component))
    first, *others = runs
    regex += "/".join(first)
    if not others:
        return regex
    regex += "/" if first else ""
    *middle, last = others
    regex += "".join(f"(?>(?:[^/]++/)*?{'/'.join(run)}/)" for run in middle if run)
    return regex + (f"(?:[^/]++/)*{'/'.join(last)}" if last else ".+")


def _component_regex(component: Sequence[Token]) -> str:
    first, *others = _between_stars(component)
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{piece})" for piece in middle if piece) + f"[^/]*{last}"


def _between_stars(tokens: Sequence[Token]) -> list[str]:
    pieces = [""]
    for token in tokens:
        if token.kind == "star":
            pieces.append("")
        else:
            pieces[-1] += token.regex
    return pieces


# --- The globset rules ---


def _globset_regex(flat: Sequence[Token]) -> str:
    # `dirs` stands at the very beginning or behind a slash: so a place that it reaches from a later slash it reaches
    # from an earlier one too, as a star does.
    gaps: list[str] = [""]
    pieces: list[str] = [""]
    for token in flat:
        if token.kind == "one":
            pieces[-1] += token.regex
        elif gaps[-1] and not pieces[-1]:
            gaps[-1] = "star"
        else:
            gaps.append(token.kind)
            pieces.append("")
    regex = pieces[0]
    for gap, piece in zip(gaps[1:-1], pieces[1:-1], strict=True):
        regex += f"(?>{'.*?' if gap == 'star' else '(?:.*?/)??'}{piece})"
    if len(gaps) > 1:
        regex += f"{'.*' if gaps[-1] == 'star' else '(?:.*/)?'}{pieces[-1]}"
    return regex

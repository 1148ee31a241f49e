"""Lists of checksums, as `sha512sum` and its like write them, GNU's form and BSD's, read strictly. Pure.

Guarantee: a list is understood to its last line, or it is a `WorkFault` CHECKSUM-LIST-BAD that names the line; a file
for which a list has two different values is one too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from tacc_sync.rules.evidence import DIGITS
from tacc_sync.rules.faults import WorkFault

# Those that nobody can be deceived about by accident; told by their length.
_BY_DIGITS = {digits: name for name, digits in DIGITS.items() if name not in {"adler32", "crc32"}}
_GNU = re.compile(r"(?P<escaped>\\?)(?P<hex>[0-9a-fA-F]+) [ *](?P<name>.+)", re.DOTALL)
_BSD = re.compile(r"(?P<escaped>\\?)(?P<algorithm>[A-Za-z0-9-]+) ?\((?P<name>.+)\) ?= (?P<hex>[0-9a-fA-F]+)", re.DOTALL)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def bad_list(text: str) -> WorkFault:
    """The fault of a list."""
    return WorkFault("CHECKSUM-LIST-BAD", text, "correct the list (`checksums`), and drop the request again")


def entries(content: bytes) -> Iterator[tuple[str, str]]:
    """Name as written (unescaped), and `algorithm:hex`, of each line."""
    # Not by splitlines: names may hold what it takes for a line's end.
    for number, raw in enumerate(content.decode("utf-8", "surrogateescape").split("\n"), 1):
        line = raw.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        found = _BSD.fullmatch(line) or _GNU.fullmatch(line)
        if found is None:
            raise bad_list(f"line {number} is no checksum: {ascii(line)[:200]}")
        value = found["hex"].lower()
        algorithm = _BY_DIGITS.get(len(value), "")
        told = found.groupdict().get("algorithm")
        if not algorithm or (told is not None and told.replace("-", "").lower() != algorithm):
            known = ", ".join(sorted(_BY_DIGITS.values()))
            raise bad_list(f"line {number} has {len(value)} digits of {told or 'something'}; known are {known}")
        name = found["name"]
        if found["escaped"]:
            name, wrong = _unescaped(name)
            if wrong:
                raise bad_list(f"line {number}: {wrong} is no escape")
        yield name, f"{algorithm}:{value}"


def vouched(content: bytes, sources: Sequence[str], paths: Collection[str]) -> dict[str, str]:
    """Path -> `algorithm:hex` for those of `paths` that the list names: absolute, or relative to a source."""
    wanted = set(paths)
    found: dict[str, str] = {}
    for name, value in entries(content):
        meant = [path for path in dict.fromkeys(_meanings(name, sources)) if path in wanted]
        if len(meant) > 1:
            raise bad_list(f"{ascii(name)[:200]} lies in more than one source: write it absolute")
        for path in meant:
            if found.setdefault(path, value) != value:
                raise bad_list(f"{ascii(name)[:200]} stands there twice, with {found[path]} and {value}")
    return found


def _meanings(name: str, sources: Sequence[str]) -> Iterator[str]:
    if name.startswith("/"):
        yield name
        return
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    for source in sources:
        yield f"{source.rstrip('/')}/{name}"
        if source.rpartition("/")[2] == name:
            # A source that is itself the file.
            yield source


def _unescaped(name: str) -> tuple[str, str]:
    wrong = [escape for escape in re.findall(r"\\.?", name, re.DOTALL) if escape not in _ESCAPES]
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), name), ascii(wrong[0]) if wrong else ""

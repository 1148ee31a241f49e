"""Lists of checksums: as `sha512sum` writes them, and as a bag has them (RFC 8493); and where one is not what it should
be. Pure.

Guarantee: memory does not grow with the length of a list; every flaw names its line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from tacc_sync.rules.certificate import Flaw

# How far two lists are compared ahead to find where they agree again.
_AHEAD = 64


def coreutils_line(name: str, sha512: str) -> bytes:
    """A line as `sha512sum` writes it: it escapes backslash, newline and carriage return in names, and marks such a
    line by a leading backslash."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{sha512}  {escaped}\n".encode()


def bag_line(name: str, sha512: str) -> bytes:
    """A line of a bag's payload manifest (RFC 8493, 2.1.3): below `data/`, with `%`, newline and carriage return
    percent-encoded."""
    escaped = name.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")
    return f"{sha512}  data/{escaped}\n".encode()


def relative(destination: str, root: str) -> str:
    """A path at the destination, relative to the request's directory there."""
    return destination.removeprefix(root.rstrip("/") + "/")


def flaws_of_list(file: str, expected: Iterable[bytes], found: Iterable[bytes]) -> Iterator[Flaw]:
    """Where a list of checksums is not what the manifest says."""
    ours, theirs = iter(expected), iter(found)
    left: deque[bytes] = deque()
    right: deque[bytes] = deque()
    at = 1
    while True:
        _fill(left, ours, 1)
        _fill(right, theirs, 1)
        if not left and not right:
            return
        if left and right and left[0] == right[0]:
            left.popleft()
            right.popleft()
            at += 1
            continue
        _fill(left, ours, _AHEAD)
        _fill(right, theirs, _AHEAD)
        missing, added = _nearest(left, right)
        for n in range(min(missing, added)):
            yield Flaw("CHECKSUMS-CHANGED", file, at + n, f"was changed; the manifest says {_shown(left[n])}")
        for n in range(missing, added):
            yield Flaw("CHECKSUMS-CHANGED", file, at + n, "was added: the manifest does not have it")
        if missing > added:
            text = f"{missing - added} lines are missing in front of it, the first is {_shown(left[added])}"
            yield Flaw("CHECKSUMS-CHANGED", file, at + added, text)
        for _ in range(missing):
            left.popleft()
        for _ in range(added):
            right.popleft()
        at += added


def _nearest(left: deque[bytes], right: deque[bytes]) -> tuple[int, int]:
    """How many lines of each to leave out until they agree again; all that was looked at when they do not."""
    places: dict[bytes, int] = {}
    for n, line in enumerate(right):
        places.setdefault(line, n)
    agreeing = [(m, places[line]) for m, line in enumerate(left) if line in places]
    return min(agreeing, key=lambda pair: (pair[0] + pair[1], pair), default=(len(left), len(right)))


def _fill(window: deque[bytes], lines: Iterator[bytes], size: int) -> None:
    window.extend(islice(lines, size - len(window)) if len(window) < size else ())


def _shown(line: bytes) -> str:
    return repr(line.decode("utf-8", "replace").rstrip("\n")[-200:])

"""Which directories can hold nothing that a request means, so that they need not be listed? Pure.

Guarantee: of a directory for which `may_hold` says no, no file is selected, whatever its name. The other way round
nothing is promised.
"""

from __future__ import annotations

from collections.abc import Callable

from tacc_sync.rules.documents import Request
from tacc_sync.rules.patterns import BadPattern, Glob, compile_glob
from tacc_sync.rules.selection import relative_to
from tacc_sync.rules.validity import compiled, is_within


def may_hold(request: Request) -> Callable[[str], bool]:
    """Tells of a path in HPSS, inside of one of the sources, whether anything below it may be meant."""
    included = compiled(request.include, request.pattern_rules, "include")
    taken_out = [glob for pattern in request.exclude for glob in _whole_directories(pattern, request)]

    def test(directory: str) -> bool:
        relative = relative_to(directory, request.sources)
        if relative is None or directory in request.sources:
            return True
        if included and not any(_meet(glob, directory, relative) for glob in included):
            return False
        return not any(_lies_in(glob, directory, relative) for glob in taken_out)

    return test


def _whole_directories(pattern: str, request: Request) -> list[Glob]:
    """A pattern that ends in `/**` takes out all that lies below what the rest of it matches."""
    if request.pattern_rules != "path" or not pattern.endswith("/**") or pattern == "/**":
        return []
    try:
        return [compile_glob(pattern.removesuffix("/**"), request.pattern_rules)]
    except BadPattern:
        return []


def _lies_in(glob: Glob, directory: str, relative: str) -> bool:
    """Does the pattern match the directory, or one that it lies in?"""
    while relative:
        if glob.matches(directory, relative):
            return True
        directory, relative = directory.rpartition("/")[0], relative.rpartition("/")[0]
    return False


def _meet(glob: Glob, directory: str, relative: str) -> bool:
    """Could a match lie below the directory?"""
    here = relative if glob.subject == "relative" else directory
    for confined in glob.directories:
        if not confined or confined == here or is_within(confined, here) or is_within(here, confined):
            return True
    return False

"""Is a request one that can be carried out? What the types in documents.py cannot say of it. Pure.

Guarantee: after `validate` all paths are absolute and without `.`, `..` or control characters, no source lies in
another, all patterns compile, and each include pattern can match something.
Fails with: `BadDocument` or `BadPattern`, both of which name the field and the remedy.
"""

from __future__ import annotations

import datetime as dt
import itertools
import unicodedata
from collections.abc import Iterable, Sequence

from tacc_sync.rules.documents import BadDocument, Request
from tacc_sync.rules.identity import run_id, valid_request_id
from tacc_sync.rules.patterns import BadPattern, Glob, Rules, compile_glob

MAX_TEXT = 200
MAX_PRIORITY = 100
# Each pattern costs time for each file of the listing; who has more of them means files by name.
MAX_PATTERNS = 1000
TRASH = ".Trash"


def validate(request: Request) -> None:
    """Return when a request can be carried out; raises `BadDocument` or `BadPattern`."""
    _check_owned(request)
    _check_sources(request)
    _check_path("destination", request.destination)
    if request.destination == "/":
        raise BadDocument("destination", "is the root directory", "name a directory below it")
    if request.checksums:
        _check_path("checksums", request.checksums)
    _check_files(request.files, request.sources)
    for field, patterns in (("include", request.include), ("exclude", request.exclude)):
        if len(patterns) > MAX_PATTERNS:
            raise BadDocument(field, f"has more than {MAX_PATTERNS} patterns", "name the files in `files` instead")
        for index, glob in enumerate(compiled(patterns, request.pattern_rules, field)):
            if field == "include" and not _can_match(glob, request.sources):
                where = f"{field}[{index}]"
                text = f"can match nothing: {ascii(glob.text)[:200]} lies outside of {_shown(request.sources)}"
                raise BadDocument(where, text, "write it relative to the source, or correct the path")
    _check_details(request)


def compiled(patterns: Sequence[str], rules: Rules, field: str) -> list[Glob]:
    """Compile the patterns of a field; raises `BadPattern` with `field[index]`."""
    globs = []
    for index, pattern in enumerate(patterns):
        try:
            globs.append(compile_glob(pattern, rules))
        except BadPattern as bad:
            raise bad.in_field(f"{field}[{index}]") from None
    return globs


def is_within(path: str, directory: str) -> bool:
    """Is it that directory, or below it? Both absolute and normalised."""
    return directory in {path, "/"} or path.startswith(directory + "/")


def in_trash(path: str) -> bool:
    """Whether one of its components says that it was thrown away."""
    return f"/{TRASH}/" in path or path.endswith(f"/{TRASH}")


def why_bad_path(path: str) -> tuple[str, str] | None:
    """What is wrong with a path that should be absolute and normalised, and what to do; None when it is good."""
    components = path[1:].split("/")
    shown = ascii(path)[:200]
    troubles = (
        (not path, "is empty", "write an absolute path"),
        (_has_control(path), "holds a control character", "rename what it names, or name a directory above it"),
        (not path.startswith("/"), f"{shown} is not absolute", "begin it with `/`"),
        (path != "/" and path.endswith("/"), f"{shown} ends with a slash", "leave it out"),
        ("//" in path, f"{shown} has two slashes in a row", "write one"),
        ("." in components or ".." in components, f"{shown} has `.` or `..` in it", "write the path without them"),
    )
    return next(((text, remedy) for wrong, text, remedy in troubles if wrong), None)


def _has_control(text: str) -> bool:
    return not text.isprintable() and any(unicodedata.category(char) in {"Cc", "Cs"} for char in text)


def _check_owned(request: Request) -> None:
    # A request that a worker had to leave behind comes back with our own plan in it; then it is admitted too.
    if request.unit_bytes < 0:
        raise BadDocument("unit_bytes", "is less than nothing", "remove `unit_bytes`")
    if request.admitted is not None:
        return
    for field in ("unit_bytes", "plan", "result"):
        if getattr(request, field):
            raise BadDocument(field, "is written by the syncer, never by hand", f"remove `{field}`")


def _check_path(field: str, path: str) -> None:
    if wrong := why_bad_path(path):
        raise BadDocument(field, *wrong)


def _check_sources(request: Request) -> None:
    sources = request.sources
    if not sources:
        raise BadDocument("source", "names no path", "name at least one path in HPSS")
    for index, source in enumerate(sources):
        field = "source" if isinstance(request.source, str) else f"source[{index}]"
        _check_path(field, source)
        if in_trash(source):
            raise BadDocument(field, f"lies in {TRASH}", "move it out of there first")
    # Sorted with a slash at the end, what lies in another directory comes right behind something that does, too.
    ordered = sorted(source.rstrip("/") + "/" for source in sources)
    for outer, inner in itertools.pairwise(ordered):
        if inner.startswith(outer):
            text = f"{inner[:-1]!a} lies in {outer[:-1] or '/'!a}: they would meet"
            raise BadDocument("source", text, "name each path once, and none inside of another")


def _check_files(files: Sequence[str], sources: Sequence[str]) -> None:
    seen: set[str] = set()
    inside = _Inside(sources)
    for index, path in enumerate(files):
        field = f"files[{index}]"
        _check_path(field, path)
        if path in seen:
            raise BadDocument(field, f"{ascii(path)[:200]} is named twice", "name each file once")
        seen.add(path)
        if not inside(path):
            raise BadDocument(
                field,
                f"{ascii(path)[:200]} lies outside of {_shown(sources)}",
                "add its directory to `source`",
            )
        if in_trash(path):
            raise BadDocument(field, f"lies in {TRASH}", "move it out of there first")


class _Inside:
    """Does a path lie in one of many directories? By looking its parents up, not by asking each directory."""

    def __init__(self, directories: Iterable[str]) -> None:
        self._directories = set(directories)
        self._everything = "/" in self._directories

    def __call__(self, path: str) -> bool:
        while path:
            if self._everything or path in self._directories:
                return True
            path = path.rpartition("/")[0]
        return False


def _can_match(glob: Glob, sources: Sequence[str]) -> bool:
    if glob.subject == "relative":
        return True
    return any(
        is_within(source, directory) or is_within(directory, source)
        for directory in glob.directories
        for source in sources
    )


def _check_details(request: Request) -> None:
    if not -MAX_PRIORITY <= request.priority <= MAX_PRIORITY:
        text = f"must be from -{MAX_PRIORITY} to {MAX_PRIORITY}; higher goes first"
        raise BadDocument("priority", text, "write a number in that range")
    if request.request_id and not valid_request_id(request.request_id):
        remedy = "leave it out to have one made, or write a UUID in lower case with dashes"
        raise BadDocument("request_id", "is not a UUID in lower case", remedy)
    for field, text in (("label", request.label), ("requested_by", request.requested_by)):
        if len(text) > MAX_TEXT or not text.isprintable():
            raise BadDocument(
                field, f"must be at most {MAX_TEXT} printable characters", "shorten it; write it on one line"
            )
    if (request.standing or request.run) and request.request_id != run_id(request.standing, request.run):
        text = "is written by tacc-sync for the runs of a standing request, and this is none"
        raise BadDocument(
            "standing", text, "remove `standing` and `run`; `tacc-sync submit --every` makes a standing one"
        )
    if request.created_at and not _is_time(request.created_at):
        remedy = "write it like 2026-03-28T00:15:14Z, or leave it out"
        raise BadDocument("created_at", "is not a time in ISO 8601 with its zone", remedy)


def _is_time(text: str) -> bool:
    try:
        return "T" in text and dt.datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _shown(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - 3} more" if len(sources) > 3 else ""
    return ", ".join(sources[:3]) + more

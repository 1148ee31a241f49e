"""Which files does a request mean, what has to be listed to know, and where does each go? Pure.

Guarantee: a selected file's destination is the request's destination joined with the file's path relative to its source
(its name, when the file itself is the source), and no two selected files meet at one destination.
Fails with: `WorkFault` DESTINATION-COLLISION, LISTING-STRANGE; `BadPattern` when the request was never validated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol

from tacc_sync.rules.documents import Request, Why
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import printable
from tacc_sync.rules.patterns import Rules, any_of
from tacc_sync.rules.presence import Vouched
from tacc_sync.rules.repeats import Paths, Repeats
from tacc_sync.rules.validity import TRASH, compiled, in_trash, is_within, validate

__all__ = [
    "Listed",
    "Meetings",
    "Selection",
    "There",
    "destination_of",
    "destinations",
    "is_excluded",
    "listing_roots",
    "means_all",
    "named_files",
    "refuse_nested",
    "relative_to",
    "select",
    "validate",
]

# Each root is a command to hsi; beyond so many one listing further up costs less.
MAX_ROOTS = 64


class Listed(Protocol):
    """A listed file, as the edge to HPSS describes it; undecodable bytes of names are carried by surrogateescape."""

    @property
    def path(self) -> str:
        """Absolute."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def section(self) -> int:
        """The tape mark in front of it."""

    @property
    def offset(self) -> int:
        """Bytes past that mark."""

    @property
    def volumes(self) -> tuple[str, ...]:
        """The cartridges that it lies on."""

    @property
    def written(self) -> str:
        """The archive's date."""


@dataclass(frozen=True, slots=True)
class There:
    """A file that need not be carried, and who says so: nobody but the destination's own listing when `vouched` is
    None. `adopted_by`: the request by which the operator has taken it over."""

    listed: Listed
    vouched: Vouched | None
    adopted_by: str = ""


@dataclass(slots=True)
class Selection:
    """What a request means of a listing.

    `files` can be carried as far as their names go; `unspeakable` have names that no document can hold. Both are in the
    order of the listing and may be changed by the caller: taking a file out means that it will be in no unit.
    Of `files`, by path: `borrowed` are carried by that unit of another request, `doubtful` must not be carried unless
    the operator says so. `there` are at the destination already, and not among `files`.
    """

    sources: list[str]
    destination: str
    files: list[Listed] = field(default_factory=list)
    unspeakable: list[Listed] = field(default_factory=list)
    listed: int = 0
    there: list[There] = field(default_factory=list)
    borrowed: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, Why] = field(default_factory=dict)

    def destination_of(self, path: str) -> str:
        """Where a file goes."""
        return destination_of(path, self.sources, self.destination)


def relative_to(path: str, sources: Sequence[str]) -> str | None:
    """A file's path relative to the source that it lies in; its name when it is a source; None when it is in none."""
    for source in sources:
        if path == source:
            return path.rpartition("/")[2]
        if is_within(path, source):
            return path[len(source) + (source != "/") :]
    return None


def destination_of(path: str, sources: Sequence[str], destination: str) -> str:
    """Where a file goes; raises `WorkFault` LISTING-STRANGE for a file that lies in no source."""
    relative = relative_to(path, sources)
    if relative is None:
        raise _strange(path)
    return f"{destination.rstrip('/')}/{relative}"


def destinations(request: Request) -> Callable[[str], str]:
    """As destination_of, for the many files of one request."""
    relative_of = _relative(request.sources)
    start = request.destination.rstrip("/") + "/"
    # Nearly all lie in the first source; a source that is a file does not end in a slash.
    first = _inside(request.sources[0])
    skip = len(first)

    def destination(path: str) -> str:
        if path.startswith(first):
            return start + path[skip:]
        relative = relative_of(path)
        if relative is None:
            raise _strange(path)
        return start + relative

    return destination


def named_files(request: Request) -> list[str]:
    """The files that a request names one by one, in order; when there are any, nothing else has to be listed."""
    return sorted(request.files)


def listing_roots(request: Request) -> list[str]:
    """What has to be listed: the sources, or the directories in them that all include patterns confine themselves to.

    In order, none inside of another; [] when the request names its files (see `named_files`).
    """
    if request.files:
        return []
    globs = compiled(request.include, request.pattern_rules, "include")
    roots: set[str] = set()
    for source in request.sources:
        found = set() if globs else {source}
        for glob in globs:
            for directory in glob.directories:
                path = directory
                if glob.subject == "relative":
                    path = f"{source.rstrip('/')}/{directory}".rstrip("/") or "/"
                if is_within(path, source):
                    found.add(path)
                elif is_within(source, path):
                    found.add(source)
        roots |= found if len(found) <= MAX_ROOTS else {_common(sorted(found))}
    if len(roots) > MAX_ROOTS:
        roots = set(request.sources)
    return _outermost(roots)


def _common(paths: Sequence[str]) -> str:
    first, last = paths[0].split("/"), paths[-1].split("/")
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return "/".join(first[:same]) or "/"


def _outermost(paths: Iterable[str]) -> list[str]:
    outer: list[str] = []
    for path in sorted(paths, key=lambda path: path.rstrip("/") + "/"):
        if not outer or not is_within(path, outer[-1]):
            outer.append(path)
    return outer


class Meetings:
    """Do two files of one request meet at a destination, or does one lie where another one needs a directory? For
    requests that are selected part by part; whatever meets at one destination must be in one part."""

    def __init__(self) -> None:
        self._targets = Repeats()
        self._directories: set[str] = set()

    def add(self, files: Sequence[Listed], where: Callable[[str], str | None] | None) -> tuple[str, str] | None:
        """Note where these go (None: their paths stand for that). When two meet nothing is noted: who they are."""
        paths = [file.path for file in files]
        targets = paths if where is None else [where(path) or "" for path in paths]
        if len(set(targets)) < len(targets):
            seen: dict[str, str] = {}
            for target, path in zip(targets, paths, strict=True):
                if target in seen:
                    return seen[target], path
                seen[target] = path
        self._targets.add_all(targets)
        directories = self._directories
        for parent in {target.rpartition("/")[0] for target in targets}.difference(directories):
            above = parent
            while above and above not in directories:
                directories.add(above)
                above = above.rpartition("/")[0]
        return None

    def may_meet(self) -> bool:
        """Whether two of all these may go to one place; never, when each directory was in one part."""
        return bool(self._targets.suspects())

    def suspects(self) -> list[str]:
        """Targets of files that may be directories to others as well; almost always none."""
        return self._targets.also_in(self._directories)


def select(request: Request, files: Iterable[Listed], meetings: Meetings | None = None) -> Selection:
    """Which of the listed files a request means: included, not excluded, and never what lies in a `.Trash`.

    Without include patterns everything is meant; when the request names its files, only those are. With `meetings`
    these files are only a part of what was listed, and `refuse_nested` has to be asked about all of it in the end.
    """
    selection = Selection(request.sources, request.destination)
    included = _test(tuple(request.include), request.pattern_rules, "include")
    excluded = _test(tuple(request.exclude), request.pattern_rules, "exclude")
    relative_of = _relative(selection.sources)
    named = set(request.files)
    everything, nothing_excluded = not request.include, not request.exclude
    trash, take = f"/{TRASH}", selection.files.append
    given = list(files)
    selection.listed = len(given)
    if everything and nothing_excluded and not named and _are_all_meant(given, selection.sources):
        selection.files += given
        given = []
    for file in given:
        path = file.path
        relative = relative_of(path)
        if relative is None:
            raise _strange(path)
        if (trash in path and in_trash(path)) or (named and path not in named):
            continue
        if (everything or included(path, relative)) and (nothing_excluded or not excluded(path, relative)):
            if path.isascii() or _is_speakable(path):
                take(file)
            else:
                selection.unspeakable.append(file)
    part, where = meetings or Meetings(), _where(selection.sources)
    met = part.add([*selection.files, *selection.unspeakable], where)
    if met is not None:
        _drop_repeated(selection)
        met = part.add([*selection.files, *selection.unspeakable], where)
    if met is not None:
        raise _collision(selection, *met)
    if meetings is None:
        refuse_nested(request, part, lambda: _paths(selection))
    return selection


def means_all(request: Request, paths: Paths) -> bool:
    """Whether a request means all files with these paths, none of which is there twice, and no two of them meet: so it
    is for many requests, and then none of the files has to be looked at."""
    if request.include or request.exclude or request.files or len(request.sources) > 1:
        return False
    inside = _inside(request.sources[0])
    return (
        all(f"{each}/".startswith(inside) and not in_trash(each) for each in paths.directories) and not paths.nested()
    )


@functools.lru_cache(maxsize=8)
def _test(patterns: tuple[str, ...], rules: Rules, field: str) -> Callable[[str, str], bool]:
    # A request has up to a thousand patterns, and is selected part by part.
    return any_of(compiled(patterns, rules, field))


def refuse_nested(request: Request, meetings: Meetings, paths: Callable[[], Iterable[str]]) -> None:
    """Raise `WorkFault` when a file would lie where another one needs a directory; `paths` are all that are meant."""
    suspects = set(meetings.suspects())
    if not suspects:
        return
    where = _where(request.sources) or _itself
    files = {target: path for path in paths() if (target := where(path) or "") in suspects}
    for path in paths():
        parent = (where(path) or "").rpartition("/")[0]
        while parent:
            if parent in files:
                raise _collision(Selection(request.sources, request.destination), files[parent], path)
            parent = parent.rpartition("/")[0]


def is_excluded(request: Request, path: str) -> bool:
    """Can a request do without knowing what lies at a path, or below it? So it is with what its patterns exclude."""
    relative = relative_to(path, request.sources)
    if in_trash(path):
        return True
    if relative is None or not request.exclude:
        return False
    excluded = _test(tuple(request.exclude), request.pattern_rules, "exclude")
    # A pattern that ends in `/**` takes out whatever lies below: two names that nobody would think of stand for all.
    below = all(excluded(path + probe, relative + probe) for probe in ("/\u2400", "/\u2400/\u2400"))
    return below or excluded(path, relative)


def _relative(sources: Sequence[str]) -> Callable[[str], str | None]:
    # As relative_to, for many files: neighbours in a listing lie in the same source.
    last = sources[0]
    prefix = last.rstrip("/") + "/"
    skip = len(prefix)

    def relative(path: str) -> str | None:
        nonlocal last, prefix, skip
        if path.startswith(prefix):
            return path[skip:]
        for source in sources:
            if is_within(path, source):
                last, prefix = source, source.rstrip("/") + "/"
                skip = len(prefix)
                return relative_to(path, (source,))
        return None

    return relative


def _inside(source: str) -> str:
    return source.rstrip("/") + "/"


def _are_all_meant(files: Sequence[Listed], sources: Sequence[str]) -> bool:
    """Whether all of these lie in one source, have ASCII names, and nothing was thrown away: then a request without
    patterns means them all. It is asked once of all of them, not of each."""
    paths = [file.path for file in files]
    source = next((source for source in sources if paths and paths[0].startswith(_inside(source))), None)
    if source is None:
        return False
    text = "\n".join(paths)
    return f"/{TRASH}" not in text and text.isascii() and all(map(str.startswith, paths, repeat(_inside(source))))


def _is_speakable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _drop_repeated(selection: Selection) -> None:
    # A listing that says the same thing of a file twice is merely wordy; one that contradicts itself proves nothing.
    for files in (selection.files, selection.unspeakable):
        paths = {file.path for file in files}
        if len(paths) == len(files):
            continue
        seen: dict[str, Listed] = {}
        for file in files:
            if seen.setdefault(file.path, file) != file:
                raise WorkFault(
                    "LISTING-STRANGE",
                    f"the listing has {file.path!a} twice, and says different things of it",
                    "list it by hand; if something is being written there, release the request when that has ended",
                )
        files[:] = seen.values()


def _where(sources: Sequence[str]) -> Callable[[str], str | None] | None:
    # Within one source a destination stands for one path, and the paths themselves will do.
    return _relative(sources) if len(sources) > 1 else None


def _itself(path: str) -> str | None:
    return path


def _paths(selection: Selection) -> Iterable[str]:
    for files in (selection.files, selection.unspeakable):
        for file in files:
            yield file.path


def _collision(selection: Selection, first: str, second: str) -> WorkFault:
    at = printable(selection.destination_of(first))
    return WorkFault(
        "DESTINATION-COLLISION",
        f"{printable(first)} and {printable(second)} would meet at {at}",
        "make two requests with different destinations, or exclude one of the two",
    )


def _strange(path: str) -> WorkFault:
    return WorkFault(
        "LISTING-STRANGE",
        f"the listing has {path!a}, which lies in none of the request's sources",
        "name the source as HPSS prints it: a link or another spelling leads elsewhere",
    )

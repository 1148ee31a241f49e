"""Which part of the archive, and which part of the destination, does an audit of a request or a path look at? Pure.

Guarantee: what `means` takes, and where `place_of` puts it, are what the syncer would select and deliver; each part of
the archive that is listed has its counterpart at the destination among `images`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tacc_sync.rules import selection
from tacc_sync.rules.documents import Request
from tacc_sync.rules.patterns import any_of
from tacc_sync.rules.validity import compiled, in_trash, is_within


class Scope:
    """What one request has to do with an audit of all that lies below a path in HPSS (by default everything)."""

    def __init__(self, key: str, request: Request, below: str = "/") -> None:
        self.key = key
        self.label = request.label
        self.sources = request.sources
        self.destination = request.destination.rstrip("/") or "/"
        self.is_planned = request.plan is not None
        self._request = request
        self._below = below
        self._named = frozenset(request.files)
        self._included = any_of(compiled(request.include, request.pattern_rules, "include"))
        self._excluded = any_of(compiled(request.exclude, request.pattern_rules, "exclude"))

    @property
    def meaning(self) -> tuple[object, ...]:
        """Two that are equal in this mean the same files, and put them into the same places."""
        request = self._request
        patterns = (tuple(request.include), tuple(request.exclude), request.pattern_rules)
        return tuple(self.sources), self.destination, self._below, self._named, patterns

    @property
    def roots(self) -> list[str]:
        """The trees in HPSS that hold all files that it means; none when it names its files."""
        return outermost(filter(None, (_common(root, self._below) for root in selection.listing_roots(self._request))))

    @property
    def names(self) -> list[str]:
        """The files that it names one by one."""
        return [path for path in selection.named_files(self._request) if is_within(path, self._below)]

    def holds(self, path: str) -> bool:
        """Does a path lie in its sources, and in what is looked at?"""
        return is_within(path, self._below) and any(is_within(path, source) for source in self.sources)

    def means(self, path: str) -> bool:
        """Would it carry the file that lies there?"""
        relative = selection.relative_to(path, self.sources)
        if relative is None or not is_within(path, self._below) or in_trash(path):
            return False
        if self._named and path not in self._named:
            return False
        request = self._request
        included = not request.include or self._included(path, relative)
        return included and not (request.exclude and self._excluded(path, relative))

    def can_do_without(self, path: str) -> bool:
        """Does it mean nothing at this path or below it?"""
        return not self.holds(path) or selection.is_excluded(self._request, path)

    def place_of(self, path: str) -> str:
        """Where the file goes that lies at a path in its sources."""
        return selection.destination_of(path, self.sources, self.destination)

    def images(self, files: Collection[str]) -> tuple[set[str], set[str]]:
        """The trees at the destination that its roots fill, and the single places that belong to it beside them.
        `files` are the roots that are known to be files."""
        trees, places = set[str](), {self.place_of(path) for path in self.names}
        for root in self.roots:
            if root in files:
                places.add(self.place_of(root))
            elif root in self.sources:
                trees.add(self.destination)
            else:
                trees.add(self.place_of(root))
        return trees, places


def below_for_destination(request: Request, path: str) -> list[str]:
    """The paths in HPSS whose files go to `path` at the destination, or below it."""
    destination = request.destination.rstrip("/") or "/"
    if is_within(destination, path):
        return request.sources
    if not is_within(path, destination):
        return []
    relative = path.removeprefix(destination).lstrip("/")
    # A source that is a file arrives under its own name.
    return [
        source if source.rpartition("/")[2] == relative else f"{source.rstrip('/')}/{relative}"
        for source in request.sources
    ]


def outermost(paths: Iterable[str]) -> list[str]:
    """These paths without those that lie in another of them, in order."""
    found: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.rstrip("/") + "/"):
        if not found or not is_within(path, found[-1]):
            found.append(path)
    return found


def _common(one: str, other: str) -> str:
    """The inner one of two paths of which one lies in the other; "" otherwise."""
    return one if is_within(one, other) else other if is_within(other, one) else ""

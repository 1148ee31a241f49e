"""Both archives, listed anew and compared with what the workspace knows: every difference, explained in words.

Guarantee: nothing is changed, recalled or hashed. Each file is told once. A listing that breaks off is an error, and
then nothing is told. Memory does not grow with the number of files: what is read lies in sorted runs in a scratch
directory, some hundred bytes for each file on either side. What moves on meanwhile is called in flight.
Fails with what `Hpss.list_trees` and `Globus.entries` fail with, with `OperatorFault` AUDIT-INCOMPLETE,
AUDIT-OUTSIDE, REQUEST-UNKNOWN, and with `OSError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from tacc_sync.operator import places
from tacc_sync.operator.destination_tree import DestinationTree
from tacc_sync.operator.find import key_of
from tacc_sync.operator.places import Sighting
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.globus.interface import Globus
from tacc_sync.outside.host.sorted_lines import SortedLines
from tacc_sync.outside.hpss.interface import Hpss, ListedFile, Refused
from tacc_sync.rules import differences
from tacc_sync.rules.differences import Aside, Counts, Fact, Found, Here, Known, There
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request
from tacc_sync.rules.faults import EX_UNAVAILABLE, EX_USAGE, OperatorFault
from tacc_sync.rules.identity import SUFFIX, printable
from tacc_sync.rules.route import REQUEST_QUEUE
from tacc_sync.rules.scope import Scope, below_for_destination, outermost
from tacc_sync.rules.settings import Settings
from tacc_sync.rules.validity import is_within, why_bad_path
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk

# A unit that moves while it is read is looked for so often.
LOOKS = 5

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Fact)


@dataclass(slots=True)
class Neighbours:
    """What an audit asks, and where it keeps what they said: a scratch directory of this host."""

    hpss: Hpss
    globus: Globus
    clock: Clock
    settings: Settings
    scratch: str


@dataclass(slots=True)
class _Extent:
    """What is looked at: which part of which requests (`distinct`: one of those that mean the same, as those of every
    night do), which trees and files in HPSS are listed for it, the requests that may know of the same places, and of
    the requests' own roots those that are known to be files."""

    scopes: list[Scope]
    distinct: list[Scope]
    roots: list[str]
    names: list[str]
    requests: dict[str, Request]
    scope_roots: frozenset[str]
    files: set[str] = field(default_factory=set)

    def note(self, path: str) -> None:
        """A file lies, or lay, at this path in HPSS."""
        if path in self.scope_roots:
            self.files.add(path)


class Audit:
    """One audit. `counts`, `notes` and `unreadable` are whole when all that it found has been told."""

    def __init__(self, disk: Disk, neighbours: Neighbours) -> None:
        layout.open_workspace(disk)
        self._disk = disk
        self._neighbours = neighbours
        self.counts = Counts()
        self.notes: list[str] = []
        self.unreadable: list[str] = []

    @property
    def is_fine(self) -> bool:
        """Is all explained?"""
        return not self.unreadable and not self.counts.unexplained.files

    def compare(self, what: str) -> Iterator[Found]:
        """Everything that belongs to a request (id, key or label) or lies at or below a path in HPSS or at the
        destination; what is as it should be, too."""
        extent = self._extent(what)
        with SortedLines(self._neighbours.scratch) as facts:
            # The workspace first: what is planned or delivered while the archives are listed is known for late then.
            seen = self._read_units(facts, extent, {}, late=False)
            self._list_archive(facts, extent)
            self._list_destination(facts, extent)
            self._read_units(facts, extent, seen, late=True)
            for found in self._join(facts):
                self.counts.add(found)
                yield found

    # --- what belongs to it -----------------------------------------------------------------------------------

    def _extent(self, what: str) -> _Extent:
        if not what.startswith("/"):
            key = key_of(self._disk, what)
            request = self.request(key)
            if request is None:
                raise _unknown(f"request {key} is not planned yet")
            return self._with_neighbours([Scope(key, request)], [])
        path = what.rstrip("/") or "/"
        if wrong := why_bad_path(path):
            raise OperatorFault("USAGE", f"{what} {wrong[0]}", wrong[1], EX_USAGE)
        planned = dict(self._planned())
        scopes = [
            Scope(key, request, path)
            for key, request in planned.items()
            if any(is_within(source, path) or is_within(path, source) for source in request.sources)
        ]
        if scopes:
            # All of it, so that what no request means is seen too.
            return self._with_neighbours(scopes, [path])
        scopes = [
            Scope(key, request, below)
            for key, request in planned.items()
            for below in below_for_destination(request, path)
        ]
        if not scopes:
            raise _unknown(f"no planned request has anything at or below {path}")
        return self._with_neighbours(scopes, [])

    def _with_neighbours(self, scopes: list[Scope], roots: list[str]) -> _Extent:
        """Together with all requests that may know of the same places at the destination."""
        roots = roots or outermost(root for scope in scopes for root in scope.roots)
        names = {name for scope in scopes for name in scope.names}
        listed = sorted(name for name in names if not any(is_within(name, root) for root in roots))
        tops = outermost(scope.destination for scope in scopes)
        requests = {
            key: request
            for key, request in self._planned()
            if any(is_within(request.destination, top) or is_within(top, request.destination) for top in tops)
        }
        distinct = list({scope.meaning: scope for scope in scopes}.values())
        scope_roots = frozenset(root for scope in distinct for root in scope.roots)
        return _Extent(scopes, distinct, roots, listed, requests, scope_roots)

    def _planned(self) -> Iterator[tuple[str, Request]]:
        for key in places.finished_keys(self._disk):
            request = self.request(key)
            if request is not None:
                yield key, request

    def request(self, key: str) -> Request | None:
        """A request that is planned, wherever it lies; None when it is not."""
        finished = f"{layout.finished(key)}/request{SUFFIX}"
        for path in (finished, layout.entry(REQUEST_QUEUE, key), *self._held(key), finished):
            try:
                request = queues.read_request(self._disk, path)
            except FileNotFoundError:
                continue
            except (BadDocument, NewerDocument):
                self._cannot_read(path)
                return None
            return request if request.plan is not None else None
        return None

    def _held(self, key: str) -> Iterator[str]:
        for sighting in places.requests(self._disk):
            if sighting.entry == key + SUFFIX:
                yield sighting.path

    # --- what the workspace says ------------------------------------------------------------------------------

    def _read_units(
        self, facts: SortedLines, extent: _Extent, seen: dict[str, Sighting], *, late: bool
    ) -> dict[str, Sighting]:
        """Read all units that are not where they were seen; where each was read."""
        if late:
            # What was planned meanwhile may concern the same places.
            extent.requests |= self._with_neighbours(extent.scopes, extent.roots).requests
        read: dict[str, Sighting] = {}
        failed: dict[str, str] = {}
        for _ in range(LOOKS):
            failed.clear()
            for sighting in places.furthest(places.units(self._disk, sorted(extent.requests))).values():
                name = sighting.unit.unit
                if sighting.unit.request not in extent.requests or name in read or seen.get(name) == sighting:
                    continue
                try:
                    self._read_unit(facts, extent, sighting, late=late)
                except FileNotFoundError:
                    failed[name] = sighting.path
                    continue
                except (BadDocument, NewerDocument):
                    self._cannot_read(sighting.path)
                read[name] = sighting
            if not failed:
                break
        for path in failed.values():
            self._cannot_read(path)
        return read

    def _read_unit(self, facts: SortedLines, extent: _Extent, sighting: Sighting, *, late: bool) -> None:
        work = queues.work_of(self._disk, sighting.path)
        scopes = [scope for scope in extent.scopes if scope.key == sighting.unit.request]
        ours = [any(scope.holds(file.path) for scope in scopes) for file in work.files]
        for place, known in differences.known_of(work, place=sighting.place, by=sighting.by, ours=ours, late=late):
            extent.note(known.source)
            if not self._is_told_elsewhere(extent, known):
                facts.add(_line(place, known))

    @staticmethod
    def _is_told_elsewhere(extent: _Extent, known: Known) -> bool:
        """Does the unit that delivered it say the same, and more? A request of every night proves all files anew."""
        if known.outcome != "proven" or known.request not in extent.requests:
            return False
        if not known.ours:
            return True
        return any(scope.key == known.request and scope.holds(known.source) for scope in extent.scopes)

    def _cannot_read(self, path: str) -> None:
        if path not in self.unreadable:
            self.unreadable.append(path)

    # --- what the archives say --------------------------------------------------------------------------------

    def _list_archive(self, facts: SortedLines, extent: _Extent) -> None:
        hpss = self._neighbours.hpss
        listing = hpss.list_trees(extent.roots) if extent.roots else None
        for file in listing.files if listing else ():
            extent.note(file.path)
            self._add_file(facts, extent, file)
        for refused in listing.refused if listing else ():
            self._add_refused(facts, extent, refused)
        if extent.names:
            named = hpss.list_files(extent.names)
            for file in named.files:
                self._add_file(facts, extent, file)
            for refused in named.refused:
                if refused.kind != "missing":
                    self._add_refused(facts, extent, refused)

    @staticmethod
    def _add_file(facts: SortedLines, extent: _Extent, file: ListedFile) -> None:
        path = printable(file.path)
        goes: dict[str, str] = {}
        for scope in extent.distinct:
            if scope.means(file.path):
                goes.setdefault(printable(scope.place_of(file.path)), scope.key)
        for place, key in goes.items():
            facts.add(_line(place, Here(path, file.size, file.written, key, path == file.path)))
        if goes:
            return
        holder = next((scope for scope in extent.distinct if scope.holds(file.path)), None)
        if holder is not None:
            facts.add(_line("", Aside("excluded", path, file.size, f"by request {holder.key}")))
        else:
            facts.add(_line("", Aside("unrequested", path, file.size, "no request has it in its source")))

    def _add_refused(self, facts: SortedLines, extent: _Extent, refused: Refused) -> None:
        path = printable(refused.path)
        holders = [scope for scope in extent.distinct if not scope.can_do_without(refused.path)]
        if refused.kind == "missing":
            if refused.path in extent.roots:
                self.notes.append(f"{path} does not exist in HPSS")
            return
        if refused.kind == "not-a-file":
            kind = "not-a-file" if holders else "excluded"
            facts.add(_line("", Aside(kind, path, 0, printable(refused.text))))
            return
        if holders:
            raise OperatorFault(
                "AUDIT-INCOMPLETE",
                f"{path} cannot be listed, so nobody knows what lies there: {refused.text}",
                "get permission for it, or audit another part",
                EX_UNAVAILABLE,
            )
        if not any(scope.holds(refused.path) for scope in extent.distinct):
            facts.add(_line("", Aside("unrequested", path, 0, f"it cannot be listed: {printable(refused.text)}")))

    def _list_destination(self, facts: SortedLines, extent: _Extent) -> None:
        near = self._neighbours
        trees, wanted = set[str](), set[str]()
        for scope in extent.distinct:
            of_scope = scope.images(extent.files)
            trees |= of_scope[0]
            wanted |= of_scope[1]
        tree = DestinationTree(near.globus, near.clock, near.settings)
        for path, entry in tree.walk(trees, {scope.destination for scope in extent.scopes}, wanted):
            facts.add(_line(path, There(entry.kind, entry.size, entry.mtime)))

    # --- what follows -----------------------------------------------------------------------------------------

    def _join(self, facts: SortedLines) -> Iterator[Found]:
        zone = self._neighbours.settings.skip.archive_zone
        for key, lines in groupby(facts, lambda line: line.partition(b"\t")[0]):
            decoded = (_decoder.decode(line[len(key) + 1 :]) for line in lines)
            if key == b'""':
                for fact in decoded:
                    if isinstance(fact, Aside):
                        yield Found(fact.kind, fact.source, "", fact.size, fact.text)
                continue
            yield from _of_place(msgspec.json.decode(key, type=str), decoded, zone)


def _of_place(place: str, facts: Iterable[Fact], zone: str) -> list[Found]:
    here: dict[str, Here] = {}
    known: dict[str, Known] = {}
    there: There | None = None
    for fact in facts:
        if isinstance(fact, Here):
            here.setdefault(fact.source, fact)
        elif isinstance(fact, There):
            there = fact
        elif isinstance(fact, Known) and (fact.late or fact.unit not in known):
            known[fact.unit] = fact
    return differences.judge(place, list(here.values()), there, list(known.values()), zone)


def _line(place: str, fact: Fact) -> bytes:
    # Nothing in JSON is a tab or a newline, and no encoded text is the beginning of another one.
    return _encoder.encode(place) + b"\t" + _encoder.encode(fact)


def _unknown(text: str) -> OperatorFault:
    remedy = "`tacc-sync status --all` lists the requests; what waits in inbox is not planned yet"
    return OperatorFault("REQUEST-UNKNOWN", text, remedy, EX_USAGE)

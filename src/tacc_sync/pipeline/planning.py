"""What a request means, file by file, and what is known of each: from the archive's listing to what lies on each tape.

Guarantee: a listed file comes out once, or is not meant; however many there are, only one part of them is in memory.
Fails with `WorkFault` when the request cannot be planned, and with what the archive, the destination, the vouchers and
the local disk fail with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tacc_sync.outside.checksums.interface import GIVEN, Voucher
from tacc_sync.outside.host.spool import Shelves, Spool
from tacc_sync.outside.hpss.interface import ArchiveHash, Hpss, ListedFile, Listing, Refused
from tacc_sync.pipeline.already_there import AlreadyThere
from tacc_sync.rules import batches, presence, selection
from tacc_sync.rules.batches import Candidate, PlannedUnit, Settled, tape_of
from tacc_sync.rules.division import PART_FILES, Division
from tacc_sync.rules.documents import BadDocument, Request, Strange, Why
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import printable
from tacc_sync.rules.selection import Listed, Meetings, Selection, There
from tacc_sync.rules.settings import Settings, to_collection
from tacc_sync.rules.site_rates import SiteRates

# Files of a part of a request that nothing has to be compared with.
IN_ORDER = 10_000


@dataclass(slots=True)
class Prepared:
    """The files of a request: by what they lie on, and at the destination already."""

    by_volumes: Shelves[tuple[str, ...], Candidate] = field(default_factory=lambda: Shelves(Candidate))
    there: Spool[Settled] = field(default_factory=lambda: Spool(Settled))
    listed: int = 0
    # By voucher: of how many files it says something.
    vouched: dict[str, int] = field(default_factory=dict)
    # At the destination already, and given a hash by the request that nothing known of them can be compared with.
    uncompared: int = 0


class Planning:
    """What all requests are planned with."""

    def __init__(
        self, hpss: Hpss, already_there: AlreadyThere, vouchers: Sequence[Voucher], *, asks_for_hashes: bool = True
    ) -> None:
        self._hpss = hpss
        self._asks_for_hashes = asks_for_hashes
        self._already_there = already_there
        self._vouchers = vouchers

    def prepare(
        self, request: Request, listing: Listing, others: Iterable[str], say: Callable[[int], None]
    ) -> Prepared:
        """Sort out what was listed. `others`: the keys of the requests that may carry some of it; `say` hears from time
        to time of how many files everything is known."""
        files = listing.files
        division = Division(request.sources, request.destination, len(files))
        self._already_there.begin(request, others, division)
        try:
            by_directory = self._already_there.has_any(request)
            if not by_directory and self._is_as_listed(request, listing):
                self._already_there.tell(request)
                return Prepared(files.shelves.read_as(Candidate), listed=len(files))
            if not by_directory:
                prepared, meetings = self._sort_out(request, _in_order(files), say)
                # Two of different parts: only when all of a directory are in one part it is seen which ones.
                by_directory = meetings.may_meet()
            if by_directory:
                prepared, meetings = self._sort_out(request, _by_directory(files, division), say)
        finally:
            self._already_there.end()
        selection.refuse_nested(request, meetings, lambda: _meant(request, files))
        self._already_there.tell(request)
        return prepared

    def _is_as_listed(self, request: Request, listing: Listing) -> bool:
        """Whether all that was listed is meant, and nobody has to be asked about any of it: then it lies by volumes
        already."""
        files, paths = listing.files, listing.paths
        is_asked = any(voucher.name != GIVEN or request.checksums for voucher in self._vouchers)
        if self._asks_for_hashes or is_asked or paths is None:
            return False
        return files.is_on_shelves and not files.shelves.has_odd and selection.means_all(request, paths)

    def _sort_out(
        self, request: Request, parts: Iterable[Iterable[ListedFile]], say: Callable[[int], None]
    ) -> tuple[Prepared, Meetings]:
        prepared, meetings, said = Prepared(), Meetings(), 0
        for number, part in enumerate(parts):
            chosen = selection.select(request, part, meetings)
            prepared.listed += chosen.listed
            self._already_there.sort_out(request, chosen, number)
            prepared.uncompared += self._compare(request, chosen)
            self._put(prepared, request, chosen)
            if prepared.listed - said >= PART_FILES:
                said = prepared.listed
                say(said)
        return prepared, meetings

    def _compare(self, request: Request, chosen: Selection) -> int:
        """Take what an earlier delivery proves, and the request's own list contradicts, for a conflict; how many files
        of what is there cannot be compared."""
        given = next((voucher for voucher in self._vouchers if voucher.name == GIVEN), None)
        if given is None or not request.checksums or not chosen.there:
            return 0
        said = given.hashes(request, [there.listed.path for there in chosen.there])
        left: list[There] = []
        uncompared = 0
        for there in chosen.there:
            path = there.listed.path
            value = said.get(path, "")
            text = presence.contradiction({GIVEN: value}, there.vouched) if value and there.vouched else ""
            if not text:
                uncompared += bool(value) and not presence.is_comparable(value, there.vouched)
                left.append(there)
                continue
            chosen.files.append(there.listed)
            if request.conflict == "quarantine":
                chosen.doubtful[path] = Why(code="VOUCHERS-DISAGREE", text=text)
        chosen.there[:] = left
        return uncompared

    def _put(self, prepared: Prepared, request: Request, chosen: Selection) -> None:
        for there in chosen.there:
            prepared.there.append(
                Settled(*_of_listing(there.listed), vouched=there.vouched, adopted_by=there.adopted_by)
            )
        paths = [file.path for file in chosen.files]
        hashes = self._hpss.hashes(paths) if self._asks_for_hashes else {}
        vouched = {voucher.name: voucher.hashes(request, paths) for voucher in self._vouchers}
        for name, said in vouched.items():
            prepared.vouched[name] = prepared.vouched.get(name, 0) + len(said)
        vouched = {name: said for name, said in vouched.items() if said}
        is_told_of = bool(hashes or vouched or chosen.borrowed or chosen.doubtful)
        candidates: Sequence[Listed] = chosen.files
        if is_told_of:
            candidates = [self._candidate(file, hashes.get(file.path), vouched, chosen) for file in chosen.files]
        self._shelve(prepared, candidates)
        self._shelve(prepared, [Candidate(*_of_listing(file), is_speakable=False) for file in chosen.unspeakable])

    @staticmethod
    def _candidate(
        file: Listed, known: ArchiveHash | None, vouched: Mapping[str, Mapping[str, str]], chosen: Selection
    ) -> Candidate:
        path = file.path
        candidate = Candidate(*_of_listing(file))
        if known:
            candidate.archive_hash = f"{known.algorithm}:{known.hex}"
        if vouched:
            candidate.vouched = {who: said[path] for who, said in vouched.items() if path in said}
        if chosen.borrowed:
            candidate.lender = chosen.borrowed.get(path, "")
        if chosen.doubtful:
            candidate.why = chosen.doubtful.get(path)
        return candidate

    def _shelve(self, prepared: Prepared, files: Sequence[Listed]) -> None:
        """Put files with others of their volumes. One of which nothing is known but the listing is as good as a
        candidate: it comes back as one."""
        prepared.by_volumes.put_each([file.volumes for file in files], files)


def must_be_shown(request: Request, settings: Settings) -> None:
    """Return when the destination collection shows where a request wants to go; `BadDocument` otherwise."""
    shown = settings.destination
    if to_collection(request.destination, shown.path_prefix, shown.globus_prefix) is None:
        raise BadDocument(
            "destination",
            f"does not lie below {shown.path_prefix}, all that the destination collection shows",
            "correct it, or [destination] in tacc-sync.toml",
        )


def strange_in(request: Request, refused: Iterable[Refused]) -> list[Strange]:
    """What was met and cannot be carried. A part of the tree that could not be listed makes the request
    impossible, unless it is excluded anyway."""
    roots = set(selection.named_files(request) or selection.listing_roots(request))
    unlisted = [
        entry for entry in refused if entry.kind != "not-a-file" and not selection.is_excluded(request, entry.path)
    ]
    # A directory that only the patterns name (`2020/*.zip`) may well not exist: then they match nothing.
    narrowed = roots.difference(request.sources, request.files)
    unlisted = [entry for entry in unlisted if not (entry.kind == "missing" and entry.path in narrowed)]
    missing = [entry for entry in unlisted if entry.kind == "missing" and entry.path in roots]
    if missing:
        names = ", ".join(printable(entry.path) for entry in missing[:20])
        raise WorkFault(
            "SOURCE-MISSING",
            f"{len(missing)} of the {len(roots)} paths asked for do not exist in HPSS: {names}",
            "correct `source` (or `files`), and drop the request again",
        )
    if unlisted:
        names = "; ".join(f"{printable(entry.path)}: {entry.text}" for entry in unlisted[:20])
        raise WorkFault(
            "SOURCE-UNREADABLE",
            f"{len(unlisted)} paths could not be listed, so nobody knows what lies there: {names}",
            "get permission for them, or exclude them, and drop the request again",
        )
    return [
        Strange(path=printable(entry.path), kind=entry.kind, text=entry.text)
        for entry in refused
        if entry.kind == "not-a-file" and not selection.is_excluded(request, entry.path)
    ]


def size_of_units(request: Request, settings: Settings, rates: SiteRates | None) -> int:
    """How many bytes a unit of this request may have: what was chosen for it once, as far as the settings still allow
    that; else what they and the site's measured rates make of it."""
    sessions, tasks = settings.hsi.sessions, settings.globus.tasks
    return batches.bytes_of_a_unit(
        settings.units.bytes,
        quota=settings.buffer.quota,
        sessions=sessions,
        wanted=request.unit_bytes or batches.bytes_for_the_network(rates, sessions=sessions, tasks=tasks),
    )


def units_of(key: str, prepared: Prepared, settings: Settings, unit_bytes: int) -> Iterator[PlannedUnit]:
    """The units of a request with this key, tape by tape, and at last those of what is there already. `unit_bytes` as
    `size_of_units` says."""
    shelves: dict[str, list[tuple[str, ...]]] = {}
    for volumes in sorted(prepared.by_volumes.shelves()):
        shelves.setdefault(tape_of(volumes)[0], []).append(volumes)
    for tapes in batches.together(shelves):
        yield from batches.plan_units(
            key,
            {volumes: list(prepared.by_volumes.on(volumes)) for tape in tapes for volumes in shelves[tape]},
            unit_bytes=settings.units.bytes,
            unit_files=settings.units.files,
            quota=settings.buffer.quota,
            sessions=settings.hsi.sessions,
            wanted=unit_bytes,
        )
    yield from batches.plan_there(key, prepared.there, settings.units.files)


def _of_listing(file: Listed) -> tuple[str, int, int, int, tuple[str, ...], str]:
    return file.path, file.size, file.section, file.offset, file.volumes, file.written


def _in_order(files: Spool[ListedFile]) -> Iterator[Iterable[ListedFile]]:
    """Parts as they were listed."""
    part: list[ListedFile] = []
    for block in files.blocks():
        part += block
        if len(part) >= IN_ORDER:
            yield part
            part = []
    yield part


def _by_directory(files: Spool[ListedFile], division: Division) -> Iterator[Iterable[ListedFile]]:
    """Parts that each have all files of a directory at the destination."""
    if division.parts == 1:
        yield files
        return
    shelves: Shelves[int, ListedFile] = Shelves(ListedFile)
    for block in files.blocks():
        shelves.put_each([division.of_source(file.path) for file in block], block)
    for number in range(division.parts):
        yield shelves.on(number)


def _meant(request: Request, files: Iterable[ListedFile]) -> Iterator[str]:
    # Only when something is wrong: so long a list may be in memory for once.
    chosen = selection.select(request, files, Meetings())
    for kept in (chosen.files, chosen.unspeakable):
        yield from (file.path for file in kept)

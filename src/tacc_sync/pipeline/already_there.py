"""Which files of a new request need no tape: they are at the destination, or another request carries them.

Guarantee: what is left out was proven by a delivery of ours that both archives still agree with, or was accepted by the
request's own word (`present`); what would overwrite something that nobody knows is put aside, with the reason.
Fails with what `Globus.listing` and the workspace's disk fail with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from tacc_sync.outside.globus.interface import Globus
from tacc_sync.outside.host.spool import Shelves
from tacc_sync.pipeline.destination import Destination, Listing
from tacc_sync.pipeline.step import Bench
from tacc_sync.rules import presence, selection
from tacc_sync.rules.division import Division
from tacc_sync.rules.documents import Request, Why
from tacc_sync.rules.faults import Fenced
from tacc_sync.rules.identity import printable, request_key
from tacc_sync.rules.presence import Adopted, Remote
from tacc_sync.rules.selection import Listed, Selection, There
from tacc_sync.rules.settings import Destination as DestinationSection
from tacc_sync.rules.settings import to_collection
from tacc_sync.workspace import earlier
from tacc_sync.workspace.earlier import Carried, Delivery, Earlier


class AlreadyThere:
    """Sorts out the selection of one request after the other. Without Globus the destination is not looked at."""

    def __init__(self, bench: Bench, globus: Globus | None) -> None:
        self._bench = bench
        self._looked_for: tuple[str, set[str]] = "", set()
        self._deliveries: Shelves[int, Delivery] = Shelves(Delivery)
        self._carried: Shelves[int, Carried] = Shelves(Carried)
        self._found: Counter[str] = Counter()
        skip = bench.settings.skip
        collection = bench.settings.globus.destination_collection
        self._destination = (
            Destination(globus, bench.home.clock, collection, age=skip.listing_age, per_second=skip.requests_per_second)
            if globus is not None
            else None
        )

    def begin(self, request: Request, keys: Iterable[str], division: Division) -> None:
        """Gather what is known of a request's destinations: what was delivered there before, and what other requests
        (of those with these keys) carry there. For a request in several parts it waits on disk."""
        disk = self._bench.disk
        self.end()
        self._found.clear()
        finished = earlier.finished_units(disk, request.destination) if self._destination else []
        units = {unit for _, unit in finished}
        if self._destination and self._looked_for != (request.request_id, units):
            # Listed after that: of what is finished, the destination itself tells. One that was put back is looked at
            # again soon, and then its listings still hold, unless there were deliveries since.
            self._destination.forget()
            self._looked_for = request.request_id, units
        for delivery in earlier.deliveries(disk, finished):
            self._deliveries.put(division.of_destination(delivery.destination), delivery)
        for carried in earlier.carried(disk, keys):
            if carried.unit not in units:
                self._carried.put(division.of_destination(carried.destination), carried)

    def end(self) -> None:
        """Forget it."""
        self._deliveries, self._carried = Shelves(Delivery), Shelves(Carried)

    def has_any(self, request: Request) -> bool:
        """Whether there may be anything at all that a file of this request has to be compared with."""
        return bool(self._carried.shelves()) or request.present == "adopt" or not self._remotes(request).are_none()

    def sort_out(self, request: Request, chosen: Selection, part: int) -> None:
        """Take out of a part's selection what is there, and mark what other requests carry, and what is in doubt."""
        if not self.has_any(request):
            # A request that is the first there.
            return
        remotes = self._remotes(request)
        destination_of = selection.destinations(request)
        wanted = {printable(destination_of(file.path)): file for file in chosen.files}
        known = earlier.of_these(self._deliveries.on(part), wanted)
        carried = earlier.lenders(self._carried.on(part), wanted)
        left: list[Listed] = []
        for destination, file in wanted.items():
            verdict = self._verdict(remotes.at(destination), destination, file, known)
            if verdict == "proven":
                chosen.there.append(There(file, known.vouched[destination]))
                continue
            lender = carried.get(destination)
            if lender is None and verdict == "present":
                adopted_by = _adopted_by(request, file, known.adopted.get(destination))
                if adopted_by or request.present == "accept":
                    chosen.there.append(There(file, None, adopted_by))
                    continue
            left.append(file)
            if lender is not None and request.present != "adopt":
                self._borrow(chosen, file, lender)
            elif (why := _doubt(request, verdict, destination)) is not None:
                chosen.doubtful[file.path] = why
        chosen.files[:] = left
        self._found.update(there=len(chosen.there), borrowed=len(chosen.borrowed), doubtful=len(chosen.doubtful))

    def tell(self, request: Request) -> None:
        """Report what was found for a request, when all of its parts are sorted out."""
        self._bench.report(
            "destination_compared",
            component="syncer",
            request=request_key(request.request_id),
            directories_listed=self._destination.calls if self._destination else 0,
            **{what: self._found[what] for what in ("there", "borrowed", "doubtful")},
        )

    def _remotes(self, request: Request) -> _Remotes:
        return _Remotes(self._destination, self._bench.settings.destination, request.destination, self._go_on)

    def _verdict(self, remote: Remote | None, destination: str, file: Listed, known: Earlier) -> presence.Verdict:
        if remote is None:
            return "absent"
        return presence.judge(
            size=file.size,
            written=file.written,
            times=presence.times_of(file.written, self._bench.settings.skip.archive_zone),
            remote=remote,
            vouched=known.vouched.get(destination),
            is_unproven=destination in known.unproven,
        )

    def _go_on(self) -> None:
        # A whole archive takes hours; somebody may take us for dead meanwhile.
        if self._bench.home.lost:
            raise Fenced(self._bench.home.name)

    @staticmethod
    def _borrow(chosen: Selection, file: Listed, lender: Carried) -> None:
        same = (lender.source, lender.size, lender.written) == (printable(file.path), file.size, file.written)
        if same:
            chosen.borrowed[file.path] = lender.unit
            return
        chosen.doubtful[file.path] = Why(
            code="DESTINATION-CLAIMED",
            text=f"{lender.unit} of another request is on its way to {lender.destination} with other content",
        )


class _Remotes:
    """What lies at the destinations of one request. Those of a directory are asked for one after the other."""

    def __init__(
        self, destination: Destination | None, shown: DestinationSection, root: str, go_on: Callable[[], None]
    ) -> None:
        self._destination = destination
        self._shown = shown
        self._root = self._in_collection(root).rstrip("/") or "/"
        self._go_on = go_on
        self._directory: str | None = None
        self._listing: Listing = {}

    def are_none(self) -> bool:
        """Whether there is nothing at all at the request's destination."""
        return self._destination is None or not self._destination.listing(self._root, self._root, self._go_on)

    def at(self, path: str) -> Remote | None:
        """What lies at this path, as the site names it."""
        if self._destination is None:
            return None
        directory, _, name = path.rpartition("/")
        if directory != self._directory:
            there = self._in_collection(directory or "/").rstrip("/") or "/"
            self._listing = self._destination.listing(there, self._root, self._go_on)
            self._directory = directory
        return self._listing.get(name)

    def _in_collection(self, path: str) -> str:
        found = to_collection(path, self._shown.path_prefix, self._shown.globus_prefix)
        if found is None:
            # The request was read, and found to lie in what the collection shows.
            raise AssertionError(path)
        return found


def _adopted_by(request: Request, file: Listed, adopted: Adopted | None) -> str:
    """The key of the request by which the operator has taken over what is there; "" when nobody has, or when this
    request does not want to hear of it."""
    if request.present == "recall":
        return ""
    if adopted is not None and (adopted.size, adopted.written) == (file.size, file.written):
        return adopted.request
    return request_key(request.request_id) if request.present == "adopt" else ""


def _doubt(request: Request, verdict: presence.Verdict, destination: str) -> Why | None:
    if request.present == "adopt":
        return Why(
            code="ADOPTION-REFUSED",
            text=f"what lies at {destination}, if anything, is not of this size and date, or a unit is at work there",
        )
    if verdict == "conflict" and request.conflict == "quarantine":
        return Why(
            code="DESTINATION-CONFLICT",
            text=f"what lies at {destination} is neither this file nor what was delivered there before",
        )
    if verdict == "present" and request.present == "quarantine":
        return Why(
            code="DESTINATION-PRESENT",
            text=f"a file of this size and date lies at {destination}, and the request says `present = quarantine`",
        )
    return None

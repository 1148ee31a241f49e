"""What the syncer would make of a request now, without doing it: the same listing, selection and cutting into units.

Guarantee: nothing in the workspace is changed: no claim, no id, no home, no turn is taken; it works while others run.
What it holds lies in memory and in scratch files, and goes with it. The archive is not asked for its hashes: they
decide nothing of what is carried.
Fails with `WorkFault` when the request cannot be planned, and with what the archive, the destination and the local disk
fail with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tacc_sync.outside.checksums.interface import GIVEN, Voucher
from tacc_sync.outside.globus.interface import Globus
from tacc_sync.outside.hpss.interface import Hpss
from tacc_sync.pipeline.already_there import AlreadyThere
from tacc_sync.pipeline.planning import Planning, Prepared, must_be_shown, size_of_units, strange_in, units_of
from tacc_sync.pipeline.step import Bench
from tacc_sync.rules import selection
from tacc_sync.rules.batches import PlannedUnit
from tacc_sync.rules.documents import Request, Strange
from tacc_sync.rules.identity import request_key
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import earlier, queues, site_rates


@dataclass(slots=True)
class Foreseen:
    """A request as it would be planned now: how many files were listed, what could not be carried, its units, of
    `unit_bytes` at most."""

    request: Request
    prepared: Prepared
    strange: list[Strange]
    settings: Settings
    unit_bytes: int

    def units(self) -> Iterator[PlannedUnit]:
        """Its units, each time anew: a large request's are not in memory at once."""
        return units_of(request_key(self.request.request_id), self.prepared, self.settings, self.unit_bytes)


class Foresight:
    """Looks at one request after the other. `bench` has a home that was never entered."""

    def __init__(self, bench: Bench, hpss: Hpss, globus: Globus | None, vouchers: Sequence[Voucher]) -> None:
        """Without `globus` the destination is not looked at."""
        self._bench = bench
        self._hpss = hpss
        # Of those who vouch, only the list given with a request decides what is carried.
        given = [voucher for voucher in vouchers if voucher.name == GIVEN]
        self._planning = Planning(hpss, AlreadyThere(bench, globus), given, asks_for_hashes=False)

    def foresee(self, request: Request) -> Foreseen:
        """What would become of a request that has an id."""
        disk = self._bench.disk
        must_be_shown(request, self._bench.settings)
        self._hpss.check_up()
        named = selection.named_files(request)
        listing = self._hpss.list_files(named) if named else self._hpss.list_trees(selection.listing_roots(request))
        strange = strange_in(request, listing.refused)
        unfinished = sorted(earlier.committed(disk).intersection(queues.requests(disk)))
        prepared = self._planning.prepare(request, listing, unfinished, lambda _listed: None)
        settings = self._bench.settings
        return Foreseen(request, prepared, strange, settings, size_of_units(request, settings, site_rates.read(disk)))

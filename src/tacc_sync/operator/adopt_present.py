"""Taking over what lies at the destination, agrees with the archive by size and date, and was brought by somebody else.

For a file that no unit has, a request is handed in that names it and says `present = adopt`: the syncer looks once more
and notes it as present, by the operator's word; it recalls nothing. A unit that was put aside because of such files
(DESTINATION-PRESENT) notes them itself, and goes on.

Guarantee: nothing is called proven by this. Cut off anywhere, some of the files are adopted and the others can be,
again; memory does not grow with their number.
Fails with `Fault`, `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice

import msgspec

from tacc_sync.operator import quarantine, submit
from tacc_sync.outside.host.sorted_lines import SortedLines
from tacc_sync.rules.differences import Found
from tacc_sync.rules.documents import VERSION, BadDocument, Request
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.progress import Amount
from tacc_sync.workspace.home import Home

# Names of one request: some megabytes of its document.
FILES = 20_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, str, str, str]).decode


@dataclass(slots=True)
class Adopted:
    """What was done: the ids of the requests that were handed in, the units that go on, and what could not be taken
    over, with the reasons."""

    requests: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class Adoption:
    """The files of one audit that wait for the operator's word."""

    def __init__(self, scratch: str) -> None:
        self._lines = SortedLines(scratch)
        self.amount = Amount()

    def add(self, found: Found) -> None:
        """Note one, if it is such a file."""
        if found.is_adoptable:
            self._lines.add(_encode((found.unit, found.request, found.path, found.place)))
            self.amount.add(found.size)

    def carry_out(self, home: Home, request_of: Callable[[str], Request | None], who: str) -> Adopted:
        """Take all of them over, in the name of `who`."""
        done = Adopted()
        lines = (_decode(line) for line in self._lines)
        for (unit, key), files in groupby(lines, lambda line: line[:2]):
            if unit:
                self._settle(home, unit, {place for _, _, _, place in files}, done)
                continue
            request = request_of(key)
            while paths := [path for _, _, path, _ in islice(files, FILES)]:
                if request is None:
                    done.refused.append(f"{len(paths)} files of request {key}, which has just gone")
                else:
                    self._hand_in(home, request, paths, who, done)
        self._lines.close()
        return done

    @staticmethod
    def _settle(home: Home, unit: str, places: set[str], done: Adopted) -> None:
        try:
            for entry in quarantine.choose(home.disk, [unit]):
                quarantine.adopt(home, entry, places)
                done.units.append(unit)
        except OperatorFault as fault:
            # Somebody has released or abandoned it meanwhile.
            done.refused.append(str(fault))

    @staticmethod
    def _hand_in(home: Home, request: Request, paths: list[str], who: str, done: Adopted) -> None:
        files = list(_acceptable(request, paths, done))
        if not files:
            return
        ours = Request(
            version=VERSION,
            source=request.source,
            destination=request.destination,
            files=files,
            present="adopt",
            label=f"adopted for {request.label or request.request_id[:13]}"[:200],
            requested_by=who,
            created_at=to_iso(home.clock.now()),
            request_id=home.host.new_uuid(),
        )
        submit.put(home, submit.of_request(ours))
        done.requests.append(ours.request_id)


def _acceptable(request: Request, paths: list[str], done: Adopted) -> Iterator[str]:
    """Those that a request can name: not the ones with control characters."""
    probe = Request(version=VERSION, source=request.source, destination=request.destination)
    for path in paths:
        probe.files = [path]
        try:
            submit.of_request(probe)
        except BadDocument as bad:
            done.refused.append(bad.text)
        else:
            yield path

"""What has still to be moved, as a catalogue for a simulation: some requests, their files on their tapes.

Files that lie one after the other are taken together up to a grain, so that a request of any size makes a campaign of
about the same number of pieces. What lies in the buffer already, or on no tape, needs the network alone. Sizes are
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tacc_sync.campaign.bound import tapes_of
from tacc_sync.campaign.catalogues import Catalogue, of_listing
from tacc_sync.campaign.tape_model import MEDIA, Geometries
from tacc_sync.outside.hpss.interface import ListedFile
from tacc_sync.rules import documents
from tacc_sync.rules.documents import Request

# So many files are simulated one by one; of more, about so many pieces.
FEW = 600
PIECES = 400
# So many files are looked at to tell how fast a drive could read them.
SAMPLE = 100_000
ROOT = "/simulated/source"
WRITTEN = "2020-01-01T00:00:00"


@dataclass(slots=True)
class _Piece:
    section: int
    offset: int
    size: int


class Remains:
    """Requests and what is left of them; each file is added once, those of a tape in tape order."""

    def __init__(self, files: int, size: int) -> None:
        """About how much there will be."""
        self.grain = 0 if files <= FEW else math.ceil(size / PIECES)
        self.files = self.bytes = self.from_tape = 0
        self.largest = 0
        self._requests: dict[str, Request] = {}
        self._pieces: dict[tuple[str, tuple[str, ...]], list[_Piece]] = {}
        self._sample: list[ListedFile] = []
        self._is_sampled = True

    def request(self, request_id: str, key: str, priority: int) -> None:
        """A request that there is something left of."""
        self._requests[key] = Request(
            version=documents.VERSION,
            source=f"{ROOT}/{key}",
            destination=f"/simulated/archive/{key}",
            request_id=request_id,
            priority=priority,
        )

    def add(self, key: str, tape: tuple[str, ...], section: int, offset: int, size: int, files: int = 1) -> None:
        """A file of it, or some files that lie one after the other; `tape` is () when no tape is needed."""
        self.files += files
        self.bytes += size
        self.largest = max(self.largest, size)
        self.from_tape += size if tape else 0
        pieces = self._pieces.setdefault((key, tape), [])
        if pieces and pieces[-1].size + size <= self.grain:
            pieces[-1].size += size
        else:
            pieces.append(_Piece(section, offset, size))

    def sample(self, tape: tuple[str, ...], section: int, offset: int, size: int) -> None:
        """Where a file lies: by some whole tapes it is told how fast a drive could read them."""
        if not self._is_sampled or len(tape) != 1 or not size:
            return
        if len(self._sample) >= SAMPLE and self._sample[-1].volumes != tape:
            self._is_sampled = False
            return
        path = f"{ROOT}/{len(self._sample):09d}"
        self._sample.append(ListedFile(path, size, section, offset, tape, WRITTEN))

    @property
    def requests(self) -> list[Request]:
        """Those of which something is left."""
        with_pieces = {key for key, _ in self._pieces}
        return [request for key, request in self._requests.items() if key in with_pieces]

    @property
    def tapes(self) -> int:
        """How many cartridges are needed."""
        return len({label for _, tape in self._pieces for label in tape})

    def bytes_of(self, key: str) -> int:
        """What is left of a request."""
        return sum(piece.size for (owner, _), pieces in self._pieces.items() if owner == key for piece in pieces)

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return sum(map(len, self._pieces.values()))

    @property
    def files_of_a_piece(self) -> float:
        """On the average."""
        return self.files / max(1, self.count)

    def efficiency(self, medium: str) -> float:
        """The share of a drive's rate at which, after the model of it, these files can be read in tape order."""
        if not self._sample:
            return 1.0
        catalogue = of_listing(self._sample, medium=medium)
        tapes = tapes_of(catalogue, Geometries(MEDIA[medium]))
        busy = sum(tapes.times) - sum(tapes.unloads) - len(tapes.times) * MEDIA[medium].mount
        return min(1.0, tapes.bytes / MEDIA[medium].rate / busy) if busy > 0 else 1.0

    def catalogue(self, medium: str) -> Catalogue:
        """All of it, on cartridges of this kind, one file after the other."""
        return of_listing(self._files(), medium=medium, dense=True)

    def _files(self) -> Iterable[ListedFile]:
        for (key, tape), pieces in self._pieces.items():
            name = "+".join(tape) or "none"
            for number, piece in enumerate(pieces):
                path = f"{ROOT}/{key}/{name}/{number:06d}"
                yield ListedFile(path, piece.size, piece.section, piece.offset, tape, WRITTEN)

"""Sums over a request's files: where each one stands, in files and in bytes. Pure.

Guarantee (the sum law): `selected = already there + delivered + abandoned + quarantined + waiting elsewhere + on the
way`, because each file is put into exactly one of the classes."""

from __future__ import annotations

from dataclasses import dataclass, field

from tacc_sync.rules.completion import THERE
from tacc_sync.rules.documents import File, Work


@dataclass(slots=True)
class Amount:
    """So many files with so many bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int, files: int = 1) -> None:
        """Count a file of that size."""
        self.files += files
        self.bytes += size

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.files + other.files, self.bytes + other.bytes)


@dataclass(slots=True)
class Standing:
    """Where the files of some units stand. `retrieved` is the part of what is on the way that lies in the buffer."""

    there: Amount = field(default_factory=Amount)
    delivered: Amount = field(default_factory=Amount)
    abandoned: Amount = field(default_factory=Amount)
    quarantined: Amount = field(default_factory=Amount)
    on_the_way: Amount = field(default_factory=Amount)
    retrieved: Amount = field(default_factory=Amount)

    @property
    def total(self) -> Amount:
        """All of them; equal to what was selected, or something is wrong."""
        return self.there + self.delivered + self.abandoned + self.quarantined + self.on_the_way

    def add(self, work: Work, *, quarantined: bool) -> None:
        """Count a unit's files; `quarantined` when the unit lies in quarantine."""
        for file in work.files:
            getattr(self, class_of(file, quarantined=quarantined)).add(file.size)
            if file.outcome == "retrieved" and not quarantined:
                self.retrieved.add(file.size)

    def merge(self, other: Standing) -> None:
        """Count what another one has counted."""
        self.there += other.there
        self.delivered += other.delivered
        self.abandoned += other.abandoned
        self.quarantined += other.quarantined
        self.on_the_way += other.on_the_way
        self.retrieved += other.retrieved


def class_of(file: File, *, quarantined: bool) -> str:
    """The class of the sum law that a file belongs to."""
    if file.outcome in {"delivered", "abandoned"}:
        return file.outcome
    if file.outcome in THERE:
        return "there"
    return "quarantined" if quarantined else "on_the_way"

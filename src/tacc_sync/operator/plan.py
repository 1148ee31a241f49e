"""What a request asks for, before a byte moves: figures of what it would be planned as.

Guarantee: counts what the syncer's own planning says, unit by unit; each file of the request once. Nothing is read but
what is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tacc_sync.rules.batches import PlannedUnit
from tacc_sync.rules.documents import Request, Strange
from tacc_sync.rules.identity import printable
from tacc_sync.rules.progress import Amount
from tacc_sync.rules.settings import Settings
from tacc_sync.rules.site_rules import Judged, Load, judge

# Of what cannot be carried, so many are named.
NAMED = 20


@dataclass(slots=True)
class Refused:
    """Files that cannot be carried as they are, for one reason; the first of their paths."""

    code: str
    text: str
    amount: Amount = field(default_factory=Amount)
    paths: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """The figures. selected = there + borrowed + refused + carried. `carried` is what has to come from tape; on `tapes`
    cartridges; `spanning` of it lie on several cartridges, `without_position` on none that is known. `largest` is that
    of the files that are carried or larger than the buffer."""

    request: str
    request_id: str
    label: str
    sources: list[str]
    destination: str
    destination_looked_at: bool
    listed_files: int = 0
    selected: Amount = field(default_factory=Amount)
    there: Amount = field(default_factory=Amount)
    borrowed: Amount = field(default_factory=Amount)
    carried: Amount = field(default_factory=Amount)
    refused: list[Refused] = field(default_factory=list)
    strange: list[Strange] = field(default_factory=list)
    units: int = 0
    tapes: int = 0
    sessions: int = 0
    spanning: Amount = field(default_factory=Amount)
    without_position: Amount = field(default_factory=Amount)
    largest: int = 0
    largest_path: str = ""
    quota: int = 0
    rules: list[Judged] = field(default_factory=list)
    load: Load = field(default_factory=Load)

    @property
    def broken(self) -> list[Judged]:
        """The rules that it breaks."""
        return [judged for judged in self.rules if judged.verdict == "broken"]

    @property
    def can_be_carried(self) -> bool:
        """Whether anything of it is there, or can be brought there."""
        return bool(self.there.files or self.borrowed.files or self.carried.files)


def plan_of(request: Request, key: str, units: Iterable[PlannedUnit], settings: Settings, *, looked: bool) -> Plan:
    """Add up the units of a request."""
    plan = Plan(
        request=key,
        request_id=request.request_id,
        label=request.label,
        sources=request.sources,
        destination=request.destination,
        destination_looked_at=looked,
        quota=settings.buffer.quota,
    )
    cartridges: set[str] = set()
    refused: dict[str, Refused] = {}
    for unit in units:
        plan.units += 1
        for file in unit.there:
            plan.there.add(file.size)
        if unit.refused is not None:
            of_code = refused.setdefault(unit.refused.code, Refused(unit.refused.code, unit.refused.text))
            for each in unit.listed:
                of_code.amount.add(each.size)
                if len(of_code.paths) < NAMED:
                    of_code.paths.append(printable(each.path))
                if unit.refused.code == "FILE-LARGER-THAN-BUFFER":
                    _largest(plan, each.size, each.path)
        elif unit.loan:
            for each in unit.listed:
                plan.borrowed.add(each.size)
        else:
            _carry(plan, unit, settings, cartridges)
    plan.refused = [refused[code] for code in sorted(refused)]
    plan.tapes = len(cartridges)
    amounts = (plan.there, plan.borrowed, plan.carried, *(each.amount for each in plan.refused))
    plan.selected = sum(amounts, Amount())
    # No more sessions than there is work for.
    plan.sessions = min(settings.hsi.sessions, max(1, plan.tapes or plan.units))
    plan.load.sessions = settings.hsi.sessions
    plan.rules = judge(plan.load, settings.site_rules)
    return plan


def _carry(plan: Plan, unit: PlannedUnit, settings: Settings, cartridges: set[str]) -> None:
    cartridges.update(unit.tape)
    for file in unit.listed:
        plan.carried.add(file.size)
        plan.load.add(file.size, settings.site_rules)
        if len(unit.tape) > 1:
            plan.spanning.add(file.size)
        # A file that is empty needs no place.
        if not unit.tape and file.size:
            plan.without_position.add(file.size)
        if file.size > plan.largest:
            _largest(plan, file.size, file.path)


def _largest(plan: Plan, size: int, path: str) -> None:
    if size > plan.largest:
        plan.largest, plan.largest_path = size, printable(path)

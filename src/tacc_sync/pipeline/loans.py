"""Units whose files other requests carry: they wait for those, take their results, and recall what was given up there.

Guarantee: a file is `proven` by the receipt of the unit that carried it, unless its own request vouches for another
hash; it waits for tape again when that unit has given it up; until each of them is finished, nothing is decided.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

from tacc_sync.pipeline.step import Bench, Moved
from tacc_sync.pipeline.trouble import cannot_read
from tacc_sync.rules import completion
from tacc_sync.rules.documents import BadDocument, File, NewerDocument, Why, Work
from tacc_sync.rules.identity import SUFFIX, parse_unit
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.presence import contradiction, prove, vouched_by
from tacc_sync.rules.route import CLAIMABLE, HPSS_QUEUE, REAPER_QUEUE
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import STAGING


class Loans:
    """Looks after all of them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._lenders: dict[str, set[str]] = {}

    def settle_one(self) -> Moved | None:
        """Settle one unit whose lenders have all finished; None when there is none."""
        bench = self._bench
        marks = queues.loans(bench.disk)
        self._lenders = {unit: lenders for unit, lenders in self._lenders.items() if unit in marks}
        for unit in marks:
            if all(map(self._is_finished, self._lenders_of(unit))):
                moved = self._settle(unit)
                if moved is not None:
                    return moved
        return None

    def _lenders_of(self, unit: str) -> set[str]:
        if unit not in self._lenders:
            try:
                work = queues.work_of(self._bench.disk, f"{HPSS_QUEUE}/{unit}{SUFFIX}")
            except (FileNotFoundError, BadDocument, NewerDocument):
                return set()
            self._lenders[unit] = {file.borrowed_from for file in work.files if file.borrowed_from}
        return self._lenders[unit]

    def _is_finished(self, unit: str) -> bool:
        return self._bench.disk.status(_finished(unit)) is not None

    def _settle(self, unit: str) -> Moved | None:
        home = self._bench.home
        claimed = home.claim(HPSS_QUEUE, unit + SUFFIX)
        if claimed is None:
            if not self._is_about(unit):
                # Its loan is settled, and whoever did it was cut off before this.
                home.take_away(f"{layout.LOANS}/{unit}")
            return None
        try:
            work = queues.work_of(home.disk, claimed)
        except (BadDocument, NewerDocument) as error:
            home.take_away(f"{layout.LOANS}/{unit}")
            cannot_read(self._bench, claimed, "syncer", error)
            return Moved(f"put {unit} out of the way")
        lenders = {name: self._read(name) for name in {file.borrowed_from for file in work.files} if name}
        if None in lenders.values():
            # It changed since we looked.
            self._lenders.pop(unit, None)
            home.pass_on(claimed, HPSS_QUEUE)
            return None
        now = to_iso(home.clock.now())
        for file in work.files:
            _take_result(file, lenders.get(file.borrowed_from), now)
        home.put_document(claimed, work)
        home.take_away(f"{layout.LOANS}/{unit}")
        place = HPSS_QUEUE if any(file.outcome == "waiting" for file in work.files) else REAPER_QUEUE
        home.pass_on(claimed, place)
        self._bench.report("loan_settled", component="syncer", unit=unit, to=place)
        self._bench.wake("reaper" if place == REAPER_QUEUE else "retriever")
        return Moved(f"settled the loan of {unit}")

    def _is_about(self, unit: str) -> bool:
        """Does it wait for tape, or may it do so again? Without its mark it would be recalled."""
        disk, name = self._bench.disk, f"{unit}{SUFFIX}"
        homes = disk.names(layout.CLAIMS)
        # Its mark is published first: whoever planned it may have been cut off in between.
        staged = [
            f"{layout.CLAIMS}/{worker}/{STAGING}/{stem}/{HPSS_QUEUE}/{name}"
            for worker in homes
            for stem in _names(disk, f"{layout.CLAIMS}/{worker}/{STAGING}")
        ]
        claimed = [f"{layout.CLAIMS}/{worker}/{queue}/{name}" for worker in homes for queue in CLAIMABLE]
        queued = f"{HPSS_QUEUE}/{name}"
        if any(disk.status(path) is not None for path in (*staged, queued, *claimed, queued)):
            return True
        # A home that was renamed away while we looked may hold it.
        return set(disk.names(layout.CLAIMS)) != set(homes)

    def _read(self, unit: str) -> Work | None:
        try:
            return queues.work_of(self._bench.disk, _finished(unit))
        except (FileNotFoundError, BadDocument, NewerDocument):
            return None


def _names(disk: Disk, directory: str) -> list[str]:
    try:
        return disk.names(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _finished(unit: str) -> str:
    parsed = parse_unit(unit)
    return f"{layout.finished(parsed.request if parsed else 'unknown')}/{unit}{SUFFIX}"


def _take_result(file: File, lender: Work | None, now: str) -> None:
    if lender is None or not file.borrowed_from:
        return
    file.borrowed_from = ""
    theirs = next((each for each in lender.files if each.destination == file.destination), None)
    if theirs is not None and file.outcome == "waiting" and theirs.outcome in completion.PROVEN:
        known = vouched_by(theirs.vouched_by or lender.unit.partition(".")[0], theirs)
        if text := contradiction(file.vouched, known):
            file.outcome, file.why = "failed", Why(code="VOUCHERS-DISAGREE", text=text, at=now)
        else:
            prove(file, known)

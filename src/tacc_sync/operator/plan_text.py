"""A plan as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacc_sync.operator.plan import NAMED, Plan
from tacc_sync.operator.words import counted, files, percent, size, table
from tacc_sync.rules.progress import Amount


def lines(plan: Plan) -> Iterator[str]:
    """The figures for people, without the forecast."""
    sources = ", ".join(plan.sources[:3]) + (" ..." if len(plan.sources) > 3 else "")
    label = f' "{plan.label}"' if plan.label else ""
    yield f"plan{label}: {sources} -> {plan.destination}"
    rows = [_row("listed", Amount(plan.listed_files, -1)), _row("selected", plan.selected)]
    rows += [
        _row(name, amount)
        for name, amount in (
            ("already there", plan.there),
            ("borrowed from other requests", plan.borrowed),
            ("to be carried", plan.carried),
            *((f"refused, {refused.code}", refused.amount) for refused in plan.refused),
        )
        if amount.files
    ]
    yield from table(rows)
    if not plan.destination_looked_at:
        yield "  The destination was not looked at (skip.before_recall)."
    for refused in plan.refused:
        yield f"  {refused.code}: {refused.text}"
        yield from _named(refused.paths, refused.amount.files)
    if plan.strange:
        what = (
            "1 entry is no plain file and is"
            if len(plan.strange) == 1
            else f"{len(plan.strange):,} entries are no plain files and are"
        )
        yield f"  {what} not carried:"
        yield from _named([f"{entry.path} ({entry.text})" for entry in plan.strange], len(plan.strange))
    yield from _tapes(plan)


def rule_lines(plan: Plan) -> Iterator[str]:
    """What the sites ask, and whether this keeps to it."""
    broken = plan.broken
    kept = [judged.rule for judged in plan.rules if judged.verdict == "kept"]
    unchecked = [judged for judged in plan.rules if judged.verdict == "unchecked"]
    for judged in broken:
        yield f"! {judged.site}, {judged.rule}: {judged.text} ({judged.source})"
        yield f"    {judged.remedy}"
    if kept:
        yield f"site rules kept: {', '.join(kept)}"
    for judged in unchecked:
        yield f"not checked: {judged.site}, {judged.rule}: {judged.text}"


def _tapes(plan: Plan) -> Iterator[str]:
    carried = plan.carried
    if not carried.files:
        yield "  Nothing has to come from tape."
        return
    yield f"  {counted(plan.tapes, 'tape')}, {counted(plan.units, 'unit')}, {counted(plan.sessions, 'session')} at once"
    if plan.spanning.files:
        yield f"  {files(plan.spanning.files)}, {size(plan.spanning.bytes)}, on several cartridges each"
    if plan.without_position.files:
        amount = plan.without_position
        yield f"  {files(amount.files)}, {size(amount.bytes)}, without a position on tape"
    of_quota = f", {percent(plan.largest, plan.quota)} of the buffer's quota" if plan.quota else ""
    yield f"  largest file {size(plan.largest)}{of_quota}: {plan.largest_path}"


def _row(name: str, amount: Amount) -> tuple[str, ...]:
    return f"  {name}", files(amount.files), size(amount.bytes) if amount.bytes >= 0 else ""


def _named(paths: list[str], count: int) -> Iterator[str]:
    for path in paths[:NAMED]:
        yield f"    {path}"
    if count > NAMED:
        yield f"    and {counted(count - NAMED, 'other')}"

"""`check`: does everything add up?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import confirm, pass_edges, say, show, show_json
from tacc_sync.operator import repair, take_over
from tacc_sync.operator.check import Checker, Report
from tacc_sync.operator.hands import hands
from tacc_sync.operator.words import counted, files, size
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.liveness import Lease

if TYPE_CHECKING:
    from tacc_sync.operator.take_over import Compared

# While these stand, nobody can say which state would be adopted.
UNSETTLED = frozenset({"UNIT-TWICE", "REQUEST-TWICE"})


@click.command(short_help="Does everything add up?")
@click.option("--strict", is_flag=True, help="Exit 1 also for what is merely untidy.")
@click.option("--repair", "mend", is_flag=True, help="Mend what is safe to mend, say what was done, and check again.")
@click.option("--dry-run", is_flag=True, help="With --repair: only say what would be done.")
@click.option(
    "--adopt", is_flag=True, help="Make a copied or restored workspace the right one: compare it with Globus."
)
@click.option("--yes", is_flag=True, help="With --adopt: do not ask.")
@json_option
@pass_edges
def check(edges: Edges, *, strict: bool, mend: bool, dry_run: bool, adopt: bool, yes: bool, as_json: bool) -> int:
    """Prove from the disk alone that nothing is lost, doubled or forgotten. Exits 1 when something is.

    For every request: selected = already there + delivered + abandoned + quarantined + on the way, in files and in
    bytes; every unit in exactly one place; everything reserved or in use has an owner; the buffer holds what it should
    and nothing else. It may run while components do.

    \b
    Example:
      tacc-sync check --strict
      tacc-sync check --repair --dry-run
    """
    if dry_run and not mend:
        raise OperatorFault("USAGE", "--dry-run goes with --repair", "say both", EX_USAGE)
    settings = edges.settings
    checker = Checker(
        edges.disk, edges.buffer_if_there, edges.clock, edges.host, settings.buffer.quota, settings.run.also_at
    )
    compared = _adopt(edges, checker, yes=yes) if adopt else []
    report = checker.check()
    mended: list[str] = []
    if mend:
        report, mended = _repair(edges, checker, report, dry_run=dry_run)
    bad = report.broken or (strict and report.findings)
    if as_json:
        show_json(
            {
                "ok": not bad,
                "steady": report.steady,
                "units": report.units,
                "buffer_bytes": report.buffer_bytes,
                "requests": report.sums,
                "findings": report.findings,
                "repaired": mended,
                "adopted": compared,
            }
        )
        return 1 if bad else 0
    for found in report.sums:
        parts = [
            f"{files(amount.files)} {name}"
            for name, amount in (
                ("already there", found.there),
                ("delivered", found.delivered),
                ("abandoned", found.abandoned),
                ("quarantined", found.quarantined),
                ("on the way", found.on_the_way),
            )
            if amount.files
        ]
        state = "adds up" if found.agrees else "DOES NOT ADD UP"
        selected = f"{files(found.selected.files)}, {size(found.selected.bytes)}"
        show(f"request {found.request}: {state}: {selected} selected" + (f" = {' + '.join(parts)}" if parts else ""))
    for finding in report.findings:
        show(f"{finding.severity}: {finding}")
    if not report.steady:
        say("Work moved all the time; what is listed stood unchanged in every reading.")
    requests = counted(len(report.sums), "request")
    say(f"{requests}, {counted(report.units, 'unit')}: {counted(len(report.findings), 'finding')}.")
    return 1 if bad else 0


def _repair(edges: Edges, checker: Checker, report: Report, *, dry_run: bool) -> tuple[Report, list[str]]:
    buffer = edges.buffer_if_there
    wrong = take_over.wrong_with(edges.disk, buffer, edges.settings.run.also_at)
    if wrong is not None:
        raise wrong
    if not report.steady:
        say("Work moved all the time: nothing is mended. `tacc-sync hold all` lets it come to rest.")
    mends = repair.mendable(checker, edges.clock, report)
    if dry_run:
        for each in mends:
            say(f"It would have {each}.")
        return report, []
    mended = []
    for what in repair.mend(edges.disk, buffer, edges.clock, edges.host, mends):
        say(f"It has {what}.")
        mended.append(what)
    if not mended:
        say("Nothing was mended.")
    return (checker.check() if mended else report), mended


def _adopt(edges: Edges, checker: Checker, *, yes: bool) -> list[Compared]:
    settings = edges.settings
    disk, buffer, also = edges.disk, edges.buffer, settings.run.also_at
    wrong = take_over.wrong_with(disk, buffer, also)
    if wrong is None:
        say("This is the right workspace: there is nothing to adopt.")
        return []
    take_over.must_be_adoptable(disk, buffer)
    edges.require(("globus_xfer",))
    unsettled = [finding for finding in checker.check().broken if finding.code in UNSETTLED]
    if unsettled:
        raise OperatorFault(
            "ADOPTION-UNSETTLED",
            "; ".join(map(str, unsettled[:3])),
            "settle these first: they come from copying while work moved",
        )
    say(str(wrong))
    say("Every other copy of this workspace is an old one afterwards, and must not run any more.")
    confirm(f"Does nothing else work on this workspace or a copy of it, and shall {disk.root} go on?", yes=yes)
    compared = []
    lease = settings.lease
    with hands(disk, edges.clock, edges.host, buffer) as home:
        for worker in take_over.fence_all(home, Lease(lease.beat, lease.lease, lease.grace, lease.turn)):
            say(f"{worker} was fenced; `tacc-sync run` gives its work back.")
        for each in take_over.compare(home, edges.globus):
            say(f"{each.unit}: {each.text}")
            compared.append(each)
        owner = take_over.take_over(home, also)
    say(f"{disk.root} is the right workspace from now on (epoch {owner.epoch}).")
    say("Requests that were handed in after the copy was made are not in it: hand them in again.")
    say("What was delivered since is recalled again; it is sent again only where Globus has no record of its task.")
    return compared

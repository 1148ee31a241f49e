"""`check`: does everything add up?"""

from __future__ import annotations

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, say, show, show_json
from tacc_sync.operator.check import Checker, repair
from tacc_sync.operator.hands import hands
from tacc_sync.operator.words import counted, files, size


@click.command(short_help="Does everything add up?")
@click.option("--strict", is_flag=True, help="Exit 1 also for what is merely untidy.")
@click.option("--repair", "mend", is_flag=True, help="Make the turn anew when it is lost.")
@json_option
@pass_edges
def check(edges: Edges, *, strict: bool, mend: bool, as_json: bool) -> int:
    """Prove from the disk alone that nothing is lost, doubled or forgotten. Exits 1 when something is.

    For every request: selected = delivered + abandoned + quarantined + on the way, in files and in bytes; every unit
    in exactly one place; everything reserved or in use has an owner; the buffer holds what it should and nothing
    else. It may run while components do.

    \b
    Example:
      tacc-sync check --strict
    """
    settings = edges.settings
    checker = Checker(edges.disk, edges.buffer_if_there, edges.clock, edges.host, settings.buffer.quota)
    report = checker.check()
    if mend and report.steady:
        with hands(edges.disk, edges.clock, edges.host) as home:
            done = repair(home, report)
        for what in done:
            say(what)
        if done:
            report = checker.check()
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
            }
        )
        return 1 if bad else 0
    for found in report.sums:
        parts = [
            f"{files(amount.files)} {name}"
            for name, amount in (
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

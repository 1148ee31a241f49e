"""`plan`: what a request asks for, before a byte moves."""

# What a plan needs is loaded only when there is one.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.pulse import pulsed
from tacc_sync.cli.request_words import Words, describes_requests, submissions
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, say, show, show_json
from tacc_sync.operator import submit as submission
from tacc_sync.operator.plan import Plan, plan_of
from tacc_sync.operator.plan_text import lines, rule_lines
from tacc_sync.operator.submit import Submission
from tacc_sync.rules.documents import BadDocument
from tacc_sync.rules.faults import EX_DATAERR
from tacc_sync.rules.identity import printable
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.site_rules import Outlook, ticket

if TYPE_CHECKING:
    from tacc_sync.cli.forecasting import Told
    from tacc_sync.pipeline.foresight import Foreseen


@click.command(short_help="What would a request ask for?")
@describes_requests
@click.option(
    "--outage",
    "outages",
    multiple=True,
    metavar="START/LENGTH",
    help="A planned outage, such as 2026-12-09T08:00Z/12h.",
)
@click.option("--no-forecast", is_flag=True, help="The figures alone, without the simulation of when it is done.")
@click.option("--ticket", "only_ticket", is_flag=True, help="Show only the ticket to NERSC, ready to be sent.")
@json_option
@pass_edges
def plan(
    edges: Edges, words: Words, outages: tuple[str, ...], *, no_forecast: bool, only_ticket: bool, as_json: bool
) -> int:
    """Show what would become of a request, before a byte moves: files, tapes, the site's rules that it breaks, the end.

    Lists the archive and the destination as the syncer does, and changes nothing; it works while others run. Exits 65
    when nothing of the request can be carried.

    \b
    Example:
      tacc-sync plan --source /home/projects/x --destination /scoutfs/x --include '*.zip'
      tacc-sync plan request.json --outage 2026-12-09T08:00Z/12h
    """
    return show_plans(
        edges,
        submissions(edges, words),
        as_json=as_json,
        only_ticket=only_ticket,
        outages=outages,
        with_forecast=not no_forecast,
    )


def show_plans(
    edges: Edges,
    ready: list[Submission],
    *,
    as_json: bool,
    only_ticket: bool = False,
    outages: Sequence[str] = (),
    with_forecast: bool = True,
) -> int:
    """Show what would become of these requests; the exit code."""
    from tacc_sync.campaign.campaign import Broken
    from tacc_sync.cli.forecasting import foretell_plan, more_outages

    down = more_outages(outages)
    can, shown = True, []
    for number, one in enumerate(ready):
        foreseen, found = _foresee(edges, one)
        can = can and found.can_be_carried
        told = None
        if with_forecast:
            try:
                told = foretell_plan(edges, foreseen, found.carried, down)
            except Broken as broken:
                # The figures hold without it.
                say(f"No forecast, as the simulation went wrong, which is a bug of tacc-sync: {broken}")
        text = ticket(found.load, _outlook(edges, foreseen, found, told))
        if only_ticket:
            click.echo(text, nl=False)
        elif as_json:
            shown.append(_document(foreseen, found, text, told))
        else:
            if number:
                show()
            _show(found, text, told)
    if as_json and not only_ticket:
        show_json(shown)
    if not can:
        say("Nothing of it can be carried.")
    return 0 if can else EX_DATAERR


def _foresee(edges: Edges, one: Submission) -> tuple[Foreseen, Plan]:
    from tacc_sync.pipeline.foresight import Foresight
    from tacc_sync.pipeline.step import Bench
    from tacc_sync.workspace import layout
    from tacc_sync.workspace.home import Home

    layout.open_workspace(edges.disk)
    if submission.in_use(edges.disk, one.key):
        raise BadDocument(
            "request_id",
            f"{printable(one.request.request_id)} is in use in this workspace (its first twelve hex digits count)",
            "leave `request_id` out, and the request gets a new one",
        )
    # A home that is never entered: there is no directory of it, and nothing that could be changed through it.
    home = Home(edges.disk, None, edges.clock, edges.host, component="operator")
    bench = Bench(home, edges.settings, lambda _event, /, **_about: None, lambda _component: None)
    globus = edges.globus if edges.looks_first else None
    with pulsed(edges):
        foreseen = Foresight(bench, edges.hpss, globus, edges.vouchers).foresee(one.request)
    found = plan_of(one.request, one.key, foreseen.units(), edges.settings, looked=globus is not None)
    found.listed_files, found.strange = foreseen.prepared.listed, foreseen.strange
    return foreseen, found


def _outlook(edges: Edges, foreseen: Foreseen, found: Plan, told: Told | None) -> Outlook:
    request = foreseen.request
    return Outlook(
        sources=tuple(map(printable, request.sources)),
        tapes=found.tapes,
        spanning_files=found.spanning.files,
        largest=found.largest,
        begin=to_iso(edges.clock.now())[:10],
        end=told.forecast.p50[:10] if told else "",
        requested_by=printable(request.requested_by),
    )


def _show(found: Plan, text: str, told: Told | None) -> None:
    for line in lines(found):
        show(line)
    if told is not None:
        for line in told.lines(found.carried, found.tapes, found.quota):
            show(line)
    for line in rule_lines(found):
        show(line)
    if any(judged.rule == "ticket" for judged in found.broken):
        show()
        for line in text.splitlines():
            show(f"    {line}")


def _document(foreseen: Foreseen, found: Plan, text: str, told: Told | None) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in Plan.__dataclass_fields__}
    asks = any(judged.rule == "ticket" for judged in found.broken)
    return {
        **fields,
        "can_be_carried": found.can_be_carried,
        "ticket": text if asks else "",
        "forecast": told.document(found.carried, found.tapes) if told is not None else None,
        "document": msgspec.to_builtins(foreseen.request),
    }

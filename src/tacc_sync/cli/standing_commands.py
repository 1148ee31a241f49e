"""`standing`: requests that renew themselves."""

from __future__ import annotations

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.request_commands import Interval
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import confirm, pass_edges, say, show, show_json
from tacc_sync.operator import standing as operator
from tacc_sync.operator.hands import hands
from tacc_sync.operator.status_text import standing_lines
from tacc_sync.rules.faults import EX_USAGE, OperatorFault


@click.group(short_help="Requests that renew themselves.")
def standing() -> None:
    """See the requests that renew themselves, stop them, change them; `tacc-sync submit --every 1d` makes one."""


@standing.command("list")
@json_option
@pass_edges
def list_(edges: Edges, *, as_json: bool) -> None:
    """List the standing requests, which run each one is at, and when it is renewed.

    \b
    Example:
      tacc-sync standing list
    """
    now = edges.clock.now()
    found = operator.standings(edges.disk, now)
    if as_json:
        show_json(found)
        return
    for each in found:
        for line in standing_lines(each, now):
            show(line)
    if not found:
        say("There are no standing requests; `tacc-sync submit --every 1d` makes one.")


@standing.command("stop")
@click.argument("standing_id", metavar="STANDING")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_edges
def stop(edges: Edges, standing_id: str, *, yes: bool) -> None:
    """Let a standing request have no further run. The run that is under way is brought to its end.

    STANDING is its id, the beginning of that, or its label.

    \b
    Example:
      tacc-sync standing stop nightly --yes
    """
    chosen = operator.choose(edges.disk, standing_id)
    confirm(f"Stop standing request {chosen}?", yes=yes)
    with hands(edges.disk, edges.clock, edges.host) as home:
        operator.stop(home, chosen)
    say(f"Standing request {chosen} is stopped. A run that is under way goes on.")


@standing.command("change")
@click.argument("standing_id", metavar="STANDING")
@click.option("--every", type=Interval(), metavar="TIME", help="Renew it so often: 12h, 1d, 1w.")
@click.option("--now", is_flag=True, help="Begin the next run at once, or as soon as the last one has ended.")
@pass_edges
def change(edges: Edges, standing_id: str, *, every: float | None, now: bool) -> None:
    """Change how often a standing request is renewed, or have it renewed now.

    STANDING is its id, the beginning of that, or its label. To change what it asks for, stop it and submit another.

    \b
    Example:
      tacc-sync standing change nightly --every 12h
      tacc-sync standing change nightly --now
    """
    if every is None and not now:
        raise OperatorFault("USAGE", "nothing to change", "say --every TIME, or --now", EX_USAGE)
    chosen = operator.choose(edges.disk, standing_id)
    with hands(edges.disk, edges.clock, edges.host) as home:
        changed = operator.change(home, chosen, every=every, is_due=now)
    say(f"Standing request {chosen} is due {changed.due}, then every {changed.every:g} seconds.")

"""`forecast`: when will the requests under way be done?"""

# What a simulation needs is loaded only when there is one.
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import resource

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, say, show, show_json
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.identity import request_key

# Times `forecast.cpu`: whatever goes wrong, a forecast in the background ends.
MOST_CPU = 5


@click.command(short_help="When will it be done?")
@click.argument("request", default="", metavar="[REQUEST]")
@click.option(
    "--outage",
    "outages",
    multiple=True,
    metavar="START/LENGTH",
    help="A planned outage, such as 2026-12-09T08:00Z/12h.",
)
@click.option("--background", is_flag=True, hidden=True)
@json_option
@pass_edges
def forecast(edges: Edges, request: str, outages: tuple[str, ...], *, background: bool, as_json: bool) -> int:
    """Foretell the ends of the requests under way, by simulating what is left, and keep it for `status` to show.

    REQUEST is an id, or the beginning of one; without it all are shown. `run` does the same now and then
    (forecast.every).

    \b
    Example:
      tacc-sync forecast
      tacc-sync forecast f8c7f5f6d70a --outage 2026-12-09T08:00Z/12h
    """
    from tacc_sync.cli.forecasting import foretell_open, keep_forecasts, more_outages
    from tacc_sync.operator import forecasts
    from tacc_sync.operator.forecast_text import outlook
    from tacc_sync.workspace import layout

    if background:
        _be_modest(edges.settings.forecast.cpu)
    layout.open_workspace(edges.disk)
    told = foretell_open(edges, more_outages(outages))
    wanted = sorted(key for key in told if key.startswith(request_key(request)))
    if request and not wanted:
        raise OperatorFault(
            "REQUEST-UNKNOWN", f"no request under way is {request}", "`tacc-sync status` lists them", EX_USAGE
        )
    keep_forecasts(edges, told)
    if as_json:
        show_json({key: told[key].forecast for key in wanted})
        return 0
    if not told:
        say("Nothing is under way.")
    for key in wanted:
        show(f"request {key}: {outlook(forecasts.read(edges.disk, key), edges.clock.now())}")
        for what, source in told[key].forecast.sources.items():
            show(f"  {what}: {source}")
    return 0


def _be_modest(cpu: float) -> None:
    # Whoever moves data goes first.
    os.nice(19)
    limit = int(MOST_CPU * cpu) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))

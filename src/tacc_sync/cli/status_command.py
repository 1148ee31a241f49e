"""`status`: what is going on, for people and as JSON."""

from __future__ import annotations

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, show, show_json
from tacc_sync.operator.status_reader import Reader
from tacc_sync.operator.status_text import lines


@click.command(short_help="What is going on?")
@click.argument("request", default="", metavar="[REQUEST]")
@click.option("--all", "everything", is_flag=True, help="All finished requests too, not only the latest.")
@click.option(
    "--strict", is_flag=True, help="Exit 1 also when a component is not running, on hold, or has work in quarantine."
)
@json_option
@pass_edges
def status(edges: Edges, request: str, *, everything: bool, strict: bool, as_json: bool) -> int:
    """Show requests, units by place, files and bytes, rates, and what each component waits for.

    REQUEST is an id, the beginning of one, or a label. Reads the workspace only. Exits 1 when a heartbeat is overdue.

    \b
    Example:
      tacc-sync status
      tacc-sync status f8c7f5f6d70a --json
    """
    found = Reader(edges.disk, edges.clock, edges.host, edges.settings).read(request)
    if as_json:
        show_json({**_fields(found), "overdue": found.overdue})
    else:
        for line in lines(found, now=edges.clock.now(), everything=everything or bool(request)):
            show(line)
    uneasy = strict and (
        found.quarantined_units
        or found.quarantined_requests
        or found.cartridges_held
        or any(not component.running or component.held is not None for component in found.components)
    )
    return 1 if found.overdue or uneasy else 0


def _fields(found: object) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}  # type: ignore[attr-defined]

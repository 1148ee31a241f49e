"""`hold`, `unhold` and `fence`: stopping components and workers by hand."""

from __future__ import annotations

import re
from typing import Any

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import confirm, pass_edges, say
from tacc_sync.operator import control
from tacc_sync.operator.hands import hands
from tacc_sync.rules.route import COMPONENTS

CARTRIDGE = re.compile(r"cartridge:(\w{1,6})", re.ASCII)


class Holdable(click.ParamType[str]):
    """A component, all of them, or a cartridge."""

    name = "holdable"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it was written, when there is such a thing."""
        if value not in (*COMPONENTS, "all") and not CARTRIDGE.fullmatch(value):
            self.fail(f"{value!r} is none of {', '.join(COMPONENTS)}, all, cartridge:LABEL", param, ctx)
        return str(value)


@click.command(short_help="Let a component take no new work.")
@click.argument("component", type=Holdable(), metavar="COMPONENT|all|cartridge:LABEL")
@click.argument("reason", nargs=-1)
@pass_edges
def hold(edges: Edges, component: str, reason: tuple[str, ...]) -> None:
    """Let a component take no new work, on all hosts, until `unhold`. What is begun is brought to its end.

    A cartridge on hold is not recalled from; all others are.

    \b
    Example:
      tacc-sync hold retriever 'HPSS maintenance until Thursday'
      tacc-sync hold cartridge:AG7872 'being repaired'
    """
    with hands(edges.disk, edges.clock, edges.host) as home:
        for name in _named(component):
            control.hold(home, name, " ".join(reason))
            say(f"{name} is on hold; `tacc-sync unhold {name}` lets it go on.")


@click.command(short_help="Let a component take work again.")
@click.argument("component", type=Holdable(), metavar="COMPONENT|all|cartridge:LABEL")
@pass_edges
def unhold(edges: Edges, component: str) -> None:
    """Let a component take work again, or let a cartridge be recalled from. `all`: all components.

    \b
    Example:
      tacc-sync unhold retriever
      tacc-sync unhold cartridge:AG7872
    """
    with hands(edges.disk, edges.clock, edges.host) as home:
        for name in _named(component):
            was_held = control.unhold(home, name)
            say(f"{name} goes on." if was_held else f"{name} was not on hold.")


@click.command(short_help="Take all claims from a worker.")
@click.argument("worker")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_edges
def fence(edges: Edges, worker: str, *, yes: bool) -> None:
    """Take all claims from a worker that is known to be gone, or shall stop at once; `status` names the workers.

    Its work comes back after the grace period (`lease.grace`), given by `tacc-sync run`. A worker that lives notices
    and begins anew under another name.

    \b
    Example:
      tacc-sync fence retriever.dtn07.pid-4026531836-4711.8123456.0.0badcafe --yes
    """
    control.must_be_fenceable(edges.disk, worker)
    confirm(f"Fence {worker}?", yes=yes)
    buffer = edges.buffer if edges.settings.buffer.path else None
    with hands(edges.disk, edges.clock, edges.host, buffer) as home:
        fenced = control.fence(home, edges.settings.lease, worker)
    say(f"{worker} is fenced. `tacc-sync run` gives its work back." if fenced else "Another was faster.")


def _named(component: str) -> tuple[str, ...]:
    return COMPONENTS if component == "all" else (component,)

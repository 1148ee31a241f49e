"""`quarantine`: what cannot go on by itself, why, and what a person decides about it."""

from __future__ import annotations

from collections.abc import Callable

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import complain, confirm, pass_edges, say, show, show_json
from tacc_sync.operator import quarantine as operator
from tacc_sync.operator.hands import hands
from tacc_sync.operator.quarantine import Entry
from tacc_sync.operator.words import counted
from tacc_sync.rules.faults import EX_USAGE, Fault, OperatorFault
from tacc_sync.workspace.home import Home

names_argument = click.argument("names", nargs=-1, metavar="[NAME]...")
all_option = click.option("--all", "everything", is_flag=True, help="Everything that is in quarantine.")
request_option = click.option("--request", default="", metavar="KEY", help="All units of this request.")


@click.group(short_help="What cannot go on by itself.")
def quarantine() -> None:
    """See what cannot go on by itself, and why; let it go round again, or give it up."""


@quarantine.command("list")
@request_option
@json_option
@pass_edges
def list_(edges: Edges, request: str, *, as_json: bool) -> None:
    """List what is in quarantine, and why.

    \b
    Example:
      tacc-sync quarantine list
    """
    found = operator.choose(edges.disk, (), everything=not request, request=request, leftovers=True)
    if as_json:
        show_json(found)
        return
    for entry in found:
        left = "" if entry.document else " (has gone on; only its reason is left)"
        show(f"{entry.name}  {entry.kind} of {entry.component}, since {entry.at or 'unknown'}{left}")
        show(f"  {entry.code}: {entry.text}")
        if entry.remedy:
            show(f"  -- {entry.remedy}")
    if not found:
        say("The quarantine is empty.")


@quarantine.command("show")
@click.argument("name")
@json_option
@pass_edges
def show_(edges: Edges, name: str, *, as_json: bool) -> None:
    """Show one entry: the reason, each file's own reason, and where the document lies.

    \b
    Example:
      tacc-sync quarantine show f8c7f5f6d70a.AG787200.0003.748246351402
    """
    found = operator.choose(edges.disk, [name], leftovers=True)
    if as_json:
        show_json(found)
        return
    for entry in found:
        show(f"{entry.kind} {entry.name}, put here by {entry.component} {entry.at}")
        show(f"document: {edges.disk.root}/{entry.path}")
        field = f" (field `{entry.field}`)" if entry.field else ""
        show(f"{entry.code}: {entry.text}{field}")
        if entry.remedy:
            show(f"-- {entry.remedy}")
        for line in entry.files:
            show(f"  {line}")


@quarantine.command()
@names_argument
@all_option
@request_option
@pass_edges
def release(edges: Edges, names: tuple[str, ...], request: str, *, everything: bool) -> int:
    """Let units and requests go round again. Files count their attempts anew; what lies in the buffer stays there.

    \b
    Example:
      tacc-sync quarantine release f8c7f5f6d70a.AG787200.0003.748246351402
      tacc-sync quarantine release --request f8c7f5f6d70a
    """
    chosen = _choose(edges, names, request, everything=everything)
    quota = edges.settings.buffer.quota
    return _each(edges, chosen, "released", lambda home, entry: operator.release(home, entry, quota=quota))


@quarantine.command()
@names_argument
@all_option
@request_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_edges
def abandon(edges: Edges, names: tuple[str, ...], request: str, *, everything: bool, yes: bool) -> int:
    """Give up what was not delivered: the manifest will name it as abandoned, and its copies leave the buffer.

    A request that was never planned goes to finished/rejected, with its reason.

    \b
    Example:
      tacc-sync quarantine abandon f8c7f5f6d70a.AG787200.0003.748246351402 --yes
    """
    chosen = _choose(edges, names, request, everything=everything)
    if chosen:
        some = ", ".join(entry.name for entry in chosen[:3]) + (", ..." if len(chosen) > 3 else "")
        confirm(f"Give up what was not delivered of {counted(len(chosen), 'document')} ({some})?", yes=yes)
    return _each(edges, chosen, "abandoned", operator.abandon)


def _choose(edges: Edges, names: tuple[str, ...], request: str, *, everything: bool) -> list[Entry]:
    if not names and not everything and not request:
        raise OperatorFault("USAGE", "nothing was named", "name entries, or say --request KEY or --all", EX_USAGE)
    return operator.choose(edges.disk, names, everything=everything, request=request, leftovers=True)


def _each(edges: Edges, chosen: list[Entry], done: str, act: Callable[[Home, Entry], str]) -> int:
    """One by one; what is refused is told, and does not stop the others. The exit code of the first refusal."""
    code = 0
    if not chosen:
        say("There is nothing of that in quarantine.")
        return code
    with hands(edges.disk, edges.clock, edges.host) as home:
        for entry in chosen:
            try:
                place = act(home, entry)
            except Fault as fault:
                complain(fault)
                code = code or fault.exit_code
                continue
            say(f"{entry.name} is {done}, now in {place}." if place else f"{entry.name} had gone on already.")
    return code

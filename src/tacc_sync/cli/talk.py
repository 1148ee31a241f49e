"""How commands talk: data to stdout, talk to stderr, one line for a fault, JSON when asked.

Guarantee: what is shown as JSON is one document on stdout and nothing else is; nothing from outside steers the
terminal.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click
import msgspec

from tacc_sync.cli.edges import Edges
from tacc_sync.operator.words import plain
from tacc_sync.rules.faults import EX_USAGE, Fault, OperatorFault

pass_edges = click.make_pass_decorator(Edges)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def say(text: str) -> None:
    """Tell a person something that is no data; when that cannot be written, it is nobody's fault."""
    with contextlib.suppress(OSError):
        click.echo("\n".join(map(plain, text.split("\n"))), err=True)


def show(text: str = "") -> None:
    """Show a line of data."""
    click.echo(plain(text))


def show_json(document: Any) -> None:
    """Show a JSON document."""
    encoded = msgspec.json.format(msgspec.json.encode(document), indent=2)
    # Escapes keep strange names from steering a terminal, and the bytes the same in every locale.
    click.echo(encoded.decode())


def complain(fault: Fault) -> None:
    """Tell of a fault: its code, what was seen, what to do."""
    with contextlib.suppress(OSError):
        click.echo(plain(f"tacc-sync: {fault}"), err=True)


def is_terminal() -> bool:
    """Is there a person to ask?"""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Make sure that a person means it; without a terminal only `--yes` says so."""
    if yes:
        return
    if not is_terminal():
        raise OperatorFault(
            "CONFIRMATION-MISSING", f"{question} Nobody is here to answer.", "say it with --yes", EX_USAGE
        )
    if not click.confirm(question, err=True):
        raise click.exceptions.Exit(1)

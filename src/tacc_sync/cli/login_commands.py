"""`login` and `logout`: a person's login at Globus."""

# globus-sdk is slow to import.
# ruff: noqa: PLC0415

from __future__ import annotations

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import is_terminal, pass_edges, say
from tacc_sync.rules.faults import EX_NOPERM, OperatorFault


@click.command(short_help="Log a person in to Globus.")
@click.option("--domain", "domains", multiple=True, metavar="DOMAIN", help="Log in with an identity of this domain.")
@pass_edges
def login(edges: Edges, domains: tuple[str, ...]) -> None:
    """Log a person in to Globus, with a browser on any machine. For a service account nothing is to be done here.

    The login is kept for months, in a file that only you can read (`globus.token_file`); it takes effect when
    `globus.login` is "user".

    \b
    Example:
      tacc-sync login
    """
    user = edges.user_login
    if not is_terminal():
        raise OperatorFault(
            "GLOBUS-CREDENTIALS",
            "a login needs a terminal, to show an address and ask for a code",
            'run it by hand; or use a service account (`login = "client"` in [globus])',
            EX_NOPERM,
        )
    from tacc_sync.outside.globus.login import log_in

    section = edges.settings.globus
    collections = [each for each in (section.source_collection, section.destination_collection) if each]

    def ask(question: str) -> str:
        answer: str = click.prompt(question.strip().removesuffix(":"), default="", show_default=False, err=True)
        return answer

    log_in(user, show=say, ask=ask, collections=collections, domains=domains)
    say(f"Logged in; the login is kept in {user.token_file}.")
    if section.login != "user":
        say('It is not used yet: set `login = "user"` in [globus] of tacc-sync.toml.')


@click.command(short_help="Forget that login.")
@pass_edges
def logout(edges: Edges) -> None:
    """Revoke a person's login at Globus, and remove its file.

    \b
    Example:
      tacc-sync logout
    """
    user = edges.user_login
    if not user.token_file.exists():
        say("Nobody is logged in.")
        return
    from tacc_sync.outside.globus.login import log_out

    log_out(user)
    say("Logged out.")

"""`testbed`: a stand-in for both sites on this machine."""

# The testbed and its libraries are an extra; nobody else needs them.
# ruff: noqa: PLC0415

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import say, show_json
from tacc_sync.operator.words import counted, size
from tacc_sync.rules.faults import EX_TEMPFAIL, EX_UNAVAILABLE, OperatorFault

root_option = click.option(
    "--root", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Where the testbed lives."
)


@click.group(short_help="A stand-in for both sites on this machine.")
def testbed() -> None:
    """A stand-in for NERSC and TACC on this machine: an hsi with tapes, a Globus service, two collections."""


@testbed.command()
@root_option
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path), help="The files of this directory are put on tapes."
)
@click.option(
    "--also", multiple=True, metavar="NAME=DIR", help="Further directories, each under a name beside those files."
)
@click.option("--tapes", type=int, metavar="N", help="On so many; otherwise as many as suit the files.")
@click.option("--seed", type=int, default=0, metavar="N", help="Another seed, another placement.")
@click.option("--port", type=int, default=0, metavar="N", help="Of the Globus service; 0 is any that is free.")
@json_option
def up(
    root: Path, data: Path | None, also: tuple[str, ...], tapes: int | None, seed: int, port: int, *, as_json: bool
) -> None:
    """Build what is not there yet, start the Globus service, show the environment.

    \b
    Example:
      eval "$(tacc-sync testbed up --root /tmp/bed --data /usr/share/doc)"
    """
    site = _site()
    if data is not None and not data.is_dir():
        raise OperatorFault("TESTBED", f"{data} is no directory", "name one with --data")
    more = {name: Path(directory) for name, _, directory in (entry.partition("=") for entry in also)}
    for name, directory in more.items():
        if not name or "/" in name or not directory.is_dir():
            raise OperatorFault("TESTBED", f"--also {name}={directory} is not NAME=DIRECTORY", "name a directory")
    found = _call(site, lambda: site.up(root, data, also=more, tapes=tapes, seed=seed, port=port))
    if found.hpss is not None:
        on_tape = f"{counted(found.hpss.files, 'file')}, {size(found.hpss.bytes)}"
        say(f"{on_tape} on {counted(len(found.hpss.tapes), 'tape')}")
        for line in found.hpss.skipped:
            say(f"not put on tape: {line}")
    say(f"The Globus service answers at {found.url} (process {found.pid}).")
    _show(found.environment, as_json=as_json)


@testbed.command()
@root_option
def down(root: Path) -> None:
    """Stop the Globus service; everything on disk stays.

    \b
    Example:
      tacc-sync testbed down --root /tmp/bed
    """
    site = _site()
    was_up = _call(site, lambda: site.down(root))
    say("The testbed is down." if was_up else "The testbed was not up.")


@testbed.command()
@root_option
@json_option
def env(root: Path, *, as_json: bool) -> None:
    """Show the environment that points tacc-sync, and your own globus command, at the testbed.

    \b
    Example:
      eval "$(tacc-sync testbed env --root /tmp/bed)"
    """
    site = _site()
    _show(_call(site, lambda: site.environment(root)), as_json=as_json)


@testbed.command()
@root_option
@json_option
def status(root: Path, *, as_json: bool) -> int:
    """Say whether the testbed is up; exit 75 when it is not.

    \b
    Example:
      tacc-sync testbed status --root /tmp/bed
    """
    site = _site()
    there = (root / "globus").exists()
    is_up = there and _call(site, lambda: site.is_up(root.absolute()))
    url = _call(site, lambda: site.service_url(root.absolute())) if is_up else ""
    if as_json:
        show_json({"root": str(root.absolute()), "up": is_up, "url": url})
    else:
        click.echo(f"up at {url}" if is_up else "down" if there else "not there")
    return 0 if is_up else EX_TEMPFAIL


@testbed.command()
@root_option
@json_option
def summary(root: Path, *, as_json: bool) -> None:
    """Say what both sites have seen: sessions, mounts, bytes read, tasks, files and bytes delivered.

    \b
    Example:
      tacc-sync testbed summary --root /tmp/bed
    """
    _site()
    from tacc_sync.testbed import globus_settings, hpss_log

    tapes = hpss_log.read_log(root)
    ended = globus_settings.read_log(root.absolute(), "ended")
    mounts = tapes.mounts_per_cartridge
    facts = {
        "hsi_sessions": len(tapes.sessions),
        "most_sessions_at_once": tapes.most_sessions_at_once,
        "cartridges": len(mounts),
        "mounts": sum(mounts.values()),
        "cartridge_contentions": len(tapes.contentions),
        "bytes_read": tapes.bytes_read,
        "tasks": len(ended),
        "files_delivered": sum(task.get("files", 0) for task in ended),
        "bytes_delivered": sum(task.get("bytes", 0) for task in ended),
    }
    if as_json:
        show_json(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):<24}{value:>14,}")


def _site() -> ModuleType:
    try:
        from tacc_sync.testbed import site
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tacc_sync"):
            raise
        raise OperatorFault(
            "TESTBED-MISSING",
            f"the testbed needs a library that is not installed: {error.name}",
            "pip install 'tacc-sync[testbed]'",
            EX_UNAVAILABLE,
        ) from None
    return site


def _call(site: ModuleType, operation: Any) -> Any:
    try:
        return operation()
    except (site.SiteError, FileExistsError, FileNotFoundError, ValueError) as error:
        raise OperatorFault("TESTBED", str(error), "`tacc-sync testbed --help`") from None


def _show(environment: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        show_json(environment)
        return
    for name, value in environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")

"""`init` and `config`: making a workspace, and what it is configured to do."""

from __future__ import annotations

import os
import re

import click

from tacc_sync import config as configuration
from tacc_sync.cli.edges import USES_BUFFER, USES_GLOBUS, Edges
from tacc_sync.cli.talk import as_json, pass_edges, say, show, show_json
from tacc_sync.operator.words import table
from tacc_sync.rules.faults import EX_CANTCREAT, EX_USAGE, OperatorFault
from tacc_sync.rules.route import COMPONENTS
from tacc_sync.workspace import layout
from tacc_sync.workspace.posix_disk import PosixDisk


@click.command(short_help="Make a workspace.")
@click.argument("directory", metavar="DIR")
@click.option("--buffer", metavar="PATH", help="The transfer buffer on the community file system.")
@click.option("--quota", metavar="SIZE", help="What the buffer may hold, such as 20TB; 0 is no limit.")
@pass_edges
def init(edges: Edges, directory: str, buffer: str | None, quota: str | None) -> None:
    """Make a workspace in DIR: the queues, and a commented tacc-sync.toml.

    \b
    Example:
      tacc-sync init /global/cfs/cdirs/PROJECT/tacc-sync --buffer /global/cfs/cdirs/PROJECT/buffer --quota 20TB
    """
    template = configuration.TEMPLATE
    if buffer is not None:
        template = _uncomment(template, "path", f'"{_toml(os.path.abspath(buffer))}"')
    if quota is not None:
        try:
            configuration.parse_size(quota)
        except ValueError:
            raise OperatorFault("CONFIG-BAD", f"--quota cannot be {quota!r}", "write it like 20TB", EX_USAGE) from None
        template = _uncomment(template, "quota", f'"{quota}"')
    configuration.load(template.encode(), layout.CONFIG, {}, {})
    try:
        os.makedirs(directory, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OperatorFault(
            "WORKSPACE-DAMAGED", f"cannot make {directory}: {error}", "name another directory", EX_CANTCREAT
        ) from None
    disk = PosixDisk(directory)
    layout.init(disk, edges.host.new_uuid(), template.encode())
    show(disk.root)
    say(
        f"The workspace is ready. Next:\n"
        f"  export TACC_SYNC_WORK_ROOT={disk.root}\n"
        f"  edit {disk.root}/{layout.CONFIG}      (or set the variables that it names)\n"
        f"  tacc-sync doctor                       (is everything there, and does it answer?)\n"
        f"  tacc-sync submit --source /home/projects/... --destination /scoutfs/...\n"
        f"  tacc-sync run"
    )


@click.group()
def config() -> None:
    """What is configured, and where each value came from."""


@config.command("show")
@as_json
@pass_edges
def config_show(edges: Edges, *, as_json: bool) -> None:
    """Show all keys, their values, and where each one came from. Secrets are never shown.

    \b
    Example:
      tacc-sync config show | grep buffer
    """
    rows = edges.configuration.rows()
    secret = "set, not shown" if edges.has_secret else ""
    if as_json:
        show_json(
            {
                "values": [{"key": key, "value": value, "origin": origin} for key, value, origin in rows],
                "secrets": {"GLOBUS_CLIENT_SECRET": bool(secret)},
            }
        )
        return
    lines = [(key, _shown(value), origin) for key, value, origin in rows]
    if secret:
        lines.append(("GLOBUS_CLIENT_SECRET", secret, "environment"))
    for line in table(lines):
        show(line)


@config.command("check")
@click.argument("components", nargs=-1, type=click.Choice(COMPONENTS), metavar="[COMPONENT]...")
@as_json
@pass_edges
def config_check(edges: Edges, components: tuple[str, ...], *, as_json: bool) -> None:
    """Check the configuration, and that these components (all by default) have what they need.

    \b
    Example:
      tacc-sync config check retriever
    """
    # Nothing is called: `tacc-sync doctor` does that.
    edges.require(components or COMPONENTS)
    if as_json:
        show_json({"ok": True})
    else:
        wanted = components or COMPONENTS
        parts = ["hsi"] * bool({"syncer", "retriever"}.intersection(wanted))
        parts += ["the buffer"] * bool(USES_BUFFER.intersection(wanted))
        parts += ["Globus"] * bool(USES_GLOBUS.intersection(wanted))
        say("The configuration is complete" + (f" for {', '.join(parts)}" if parts else "") + ".")


def _uncomment(template: str, key: str, value: str) -> str:
    return re.sub(rf"^# {key} = .*$", lambda _: f"{key} = {value}", template, count=1, flags=re.MULTILINE)


def _toml(text: str) -> str:
    if not text.isprintable():
        raise OperatorFault("CONFIG-BAD", f"--buffer cannot be {text!r}", "name a plain path", EX_USAGE)
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return str(value) if value != "" else "-"

"""`tacc-sync`: the entry point, the options that all commands share, and what becomes of errors.

Guarantee: a fault that we understand is one line with its code and remedy, and its exit code; anything else is a
traceback and 70. A command's code is loaded only when it is called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from tacc_sync import __version__
from tacc_sync.rules.faults import EX_SOFTWARE, EX_USAGE, Fault, Fenced, of_os_error

# In the order in which a newcomer needs them; each stands in a file of its group.
COMMANDS = {
    "init": "workspace_commands",
    "config": "workspace_commands",
    "doctor": "doctor_command",
    "login": "login_commands",
    "logout": "login_commands",
    "plan": "plan_command",
    "submit": "request_commands",
    "standing": "standing_commands",
    "adopt": "request_commands",
    "run": "run_command",
    "status": "status_command",
    "forecast": "forecast_command",
    "quarantine": "quarantine_commands",
    "hold": "control_commands",
    "unhold": "control_commands",
    "fence": "control_commands",
    "check": "check_command",
    "audit": "audit_command",
    "verify-certificate": "certificate_commands",
    "sign": "certificate_commands",
    "history": "history_commands",
    "export": "history_commands",
    "simulate": "simulate_command",
    "testbed": "testbed_commands",
}
SIGPIPE_EXIT = 141
INTERRUPT_EXIT = 130


class Commands(click.Group):
    """Loads a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All of them, in a reader's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """One of them."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"tacc_sync.cli.{module}"), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


def _flags(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    flags = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or key.count(".") != 1:
            raise click.BadParameter(f"{value!r} is not SECTION.KEY=VALUE")
        flags[key] = text
    return flags


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 something is wrong and was shown, 64 usage, 65 bad document, 69 no such service or "
    "program, 70 our bug, 73/74 I/O, 75 try again later, 77 credentials, 78 configuration.",
)
@click.option("--workspace", metavar="DIR", help="The workspace; otherwise $TACC_SYNC_WORK_ROOT names it.")
@click.option(
    "--set",
    "flags",
    metavar="SECTION.KEY=VALUE",
    multiple=True,
    callback=_flags,
    help="Override a value of the configuration; may be repeated.",
)
@click.version_option(__version__, prog_name="tacc-sync")
@click.pass_context
def cli(ctx: click.Context, workspace: str | None, flags: dict[str, Any]) -> None:
    """Move a tape archive from NERSC (HPSS) to TACC (Ranch): by tape, through a bounded buffer, with proof.

    \b
    Example:
      export TACC_SYNC_WORK_ROOT=/global/cfs/cdirs/PROJECT/tacc-sync
      tacc-sync init $TACC_SYNC_WORK_ROOT --buffer /global/cfs/cdirs/PROJECT/buffer --quota 20TB
      tacc-sync submit --source /home/projects/x --destination /scoutfs/x
      tacc-sync run
    """
    from tacc_sync.cli.edges import Edges  # noqa: PLC0415  `--version` needs none of it

    ctx.obj = Edges(workspace, flags)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    if arguments is None:
        # A process of our own: whatever we, hsi or a library make is for the owner only, whatever a shell says.
        os.umask(os.umask(0o077) | 0o077)
    try:
        result = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="tacc-sync",
            standalone_mode=False,
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.UsageError as error:
        error.show()
        return EX_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("tacc-sync: interrupted", err=True)
        return INTERRUPT_EXIT
    except SystemExit:
        # click has met the same as below, and wrapped the stream so that nobody complains.
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return SIGPIPE_EXIT
        raise
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE_EXIT
    except Fault as fault:
        return _failed(fault)
    except Fenced:
        click.echo("tacc-sync: FENCED: this command was taken for dead -- look, and do it again", err=True)
        return 75
    except OSError as error:
        known = of_os_error(error, "tacc-sync")
        return _failed(known) if known is not None else _ours()
    except Exception:  # noqa: BLE001
        return _ours()


def _failed(fault: Fault) -> int:
    from tacc_sync.cli.talk import complain  # noqa: PLC0415

    complain(fault)
    return fault.exit_code


def _ours() -> int:
    import traceback  # noqa: PLC0415

    traceback.print_exc()
    click.echo("tacc-sync: OURS: this is a bug of tacc-sync -- report it with the lines above", err=True)
    return EX_SOFTWARE

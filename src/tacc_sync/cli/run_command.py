"""`run`: the five components at work."""

# The components and what they need are imported when they are to run.
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tacc_sync.cli.edges import USES_BUFFER, Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import complain, pass_edges, say, show_json
from tacc_sync.config import parse_seconds
from tacc_sync.operator.words import plain
from tacc_sync.rules.faults import EX_SOFTWARE, EX_TEMPFAIL, EX_USAGE, Fault, OperatorFault, WorldFault
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.route import COMPONENTS

if TYPE_CHECKING:
    from tacc_sync.pipeline.attempt import Factory
    from tacc_sync.pipeline.run import Ending, Runner
    from tacc_sync.pipeline.step import Report

SWITCH_SECONDS = 0.0005


@click.command(short_help="Run the components.")
@click.argument("components", nargs=-1, type=click.Choice(COMPONENTS), metavar="[COMPONENT]...")
@click.option("--once", is_flag=True, help="End when nothing moves any more.")
@click.option("--for", "length", metavar="TIME", help="Take no new work after this time, such as 5h, and end.")
@click.option("--quiet", is_flag=True, help="Tell only of troubles.")
@click.option("--plain", "no_display", is_flag=True, help="Log lines, also on a terminal.")
@json_option
@pass_edges
def run(
    edges: Edges,
    components: tuple[str, ...],
    length: str | None,
    *,
    once: bool,
    quiet: bool,
    no_display: bool,
    as_json: bool,
) -> int:
    """Run all five components, or those that are named, until told to stop.

    SIGTERM or Ctrl-C: take no new work, end what is begun; a second time: end at once. However it ends, the next run
    goes on where this one stopped. Several runs, on several hosts, may work on one workspace.

    \b
    Example:
      tacc-sync run --for 5h
      tacc-sync run retriever reaper
    """
    # A worker that frees thousands of files gives the interpreter away at each of its calls to the kernel, and would
    # wait for it 5 ms each time while another one computes.
    sys.setswitchinterval(SWITCH_SECONDS)
    seconds = _seconds(length)
    wanted = tuple(name for name in COMPONENTS if name in (components or COMPONENTS))
    disk = edges.disk
    edges.require(wanted)
    live = sys.stderr.isatty() and not (quiet or no_display or edges.settings.run.log_format == "json")

    def go(report: Report, around: Callable[[Runner], Any]) -> Ending:
        from tacc_sync.cli.forecaster import Forecaster
        from tacc_sync.pipeline.attempt import World
        from tacc_sync.pipeline.run import Runner

        world = World(
            disk=disk,
            buffer=edges.buffer if USES_BUFFER.intersection(wanted) else edges.buffer_if_there,
            clock=edges.clock,
            host=edges.host,
            settings=edges.settings,
            report=report,
            pulse=_pulse(edges, wanted),
            die=_die,
        )
        # Twice as many as sessions: while one reads back what it has brought, another one's session goes on.
        runner = Runner(world, _factories(edges, wanted), {"retriever": 2 * edges.settings.hsi.sessions})
        _listen(runner)
        around(runner)
        if "finisher" not in wanted or not edges.settings.forecast.every:
            return runner.run(once=once, seconds=seconds)
        forecaster = Forecaster(disk, edges.clock, report, edges.flags, edges.settings.forecast.every)
        forecaster.start()
        try:
            return runner.run(once=once, seconds=seconds)
        finally:
            forecaster.stop()

    if live:
        from tacc_sync.cli.progress import Display

        with Display(edges) as display:
            ending = go(display.report, display.watch)
    else:
        from tacc_sync.cli.logs import reporter

        ending = go(reporter(edges.settings.run.log_format, quiet=quiet), lambda _runner: None)
    return _end(ending, once=once, as_json=as_json, quiet=quiet)


def _seconds(length: str | None) -> float | None:
    if length is None:
        return None
    try:
        return parse_seconds(length)
    except ValueError:
        raise OperatorFault(
            "USAGE", f"--for cannot be {length!r}", "write it like 90s, 15min or 5h", EX_USAGE
        ) from None


def _factories(edges: Edges, wanted: tuple[str, ...]) -> dict[str, Factory]:
    from tacc_sync.pipeline import hashing
    from tacc_sync.pipeline.finisher import Finisher
    from tacc_sync.pipeline.globus_xfer import GlobusXfer
    from tacc_sync.pipeline.reaper import Reaper
    from tacc_sync.pipeline.retriever import Retriever
    from tacc_sync.pipeline.sessions import Sessions
    from tacc_sync.pipeline.syncer import Syncer
    from tacc_sync.rules.failing import Streak

    streak, sessions = Streak(), Sessions(edges.settings.hsi.sessions)
    executor = hashing.threads(edges.settings.hsi.hashing or len(os.sched_getaffinity(0)))
    vouchers = edges.vouchers
    running_since = edges.clock.now()
    factories: dict[str, Factory] = {
        "syncer": lambda bench: Syncer(bench, edges.hpss, edges.globus if edges.looks_first else None, vouchers),
        "retriever": lambda bench: Retriever(bench, edges.hpss, streak, executor, sessions),
        "globus_xfer": lambda bench: GlobusXfer(bench, edges.globus, executor, running_since),
        "reaper": Reaper,
        "finisher": Finisher,
    }
    return {name: factories[name] for name in wanted}


def _pulse(edges: Edges, wanted: tuple[str, ...]) -> Callable[[], None]:
    uses_hpss = {"syncer", "retriever"}.intersection(wanted)
    return edges.hpss.pulse if uses_hpss else lambda: None


def _die(why: str) -> None:
    # No clean-up: whatever we hold may be somebody else's by now. Nor may it depend on whether anybody can be told.
    try:
        sys.stderr.write(plain(f"tacc-sync: {why}: ends at once") + "\n")
        sys.stderr.flush()
    finally:
        os._exit(EX_TEMPFAIL)


def _listen(runner: Runner) -> None:
    def stop(_number: int, _frame: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, at_once)
        say("Takes no new work; ends when what is begun has ended. Once more ends it at once, which is safe too.")
        runner.stop()

    def at_once(_number: int, _frame: Any) -> None:
        os._exit(EX_TEMPFAIL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _end(ending: Ending, *, once: bool, as_json: bool, quiet: bool) -> int:
    faults = list({fault.code + fault.text: fault for fault in ending.faults}.values())
    code = _exit_code(faults, once=once)
    if as_json:
        show_json(
            {
                "exit_code": code,
                "waits": {
                    name: {
                        "waits_for": wait.waits_for,
                        "next": wait.upcoming,
                        "due": to_iso(wait.due) if wait.due is not None else None,
                    }
                    for name, wait in ending.waits.items()
                },
                "faults": [{"code": f.code, "text": f.text, "remedy": f.remedy} for f in faults],
            }
        )
    for fault in faults:
        complain(fault)
    if not quiet:
        for name in COMPONENTS:
            wait = ending.waits.get(name)
            # A fault was told already.
            if wait is not None and not any(str(fault) == wait.waits_for for fault in faults):
                say(f"{name} waits for {wait.waits_for}")
    return code


def _exit_code(faults: list[Fault], *, once: bool) -> int:
    ours = [f for f in faults if not isinstance(f, OperatorFault | WorldFault)]
    if ours:
        return EX_SOFTWARE
    operators = [f for f in faults if isinstance(f, OperatorFault)]
    if operators:
        return operators[0].exit_code
    return EX_TEMPFAIL if faults and once else 0

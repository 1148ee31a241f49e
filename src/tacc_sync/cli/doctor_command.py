"""`doctor`: is everything there, and does it answer? `doctor --measure`: how fast is it?"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, say, show, show_json
from tacc_sync.config import parse_size
from tacc_sync.operator.doctor import Patient, Probe, examine, exit_code
from tacc_sync.operator.hands import beating, hands
from tacc_sync.operator.measure import Extent, Measured, Site, measure
from tacc_sync.operator.words import table
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.liveness import Lease
from tacc_sync.workspace import layout


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(str(value))
        except ValueError:
            self.fail(f"{value!r} is no size; write it like 200GB", param, ctx)


@click.command(short_help="Is everything there, and does it answer?")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--measure", "measures", is_flag=True, help="Recall some files, and remember how fast that went.")
@click.option(
    "--files", "count", type=click.IntRange(2, 1000), default=8, show_default=True,
    help="Of each of the two recalls.",
)  # fmt: skip
@click.option("--bytes", "limit", type=_Size(), default="200GB", show_default=True, help="Of one recall, at most.")
@click.option("--no-transfer", is_flag=True, help="Send nothing to `destination.scratch`.")
@json_option
@pass_edges
def doctor(
    edges: Edges,
    paths: tuple[str, ...],
    *,
    measures: bool,
    count: int,
    limit: int,
    no_transfer: bool,
    as_json: bool,
) -> int:
    """Try out, on this host, what the components will rely on: workspace, buffer, hsi, Globus.

    Leaves nothing behind. Exits with the cause's code when there is one cause, with 1 when there are several.

    With --measure it recalls some files of one cartridge instead, of those that wait or below PATH in HPSS: one, then
    some in tape order, then as many others asked for at once; and sends some to `destination.scratch`, when that is
    set. What it sees goes into the workspace.

    \b
    Example:
      tacc-sync doctor
      tacc-sync doctor --measure --files 32 /home/projects/demo/exp/2019
    """
    if measures:
        return _measure(edges, paths, Extent(count, limit), sends=not no_transfer, as_json=as_json)
    if paths:
        raise OperatorFault("USAGE", "paths are for --measure", "add --measure, or leave them out", EX_USAGE)
    patient = Patient(
        disk=edges.disk,
        settings=edges.settings,
        clock=edges.clock,
        host=edges.host,
        buffer=lambda: edges.buffer,
        hpss=lambda: edges.hpss,
        globus=lambda: edges.globus,
        catalog=lambda: edges.catalog,
        mtime=lambda path: Path(path).stat().st_mtime,
    )
    probes: list[Probe] = []
    for probe in examine(patient):
        probes.append(probe)
        if not as_json:
            show(f"{probe.state:4}  {probe.name}: {probe.text}")
            if probe.remedy:
                show(f"      -- {probe.remedy}" + (f" [{probe.code}]" if probe.code else ""))
    code = exit_code(probes)
    if as_json:
        show_json({"ok": code == 0, "exit_code": code, "probes": probes})
    return code


def _measure(edges: Edges, paths: tuple[str, ...], extent: Extent, *, sends: bool, as_json: bool) -> int:
    in_order, at_once = edges.hpss_recalling("order"), edges.hpss_recalling("stage")
    site = Site(
        edges.disk,
        edges.buffer,
        edges.clock,
        edges.settings,
        in_order,
        at_once,
        (lambda: edges.globus) if sends else None,
    )

    def pulse() -> None:
        in_order.pulse()
        at_once.pulse()

    lease = edges.settings.lease
    with (
        hands(edges.disk, edges.clock, edges.host, edges.buffer) as home,
        beating(home, Lease(lease.beat, lease.lease, lease.grace, lease.turn), pulse),
    ):
        home.beat(doing="measures")
        found = measure(site, home, paths, extent, say)
    if as_json:
        show_json(msgspec.to_builtins(found))
    else:
        _tell(found)
    return 0


def _tell(found: Measured) -> None:
    for line in table([(figure.name, figure.words, figure.how) for figure in found.figures]):
        show(line)
    show(f"{'-> ' if found.advice.stage else ''}{found.advice.text}")
    for note in filter(None, found.notes):
        say(f"Note: {note}.")
    say(f"Remembered in {layout.SITE_RATES}. No setting was changed.")

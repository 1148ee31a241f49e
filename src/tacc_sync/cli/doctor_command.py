"""`doctor`: is everything there, and does it answer?"""

from __future__ import annotations

from pathlib import Path

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, show, show_json
from tacc_sync.operator.doctor import Patient, Probe, examine, exit_code


@click.command(short_help="Is everything there, and does it answer?")
@json_option
@pass_edges
def doctor(edges: Edges, *, as_json: bool) -> int:
    """Try out, on this host, what the components will rely on: workspace, buffer, hsi, Globus.

    Leaves nothing behind. Exits with the cause's code when there is one cause, with 1 when there are several.

    \b
    Example:
      tacc-sync doctor
    """
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

"""`simulate`: how long a campaign takes, before a tape moves."""

# What a simulation needs is loaded only when there is one.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, say, show, show_json
from tacc_sync.config import parse_seconds, parse_size
from tacc_sync.operator.words import counted, duration, size, table
from tacc_sync.rules.faults import EX_USAGE, OperatorFault

if TYPE_CHECKING:
    from tacc_sync.campaign.campaign import Scene
    from tacc_sync.campaign.catalogues import Catalogue
    from tacc_sync.campaign.compare import Comparison
    from tacc_sync.outside.hpss.interface import ListedFile


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(str(value).removesuffix("/s"))
        except ValueError:
            self.fail(f"{value!r} is no size; write it like 20TB or 2.5GB/s", param, ctx)


class _Seconds(click.ParamType[float]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_seconds(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write it like 90s, 15min or 5h", param, ctx)


@click.command(short_help="How long would it take, with so many drives, so much buffer?")
@click.option("--listing", type=click.Path(path_type=Path), metavar="FILE", help="Output of `hsi ls -P` (or -NP).")
@click.option("--catalogue", default="A", metavar="NAME", show_default=True, help="Without a listing: A, A2, B, C, M.")
@click.option("--scale", default=1.0, metavar="SHARE", help="Only this share of the catalogue's files.")
@click.option("--medium", default="TS1155", show_default=True, metavar="NAME", help="Kind of drive and cartridge.")
@click.option("--locate-factor", default=1.0, metavar="FACTOR", help="Winding takes so many times as long; LTO-9: 0.6.")
@click.option("--drives", default=8, show_default=True, metavar="N", help="Drives that we may use, and sessions.")
@click.option("--buffer", default="20TB", type=_Size(), show_default=True, help="The transfer buffer's quota.")
@click.option("--network", default="2.5GB/s", type=_Size(), show_default=True, help="Bytes a second between the sites.")
@click.option(
    "--verification", default="20s", type=_Seconds(), show_default=True, help="From a task's last byte to its end."
)
@click.option(
    "--release", default="0s", type=_Seconds(), show_default=True, help="From a task's end until Globus tells it."
)
@click.option(
    "--idle-dismount", default="15min", type=_Seconds(), show_default=True, help="Until an idle cartridge goes."
)
@click.option(
    "--outstanding", default=1, metavar="N", help="Requests of a session that HPSS may reorder, as with recall = stage."
)
@click.option("--outage", default="0s", type=_Seconds(), show_default=True, help="Maintenance at a time.")
@click.option("--outage-every", default="7d", type=_Seconds(), show_default=True, help="How often there is one.")
@click.option("--failing-files", default=0.0, metavar="SHARE", help="The share of files that fail once.")
@click.option("--failing-tasks", default=0.0, metavar="SHARE", help="The share of tasks that break off.")
@click.option("--drive-hours", default=0.0, metavar="HOURS", help="Working hours of a drive until it fails; 0: never.")
@click.option("--seed", default=1, metavar="N", help="Another seed, other cartridges and other weather.")
@click.option("--ours-only", is_flag=True, help="Without the simple policies to compare with.")
@json_option
@pass_edges
def simulate(
    edges: Edges,  # noqa: ARG001  needs no workspace
    listing: Path | None,
    catalogue: str,
    scale: float,
    medium: str,
    locate_factor: float,
    drives: int,
    buffer: int,
    network: int,
    verification: float,
    release: float,
    idle_dismount: float,
    outstanding: int,
    outage: float,
    outage_every: float,
    failing_files: float,
    failing_tasks: float,
    drive_hours: float,
    seed: int,
    *,
    ours_only: bool,
    as_json: bool,
) -> int:
    """Run a whole campaign under a simulated clock, with the real components and a model of drives and network.

    Beside ours the table shows simple policies (small models that cost themselves nothing) and a lower bound that no
    policy can beat. Touches nothing, needs no workspace.

    \b
    Example:
      tacc-sync simulate --listing listing.txt --drives 8 --buffer 20TB --network 2.5GB/s
      tacc-sync simulate --catalogue A2 --drives 4 --outage 12h --failing-files 0.05
    """
    from tacc_sync.campaign import catalogues
    from tacc_sync.campaign.campaign import Scene
    from tacc_sync.campaign.compare import compare
    from tacc_sync.campaign.service import Network
    from tacc_sync.campaign.tape_model import MEDIA
    from tacc_sync.campaign.weather import Trouble

    if medium not in MEDIA:
        raise _usage(f"no medium {medium} is known", f"one of {', '.join(MEDIA)}")
    if listing is None and catalogue not in catalogues.RECIPES:
        raise _usage(f"there is no catalogue {catalogue}", f"one of {', '.join(catalogues.RECIPES)}")
    if min(drives, network, outstanding) < 1 or not 0 < scale <= 1 or not 0 < locate_factor <= 10:
        text = "drives, network and outstanding must be at least 1, a scale between 0 and 1, a locate-factor to 10"
        raise _usage(text, "correct them")
    what = (
        catalogues.of_listing(_listed(listing), medium=medium)
        if listing is not None
        else catalogues.make(catalogue, scale=scale, seed=seed, medium=medium)
    )
    what = replace(what, medium=replace(what.medium, winding=locate_factor))
    scene = Scene(
        drives=drives,
        buffer=buffer,
        network=Network(rate=network, verification=verification, release=release),
        idle_dismount=idle_dismount,
        outstanding=outstanding,
        trouble=Trouble(
            outage=outage,
            outage_every=outage_every,
            files=failing_files,
            tasks=failing_tasks,
            drive_hours=drive_hours,
            seed=seed,
        ),
        seed=seed,
    )
    found = compare(what, scene, others=not ours_only)
    if as_json:
        show_json(_document(what, found))
    else:
        _show(what, scene, found)
    return 0 if found.ours.finished else 1


def _show(what: Catalogue, scene: Scene, found: Comparison) -> None:
    ours, least = found.ours, found.bound
    say(
        f"{counted(len(what.files), 'file')}, {size(what.bytes)} on {counted(found.tapes, 'cartridge')}; "
        f"{counted(scene.drives, 'drive')}, {size(scene.buffer)} of buffer, {size(scene.network.rate)}/s"
    )
    rows = [("policy", "time", "x bound", "mounts", "drive hours")]
    rows += [
        (
            row.policy,
            "never" if row.makespan is None else duration(row.makespan),
            "-" if row.makespan is None else f"{row.makespan / least.seconds:.3f}",
            "-" if row.mounts is None else f"{row.mounts:,}",
            "-" if row.drive_seconds is None else f"{row.drive_seconds / 3600:,.0f}",
        )
        for row in found.rows
    ]
    for line in table(rows):
        show(line)
    say(f"What bounds it: {least.by}. Twice {size(least.enough_buffer)} of buffer keeps everything at work.")
    say(
        f"tacc-sync: {counted(ours.units, 'unit')}, {counted(ours.tasks, 'task')}, "
        f"most reserved {size(ours.most_reserved)}, most in the buffer {size(ours.most_held)}, "
        f"read in vain {size(ours.drives.wasted_bytes)}"
    )
    if not ours.finished:
        say("It does not finish: a file is larger than the buffer, or nothing moves any more.")


def _document(what: Catalogue, found: Comparison) -> dict[str, object]:
    ours = found.ours
    return {
        "files": len(what.files),
        "bytes": what.bytes,
        "cartridges": found.tapes,
        "policies": [
            {"policy": r.policy, "seconds": r.makespan, "mounts": r.mounts, "drive_seconds": r.drive_seconds}
            for r in found.rows
        ],
        "bound": {
            "seconds": found.bound.seconds,
            "by": found.bound.by,
            "enough_buffer": round(found.bound.enough_buffer),
        },
        "finished": ours.finished,
        "units": ours.units,
        "tasks": ours.tasks,
        "most_reserved": ours.most_reserved,
        "most_held": ours.most_held,
        "read_in_vain": ours.drives.wasted_bytes,
        "network_seconds": ours.network_busy,
    }


def _listed(path: Path) -> list[ListedFile]:
    found = list(_files_of(path))
    if not found:
        raise _usage(f"{path} has no line of a file", "give the output of `hsi ls -P` to --listing")
    return found


def _files_of(path: Path) -> Iterator[ListedFile]:
    from tacc_sync.outside.hpss.hsi_file_lines import FileLines
    from tacc_sync.outside.hpss.interface import ListedFile

    reader = FileLines()
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if not line.startswith("FILE"):
                continue
            stripped = line.rstrip("\n")
            found = reader.plain(stripped) or reader.any(stripped)
            if isinstance(found, ListedFile):
                yield found


def _usage(text: str, remedy: str) -> OperatorFault:
    return OperatorFault("USAGE", text, remedy, EX_USAGE)

"""One campaign under several policies, side by side: ours (the real components), simple models of others, the bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tacc_sync.campaign import policies
from tacc_sync.campaign.bound import Bound, Tapes, bound, tapes_of
from tacc_sync.campaign.campaign import Outcome, Scene, run
from tacc_sync.campaign.catalogues import Catalogue
from tacc_sync.campaign.tape_model import Geometries
from tacc_sync.campaign.weather import Weather


@dataclass(frozen=True, slots=True)
class Row:
    """One policy: seconds to the end (None: never), mounts, seconds of drives."""

    policy: str
    makespan: float | None
    mounts: int | None
    drive_seconds: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All policies, and what is behind them."""

    rows: Sequence[Row]
    bound: Bound
    ours: Outcome
    tapes: int


def bound_of(tapes: Tapes, scene: Scene) -> Bound:
    """The bound of a scene, in fair weather."""
    network = scene.network
    return bound(
        tapes,
        drives=scene.drives,
        buffer=scene.buffer,
        network=network.rate,
        per_file=network.per_file,
        latency=network.verification + network.release,
    )


def bound_in_weather(tapes: Tapes, scene: Scene, outcome: Outcome) -> float:
    """Seconds of a bound that counts what was read in vain, the mounts that were made, and only the time in which the
    sites were up."""
    network, fair = scene.network, bound_of(tapes, scene)
    more_mounts = max(0, outcome.drives.mounts - len(tapes.times))
    each = fair.tape_seconds / max(1, len(tapes.times)) - tapes.bytes / tapes.rate / max(1, len(tapes.times))
    tape_seconds = outcome.drives.wasted_bytes / tapes.rate + more_mounts * max(0.0, each) + outcome.drives.drives_away
    by_drives = fair.drives + tape_seconds / scene.drives
    # Of a transfer that breaks off, what it has moved is moved in vain.
    by_network = fair.network + max(0.0, outcome.network_busy - tapes.bytes / network.rate)
    return Weather(scene.trouble).add_up_time(0.0, max(by_drives, by_network, fair.tape, fair.buffer))


def compare(catalogue: Catalogue, scene: Scene, *, others: bool = True) -> Comparison:
    """Run ours; and the models of the others, which know no trouble, in fair weather."""
    geometries = Geometries(catalogue.medium, scene.seed)
    tapes = tapes_of(catalogue, geometries)
    ours = run(catalogue, scene, geometries)
    rows: list[Row] = []
    if others:
        site = policies.Site(
            scene.drives, scene.buffer, scene.network.rate, scene.network.verification + scene.network.release
        )
        for name, ran in (
            ("listing order, one session", policies.listing_order(catalogue, geometries, site)),
            ("whole tapes, one session", policies.whole_units(catalogue, geometries, site, sessions=1)),
            (
                f"whole tapes, {scene.drives} sessions",
                policies.whole_units(catalogue, geometries, site, sessions=scene.drives),
            ),
        ):
            rows.append(Row(name, ran.makespan, ran.mounts, ran.drive_seconds))
    rows.append(Row("tacc-sync", ours.makespan if ours.finished else None, ours.drives.mounts, ours.drives.busy))
    least = bound_of(tapes, scene)
    rows.append(Row("lower bound", least.seconds, len(tapes.times), least.tape_seconds))
    return Comparison(rows, least, ours, len(tapes.times))

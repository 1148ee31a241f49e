"""Whole campaigns in the simulator: ours beside simpler policies and the lower bound; goals; a sweep; plots.

    python bench/campaign/run.py [--quick] [--scale 0.25] [--out bench]

Writes OUT/RESULTS.md and OUT/plots/*.svg. Everything is decided by seeds: the same figures come again, but for the CPU
times, which are given as they were.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import chart

from tacc_sync.campaign import bound, campaign, catalogues, compare, policies
from tacc_sync.campaign.campaign import Scene
from tacc_sync.campaign.service import Network
from tacc_sync.campaign.tape_model import Geometries
from tacc_sync.campaign.weather import Trouble

TB, HOUR = 10**12, 3600.0
DAY = 24 * HOUR


class Bench:
    def __init__(self, out, scale):
        self.out, self.scale, self.text = out, scale, []
        self.cases = {}

    def say(self, *lines):
        for line in lines:
            self.text.append(line)
            print(line, flush=True)

    def table(self, head, rows):
        self.say("", "| " + " | ".join(head) + " |", "|" + "---|" * len(head))
        for row in rows:
            self.say("| " + " | ".join(str(cell) for cell in row) + " |")
        self.say("")

    def case(self, name, scale):
        if (name, scale) not in self.cases:
            catalogue = catalogues.make(name, scale=scale)
            geometries = Geometries(catalogue.medium)
            self.cases[name, scale] = catalogue, geometries, bound.tapes_of(catalogue, geometries)
        return self.cases[name, scale]

    def ours(self, case, scene):
        catalogue, geometries, _ = case
        begun = time.process_time()
        outcome = campaign.run(catalogue, scene, geometries)
        return outcome, time.process_time() - begun

    def plot(self, name, *args, **kwargs):
        (self.out / "plots").mkdir(parents=True, exist_ok=True)
        (self.out / "plots" / f"{name}.svg").write_text(chart.lines(*args, **kwargs), encoding="utf-8")
        self.say(f"![{args[0]}](plots/{name}.svg)", "")


def hours(seconds):
    return "never" if seconds is None else f"{seconds / HOUR:,.1f}"


def site_of(scene):
    return policies.Site(
        scene.drives, scene.buffer, scene.network.rate, scene.network.verification + scene.network.release
    )


def others(case, scene):
    catalogue, geometries, _ = case
    site = site_of(scene)
    return {
        "listing order, one session": policies.listing_order(catalogue, geometries, site),
        "whole tapes, one session": policies.whole_units(catalogue, geometries, site, sessions=1),
        "whole tapes, D sessions": policies.whole_units(catalogue, geometries, site, sessions=scene.drives),
    }


def side_by_side(bench, cases):
    bench.say("## Policies side by side", "")
    bench.say("D = 8 drives, B = 20 TB, W = 2.5 GB/s, 20 s from a task's last byte to its end. Times in hours.")
    rows, goals = [], []
    for name, scale in cases:
        case = bench.case(name, scale)
        scene = Scene(8, 20 * TB, Network(2.5e9))
        least = compare.bound_of(case[2], scene)
        label = name if scale == 1 else f"{name} (x {scale:g})"
        known = others(case, scene)
        for policy, ran in known.items():
            ratio = "-" if ran.makespan is None else f"{ran.makespan / least.seconds:.2f}"
            rows.append((label, policy, hours(ran.makespan), ratio, f"{ran.mounts:,}", hours(ran.drive_seconds), "-"))
        outcome, cpu = bench.ours(case, scene)
        ratio = f"{outcome.makespan / least.seconds:.4f}"
        rows.append(
            (
                label,
                "**tacc-sync**",
                hours(outcome.makespan),
                ratio,
                f"{outcome.drives.mounts:,}",
                hours(outcome.drives.busy),
                f"{cpu:.0f}",
            )
        )
        rows.append(
            (
                label,
                f"lower bound ({least.by})",
                hours(least.seconds),
                "1",
                f"{len(case[2].times):,}",
                hours(least.tape_seconds),
                "-",
            )
        )
        goals.append((name, known, outcome, least, cpu))
    bench.table(("catalogue", "policy", "makespan", "x bound", "mounts", "drive hours", "CPU s"), rows)
    return goals


def mounts(bench, scale):
    bench.say("## Mounts", "", "For each time after which an idle cartridge is dismounted.")
    rows = []
    for name in ("A", "A2"):
        case = bench.case(name, scale)
        for idle in (0.0, 60.0, 900.0):
            scene = Scene(8, 20 * TB, Network(2.5e9), idle_dismount=idle)
            outcome, _ = bench.ours(case, scene)
            least = compare.bound_of(case[2], scene).seconds
            rows.append(
                (
                    name,
                    f"{idle:.0f} s",
                    len(case[2].times),
                    outcome.drives.mounts,
                    f"{outcome.drives.mounts / len(case[2].times):.3f}",
                    f"{outcome.makespan / least:.4f}",
                )
            )
    bench.table(("catalogue", "idle dismount", "cartridges", "mounts", "ratio", "x bound"), rows)


def buffers(bench, scale):
    bench.say(
        "## Makespan against buffer", "", "B* is the buffer that just keeps the slower of drives and network busy."
    )
    case = bench.case("A", scale)
    rows, curves = [], {}
    for drives, network, latency in ((4, 2.5e9, 20.0), (8, 2.5e9, 20.0), (8, 2.5e9, 300.0)):
        star = compare.bound_of(case[2], Scene(drives, 0, Network(network, verification=latency))).enough_buffer
        for times in (1, 2, 4, 8, 16):
            scene = Scene(drives, int(star * times), Network(network, verification=latency))
            outcome, _ = bench.ours(case, scene)
            least = compare.bound_of(case[2], scene)
            rows.append(
                (
                    drives,
                    f"{network / 1e9:g}",
                    f"{latency:.0f}",
                    f"{star / TB:.2f}",
                    f"{times} B*",
                    f"{outcome.makespan / least.seconds:.3f}",
                    outcome.units,
                    outcome.drives.mounts,
                )
            )
    bench.table(("D", "W GB/s", "latency s", "B* TB", "B", "x bound", "units", "mounts"), rows)
    sizes = (1, 2, 3, 5, 10, 20, 40, 80, 160)
    for size in sizes:
        scene = Scene(8, size * TB, Network(2.5e9))
        least = compare.bound_of(case[2], scene).seconds
        curves.setdefault("lower bound", []).append((size, least / DAY))
        outcome, _ = bench.ours(case, scene)
        curves.setdefault("tacc-sync", []).append((size, outcome.makespan / DAY))
        for policy, ran in others(case, scene).items():
            curves.setdefault(policy, []).append((size, ran.makespan / DAY if ran.makespan else None))
    bench.plot(
        "makespan",
        "Makespan against buffer: A, 8 drives, 2.5 GB/s",
        "buffer, TB",
        "days",
        curves,
        log_x=True,
        log_y=True,
    )


def sweep(bench, scale):
    bench.say("## Sweep", "", "Catalogue A, ours; makespan as a multiple of the bound.")
    case, rows = bench.case("A", scale), []
    for drives in (1, 2, 4, 8, 16):
        for network in (1.25e9, 2.5e9, 5e9):
            for latency in (20.0, 300.0, 900.0):
                cells = []
                for buffer in (5, 20, 80):
                    scene = Scene(drives, buffer * TB, Network(network, verification=20.0, release=latency - 20.0))
                    least = compare.bound_of(case[2], scene).seconds
                    outcome, _ = bench.ours(case, scene)
                    cells.append(f"{outcome.makespan / least:.3f}")
                rows.append((drives, f"{network / 1e9:g}", f"{latency:.0f}", *cells))
    bench.table(("D", "W GB/s", "latency s", "B = 5 TB", "20 TB", "80 TB"), rows)


def weather(bench, scale):
    bench.say("## Foul weather", "")
    bench.say("The bound counts what was read in vain, the mounts that were made, and the time that the sites were up.")
    case, rows = bench.case("A", scale), []
    for text, trouble in (
        ("fair", Trouble()),
        ("5 % of the files fail once", Trouble(files=0.05)),
        ("12 h of maintenance a week", Trouble(outage=12 * HOUR)),
        ("both", Trouble(files=0.05, outage=12 * HOUR)),
        (
            "both, 2 % of the tasks break off, a drive fails every 500 h",
            Trouble(files=0.05, outage=12 * HOUR, tasks=0.02, drive_hours=500),
        ),
    ):
        scene = Scene(8, 20 * TB, Network(2.5e9), trouble=trouble)
        outcome, _ = bench.ours(case, scene)
        least = compare.bound_in_weather(case[2], scene, outcome)
        rows.append(
            (
                text,
                hours(outcome.makespan),
                f"{outcome.makespan / least:.4f}",
                outcome.drives.mounts,
                f"{outcome.drives.wasted_bytes / TB:.1f}",
                outcome.more_rounds,
                outcome.finished,
            )
        )
    bench.table(("trouble", "makespan h", "x bound", "mounts", "TB read in vain", "second rounds", "finished"), rows)


def filling(bench, outcome, drives):
    samples = outcome.samples
    at = [(sample.at / DAY) for sample in samples]
    bench.plot(
        "buffer",
        "The buffer over a campaign: A, 8 drives, 20 TB",
        "days",
        "TB",
        {
            "reserved": [(x, s.reserved / TB) for x, s in zip(at, samples, strict=True)],
            "in the buffer": [(x, s.held / TB) for x, s in zip(at, samples, strict=True)],
        },
    )
    used = {"drives reading": [], "network": []}
    step = max(1, len(samples) // 150)
    for before, after in zip(samples[::step], samples[step::step], strict=False):
        seconds = (after.at - before.at) or 1.0
        used["drives reading"].append((after.at / DAY, 100 * (after.reading - before.reading) / seconds / drives))
        used["network"].append((after.at / DAY, 100 * (after.moving - before.moving) / seconds))
    bench.plot("utilisation", "Use of drives and network: A, 8 drives, 20 TB", "days", "%", used)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small part of everything, in a minute")
    parser.add_argument("--scale", type=float, default=0.25, help="of catalogue A in the sweeps")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--large", action="store_true", help="also a million files, 10 PB")
    arguments = parser.parse_args()
    scale = 0.02 if arguments.quick else arguments.scale
    bench = Bench(arguments.out, scale)
    bench.say(
        "# Campaigns in the simulator",
        "",
        "Made by `make bench-campaign`; what is simulated stands in",
        "[docs/simulate.md](../docs/simulate.md).",
        "",
    )
    full = 0.02 if arguments.quick else 1.0
    cases = [("A", full), ("A2", full), ("B", full * 0.25), ("C", full * 0.1)]
    if arguments.large:
        cases.append(("M", 1.0))
    found = side_by_side(bench, cases)
    _, known, outcome, least, _ = found[0]
    for policy in ("whole tapes, one session", "whole tapes, D sessions"):
        span = known[policy].makespan
        if span:
            bench.say(
                f"- Against {policy}: x {span / outcome.makespan:.2f}; the bound allows x {span / least.seconds:.2f}."
            )
    bench.say("")
    filling(bench, outcome, 8)
    mounts(bench, full if not arguments.quick else scale)
    buffers(bench, scale)
    weather(bench, full)
    sweep(bench, scale / 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bench.say(f"Peak memory of all this: {peak:.0f} MiB.")
    (bench.out / "RESULTS.md").write_text("\n".join(bench.text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

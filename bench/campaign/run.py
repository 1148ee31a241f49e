"""Whole campaigns in the simulator: ours beside simpler policies and the lower bound; goals; sweeps; plots.

    python bench/campaign/run.py [--quick] [--scale 0.1] [--sweep 0.04] [--large] [--section FILE] [--plots DIR]

Everything is decided by seeds: the same figures come again, but for CPU seconds and memory, which are of this machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import chart
import parts
from simulations import Simulations

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from section import Section


class Bench:
    """What all parts share. `full`, `scale`, `sweep`: which share of the catalogues they use."""

    def __init__(self, plots: Path, *, full: float, scale: float, sweep: float, large: bool) -> None:
        self.section = Section("Campaigns")
        self.say, self.table = self.section.say, self.section.table
        self.simulations = Simulations()
        self.ask = self.simulations.ask
        self.full, self.scale, self.sweep, self.large = full, scale, sweep, large
        self._plots = plots

    def plot(self, name: str, title: str, *words, **options) -> None:
        self._plots.mkdir(parents=True, exist_ok=True)
        (self._plots / f"{name}.svg").write_text(chart.lines(title, *words, **options), encoding="utf-8")
        self.say(f"![{title}](plots/{name}.svg)", "")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small part of everything, in a few minutes")
    parser.add_argument("--scale", type=float, default=0.1, help="of the catalogues where one is run several times")
    parser.add_argument("--sweep", type=float, default=0.04, help="of catalogue A in the sweep")
    parser.add_argument("--large", action="store_true", help="also a million files, 10 PB")
    parser.add_argument("--section", type=Path, default=None, help="write the figures as a part of a Markdown text")
    parser.add_argument("--plots", type=Path, default=Path(__file__).resolve().parents[1] / "plots")
    arguments = parser.parse_args()
    shares = (0.02, 0.01, 0.01) if arguments.quick else (1.0, arguments.scale, arguments.sweep)
    bench = Bench(arguments.plots, full=shares[0], scale=shares[1], sweep=shares[2], large=arguments.large)
    bench.say("What is simulated stands in [docs/simulate.md](../docs/simulate.md).", "")
    # Each part asks for its campaigns first, so that all cores have work until the end; then they tell, in order.
    running = [part(bench) for part in parts.PARTS]
    for part in running:
        next(part)
    for part in running:
        next(part, None)
    bench.simulations.close()
    bench.section.write(arguments.section)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

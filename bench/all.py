"""All benchmarks, one after the other, and RESULTS.md of what they say.

    python bench/all.py [--quick] [--only campaign,plan] [--out bench]

Each is a program of its own that writes its part (`--section FILE`); here stand the goals of all of them beside the
figures, what each of them took, and what machine that was. Ratios and counts come again on another machine; seconds do
not. Ends with 1 when one of them fails, whose part then says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from section import Goal, goals

HERE = Path(__file__).resolve().parent
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Program:
    """A benchmark: its file, its options, and those that make it short; `in_memory`: what it writes is best in memory,
    since the disk of a machine that others use would be measured with it."""

    name: str
    file: str
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    in_memory: bool = False


PROGRAMS = (
    Program("plan", "plan.py", ("--times", "10", "--rounds", "2"), ("--lines", "50000", "--rounds", "1")),
    Program("overhead", "overhead.py", (), ("--files", "2000", "--tapes", "20", "--units", "0"), in_memory=True),
    Program("latency", "latency.py", (), ("--files", "200", "--units", "3"), in_memory=True),
    Program("nightly", "nightly.py", ("--files", "20000"), ("--files", "2000")),
    Program("hashing", "hashing.py", (), ("--files", "4", "--size", "32MB", "--rounds", "1")),
    Program("campaign", "campaign/run.py", ("--sweep", "0.02"), ("--quick",)),
)


@dataclass(frozen=True)
class Ran:
    """How a benchmark went: its part of the text, seconds, and CPU seconds of all its processes."""

    program: Program
    text: str
    ok: bool
    seconds: float
    cpu: float


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small part of each")
    parser.add_argument("--only", default="", help="names of benchmarks, with commas")
    parser.add_argument("--out", type=Path, default=HERE, help="where RESULTS.md and plots/ are written")
    arguments = parser.parse_args()
    wanted = set(filter(None, arguments.only.split(",")))
    unknown = wanted.difference(program.name for program in PROGRAMS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in PROGRAMS)}")
    there = [p for p in PROGRAMS if (HERE / p.file).exists() and (not wanted or p.name in wanted)]
    ran = [run(program, arguments.out, quick=arguments.quick) for program in there]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "RESULTS.md").write_text(results(ran, quick=arguments.quick), encoding="utf-8")
    failed = [one.program.name for one in ran if not one.ok]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def run(program: Program, out: Path, *, quick: bool) -> Ran:
    """Run one to its end."""
    print(f"=== {program.name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tacc-sync-bench-") as directory:
        part = Path(directory) / "section.md"
        options = [*(program.quick if quick else program.options), "--section", str(part)]
        if program.name == "campaign":
            options += ["--plots", str(out / "plots")]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        environment = {**os.environ, "TMPDIR": str(MEMORY)} if program.in_memory and MEMORY.is_dir() else None
        command = [sys.executable, str(HERE / program.file), *options]
        status = subprocess.run(command, check=False, env=environment).returncode
        seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        text = part.read_text(encoding="utf-8") if part.exists() else ""
    if status or not text.startswith("## "):
        why = f"It failed (exit status {status})." if status else "It wrote no part."
        return Ran(program, f"## {program.name}\n\n{why}\n", ok=False, seconds=seconds, cpu=cpu)
    return Ran(program, text, ok=True, seconds=seconds, cpu=cpu)


def results(ran: list[Ran], *, quick: bool) -> str:
    """The whole text."""
    lines = ["# Results of the benchmarks", "", f"Made by `make bench`{' (a short run)' if quick else ''}."]
    lines += ["Ratios and counts come again on another machine; seconds and MB are those of this one:", machine(), ""]
    lines += ["## Goals", "", "| benchmark, and what it measures | figure | goal | |", "|---|---|---|---|"]
    for one in ran:
        for goal in goals(one.text) if one.ok else [Goal(one.program.name, "failed", "", met=False)]:
            lines.append(f"| {goal.what} | {goal.figure} | {goal.goal} | {'met' if goal.met else '**not met**'} |")
    lines += ["", "## What they took", "", "| benchmark | minutes | CPU minutes |", "|---|---|---|"]
    lines += [f"| {one.program.name} | {one.seconds / 60:.1f} | {one.cpu / 60:.1f} |" for one in ran]
    lines.append(f"| all | {sum(o.seconds for o in ran) / 60:.1f} | {sum(o.cpu for o in ran) / 60:.1f} |")
    return "\n".join([*lines, "", *(one.text.rstrip("\n") + "\n" for one in ran)])


def machine() -> str:
    """What it ran on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({names[0] if names else platform.machine()}), Python {platform.python_version()}."


if __name__ == "__main__":
    raise SystemExit(main())

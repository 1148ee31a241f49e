"""Planning a large request: from hsi's lines to units on disk, beside `sort` of the same lines.

    python bench/plan.py [--lines 1000000] [--times 1] [--tapes 799] [--directory DIR] [--section FILE]

The syncer is the one that runs in production, with its workspace on disk and with a program in place of hsi that prints
a listing from a file, in one session, echo of commands included; the archive is not asked for hashes. Its CPU seconds
(all of its process, start included) are told as a ratio to those of `LC_ALL=C sort --parallel=1` on the same lines,
shuffled, in the same run, taking turns: of a sort of the lines as they are, and of one by tape and position, which is
what planning has to put them in order by; beside it its peak memory. How fast units are written is told of the
documents alone, made anew from what was read: how many files a second, and MB a second; and so is how fast all of them
are read back from the queue. `--times N` plans once more with N times as many lines, and tells how much longer that
takes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from section import Section

SOURCE = "/home/projects/demo"
FAKE_HSI = """#!/bin/sh
# hsi OPTIONS in FILE: says of a tree what stands beside this program.
for in_file; do :; done
in_file=${in_file#in }
here=$(dirname "$0")
sed -n 1p "$in_file"; cat "$here/lines"; sed -n 2p "$in_file"; cat "$here/top"
"""
PLANNER = """
import json, resource, sys
from tacc_sync.cli.main import main
status = main(["run", "syncer", "--once", "--quiet"])
own = resource.getrusage(resource.RUSAGE_SELF)
# The peak in its resource usage would begin with what its parent had.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"status": status, "cpu": own.ru_utime + own.ru_stime, "rss": peak * 1024}))
"""
READER = """
import json, sys, time
from pathlib import Path
from tacc_sync.rules.documents import Work, decode, encode
files = size = 0
reading = writing = 0.0
for path in Path(sys.argv[1]).glob("*.json"):
    before = time.process_time()
    content = path.read_bytes()
    work = decode(content, Work)
    between = time.process_time()
    again = encode(work)
    writing += time.process_time() - between
    reading += between - before
    assert again == content, path
    files += len(work.files)
    size += len(content)
print(json.dumps({"files": files, "bytes": size, "reading": reading, "writing": writing}))
"""
SORT_MEMORY = "1G"
# By the field of the tape, then by the number that the field of the position begins with.
BY_TAPE_AND_POSITION = ("-t", "\t", "-k6,6", "-k5,5n")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--tapes", type=int, default=799)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--section", type=Path, default=None, help="write the figures as a part of a Markdown text")
    arguments = parser.parse_args()
    section, rows = Section("Planning"), []
    section.say(
        "From hsi's lines to units on disk, beside `LC_ALL=C sort --parallel=1` of the same lines, shuffled.", ""
    )
    root = Path(tempfile.mkdtemp(prefix="tacc-sync-bench-", dir=arguments.directory))
    try:
        one = measure(root / "one", arguments.lines, arguments.tapes, arguments.rounds)
        text = f"{arguments.lines:,} lines on {arguments.tapes} tapes"
        rows += [
            (f"{text}: CPU seconds", f"{one.ours:.1f}", ""),
            (f"{text}: CPU of sort, seconds", f"{one.sort:.1f}", ""),
            (f"{text}: CPU of sort by tape and position, seconds", f"{one.sort_by_tape:.1f}", ""),
            (f"{text}: planning : sort", f"{one.ours / one.sort:.2f}", "≤ 1.5"),
            (f"{text}: planning : sort by tape and position", f"{one.ours / one.sort_by_tape:.2f}", "≤ 1.5"),
            (f"{text}: peak memory, MB", f"{one.memory / 1e6:.0f}", "≤ 300"),
            *documents_of(one, text, arguments.lines),
        ]
        if arguments.times > 1:
            shutil.rmtree(root / "one")
            many = measure(root / "many", arguments.lines * arguments.times, arguments.tapes, 1, beside_sort=False)
            text = f"{arguments.times} times as many lines"
            rows += [
                (f"{text}: times the CPU", f"{many.ours / one.ours:.1f}", f"≤ {1.1 * arguments.times:g}"),
                (f"{text}: peak memory, MB", f"{many.memory / 1e6:.0f}", "≤ 1,000"),
                *documents_of(many, text, arguments.lines * arguments.times),
            ]
        section.table(("what", "figure", "goal"), rows)
        section.write(arguments.section)
    finally:
        if arguments.keep:
            print(root)
        else:
            shutil.rmtree(root, ignore_errors=True)
    return 0


@dataclass(frozen=True)
class Measured:
    """CPU seconds of planning and (NaN: not measured) of sorting either way, the largest memory of planning in bytes;
    CPU seconds of writing and of reading back all units, and their bytes."""

    ours: float
    sort: float
    sort_by_tape: float
    memory: float
    documents: dict[str, float]


def documents_of(measured: Measured, text: str, lines: int) -> list[tuple[str, str, str]]:
    """Rows about the units' documents."""
    rows = []
    for what in ("writing", "reading"):
        seconds, size = measured.documents[what], measured.documents["bytes"]
        rows += [
            (f"{text}: {what} all units, files a CPU second", f"{lines / seconds:,.0f}", ""),
            (f"{text}: {what} all units, MB a CPU second", f"{size / seconds / 1e6:.0f}", ""),
        ]
    return [*rows, (f"{text}: bytes a file", f"{size / lines:.0f}", "")]


def measure(root: Path, lines: int, tapes: int, rounds: int, *, beside_sort: bool = True) -> Measured:
    """Plan and sort in turns."""
    root.mkdir()
    write_lines(root, lines, tapes)
    planning, sorting, by_tape, memory = [], [], [], []
    for number in range(rounds):
        found = plan(root, root / f"workspace{number}", lines)
        documents = read_back(root / f"workspace{number}")
        shutil.rmtree(root / f"workspace{number}")
        planning.append(found["cpu"])
        memory.append(found["rss"])
        if beside_sort:
            sorting.append(sort(root))
            by_tape.append(sort(root, *BY_TAPE_AND_POSITION))
    ours, *theirs = (statistics.median(each) if each else math.nan for each in (planning, sorting, by_tape))
    return Measured(ours, *theirs, max(memory), documents)


def read_back(workspace: Path) -> dict[str, float]:
    """CPU seconds for all units' documents, by a process that does nothing else."""
    command = [sys.executable, "-c", READER, str(workspace / "hpss_queue")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def write_lines(root: Path, lines: int, tapes: int) -> None:
    """A listing as hsi prints it: directory by directory, the files of each on tapes at random."""
    rng = random.Random(1)
    labels = [f"AG{number:04}00" for number in range(tapes)]
    per_directory = 200
    tops = set()
    with (root / "lines").open("w") as file:
        for number in range(lines):
            day, month = number // per_directory % 100, number // (per_directory * 100)
            directory = f"{SOURCE}/20{month // 12:02}/unbiased/PFRaw/{month % 12:02}{day:02}"
            if number % per_directory == 0:
                tops.add(f"{SOURCE}/20{month // 12:02}")
                file.write(f"DIRECTORY\t{directory}\n")
            name = f"{rng.getrandbits(128):032x}.zip"
            size = rng.randrange(10**8, 10**9)
            file.write(
                f"FILE\t{directory}/{name}\t{size}\t{size}\t{rng.randrange(5000)}+{rng.randrange(9) * 10**6}"
                f"\t{rng.choice(labels)}\t5\t0\t1\t03/01/2021\t{rng.randrange(24):02}:{rng.randrange(60):02}:47\t03/01/2021\t11:30:52\n"
            )
    (root / "top").write_text("".join(f"DIRECTORY\t{top}\n" for top in sorted(tops)))
    program = root / "hsi"
    program.write_text(FAKE_HSI)
    program.chmod(0o755)


def plan(root: Path, workspace: Path, lines: int) -> dict[str, float]:
    """One process that plans one request."""
    command = str(Path(sys.executable).with_name("tacc-sync"))
    buffer = workspace.with_name(f"{workspace.name}-buffer")
    buffer.mkdir()
    environment = {
        **os.environ,
        "TACC_SYNC_WORK_ROOT": str(workspace),
        "TRANSFER_DIR": str(buffer),
        "TRANSFER_QUOTA": "0",
        "TACC_SYNC_HSI": str(root / "hsi"),
    }
    subprocess.run([command, "init", str(workspace)], env=environment, check=True, capture_output=True)
    settings = "[skip]\nbefore_recall = false\n[hsi]\nhashes = false\nlisting_files = 0\n"
    (workspace / "tacc-sync.toml").write_text(settings)
    request = {"version": 1, "source": SOURCE, "destination": "/ranch/demo"}
    (workspace / "inbox" / "request.json").write_text(json.dumps(request))
    done = subprocess.run([sys.executable, "-c", PLANNER], env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    units = sum(1 for _ in os.scandir(workspace / "hpss_queue"))
    requests = list((workspace / "request_queue").glob("*.json"))
    if found["status"] or len(requests) != 1 or json.loads(requests[0].read_text())["plan"]["files"] != lines:
        raise SystemExit(f"not planned: {found}, {units} units; {done.stdout}{done.stderr}")
    return found


def sort(root: Path, *by: str) -> float:
    """CPU seconds of `sort`, by these of its options, for the same lines."""
    script = (
        "import json,resource,subprocess,sys\n"
        "subprocess.run(sys.argv[1:], check=True)\n"
        "own = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(own.ru_utime + own.ru_stime)"
    )
    # Shuffled: lines that are in order already are no work for it, and little for the syncer less.
    shuffled = root / "shuffled"
    if not shuffled.exists():
        lines = [line for line in (root / "lines").read_bytes().splitlines(keepends=True) if line.startswith(b"FILE")]
        random.Random(2).shuffle(lines)
        shuffled.write_bytes(b"".join(lines))
    # It writes what it has sorted, as the syncer writes its units.
    command = ["sort", "--parallel=1", "-S", SORT_MEMORY, *by, "-o", str(root / "sorted"), str(shuffled)]
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        env={**os.environ, "LC_ALL": "C"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


if __name__ == "__main__":
    sys.exit(main())

"""How long a unit lies idle between two components, at default settings, measured from both sites' logs and our own.

    python bench/latency.py [--files 2000] [--units 8] [--seconds 25] [--section FILE]

Two requests through the testbed: of units of `--files` files each whose tasks take no time, so that all that has to be
done for a unit comes at once, the tapes giving a file every 10 ms; and of small units whose tasks take `--seconds`
each. Of each unit is told

- from the last byte that hsi has brought to the task's acceptance, the last file's hash included, and of that the part
  that begins when the unit is passed on; where no slot was free, from when one was;
- from the task's end at the service to the moment when its room in the buffer is free, the look at the task included.

All of it lies where TMPDIR says: on a disk that others use, what thousands of files cost is the disk's
figure, not ours.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import overhead

from tacc_sync.testbed import globus_settings, hpss_log

PROGRAM = str(Path(sys.executable).with_name("tacc-sync"))
LONGEST = 1800.0
SLOTS = 4
# A drive that reads a file in 10 ms: a hundred times as fast as one that finds and reads a small file.
TAPES = {"read_bytes_per_second": overhead.SIZE / 0.01}


@dataclass
class Unit:
    """Epoch seconds of what has happened to a unit."""

    fetched: float = 0.0
    passed_on: float = 0.0
    accepted: float = 0.0
    ended: float = 0.0
    seen: float = 0.0
    freed: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="of a large unit")
    parser.add_argument("--units", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=25.0, help="of a task of a small unit")
    parser.add_argument("--section", type=Path, default=None, help="write the figures as a part of a Markdown text")
    arguments = parser.parse_args()
    said = measure(arguments.files, arguments.units, 0.0)
    said += measure(20, arguments.units, arguments.seconds)
    if arguments.section:
        arguments.section.write_text("\n".join(["## Latencies", "", *said, ""]), encoding="utf-8")
    return 0


def measure(files: int, units: int, seconds: float) -> list[str]:
    """Run a request, and tell its units' medians and maxima."""
    with overhead.place(files * units, units, TAPES) as made:
        target = globus_settings.directory(made.root / "testbed") / "settings.json"
        document = json.loads(target.read_text(encoding="utf-8"))
        globus_settings.write_json(target, {**document, "seconds_per_task": seconds})
        log = made.root / "log"
        run(made, log)
        found = list(units_of(made.root / "testbed", log).values())
    if len(found) != units:
        raise SystemExit(f"{len(found)} units of {units}")
    name = f"{units} units of {files:,} files, tasks of {seconds:g} s"
    rows = [
        row("last byte from hsi to task", [unit.accepted - start(unit, found, unit.fetched) for unit in found], ""),
        row("passed on to task", [unit.accepted - start(unit, found, unit.passed_on) for unit in found], "2"),
        row("task's end to its end seen", [unit.seen - unit.ended for unit in found], ""),
        row("task's end to freed room", [unit.freed - unit.ended for unit in found], "10"),
    ]
    return overhead.table((name, "median, s", "longest, s", "goal, s"), rows)


def row(name: str, seconds: list[float], goal: str) -> tuple[str, ...]:
    return name, f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}", goal


def start(unit: Unit, units: list[Unit], ready: float) -> float:
    """When a unit could be submitted: when it was ready, or a slot was free."""
    taken = sorted(other.seen for other in units if other is not unit and other.accepted < unit.accepted)
    busy = [seen for seen in taken if seen > ready]
    return busy[-SLOTS] if len(busy) >= SLOTS else ready


def run(made: overhead.Place, log: Path) -> None:
    """`tacc-sync run` at default settings, until the request is finished."""
    command = [PROGRAM, "--set", "run.log_format=json", "--set", "forecast.every=0", "run"]
    with log.open("wb") as said, subprocess.Popen(command, env=made.environment, stderr=said) as process:
        end = time.monotonic() + LONGEST
        while not any("request.json" in names for _, _, names in os.walk(made.root / "workspace/finished")):
            time.sleep(0.5)
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"does not finish: {log.read_text(encoding='utf-8')[-2000:]}")
        process.send_signal(signal.SIGTERM)


def units_of(testbed: Path, log: Path) -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if not line.startswith("{"):
            continue
        event = json.loads(line)
        at = datetime.fromisoformat(event["at"]).timestamp()
        name, unit = event["event"], event.get("unit", "")
        if name == "work_moved" and event.get("component") == "retriever":
            found.setdefault(unit, Unit()).passed_on = at
        elif name == "transfer_ended":
            found[unit].seen = at
        elif name == "buffer_freed":
            found[unit].freed = at
    for get in hpss_log.read_log(testbed).gets:
        # `.part/WORKER/UNIT/FILE`
        unit = get.local.split("/")[-2]
        if unit in found:
            found[unit].fetched = max(found[unit].fetched, get.time)
    for event in globus_settings.read_log(testbed, "accepted", "ended"):
        unit = event["label"].rpartition(".")[0]
        if unit in found:
            setattr(found[unit], event["event"], event["time"])
    return found


if __name__ == "__main__":
    raise SystemExit(main())

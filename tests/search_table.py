"""Run the searches for ways to break tacc-sync, and print one table of what was tried: search_table.py [--only NAME ...].

Each search says itself what it tried, as a line of JSON in the file that SEARCH_LOG names: `search`, `tried`
(boundaries, schedules, worlds, kills, inputs), `violations`, `seconds`, and perhaps `note`. Ends with 1 when one failed
or found something.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEARCHES = {
    "simulation": ["make", "simulate"],
    "kills": ["make", "kills", "KILLS=ci"],
    "hostile": ["make", "hostile"],
    "fuzz": ["make", "fuzz"],
    "custody": ["make", "custody"],
}


def row(entry: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a line of the table."""
    seconds = float(str(entry.get("seconds", 0)))
    return (
        str(entry["search"]),
        f"{entry['tried']:,}",
        str(entry["violations"]),
        f"{seconds:.0f}",
        str(entry.get("note", "")),
    )


def table(rows: list[tuple[str, ...]]) -> str:
    """In columns; the numbers to the right."""
    head = ("search", "tried", "violations", "seconds", "")
    widths = [max(len(cells[column]) for cells in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 0 < column < 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in [head, *rows]
    )


KINDS = {
    "boundaries and calls struck in the simulation": ("boundary", "each call", "at each step"),
    "schedules of pairs": ("pairs of", "woken at the end"),
    "random worlds": ("random worlds",),
    "rules switched off, each noticed": ("sabotage",),
    "real kills, power losses, disk errors": ("kills", "power loss", "disk errors", "sick disks", "two hosts"),
    "hostile inputs": ("fuzzer", "hostile"),
    "bytes damaged between archive and destination": ("damage:",),
}


def summary(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each kind of search, and one for all."""
    found = {kind: {"search": kind, "tried": 0, "violations": 0, "seconds": 0.0} for kind in (*KINDS, "others", "all")}
    for entry in entries:
        kind = next((k for k, words in KINDS.items() if any(word in entry["search"] for word in words)), "others")
        for name in (kind, "all"):
            for key in ("tried", "violations", "seconds"):
                found[name][key] += entry[key]
    return [total for total in found.values() if total["tried"] or total["violations"]]


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    chosen = parser.parse_args().only
    failed = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tacc-sync-searches-") as scratch:
        log = Path(scratch, "log.jsonl")
        log.touch()
        for name in chosen:
            print(f"--- {name}", flush=True)
            if subprocess.run(
                SEARCHES[name], cwd=ROOT, env={**os.environ, "SEARCH_LOG": str(log)}, check=False
            ).returncode:
                failed.append(name)
        entries = [json.loads(line) for line in log.read_text().splitlines()]
    violations = sum(int(entry["violations"]) for entry in entries)
    print("\n" + table([row(entry) for entry in entries]))
    print("\n" + table([row(entry) for entry in summary(entries)]))
    print(f"violations {violations}; {(time.monotonic() - began) / 60:.1f} minutes")
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed or violations else 0


if __name__ == "__main__":
    sys.exit(main())

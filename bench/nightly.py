"""A request handed in again when nothing has changed since it was delivered, through the testbed: what a night costs.

    python bench/nightly.py [--files 100000] [--tapes 200] [--per-directory 100] [--change 3] [--keep DIR]

The first request is carried out for real; then it is handed in again as it is, and once more after some files have
changed in the archive. Prints for each: mounts, tasks, bytes, calls to either side, seconds and CPU of tacc-sync's own
process (its hsi sessions apart). With --keep a directory that is there already goes on from its last night.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from section import Section

from tacc_sync.testbed import globus_settings, hpss_log, hpss_site, site

OURSELVES = """
import json, resource, sys
from tacc_sync.cli.main import main
status = main(["--set", "forecast.every=0", "run", "--once", "--quiet"])
own = resource.getrusage(resource.RUSAGE_SELF)
# The peak in its resource usage would begin with what its parent had.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"status": status, "cpu": own.ru_utime + own.ru_stime, "rss_kib": peak}))
"""


@dataclass(frozen=True)
class Night:
    """What one request has cost. `calls`: requests to Globus by what they ask for; `result`: of the request."""

    result: dict[str, Any]
    mounts: int
    recalled: list[str]
    bytes: int
    sessions: int
    tasks: int
    calls: dict[str, int]
    seconds: float
    cpu: float
    rss_kib: int


class Nights:
    """A testbed with a synthetic archive, and a workspace."""

    def __init__(self, root: Path, *, files: int, tapes: int, per_directory: int) -> None:
        self._root = root
        self._place = root / "testbed"
        if not self._place.exists():
            hpss_site.make_synthetic_site(
                self._place, files=files, tapes=tapes, size=100, files_per_directory=per_directory
            )
        self._bed = site.up(self._place)
        self._environment = {
            **os.environ,
            **self._bed.environment,
            "TACC_SYNC_WORK_ROOT": str(root / "workspace"),
        }
        if not (root / "workspace").exists():
            self._run("init", str(root / "workspace"))

    def close(self) -> None:
        """Stop the testbed."""
        site.down(self._place)

    @property
    def is_new(self) -> bool:
        """Is nothing delivered yet?"""
        return not any((self._root / "workspace/finished").glob("*/request.json"))

    def night(self) -> Night:
        """Hand in the request, and run until it is finished."""
        before = self._counts()
        words = ("--source", self._environment["HPSS_BASE_PATH"], "--destination", self._environment["TACC_BASE_PATH"])
        request_id = self._run("submit", *words).strip()
        began = time.monotonic()
        own = json.loads(self._ended([sys.executable, "-c", OURSELVES]).splitlines()[-1])
        seconds = time.monotonic() - began
        document = self._root / "workspace/finished" / request_id.replace("-", "")[:12] / "request.json"
        if own["status"] or not document.exists():
            raise SystemExit(f"exit {own['status']}, and {document} is {'' if document.exists() else 'not '}there")
        sessions, mounts, gets, requests, size = self._since(before)
        calls = Counter(entry["verb"] for entry in requests)
        return Night(
            result=json.loads(document.read_text(encoding="utf-8"))["result"],
            mounts=len(mounts),
            recalled=sorted(get.path for get in gets),
            bytes=size,
            sessions=len(sessions),
            tasks=calls["transfer"],
            calls=dict(calls),
            seconds=seconds,
            cpu=own["cpu"],
            rss_kib=own["rss_kib"],
        )

    def change(self, number: int) -> list[str]:
        """Write some files of the archive anew, a day later; their paths."""
        with self._catalogue() as database:
            rows = database.execute("SELECT path FROM object WHERE kind = 'f' ORDER BY path").fetchall()
            step = max(1, len(rows) // max(1, number))
            chosen = [path for (path,) in rows[step // 2 :: step][:number]]
            database.executemany(
                "UPDATE object SET written = written + 86400, mtime_ns = mtime_ns + 86400000000000, algorithm = '',"
                " hex = '', data_at = CASE WHEN data_at > 0 THEN data_at - 1 ELSE 1 END WHERE path = ?",
                [(path,) for path in chosen],
            )
        return sorted(os.fsdecode(path) for path in chosen)

    @contextlib.contextmanager
    def _catalogue(self) -> Iterator[sqlite3.Connection]:
        path = hpss_site.SitePaths(str(self._place.resolve())).catalogue
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            yield database
            database.commit()

    def _counts(self) -> tuple[int, int, int, int, int]:
        log = hpss_log.read_log(self._place)
        requests = globus_settings.read_log(self._place, "request")
        return len(log.sessions), len(log.mounts), len(log.gets), len(requests), log.bytes_read

    def _since(self, before: tuple[int, int, int, int, int]) -> tuple[list[Any], list[Any], list[Any], list[Any], int]:
        log = hpss_log.read_log(self._place)
        requests = globus_settings.read_log(self._place, "request")
        sessions, mounts, gets, calls, size = before
        return log.sessions[sessions:], log.mounts[mounts:], log.gets[gets:], requests[calls:], log.bytes_read - size

    def _run(self, *words: str) -> str:
        return self._ended([str(Path(sys.executable).with_name("tacc-sync")), *words])

    def _ended(self, words: list[str]) -> str:
        done = subprocess.run(words, env=self._environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(words[:3])} ended with {done.returncode}: {done.stderr}")
        return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--tapes", type=int, default=200)
    parser.add_argument("--per-directory", type=int, default=100)
    parser.add_argument("--change", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--section", type=Path, default=None, help="write the figures as a part of a Markdown text")
    arguments = parser.parse_args()
    root = arguments.keep or Path(tempfile.mkdtemp(prefix="tacc-sync-bench-"))
    root.mkdir(parents=True, exist_ok=True)
    nights = Nights(root, files=arguments.files, tapes=arguments.tapes, per_directory=arguments.per_directory)
    try:
        known: dict[str, Night] = {}
        if nights.is_new:
            known["the first time"] = nights.night()
        known["again, unchanged"] = nights.night()
        nights.change(arguments.change)
        known[f"again, {arguments.change} changed"] = nights.night()
        section = Section("A request handed in again")
        show(section, known)
        section.write(arguments.section)
    finally:
        nights.close()
        if arguments.keep is None:
            shutil.rmtree(root, ignore_errors=True)
    return 0


def show(section: Section, known: dict[str, Night]) -> None:
    columns = [rows_of(night) for night in known.values()]
    section.table(("", *known), [(row, *(column[row] for column in columns)) for row in columns[0]])
    unchanged = known["again, unchanged"]
    section.table(
        ("what nothing has changed for", "figure", "goal"),
        [("mounts", unchanged.mounts, "= 0"), ("bytes", unchanged.bytes, "= 0"), ("tasks", unchanged.tasks, "= 0")],
    )


def rows_of(night: Night) -> dict[str, object]:
    files = sum(count for name, count in night.result.items() if name.endswith("_files"))
    return {
        "files": f"{files:,}",
        "delivered : there already": f"{night.result['delivered_files']:,} : {night.result.get('there_files', 0):,}",
        "mounts": night.mounts,
        "files, bytes from tape": f"{len(night.recalled):,}, {night.bytes:,}",
        "tasks": night.tasks,
        "hsi sessions": night.sessions,
        "Globus requests": ", ".join(f"{count:,} {kind}" for kind, count in sorted(night.calls.items())),
        "seconds": f"{night.seconds:.1f}",
        "own CPU, seconds": f"{night.cpu:.1f}",
        "peak memory, MB": f"{night.rss_kib * 1.024 / 1000:.0f}",
    }


if __name__ == "__main__":
    raise SystemExit(main())

"""A request of many small files on many tapes, through the testbed: what tacc-sync itself costs.

    python bench/many_small_files.py [--files 20000] [--tapes 200] [--keep DIR]

Prints CPU seconds and peak memory of tacc-sync's own process (its hsi sessions apart), per file, and as a ratio to the
CPU that `cp` and `sha512sum` need for the same files in the same run: figures of one machine mean little alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tacc_sync.testbed import hpss_log, hpss_site, site

OURSELVES = """
import json, resource, sys
from tacc_sync.cli.main import main
status = main(["run", "--once", "--quiet"])
own, hsi = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"status": status, "cpu": own.ru_utime + own.ru_stime, "user": own.ru_utime, "rss_kib": own.ru_maxrss,
                  "hsi_cpu": hsi.ru_utime + hsi.ru_stime}))
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--tapes", type=int, default=200)
    parser.add_argument("--keep", type=Path, default=None)
    arguments = parser.parse_args()
    root = arguments.keep or Path(tempfile.mkdtemp(prefix="tacc-sync-bench-"))
    try:
        measure(root, arguments.files, arguments.tapes)
    finally:
        site.down(root / "testbed")
        if arguments.keep is None:
            shutil.rmtree(root, ignore_errors=True)
    return 0


def measure(root: Path, files: int, tapes: int) -> None:
    hpss_site.make_synthetic_site(root / "testbed", files=files, tapes=tapes, size=2000)
    bed = site.up(root / "testbed")
    command = Path(sys.executable).with_name("tacc-sync")
    environment = {
        **os.environ,
        **bed.environment,
        "TACC_SYNC_WORK_ROOT": str(root / "workspace"),
        "TRANSFER_QUOTA": "400MB",
    }

    def run(*words: str) -> str:
        done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(words[:3])} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    run(str(command), "init", str(root / "workspace"))
    source, destination = environment["HPSS_BASE_PATH"], environment["TACC_BASE_PATH"]
    run(str(command), "submit", "--source", source, "--destination", destination)
    started = time.monotonic()
    own = json.loads(run(sys.executable, "-c", OURSELVES).splitlines()[-1])
    seconds = time.monotonic() - started

    delivered = root / "testbed/tacc" / destination.lstrip("/")
    there = sum(len(names) for _, _, names in os.walk(delivered))
    if own["status"] or there != files:
        raise SystemExit(f"exit {own['status']}, {there} of {files} files delivered")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("cp", "-a", str(delivered), str(root / "copy"))
    run("sh", "-c", f"find {root / 'copy'} -type f -print0 | xargs -0 sha512sum | wc -l")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    plain = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    tapes_seen = hpss_log.read_log(root / "testbed")
    mounts = tapes_seen.mounts_per_cartridge
    rows = {
        "files": files,
        "seconds, testbed included": f"{seconds:.1f}",
        "own CPU per file, ms": f"{own['cpu'] / files * 1000:.2f}",
        "own CPU : cp + sha512sum": f"{own['cpu'] / plain:.1f}",
        "hsi sessions' CPU : own CPU": f"{own['hsi_cpu'] / own['cpu']:.1f}",
        "peak memory, MiB": f"{own['rss_kib'] / 1024:.0f}",
        "mounts : cartridges": f"{sum(mounts.values())} : {len(mounts)}",
        "cartridge contentions": len(tapes_seen.contentions),
    }
    for name, value in rows.items():
        print(f"{name:<32}{value:>14}")


if __name__ == "__main__":
    raise SystemExit(main())

"""What tacc-sync itself costs: a request of many small files end to end, how often it touches its disks, and what it
needs while 10,000 units wait.

    python bench/overhead.py [--files 100000] [--tapes 400] [--units 10000] [--seconds 60] [--section FILE]

All through the testbed with no latency of its own. Counted is the CPU time of tacc-sync's own process (all five
components, start included), its hsi sessions apart; as a figure of one machine, and as a ratio to what `cp` and
`sha512sum` need for the same files in the same run. File-system operations are counted in two smaller runs whose units
have different numbers of files, so that what a file costs and what a unit costs come apart. All of it lies where TMPDIR
says.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tacc_sync.testbed import globus_settings, hpss_log, hpss_site, site

PROGRAM = str(Path(sys.executable).with_name("tacc-sync"))
SIZE = 100
OURSELVES = """
import json, resource, sys
from tacc_sync.cli.main import main
status = main(["--set", "forecast.every=0", "run", "--once", "--quiet"])
own, hsi = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
# The peak in its resource usage would begin with what its parent had.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps({"status": status, "cpu": own.ru_utime + own.ru_stime, "rss": peak * 1024,
                  "hsi_cpu": hsi.ru_utime + hsi.ru_stime}))
"""
# The same, with each operation on workspace and buffer counted where it is called. A list is appended to by any thread.
COUNTED = """
import collections, functools, json, sys
from tacc_sync.workspace.posix_disk import PosixDisk
calls = []
def counted(name, method):
    @functools.wraps(method)
    def call(self, *args, **kwargs):
        calls.append(name)
        return method(self, *args, **kwargs)
    return call
for name in "names read create rename link unlink mkdir rmdir sync status seal digest follow".split():
    setattr(PosixDisk, name, counted(name, getattr(PosixDisk, name)))
from tacc_sync.cli.main import main
status = main(["--set", "forecast.every=0", "run", "--once", "--quiet"])
print(json.dumps({"status": status, "calls": collections.Counter(calls)}))
"""
CHANGING = ("create", "link", "rename", "unlink", "mkdir", "rmdir", "sync")


@dataclass(frozen=True)
class Place:
    """A testbed and a workspace with one request."""

    root: Path
    environment: dict[str, str]
    destination: str

    def run(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(words[:3])} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def own(self, program: str) -> dict[str, object]:
        """Run tacc-sync to its end in a process that tells of itself."""
        found: dict[str, object] = json.loads(self.run(sys.executable, "-c", program).splitlines()[-1])
        if found["status"]:
            raise SystemExit(f"tacc-sync ended with {found['status']}")
        return found

    @property
    def delivered(self) -> Path:
        return self.root / "testbed/tacc" / self.destination.lstrip("/")

    def names(self, directory: str) -> list[str]:
        return os.listdir(self.root / "workspace" / directory)


@contextlib.contextmanager
def place(files: int, tapes: int, settings: Mapping[str, object] | None = None, **environment: str) -> Iterator[Place]:
    """Both sites up, and a request for all of it handed in. `settings` are those of the archive."""
    root = Path(tempfile.mkdtemp(prefix="tacc-sync-bench-"))
    try:
        hpss_site.make_synthetic_site(
            root / "testbed",
            files=files,
            tapes=tapes,
            size=SIZE,
            settings=settings,
            two_cartridge_share=0.0,
            disk_share=0.0,
        )
        bed = site.up(root / "testbed")
        variables = {
            **os.environ,
            **bed.environment,
            "TACC_SYNC_WORK_ROOT": str(root / "workspace"),
            "TRANSFER_QUOTA": "1GB",
            **environment,
        }
        made = Place(root, variables, variables["TACC_BASE_PATH"])
        made.run(PROGRAM, "init", str(root / "workspace"))
        made.run(PROGRAM, "submit", "--source", variables["HPSS_BASE_PATH"], "--destination", made.destination)
        yield made
    finally:
        site.down(root / "testbed")
        shutil.rmtree(root, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--tapes", type=int, default=400)
    parser.add_argument("--units", type=int, default=10_000, help="that wait; 0: no look at idleness")
    parser.add_argument("--seconds", type=float, default=60.0, help="of idleness")
    parser.add_argument("--section", type=Path, default=None, help="write the figures as a part of a Markdown text")
    arguments = parser.parse_args()
    said = [*end_to_end(arguments.files, arguments.tapes), *operations()]
    if arguments.units:
        said += idle(arguments.units, arguments.seconds)
    if arguments.section:
        arguments.section.write_text("\n".join(["## Overhead", "", *said, ""]), encoding="utf-8")
    return 0


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
    for line in lines:
        print(line, flush=True)
    print()
    return [*lines, ""]


def end_to_end(files: int, tapes: int) -> list[str]:
    """A whole request."""
    with place(files, tapes) as made:
        started = time.monotonic()
        own = made.own(OURSELVES)
        seconds = time.monotonic() - started
        there = sum(len(names) for _, _, names in os.walk(made.delivered))
        if there != files:
            raise SystemExit(f"{there} of {files} files delivered")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        made.run("cp", "-a", str(made.delivered), str(made.root / "copy"))
        made.run("sh", "-c", f"find {made.root / 'copy'} -type f -print0 | xargs -0 sha512sum | wc -l")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        plain = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        log = hpss_log.read_log(made.root / "testbed")
    mounts = log.mounts_per_cartridge
    cpu, rss, hsi = (float(str(own[name])) for name in ("cpu", "rss", "hsi_cpu"))
    return table(
        (f"{files:,} files of {SIZE} bytes on {tapes} tapes", "", "goal"),
        [
            ("own CPU a file, ms", f"{cpu / files * 1000:.2f}", "1"),
            ("own CPU : `cp` and `sha512sum` of the same files", f"{cpu / plain:.1f}", ""),
            ("CPU of the testbed's hsi : own CPU", f"{hsi / cpu:.1f}", ""),
            ("peak memory, MB", f"{rss / 1e6:.0f}", "300"),
            ("seconds, testbed included", f"{seconds:.0f}", ""),
            ("mounts : cartridges", f"{sum(mounts.values())} : {len(mounts)}", ""),
            ("sessions that met on a cartridge", f"{len(log.contentions)}", "0"),
        ],
    )


def operations() -> list[str]:
    """What a file and what a unit costs the file systems of workspace and buffer."""
    tapes, few, many = 20, 20, 120
    counts = {}
    for each in (few, many):
        with place(each * tapes, tapes) as made:
            counts[each] = Counter(dict(made.own(COUNTED)["calls"]))  # type: ignore[call-overload]
            units = len(list((made.root / "workspace/finished").glob("*/*.*.json")))
        if units != tapes:
            raise SystemExit(f"{units} units on {tapes} tapes")
    rows, sums = [], Counter[str]()
    for name in sorted(counts[many], key=lambda name: -counts[many][name]):
        a_file = (counts[many][name] - counts[few][name]) / tapes / (many - few)
        a_unit = counts[few][name] / tapes - a_file * few
        kind = "changing" if name in CHANGING else "looking"
        sums[f"{kind}, a file"] += a_file  # type: ignore[assignment]
        sums[f"{kind}, a unit"] += a_unit  # type: ignore[assignment]
        rows.append((f"`{name}`", f"{a_file:.1f}", f"{a_unit:.0f}"))
    for kind in ("changing", "looking"):
        rows.append((f"**{kind}, together**", f"{sums[f'{kind}, a file']:.1f}", f"{sums[f'{kind}, a unit']:.0f}"))
    return table(
        ("operation on workspace or buffer", "a file", "a unit (what the workers' idle looks cost included)"), rows
    )


def idle(units: int, seconds: float) -> list[str]:
    """What it needs while nothing can be done."""
    rows = []
    with place(units, units, TRANSFER_QUOTA=str(10 * SIZE)) as made:
        made.run(PROGRAM, "run", "syncer", "--once", "--quiet")
        waiting = len(made.names("hpss_queue"))
        if waiting != units:
            raise SystemExit(f"{waiting} units wait")
        hpss_site.set_flag(made.root / "testbed", "down", is_raised=True)
        rows.append(("HPSS is down", *measure_idle(made, seconds)))
        hpss_site.set_flag(made.root / "testbed", "down", is_raised=False)
        made.run(PROGRAM, "hold", "retriever")
        rows.append(("the retriever is on hold", *measure_idle(made, seconds)))
        made.run(PROGRAM, "unhold", "retriever")
        made.run(PROGRAM, "hold", "globus_xfer")
        made.run(PROGRAM, "run", "retriever", "--once", "--quiet")
        rows.append(("the buffer is full", *measure_idle(made, seconds)))
        # Tasks that take an hour.
        made.run(PROGRAM, "unhold", "globus_xfer")
        target = globus_settings.directory(made.root / "testbed") / "settings.json"
        document = json.loads(target.read_text(encoding="utf-8"))
        globus_settings.write_json(target, {**document, "seconds_per_task": 3600.0})
        rows.append(("all slots are busy, the buffer is full", *measure_idle(made, seconds)))
        slots = len(made.names("globus_slots"))
        if slots != 4:
            raise SystemExit(f"{slots} slots are taken")
    return table((f"{units:,} units wait, as", "own CPU, % of a core (goal: 1)", "CPU of its children, %"), rows)


def measure_idle(made: Place, seconds: float) -> tuple[str, str]:
    """Per cent of a core, when it has come to rest."""
    with subprocess.Popen(
        [PROGRAM, "--set", "forecast.every=0", "run", "--quiet"], env=made.environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            time.sleep(15.0)
            before, begun = ticks(process.pid), time.monotonic()
            time.sleep(seconds)
            after, past = ticks(process.pid), time.monotonic() - begun
        finally:
            process.terminate()
    hertz = os.sysconf("SC_CLK_TCK")
    own, children = ((b - a) / hertz / past * 100 for a, b in zip(before, after, strict=True))
    return f"{own:.2f}", f"{children:.2f}"


def ticks(pid: int) -> tuple[int, int]:
    """CPU time of a process and of its children that have ended, in ticks of the kernel's clock."""
    fields = re.sub(r".*\) ", "", Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")).split()
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


if __name__ == "__main__":
    raise SystemExit(main())

"""How fast copies are hashed: our hasher on two cores beside coreutils' `sha512sum`, on the same files in one run.

    python bench/hashing.py [--files 8] [--size 256MB] [--rounds 3] [--threads 2] [--warm] [--directory DIR]

Prints ratios: seconds of this machine at this moment mean little alone. With more bytes than memory nothing can be
kept; the default only lets go of the page cache before each pass (`--warm`: not even that, as right after hsi has
written them). All ways take turns in each round, so that whatever else the machine does meets each of them; the median
round counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from section import Section

from tacc_sync.config import parse_size
from tacc_sync.pipeline.hashing import Hashing, threads
from tacc_sync.workspace.posix_disk import PosixDisk

PIECE = 4 * 1024 * 1024


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--size", type=parse_size, default=256 * 10**6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--section", type=Path, default=None, help="write the figures as a part of a Markdown text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tacc-sync-bench-", dir=arguments.directory) as root:
        names = make(Path(root), arguments.files, arguments.size)
        section = Section("Hashing")
        measure(section, Path(root), names, arguments.rounds, arguments.threads, warm=arguments.warm)
        section.write(arguments.section)
    return 0


def make(root: Path, files: int, size: int) -> list[str]:
    """Files of bytes that nothing can compress."""
    names = [f"{number:04d}" for number in range(files)]
    for name in names:
        with (root / name).open("wb") as file:
            left = size
            while left:
                left -= file.write(os.urandom(min(PIECE, left)))
            file.flush()
            os.fsync(file.fileno())
    return names


def measure(section: Section, root: Path, names: list[str], rounds: int, number: int, *, warm: bool) -> None:
    size = sum((root / name).stat().st_size for name in names)
    ways: dict[str, Callable[[], dict[str, str]]] = {
        "sha512sum, one after the other": lambda: of_command(root, names, ["sha512sum", *names]),
        "xargs -P2 -n1 sha512sum": lambda: of_command(root, names, ["xargs", "-P2", "-n1", "sha512sum"]),
        f"ours, {number} threads, sha512": lambda: of_ours(root, names, number, ["sha512"]),
        f"ours, {number} threads, sha512 and md5": lambda: of_ours(root, names, number, ["sha512", "md5"]),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    truth: dict[str, str] = {}
    for _ in range(rounds):
        for way, go in ways.items():
            if not warm:
                let_go(root, names)
            began = time.monotonic()
            found = go()
            seconds[way].append(time.monotonic() - began)
            truth = truth or found
            if found != truth:
                raise SystemExit(f"{way}: other hashes")
    base = seconds["xargs -P2 -n1 sha512sum"]
    cache = "warm" if warm else "cold"
    section.say(f"{len(names)} files of {size / len(names) / 1e6:.0f} MB, {rounds} rounds, {cache} cache.", "")
    rows = []
    for way, taken in seconds.items():
        ratios = [other / one for other, one in zip(base, taken, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append((way, f"{size / statistics.median(taken) / 1e6:.0f}", f"{statistics.median(ratios):.2f}", spread))
    section.table(("way", "MB/s", "speed : xargs -P2", "of the rounds"), rows)


def let_go(root: Path, names: Sequence[str]) -> None:
    """Put the files out of the page cache."""
    for name in names:
        file = os.open(root / name, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def of_command(root: Path, names: Sequence[str], command: Sequence[str]) -> dict[str, str]:
    given = "\n".join(names)
    done = subprocess.run(command, cwd=root, input=given, check=True, capture_output=True, text=True)
    return {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()}


def of_ours(root: Path, names: Sequence[str], number: int, algorithms: list[str]) -> dict[str, str]:
    """As the retriever does it."""
    disk = PosixDisk(str(root))
    with threads(number) as executor:
        hashing = Hashing(disk, executor, lambda: True)
        for index, name in enumerate(names):
            hashing.begin(index, name, (root / name).stat().st_size, algorithms)
        return {name: hashing.hashes(index, name, algorithms)["sha512"] for index, name in enumerate(names)}


if __name__ == "__main__":
    raise SystemExit(main())

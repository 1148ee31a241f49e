"""Build a simulated HPSS site: put a directory of files on tapes, install `hsi` and `hpss_avail`.

    build_site(root, Path("/data/run1"), hpss_prefix="/home/projects/demo")
    environment = install(root)

Guarantee: the data is never copied or changed, hsi serves it from where it is; the same data and seed give
the same tapes. ROOT/bin/hsi works without an activated environment.

Fails with: FileExistsError (the site already has a catalogue), OSError (data cannot be read), ValueError (a
setting or rule that does not exist).

The files are spread over tapes as tape_placement.py tells. Of six files four have an md5, one has a sha512,
one has no hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import stat
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tacc_sync.testbed.hpss_faults import Faults
from tacc_sync.testbed.hpss_settings import FLAGS, Settings, SitePaths, write_whole
from tacc_sync.testbed.tape_catalogue import Catalogue, Entry, parent_of
from tacc_sync.testbed.tape_placement import place_on_tapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BLOCK = 4 << 20


@dataclass(slots=True)
class SiteSummary:
    """What was put on tape. `skipped` has a line for each thing that is neither file, directory nor link."""

    files: int = 0
    bytes: int = 0
    directories: int = 0
    links: int = 0
    tapes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def build_site(
    root: Path,
    data: Path,
    *,
    also: Mapping[str, Path] | None = None,
    hpss_prefix: str = "/home/projects/demo",
    tapes: int | None = None,
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    hash_shares: tuple[int, int, int] = (4, 1, 1),
    two_cartridge_share: float = 0.01,
    disk_share: float = 0.01,
) -> SiteSummary:
    """Put every file below `data` on simulated tapes, under `hpss_prefix`; and further directories below it, by name.

    Without `tapes` there is one for 75 files, but at least 3. The shares are of md5, sha512 and no hash, of
    files on two cartridges, of files only on disk.
    """
    paths = _prepare(root, settings)
    summary = SiteSummary()
    prefix = os.fsencode(hpss_prefix.rstrip("/"))
    found = list(_walk(os.fsencode(data.resolve()), prefix, os.fsencode(root.resolve()), summary))
    for name, directory in (also or {}).items():
        place = prefix + b"/" + os.fsencode(name)
        if any(entry.path == place for entry in found):
            raise FileExistsError(f"{data} has an entry {name!r} of its own")
        written = directory.stat().st_mtime_ns
        found.append(Entry(place, "d", 0, written, written // 10**9, written // 10**9))
        found += _walk(os.fsencode(directory.resolve()), place, os.fsencode(root.resolve()), summary)
    files = [entry for entry in found if entry.kind == "f"]
    summary.files, summary.bytes = len(files), sum(entry.size for entry in files)
    summary.tapes = place_on_tapes(
        files, tapes, seed=seed, two_cartridge_share=two_cartridge_share, disk_share=disk_share
    )
    _hash(files, hash_shares)
    Catalogue.create(paths.catalogue, [*_ancestors(prefix, paths), *found])
    return summary


def make_synthetic_site(
    root: Path,
    *,
    files: int,
    tapes: int,
    seed: int = 0,
    size: int = 1000,
    hpss_prefix: str = "/home/projects/demo",
    files_per_directory: int = 100,
    settings: Mapping[str, object] | None = None,
    hash_shares: tuple[int, int, int] = (4, 1, 1),
    two_cartridge_share: float = 0.01,
    disk_share: float = 0.01,
) -> SiteSummary:
    """A site of many files, cheaply: each content is a window of `size` bytes into one block of noise."""
    if not 0 <= size <= BLOCK:
        raise ValueError(f"size must be at most {BLOCK}, not {size}")
    paths = _prepare(root, settings)
    rng = random.Random(seed)  # noqa: S311  reproducible, not secret
    noise = rng.randbytes(BLOCK)
    block = os.fsencode(root.resolve() / "hpss" / "noise.bin")
    Path(os.fsdecode(block)).write_bytes(noise)
    prefix = os.fsencode(hpss_prefix.rstrip("/"))
    summary = SiteSummary()
    entries = []
    for number in range(files):
        if number % files_per_directory == 0:
            directory = prefix + b"/d%05d" % (number // files_per_directory)
            entries.append(Entry(directory, "d", written=1_600_000_000))
            summary.directories += 1
        written = 1_600_000_000 + 60 * number
        start = rng.randrange(BLOCK - size + 1)
        name = directory + b"/f%07d.dat" % number
        entries.append(
            Entry(
                name,
                "f",
                size,
                written * 10**9 + 123456789,
                written,
                written + 1800,
                data=block,
                data_at=start,
            )
        )
    on_tape = [entry for entry in entries if entry.kind == "f"]
    summary.files, summary.bytes = files, files * size
    summary.tapes = place_on_tapes(
        on_tape, tapes, seed=seed, two_cartridge_share=two_cartridge_share, disk_share=disk_share
    )
    for entry in on_tape:
        entry.algorithm = _algorithm(entry.path, hash_shares)
        if entry.algorithm:
            part = noise[entry.data_at : entry.data_at + size]
            entry.hex = hashlib.new(entry.algorithm, part).hexdigest()
    Catalogue.create(paths.catalogue, [*_ancestors(prefix, paths), *entries])
    return summary


def install(root: Path, *, python: str | None = None) -> dict[str, str]:
    """Write ROOT/bin/hsi and ROOT/bin/hpss_avail; the environment (command lines) that makes a program use them."""
    root = root.resolve()
    home = root / "hpss"
    programs = root / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (home / "sessions").mkdir(parents=True, exist_ok=True)
    # The interpreter starts without site-packages and without looking at the environment: it is several times
    # as fast, and nothing that the caller sets can break it.
    sources = str(Path(__file__).resolve().parents[2])
    launcher = home / "hsi.py"
    launcher.write_text(
        "import sys\n"
        f"sys.path.insert(0, {sources!r})\n"
        "from tacc_sync.testbed.hsi_main import main\n"
        f"main({str(root)!r})\n",
        encoding="utf-8",
    )
    interpreter = shlex.quote(python or sys.executable)
    library_path = os.environ.get("LD_LIBRARY_PATH")
    needed = f"export LD_LIBRARY_PATH={shlex.quote(library_path)}\n" if library_path else ""
    _write_program(
        programs / "hsi",
        f'{needed}exec {interpreter} -I -S -X utf8 {shlex.quote(str(launcher))} "$@"\n',
    )
    down = " || ".join(f"[ -e {shlex.quote(str(home / flag))} ]" for flag in ("maintenance", "down"))
    _write_program(
        programs / "hpss_avail",
        f'[ "$1" = archive ] || {{ echo "usage: hpss_avail archive" >&2; exit 64; }}\n'
        f"if {down}; then exit 1; fi\nexit 0\n",
    )
    return {
        "TACC_SYNC_HSI": shlex.quote(str(programs / "hsi")),
        "TACC_SYNC_HPSS_AVAIL": shlex.join([str(programs / "hpss_avail"), "archive"]),
    }


def set_settings(root: Path, **settings: object) -> None:
    """Change settings of a site; takes effect for the next hsi."""
    paths = SitePaths(str(root.resolve()))
    old = json.loads(Path(paths.settings).read_text(encoding="utf-8")) if Path(paths.settings).exists() else {}
    Settings({**old, **settings})
    write_whole(paths.settings, json.dumps({**old, **settings}, indent=1) + "\n")


def set_faults(root: Path, rules: Sequence[Mapping[str, object]]) -> None:
    """Replace the troubles of a site (see hpss_faults.py) and start counting anew."""
    paths = SitePaths(str(root.resolve()))
    write_whole(paths.faults, json.dumps(list(rules), indent=1) + "\n")
    Path(paths.faults_state).unlink(missing_ok=True)
    Faults(paths)


def set_flag(root: Path, name: str, *, is_raised: bool) -> None:
    """Raise or lower a flag: maintenance, down, no-token, bad-token."""
    if name not in FLAGS:
        raise ValueError(f"no such flag: {name}")
    flag = Path(SitePaths(str(root.resolve())).flag(name))
    if is_raised:
        flag.touch()
    else:
        flag.unlink(missing_ok=True)


def entries_of(root: Path) -> list[Entry]:
    """All files of a site, with path, size, cartridges, position and hash: the truth to compare with."""
    catalogue = Catalogue(SitePaths(str(root.resolve())).catalogue)
    entries = list(catalogue.files())
    catalogue.close()
    return entries


def _write_program(path: Path, body: str) -> None:
    path.write_text("#!/bin/sh\n" + body, encoding="utf-8")
    path.chmod(0o755)


def _prepare(root: Path, settings: Mapping[str, object] | None) -> SitePaths:
    Settings(dict(settings or {}))
    root.mkdir(parents=True, exist_ok=True)
    paths = SitePaths(str(root.resolve()))
    Path(paths.sessions).mkdir(parents=True, exist_ok=True)
    if Path(paths.catalogue).exists():
        raise FileExistsError(f"{paths.catalogue}: this site is already built")
    write_whole(paths.settings, json.dumps(dict(settings or {}), indent=1) + "\n")
    return paths


def _ancestors(prefix: bytes, paths: SitePaths) -> Iterator[Entry]:
    """The directories above the data, and our home directory."""
    for path in {prefix, os.fsencode(Settings.load(paths).home)}:
        here = path
        while here:
            yield Entry(here, "d", written=1_600_000_000)
            here = parent_of(here)


def _walk(directory: bytes, archived_as: bytes, site: bytes, summary: SiteSummary) -> Iterator[Entry]:
    """Everything below a local directory, by name; the site itself is no data, even if it lies there."""
    for item in sorted(os.scandir(directory), key=lambda item: item.name):
        path = archived_as + b"/" + item.name
        status = item.stat(follow_symlinks=False)
        written = int(status.st_mtime)
        if stat.S_ISLNK(status.st_mode):
            summary.links += 1
            target = os.readlink(item.path)
            yield Entry(path, "l", 0, status.st_mtime_ns, written, written, data=target)
        elif stat.S_ISDIR(status.st_mode):
            if item.path == site:
                continue
            summary.directories += 1
            yield Entry(path, "d", 0, status.st_mtime_ns, written, written)
            yield from _walk(item.path, path, site, summary)
        elif stat.S_ISREG(status.st_mode):
            yield Entry(path, "f", status.st_size, status.st_mtime_ns, written, written + 1800, data=item.path)
        else:
            summary.skipped.append(f"{os.fsdecode(item.path)}: neither file, directory nor symbolic link")


def _algorithm(path: bytes, shares: tuple[int, int, int]) -> str:
    """md5, sha512 or none, by the path alone."""
    md5, sha512, _ = shares
    lot = zlib.crc32(path) % sum(shares)
    return "md5" if lot < md5 else "sha512" if lot < md5 + sha512 else ""


def _hash(files: list[Entry], shares: tuple[int, int, int]) -> None:
    def compute(entry: Entry) -> None:
        entry.algorithm = _algorithm(entry.path, shares)
        if entry.algorithm:
            with Path(os.fsdecode(entry.data)).open("rb") as file:
                entry.hex = hashlib.file_digest(file, entry.algorithm).hexdigest()

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(compute, files, chunksize=64):
            pass

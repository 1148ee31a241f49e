"""One bit, one byte, one block of zeros: damaged at each place between the archive and the destination, with the installed
command against the testbed. None is delivered in silence, or it is said which check finds it.

`make custody` prints the table.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from bed import DESTINATION, SOURCE, Bed, wait_for
from damage import BLOCK, KINDS, damage

HERE = Path(__file__).parent
SHARES = {"md5": (1, 0, 0), "sha512": (0, 1, 0), "none": (0, 0, 1), "a list": (0, 0, 1)}
BEFORE = ("archive", "recall", "before-hash", "at-rest")
BEHIND = ("being-sent", "wire", "destination")
GOOD = ("good-0", "good-1")
SIZE = 60_000
# Of these nothing on the way can know: there is nothing to hold the bytes against.
UNHASHED = {(place, kind) for place in ("archive", "recall", "before-hash") for kind in ("flip", "zeros")}
# The testbed's archive fills up with a zero what it has lost, and says that all is well.
UNHASHED.add(("archive", "cut"))
NO_HASH = "nothing: HPSS has no hash of it, and none came with the request"
SUMS = "sha512sum -c manifest-sha512.txt at the destination"
ROWS: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    if not ROWS:
        return
    cells = [said for row in ROWS.values() for said in row.values()]
    found = [said for said in cells if not said.startswith(("by ", "nothing"))]
    print("\n\nDamage                      " + "".join(f"{kind:34}" for kind in KINDS))
    for (place, algorithm), row in ROWS.items():
        print(f"{place:14}{algorithm:14}" + "".join(f"{row.get(kind, '?')[:32]:34}" for kind in KINDS))
    later = sum(said.startswith("by ") for said in cells)
    print(f"\n{len(found)} of {len(cells)} kinds of damage ({len(found) / len(cells):.0%}) were found on the way.")
    print(f"{later} happen after the last look at the destination: found there by {SUMS}.")
    silent = len(cells) - len(found) - later
    print(f"{silent} cannot be found by anybody: {NO_HASH.removeprefix('nothing: ')}.")


def a_bed(root, places, algorithm, **about):
    """A file for each kind of damage at each place; each has a size of its own, by which it is known everywhere."""
    names = [*(f"{place}.{kind}" for place in places for kind in KINDS), *GOOD]
    source = random.Random(7)
    files = {name: source.randbytes(SIZE + 10 * number) for number, name in enumerate(names)}
    placement = {"hash_shares": SHARES[algorithm], "two_cartridge_share": 0, "disk_share": 0}
    return Bed(root, files, tapes=1, placement=placement, **about), {n: len(c) for n, c in files.items()}


def in_buffer(bed, sizes, names):
    """The copies in the buffer of these files."""
    found = {os.path.getsize(path): path for path in bed.place.glob("nersc/transfer_buffer/*/*")}
    return {name: found[sizes[name]] for name in names}


def manifest(bed, key):
    """name -> line, of a request that may not be finished: then from the units."""
    paths = bed.workspace.glob(f"**/{key}.*.json")
    works = [json.loads(path.read_text()) for path in paths if not path.name.endswith(".why.json")]
    return {file["path"].removeprefix(SOURCE + "/"): file for work in works for file in work["files"]}


def judge(bed, key, truth, name):
    """What became of a damaged file: in words; `wrong` when wrong bytes count as delivered."""
    file = manifest(bed, key)[name]
    there = {os.fsdecode(path): content for path, (content, _) in bed.delivered().items()}
    if file.get("outcome") != "delivered":
        return f"not delivered: {file['why']['code']}"
    assert len(there[name]) == len(truth[name]) or name == "destination.cut"
    return "delivered right" if there[name] == truth[name] else "wrong"


@pytest.mark.parametrize("algorithm", SHARES)
def test_until_it_is_sent(tmp_path, algorithm):
    bed, sizes = a_bed(tmp_path, BEFORE, algorithm)
    with bed:
        truth = {name: (bed.data / name).read_bytes() for name in sizes}
        orders = tmp_path / "orders.json"
        orders.write_text(json.dumps({str(sizes[f"before-hash.{kind}"]): kind for kind in KINDS}))
        bed.environment["TACC_SYNC_HSI"] = shlex.join([
            sys.executable, str(HERE / "meddling_hsi.py"), str(bed.place / "bin/hsi"), str(orders),
            str(bed.place / "nersc/transfer_buffer"),
        ])  # fmt: skip
        vouched = tmp_path / "SHA512SUMS"
        vouched.write_text("".join(f"{hashlib.sha512(c).hexdigest()}  {name}\n" for name, c in truth.items()))
        for kind in KINDS:
            damage(bed.data / f"archive.{kind}", kind)
        how = {"flip": {"what": "flip"}, "zeros": {"what": "zeros", "fraction": 0.9}}
        bed.hsi_faults(*(
            {"match": {"command": "get", "path": f"{SOURCE}/recall.{kind}"}, "times": 1}
            | how.get(kind, {"what": "truncate", "bytes": sizes["recall.cut"] - 1})
            for kind in KINDS
        ))  # fmt: skip
        key = bed.request(**({"checksums": str(vouched)} if algorithm == "a list" else {}))
        bed.run("syncer", "retriever")
        assert json.loads(orders.read_text()) == {}, "not all copies were damaged"
        for name, path in in_buffer(bed, sizes, [f"at-rest.{kind}" for kind in KINDS]).items():
            damage(path, name.partition(".")[2])
        bed.run(code=None)
        for name in GOOD:
            assert judge(bed, key, truth, name) == "delivered right"
        for place in BEFORE:
            for kind in KINDS:
                said = judge(bed, key, truth, f"{place}.{kind}")
                if algorithm == "none" and (place, kind) in UNHASHED:
                    assert said == "wrong", (place, kind, said)
                    said = NO_HASH
                assert said != "wrong", (place, kind)
                ROWS[place, algorithm][kind] = said


@pytest.mark.parametrize("external", ["", "sha512"], ids=["record md5", "external sha512"])
def test_from_the_buffer_to_the_destination(tmp_path, external):
    bed, sizes = a_bed(
        tmp_path, BEHIND, "md5", settings={"globus.external_checksum": external, "patience.attempts": "4"}
    )
    with bed:
        truth = {name: (bed.data / name).read_bytes() for name in sizes}
        for kind in KINDS:
            bed.globus_fault(f"{kind}_wire", {"path": f"*/wire.{kind}"}, times=1)
            bed.globus_fault(f"{kind}_after", {"path": f"*/destination.{kind}"}, times=1)
        bed.tacc_sync("hold", "globus_xfer")
        key = bed.request()
        run = bed.start("run")
        wait_for(lambda: list(bed.workspace.glob("globus_queue/*.json")), "all is recalled")
        # The process that hashed them is the one that sends them: they count as fresh.
        for name, path in in_buffer(bed, sizes, [f"being-sent.{kind}" for kind in KINDS]).items():
            damage(path, name.partition(".")[2])
        bed.tacc_sync("unhold", "globus_xfer")
        wait_for(lambda: bed.is_finished(key), run.said[-3000:])
        run.stop()
        wrong = set()
        for place in BEHIND:
            for kind in KINDS:
                said = judge(bed, key, truth, f"{place}.{kind}")
                if place == "destination":
                    # The record was right, and nobody has looked since.
                    assert said == "wrong", (kind, said)
                    wrong.add(f"{place}.{kind}")
                    said = f"by {SUMS}"
                assert said != "wrong", (place, kind)
                ROWS[place, "sent sha512" if external else "record md5"][kind] = said
        sums = bed.workspace / f"finished/{key}/manifest-sha512.txt"
        there = bed.place / "tacc" / DESTINATION.lstrip("/")
        check = subprocess.run(
            ["sha512sum", "-c", "--quiet", str(sums)], cwd=there, capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        assert {line.partition(":")[0] for line in check.stdout.splitlines()} == wrong


def test_each_damage_is_one(tmp_path):
    """Size (but for the cut), time and all other bytes stay."""
    for kind in KINDS:
        path, content = tmp_path / kind, random.Random(1).randbytes(SIZE)
        path.write_bytes(content)
        before = path.stat().st_mtime_ns
        damage(path, kind)
        after = path.read_bytes()
        assert path.stat().st_mtime_ns == before
        assert hashlib.sha512(after).digest() != hashlib.sha512(content).digest()
        differing = sum(a != b for a, b in zip(content, after, strict=False))
        assert (len(content) - len(after), 0 < differing <= BLOCK) == ((1, False) if kind == "cut" else (0, True))

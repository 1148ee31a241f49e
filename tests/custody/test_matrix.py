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
import time
from collections import defaultdict
from pathlib import Path

import pytest
from bed import DESTINATION, SOURCE, Bed, wait_for
from damage import BLOCK, KINDS, damage

HERE = Path(__file__).parent
SHARES = {"md5": (1, 0, 0), "sha512": (0, 1, 0), "none": (0, 0, 1), "a list": (0, 0, 1)}
BEFORE = ("archive", "recall", "before-hash", "at-rest")
# Between the last hashing and the sending; on the way; written and not yet read back; read back, while the task goes on;
# when all is finished.
BEHIND = ("being-sent", "wire", "landed", "verified", "destination")
GOOD = ("good-0", "good-1")
SIZE = 60_000
# Of these nothing on the way can know: there is nothing to hold the bytes against.
UNHASHED = {(place, kind) for place in ("archive", "recall", "before-hash") for kind in ("flip", "zeros")}
# The testbed's archive fills up with a zero what it has lost, and says that all is well.
UNHASHED.add(("archive", "cut"))
NO_HASH = "nothing: HPSS has no hash of it; a list of checksums given with the request finds it"
SUMS = "sha512sum -c manifest-sha512.txt at the destination"
# Globus has read these for the last time; nobody looks at Ranch's tapes again.
UNSEEN = ("verified", "destination")
WRONG = "WRONG BYTES COUNT AS DELIVERED"
ROWS: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
SECONDS: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    if not ROWS:
        return
    cells = [said for row in ROWS.values() for said in row.values()]
    found = [said for said in cells if not said.startswith(("by ", "nothing", WRONG))]
    print("\n\nDamage                       " + "".join(f"{kind:34}" for kind in KINDS))
    for (place, algorithm), row in ROWS.items():
        print(f"{place:14}{algorithm:15}" + "".join(f"{row.get(kind, '?')[:32]:34}" for kind in KINDS))
    later = sum(said.startswith("by ") for said in cells)
    print(f"\n{len(found)} of {len(cells)} kinds of damage ({len(found) / len(cells):.0%}) were found on the way.")
    print(f"{later} happen after Globus' last look at the destination: found there by {SUMS}.")
    silent = sum(said == NO_HASH for said in cells)
    print(f"{silent} could not be found: {NO_HASH.removeprefix('nothing: ')}.")
    wrong = cells.count(WRONG)
    print(f"{wrong} were found by nobody who could have.")
    if path := os.environ.get("SEARCH_LOG"):
        with Path(path).open("a", encoding="utf-8") as log:
            log.writelines(line + "\n" for line in lines_of_the_log())


def lines_of_the_log():
    """One for each test, for the table of all searches; what is not found on the way stands there with what finds it."""
    for algorithm in dict.fromkeys(algorithm for _, algorithm in ROWS):
        rows = {place: row for (place, by), row in ROWS.items() if by == algorithm}
        cells = [said for row in rows.values() for said in row.values()]
        notes = [f"{len([said for said in cells if not said.startswith(('by ', 'nothing', WRONG))])} found on the way"]
        for why in (NO_HASH, f"by {SUMS}", WRONG):
            where = [f"{place} ({', '.join(k for k in row if row[k] == why)})" for place, row in rows.items()]
            where = [said for said in where if not said.endswith("()")]
            notes += [f"{', '.join(where)}: {why}"] if where else []
        yield json.dumps({
            "search": f"damage: {algorithm}", "tried": len(cells), "violations": cells.count(WRONG),
            "seconds": round(SECONDS.get(algorithm, 0.0), 1), "note": "; ".join(notes),
        })  # fmt: skip


def judge_all(judged, allowed, algorithm, began):
    """Note what became of each: place, kind -> words. `allowed`: those of which nobody on the way can know, and what is to be
    said of them; such a one that was found all the same is a mistake in the table."""
    for (place, kind), said in judged.items():
        expected = allowed.get((place, kind))
        ROWS[place, algorithm][kind] = (expected or WRONG) if said == "wrong" else said
    SECONDS[algorithm] = time.monotonic() - began
    assert [cell for cell, said in judged.items() if (said == "wrong") != (cell in allowed)] == []


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
    assert len(there[name]) == len(truth[name]) or name in {f"{place}.cut" for place in UNSEEN}
    return "delivered right" if there[name] == truth[name] else "wrong"


@pytest.mark.parametrize("algorithm", SHARES)
def test_until_it_is_sent(tmp_path, algorithm):
    began = time.monotonic()
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
        allowed = dict.fromkeys(UNHASHED, NO_HASH) if algorithm == "none" else {}
        judged = {(p, kind): judge(bed, key, truth, f"{p}.{kind}") for p in BEFORE for kind in KINDS}
        judge_all(judged, allowed, "no hash" if algorithm == "none" else algorithm, began)


@pytest.mark.parametrize("external", ["", "md5", "sha512"], ids=["record md5", "external md5", "external sha512"])
def test_from_the_buffer_to_the_destination(tmp_path, external):
    began = time.monotonic()
    bed, sizes = a_bed(
        tmp_path, BEHIND, "md5", settings={"globus.external_checksum": external, "patience.attempts": "4"}
    )
    with bed:
        truth = {name: (bed.data / name).read_bytes() for name in sizes}
        for kind in KINDS:
            bed.globus_fault(f"{kind}_wire", {"path": f"*/wire.{kind}"}, times=1)
            bed.globus_fault(f"{kind}_landed", {"path": f"*/landed.{kind}"}, times=1)
            bed.globus_fault(f"{kind}_after", {"path": f"*/verified.{kind}"}, times=1)
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
        there = bed.place / "tacc" / DESTINATION.lstrip("/")
        for kind in KINDS:
            damage(there / f"destination.{kind}", kind)
        allowed = {(place, kind): f"by {SUMS}" for place in UNSEEN for kind in KINDS}
        judged = {(p, kind): judge(bed, key, truth, f"{p}.{kind}") for p in BEHIND for kind in KINDS}
        judge_all(judged, allowed, f"sent {external}" if external else "record md5", began)
        sums = bed.workspace / f"finished/{key}/manifest-sha512.txt"
        check = subprocess.run(
            ["sha512sum", "-c", "--quiet", str(sums)], cwd=there, capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        assert {line.partition(":")[0] for line in check.stdout.splitlines()} == {
            f"{place}.{kind}" for place, kind in allowed
        }


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

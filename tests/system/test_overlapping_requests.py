"""Two requests that mean some of the same files, with the installed command: each byte comes from tape once and goes to the
destination once, both have all of their proofs; also when the first one is given up half-way."""

import json
import os
import subprocess

import pytest
from bed import DESTINATION, SOURCE, Bed

FILES = {f"{part}/{number}": f"{part}{number}".encode() * (300 + number) for part in "abc" for number in range(6)}
FIRST, SECOND = ["a/**", "b/**"], ["b/**", "c/**"]
# Both units of a tape are needed for some tests, so units are small.
SMALL = {"units.files": "3"}


def of(parts):
    return {name for name in FILES if f"{name.partition('/')[0]}/**" in parts}


def manifest(bed, key):
    lines = (bed.workspace / f"finished/{key}/manifest.jsonl").read_text().splitlines()
    return {line["source"].removeprefix(SOURCE + "/"): line for line in map(json.loads, lines)}


def assert_all_is_well(bed, wanted):
    """`wanted`: name -> outcome, by the key of a request."""
    assert {os.fsdecode(name): content for name, (content, _) in bed.delivered().items()} == FILES
    assert bed.delivered() == bed.truth()
    assert bed.gets() == dict.fromkeys(FILES, 1)
    bed.assert_nothing_sent_twice()
    tree = bed.place / "tacc" / DESTINATION[1:]
    for key, outcomes in wanted.items():
        assert {name: line["outcome"] for name, line in manifest(bed, key).items()} == outcomes
        sums = bed.workspace / f"finished/{key}/manifest-sha512.txt"
        listed = {line.split("  ", 1)[1] for line in sums.read_text().splitlines()}
        assert listed == {name for name, outcome in outcomes.items() if outcome != "abandoned"}
        check = ["sha512sum", "--strict", "--quiet", "-c", str(sums)]
        assert subprocess.run(check, cwd=tree, check=False, capture_output=True).returncode == 0
        assert "as it was written" in bed.tacc_sync("verify-certificate", key).out
    assert "the chain: 2 certificates" in bed.tacc_sync("verify-certificate", "--all").out
    assert bed.names("loans/*") == []
    assert bed.buffer_files() == []
    bed.tacc_sync("check", "--strict")


def outcomes(names, outcome):
    return dict.fromkeys(names, outcome)


def test_both_in_the_inbox_before_anything_runs(tmp_path):
    with Bed(tmp_path, FILES, tapes=2, settings=SMALL) as bed:
        first = bed.request("1.json", include=FIRST)
        second = bed.request("2.json", include=SECOND)
        bed.run()
        both = outcomes(of(["b/**"]), "proven")
        assert_all_is_well(
            bed,
            {first: outcomes(of(FIRST), "delivered"), second: outcomes(of(["c/**"]), "delivered") | both},
        )
        assert {manifest(bed, second)[name]["vouched_by"] for name in both} == {first}


@pytest.mark.parametrize("held", ["retriever", "globus_xfer", "reaper"])
def test_the_second_comes_while_the_first_is_in_its_middle(tmp_path, held):
    """What lies on one of its tapes is delivered and finished; the rest waits for tape, for Globus, or to be freed."""
    with Bed(tmp_path, FILES, tapes=2, settings=SMALL) as bed:
        first = bed.request("1.json", include=FIRST)
        bed.run("syncer")
        tapes = {work["tape"][0] for work in bed.works().values()}
        tape = next(work["tape"][0] for work in bed.works().values() if "/b/" in work["files"][-1]["path"])
        assert len(tapes) == 2
        bed.tacc_sync("hold", f"cartridge:{tape}")
        bed.run()
        assert 0 < len(bed.names(f"finished/{first}/{first}.*.json")) < len(bed.works())
        bed.tacc_sync("hold", held)
        bed.tacc_sync("unhold", f"cartridge:{tape}")
        bed.run()
        second = bed.request("2.json", include=SECOND)
        bed.run()
        place = {"retriever": "hpss_queue", "globus_xfer": "globus_queue", "reaper": "reaper_queue"}[held]
        assert bed.names(f"{place}/{first}.*.json")
        assert bed.names(f"loans/{second}.*")
        bed.tacc_sync("unhold", held)
        bed.run()
        assert_all_is_well(
            bed,
            {
                first: outcomes(of(FIRST), "delivered"),
                second: outcomes(of(["c/**"]), "delivered") | outcomes(of(["b/**"]), "proven"),
            },
        )


def test_the_first_is_given_up_half_way_and_the_second_recalls_what_is_missing_itself(tmp_path):
    bad = {"b/1", "b/4"}
    with Bed(tmp_path, FILES, tapes=2, settings=SMALL) as bed:
        first = bed.request("1.json", include=FIRST)
        second = bed.request("2.json", include=SECOND)
        bed.hsi_faults(*(
            {"match": {"command": "get", "path": f"{SOURCE}/{name}"}, "what": "error", "times": None} for name in bad
        ))  # fmt: skip
        bed.run()
        # The second one waits: the first may still get them.
        assert {entry["request"] for entry in bed.quarantine()} == {first}
        assert bed.names(f"loans/{second}.*")
        assert not bad & bed.gets().keys()
        bed.hsi_faults()
        bed.tacc_sync("quarantine", "abandon", "--request", first, "--yes")
        bed.run()
        assert_all_is_well(
            bed,
            {
                first: {name: "abandoned" if name in bad else "delivered" for name in of(FIRST)},
                second: {name: "delivered" if name in bad or name[0] == "c" else "proven" for name in of(SECOND)},
            },
        )

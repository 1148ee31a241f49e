"""A large tree in parts: real processes, killed in the middle of a listing, and what the archive saw of it."""

import json

import pytest
from bed import SOURCE, Bed, wait_for

from tacc_sync.testbed import hpss_sessions, hpss_site

TOPS = [f"a{a}" for a in range(10)]
# Enough of them that each is listed with all that lies below.
PARTS = [f"{top}/b{b}" for top in TOPS for b in range(25)]
FILES = {f"{part}/{name}": b"x" for part in PARTS for name in ("f", "c/f")}
SLOW = {"list_entries_per_second": 200.0}
LARGE = {
    "hsi.listing_files": "40", "hsi.listing_sessions": "2", "hsi.hashes": "false", "skip.before_recall": "false",
    "lease.lease": "6", "lease.grace": "2", "lease.beat": "1", "lease.turn": "2",
}  # fmt: skip


def listed(bed, *, deep):
    """What was listed to its end, in order: with all that lies below, or only what lies in it."""
    return [event["path"].removeprefix(f"{SOURCE}/") for event in bed.hsi_log().of("listed") if event["deep"] is deep]


@pytest.fixture
def bed(tmp_path):
    with Bed(tmp_path, FILES, settings=LARGE, hpss=SLOW) as made:
        yield made


def test_a_syncer_that_was_killed_leaves_its_parts_to_the_next_one(bed):
    # Without an id of its own: it gets one, and keeps it.
    (bed.workspace / "inbox/request.json").write_text(
        json.dumps({"version": 1, "source": SOURCE, "destination": "/scoutfs/projects/demo"})
    )
    syncer = bed.start("run", "syncer", "--once")
    wait_for(lambda: len(listed(bed, deep=True)) > 60, "a quarter of the parts")
    syncer.kill()
    wait_for(lambda: not hpss_sessions.living_sessions(str(bed.place)), "the end of its hsi")
    first, looks = listed(bed, deep=True), listed(bed, deep=False)
    hpss_site.set_settings(bed.place, list_entries_per_second=0.0)
    bed.run("syncer")
    again, looks_again = listed(bed, deep=True)[len(first) :], listed(bed, deep=False)[len(looks) :]
    units = bed.works().values()
    assert sorted(file["path"] for unit in units for file in unit["files"]) == sorted(f"{SOURCE}/{n}" for n in FILES)
    # Nothing is listed again but the parts of the two sessions that were cut off, ten at most in each.
    assert len(first) == len(set(first)) > 60
    assert set(first) | set(again) == set(PARTS)
    assert len(set(first) & set(again)) <= 20
    assert not {SOURCE, *TOPS} & {*again, *looks_again}
    assert not list((bed.workspace / "listings").iterdir())
    bed.check()

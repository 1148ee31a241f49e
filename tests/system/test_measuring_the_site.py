"""`doctor --measure` sees what the testbed was set to, and `recall = "stage"` delivers like any other."""

from __future__ import annotations

import json

import pytest
from bed import DESTINATION, SOURCE, Bed, wait_for

from tacc_sync.testbed import globus_settings

ONE_TAPE = {"hash_shares": (3, 1, 1), "two_cartridge_share": 0, "disk_share": 0}
SCRATCH = DESTINATION.rpartition("/")[0] + "/scratch"
FILES = {f"f{n:02d}": b"%02d" % n * 100_000 for n in range(9)}
TAPE = {"drives": 2, "login_seconds": 0.3, "mount_seconds": 1.5, "locate_seconds": 0.3, "read_bytes_per_second": 1e6}


@pytest.fixture
def bed(tmp_path):
    with Bed(tmp_path, FILES, tapes=1, hpss=TAPE, placement=ONE_TAPE, settings={"destination.scratch": SCRATCH}) as bed:
        (bed.place / "tacc" / SCRATCH.lstrip("/")).mkdir()
        yield bed


def rates_of(bed):
    return json.loads((bed.workspace / "rates.json").read_text())


def test_what_is_measured_is_what_the_testbed_was_set_to(bed):
    globus_settings.change(bed.place, bytes_per_second=400_000, seconds_per_task=0.8)
    told = json.loads(bed.tacc_sync("doctor", "--measure", "--files", "4", "--json", SOURCE).out)
    rates = rates_of(bed)
    assert told["rates"] == rates
    assert (rates["version"], rates["cartridges"], rates["files"]) == (1, 1, 9)
    # Nothing is faster than it was set to. How much slower depends on who else has the processor.
    assert 0.3 <= rates["session_start"] < 10
    assert 1.5 <= rates["mount"] + rates["session_start"] - 0.3 < 12
    assert 0.3e6 < rates["drive_rate"] < 1.2e6
    assert 0 <= rates["locate"] < 5
    assert 0.2 < rates["stage_gain"] < 5
    assert 0.8 <= rates["task_start"] + 0.05 < 12
    assert 0.1e6 < rates["network_rate"] < 1.2e6
    assert 0 <= rates["verification"] < 10
    assert told["advice"]["stage"] is False
    assert "too few" in told["advice"]["text"]
    # No file was read twice, all in one mount, and in tape order.
    log = bed.hsi_log()
    assert len({get.path for get in log.gets}) == len(log.gets) == 9
    assert len(log.mounts) == 1
    assert len(log.of("stage")) == 4
    assert log.most_sessions_at_once == 1
    # Nothing is left here, and of what was sent it is said where it lies.
    assert bed.buffer_files() == []
    assert bed.names("reservations/*") == bed.names("cartridges/*") == bed.names("claims/*") == []
    assert [path.name for path in (bed.place / "tacc" / SCRATCH.lstrip("/")).iterdir()] != []
    assert any(".tacc-sync-measure-" in note for note in told["notes"])
    bed.check()


def test_killed_in_the_middle_it_leaves_nothing_that_a_drain_does_not_remove(bed):
    bed.request()
    bed.run("syncer")
    measuring = bed.start("doctor", "--measure", "--files", "4", "--no-transfer")
    part = bed.place / "nersc" / "transfer_buffer" / ".part"
    wait_for(lambda: list(part.glob("operator.*/measure/*")), "a file that is being measured")
    # While it works, everything has its owner, and the buffer is not promised to others.
    assert bed.reserved() > 0
    bed.check()
    measuring.kill()
    assert bed.names("reservations/*")
    assert bed.names("cartridges/*")
    assert not (bed.workspace / "rates.json").exists()
    wait_for(lambda: not bed.hsi_pids(), "hsi gone with it")
    bed.run()
    assert bed.names("reservations/*") == bed.names("cartridges/*") == bed.names("claims/*") == []
    assert bed.buffer_files() == []
    assert bed.delivered() == bed.truth()
    bed.check()


def test_recall_by_stage_delivers_everything_with_its_proofs(tmp_path):
    files = {f"d{n % 3}/f{n:02d}": b"%02d" % n * (500 + n) for n in range(24)}
    tape = {"serpentine": True, "read_bytes_per_second": 3e8, "time_scale": 0.001, "drives": 2}
    settings = {"hsi.recall": "stage", "hsi.stage_ahead": "5", "units.files": "8"}
    with Bed(tmp_path, files, tapes=3, hpss=tape, settings=settings) as bed:
        spoilt = f"{SOURCE}/d0/f00"
        bed.hsi_faults(
            {"match": {"command": "stage", "path": spoilt}, "what": "error", "times": None},
            {"match": {"command": "get", "path": f"{SOURCE}/d1/f01"}, "what": "flip"},
        )
        key = bed.request()
        bed.run()
        bed.assert_finished(key)
        log = bed.hsi_log()
        staged = {event["path"] for event in log.of("staged")}
        assert len(staged) > 18
        assert spoilt not in staged
        assert log.contentions == []
        # The one that came wrong was found out by its bytes, and was read once more.
        assert bed.gets()["d1/f01"] == 2
        assert {count for name, count in bed.gets().items() if name != "d1/f01"} == {1}

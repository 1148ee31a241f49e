"""A workspace that is copied away in mid-run, or put back from a backup: recognised, refused, adopted, and then brought
to its end with nothing submitted twice."""

import json
import shutil
from collections import Counter

import pytest
from bed import Bed, wait_for

from tacc_sync.testbed import site

FILES = {f"{n:02}": bytes([n]) * (n * 1000 + 1) for n in range(12)}


def in_flight(bed):
    """A run in the background, each of its units with a task that the service holds until the rule ends; both."""
    rule = bed.globus_fault("paused")
    running = bed.start("run")
    wait_for(lambda: len(bed.globus_log("accepted")) >= 2, "two tasks", 60)
    wait_for(lambda: all(w["tasks"] and w["tasks"][-1].get("task_id") for w in bed.works().values()), "ids noted")
    return running, rule


def refused(bed, code):
    said = bed.tacc_sync("run", "--once", code=78)
    assert code in said.err
    assert code in {finding["code"] for finding in json.loads(bed.tacc_sync("check", "--json", code=1).out)["findings"]}


def assert_one_task_for_each_unit(bed):
    labels = Counter(task["label"] for task in bed.globus_log("accepted"))
    units = {label.rpartition(".")[0] for label in labels}
    assert set(labels.values()) == {1}
    assert len(units) == len(labels), labels


def test_a_copy_in_mid_run_refuses_until_it_is_adopted_and_submits_nothing_twice(tmp_path):
    with Bed(tmp_path, FILES, tapes=2) as bed:
        key = bed.request()
        running, rule = in_flight(bed)
        running.kill()
        copy = tmp_path / "copy"
        shutil.copytree(bed.workspace, copy)
        shutil.rmtree(bed.workspace)
        bed.workspace = copy
        bed.environment["TACC_SYNC_WORK_ROOT"] = str(copy)
        before = len(bed.globus_log("accepted")), bed.buffer_files()
        refused(bed, "WORKSPACE-COPIED")
        bed.tacc_sync("check", "--adopt", code=64)  # nobody is here to answer
        refused(bed, "WORKSPACE-COPIED")
        said = bed.tacc_sync("check", "--adopt", "--yes", "--json", code=None)
        adopted = json.loads(said.out)["adopted"]
        assert (len(bed.globus_log("accepted")), bed.buffer_files()) == before
        assert {each["unit"] for each in adopted} == set(bed.places_of_units())
        bed.globus_fault_ends(rule)
        bed.run()
        bed.assert_finished(key)
        assert_one_task_for_each_unit(bed)


@pytest.mark.parametrize("when", ["before its tasks", "before it was recalled"])
def test_a_backup_that_is_put_back_refuses_until_it_is_adopted_and_submits_nothing_twice(tmp_path, when):
    with Bed(tmp_path, FILES, tapes=2) as bed:
        key = bed.request()
        bed.run(*(["syncer", "retriever"] if when == "before its tasks" else ["syncer"]))
        backup = tmp_path / "backup"
        shutil.copytree(bed.workspace, backup)
        running, rule = in_flight(bed)
        running.kill()
        shutil.rmtree(bed.workspace)
        backup.rename(bed.workspace)
        refused(bed, "WORKSPACE-RESTORED")
        said = json.loads(bed.tacc_sync("check", "--adopt", "--yes", "--json", code=None).out)
        if when == "before its tasks":
            assert all(each["changed"] for each in said["adopted"])
            assert {w["tasks"][-1]["task_id"] for w in bed.works().values()} == {
                task["task_id"] for task in bed.globus_log("accepted")
            }
        # What lies in the buffer without a reservation is nobody's fault but the backup's.
        bed.tacc_sync("check", "--repair")
        bed.globus_fault_ends(rule)
        bed.run()
        bed.assert_finished(key)
        assert_one_task_for_each_unit(bed)


def test_a_backup_of_before_the_end_finishes_again_by_the_tasks_that_were(tmp_path):
    """All was delivered and freed meanwhile: it is recalled again, but nothing is sent twice."""
    with Bed(tmp_path, FILES, tapes=2) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        backup = tmp_path / "backup"
        shutil.copytree(bed.workspace, backup)
        bed.run()
        bed.assert_finished(key)
        shutil.rmtree(bed.workspace)
        backup.rename(bed.workspace)
        refused(bed, "WORKSPACE-RESTORED")
        bed.tacc_sync("check", "--adopt", "--yes", code=None)
        bed.run()
        bed.assert_finished(key)
        assert_one_task_for_each_unit(bed)


def test_the_original_of_an_adopted_copy_is_the_old_one(tmp_path):
    with Bed(tmp_path, FILES, tapes=2) as bed:
        bed.request()
        bed.run("syncer", "retriever")
        copy = tmp_path / "copy"
        shutil.copytree(bed.workspace, copy)
        bed.tacc_sync("--workspace", str(copy), "check", "--adopt", "--yes", code=None)
        refused(bed, "WORKSPACE-RESTORED")
        assert str(copy) in bed.tacc_sync("run", "--once", code=78).err


def test_a_buffer_that_is_unmounted_under_a_run_is_waited_for(tmp_path):
    with Bed(tmp_path, FILES, tapes=2, settings={"lease.lease": "8", "lease.beat": "1", "lease.turn": "4"}) as bed:
        key = bed.request()
        buffer = bed.place / "nersc" / site.BUFFER[1:]
        running, rule = in_flight(bed)
        hidden = tmp_path / "hidden"
        buffer.rename(hidden)
        buffer.mkdir()
        bed.globus_fault_ends(rule)
        wait_for(lambda: "BUFFER-UNMARKED" in running.said, "noticed", 60)
        assert not (buffer / ".tacc-sync.json").exists()
        for left in buffer.iterdir():
            shutil.rmtree(left)
        buffer.rmdir()
        hidden.rename(buffer)
        wait_for(lambda: bed.is_finished(key), "finished by itself", 90)
        running.stop()
        bed.assert_nothing_sent_twice()
        assert bed.delivered() == bed.truth()

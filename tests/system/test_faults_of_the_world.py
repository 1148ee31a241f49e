"""What can happen at HPSS and at Globus, as an operator meets it: with the installed command, against both sites of the
testbed. Each test stands for rows of the runbook's table."""

import uuid

import pytest
from bed import SOURCE, Bed, wait_for

from tacc_sync.testbed import globus_settings

HASHED = {"hash_shares": (1, 0, 0), "two_cartridge_share": 0, "disk_share": 0}


def some_files(count, *, size=1000):
    return {f"d{n % 3}/file-{n:03d}.dat": bytes([n % 251]) * (size + n) for n in range(count)}


def path(name):
    return f"{SOURCE}/{name}"


def failures(bed):
    return {
        file["path"]: file["failures"] for work in bed.works().values() for file in work["files"] if "failures" in file
    }


# --- HPSS ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("hpss-sessions")
def test_sessions_that_others_use_are_waited_for(tmp_path):
    with Bed(tmp_path, some_files(12), tapes=6, hpss={"session_limit": 1}, settings={"hsi.sessions": "3"}) as bed:
        bed.hsi_faults({"match": {"command": "get"}, "what": "sleep", "seconds": 0.1, "times": None})
        key = bed.request()
        bed.run("syncer")
        running = bed.start("run")
        wait_for(lambda: "HPSS-SESSIONS" in running.said, "the limit is met")
        wait_for(lambda: bed.is_finished(key), "it goes on by itself")
        assert running.stop() == 0
        assert set(bed.gets().values()) == {1}
        bed.assert_finished(key)


@pytest.mark.fault("hpss-vanished", "hpss-grown", "hpss-moved")
def test_files_that_have_changed_since_they_were_listed(tmp_path):
    files = some_files(6) | {name: name.encode() * 500 for name in ("vanished", "grown", "moved")}
    with Bed(tmp_path, files, tapes=2, placement=HASHED) as bed:
        key = bed.request()
        bed.run("syncer")
        faults = {
            "vanished": {"what": "vanish"},
            "grown": {"what": "size", "delta": 1000},
            "moved": {"what": "move", "volumes": ["ZZ999900"]},
        }
        bed.hsi_faults(*({"match": {"path": path(name)}, "times": None, **fault} for name, fault in faults.items()))
        bed.run()
        # Where a file lies now does not matter; what is not what was listed is not carried, and costs no other file.
        assert bed.delivered() == bed.truth(without=["vanished", "grown"])
        named = {line.split(":")[0]: line for entry in bed.quarantine() for line in entry["files"]}
        assert named.keys() == {path("vanished"), path("grown")}
        assert "FILE-NOT-FETCHED" in named[path("vanished")]
        assert "No such file" in named[path("vanished")]
        assert "FILE-SIZE-DIFFERS" in named[path("grown")]
        # Asked for anew, what is there now is carried.
        bed.tacc_sync("quarantine", "abandon", "--all", "--yes")
        bed.hsi_faults()
        again = bed.request("again.json", files=[path("vanished"), path("grown")])
        bed.run()
        assert bed.is_finished(key)
        assert bed.is_finished(again)
        assert bed.delivered() == bed.truth()


@pytest.mark.fault("hpss-tape")
def test_a_tape_on_which_many_files_fail_is_held_and_the_others_go_on(tmp_path):
    with Bed(tmp_path, some_files(40), tapes=2, placement=HASHED, settings={"hsi.tape_failures": "5"}) as bed:
        key = bed.request()
        bed.run("syncer")
        bad = min(bed.works().values(), key=lambda work: work["unit"])
        bed.hsi_faults(
            *(
                {"match": {"command": "get", "path": file["path"]}, "what": "error", "times": None}
                for file in bad["files"]
            )
        )
        bed.run()
        (label,) = bad["tape"]
        names = [file["path"].removeprefix(SOURCE + "/") for file in bad["files"]]
        assert bed.delivered() == bed.truth(without=names)
        assert bed.quarantine() == []
        assert f"cartridge {label} is ON HOLD: TAPE-FAILING" in bed.tacc_sync("status").out
        report = (bed.workspace / f"hold/cartridge~{label}").read_text()
        assert all(file["path"] in report for file in bad["files"])
        bed.check()
        bed.hsi_faults()
        bed.run()
        assert not bed.is_finished(key)
        bed.tacc_sync("unhold", f"cartridge:{label}")
        bed.run()
        bed.assert_finished(key)


# --- Globus: what is waited for --------------------------------------------------------------------------------------

WAITED_FOR = {
    "globus-busy": ("status", {"verb": "transfer"}, {"status": 429, "retry_after": 1}, "GLOBUS-BUSY"),
    "globus-away": ("status", {"verb": "transfer"}, {"status": 500}, "GLOBUS-AWAY"),
    "globus-paused": ("paused", {}, {"message": "maintenance of the DTNs"}, "TASK-PAUSED"),
    "globus-consent": ("consent_required", {"verb": "transfer"}, {}, "GLOBUS-CONSENT"),
    "globus-permission": ("fault", {}, {"code": "PERMISSION_DENIED"}, "TASK-PERMISSION"),
    "globus-quota": ("fault", {}, {"code": "QUOTA_EXCEEDED"}, "TASK-QUOTA"),
}

LASTING = {"globus-paused", "globus-consent"}


@pytest.mark.fault(*WAITED_FOR)
@pytest.mark.parametrize("row", WAITED_FOR)
def test_a_trouble_of_globus_is_told_counts_nothing_and_goes_on_when_it_is_over(tmp_path, row):
    what, match, options, code = WAITED_FOR[row]
    settings = {"globus.trouble_patience": "1", "patience.attempts": "1"}
    with Bed(tmp_path, some_files(6), tapes=2, settings=settings) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        rule = bed.globus_fault(what, match, **options)
        running = bed.start("run")
        wait_for(lambda: code in running.said, f"the log says {code}")
        if row in LASTING:
            # The others change too quickly, with these settings, to be met for sure.
            wait_for(lambda: code in bed.tacc_sync("status", code=None).out, f"the status says {code}")
        assert bed.quarantine() == []
        assert failures(bed) == {}
        bed.globus_fault_ends(rule)
        wait_for(lambda: bed.is_finished(key), "it goes on by itself")
        assert running.stop() == 0
        assert set(bed.gets().values()) == {1}
        assert bed.delivered() == bed.truth()
        bed.check()


@pytest.mark.fault("globus-too-many-pending")
def test_tasks_of_others_that_fill_the_queue_at_globus_are_waited_for(tmp_path):
    with Bed(tmp_path, some_files(8), tapes=4, settings={"patience.attempts": "1"}) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        globus_settings.change(bed.place, pending_cap=1, seconds_per_task=0.5)
        running = bed.start("run")
        wait_for(lambda: "GLOBUS-TOO-MANY-PENDING" in running.said, "the log says it")
        wait_for(lambda: bed.is_finished(key), "it goes on by itself")
        assert running.stop() == 0
        bed.assert_finished(key)


@pytest.mark.fault("globus-token")
def test_an_expired_token_is_renewed_without_a_word(tmp_path):
    with Bed(tmp_path, some_files(6), tapes=2, settings={"patience.attempts": "1"}) as bed:
        key = bed.request()
        for verb in ("submission_id", "transfer", "task", "successful_transfers"):
            bed.globus_fault("expired_token", {"verb": verb, "nth": 1}, times=1)
        bed.run()
        assert bed.quarantine() == []
        bed.assert_finished(key)


# --- Globus: how tasks end -------------------------------------------------------------------------------------------

ENDS = {
    "globus-failed-partly": ("fail", {"code": "SOMETHING_NEW", "after_files": 2}, 2),
    "globus-cancelled": ("cancel_by_admin", {"side": "SOURCE", "message": "not now", "after_files": 3}, 3),
}


@pytest.mark.fault(*ENDS)
@pytest.mark.parametrize("row", ENDS)
def test_of_a_task_that_ended_badly_only_what_did_not_arrive_is_sent_again(tmp_path, row):
    what, options, before = ENDS[row]
    with Bed(tmp_path, some_files(6), tapes=1, placement=HASHED) as bed:
        key = bed.request()
        rule = bed.globus_fault(what, times=1, **options)
        bed.run()
        assert bed.globus_fired(rule) == 1
        items = [task["items"] for task in bed.globus_log("accepted")]
        assert len(items) == 2
        assert before <= 6 - items[1] < 6
        assert bed.delivered() == bed.truth()
        assert bed.is_finished(key)
        assert set(bed.gets().values()) == {1}
        bed.check()


@pytest.mark.fault("globus-forgotten")
def test_a_task_that_globus_has_forgotten_is_sent_again_and_counts_nothing(tmp_path):
    with Bed(tmp_path, some_files(6), tapes=1, placement=HASHED, settings={"patience.attempts": "1"}) as bed:
        key = bed.request()
        rule = bed.globus_fault("forget", {"verb": "task"}, times=1)
        bed.run()
        assert bed.globus_fired(rule) == 1
        assert bed.quarantine() == []
        assert bed.delivered() == bed.truth()
        assert bed.is_finished(key)
        assert set(bed.gets().values()) == {1}
        bed.check()


@pytest.mark.fault("globus-records")
def test_records_that_prove_nothing_free_nothing(tmp_path):
    with Bed(tmp_path, some_files(6), tapes=1, placement=HASHED) as bed:
        key = bed.request()
        bed.globus_fault("record_missing", {"path": "*/000000"}, times=1)
        bed.globus_fault("record_wrong_size", {"path": "*/000001"}, times=1)
        bed.globus_fault("record_wrong_checksum", {"path": "*/000002"}, times=1)
        bed.globus_fault("record_without_checksum", {"path": "*/000003"}, times=1)
        bed.run()
        assert [task["items"] for task in bed.globus_log("accepted")] == [6, 4]
        assert bed.delivered() == bed.truth()
        assert bed.is_finished(key)
        assert set(bed.gets().values()) == {1}


@pytest.mark.fault("globus-duplicate", "globus-timeout")
@pytest.mark.parametrize("what", ["drop_before", "drop_after"])
def test_a_submit_without_an_answer_makes_one_task(tmp_path, what):
    with Bed(tmp_path, some_files(6), tapes=2, settings={"patience.attempts": "1"}) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        # So often that globus-sdk gives up; and it is asked by nobody who remembers the first try.
        rule = bed.globus_fault(what, {"verb": "transfer"}, times=8)
        for _ in range(2):
            assert "GLOBUS-AWAY" in bed.run("globus_xfer", code=75).err
        assert bed.globus_fired(rule) == 8
        bed.run()
        assert bed.quarantine() == []
        bed.assert_finished(key)
        assert str(uuid.UUID(bed.globus_log("accepted")[0]["task_id"]))

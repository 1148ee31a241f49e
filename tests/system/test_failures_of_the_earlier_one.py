"""The fourteen situations in which the earlier tacc-sync was seen to fail, each one made for real: with the installed
command, an hsi and a Globus service that misbehave on demand, and workers that are killed by SIGKILL."""

import itertools
import shutil

import pytest
from bed import SOURCE, Bed, is_alive, wait_for

HASHED = {"hash_shares": (1, 0, 0), "two_cartridge_share": 0, "disk_share": 0}
UNHASHED = {**HASHED, "hash_shares": (0, 0, 1)}


def some_files(count, *, size=1000, directories=3):
    return {f"d{n % directories}/file-{n:03d}.dat": bytes([n % 251]) * (size + n) for n in range(count)}


def path(name):
    return f"{SOURCE}/{name}"


# --- 1 ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("hpss-partial", "hpss-wrong-hash")
@pytest.mark.parametrize("placement", [HASHED, UNHASHED], ids=["with_hashes", "without_hashes"])
def test_failure_01_hsi_ends_with_74_or_72_or_0_and_nothing_counts_as_retrieved(tmp_path, placement):
    victims = {
        "v-74": {"what": "error", "exit": 74},
        "v-72": {"what": "error", "exit": 72, "fraction": 0.9},
        "v-exit-0": {"what": "error", "exit": 0},
        "v-without-a-word": {"what": "error", "exit": 74, "line": "[connecting to archive.example.org/1217]"},
        "v-half-and-all-is-well": {"what": "truncate"},
        "v-with-a-hole": {"what": "zeros", "holes": True, "fraction": 0.25},
    }
    if placement is HASHED:
        victims["v-wrong-byte"] = {"what": "flip"}
    files = some_files(10) | {name: name.encode() * 5000 for name in victims}
    with Bed(tmp_path, files, tapes=2, placement=placement) as bed:
        bed.hsi_faults(*({"match": {"command": "get", "path": path(name)}, "times": None, **fault} for name, fault in victims.items()))  # fmt: skip
        key = bed.request()
        bed.run()
        # The others have arrived; of these nothing has, and nothing says that they have.
        assert bed.delivered() == bed.truth(without=victims)
        assert not bed.is_finished(key)
        named = "\n".join(line for entry in bed.quarantine() for line in entry["files"])
        assert all(path(name) in named for name in victims), named
        assert bed.status_of(key)["quarantined"]["files"] == len(victims)
        assert "in quarantine" in bed.tacc_sync("status").out
        bed.check()

        bed.hsi_faults()
        bed.tacc_sync("quarantine", "release", "--all")
        bed.run()
        bed.assert_finished(key)


def test_failure_01_an_exit_status_alone_loses_nothing_and_a_passing_trouble_heals_by_itself(tmp_path):
    with Bed(tmp_path, some_files(12), tapes=2, placement=HASHED) as bed:
        bed.hsi_faults(
            {"match": {"command": "get", "path": path("d0/file-000.dat")}, "what": "exit", "exit": 74},
            {"match": {"command": "get", "path": path("d1/file-001.dat")}, "what": "truncate"},
            {"match": {"command": "get", "path": path("d2/file-002.dat")}, "what": "signal", "signal": 11},
        )
        key = bed.request()
        bed.run()
        bed.assert_finished(key)
        assert max(bed.gets().values()) == 2  # the one that was cut off, and no others


# --- 2 ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("hpss-listing-cut")
def test_failure_02_a_listing_that_fails_or_breaks_off_makes_no_plan(tmp_path):
    with Bed(tmp_path, some_files(40), tapes=3) as bed:
        key = bed.request()
        for fault in (
            {"what": "exit", "exit": 75},
            {"what": "cut"},
            {"what": "cut", "inside": True},
        ):
            bed.hsi_faults({"match": {"command": "ls"}, "times": None, **fault})
            done = bed.run(code=75)
            assert "HPSS-LISTING-BROKEN" in done.err, done.err
            assert len(bed.names("inbox/*.json")) == 1
            assert not bed.places_of_units()
            assert not (bed.workspace / "finished" / key).exists()
            assert "1 request" in bed.tacc_sync("status").out
        # A listing that breaks off once is asked for again.
        bed.hsi_faults({"match": {"command": "ls"}, "what": "cut"})
        bed.run()
        bed.assert_finished(key)
        assert bed.status_of(key)["selected"]["files"] == 40


# --- 3 ------------------------------------------------------------------------------------------------------------


def test_failure_03_a_file_larger_than_the_quota_blocks_nothing_and_is_named(tmp_path):
    files = {"a-first/huge": b"h" * 300_000, **some_files(24, size=3000)}
    with Bed(tmp_path, files, tapes=3, placement=HASHED, quota=200_000) as bed:
        key = bed.request()
        running = bed.start("run", "--once")
        most = 0
        while running.process.poll() is None:
            most = max(most, bed.reserved())
        assert running.wait() == 0
        assert 0 < most <= 200_000
        assert bed.delivered() == bed.truth(without=["a-first/huge"])
        (entry,) = bed.quarantine()
        assert entry["code"] == "FILE-LARGER-THAN-BUFFER"
        assert path("a-first/huge") in "\n".join(entry["files"])
        assert "quota" in entry["remedy"]
        assert not bed.is_finished(key)
        assert "huge" in bed.tacc_sync("quarantine", "show", entry["name"]).out

        # It still is too large, and it is said so; with a larger quota it goes through.
        assert bed.tacc_sync("quarantine", "release", entry["name"], code=None).code != 0
        bed.environment["TRANSFER_QUOTA"] = "400kB"
        bed.tacc_sync("quarantine", "release", entry["name"])
        bed.run()
        bed.assert_finished(key)


# --- 4 ------------------------------------------------------------------------------------------------------------


def test_failure_04_paths_with_blanks_are_in_a_unit_and_arrive(tmp_path):
    names = ["a b", " leading", "trailing ", "two  blanks", "dir with blanks/and a file", "it's", 'say "x"', "a;b", "*?[x]"]  # fmt: skip
    with Bed(tmp_path, {name: name.encode() * 99 for name in names}, tapes=2, hpss={"pad_fields": False}) as bed:
        key = bed.request()
        bed.run()
        assert bed.status_of(key)["selected"]["files"] == len(names)
        bed.assert_finished(key)


# --- 5 ------------------------------------------------------------------------------------------------------------


def test_failure_05_files_of_equal_base_names_in_one_unit_keep_their_own_bytes(tmp_path):
    files = {f"run{n}/{name}": f"{name} of run {n}".encode() for n in range(8) for name in ("data", "log")}
    with Bed(tmp_path, files, tapes=1, placement=HASHED) as bed:
        key = bed.request()
        bed.run()
        assert len(bed.places_of_units()) == 1
        bed.assert_finished(key)


# --- 6 ------------------------------------------------------------------------------------------------------------


def test_failure_06_killed_anywhere_while_units_are_written_no_unit_is_made_twice(tmp_path):
    with Bed(tmp_path, some_files(24), tapes=3, placement=HASHED, settings={"units.files": "1"}) as bed:
        key = bed.request()
        seen = set()
        for number in itertools.count(25, 19):
            if not bed.run_killed_at("all", number, "run", "syncer", "--once"):
                break
            staged = len(bed.names("claims/*/staging/*/hpss_queue/*.json"))
            published = len(bed.names("hpss_queue/*.json"))
            committed = (bed.workspace / f"request_queue/{key}.json").exists()
            assert committed or not published, "units are visible before the request has moved"
            seen.add(("committed" if committed else "open", staged > 0))
            if committed:
                break
        # Half of the units written and the request not moved: that is where the earlier one doubled its work.
        assert ("open", True) in seen
        # Once more, while what the killed one left is put in order.
        bed.run_killed_at("rename", 6, "run", "syncer", "--once")
        bed.run("syncer")
        assert len(bed.places_of_units()) == 24
        assert len(bed.names("request_queue/*.json")) == 1
        bed.run()
        assert set(bed.gets().values()) == {1}
        bed.assert_finished(key)


# --- 7 ------------------------------------------------------------------------------------------------------------


def test_failure_07_killed_anywhere_while_documents_are_rewritten_none_is_torn_or_lost(tmp_path):
    settings = {"units.files": "3", "patience.deaths": "1000"}
    with Bed(tmp_path, some_files(18), tapes=2, placement=HASHED, settings=settings) as bed:
        key = bed.request()
        bed.run("syncer")
        units = set(bed.places_of_units())
        assert len(units) == 6
        kills = 0
        for kind, number in zip(
            itertools.cycle(["write", "rename", "fsync", "unlink", "link"]), range(6, 60, 2), strict=False
        ):
            if not bed.run_killed_at(kind, number, "run", "--once"):
                break
            kills += 1
            bed.assert_documents_whole()
            assert set(bed.places_of_units()) == units
        assert kills >= 8
        bed.run()
        bed.assert_finished(key)


# --- 8 ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("globus-duplicate")
def test_failure_08_killed_while_it_submits_nothing_is_submitted_twice(tmp_path):
    with Bed(tmp_path, some_files(15), tapes=5, placement=HASHED, settings={"patience.deaths": "1000"}) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        units = len(bed.places_of_units())
        # The answer was there, and nobody has noted it.
        for number in (1, 2, 1):
            assert bed.run_killed_at("submit", number, "run", "globus_xfer", "--once")
        # The order is on the wire, and there is nobody any more whom the answer could reach.
        rule = bed.globus_fault("delay", {"verb": "transfer"}, seconds=1.5, times=1)
        running = bed.start("run", "globus_xfer")
        wait_for(lambda: bed.globus_fired(rule), "the submit is on the wire")
        running.kill()
        for call, number in (("rename", 20), ("rename", 30), ("write", 12), ("fsync", 25)):
            bed.run_killed_at(call, number, "run", "globus_xfer", "--once")
        bed.run()
        bed.assert_finished(key)
        assert len(bed.globus_log("accepted")) == units


@pytest.mark.fault("globus-busy", "globus-away", "globus-timeout")
def test_failure_08_a_refused_submit_and_a_lost_answer_quarantine_nothing(tmp_path):
    with Bed(tmp_path, some_files(15), tapes=5, placement=HASHED) as bed:
        key = bed.request()
        bed.globus_fault("status", {"verb": "transfer", "nth": 2}, times=1, status=503)
        bed.globus_fault("status", {"verb": "transfer", "nth": 4}, times=1, status=429, retry_after=1)
        bed.globus_fault("drop_after", {"verb": "transfer", "nth": 3}, times=1)
        # So often that globus-sdk gives up, and it is for us to try again.
        bed.globus_fault("drop_before", {"verb": "task", "nth": 2}, times=4)
        running = bed.start("run")
        wait_for(lambda: bed.is_finished(key), "the request is finished")
        assert running.stop() == 0
        assert bed.quarantine() == []
        bed.assert_finished(key)
        assert len(bed.globus_log("accepted")) == len(bed.places_of_units())


def test_failure_08_a_refusal_that_stays_holds_up_globus_xfer_and_forgets_no_task(tmp_path):
    with Bed(tmp_path, some_files(15), tapes=5, placement=HASHED) as bed:
        key = bed.request()
        rule = bed.globus_fault("status", {"verb": "transfer", "nth": 3}, times=1000, status=503)
        running = bed.start("run")
        wait_for(lambda: "GLOBUS-AWAY" in bed.tacc_sync("status", code=None).out, "the status says why")
        assert bed.quarantine() == []
        bed.globus_fault_ends(rule)
        wait_for(lambda: bed.is_finished(key), "the request is finished")
        assert running.stop() == 0
        bed.assert_finished(key)
        assert len(bed.globus_log("accepted")) == len(bed.places_of_units())


# --- 9 ------------------------------------------------------------------------------------------------------------


@pytest.mark.fault("globus-inactive")
def test_failure_09_inactive_is_shown_with_its_remedy_and_goes_on_by_itself(tmp_path):
    with Bed(tmp_path, some_files(4), tapes=1, placement=HASHED) as bed:
        rule = bed.globus_fault("inactive")
        key = bed.request()
        running = bed.start("run")
        said = wait_for(lambda: "INACTIVE" in (out := bed.tacc_sync("status", code=None).out) and out, "status says it")
        (line,) = (line for line in said.splitlines() if line.startswith("globus_xfer"))
        assert "tacc-sync login" in line
        assert "renew the credentials" in line
        assert not bed.is_finished(key)
        bed.globus_fault_ends(rule)
        wait_for(lambda: bed.is_finished(key), "it goes on by itself")
        assert running.stop() == 0
        bed.assert_finished(key)
        assert len(bed.globus_log("accepted")) == 1


# --- 10 -----------------------------------------------------------------------------------------------------------


def test_failure_10_a_unit_whose_buffer_directory_is_gone_is_reaped(tmp_path):
    with Bed(tmp_path, some_files(9), tapes=3, placement=HASHED, quota=1_000_000) as bed:
        key = bed.request()
        bed.run("syncer", "retriever", "globus_xfer")
        waiting = bed.names("reaper_queue/*.json")
        assert len(waiting) == 3
        shutil.rmtree(bed.place / "nersc/transfer_buffer" / waiting[0].removesuffix(".json"))
        (bed.place / "nersc/transfer_buffer" / waiting[1].removesuffix(".json") / "000001").unlink()
        bed.run()
        bed.assert_finished(key)
        assert bed.reserved() == 0


# --- 11 -----------------------------------------------------------------------------------------------------------


def test_failure_11_a_request_is_not_finished_while_its_unit_is_in_quarantine(tmp_path):
    with Bed(tmp_path, {"only": b"one" * 1000}, tapes=1, placement=HASHED) as bed:
        bed.hsi_faults({"match": {"command": "get"}, "what": "flip", "times": None})
        key = bed.request()
        for _ in range(2):
            done = bed.run()
            assert not bed.is_finished(key)
            assert bed.names("request_queue/*.json") == [f"{key}.json"]
        assert "1 of them in quarantine" in done.err
        assert "1 unit in quarantine" in bed.tacc_sync("status").out
        (entry,) = bed.quarantine()
        assert entry["code"] == "CHECKSUM-DIFFERS"
        assert entry["remedy"]
        bed.hsi_faults()
        bed.tacc_sync("quarantine", "release", entry["name"])
        bed.run()
        bed.assert_finished(key)


# --- 12 -----------------------------------------------------------------------------------------------------------


def test_failure_12_two_retrievers_at_once_take_no_unit_twice_and_no_cartridge_together(tmp_path):
    settings = {"units.files": "3", "hsi.sessions": "3"}
    with Bed(
        tmp_path, some_files(36), tapes=6, placement={**HASHED, "two_cartridge_share": 0.1}, settings=settings
    ) as bed:
        bed.hsi_faults({"match": {"command": "get"}, "what": "sleep", "seconds": 0.1, "times": None})
        key = bed.request()
        bed.run("syncer")
        both = [bed.start("run", "retriever", "--once") for _ in range(2)]
        assert [each.wait() for each in both] == [0, 0]
        assert all("session_started" in each.said for each in both), "one of them had nothing to do"
        log = bed.hsi_log()
        assert log.contentions == []
        assert set(bed.gets().values()) == {1}
        assert {work["begun"] for work in bed.works().values()} == {1}
        assert log.most_sessions_at_once > 1
        bed.run()
        bed.assert_finished(key)


@pytest.mark.parametrize("deaf", [False, True], ids=["hsi_hangs", "hsi_ignores_SIGTERM"])
def test_failure_12_a_killed_retriever_takes_its_hsi_along_and_the_next_one_goes_on(tmp_path, deaf):
    with Bed(tmp_path, some_files(8, size=100_000), tapes=2, placement=HASHED) as bed:
        bed.hsi_faults({"match": {"command": "get"}, "what": "hang", "ignore_term": deaf, "after": 2})
        key = bed.request()
        bed.run("syncer")
        running = bed.start("run", "retriever")
        half = 50_000
        parts = bed.place / "nersc/transfer_buffer/.part"
        wait_for(lambda: any(half <= p.stat().st_size < 2 * half for p in parts.rglob("0*")), "hsi hangs in a get")
        (hsi,) = wait_for(lambda: len(pids := bed.hsi_pids()) == 1 and pids, "the other session has ended")
        running.kill()
        wait_for(lambda: not is_alive(hsi), "the leash", seconds=20)
        bed.run()
        assert bed.hsi_log().contentions == []
        bed.assert_finished(key)
        # What had been verified before the kill was not recalled again.
        assert max(bed.gets().values()) <= 2


# --- 13 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [1, 5])
def test_failure_13_files_on_two_cartridges_lock_both_and_cost_few_mounts(tmp_path, sessions):
    tapes = 12
    placement = {**HASHED, "two_cartridge_share": 0.05}
    settings = {"hsi.sessions": str(sessions)}
    with Bed(tmp_path, some_files(240, size=100), tapes=tapes, placement=placement, settings=settings) as bed:
        key = bed.request()
        bed.run("syncer")
        pairs = [unit for unit in bed.places_of_units() if "-" in unit.split(".")[1]]
        assert len(pairs) >= 6, "no files on two cartridges, nothing is tested"
        bed.run()
        log = bed.hsi_log()
        # Locked on all their cartridges: nobody ever waited in hsi for a cartridge that another session held.
        assert log.contentions == []
        assert len(log.mounts_per_cartridge) == tapes
        # A single session reads each tape in one go. Several ones may have put away one of the two meanwhile, not both.
        most = tapes if sessions == 1 else tapes + len(pairs)
        assert len(log.mounts) <= most, log.mounts_per_cartridge
        assert set(bed.gets().values()) == {1}
        bed.assert_finished(key)


# --- 14 -----------------------------------------------------------------------------------------------------------


def test_failure_14_files_without_a_position_come_in_bounded_batches(tmp_path):
    settings = {"units.files": "10", "units.bytes": "20000"}
    files = some_files(45) | {f"empty-{n}": b"" for n in range(15)} | {"large": b"x" * 30_000}
    with Bed(tmp_path, files, placement={**HASHED, "disk_share": 1.0}, settings=settings) as bed:
        key = bed.request()
        bed.run("syncer")
        works = bed.works()
        assert {unit.split(".")[1] for unit in works} == {"none"}
        assert all(len(work["files"]) <= 10 for work in works.values())
        assert all(work["bytes"] <= 20_000 or len(work["files"]) == 1 for work in works.values())
        assert len(works) >= 7
        bed.run()
        assert bed.hsi_log().mounts == []
        bed.assert_finished(key)

"""One request from the inbox to the manifest, the way an operator sees it: the installed command, processes of their own,
signals, both sites of the testbed."""

import hashlib
import json
import signal
import subprocess
import time
import uuid

import pytest
from bed import COMPONENTS, DESTINATION, SOURCE, Bed, wait_for

ODD = {
    "a file with blanks": b"blanks",
    "  two leading, one trailing ": b"more blanks",
    "it's quoted": b"single",
    'say "hello"': b"double",
    "semi;colon & ampersand | pipe": b"shell",
    "glob*[chars]?{x,y}^": b"glob",
    "-leading-dash": b"dash",
    "-P": b"an option",
    "!escape": b"escape",
    "#comment": b"comment",
    "$HOME `id` $(id)": b"substitution",
    "<< EOF": b"here",
    "a : b": b"a pair",
    "Grüße, 東京, ñandú".encode(): "Grüße".encode(),
    "empty": b"",
    ".hidden/.deep/.file": b"hidden",
    "sub dir/.hidden #%": b"more hidden",
    "n" * 200: b"long",
    "large": bytes(range(256)) * 8000,
}
REFUSED = {
    "both 'quotes\" in one": "both kinds of quotes",
    "back\\slash": "backslash",
    b"latin-1-\xe9\xff": "UTF-8",
}


def some_files(count, *, size=500):
    return {f"run-{n % 4}/file-{n:04d}.dat": bytes([n % 251]) * (size + n) for n in range(count)}


def manifest(bed, key):
    lines = (bed.workspace / "finished" / key / "manifest.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_odd_names_arrive_and_those_that_cannot_are_refused_by_name_with_a_reason(tmp_path):
    refused = dict.fromkeys(REFUSED, b"nobody gets this")
    links = {"a link": "empty", "dangling": "/nowhere"}
    with Bed(tmp_path, {**ODD, **refused}, links=links, tapes=3) as bed:
        key = bed.request(label="odd names")
        bed.run()
        assert bed.delivered() == bed.truth(without=REFUSED)
        assert bed.hsi_log().shell_escapes == []
        entries = bed.quarantine()
        assert {entry["code"] for entry in entries} == {"NAME-UNSPEAKABLE"}
        said = "\n".join(bed.tacc_sync("quarantine", "show", entry["name"]).out for entry in entries)
        assert "both 'quotes\"" in said
        assert "back\\slash" in said
        assert "latin-1-\\xe9\\xff" in said
        assert not bed.is_finished(key)
        assert bed.status_of(key)["not_carried"] == len(links)
        bed.check()

        # The operator gives them up, and the manifest tells of each.
        bed.tacc_sync("quarantine", "abandon", "--all", "--yes")
        bed.run()
        bed.assert_finished(key, without=REFUSED)
        outcomes = {line["source"]: line["outcome"] for line in manifest(bed, key)}
        assert {p for p, outcome in outcomes.items() if outcome == "not carried"} == {f"{SOURCE}/{n}" for n in links}
        assert sum(outcome == "abandoned" for outcome in outcomes.values()) == len(REFUSED)
        assert sum(outcome == "delivered" for outcome in outcomes.values()) == len(ODD)
        assert "odd names" in bed.tacc_sync("status").out


def test_the_lists_that_a_finished_request_leaves_are_understood_by_sha512sum(tmp_path):
    with Bed(tmp_path, ODD, tapes=2) as bed:
        bed.tacc_sync(
            "submit", "--source", SOURCE, "--destination", DESTINATION, "--label", "x", "--requested-by", "me"
        )
        bed.run()
        (request,) = bed.status()["requests"]
        bed.assert_finished(request["request"])
        sums = bed.workspace / "finished" / request["request"] / "manifest-sha512.txt"
        subprocess.run(
            ["sha512sum", "--check", "--strict", "--quiet", sums], cwd=bed.place / "tacc" / DESTINATION[1:], check=True
        )
        lines = {line["source"]: line for line in manifest(bed, request["request"])}
        assert lines[f"{SOURCE}/large"]["hashes"]["sha512"] == hashlib.sha512(ODD["large"]).hexdigest()


def test_patterns_choose_and_what_they_do_not_choose_stays(tmp_path):
    files = {"keep/a.zip": b"a", "keep/deep/b.zip": b"b", "keep/c.txt": b"c", "drop/d.zip": b"d"}
    with Bed(tmp_path, files, tapes=1) as bed:
        key = bed.request(include=["**/*.zip"], exclude=["drop/**"])
        nothing = bed.request("second.json", include=["*.none"], destination="/ranch/demo-2")
        bed.run()
        assert bed.delivered() == bed.truth(without=["keep/c.txt", "drop/d.zip"])
        assert bed.is_finished(key)
        assert "match none of the 4 files" in bed.status_of(nothing)["warnings"][0]
        bed.check()


def test_bad_requests_are_kept_byte_for_byte_with_field_and_remedy(tmp_path):
    good = {"version": 1, "source": SOURCE, "destination": DESTINATION}
    bad = {
        "not-json": b'{"version": 1,',
        "unknown-field": json.dumps({**good, "colour": 1}).encode(),
        "escaping": json.dumps({**good, "destination": "/ranch/../etc"}).encode(),
        "missing-source": json.dumps({**good, "source": "/home/projects/nowhere"}).encode(),
        "bad-pattern": json.dumps({**good, "include": ["[a"]}).encode(),
    }
    with Bed(tmp_path, some_files(3), tapes=1) as bed:
        for name, content in bad.items():
            (bed.workspace / "inbox" / f"{name}.json").write_bytes(content)
        key = bed.request("good.json")
        bed.run()
        bed.assert_finished(key)
        entries = {entry["name"]: entry for entry in bed.quarantine()}
        assert entries.keys() == bad.keys()
        for name, entry in entries.items():
            assert (bed.workspace / f"quarantine/syncer/{name}.json").read_bytes() == bad[name]
            assert entry["remedy"], entry
        assert "colour" in entries["unknown-field"]["text"] + entries["unknown-field"]["field"]
        bed.tacc_sync("quarantine", "abandon", "--all", "--yes")
        assert bed.quarantine() == []
        bed.check()


# --- the earlier tacc-sync ----------------------------------------------------------------------------------------


def legacy_request(pattern):
    return {
        "request_id": str(uuid.uuid4()),
        "date_created": "2024-03-28T00:15:14.988742277Z",
        "source": "NERSC",
        "dest": "TACC",
        "pattern": pattern,
    }


def legacy_unit(request_id, paths, tape):
    files = [
        {
            "file_name": path.rpartition("/")[2], "hpss_path": path, "size": 500, "tape_num": n, "tape_offset": 0,
            "globus_task_id": None, "checksum": None,
        }
        for n, path in enumerate(paths)
    ]  # fmt: skip
    return {
        "work_id": str(uuid.uuid4()), "request_id": request_id, "date_created": "2024-03-28T00:15:15.000000001Z",
        "tape": tape, "size": 500 * len(files), "files": files,
    }  # fmt: skip


def test_a_request_of_the_earlier_tacc_sync_is_accepted_unchanged(tmp_path):
    files = {f"exp/2020/{n}.zip": b"z" * n for n in range(6)} | {"exp/2020/x.txt": b"x"}
    with Bed(tmp_path, files, tapes=2) as bed:
        request = legacy_request(f"{SOURCE}/exp/**/*.zip")
        (bed.workspace / "inbox" / f"{request['request_id']}.json").write_text(json.dumps(request, indent=2))
        bed.run()
        bed.assert_finished(request["request_id"].replace("-", "")[:12], without=["exp/2020/x.txt"])


def test_units_of_the_earlier_tacc_sync_are_adopted_from_its_hpss_queue_and_refused_further_down(tmp_path):
    with Bed(tmp_path, some_files(8), tapes=2) as bed:
        request_id = str(uuid.uuid4())
        paths = [f"{SOURCE}/{name}" for name in some_files(8)]
        old = tmp_path / "old"
        for queue, part in (("hpss_queue", paths[:5]), ("hpss_queue", paths[3:]), ("globus_queue", paths[:1])):
            (old / queue).mkdir(parents=True, exist_ok=True)
            unit = legacy_unit(request_id, part, "AG787200,AG787300")
            (old / queue / f"{unit['work_id']}.json").write_text(json.dumps(unit))
        refused = bed.tacc_sync("adopt", old / "globus_queue", code=65)
        assert "UNIT-TOO-FAR" in refused.err
        assert str(old / "globus_queue") in refused.err
        assert bed.names("inbox/*") == []
        for _ in range(2):  # again is harmless
            assert request_id in bed.tacc_sync("adopt", old / "hpss_queue").out
        bed.run()
        bed.assert_finished(request_id.replace("-", "")[:12])
        assert bed.tacc_sync("adopt", old / "hpss_queue").err.count("adopted already") == 1
        assert bed.names("inbox/*") == []


# --- processes ----------------------------------------------------------------------------------------------------


def test_the_components_work_as_processes_of_their_own_and_end_when_told(tmp_path):
    with Bed(tmp_path, some_files(40), tapes=4) as bed:
        running = [bed.start("run", component) for component in COMPONENTS]
        key = bed.request()
        wait_for(lambda: bed.is_finished(key), "five processes finish the request")
        status = bed.status()
        assert [component["running"] for component in status["components"]] == [True] * 5
        for each in running:
            each.process.send_signal(signal.SIGTERM)
        assert [each.wait() for each in running] == [0] * 5
        bed.assert_finished(key)
        assert bed.names("claims/*") == []


def test_run_for_a_time_ends_in_time_and_the_next_run_goes_on(tmp_path):
    with Bed(tmp_path, some_files(30), tapes=3, settings={"units.files": "2", "hsi.sessions": "1"}) as bed:
        bed.hsi_faults({"match": {"command": "get"}, "what": "sleep", "seconds": 0.2, "times": None})
        key = bed.request()
        began = time.monotonic()
        bed.tacc_sync("run", "--for", "1500ms")
        assert time.monotonic() - began >= 1.5
        assert not bed.is_finished(key)
        assert bed.names("claims/*") == []
        bed.check()
        bed.hsi_faults()
        bed.run()
        assert max(bed.gets().values()) == 1
        bed.assert_finished(key)


def test_sigterm_in_the_middle_of_a_session_brings_it_to_its_end_and_loses_nothing(tmp_path):
    with Bed(tmp_path, some_files(20), tapes=2, settings={"hsi.sessions": "1"}) as bed:
        bed.hsi_faults({"match": {"command": "get"}, "what": "sleep", "seconds": 0.15, "times": None})
        key = bed.request()
        running = bed.start("run")
        wait_for(lambda: len(bed.gets()) >= 2, "a session is in its middle")
        assert running.stop() == 0
        # What was begun has ended: one session, whole; the next one was not begun.
        assert len([s for s in bed.hsi_log().sessions if "get" in " ".join(s.argv) or "-q" in s.argv]) == 1
        assert bed.hsi_pids() == []
        assert not bed.is_finished(key)
        assert bed.names("claims/*") == []
        bed.hsi_faults()
        bed.run()
        assert max(bed.gets().values()) == 1
        bed.assert_finished(key)


def test_a_second_sigterm_ends_at_once_and_the_next_run_goes_on(tmp_path):
    with Bed(tmp_path, some_files(6), tapes=1) as bed:
        bed.hsi_faults({"match": {"command": "get"}, "what": "hang"})
        key = bed.request()
        running = bed.start("run")
        wait_for(lambda: bed.hsi_log().mounts and bed.hsi_pids(), "hsi hangs")
        running.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Takes no new work" in running.said, "it says that it ends")
        assert running.process.poll() is None
        assert running.stop() == 75
        wait_for(lambda: not bed.hsi_pids(), "its hsi is gone too")
        bed.run()
        bed.assert_finished(key)


def test_hold_and_unhold(tmp_path):
    with Bed(tmp_path, some_files(6), tapes=1) as bed:
        key = bed.request()
        bed.tacc_sync("hold", "retriever", "HPSS maintenance")
        done = bed.run()
        assert "retriever waits for the operator" in done.err
        assert "ON HOLD: HPSS maintenance" in bed.tacc_sync("status").out
        assert len(bed.names("hpss_queue/*.json")) >= 1
        assert bed.delivered() == {}
        bed.tacc_sync("unhold", "retriever")
        bed.run()
        bed.assert_finished(key)


@pytest.mark.fault("hpss-down")
def test_maintenance_is_a_wait_and_not_a_failure(tmp_path):
    with Bed(tmp_path, some_files(6), tapes=1) as bed:
        key = bed.request()
        bed.run("syncer")
        bed.hsi_flag("down")
        done = bed.run(code=75)
        assert "HPSS-AWAY" in done.err
        running = bed.start("run")
        wait_for(lambda: "HPSS-AWAY" in bed.tacc_sync("status", code=None).out, "the status says so")
        assert bed.quarantine() == []
        bed.hsi_flag("down", is_raised=False)
        wait_for(lambda: bed.is_finished(key), "it goes on by itself")
        assert running.stop() == 0
        assert all(file.get("failures", 0) == 0 for work in bed.works().values() for file in work["files"])
        bed.assert_finished(key)


@pytest.mark.fault("hpss-login")
def test_a_lost_login_holds_the_retriever_and_is_not_tried_again(tmp_path):
    with Bed(tmp_path, some_files(24), tapes=12) as bed:
        key = bed.request()
        bed.run("syncer")
        bed.hsi_flag("bad-token")
        done = bed.run(code=77)
        assert "HPSS-UNAUTHENTICATED" in done.err
        assert "ON HOLD: HPSS-UNAUTHENTICATED" in bed.tacc_sync("status").out
        bed.run()
        # Once by each session that had begun, and never again: an account can be locked.
        assert 1 <= len(bed.hsi_log().of("turned-away")) <= 5
        bed.hsi_flag("bad-token", is_raised=False)
        bed.run()
        assert bed.delivered() == {}
        bed.tacc_sync("unhold", "retriever")
        bed.run()
        bed.assert_finished(key)


def test_quarantine_release_and_abandon_go_round(tmp_path):
    with Bed(tmp_path, some_files(6) | {"bad": b"b" * 5000, "worse": b"w" * 5000}, tapes=1) as bed:
        bed.hsi_faults(
            {"match": {"command": "get", "path": f"{SOURCE}/bad"}, "what": "truncate", "times": None},
            {"match": {"command": "get", "path": f"{SOURCE}/worse"}, "what": "error", "name": "HPSS_EACCES", "times": None},
        )  # fmt: skip
        key = bed.request()
        bed.run()
        (entry,) = bed.quarantine()
        # Released, and nothing has changed: back it comes, with its reasons.
        bed.tacc_sync("quarantine", "release", entry["name"])
        assert bed.quarantine() == []
        bed.run()
        assert [again["name"] for again in bed.quarantine()] == [entry["name"]]
        # One of the two heals, the other is given up.
        bed.hsi_faults({"match": {"command": "get", "path": f"{SOURCE}/worse"}, "what": "error", "name": "HPSS_EACCES", "times": None})  # fmt: skip
        bed.tacc_sync("quarantine", "release", "--request", key)
        bed.run()
        shown = bed.tacc_sync("quarantine", "show", entry["name"]).out
        assert "/worse" in shown
        assert "/bad" not in shown
        assert bed.tacc_sync("quarantine", "abandon", entry["name"], code=64).err.count("--yes")
        bed.tacc_sync("quarantine", "abandon", entry["name"], "--yes")
        bed.run()
        bed.assert_finished(key, without=["worse"])
        assert bed.status_of(key)["abandoned"]["files"] == 1
        (line,) = (line for line in manifest(bed, key) if line["outcome"] == "abandoned")
        assert line["source"] == f"{SOURCE}/worse"


@pytest.mark.fault("globus-records")
def test_a_corrupted_delivery_is_never_freed_on_the_word_succeeded(tmp_path):
    with Bed(tmp_path, some_files(8), tapes=1) as bed:
        key = bed.request()
        missing = bed.globus_fault("record_missing", {"path": "*/000002"}, times=1)
        bed.globus_fault("record_wrong_checksum", {"path": "*/000004"}, times=1)
        bed.run()
        assert bed.globus_fired(missing) == 1
        assert bed.delivered() == bed.truth()
        assert bed.is_finished(key)
        assert bed.buffer_files() == []
        # Sent again were those two alone, from the buffer, not from tape.
        assert [task["items"] for task in bed.globus_log("accepted")][-1] == 2
        assert sum(task["items"] for task in bed.globus_log("accepted")) == 10
        assert max(bed.gets().values()) == 1
        bed.check()


def test_check_notices_what_is_lost(tmp_path):
    with Bed(tmp_path, some_files(12), tapes=3) as bed:
        bed.request()
        bed.run("syncer", "retriever")
        bed.check()
        unit = min(bed.workspace.glob("globus_queue/*.json"))
        content = unit.read_bytes()
        unit.unlink()
        assert unit.stem in bed.tacc_sync("check", code=1).said
        unit.write_bytes(content)
        (bed.workspace / "hpss_queue" / unit.name).write_bytes(content)
        assert unit.stem in bed.tacc_sync("check", code=1).said


# --- many ---------------------------------------------------------------------------------------------------------


def test_a_thousand_files_on_twenty_tapes(tmp_path):
    files = {f"d{n % 30:02d}/f{n:04d}": b"%d " % n * (n % 50) for n in range(1000)}
    with Bed(tmp_path, files, tapes=20, quota=200_000) as bed:
        key = bed.request()
        bed.run()
        log = bed.hsi_log()
        several = sum("-" in unit.split(".")[1] for unit in bed.places_of_units())
        # One mount a tape; only files on two cartridges may bring one back.
        assert len(log.mounts) <= 20 + several, log.mounts_per_cartridge
        assert log.contentions == []
        # Nor may more be read out of order; but a session that is ready when another one has begun to ask for its last
        # file may, on a busy machine, ask first.
        assert log.steps_back <= several + 2, "not in tape order"
        assert set(bed.gets().values()) == {1}
        bed.assert_finished(key)


# --- doctor -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    with Bed(tmp_path_factory.mktemp("doctor"), some_files(3), tapes=1, quota="1MB") as bed:
        yield bed


def test_the_doctor_finds_a_healthy_testbed_healthy_and_leaves_nothing_behind(healthy):
    before = sorted(str(path) for path in healthy.workspace.rglob("*"))
    done = healthy.tacc_sync("doctor")
    assert "fail" not in done.out
    assert "warn" not in done.out
    probes = json.loads(healthy.tacc_sync("doctor", "--json").out)["probes"]
    assert {"workspace", "buffer", "hsi", "login at HPSS", "login at Globus", "the buffer's two names"} <= {
        p["name"] for p in probes
    }
    assert sorted(str(path) for path in healthy.workspace.rglob("*")) == before
    assert healthy.buffer_files() == []


ILLS = {
    "no hsi": ({"TACC_SYNC_HSI": "/no/such/hsi"}, None, 69, "HSI-MISSING"),
    "HPSS down": ({}, "down", 75, "HPSS-AWAY"),
    "no token for hsi": ({}, "no-token", 77, "HPSS-UNAUTHENTICATED"),
    "token of hsi expired": ({}, "bad-token", 77, "HPSS-UNAUTHENTICATED"),
    "wrong secret": ({"GLOBUS_CLIENT_SECRET": "wrong"}, None, 77, "GLOBUS-CREDENTIALS"),
    "wrong collection": ({"GLOBUS_DEST_COLLECTION_ID": str(uuid.UUID(int=7))}, None, 78, "GLOBUS-COLLECTION"),
    "no such buffer": ({"TRANSFER_DIR": "/no/such/buffer"}, None, 78, "BUFFER-MISSING"),
    "buffer elsewhere in the collection": ({"TACC_SYNC_BUFFER_GLOBUS_PATH": "/other"}, None, None, "BUFFER-NAMES-DIFFER"),
}  # fmt: skip


@pytest.mark.parametrize("ill", ILLS)
def test_the_doctor_names_what_is_wrong_and_what_to_do(healthy, ill):
    environment, flag, code, named = ILLS[ill]
    if flag:
        healthy.hsi_flag(flag)
    try:
        done = healthy.tacc_sync("doctor", code=code, **environment)
    finally:
        if flag:
            healthy.hsi_flag(flag, is_raised=False)
    assert done.code != 0
    failed = [line for line in done.out.splitlines() if line.startswith("fail")]
    remedies = [line for line in done.out.splitlines() if line.strip().startswith("--") and named in line]
    assert failed, done.out
    assert remedies, done.out
    assert "Traceback" not in done.said

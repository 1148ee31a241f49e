"""A request through all five components, with fakes for the neighbours: what arrives, what is left, what is said."""

import errno
import hashlib
import json

import pytest
from house import DESTINATION, SOURCE, House

from tacc_sync.outside.hpss.interface import Refused
from tacc_sync.pipeline.retriever import Retriever
from tacc_sync.pipeline.sessions import Sessions
from tacc_sync.pipeline.step import Moved, Waits
from tacc_sync.rules.faults import OperatorFault, WorldFault
from tacc_sync.workspace.recovery import give_back


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def fill(house, files=12, tapes=3):
    for n in range(files):
        house.archive(
            f"d{n % 2}/file {n}.dat", bytes([n]) * (n * 100), volumes=(f"AA000{n % tapes}00",), section=files - n
        )


def only_request(house):
    (key,) = {p.parent.name for p in (house.root / "ws/finished").glob("*/request.json")}
    return key, json.loads((house.root / "ws/finished" / key / "request.json").read_text())


def test_a_request_goes_through(house):
    fill(house)
    house.drop(label="demo", requested_by="me")
    house.run()
    want = {p.removeprefix(SOURCE + "/"): a.content for p, a in house.hpss.files.items()}
    assert house.delivered() == want
    key, request = only_request(house)
    assert request["result"]["delivered_files"] == 12
    assert house.buffer_files() == []
    for place in ("inbox", "request_queue", "hpss_queue", "globus_queue", "reaper_queue", "quarantine",
                  "reservations", "cartridges", "globus_slots", "rests"):  # fmt: skip
        assert house.tree(place) == [], place
    assert house.hpss.contention == []
    # one session a tape, in tape order
    assert len(house.hpss.sessions) == 3
    for session in house.hpss.sessions:
        sections = [house.hpss.files[p].section for p in session]
        assert sections == sorted(sections)
    manifest = [json.loads(line) for line in (house.root / "ws/finished" / key / "manifest.jsonl").open()]
    assert {line["source"] for line in manifest} == set(house.hpss.files)
    assert all(line["outcome"] == "delivered" and line["receipt"].startswith("md5:") for line in manifest)
    sums = (house.root / "ws/finished" / key / "manifest-sha512.txt").read_text().splitlines()
    assert sorted(sums) == sorted(f"{hashlib.sha512(c).hexdigest()}  {n}" for n, c in want.items())


def test_a_pattern_that_matches_nothing_finishes_with_a_warning(house):
    fill(house)
    house.drop(include=["*.none"])
    house.run()
    _, request = only_request(house)
    assert "match none of the 12 files" in request["plan"]["warnings"][0]


def test_links_are_reported_by_name(house):
    fill(house)
    house.hpss.strange.append(Refused(f"{SOURCE}/link", "not-a-file", "a symbolic link"))
    house.drop()
    house.run()
    key, request = only_request(house)
    assert request["plan"]["strange"][0]["path"] == f"{SOURCE}/link"
    assert f"{SOURCE}/link" in (house.root / "ws/finished" / key / "manifest.jsonl").read_text()


def test_an_unlistable_directory_refuses_the_request_unless_it_is_excluded(house):
    fill(house)
    house.hpss.strange.append(Refused(f"{SOURCE}/secret", "denied", "Permission denied"))
    house.drop("a.json")
    house.drop("b.json", exclude=["secret/**"])
    house.run()
    assert house.whys("quarantine/syncer")["a.why.json"]["code"] == "SOURCE-UNREADABLE"
    assert len(house.delivered()) == 12


def test_a_missing_source_is_quarantined_byte_for_byte(house):
    house.drop(source="/home/projects/nowhere")
    before = (house.root / "ws/inbox/request.json").read_bytes()
    house.run()
    assert (house.root / "ws/quarantine/syncer/request.json").read_bytes() == before
    why = house.whys("quarantine/syncer")["request.why.json"]
    assert why["code"] == "SOURCE-MISSING"
    assert why["remedy"]


@pytest.mark.fault("ws-bad-document")
@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b'{"version":1,"source":"/a"}', "destination"),
        (b'{"version":1,"source":"/a","destination":3}', "destination"),
        (b'{"version":1,"source":"/a","destination":"/b","colour":1}', "colour"),
        (b'{"version":1,"source":"a","destination":"/b"}', "source"),
        (b'{"version":1,"source":"/a/../b","destination":"/b"}', "source"),
        (b'{"version":1,"source":"/a","destination":"b"}', "destination"),
        (b'{"version":1,"source":"/a","destination":"/b","include":["[x"]}', "include[0]"),
        (b'{"version":1,"source":["/a","/a"],"destination":"/b"}', "source"),
        (
            b'{"version":1,"source":"/a","destination":"/b","plan":{"planned_at":"","files":0,"bytes":0,"units":[]}}',
            "plan",
        ),
        (b'{"source":"/a","destination":"/b"}', "version"),
    ],
)
def test_a_bad_request_is_kept_with_field_and_remedy(house, text, field):
    (house.root / "ws/inbox/bad.json").write_bytes(text)
    house.run("syncer")
    assert (house.root / "ws/quarantine/syncer/bad.json").read_bytes() == text
    why = house.whys("quarantine/syncer")["bad.why.json"]
    assert why["field"].startswith(field), why
    assert why["remedy"]
    assert house.tree("inbox") == []


def test_a_file_that_is_still_being_copied_in_waits(house):
    path = house.root / "ws/inbox/slow.json"
    path.write_bytes(b'{"version":1,"source":"/ho')
    syncer = house.component("syncer")
    step = syncer.step()
    assert step.moving
    assert "copying" in step.waits_for
    house.clock.time += 30
    path.write_bytes(b'{"version":1,"source":"/home/projects/demo","des')
    syncer.step()
    house.clock.time += 40
    assert path.exists() and syncer.step().moving
    house.clock.time += 30
    syncer.step()
    assert house.tree("quarantine/syncer") == ["slow.json", "slow.why.json"]


def test_two_bad_requests_of_one_name_are_both_kept(house):
    for text in (b'{"version":1}', b'{"version":1,"x":2}'):
        (house.root / "ws/inbox/bad.json").write_bytes(text)
        house.run("syncer")
    kept = {p.read_bytes() for p in (house.root / "ws/quarantine/syncer").glob("bad*.json") if ".why" not in p.name}
    assert kept == {b'{"version":1}', b'{"version":1,"x":2}'}


def test_an_id_that_is_in_use_is_refused(house):
    fill(house)
    house.drop("a.json", request_id="f8c7f5f6-d70a-4d05-8a84-5d6b0b2f2b6e")
    house.run()
    house.drop("b.json", request_id="f8c7f5f6-d70a-4d05-8a84-5d6b0b2f2b6e")
    house.run()
    assert house.whys("quarantine/syncer")["b.why.json"]["field"] == "request_id"
    assert house.globus.submits == 3


def test_a_newer_request_is_left_alone(house):
    house.drop(version=7)
    steps = house.run("syncer")
    assert "newer" in steps[0].waits_for
    assert house.tree("inbox") == ["request.json"]


def test_sources_that_meet_are_refused(house):
    house.archive("/home/a/x", b"1")
    house.archive("/home/b/x", b"2")
    house.drop(source=["/home/a", "/home/b"])
    house.run()
    assert house.whys("quarantine/syncer")["request.why.json"]["code"] == "DESTINATION-COLLISION"


def test_an_oversized_file_is_quarantined_and_blocks_nothing(house):
    house.settings.buffer.quota = 5000
    fill(house)
    house.archive("huge.dat", b"x" * 6000)
    house.drop()
    house.run()
    assert len(house.delivered()) == 12
    (why,) = house.whys("quarantine/syncer").values()
    assert why["code"] == "FILE-LARGER-THAN-BUFFER"
    assert why["files"] == [f"{SOURCE}/huge.dat"]
    assert len(house.documents("request_queue")) == 1


def test_hpss_down_moves_and_counts_nothing(house):
    fill(house)
    house.drop()
    house.run("syncer")
    house.hpss.fault = WorldFault("HPSS-AWAY", "down")
    before = house.tree("hpss_queue")
    retriever = house.component("retriever")
    with pytest.raises(WorldFault):
        retriever.step()
    assert house.tree("hpss_queue") == before


def test_hash_mismatch_is_recalled_again_then_quarantined(house):
    house.settings.patience.at_least = 0
    fill(house, files=4, tapes=1)
    bad = f"{SOURCE}/d1/file 3.dat"
    house.hpss.damage[bad] = b"\x07" * 300
    house.drop()
    house.run()
    assert len(house.delivered()) == 3
    assert sum(bad in session for session in house.hpss.sessions) == house.settings.patience.attempts
    ((name, why),) = house.whys("quarantine/retriever").items()
    assert why["code"] == "CHECKSUM-DIFFERS"
    assert bad in why["files"][0]
    assert house.tree("reservations") == []


def test_partial_file_with_exit_0_is_not_retrieved(house):
    fill(house, files=4, tapes=1)
    bad = f"{SOURCE}/d1/file 3.dat"
    house.hpss.damage[bad] = b"\x03" * 100
    house.drop()
    house.run("syncer", "retriever", until=house.clock.now() + 10)
    (work,) = house.documents("globus_queue").values()
    outcomes = {f["path"]: f.get("outcome", "waiting") for f in work["files"]}
    assert outcomes[bad] == "waiting"
    assert sorted(outcomes.values()) == ["retrieved", "retrieved", "retrieved", "waiting"]
    # mended: the rest is brought in a second round, nothing else is recalled again
    del house.hpss.damage[bad]
    house.run()
    assert len(house.delivered()) == 4
    assert house.hpss.sessions[-1] == [bad]


def test_without_hash_the_line_is_the_proof(house):
    house.archive("a", b"abc", hash=None)
    house.hpss.get_lines = False
    house.drop()
    house.run("syncer", "retriever", "reaper", until=house.clock.now() + 10)
    assert house.documents("globus_queue") == {}
    house.hpss.get_lines = True
    house.run()
    assert house.delivered() == {"a": b"abc"}


def test_zeros_of_full_size_with_a_line_are_caught_by_the_hash(house):
    house.archive("a", b"abc")
    house.hpss.damage[f"{SOURCE}/a"] = b"\0\0\0"
    house.drop()
    house.run("syncer", "retriever", "globus_xfer", "reaper", until=house.clock.now() + 10)
    assert house.delivered() == {}


def test_succeeded_alone_frees_nothing(house):
    house.settings.patience.at_least = 0
    fill(house, files=4, tapes=1)
    house.drop()
    house.run("syncer", "retriever")
    (unit,) = house.documents("globus_queue")
    house.globus.records_as = lambda r: None if r.source.endswith("000002") else r
    house.run("globus_xfer", "reaper", until=house.clock.now() + 30)
    assert [p for p in house.buffer_files()] == [f"{unit}/000002"]
    house.globus.records_as = lambda r: r
    house.run()
    assert house.buffer_files() == []
    assert len(house.delivered()) == 4
    assert len(house.hpss.sessions) == 1  # recalled once


def test_a_corrupted_delivery_is_sent_again(house):
    fill(house, files=4, tapes=1)
    house.drop()
    house.run("syncer", "retriever")
    (unit,) = house.documents("globus_queue")
    house.globus.damage[f"/buffer/{unit}/000001"] = b"garbage"
    house.run("globus_xfer", "reaper", until=house.clock.now() + 30)
    house.globus.damage.clear()
    house.run()
    assert set(house.delivered().values()) == {a.content for a in house.hpss.files.values()}
    assert len(house.hpss.sessions) == 1


def test_a_copy_that_rots_in_the_buffer_is_recalled_again(house):
    fill(house, files=4, tapes=1)
    house.drop()
    house.run("syncer", "retriever")
    (unit,) = house.documents("globus_queue")
    path = house.root / f"nersc/buffer/{unit}/000001"
    path.write_bytes(b"\xff" * path.stat().st_size)
    house.run()
    assert set(house.delivered().values()) == {a.content for a in house.hpss.files.values()}
    assert [len(s) for s in house.hpss.sessions] == [4, 1]


def test_a_lost_reply_makes_one_task(house):
    fill(house, files=2, tapes=1)
    house.drop()
    house.run("syncer", "retriever")
    house.globus.lose_reply = 1
    globus_xfer = house.component("globus_xfer")
    with pytest.raises(WorldFault):
        globus_xfer.step()
    assert len(house.globus.tasks) == 1
    from tacc_sync.workspace.recovery import give_back

    home = globus_xfer._bench.home
    give_back(home, home.path, home.name, lambda *_: None)
    house.run()
    assert len(house.globus.tasks) == 1
    assert len(house.delivered()) == 2


@pytest.mark.parametrize("queued", [0, 1, 2])
def test_three_tasks_at_most_and_those_that_wait_at_the_service(house, queued):
    fill(house, files=12, tapes=8)
    house.settings.globus.queued = queued
    house.globus.slow = 3
    house.drop()
    house.run()
    assert house.globus.most_at_work == 3 + queued
    assert len(house.delivered()) == 12


def test_the_slots_of_two_workers_are_counted_together(house):
    fill(house, files=12, tapes=8)
    house.globus.slow = 10**6
    house.drop()
    house.run("syncer", "retriever", until=house.clock.now() + 10)
    one, other = house.component("globus_xfer"), house.component("globus_xfer")
    for _ in range(10):
        one.step()
        other.step()
        house.clock.time += 1
    assert len(house.globus.tasks) == len(house.tree("globus_slots")) == 4


def test_a_queued_task_is_waited_for_by_name_for_as_long_as_it_takes_and_never_given_up(house):
    fill(house, files=2, tapes=1)
    house.globus.nice_status = "Queued"
    house.drop()
    for _ in range(20):
        house.run("syncer", "retriever", "globus_xfer", until=house.clock.now() + 500)
    steps = house.run("syncer", "retriever", "globus_xfer", until=house.clock.now() + 10)
    assert "three tasks of a user at a time" in steps[2].waits_for
    assert steps[2].moving
    (task,) = house.globus.tasks.values()
    assert task.view.status == "ACTIVE"
    (work,) = house.documents("globus_queue").values()
    assert work["tasks"][0].get("trouble_since", "") == ""
    house.globus.nice_status = None
    house.run()
    assert len(house.delivered()) == 2


def test_a_task_of_hours_is_looked_at_seldom_and_its_end_is_seen_soon(house):
    house.archive("long.dat", b"x" * 100_000, volumes=("AA000100",))
    house.drop()
    house.globus.slow, hours = 10**6, 36_000.0
    looks, task, submit, begun = [], house.globus.task, house.globus.submit, []

    def submitted(order):
        begun.append(house.clock.now())
        return submit(order)

    def moving(task_id):
        looks.append(house.clock.now() - begun[0])
        if looks[-1] >= hours:
            house.globus.slow = 0
            return task(task_id)
        found = house.globus.tasks[task_id]
        house.globus._replace(found, bytes_transferred=int(looks[-1] / hours * 100_000))
        return found.view

    house.globus.task, house.globus.submit = moving, submitted
    house.run("syncer", "retriever", "globus_xfer", rounds=3000, until=house.clock.now() + 1.5 * hours)
    assert len(looks) < 250
    assert hours <= looks[-1] <= hours + 5
    assert len(begun) == 1


def test_while_records_are_still_to_be_read_what_can_be_sent_is_sent_first(house):
    fill(house, files=8, tapes=8)
    house.drop()
    house.run("syncer", "retriever", until=house.clock.now() + 10)
    globus_xfer = house.component("globus_xfer")
    for _ in range(4):
        globus_xfer.step()
    house.clock.time += 10
    assert "ended the round" in globus_xfer.step().what
    # Three others have ended too, and yet the slot goes to a unit that waits for it.
    assert "submitted" in globus_xfer.step().what


def test_purged_buffer_is_recalled_again(house):
    fill(house, files=4, tapes=1)
    house.drop()
    house.run("syncer", "retriever")
    for name in house.buffer_files():
        (house.root / "nersc/buffer" / name).unlink()
    house.run()
    assert len(house.delivered()) == 4


def test_the_quota_is_never_exceeded(house):
    house.settings.buffer.quota = 2000
    house.settings.hsi.sessions = 1
    fill(house, files=12, tapes=4)
    seen = []

    def look(_paths):
        names = [p.name for p in (house.root / "ws/reservations").iterdir()]
        seen.append(sum(int(n.rpartition(".")[2]) for n in names))

    house.hpss.on_get = look
    house.drop()
    house.run(rounds=500)
    assert len(house.delivered()) == 12
    assert max(seen) <= 2000


def test_a_stranger_in_the_buffer_is_not_removed(house):
    fill(house, files=2, tapes=1)
    house.drop()
    house.run("syncer", "retriever")
    (unit,) = house.documents("globus_queue")
    (house.root / f"nersc/buffer/{unit}/notes.txt").write_text("mine")
    house.run()
    assert house.buffer_files() == [f"{unit}/notes.txt"]
    (why,) = house.whys("quarantine/reaper").values()
    assert why["code"] == "BUFFER-STRANGER"


def test_legacy_request_is_accepted_unchanged(house):
    house.settings.legacy.hpss_base_path = "/home/projects/demo"
    house.settings.legacy.tacc_base_path = DESTINATION
    house.archive("exp/2019/PFRaw/1222/a.zip", b"a")
    house.archive("exp/2019/PFRaw/1222/b.txt", b"b")
    house.archive("sim/c.zip", b"c")
    document = {
        "request_id": "f8c7f5f6-d70a-4d05-8a84-5d6b0b2f2b6e",
        "date_created": "2024-03-28T00:15:14.988742277Z",
        "source": "NERSC",
        "dest": "TACC",
        "pattern": "/home/projects/demo/exp/*.zip",
    }
    (house.root / "ws/inbox/f8c7.json").write_text(json.dumps(document))
    house.run()
    assert house.delivered() == {"exp/2019/PFRaw/1222/a.zip": b"a"}


@pytest.mark.fault("globus-missing-source")
def test_a_task_that_is_given_up_counts_and_ends_in_quarantine(house):
    house.settings.patience.at_least = 0
    fill(house, files=2, tapes=1)
    house.drop()
    house.globus.nice_status = "FILE_NOT_FOUND"
    house.run(rounds=2000)
    (why,) = house.whys("quarantine/globus_xfer").values()
    assert why["code"] == "TASK-FILE-MISSING"
    assert {task.view.status for task in house.globus.tasks.values()} == {"FAILED"}
    assert len(house.globus.tasks) == house.settings.patience.attempts
    # what could not be delivered stays in the buffer, and in the quota
    assert len(house.buffer_files()) == 2
    assert len(house.tree("reservations")) == 1


@pytest.mark.fault("globus-quota")
def test_a_full_destination_never_quarantines(house):
    house.settings.patience.at_least, house.settings.globus.poll = 0, 30
    fill(house, files=2, tapes=1)
    house.drop()
    house.globus.nice_status = "QUOTA_EXCEEDED"
    end = house.clock.now() + 86400
    house.run("syncer", "retriever", "globus_xfer", "reaper", rounds=30_000, until=end)
    assert house.tree("quarantine") == []
    house.globus.nice_status = None
    house.run(rounds=2000)
    assert len(house.delivered()) == 2


def test_a_refused_submit_is_a_failed_attempt(house):
    from tacc_sync.rules.faults import WorkFault

    house.settings.patience.at_least = 0
    fill(house, files=2, tapes=1)
    house.drop()
    submit = house.globus.submit

    def refuse(_order):
        raise WorkFault("GLOBUS-REFUSED", "400 BadRequest")

    house.globus.submit = refuse
    house.run()
    (why,) = house.whys("quarantine/globus_xfer").values()
    assert why["code"] == "GLOBUS-REFUSED"
    house.globus.submit = submit


@pytest.mark.fault("globus-identical-stranger")
def test_identical_paths_of_a_stranger_hold_up_that_unit_alone(house):
    from tacc_sync.outside.globus.interface import IdenticalPaths

    fill(house, files=6, tapes=3)
    house.drop()
    submit = house.globus.submit
    (first, *_) = ("AA0000",)

    def submit_or_409(order):
        if first in order.label:
            raise IdenticalPaths
        return submit(order)

    house.globus.submit = submit_or_409
    steps = house.run("syncer", "retriever", "globus_xfer", "reaper", until=house.clock.now() + 200)
    assert len(house.delivered()) == 4
    assert "GLOBUS-IDENTICAL-PATHS" in steps[2].waits_for
    house.globus.submit = submit
    house.run()
    assert len(house.delivered()) == 6


def test_a_task_in_trouble_is_told_before_those_that_go_well(house):
    fill(house, files=6, tapes=3)
    house.globus.slow = 10_000
    house.drop()
    globus_xfer = house.component("globus_xfer")
    house.run("syncer", "retriever")
    for _ in range(3):
        globus_xfer.step()
    house.clock.time += 10
    (_, second, _) = house.globus.tasks.values()
    house.globus._replace(second, status="INACTIVE")
    step = globus_xfer.step()
    assert step.waits_for.startswith("TASK-INACTIVE")
    assert [about["code"] for event, about in house.events if event == "transfer_in_trouble"] == ["TASK-INACTIVE"]


def test_on_hold_globus_xfer_still_settles_what_is_at_work(house):
    from tacc_sync.pipeline.attempt import World, attempt

    fill(house, files=6, tapes=6)
    house.globus.slow = 1
    house.drop()
    globus_xfer = house.component("globus_xfer")
    home = globus_xfer._bench.home
    world = World(house.disk, house.buffer, house.clock, house.host, house.settings, house.report)
    house.run("syncer", "retriever")
    globus_xfer.step()
    (house.root / "ws/hold/globus_xfer").write_text("maintenance")
    for _ in range(20):
        step, _ = attempt(world, "globus_xfer", globus_xfer, home)
        house.clock.time += 5
    assert "operator" in step.waits_for
    assert len(house.globus.tasks) == 1
    assert len(house.documents("reaper_queue")) == 1


@pytest.mark.fault("hpss-hangs")
def test_a_session_that_hangs_in_a_maintenance_counts_nothing(house):
    fill(house, files=4, tapes=1)
    house.drop()
    house.run("syncer")
    house.hpss.trouble = ("HPSS-HANGING", "no byte for four hours")
    retriever = house.component("retriever")

    def down(_paths):
        house.hpss.fault = WorldFault("HPSS-AWAY", "maintenance")

    house.hpss.on_get = down
    with pytest.raises(WorldFault):
        retriever.step()
    (work,) = house.documents("hpss_queue").values()
    assert all(file.get("failures", 0) == 0 for file in work["files"])
    assert work["begun"] == work["ended"]


@pytest.mark.parametrize(
    "fault",
    [
        WorldFault("HPSS-SESSIONS", "too many sessions"),
        OperatorFault("HPSS-UNAUTHENTICATED", "log in"),
        OSError(errno.ENOSPC, "no space left"),
    ],
    ids=lambda fault: str(getattr(fault, "code", fault)),
)
def test_sessions_that_never_come_about_do_not_make_a_unit_a_killer(house, fault):
    fill(house, files=2, tapes=1)
    house.drop()
    house.run("syncer")
    retriever = house.component("retriever")

    def refuse(_paths):
        raise fault

    house.hpss.on_get = refuse
    for _ in range(3 * house.settings.patience.deaths):
        with pytest.raises(type(fault)):
            retriever.step()
        home = retriever._bench.home
        give_back(home, home.path, home.name, lambda *_: None)
        house.hpss.in_use.clear()
        (house.root / "ws/hold/retriever").unlink(missing_ok=True)
    house.hpss.on_get = lambda _paths: None
    assert isinstance(retriever.step(), Moved)
    (work,) = house.documents("globus_queue").values()
    assert work["begun"] == work["ended"] == 1


@pytest.mark.parametrize("half_way", [False, True])
def test_a_lost_login_holds_whoever_waits_for_the_turn_already(house, half_way):
    fill(house, files=1, tapes=3)
    house.drop()
    house.run("syncer")
    sessions = Sessions(1)
    first, second = (Retriever(house.bench("retriever"), house.hpss, sessions=sessions) for _ in range(2))
    real_turn, real_end, seen = second._bench.home.turn, sessions.end, []

    def end(worker, cartridge=""):
        # Whoever sees a free place sees the hold, whatever it has seen before.
        seen.append((sessions.at_work, "hold/retriever" in house.tree()))
        real_end(worker, cartridge)

    def turn():
        # It has seen no hold, waits for the turn, and meanwhile the first one's session begins and fails.
        second._bench.home.turn = real_turn
        with pytest.raises(OperatorFault, match="log in"):
            first.step()
        return real_turn()

    def lost(_paths):
        house.hpss.trouble, house.hpss.trouble_after = ("HPSS-UNAUTHENTICATED", "log in"), 0
        if not half_way:
            raise OperatorFault(*house.hpss.trouble)

    house.hpss.on_get, second._bench.home.turn, sessions.end = lost, turn, end
    step = second.step()
    assert isinstance(step, Waits)
    assert "unhold" in step.upcoming
    assert len(house.hpss.sessions) == 1
    assert seen[0] == (1, True)
    assert all(
        file.get("failures", 0) == 0 for work in house.documents("hpss_queue").values() for file in work["files"]
    )


def test_a_destination_that_the_collection_does_not_show_is_refused_at_once(house):
    house.settings.destination.path_prefix = "/scoutfs/projects/x"
    fill(house)
    house.drop()
    house.run()
    assert house.whys("quarantine/syncer")["request.why.json"]["field"] == "destination"


def test_a_higher_priority_overtakes(house):
    house.archive("low/a", b"a" * 5000, volumes=("AA000100",))
    house.archive("high/b", b"b", volumes=("AA000200",))
    house.drop("1.json", source=f"{SOURCE}/low")
    house.drop("2.json", source=f"{SOURCE}/high", priority=5)
    house.run("syncer")
    house.run()
    assert [session[0] for session in house.hpss.sessions] == [f"{SOURCE}/high/b", f"{SOURCE}/low/a"]


def test_a_request_whose_listing_breaks_off_holds_up_no_other(house):
    house.archive("/home/projects/sick/x", b"x")
    house.archive("/home/projects/well/y", b"y")
    list_trees = house.hpss.list_trees

    def sick(roots, checkpoint=None):
        if "/home/projects/sick" in roots:
            raise WorldFault("HPSS-LISTING-BROKEN", "the listing broke off")
        return list_trees(roots)

    house.hpss.list_trees = sick
    house.drop("a.json", source="/home/projects/sick")
    house.drop("b.json", source="/home/projects/well")
    syncer = house.component("syncer")
    syncer.step()
    syncer.step()
    with pytest.raises(WorldFault, match="broke off"):
        syncer.step()
    house.run("retriever", "globus_xfer", "reaper", "finisher")
    assert house.delivered() == {"y": b"y"}
    assert len(house.tree("inbox")) == 1
    house.hpss.list_trees = list_trees
    house.run()
    assert house.delivered() == {"x": b"x", "y": b"y"}


class SeenLate:
    """What another host has written is not yet known by its names here, though a listing shows it."""

    def __init__(self, house, until):
        self._house, self._until = house, until
        self._unlink, self._rmdir, self._status = house.buffer.unlink, house.buffer.rmdir, house.buffer.status
        house.buffer.unlink, house.buffer.rmdir, house.buffer.status = self.unlink, self.rmdir, self.status

    def status(self, path):
        return None if self._late(path) else self._status(path)

    def _late(self, path):
        return not path.startswith(".") and self._house.clock.now() < self._until

    def unlink(self, path):
        if self._late(path):
            raise FileNotFoundError(errno.ENOENT, "not known here yet", path)
        self._unlink(path)

    def rmdir(self, path):
        if self._late(path):
            raise FileNotFoundError(errno.ENOENT, "not known here yet", path)
        self._rmdir(path)


@pytest.mark.parametrize("seconds", [3, 60])
def test_what_is_seen_late_in_the_buffer_is_no_stranger_and_is_freed(house, seconds):
    fill(house, files=4, tapes=1)
    house.drop()
    house.run("syncer", "retriever", "globus_xfer")
    while not list((house.root / "ws/reaper_queue").iterdir()):
        house.clock.time += 10
        house.run("globus_xfer")
    SeenLate(house, house.clock.now() + seconds)
    house.run("reaper", until=house.clock.now() + 1)
    if seconds > 10:
        assert house.tree("reservations"), "given back while the files lie there"
        assert house.tree("reaper_queue")
    house.run()
    assert house.tree("quarantine") == house.tree("reservations") == house.buffer_files() == []
    assert only_request(house)[1]["result"]["delivered_files"] == 4


def test_a_directory_that_is_not_empty_after_all_keeps_its_reservation(house):
    fill(house, files=2, tapes=1)
    house.drop()
    names, hidden = house.buffer.names, [2]

    def listed_late(path):
        if "." in path and not path.startswith(".part") and hidden[0]:
            hidden[0] -= 1
            return []
        return names(path)

    unlink = house.buffer.unlink

    def unseen(path):
        if hidden[0] and not path.startswith(".part"):
            raise FileNotFoundError(errno.ENOENT, "not known here yet", path)
        unlink(path)

    house.buffer.names, house.buffer.unlink = listed_late, unseen
    house.run()
    assert hidden == [0]
    assert house.tree("quarantine") == house.tree("reservations") == house.buffer_files() == []


def test_copies_that_are_seen_late_are_not_recalled_again(house):
    fill(house, files=4, tapes=1)
    house.drop()
    house.run("syncer", "retriever")
    SeenLate(house, house.clock.now() + 3)
    house.run()
    assert len(house.hpss.sessions) == 1
    assert house.tree("quarantine") == house.tree("reservations") == house.buffer_files() == []
    assert only_request(house)[1]["result"]["delivered_files"] == 4

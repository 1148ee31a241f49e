"""Standing requests: due at fixed times, one run at once and one only, whoever is killed where."""

import itertools
import json
import math

import pytest
from desk import Desk
from dying_disk import Deaths, Died, DyingDisk
from fakes import FakeHost
from house import DESTINATION, SOURCE
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.operator import standing as operator
from tacc_sync.operator import submit as submission
from tacc_sync.pipeline.renewal import LOOK
from tacc_sync.pipeline.step import Bench, Moved
from tacc_sync.pipeline.syncer import Syncer
from tacc_sync.rules import standing as rules
from tacc_sync.rules.documents import BadDocument, Request
from tacc_sync.rules.identity import request_key, run_id
from tacc_sync.rules.liveness import Lease
from tacc_sync.rules.patience import from_iso, to_iso
from tacc_sync.workspace import standing as workspace
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery

UUID = "11111111-2222-3333-4444-555555555555"
DAY = 86400.0
REQUEST = Request(version=1, source=SOURCE, destination=DESTINATION, label="nightly")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


def stand(place, every=DAY):
    desk = Desk(place)
    desk.archive("a/one", b"1" * 100)
    desk.archive("b/two", b"2" * 200)
    with desk.hands() as home:
        made = rules.new(REQUEST, standing_id=UUID, every=every, now=desk.clock.now())
        submission.put_standing(home, made)
    return desk


@pytest.fixture
def desk(tmp_path):
    return stand(tmp_path)


def found(desk):
    return workspace.read(desk.disk, workspace.path_of(UUID))


def key(run):
    return request_key(run_id(UUID, run))


def finished(desk):
    return {path.parent.name for path in (desk.root / "ws/finished").glob("*/request.json")}


def pass_by(desk, seconds):
    desk.clock.time += seconds


def state(desk):
    (only,) = operator.standings(desk.disk, desk.clock.now())
    return only.state


# --- when ---------------------------------------------------------------------------------------------------------


@given(
    st.floats(rules.SHORTEST, 1e7), st.integers(1_000_000_000, 2_000_000_000), st.lists(st.floats(0, 1e8), max_size=5)
)
def test_runs_are_due_at_fixed_times_and_those_that_were_missed_are_left_out(every, first, delays):
    standing = rules.new(REQUEST, standing_id=UUID, every=every, now=first)
    assert from_iso(standing.due) == first
    for number, delay in enumerate(delays, 1):
        now = from_iso(standing.due) + delay
        before = standing
        standing = rules.begin(standing, now)
        rules.check(standing, UUID)
        due, following = from_iso(before.due), from_iso(standing.due)
        # In the future (times are whole seconds), at most one interval away, a whole number of intervals on.
        assert now - 1 < following <= now + every + 1
        steps = (following - due) / every
        assert math.isclose(steps, round(steps), abs_tol=1.5 / every)
        assert round(steps) >= 1
        run = rules.run_of(standing)
        assert (run.run, run.request_id) == (number, run_id(UUID, number))
        assert run == rules.run_of(standing)


def test_no_two_runs_have_one_id():
    ids = {run_id(standing, run) for standing in (UUID, UUID.replace("1", "a")) for run in range(1, 500)}
    assert len(ids) == 998


@pytest.mark.parametrize(
    "change", [{"every": 1.0}, {"every": math.inf}, {"due": "soon"}, {"run": -1}, {"run": 1}, {"handed_in": True}]
)
def test_a_document_that_contradicts_itself_is_refused(change):
    import msgspec

    made = rules.new(REQUEST, standing_id=UUID, every=DAY, now=1_800_000_000)
    rules.check(made, UUID)
    with pytest.raises(BadDocument):
        rules.check(msgspec.structs.replace(made, **change), UUID)
    with pytest.raises(BadDocument):
        rules.check(made, UUID.replace("1", "2"))


# --- runs ---------------------------------------------------------------------------------------------------------


def test_the_first_run_is_due_at_once_and_the_next_when_its_time_has_come(desk):
    began = desk.clock.now()
    desk.run(until=began + DAY / 2)
    assert finished(desk) == {key(1)}
    assert found(desk).due == to_iso(began + DAY)
    sessions = len(desk.hpss.sessions)
    desk.run(until=began + DAY - 60)
    assert finished(desk) == {key(1)}
    desk.run(until=began + DAY + 600)
    assert finished(desk) == {key(1), key(2)}
    assert len(desk.hpss.sessions) == sessions, "nothing had changed"
    result = json.loads((desk.root / f"ws/finished/{key(2)}/request.json").read_text())
    assert (result["result"]["there_files"], result["standing"], result["run"]) == (2, UUID, 2)
    # What has changed is carried in the next run, and nothing else.
    desk.archive("a/one", b"new" * 50)
    desk.hpss.files[f"{SOURCE}/a/one"].written = "2024-01-01T00:00:00"
    desk.run(until=began + 2 * DAY + 600)
    assert desk.delivered()["a/one"] == b"new" * 50
    assert desk.hpss.sessions[sessions:] == [[f"{SOURCE}/a/one"]]
    assert desk.codes() == []


def test_a_run_that_takes_longer_than_the_interval_is_late_and_nothing_overlaps_it(desk):
    began = desk.clock.now()
    desk.run("syncer", until=began + 10)
    assert state(desk) == "under way"
    desk.clock.time = began + 3.5 * DAY
    desk.run("syncer")
    assert (found(desk).run, desk.documents("inbox"), state(desk)) == (1, {}, "late")
    assert list(desk.documents("request_queue")) == [key(1)]
    (status,) = [line for line in text_of_status(desk) if line.startswith("! standing")]
    assert "late" in status
    desk.run(until=desk.clock.now() + 600)
    assert finished(desk) == {key(1), key(2)}
    # Those that were missed are left out, and the hour of the day is kept.
    assert found(desk).due == to_iso(began + 4 * DAY)


def text_of_status(desk):
    from tacc_sync.operator.status_text import lines

    return list(lines(desk.status(), now=desk.clock.now(), everything=False))


def test_a_run_in_quarantine_is_waited_for_until_it_is_released_or_given_up(desk):
    files, desk.hpss.files = desk.hpss.files, {}
    desk.run(until=desk.clock.now() + 1.5 * DAY)
    assert state(desk) == "quarantine"
    assert found(desk).run == 1
    assert any("quarantine" in line for line in text_of_status(desk) if line.startswith("! standing"))
    (entry,) = desk.quarantined()
    assert entry.code == "SOURCE-MISSING"
    desk.hpss.files = files
    desk.release(entry)
    desk.run(until=desk.clock.now() + 600)
    # The released one, and the one that was due meanwhile.
    assert finished(desk) == {key(1), key(2)}


def test_a_run_that_was_given_up_has_ended(desk):
    files, desk.hpss.files = desk.hpss.files, {}
    began = desk.clock.now()
    desk.run(until=began + 600)
    (entry,) = desk.quarantined()
    desk.abandon(entry)
    desk.hpss.files = files
    desk.run(until=began + DAY - 60)
    assert found(desk).run == 1
    desk.run(until=began + DAY + 600)
    assert finished(desk) == {key(2)}


def test_units_in_quarantine_keep_the_run_from_ending(desk):
    desk.at_once()
    desk.hpss.errors[f"{SOURCE}/a/one"] = "get: media error"
    desk.run(until=desk.clock.now() + 2.5 * DAY)
    assert (found(desk).run, state(desk)) == (1, "late")
    (entry,) = desk.quarantined()
    desk.hpss.errors.clear()
    desk.abandon(entry)
    desk.run(until=desk.clock.now() + 600)
    assert finished(desk) == {key(1), key(2)}


# --- killed -------------------------------------------------------------------------------------------------------


def killed(desk, deaths, doing):
    """Do something with a disk whose process dies; whether it did. Then another process takes over."""
    deaths.at, at = None, deaths.at
    home = Home(DyingDisk(desk.disk, deaths), desk.buffer, desk.clock, desk.host, component="syncer", thread=99)
    home.enter()
    deaths.at, deaths.count = at, 0
    try:
        doing(Bench(home, desk.settings, desk.report, lambda _component: None))
    except Died:
        pass
    desk.host = FakeHost(pid=desk.host.pid + 1)
    desk.host.dead.add(desk.host.pid - 1)
    watcher = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="recovery")
    watcher.enter()
    Recovery(watcher, Lease(), lambda *_: None).round()
    watcher.leave()
    return deaths.dead


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("runs_before", [0, 1])
def test_killed_at_every_change_each_run_is_admitted_once(tmp_path, after, runs_before):
    for at in itertools.count(1):
        desk = stand(tmp_path / str(at))
        began = desk.clock.now()
        if runs_before:
            desk.run(until=began + 600)
            for component in desk._components.values():
                component._bench.home.leave()
            desk._components.clear()
            pass_by(desk, DAY)
        # Handing in, and planning.
        died = killed(
            desk,
            Deaths(at, after=after),
            lambda bench, desk=desk: [Syncer(bench, desk.hpss, desk.globus).step() for _ in range(2)],
        )
        desk.run(until=desk.clock.now() + LOOK + 600)
        assert finished(desk) == {key(run) for run in range(1, runs_before + 2)}, at
        assert (found(desk).run, found(desk).handed_in) == (runs_before + 1, True), at
        assert desk.tree("inbox") == [], at
        assert desk.tree("quarantine") == [], at
        assert not [event for event, _ in desk.events if event == "run_dropped"], at
        assert desk.codes() == [], at
        if not died:
            assert at > 20
            return


def test_killed_while_it_is_stopped_it_is_there_or_gone(tmp_path):
    outcomes = set()
    for at in itertools.count(1):
        desk = stand(tmp_path / str(at))
        died = killed(desk, Deaths(at), lambda bench: operator.stop(bench.home, UUID))
        outcomes.add(tuple(workspace.names(desk.disk)))
        assert desk.codes() == []
        if not died:
            assert outcomes == {(UUID,), ()}
            return


def test_a_second_copy_of_a_run_is_dropped_and_any_other_request_of_a_known_id_is_not(desk):
    syncer = desk.component("syncer")
    syncer.step()
    (document,) = desk.documents("inbox").values()
    while isinstance(syncer.step(), Moved):
        pass
    assert list(desk.documents("request_queue")) == [key(1)]
    desk.drop("copy.json", **document)
    syncer.step()
    assert (desk.tree("inbox"), desk.tree("quarantine")) == ([], [])
    assert [about["run"] for event, about in desk.events if event == "run_dropped"] == [1]
    desk.drop("forged.json", request_id=document["request_id"])
    syncer.step()
    assert desk.whys("quarantine/syncer")["forged.why.json"]["field"] == "request_id"
    desk.drop("forged too.json", standing=UUID, run=7, request_id=UUID)
    syncer.step()
    assert desk.whys("quarantine/syncer")["forged too.why.json"]["field"] == "standing"


def test_two_syncers_hand_in_one_run(desk):
    syncers = [desk.component("syncer") for _ in range(2)]
    for _ in range(10):
        for syncer in syncers:
            syncer.step()
    assert list(desk.documents("request_queue")) == [key(1)]
    assert [about["run"] for event, about in desk.events if event == "run_handed_in"] == [1]


def test_what_a_worker_holds_is_shown_too(desk):
    with desk.hands() as home:
        assert home.claim("standing", f"{UUID}.json")
        assert state(desk) == "waiting"
        home.pass_on(f"{home.path}/standing/{UUID}.json", "standing")


# --- the operator -------------------------------------------------------------------------------------------------


def test_a_standing_request_is_made_listed_changed_and_stopped(capsys, tmp_path):
    desk = Desk(tmp_path)
    desk.archive("x", b"x")
    words = ["submit", "--source", SOURCE, "--destination", DESTINATION, "--label", "nightly", "--every", "1d"]
    standing_id = desk.cli(capsys, *words).strip()
    assert desk.tree("standing") == [f"{standing_id}.json"]
    assert desk.tree("inbox") == []
    (listed,) = desk.cli_json(capsys, "standing", "list")
    assert (listed["standing_id"], listed["state"], listed["run"]) == (standing_id, "waiting", 0)
    assert "every 1 d" in desk.cli(capsys, "standing", "list")
    assert "every 1 d" in desk.cli(capsys, "status")
    assert desk.cli_json(capsys, "status")["standing"][0]["standing_id"] == standing_id
    desk.cli(capsys, "standing", "change", "nightly", "--every", "12h")
    assert workspace.read(desk.disk, workspace.path_of(standing_id)).every == DAY / 2
    desk.cli(capsys, "standing", "change", standing_id[:8], "--now")
    desk.cli(capsys, "standing", "change", "nightly", code=64)
    desk.cli(capsys, "standing", "change", "nightly", "--every", "1s", code=65)
    desk.cli(capsys, "standing", "stop", "weekly", "--yes", code=64)
    assert "STANDING-UNKNOWN" in desk.talk
    desk.cli(capsys, "standing", "stop", "nightly", code=64)
    desk.cli(capsys, "standing", "stop", "nightly", "--yes")
    assert desk.tree("standing") == []
    assert desk.tree("claims") == []
    desk.cli(capsys, *words[:-1], "1s", code=65)
    desk.cli(capsys, *words[:-1], "often", code=64)


def test_made_due_now_it_is_renewed_now(desk):
    began = desk.clock.now()
    desk.run(until=began + 3600)
    with desk.hands() as home:
        operator.change(home, UUID, every=None, is_due=True)
    desk.run(until=began + 2 * 3600)
    assert finished(desk) == {key(1), key(2)}


def test_a_run_that_somebody_removed_is_named_and_handed_in_once_more(desk):
    desk.component("syncer").step()
    (desk.root / f"ws/inbox/{run_id(UUID, 1)}.json").unlink()
    assert state(desk) == "lost"
    assert desk.codes() == ["STANDING-RUN-LOST"]
    pass_by(desk, 2 * DAY)
    desk.component("syncer").step()
    assert desk.tree("inbox") == []
    with desk.hands() as home:
        operator.change(home, UUID, every=None, is_due=True)
    desk.run(until=desk.clock.now() + 60)
    assert key(1) in finished(desk)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 99}', b"[1]"])
def test_one_that_cannot_be_read_is_shown_and_holds_up_nothing(desk, content):
    path = desk.root / "ws" / workspace.path_of(UUID)
    path.write_bytes(content)
    desk.drop()
    desk.run(until=desk.clock.now() + 3600)
    assert len(finished(desk)) == 1
    assert path.read_bytes() == content
    assert desk.codes("broken") == ["DOCUMENT-BAD"]
    assert any("cannot be read" in line for line in text_of_status(desk))

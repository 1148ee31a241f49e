"""`status`: what each stage looks like, who waits for what, and the rates."""

import json

import pytest
from desk import Desk

from tacc_sync.operator.status_text import lines
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.workspace.home import Home


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path).at_once()


def text(desk, only="", **options):
    return "\n".join(lines(desk.status(only), now=desk.clock.now(), **{"everything": False, **options}))


def test_an_empty_workspace(desk):
    status = desk.status()
    assert status.requests == []
    assert [component.running for component in status.components] == [False] * 5
    assert "No requests yet." in text(desk)
    assert "syncer       not running" in text(desk)


def test_a_request_in_the_inbox(desk):
    desk.drop("mine.json")
    assert desk.status().inbox == ["mine.json"]
    assert "inbox         1 request" in text(desk)


def test_stage_by_stage(desk):
    desk.fill()
    size = sum(len(a.content) for a in desk.hpss.files.values())
    desk.drop(label="run 12", requested_by="me", priority=3)
    desk.run("syncer")
    (request,) = desk.status().requests
    assert (request.state, request.label, request.requested_by, request.priority) == ("open", "run 12", "me", 3)
    assert (request.selected.files, request.selected.bytes) == (6, size)
    assert (request.on_the_way.files, request.retrieved.files) == (6, 0)
    assert request.units_by_place == {"hpss_queue": 2}
    desk.run("retriever")
    status = desk.status()
    (request,) = status.requests
    assert (request.retrieved.bytes, request.on_the_way.bytes) == (size, size)
    assert request.units_by_place == {"globus_queue": 2}
    assert (status.places["globus_queue"].units, status.places["globus_queue"].bytes) == (2, size)
    assert (status.buffer.reserved, status.buffer.units) == (size, 2)
    desk.clock.sleep(100)
    desk.run("globus_xfer")
    (request,) = desk.status().requests
    assert (request.delivered.files, request.on_the_way.files) == (6, 0)
    assert request.units_by_place == {"reaper_queue": 2}
    assert request.delivery.overall == pytest.approx(size / 100, rel=0.2)
    desk.run()
    status = desk.status()
    (request,) = status.requests
    assert (request.state, request.delivered.bytes) == ("finished", size)
    assert status.buffer.reserved == 0
    assert "finished" in text(desk)
    assert '"run 12", by me, priority 3' in text(desk)


def test_eta(desk):
    desk.fill(files=10, tapes=10)
    desk.drop()
    desk.run("syncer", "retriever")
    desk.clock.sleep(50)
    component = desk.component("globus_xfer")
    for _ in range(3):
        component.step()
    desk.clock.sleep(2)
    for _ in range(2):
        component.step()
    (request,) = desk.status().requests
    assert request.delivered.files > 0
    assert request.seconds_left == pytest.approx(request.on_the_way.bytes / request.delivery.recent)
    assert request.done_about > desk.status().at
    assert "done in about" in text(desk)


def test_quarantine_is_told(desk):
    desk.fill()
    desk.hpss.errors["/home/projects/demo/file 2"] = "*** it broke"
    desk.drop()
    desk.drop("bad.json", destination="x")
    desk.run()
    status = desk.status()
    (request,) = status.requests
    assert (request.quarantined.files, request.delivered.files, request.on_the_way.files) == (1, 5, 0)
    assert (status.quarantined_units, status.quarantined_requests) == (1, 1)
    assert "! 1 unit and 1 request in quarantine: `tacc-sync quarantine list`" in text(desk)


def test_what_each_component_waits_for(desk):
    home = Home(desk.disk, None, desk.clock, desk.host, component="retriever")
    home.enter()
    home.say(waits_for="a free cartridge", upcoming="looks again by itself")
    home.beat()
    desk.clock.sleep(120)
    (retriever,) = [c for c in desk.status().components if c.component == "retriever"]
    assert retriever.running
    assert retriever.workers[0].waits_for == "a free cartridge"
    assert "retriever    waits for a free cartridge, for 2 min (next: looks again by itself)" in text(desk)
    assert desk.status().overdue == []
    desk.clock.sleep(61)
    status = desk.status()
    assert status.overdue == [home.name]
    assert "OVERDUE: process 100 on dtn01, last heartbeat" in text(desk)
    desk.host.dead.add(100)
    assert "DEAD: process 100 on dtn01" in text(desk)


def test_hold_is_told_with_its_reason(desk):
    (desk.root / "ws/hold/syncer").write_text("maintenance\n")
    assert "syncer       ON HOLD: maintenance" in text(desk)


def test_units_of_the_earlier_tacc_sync_are_named(desk):
    (desk.root / "ws/hpss_queue/a.json").write_text(json.dumps({"work_id": "x"}))
    (desk.root / "ws/globus_queue/b.txt").write_text("")
    status = desk.status()
    assert status.legacy_units == ["hpss_queue/a.json"]
    assert status.strangers == ["globus_queue/b.txt"]
    assert "run `tacc-sync adopt`" in text(desk)


def test_one_request_by_key_id_or_label(desk):
    desk.fill()
    desk.drop("a.json", label="one")
    desk.run("syncer")
    desk.drop("b.json", label="two", destination="/ranch/other")
    desk.run("syncer")
    one, two = desk.status().requests
    for name in (one.request, one.request_id, one.request[:5], "one"):
        assert [r.label for r in desk.status(name).requests] == ["one"]
    with pytest.raises(OperatorFault) as unknown:
        desk.status("three")
    assert (unknown.value.code, unknown.value.exit_code) == ("REQUEST-UNKNOWN", 64)
    assert two.label == "two"


def test_a_unit_in_a_workers_hands_is_counted_there(desk):
    desk.fill()
    desk.drop()
    desk.run("syncer")
    home = Home(desk.disk, None, desk.clock, desk.host, component="retriever")
    home.enter()
    (name, _) = [p.name for p in (desk.root / "ws/hpss_queue").iterdir()]
    home.claim("hpss_queue", name)
    status = desk.status()
    assert (status.places["hpss_queue"].units, status.places["hpss_queue"].claimed) == (2, 1)
    assert status.requests[0].on_the_way.files == 6


def test_an_unreadable_unit_does_not_hide_the_rest(desk):
    desk.fill()
    desk.drop()
    desk.run("syncer")
    path = next((desk.root / "ws/hpss_queue").iterdir())
    path.write_text("{")
    status = desk.status()
    assert status.unreadable == [f"hpss_queue/{path.name}"]
    assert status.requests[0].on_the_way.files == 6
    assert "cannot be read" in text(desk)


def test_strange_names_cannot_steer_the_terminal(desk):
    (desk.root / "ws/hpss_queue/\x1b[2J\n.txt").write_text("")
    from tacc_sync.operator.words import plain

    assert "\x1b" not in plain(text(desk))

"""`check`: a workspace that adds up at every stage, and one finding for each way in which it does not."""

import json
import shutil

import pytest
from desk import Desk

from tacc_sync.operator.check import Checker
from tacc_sync.workspace.home import Home


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


@pytest.fixture
def desk(tmp_path):
    """Half-way: what is on tape has been retrieved, nothing delivered."""
    desk = Desk(tmp_path).at_once()
    desk.fill()
    desk.drop()
    desk.run("syncer", "retriever")
    return desk


@pytest.fixture
def done(desk):
    desk.run()
    return desk


def unit_in(desk, place):
    paths = [p for p in (desk.root / "ws" / place).rglob("*.json") if p.name.count(".") > 3 and "why" not in p.name]
    return min(paths)


def edit(path, change):
    work = json.loads(path.read_text())
    change(work)
    path.write_text(json.dumps(work))


def broken(desk):
    report = desk.check()
    assert report.steady
    return {finding.code for finding in report.broken}


def test_it_adds_up_at_every_stage(tmp_path):
    desk = Desk(tmp_path)
    assert desk.check().findings == []
    desk.fill()
    desk.drop()
    for name in ("syncer", "retriever", "globus_xfer", "reaper", "finisher"):
        component = desk.component(name)
        for _ in range(4):
            component.step()
            report = desk.check()
            assert report.steady
            assert report.findings == [], name
            assert all(found.agrees for found in report.sums)
    desk.run()
    report = desk.check()
    assert report.findings == []
    (found,) = report.sums
    assert (found.delivered.files, found.on_the_way.files, found.finished) == (6, 0, True)


def test_the_buffer_is_counted(desk):
    report = desk.check()
    assert report.findings == []
    assert report.buffer_bytes == sum(len(a.content) for a in desk.hpss.files.values())


def test_a_lost_unit(desk):
    unit_in(desk, "globus_queue").unlink()
    assert {"UNIT-MISSING", "SUM-WRONG"} <= broken(desk)
    assert not desk.check().sums[0].agrees


def test_a_doubled_unit(desk):
    path = unit_in(desk, "globus_queue")
    shutil.copy(path, desk.root / "ws/reaper_queue" / path.name)
    assert "UNIT-TWICE" in broken(desk)


def test_a_unit_that_nobody_planned(desk):
    path = unit_in(desk, "globus_queue")
    shutil.copy(path, path.with_name("0123456789ab.AA0001.0000.5.json"))
    assert {"UNIT-UNPLANNED", "UNIT-STATE"} <= broken(desk)


def test_a_torn_document(desk):
    unit_in(desk, "globus_queue").write_text("{")
    assert {"DOCUMENT-BAD", "SUM-WRONG"} <= broken(desk)


def test_a_torn_request(desk):
    (path,) = (desk.root / "ws/request_queue").glob("*.json")
    path.write_text("{")
    assert {"DOCUMENT-BAD", "UNIT-UNPLANNED"} <= broken(desk)


def test_a_file_that_fell_out_of_its_unit(desk):
    edit(unit_in(desk, "globus_queue"), lambda work: work["files"].pop())
    assert {"UNIT-STATE", "SUM-WRONG"} <= broken(desk)


def test_delivered_without_receipt(desk):
    edit(unit_in(desk, "globus_queue"), lambda work: work["files"][0].update(outcome="delivered"))
    assert "UNIT-STATE" in broken(desk)


def test_nothing_to_send_in_globus_queue(desk):
    def forget(work):
        for file in work["files"]:
            file.pop("outcome")
            file.pop("retrieved_at")

    edit(unit_in(desk, "globus_queue"), forget)
    assert broken(desk) == {"UNIT-STATE"}


def test_an_unsettled_unit_in_finished(done):
    edit(unit_in(done, "finished"), lambda work: work["files"][0].update(outcome="failed"))
    assert "UNIT-STATE" in broken(done)


def test_a_finished_request_without_manifest(done):
    (path,) = (done.root / "ws/finished").glob("*/manifest.jsonl")
    path.unlink()
    assert broken(done) == {"MANIFEST-MISSING"}


@pytest.mark.parametrize("place", ["*/certificate.json", "chain/00000001.json"])
def test_a_finished_request_without_its_certificate(done, place):
    (path,) = (done.root / "ws/finished").glob(place)
    path.unlink()
    assert broken(done) == {"CERTIFICATE-MISSING"}


def test_a_finished_request_whose_result_is_wrong(done):
    (path,) = (done.root / "ws/finished").glob("*/request.json")
    edit(path, lambda request: request["result"].update(delivered_files=5))
    assert broken(done) == {"SUM-WRONG"}


def test_a_request_in_two_places(done):
    (path,) = (done.root / "ws/finished").glob("*/request.json")
    shutil.copy(path, done.root / "ws/request_queue" / f"{path.parent.name}.json")
    assert "REQUEST-TWICE" in broken(done)


def test_a_lost_reservation(desk):
    for path in (desk.root / "ws/reservations").iterdir():
        path.unlink()
    assert {"RESERVATION-MISSING", "BUFFER-OVER-RESERVATION"} == broken(desk)


def test_a_reservation_of_nobody(done):
    (done.root / "ws/reservations/0123456789ab.AA0001.0000.5.5").touch()
    assert broken(done) == {"RESERVATION-ORPHAN"}


def test_more_reserved_than_allowed(desk):
    desk.settings.buffer.quota = 10
    assert broken(desk) == {"RESERVED-OVER-QUOTA"}


def test_a_slot_of_nobody(done):
    (done.root / "ws/globus_slots/0123456789ab.AA0001.0000.5").touch()
    assert broken(done) == {"SLOT-ORPHAN"}


def test_a_rest_of_nobody(done):
    (done.root / "ws/rests/0123456789ab.AA0001.0000.5~1800000000").touch()
    assert done.codes() == ["REST-ORPHAN"]
    assert broken(done) == set()


def test_a_cartridge_of_nobody(done):
    (done.root / "ws/cartridges/AA0001").write_text("retriever.dtn09.x.1.1.abc")
    assert broken(done) == {"CARTRIDGE-ORPHAN"}


def test_the_turn_in_a_workers_hands_is_no_finding_and_two_are(done):
    home = Home(done.disk, None, done.clock, done.host, component="retriever", thread=77)
    home.enter()
    with home.turn():
        assert done.check().findings == []
        (done.root / "ws/turn").touch()
        assert broken(done) == {"TURN-TWICE"}


def test_strangers_and_leftovers_are_untidy_only(done):
    (done.root / "ws/hpss_queue/notes.txt").write_text("x")
    legacy = {"work_id": "11111111-1111-1111-1111-111111111111"}
    (done.root / "ws/hpss_queue/old.json").write_text(json.dumps(legacy))
    (done.root / "ws/claims/odd").mkdir()
    (done.root / "ws/quarantine/reaper/x.why.json").write_text("{}")
    report = done.check()
    assert report.broken == []
    by_where = {finding.where: finding for finding in report.findings}
    assert by_where["hpss_queue/old.json"].remedy == "run `tacc-sync adopt`"
    assert by_where["hpss_queue/notes.txt"].code == "STRANGER"
    assert by_where["claims/odd"].code == "LEFTOVER"
    assert by_where["quarantine/reaper/x.why.json"].code == "REASON-ORPHAN"


def test_a_dead_workers_claims_are_named(desk):
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="reaper", thread=78)
    home.enter()
    name = unit_in(desk, "globus_queue").name
    home.claim("globus_queue", name)
    assert desk.check().findings == []
    desk.host.dead.add(desk.host.pid)
    (leftover,) = [f for f in desk.check().findings if name in f.text]
    assert (leftover.severity, leftover.code) == ("untidy", "LEFTOVER")
    assert desk.check().broken == []


def test_a_stranger_in_the_buffer(desk):
    (unit,) = [p for p in (desk.root / "nersc/buffer").iterdir() if p.name != ".part"][:1]
    (unit / "core").write_text("x")
    (desk.root / "nersc/buffer/other").mkdir()
    assert broken(desk) == {"BUFFER-STRANGER", "BUFFER-UNOWNED"}


def test_a_file_that_was_purged_from_the_buffer_or_cut_off(desk):
    files = sorted(p for p in (desk.root / "nersc/buffer").rglob("00000*") if p.stat().st_size > 1)
    files[0].unlink()
    assert broken(desk) == {"BUFFER-LOST"}
    files[1].write_bytes(b"")
    assert broken(desk) == {"BUFFER-LOST"}


def test_it_needs_no_buffer(desk):
    report = Checker(desk.disk, None, desk.clock, desk.host, 0).check()
    assert (report.findings, report.buffer_bytes) == ([], None)


def test_while_work_moves_only_what_stands_is_reported(desk, monkeypatch):
    (desk.root / "ws/globus_slots/0123456789ab.AA0001.0000.5").touch()
    path = unit_in(desk, "globus_queue")
    places = [desk.root / "ws" / place / path.name for place in ("globus_queue", "reaper_queue")]

    checker = Checker(desk.disk, desk.buffer, desk.clock, desk.host, 0)
    names = checker._names

    def moving():
        places[0].rename(places[1])
        places.reverse()
        return names()

    monkeypatch.setattr(checker, "_names", moving)
    report = checker.check()
    assert not report.steady
    assert [f.code for f in report.broken] == ["SLOT-ORPHAN"]
    assert report.sums[0].agrees

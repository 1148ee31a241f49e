"""Somebody moves units by hand, and hosts disagree about the time: nothing is lost, nothing is sent twice."""

import pytest
from desk import Desk
from fakes import FakeClock, FakeHost

STAGES = {
    "waiting": ("hpss_queue", ("syncer",)),
    "retrieved": ("globus_queue", ("syncer", "retriever")),
    "delivered": ("reaper_queue", ("syncer", "retriever", "globus_xfer")),
    "in flight": ("globus_queue", ("syncer", "retriever")),
}
QUEUES = ("hpss_queue", "globus_queue", "reaper_queue")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.fill()
    return desk


def at_stage(desk, stage):
    queue, components = STAGES[stage]
    desk.drop()
    desk.run(*components)
    if stage == "in flight":
        desk.globus.slow = 3
        desk.component("globus_xfer").step()
    return queue


def assert_done(desk):
    desk.run(rounds=2000)
    assert desk.delivered() == {f"file {n}": b"%d" % n * (n * 50 + 1) for n in range(6)}
    items = [item.destination for task in desk.globus.tasks.values() for item in task.order.items]
    assert len(items) == len(set(items)) == 6
    assert desk.tree("quarantine") == []
    assert desk.codes() == []


@pytest.mark.fault("ws-by-hand")
@pytest.mark.parametrize("target", QUEUES)
@pytest.mark.parametrize("stage", STAGES)
def test_units_in_the_wrong_queue_go_on_from_what_their_documents_say(desk, stage, target):
    queue = at_stage(desk, stage)
    units = sorted((desk.root / "ws" / queue).glob("*.json"))
    assert len(units) == 2
    for unit in units:
        unit.rename(desk.root / "ws" / target / unit.name)
    assert_done(desk)


@pytest.mark.fault("ws-by-hand")
@pytest.mark.parametrize("target", QUEUES)
@pytest.mark.parametrize("stage", STAGES)
def test_a_copy_of_a_unit_is_named_by_check(desk, stage, target):
    queue = at_stage(desk, stage)
    unit = min((desk.root / "ws" / queue).glob("*.json"))
    if target == queue:
        (desk.root / "ws" / target / f"copy of {unit.name}").write_bytes(unit.read_bytes())
        assert "STRANGER" in desk.codes()
        (desk.root / "ws" / target / f"copy of {unit.name}").unlink()
    else:
        copy = desk.root / "ws" / target / unit.name
        copy.write_bytes(unit.read_bytes())
        findings = [finding for finding in desk.check().findings if finding.code == "UNIT-TWICE"]
        assert [finding.where for finding in findings] == [unit.stem]
        assert queue in findings[0].text
        assert target in findings[0].text
        copy.unlink()
    assert_done(desk)


@pytest.mark.fault("ws-clocks")
@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_hosts_whose_clocks_are_an_hour_apart_share_the_work(desk, ahead):
    desk.settings.patience.at_least = 0
    desk.settings.patience.attempts = 50
    path = next(iter(desk.hpss.files))
    desk.hpss.errors[path] = f"get: Error -5 on transfer {path}"
    ours, theirs = desk.clock, FakeClock()
    theirs.time = ours.time + ahead
    hosts = [(ours, desk.host), (theirs, FakeHost(name="dtn02", pid=200, boot="boot-2"))]
    crews = []
    for clock, host in hosts:
        desk.clock = clock
        crews.append(
            [desk.component(name, host) for name in ("syncer", "retriever", "globus_xfer", "reaper", "finisher")]
        )
    desk.clock = ours
    desk.drop()
    for number in range(150):
        if number == 60:
            del desk.hpss.errors[path]
        for crew in crews if number % 3 else crews[::-1]:
            for component in crew:
                component.step()
        for clock, _ in hosts:
            clock.time += 160
        if number % 10 == 0:
            assert not {"SUM-WRONG", "UNIT-TWICE", "UNIT-MISSING"}.intersection(desk.codes("broken"))
    tasks = [item.destination for task in desk.globus.tasks.values() for item in task.order.items]
    assert len(tasks) == len(set(tasks)) == 6
    assert len(desk.delivered()) == 6
    assert desk.tree("quarantine") == []
    assert desk.tree("rests") == []
    assert len(list((desk.root / "ws/finished").glob("*/manifest.jsonl"))) == 1

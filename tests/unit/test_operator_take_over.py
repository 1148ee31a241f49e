"""`check --adopt`: whatever a copy or a backup does not know is asked of Globus, nothing is submitted twice, and being
killed anywhere leaves a workspace that is refused, or right."""

import json
import shutil
from collections import Counter

import pytest
from desk import Desk
from dying_disk import Deaths, Died, DyingDisk

from tacc_sync.operator import take_over
from tacc_sync.operator.hands import hands
from tacc_sync.rules import adoption
from tacc_sync.rules.documents import File, Task, Work
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.rules.liveness import Lease
from tacc_sync.workspace import layout, ownership
from tacc_sync.workspace.home import Home


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


def begin(desk):
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="recovery", thread=99)
    home.enter()
    ownership.claim(home)
    home.leave()


def restored(root):
    """A backup of before the submits was put back; both units have a task at Globus, which has not ended."""
    desk = Desk(root).at_once()
    desk.fill(2)
    desk.globus.slow = 10**6
    begin(desk)
    desk.drop()
    desk.run("syncer", "retriever")
    shutil.copytree(root / "ws", root / "backup")
    sender = desk.component("globus_xfer")
    for _ in range(4):
        sender.step()
    assert desk.globus.submits == 2
    shutil.rmtree(root / "ws")
    (root / "backup").rename(root / "ws")
    desk._components.clear()
    desk.host.dead.add(desk.host.pid)
    desk.host.pid += 1
    return desk


def adopt(desk, deaths=None):
    disk, buffer = desk.disk, desk.buffer
    if deaths is not None:
        disk, buffer = DyingDisk(disk, deaths), DyingDisk(buffer, deaths)
    take_over.must_be_adoptable(disk, buffer)
    with hands(disk, desk.clock, desk.host, buffer) as home:
        take_over.fence_all(home, Lease())
        found = list(take_over.compare(home, desk.globus))
        take_over.take_over(home, ())
    return found


def assert_all_arrives_once(desk):
    desk.globus.slow = 0
    desk.run()
    assert len(desk.delivered()) == 2
    assert desk.globus.submits == 2
    assert set(Counter(task.order.label for task in desk.globus.tasks.values()).values()) == {1}
    assert desk.check().broken == []


def test_tasks_that_the_backup_does_not_know_are_taken_over(tmp_path):
    desk = restored(tmp_path)
    assert take_over.wrong_with(desk.disk, desk.buffer, ()).code == "WORKSPACE-RESTORED"
    found = adopt(desk)
    assert [each.changed for each in found] == [True, True]
    assert take_over.wrong_with(desk.disk, desk.buffer, ()) is None
    noted = {work["tasks"][-1]["task_id"] for work in desk.documents("globus_queue").values()}
    assert noted == set(desk.globus.tasks)
    assert_all_arrives_once(desk)


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
def test_killed_anywhere_it_is_refused_or_right_and_can_be_begun_again(tmp_path, after):
    died = at = refused = 0
    while True:
        at += 1
        desk = restored(tmp_path / str(at))
        try:
            adopt(desk, Deaths(at, after=after))
        except Died:
            died += 1
        else:
            break
        assert desk.globus.submits == 2
        wrong = take_over.wrong_with(desk.disk, desk.buffer, ())
        desk.host.dead.add(desk.host.pid)
        desk.host.pid += 1
        if wrong is not None:
            refused += 1
            adopt(desk)
        for _ in range(3):
            desk.recover()
            desk.clock.time += 3000
        assert_all_arrives_once(desk)
        shutil.rmtree(tmp_path / str(at))
    assert refused > 20
    assert died > refused


def test_a_task_that_globus_has_forgotten_is_said_to_be(tmp_path):
    desk = restored(tmp_path)
    adopt(desk)
    desk.globus.tasks.clear()
    said = adopt(desk)
    assert len(said) == 2
    assert all("does not know task" in each.text and not each.changed for each in said)


def test_where_globus_has_no_task_nothing_is_changed(tmp_path):
    desk = restored(tmp_path)
    desk.globus.tasks.clear()
    before = desk.documents("globus_queue")
    said = adopt(desk)
    assert all("has no task" in each.text for each in said)
    assert desk.documents("globus_queue") == before
    assert desk.tree("globus_slots") == []


def test_what_a_copied_worker_held_is_looked_at_and_comes_back(tmp_path):
    desk = restored(tmp_path)
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="globus_xfer", thread=7)
    home.enter()
    (unit, _) = sorted(desk.documents("globus_queue"))
    home.claim("globus_queue", f"{unit}.json")
    said = {each.unit: each for each in adopt(desk)}
    # Its process lives, as far as anybody can tell: the grace must pass before its claims come back.
    assert not said[unit].changed
    assert "held by dead~globus_xfer" in said[unit].text
    desk.host.dead.add(desk.host.pid)
    desk.host.pid += 1
    desk.recover()
    assert_all_arrives_once(desk)


def test_anothers_buffer_is_not_taken_away(tmp_path):
    desk = restored(tmp_path)
    marker = json.loads((tmp_path / "nersc/buffer" / layout.MARKER).read_text())
    (tmp_path / "nersc/buffer" / layout.MARKER).write_text(json.dumps(marker | {"workspace_id": "another"}))
    with pytest.raises(OperatorFault) as caught:
        adopt(desk)
    assert caught.value.code == "BUFFER-OF-ANOTHER"


def test_a_buffer_that_was_emptied_is_marked_and_all_is_recalled_again(tmp_path):
    desk = Desk(tmp_path).at_once()
    desk.fill()
    begin(desk)
    desk.drop()
    desk.run("syncer", "retriever")
    for component in desk._components.values():
        component._bench.home.leave()
    desk._components.clear()
    shutil.rmtree(tmp_path / "nersc/buffer")
    (tmp_path / "nersc/buffer").mkdir()
    assert take_over.wrong_with(desk.disk, desk.buffer, ()).code == "BUFFER-UNMARKED"
    layout.open_buffer(desk.buffer)
    adopt(desk)
    desk.run()
    assert len(desk.delivered()) == 6
    assert desk.check().broken == []


# --- the decision ------------------------------------------------------------------------------------------------------


def work(*outcomes, tasks=()):
    files = [File(path=f"/a/{n}", destination=f"/b/{n}", size=1, outcome=outcome) for n, outcome in enumerate(outcomes)]
    return Work(
        version=1, unit="0123456789ab.T.0000.2", request_id="", tape=[], bytes=2, created_at="", files=files,
        tasks=list(tasks),
    )  # fmt: skip


def task(attempt, *, task_id="", ended_at=""):
    label = f"0123456789ab.T.0000.2.{attempt}"
    return Task(
        attempt=attempt, submission_id=f"s{attempt}", label=label, prepared_at="", items=[0], bytes=1, task_id=task_id,
        ended_at=ended_at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "label"),
    [
        (work("retrieved"), "0123456789ab.T.0000.2.1"),
        (work("retrieved", tasks=[task(1, task_id="t", ended_at="x")]), "0123456789ab.T.0000.2.2"),
        (work("retrieved", tasks=[task(1)]), "0123456789ab.T.0000.2.1"),
        (work("retrieved", tasks=[task(1, task_id="t")]), None),
    ],
)
def test_globus_is_asked_for_the_attempt_that_would_be_next_or_is_open(unit, label):
    assert adoption.label_to_ask(unit) == label


def test_a_prepared_attempt_gets_its_task_and_keeps_its_items():
    unit = work("retrieved", "retrieved", tasks=[task(1)])
    assert adoption.take(unit, "t", submission_id="never", now=0)
    assert (unit.tasks[0].task_id, unit.tasks[0].items, unit.tasks[0].submission_id) == ("t", [0], "s1")


def test_an_attempt_that_is_not_known_is_for_all_that_lies_in_the_buffer():
    unit = work("delivered", "retrieved", "waiting", "retrieved", tasks=[task(1, task_id="t", ended_at="x")])
    assert adoption.take(unit, "u", submission_id="s2", now=0)
    assert (unit.tasks[1].attempt, unit.tasks[1].items, unit.tasks[1].label) == (2, [1, 3], "0123456789ab.T.0000.2.2")


def test_a_unit_of_which_nothing_was_sent_takes_no_task_over():
    unit = work("waiting", "delivered")
    assert not adoption.take(unit, "t", submission_id="s", now=0)
    assert unit.tasks == []

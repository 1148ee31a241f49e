"""Taking over work of the earlier tacc-sync."""

import json

import pytest
from desk import Desk

REQUEST = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SOURCE = "/home/projects/demo"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("HPSS_BASE_PATH", SOURCE)
    monkeypatch.setenv("TACC_BASE_PATH", "/ranch/demo")
    desk = Desk(tmp_path)
    desk.fill()
    return desk


def unit(number, *names, request=REQUEST, task=None):
    return {
        "work_id": f"{number:08d}-0000-0000-0000-000000000000",
        "request_id": request,
        "date_created": "2024-03-28T00:15:14.988742277Z",
        "tape": "AA000000",
        "size": 5,
        "files": [
            {"file_name": name, "hpss_path": f"{SOURCE}/{name}", "size": 5, "tape_num": 1, "tape_offset": 0,
             "globus_task_id": task, "checksum": None}
            for name in names
        ],
    }  # fmt: skip


def put(directory, *documents):
    directory.mkdir(parents=True, exist_ok=True)
    for document in documents:
        (directory / f"{document['work_id']}.json").write_text(json.dumps(document))


def test_units_of_an_old_workspace_become_a_request_and_stay_where_they_are(capsys, desk):
    old = desk.root / "old/hpss_queue"
    put(old, unit(1, "file 0", "file 1"), unit(2, "file 1", "file 4"))
    (shown,) = desk.cli_json(capsys, "adopt", str(old))
    assert (shown["request_id"], shown["files"], len(shown["units"]), shown["new"]) == (REQUEST, 3, 2, True)
    (request,) = desk.documents("inbox").values()
    assert request["files"] == [f"{SOURCE}/file {n}" for n in (0, 1, 4)]
    assert len(list(old.iterdir())) == 2
    desk.run()
    assert sorted(desk.delivered()) == ["file 0", "file 1", "file 4"]


def test_units_in_this_workspace_are_put_aside(capsys, desk):
    queue = desk.root / "ws/hpss_queue"
    put(queue, unit(1, "file 0"))
    assert "STRANGER" in desk.codes()
    desk.cli(capsys, "adopt", str(queue))
    assert desk.tree("hpss_queue") == []
    assert len(desk.tree("finished/adopted")) == 1
    desk.run()
    assert desk.check().findings == []


def test_doing_it_again_after_it_was_cut_off_makes_no_second_request(capsys, desk):
    queue = desk.root / "ws/hpss_queue"
    put(queue, unit(1, "file 0"))
    desk.cli(capsys, "adopt", str(queue))
    put(queue, unit(1, "file 0"))
    for _ in range(2):
        (shown,) = desk.cli_json(capsys, "adopt", str(queue))
        assert not shown["new"]
        assert len(desk.documents("inbox")) + len(desk.documents("request_queue")) == 1
        desk.run("syncer")
        put(queue, unit(1, "file 0"))
    assert len(desk.tree("finished/adopted")) == 3


def test_units_further_down_are_refused_by_name_and_nothing_is_adopted(capsys, desk):
    put(desk.root / "old/hpss_queue", unit(1, "file 0"))
    put(desk.root / "old/globus_queue", unit(2, "file 1"))
    desk.cli(capsys, "adopt", str(desk.root / "old/hpss_queue"), str(desk.root / "old/globus_queue"), code=65)
    assert "UNIT-TOO-FAR" in desk.talk
    assert "globus_queue/00000002-" in desk.talk
    assert "hpss_queue/00000001-" not in desk.talk
    assert desk.tree("inbox") == []


def test_tasks_that_were_begun_are_named(capsys, desk):
    task = "99999999-0000-0000-0000-000000000000"
    put(desk.root / "old", unit(1, "file 0", task=task))
    desk.cli(capsys, "adopt", str(desk.root / "old"))
    assert task in desk.talk


def test_one_request_for_each_of_theirs(capsys, desk):
    other = "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee"
    put(desk.root / "old", unit(1, "file 0"), unit(2, "file 1", request=other))
    assert desk.cli(capsys, "adopt", str(desk.root / "old")).split() == [REQUEST, other]
    assert len(desk.documents("inbox")) == 2


def test_a_broken_unit_is_named(capsys, desk):
    put(desk.root / "old", unit(1, "file 0"))
    (desk.root / "old/torn.json").write_text("{")
    desk.cli(capsys, "adopt", str(desk.root / "old"), code=65)
    assert "torn.json" in desk.talk
    assert desk.tree("inbox") == []


def test_dry_run_and_nothing_to_adopt(capsys, desk):
    put(desk.root / "old", unit(1, "file 0"))
    desk.cli(capsys, "adopt", str(desk.root / "old"), "--dry-run")
    assert desk.tree("inbox") == []
    (desk.root / "empty").mkdir()
    desk.cli(capsys, "adopt", str(desk.root / "empty"), code=65)
    assert "NOTHING-TO-ADOPT" in desk.talk


def test_the_base_paths_must_be_known(capsys, desk, monkeypatch):
    monkeypatch.delenv("TACC_BASE_PATH")
    put(desk.root / "old", unit(1, "file 0"))
    desk.cli(capsys, "adopt", str(desk.root / "old"), code=65)
    assert "TACC_BASE_PATH" in desk.talk

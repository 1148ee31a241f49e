"""`check` on a workspace that was right and in which one thing was changed: it is found, whatever it is; and on a right
one, at every step of its way, nothing is."""

import json
import random
import shutil

import pytest
from desk import Desk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tacc_sync.workspace import layout, ownership
from tacc_sync.workspace.home import Home

KEY = "7fe6869d247e"
WHERE = {
    "planned": {"hpss_queue"},
    "retrieved": {"globus_queue"},
    "in flight": {"globus_queue"},
    "delivered": {"reaper_queue"},
    "stuck": {"retriever", KEY},
    "finished": {KEY},
}
STAGES = tuple(WHERE)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


def made(root, stage):
    desk = Desk(root).at_once()
    desk.fill()
    warden = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="recovery", thread=99)
    warden.enter()
    ownership.claim(warden)
    warden.leave()
    if stage == "stuck":
        (name,) = [path for path in desk.hpss.files if path.endswith("file 3")]
        desk.hpss.errors[name] = "get: Error -5 on transfer"
    desk.drop()
    desk.run("syncer")
    if stage != "planned":
        desk.run("retriever")
    if stage == "in flight":
        component = desk.component("globus_xfer")
        for _ in range(2):
            component.step()
        component._bench.home.leave()
    if stage == "delivered":
        desk.run("globus_xfer")
    if stage in {"stuck", "finished"}:
        desk.run()
    for component in desk._components.values():
        component._bench.home.leave()
    return desk


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    root = tmp_path_factory.mktemp("stages")
    made_ = {stage: made(root / str(number), stage).root for number, stage in enumerate(STAGES)}
    return made_ | {"again": root / "again"}


def again(stages, stage):
    """A copy of that stage that says that it lies where it lies."""
    root = stages["again"]
    shutil.rmtree(root, ignore_errors=True)
    desk = Desk(root)
    for place in ("ws", "nersc", "tacc"):
        shutil.rmtree(root / place)
        shutil.copytree(stages[stage] / place, root / place)
    for path in (root / "ws" / layout.IDENTITY, root / "nersc/buffer" / layout.MARKER):
        owner = json.loads(path.read_text())
        path.write_text(json.dumps(owner | {"workspace_path": desk.disk.root}))
    return desk


# --- one change --------------------------------------------------------------------------------------------------------
# Each takes the workspace's and the buffer's directory and a source of choices, and says whether it could change
# anything. What is left out cannot be told from a right state: a rest, or a heartbeat, that is gone.


def files(ws, *patterns):
    return sorted(path for pattern in patterns for path in ws.glob(pattern))


def units(ws):
    found = files(ws, "*_queue/*.json", "finished/*/*.json", "quarantine/*/*.json")
    return [path for path in found if path.name.count(".") == 4]


def requests(ws):
    return files(ws, "request_queue/*.json", "finished/*/request.json")


def delete_a_document(ws, _buffer, pick):
    pick(units(ws) + requests(ws)).unlink()


def tear_a_document(ws, _buffer, pick):
    path = pick(units(ws) + requests(ws))
    content = path.read_bytes()
    path.write_bytes(content[: pick(range(len(content) - 3))])


def double_a_unit(ws, _buffer, pick):
    path = pick(units(ws))
    others = ["hpss_queue", "globus_queue", "reaper_queue", "quarantine/reaper", f"finished/{path.name[:12]}"]
    shutil.copy(path, ws / pick([other for other in others if ws / other != path.parent]) / path.name)


def rename_a_unit(ws, _buffer, pick):
    path = pick(units(ws))
    parts = path.name.split(".")
    parts[pick([0, 1, 2, 3])] = pick(["0123456789ab", "AA9999", "0077", "12"])
    name = ".".join(parts)
    path.rename(path.with_name(name)) if name != path.name else path.unlink()


def change_a_field(ws, _buffer, pick):
    path = pick(units(ws))
    work = json.loads(path.read_text())
    file = pick(work["files"])
    changes = [
        lambda: work.update(unit="0123456789ab.AA0001.0000.5"),
        lambda: work.update(request_id="00000000-0000-4000-8000-000000000000"),
        lambda: work.update(bytes=work["bytes"] + 1),
        lambda: work.update(begun=-1),
        lambda: work.update(surprise=1),
        lambda: work.update(version="one"),
        lambda: work.update(files=[other for other in work["files"] if other is not file]),
        lambda: work["files"].append(file | {"size": file["size"] + 7}),
        lambda: file.update(size=file["size"] + 1),
        lambda: file.update(path="relative"),
        lambda: file.update(destination=file["destination"] + "/../../etc"),
        lambda: file.update(archive_hash="md5:nothex"),
        lambda: file.update(retrieved_at="yesterday"),
        lambda: file.update(outcome="lost"),
        lambda: file.pop("size"),
    ]
    if file.get("outcome") == "delivered":
        changes += [
            lambda: file.pop("delivered_at"),
            lambda: file.update(task_id="another"),
            lambda: file.pop("outcome"),
        ]
    if file.get("outcome") == "retrieved":
        changes += [
            lambda: file.pop("retrieved_at"),
            lambda: file.pop("hashes"),
            lambda: file.update(outcome="waiting"),
        ]
        changes += [lambda: file.update(outcome="delivered"), lambda: file.update(outcome="abandoned")]
    if file.get("outcome") == "failed":
        changes += [lambda: file.pop("why")]
    if work.get("tasks"):
        task = work["tasks"][-1]
        changes += [
            lambda: task.update(items=[99]),
            lambda: task.update(attempt=7),
            lambda: task.update(label="x"),
            lambda: task.update(submission_id=""),
            lambda: work["tasks"].append(dict(task)),
        ]
    pick(changes)()
    path.write_text(json.dumps(work))


def change_a_request(ws, _buffer, pick):
    path = pick(requests(ws))
    request = json.loads(path.read_text())
    plan = request["plan"]
    changes = [
        lambda: request.update(request_id="00000000-0000-4000-8000-000000000000"),
        lambda: request["admitted"].update(token="other"),
        lambda: plan.update(files=plan["files"] + 1),
        lambda: plan.update(bytes=plan["bytes"] - 1),
        plan["units"].pop,
        lambda: plan["units"].append(plan["units"][0]),
        lambda: plan["units"].append("0123456789ab.AA0001.0000.5"),
        lambda: request.pop("source"),
    ]
    if "result" in request:
        changes += [lambda: request.pop("result"), lambda: request["result"].update(delivered_bytes=1)]
    pick(changes)()
    path.write_text(json.dumps(request))


def move_a_unit(ws, _buffer, pick):
    """To where its document contradicts the place."""
    path = pick(units(ws))
    work = json.loads(path.read_text())
    outcomes = {file.get("outcome", "waiting") for file in work["files"]}
    is_open = bool(work.get("tasks")) and not work["tasks"][-1].get("ended_at")
    targets = []
    if path.parent.parent.name != "finished" and outcomes - {"delivered", "abandoned"}:
        targets.append(f"finished/{path.name[:12]}")
    if not is_open and "retrieved" not in outcomes and path.parent.name != "globus_queue":
        targets.append("globus_queue")
    if is_open:
        targets += ["hpss_queue", "reaper_queue"]
    if path.parent.parent.name == "finished":
        (ws / "finished/0123456789ab").mkdir()
        targets.append("finished/0123456789ab")
        if (path.parent / "request.json").exists():
            targets += ["reaper_queue", "quarantine/reaper"]
    if not targets:
        return False
    path.rename(ws / pick(targets) / path.name)
    return True


def double_a_request(ws, _buffer, pick):
    path = pick(requests(ws))
    key = json.loads(path.read_text())["request_id"].replace("-", "")[:12]
    if path.parent.name == "request_queue":
        shutil.copy(path, ws / "finished" / key / "request.json")
    else:
        shutil.copy(path, ws / "request_queue" / f"{key}.json")


def rename_a_request(ws, _buffer, _pick):
    for path in files(ws, "request_queue/*.json"):
        path.rename(path.with_name("other.json"))
        return True
    return False


def change_marks(ws, _buffer, pick):
    unit = "0123456789ab.AA0001.0000.5"
    changes = [
        (ws / f"reservations/{unit}.5").touch,
        (ws / f"globus_slots/{unit}").touch,
        (ws / f"rests/{unit}~1800000000").touch,
        lambda: (ws / "cartridges/AA0077").write_text("retriever.dtn09.x.1.1.abc"),
        lambda: (ws / "cartridges/AA0077").write_text(""),
    ]
    for path in files(ws, "reservations/*"):
        changes += [
            path.unlink,
            lambda path=path: path.rename(path.with_name(path.name + "1")),
            lambda path=path: path.with_name(path.name + "1").touch(),
        ]
    changes += [path.unlink for path in files(ws, "globus_slots/*")]
    for path in units(ws):
        if path.parent.name != "globus_queue":
            changes.append(lambda path=path: (ws / "globus_slots" / path.stem).touch())
        if path.parent.parent.name in {"finished", "quarantine"}:
            changes.append(lambda path=path: (ws / f"rests/{path.stem}~1800000000").touch())
    pick(changes)()


def change_the_turn(ws, _buffer, pick):
    if pick([True, False]):
        (ws / "turn").unlink()
    else:
        home = ws / "claims/retriever.dtn01.x.1.1.abc/turn"
        home.mkdir(parents=True)
        (home / "turn").touch()


def change_the_buffer(ws, buffer, pick):
    changes = [(buffer / "somebody").mkdir, (buffer / "a file").touch]
    changes.append((buffer / layout.MARKER).unlink)
    changes.append(lambda: (buffer / layout.MARKER).write_text("{"))
    for path in sorted(p for p in buffer.glob("*/00*") if p.parent.name != ".part"):
        changes += [
            lambda path=path: path.with_name("000777").touch(),
            lambda path=path: path.with_name("core").touch(),
        ]
        (work,) = (json.loads(unit.read_text()) for unit in units(ws) if unit.stem == path.parent.name)
        if work["files"][int(path.name)]["outcome"] == "delivered":
            # The reaper may just be removing it.
            continue
        changes += [
            path.unlink,
            lambda path=path: path.write_bytes(path.read_bytes() + b"x"),
            lambda path=path: path.write_bytes(path.read_bytes()[:-1]),
            lambda path=path: (path.unlink(), path.mkdir()),
            lambda path=path: (path.rename(path.with_name("x")), path.symlink_to("x")),
        ]
    for path in units(ws):
        if path.parent.parent.name == "finished":
            changes.append(lambda path=path: (buffer / path.stem).mkdir(exist_ok=True))
    pick(changes)()


def remove_what_proves(ws, _buffer, pick):
    pick(
        files(ws, "finished/*/manifest*", "finished/*/admitted.json", "quarantine/*/*.why.json", layout.IDENTITY)
    ).unlink()


def remove_a_directory(ws, _buffer, pick):
    path = pick([ws / directory for directory in layout.DIRECTORIES])
    shutil.rmtree(path)


def add_a_stranger(ws, _buffer, pick):
    places = ["hpss_queue", "globus_queue", "reaper_queue", "request_queue", "reservations", "rests", "globus_slots"]
    places += [f"finished/{path.name}" for path in ws.glob("finished/*") if len(path.name) == 12]
    (ws / pick([*places, "claims"]) / pick(["notes.txt", "core", "ä"])).write_text("x")


def add_a_reason(ws, _buffer, pick):
    (ws / pick(["quarantine/syncer", "quarantine/reaper"]) / "x.why.json").write_text("{}")


CHANGES = [
    delete_a_document, tear_a_document, double_a_unit, rename_a_unit, change_a_field, change_a_request, move_a_unit,
    double_a_request, rename_a_request, change_marks, change_the_turn, change_the_buffer, remove_what_proves,
    remove_a_directory, add_a_stranger, add_a_reason,
]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_right_one_has_no_finding(stages, stage):
    desk = again(stages, stage)
    report = desk.check()
    assert report.steady
    assert report.findings == []
    assert len(report.sums) == 1
    assert {path.parent.name for path in units(desk.root / "ws")} - WHERE[stage] == set()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(stage=st.sampled_from(STAGES), seed=st.integers(0, 2**32))
def test_any_single_change_is_found(stages, change, stage, seed):
    desk = again(stages, stage)
    source = random.Random(seed)
    if change(desk.root / "ws", desk.root / "nersc/buffer", lambda things: source.choice(list(things))) is False:
        return
    report = desk.check()
    assert report.findings, (change.__name__, stage)
    # Repairing what it says makes nothing worse.
    if not [finding for finding in report.findings if finding.where == layout.IDENTITY]:
        desk.repair()
        after = {f.code for f in desk.check().findings}
        assert after <= {f.code for f in report.findings}

"""`check --repair`: each thing that is safe to mend is mended, whatever kills it in the middle; nothing else is touched."""

import json
import shutil

import pytest
from desk import Desk
from dying_disk import Deaths, Died, DyingDisk

from tacc_sync.operator import repair as operator_repair
from tacc_sync.rules import repair
from tacc_sync.workspace import layout
from tacc_sync.workspace.home import Home

GONE = "0123456789ab.AA0001.0000.5"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


def half(root):
    """What is on tape has been retrieved, nothing delivered; everybody has left."""
    desk = Desk(root).at_once()
    desk.fill()
    desk.drop()
    desk.run("syncer", "retriever")
    return leave(desk)


def done(root):
    desk = half(root)
    desk.run()
    return leave(desk)


def leave(desk):
    for component in desk._components.values():
        component._bench.home.leave()
    desk._components.clear()
    return desk


def unit_of(desk, place):
    return min(p for p in (desk.root / "ws" / place).rglob("*.json") if p.name.count(".") == 4)


def worker(desk, *, dead=True):
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="retriever", thread=70)
    home.enter()
    if dead:
        desk.host.dead.add(desk.host.pid)
        desk.host.pid += 1
    return home


# --- what can be off, and is mended ------------------------------------------------------------------------------------


def turn(desk):
    (desk.root / "ws/turn").unlink()


def reason(desk):
    (desk.root / "ws/quarantine/reaper/x.why.json").write_text("{}")


def reason_of_a_unit(desk):
    (desk.root / f"ws/quarantine/retriever/{unit_of(desk, '').stem}.why.json").write_text("{}")


def rest(desk):
    (desk.root / f"ws/rests/{GONE}~1800000000").touch()
    (desk.root / f"ws/rests/{GONE}~1800000001").touch()


def slot(desk):
    (desk.root / f"ws/globus_slots/{GONE}").touch()


def slot_of_a_finished_unit(desk):
    (desk.root / f"ws/globus_slots/{unit_of(desk, 'finished').stem}").touch()


def cartridge(desk):
    (desk.root / "ws/cartridges/AA0001").write_text("retriever.dtn09.x.1.1.abc")


def reservation(desk):
    (desk.root / f"ws/reservations/{GONE}.5").touch()


def reservation_of_a_finished_unit(desk):
    unit = unit_of(desk, "finished").stem
    (desk.root / f"ws/reservations/{unit}.{unit.rpartition('.')[2]}").touch()


def no_reservation(desk):
    for path in (desk.root / "ws/reservations").iterdir():
        path.unlink()


def copies_of_a_finished_unit(desk):
    unit = unit_of(desk, "finished").stem
    (desk.root / "nersc/buffer" / unit).mkdir()
    (desk.root / "nersc/buffer" / unit / "000000").write_bytes(b"x")
    (desk.root / f"ws/reservations/{unit}.{unit.rpartition('.')[2]}").touch()


def half_born(desk):
    home = worker(desk)
    (desk.root / "ws" / home.path).rename(desk.root / f"ws/claims/new~{home.name}")


def fenced(desk):
    home = worker(desk)
    (desk.root / "ws" / home.path).rename(desk.root / f"ws/claims/dead~{home.name}~0badcafe")
    (desk.root / "nersc/buffer" / home.part).rmdir()


def queue(desk):
    (desk.root / "ws/reaper_queue").rmdir()
    (desk.root / "ws/quarantine/syncer").rmdir()


MENDABLE = [
    (half, turn),
    (done, turn),
    (half, reason),
    (half, reason_of_a_unit),
    (half, rest),
    (half, slot),
    (done, slot_of_a_finished_unit),
    (half, cartridge),
    (half, reservation),
    (done, reservation_of_a_finished_unit),
    (half, no_reservation),
    (done, copies_of_a_finished_unit),
    (half, half_born),
    (half, fenced),
    (half, queue),
]
IDS = [f"{world.__name__}-{harm.__name__}" for world, harm in MENDABLE]


@pytest.mark.parametrize(("world", "harm"), MENDABLE, ids=IDS)
def test_it_is_found_mended_and_then_all_is_well(tmp_path, world, harm):
    desk = world(tmp_path)
    assert desk.check().findings == []
    harm(desk)
    assert desk.check().findings != []
    said = desk.repair()
    assert said
    assert desk.check().findings == []
    assert desk.repair() == []
    # Nobody's work was lost by it.
    desk.run()
    assert len(desk.delivered()) == 6


@pytest.mark.parametrize(("world", "harm"), MENDABLE, ids=IDS)
def test_killed_anywhere_and_begun_again_all_is_well(tmp_path, world, harm):
    made = world(tmp_path / "made").root
    died = at = 0
    while True:
        at += 1
        # The same world, harmed in the same way, and killed one change later.
        desk = _again(made, tmp_path / "again")
        harm(desk)
        deaths = Deaths(at)
        try:
            desk.repair(DyingDisk(desk.disk, deaths), DyingDisk(desk.buffer, deaths))
        except Died:
            died += 1
        else:
            break
        desk.host.dead.add(desk.host.pid)
        desk.host.pid += 1
        for _ in range(3):
            # A home that was not furnished yet does not say whose it is: only the lease tells.
            desk.recover()
            desk.clock.time += 3000
        desk.repair()
        assert desk.check().findings == [], at
    assert died >= 2


def _again(made, root):
    shutil.rmtree(root, ignore_errors=True)
    desk = Desk(root)
    for place in ("ws", "nersc", "tacc"):
        shutil.rmtree(root / place)
        shutil.copytree(made / place, root / place)
    return desk


# --- what is never mended ----------------------------------------------------------------------------------------------


def twice(desk):
    path = unit_of(desk, "globus_queue")
    shutil.copy(path, desk.root / "ws/reaper_queue" / path.name)


def torn(desk):
    unit_of(desk, "globus_queue").write_text("{")


def lost(desk):
    unit_of(desk, "globus_queue").unlink()


def edited(desk):
    path = unit_of(desk, "globus_queue")
    work = json.loads(path.read_text())
    work["files"].pop()
    path.write_text(json.dumps(work))


def two_turns(desk):
    home = worker(desk, dead=False)
    with home.turn():
        (desk.root / "ws/turn").touch()
        shutil.copy(desk.root / "ws/turn", desk.root / "ws/keep")
    shutil.move(desk.root / "ws/keep", desk.root / "ws" / home.path / "turn/turn")


@pytest.mark.parametrize("harm", [twice, torn, lost, edited, two_turns])
def test_what_needs_a_person_is_left_exactly_as_it_is(tmp_path, harm):
    desk = half(tmp_path)
    harm(desk)
    before = {name: (desk.root / "ws" / name).read_bytes() for name in desk.tree()}, desk.buffer_files()
    assert desk.repair() == []
    after = {name: (desk.root / "ws" / name).read_bytes() for name in desk.tree()}, desk.buffer_files()
    assert after == before
    assert desk.check().broken


def test_the_buffer_of_a_finished_unit_stays_when_its_document_does_not_vouch_for_all(tmp_path):
    desk = done(tmp_path)
    copies_of_a_finished_unit(desk)
    path = unit_of(desk, "finished")
    work = json.loads(path.read_text())
    work["files"][0]["outcome"] = "failed"
    path.write_text(json.dumps(work))
    desk.repair()
    assert desk.buffer_files() == [f"{path.stem}/000000"]


def test_the_buffer_of_a_finished_unit_stays_when_a_stranger_lies_in_it(tmp_path):
    desk = done(tmp_path)
    copies_of_a_finished_unit(desk)
    unit = unit_of(desk, "finished").stem
    (desk.root / "nersc/buffer" / unit / "notes").touch()
    assert desk.repair() == []
    assert desk.buffer_files() == [f"{unit}/000000", f"{unit}/notes"]


def test_the_turn_is_not_made_while_somebody_has_it(tmp_path):
    desk = half(tmp_path)
    home = worker(desk, dead=False)
    with home.turn():
        assert desk.repair() == []


def test_a_cartridge_is_kept_while_its_hsi_may_still_write(tmp_path):
    desk = half(tmp_path)
    holder = "retriever.dtn09.x.1.1.abc"
    (desk.root / "ws/cartridges/AA0001").write_text(holder)
    (desk.root / f"nersc/buffer/.part/{holder}").mkdir()
    assert desk.repair() == []
    (desk.root / f"nersc/buffer/.part/{holder}").rmdir()
    assert len(desk.repair()) == 1


def test_a_reason_is_kept_while_its_document_may_be_on_its_way(tmp_path):
    desk = half(tmp_path)
    unit = unit_of(desk, "globus_queue")
    home = worker(desk, dead=False)
    home.claim("globus_queue", unit.name)
    why = desk.root / f"ws/quarantine/globus_xfer/{unit.stem}.why.json"
    why.write_text("{}")
    assert desk.repair() == []
    assert why.exists()


@pytest.mark.parametrize("prefix", ["new~", "dead~"])
def test_a_home_whose_process_may_live_is_left_to_the_lease(tmp_path, prefix):
    desk = half(tmp_path)
    home = worker(desk, dead=False)
    suffix = "~0badcafe" if prefix == "dead~" else ""
    (desk.root / "ws" / home.path).rename(desk.root / f"ws/claims/{prefix}{home.name}{suffix}")
    assert desk.repair() == []
    assert [name.partition("~")[0] + "~" for name in desk.disk.names(layout.CLAIMS)] == [prefix]


@pytest.mark.parametrize("place", ["globus_queue", "claims/{home}/globus_queue"])
def test_what_has_changed_since_it_was_read_is_not_mended(tmp_path, place):
    """The readings agreed; then a worker was faster."""
    desk = half(tmp_path)
    unit = unit_of(desk, "globus_queue")
    home = worker(desk, dead=False)
    mends = [
        repair.Mend("slot", unit.stem),
        repair.Mend("rest", unit.stem),
        repair.Mend("reservation", unit.stem, unit.stem.rpartition(".")[2]),
        repair.Mend("buffer", unit.stem, "3"),
        repair.Mend("turn", "turn"),
    ]
    (desk.root / "ws/globus_slots" / unit.stem).touch()
    (desk.root / f"ws/rests/{unit.stem}~1800000000").touch()
    unit.rename(desk.root / "ws" / place.format(home=home.name) / unit.name)
    before = desk.tree(), desk.buffer_files()
    list(operator_repair.mend(desk.disk, desk.buffer, desk.clock, desk.host, mends[:4]))
    assert (desk.tree(), desk.buffer_files()) == before


# --- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_did_and_checks_again(tmp_path, capsys, monkeypatch):
    desk = half(tmp_path)
    monkeypatch.setenv("TRANSFER_DIR", str(tmp_path / "nersc/buffer"))
    turn(desk)
    slot(desk)
    before = desk.tree()
    desk.cli(capsys, "check", "--repair", "--dry-run", code=1)
    assert "would have made the turn anew" in desk.talk
    assert desk.tree() == before
    said = desk.cli_json(capsys, "check", "--repair")
    assert len(said["repaired"]) == 2
    assert (said["ok"], said["findings"]) == (True, [])
    desk.cli(capsys, "check", "--repair")
    assert "Nothing was mended" in desk.talk
    desk.cli(capsys, "check", "--dry-run", code=64)


def test_a_copy_is_not_repaired(tmp_path, capsys, monkeypatch):
    from tacc_sync.workspace import ownership

    desk = half(tmp_path)
    monkeypatch.setenv("TRANSFER_DIR", str(tmp_path / "nersc/buffer"))
    with desk.hands() as home:
        home.buffer = None
    home = worker(desk)
    ownership.claim(home)
    turn(desk)
    (tmp_path / "ws").rename(tmp_path / "copy")
    desk.root = tmp_path
    assert "WORKSPACE-COPIED" in str(
        [f["code"] for f in desk.cli_json(capsys, "--workspace", str(tmp_path / "copy"), "check", code=1)["findings"]]
    )
    desk.cli(capsys, "--workspace", str(tmp_path / "copy"), "check", "--repair", code=78)
    assert not (tmp_path / "copy/turn").exists()

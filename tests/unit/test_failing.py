"""Failures that are not the files' own: a cartridge on which many files fail, hsi's disk, and trouble everywhere."""

import json

import pytest
from desk import Desk
from house import SOURCE
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.cli.main import main
from tacc_sync.pipeline.attempt import World, attempt
from tacc_sync.rules import failing
from tacc_sync.rules.documents import File, Why
from tacc_sync.rules.faults import WorkFault, WorldFault

EIO = "get: Error -5 on transfer"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path).at_once()


def fill(desk, tapes, files):
    for tape in tapes:
        for n in range(files):
            desk.archive(f"{tape}/{n}", f"{tape} {n}".encode() * 9, volumes=(f"{tape}00",), section=n + 1)


def spoil(desk, tape, numbers, error=EIO):
    for n in numbers:
        desk.hpss.errors[f"{SOURCE}/{tape}/{n}"] = f"{error} {SOURCE}/{tape}/{n}"


def holds(desk):
    return {p.name: p.read_text() for p in (desk.root / "ws/hold").iterdir()}


def failures(desk):
    return {
        file["path"]: file.get("failures", 0)
        for place in ("hpss_queue", "reaper_queue", "globus_queue")
        for work in desk.documents(place).values()
        for file in work["files"]
        if file.get("failures", 0)
    }


# --- a cartridge -----------------------------------------------------------------------------------------------------


@pytest.mark.fault("hpss-tape")
def test_a_cartridge_on_which_many_files_fail_is_held_and_the_others_go_on(desk, capsys):
    desk.settings.hsi.tape_failures = 10
    fill(desk, ["AA0001", "AA0002"], 15)
    spoil(desk, "AA0001", range(12))
    desk.drop()
    desk.run()
    # Everything else has arrived: all of the other cartridge, and what could be read of this one.
    assert len(desk.delivered()) == 15 + 3
    assert desk.tree("quarantine") == []
    assert failures(desk) == {}
    tries = len(desk.hpss.sessions)
    (label, report) = holds(desk).popitem()
    assert label == "cartridge~AA0001"
    assert report.startswith("TAPE-FAILING: 12 of 15 files that were tried on cartridge AA0001")
    assert [line.split()[0] for line in report.splitlines() if line.startswith("/")] == [
        f"{SOURCE}/AA0001/{n}" for n in range(12)
    ]
    assert report.count("Error -5") == 12
    assert "Please look at this cartridge" in report

    # It says so, and stays away from it however long that lasts.
    assert main(["--workspace", desk.disk.root, "status"]) == 0
    said = capsys.readouterr().out
    assert "cartridge AA0001 is ON HOLD: TAPE-FAILING: 12 of 15" in said
    assert "unhold cartridge:AA0001" in said
    assert main(["--workspace", desk.disk.root, "status", "--strict"]) == 1
    desk.clock.time += 30 * 86400
    steps = desk.run()
    assert "1 units wait for cartridges on hold (AA0001)" in steps[1].waits_for
    assert len(desk.hpss.sessions) == tries
    assert desk.codes("broken") == []

    desk.hpss.errors.clear()
    assert main(["--workspace", desk.disk.root, "unhold", "cartridge:AA0001"]) == 0
    desk.run()
    assert len(desk.delivered()) == 30
    assert holds(desk) == {}
    assert desk.hpss.sessions[-1] == [f"{SOURCE}/AA0001/{n}" for n in range(12)]


def test_a_cartridge_in_small_units_is_held_before_their_attempts_are_used_up(desk):
    desk.settings.units.files = 2
    desk.settings.hsi.tape_failures = 6
    desk.settings.patience.attempts = 3
    fill(desk, ["AA0001", "AA0002"], 12)
    spoil(desk, "AA0001", range(12))
    desk.drop()
    desk.run()
    assert len(desk.delivered()) == 12
    assert list(holds(desk)) == ["cartridge~AA0001"]
    assert desk.tree("quarantine") == []
    assert max(failures(desk).values()) < 3


@pytest.mark.parametrize(
    ("spoiled", "error"),
    [
        (range(9), EIO),  # too few
        (range(6, 20), EIO),  # many, but most of the cartridge can be read
        (range(40), "get: No such file or directory"),
        (range(40), "get: Access denied [-13: HPSS_EACCES]"),
    ],
)
def test_single_files_and_files_own_faults_hold_no_cartridge(desk, spoiled, error):
    fill(desk, ["AA0001", "AA0002"], 40)
    spoil(desk, "AA0001", spoiled, error)
    desk.drop()
    desk.run()
    assert holds(desk) == {}
    (entry,) = desk.quarantined()
    assert len(json.loads((desk.root / "ws" / entry.why_path).read_text())["files"]) == len(spoiled)


def test_the_last_cartridge_is_held_when_it_fails_again_and_nothing_else_does(desk):
    desk.settings.patience.attempts = 2
    fill(desk, ["AA0001"], 12)
    spoil(desk, "AA0001", range(12))
    desk.drop()
    desk.run()
    assert list(holds(desk)) == ["cartridge~AA0001"]
    assert len(desk.hpss.sessions) == 2
    assert desk.tree("quarantine") == []


def test_holding_cartridges_can_be_switched_off(desk):
    desk.settings.hsi.tape_failures = 0
    fill(desk, ["AA0001", "AA0002"], 15)
    spoil(desk, "AA0001", range(15))
    desk.drop()
    desk.run()
    assert holds(desk) == {}
    assert len(desk.quarantined()) == 1


def test_a_cartridge_is_held_by_hand(desk, capsys):
    fill(desk, ["AA0001", "AA0002"], 3)
    desk.archive("both", b"both", volumes=("AA000100", "AA000200"))
    desk.drop()
    assert main(["--workspace", desk.disk.root, "hold", "cartridge:AA0001", "being", "repaired"]) == 0
    steps = desk.run()
    # What lies on two needs both, and so does what is read with it.
    assert sorted(name.split("/")[0] for name in desk.delivered()) == ["AA0002"] * 2
    assert "2 units wait for cartridges on hold (AA0001)" in steps[1].waits_for
    assert main(["--workspace", desk.disk.root, "unhold", "cartridge:AA0001"]) == 0
    desk.run()
    assert len(desk.delivered()) == 7
    for wrong in ("cartridge:", "cartridge:../x", "cartridge:AA0001/..", "cartridge:AA00010", "nobody"):
        assert main(["--workspace", desk.disk.root, "hold", wrong]) == 64
    assert "cartridge:LABEL" in capsys.readouterr().err
    assert holds(desk) == {}


FILES = st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), max_size=60)


@given(FILES, st.integers(0, 12), st.integers(0, 5), st.booleans(), st.integers(0, 3))
def test_a_cartridge_is_blamed_only_for_what_failed_on_it_last(tries, least, read, alone, sessions):
    tally, last = failing.Tally(), {}
    for number, is_fine, is_tapes in tries:
        file = File(path=f"/a/{number}", destination="/b", size=1)
        text = EIO if is_tapes else "No such file"
        tally.note(file, None if is_fine else Why(code="FILE-NOT-FETCHED", text=text), was_tried=True, at="now")
        if is_fine or is_tapes:
            last[number] = is_fine
    bad = sum(not is_fine for is_fine in last.values())
    assert len(tally.failed) == bad
    tally.sessions = sessions
    if tally.is_failing(least, read, alone=alone):
        assert least and bad >= least
        assert read > 0 or (alone and sessions > 1)
        assert bad > tally.fine >= sum(last.values())
        report = failing.report("AA0001", tally)
        assert all(f"/a/{number}  " in report for number, is_fine in last.items() if not is_fine)


# --- the world -------------------------------------------------------------------------------------------------------


def world_of(desk):
    return World(desk.disk, desk.buffer, desk.clock, desk.host, desk.settings, desk.report)


def step(desk, name, component):
    return attempt(world_of(desk), name, component, component._bench.home)


@pytest.mark.fault("hpss-unknown")
@pytest.mark.parametrize("kind", ["session", "file"])
def test_the_same_unknown_error_on_several_cartridges_is_the_worlds(desk, kind):
    desk.settings.patience.attempts = 3
    fill(desk, tapes := [f"AA000{n}" for n in range(8)], 12)
    for tape in tapes:
        if kind == "file":
            spoil(desk, tape, range(12))
    desk.drop()
    desk.run("syncer")
    retriever = desk.component("retriever")
    codes = []
    for _ in range(12):
        desk.hpss.trouble = ("HPSS-SESSION-BROKEN", "hsi ended with 75") if kind == "session" else None
        _, fault = step(desk, "retriever", retriever)
        codes.append(fault.code if fault else "")
    # The first ones may have been their own fault; from then on it is nobody's, however long it lasts.
    assert codes == ["", ""] + ["HPSS-FAILING"] * 10
    counted = failures(desk)
    assert len({path.split("/")[-2] for path in counted}) == 2
    assert set(counted.values()) == {1}
    assert holds(desk) == {}
    desk.hpss.errors.clear()
    desk.hpss.trouble = None
    desk.run()
    assert len(desk.delivered()) == 8 * 12


def test_a_success_in_between_makes_them_troubles_of_their_own(desk):
    streak = failing.Streak()
    for _ in range(5):
        assert not streak.is_everywhere("HSI-CRASHED", ["AA0001"])
        assert not streak.is_everywhere("HSI-CRASHED", ["AA0001"])
        assert not streak.is_everywhere("HSI-CRASHED", ["AA0002"])
        streak.success()
    assert not streak.is_everywhere("HSI-CRASHED", ["AA0001"])
    assert not streak.is_everywhere("HPSS-HANGING", ["AA0002"])
    assert not streak.is_everywhere("HPSS-HANGING", ["AA0003"])
    assert streak.is_everywhere("HPSS-HANGING", ["AA0001", "AA0003"])


@pytest.mark.fault("globus-unknown")
@pytest.mark.parametrize("kind", ["refused", "failed"])
def test_globus_saying_the_same_no_to_several_units_in_a_row_is_the_worlds(desk, kind):
    fill(desk, [f"AA000{n}" for n in range(8)], 2)
    desk.drop()
    desk.run("syncer", "retriever")
    desk.settings.patience.attempts = 2
    submit = desk.globus.submit

    def refuse(_order):
        raise WorkFault("GLOBUS-REFUSED", "400 BadRequest: (request 4711)")

    if kind == "refused":
        desk.globus.submit = refuse
    else:
        finish = desk.globus._finish

        def fail(task):
            finish(task, "FAILED")
            desk.globus._replace(task, fatal_error="SOMETHING_NEW: it broke")

        desk.globus._finish = fail
        desk.globus.leave_out = {f"/buffer/{unit}/{n:06d}" for unit in desk.documents("globus_queue") for n in range(2)}
    globus_xfer, reaper = desk.component("globus_xfer"), desk.component("reaper")
    codes = []
    for _ in range(200):
        _, fault = step(desk, "globus_xfer", globus_xfer)
        codes += [fault.code] if fault else []
        reaper.step()
        desk.clock.time += 5
    assert set(codes) == {"GLOBUS-FAILING"}
    assert len(codes) > 10
    assert desk.tree("quarantine") == []
    assert sum(failures(desk).values()) == 2 * 2
    desk.globus.submit = submit
    desk.globus.leave_out = set()
    if kind == "failed":
        desk.globus._finish = finish
    desk.run(rounds=2000)
    assert len(desk.delivered()) == 16
    assert len(desk.hpss.sessions) == 8


# --- the disk that hsi writes to -------------------------------------------------------------------------------------


@pytest.mark.fault("buffer-full")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("get: Error -28 (No space left on device) on transfer", "DISK-FULL"),
        ("get: Error -122 (Disk quota exceeded) on transfer", "DISK-QUOTA"),
        ("*** write: Read-only file system [-30]", "DISK-READ-ONLY"),
        ("get: Error -116 (Stale file handle) opening local file for", "DISK-STALE"),
    ],
)
def test_a_disk_on_which_hsi_cannot_write_is_the_worlds_trouble(desk, text, code):
    fill(desk, ["AA0001"], 6)
    spoil(desk, "AA0001", range(3, 6), text)
    desk.drop()
    desk.run("syncer")
    retriever = desk.component("retriever")
    _, fault = step(desk, "retriever", retriever)
    assert isinstance(fault, WorldFault)
    assert fault.code == code
    assert failures(desk) == {}
    # What had room goes on, and the rest is recalled later.
    desk.hpss.errors.clear()
    desk.run()
    assert len(desk.delivered()) == 6
    assert [len(session) for session in desk.hpss.sessions] == [6, 3]


def test_other_errors_are_none_of_the_disks():
    for said in ("", EIO, "No such file or directory", "HPSS_ENOENT", "space"):
        assert failing.local_trouble(said) == ""

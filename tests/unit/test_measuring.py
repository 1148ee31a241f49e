"""`doctor --measure`: what is chosen, what is made of what was seen, and that nothing is left behind."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace

import pytest
from desk import Desk
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.operator.growth import Growth
from tacc_sync.operator.hands import beating, hands
from tacc_sync.operator.measure import Extent, Site, measure
from tacc_sync.rules import identity, measuring
from tacc_sync.rules.faults import Fenced, OperatorFault, WorldFault
from tacc_sync.rules.liveness import Lease
from tacc_sync.rules.measuring import Arrival, Lying
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Status
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery

# --- what is chosen -------------------------------------------------------------------------------------------------

LYING = st.builds(
    Lying,
    st.uuids().map(lambda name: f"/h/{name}"),
    st.integers(0, 50),
    st.lists(st.sampled_from(["AA0001", "AA0002", "AA0003"]), max_size=2, unique=True).map(tuple),
    st.tuples(st.integers(0, 30), st.integers(0, 3)),
)


@given(st.lists(LYING, max_size=40), st.integers(2, 8), st.integers(1, 200), st.sets(st.sampled_from(["AA0001"])))
def test_no_file_twice_one_cartridge_in_tape_order_and_never_more_than_allowed(files, count, limit, avoid):
    sample = measuring.choose(files, count=count, limit=limit, avoid=avoid)
    if sample is None:
        return
    chosen = [sample.first, *sample.ordered, *sample.staged]
    assert len({file.path for file in chosen}) == len(chosen)
    assert {file.cartridges for file in chosen} == {(sample.cartridge,)}
    assert sample.cartridge not in avoid
    assert 2 <= len(sample.ordered) == len(sample.staged) <= count
    assert sample.room <= limit
    for half in (sample.ordered, sample.staged):
        assert sum(file.size for file in half) <= sample.room
        assert list(half) == sorted(half, key=lambda file: (file.place, file.path))
    # Neighbours: nothing of this cartridge that could have been taken lies between them.
    could = [file for file in files if file.cartridges == (sample.cartridge,) and 0 < file.size <= limit]
    could.sort(key=lambda file: (file.place, file.path))
    at = could.index(min(chosen, key=lambda file: (file.place, file.path)))
    assert {file.path for file in could[at : at + len(chosen)]} == {file.path for file in chosen}
    assert sample.first == could[at + len(chosen) - 1]


def on_tape(count, size=10, cartridge="AA0001"):
    return [Lying(f"/h/{cartridge}/{n:03d}", size, (cartridge,), (n, 0)) for n in range(count)]


def test_both_halves_lie_along_the_same_stretch():
    sample = measuring.choose(on_tape(23), count=11, limit=10**6, avoid=())
    places = [[file.place[0] for file in half] for half in (sample.ordered, sample.staged)]
    assert places == [[0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18], [4, 5, 6, 7, 12, 13, 14, 15, 19, 20, 21]]


def test_fewer_when_not_so_many_fit_and_none_when_not_even_two():
    assert len(measuring.choose(on_tape(50), count=8, limit=45, avoid=()).ordered) == 4
    assert measuring.choose(on_tape(50), count=8, limit=19, avoid=()) is None
    assert measuring.choose(on_tape(4), count=8, limit=10**6, avoid=()) is None
    other = on_tape(9, cartridge="AA0002")
    assert measuring.choose(on_tape(50) + other, count=2, limit=99, avoid={"AA0001"}).cartridge == "AA0002"


def test_of_very_many_files_some_are_enough():
    assert measuring.choose(on_tape(100_000), count=4, limit=10**6, avoid=()).first.place[0] > 1000


# --- what is made of it -----------------------------------------------------------------------------------------------


def one_after_the_other(sizes, rate, gap, *, seen=0.05):
    """Arrivals of files of these sizes; `gap` is a number or a function of the size."""
    now, found = 0.0, []
    for size in sizes:
        now += gap(size) if callable(gap) else gap
        found.append(Arrival(size, now + seen, int(rate * seen), now + size / rate))
        now += size / rate
    return found


@given(st.floats(1e6, 1e9), st.floats(0.1, 100), st.integers(2, 20))
def test_rate_and_gap_are_what_they_are(rate, gap, count):
    figures = measuring.tape_figures(one_after_the_other([int(rate * 20)] * count, rate, gap))
    assert figures.drive_rate == pytest.approx(rate, rel=0.01)
    assert figures.locate == pytest.approx(gap + 0.05, rel=0.01)
    assert not figures.reads_ahead


def test_where_a_file_is_read_whole_before_its_first_byte_that_is_the_drives_time():
    sizes = [10**9 * n for n in (3, 9, 1, 7, 5, 8, 2)]
    figures = measuring.tape_figures(one_after_the_other(sizes, 2e9, lambda size: 12 + size / 3e8))
    assert figures.reads_ahead
    assert figures.drive_rate == pytest.approx(1 / (1 / 2e9 + 1 / 3e8), rel=0.02)
    assert figures.locate == pytest.approx(12, abs=0.5)


def test_what_came_too_fast_has_no_rate():
    assert measuring.tape_figures([Arrival(5, 1.0, 5, 1.0), Arrival(5, 2.5, 5, 2.5)]) == measuring.TapeFigures(
        None, 1.5, (1.5,)
    )
    assert measuring.tape_figures([]) == measuring.TapeFigures(None, None, ())


def test_the_gain_is_that_of_as_many_bytes():
    assert measuring.stage_gain((300.0, 1000), (100.0, 1000), 10.0) == 3
    assert measuring.stage_gain((300.0, 1000), (100.0, 500), 10.0) == 2
    assert measuring.stage_gain((300.0, 1000), (100.0, 500), None) == 3
    assert measuring.stage_gain((0.0, 0), (0.0, 0), None) is None


@pytest.mark.parametrize(
    ("gain", "gaps", "stage", "said"),
    [
        (None, [10.0] * 40, False, "not measured"),
        (3.0, [10.0] * 8, False, "too few"),
        (1.05, [10.0, 11.0] * 20, False, "nothing that counts"),
        (0.6, [10.0, 11.0] * 20, False, "nothing that counts"),
        (1.3, [0.0, 100.0] * 20, False, "may be chance"),
        (1.3, [45.0, 55.0] * 20, True, "try"),
    ],
)
def test_it_is_recommended_only_beyond_chance(gain, gaps, stage, said):
    advice = measuring.advise(gain, sum(gaps) + 100, gaps)
    assert advice.stage is stage
    assert said in advice.text


@given(st.lists(st.floats(0, 1000), min_size=20, max_size=60), st.floats(1.1, 5))
def test_the_rule_is_the_one_that_the_guide_states(gaps, gain):
    seconds = sum(gaps) + 10
    beyond = seconds * (1 - 1 / gain) > 2 * statistics.stdev(gaps) * (2 * len(gaps)) ** 0.5
    assert measuring.advise(gain, seconds, gaps).stage == beyond


# --- watching ---------------------------------------------------------------------------------------------------------


class Growing:
    """A disk and a clock in one: files whose sizes are set by the test."""

    def __init__(self):
        self.sizes = {}
        self.now = 0.0

    def status(self, path):
        size = self.sizes.get(path)
        if size == "broken":
            raise OSError(5, "Input/output error")
        return None if size is None else Status("file", size, has_hole=False)

    def uptime(self):
        return self.now


def test_growth_is_seen_as_it_comes():
    world = Growing()
    growth = Growth(world, world, [(f"f{n}", 100) for n in range(20)])
    steps = [{"f0": 0}, {"f0": 40}, {"f0": 90}, {"f0": 100, "f1": 10}, {"f1": "broken"}, {"f1": 100}, {"f4": 100}]
    for step in steps:
        world.now += 1
        world.sizes.update(step)
        growth.look()
    assert growth.arrivals() == [Arrival(100, 2.0, 40, 4.0), Arrival(100, 4.0, 10, 6.0), Arrival(100, 7.0, 100, 7.0)]
    # Those that were skipped may still come, and many at once.
    world.now += 1
    world.sizes.update({f"f{n}": 100 for n in range(20)})
    growth.look()
    assert len(growth.arrivals()) == 20


def test_a_file_that_is_too_short_or_too_long_has_not_come():
    world = Growing()
    growth = Growth(world, world, [("a", 100), ("b", 100)])
    world.sizes = {"a": 99, "b": 101}
    growth.look()
    assert growth.arrivals() == []


# --- the whole ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.settings.buffer.quota = 10**6
    for n in range(12):
        desk.archive(f"file {n:02d}", b"%02d" % n * 500, volumes=("AA000100",), section=n)
    return desk


SOURCE = "/home/projects/demo"


def measured(desk, *paths, files=3, limit=10**5, at_once=None, globus=None, home=None):
    site = Site(desk.disk, desk.buffer, desk.clock, desk.settings, desk.hpss, at_once or desk.hpss, globus)
    if home is not None:
        return measure(site, home, paths or (SOURCE,), Extent(files, limit))
    with hands(desk.disk, desk.clock, desk.host, desk.buffer) as home:
        return measure(site, home, paths, Extent(files, limit))


def everything(desk):
    return sorted(str(path.relative_to(desk.root)) for path in desk.root.rglob("*"))


def test_it_leaves_its_figures_and_nothing_else(desk):
    before = everything(desk)
    found = measured(desk, SOURCE)
    assert sorted({*everything(desk)} - {*before}) == ["ws/rates.json"]
    written = json.loads((desk.root / "ws/rates.json").read_text())
    assert (written["version"], written["files"], written["cartridges"]) == (1, 7, 1)
    # Each field stands there, measured or not.
    assert written["network_rate"] is None
    assert [len(paths) for paths in desk.hpss.sessions] == [1, 3, 3]
    assert len({path for paths in desk.hpss.sessions for path in paths}) == 7
    assert any("nothing was sent" in note for note in found.notes)
    assert {figure.name for figure in found.figures} == set(written) - {
        "version", "measured_at", "cartridges", "files"
    }  # fmt: skip


def test_without_paths_it_takes_what_waits(desk):
    with pytest.raises(OperatorFault) as caught:
        measured(desk)
    assert (caught.value.code, caught.value.exit_code) == ("MEASURE-NO-FILES", 64)
    desk.drop()
    desk.run("syncer")
    assert measured(desk).rates.files == 7


def test_it_holds_its_cartridge_and_its_room_while_it_reads(desk):
    seen = []
    quota = desk.settings.buffer.quota

    def look(_paths):
        seen.append((queues.cartridges(desk.disk), sum(queues.reservations(desk.disk).values())))
        assert desk.codes() == []

    desk.hpss.on_get = look
    measured(desk, SOURCE)
    assert seen == [({"AA0001"}, 3000)] * 3
    assert quota == desk.settings.buffer.quota
    assert queues.reservations(desk.disk) == {}
    assert queues.cartridges(desk.disk) == set()


def test_a_cartridge_in_use_or_on_hold_is_left_alone(desk):
    (desk.root / "ws/cartridges/AA0001").write_text("retriever.x")
    with pytest.raises(OperatorFault, match="free and not held"):
        measured(desk, SOURCE)
    (desk.root / "ws/cartridges/AA0001").unlink()
    (desk.root / "ws/hold" / f"{layout.OF_CARTRIDGE}AA0001").write_text("")
    with pytest.raises(OperatorFault, match="free and not held"):
        measured(desk, SOURCE)
    assert desk.hpss.sessions == []


def test_a_cartridge_that_a_session_is_about_to_leave_is_left_alone(desk):
    (desk.root / "ws/cartridges/AA0001~last").write_text("retriever.x")
    with pytest.raises(OperatorFault, match="free and not held"):
        measured(desk, SOURCE)


def test_a_cartridge_that_comes_into_use_while_files_are_chosen_is_left_to_who_was_faster(desk):
    real = desk.hpss.list_trees

    def list_trees(roots):
        (desk.root / "ws/cartridges/AA0001").write_text("retriever.x")
        return real(roots)

    desk.hpss.list_trees = list_trees
    with pytest.raises(WorldFault) as caught:
        measured(desk, SOURCE)
    assert caught.value.code == "CARTRIDGE-IN-USE"
    assert desk.hpss.sessions == []
    assert not queues.reservations(desk.disk)
    assert (desk.root / "ws/cartridges/AA0001").read_text() == "retriever.x"


def test_without_room_it_is_refused(desk):
    desk.settings.buffer.quota = 2999
    with pytest.raises(WorldFault) as caught:
        measured(desk, SOURCE)
    assert caught.value.code == "MEASURE-NO-ROOM"
    desk.settings.buffer.quota = 3000
    assert measured(desk, SOURCE).rates.files == 7
    assert not queues.reservations(desk.disk)


def test_two_measurements_do_not_share_room(desk):
    def another(_paths):
        desk.hpss.on_get = lambda _paths: None
        for n in range(12):
            desk.archive(f"other {n:02d}", b"%02d" % n * 500, volumes=("AA000200",), section=n)
        with pytest.raises(WorldFault, match="another measurement"):
            measured(desk, SOURCE)

    desk.hpss.on_get = another
    assert measured(desk, SOURCE).rates.files == 7


def test_more_sessions_than_the_site_allows_are_not_opened(desk):
    for n in range(15):
        (desk.root / f"ws/cartridges/BB{n:04d}").write_text(f"retriever.{n}")
    with pytest.raises(WorldFault) as caught:
        measured(desk, SOURCE)
    assert caught.value.code == "HPSS-SESSIONS"


def test_hpss_that_is_down_is_not_measured(desk):
    desk.hpss.fault = WorldFault("HPSS-AWAY", "down")
    before = everything(desk)
    with pytest.raises(WorldFault, match="down"):
        measured(desk, SOURCE)
    assert everything(desk) == before


@pytest.mark.parametrize("what", ["trouble", "error", "short"])
def test_a_recall_that_goes_wrong_leaves_what_was_known_and_nothing_behind(desk, what):
    measured(desk, SOURCE)
    known = (desk.root / "ws/rates.json").read_bytes()
    before = everything(desk)

    def spoil(paths):
        if len(paths) == 1:
            return
        if what == "trouble":
            desk.hpss.trouble = ("HPSS-HANGING", "no byte has moved")
        elif what == "error":
            desk.hpss.errors[paths[1]] = "get: Error -5 on transfer"
        else:
            desk.hpss.damage[paths[1]] = b"short"

    desk.hpss.on_get = spoil
    with pytest.raises(WorldFault) as caught:
        measured(desk, SOURCE)
    assert caught.value.code == ("HPSS-HANGING" if what == "trouble" else "FILE-NOT-FETCHED")
    assert (desk.root / "ws/rates.json").read_bytes() == known
    assert everything(desk) == before
    assert desk.codes() == []


def test_a_stage_that_goes_wrong_costs_its_figure_alone(desk):
    class Broken:
        @staticmethod
        def get(*_args, **_kwargs):
            raise WorldFault("HPSS-SESSIONS", "too many")

    found = measured(desk, SOURCE, at_once=Broken())
    assert found.rates.stage_gain is None
    assert any("HPSS-SESSIONS" in note for note in found.notes)
    assert json.loads((desk.root / "ws/rates.json").read_text())["stage_gain"] is None


def test_globus_that_cannot_be_had_costs_its_figures_alone(desk):
    desk.settings.destination.scratch = "/ranch/scratch"

    def no_login():
        raise OperatorFault("GLOBUS-CREDENTIALS", "no login", "log in", 77)

    found = measured(desk, SOURCE, globus=no_login)
    assert found.rates.network_rate is None
    assert any("GLOBUS-CREDENTIALS" in note for note in found.notes)


def test_what_was_sent_stays_under_a_name_of_its_own(desk):
    desk.settings.destination.scratch = "/ranch/scratch"
    for _ in range(2):
        found = measured(desk, SOURCE, globus=lambda: desk.globus)
        # This service does not tell what has moved, so there is nothing to tell.
        assert found.rates.network_rate is None
        assert any(".tacc-sync-measure-" in note for note in found.notes)
    sent = sorted((desk.root / "tacc/ranch/scratch").iterdir())
    assert len(sent) == 2
    assert all(len(list(directory.iterdir())) == 3 for directory in sent)


@pytest.mark.parametrize(
    ("what", "said"),
    [("FAILED", "it broke"), ("stuck", "no byte has moved for 30 min"), ("outside", "does not lie below")],
)
def test_a_task_that_goes_wrong_is_ended_and_costs_its_figures_alone(desk, what, said):
    desk.settings.destination.scratch = "/ranch/scratch"
    if what == "FAILED":
        desk.globus.fate = "FAILED"
    elif what == "stuck":
        desk.globus.nice_status = "PERMISSION_DENIED"
    else:
        desk.settings.destination.path_prefix = "/elsewhere"
    found = measured(desk, SOURCE, globus=lambda: desk.globus)
    assert found.rates.network_rate is None
    assert len(desk.hpss.sessions) == 3
    assert any("MEASURE-UNSENT" in note and said in note for note in found.notes)
    assert {task.view.status for task in desk.globus.tasks.values()} <= {"FAILED"}


def test_a_task_tells_when_it_began_to_move_how_fast_and_when_it_was_over(desk):
    desk.settings.destination.scratch = "/ranch/scratch"
    real = desk.globus.task
    moved = iter([0, 0, 0, 0, 600, 1200, 1800, 2400, 3000, 3000, 3000, 3000])

    def task(task_id):
        desk.globus.slow = 11
        return replace(real(task_id), bytes_transferred=next(moved))

    desk.globus.task = task
    rates = measured(desk, SOURCE, globus=lambda: desk.globus).rates
    assert (rates.task_start, rates.network_rate, rates.verification) == (2.0, 2400 / 2.0, 1.5)


# --- killed ---------------------------------------------------------------------------------------------------------------


def dies_in(desk, number):
    """A measurement whose process dies in its so-and-so-many-th session; its home."""
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="operator")
    home.enter()

    class Killed(BaseException):
        pass

    def kill(_paths):
        if len(desk.hpss.sessions) >= number:
            raise Killed

    # As SIGKILL does it: nothing of what comes behind is done.
    desk.hpss.on_get = kill
    real = desk.buffer.unlink, desk.buffer.rmdir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tacc_sync.operator.measure._Room.give_back", lambda _self: None)
        with pytest.raises(Killed):
            measured(desk, home=home)
    assert (desk.buffer.unlink, desk.buffer.rmdir) == real
    desk.hpss.on_get = lambda _paths: None
    return home


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_drain_takes_all_of_it_back(desk, number):
    before = everything(desk)
    home = dies_in(desk, number)
    assert queues.reservations(desk.disk) == {identity.measuring_id(3000): 3000}
    assert queues.cartridges(desk.disk) == {"AA0001"}
    fence_and_drain(desk, home)
    assert [path for path in everything(desk) if "observed/" not in path] == before
    assert desk.codes() == []
    with pytest.raises(Fenced):
        home.beat()


def fence_and_drain(desk, home, *, buffer=True):
    observer = Home(desk.disk, desk.buffer if buffer else None, desk.clock, desk.host, component="recovery")
    observer.enter()
    recovery = Recovery(observer, Lease(), lambda *_: None)
    recovery.round()
    if desk.disk.status(home.path):
        recovery.fence(home.name)
    desk.clock.sleep(5000)
    recovery.round()
    desk.clock.sleep(5000)
    recovery.round()
    observer.leave()


def test_who_has_not_the_buffer_leaves_its_room_to_one_that_has(desk):
    before = everything(desk)
    home = dies_in(desk, 2)
    fence_and_drain(desk, home, buffer=False)
    # Its bytes may still lie there.
    assert queues.reservations(desk.disk)
    fence_and_drain(desk, home)
    assert not queues.reservations(desk.disk)
    assert [path for path in everything(desk) if "observed/" not in path] == before


def test_the_command_wants_its_paths_only_to_measure_them(desk, capsys):
    desk.cli(capsys, "doctor", "/home/projects/demo", code=64)
    assert "--measure" in desk.talk
    desk.cli(capsys, "doctor", "--measure", "--bytes", "plenty", code=64)
    assert "200GB" in desk.talk


# --- beating ----------------------------------------------------------------------------------------------------------------


def test_a_long_command_beats_and_a_fenced_one_stops(desk):
    pulses = []
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="operator")
    home.enter()
    desk.clock.sleep(100)
    before = home.last_beat
    with beating(home, Lease(), lambda: pulses.append(home.lost)):
        pass
    assert home.last_beat > before
    assert pulses == [False]
    desk.clock.sleep(100)
    desk.disk.rename(home.path, f"{layout.CLAIMS}/elsewhere")
    with beating(home, Lease(), lambda: pulses.append(home.lost)):
        pass
    assert home.lost
    assert pulses == [False]


def test_one_that_could_not_beat_for_half_a_lease_lets_go_of_hsi(desk, monkeypatch):
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="operator")
    home.enter()
    monkeypatch.setattr(home, "beat", lambda: (_ for _ in ()).throw(OSError(116, "Stale file handle")))
    desk.clock.sleep(1000)
    pulses = []
    with beating(home, Lease(), lambda: pulses.append(1)):
        pass
    assert home.lost
    assert pulses == []

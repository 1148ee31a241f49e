"""How large a request's units are is chosen once, from what was measured; whoever plans it again makes the same ones."""

from __future__ import annotations

import json

import pytest
from desk import Desk
from dying_disk import Deaths, Died, DyingDisk
from fakes import FakeHost

from tacc_sync.outside.checksums.listed import ListedChecksums
from tacc_sync.pipeline.foresight import Foresight
from tacc_sync.pipeline.step import Bench
from tacc_sync.pipeline.syncer import Syncer
from tacc_sync.rules.batches import MORE
from tacc_sync.rules.documents import BadDocument, Request
from tacc_sync.rules.validity import validate
from tacc_sync.workspace import site_rates
from tacc_sync.workspace.home import Home

ID = "f8c7f5f6-d70a-4abc-8def-0123456789ab"
FILES = 24
# 240 bytes: usual units have 20 bytes, larger ones 40 at most.
QUOTA, SESSIONS = 240, 1


def measured(house, wanted):
    """Rates by which units should have so many bytes."""
    path = house.root / "ws/rates.json"
    path.write_text(json.dumps({"version": 1, "network_rate": wanted / MORE * 2, "verification": 1.0}))


def a_house(root, wanted=None):
    root.mkdir(exist_ok=True)
    house = Desk(root)
    house.settings.buffer.quota, house.settings.hsi.sessions = QUOTA, SESSIONS
    for number in range(FILES):
        house.archive(f"f{number:02d}", b"x" * 10, section=number)
    if wanted:
        measured(house, wanted)
    house.drop(request_id=ID)
    return house


def units(house):
    return [len(work["files"]) for work in house.documents("hpss_queue").values()]


def request(house):
    (found,) = house.documents("request_queue").values()
    return found


@pytest.mark.parametrize(("wanted", "files"), [(None, 2), (5, 2), (33, 3), (40, 4), (10**9, 4)])
def test_units_are_as_large_as_the_measured_rates_want_and_the_buffer_allows(tmp_path, wanted, files):
    house = a_house(tmp_path, wanted)
    house.run("syncer")
    assert units(house) == [files] * (FILES // files)
    assert request(house)["unit_bytes"] // 10 == files


def test_what_is_foreseen_is_what_is_planned(tmp_path):
    house = a_house(tmp_path, 33)
    bench = house.bench("syncer")
    foreseen = Foresight(bench, house.hpss, None, [ListedChecksums()]).foresee(
        Request(version=1, source="/home/projects/demo", destination="/ranch/demo", request_id=ID)
    )
    ids = {unit.unit for unit in foreseen.units()}
    # Each time anew, and yet the same.
    measured(house, 10)
    assert {unit.unit for unit in foreseen.units()} == ids
    measured(house, 33)
    house.run("syncer")
    assert {work["unit"] for work in house.documents("hpss_queue").values()} == ids


def plan_and_die(house, host, deaths):
    disk = DyingDisk(house.disk, deaths)
    home = Home(disk, house.buffer, house.clock, host, component="syncer", thread=1)
    home.enter()
    Syncer(Bench(home, house.settings, house.report, lambda _: None), house.hpss).step()


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_change_and_measured_anew_the_units_are_those_of_one_choice(tmp_path, after):
    counting = a_house(tmp_path / "first", 33)
    deaths = Deaths()
    plan_and_die(counting, FakeHost(pid=777), deaths)
    assert deaths.count > 30
    first = anew = 0
    for at in range(1, deaths.count + 1):
        house = a_house(tmp_path / f"{at}", 33)
        try:
            plan_and_die(house, FakeHost(pid=777), Deaths(at, after=after))
        except Died:
            pass
        fixed = [path for path in (house.root / "ws").rglob("*.json") if b'"unit_bytes": 33' in path.read_bytes()]
        measured(house, 20)
        house.host.dead.add(777)
        house.recover()
        house.run("syncer")
        sizes = units(house)
        assert sum(sizes) == FILES
        assert sizes == ([3] * 8 if fixed else [2] * 12), at
        assert len(request(house)["plan"]["units"]) == len(sizes)
        first, anew = first + bool(fixed), anew + (not fixed)
    assert first > 20
    assert anew > 3


def test_a_smaller_buffer_makes_smaller_units_whatever_was_chosen(tmp_path):
    house = a_house(tmp_path, 40)
    (path,) = (house.root / "ws/inbox").glob("*.json")
    document = json.loads(path.read_text()) | {"unit_bytes": 40, "admitted": {"token": "t", "at": ""}}
    path.write_text(json.dumps(document))
    house.settings.buffer.quota = QUOTA // 2
    house.run("syncer")
    assert units(house) == [2] * 12
    assert request(house)["unit_bytes"] == 20


@pytest.mark.parametrize("about", [{"unit_bytes": 5}, {"unit_bytes": -1}])
def test_nobody_else_chooses(about):
    with pytest.raises(BadDocument, match="unit_bytes"):
        validate(Request(version=1, source="/a", destination="/b", **about))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version":2}', b'{"version":1,"more":1}', b'{"version":1,"network_rate":"fast"}']
)
def test_rates_that_cannot_be_read_count_as_not_measured(tmp_path, content):
    house = a_house(tmp_path)
    (house.root / "ws/rates.json").write_bytes(content)
    assert site_rates.read(house.disk) is None
    house.run("syncer")
    assert units(house) == [2] * 12


def test_rates_in_whose_place_something_else_lies_count_as_not_measured(tmp_path):
    house = a_house(tmp_path)
    (house.root / "ws/rates.json").mkdir()
    assert site_rates.read(house.disk) is None

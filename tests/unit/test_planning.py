"""A large request is planned part by part, and comes out as if it had been planned at once."""

import random

import pytest
from house import SOURCE, House
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.outside.host.spool import Shelves, Spool
from tacc_sync.outside.hpss.interface import ListedFile
from tacc_sync.pipeline import planning
from tacc_sync.rules import division
from tacc_sync.rules.division import Division
from tacc_sync.rules.repeats import Repeats


def listed(number, path=None):
    return ListedFile(path or f"/s/{number}", number, number % 7, number % 5, ("AA0001",), "2020-01-01T00:00:00")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6))), st.integers(0, 30), st.integers(1, 9))
def test_what_is_put_on_a_shelf_comes_back_in_order_each_time(puts, in_memory, block):
    shelves = Shelves(ListedFile, in_memory=in_memory, block=block)
    for shelf, number in puts:
        shelves.put(shelf, listed(number))
    assert shelves.shelves() == {shelf for shelf, _ in puts}
    for _ in range(2):
        for shelf in range(6):
            assert list(shelves.on(shelf)) == [listed(number) for other, number in puts if other == shelf]


def test_names_that_are_no_utf8_come_back_too():
    files = [listed(number, f"/s/{number}\udcff" if number % 3 else None) for number in range(100)]
    spool = Spool(ListedFile, files, in_memory=10, block=7)
    assert len(spool) == 100
    assert sorted(spool, key=lambda file: file.size) == files


@given(st.lists(st.text(max_size=3)))
def test_repeats_are_found(texts):
    repeats = Repeats()
    for text in texts:
        repeats.add(text)
    assert repeats.suspects() == {hash(text) for text in texts if texts.count(text) > 1}
    assert repeats.also_in({"a", "b", *texts[:2]}) == sorted({"a", "b", *texts[:2]} & set(texts))


@given(st.lists(st.sampled_from(["/s/a/1", "/s/a/2", "/s/a/b/3", "/s/4", "/t/5", "/t/c/6", "/u/x", "/s/a/b/c/7"])))
def test_a_directory_is_in_one_part_whoever_speaks_of_it(paths):
    parts = Division(["/s", "/t", "/u/x"], "/d", 100, part_files=9)
    assert parts.parts == 12
    for path in paths:
        relative = path[3:] if path[:2] != "/u" else "x"
        assert parts.of_source(path) == parts.of_destination(f"/d/{relative}")


def fill(house, tapes=3):
    rng = random.Random(5)
    for number in range(60):
        house.archive(
            f"d{number % 4}/e{number % 5}/file {number}", bytes([number]) * (number + 1),
            volumes=(f"AA000{number % tapes}00",), section=rng.randrange(1000),
        )  # fmt: skip


def plan_of(root, monkeypatch, *, part_files, overlap):
    """What lies in the queues when a request is planned in parts of that size, beside what is there or carried."""
    root.mkdir()
    house = House(root)
    house.settings.units.files = 4
    if overlap:
        house.archive("d0/e0/first", b"x", volumes=("AA000000",))
        house.drop("first.json", request_id="10000000-0000-4000-8000-000000000000", include=["d0/**"])
        house.run()
        fill(house)
        house.drop("second.json", request_id="20000000-0000-4000-8000-000000000000", include=["d1/**"])
        house.run("syncer")
    else:
        fill(house)
    monkeypatch.setattr(division, "PART_FILES", part_files)
    monkeypatch.setattr(planning, "Division", lambda *a: Division(*a, part_files=part_files))
    house.drop("third.json", request_id="30000000-0000-4000-8000-000000000000")
    house.run("syncer")
    tree = {}
    for place in ("hpss_queue", "finished", "loans", "quarantine"):
        for path in sorted((house.root / "ws" / place).rglob("300000000000*")):
            for file in path.glob("*") if path.is_dir() else [path]:
                if file.name != "admitted.json" and ".there." not in file.name:
                    tree[f"{place}/{file.name}"] = file.read_bytes()
    (there,) = [p.read_text() for p in (house.root / "ws/finished").glob("300000000000/*.there.*")] or [""]
    tree["there"] = there.count('"proven"')
    return tree


@pytest.mark.parametrize("overlap", [False, True])
def test_in_many_parts_as_in_one(tmp_path, monkeypatch, overlap):
    one = plan_of(tmp_path / "one", monkeypatch, part_files=1000, overlap=overlap)
    many = plan_of(tmp_path / "many", monkeypatch, part_files=3, overlap=overlap)
    assert len(one) > 10
    assert one == many
    assert one["there"] == overlap


def test_a_file_where_another_part_needs_a_directory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "Division", lambda *a: Division(*a, part_files=1))
    house = House(tmp_path)
    for name in ("a/x/y", "b/x", *(f"a/{n}/z" for n in range(9))):
        house.archive(name, b"1")
    house.drop(source=[f"{SOURCE}/a", f"{SOURCE}/b"])
    house.run("syncer")
    (why,) = house.whys("quarantine/syncer").values()
    assert why["code"] == "DESTINATION-COLLISION"
    assert "a/x/y" in why["text"]
    assert "b/x" in why["text"]

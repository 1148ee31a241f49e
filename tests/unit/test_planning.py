"""A large request is planned part by part, and comes out as if it had been planned at once."""

import random
from itertools import groupby
from operator import attrgetter

import pytest
from house import SOURCE, House
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import astuple, replace

from tacc_sync.outside.host.spool import Shelves, Spool
from tacc_sync.outside.hpss.interface import ListedFile, listed_files
from tacc_sync.pipeline import planning
from tacc_sync.pipeline.planning import Planning
from tacc_sync.rules import division, selection
from tacc_sync.rules.batches import Candidate
from tacc_sync.rules.division import Division
from tacc_sync.rules.documents import Request
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.repeats import Paths, Repeats


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


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60), st.integers(0, 30), st.integers(1, 9))
def test_each_record_goes_to_its_shelf_whatever_is_beside_it(puts, in_memory, block):
    shelves = Shelves(Candidate, in_memory=in_memory, block=block)
    files = [listed(number, f"/s/{number}\udcff" if is_odd else None) for number, (_, is_odd) in enumerate(puts)]
    for start in range(0, len(puts), 7):
        shelves.put_each([shelf for shelf, _ in puts[start : start + 7]], files[start : start + 7])
    for shelf in range(6):
        found = list(shelves.on(shelf))
        # What was listed comes back as a candidate of which nothing else is known.
        assert all(
            type(file) is Candidate and file == Candidate(*astuple(file)[:6])
            for file in found
            if file.path[-1] != "\udcff"
        )
        ours = [file for file, (other, _) in zip(files, puts, strict=True) if other == shelf]
        assert sorted(file.path for file in found) == sorted(file.path for file in ours)
        assert [f.path for f in found if f.path.isascii()] == [f.path for f in ours if f.path.isascii()]
        assert all(len(some) <= max(block, sum(odd for _, odd in puts)) for some in shelves.blocks(shelf))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60), st.integers(0, 30), st.integers(1, 9))
def test_what_lies_on_shelves_comes_back_in_order_too(puts, in_memory, block):
    files = [
        replace(listed(number, f"/s/{number}\udcff" if is_odd else None), volumes=(f"AA000{shelf}",))
        for number, (shelf, is_odd) in enumerate(puts)
    ]
    spool = Spool(ListedFile, files[:7], by=attrgetter("volumes"), in_memory=in_memory, block=block)
    spool.extend(files[7:])
    even, odd = ([file for file in files if (file.path[-1] == "\udcff") == is_odd] for is_odd in (False, True))
    for _ in range(2):
        found = list(spool)
        assert found[: len(even)] == even
        assert sorted(file.size for file in found[len(even) :]) == [file.size for file in odd]
        assert [file for some in spool.blocks() for file in some] == found
    assert spool.shelves.has_odd == bool(odd)
    if not odd:
        candidates = spool.shelves.read_as(Candidate)
        for volumes in candidates.shelves():
            ours = [Candidate(*astuple(file)) for file in files if file.volumes == volumes]
            assert list(candidates.on(volumes)) == ours


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
    together = Repeats()
    together.add_all(texts[1:])
    together.suspects()
    together.add_all(texts[:1])
    assert together.suspects() == repeats.suspects()


def test_repeats_are_found_among_more_than_are_sorted_at_once():
    repeats = Repeats()
    texts = [f"/s/{number}" for number in range(200_000)]
    for start in range(0, len(texts), 999):
        repeats.add_all(texts[start : start + 999])
    assert not repeats.suspects()
    repeats.add("/s/7")
    repeats.add_all(["/s/199999", "/t"])
    assert repeats.suspects() == {hash("/s/7"), hash("/s/199999")}
    assert repeats.also_in(["/s/8", "/x", "/t"]) == ["/s/8", "/t"]


PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))


@given(st.lists(PATHS, max_size=12), st.booleans())
def test_paths_that_repeat_or_nest_are_found(paths, is_grouped):
    known = Paths()
    if is_grouped:
        for directory, group in groupby(paths, key=lambda path: path.rpartition("/")[0]):
            known.add_names(directory, [path.rpartition("/")[2] for path in group])
    else:
        for path in paths:
            known.add(path)
    assert set(known.directories) == {path.rpartition("/")[0] for path in paths}
    assert known.repeated() == {path.rpartition("/")[0] for path in paths if paths.count(path) > 1}
    assert known.nested() == {path for path in paths if any(other.startswith(f"{path}/") for other in paths)}


@given(st.lists(PATHS, max_size=8, unique=True), st.sampled_from(["/", "/a", "/b/a"]), st.data())
def test_what_is_all_meant_is_selected_whole(paths, source, data):
    """Only where the selection of single files takes all of them, and none meets another, may it be left out."""
    request = Request(version=1, source=source, destination="/d")
    if data.draw(st.integers(0, 3)) == 0:
        request = structs.replace(request, **data.draw(st.sampled_from([{"include": ["**"]}, {"exclude": ["a"]}])))
    known = Paths()
    for path in paths:
        known.add(path)
    files = [listed(number, path) for number, path in enumerate(paths)]
    try:
        chosen = selection.select(request, files).files
    except WorkFault:
        chosen = None
    if selection.means_all(request, known):
        assert chosen == files
    elif not (request.include or request.exclude) and paths:
        assert chosen != files or any(path == source for path in paths)


def test_a_listing_that_is_planned_as_it_lies(tmp_path, monkeypatch):
    """It gives the units and the index that it gives file by file."""
    found, selected, select = [], [], selection.select
    monkeypatch.setattr(selection, "select", lambda *about: selected.append(about) or select(*about))
    for is_asked in (False, True):
        house = House(tmp_path / str(is_asked))
        house.settings.hsi.hashes = False
        fill(house)
        list_trees = house.hpss.list_trees

        def watched(roots, checkpoint, list_trees=list_trees):
            listing = list_trees(roots, checkpoint)
            listing.paths = Paths()
            for file in listing.files:
                listing.paths.add(file.path)
            listing.files = listed_files(listing.files)
            return listing

        monkeypatch.setattr(house.hpss, "list_trees", watched)
        selected.clear()
        if is_asked:
            monkeypatch.setattr(Planning, "_is_as_listed", lambda *_: False)
        house.drop(request_id="30000000-0000-4000-8000-000000000000")
        house.run("syncer")
        assert bool(selected) == is_asked
        places = [house.root / "ws/hpss_queue", house.root / "ws/finished/300000000000"]
        names = [path for place in places for path in place.iterdir() if path.name != "admitted.json"]
        found.append({path.name: path.read_bytes() for path in names})
    assert found[0] == found[1]
    assert len(found[0]) == 4


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


def one_by_one(monkeypatch):
    """Each listed file is a part by itself."""
    monkeypatch.setattr(planning, "PART_FILES", 1)
    monkeypatch.setattr(planning, "IN_ORDER", 1)
    monkeypatch.setattr(Spool, "blocks", lambda self: ([file] for file in self))


@pytest.mark.parametrize("source", [SOURCE, [f"{SOURCE}/d0", f"{SOURCE}/d1", f"{SOURCE}/d2", f"{SOURCE}/d3"]])
def test_file_by_file_as_at_once(tmp_path, monkeypatch, source):
    found = []
    for name in ("at once", "one by one"):
        house = House(tmp_path / name)
        fill(house)
        house.archive("d1/e1/\u00e4", b"1", volumes=("AA000100",))
        house.archive("d1/.Trash/x", b"1", volumes=("AA000100",))
        if name != "at once":
            one_by_one(monkeypatch)
        house.drop(request_id="30000000-0000-4000-8000-000000000000", source=source)
        house.run("syncer")
        queue = house.root / "ws" / "hpss_queue"
        found.append({path.name: path.read_bytes() for path in queue.iterdir()})
        (index,) = (house.root / "ws/finished/300000000000").glob("index.*")
        found[-1]["index"] = index.read_bytes()
    assert len(found[0]) == 4
    assert sum(content.count(b'"path"') for content in found[0].values()) == 61
    assert found[0] == found[1]


def test_files_of_two_parts_that_meet_at_one_destination_are_refused(tmp_path, monkeypatch):
    one_by_one(monkeypatch)
    house = House(tmp_path)
    for name in ("a/x", "a/y", "b/z", "b/x"):
        house.archive(name, b"1")
    house.drop(source=[f"{SOURCE}/a", f"{SOURCE}/b"])
    house.run("syncer")
    (why,) = house.whys("quarantine/syncer").values()
    assert why["code"] == "DESTINATION-COLLISION"
    assert "a/x and" in why["text"]
    assert "b/x would" in why["text"]


@pytest.mark.parametrize("differs", [False, True])
def test_a_listing_that_names_a_file_twice_in_two_parts(tmp_path, monkeypatch, differs):
    one_by_one(monkeypatch)
    house = House(tmp_path)
    for name in ("a/x", "a/y", "b/z"):
        house.archive(name, b"1")
    list_trees = house.hpss.list_trees

    def twice(roots, checkpoint):
        listing = list_trees(roots, checkpoint)
        first = next(iter(listing.files))
        listing.files.append(replace(first, size=first.size + differs))
        return listing

    monkeypatch.setattr(house.hpss, "list_trees", twice)
    house.drop(request_id="30000000-0000-4000-8000-000000000000")
    house.run("syncer")
    if differs:
        (why,) = house.whys("quarantine/syncer").values()
        assert why["code"] == "LISTING-STRANGE"
    else:
        units = [path.read_text() for path in (house.root / "ws" / "hpss_queue").iterdir()]
        assert sum(text.count('"path"') for text in units) == 3

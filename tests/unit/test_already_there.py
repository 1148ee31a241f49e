"""What the destination has, or another request carries, is not recalled; what nobody knows is not overwritten."""

import json
import os
import time

import pytest
from fakes import FakeClock
from house import DESTINATION, SOURCE, House
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.operator.check import Checker
from tacc_sync.pipeline import syncer
from tacc_sync.pipeline.destination import Destination
from tacc_sync.pipeline.step import Moved
from tacc_sync.rules import presence
from tacc_sync.rules.faults import WorkFault, WorldFault
from tacc_sync.rules.presence import Remote, Vouched
from tacc_sync.workspace import recovery

WRITTEN = "2020-06-01T12:00:00"
NOON = int(time.mktime((2020, 6, 1, 12, 0, 0, 0, 0, -1)))


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.archive("a/one", b"1" * 100, volumes=("AG0001",))
    house.archive("a/two", b"2" * 200, volumes=("AG0001",))
    house.archive("b/three", b"3" * 300, volumes=("AG0002",))
    for archived in house.hpss.files.values():
        archived.written = WRITTEN
    return house


def keys(house):
    return {path.name for path in (house.root / "ws/finished").iterdir() if len(path.name) == 12}


def manifest(house, key):
    lines = (house.root / f"ws/finished/{key}/manifest.jsonl").read_text().splitlines()
    return {line["source"].removeprefix(SOURCE + "/"): line for line in map(json.loads, lines)}


def again(house, name="again.json", **fields):
    """Hand in the request once more, and run to the end; its key."""
    before = keys(house)
    house.drop(name, **fields)
    house.run()
    (key,) = keys(house) - before
    checked(house)
    return key


def checked(house):
    """`tacc-sync check` finds that everything adds up."""
    for component in house._components.values():
        component._bench.home.leave()
    house._components.clear()
    assert Checker(house.disk, house.buffer, house.clock, house.host, 0).check().findings == []


def there(house, name, content, mtime=NOON):
    path = house.root / "tacc" / DESTINATION[1:] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


def recalled(house):
    return [path for session in house.hpss.sessions for path in session]


def test_handed_in_again_nothing_is_recalled_and_the_first_delivery_vouches(house):
    first = again(house, "first.json")
    sessions, submits = len(house.hpss.sessions), house.globus.submits
    second = again(house)
    assert (len(house.hpss.sessions), house.globus.submits) == (sessions, submits)
    lines = manifest(house, second)
    assert {line["outcome"] for line in lines.values()} == {"proven"}
    assert {line["vouched_by"] for line in lines.values()} == {first}
    sums = "manifest-sha512.txt"
    assert sorted((house.root / f"ws/finished/{second}/{sums}").read_text().splitlines()) == sorted(
        (house.root / f"ws/finished/{first}/{sums}").read_text().splitlines()
    )
    third = again(house, "third.json")
    assert {line["vouched_by"] for line in manifest(house, third).values()} == {first}


def test_only_what_has_changed_in_the_archive_is_recalled_and_overwrites_what_we_left(house):
    again(house, "first.json")
    house.archive("a/two", b"NEW" * 50, volumes=("AG0001",))
    house.hpss.files[f"{SOURCE}/a/two"].written = "2021-01-01T00:00:00"
    house.hpss.sessions.clear()
    second = again(house)
    assert recalled(house) == [f"{SOURCE}/a/two"]
    assert manifest(house, second)["a/two"]["outcome"] == "delivered"
    assert house.delivered()["a/two"] == b"NEW" * 50


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path.write_bytes(b"x" * 200), os.utime(path, (7, 7))),
        lambda path: path.write_bytes(b"2" * 199),
        lambda path: os.utime(path, (1, 1)),
    ],
)
def test_a_destination_that_is_not_as_we_left_it_is_never_overwritten_in_silence(house, damage):
    again(house, "first.json")
    path = house.root / "tacc" / DESTINATION[1:] / "a/two"
    damage(path)
    content = path.read_bytes()
    house.hpss.sessions.clear()
    house.drop("again.json")
    house.run()
    assert recalled(house) == []
    assert path.read_bytes() == content
    (why,) = house.whys("quarantine/syncer").values()
    assert why["code"] == "DESTINATION-CONFLICT"
    assert why["files"] == [f"{SOURCE}/a/two"]


def test_overwriting_is_the_requests_own_word(house):
    path = there(house, "a/two", b"somebody's")
    key = again(house, "first.json", conflict="overwrite")
    assert path.read_bytes() == b"2" * 200
    assert manifest(house, key)["a/two"]["outcome"] == "delivered"


def test_what_is_not_ours_but_has_size_and_date_is_accepted_by_name(house):
    there(house, "a/one", b"?" * 100)
    key = again(house, "first.json")
    assert f"{SOURCE}/a/one" not in recalled(house)
    line = manifest(house, key)["a/one"]
    assert (line["outcome"], line["vouched_by"], line["hashes"]) == ("present", None, {})
    assert "a/one" not in (house.root / f"ws/finished/{key}/manifest-sha512.txt").read_text()


def test_or_recalled_or_put_aside_when_the_request_says_so(house):
    path = there(house, "a/one", b"?" * 100)
    again(house, "first.json", present="recall")
    assert path.read_bytes() == b"1" * 100
    path = there(house, "b/three", b"?" * 300)
    house.drop("second.json", source=f"{SOURCE}/b", destination=f"{DESTINATION}/b", present="quarantine")
    there(house, "b/three", b"?" * 300, mtime=NOON)
    house.run()
    codes = [why["code"] for why in house.whys("quarantine/syncer").values()]
    assert codes in (["DESTINATION-PRESENT"], ["DESTINATION-CONFLICT"])


def test_the_same_size_alone_is_nothing(house):
    there(house, "a/one", b"?" * 100, mtime=NOON + 1)
    house.drop()
    house.run()
    (why,) = house.whys("quarantine/syncer").values()
    assert why["code"] == "DESTINATION-CONFLICT"
    assert f"{SOURCE}/a/one" not in recalled(house)


def test_a_destination_that_cannot_be_listed_is_never_taken_for_empty(house):
    house.drop()
    house.globus.fault = None

    def refuse(_collection, _path):
        raise WorldFault("GLOBUS-AWAY", "no answer")

    house.globus.listing = refuse
    with pytest.raises(WorldFault):
        house.component("syncer").step()
    assert house.documents("hpss_queue") == {}


def test_a_listing_that_is_refused_is_no_fault_of_the_request_and_holds_up_no_other(house):
    listing = house.globus.listing

    def refuse(collection, path):
        if path.startswith(f"{DESTINATION}/refused"):
            raise WorkFault("GLOBUS-REFUSED", "400: strange")
        return listing(collection, path)

    house.globus.listing = refuse
    house.drop("first.json", destination=f"{DESTINATION}/refused")
    house.drop("second.json")
    syncer = house.component("syncer")
    for _ in range(2):
        assert isinstance(syncer.step(), Moved)
    with pytest.raises(WorldFault, match="strange"):
        syncer.step()
    assert len(house.documents("request_queue")) == 1
    assert len(house.documents("inbox")) == 1
    assert house.tree("quarantine") == []


# --- two requests at once -----------------------------------------------------------------------------------------


def test_what_another_request_carries_is_borrowed_and_nothing_is_recalled_twice(house):
    house.drop("first.json")
    house.run("syncer")
    (first,) = keys(house)
    house.drop("second.json")
    house.run("syncer")
    (second,) = keys(house) - {first}
    assert len(os.listdir(house.root / "ws/loans")) == 2
    house.run()
    assert sorted(recalled(house)) == sorted(house.hpss.files)
    assert {line["outcome"] for line in manifest(house, first).values()} == {"delivered"}
    assert {(line["outcome"], line["vouched_by"]) for line in manifest(house, second).values()} == {("proven", first)}
    assert os.listdir(house.root / "ws/loans") == []
    assert house.tree("hpss_queue") == []


def test_of_overlapping_requests_each_carries_its_own_part(house):
    house.drop("first.json", include=["a/**"])
    house.run("syncer")
    (first,) = keys(house)
    house.drop("second.json")
    house.run()
    (second,) = keys(house) - {first}
    assert sorted(recalled(house)) == sorted(house.hpss.files)
    assert {name: line["outcome"] for name, line in manifest(house, second).items()} == {
        "a/one": "proven",
        "a/two": "proven",
        "b/three": "delivered",
    }


def test_what_the_lender_gives_up_the_borrower_recalls_itself(house):
    house.drop("first.json", include=["a/**"])
    house.run("syncer")
    (first,) = keys(house)
    house.drop("second.json", include=["a/**"])
    house.run("syncer")
    (second,) = keys(house) - {first}
    give_up(house, first)
    house.run()
    assert {line["outcome"] for line in manifest(house, first).values()} == {"abandoned"}
    assert {line["outcome"] for line in manifest(house, second).values()} == {"delivered"}
    assert sorted(recalled(house)) == [f"{SOURCE}/a/one", f"{SOURCE}/a/two"]


def test_two_requests_with_other_content_for_one_destination_do_not_overwrite_each_other(house):
    house.archive("/home/projects/other/one", b"O" * 100, volumes=("AG0003",))
    house.drop("first.json", include=["a/one"])
    house.run("syncer")
    house.drop("second.json", source="/home/projects/other", destination=f"{DESTINATION}/a")
    house.run()
    (why,) = house.whys("quarantine/syncer").values()
    assert why["code"] == "DESTINATION-CLAIMED"
    assert house.delivered() == {"a/one": b"1" * 100}


def test_of_two_that_are_planned_at_the_same_moment_one_sees_the_other(house, monkeypatch):
    """The second commits while the first one still builds its units."""
    house.drop("first.json")
    write_index = syncer.Syncer._write_index
    once = []

    def interrupted(self, key, staged):
        if not once:
            once.append(key)
            house.drop("second.json")
            house.component("syncer", None).step()
        return write_index(self, key, staged)

    monkeypatch.setattr(syncer.Syncer, "_write_index", interrupted)
    house.run()
    assert sorted(recalled(house)) == sorted(house.hpss.files)
    outcomes = sorted({line["outcome"] for line in manifest(house, key).values()} for key in keys(house))
    assert sorted(map(sorted, outcomes)) == [["delivered"], ["proven"]]


def give_up(house, key):
    """The operator abandons what has not begun yet of a request."""
    for path in (house.root / "ws/hpss_queue").glob(f"{key}.*.json"):
        document = json.loads(path.read_text())
        for file in document["files"]:
            file |= {"outcome": "abandoned", "why": {"code": "ABANDONED", "text": "given up"}}
        path.unlink()
        (house.root / "ws/reaper_queue" / path.name).write_text(json.dumps(document))


def planned(house, name, **fields):
    """Hand in one more request and plan it; its key."""
    before = keys(house)
    house.drop(name, **fields)
    house.run("syncer")
    (key,) = keys(house) - before
    return key


def all_at_once(house):
    """Another process takes everything to its end."""
    components = [house.component(name) for name in ("syncer", "retriever", "globus_xfer", "reaper", "finisher")]
    moved = True
    while moved:
        moved = sum(isinstance(component.step(), Moved) for component in components) > 0
        house.clock.time += 100
    for component in components:
        component._bench.home.leave()


def test_of_three_that_wait_for_one_another_one_recalls_what_the_first_gives_up(house):
    first, second, third = (planned(house, f"{n}.json") for n in range(3))
    give_up(house, first)
    house.run()
    assert sorted(recalled(house)) == sorted(house.hpss.files)
    outcomes = [
        {(line["outcome"], line["vouched_by"]) for line in manifest(house, k).values()} for k in (second, third)
    ]
    assert outcomes == [{("delivered", None)}, {("proven", second)}]


def test_one_that_comes_when_the_lender_has_given_up_borrows_from_the_one_that_will_recall(house):
    first, second = (planned(house, f"{n}.json") for n in range(2))
    give_up(house, first)
    house.run("reaper", "finisher")
    assert (house.root / f"ws/finished/{first}/request.json").exists()
    third = planned(house, "late.json")
    house.run()
    assert sorted(recalled(house)) == sorted(house.hpss.files)
    assert {line["vouched_by"] for line in manifest(house, third).values()} == {second}


def test_what_has_gone_since_an_unfinished_request_delivered_it_is_not_borrowed_from_that_one(house):
    """Its unit is finished: whether the file is there, the destination tells."""
    planned(house, "first.json")
    hold = house.root / "ws/hold/cartridge~AG0002"
    hold.write_text("so that the request stays unfinished")
    house.run()
    assert set(house.delivered()) == {"a/one", "a/two"}
    hold.unlink()
    (house.root / "tacc" / DESTINATION[1:] / "a/one").unlink()
    house.hpss.sessions.clear()
    second = planned(house, "second.json")
    house.run()
    assert sorted(recalled(house)) == [f"{SOURCE}/a/one", f"{SOURCE}/b/three"]
    assert {name: line["outcome"] for name, line in manifest(house, second).items()} == {
        "a/one": "delivered",
        "a/two": "proven",
        "b/three": "proven",
    }
    assert set(house.delivered()) == {"a/one", "a/two", "b/three"}


def test_one_that_is_planned_and_finished_while_another_is_planned_is_not_missed(house, monkeypatch):
    write_index = syncer.Syncer._write_index
    once = []

    def interrupted(self, key, staged):
        if not once:
            once.append(key)
            house.drop("second.json", include=["a/**"])
            all_at_once(house)
        return write_index(self, key, staged)

    monkeypatch.setattr(syncer.Syncer, "_write_index", interrupted)
    house.drop("first.json")
    house.run()
    assert sorted(recalled(house)) == sorted(house.hpss.files)
    assert {name: line["outcome"] for name, line in manifest(house, once[0]).items()} == {
        "a/one": "proven",
        "a/two": "proven",
        "b/three": "delivered",
    }


def test_one_that_was_never_committed_keeps_none_from_being_planned(house, monkeypatch):
    """Its index is there: it was put back, and cannot be listed any more."""
    write_index = syncer.Syncer._write_index

    def interrupted(self, key, staged):
        write_index(self, key, staged)
        monkeypatch.setattr(syncer.Syncer, "_write_index", write_index)
        raise WorldFault("DISK-FULL", "no room")

    monkeypatch.setattr(syncer.Syncer, "_write_index", interrupted)
    house.drop("first.json")
    with pytest.raises(WorldFault):
        house.component("syncer").step()
    again(house, "second.json")
    assert sorted(recalled(house)) == sorted(house.hpss.files)


def test_a_loans_mark_stays_while_the_unit_that_it_is_about_is_being_published(house, monkeypatch):
    planned(house, "first.json")
    rename = recovery._rename_if_there
    looked = []

    def interrupted(disk, old, new):
        rename(disk, old, new)
        if new.startswith("loans/"):
            # Another host's syncer sees the mark, and no unit.
            looked.append(house.component("syncer").step())

    monkeypatch.setattr(recovery, "_rename_if_there", interrupted)
    house.drop("second.json")
    house.run()
    assert looked
    assert sorted(recalled(house)) == sorted(house.hpss.files)


# --- listings of the destination ----------------------------------------------------------------------------------


def test_each_directory_is_listed_once_in_a_measured_pace_and_of_a_tree_that_is_not_there_only_the_top(house):
    clock = FakeClock()
    for number in range(10):
        there(house, f"d{number}/x", b"x")
    destination = Destination(house.globus, clock, "destination", age=60, per_second=20)
    began = clock.uptime()
    for _ in range(2):
        for number in range(10):
            assert set(destination.listing(f"{DESTINATION}/d{number}", DESTINATION)) == {"x"}
            assert destination.listing(f"{DESTINATION}/no{number}/deep/er", DESTINATION) == {}
    assert destination.calls == 11
    assert clock.uptime() - began >= 10 / 20 - 0.01
    nowhere = Destination(house.globus, clock, "destination", age=60, per_second=20)
    for number in range(10):
        assert nowhere.listing(f"/nowhere/{number}/x", "/nowhere") == {}
    assert nowhere.calls == 1


# --- the law ------------------------------------------------------------------------------------------------------

sizes = st.integers(0, 3)
moments = st.integers(0, 3)
remotes = st.none() | st.builds(Remote, sizes, st.none() | moments.map(float))
vouchers = st.none() | st.builds(
    Vouched,
    request=st.just("k"),
    size=sizes,
    mtime=st.none() | moments,
    written=st.sampled_from(["w0", "w1"]),
    archive_hash=st.just(""),
    delivered_at=st.just(""),
)


@given(sizes, st.sampled_from(["w0", "w1"]), st.sets(moments), remotes, vouchers, st.booleans())
def test_nothing_is_left_out_or_overwritten_without_a_reason(size, written, times, remote, vouched, is_unproven):
    verdict = presence.judge(
        size=size, written=written, times=times, remote=remote, vouched=vouched, is_unproven=is_unproven
    )
    as_left = (
        remote is not None
        and vouched is not None
        and remote.mtime is not None
        and (remote.size, remote.mtime) == (vouched.size, vouched.mtime)
    )
    if verdict == "proven":
        assert as_left
        assert (vouched.size, vouched.written) == (size, written)
    if verdict == "present":
        assert (remote.size, remote.mtime in times) == (size, True)
        assert not is_unproven
    if verdict == "update":
        assert as_left
    if verdict == "absent":
        assert remote is None or is_unproven
    if remote is not None and not as_left and not is_unproven:
        assert verdict in {"present", "conflict"}


def test_a_date_without_a_zone_may_mean_two_moments_in_the_hour_that_comes_twice():
    twice = presence.times_of("2020-11-01T01:30:00", "America/Los_Angeles")
    assert len(twice) == 2
    assert twice[1] - twice[0] == 3600
    assert len(presence.times_of("2020-07-01T01:30:00", "America/Los_Angeles")) == 1
    assert presence.times_of("2020-07-01T01:30:00", "UTC") == (1593567000,)
    assert presence.times_of("", "UTC") == ()

"""Files to work units."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.rules.batches import Candidate, bytes_for_the_network, bytes_of_a_unit, plan_units, together
from tacc_sync.rules.documents import Work, decode, encode
from tacc_sync.rules.identity import parse_unit
from tacc_sync.rules.selection import destination_of
from tacc_sync.rules.site_rates import SiteRates

KEY = "f8c7f5f6d70a"


def listed(path, size=1, section=0, offset=0, volumes=("AG787200",)):
    speakable = not any("\udc80" <= character <= "\udcff" for character in path)
    return Candidate(path, size, section, offset, tuple(volumes), "2020-01-01T00:00:00", is_speakable=speakable)


def where(path):
    return destination_of(path, ["/s"], "/d")


def plan(files, *, unit_bytes=10**12, unit_files=2000, quota=0, sessions=5, wanted=0):
    limits = {"unit_bytes": unit_bytes, "unit_files": unit_files, "quota": quota, "sessions": sessions}
    limits["wanted"] = wanted
    return list(plan_units(KEY, by_volumes(files), **limits))


def by_volumes(files):
    found = {}
    for file in files:
        found.setdefault(file.volumes, []).append(file)
    return found


def paths(unit):
    return [file.path for file in unit.listed]


def test_a_tape_in_tape_order():
    files = [
        listed("/s/c", section=10, offset=2),
        listed("/s/b", section=9, offset=100),
        listed("/s/a", section=10, offset=10),
    ]
    (unit,) = plan(files)
    assert paths(unit) == ["/s/b", "/s/c", "/s/a"], "numbers, not text"
    assert (unit.unit, unit.tape, unit.bytes) == (f"{KEY}.AG7872.0000.3", ("AG7872",), 3)


def test_units_are_bounded_and_numbered_by_their_place_on_the_tape():
    units = plan([listed(f"/s/{i}", 4, section=i) for i in range(5)], unit_bytes=10)
    assert [unit.unit for unit in units] == [f"{KEY}.AG7872.000{i}.{size}" for i, size in enumerate([8, 8, 4])]
    units = plan([listed(f"/s/{i}", 0, section=i) for i in range(5)], unit_files=2)
    assert [len(unit.listed) for unit in units] == [2, 2, 1]


def test_the_quota_bounds_units_and_a_file_beyond_that_goes_alone():
    assert bytes_of_a_unit(1000, quota=0, sessions=5) == 1000
    assert bytes_of_a_unit(1000, quota=2800, sessions=5) == 100
    assert bytes_of_a_unit(1000, quota=3, sessions=5) == 1
    units = plan([listed("/s/a", 50), listed("/s/b", 300), listed("/s/c", 50)], quota=1400)
    assert [(paths(unit), unit.refused) for unit in units] == [(["/s/a"], None), (["/s/b"], None), (["/s/c"], None)]


def test_a_file_larger_than_the_buffer_is_refused_by_itself_behind_the_others():
    units = plan([listed("/s/a", 1401), listed("/s/b", 1400), listed("/s/c", 5000), listed("/s/d", 1)], quota=1400)
    assert [(paths(unit), unit.refused and unit.refused.code) for unit in units] == [
        (["/s/b"], None),
        (["/s/d"], None),
        (["/s/a"], "FILE-LARGER-THAN-BUFFER"),
        (["/s/c"], "FILE-LARGER-THAN-BUFFER"),
    ]
    assert [parse_unit(unit.unit).seq for unit in units] == [0, 1, 2, 3]
    assert all(unit.refused is None for unit in plan([listed("/s/a", 10**15)])), "without a quota nothing is too large"


def test_unspeakable_names_are_refused_in_bounded_batches():
    units = plan([listed(f"/s/{i}\udcff") for i in range(3)] + [listed("/s/z")], unit_files=2)
    assert [(len(unit.listed), unit.refused and unit.refused.code) for unit in units] == [
        (1, None),
        (2, "NAME-UNSPEAKABLE"),
        (1, "NAME-UNSPEAKABLE"),
    ]
    work = units[1].work(where, request_id="r", created_at="2026-01-01T00:00:00Z")
    assert work.files[0].path == "/s/0\\xff"
    assert work.files[0].outcome == "failed"
    assert work.files[0].why.at == "2026-01-01T00:00:00Z"
    assert decode(encode(work), Work) == work


def test_a_unit_becomes_a_document():
    (unit,) = plan([listed("/s/x/a b", 7, section=31, offset=5, volumes=("AU031800", "AU031900"))])
    work = unit.work(where, request_id="r", created_at="2026-01-01T00:00:00Z", priority=3)
    assert (work.unit, work.tape, work.bytes, work.priority) == (
        f"{KEY}.AU0318-AU0319.0000.7",
        ["AU0318", "AU0319"],
        7,
        3,
    )
    (file,) = work.files
    assert (file.path, file.destination, file.size) == ("/s/x/a b", "/d/x/a b", 7)
    assert (file.section, file.offset, file.written, file.outcome) == (31, 5, "2020-01-01T00:00:00", "waiting")
    assert decode(encode(work), Work) == work


def test_failure_04_paths_with_blanks_are_in_a_unit():
    files = [listed("/s/with blank"), listed("/s/ "), listed("/s/a\tb"), listed("/s/quote'\"")]
    (unit,) = plan(files)
    assert sorted(paths(unit)) == sorted(file.path for file in files)


def test_failure_13_files_on_several_cartridges_share_units():
    pairs = [("AU031800", "AU031900"), ("AU031900", "AU031800"), ("AU031801", "AU031900")]
    files = [listed(f"/s/{i}", section=i, volumes=pairs[i % 3]) for i in range(30)]
    files += [listed(f"/s/one{i}", section=i, volumes=("AU031800",)) for i in range(5)]
    units = plan(files)
    assert [(unit.tape, len(unit.listed)) for unit in units] == [(("AU0318",), 5), (("AU0318", "AU0319"), 30)]


def test_the_place_on_several_cartridges_is_that_on_the_first_one_named():
    one, other = ("AU031800", "AU031900"), ("AU031900", "AU031800")
    files = [
        listed("/s/a", section=1, volumes=other),
        listed("/s/b", section=2, volumes=one),
        listed("/s/c", section=1, volumes=one),
    ]
    (unit,) = plan(files)
    assert paths(unit) == ["/s/c", "/s/b", "/s/a"]


def test_failure_14_files_without_a_position_are_in_bounded_units():
    files = [listed(f"/s/{i:02d}", 10, volumes=()) for i in range(25)]
    units = plan(files, unit_bytes=100)
    assert [len(unit.listed) for unit in units] == [10, 10, 5]
    assert {parse_unit(unit.unit).tape for unit in units} == {"none"}
    assert all(unit.tape == () for unit in units)
    assert [path for unit in units for path in paths(unit)] == sorted(file.path for file in files)
    assert len(plan([listed(f"/s/{i}", 0, volumes=()) for i in range(25)], unit_files=10)) == 3


def test_a_file_on_too_many_cartridges_does_not_stop_the_others():
    wide = tuple(f"AG{i:04d}00" for i in range(12))
    units = plan([listed("/s/wide", volumes=wide), listed("/s/disk", volumes=()), listed("/s/ok")])
    assert [(paths(unit), unit.refused and unit.refused.code) for unit in units] == [
        (["/s/ok"], None),
        (["/s/disk"], None),
        (["/s/wide"], "STRIPE-TOO-WIDE"),
    ]


def test_units_come_one_by_one():
    units = plan_units(
        KEY, by_volumes([listed("/s/a"), listed("/s/b")]), unit_bytes=1, unit_files=1, quota=0, sessions=1
    )
    assert paths(next(units)) == ["/s/a"]
    assert paths(next(units)) == ["/s/b"]


volumes = st.sampled_from(
    [(), ("AG787200",), ("AG787201",), ("AU031800",), ("AG787200", "AU031800"), ("AU031800", "AG787200")]
)
files = st.lists(
    st.builds(
        listed,
        st.text("ab /\udcff", min_size=1, max_size=6).map(lambda text: "/s/" + text.replace("/", "_")),
        st.integers(0, 40),
        st.integers(0, 3),
        st.integers(0, 3),
        volumes,
    ),
    max_size=40,
    unique_by=lambda file: file.path,
)
limits = st.fixed_dictionaries(
    {
        "unit_bytes": st.integers(1, 60),
        "unit_files": st.integers(1, 6),
        "quota": st.integers(0, 100),
        "sessions": st.integers(1, 3),
        "wanted": st.integers(0, 100),
    }
)
sizes = st.integers(1, 10**15)


@given(unit_bytes=sizes, quota=st.integers(0, 10**15), sessions=st.integers(1, 15), wanted=st.integers(0, 10**16))
def test_a_unit_is_as_large_as_is_wanted_within_what_buffer_and_settings_allow(unit_bytes, quota, sessions, wanted):
    usual = bytes_of_a_unit(unit_bytes, quota=quota, sessions=sessions)
    size = bytes_of_a_unit(unit_bytes, quota=quota, sessions=sessions, wanted=wanted)
    assert 1 <= usual <= size <= unit_bytes
    if quota:
        assert size == 1 or size * 2 * (sessions + 2) <= quota
        assert size in {usual, wanted} or size == max(1, min(unit_bytes, quota // (2 * (sessions + 2))))
    # Chosen once, it stays as it is.
    assert bytes_of_a_unit(unit_bytes, quota=quota, sessions=sessions, wanted=size) == size


@given(
    rate=st.floats(1e6, 1e11), drive=st.none() | st.floats(1e6, 1e9), start=st.none() | st.floats(0, 600),
    verification=st.floats(0, 3600), sessions=st.integers(1, 15), tasks=st.integers(2, 6),
)  # fmt: skip
def test_while_one_task_starts_or_is_verified_the_others_have_enough_to_move(
    rate, drive, start, verification, sessions, tasks
):
    rates = SiteRates(version=1, network_rate=rate, drive_rate=drive, task_start=start, verification=verification)
    wanted = bytes_for_the_network(rates, sessions=sessions, tasks=tasks)
    flow = min(rate, sessions * drive) if drive else rate
    assert (tasks - 1) * (wanted + 1) / flow >= (start or 0) + verification


@pytest.mark.parametrize(
    "known",
    [
        None,
        {},
        {"network_rate": 1e9},
        {"verification": 300.0},
        {"network_rate": 0.0, "verification": 300.0},
        {"network_rate": -1e9, "verification": 300.0},
        {"network_rate": 1e9, "verification": -5.0},
        {"network_rate": 1e308, "verification": 1e308},
        {"network_rate": float("nan"), "verification": 1.0},
        {"network_rate": 1e9, "verification": 0.0, "task_start": -1.0},
    ],
)
def test_what_was_not_measured_or_cannot_be_true_makes_no_unit_larger(known):
    rates = SiteRates(version=1, **known) if known is not None else None
    assert bytes_for_the_network(rates, sessions=8, tasks=3) == 0


def test_with_one_task_at_a_time_no_size_helps():
    rates = SiteRates(version=1, network_rate=1e9, verification=300.0)
    assert bytes_for_the_network(rates, sessions=8, tasks=1) == 0
    assert bytes_for_the_network(rates, sessions=8, tasks=3) == 375_000_000_000


@given(files, limits, st.randoms(use_true_random=False))
def test_the_same_files_in_any_order_give_the_same_units(some_files, some_limits, chance: random.Random):
    shuffled = list(some_files)
    chance.shuffle(shuffled)
    assert plan(some_files, **some_limits) == plan(shuffled, **some_limits)


@given(files, limits)
def test_every_file_is_in_one_unit_and_all_bounds_are_kept(some_files, some_limits):
    units = plan(some_files, **some_limits)
    planned = [path for unit in units for path in paths(unit)]
    assert sorted(planned) == sorted(file.path for file in some_files)
    assert len({unit.unit for unit in units}) == len(units)
    most = bytes_of_a_unit(**{name: value for name, value in some_limits.items() if name != "unit_files"})
    for unit in units:
        name = parse_unit(unit.unit)
        assert name is not None
        assert name.cartridges == unit.tape
        assert name.bytes == unit.bytes == sum(file.size for file in unit.listed)
        assert 1 <= len(unit.listed) <= some_limits["unit_files"]
        assert unit.bytes <= most or len(unit.listed) == 1
        if unit.refused is None:
            assert not some_limits["quota"] or unit.bytes <= some_limits["quota"]
            if unit.tape and len(unit.tape) == 1:
                places = [(file.section, file.offset, file.path) for file in unit.listed]
                assert places == sorted(places)
    for tape in {unit.tape for unit in units}:
        ours = [unit for unit in units if unit.tape == tape]
        assert [parse_unit(unit.unit).seq for unit in ours] == list(range(len(ours)))
        refused = [unit.refused is not None for unit in ours]
        assert refused == sorted(refused)


def test_a_file_on_two_cartridges_takes_the_next_one_of_the_second_along():
    files = [listed(f"/s/{i}", 10, section=i, volumes=("AU031900",)) for i in range(4)]
    files += [listed(f"/s/first{i}", 10, section=i, volumes=("AU031800",)) for i in range(2)]
    files.append(listed("/s/both", 10, section=9, volumes=("AU031800", "AU031900")))
    units = plan(files, unit_bytes=20)
    assert [(unit.tape, paths(unit)) for unit in units] == [
        (("AU0318",), ["/s/first0", "/s/first1"]),
        (("AU0318", "AU0319"), ["/s/both", "/s/0"]),
        (("AU0319",), ["/s/1", "/s/2"]),
        (("AU0319",), ["/s/3"]),
    ]
    assert [paths(unit) for unit in plan(files, unit_bytes=10)][2] == ["/s/both"], "units stay as small as they must be"
    assert [paths(unit) for unit in plan(files, unit_bytes=20, unit_files=1)][2] == ["/s/both"]
    turned = [listed("/s/both", 1, volumes=("AU031900", "AU031800")), listed("/s/a", 1, volumes=("AU031800",))]
    assert [paths(unit) for unit in plan(turned)] == [["/s/a"], ["/s/both"]], (
        "it does not end where the next one begins"
    )


def test_tapes_that_are_planned_at_once():
    names = ["AU0319", "AU0318-AU0319", "AU0318", "AU0320-AU0321", "none", "AU0317-AU0319"]
    assert list(together(names)) == [
        ["AU0318"],
        ["AU0317-AU0319", "AU0318-AU0319", "AU0319"],
        ["AU0320-AU0321"],
        ["none"],
    ]

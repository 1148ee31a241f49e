"""The campaign simulator: its drives against published figures, its models against what is known, its laws."""

import dataclasses
import hashlib
import itertools
import json
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacc_sync.campaign import bound, campaign, catalogues, compare, policies, reorder
from tacc_sync.campaign.campaign import Broken, Campaign, Scene
from tacc_sync.campaign.kernel import Kernel, SimBell
from tacc_sync.campaign.memory_disk import Copy, MemoryDisk, Packed, declared
from tacc_sync.campaign.service import Network
from tacc_sync.campaign.tape_model import MEDIA, Extent, Geometries, Geometry
from tacc_sync.campaign.weather import Trouble, Weather
from tacc_sync.cli.main import main
from tacc_sync.rules.route import UNIT_QUEUES
from tacc_sync.workspace import layout

HOUR = 3600.0
TB = 10**12


def listing_line(path, size, section, volume):
    date = "03/01/2021\t11:15:47"
    return f"FILE\t{path}\t{size}\t{size}\t{section}+0\t{volume}\t5\t0\t1\t{date}\t{date}\n"


# --- the drives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("medium", "locate", "rewind"), [("LTO8", 65, 52), ("LTO9", 69, 56)])
def test_the_mean_locate_and_rewind_are_those_that_the_model_was_fitted_to(medium, locate, rewind):
    kind, chance = MEDIA[medium], random.Random(1)
    geometry = Geometry(kind, "AA0001")
    places = [chance.uniform(0, kind.capacity) for _ in range(4000)]
    assert sum(geometry.locate(0, place) for place in places) / 4000 == pytest.approx(locate, rel=0.05)
    wound = [kind.wind * geometry.place(place)[1] for place in places]
    assert sum(wound) / 4000 == pytest.approx(rewind, rel=0.05)


@given(seed=st.integers(0, 1000), here=st.floats(0, 15e12), there=st.floats(0, 15e12))
def test_a_locate_is_never_slower_than_to_read_on_and_never_longer_than_the_tape(seed, here, there):
    kind = MEDIA["TS1155"]
    seconds = Geometry(kind, "AA0001", seed).locate(here, there)
    assert seconds >= 0
    assert (seconds == 0) == (here == there)
    assert seconds <= 4.29 + kind.wind + 6.69 + 3.2 + 5.22 + 11.32
    if there > here:
        assert seconds <= (there - here) / kind.rate


@given(cut=st.floats(0.01, 0.99))
def test_a_file_read_in_two_parts_takes_as_long_as_in_one_and_turns_at_each_end_of_the_tape(cut):
    kind = MEDIA["TS1155"]
    geometry = Geometry(kind, "AA0001")
    whole, at = geometry.read(0, 15e12), int(15e12 * cut)
    assert geometry.read(0, at) + geometry.read(at, 15e12) == pytest.approx(whole, abs=2.6)
    assert whole == pytest.approx(15e12 / 360e6 + 240 * 2.5, abs=6)


def test_no_two_cartridges_are_alike_and_each_is_always_the_same():
    one, other, again = (Geometry(MEDIA["TS1155"], label, 7).place(9e12) for label in ("AA0001", "AA0002", "AA0001"))
    assert one == again != other


def test_winding_that_takes_less_time_takes_so_much_less():
    kind = MEDIA["LTO9"]
    slow, fast = (Geometry(dataclasses.replace(kind, winding=factor), "AA0001") for factor in (1.0, 0.6))
    assert (fast.unload(9e10) - fast.unload(0)) == pytest.approx(0.6 * (slow.unload(9e10) - slow.unload(0)))


# --- requests that are open at once ----------------------------------------------------------------------------------


def tapes_in_order(name, scale, number=6):
    catalogue = catalogues.make(name, scale=scale)
    geometries = Geometries(catalogue.medium)
    on = catalogue.by_cartridge()
    tapes = [(geometries.of(label), sorted(on[label], key=lambda extent: extent.start)) for label in sorted(on)]
    return catalogue.medium, tapes[:number]


def busy(medium, tapes, outstanding):
    return sum(
        reorder.tape_time(
            geometry,
            medium.mount,
            extents,
            reorder.served(geometry, medium.rate, extents, outstanding=outstanding, at=0.0),
        )
        for geometry, extents in tapes
    )


@pytest.mark.parametrize(
    ("name", "scale", "gains"),
    [
        ("A", 0.01, {8: 1.0, 512: 1.0}),
        ("B", 0.02, {8: 1.03, 32: 1.28, 128: 1.42, 512: 1.50}),
        ("C", 0.015, {8: 0.96, 32: 1.12, 128: 1.80, 512: 2.35}),
    ],
)
def test_an_archive_that_may_choose_gains_what_is_known(name, scale, gains):
    medium, tapes = tapes_in_order(name, scale)
    sorted_order = busy(medium, tapes, 1)
    assert sorted_order == pytest.approx(sum(geometry.tape_time(extents) for geometry, extents in tapes))
    for outstanding, gain in gains.items():
        assert sorted_order / busy(medium, tapes, outstanding) == pytest.approx(gain, rel=0.06), outstanding


@given(
    starts=st.lists(st.integers(0, 10**12), min_size=1, max_size=60, unique=True),
    outstanding=st.integers(1, 70),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_each_request_is_carried_out_once_and_never_before_it_was_made(starts, outstanding, seed):
    geometry, kind = Geometry(MEDIA["TS1155"], "AA0001", seed), MEDIA["TS1155"]
    extents = [Extent("AA0001", start, start + 1000) for start in starts]
    order = list(reorder.served(geometry, kind.rate, extents, outstanding=outstanding, at=0.0))
    assert sorted(order) == list(range(len(starts)))
    if outstanding == 1:
        assert order == list(range(len(starts)))
    over = set()
    for index in order:
        fetched = next(number for number in range(len(starts) + 1) if number not in over)
        assert index < fetched + outstanding
        over.add(index)


# --- catalogues, bound, other policies: the figures of an independent prototype ---------------------------------------


@pytest.fixture(scope="module")
def real_case():
    catalogue = catalogues.make("A")
    geometries = Geometries(catalogue.medium)
    return catalogue, geometries, bound.tapes_of(catalogue, geometries)


def test_the_real_case_is_as_it_is_known(real_case):
    catalogue, _, tapes = real_case
    assert len(catalogue.files) == 43_000
    assert catalogue.bytes == pytest.approx(4.33e15, rel=0.01)
    assert len(tapes.times) == pytest.approx(300, abs=5)
    # One file runs over the end of each full cartridge: eight streams end somewhere.
    assert sum(len(file.volumes) == 2 for file in catalogue.files) == len(tapes.times) - catalogues.STREAMS
    assert sum(tapes.times) / HOUR == pytest.approx(3399, rel=0.01)


@pytest.mark.parametrize(("drives", "hours", "by"), [(1, 3400, "drives"), (4, 850, "drives"), (8, 481, "network")])
def test_the_bound_of_the_real_case(real_case, drives, hours, by):
    found = bound.bound(real_case[2], drives=drives, buffer=20 * TB, network=2.5e9, latency=20)
    assert found.seconds / HOUR == pytest.approx(hours, rel=0.01)
    assert found.by == by
    if drives == 8:
        assert found.enough_buffer / TB == pytest.approx(0.95, rel=0.05)


@pytest.mark.parametrize(
    ("sessions", "buffer", "hours"),
    [(1, 20, 3867), (1, 40, 3401), (8, 20, 3862), (8, 80, 780), (8, 200, 491), (8, 10, None)],
)
def test_whole_tapes_take_as_long_as_they_are_known_to(real_case, sessions, buffer, hours):
    catalogue, geometries, _ = real_case
    ran = policies.whole_units(catalogue, geometries, policies.Site(8, buffer * TB, 2.5e9, 20), sessions=sessions)
    if hours is None:
        assert ran.makespan is None
        assert ran.stuck > 0
    else:
        assert ran.makespan / HOUR == pytest.approx(hours, rel=0.03)
        # Both cartridges of each file that runs over are mounted again.
        assert ran.mounts == pytest.approx(884, rel=0.02)


def test_a_listing_order_mounts_a_tape_for_nearly_each_file(real_case):
    catalogue, geometries, tapes = real_case
    ran = policies.listing_order(catalogue, geometries, policies.Site(1, 0, 2.5e9, 20))
    assert ran.mounts > 0.85 * len(catalogue.files)
    assert ran.drive_seconds / sum(tapes.times) == pytest.approx(1.63, abs=0.08)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_every_file_of_a_catalogue_lies_whole_somewhere_and_nothing_lies_on_another(data):
    name = data.draw(st.sampled_from(["A", "A2", "B", "C"]))
    catalogue = catalogues.make(name, scale=data.draw(st.floats(0.0005, 0.002)), seed=data.draw(st.integers(0, 99)))
    for file in catalogue.files:
        extents = catalogue.extents[file.path]
        assert sum(extent.end - extent.start for extent in extents) == file.size
        assert tuple(extent.cartridge for extent in extents) == file.volumes
    for extents in catalogue.by_cartridge().values():
        extents.sort(key=lambda extent: extent.start)
        assert all(one.end <= other.start for one, other in itertools.pairwise(extents))
        assert extents[0].start >= 0
        assert extents[-1].end <= catalogue.medium.capacity


def test_in_tape_order_a_position_says_what_lies_where():
    catalogue = catalogues.make("A2", scale=0.02)
    on = {}
    for file in catalogue.files:
        on.setdefault(file.volumes[0], []).append((file.section, catalogue.extents[file.path][0].start))
    for positions in on.values():
        positions.sort()
        assert [start for _, start in positions] == sorted(start for _, start in positions)


# --- time -------------------------------------------------------------------------------------------------------------


def test_simulated_workers_take_turns_in_the_order_of_their_times():
    kernel, seen = Kernel(), []

    def worker(name, pause, times):
        for _ in range(times):
            kernel.sleep(pause)
            seen.append((kernel.now, name))

    kernel.spawn(lambda: worker("a", 3.0, 4))
    kernel.spawn(lambda: worker("b", 2.0, 6))
    kernel.at(5.0, lambda: seen.append((kernel.now, "c")))
    kernel.run()
    assert seen == sorted(seen, key=lambda entry: entry[0])
    assert len(seen) == 11
    assert kernel.now == 12.0


def test_a_bell_wakes_at_once_and_is_remembered():
    kernel, seen = Kernel(), []
    bell = SimBell(kernel)

    def sleeper():
        for _ in range(3):
            rung = kernel.wait(bell, kernel.now + 100)
            seen.append((kernel.now, rung))

    def ringer():
        kernel.sleep(7)
        bell.ring()
        kernel.sleep(1)
        bell.ring()

    kernel.spawn(sleeper)
    kernel.spawn(ringer)
    kernel.run()
    assert seen == [(7.0, True), (8.0, True), (108.0, False)]


def test_what_a_worker_fails_with_ends_the_simulation_and_is_told():
    kernel = Kernel()

    def fails():
        kernel.sleep(1)
        raise Broken("so")

    kernel.spawn(lambda: kernel.sleep(1000))
    kernel.spawn(fails)
    with pytest.raises(Broken, match="so"):
        kernel.run()


@pytest.mark.timeout(30)
def test_whoever_ends_a_simulation_and_then_waits_ends_with_it():
    kernel, seen = Kernel(), []

    def ends():
        kernel.sleep(1)
        kernel.stop()
        # Long enough for the end to be prepared meanwhile.
        time.sleep(0.2)
        try:
            kernel.sleep(1)
        finally:
            seen.append("out")

    kernel.spawn(lambda: kernel.sleep(1000))
    kernel.spawn(ends)
    kernel.run()
    assert seen == ["out"]


@given(outage=st.floats(1, 1000), every=st.floats(2000, 9000), begin=st.floats(0, 30000), work=st.floats(0, 50000))
@settings(deadline=None)
def test_time_up_and_time_down_add_up(outage, every, begin, work):
    weather = Weather(Trouble(outage=outage, outage_every=every))
    end = weather.add_up_time(begin, work)
    assert weather.up(begin, end) == pytest.approx(work, abs=1e-3)
    assert end >= begin + work - 1e-6


def test_what_is_kept_compressed_reads_like_any_other_file():
    disk = MemoryDisk("/d", packs="finished")
    disk.mkdir("queue")
    disk.mkdir("finished")
    content = b"a line\n" * 5000
    disk.create("queue/whole", content)
    disk.create("queue/pieces", [content[:7], content[7:]])
    disk.rename("queue/whole", "finished/whole")
    assert isinstance(disk.entry("finished", "whole"), Packed)
    for path in ("queue/pieces", "finished/whole"):
        assert disk.read(path) == content
        assert disk.status(path).size == len(content)
        assert disk.digest(path, ["sha512"])["sha512"] == hashlib.sha512(content).hexdigest()
    with pytest.raises(OSError, match="too large"):
        disk.read("finished/whole", limit=100)
    disk.rename("finished/whole", "queue/whole")
    assert disk.read("queue/whole") == content


@pytest.mark.parametrize(
    ("seconds", "follow_rate", "left"),
    [
        # One second's worth, and what we stay behind.
        (100.0, 500, 10 + 50),
        # As much as the cores could read while it came, but for the last second.
        (100.0, 5, 1000 - 99 * 5),
        # Nothing was read of what comes within a second.
        (1.0, 500, 1000),
        (0.0, 500, 1000),
    ],
)
def test_of_a_copy_that_was_followed_what_is_left_is_read(seconds, follow_rate, left):
    spent = []
    disk = MemoryDisk("/d", hash_rate=100.0, follow_rate=follow_rate, spend=spent.append)
    disk.place("f", Copy(1000, "/a", seconds=seconds))
    begun = disk.follow("f", ["md5"], None, behind=50, most=10**9)
    assert disk.digest("f", ["md5"], begun=begun) == {"md5": declared("/a", "md5")}
    assert spent == [pytest.approx(left / 100.0)]


# --- campaigns --------------------------------------------------------------------------------------------------------


def check_laws(run, outcome, catalogue):
    """Nothing is lost, nothing is left behind, nothing was ever in two places."""
    assert outcome.finished
    assert outcome.delivered_files == len(catalogue.files)
    assert outcome.delivered_bytes == catalogue.bytes
    assert not run.scene.buffer or outcome.most_reserved <= run.scene.buffer
    assert outcome.most_held <= outcome.most_reserved
    assert outcome.drives.contentions == 0
    assert outcome.drives.mounts >= len(catalogue.by_cartridge())
    for directory in (*UNIT_QUEUES, layout.RESERVATIONS, layout.CARTRIDGES, layout.SLOTS, layout.RESTS):
        assert run.disk.names(directory) == []
    assert [name for name in run.buffer.names("") if name not in {layout.PART, layout.MARKER}] == []


@given(
    name=st.sampled_from(["A", "A2"]),
    seed=st.integers(0, 10_000),
    drives=st.integers(1, 6),
    buffer=st.sampled_from([0, 700 * 10**9, 2 * TB, 20 * TB]),
    network=st.sampled_from([0.3e9, 1.25e9, 5e9]),
    idle=st.sampled_from([0.0, 60.0, 900.0]),
    trouble=st.sampled_from([Trouble(), Trouble(files=0.1, tasks=0.1), Trouble(outage=HOUR, outage_every=11 * HOUR)]),
)
@settings(max_examples=8, deadline=None)
@pytest.mark.timeout(900)
def test_whatever_the_scene_each_byte_arrives_once_and_the_buffer_is_never_overfull(
    name, seed, drives, buffer, network, idle, trouble
):
    catalogue = catalogues.make(name, scale=0.004, seed=seed)
    scene = Scene(drives, buffer, Network(network), idle_dismount=idle, trouble=trouble)
    run = Campaign(catalogue, scene, Geometries(catalogue.medium))
    outcome = run.run()
    check_laws(run, outcome, catalogue)
    tapes = bound.tapes_of(catalogue, Geometries(catalogue.medium))
    assert outcome.makespan >= compare.bound_of(tapes, scene).seconds * 0.999
    if trouble.files:
        failing = sum(Weather(trouble).fails_once(file.path) for file in catalogue.files)
        assert (outcome.more_rounds > 0) == (failing > 0 or outcome.events.get("file_not_delivered", 0) > 0)


def test_the_same_seed_is_the_same_campaign():
    catalogue = catalogues.make("A2", scale=0.006)
    scene = Scene(3, 2 * TB, Network(1e9), trouble=Trouble(files=0.05, tasks=0.05, drive_hours=20))
    one, other = (campaign.run(catalogue, scene) for _ in range(2))
    assert one.makespan == other.makespan
    assert one.events == other.events
    assert one.events["transfer_ended"] > one.units


def test_an_archive_that_may_choose_carries_the_same_campaign_in_less_time():
    catalogue = catalogues.make("B", scale=0.01)
    geometries = Geometries(catalogue.medium)
    spans = []
    for outstanding in (1, 200):
        scene = Scene(2, 20 * TB, Network(2.5e9), outstanding=outstanding, trouble=Trouble(files=0.02))
        run = Campaign(catalogue, scene, geometries)
        outcome = run.run()
        check_laws(run, outcome, catalogue)
        spans.append(outcome.makespan)
    assert 1.2 < spans[0] / spans[1] < 1.6


def test_a_file_that_is_larger_than_the_buffer_is_put_aside_and_the_others_arrive():
    catalogue = catalogues.make("A", scale=0.002)
    quota = sorted(file.size for file in catalogue.files)[-2]
    run = Campaign(catalogue, Scene(2, quota, Network(2.5e9), longest=30 * 86400), Geometries(catalogue.medium))
    outcome = run.run()
    assert not outcome.finished
    assert outcome.delivered_files == len(catalogue.files) - 1
    assert len(run.disk.names(layout.quarantine("syncer"))) == 2


def test_a_drive_that_fails_gives_its_tape_to_another():
    catalogue = catalogues.make("A", scale=0.01)
    scene = Scene(2, 20 * TB, Network(2.5e9), trouble=Trouble(drive_hours=3, drive_repair=6 * HOUR))
    run = Campaign(catalogue, scene, Geometries(catalogue.medium))
    outcome = run.run()
    assert outcome.drives.drives_away > 0
    assert outcome.drives.wasted_bytes > 0
    check_laws(run, outcome, catalogue)


def test_nothing_moves_while_the_sites_are_down():
    catalogue = catalogues.make("A", scale=0.01)
    trouble = Trouble(outage=5 * HOUR, outage_every=10 * HOUR)
    outcome = campaign.run(catalogue, Scene(2, 20 * TB, Network(2.5e9), trouble=trouble))
    weather = Weather(trouble)
    samples = outcome.samples
    assert outcome.makespan > 10 * HOUR
    for before, after in itertools.pairwise(samples):
        if weather.up(before.at, after.at) == 0:
            assert (after.reading, after.moving) == (before.reading, before.moving)
        assert after.moving - before.moving <= weather.up(before.at, after.at) + 1e-6


# --- a listing, the command --------------------------------------------------------------------------------------------


def test_a_listing_becomes_a_catalogue():
    files = [
        catalogues.ListedFile("/a/b/1", 100, 7, 0, ("AA0001",), "2021-03-01T11:15:47"),
        catalogues.ListedFile("/a/b/2", 100, 3, 5, ("AA0001",), "2021-03-01T11:15:47"),
        catalogues.ListedFile("/a/c/3", 100, 9, 0, ("AA0001", "AA0002"), "2021-03-01T11:15:47"),
        catalogues.ListedFile("/a/c/4", 0, 0, 0, (), "2021-03-01T11:15:47"),
    ]
    found = catalogues.of_listing(files)
    assert found.source == "/a"
    places = {path: extents for path, extents in found.extents.items() if extents}
    assert {path: [extent.cartridge for extent in extents] for path, extents in places.items()} == {
        "/a/b/1": ["AA0001"],
        "/a/b/2": ["AA0001"],
        "/a/c/3": ["AA0001", "AA0002"],
    }
    assert places["/a/b/2"][0].end <= places["/a/b/1"][0].start <= places["/a/c/3"][0].start
    assert places["/a/c/3"][1] == Extent("AA0002", 0, 50)


def listed(path, size, section, *volumes):
    return catalogues.ListedFile(path, size, section, 0, volumes, "2021-03-01T11:15:47")


def test_a_file_that_runs_over_is_read_from_its_first_cartridge_on_whatever_is_listed_first():
    files = [
        listed("/a/1", 100, 1, "AA0002"),
        listed("/a/2", 100, 9, "AA0001", "AA0002"),
        listed("/a/3", 9, 3, "AA0001"),
    ]
    found = catalogues.of_listing(files).extents
    assert [(extent.cartridge, extent.end - extent.start) for extent in found["/a/2"]] == [
        ("AA0001", 50),
        ("AA0002", 50),
    ]
    assert found["/a/2"][1].start == 0
    assert found["/a/1"][0].start >= 50


@pytest.mark.parametrize(
    "others",
    [[listed("/a/2", 100, 2, "AA0001", "AA0002")], [listed("/a/2", 100, 7, "AA0001")]],
    ids=["another one on the same cartridges", "something behind it"],
)
def test_a_stripe_is_taken_to_lie_on_its_first_cartridge(others):
    found = catalogues.of_listing([listed("/a/1", 100, 1, "AA0001", "AA0002"), *others]).extents
    assert [(extent.cartridge, extent.end - extent.start) for extent in found["/a/1"]] == [("AA0001", 100)]


def test_both_sides_of_a_cartridge_are_one():
    found = catalogues.of_listing([listed("/a/1", 100, 1, "AA000100"), listed("/a/2", 100, 2, "AA000101", "AA000100")])
    assert list(found.by_cartridge()) == ["AA0001"]
    assert sum(extent.end - extent.start for extent in found.by_cartridge()["AA0001"]) == 200


def test_a_listing_of_several_trees_with_stripes_and_parts_of_tapes_becomes_a_campaign():
    chance = random.Random(5)
    files = [
        listed(f"/{top}/x/{number}", chance.randrange(10**9, 10**11), chance.randrange(400), f"AA{number % 5:04d}00")
        for top in ("one", "other")
        for number in range(40)
    ]
    files += [listed(f"/one/s/{n}", 10**10, 500 + n, "AA000100", "AA000300") for n in range(5)]
    files += [listed("/other/over", 10**11, 900, "AA000200", "BB000000"), listed("/other/disk", 10**8, 0)]
    catalogue = catalogues.of_listing(files)
    assert catalogue.source == "/"
    run = Campaign(catalogue, Scene(2, 5 * TB, Network(2.5e9)), Geometries(catalogue.medium))
    outcome = run.run()
    check_laws(run, outcome, catalogue)
    # Whoever takes a set of cartridges as one has none to change for each file.
    assert outcome.drives.mounts <= 3 * len(catalogue.by_cartridge())


def test_the_command_simulates_a_listing(tmp_path, capsys):
    chance = random.Random(3)
    lines = [
        listing_line(f"/home/projects/x/{n}", chance.randrange(10**9, 10**11), n // 7, f"AA{n % 7:04d}00")
        for n in range(210)
    ]
    listing = tmp_path / "listing"
    listing.write_text("ls -NP /home/projects/x\n" + "".join(lines))
    assert main(["simulate", "--listing", str(listing), "--drives", "3", "--buffer", "5TB", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["files"], document["cartridges"], document["finished"]) == (210, 7, True)
    seconds = {row["policy"]: row["seconds"] for row in document["policies"]}
    assert seconds["lower bound"] <= seconds["tacc-sync"] <= seconds["listing order, one session"]


def test_the_command_shows_a_table_and_refuses_what_it_cannot_do(capsys):
    assert main(["simulate", "--catalogue", "A", "--scale", "0.005", "--drives", "2", "--network", "1GB/s"]) == 0
    shown = capsys.readouterr().out
    assert [line.split("  ")[0] for line in shown.splitlines()][-2:] == ["tacc-sync", "lower bound"]
    assert main(["simulate", "--catalogue", "none"]) == 64
    assert main(["simulate", "--medium", "paper"]) == 64
    assert main(["simulate", "--outstanding", "0"]) == 64
    assert main(["simulate", "--locate-factor", "0"]) == 64
    assert main(["simulate", "--network", "fast"]) == 64
    assert main(["simulate", "--catalogue", "A", "--scale", "0.003", "--buffer", "90GB"]) == 1


def test_what_is_hashed_while_it_arrives_makes_room_the_sooner():
    """One drive, room for two files: a file without a hash is read for as long as it came from tape."""
    catalogue = catalogues.make("A", scale=0.0005)
    largest = max(file.size for file in catalogue.files)
    took = {
        hashes: campaign.run(catalogue, Scene(1, 2 * largest, Network(1e9), hash_rate=360e6, hashes=hashes)).makespan
        for hashes in (True, False)
    }
    assert took[True] < 0.9 * took[False]

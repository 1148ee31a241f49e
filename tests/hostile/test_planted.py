"""Things that have no business in a workspace or in the transfer buffer: planted everywhere, while a good request goes
through. It has to arrive; nothing beside the workspace is touched; what is bad ends in quarantine with a reason, or is
left alone."""

import errno
import inspect
import json
import os
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from house import DESTINATION, SOURCE, House

sys.path.insert(0, str(Path(__file__).parent))

from canary import KINDS, Canary, planters

from tacc_sync.operator.check import Checker
from tacc_sync.operator.quarantine import entries
from tacc_sync.operator.status_reader import Reader
from tacc_sync.pipeline.attempt import World, attempt
from tacc_sync.rules import documents
from tacc_sync.rules.documents import Work
from tacc_sync.rules.liveness import Lease
from tacc_sync.workspace import queues
from tacc_sync.workspace.disk import NO_DOCUMENT
from tacc_sync.workspace.posix_disk import PosixDisk
from tacc_sync.workspace.recovery import Recovery

ALIEN = "00000000aaaa.AA0001.0000.5"
ALIEN_ID = "00000000-aaaa-4000-8000-000000000000"


@pytest.fixture
def house(tmp_path):
    (tmp_path / "here").mkdir()
    house = House(tmp_path / "here")
    house.settings.run.settle = 1.0
    house.settings.patience.first_rest = 1.0
    for n in range(6):
        house.archive(f"d/file {n}", bytes([n]) * (n * 10), volumes=(f"AA000{n % 2}00",), section=n)
    return house


@pytest.fixture
def canary(tmp_path):
    canary = Canary(tmp_path / "canary")
    yield canary
    canary.assert_untouched()


def look_at(house):
    """What a person would do: none of it may fail, whatever lies about."""
    Reader(house.disk, house.clock, house.host, house.settings).read()
    report = Checker(house.disk, house.buffer, house.clock, house.host, 0).check()
    list(entries(house.disk))
    return report


def assert_good_arrives(house):
    house.drop("good.json")
    house.run()
    want = {p.removeprefix(SOURCE + "/"): a.content for p, a in house.hpss.files.items()}
    assert {n: c for n, c in house.delivered().items() if n in want} == want
    assert list((house.root / "ws/finished").glob("*/request.json"))


# --- entries of every kind -----------------------------------------------------------------------------------------

COMPONENT = {"inbox": "syncer", "request_queue": "finisher", "hpss_queue": "retriever", "globus_queue": "globus_xfer",
             "reaper_queue": "reaper"}  # fmt: skip
PLACES = {
    "inbox": "aaa.json", "request_queue": "00000000aaaa.json",
    **dict.fromkeys(("hpss_queue", "globus_queue", "reaper_queue"), f"{ALIEN}.json"),
}  # fmt: skip
# One of each sort, where all of them would take long and say no more.
FEW = ("link to a directory", "link to a file", "directory", "fifo", "huge", "not UTF-8")


def name_in(place, number):
    """The name of an entry, another one for each number."""
    return PLACES[place].replace("aaa.", f"{number:03d}.", 1)


@pytest.mark.fault("ws-no-document")
def test_every_kind_of_entry_in_every_queue(house, canary):
    for number, kind in enumerate(KINDS):
        for place in PLACES:
            planters(canary)[kind](house.root / "ws" / place / name_in(place, number))
    look_at(house)
    assert_good_arrives(house)
    for place, component in COMPONENT.items():
        there, whys = house.root / "ws/quarantine" / component, house.whys(f"quarantine/{component}")
        for number, kind in enumerate(KINDS):
            name = name_in(place, number)
            assert not os.path.lexists(house.root / "ws" / place / name), (place, kind)
            assert os.path.lexists(there / name), (place, kind, os.listdir(there))
            assert whys[name.removesuffix(".json") + ".why.json"]["code"] == "DOCUMENT-BAD"
    assert {finding.code for finding in look_at(house).broken} <= {"DOCUMENT-BAD", "UNIT-UNPLANNED", "UNIT-TWICE"}
    assert house.tree("cartridges") == house.tree("globus_slots") == []


@pytest.mark.parametrize("kind", FEW)
def test_every_kind_of_entry_everywhere_else(house, canary, kind):
    plant = planters(canary)[kind]
    ws, buffer = house.root / "ws", house.root / "nersc/buffer"
    for place in (
        f"reservations/{ALIEN}.5", "reservations/stranger", f"reservations/{ALIEN}.\u00b2", "cartridges/stranger",
        f"rests/{ALIEN}~12", f"rests/{ALIEN}~\u00b2", "rests/stranger", "hold/stranger", "observed/dtn01~retriever.x.y.z",
        "observed/stranger", "claims/retriever.other.1-2.3.0.abcd", "claims/dead~retriever.o.1-2.3.0.ab~cd", "claims/new~x",
        "claims/stranger", "finished/stranger", "finished/00000000bbbb",
        f"quarantine/reaper/{ALIEN}.json", f"quarantine/retriever/{ALIEN}.why.json", "quarantine/syncer/a.json",
        "quarantine/syncer/a.why.json", "hpss_queue/.hidden", "hpss_queue/stranger",
    ):  # fmt: skip
        plant(ws / place)
    for place in ("stranger", ALIEN, ".part/retriever.other.1-2.3.0.abcd", ".part/dead~x~y", ".part/stranger"):
        plant(buffer / place)
    look_at(house)
    recovery = Recovery(
        house.bench("recovery").home, Lease(1, 10, 5, 3), lambda event, what: house.report(event, what=what)
    )
    for _ in range(4):
        recovery.round()
        house.clock.time += 20
    (ws / "inbox/a.json").write_text('{"version":1}')
    assert_good_arrives(house)
    look_at(house)
    # The bad request got a name of its own beside what lay there.
    assert len(list((ws / "quarantine/syncer").glob("a*.json"))) >= 3


def test_a_home_full_of_things(house, canary):
    home = house.root / "ws/claims/retriever.other.1-2.3.0.abcd"
    for kind in KINDS:
        for folder in ("", "hpss_queue/", "inbox/", "turn/", "staging/"):
            path = home / f"{folder}{kind.replace(' ', '-')}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            planters(canary)[kind](path)
    (home / "heartbeat.json").write_bytes(b'{"worker":"\xff"}')
    deep = house.root / "nersc/buffer/.part/retriever.other.1-2.3.0.abcd"
    os.makedirs(deep / "/".join("d" * 300))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    recovery = Recovery(
        house.bench("recovery").home, Lease(1, 10, 5, 3), lambda event, what: house.report(event, what=what)
    )
    try:
        for _ in range(5):
            recovery.round()
            house.clock.time += 20
    finally:
        sys.setrecursionlimit(limit)
    assert not home.exists()
    assert os.listdir(house.root / "nersc/buffer/.part") == [recovery._home.name]
    assert (house.root / "ws/hpss_queue/empty.json").exists()
    assert_good_arrives(house)


@pytest.mark.fault("ws-no-document")
def test_entries_that_we_may_not_read(house, canary, monkeypatch):
    read = PosixDisk.read

    def denied(disk, path, *more):
        if ALIEN in path or path.endswith("aaa.json"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return read(disk, path, *more)

    monkeypatch.setattr(PosixDisk, "read", denied)
    for place, name in PLACES.items():
        (house.root / "ws" / place / name).write_text("{}")
    assert_good_arrives(house)
    look_at(house)
    assert errno.EACCES in NO_DOCUMENT


NAMES = [
    "...json", "..json", ".json", "a\nb.json", "-rf.json", "a;b!.json", "\u202e.json", "x" * 250 + ".json", "*.json", "~.json",
    "a.why.json", "00000000aaaa.-.0000.5.json", "00000000aaaa.A--B.0000.5.json", "00000000aaaa.A-.0000.5.json",
    "00000000aaaa.AA0001.000\u0663.5.json", "00000000aaaa.AA0001.0000.\u0665.json", "00000000aaaa..0000.5.json",
    "00000000aaaa." + "A" * 81 + ".0000.5.json", f"{ALIEN}.json.json", "rejected.json", "adopted.json",
    os.fsdecode(b"\xff\xfe.json"), os.fsdecode(b"00000000aaaa.AA0001.0000.5\xff.json"),
]  # fmt: skip


def test_names_of_all_kinds(house, canary):
    for name in NAMES:
        for place in (
            *PLACES,
            "claims",
            "finished",
            "cartridges",
            "globus_slots",
            "rests",
            "reservations",
            "hold",
            "observed",
        ):
            (house.root / "ws" / place / name).write_text("{}")
    look_at(house)
    assert_good_arrives(house)
    look_at(house)
    for name in NAMES:
        for queue in ("request_queue", "hpss_queue", "globus_queue", "reaper_queue"):
            # Nobody of ours: left alone.
            assert (house.root / "ws" / queue / name).exists()
    odd = [name for name in NAMES if not name.startswith(".") and not name.endswith(".why.json")]
    whys = house.whys("quarantine/syncer")
    assert len(whys) == len(odd)
    assert {why["code"] for why in whys.values()} == {"DOCUMENT-BAD"}


@pytest.mark.fault("ws-newer-document")
def test_what_is_written_by_a_newer_tacc_sync_is_left_alone(house, canary):
    newer = json.dumps({"version": 99, "colour": "red"})
    for place, name in PLACES.items():
        (house.root / "ws" / place / name).write_text(newer)
    house.drop("good.json")
    house.run(until=house.clock.now() + 3000)
    assert len(house.delivered()) == 6
    for place, name in PLACES.items():
        assert (house.root / "ws" / place / name).read_text() == newer
    look_at(house)


# --- documents that lie --------------------------------------------------------------------------------------------


def unit(name=ALIEN, **changes):
    file = {"path": f"{SOURCE}/alien", "destination": f"{DESTINATION}/alien", "size": 5}
    task = {"attempt": 1, "submission_id": "s-1", "label": "l", "prepared_at": "", "items": [0], "bytes": 5}
    work = {"version": 1, "unit": name, "request_id": ALIEN_ID, "tape": ["AA0001"], "bytes": 5, "created_at": ""}
    file |= {key: value for key, value in changes.items() if key in File_FIELDS}
    task |= {key: value for key, value in changes.items() if key in Task_FIELDS}
    work |= {key: value for key, value in changes.items() if key in Work_FIELDS}
    tasks = [task] if set(changes) & set(Task_FIELDS) else []
    return {"tasks": tasks, "files": [file]} | work


File_FIELDS = documents.File.__struct_fields__
Task_FIELDS = {"items", "task_id", "submission_id", "trouble_since"}
Work_FIELDS = Work.__struct_fields__
DELIVERED = {"outcome": "delivered", "task_id": "t-1", "receipt": "md5:0", "delivered_at": "2026-01-01T00:00:00Z"}
LIES = {
    "another unit": lambda other: unit(unit=other, files=[unit()["files"][0] | DELIVERED]),
    "a path": lambda _: unit(unit="../../canary", files=[unit()["files"][0] | DELIVERED]),
    "an absolute path": lambda _: unit(unit="/etc", files=[unit()["files"][0] | DELIVERED]),
    "nothing": lambda _: unit(unit="", files=[unit()["files"][0] | DELIVERED]),
    "the part": lambda _: unit(unit=".part", files=[unit()["files"][0] | DELIVERED]),
    "another request": lambda other: unit(request_id=other.partition(".")[0]),
    "other bytes": lambda _: unit(bytes=6),
    "other sizes": lambda _: unit(size=6),
    "negative sizes": lambda _: unit(files=[unit()["files"][0] | {"size": 10}, unit()["files"][0] | {"size": -5}]),
    "huge sizes": lambda _: unit(files=[unit()["files"][0] | {"size": 2**63}, unit()["files"][0] | {"size": 5 - 2**63}]),
    "no files": lambda _: unit(files=[]),
    "a destination outside": lambda _: unit(destination=f"{DESTINATION}/../../etc/passwd"),
    "a relative destination": lambda _: unit(destination="etc/passwd"),
    "a relative source": lambda _: unit(path="../etc/passwd"),
    "items outside": lambda _: unit(items=[7]),
    "negative items": lambda _: unit(items=[-1]),
    "items twice": lambda _: unit(items=[0, 0]),
    "a task's address": lambda _: unit(task_id="../endpoint/x?y"),
    "a submission's address": lambda _: unit(submission_id="a\nb"),
    "no time": lambda _: unit(trouble_since="yesterday"),
    "no rest": lambda _: unit(rest_until="9" * 30),
    "no hash": lambda _: unit(archive_hash="shake_128:00"),
    "negative failures": lambda _: unit(failures=-1),
}  # fmt: skip


@pytest.mark.fault("ws-bad-document")
@pytest.mark.parametrize("queue", ["hpss_queue", "globus_queue", "reaper_queue"])
def test_documents_that_lie(house, canary, queue):
    # The good request's units wait in globus_queue, their files in the buffer.
    house.drop("good.json")
    house.run("syncer", "retriever")
    kept = house.buffer_files()
    other = min(path.stem for path in (house.root / "ws/globus_queue").iterdir())
    (house.root / "ws/finished/00000000aaaa").mkdir()
    names = {lie: ALIEN.replace(".0000.", f".{number:04d}.") for number, lie in enumerate(LIES)}
    for lie, name in names.items():
        document = LIES[lie](other)
        if document["unit"] == ALIEN:
            document["unit"] = name
        (house.root / "ws" / queue / f"{name}.json").write_text(json.dumps(document))
        (house.root / "ws/globus_slots" / name).write_text("") if queue == "globus_queue" else None
    look_at(house)
    house._components = None
    house.run(COMPONENT[queue], until=house.clock.now() + 30)
    assert kept and (house.buffer_files() == kept or queue == "globus_queue")
    whys = house.whys(f"quarantine/{COMPONENT[queue]}")
    for lie, name in names.items():
        why = whys[f"{name}.why.json"]
        assert why["code"] == "DOCUMENT-BAD" and why["text"] and why["remedy"], lie
        assert why["field"] not in {"", "version"}, (lie, why)
    house.run()
    assert len(house.delivered()) == 6
    assert house.tree("cartridges") == house.tree("globus_slots") == []
    look_at(house)


def test_the_truth_would_have_gone_through(house):
    """The documents above are refused for their lies alone."""
    house.archive("alien", b"aaaaa", volumes=("AA000100",))
    house.archive(f"{SOURCE}/alien", b"aaaaa")
    (house.root / "ws/finished/00000000aaaa").mkdir()
    (house.root / "ws/hpss_queue" / f"{ALIEN}.json").write_text(json.dumps(unit(hashes={}, rest_until="")))
    house.run()
    assert (house.root / f"ws/finished/00000000aaaa/{ALIEN}.json").exists()
    assert house.delivered() == {"alien": b"aaaaa"}


def test_a_unit_of_a_request_that_nobody_knows_frees_nothing(house, canary):
    directory = house.root / "nersc/buffer" / ALIEN
    directory.mkdir()
    (directory / "000000").write_bytes(b"12345")
    document = unit(files=[unit()["files"][0] | DELIVERED])
    (house.root / "ws/reaper_queue" / f"{ALIEN}.json").write_text(json.dumps(document))
    assert_good_arrives(house)
    assert (directory / "000000").read_bytes() == b"12345"
    assert house.whys("quarantine/reaper")[f"{ALIEN}.why.json"]["field"] == "request_id"


@pytest.mark.parametrize("units", [
    ["../x"], ["/etc/passwd"], [""], ["00000000bbbb.AA0001.0000.5"], [ALIEN, ALIEN], [f"{ALIEN}/../../../x"],
])  # fmt: skip
def test_requests_whose_plan_names_what_is_not_theirs(house, canary, units):
    finished = house.root / "ws/finished"
    for key in ("00000000aaaa", "00000000bbbb"):
        (finished / key).mkdir()
        for name in (ALIEN, ALIEN.replace("aaaa", "bbbb")):
            (finished / key / f"{name}.json").write_text(json.dumps(unit()))
    plan = {"planned_at": "", "files": 1, "bytes": 5, "units": units}
    request = {"version": 1, "source": SOURCE, "destination": DESTINATION, "request_id": ALIEN_ID, "plan": plan}
    (house.root / "ws/request_queue/00000000aaaa.json").write_text(json.dumps(request))
    look_at(house)
    assert_good_arrives(house)
    assert house.whys("quarantine/finisher")["00000000aaaa.why.json"]["field"].startswith("plan.units")
    assert not list(finished.glob("0000*/manifest*"))


@pytest.mark.parametrize("request_id", ["../../../x/y", "00000000-bbbb-4000-8000-000000000000", ""])
def test_requests_under_anothers_name(house, canary, request_id):
    plan = {"planned_at": "", "files": 0, "bytes": 0, "units": []}
    request = {"version": 1, "source": SOURCE, "destination": DESTINATION, "request_id": request_id, "plan": plan}
    (house.root / "ws/request_queue/00000000aaaa.json").write_text(json.dumps(request))
    assert_good_arrives(house)
    assert house.whys("quarantine/finisher")["00000000aaaa.why.json"]["field"] == "request_id"
    look_at(house)


@pytest.mark.parametrize("kind", FEW)
def test_a_finished_unit_that_is_something_else(house, canary, kind):
    finished = house.root / "ws/finished/00000000aaaa"
    finished.mkdir()
    planters(canary)[kind](finished / f"{ALIEN}.json")
    plan = {"planned_at": "", "files": 1, "bytes": 5, "units": [ALIEN]}
    request = {"version": 1, "source": SOURCE, "destination": DESTINATION, "request_id": ALIEN_ID, "plan": plan}
    (house.root / "ws/request_queue/00000000aaaa.json").write_text(json.dumps(request))
    assert_good_arrives(house)
    assert house.whys("quarantine/finisher")["00000000aaaa.why.json"]["code"] == "DOCUMENT-BAD"
    look_at(house)


def test_a_finished_unit_of_a_newer_version_waits_and_lets_others_finish(house):
    finished = house.root / "ws/finished/00000000aaaa"
    finished.mkdir()
    (finished / f"{ALIEN}.json").write_text('{"version":99}')
    plan = {"planned_at": "", "files": 1, "bytes": 5, "units": [ALIEN]}
    request = {"version": 1, "source": SOURCE, "destination": DESTINATION, "request_id": ALIEN_ID, "plan": plan}
    (house.root / "ws/request_queue/00000000aaaa.json").write_text(json.dumps(request))
    assert_good_arrives(house)
    assert house.tree("request_queue") == ["00000000aaaa.json"]


def test_nothing_in_quarantine_is_overwritten(house):
    before = json.dumps(unit())
    (house.root / f"ws/quarantine/retriever/{ALIEN}.json").write_text(before)
    (house.root / f"ws/hpss_queue/{ALIEN}.json").write_text("torn")
    house.run()
    assert (house.root / f"ws/quarantine/retriever/{ALIEN}.json").read_text() == before
    assert (house.root / f"ws/quarantine/retriever/{ALIEN}~2.json").read_text() == "torn"


# --- the transfer buffer -------------------------------------------------------------------------------------------


def to_the_reaper(house):
    """A good request whose units wait for the reaper, their copies in the buffer."""
    house.drop("good.json")
    house.run("syncer", "retriever", "globus_xfer")
    names = sorted(path.stem for path in (house.root / "ws/reaper_queue").iterdir())
    assert len(names) == 2 and house.buffer_files()
    return names


@pytest.mark.parametrize("kind", FEW)
def test_a_units_directory_is_something_else(house, canary, kind):
    first, second = to_the_reaper(house)
    directory = house.root / "nersc/buffer" / first
    directory.rename(house.root / "moved")
    planters(canary)[kind](directory)
    kept = os.lstat(directory)
    house.run()
    assert os.lstat(directory)[:2] == kept[:2]
    why = house.whys("quarantine/reaper")[f"{first}.why.json"]
    assert why["code"] == "BUFFER-STRANGER"
    assert (house.root / "ws/finished" / second.partition(".")[0] / f"{second}.json").exists()
    assert not (house.root / "nersc/buffer" / second).exists()
    assert (house.root / "ws/reservations").exists()
    look_at(house)


@pytest.mark.parametrize("kind", FEW)
def test_a_copy_in_the_buffer_is_something_else(house, canary, kind):
    first, second = to_the_reaper(house)
    directory = house.root / "nersc/buffer" / first
    copy = min(directory.iterdir())
    copy.rename(house.root / "moved")
    planters(canary)[kind](copy)
    (directory / "stranger").symlink_to(canary.root)
    house.run()
    assert house.whys("quarantine/reaper")[f"{first}.why.json"]["code"] == "BUFFER-STRANGER"
    assert (directory / "stranger").is_symlink()
    assert kind != "directory" or (copy / "inside.json").exists()
    look_at(house)


@pytest.mark.parametrize("kind", FEW)
@pytest.mark.parametrize("when", ["before", "after"])
def test_something_else_in_the_way_of_the_retriever(house, canary, kind, when):
    house.drop("good.json")
    house.run("syncer")
    first, second = sorted(path.stem for path in (house.root / "ws/hpss_queue").iterdir())
    directory = house.root / "nersc/buffer" / first
    if when == "before":
        planters(canary)[kind](directory)
    else:
        directory.mkdir()
        planters(canary)[kind](directory / "000000")
    house.run(until=house.clock.now() + 3000)
    assert (house.root / "ws/finished" / second.partition(".")[0] / f"{second}.json").exists()
    if when == "before" and kind != "directory":
        assert house.whys("quarantine/retriever")[f"{first}.why.json"]["code"] == "BUFFER-STRANGER"
        assert os.path.lexists(directory)
        # A person moves it away, and the unit goes on.
        directory.rename(house.root / "moved")
    elif kind == "directory":
        assert house.whys("quarantine/reaper")[f"{first}.why.json"]["code"] == "BUFFER-STRANGER"
    else:
        # Whatever lay in the place of a file was no directory: it was put out of the way.
        assert len(house.delivered()) == 6
    assert house.tree("cartridges") == []
    look_at(house)


def test_a_copy_is_swapped_before_the_records_are_judged(house, canary):
    house.settings.globus.record_algorithm = "sha512"  # so that md5 has to be taken from the buffer
    house.drop("good.json")
    house.run("syncer", "retriever")
    globus = house.component("globus_xfer")
    house.globus.slow = 2
    globus.step()
    kinds = ("link to a file", "fifo", "directory", "link to itself", "socket", "empty")
    swaps = []
    for copy, kind in zip(sorted((house.root / "nersc/buffer").rglob("00000?")), kinds, strict=True):
        house.globus.damage[f"/buffer/{copy.relative_to(house.root / 'nersc/buffer')}"] = copy.read_bytes()
        swaps.append((copy, planters(canary)[kind]))

    def swap(record):
        # Globus has read it; before the record is judged, something else lies there.
        for copy, plant in swaps:
            if record.source.endswith(f"{copy.parent.name}/{copy.name}"):
                copy.unlink()
                plant(copy)
        return record

    house.globus.records_as = swap
    house.run(until=house.clock.now() + 3000)
    look_at(house)
    codes = {why["code"] for why in house.whys("quarantine/reaper").values()}
    assert codes <= {"BUFFER-STRANGER"}


def test_links_swapped_in_while_the_reaper_removes(house, canary):
    """A thread makes the unit's directory a link to the canary and back, as fast as it can."""
    house.drop("good.json")
    house.run("syncer", "retriever", "globus_xfer")
    reaper_queue = house.root / "ws/reaper_queue"
    first = min(path.stem for path in reaper_queue.iterdir())
    document = (reaper_queue / f"{first}.json").read_bytes()
    directory, aside = house.root / "nersc/buffer" / first, house.root / "aside"
    copies = sorted(path.name for path in directory.iterdir())
    assert set(copies) & {"000000", "000001"}
    ending = threading.Event()

    def swap():
        while not ending.is_set():
            for step in (
                lambda: directory.rename(aside), lambda: directory.symlink_to(canary.root), directory.unlink,
                lambda: aside.rename(directory),
                (directory / "000000").unlink, lambda: (directory / "000000").symlink_to(canary.root / "000000"),
            ):  # fmt: skip
                try:
                    step()
                except OSError:
                    continue

    thread = threading.Thread(target=swap)
    thread.start()
    reaper = house.component("reaper")
    world = World(house.disk, house.buffer, house.clock, house.host, house.settings, house.report)
    end = time.monotonic() + 2.0
    tries = 0
    try:
        while time.monotonic() < end:
            attempt(world, "reaper", reaper, reaper._bench.home)
            tries += 1
            for place in (f"quarantine/reaper/{first}.json", f"finished/{first.partition('.')[0]}/{first}.json"):
                path = house.root / "ws" / place
                if path.exists():
                    path.unlink()
            if not (reaper_queue / f"{first}.json").exists():
                (reaper_queue / f"{first}.json").write_bytes(document)
            for n in copies:
                try:
                    house.buffer.create(f"{first}/{n}", b"x")
                except OSError:
                    continue
            house.clock.time += 400
    finally:
        ending.set()
        thread.join()
    assert tries > 20


# --- the disk itself -----------------------------------------------------------------------------------------------


def operations(disk):
    return {
        "read": disk.read, "create": lambda p: disk.create(p, b"x"), "unlink": disk.unlink, "mkdir": disk.mkdir,
        "rmdir": disk.rmdir, "rename from": lambda p: disk.rename(p, "new"), "rename to": lambda p: disk.rename("old", p),
        "link from": lambda p: disk.link(p, "new"), "link to": lambda p: disk.link("old", p),
        "digest": lambda p: disk.digest(p, ["md5"]),
        "follow": lambda p: disk.follow(p, ["md5"], None, behind=0, most=10**9), "names": disk.names, "sync": disk.sync, "status": disk.status,
    }  # fmt: skip


@pytest.mark.parametrize("operation", operations(PosixDisk(".")))
@pytest.mark.parametrize("path", [
    "../canary/precious", "/etc/passwd", "a/../../canary/precious", "./x", "a//b", "out/precious", "out/deep/000000",
    "in/../out/precious", "a\0b", "..", ".", "x/..", "out/",
])  # fmt: skip
def test_no_operation_leaves_the_root(tmp_path, canary, operation, path):
    (tmp_path / "root/in").mkdir(parents=True)
    (tmp_path / "root/old").write_text("old")
    (tmp_path / "root/out").symlink_to(canary.root)
    disk = PosixDisk(str(tmp_path / "root"))
    try:
        found = operations(disk)[operation](path)
    except (OSError, ValueError):
        return
    assert operation == "status" and found is None


@pytest.mark.parametrize("operation", ["read", "digest", "follow", "names", "sync", "rmdir"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_not_opened_for_long(tmp_path, canary, operation, kind):
    (tmp_path / "root").mkdir()
    planters(canary)[kind](tmp_path / "root/x")
    disk = PosixDisk(str(tmp_path / "root"))
    plain = disk.status("x").kind == "file"
    if kind == "huge" and operation in {"digest", "follow"}:
        return
    refused = None
    try:
        operations(disk)[operation]("x")
    except OSError as error:
        refused = error.errno
    if refused is None:
        assert plain or kind == "directory"
    else:
        assert not plain or operation in {"names", "sync", "rmdir"} or refused == errno.EFBIG


def test_a_file_that_grows_while_it_is_read_is_read_no_further_than_the_limit(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 1000)
    disk = PosixDisk(str(tmp_path))
    with pytest.raises(OSError) as caught:
        disk.read("x", 999)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(OSError) as caught:
        # Says that it is empty, and never ends being so.
        PosixDisk("/proc/self").read("maps", 10)
    assert caught.value.errno == errno.EFBIG


def test_a_beat_that_tells_of_odd_names_can_be_written(house):
    home = house.bench("syncer").home
    home.say(doing=os.fsdecode(b"reads \xff\xfe"), waits_for="\x1b[31m", upcoming="x")
    home.beat()
    (beat,) = queues.heartbeats(house.disk)
    assert beat.doing == "reads \\xff\\xfe"
    assert msgspec.json.encode(beat)

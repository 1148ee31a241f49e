"""`Hpss`, by `hsi` on the testbed's site, and by both fakes: what the components rely on."""

from __future__ import annotations

import hashlib

import fakes
import pytest
import world as simulation

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.interface import Fetch
from tacc_sync.rules.faults import WorldFault
from tacc_sync.testbed import hpss_site

PREFIX = "/home/projects/demo"
FILES = {f"d/f{n}": bytes([65 + n]) * (10 + n) for n in range(3)} | {"d2/f": b"other", "unhashed": b"without a hash"}
PATHS = [f"{PREFIX}/d/f{n}" for n in range(3)]
BAD = PATHS[1]


class Real:
    """The edge and the simulated site."""

    def __init__(self, tmp_path):
        self.root, self.buffer = tmp_path / "site", tmp_path / "buffer"
        self.buffer.mkdir()
        data = tmp_path / "data"
        for name, content in FILES.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content)
        hpss_site.build_site(self.root, data, hpss_prefix=PREFIX, tapes=1, two_cartridge_share=0, disk_share=0)
        hpss_site.install(self.root)
        self.edge = Hsi(
            clock=SystemClock(),
            scratch=tmp_path / "scratch",
            command=[str(self.root / "bin" / "hsi")],
            avail_command=[str(self.root / "bin" / "hpss_avail"), "archive"],
            tick_seconds=0.02,
            stall_seconds=1,
            listing_stall_seconds=1,
            answer_seconds=10,
        )
        self.hashed = {entry.path.decode(): bool(entry.hex) for entry in hpss_site.entries_of(self.root)}

    def local(self, name):
        return str(self.buffer / name)

    def read(self, name):
        path = self.buffer / name
        return path.read_bytes() if path.exists() else None

    def strikes(self, habit):
        if habit == "listing cut off":
            hpss_site.set_faults(self.root, [{"match": "ls", "what": "cut", "after_lines": 1, "times": None}])
            return
        rule = {
            "error": {"what": "error"},
            "short": {"what": "truncate"},
            "zeros": {"what": "zeros"},
            "wrong": {"what": "flip"},
            "gone": {"what": "vanish"},
            "hangs": {"what": "hang"},
            "breaks off": {"what": "exit", "exit": 75},
        }[habit]
        hpss_site.set_faults(self.root, [{"match": {"command": "get", "path": BAD}, **rule}])

    def down(self):
        hpss_site.set_flag(self.root, "down", is_raised=True)

    def full(self):
        hpss_site.set_settings(self.root, session_limit=0)


class Simulated:
    """The simulation's world."""

    def __init__(self, _tmp_path):
        archived = {
            f"{PREFIX}/{name}": simulation.Archived(content, hash=None if name == "unhashed" else "md5")
            for name, content in FILES.items()
        }
        self.world = simulation.World(archived)
        self.process = self.world.start("a")
        self.edge = simulation.SimHpss(self.world, self.process)
        self.hashed = {path: bool(file.hash) for path, file in archived.items()}

    def local(self, name):
        return f"{self.world.buffer_root}/{name}"

    def read(self, name):
        found = self.world.buffer.at(name)
        return None if found is None else found.content

    def strikes(self, habit):
        hpss = self.world.hpss
        if habit == "listing cut off":
            hpss.lists_cut_off = 10
        elif habit == "gone":
            hpss.since[BAD] = None
        else:
            hpss.habits[BAD] = [habit]

    def down(self):
        self.world.hpss.away_until = float("inf")

    def full(self):
        self.world.hpss.full_until = float("inf")


class Fake:
    """The fake of the unit tests."""

    def __init__(self, tmp_path):
        self.buffer = tmp_path
        self.edge = fakes.FakeHpss(
            {f"{PREFIX}/{n}": fakes.Archived(c, hash=None if n == "unhashed" else "md5") for n, c in FILES.items()}
        )
        self.hashed = {path: bool(file.hash) for path, file in self.edge.files.items()}

    def local(self, name):
        return str(self.buffer / name)

    def read(self, name):
        path = self.buffer / name
        return path.read_bytes() if path.exists() else None

    def strikes(self, habit):
        content, edge = self.edge.files[BAD].content, self.edge
        match habit:
            case "listing cut off":
                edge.lists_cut_off = True
            case "gone":
                del edge.files[BAD]
            case "error":
                edge.errors[BAD] = "get: Error -5 on transfer"
            case "hangs" | "breaks off":
                code = "HPSS-HANGING" if habit == "hangs" else "HPSS-SESSION-BROKEN"
                edge.trouble, edge.trouble_after = (code, "told to"), 1
            case _:
                edge.damage[BAD] = {
                    "short": content[:5],
                    "zeros": bytes(len(content)),
                    "wrong": bytes(255 - b for b in content),
                }[habit]

    def down(self):
        self.edge.fault = WorldFault("HPSS-AWAY", "told to")

    def full(self):
        self.edge.fault = WorldFault("HPSS-SESSIONS", "told to")


@pytest.fixture(params=[Real, Simulated, Fake], ids=["hsi", "simulation", "fake"])
def archive(request, tmp_path):
    return request.param(tmp_path)


def get(archive, paths=PATHS, **about):
    fetches = [Fetch(path, archive.local(f"{number}")) for number, path in enumerate(paths)]
    return archive.edge.get(fetches, session_name="unit", **about)


def fault(call):
    with pytest.raises(WorldFault) as caught:
        call()
    return caught.value.code


def test_listings(archive):
    tree = archive.edge.list_trees([f"{PREFIX}/d", f"{PREFIX}/d2/f", f"{PREFIX}/gone"])
    assert sorted(file.path for file in tree.files) == [*PATHS, f"{PREFIX}/d2/f"]
    assert [(refused.path, refused.kind) for refused in tree.refused] == [(f"{PREFIX}/gone", "missing")]
    sizes = {f"{PREFIX}/{name}": len(content) for name, content in FILES.items()}
    assert all(file.size == sizes[file.path] and all(len(v) == 6 for v in file.volumes) for file in tree.files)
    listing = archive.edge.list_files([PATHS[0], f"{PREFIX}/gone", f"{PREFIX}/d"])
    assert [file.path for file in listing.files] == [PATHS[0]]
    kinds = {refused.path: refused.kind for refused in listing.refused}
    assert kinds == {f"{PREFIX}/gone": "missing", f"{PREFIX}/d": "not-a-file"}


def test_hashes(archive):
    paths = [f"{PREFIX}/{name}" for name in FILES]
    found = archive.edge.hashes([*paths, f"{PREFIX}/gone"])
    assert found.keys() == set(paths)
    for name, content in FILES.items():
        path = f"{PREFIX}/{name}"
        known = found[path]
        assert (known is not None) == archive.hashed[path]
        if known:
            assert known.hex == hashlib.new(known.algorithm, content).hexdigest()


def test_a_listing_that_breaks_off_is_no_small_archive(archive):
    archive.strikes("listing cut off")
    assert fault(lambda: archive.edge.list_trees([PREFIX])) == "HPSS-LISTING-BROKEN"


def test_a_session(archive):
    over = []
    session = get(archive, [*PATHS, f"{PREFIX}/gone"], on_fetched=over.append)
    assert session.trouble is None
    assert [fetched.reported_bytes for fetched in session.fetched] == [10, 11, 12, None]
    assert [bool(fetched.error) for fetched in session.fetched] == [False, False, False, True]
    assert [archive.read(f"{n}") for n in range(4)] == [*(FILES[f"d/f{n}"] for n in range(3)), None]
    assert over == sorted(set(over))


def test_a_place_that_cannot_be_written_costs_that_file_alone(archive):
    session = get(archive)
    assert session.trouble is None
    fetches = [Fetch(PATHS[0], archive.local("no/such/place")), Fetch(PATHS[1], archive.local("new"))]
    session = archive.edge.get(fetches, session_name="unit")
    assert session.trouble is None
    assert [bool(fetched.error) for fetched in session.fetched] == [True, False]
    assert archive.read("new") == FILES["d/f1"]


@pytest.mark.parametrize("habit", ["error", "gone"])
def test_an_error_costs_one_file(archive, habit):
    archive.strikes(habit)
    session = get(archive)
    assert session.trouble is None
    assert [bool(fetched.error) for fetched in session.fetched] == [False, True, False]
    assert session.fetched[1].reported_bytes is None
    assert [archive.read(f"{n}") for n in (0, 2)] == [FILES["d/f0"], FILES["d/f2"]]


@pytest.mark.parametrize("habit", ["short", "zeros", "wrong"])
def test_a_bad_copy_is_not_told_of(archive, habit):
    archive.strikes(habit)
    session = get(archive)
    assert session.trouble is None
    assert not any(fetched.error for fetched in session.fetched)
    copy, content = archive.read("1"), FILES["d/f1"]
    assert copy != content
    assert (len(copy) < len(content)) == (habit == "short")


@pytest.mark.parametrize(("habit", "code"), [("hangs", "HPSS-HANGING"), ("breaks off", "HPSS-SESSION-BROKEN")])
def test_a_session_that_ends_badly_keeps_what_it_has(archive, habit, code):
    archive.strikes(habit)
    session = get(archive)
    assert session.trouble[0] == code
    assert len(session.fetched) == 3
    assert archive.read("0") == FILES["d/f0"]
    assert session.fetched[0].reported_bytes == 10
    assert not any(fetched.error for fetched in session.fetched)
    if habit == "hangs":
        assert [fetched.reported_bytes for fetched in session.fetched[1:]] == [None, None]


def test_a_session_that_may_not_go_on(archive):
    session = get(archive, may_go_on=lambda: False)
    assert session.trouble[0] == "STOPPED"
    assert len(session.fetched) == 3


@pytest.mark.parametrize(("trouble", "code"), [("down", "HPSS-AWAY"), ("full", "HPSS-SESSIONS")])
def test_nothing_can_be_had(archive, trouble, code):
    getattr(archive, trouble)()
    calls = [lambda: archive.edge.list_trees([PREFIX]), lambda: archive.edge.hashes(PATHS), lambda: get(archive)]
    assert [fault(call) for call in calls] == [code] * 3
    assert archive.read("0") is None

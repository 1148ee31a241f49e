"""Listings that are gone on with: what was kept of them, by whom, for whom, and for how long."""

import json
import os
import random

import pytest
from desk import Desk
from dying_disk import Deaths, Died, DyingDisk
from fakes import FakeHost
from house import DESTINATION, SOURCE
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_tree import SpokenTree

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.host.spool import Spool
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.interface import ListedFile, ListedPart, Refused
from tacc_sync.pipeline import checkpoint
from tacc_sync.pipeline.step import Bench, Moved
from tacc_sync.pipeline.syncer import Syncer
from tacc_sync.rules.documents import Request
from tacc_sync.rules.faults import Fenced, OperatorFault, WorldFault
from tacc_sync.rules.identity import request_key
from tacc_sync.rules.pruning import may_hold
from tacc_sync.rules.selection import select
from tacc_sync.workspace import layout, listings
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.listings import KeptListing
from tacc_sync.workspace.recovery import give_back

KEY, TOKEN, AGE, NOW = "0123456789ab", "cafe", 1000.0, 1_800_000_000.0
UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


@pytest.fixture
def desk(tmp_path):
    return tree_desk(tmp_path)


def tree_desk(place, wide=4, files=5):
    desk = Desk(place)
    desk.settings.hsi.hashes = False
    desk.settings.skip.before_recall = False
    desk.tree = SpokenTree(
        [f"{SOURCE}/f", *(f"{SOURCE}/d{a}/e{b}/f{n}" for a in range(wide) for b in range(wide) for n in range(files))],
        piece=300,
    )
    scratch = place / "scratch"
    desk.hpss = Hsi(clock=SystemClock(), scratch=scratch, command=["/bin/true"], listing_sessions=1, listing_files=8)
    desk.hpss._kennel = desk.tree
    return desk


def home_of(desk, disk=None, host=None):
    home = Home(
        disk or desk.disk, desk.buffer, desk.clock, host or desk.host, component="syncer", thread=random.getrandbits(20)
    )
    home.enter()
    return home


def kept(desk, home=None, key=KEY, token=TOKEN, age=AGE):
    return KeptListing(home or home_of(desk), key, token, age)


def listed(path, size=5):
    return ListedFile(path, size, 3, 4, ("AG0846",), "2021-03-01T11:15:47")


def part(root, names, subdirectories=None, refused=()):
    files = Spool(ListedFile, [listed(f"{root}/{name}") for name in names])
    return ListedPart(root, files, 2, subdirectories, list(refused))


def told(found):
    return found and (found.root, list(found.files), found.directories, found.subdirectories, found.refused)


def asked(tree):
    return {line.partition("'")[2][:-1] for line in tree.commands if not line.startswith("ls -a -N -P")}


def planned(desk):
    return {file["path"] for unit in desk.documents("hpss_queue").values() for file in unit["files"]}


# --- one store ----------------------------------------------------------------------------------------------------

NAMES = st.lists(st.text(st.sampled_from("a \u00e4\udcff\udc80'\\"), min_size=1, max_size=4), unique=True, max_size=8)


@settings(max_examples=30)
@given(st.lists(NAMES, min_size=1, max_size=4), st.integers(1, 5), NAMES)
def test_what_is_recalled_is_what_was_kept(tmp_path_factory, contents, piece, odd):
    desk = tree_desk(tmp_path_factory.mktemp("desk"))
    refused = [Refused(f"/r/d0/{name}", "not-a-file", f"hsi calls it {name}") for name in odd]
    parts = [part(f"/r/d{n}", names, refused=refused if n == 0 else ()) for n, names in enumerate(contents)]
    parts.append(part("/r", ["top"], subdirectories=("/r/d0", "/r/d1")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listings, "PIECE", piece)
        kept(desk).keep(parts, NOW)
        again = kept(desk, home_of(desk, host=FakeHost(name="other")))
        for each in [*parts, *reversed(parts)]:
            assert told(again.recall(each.root, NOW)) == told(each)
    assert again.recall("/r/d99", NOW) is None


def test_all_that_lies_below_a_directory_is_more_than_what_lies_in_it_and_new_is_better_than_old(desk):
    ours = kept(desk)
    ours.keep([part("/r/a", ["new"])], NOW)
    ours.keep([part("/r/a", ["old"]), part("/r/b", ["old"], subdirectories=())], NOW - 10)
    ours.keep([part("/r/a", ["level"], subdirectories=())], NOW + 5)
    ours.keep([part("/r/b", ["new"], subdirectories=())], NOW)
    again = kept(desk)
    assert [file.path for file in again.recall("/r/a", NOW).files] == ["/r/a/new"]
    assert [file.path for file in again.recall("/r/b", NOW).files] == ["/r/b/new"]


@pytest.mark.parametrize("late", [AGE + 1, -AGE - 1])
def test_what_is_too_old_or_from_the_future_is_not_recalled(desk, late):
    kept(desk).keep([part("/r/a", ["f"])], NOW)
    assert kept(desk).recall("/r/a", NOW + AGE - 1) is not None
    assert kept(desk).recall("/r/a", NOW + late) is None


def test_nothing_is_recalled_for_another_request(desk):
    kept(desk).keep([part("/r/a", ["f"])], NOW)
    other = kept(desk, token="other")
    assert other.recall("/r/a", NOW) is None
    # Nor when somebody copies it there.
    os.rename(desk.root / "ws" / kept(desk).path, desk.root / "ws" / other.path)
    assert kept(desk, token="other").recall("/r/a", NOW) is None


def meddled(content, number):
    source = random.Random(number)
    choice = number % 5
    where = source.randrange(len(content))
    if choice == 0:
        return content[:where]
    if choice == 1:
        return content[:where] + bytes([content[where] ^ (1 << source.randrange(8))]) + content[where + 1 :]
    if choice == 2:
        return content + b"x"
    if choice == 3:
        return b""
    return source.randbytes(len(content))


@pytest.mark.parametrize("number", range(40))
def test_what_is_torn_is_as_if_it_were_not_there(desk, number):
    ours = kept(desk)
    parts = [part("/r/a", ["f", "g"]), part("/r/b", ["h"])]
    ours.keep(parts, NOW)
    directory = desk.root / "ws" / ours.path
    victim = sorted(directory.iterdir())[number % 2]
    victim.write_bytes(meddled(victim.read_bytes(), number))
    again = kept(desk)
    assert again.recall("/r/a", NOW) is None
    assert again.recall("/r/b", NOW) is None


def test_strangers_in_its_place_do_no_harm(desk, monkeypatch):
    monkeypatch.setattr(listings, "MOST_BYTES", 1_000_000)
    ours = kept(desk)
    ours.keep([part("/r/a", ["f"])], NOW)
    directory = desk.root / "ws" / ours.path
    record = next(directory.glob("*.record"))
    other = record.read_bytes()
    (directory / "link.record").symlink_to(record)
    (directory / "directory.record").mkdir()
    os.mkfifo(directory / "fifo.record")
    (directory / "zeros.record").write_bytes(bytes(1000))
    (directory / "bomb.record").write_bytes(listings.seal(bytes(1_000_001)))
    (directory / "nonsense.record").write_bytes(listings.seal(b"\x93\x01"))
    # A record whose pieces are not there.
    (directory / "copy.record").write_bytes(other)
    assert told(kept(desk).recall("/r/a", NOW)) in (None, told(part("/r/a", ["f"])))
    (directory / "copy.record").unlink()
    assert told(kept(desk).recall("/r/a", NOW)) == told(part("/r/a", ["f"]))


@pytest.mark.parametrize(
    "bad",
    [
        part("/r/a", ["../b/f"]),
        ListedPart("/r/a", Spool(ListedFile, [listed("/r/b/f")]), 0, None, []),
        ListedPart("/r/a", Spool(ListedFile, [listed("/r/a/b/f")]), 0, (), []),
        ListedPart("/r/a", Spool(ListedFile), 0, ("/r/b",), []),
        ListedPart("/r/a", Spool(ListedFile), 0, ("/r/a",), []),
        ListedPart("/r/a", Spool(ListedFile), -1, None, []),
        ListedPart("/r/a", Spool(ListedFile), 0, None, [Refused("/r/b", "missing", "")]),
        ListedPart("r/a", Spool(ListedFile), 0, None, []),
    ],
)
def test_what_says_what_it_cannot_know_is_not_recalled(desk, bad):
    kept(desk).keep([bad], NOW)
    found = kept(desk).recall(bad.root, NOW)
    assert found is None or [file.path for file in found.files] == ["/r/a/../b/f"]


def test_whoever_was_fenced_keeps_nothing(desk):
    home = home_of(desk)
    ours = kept(desk, home)
    ours.keep([part("/r/a", ["f"])], NOW)
    os.rename(desk.root / "ws" / home.path, desk.root / "ws/claims/dead~x~y")
    with pytest.raises(Fenced):
        ours.keep([part("/r/b", ["f"])], NOW)
    assert kept(desk).recall("/r/b", NOW) is None


# --- the syncer ---------------------------------------------------------------------------------------------------


def cut_off(desk, after):
    """HPSS goes away at the so-and-so-many-th command."""
    count = 0

    def before(_line):
        nonlocal count
        count += 1
        return ["HPSS Unavailable"] if count > after else None

    desk.tree.before = before


def broken_off(desk, after):
    """A syncer that has to give its request back when HPSS goes away at the so-and-so-many-th command; HPSS is back. Of
    which directories something is kept."""
    cut_off(desk, after)
    syncer = desk.component("syncer")
    with pytest.raises(WorldFault):
        syncer.step()
    home = syncer._bench.home
    give_back(home, home.path, home.name, lambda *_: None)
    desk.tree.before = lambda _line: None
    desk.tree.commands.clear()
    return directories_kept(desk)


def test_a_small_request_leaves_no_trace(desk):
    desk.hpss._listing_files = 1000
    desk.drop()
    desk.run("syncer")
    assert planned(desk) == desk.tree.files
    assert len(desk.tree.sessions) == 1
    assert not (desk.root / "ws/listings").exists()


@pytest.mark.parametrize("after", [3, 4, 8, 12, 20, 26])
@pytest.mark.parametrize("fields", [{}, {"request_id": UUID}])
def test_a_listing_that_hpss_broke_off_is_gone_on_with_by_somebody_else(desk, after, fields):
    desk.drop(**fields)
    done = broken_off(desk, after)
    other = desk.component("syncer", FakeHost(name="other"))
    assert isinstance(other.step(), Moved)
    assert planned(desk) == desk.tree.files
    assert not asked(desk.tree) & done
    assert not directories_kept(desk)
    assert not desk.codes("broken")


def directories_kept(desk):
    """Of which directories something is kept, whoever it is for."""
    found = set()
    for directory in (desk.root / "ws/listings").glob("*"):
        for record in directory.glob("*.record"):
            decoded = listings._decoded(listings.unseal(record.read_bytes()), listings._Record)
            found |= {each.root for each in decoded.parts} if decoded else set()
    return found


def steps_until_planned(place):
    desk = tree_desk(place, wide=3, files=3)
    desk.drop()
    deaths = Deaths()
    bench = Bench(home_of(desk, DyingDisk(desk.disk, deaths)), desk.settings, desk.report, lambda _: None)
    Syncer(bench, desk.hpss).step()
    return deaths.count


@pytest.mark.parametrize("after", [False, True])
def test_whoever_is_killed_anywhere_only_what_was_not_kept_is_listed_again(tmp_path, after):
    total = steps_until_planned(tmp_path / "first")
    assert total > 40
    resumed = 0
    for at in range(1, total + 1, 3):
        desk = tree_desk(tmp_path / f"{at}", wide=3, files=3)
        desk.drop()
        host = FakeHost(pid=777)
        deaths = Deaths(at, after=after)
        try:
            bench = Bench(home_of(desk, DyingDisk(desk.disk, deaths), host), desk.settings, desk.report, lambda _: None)
            Syncer(bench, desk.hpss).step()
        except Died:
            pass
        done = directories_kept(desk)
        desk.tree.commands.clear()
        desk.host.dead.add(777)
        desk.recover()
        desk.run("syncer")
        assert planned(desk) == desk.tree.files, at
        # Of a request that was committed the listing is not needed; before that, each part is listed once.
        assert not asked(desk.tree) & done, at
        resumed += bool(done and desk.tree.commands)
        desk.clock.time += checkpoint.BETWEEN_SWEEPS + 1
        desk.component("syncer").step()
        assert not directories_kept(desk), at
        assert not desk.codes("broken"), (at, desk.codes("broken"))
    assert resumed > 3


def test_what_was_kept_goes_when_the_request_cannot_be_planned(desk):
    desk.drop()
    desk.tree.before = lambda line: (
        ["*** ls: Access denied [-13: HPSS_EACCES]", f"    {SOURCE}/d2"] if line.endswith(f"'{SOURCE}/d2'") else None
    )
    desk.run("syncer")
    assert [why["code"] for why in desk.whys("quarantine/syncer").values()] == ["SOURCE-UNREADABLE"]
    assert not directories_kept(desk)
    assert os.listdir(desk.root / "ws/listings") == []


def test_a_request_of_the_same_content_is_listed_for_itself(desk):
    """The leftover of a crash between commit and removal must not serve the next one."""
    desk.drop("nightly.json")
    syncer = desk.component("syncer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tacc_sync.pipeline.syncer.forget", lambda *_: None)
        syncer.step()
    assert directories_kept(desk)
    new = f"{SOURCE}/d0/e0/new"
    desk.tree.files.add(new)
    desk.drop("nightly.json")
    desk.component("syncer").step()
    assert new in planned(desk)


def test_two_copies_of_a_request_of_which_one_was_cut_off_share_nothing_wrong(desk):
    desk.drop()
    assert broken_off(desk, 20)
    (back,) = (desk.root / "ws/inbox").iterdir()
    document = json.loads(back.read_text())
    # Somebody makes another request of it.
    del document["admitted"]
    (desk.root / "ws/inbox/copy.json").write_text(json.dumps(document))
    desk.run("syncer")
    assert planned(desk) == desk.tree.files
    assert len(desk.documents("request_queue")) == 1
    assert len(desk.documents("quarantine/syncer")) == 1


def test_what_was_kept_gets_too_old(desk):
    desk.drop()
    done = broken_off(desk, 24)
    assert done
    desk.clock.time += desk.settings.hsi.listing_age + 1
    desk.component("syncer").step()
    assert planned(desk) == desk.tree.files
    assert done <= asked(desk.tree)


def test_what_nobody_goes_on_with_is_removed_when_it_is_old_and_no_stranger_meanwhile(desk):
    home = home_of(desk)
    kept(desk, home).keep([part("/r/a", ["f"])], desk.clock.now())
    (desk.root / "ws/listings/ffffffffffff.0123456789abcdef").mkdir()
    (desk.root / "ws/listings/mine").mkdir()
    now = desk.clock.now()
    for path in (desk.root / "ws" / kept(desk, home).path).iterdir():
        os.utime(path, (now, now))
    assert [f.where for f in desk.check().findings if f.code == "STRANGER"] == ["listings/mine"]
    syncer = desk.component("syncer")
    syncer.step()
    assert len(os.listdir(desk.root / "ws/listings")) == 3
    desk.clock.time += checkpoint.BETWEEN_SWEEPS + 1
    syncer.step()
    assert len(os.listdir(desk.root / "ws/listings")) == 2
    desk.clock.time += desk.settings.hsi.listing_age
    syncer.step()
    assert os.listdir(desk.root / "ws/listings") == ["mine"]


def test_something_else_in_the_place_of_the_directory_is_told(desk):
    (desk.root / "ws/listings").symlink_to("/tmp")
    with pytest.raises(OperatorFault, match="is a link"):
        layout.open_workspace(desk.disk)


def test_the_heartbeat_says_how_far_it_is(desk):
    desk.drop()
    seen = []
    syncer = desk.component("syncer")
    beat = syncer._bench.home.beat

    def watched(*, doing=""):
        seen.append(doing)
        beat(doing=doing)

    syncer._bench.home.beat = watched

    def before(_line):
        desk.clock.time += 3

    desk.tree.before = before
    syncer.step()
    words = [word for word in seen if " part " in word]
    assert words
    assert all(word.startswith("lists part ") and f" of {SOURCE}: " in word for word in words)


# --- what need not be listed --------------------------------------------------------------------------------------

PATTERNS = st.sampled_from(
    ["a/**", "**/b/**", "*/a/**", "a", "**/a", "[!a]*/**", "{a,b}/**", f"{SOURCE}/a/**", f"{SOURCE}/**/b/**", "**", "*"]
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "0", "x.zip"]), min_size=1, max_size=4).map("/".join)


@given(
    st.lists(PATTERNS, max_size=3),
    st.lists(PATTERNS, max_size=2),
    st.lists(PATHS, max_size=10),
    st.sampled_from(["path", "globset"]),
)
def test_below_what_may_hold_nothing_nothing_is_selected(exclude, include, paths, rules):
    request = Request(
        version=1, source=SOURCE, destination=DESTINATION, include=include, exclude=exclude, pattern_rules=rules
    )
    files = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    chosen = {file.path for file in select(request, [listed(f"{SOURCE}/{path}") for path in sorted(files)]).files}
    test = may_hold(request)
    for path in chosen:
        directory = path.rpartition("/")[0]
        while len(directory) >= len(SOURCE):
            assert test(directory), (directory, path)
            directory = directory.rpartition("/")[0]


def test_excluded_directories_are_not_listed(desk):
    desk.drop(exclude=["d1/**", "**/e2/**"])
    desk.run("syncer")
    assert planned(desk) == {path for path in desk.tree.files if "/d1/" not in path and "/e2/" not in path}
    assert not {f"{SOURCE}/d1", f"{SOURCE}/d2/e2"} & asked(desk.tree)
    assert request_key(next(iter(desk.documents("request_queue"))))

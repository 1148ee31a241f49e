"""`Hsi` against the simulated site: names of every sort, hashes, retrieval, and each of the site's troubles."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.interface import Fetch
from tacc_sync.rules.faults import OperatorFault, WorldFault
from tacc_sync.testbed import hpss_log, hpss_site

PREFIX = "/home/projects/demo"
NAMES = [
    "plain.zip",
    "a b/c  d.zip",
    "it's/one.zip",
    'say "hi".zip',
    "semi;colon;!ls.zip",
    "*.zip",
    "q?.zip",
    "[ab]{c,d}^.zip",
    "-rf",
    "--/x",
    ".hidden/.too",
    "dätä/żółć.zip",
    "(paren) - : << EOF",
    "$HOME`id`.zip",
    "# comment",
    "end ",
    "run1/f1.dat",
    "run1/f2.dat",
    "run2/deep/er/f3.dat",
]
UNSPEAKABLE = ["both'\".zip", "tab\there.zip", "back\\slash.zip", "undecodable\udcff.zip", "bell\x07.zip"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    for number, name in enumerate([*NAMES, *UNSPEAKABLE]):
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(path).write_bytes(f"{name!r} ".encode() * (number + 1))
    (directory / "empty").write_bytes(b"")
    (directory / "no files" / "here").mkdir(parents=True)
    (directory / "link").symlink_to("plain.zip")
    (directory / ".Trash").mkdir()
    (directory / ".Trash" / "old.zip").write_bytes(b"old")
    return directory


@pytest.fixture
def site(data, tmp_path):
    root = tmp_path / "site"
    hpss_site.build_site(root, data, hpss_prefix=PREFIX)
    hpss_site.install(root)
    return root


@pytest.fixture
def archive(site, tmp_path):
    def make(**settings):
        settings = {
            "clock": SystemClock(),
            "scratch": tmp_path / "scratch",
            "command": [str(site / "bin" / "hsi")],
            "avail_command": [str(site / "bin" / "hpss_avail"), "archive"],
            "tick_seconds": 0.05,
            "stall_seconds": 2,
            "listing_stall_seconds": 2,
            "answer_seconds": 10,
            **settings,
        }
        return Hsi(**settings)

    return make


def truth(site):
    return {os.fsdecode(entry.path): entry for entry in hpss_site.entries_of(site)}


def fault(match, what, **particulars):
    return {"match": match, "what": what, **particulars}


def listed_paths():
    # What hsi can't be told of is listed all the same, or nobody would know that it is there.
    return wanted_paths() | {f"{PREFIX}/{name}" for name in UNSPEAKABLE}


def wanted_paths():
    return {f"{PREFIX}/{name}" for name in [*NAMES, "empty"]}


# -- listings


@pytest.mark.parametrize(
    "site_settings", [{}, {"echo_in_lines": False}, {"list_root_directory": True}, {"link_word": "SYMLINK"}]
)
@pytest.mark.parametrize("options", [["-P"], ["-q"]])
def test_the_tree(archive, site, site_settings, options):
    hpss_site.set_settings(site, **site_settings)
    listing = archive(listing_options=options).list_trees([PREFIX])
    known = truth(site)
    assert {file.path for file in listing.files} == listed_paths()
    for file in listing.files:
        entry = known[file.path]
        assert (file.size, file.volumes) == (entry.size, tuple(entry.volumes))
        assert (file.section, file.offset) == ((entry.section, entry.offset) if entry.volumes else (0, 0))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", file.written)
    assert {refused.path: refused.kind for refused in listing.refused} == {
        f"{PREFIX}/link": "not-a-file",
    }
    assert listing.directories > 8


def test_padded_fields(archive, site):
    hpss_site.set_settings(site, pad_fields=True, blank_vv=" ")
    listing = archive().list_trees([f"{PREFIX}/run1", f"{PREFIX}/empty", f"{PREFIX}/a b"])
    assert {file.path for file in listing.files} == {
        f"{PREFIX}/run1/f1.dat",
        f"{PREFIX}/run1/f2.dat",
        f"{PREFIX}/empty",
        f"{PREFIX}/a b/c  d.zip",
    }


def test_roots_of_all_sorts(archive):
    roots = [
        f"{PREFIX}/run2",
        f"{PREFIX}/run2/deep",
        f"{PREFIX}/plain.zip",
        f"{PREFIX}/gone",
        f"{PREFIX}/no files/here",
    ]
    listing = archive().list_trees(roots)
    assert [file.path for file in listing.files] == [f"{PREFIX}/run2/deep/er/f3.dat", f"{PREFIX}/plain.zip"]
    assert [(refused.path, refused.kind) for refused in listing.refused] == [(f"{PREFIX}/gone", "missing")]


def test_single_files(archive, site):
    asked = [*wanted_paths(), f"{PREFIX}/gone", f"{PREFIX}/run1", f"{PREFIX}/no files/here", f"{PREFIX}/link"]
    listing = archive(batch_lines=7).list_files([*asked, f"{PREFIX}/{UNSPEAKABLE[0]}"])
    assert {file.path for file in listing.files} == wanted_paths()
    assert {refused.path: refused.kind for refused in listing.refused} == {
        f"{PREFIX}/gone": "missing",
        f"{PREFIX}/run1": "not-a-file",
        f"{PREFIX}/no files/here": "not-a-file",
        f"{PREFIX}/link": "not-a-file",
        f"{PREFIX}/{UNSPEAKABLE[0]}": "unspeakable",
    }


def test_hashes(archive, site):
    found = archive(batch_lines=5).hashes([*wanted_paths(), f"{PREFIX}/gone", f"{PREFIX}/{UNSPEAKABLE[0]}"])
    known = truth(site)
    assert found.keys() == wanted_paths()
    for path, archive_hash in found.items():
        entry = known[path]
        assert (archive_hash and (archive_hash.algorithm, archive_hash.hex)) == (
            (entry.algorithm, entry.hex) if entry.hex else None
        )


@pytest.mark.parametrize("site_settings", [{}, {"list_root_directory": True}, {"pad_fields": True}])
def test_a_tree_in_parts_is_what_one_session_says(archive, site, site_settings):
    def said(listing):
        refused = sorted((one.path, one.kind) for one in listing.refused)
        return sorted(listing.files, key=lambda file: file.path), listing.directories, refused

    hpss_site.set_settings(site, **site_settings)
    whole = said(archive().list_trees([PREFIX]))
    before = len(hpss_log.read_log(site).sessions)
    hpss_site.set_settings(site, **site_settings, list_entries_per_second=200.0)
    assert said(archive(listing_files=3, listing_sessions=3).list_trees([PREFIX])) == whole
    log = hpss_log.read_log(site)
    assert len(log.sessions) > before + 2
    assert {event["path"] for event in log.of("listed") if not event["deep"]} >= {PREFIX, f"{PREFIX}/run2"}


@pytest.mark.parametrize("exit_status", [0, 75])
@pytest.mark.parametrize("is_inside", [False, True])
@pytest.mark.parametrize("after", [0, 20])
@pytest.mark.parametrize("echo", [True, False])
def test_a_listing_that_breaks_off(archive, site, exit_status, is_inside, after, echo):
    hpss_site.set_settings(site, echo_in_lines=echo)
    cut = fault("ls", "cut", exit=exit_status, after_lines=after, inside=is_inside, times=1)
    hpss_site.set_faults(site, [cut])
    listing = archive().list_trees([PREFIX])
    assert {file.path for file in listing.files} == listed_paths()
    hpss_site.set_faults(site, [{**cut, "times": None}])
    for call in (
        lambda: archive().list_trees([PREFIX]),
        *([lambda: archive().list_files(sorted(wanted_paths()))] if after == 0 else []),
    ):
        with pytest.raises(WorldFault) as caught:
            call()
        assert caught.value.code == "HPSS-LISTING-BROKEN"


@pytest.mark.parametrize("number", [9, 11])
def test_a_listing_that_crashes(archive, site, number):
    hpss_site.set_faults(site, [fault("ls", "signal", signal=number)])
    assert len(archive().list_trees([PREFIX]).files) == len(listed_paths())
    hpss_site.set_faults(site, [fault("ls", "signal", signal=number, times=None)])
    with pytest.raises(WorldFault) as caught:
        archive().list_trees([PREFIX])
    assert caught.value.code == "HPSS-LISTING-BROKEN"


def test_an_exit_status_without_a_reason(archive, site):
    hpss_site.set_faults(site, [fault("ls", "exit", exit=75)])
    assert len(archive().list_trees([PREFIX]).files) == len(listed_paths())


def test_noise_in_a_listing(archive, site):
    hpss_site.set_faults(site, [fault("ls", "noise", times=None)])
    assert len(archive().list_trees([PREFIX]).files) == len(listed_paths())
    hpss_site.set_faults(site, [fault("ls", "noise", line="we are all made of stars", times=None)])
    with pytest.raises(WorldFault, match="made of stars"):
        archive().list_trees([PREFIX])


def test_a_directory_that_is_closed_to_us(archive, site):
    rule = fault(
        {"command": "ls", "path": f"{PREFIX}/run2"},
        "error",
        code=-13,
        name="HPSS_EACCES",
        text="Permission denied",
        times=None,
    )
    trash = {**rule, "match": {"command": "ls", "path": f"{PREFIX}/.Trash"}}
    hpss_site.set_faults(site, [rule, trash])
    listing = archive().list_trees([PREFIX])
    assert {file.path for file in listing.files} == listed_paths() - {f"{PREFIX}/run2/deep/er/f3.dat"}
    assert (f"{PREFIX}/run2", "denied") in {(refused.path, refused.kind) for refused in listing.refused}


def test_an_error_of_the_archive_passes_or_is_told(archive, site):
    rule = fault({"command": "ls", "path": f"{PREFIX}/plain.zip"}, "error", name="HPSS_EIO")
    hpss_site.set_faults(site, [rule])
    assert len(archive().list_trees([PREFIX]).files) == len(listed_paths())
    hpss_site.set_faults(site, [{**rule, "times": None}])
    refused = {one.path: one.kind for one in archive().list_trees([PREFIX]).refused}
    assert refused[f"{PREFIX}/plain.zip"] == "error"
    assert {one.path: one.kind for one in archive().list_files([f"{PREFIX}/plain.zip"]).refused} == {
        f"{PREFIX}/plain.zip": "error"
    }


@pytest.mark.parametrize("exit_status", [0, 1])
def test_hashes_that_break_off(archive, site, exit_status):
    rule = fault("hashlist", "cut", exit=exit_status, after_lines=0, inside=True)
    hpss_site.set_faults(site, [rule])
    assert archive().hashes(wanted_paths()).keys() == wanted_paths()
    hpss_site.set_faults(site, [{**rule, "times": None}])
    with pytest.raises(WorldFault, match="hashes"):
        archive().hashes(wanted_paths())


# -- the site as a whole


def test_flags(archive, site, tmp_path):
    codes = {"down": "HPSS-AWAY", "no-token": "HPSS-UNAUTHENTICATED", "bad-token": "HPSS-UNAUTHENTICATED"}
    for flag, code in codes.items():
        hpss_site.set_flag(site, flag, is_raised=True)
        for call in (
            lambda: archive().list_trees([PREFIX]),
            lambda: archive().hashes([f"{PREFIX}/plain.zip"]),
            lambda: archive().get([Fetch(f"{PREFIX}/plain.zip", str(tmp_path / "l"))], session_name="s"),
        ):
            with pytest.raises((WorldFault, OperatorFault)) as caught:
                call()
            assert caught.value.code == code
        hpss_site.set_flag(site, flag, is_raised=False)
    archive().check_up()


def test_maintenance(archive, site):
    hpss_site.set_flag(site, "maintenance", is_raised=True)
    with pytest.raises(WorldFault) as caught:
        archive().check_up()
    assert caught.value.code == "HPSS-AWAY"
    with pytest.raises(WorldFault) as caught:
        archive(listing_stall_seconds=0.5).list_trees([PREFIX])
    assert caught.value.code == "HPSS-HANGING"


def test_a_refused_connection(archive, site):
    hpss_site.set_faults(site, [fault("connect", "error", times=None)])
    with pytest.raises(WorldFault) as caught:
        archive().list_trees([PREFIX])
    assert caught.value.code == "HPSS-AWAY"


# -- retrieval


def fetches_of(paths, directory):
    directory.mkdir(exist_ok=True)
    return [Fetch(path, str(directory / f"{number:04d}")) for number, path in enumerate(paths)]


@pytest.mark.parametrize("options", [["-q"], ["-P"], []])
def test_get(archive, site, data, tmp_path, options):
    paths = sorted(wanted_paths())
    fetches = fetches_of([*paths, f"{PREFIX}/gone", f"{PREFIX}/{UNSPEAKABLE[0]}"], tmp_path / "it's a buffer")
    over = []
    session = archive(get_options=options).get(fetches, session_name="u.1", on_fetched=over.append)
    assert session.trouble is None
    assert session.unexplained == []
    for path, fetch, fetched in zip(paths, fetches, session.fetched, strict=False):
        original = data / path.removeprefix(f"{PREFIX}/")
        assert Path(fetch.local_path).read_bytes() == original.read_bytes()
        assert int(Path(fetch.local_path).stat().st_mtime) == int(original.stat().st_mtime)
        assert fetched.error == ""
        if options != ["-P"]:
            assert fetched.reported_bytes == original.stat().st_size
    gone, unspeakable = session.fetched[-2:]
    assert "ENOENT" in gone.error
    assert unspeakable.error.startswith("NAME-UNSPEAKABLE")
    assert over == sorted(set(over))


def one_bad_of_three(archive, site, tmp_path, rule, **settings):
    paths = [f"{PREFIX}/run1/f1.dat", f"{PREFIX}/run1/f2.dat", f"{PREFIX}/plain.zip"]
    hpss_site.set_faults(site, [{"match": {"command": "get", "path": paths[1]}, **rule}])
    return archive(**settings).get(fetches_of(paths, tmp_path / "buffer"), session_name="s")


def test_an_error_of_one_file(archive, site, tmp_path):
    session = one_bad_of_three(archive, site, tmp_path, {"what": "error"})
    assert [bool(fetched.error) for fetched in session.fetched] == [False, True, False]
    assert session.fetched[1].error.startswith("get: Error -5 on transfer")
    assert session.trouble is None
    session = one_bad_of_three(
        archive, site, tmp_path, {"what": "error", "name": "HPSS_EACCES", "text": "Permission denied"}
    )
    assert [bool(fetched.error) for fetched in session.fetched] == [False, True, False]
    session = one_bad_of_three(archive, site, tmp_path, {"what": "noise"})
    assert (session.trouble, session.unexplained) == (None, [])


def test_a_get_that_hangs_or_dies(archive, site, tmp_path):
    session = one_bad_of_three(archive, site, tmp_path, {"what": "hang", "ignore_term": True}, stall_seconds=1)
    assert session.trouble is not None
    assert session.trouble[0] == "HPSS-HANGING"
    assert session.fetched[0].reported_bytes is not None
    assert session.fetched[2].reported_bytes is None
    session = one_bad_of_three(archive, site, tmp_path, {"what": "signal", "signal": 11})
    assert session.trouble is not None
    assert session.trouble[0] == "HSI-CRASHED"
    session = one_bad_of_three(archive, site, tmp_path, {"what": "exit", "exit": 75})
    assert session.trouble is not None
    assert session.trouble[0] == "HPSS-SESSION-BROKEN"


def test_a_slow_site_is_not_a_hanging_one(archive, site, tmp_path):
    hpss_site.set_settings(site, mount_seconds=0.6, locate_seconds=0.3)
    paths = [f"{PREFIX}/run1/f1.dat", f"{PREFIX}/run1/f2.dat", f"{PREFIX}/plain.zip"]
    session = archive(stall_seconds=1.5).get(fetches_of(paths, tmp_path / "buffer"), session_name="s")
    assert session.trouble is None


def test_a_big_listing_is_read_as_it_comes(tmp_path):
    root = tmp_path / "site"
    hpss_site.make_synthetic_site(root, files=3000, tapes=5)
    hpss_site.install(root)
    archive = Hsi(clock=SystemClock(), scratch=tmp_path, command=[str(root / "bin" / "hsi")])
    began = time.monotonic()
    listing = archive.list_trees([PREFIX])
    assert len(listing.files) == 3000
    assert listing.directories == 30
    assert time.monotonic() - began < 30
    some = [file.path for file in list(listing.files)[:50]]
    hashes = archive.hashes(some)
    known = truth(root)
    assert all((found.hex if found else "") == known[path].hex for path, found in hashes.items())

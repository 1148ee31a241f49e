"""Both archives compared: each kind of difference, seen from either side, in words; and the law that each file is told
once."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from desk import Desk
from house import DESTINATION, SOURCE
from hypothesis import given, settings
from hypothesis import strategies as st

from tacc_sync.operator import adopt_present
from tacc_sync.operator.adopt_present import Adoption
from tacc_sync.operator.audit import Audit, Neighbours
from tacc_sync.outside.globus.interface import NoSuchDirectory
from tacc_sync.outside.host.sorted_lines import SortedLines
from tacc_sync.outside.hpss.interface import Refused
from tacc_sync.rules.differences import EXPLAINED, KINDS, UNEXPLAINED
from tacc_sync.rules.faults import OperatorFault, WorkFault, WorldFault

WRITTEN = "2020-06-01T12:00:00"
NOON = int(time.mktime((2020, 6, 1, 12, 0, 0, 0, 0, -1)))


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path).at_once()
    desk.archive("a/one", b"1" * 100, volumes=("AG0001",))
    desk.archive("a/two", b"2" * 200, volumes=("AG0001",))
    desk.archive("b/three", b"3" * 300, volumes=("AG0002",))
    for archived in desk.hpss.files.values():
        archived.written = WRITTEN
    return desk


def audit(desk, what=None, scratch=None):
    """What is found, by name at the destination (in the archive, when it goes nowhere); whether all is explained."""
    directory = scratch or desk.root / "scratch"
    directory.mkdir(exist_ok=True)
    neighbours = Neighbours(desk.hpss, desk.globus, desk.clock, desk.settings, str(directory))
    audited = Audit(desk.disk, neighbours)
    found = list(audited.compare(what or SOURCE))
    named = {each.place.removeprefix(DESTINATION + "/") or each.path: each for each in found}
    assert len(named) == len(found)
    assert audited.counts.total.files == len(found)
    assert audited.counts.total.bytes == sum(each.size for each in found)
    assert os.listdir(directory) == []
    desk.audited = audited
    return named, audited.is_fine


def kinds(desk, what=None):
    return {name: found.kind for name, found in audit(desk, what)[0].items()}


def the(desk, name, what=None):
    """Of one file: its kind and the text; every other one is delivered, or was not asked about."""
    named, fine = audit(desk, what)
    assert {found.kind for key, found in named.items() if key != name} <= {"delivered"}
    found = named[name]
    assert fine == (found.kind in EXPLAINED)
    return found.kind, found.text


def there(desk, name, content, mtime=NOON):
    path = desk.root / "tacc" / DESTINATION[1:] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


def remote(desk, name):
    return desk.root / "tacc" / DESTINATION[1:] / name


def done(desk, **fields):
    """Hand in a request and run to the end; its key."""
    before = keys(desk)
    desk.drop(f"request-{len(before)}.json", **fields)
    desk.run()
    (key,) = keys(desk) - before
    return key


def keys(desk):
    return {path.name for path in (desk.root / "ws/finished").iterdir() if len(path.name) == 12}


# --- as it should be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["key", "beginning", "label", SOURCE, f"{SOURCE}/", "/home", DESTINATION, "/ranch"])
def test_what_is_delivered_and_as_we_left_it(desk, what):
    key = done(desk, label="all of it")
    what = {"key": key, "beginning": key[:6], "label": "all of it"}.get(what, what)
    found, fine = audit(desk, what)
    assert {name: each.kind for name, each in found.items()} == dict.fromkeys(
        ["a/one", "a/two", "b/three"], "delivered"
    )
    assert fine
    assert all(key in each.text and each.request == key for each in found.values())
    assert desk.audited.counts.kinds["delivered"].bytes == 600


@pytest.mark.parametrize("what", [f"{SOURCE}/a", f"{DESTINATION}/a", f"{SOURCE}/a/one", f"{DESTINATION}/a/one"])
def test_a_part_of_it(desk, what):
    done(desk)
    there(desk, "b/extra", b"x")
    found, fine = audit(desk, what)
    assert set(found) == ({"a/one"} if what.endswith("one") else {"a/one", "a/two"})
    assert fine


def test_what_was_proven_by_an_earlier_request_is_delivered_by_that_one(desk):
    first = done(desk)
    second = done(desk)
    found, fine = audit(desk, second)
    assert {(each.kind, each.request) for each in found.values()} == {("delivered", first)}
    assert fine


def test_a_request_of_every_night_makes_no_audit_longer(desk, monkeypatch):
    added = []
    add = SortedLines.add
    monkeypatch.setattr(SortedLines, "add", lambda lines, line: (added.append(line), add(lines, line)))
    first = done(desk)
    audit(desk)
    once = sorted(added)
    for _ in range(3):
        later = done(desk)
    added.clear()
    found, fine = audit(desk)
    assert {(each.kind, each.request) for each in found.values()} == {("delivered", first)}
    assert len(added) == len(once)
    # By itself it has only the word of the first one.
    assert {each.kind for each in audit(desk, later)[0].values()} == {"delivered"}
    remote(desk, "a/two").unlink()
    assert audit(desk, later)[0]["a/two"].kind == "missing-there"
    del desk.hpss.files[f"{SOURCE}/a/one"]
    assert audit(desk, later)[0]["a/one"].kind == "missing-here"
    assert fine


def test_nothing_is_changed_recalled_hashed_or_kept(desk):
    key = done(desk)
    before, sessions, submits = desk.tree(), len(desk.hpss.sessions), desk.globus.submits
    desk.hpss.hashes = None
    audit(desk, key)
    assert (desk.tree(), len(desk.hpss.sessions), desk.globus.submits) == (before, sessions, submits)


# --- missing there ------------------------------------------------------------------------------------------------


def test_what_we_delivered_and_is_not_there_any_more(desk):
    key = done(desk)
    remote(desk, "a/two").unlink()
    kind, text = the(desk, "a/two")
    assert kind == "missing-there"
    assert key in text


def test_a_whole_directory_that_is_not_there_any_more(desk):
    key = done(desk)
    for path in (*remote(desk, "a").iterdir(), remote(desk, "a")):
        path.unlink() if path.is_file() else path.rmdir()
    assert kinds(desk, key) == {"a/one": "missing-there", "a/two": "missing-there", "b/three": "delivered"}


def test_what_came_to_the_archive_after_the_request_was_planned(desk):
    done(desk)
    desk.archive("a/new", b"new")
    assert the(desk, "a/new")[0] == "unplanned"


# --- missing here -------------------------------------------------------------------------------------------------


def test_what_is_gone_from_the_archive_since_but_at_the_destination_as_we_left_it(desk):
    done(desk)
    del desk.hpss.files[f"{SOURCE}/a/two"]
    assert the(desk, "a/two")[0] == "missing-here"


def test_a_whole_archive_that_is_gone_is_said_loudly(desk):
    key = done(desk)
    desk.hpss.files.clear()
    for what in (key, SOURCE):
        assert set(kinds(desk, what).values()) == {"missing-here"}
        assert desk.audited.notes == [f"{SOURCE} does not exist in HPSS"]


def test_what_is_gone_from_both_is_lost(desk):
    done(desk)
    del desk.hpss.files[f"{SOURCE}/a/two"]
    remote(desk, "a/two").unlink()
    assert the(desk, "a/two")[0] == "lost"


def test_what_is_gone_from_the_archive_and_was_never_recalled_is_lost(desk):
    desk.drop()
    desk.run("syncer")
    del desk.hpss.files[f"{SOURCE}/a/two"]
    found, fine = audit(desk)
    assert found["a/two"].kind == "lost"
    assert "hpss_queue" in found["a/two"].text
    assert not fine


def test_but_not_while_a_verified_copy_lies_in_the_buffer(desk):
    desk.drop()
    desk.run("syncer", "retriever")
    del desk.hpss.files[f"{SOURCE}/a/two"]
    assert kinds(desk)["a/two"] == "in-flight"


def test_gone_from_the_archive_and_not_as_we_left_it(desk):
    done(desk)
    del desk.hpss.files[f"{SOURCE}/a/two"]
    remote(desk, "a/two").write_bytes(b"x")
    assert the(desk, "a/two")[0] == "differs"


# --- both have it, and they differ --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path.write_bytes(b"x" * 200), os.utime(path, (7, 7))),
        lambda path: path.write_bytes(b"2" * 199),
        lambda path: os.utime(path, (1, 1)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_destination_that_differs_from_what_we_left_there(desk, damage):
    done(desk)
    damage(remote(desk, "a/two"))
    assert the(desk, "a/two")[0] == "differs"


@pytest.mark.parametrize("how", ["size", "date"])
def test_an_archive_that_has_changed_since(desk, how):
    done(desk)
    archived = desk.hpss.files[f"{SOURCE}/a/two"]
    if how == "size":
        archived.content += b"more"
    else:
        archived.written = "2024-01-01T00:00:00"
    kind, text = the(desk, "a/two")
    assert kind == "changed-since"
    assert "200 bytes" in text


def test_a_later_delivery_counts_for_the_audit_of_the_earlier_request(desk):
    first = done(desk)
    desk.archive("a/two", b"NEW" * 50, volumes=("AG0001",))
    desk.hpss.files[f"{SOURCE}/a/two"].written = "2021-01-01T00:00:00"
    second = done(desk)
    found, fine = audit(desk, first)
    assert (found["a/two"].kind, found["a/two"].request) == ("delivered", second)
    assert fine


@pytest.mark.parametrize(
    ("content", "mtime", "kind"), [(b"2" * 199, NOON, "size-differs"), (b"2" * 200, NOON + 1, "date-differs")]
)
def test_something_else_that_nobody_vouches_for_at_the_place_of_a_file_that_was_not_planned(desk, content, mtime, kind):
    done(desk)
    desk.archive("b/new", b"2" * 200)
    desk.hpss.files[f"{SOURCE}/b/new"].written = WRITTEN
    there(desk, "b/new", content, mtime)
    named, fine = audit(desk)
    assert named["b/new"].kind == kind
    assert not fine


# --- there, but not by us -----------------------------------------------------------------------------------------


def test_what_a_request_has_accepted_is_present_and_nobody_vouches_for_it(desk):
    there(desk, "a/two", b"?" * 200)
    key = done(desk)
    assert the(desk, "a/two", key)[0] == "present"
    remote(desk, "a/two").unlink()
    assert the(desk, "a/two", key)[0] == "missing-there"
    there(desk, "a/two", b"?" * 200, NOON + 7)
    assert the(desk, "a/two", key)[0] == "differs"
    there(desk, "a/two", b"?" * 200)
    desk.hpss.files[f"{SOURCE}/a/two"].written = "2022-01-01T00:00:00"
    assert the(desk, "a/two", key)[0] == "changed-since"
    del desk.hpss.files[f"{SOURCE}/a/two"]
    assert the(desk, "a/two", key)[0] == "missing-here"


def test_what_nobody_has_accepted_is_unvouched(desk):
    done(desk)
    desk.archive("b/new", b"n" * 10)
    desk.hpss.files[f"{SOURCE}/b/new"].written = WRITTEN
    there(desk, "b/new", b"?" * 10)
    assert the(desk, "b/new")[0] == "unvouched"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_extra_at_the_destination(desk, kind):
    key = done(desk)
    there(desk, "b/deep/er/extra", b"x" * 7)
    if kind == "link":
        desk.globus.listing = with_a_link(desk.globus.listing, "extra")
    remote(desk, "empty").mkdir()
    found, fine = audit(desk, key)
    assert found["b/deep/er/extra"].kind == "extra"
    assert found["b/deep/er/extra"].size == (7 if kind == "file" else 0)
    assert set(found) == {"a/one", "a/two", "b/three", "b/deep/er/extra"}
    assert not fine


def with_a_link(listing, name):
    def listed(collection, path):
        return [replace(e, kind="other", size=0) if e.name == name else e for e in listing(collection, path)]

    return listed


def test_what_another_request_knows_of_is_its_own_affair(desk):
    done(desk, include=["a/**"])
    key = done(desk, include=["b/**"], source=SOURCE)
    whole = done(desk, source="/home/projects/demo/a", destination=f"{DESTINATION}/a")
    assert kinds(desk, whole) == {"a/one": "delivered", "a/two": "delivered"}
    # Only b is listed on either side.
    assert kinds(desk, key) == {"b/three": "delivered"}
    desk.archive("/home/projects/other/x", b"x")
    other = done(desk, source="/home/projects/other", destination=DESTINATION)
    assert kinds(desk, other) == {"x": "delivered", "a/one": "others", "a/two": "others", "b/three": "others"}
    assert desk.audited.is_fine


# --- not there yet, or never ---------------------------------------------------------------------------------------


def test_what_is_in_flight_says_where_it_waits(desk):
    desk.drop()
    desk.run("syncer")
    waits = {found.text for found in audit(desk)[0].values()}
    assert waits == {"waits for tape in hpss_queue"}
    assert desk.audited.is_fine
    desk.run("retriever")
    assert {(f.kind, f.text) for f in audit(desk)[0].values()} == {("in-flight", "waits for Globus in globus_queue")}
    desk.run("globus_xfer")
    assert set(kinds(desk).values()) == {"delivered"}


def test_what_another_request_carries_says_so(desk):
    desk.drop("first.json")
    desk.run("syncer")
    (first,) = keys(desk)
    desk.drop("second.json")
    desk.run("syncer")
    (second,) = keys(desk) - {first}
    found, fine = audit(desk, second)
    assert {each.kind for each in found.values()} == {"in-flight"}
    assert all(first in each.text for each in found.values())
    assert fine


def test_what_is_in_quarantine_says_why_and_what_is_given_up_that_it_was(desk):
    desk.hpss.errors[f"{SOURCE}/a/two"] = "get: HPSS_EIO: tape broken"
    desk.drop()
    desk.run()
    (key,) = keys(desk)
    kind, text = the(desk, "a/two", key)
    assert kind == "quarantine"
    assert "retriever" in text
    assert "tape broken" in text
    for entry in desk.quarantined():
        desk.abandon(entry)
    desk.run()
    kind, text = the(desk, "a/two", key)
    assert kind == "abandoned"
    assert "tape broken" in text
    there(desk, "a/two", b"junk")
    assert the(desk, "a/two", key)[0] == "abandoned"
    del desk.hpss.files[f"{SOURCE}/a/two"]
    assert the(desk, "a/two", key)[0] == "abandoned"


def test_a_new_version_that_was_given_up_is_so_while_the_destination_has_the_earlier_one(desk):
    done(desk)
    archived = desk.hpss.files[f"{SOURCE}/a/two"]
    archived.written = "2024-01-01T00:00:00"
    desk.hpss.errors[f"{SOURCE}/a/two"] = "get: HPSS_EIO: tape broken"
    desk.drop("again.json")
    desk.run()
    for entry in desk.quarantined():
        desk.abandon(entry)
    desk.run()
    kind, text = the(desk, "a/two")
    assert kind == "abandoned"
    assert "the earlier one" in text
    archived.written = "2025-01-01T00:00:00"
    assert the(desk, "a/two")[0] == "changed-since"


def test_a_conflict_in_quarantine(desk):
    there(desk, "a/two", b"somebody's")
    desk.drop()
    desk.run()
    kind, text = the(desk, "a/two")
    assert kind == "quarantine"
    assert "DESTINATION-CONFLICT" in text


def test_what_the_patterns_leave_out_and_what_nobody_asked_for(desk):
    key = done(desk, source=f"{SOURCE}/a", destination=f"{DESTINATION}/a", exclude=["two"])
    assert kinds(desk, key) == {"a/one": "delivered", f"{SOURCE}/a/two": "excluded"}
    assert desk.audited.is_fine
    named, fine = audit(desk, SOURCE)
    assert {name: found.kind for name, found in named.items()} == {
        "a/one": "delivered",
        f"{SOURCE}/a/two": "excluded",
        f"{SOURCE}/b/three": "unrequested",
    }
    assert not fine


def test_what_is_no_plain_file_in_the_archive(desk):
    desk.hpss.strange.append(Refused(f"{SOURCE}/a/link", "not-a-file", "a symbolic link"))
    key = done(desk)
    found, fine = audit(desk, key)
    assert found[f"{SOURCE}/a/link"].kind == "not-a-file"
    assert fine


def test_a_request_that_names_its_files_is_asked_about_those_alone(desk):
    key = done(desk, files=[f"{SOURCE}/a/one"])
    there(desk, "a/extra", b"x")
    assert kinds(desk, key) == {"a/one": "delivered"}
    remote(desk, "a/one").unlink()
    assert kinds(desk, key) == {"a/one": "missing-there"}
    del desk.hpss.files[f"{SOURCE}/a/one"]
    assert kinds(desk, key) == {"a/one": "lost"}


def test_a_source_that_is_a_file_has_one_place_at_the_destination_and_not_the_whole_directory(desk):
    there(desk, "other", b"x")
    key = done(desk, source=f"{SOURCE}/a/one")
    assert kinds(desk, key) == {"one": "delivered"}
    del desk.hpss.files[f"{SOURCE}/a/one"]
    assert kinds(desk, key) == {"one": "missing-here"}


def test_a_file_that_goes_to_two_places_is_told_for_each(desk):
    done(desk)
    done(desk, destination=f"{DESTINATION}-again")
    remote(desk, "a/two").unlink()
    found, _ = audit(desk)
    assert sorted(each.kind for each in found.values()) == ["delivered"] * 5 + ["missing-there"]


def test_a_name_that_is_not_utf8_is_told_as_it_can_be_written(desk):
    desk.archive("a/odd\udcff", b"x")
    desk.drop()
    desk.run()
    kind, text = the(desk, "a/odd\\xff")
    assert kind == "quarantine"
    assert "NAME-UNSPEAKABLE" in text


# --- what must not look small -------------------------------------------------------------------------------------


def test_a_listing_that_breaks_off_is_an_error_and_nothing_is_told(desk):
    done(desk)
    desk.hpss.lists_cut_off = True
    with pytest.raises(WorldFault, match="broke off"):
        audit(desk)
    assert os.listdir(desk.root / "scratch") == []


@pytest.mark.parametrize("fault", [WorldFault("GLOBUS-AWAY", "no answer"), WorkFault("GLOBUS-REFUSED", "400")])
def test_a_destination_that_cannot_be_listed_to_the_end_is_an_error(desk, fault):
    done(desk)
    entries = desk.globus.entries

    def broken(collection, path):
        yield from entries(collection, path)
        if path.endswith("/a"):
            raise fault

    desk.globus.entries = broken
    with pytest.raises(WorldFault):
        audit(desk)


def test_one_lost_answer_does_not_cost_the_whole_listing_and_tells_nothing_twice(desk):
    done(desk)
    entries, lost = desk.globus.entries, []

    def sometimes(collection, path):
        yield from entries(collection, path)
        if lost.count(path) < 2:
            lost.append(path)
            raise WorldFault("GLOBUS-AWAY", "no answer")

    desk.globus.entries = sometimes
    assert kinds(desk) == dict.fromkeys(["a/one", "a/two", "b/three"], "delivered")
    assert lost


def test_a_part_of_the_archive_that_cannot_be_read_is_an_error_unless_it_is_left_out(desk):
    desk.hpss.strange.append(Refused(f"{SOURCE}/secret", "denied", "Permission denied"))
    key = done(desk, exclude=["secret/**"])
    assert set(kinds(desk, key).values()) == {"delivered"}
    # What no request needs is not known to be empty either.
    desk.hpss.strange[:] = [Refused("/home/projects/else", "denied", "Permission denied")]
    assert kinds(desk, "/home/projects")["/home/projects/else"] == "unrequested"
    desk.hpss.strange[:] = [Refused(f"{SOURCE}/a", "denied", "Permission denied")]
    with pytest.raises(OperatorFault) as caught:
        audit(desk, key)
    assert (caught.value.code, caught.value.exit_code) == ("AUDIT-INCOMPLETE", 69)


@pytest.mark.parametrize("what", ["/nowhere", "cafe00000000", "/home/../x"])
def test_what_is_no_business_of_this_workspace_is_said(desk, what):
    done(desk)
    with pytest.raises(OperatorFault) as caught:
        audit(desk, what)
    assert caught.value.exit_code == 64


def test_a_unit_that_cannot_be_read_is_named_and_not_fine(desk):
    key = done(desk)
    (path,) = (desk.root / "ws/finished" / key).glob(f"{key}.AG0002.*.json")
    path.write_text("{}")
    found, fine = audit(desk, key)
    assert not fine
    assert desk.audited.unreadable == [str(path.relative_to(desk.root / "ws"))]
    assert found["b/three"].kind != "delivered"


# --- while work goes on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "components", [["retriever"], ["retriever", "globus_xfer"], ["retriever", "globus_xfer", "reaper", "finisher"]]
)
@pytest.mark.parametrize("when", ["archive", "destination"])
def test_what_moves_on_while_the_audit_looks_is_never_called_missing(desk, components, when):
    desk.drop()
    desk.run("syncer")
    if when == "archive":
        list_trees = desk.hpss.list_trees

        def moved(roots):
            listing = list_trees(roots)
            desk.run(*components)
            return listing

        desk.hpss.list_trees = moved
    else:
        entries = desk.globus.entries

        def moved(collection, path):
            try:
                yield from list(entries(collection, path))
            finally:
                desk.globus.entries = entries
                desk.run(*components)

        desk.globus.entries = moved
    found, fine = audit(desk)
    assert {each.kind for each in found.values()} <= {"in-flight", "delivered"}
    assert len(found) == 3
    assert fine


def test_what_is_planned_while_the_audit_looks_is_no_extra(desk):
    done(desk, include=["a/**"])
    entries = desk.globus.entries

    def planned(collection, path):
        desk.globus.entries = entries
        desk.drop("meanwhile.json")
        desk.run()
        yield from entries(collection, path)

    desk.globus.entries = planned
    found, fine = audit(desk, DESTINATION)
    assert fine, found


# --- in a measured pace -------------------------------------------------------------------------------------------


def test_the_destination_is_listed_once_for_each_directory_in_a_measured_pace(desk):
    for number in range(20):
        desk.archive(f"d{number}/x", b"x")
    done(desk)
    asked = []
    entries = desk.globus.entries

    def counted(collection, path):
        asked.append((path, desk.clock.uptime()))
        return entries(collection, path)

    desk.globus.entries = counted
    audit(desk)
    assert len(asked) == len({path for path, _ in asked}) == 23
    times = [at for _, at in asked]
    assert all(
        later - earlier >= 1 / desk.settings.skip.requests_per_second - 1e-6 for earlier, later in pairwise(times)
    )


def test_a_place_below_nothing_costs_no_walk(desk):
    done(desk, include=["a/one"])
    for path in (remote(desk, "a/one"), remote(desk, "a"), remote(desk, "")):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(NoSuchDirectory):
        list(desk.globus.entries("destination", DESTINATION))
    assert kinds(desk, DESTINATION)["a/one"] == "missing-there"


def test_each_kind_has_its_words():
    assert not EXPLAINED.keys() & UNEXPLAINED.keys()
    assert all(KINDS.values())


# --- the law ------------------------------------------------------------------------------------------------------

NAMES = ("a/x", "a/y", "b/x", "z")
names = st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("write"), names, st.integers(1, 3)),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("break"), names),
    st.tuples(st.just("mend")),
    st.tuples(st.just("put"), names, st.integers(1, 3), st.booleans()),
    st.tuples(st.just("lose"), names),
    st.tuples(
        st.just("request"),
        st.sampled_from([[], ["a/**"], ["**/x"], ["z"]]),
        st.sampled_from(["", "/a"]),
        st.sampled_from(["accept", "quarantine"]),
    ),
    st.tuples(st.just("run"), st.integers(1, 5)),
    st.tuples(st.just("abandon")),
    st.tuples(st.just("adopt")),
)


BEGINNING = (
    ("write", "a/x", 1),
    ("write", "a/y", 2),
    ("write", "b/x", 3),
    ("put", "z", 1, True),
    ("request", [], "", "quarantine"),
    ("run", 5),
    ("lose", "a/y"),
    ("write", "z", 2),
)


def do(desk, step, number):
    match step:
        case "write", name, size:
            # A new date each time: what we cannot see by size and date we cannot see.
            content = b"%03d" % number * size
            written = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOON + 60 * number))
            desk.archive(name, content, written=written, hash=None)
        case "remove", name:
            desk.hpss.files.pop(f"{SOURCE}/{name}", None)
        case "break", name:
            desk.hpss.errors[f"{SOURCE}/{name}"] = "get: HPSS_EIO: broken"
        case ("mend",):
            desk.hpss.errors.clear()
        case "put", name, size, alike:
            archived = desk.hpss.files.get(f"{SOURCE}/{name}")
            if alike and archived:
                there(desk, name, b"?" * len(archived.content), moment(archived.written))
            else:
                there(desk, name, b"?" * size, 7 + number)
        case "lose", name:
            remote(desk, name).unlink(missing_ok=True)
        case "request", include, below, present:
            where = {"source": SOURCE + below, "destination": DESTINATION + below}
            desk.drop(f"{number}.json", **where, include=include, present=present)
        case "run", components:
            desk.run(*("syncer", "retriever", "globus_xfer", "reaper", "finisher")[:components])
        case ("abandon",):
            for entry in desk.quarantined():
                if entry.kind == "unit":
                    desk.abandon(entry)

        case ("adopt",):
            adopt(desk) if any(finished_or_planned(desk)) else None


def finished_or_planned(desk):
    for pattern in ("request_queue/*.json", "finished/*/request.json"):
        yield from (json.loads(path.read_text()) for path in (desk.root / "ws").glob(pattern))


def moment(written):
    return int(time.mktime(time.strptime(written, "%Y-%m-%dT%H:%M:%S")))


def known_to_the_workspace(desk):
    """Sizes and dates of all files in all units, by destination."""
    found = {}
    for path in (desk.root / "ws").rglob("*.json"):
        if path.name.count(".") == 4 and not path.name.endswith(".why.json"):
            for file in json.loads(path.read_text())["files"]:
                found.setdefault(file["destination"], []).append((file["size"], file["written"]))
    return found


@settings(max_examples=60, deadline=None)
@given(st.permutations(BEGINNING), st.lists(steps, max_size=14))
def test_in_any_world_each_file_is_told_once_and_told_right(beginning, story):
    with tempfile.TemporaryDirectory() as directory:
        desk = Desk(Path(directory)).at_once()
        for number, step in enumerate([*beginning, *story], 1):
            do(desk, step, number)
        requests = keys(desk)
        planned = list(finished_or_planned(desk))
        assert len(planned) == len(requests)
        if not planned:
            return
        named, fine = audit(desk, SOURCE)
        archive = {path.removeprefix(SOURCE + "/"): archived for path, archived in desk.hpss.files.items()}
        delivered = desk.delivered()
        # Told once each, and nothing is left out: what either archive has or the workspace knows.
        told = {name.removeprefix(SOURCE + "/") for name in named}
        assert archive.keys() <= told
        assert {place.removeprefix(DESTINATION + "/") for place in known_to_the_workspace(desk)} <= told
        whole = any(request["source"] == SOURCE and not request.get("include") for request in planned)
        assert not whole or delivered.keys() <= told
        assert told <= archive.keys() | delivered.keys() | set(NAMES)
        for name, found in named.items():
            here, there_ = archive.get(name), delivered.get(name)
            match found.kind:
                case "delivered":
                    assert here.content == there_
                case "present" | "unvouched" | "adopted":
                    assert len(here.content) == len(there_)
                    assert moment(here.written) == int(remote(desk, name).stat().st_mtime)
                case "missing-here":
                    assert here is None
                    assert there_ is not None
                case "lost":
                    assert here is None
                    assert there_ is None
                case "missing-there" | "unplanned":
                    assert here is not None
                    assert there_ is None
                case "changed-since":
                    # Perhaps between planning and recall: then it is known by its date alone.
                    carried = known_to_the_workspace(desk)[f"{DESTINATION}/{name}"]
                    assert (len(here.content), here.written) not in carried
                case "size-differs" | "date-differs":
                    assert here.content != there_
                case "differs":
                    assert there_ is not None
                    assert here is None or here.content != there_
                case "extra":
                    assert here is None or named[f"{SOURCE}/{name}"].kind == "excluded"
                    assert f"{DESTINATION}/{name}" not in known_to_the_workspace(desk)
        assert fine == all(found.kind in EXPLAINED for found in named.values())
        # Of each request by itself the same is said, as far as it goes.
        for key in requests:
            for name, found in audit(desk, key)[0].items():
                if found.kind not in {"others", "extra", "excluded"}:
                    same = {named[name].kind, found.kind}
                    assert len(same) == 1 or same == {"in-flight", "quarantine"}, (name, found)


# --- ten million files --------------------------------------------------------------------------------------------


def test_the_memory_of_an_audit_does_not_grow_with_the_number_of_files(tmp_path):
    program = Path(__file__).parents[1] / "support/crowd_of_files.py"
    done = subprocess.run(
        [sys.executable, str(program), "300000"],
        capture_output=True, text=True, check=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    said = dict(word.split("=") for word in done.stdout.split())
    assert (said["delivered"], said["missing-there"], said["extra"]) == ("299700", "300", "300")
    # In memory, what is read of them would take half a gigabyte.
    assert int(said["kilobytes"]) < 100_000


# --- what others have brought -------------------------------------------------------------------------------------


def adopt(desk, what=SOURCE, who="jane"):
    """What `audit --adopt` does."""
    directory = desk.root / "scratch"
    directory.mkdir(exist_ok=True)
    audited = Audit(desk.disk, Neighbours(desk.hpss, desk.globus, desk.clock, desk.settings, str(directory)))
    adoption = Adoption(str(directory))
    for found in audited.compare(what):
        adoption.add(found)
    with desk.hands() as home:
        done = adoption.carry_out(home, audited.request, who)
    assert os.listdir(directory) == []
    return done


def sound(desk):
    """`check` finds nothing, once the components have gone."""
    for component in desk._components.values():
        component._bench.home.leave()
    desk._components.clear()
    assert desk.check().findings == []


def manifest(desk, key):
    lines = (desk.root / f"ws/finished/{key}/manifest.jsonl").read_text().splitlines()
    return {line["destination"].removeprefix(DESTINATION + "/"): line for line in map(json.loads, lines)}


def brought(desk, name="b/new", content=b"n" * 10):
    """In the archive, and brought to the destination by somebody else, in that order."""
    desk.archive(name, content, written=WRITTEN, volumes=("AG0003",))
    return there(desk, name, b"?" * len(content))


def test_what_others_have_brought_is_adopted_by_name_and_later_requests_count_it(desk):
    done(desk)
    path = brought(desk)
    content = path.read_bytes()
    assert the(desk, "b/new")[0] == "unvouched"
    before = keys(desk)
    adopted = adopt(desk)
    (request,) = adopted.requests
    assert (adopted.units, adopted.refused) == ([], [])
    desk.hpss.sessions.clear()
    desk.run()
    (key,) = keys(desk) - before
    assert request.replace("-", "").startswith(key)
    line = manifest(desk, key)["b/new"]
    assert (line["outcome"], line["adopted_by"], line["vouched_by"], line["hashes"]) == ("present", key, None, {})
    document = json.loads((desk.root / f"ws/finished/{key}/request.json").read_text())
    assert (document["requested_by"], document["files"]) == ("jane", [f"{SOURCE}/b/new"])
    assert "b/new" not in (desk.root / f"ws/finished/{key}/manifest-sha512.txt").read_text()
    kind, text = the(desk, "b/new")
    assert kind == "adopted"
    assert key in text
    # A later request that would put it aside counts it; so does one after that.
    for _ in range(2):
        later = done(desk, present="quarantine")
        assert (manifest(desk, later)["b/new"]["outcome"], manifest(desk, later)["b/new"]["adopted_by"]) == (
            "present",
            key,
        )
    assert desk.hpss.sessions == []
    assert path.read_bytes() == content
    assert adopt(desk).requests == []
    sound(desk)


def test_who_wants_it_recalled_gets_it_recalled(desk):
    done(desk)
    path = brought(desk)
    adopt(desk)
    desk.run()
    done(desk, present="recall")
    assert path.read_bytes() == b"n" * 10
    assert the(desk, "b/new")[0] == "delivered"
    sound(desk)


def test_an_adoption_holds_for_that_version_of_the_archives_file_alone(desk):
    done(desk)
    brought(desk)
    adopt(desk)
    desk.run()
    desk.hpss.files[f"{SOURCE}/b/new"].written = "2022-01-01T00:00:00"
    assert the(desk, "b/new")[0] == "changed-since"
    there(desk, "b/new", b"!" * 10, moment("2022-01-01T00:00:00"))
    desk.drop("again.json", present="quarantine")
    desk.run()
    assert [why["code"] for why in desk.whys("quarantine/syncer").values()] == ["DESTINATION-PRESENT"]


def test_what_a_request_has_put_aside_is_adopted_by_it_and_it_ends(desk):
    path = there(desk, "a/two", b"?" * 200)
    desk.drop(present="quarantine")
    desk.run()
    (key,) = keys(desk)
    assert the(desk, "a/two", key)[0] == "quarantine"
    adopted = adopt(desk, key)
    assert (adopted.requests, adopted.refused) == ([], [])
    assert [unit.partition(".")[0] for unit in adopted.units] == [key]
    desk.run()
    assert desk.tree("quarantine") == []
    lines = manifest(desk, key)
    assert (lines["a/two"]["outcome"], lines["a/two"]["adopted_by"]) == ("present", key)
    assert lines["a/one"]["outcome"] == "delivered"
    assert the(desk, "a/two", key)[0] == "adopted"
    assert path.read_bytes() == b"?" * 200
    later = done(desk, present="quarantine")
    assert manifest(desk, later)["a/two"]["adopted_by"] == key
    sound(desk)


def test_of_a_unit_only_what_still_agrees_is_adopted_and_the_rest_stays_put_aside(desk):
    there(desk, "a/one", b"?" * 100)
    there(desk, "a/two", b"?" * 200)
    desk.drop(present="quarantine")
    desk.run()
    there(desk, "a/two", b"?" * 199)
    adopt(desk)
    desk.run()
    assert kinds(desk) == {"a/one": "adopted", "a/two": "quarantine", "b/three": "delivered"}
    sound(desk)


@pytest.mark.parametrize("change", ["gone", "size", "date"])
def test_what_does_not_agree_any_more_when_the_syncer_looks_is_not_adopted_and_not_recalled(desk, change):
    done(desk)
    path = brought(desk)
    adopt(desk)
    if change == "gone":
        path.unlink()
    else:
        there(desk, "b/new", b"?" * (9 if change == "size" else 10), NOON + (change == "date"))
    desk.hpss.sessions.clear()
    desk.run()
    assert [why["code"] for why in desk.whys("quarantine/syncer").values()] == ["ADOPTION-REFUSED"]
    assert desk.hpss.sessions == []
    assert the(desk, "b/new")[0] == "quarantine"
    sound(desk)


def test_the_same_size_alone_is_never_adopted_nor_what_we_have_touched_or_what_is_on_its_way(desk):
    key = done(desk)
    brought(desk, "b/other")
    there(desk, "b/other", b"?" * 10, NOON + 1)
    brought(desk, "b/flight")
    desk.drop("flight.json", include=["b/flight"], present="recall")
    desk.run("syncer")
    remote(desk, "a/two").write_bytes(b"x")
    there(desk, "a/extra", b"x")
    done_ = adopt(desk, key)
    assert (done_.requests, done_.units) == ([], [])


def test_of_many_files_several_requests_are_made(desk, monkeypatch):
    done(desk)
    for number in range(7):
        brought(desk, f"b/new{number}")
    monkeypatch.setattr(adopt_present, "FILES", 3)
    assert len(adopt(desk).requests) == 3
    desk.run()
    assert list(kinds(desk).values()).count("adopted") == 7
    sound(desk)


def test_a_name_that_no_request_can_hold_is_refused_by_name(desk):
    done(desk)
    brought(desk, "b/new\nline")
    brought(desk, "b/odd\udcff")
    adopted = adopt(desk)
    assert adopted.requests == []
    assert len(adopted.refused) == 1
    assert "control character" in adopted.refused[0]

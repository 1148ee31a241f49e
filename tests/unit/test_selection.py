"""Validity of requests, what has to be listed, and which files are meant."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.outside.hpss.interface import ListedFile
from tacc_sync.rules.documents import Admission, BadDocument, Plan, Request
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.patterns import BadPattern
from tacc_sync.rules.selection import (
    MAX_ROOTS,
    destination_of,
    listing_roots,
    named_files,
    relative_to,
    select,
    validate,
)


def request(**fields):
    return Request(**{"version": 1, "source": "/home/a", "destination": "/ranch/a", **fields})


def listed(path, size=1, **fields):
    return ListedFile(**{"path": path, "size": size, "section": 0, "offset": 0, "volumes": (), "written": "", **fields})


def selected(a_request, *paths):
    return [file.path for file in select(a_request, map(listed, paths)).files]


# --- validate ---


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"source": "/"},
        {"source": ["/home/a", "/home/ab", "/home/a.b"]},
        {"source": "/home/with blank/\N{LATIN SMALL LETTER E WITH ACUTE}\N{NO-BREAK SPACE}"},
        {"source": "/home/...", "destination": "/..a"},
        {"priority": -100},
        {"request_id": "f8c7f5f6-d70a-4a44-9f6e-0123456789ab"},
        {"created_at": "2024-03-28T00:15:14.988742277Z"},
        {"created_at": "2024-03-28T00:15:14+01:00"},
        {"files": ["/home/a/b", "/home/a/c d"]},
        {"include": ["*.zip", "/home/a/x/**", "/home/**"], "exclude": ["/elsewhere/**"]},
        {"include": ["/home/a/*"], "pattern_rules": "globset"},
        {"plan": Plan(planned_at="", files=0, bytes=0, units=[]), "admitted": Admission(token="t", at="")},
    ],
)
def test_good_requests(fields):
    validate(request(**fields))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"source": ""}, "source"),
        ({"source": []}, "source"),
        ({"source": "home/a"}, "source"),
        ({"source": "~/a"}, "source"),
        ({"source": "/home/../root"}, "source"),
        ({"source": "/home/."}, "source"),
        ({"source": "/home//a"}, "source"),
        ({"source": "//"}, "source"),
        ({"source": "/home/a/"}, "source"),
        ({"source": "/home/a\nrm b"}, "source"),
        ({"source": "/home/a\x85"}, "source"),
        ({"source": "/home/a\udcff"}, "source"),
        ({"source": "/home/a/.Trash/b"}, "source"),
        ({"source": ["/home/a", "b"]}, "source[1]"),
        ({"source": ["/home/a", "/home/a"]}, "source"),
        ({"source": ["/home/a/b", "/home/a.b", "/home/a"]}, "source"),
        ({"source": ["/", "/home"]}, "source"),
        ({"destination": ""}, "destination"),
        ({"destination": "/"}, "destination"),
        ({"destination": "ranch"}, "destination"),
        ({"destination": "/ranch/../etc"}, "destination"),
        ({"destination": "/ranch/"}, "destination"),
        ({"files": ["b"]}, "files[0]"),
        ({"files": ["/home/a/b", "/home/a/b"]}, "files[1]"),
        ({"files": ["/home/ab"]}, "files[0]"),
        ({"files": ["/home/a/../../etc"]}, "files[0]"),
        ({"files": ["/home/a/.Trash/x"]}, "files[0]"),
        ({"priority": 101}, "priority"),
        ({"priority": -101}, "priority"),
        ({"request_id": "F8C7F5F6-D70A-4A44-9F6E-0123456789AB"}, "request_id"),
        ({"request_id": "../../etc/passwd"}, "request_id"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": "2024-03-28T00:15:14"}, "created_at"),
        ({"created_at": "2024-03-28"}, "created_at"),
        ({"label": "x" * 201}, "label"),
        ({"label": "two\nlines"}, "label"),
        ({"requested_by": "bell\x07"}, "requested_by"),
        ({"include": ["*"] * 1001}, "include"),
        ({"include": ["*.zip", "/elsewhere/**"]}, "include[1]"),
        ({"include": ["a/*"], "pattern_rules": "globset"}, "include[0]"),
        ({"include": ["/home/ab/*"], "pattern_rules": "globset"}, "include[0]"),
        ({"plan": Plan(planned_at="", files=0, bytes=0, units=[])}, "plan"),
        ({"include": ["ok", "[z"]}, "include[1]"),
        ({"exclude": ["a**"]}, "exclude[0]"),
    ],
)
def test_a_bad_request_is_refused_with_field_and_remedy(fields, field):
    with pytest.raises((BadDocument, BadPattern)) as caught:
        validate(request(**fields))
    assert caught.value.field == field
    assert caught.value.remedy
    assert field in caught.value.text
    caught.value.text.encode()  # it has to go into a document itself


@given(st.builds(dict, source=st.text() | st.lists(st.text(), max_size=3), destination=st.text(), label=st.text()))
def test_no_text_makes_it_crash(fields):
    try:
        validate(request(**fields))
    except (BadDocument, BadPattern):
        return


# --- What has to be listed ---


@pytest.mark.parametrize(
    ("fields", "roots"),
    [
        ({}, ["/home/a"]),
        ({"source": ["/home/b", "/home/a"]}, ["/home/a", "/home/b"]),
        ({"include": ["2019/*.zip"]}, ["/home/a/2019"]),
        ({"include": ["2019/x/*.zip", "2019/**", "2020/*"]}, ["/home/a/2019", "/home/a/2020"]),
        ({"include": ["2019/x/*.zip", "*.zip"]}, ["/home/a"]),
        ({"include": ["20{18,19}/*"]}, ["/home/a/2018", "/home/a/2019"]),
        ({"include": ["/home/a/x/*", "/home/*/y"]}, ["/home/a"]),
        ({"include": ["/home/a/x/*"]}, ["/home/a/x"]),
        ({"include": ["/home/a/x/*"], "source": ["/home/a", "/home/b"]}, ["/home/a/x"]),
        ({"include": ["x/*"], "source": ["/home/a", "/home/b"]}, ["/home/a/x", "/home/b/x"]),
        ({"include": ["x/*"], "source": "/"}, ["/x"]),
        ({"include": ["*"], "source": "/"}, ["/"]),
        ({"include": ["/home/a/2019/**/x*"], "pattern_rules": "globset"}, ["/home/a/2019"]),
        ({"include": ["*.zip"], "pattern_rules": "globset"}, ["/home/a"]),
        ({"include": ["a.b/*", "a/*", "a/b/*"]}, ["/home/a/a", "/home/a/a.b"][::-1]),
        ({"files": ["/home/a/b"]}, []),
    ],
)
def test_listing_roots(fields, roots):
    assert listing_roots(request(**fields)) == roots


def test_very_many_roots_become_few():
    directories = [f"2019/{i:04d}/*" for i in range(MAX_ROOTS + 1)]
    assert listing_roots(request(include=directories)) == ["/home/a/2019"]
    sources = [f"/home/{i}" for i in range(3)]
    each = [f"x/{i:04d}/*" for i in range(MAX_ROOTS // 2)]
    assert listing_roots(request(source=sources, include=each)) == sources


names = st.sampled_from(["a", "b", "ab", "c.zip", "d e"])
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
some_patterns = st.lists(st.sampled_from(["**", "*", "a", "b", "?b", "*.zip", "{a,b}"]), min_size=1, max_size=4).map(
    "/".join
)


@given(st.lists(some_patterns, max_size=3), st.lists(some_patterns, max_size=2), st.sets(paths, max_size=10))
def test_whatever_is_selected_lies_below_the_listing_roots(include, exclude, some_paths):
    a_request = request(source=["/s/a", "/s/b"], include=include, exclude=exclude)
    files = [listed(path) for path in (f"/s/{path}" for path in some_paths) if relative_to(path, a_request.sources)]
    try:
        selection = select(a_request, files)
    except WorkFault as fault:
        if fault.code != "DESTINATION-COLLISION":
            raise
        return
    roots = listing_roots(a_request)
    for file in selection.files:
        assert any(file.path == root or file.path.startswith(root + "/") for root in roots)
        assert selection.destination_of(file.path).startswith("/ranch/a/")
    targets = [selection.destination_of(file.path) for file in selection.files]
    assert len(targets) == len(set(targets))
    assert not any(one.startswith(two + "/") for one in targets for two in targets)
    assert not any(one == two or two.startswith(one + "/") for one in roots for two in roots if one is not two)


# --- Where things go ---


def test_destinations():
    assert destination_of("/home/a/x/y", ["/home/a"], "/r") == "/r/x/y"
    assert destination_of("/home/a", ["/home/a"], "/r") == "/r/a"
    assert destination_of("/x/y", ["/"], "/r") == "/r/x/y"
    assert relative_to("/home/ab", ["/home/a"]) is None
    with pytest.raises(WorkFault, match="lies in none"):
        destination_of("/home/ab", ["/home/a"], "/r")


# --- select ---


def test_include_less_exclude():
    a_request = request(include=["**/*.zip"], exclude=["tmp/", "**/x*"])
    assert selected(
        a_request, "/home/a/1.zip", "/home/a/b/2.zip", "/home/a/tmp/3.zip", "/home/a/x.zip", "/home/a/4"
    ) == [
        "/home/a/1.zip",
        "/home/a/b/2.zip",
    ]


def test_without_include_everything_but_trash():
    assert selected(request(), "/home/a/.hidden", "/home/a/.Trash/x", "/home/a/b/.Trash", "/home/a/.Trash2") == [
        "/home/a/.hidden",
        "/home/a/.Trash2",
    ]


def test_files_named_one_by_one():
    a_request = request(files=["/home/a/b c", "/home/a/2.zip", "/home/a/1.zip"], exclude=["2*"])
    assert named_files(a_request) == ["/home/a/1.zip", "/home/a/2.zip", "/home/a/b c"]
    assert selected(a_request, "/home/a/b c", "/home/a/1.zip", "/home/a/2.zip", "/home/a/3") == [
        "/home/a/b c",
        "/home/a/1.zip",
    ]


def test_a_file_as_source():
    selection = select(request(source="/home/a/x.zip", include=["*.zip"]), [listed("/home/a/x.zip")])
    assert [selection.destination_of(file.path) for file in selection.files] == ["/ranch/a/x.zip"]


def test_the_globset_rules_of_the_earlier_tacc_sync_cross_slashes():
    a_request = request(include=["/home/a/2019*.zip"], pattern_rules="globset")
    assert selected(a_request, "/home/a/2019/b/c.zip", "/home/a/2018/c.zip") == ["/home/a/2019/b/c.zip"]


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        (["/s/a", "/s/b"], ["/s/a/x", "/s/b/x"]),
        (["/s/a/x", "/s/b/x"], ["/s/a/x", "/s/b/x"]),
        (["/s/a", "/s/b/x"], ["/s/a/x", "/s/b/x"]),
        (["/s/a", "/s/b"], ["/s/a/x", "/s/b/x/y"]),
        (["/s/a", "/s/b"], ["/s/a/x/y/z", "/s/b/x"]),
        (["/s/a", "/s/b"], ["/s/a/\udcff", "/s/b/\udcff"]),
        ("/s", ["/s/x", "/s/x/y"]),
    ],
)
def test_two_files_that_would_meet_refuse_the_request(source, paths):
    with pytest.raises(WorkFault) as caught:
        select(request(source=source), map(listed, paths))
    assert caught.value.code == "DESTINATION-COLLISION"
    for path in paths:
        assert path.replace("\udcff", "\\xff") in caught.value.text
    assert caught.value.remedy


def test_failure_05_same_base_name_in_different_directories_goes_to_different_places():
    selection = select(request(), [listed("/home/a/1/data.zip"), listed("/home/a/2/data.zip")])
    targets = [selection.destination_of(file.path) for file in selection.files]
    assert targets == ["/ranch/a/1/data.zip", "/ranch/a/2/data.zip"]


def test_failure_05_what_would_overwrite_each_other_is_refused_as_a_whole():
    with pytest.raises(WorkFault, match="would meet at /ranch/a/data"):
        select(request(source=["/home/a/1", "/home/a/2"]), map(listed, ["/home/a/1/data.zip", "/home/a/2/data.zip"]))


def test_failure_04_paths_with_blanks_are_selected():
    paths = ["/home/a/with blank.zip", "/home/a/ leading", "/home/a/dir with blanks/x y", "/home/a/tab\there"]
    assert selected(request(include=["**"]), *paths) == paths


def test_an_undecodable_name_is_put_aside_and_never_lost():
    selection = select(request(), [listed("/home/a/ok"), listed("/home/a/\udcff")])
    assert [file.path for file in selection.files] == ["/home/a/ok"]
    assert [file.path for file in selection.unspeakable] == ["/home/a/\udcff"]
    assert selection.listed == 2


def test_a_file_outside_of_the_sources_is_no_reason_to_finish_with_nothing():
    with pytest.raises(WorkFault) as caught:
        select(request(), [listed("/home/projects/a/x")])
    assert caught.value.code == "LISTING-STRANGE"


def test_a_file_listed_twice_counts_once_unless_the_listing_contradicts_itself():
    assert selected(request(), "/home/a/x", "/home/a/y", "/home/a/x") == ["/home/a/x", "/home/a/y"]
    with pytest.raises(WorkFault, match="different things"):
        select(request(), [listed("/home/a/x", 1), listed("/home/a/x", 2)])


def test_a_stream_is_enough():
    selection = select(request(include=["*0"]), (listed(f"/home/a/{i}") for i in range(100)))
    assert (selection.listed, len(selection.files)) == (100, 10)


def test_requests_with_source_lists_survive_encoding():
    a_request = request(source=["/a", "/b"])
    assert msgspec.json.decode(msgspec.json.encode(a_request), type=Request).sources == ["/a", "/b"]

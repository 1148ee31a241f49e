"""Documents of the earlier tacc-sync."""

from __future__ import annotations

import json

import pytest

from tacc_sync.rules.documents import BadDocument, fields_of
from tacc_sync.rules.legacy import (
    convert_request,
    convert_work,
    is_legacy_request,
    is_legacy_work,
    request_from_works,
)
from tacc_sync.rules.patterns import BadPattern
from tacc_sync.rules.selection import listing_roots, validate

BASE = "/home/projects/icecube"
REQUEST = {
    "request_id": "38748F7E-9270-41EB-8013-bedaff42a7c6",
    "date_created": "2024-03-28T00:15:14.988742277Z",
    "source": "NERSC",
    "dest": "TACC",
    "pattern": "/home/projects/icecube/data/exp/IceCube/2019/unbiased/PFRaw/*.zip",
}
FILE = {
    "file_name": "38748f7e927011eb8013bedaff42a7c6.zip",
    "hpss_path": "/home/projects/icecube/data/exp/IceCube/2019/unbiased/PFRaw/1222/38748f7e927011eb8013bedaff42a7c6.zip",
    "size": 106877814497,
    "tape_num": 31,
    "tape_offset": 0,
    "globus_task_id": None,
    "checksum": None,
}
WORK = {
    "work_id": "11111111-2222-4333-8444-555555555555",
    "date_created": "2024-03-28T00:15:14Z",
    "tape": "AU031800,AU031900",
    "size": 106877814497,
    "request_id": "38748f7e-9270-41eb-8013-bedaff42a7c6",
    "files": [FILE],
}


def data(fields, **changes):
    return json.dumps({name: value for name, value in {**fields, **changes}.items() if value is not ...}).encode()


def test_they_are_told_apart_from_ours():
    assert is_legacy_request(fields_of(data(REQUEST)))
    assert not is_legacy_request(fields_of(data(WORK)))
    assert is_legacy_work(fields_of(data(WORK)))
    assert not is_legacy_work(fields_of(data(REQUEST)))
    ours = {"version": 1, "source": "/a", "destination": "/b"}
    assert not is_legacy_request(fields_of(data(ours)))
    assert not is_legacy_request(fields_of(data(ours, pattern="*"))), "a wrong field in one of ours is ours to refuse"
    assert not is_legacy_request(fields_of(data(ours, version=...)))


def test_a_request_becomes_ours():
    request = convert_request(data(REQUEST), BASE + "/", "/ranch/icecube")
    validate(request)
    assert request.sources == [BASE]
    assert request.destination == "/ranch/icecube"
    assert request.include == [REQUEST["pattern"]]
    assert request.pattern_rules == "globset"
    assert request.request_id == "38748f7e-9270-41eb-8013-bedaff42a7c6"
    assert request.created_at == REQUEST["date_created"]
    assert listing_roots(request) == [BASE + "/data/exp/IceCube/2019/unbiased/PFRaw"]


@pytest.mark.parametrize("written", ["38748f7e927041eb8013bedaff42a7c6", "38748F7E-9270-41EB-8013-BEDAFF42A7C6"])
def test_other_spellings_of_an_id(written):
    request = convert_request(data(REQUEST, request_id=written), BASE, "/r")
    assert request.request_id == "38748f7e-9270-41eb-8013-bedaff42a7c6"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pattern": ...}, "pattern"),
        ({"pattern": 1}, "pattern"),
        ({"request_id": "x"}, "request_id"),
        ({"request_id": None}, "request_id"),
        ({"date_created": "yesterday"}, "date_created"),
        ({"date_created": "2024-13-28T00:15:14Z"}, "date_created"),
        ({"extra": 1}, "extra"),
        ({"pattern": "/elsewhere/*"}, "pattern"),
        ({"pattern": "data/exp/*"}, "pattern"),
    ],
)
def test_a_bad_request_is_refused(changes, field):
    with pytest.raises(BadDocument) as caught:
        convert_request(data(REQUEST, **changes), BASE, "/r")
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_bad_pattern_is_named_as_they_named_it():
    with pytest.raises(BadPattern) as caught:
        convert_request(data(REQUEST, pattern="/home/projects/icecube/[z"), BASE, "/r")
    assert caught.value.field == "pattern"


@pytest.mark.parametrize(
    ("hpss", "tacc", "variable"),
    [
        ("", "/r", "HPSS_BASE_PATH"),
        (BASE, "", "TACC_BASE_PATH"),
        ("rel", "/r", "HPSS_BASE_PATH"),
        (BASE, "/a/../b", "TACC_BASE_PATH"),
    ],
)
def test_a_base_path_that_is_missing_or_bad_is_named(hpss, tacc, variable):
    with pytest.raises(BadDocument, match=variable):
        convert_request(data(REQUEST), hpss, tacc)
    with pytest.raises(BadDocument, match=variable):
        request_from_works([convert_work(data(WORK))], hpss_base=hpss, tacc_base=tacc)


def test_not_json():
    with pytest.raises(BadDocument):
        convert_request(b'{"request_id": "387', BASE, "/r")
    with pytest.raises(BadDocument):
        convert_work(b"[]")


def test_a_unit_gives_its_paths_and_its_globus_tasks():
    task = "99999999-2222-4333-8444-555555555555"
    files = [
        FILE,
        {
            **FILE,
            "hpss_path": BASE + "/with blank",
            "globus_task_id": task,
            "checksum": {"adler32": "0", "sha512": "1"},
        },
    ]
    unit = convert_work(data(WORK, files=files))
    assert unit.request_id == WORK["request_id"]
    assert unit.paths == [FILE["hpss_path"], BASE + "/with blank"]
    assert unit.globus_tasks == [task]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"size": "1"}, "size"),
        ({"size": -1}, "size"),
        ({"tape": 0}, "tape"),
        ({"work_id": "1"}, "work_id"),
        ({"date_created": ""}, "date_created"),
        ({"files": ...}, "files"),
        ({"files": [{**FILE, "tape_num": "31"}]}, "files[0].tape_num"),
        ({"files": [{**FILE, "hpss_path": "../x"}]}, "files[0].hpss_path"),
        ({"files": [{**FILE, "hpss_path": "/home/../x"}]}, "files[0].hpss_path"),
        ({"files": [{**FILE, "globus_task_id": "x"}]}, "files[0].globus_task_id"),
        ({"files": [{**FILE, "checksum": {"adler32": "0"}}]}, "files[0].checksum.sha512"),
        ({"files": [{**FILE, "extra": 1}]}, "files[0].extra"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_bad_unit_is_refused(changes, field):
    with pytest.raises(BadDocument) as caught:
        convert_work(data(WORK, **changes))
    assert caught.value.field == field


def test_units_become_one_request_with_each_file_once():
    # Killed between writing units and moving the request, the earlier one made every unit again under another id.
    again = data(WORK, work_id="66666666-2222-4333-8444-555555555555", files=[FILE, {**FILE, "hpss_path": BASE + "/a"}])
    works = [convert_work(data(WORK)), convert_work(again)]
    request = request_from_works(works, hpss_base=BASE, tacc_base="/r", created_at="2026-01-01T00:00:00Z")
    validate(request)
    assert request.files == [BASE + "/a", FILE["hpss_path"]]
    assert request.request_id == WORK["request_id"]


def test_units_of_several_requests_or_from_elsewhere_are_refused():
    one = convert_work(data(WORK))
    other = convert_work(data(WORK, request_id="77777777-2222-4333-8444-555555555555"))
    with pytest.raises(BadDocument, match="2 requests"):
        request_from_works([one, other], hpss_base=BASE, tacc_base="/r")
    with pytest.raises(BadDocument, match="HPSS_BASE_PATH"):
        request_from_works([one], hpss_base="/home/projects/ice", tacc_base="/r")
    with pytest.raises(BadDocument, match="is empty"):
        request_from_works([convert_work(data(WORK, files=[]))], hpss_base=BASE, tacc_base="/r")

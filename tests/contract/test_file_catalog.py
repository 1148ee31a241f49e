"""The client of the file catalog against a service on a real port: tokens, pages, and every way of not answering."""

import hashlib
import json

import pytest
from catalog_site import CatalogSite
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.outside.checksums.catalog import LONGEST, FileCatalog, batches
from tacc_sync.outside.checksums.catalog_service import PAUSES, CatalogService, Client
from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.rules.documents import Request
from tacc_sync.rules.faults import OperatorFault, WorkFault, WorldFault

REQUEST = Request(version=1, source="/h", destination="/d")


@pytest.fixture
def site():
    with CatalogSite() as site:
        yield site


def catalog(site, clock=None, *, secret=CatalogSite.secret, page=1000, timeout=20.0, path="", token_url=None):
    token_url = f"{site.url}/token" if token_url is None else token_url
    client = Client(token_url, CatalogSite.client_id, secret)
    service = CatalogService(site.url + path, client, clock or FakeClock(), timeout=timeout)
    return FileCatalog(service, site="NERSC", page=page)


def sha512(text):
    return hashlib.sha512(text.encode()).hexdigest()


def fill(site, count):
    paths = [f"/home/projects/x/{n:04d} ü&=%?#.zip" for n in range(count)]
    for path in paths:
        site.add(path, sha512(path))
    return paths


def test_a_path_has_the_hash_of_the_entry_that_has_it_at_the_archives_site(site):
    site.add("/h/a", sha512("a"))
    site.add("/h/b", sha512("b").upper())
    site.add("/h/elsewhere", sha512("c"), site="WIPAC")
    site.add("/h/inside", sha512("d"), locations=[{"site": "NERSC", "path": "/h/inside", "archive": True}])
    # Another path at NERSC, and this one elsewhere: both conditions of the query are met, by different locations.
    two = [{"site": "NERSC", "path": "/h/other"}, {"site": "WIPAC", "path": "/h/crossed"}]
    site.add("/h/crossed", sha512("e"), locations=two)
    site.add("/h/unhashed", "", checksum={"md5": "x"})
    paths = ["/h/a", "/h/b", "/h/elsewhere", "/h/inside", "/h/crossed", "/h/unhashed", "/h/unknown"]
    assert catalog(site).hashes(REQUEST, paths) == {"/h/a": f"sha512:{sha512('a')}", "/h/b": f"sha512:{sha512('b')}"}


@pytest.mark.parametrize("largest_page", [3, 10_000])
def test_many_paths_are_asked_for_in_a_few_calls_and_page_by_page(site, largest_page):
    paths = fill(site, 300)
    site.largest_page = largest_page
    found = catalog(site).hashes(REQUEST, paths)
    assert found == {path: f"sha512:{sha512(path)}" for path in paths}
    calls = site.of("get")
    assert all(len(json.dumps(call[2])) < 8000 for call in calls)
    assert len(site.of("token")) == 1
    if largest_page == 10_000:
        assert len(calls) < 10


def test_an_old_service_that_does_not_choose_fields_is_asked_for_each_entry(site):
    site.fields_chosen = False
    uuid = site.add("/h/a", sha512("a"))
    assert catalog(site).hashes(REQUEST, ["/h/a"]) == {"/h/a": f"sha512:{sha512('a')}"}
    assert site.of("get")[-1][1] == f"/api/files/{uuid}"


def test_an_entry_that_went_between_two_calls_is_none(site):
    site.fields_chosen = False
    site.add("/h/a", sha512("a"))
    whole = site.files
    site.files = lambda *arguments: (whole(*arguments), site.entries.clear())[0]
    assert catalog(site).hashes(REQUEST, ["/h/a"]) == {}


def test_a_token_is_used_until_it_expires_and_got_anew_then(site):
    clock = FakeClock()
    ours = catalog(site, clock)
    for _ in range(5):
        ours.hashes(REQUEST, ["/h/a"])
    assert len(site.of("token")) == 1
    clock.time += site.expires_in
    ours.hashes(REQUEST, ["/h/a"])
    assert len(site.of("token")) == 2


def test_a_token_that_is_not_taken_any_more_is_got_anew_once(site):
    site.calls_of_a_token = 1
    site.add("/h/a", sha512("a"))
    ours = catalog(site)
    for _ in range(3):
        assert len(ours.hashes(REQUEST, ["/h/a"])) == 1
    assert len(site.of("token")) == 3
    site.calls_of_a_token = 0
    with pytest.raises(OperatorFault) as caught:
        ours.hashes(REQUEST, ["/h/a"])
    assert (caught.value.code, caught.value.exit_code) == ("CATALOG-CREDENTIALS", 77)


def test_who_is_not_let_in_is_told_what_to_check_and_no_secret_is_shown(site):
    with pytest.raises(OperatorFault) as caught:
        catalog(site, secret="wr0ng").hashes(REQUEST, ["/h/a"])
    assert "invalid_client" in caught.value.text
    assert "FILE_CATALOG_CLIENT_SECRET" in caught.value.remedy
    assert "wr0ng" not in str(caught.value) + repr(Client("u", "id", "wr0ng"))
    site.role = False
    with pytest.raises(OperatorFault, match="403"):
        catalog(site).hashes(REQUEST, ["/h/a"])


def test_a_catalog_that_asks_nobody_who_he_is(site, monkeypatch, tmp_path):
    site.asks_for_token = False
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hidden\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.add("/h/a", sha512("a"))
    assert len(catalog(site, token_url="").hashes(REQUEST, ["/h/a"])) == 1
    assert site.calls[0][3] is None
    assert site.of("token") == []


PASSING = [500, 502, 503, 429, "hang up", "half", (503, {"Retry_After": "2"})]


@pytest.mark.parametrize("fault", PASSING, ids=str)
@pytest.mark.parametrize("whose", ["faults", "token_faults"])
def test_trouble_that_passes_is_waited_for(site, fault, whose):
    site.add("/h/a", sha512("a"))
    getattr(site, whose).extend([fault] * len(PAUSES))
    clock = FakeClock()
    began = clock.now()
    assert len(catalog(site, clock).hashes(REQUEST, ["/h/a"])) == 1
    assert clock.now() - began >= sum(PAUSES)


@pytest.mark.parametrize("fault", [500, "hang up", "half"])
def test_trouble_that_stays_is_the_worlds_and_never_looks_like_no_hash(site, fault):
    site.faults.extend([fault] * (len(PAUSES) + 1))
    with pytest.raises(WorldFault) as caught:
        catalog(site).hashes(REQUEST, ["/h/a"])
    assert caught.value.code == "CATALOG-AWAY"


def test_nobody_answers(site):
    ours = catalog(site)
    site.__exit__()
    with pytest.raises(WorldFault) as caught:
        ours.hashes(REQUEST, ["/h/a"])
    assert caught.value.code == "CATALOG-AWAY"
    assert "/h/a" not in caught.value.text


def test_a_long_wait_that_it_asks_for_is_left_to_the_caller(site):
    site.faults.append((429, {"Retry_After": "3600"}))
    clock = FakeClock()
    began = clock.now()
    with pytest.raises(WorldFault) as caught:
        catalog(site, clock).hashes(REQUEST, ["/h/a"])
    assert (caught.value.code, caught.value.retry_after, clock.now()) == ("CATALOG-AWAY", 3600.0, began)


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_an_answer_that_takes_too_long_is_none(site, fault, monkeypatch):
    class Impatient(SystemClock):
        def sleep(self, seconds):
            pass

    site.add("/h/a", sha512("a"))
    site.faults.append(fault)
    ours = catalog(site, Impatient(), timeout=0.5)
    assert len(ours.hashes(REQUEST, ["/h/a"])) == 1
    assert len(site.of("get")) == 2
    site.faults.extend([fault] * (len(PAUSES) + 1))
    with pytest.raises(WorldFault) as caught:
        ours.hashes(REQUEST, ["/h/a"])
    assert caught.value.code == "CATALOG-AWAY"


STRANGE = [
    404, 400, (302, {"Location": "/elsewhere"}), b"", b"<html>", b"[]", b"{}", b'{"files": {}}', b'{"files": [1]}', b'{"files": [{}]}',
    b'{"files": [{"locations": [{"site": "NERSC", "path": "/h/a"}], "uuid": "../x"}]}', b"[" * 100_000, b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("fault", STRANGE, ids=lambda fault: str(fault)[:30])
def test_an_answer_that_is_not_the_catalogs_is_never_taken_for_no_hash(site, fault):
    site.faults.extend([fault] * 3)
    with pytest.raises(WorldFault) as caught:
        catalog(site).hashes(REQUEST, ["/h/a"])
    assert caught.value.code == "CATALOG-STRANGE"
    assert not any(call[1] == "/elsewhere" for call in site.of("get"))


@pytest.mark.parametrize(
    "fault", [404, (302, {"Location": "/x"}), b"{}", b'{"access_token": 1}', b'{"access_token": "a\\nb", "expires_in": 1}',
              b'{"access_token": "a", "expires_in": "soon"}', b'{"access_token": "a", "expires_in": NaN}', b"<html>"],
    ids=lambda fault: str(fault)[:40],
)  # fmt: skip
def test_an_answer_that_is_no_token_is_strange(site, fault):
    site.token_faults.append(fault)
    with pytest.raises(WorldFault) as caught:
        catalog(site).hashes(REQUEST, ["/h/a"])
    assert caught.value.code == "CATALOG-STRANGE"
    assert site.of("get") == []


def test_an_answer_in_chunks_is_whole(site):
    site.faults.append("chunks")
    assert catalog(site).hashes(REQUEST, ["/h/a"]) == {}


def test_pages_that_lead_round_in_a_circle_are_strange(site):
    fill(site, 3)
    whole = site.files
    site.files = lambda query, keys, limit, _start: whole(query, keys, limit, 0)
    with pytest.raises(WorldFault, match="circle"):
        catalog(site).hashes(REQUEST, ["/home/projects/x/0000 ü&=%?#.zip", "/h/unknown"])


def test_two_entries_with_two_values_for_one_path_are_the_catalogs_fault(site):
    site.add("/h/a", sha512("a"))
    site.add("/h/a", sha512("b"))
    with pytest.raises(WorkFault) as caught:
        catalog(site).hashes(REQUEST, ["/h/a", "/h/b"])
    assert caught.value.code == "CATALOG-ENTRY-BAD"
    assert "/h/a" in caught.value.text


@pytest.mark.parametrize("value", ["", "abc", "x" * 128, 7, "a" * 129, ["a" * 128]])
def test_what_is_no_sha512_is_not_taken_for_one(site, value):
    site.add("/h/a", value)
    with pytest.raises(WorkFault) as caught:
        catalog(site).hashes(REQUEST, ["/h/a"])
    assert caught.value.code == "CATALOG-ENTRY-BAD"


@given(st.lists(st.text(max_size=60), max_size=200), st.integers(1, 50))
def test_each_path_is_in_one_batch_and_no_batch_is_too_long(paths, most):
    cut = list(batches(paths, most))
    told = [path for batch in cut for path in batch]
    assert told == [path for path in dict.fromkeys(paths) if _utf8(path)]
    assert all(len(batch) <= most and (len(batch) == 1 or len(json.dumps(batch)) <= LONGEST) for batch in cut)


def _utf8(path):
    try:
        return path.encode() is not None
    except UnicodeEncodeError:
        return False


def test_names_that_are_not_utf8_are_in_no_catalog():
    assert list(batches(["/h/\udcff", "/h/a"], 10)) == [["/h/a"]]

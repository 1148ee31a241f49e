"""Who else vouches. Lists of checksums: read as coreutils writes them, or refused by the line; and held against each copy.
A file catalog: asked, and held against each copy too."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

import pytest
from catalog_site import CatalogSite
from house import SOURCE, House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tacc_sync.outside.checksums.catalog import FileCatalog
from tacc_sync.outside.checksums.catalog_service import CatalogService, Client
from tacc_sync.pipeline.step import Moved
from tacc_sync.rules import presence
from tacc_sync.rules.faults import OperatorFault, WorkFault, WorldFault
from tacc_sync.rules.vouching import entries, vouched

NAMES = st.text(st.sampled_from("ab \\\n\r()*=-é\udcff\u2028"), min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."} and not name.startswith("-")
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=st.sets(NAMES, min_size=1, max_size=6), form=st.sampled_from(["sha512", "sha256", "md5", "sha1", "tag"]))
def test_what_coreutils_writes_is_read_back(tmp_path_factory, names, form):
    here = tmp_path_factory.mktemp("names")
    for number, name in enumerate(names):
        with open(os.fsencode(here) + b"/" + name.encode("utf-8", "surrogateescape"), "wb") as file:
            file.write(b"%d" % number)
    command = ["sha512sum", "--tag"] if form == "tag" else [f"{form}sum"]
    given_names = [os.fsencode(f"./{name}") for name in names]
    written = subprocess.run([*command, *given_names], cwd=here, check=True, capture_output=True).stdout
    algorithm = "sha512" if form == "tag" else form
    assert vouched(written, ["/home/x"], {f"/home/x/{name}" for name in names}) == {
        f"/home/x/{name}": f"{algorithm}:{hashlib.new(algorithm, b'%d' % number).hexdigest()}"
        for number, name in enumerate(names)
    }


A, B = "a" * 128, "b" * 128


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("something else", "line 2"),
        (f"{A[:127]}  a", "line 2"),
        (f"{A}a  a", "line 2"),
        (f"{A}", "line 2"),
        (f"{A} ", "line 2"),
        (f"{A}\ta", "line 2"),
        (f"{A[:127]}x  a", "line 2"),
        (f"SHA256 (a) = {A}", "line 2"),
        (f"\\{A}  a\\x", "line 2"),
        (f"{B}  a", "twice"),
        (f"{B}  /s/a", "twice"),
    ],
)
def test_a_list_is_understood_to_the_last_line_or_not_at_all(line, said):
    with pytest.raises(WorkFault, match=said) as caught:
        vouched(f"{A}  a\n{line}\n".encode(), ["/s"], {"/s/a"})
    assert caught.value.code == "CHECKSUM-LIST-BAD"


def test_names_are_absolute_or_relative_to_a_source():
    content = f"# comment\n\n{A} */s/a\n{B}  sub/b\r\n{A}  ./one.zip\n{B}  elsewhere\n".encode()
    paths = {"/s/a", "/s/sub/b", "/t/one.zip", "/s/unlisted"}
    assert vouched(content, ["/s", "/t/one.zip"], paths) == {
        "/s/a": f"sha512:{A}", "/s/sub/b": f"sha512:{B}", "/t/one.zip": f"sha512:{A}",
    }  # fmt: skip
    with pytest.raises(WorkFault, match="more than one source"):
        vouched(f"{A}  a\n".encode(), ["/s", "/t"], {"/s/a", "/t/a"})


@given(st.binary(max_size=400))
def test_whatever_is_in_a_list_it_is_read_or_refused(content):
    try:
        found = list(entries(content))
    except WorkFault:
        return
    assert all(name and ":" in value for name, value in found)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.settings.patience.attempts, house.settings.patience.at_least = 2, 0.0
    for name, kind in (("hashed", "md5"), ("bare", None)):
        house.archive(name, name.encode() * 100, hash=kind)
    return house


def drop(house, **contents):
    path = house.root / "SHA512SUMS"
    path.write_text("".join(f"{hashlib.sha512(c).hexdigest()}  {name}\n" for name, c in contents.items()))
    house.drop(checksums=str(path))


def test_what_a_list_vouches_for_proves_a_file_that_the_archive_has_no_hash_of(house):
    house.hpss.get_lines = False
    drop(house, hashed=b"hashed" * 100, bare=b"bare" * 100)
    house.run()
    assert sorted(house.delivered()) == ["bare", "hashed"]


@pytest.mark.parametrize("name", ["hashed", "bare"])
def test_a_file_that_differs_from_what_is_vouched_for_is_not_delivered(house, name):
    truth = {"hashed": b"hashed" * 100, "bare": b"bare" * 100}
    drop(house, **truth | {name: b"another content"})
    house.run()
    assert list(house.delivered()) == [other for other in truth if other != name]
    (work,) = house.documents("quarantine/retriever").values()
    (file,) = [file for file in work["files"] if file["path"] == f"{SOURCE}/{name}"]
    assert file["why"]["code"] == "CHECKSUM-DIFFERS"
    for content in (truth[name], b"another content"):
        assert hashlib.sha512(content).hexdigest() in file["why"]["text"]


def test_files_that_do_not_stand_in_the_list_are_told(house):
    drop(house, hashed=b"hashed" * 100)
    house.run("syncer")
    (request,) = house.documents("request_queue").values()
    assert "1 of the 2 files do not stand in" in request["plan"]["warnings"][0]


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "broken"])
def test_a_list_that_cannot_be_used_puts_its_request_into_quarantine(house, kind):
    path = house.root / "list"
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "broken":
            path.write_text("nonsense\n")
        case _:
            pass
    house.drop(checksums=str(path))
    house.run("syncer")
    (why,) = house.whys("quarantine/syncer").values()
    assert why["code"] == "CHECKSUM-LIST-BAD"
    assert house.tree("hpss_queue") == []


# --- a catalog ----------------------------------------------------------------------------------------------------


@pytest.fixture
def site():
    with CatalogSite() as site:
        yield site


def ask(house, site, secret=CatalogSite.secret):
    client = Client(f"{site.url}/token", site.client_id, secret)
    service = CatalogService(site.url, client, house.clock, timeout=20)
    house.vouchers.append(FileCatalog(service, site="NERSC", page=1000))


def sums(content):
    return hashlib.sha512(content).hexdigest()


def test_manifest_and_certificate_name_each_who_vouches(house, site):
    ask(house, site)
    house.archive("unknown", b"?", hash=None)
    site.add(f"{SOURCE}/hashed", sums(b"hashed" * 100))
    site.add(f"{SOURCE}/bare", sums(b"bare" * 100))
    drop(house, hashed=b"hashed" * 100)
    house.run()
    (manifest,) = (house.root / "ws/finished").glob("*/manifest.jsonl")
    vouched = {line["source"].rpartition("/")[2]: line["vouched"] for line in map(json.loads, manifest.open())}
    assert vouched == {
        "hashed": {"sha512": ["list", "catalog", "buffer"], "md5": ["archive", "buffer", "destination"]},
        "bare": {"sha512": ["catalog", "buffer"], "md5": ["buffer", "destination"]},
        "unknown": {"sha512": ["buffer"], "md5": ["buffer", "destination"]},
    }
    certificate = json.loads((manifest.parent / "certificate.json").read_bytes())
    assert certificate["vouched"] == {
        "archive list catalog buffer destination": 1, "catalog buffer destination": 1, "buffer destination": 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["hashed", "bare"])
def test_a_file_that_differs_from_the_catalog_is_not_delivered(house, site, name):
    ask(house, site)
    truth = {"hashed": b"hashed" * 100, "bare": b"bare" * 100}
    for each, content in truth.items():
        site.add(f"{SOURCE}/{each}", sums(b"another" if each == name else content))
    house.drop()
    house.run()
    assert list(house.delivered()) == [other for other in truth if other != name]
    (work,) = house.documents("quarantine/retriever").values()
    (why,) = [file["why"] for file in work["files"] if file["path"] == f"{SOURCE}/{name}"]
    assert why["code"] == "CHECKSUM-DIFFERS"
    assert "the catalog" in why["text"]


def test_while_the_catalog_is_away_the_request_rests_and_is_planned_when_it_is_back(house, site):
    ask(house, site)
    house.drop()
    syncer = house.component("syncer")
    site.faults.extend([503] * 100)
    assert isinstance(syncer.step(), Moved)
    with pytest.raises(WorldFault, match="503"):
        syncer.step()
    assert (len(house.documents("inbox")), house.tree("hpss_queue"), house.tree("quarantine")) == (1, [], [])
    site.faults.clear()
    house.clock.time += 3600
    house.run()
    assert len(house.delivered()) == 2


def test_a_catalog_that_does_not_let_us_in_is_the_operators(house, site):
    ask(house, site, secret="wrong")
    house.drop()
    with pytest.raises(OperatorFault, match="does not take our client id"):
        house.component("syncer").step()
    assert house.tree("quarantine") == []


def test_what_is_there_already_is_not_asked_for(house, site):
    ask(house, site)
    house.drop()
    house.run()
    asked = len(site.of("get"))
    house.drop("again.json")
    house.run()
    assert len(site.of("get")) == asked


# --- and against what is at the destination already ---------------------------------------------------------------

TRUTH = {"hashed": b"hashed" * 100, "bare": b"bare" * 100}


def delivered_before(house):
    house.drop("first.json")
    house.run()
    assert house.delivered() == TRUTH
    house.hpss.sessions.clear()
    return house.globus.submits


def by_name(work):
    return {file["path"].removeprefix(SOURCE + "/"): file for file in work["files"]}


def test_a_list_that_agrees_with_an_earlier_delivery_costs_no_tape(house):
    submits = delivered_before(house)
    drop(house, **TRUTH)
    house.run()
    assert (house.hpss.sessions, house.globus.submits) == ([], submits)
    assert house.tree("quarantine") == []


@pytest.mark.parametrize("name", ["hashed", "bare"])
def test_what_an_earlier_delivery_proves_and_the_list_contradicts_is_not_called_there(house, name):
    submits = delivered_before(house)
    drop(house, **TRUTH | {name: b"another content"})
    house.run()
    assert (house.hpss.sessions, house.globus.submits) == ([], submits)
    ((unit, work),) = house.documents("quarantine/syncer").items()
    file = by_name(work)[name]
    assert (set(by_name(work)), file["outcome"], file["why"]["code"]) == ({name}, "failed", "VOUCHERS-DISAGREE")
    for content in (TRUTH[name], b"another content"):
        assert hashlib.sha512(content).hexdigest() in file["why"]["text"]
    assert house.whys("quarantine/syncer")[f"{unit}.why.json"]["code"] == "VOUCHERS-DISAGREE"
    assert house.delivered() == TRUTH


def test_or_it_is_recalled_and_compared_when_the_request_says_overwrite(house):
    delivered_before(house)
    (house.root / "list").write_text(f"{hashlib.sha512(b'another content').hexdigest()}  bare\n")
    house.drop(checksums=str(house.root / "list"), conflict="overwrite")
    house.run()
    assert {path for session in house.hpss.sessions for path in session} == {f"{SOURCE}/bare"}
    (work,) = house.documents("quarantine/retriever").values()
    assert by_name(work)["bare"]["why"]["code"] == "CHECKSUM-DIFFERS"
    assert house.delivered() == TRUTH


def test_each_of_several_files_says_itself_what_differs(house):
    delivered_before(house)
    drop(house, hashed=b"other 1", bare=b"other 2")
    house.run()
    files = {n: f for work in house.documents("quarantine/syncer").values() for n, f in by_name(work).items()}
    for name, other in (("hashed", b"other 1"), ("bare", b"other 2")):
        assert hashlib.sha512(other).hexdigest() in files[name]["why"]["text"]
        assert hashlib.sha512(TRUTH[name]).hexdigest() in files[name]["why"]["text"]


def test_a_list_in_an_algorithm_that_is_not_known_of_the_delivery_is_told(house):
    delivered_before(house)
    path = house.root / "list"
    path.write_text("".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in TRUTH.items()))
    house.drop(checksums=str(path))
    house.run("syncer")
    (request,) = house.documents("request_queue").values()
    assert any("2 files that are there already stand in" in warning for warning in request["plan"]["warnings"])


def test_what_was_borrowed_and_differs_from_the_list_is_not_taken_over(house):
    house.drop("first.json")
    house.run("syncer")
    drop(house, **TRUTH | {"bare": b"another content"})
    house.run()
    assert {path for session in house.hpss.sessions for path in session} == set(house.hpss.files)
    (work,) = house.documents("quarantine/retriever").values()
    files = by_name(work)
    assert files["bare"]["why"]["code"] == "VOUCHERS-DISAGREE"
    assert {file["outcome"] for name, file in files.items() if name != "bare"} <= {"proven"}
    assert house.delivered() == TRUTH
    assert os.listdir(house.root / "ws/loans") == []


hexes = st.sampled_from(["aa", "bb"])
known_hashes = st.dictionaries(st.sampled_from(["md5", "sha512"]), hexes)


@given(
    st.dictionaries(st.sampled_from(["list", "catalog"]), st.tuples(st.sampled_from(["md5", "sha512", "sha1"]), hexes)),
    known_hashes,
    hexes,
)
def test_a_delivery_is_contradicted_just_by_a_hash_of_one_algorithm_with_two_values(said, hashes, of_archive):
    known = presence.Vouched("key", 1, 1, "", f"sha1:{of_archive}", "", hashes)
    values = {"sha1": of_archive, **hashes}
    contradicted = any(values.get(algorithm, value) != value for algorithm, value in said.values())
    text = presence.contradiction({who: f"{algorithm}:{value}" for who, (algorithm, value) in said.items()}, known)
    assert bool(text) == contradicted

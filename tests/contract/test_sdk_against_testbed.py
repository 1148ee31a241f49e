"""GlobusSdk over a real socket, against the testbed's service.

Each test gets collections with fresh directories and no faults; the service is started once.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
import urllib.request
import uuid

import pytest

from tacc_sync.outside.globus.interface import Item, NoSuchDirectory, Order
from tacc_sync.outside.globus.login import UserLogin, log_in, log_out
from tacc_sync.outside.globus.sdk import GlobusSdk
from tacc_sync.rules.evidence import Delivered, NotDelivered, judge_record
from tacc_sync.rules.faults import OperatorFault, WorkFault, WorldFault
from tacc_sync.rules.tasks import Ended, GiveUp, InProgress, assess

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
globus_faults = pytest.importorskip("tacc_sync.testbed.globus_faults")
globus_settings = pytest.importorskip("tacc_sync.testbed.globus_settings")

NUMBERS = itertools.count()


@pytest.fixture
def site(globus_site):
    return globus_site


@pytest.fixture
def globus(site):
    return GlobusSdk(site.credentials())


@pytest.fixture
def label():
    return f"f8c7f5f6d70a.AG787200.{next(NUMBERS):04}.7.1"


def order(site, globus, label, *names, submission_id=None, **item):
    paths = [site.file(f"/{label}/{name}") for name in names or ("x",)]
    items = [Item(path, f"/arrived{path}", **item) for path in paths]
    return Order(submission_id or globus.new_submission_id(), label, site.source, site.destination, items)


def ended(globus, task_id, seconds=20):
    until = time.monotonic() + seconds
    while (view := globus.task(task_id)).status in {"ACTIVE", "INACTIVE"}:
        assert time.monotonic() < until, view
        time.sleep(0.02)
    return view


def becomes(globus, task_id, test, seconds=10):
    until = time.monotonic() + seconds
    while not test(view := globus.task(task_id)):
        assert time.monotonic() < until, view
        time.sleep(0.02)
    return view


def test_a_file_is_transferred_and_its_record_proves_it(site, globus, label):
    wanted = order(site, globus, label, "x", "a b ü")
    accepted = globus.submit(wanted)
    assert not accepted.duplicate
    view = ended(globus, accepted.task_id)
    verdict = assess(view, now=time.time())
    assert isinstance(verdict, Ended)
    assert verdict.succeeded
    assert (label, 0, 2) == (view.label, view.files_skipped, view.files_transferred)
    assert view.completed_at >= view.requested_at > time.time() - 60
    records = {record.source: record for record in globus.transferred(accepted.task_id)}
    assert {item.source for item in wanted.items} == set(records)
    record = records[f"/{label}/a b ü"]
    hashes = {name: hashlib.new(name, b"content").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")}
    judged = judge_record(
        size=7,
        hashes=hashes,
        record_size=record.size,
        record_checksum=record.checksum,
        record_algorithm=record.algorithm,
    )
    assert isinstance(judged, Delivered)
    assert (site.root / "tacc" / "arrived" / label / "a b ü").read_bytes() == b"content"
    assert globus.events(accepted.task_id)[0].code == "SUCCEEDED"


def test_a_known_checksum_goes_along(site, globus, label):
    right = hashlib.sha512(b"content").hexdigest()
    accepted = globus.submit(order(site, globus, label, checksum=right, algorithm="sha512"))
    assert ended(globus, accepted.task_id).status == "SUCCEEDED"
    (record,) = globus.transferred(accepted.task_id)
    assert ("sha512", right) == (record.algorithm, record.checksum)


def test_a_wrong_known_checksum_fails_the_task(site, globus, label):
    wrong = hashlib.sha512(b"other").hexdigest()
    accepted = globus.submit(order(site, globus, label, checksum=wrong, algorithm="sha512"))
    view = ended(globus, accepted.task_id)
    assert view.status == "FAILED"
    assert view.fatal_error
    verdict = assess(view, now=time.time())
    assert isinstance(verdict, Ended)
    assert (verdict.code, verdict.whose) == ("TASK-CHECKSUM", "work")


def test_a_missing_file_is_given_up_after_a_while(site, globus, label):
    wanted = order(site, globus, label, "x", "y")
    (site.root / "nersc" / label / "y").unlink()
    accepted = globus.submit(wanted)
    view = becomes(globus, accepted.task_id, lambda view: view.nice_status == "FILE_NOT_FOUND")
    now = time.time()
    assert isinstance(assess(view, now=now), InProgress)
    verdict = assess(view, now=now, since=now - 900)
    assert isinstance(verdict, GiveUp)
    assert verdict.code == "TASK-FILE-MISSING"
    becomes(globus, accepted.task_id, lambda view: view.files_transferred == 1)
    globus.cancel(accepted.task_id)
    ended(globus, accepted.task_id)
    assert [f"/{label}/x"] == [record.source for record in globus.transferred(accepted.task_id)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("PERMISSION_DENIED", "TASK-PERMISSION"),
        ("CONNECTION_RESET", "TASK-STUMBLES"),
        ("ENDPOINT_TOO_BUSY", "TASK-STUMBLES"),
    ],
)
def test_faults_of_files_are_seen_while_the_task_is_active(site, globus, label, code, expected):
    site.fault("fault", label=label, code=code)
    accepted = globus.submit(order(site, globus, label))
    view = becomes(globus, accepted.task_id, lambda view: view.faults > 0 and view.nice_status not in {"OK", "Queued"})
    verdict = assess(view, now=time.time())
    assert isinstance(verdict, InProgress)
    assert expected == verdict.code
    assert any(event.is_error and event.code == code for event in globus.events(accepted.task_id))
    globus.cancel(accepted.task_id)


def test_a_full_destination_fails_the_task(site, globus, label):
    site.fault("fault", label=label, code="QUOTA_EXCEEDED")
    accepted = globus.submit(order(site, globus, label))
    verdict = assess(ended(globus, accepted.task_id), now=time.time())
    assert isinstance(verdict, Ended)
    assert (verdict.code, verdict.whose) == ("TASK-QUOTA", "world")


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("record_wrong_size", "RECORD-SIZE-DIFFERS"),
        ("record_wrong_checksum", "RECORD-CHECKSUM-DIFFERS"),
        ("record_without_checksum", "RECORD-WITHOUT-CHECKSUM"),
    ],
)
def test_wrong_records_prove_nothing(site, globus, label, what, code):
    site.fault(what, label=label)
    sha512 = hashlib.sha512(b"content").hexdigest()
    accepted = globus.submit(order(site, globus, label, checksum=sha512, algorithm="sha512"))
    ended(globus, accepted.task_id)
    (record,) = globus.transferred(accepted.task_id)
    judged = judge_record(
        size=7,
        hashes={"sha512": sha512},
        record_size=record.size,
        record_checksum=record.checksum,
        record_algorithm=record.algorithm,
    )
    assert isinstance(judged, NotDelivered)
    assert code == judged.code


def test_more_records_than_a_page(site, globus, label):
    site.file(f"/{label}/x", b"")
    wanted = Order(
        globus.new_submission_id(),
        label,
        site.source,
        site.destination,
        [Item(site.file(f"/{label}/{n}", b""), f"/arrived/{label}/{n}") for n in range(1100)],
    )
    accepted = globus.submit(wanted)
    assert ended(globus, accepted.task_id, 60).status == "SUCCEEDED"
    before = len(site.requests("successful_transfers"))
    records = list(globus.transferred(accepted.task_id))
    assert {item.source for item in wanted.items} == {record.source for record in records}
    assert len(records) == 1100
    assert len(site.requests("successful_transfers")) - before == 2


# Trouble on the way


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_service_is_away(site, status):
    site.fault("status", verb="submission_id", status=status, code="ServiceUnavailable", message="maintenance")
    with pytest.raises(WorldFault, match="maintenance") as caught:
        GlobusSdk(site.credentials(), retries=1).new_submission_id()
    assert caught.value.code == "GLOBUS-AWAY"


def test_a_short_outage_is_not_even_noticed(site, globus):
    site.fault("status", verb="submission_id", status=502, code="BadGateway", message="x", times=2)
    assert globus.new_submission_id()


def test_a_collection_that_is_away(site, globus):
    site.fault("status", verb="ls", status=502, code="ExternalError.DirListingFailed.GCDisconnected", message="x")
    with pytest.raises(WorldFault) as caught:
        globus.listing(site.source, "/")
    assert caught.value.code == "GLOBUS-COLLECTION-AWAY"


def test_a_submit_whose_reply_is_lost_once_is_a_duplicate(site, globus, label):
    wanted = order(site, globus, label)
    site.fault("drop_after", verb="transfer", times=1)
    accepted = globus.submit(wanted)
    assert accepted.duplicate
    (found,) = globus.tasks_labelled(label)
    assert accepted.task_id == found.task_id


def test_a_submit_whose_replies_are_all_lost_is_found_again(site, label):
    globus = GlobusSdk(site.credentials(), retries=0)
    wanted = order(site, globus, label)
    rule = site.fault("drop_after", verb="transfer")
    with pytest.raises(WorldFault) as caught:
        globus.submit(wanted)
    assert caught.value.code == "GLOBUS-AWAY"
    globus_faults.remove(site.root, rule)
    (found,) = globus.tasks_labelled(label)
    accepted = globus.submit(wanted)
    assert (True, found.task_id) == (accepted.duplicate, accepted.task_id)


def test_a_submit_that_never_arrived(site, label):
    globus = GlobusSdk(site.credentials(), retries=0)
    wanted = order(site, globus, label)
    site.fault("drop_before", verb="transfer", times=1)
    with pytest.raises(WorldFault):
        globus.submit(wanted)
    assert globus.tasks_labelled(label) == []
    assert not globus.submit(wanted).duplicate


def test_a_service_that_does_not_answer_in_time(site):
    site.fault("delay", verb="submission_id", seconds=30, times=1)
    began = time.monotonic()
    with pytest.raises(WorldFault) as caught:
        GlobusSdk(site.credentials(), http_timeout=0.3, give_up_after=0.2).new_submission_id()
    assert caught.value.code == "GLOBUS-AWAY"
    assert time.monotonic() - began < 25


def test_nobody_listens(site, monkeypatch):
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", "http://127.0.0.1:1")
    with pytest.raises(WorldFault, match="Connection refused") as caught:
        GlobusSdk(site.credentials(), retries=0).new_submission_id()
    assert caught.value.code == "GLOBUS-AWAY"


# Credentials


def test_an_expired_token_is_renewed(site, globus):
    assert globus.new_submission_id()
    site.fault("expired_token", verb="submission_id", times=1)
    assert globus.new_submission_id()


def test_a_wrong_secret(site):
    with pytest.raises(OperatorFault) as caught:
        GlobusSdk(site.credentials("wrong-secret")).new_submission_id()
    assert caught.value.code == "GLOBUS-CREDENTIALS"
    assert "wrong-secret" not in str(caught.value)


def test_a_service_account_gets_consent_by_itself(site, globus, label):
    assert globus.new_submission_id()
    globus_settings.change_collection(site.root, site.destination, data_access=True)
    globus_settings.change_collection(site.root, site.source, data_access=True)
    accepted = globus.submit(order(site, globus, label))
    assert ended(globus, accepted.task_id).status == "SUCCEEDED"
    assert globus.listing(site.destination, f"/arrived/{label}")


def test_consent_that_cannot_be_had(site, globus):
    site.fault("consent_required", verb="ls", scopes=["urn:globus:auth:scope:transfer.api.globus.org:all"])
    with pytest.raises(OperatorFault) as caught:
        globus.listing(site.source, "/")
    assert caught.value.code == "GLOBUS-CONSENT"


def test_who_we_are(site, globus):
    assert globus.whoami() == f"{site.settings.client_id}@clients.auth.globus.org"


def browser():
    """Somebody with a browser who agrees to everything."""
    shown = []

    def ask(_):
        url = next(word for word in shown[-1].split() if word.startswith("http://"))
        with urllib.request.urlopen(url) as answer:
            return answer.read().decode()

    return shown, ask


def test_a_person_logs_in_works_and_logs_out(site, tmp_path, label, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    globus_settings.change_collection(site.root, site.destination, data_access=True)
    user = UserLogin(site.settings.native_client_id, tmp_path / "config" / "tokens.json")
    shown, ask = browser()
    log_in(user, show=shown.append, ask=ask, collections=[site.destination])
    globus = GlobusSdk(user)
    assert globus.whoami() == "operator@testbed.invalid"
    accepted = globus.submit(order(site, globus, label))
    assert ended(globus, accepted.task_id).status == "SUCCEEDED"
    log_out(user)
    with pytest.raises(OperatorFault) as caught:
        GlobusSdk(user).new_submission_id()
    assert caught.value.code == "GLOBUS-CREDENTIALS"
    with pytest.raises(OperatorFault):
        globus.new_submission_id()
    assert {tmp_path / "config"} == set(tmp_path.iterdir())


def test_a_login_lives_longer_than_its_access_token(site, tmp_path):
    user = UserLogin(site.settings.native_client_id, tmp_path / "config" / "tokens.json")
    globus_settings.change(site.root, token_seconds=0.05)
    shown, ask = browser()
    log_in(user, show=shown.append, ask=ask)
    time.sleep(0.1)
    globus_settings.change(site.root, token_seconds=3600)
    before = user.token_file.read_bytes()
    assert GlobusSdk(user).new_submission_id()
    assert before != user.token_file.read_bytes()
    assert user.token_file.stat().st_mode & 0o777 == 0o600


def test_a_person_without_consent_is_told_and_logs_in_again(site, tmp_path):
    user = UserLogin(site.settings.native_client_id, tmp_path / "config" / "tokens.json")
    shown, ask = browser()
    log_in(user, show=shown.append, ask=ask)
    globus_settings.change_collection(site.root, site.source, data_access=True)
    globus = GlobusSdk(user)
    with pytest.raises(OperatorFault) as caught:
        globus.listing(site.source, "/")
    assert caught.value.code == "GLOBUS-CONSENT"
    assert "data_access" in caught.value.text
    log_in(user, show=shown.append, ask=ask, collections=[site.source])
    assert globus.listing(site.source, "/") is not None


# Collections


def test_a_listing(site, globus, label):
    path = site.file(f"/{label}/a b ü")
    os.utime(site.root / "nersc" / path[1:], (1_700_000_000.5, 1_700_000_000.5))
    site.file(f"/{label}/.hidden", b"")
    site.file(f"/{label}/folder/z")
    found = {entry.name: entry for entry in globus.listing(site.source, f"/{label}")}
    assert {"a b ü", ".hidden", "folder"} == set(found)
    assert (found["a b ü"].kind, found["a b ü"].size, found["a b ü"].mtime) == ("file", 7, 1_700_000_000.0)
    assert found["folder"].kind == "dir"


def test_a_listing_of_several_pages(site, globus, label):
    globus_settings.change(site.root, ls_limit=2)
    names = {site.file(f"/{label}/{n}").rpartition("/")[2] for n in range(5)}
    assert names == {entry.name for entry in globus.listing(site.source, f"/{label}")}


def test_no_such_directory(site, globus, label):
    with pytest.raises(NoSuchDirectory):
        globus.listing(site.source, f"/{label}")


def test_a_listing_of_a_file_is_refused(site, globus, label):
    with pytest.raises(WorkFault) as caught:
        globus.listing(site.source, site.file(f"/{label}/x"))
    assert caught.value.code == "GLOBUS-REFUSED"


def test_a_collection(site, globus):
    about = globus.collection(site.source)
    assert (site.source, "NERSC DTN (testbed)") == (about.collection_id, about.display_name)
    assert (about.disable_verify, about.force_verify, about.high_assurance) == (False, False, False)
    for call in (globus.collection, lambda unknown: globus.listing(unknown, "/")):
        with pytest.raises(OperatorFault) as caught:
            call(str(uuid.uuid4()))
        assert caught.value.code == "GLOBUS-COLLECTION"


def test_several_threads(site, globus, label):
    failed = []

    def work(number):
        try:
            accepted = globus.submit(order(site, globus, f"{label}.{number}"))
            assert ended(globus, accepted.task_id).status == "SUCCEEDED"
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []

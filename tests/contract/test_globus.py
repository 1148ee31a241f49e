"""`Globus`, by globus-sdk against the testbed's service, and by both fakes: what globus_xfer relies on."""

from __future__ import annotations

import hashlib
import itertools
import time

import fakes
import pytest
import world as simulation

from tacc_sync.outside.globus.interface import IdenticalPaths, Item, NoSuchDirectory, Order, UnknownTask
from tacc_sync.outside.globus.sdk import GlobusSdk
from tacc_sync.rules.evidence import Delivered, NotDelivered, judge_record
from tacc_sync.rules.faults import OperatorFault, WorldFault
from tacc_sync.rules.tasks import Ended, InProgress, assess

globus_faults = pytest.importorskip("tacc_sync.testbed.globus_faults")
globus_settings = pytest.importorskip("tacc_sync.testbed.globus_settings")

NUMBERS = itertools.count()


class Real:
    """The edge and the service."""

    def __init__(self, site, _tmp_path):
        self.site, self.rules = site, []
        self.edge = GlobusSdk(site.credentials())
        self.collections = site.source, site.destination

    def file(self, path, content):
        return self.site.file(path, content)

    def delivered(self, path):
        found = self.site.root / "tacc" / path.lstrip("/")
        return found.read_bytes() if found.exists() else None

    def slow(self):
        globus_settings.change(self.site.root, seconds_per_task=30)

    def strikes(self, fate, label):
        about = {
            "fails half-way": {"what": "fail", "after_files": 1, "code": "ENDPOINT_ERROR", "description": "broke"},
            "inactive": {"what": "inactive"},
            "paused": {"what": "paused", "message": "tapes move"},
            "cancelled by an administrator": {"what": "cancel_by_admin", "side": "SOURCE", "message": "go away"},
            "record missing": {"what": "record_missing", "path": "*/0"},
            "wrong size": {"what": "record_wrong_size", "path": "*/0"},
            "no checksum": {"what": "record_without_checksum"},
        }[fate]
        self.rules.append(self.site.fault(about.pop("what"), label=label, **about))

    def mend(self):
        for rule in self.rules:
            globus_faults.remove(self.site.root, rule)

    def refuse(self, trouble):
        if trouble == "429":
            self.site.fault("status", verb="transfer", status=429, code="Busy", message="x", retry_after=77)
        elif trouble == "pending":
            globus_settings.change(self.site.root, pending_cap=0)
        elif trouble == "login":
            self.edge = GlobusSdk(self.site.credentials("wrong-secret"))
        else:
            self.site.fault("consent_required", verb="transfer", scopes=["urn:globus:auth:scope:transfer:all"])

    def pass_time(self):
        time.sleep(0.02)

    def now(self):
        return time.time()


class Simulated:
    """The simulation's world."""

    collections = "source", "destination"

    def __init__(self, _site, _tmp_path):
        self.world = simulation.World({})
        self.edge = simulation.SimGlobus(self.world, self.world.start("a"))

    def file(self, path, content):
        from sim_disk import Dir, File

        *directories, name = path.strip("/").split("/")
        here = self.world.buffer.root
        for directory in directories:
            here = here.entries.setdefault(directory, Dir())
        here.entries[name] = File(content, content)
        return f"{self.world.buffer_root}{path}"

    def delivered(self, path):
        return self.world.globus.destination.get(path)

    def slow(self):
        self.world.globus.seconds = 10.0**6

    def strikes(self, fate, label):
        self.world.globus.fates.append(fate)

    def mend(self):
        pass

    def refuse(self, trouble):
        if trouble == "login":
            self.world.globus.login_until = float("inf")
        else:
            self.world.globus.refusals.append(trouble)

    def pass_time(self):
        self.world.advance(self.world.time + 10.0)

    def now(self):
        return simulation.EPOCH + self.world.time


class Fake:
    """The fake of the unit tests."""

    collections = "source", "destination"

    def __init__(self, _site, tmp_path):
        self.root = tmp_path
        self.clock = fakes.FakeClock()
        self.edge = fakes.FakeGlobus(tmp_path / "nersc", tmp_path / "tacc", clock=self.clock)

    def file(self, path, content):
        target = self.root / "nersc" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return path

    def delivered(self, path):
        found = self.root / "tacc" / path.lstrip("/")
        return found.read_bytes() if found.exists() else None

    def slow(self):
        self.edge.slow = 10**6

    def pass_time(self):
        self.clock.sleep(1)

    def now(self):
        return self.clock.now()


@pytest.fixture
def label():
    return f"f8c7f5f6d70a.AG787201.{next(NUMBERS):04}.7.1"


@pytest.fixture(params=[Real, Simulated, Fake], ids=["sdk", "simulation", "fake"])
def service(request, tmp_path):
    return request.param(request.getfixturevalue("globus_site") if request.param is Real else None, tmp_path)


@pytest.fixture(params=[Real, Simulated], ids=["sdk", "simulation"])
def sick(request, tmp_path):
    """The same, of those that have the service's bad habits."""
    return request.param(request.getfixturevalue("globus_site") if request.param is Real else None, tmp_path)


def order(service, label, files=2, submission_id=None):
    sources = [service.file(f"/{label}/{n}", f"content {n}".encode()) for n in range(files)]
    items = [Item(source, f"/arrived/{label}/{n}") for n, source in enumerate(sources)]
    return Order(submission_id or service.edge.new_submission_id(), label, *service.collections, items)


def becomes(service, task_id, test):
    for _ in range(1000):
        if test(view := service.edge.task(task_id)):
            return view
        service.pass_time()
    raise AssertionError(view)


def ended(service, task_id):
    return becomes(service, task_id, lambda view: view.status in {"SUCCEEDED", "FAILED"})


def judged(content, record):
    hashes = {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")}
    return judge_record(
        size=len(content),
        hashes=hashes,
        record_size=record.size,
        record_checksum=record.checksum,
        record_algorithm=record.algorithm,
    )


def records(service, task_id):
    return {record.destination: record for record in service.edge.transferred(task_id)}


def test_a_task(service, label):
    wanted = order(service, label)
    accepted = service.edge.submit(wanted)
    assert not accepted.duplicate
    view = ended(service, accepted.task_id)
    verdict = assess(view, now=service.now())
    assert isinstance(verdict, Ended) and verdict.succeeded and verdict.records
    assert (view.label, view.files, view.nice_status) == (label, 2, None)
    assert view.completed_at >= view.requested_at
    found = records(service, accepted.task_id)
    assert found.keys() == {item.destination for item in wanted.items}
    for n, item in enumerate(wanted.items):
        record, content = found[item.destination], f"content {n}".encode()
        assert record.source == item.source
        assert isinstance(judged(content, record), Delivered)
        assert service.delivered(item.destination) == content


def test_a_directory_is_told_whole_in_either_form(service, label):
    ended(service, service.edge.submit(order(service, label, files=3)).task_id)
    destination = service.collections[1]
    for path, kind, names in ((f"/arrived/{label}", "file", {"0", "1", "2"}), ("/arrived", "dir", {label})):
        told = list(service.edge.entries(destination, path))
        assert told == service.edge.listing(destination, path)
        assert names <= {entry.name for entry in told if entry.kind == kind}
    with pytest.raises(NoSuchDirectory):
        list(service.edge.entries(destination, "/nowhere"))


def test_a_submission_id_is_accepted_once(service, label):
    wanted = order(service, label)
    first = service.edge.submit(wanted)
    again = service.edge.submit(wanted)
    assert (True, first.task_id) == (again.duplicate, again.task_id)
    ended(service, first.task_id)
    again = service.edge.submit(wanted)
    assert (True, first.task_id) == (again.duplicate, again.task_id)


@pytest.mark.fault("globus-identical")
def test_identical_paths_are_found_by_label(service, label):
    service.slow()
    accepted = service.edge.submit(order(service, label))
    with pytest.raises(IdenticalPaths):
        service.edge.submit(order(service, label))
    (found,) = service.edge.tasks_labelled(label)
    assert accepted.task_id == found.task_id
    assert service.edge.tasks_labelled(label[:-1]) == []
    service.edge.cancel(accepted.task_id)


def test_cancelling(service, label):
    service.slow()
    accepted = service.edge.submit(order(service, label))
    service.edge.cancel(accepted.task_id)
    view = ended(service, accepted.task_id)
    verdict = assess(view, now=service.now())
    assert isinstance(verdict, Ended)
    assert (verdict.succeeded, verdict.code, verdict.whose) == (False, "TASK-CANCELED", "operator")
    service.edge.cancel(accepted.task_id)
    assert records(service, accepted.task_id) == {}
    # Its paths are free again.
    accepted = service.edge.submit(order(service, label))
    assert next(view.task_id for view in service.edge.tasks_labelled(label)) == accepted.task_id
    service.edge.cancel(accepted.task_id)


def test_an_unknown_task(service):
    for call in (service.edge.task, service.edge.cancel, service.edge.transferred, service.edge.events):
        with pytest.raises(UnknownTask):
            call("11111111-2222-4333-8444-555555555555")


def test_a_task_that_fails_half_way_has_its_records(sick, label):
    sick.strikes("fails half-way", label)
    accepted = sick.edge.submit(order(sick, label))
    verdict = assess(ended(sick, accepted.task_id), now=sick.now())
    assert isinstance(verdict, Ended)
    assert not verdict.succeeded
    found = records(sick, accepted.task_id)
    assert len(found) == 1
    for destination, record in found.items():
        assert isinstance(judged(sick.delivered(destination), record), Delivered)


@pytest.mark.parametrize(("fate", "code"), [("inactive", "TASK-INACTIVE"), ("paused", "TASK-PAUSED")])
def test_a_task_that_waits_for_a_person_goes_on(sick, label, fate, code):
    sick.strikes(fate, label)
    accepted = sick.edge.submit(order(sick, label))
    view = becomes(sick, accepted.task_id, lambda view: view.status == "INACTIVE" or view.is_paused)
    verdict = assess(view, now=sick.now(), since=0.0)
    assert isinstance(verdict, InProgress)
    assert verdict.code == code
    with pytest.raises(IdenticalPaths):
        sick.edge.submit(order(sick, label))
    sick.mend()
    assert ended(sick, accepted.task_id).status == "SUCCEEDED"
    assert len(records(sick, accepted.task_id)) == 2


def test_a_task_that_an_administrator_cancels(sick, label):
    sick.strikes("cancelled by an administrator", label)
    accepted = sick.edge.submit(order(sick, label))
    verdict = assess(ended(sick, accepted.task_id), now=sick.now())
    assert isinstance(verdict, Ended)
    assert (verdict.code, verdict.whose) == ("TASK-CANCELED-BY-ADMIN", "operator")


@pytest.mark.parametrize("fate", ["record missing", "wrong size", "no checksum"])
def test_succeeded_without_proof(sick, label, fate):
    sick.strikes(fate, label)
    accepted = sick.edge.submit(order(sick, label))
    assert ended(sick, accepted.task_id).status == "SUCCEEDED"
    found = records(sick, accepted.task_id)
    assert len(found) == (1 if fate == "record missing" else 2)
    if fate != "record missing":
        record = found[f"/arrived/{label}/0"]
        code = {"wrong size": "RECORD-SIZE-DIFFERS", "no checksum": "RECORD-WITHOUT-CHECKSUM"}[fate]
        verdict = judged(b"content 0", record)
        assert isinstance(verdict, NotDelivered)
        assert verdict.code == code


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("429", "GLOBUS-BUSY"),
        ("pending", "GLOBUS-TOO-MANY-PENDING"),
        ("consent", "GLOBUS-CONSENT"),
        ("login", "GLOBUS-CREDENTIALS"),
    ],
)
def test_a_submit_that_is_refused_has_done_nothing(sick, label, trouble, code):
    wanted = order(sick, label)
    sick.refuse(trouble)
    with pytest.raises((WorldFault, OperatorFault)) as caught:
        sick.edge.submit(wanted)
    assert caught.value.code == code
    if trouble == "429":
        assert caught.value.retry_after == 77.0
    if trouble != "login":
        assert sick.edge.tasks_labelled(label) == []

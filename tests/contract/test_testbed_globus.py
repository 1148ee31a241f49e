"""The testbed's Globus service, asked by the real globus_sdk over a real socket."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib

import globus_sdk
import pytest
from globus_sdk.login_flows import CommandLineLoginFlowManager
from globus_sdk.testing import get_response_set

from tacc_sync.testbed import globus_faults, globus_journal, globus_settings, hpss_site, site

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("globus")
    data = tmp_path_factory.mktemp("data")
    (data / "run.dat").write_bytes(b"raw")
    site.up(root, data)
    yield root
    site.down(root)


class World:
    """A running service with fresh paths, no faults and usual settings."""

    def __init__(self, root, name):
        self.root, self.name = root, name
        self.settings = globus_settings.build(root)
        self.source, self.destination = self.settings.source_collection, self.settings.destination_collection
        self.nersc, self.tacc = root / "nersc" / name, root / "tacc" / name
        self.nersc.mkdir()

    def app(self, **config):
        return globus_sdk.ClientApp(
            "tests",
            client_id=self.settings.client_id,
            client_secret=self.settings.client_secret,
            config=globus_sdk.GlobusAppConfig(token_storage="memory", **config),
        )

    def client(self, retries=3, app=None):
        client = globus_sdk.TransferClient(app=app or self.app())
        client.retry_config.max_retries = retries
        client.retry_config.backoff = lambda context: 0.01
        return client

    def file(self, name="a", content=b"hello"):
        path = self.nersc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f"/{self.name}/{name}"

    def order(self, *names, **options):
        items = {key: options.pop(key) for key in ("external_checksum", "checksum_algorithm") if key in options}
        options.setdefault("label", self.name)
        order = globus_sdk.TransferData(self.source, self.destination, **options)
        for name in names or ("a",):
            order.add_item(f"/{self.name}/{name}", f"/{self.name}/{name}", **items)
        return order

    def submit(self, *names, client=None, **options):
        for name in names or ("a",):
            if not (self.nersc / name).exists():
                self.file(name)
        return (client or self.client()).submit_transfer(self.order(*names, **options))["task_id"]

    def fault(self, what, **match_and_options):
        keys = ("verb", "label", "path", "nth")
        match = {key: match_and_options.pop(key) for key in keys if key in match_and_options}
        return globus_faults.add(self.root, what, match=match, **match_and_options)

    def log(self, *events):
        return globus_settings.read_log(self.root, *events)


@pytest.fixture
def world(root, monkeypatch):
    for key, value in site.environment(root).items():
        monkeypatch.setenv(key, value)
    globus_faults.clear(root)
    usual = globus_settings.Settings("", "", "", "", "", "")
    for name in ("bytes_per_second", "seconds_per_task", "token_seconds", "pending_cap", "page_size"):
        globus_settings.change(root, **{name: getattr(usual, name)})
    globus_settings.change(root, retry_seconds=0.05)
    this = World(root, f"w{next(NUMBERS)}")
    for collection in (this.source, this.destination):
        globus_settings.change_collection(root, collection, data_access=False, checksums=globus_settings.ALGORITHMS)
    yield this
    globus_faults.clear(root)
    globus_settings.change(root, requests_per_10_seconds=0)
    client = this.client()
    for task in client.task_list(limit=1000, filter={"status": ["ACTIVE", "INACTIVE"]}):
        client.cancel_task(task["task_id"])


def until(look, seconds=10):
    """What `look` says as soon as it says anything."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def ended(client, task_id):
    return until(lambda: (task := client.get_task(task_id).data)["status"] in {"SUCCEEDED", "FAILED"} and task)


def health(client, task_id, code):
    return until(lambda: (task := client.get_task(task_id).data)["nice_status"] == code and task)


def codes(client, task_id):
    return [event["code"] for event in client.task_event_list(task_id, limit=1000)]


def records(client, task_id):
    return list(client.paginated.task_successful_transfers(task_id).items())


def refused(call, *arguments, **options):
    with pytest.raises(globus_sdk.TransferAPIError) as caught:
        call(*arguments, **options)
    error = caught.value
    assert error.request_id
    assert error.raw_json["resource"].startswith("/v0.10/")
    return error.http_status, error.code


# Documents, against those that globus-sdk ships for its own users' tests.


def same_shape(expected, ours, where="document"):
    """Every key of the expected document is in ours, with a value of the same type."""
    assert set(expected) <= set(ours), f"{where}: missing {set(expected) - set(ours)}"
    for key, value in expected.items():
        if isinstance(value, dict) and isinstance(ours[key], dict):
            same_shape(value, ours[key], f"{where}.{key}")
        elif isinstance(value, list) and value and ours[key] and isinstance(value[0], dict):
            same_shape(value[0], ours[key][0], f"{where}.{key}")
        elif value is not None and ours[key] is not None:
            assert type(value) is type(ours[key]), f"{where}.{key}"


def shipped(name, case="default"):
    return get_response_set(name).lookup(case).json


@pytest.fixture
def documents(world):
    client = world.client()
    task_id = world.submit("a")
    ended(client, task_id)
    slow = globus_sdk.DeleteData(world.destination, label="delete")
    slow.add_item(f"/{world.name}/a")
    globus_settings.change(world.root, seconds_per_task=30)
    waiting = world.submit("b")

    def refusal(call, *arguments):
        with pytest.raises(globus_sdk.TransferAPIError) as caught:
            call(*arguments)
        return caught.value.raw_json

    here, there = f"/{world.name}", world.destination
    return {
        ("transfer.get_submission_id", "default"): lambda: client.get_submission_id().data,
        ("transfer.submit_transfer", "default"): lambda: client.submit_transfer(world.order("c")).data,
        ("transfer.submit_transfer", "failure"): lambda: refusal(
            client.submit_transfer, globus_sdk.TransferData(world.source, there)
        ),
        ("transfer.task_list", "default"): lambda: client.task_list(filter={"task_id": task_id}).data,
        ("transfer.cancel_task", "default"): lambda: client.cancel_task(waiting).data,
        ("transfer.operation_stat", "default"): lambda: client.operation_stat(there, f"{here}/a").data,
        ("transfer.operation_stat", "not_found"): lambda: refusal(client.operation_stat, there, "/no"),
        ("transfer.operation_stat", "permission_denied"): lambda: refusal(client.operation_stat, there, "/.."),
        ("transfer.operation_mkdir", "default"): lambda: client.operation_mkdir(there, f"{here}/new").data,
        ("transfer.operation_rename", "default"): lambda: client.operation_rename(there, f"{here}/a", f"{here}/z").data,
        ("transfer.get_endpoint", "default"): lambda: client.get_endpoint(there).data,
        ("transfer.submit_delete", "default"): lambda: client.submit_delete(slow).data,
        ("transfer.endpoint_manager_task_successful_transfers", "default"): lambda: {
            **client.task_successful_transfers(task_id).data,
            "next_marker": 1,
        },
    }


def test_documents_have_the_keys_and_types_of_those_that_globus_sdk_ships(documents):
    for (name, case), ask in documents.items():
        expected, ours = shipped(name, case), ask()
        same_shape(expected, ours, f"{name} {case}")
        for fixed in ("DATA_TYPE", "code"):
            if fixed in expected:
                assert ours[fixed] == expected[fixed]


def test_task_document_has_every_field_of_the_api(world):
    client = world.client()
    task = ended(client, world.submit("a", verify_checksum=True, preserve_timestamp=True))
    more = ["DATA_TYPE", "bytes_checksummed", "files_skipped", "nice_status_details", "source_local_user"]
    assert set(more) <= set(task)
    assert (task["is_ok"], task["nice_status"], task["nice_status_short_description"]) == (None, None, None)
    assert task["request_time"].endswith("+00:00")
    assert (task["files"], task["files_transferred"], task["bytes_transferred"], task["subtasks_total"]) == (1, 1, 5, 2)


# Transfers.


def test_bytes_arrive_with_parents_times_and_records(world):
    client, content = world.client(), os.urandom(3_000_001)
    world.file("d/e/big", content)
    world.file("empty", b"")
    os.utime(world.nersc / "d/e/big", ns=(1, 1_600_000_000_123_456_789))
    task_id = world.submit("d/e/big", "empty", verify_checksum=True, preserve_timestamp=True)
    assert ended(client, task_id)["status"] == "SUCCEEDED"
    assert (world.tacc / "d/e/big").read_bytes() == content
    assert (world.tacc / "empty").read_bytes() == b""
    assert (world.tacc / "d/e/big").stat().st_mtime_ns == 1_600_000_000_123_456_789
    assert records(client, task_id) == [
        {
            "DATA_TYPE": "successful_transfer",
            "source_path": f"/{world.name}/{name}",
            "destination_path": f"/{world.name}/{name}",
            "size": len(data),
            "checksum": hashlib.md5(data).hexdigest(),
            "checksum_algorithm": "MD5",
            "dynamic": False,
        }
        for name, data in (("d/e/big", content), ("empty", b""))
    ]
    assert codes(client, task_id) == ["SUCCEEDED", "STARTED"]


@pytest.mark.parametrize("algorithm", ["SHA1", "SHA256", "SHA512", "ADLER32"])
def test_checksum_algorithms(world, algorithm):
    content = b"some bytes"
    world.file("a", content)
    right = (
        f"{zlib.adler32(content):08x}"
        if algorithm == "ADLER32"
        else hashlib.new(algorithm.lower(), content).hexdigest()
    )
    client = world.client()
    task_id = world.submit("a", checksum_algorithm=algorithm, external_checksum=right)
    assert ended(client, task_id)["status"] == "SUCCEEDED"
    (record,) = records(client, task_id)
    assert (record["checksum_algorithm"], record["checksum"]) == (algorithm, right)


def test_a_wrong_external_checksum_fails_the_whole_task(world):
    client = world.client()
    task = ended(client, world.submit("a", external_checksum="0" * 32))
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "VERIFY_CHECKSUM")
    assert records(client, task["task_id"]) == []


def test_an_algorithm_that_a_collection_lacks_keeps_the_task_in_trouble(world):
    globus_settings.change_collection(world.root, world.destination, checksums=["MD5"])
    client = world.client()
    task_id = world.submit("a", verify_checksum=True, checksum_algorithm="SHA512")
    task = health(client, task_id, "ENDPOINT_ERROR")
    assert task["status"] == "ACTIVE"
    assert "unsupported algorithm" in client.task_event_list(task_id).data["DATA"][0]["details"]
    assert refused(client.submit_transfer, world.order("a", checksum_algorithm="CRC32")) == (
        400,
        "ClientError.BadRequest",
    )


def test_recursive_items_filters_and_skipped_links(world):
    client = world.client()
    for name in ("d/keep", "d/sub/deep", "d/drop.tmp"):
        world.file(name)
    (world.nersc / "d/link").symlink_to("keep")
    order = globus_sdk.TransferData(world.source, world.destination)
    order.add_filter_rule("*.tmp", type="file")
    order.add_item(f"/{world.name}/d/", f"/{world.name}/d/", recursive=True)
    task = ended(client, client.submit_transfer(order)["task_id"])
    assert {path.name for path in world.tacc.rglob("*")} == {"d", "sub", "keep", "deep"}
    assert (task["files"], task["directories"], task["symlinks"]) == (2, 2, 1)
    automatic = globus_sdk.TransferData(world.source, world.destination)
    automatic.add_item(f"/{world.name}/d", f"/{world.name}/again")
    assert ended(client, client.submit_transfer(automatic)["task_id"])["files_transferred"] == 3


@pytest.mark.parametrize(
    ("level", "there", "skipped"),
    [("exists", b"x", 1), ("size", b"WRONG", 1), ("size", b"x", 0), ("mtime", b"x", 1), ("checksum", b"WRONG", 0)],
)
def test_sync_levels_skip_as_they_say(world, level, there, skipped):
    client = world.client()
    world.file("a", b"right")
    world.tacc.mkdir(exist_ok=True)
    (world.tacc / "a").write_bytes(there)
    task = ended(client, world.submit("a", sync_level=level))
    assert (task["status"], task["files_skipped"], task["files_transferred"]) == ("SUCCEEDED", skipped, 1 - skipped)
    assert len(records(client, task["task_id"])) == 1 - skipped
    assert (world.tacc / "a").read_bytes() == (there if skipped else b"right")


def test_thousands_of_small_files_go_quickly(world):
    client, names = world.client(), [f"f{number}" for number in range(2000)]
    for name in names:
        world.file(name, name.encode())
    begin = time.monotonic()
    task = ended(client, world.submit(*names, verify_checksum=True))
    assert time.monotonic() - begin < 60  # takes 0.5 s where nobody else is at work
    assert task["files_transferred"] == len(records(client, task["task_id"])) == 2000


def test_successful_transfers_come_in_pages(world):
    globus_settings.change(world.root, page_size=3)
    client, names = world.client(), [f"f{number}" for number in range(8)]
    task_id = world.submit(*names)
    assert ended(client, task_id)["status"] == "SUCCEEDED"
    pages = list(client.paginated.task_successful_transfers(task_id))
    assert [len(page["DATA"]) for page in pages] == [3, 3, 2]
    assert pages[-1]["next_marker"] is None


def test_deletes(world):
    client = world.client()
    ended(client, world.submit("d/a", "d/b"))
    order = globus_sdk.DeleteData(world.destination, recursive=True)
    order.add_item(f"/{world.name}/d")
    task = ended(client, client.submit_delete(order)["task_id"])
    assert (task["type"], task["status"]) == ("DELETE", "SUCCEEDED")
    assert not (world.tacc / "d").exists()
    assert (world.nersc / "d/a").exists()


# Submitting.


def test_a_submission_id_is_accepted_once(world):
    client = world.client()
    world.file("a")
    order = world.order("a")
    first = client.submit_transfer(order)
    again = client.submit_transfer(order)
    assert (first.http_status, first["code"], again.http_status, again["code"]) == (202, "Accepted", 200, "Duplicate")
    assert first["task_id"] == again["task_id"]
    foreign = world.order("a", submission_id="5c9bd3a2-0000-4000-8000-000000000000")
    assert refused(client.submit_transfer, foreign) == (400, "ClientError.BadRequest")


def test_identical_paths_conflict_while_the_first_task_lives(world):
    globus_settings.change(world.root, seconds_per_task=30)
    client = world.client()
    first = world.submit("a", "b")
    with pytest.raises(globus_sdk.TransferAPIError) as caught:
        client.submit_transfer(world.order("b", "a"))
    assert (caught.value.http_status, caught.value.code) == (409, "Conflict")
    assert caught.value.message == "A transfer with identical paths has not yet completed"
    client.cancel_task(first)
    globus_settings.change(world.root, seconds_per_task=0)
    assert ended(client, world.submit("b", "a"))["status"] == "SUCCEEDED"


def test_three_tasks_at_once_the_others_queue_and_the_pending_are_capped(world):
    globus_settings.change(world.root, seconds_per_task=30, pending_cap=5)
    client = world.client()
    tasks = [world.submit(f"f{number}") for number in range(5)]
    until(lambda: [client.get_task(task)["nice_status"] for task in tasks] == ["OK"] * 3 + ["Queued"] * 2)
    assert {client.get_task(task)["status"] for task in tasks} == {"ACTIVE"}
    assert refused(client.submit_transfer, world.order("one-more")) == (409, "ClientError.Conflict.TooManyPendingJobs")
    for task in tasks:
        client.cancel_task(task)


@pytest.mark.parametrize("label", ["x" * 129, " x", "a\nb"])
def test_bad_labels(world, label):
    assert refused(world.client().submit_transfer, world.order("a", label=label)) == (400, "ClientError.BadRequest")


def test_unknown_endpoints_and_tasks(world):
    client, nobody = world.client(), "5c9bd3a2-0000-4000-8000-000000000000"
    assert refused(client.submit_transfer, globus_sdk.TransferData(nobody, nobody)) == (
        400,
        "ClientError.BadRequest.NoTransferItems",
    )
    order = globus_sdk.TransferData(world.source, nobody)
    order.add_item("/a", "/a")
    assert refused(client.submit_transfer, order) == (404, "EndpointNotFound")
    assert refused(client.operation_ls, nobody) == (404, "EndpointNotFound")
    assert refused(client.get_task, nobody) == (404, "ClientError.NotFound")


# Looking.


def test_task_list_filters_orders_and_pages(world):
    client = world.client()
    tasks = [world.submit(f"f{number}", label=f"{world.name}.{number}") for number in range(3)]
    for task in tasks:
        ended(client, task)
    (only,) = client.task_list(filter={"label": f"{world.name}.1"})
    assert only["task_id"] == tasks[1]
    ours = {"filter": {"label": f"~{world.name}.*", "status": ["SUCCEEDED", "ACTIVE"], "type": "TRANSFER"}}
    assert {task["task_id"] for task in client.task_list(**ours)} == set(tasks)
    page = client.task_list(**ours, limit=2, offset=1, orderby="label ASC")
    assert ([task["label"] for task in page], page["total"]) == ([f"{world.name}.1", f"{world.name}.2"], 3)
    assert list(client.paginated.task_list(**ours).items())
    short = client.task_list(**ours, query_params={"fields": "task_id"})
    assert [set(task) for task in short] == [{"task_id"}] * 3
    client.post(f"/v0.10/task/{tasks[0]}/remove")
    assert len(list(client.task_list(**ours))) == 2


def test_event_list_pages_and_filters(world):
    client = world.client()
    world.fault("fault", path=f"/{world.name}/*", code="CONNECTION_RESET", times=4)
    task_id = world.submit("a")
    assert ended(client, task_id)["faults"] == 4
    assert codes(client, task_id) == ["SUCCEEDED", *["CONNECTION_RESET"] * 4, "STARTED"]
    errors = client.task_event_list(task_id, limit=2, offset=1, query_params={"filter": "is_error:1"})
    assert ([event["is_error"] for event in errors], errors["total"]) == ([True, True], 4)


def test_ls_shows_orders_and_pages(world):
    for name in ("b", "a", ".hidden", "d/x"):
        world.file(name, name.encode())
    client, here = world.client(), f"/{world.name}"
    everything = client.operation_ls(world.source, path=here)
    assert [entry["name"] for entry in everything] == [".hidden", "a", "b", "d"]
    assert everything["absolute_path"] == f"{here}/"
    shown = client.operation_ls(world.source, path=here, show_hidden=False, orderby="name DESC", limit=2, offset=1)
    assert ([entry["name"] for entry in shown], shown["total"]) == (["b", "a"], 3)
    (only,) = client.operation_ls(world.source, path=here, filter={"name": "~.hid*", "type": "file"})
    assert (only["size"], only["permissions"][-3:], only["last_modified"][-6:]) == (7, "644", "+00:00")
    assert refused(client.operation_ls, world.source, path=f"{here}/no") == (404, "ClientError.NotFound")
    bad = refused(client.operation_ls, world.source, path=f"{here}/a")
    assert bad == (502, "ExternalError.DirListingFailed.NotDirectory")


def test_nothing_outside_a_collection_is_seen_or_written(world, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    world.file("a")
    (world.nersc / "out").symlink_to(tmp_path)
    (world.nersc / "leaf").symlink_to(tmp_path / "secret")
    (world.nersc / "inside").symlink_to(world.nersc / "a")
    client, here = world.client(), f"/{world.name}"
    for path in (f"{here}/../..", f"{here}/out", "/../etc"):
        assert refused(client.operation_ls, world.source, path=path) == (403, "EndpointPermissionDenied")
    assert refused(client.operation_mkdir, world.source, f"{here}/out/new") == (403, "EndpointPermissionDenied")
    for number, (source, target) in enumerate([("out/secret", "x"), ("leaf", "x"), ("a", "../../../x")]):
        order = globus_sdk.TransferData(world.source, world.destination)
        order.add_item(f"{here}/{source}", f"{here}/{target}{number}")
        task_id = client.submit_transfer(order)["task_id"]
        health(client, task_id, "PERMISSION_DENIED")
        client.cancel_task(task_id)
    order = globus_sdk.TransferData(world.source, world.destination)
    order.add_item(f"{here}/inside", f"{here}/inside")
    assert ended(client, client.submit_transfer(order)["task_id"])["status"] == "SUCCEEDED"
    assert [path.name for path in world.tacc.iterdir()] == ["inside"]
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_endpoint_search_and_collection_flags(world):
    client = world.client()
    assert [each["id"] for each in client.endpoint_search("ranch")] == [world.destination]
    endpoint = client.get_endpoint(world.source)
    assert (endpoint["entity_type"], endpoint["force_verify"]) == ("GCSv5_mapped_collection", False)


# How tasks fare.


def test_a_missing_source_keeps_the_task_active_until_it_appears(world):
    client = world.client()
    world.file("here")
    task_id = client.submit_transfer(world.order("missing", "here"))["task_id"]
    health(client, task_id, "FILE_NOT_FOUND")
    # The missing file may be met before the other one is over.
    task = until(lambda: (task := client.get_task(task_id).data)["files_transferred"] and task)
    assert (task["status"], task["files_transferred"], task["is_ok"]) == ("ACTIVE", 1, False)
    assert task["faults"] >= 1
    assert records(client, task_id) == []
    world.file("missing")
    assert ended(client, task_id)["status"] == "SUCCEEDED"
    assert len(records(client, task_id)) == 2


def test_source_errors_are_skipped_when_asked_for(world):
    client = world.client()
    world.file("here")
    task_id = client.submit_transfer(world.order("missing", "here", skip_source_errors=True))["task_id"]
    task = ended(client, task_id)
    assert (task["status"], task["subtasks_skipped_errors"]) == ("SUCCEEDED", 1)
    (skipped,) = client.paginated.task_skipped_errors(task_id).items()
    assert (skipped["error_code"], skipped["source_path"]) == ("FILE_NOT_FOUND", f"/{world.name}/missing")


def test_quota_errors_fail_the_task_only_when_asked_for(world):
    client = world.client()
    world.fault("fault", path=f"/{world.name}/*", code="QUOTA_EXCEEDED")
    patient = world.submit("a")
    health(client, patient, "QUOTA_EXCEEDED")
    task = ended(client, world.submit("b", fail_on_quota_errors=True))
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "QUOTA_EXCEEDED")
    client.cancel_task(patient)


def test_cancelling_in_the_middle(world):
    globus_settings.change(world.root, bytes_per_second=200_000)
    client = world.client()
    world.file("big", bytes(1_000_000))
    task_id = world.submit("big")
    until(lambda: client.get_task(task_id)["bytes_transferred"])
    assert client.cancel_task(task_id)["code"] == "Canceled"
    task = client.get_task(task_id)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "CANCELED")
    assert codes(client, task_id)[0] == "CANCELED"
    assert (world.tacc / "big").stat().st_size < 1_000_000
    assert client.cancel_task(task_id)["code"] == "TaskComplete"


def test_a_deadline_is_the_end(world):
    client = world.client()
    past = world.order("missing", deadline="2026-01-01T00:00:00+00:00")
    task = ended(client, client.submit_transfer(past)["task_id"])
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "EXPIRED")


def test_label_and_deadline_can_be_changed_while_a_task_lives(world):
    globus_settings.change(world.root, seconds_per_task=30)
    client = world.client()
    task_id = world.submit("a")
    new = {"DATA_TYPE": "task", "label": "new", "deadline": "2040-01-01T00:00:00+00:00"}
    assert client.update_task(task_id, new)["code"] == "Updated"
    task = client.get_task(task_id)
    assert (task["label"], task["deadline"]) == ("new", "2040-01-01T00:00:00+00:00")
    client.cancel_task(task_id)
    assert refused(client.update_task, task_id, new) == (409, "Conflict")


def test_a_killed_service_goes_on_where_it_was(world):
    globus_settings.change(world.root, bytes_per_second=300_000)
    client, content = world.client(), os.urandom(100_000)
    names = [f"f{number}" for number in range(6)]
    for name in names:
        world.file(name, content)
    order = world.order(*names, verify_checksum=True)
    task_id = client.submit_transfer(order)["task_id"]
    until(lambda: client.get_task(task_id)["files_transferred"] >= 2)
    site.stop_service(world.root, kill=True)
    assert any(path.stat().st_size < 100_000 for path in world.tacc.iterdir()) or len(list(world.tacc.iterdir())) < 6
    site.start_service(world.root)
    globus_settings.change(world.root, bytes_per_second=0)
    assert ended(client, task_id)["status"] == "SUCCEEDED"
    assert [(world.tacc / name).read_bytes() == content for name in names] == [True] * 6
    assert sorted(r["source_path"] for r in records(client, task_id)) == [f"/{world.name}/{name}" for name in names]
    assert client.submit_transfer(order)["code"] == "Duplicate"


# Troubles on demand.


def test_status_faults_count_down_and_are_retried_by_the_sdk(world):
    client = world.client()
    world.fault("status", verb="task_list", status=429, retry_after=0, times=1)
    world.fault("status", verb="task_list", status=503, times=1)
    client.task_list()
    statuses = [line["status"] for line in world.log("request") if line["verb"] == "task_list"]
    assert statuses[-2:] in ([503, 200], [429, 200])
    world.fault("status", verb="ls", status=502, code="ExternalError.DirListingFailed.LoginFailed")
    before = len(world.log("request"))
    assert refused(client.operation_ls, world.source) == (502, "ExternalError.DirListingFailed.LoginFailed")
    assert len(world.log("request")) == before + 1


def test_a_retry_after_header_is_sent(world):
    world.fault("status", verb="submission_id", status=429, retry_after=7)
    with pytest.raises(globus_sdk.TransferAPIError) as caught:
        world.client(retries=0).get_submission_id()
    assert (caught.value.http_status, caught.value.headers["Retry-After"]) == (429, "7")


def test_an_answer_dropped_after_acting_makes_a_duplicate(world):
    world.file("a")
    world.fault("drop_after", verb="transfer", label=world.name, times=1)
    answer = world.client().submit_transfer(world.order("a"))
    assert answer["code"] == "Duplicate"
    assert [line["task_id"] for line in world.log("accepted")][-1] == answer["task_id"]


def test_a_request_dropped_before_acting_did_nothing(world):
    world.file("a")
    accepted = len(world.log("accepted"))
    world.fault("drop_before", verb="transfer", path=f"/{world.name}/a")
    with pytest.raises(globus_sdk.NetworkError):
        world.client(retries=0).submit_transfer(world.order("a"))
    assert len(world.log("accepted")) == accepted


def test_the_nth_match_and_counts_that_survive_a_restart(world):
    client = world.client(retries=0)
    world.fault("status", verb="stat", path=f"/{world.name}/*", status=500, nth=3)
    world.file("a")

    def ask():
        try:
            return client.operation_stat(world.source, f"/{world.name}/a").http_status
        except globus_sdk.TransferAPIError as error:
            return error.http_status

    assert [ask(), ask()] == [200, 200]
    site.stop_service(world.root, kill=True)
    site.start_service(world.root)
    assert [ask(), ask()] == [500, 200]


def test_delays(world):
    world.fault("delay", verb="submission_id", seconds=0.3, times=1)
    begin = time.monotonic()
    world.client().get_submission_id()
    assert time.monotonic() - begin >= 0.3


def test_inactive_and_paused_tasks_go_on_when_the_rule_goes(world):
    client = world.client()
    rules = [world.fault(what, label=f"{world.name}.{what}") for what in ("inactive", "paused")]
    inactive = world.submit("a", label=f"{world.name}.inactive")
    paused = world.submit("b", label=f"{world.name}.paused")
    until(lambda: client.get_task(inactive)["status"] == "INACTIVE")
    task = health(client, paused, "PAUSED_BY_ADMIN")
    assert (task["status"], task["is_paused"]) == ("ACTIVE", True)
    assert client.task_pause_info(paused)["destination_pause_message"] == "paused for maintenance"
    for rule in rules:
        globus_faults.remove(world.root, rule)
    assert ended(client, inactive)["status"] == ended(client, paused)["status"] == "SUCCEEDED"
    assert codes(client, paused) == ["SUCCEEDED", "UNPAUSED", "PAUSED", "STARTED"]


def test_a_task_fails_with_some_files_delivered(world):
    client = world.client()
    world.fault("fail", label=world.name, after_files=2, code="ENDPOINT_TOO_BUSY", description="too busy")
    task = ended(client, world.submit("a", "b", "c", "d"))
    assert (task["status"], task["fatal_error"]) == (
        "FAILED",
        {"code": "ENDPOINT_TOO_BUSY", "description": "too busy"},
    )
    assert len(records(client, task["task_id"])) == task["files_transferred"] == 2


def test_a_task_cancelled_by_the_administrator(world):
    client = world.client()
    world.fault("cancel_by_admin", label=world.name, side="SOURCE", message="no")
    task = ended(client, world.submit("a"))
    assert (task["status"], task["canceled_by_admin"], task["canceled_by_admin_message"]) == ("FAILED", "SOURCE", "no")


@pytest.mark.parametrize("what", ["corrupt_wire", "truncate_wire", "flip_landed", "cut_landed", "zeros_landed"])
def test_damage_on_the_wire_or_before_it_is_read_back_is_seen_by_verification_only(world, what):
    client = world.client()
    world.fault(what, path=f"/{world.name}/*", times=1)
    task = ended(client, world.submit("a", verify_checksum=True))
    assert (task["status"], task["faults"], task["bytes_transferred"]) == ("SUCCEEDED", 1, 10)
    assert "VERIFY_CHECKSUM" in codes(client, task["task_id"])
    assert (world.tacc / "a").read_bytes() == b"hello"
    world.fault(what, path=f"/{world.name}/*", times=1)
    assert ended(client, world.submit("b"))["faults"] == 0
    assert (world.tacc / "b").read_bytes() != b"hello"


def test_damage_that_stays_makes_faults_without_end(world):
    client = world.client()
    world.fault("corrupt_wire", path=f"/{world.name}/*")
    task_id = world.submit("a", verify_checksum=True)
    assert health(client, task_id, "VERIFY_CHECKSUM")["status"] == "ACTIVE"
    until(lambda: client.get_task(task_id)["faults"] > 6)
    client.cancel_task(task_id)


@pytest.mark.parametrize(
    ("what", "left"), [("corrupt_after", b"he\x93lo"), ("truncate_after", b"he"), ("vanish_after", None)]
)
def test_damage_after_verification_is_told_to_nobody(world, what, left):
    client = world.client()
    world.fault(what, path=f"/{world.name}/*")
    task = ended(client, world.submit("a", verify_checksum=True))
    assert (task["status"], task["faults"], len(records(client, task["task_id"]))) == ("SUCCEEDED", 0, 1)
    assert ((world.tacc / "a").read_bytes() if left else None) == left


def test_false_records(world):
    client, md5 = world.client(), hashlib.md5(b"hello").hexdigest()
    names = ["missing", "wrong_size", "wrong_checksum", "without_checksum", "right"]
    for name in names[:4]:
        world.fault(f"record_{name}", path=f"*/{name}")
    task_id = world.submit(*names, verify_checksum=True)
    assert ended(client, task_id)["files_transferred"] == 5
    told = {r["source_path"].split("/")[-1]: (r["size"], r["checksum"]) for r in records(client, task_id)}
    assert told == {
        "wrong_size": (6, md5),
        "wrong_checksum": (5, md5[::-1]),
        "without_checksum": (5, None),
        "right": (5, md5),
    }


def test_a_forgotten_task(world):
    client = world.client()
    task_id = world.submit("a")
    ended(client, task_id)
    world.fault("forget", label=world.name)
    assert refused(client.get_task, task_id) == (404, "ClientError.NotFound")
    assert list(client.task_list(filter={"label": world.name})) == []


def test_rules_and_settings_that_make_no_sense_change_nothing(world):
    with pytest.raises(ValueError, match="not a rule"):
        world.fault("explode")
    (world.root / "globus/faults.json").write_text('[{"what": "explode"}]')
    keep = (world.root / "globus/settings.json").read_text()
    (world.root / "globus/settings.json").write_text("{")
    world.client().get_submission_id()
    assert world.log("faults_refused")
    assert world.log("settings_refused")
    (world.root / "globus/settings.json").write_text(keep)


# Tokens.


def test_expired_tokens_are_renewed_by_the_sdk(world):
    client = world.client()
    client.get_submission_id()
    world.fault("expired_token", verb="submission_id", times=1)
    client.get_submission_id()
    statuses = [line["status"] for line in world.log("request") if line["verb"] in {"submission_id", "token"}]
    assert statuses[-3:] == [401, 200, 200]


def test_tokens_end_when_the_settings_say(world):
    globus_settings.change(world.root, token_seconds=0.2)
    auth = globus_sdk.ConfidentialAppAuthClient(world.settings.client_id, world.settings.client_secret)
    scope = globus_sdk.TransferClient.scopes.all
    token = auth.oauth2_client_credentials_tokens(scope).by_resource_server["transfer.api.globus.org"]["access_token"]
    client = globus_sdk.TransferClient(authorizer=globus_sdk.AccessTokenAuthorizer(token))
    client.get_submission_id()
    time.sleep(0.25)
    assert refused(client.get_submission_id) == (401, "AuthenticationFailed")


def test_a_wrong_secret_is_refused(world):
    auth = globus_sdk.ConfidentialAppAuthClient(world.settings.client_id, "guess")
    with pytest.raises(globus_sdk.AuthAPIError) as caught:
        auth.oauth2_client_credentials_tokens(globus_sdk.TransferClient.scopes.all)
    assert caught.value.http_status == 401


def test_many_scopes_make_other_tokens(world):
    auth = globus_sdk.ConfidentialAppAuthClient(world.settings.client_id, world.settings.client_secret)
    scopes = [globus_sdk.TransferClient.scopes.all, "openid", "urn:globus:auth:scope:groups.api.globus.org:all"]
    tokens = auth.oauth2_client_credentials_tokens(scopes).by_resource_server
    assert set(tokens) == {"transfer.api.globus.org", "auth.globus.org", "groups.api.globus.org"}
    same_shape(shipped("auth.oauth2_client_credentials_tokens"), auth.oauth2_client_credentials_tokens("openid").data)
    with pytest.raises(globus_sdk.AuthAPIError):
        auth.oauth2_client_credentials_tokens("urn:nobody:knows")


def test_consent_is_asked_for_and_given(world):
    globus_settings.change_collection(world.root, world.destination, data_access=True)
    with pytest.raises(globus_sdk.TransferAPIError) as caught:
        world.client().operation_ls(world.destination)
    assert (caught.value.http_status, caught.value.code) == (403, "ConsentRequired")
    (scope,) = caught.value.info.consent_required.required_scopes
    assert scope == (
        "urn:globus:auth:scope:transfer.api.globus.org:all"
        f"[*https://auth.globus.org/scopes/{world.destination}/data_access]"
    )
    world.file("a")
    assert refused(world.client().submit_transfer, world.order("a")) == (403, "ConsentRequired")
    redriven = world.client(app=world.app(auto_redrive_gares=True))
    redriven.operation_ls(world.destination)
    prepared = world.client()
    prepared.add_app_data_access_scope(world.destination)
    assert ended(prepared, world.submit("a", client=prepared))["status"] == "SUCCEEDED"
    wrong = world.client()
    wrong.add_app_data_access_scope(world.source)
    with pytest.raises(globus_sdk.AuthAPIError):
        wrong.get_submission_id()


def test_a_person_logs_in_refreshes_and_logs_out(world, tmp_path):
    class WithoutBrowser(CommandLineLoginFlowManager):
        def print_authorize_url(self, authorize_url):
            self.url = authorize_url

        def prompt_for_code(self):
            with urllib.request.urlopen(self.url) as answer:
                return answer.read().decode().strip()

    storage = globus_sdk.token_storage.JSONTokenStorage(tmp_path / "tokens.json")

    def app():
        login_client = globus_sdk.NativeAppAuthClient(world.settings.native_client_id)
        config = globus_sdk.GlobusAppConfig(
            token_storage=storage,
            request_refresh_tokens=True,
            login_flow_manager=WithoutBrowser(login_client, request_refresh_tokens=True),
        )
        return globus_sdk.UserApp("person", login_client=login_client, config=config)

    globus_settings.change_collection(world.root, world.destination, data_access=True)
    client = world.client(app=app())
    client.add_app_data_access_scope(world.destination)
    task_id = world.submit("a", client=client)
    assert client.get_task(task_id)["owner_id"] == world.settings.user_id
    ended(client, task_id)
    assert refused(world.client().get_task, task_id) == (404, "ClientError.NotFound")

    # A second process finds the tokens, and renews an expired one without anybody's help.
    world.fault("expired_token", verb="task", times=1)
    again = app()
    second = world.client(app=again)
    second.add_app_data_access_scope(world.destination)
    assert second.get_task(task_id)["status"] == "SUCCEEDED"
    whole = globus_sdk.AuthClient(app=again)
    assert whole.userinfo()["preferred_username"] == world.settings.user_name
    again.logout()
    assert again.login_required()


def test_a_login_redirects_to_this_machine_only(world):
    auth = globus_sdk.NativeAppAuthClient(world.settings.native_client_id)
    auth.oauth2_start_flow(requested_scopes="openid", redirect_uri="http://127.0.0.1:9/back")

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments):
            return None

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.build_opener(Stay).open(auth.oauth2_get_authorize_url())
    assert caught.value.headers["Location"].startswith("http://127.0.0.1:9/back?code=")
    auth.oauth2_start_flow(requested_scopes="openid", redirect_uri="https://example.org/back")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(auth.oauth2_get_authorize_url())


def test_the_rate_of_requests_can_be_limited(world):
    globus_settings.change(world.root, requests_per_10_seconds=1)
    client = world.client(retries=0)
    client.get_submission_id()
    with pytest.raises(globus_sdk.TransferAPIError) as caught:
        client.get_submission_id()
    assert (caught.value.http_status, caught.value.headers["Retry-After"]) == (429, "1")


# The process and both sites.


def test_the_service_listens_on_this_machine_only(tmp_path):
    command = [sys.executable, "-m", "tacc_sync.testbed.globus_main", "--root", str(tmp_path), "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "127.0.0.1 only" in done.stderr) == (64, True)


def test_up_twice_is_an_error_and_down_then_up_goes_on(world):
    client = world.client()
    task_id = world.submit("a")
    ended(client, task_id)
    with pytest.raises(site.SiteError, match="up already"):
        site.up(world.root)
    url, before = site.service_url(world.root), site.environment(world.root)
    assert site.down(world.root)
    assert not site.down(world.root)
    again = site.up(world.root)
    assert (again.url, dict(again.environment), again.hpss) == (url, before, None)
    assert client.get_task(task_id)["status"] == "SUCCEEDED"


def test_a_site_needs_data_the_first_time(tmp_path):
    with pytest.raises(site.SiteError, match="no tapes yet"):
        site.up(tmp_path / "new")
    with pytest.raises(site.SiteError, match="never been up"):
        site.environment(tmp_path / "new")


def test_the_environment_leads_to_both_sites_and_nowhere_else(world, tmp_path):
    environment = site.environment(world.root)
    done = subprocess.run(
        [environment["TACC_SYNC_HSI"], "-q", f"ls -1 {environment['HPSS_BASE_PATH']}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "run.dat" in done.stdout + done.stderr
    assert [os.fsdecode(entry.path) for entry in hpss_site.entries_of(world.root)] == ["/home/projects/demo/run.dat"]
    buffer = os.path.relpath(environment["TRANSFER_DIR"], world.root / "nersc")
    assert f"/{buffer}" == environment["TACC_SYNC_BUFFER_GLOBUS_PATH"]
    forgetful = {key: value for key, value in os.environ.items() if not key.startswith("GLOBUS_SDK_SERVICE_URL")}
    code = "import globus_sdk; globus_sdk.NativeAppAuthClient('x').get('/')"
    lost = subprocess.run([sys.executable, "-c", code], env=forgetful, capture_output=True, text=True, check=False)
    assert lost.returncode
    assert "tacc-sync-testbed" in lost.stderr


def test_a_task_is_in_the_journal_as_it_is_in_memory(tmp_path):
    journal = globus_journal.Journal(tmp_path / "state.db")
    task = globus_journal.Task("t", "s", "o", "TRANSFER", {"label": "x"}, "p", 1.0, 2.0, hard_deadline=False)
    task.items = [{"source_path": "/a"}]
    journal.accept(task)
    task.faults = 3
    journal.save(task, [globus_journal.event("STARTED")])
    assert journal.tasks() == [task]
    assert journal.issued("s") == (True, "t")
    assert journal.issued("other") == (False, None)
    journal.close()

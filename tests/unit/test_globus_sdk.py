"""GlobusSdk against canned answers: what it sends, what it reads, whose fault it says an error is."""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import parse_qs

import pytest
import requests
import responses
from globus_sdk.testing import get_response_set

from tacc_sync.outside.globus.interface import (
    Accepted,
    IdenticalPaths,
    Item,
    NoSuchDirectory,
    Order,
    RemoteEntry,
    UnknownTask,
)
from tacc_sync.outside.globus.login import ClientCredentials
from tacc_sync.outside.globus.sdk import GlobusSdk
from tacc_sync.rules.faults import Fault, OperatorFault, WorkFault, WorldFault

SECRET = "s3cr3t-of-the-client"
ACCESS = "agAccessTokenOfOurs"
AUTH = "https://auth.globus.org/v2/oauth2/token"
API = "https://transfer.api.globus.org/v0.10"
SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
DATA_ACCESS = f"{SCOPE}[*https://auth.globus.org/scopes/coll/data_access]"

TASK = {
    "DATA_TYPE": "task",
    "task_id": "t1",
    "type": "TRANSFER",
    "status": "ACTIVE",
    "label": "u.1",
    "request_time": "2026-11-22T10:00:00+00:00",
    "completion_time": None,
    "deadline": "2026-11-23T10:00:00+00:00",
    "is_paused": False,
    "faults": 2,
    "fatal_error": None,
    "files": 3,
    "files_transferred": 1,
    "files_skipped": 0,
    "bytes_transferred": 10,
    "bytes_checksummed": 5,
    "nice_status": "FILE_NOT_FOUND",
    "nice_status_short_description": "file not found",
    "nice_status_details": "550 \x1b[31mno such file\r\n",
    "canceled_by_admin": None,
    "history_deleted": False,
}


def token(scope: str = SCOPE, access: str = ACCESS) -> dict[str, object]:
    return {
        "access_token": access,
        "scope": scope,
        "expires_in": 172800,
        "token_type": "Bearer",
        "resource_server": "transfer.api.globus.org",
        "other_tokens": [],
    }


@pytest.fixture
def service(monkeypatch):
    """The canned service; nobody sleeps."""
    for name in ("GLOBUS_SDK_SERVICE_URL_AUTH", "GLOBUS_SDK_SERVICE_URL_TRANSFER", "GLOBUS_SDK_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.post(AUTH, json=token())
        yield mock


@pytest.fixture
def globus():
    return GlobusSdk(ClientCredentials("client-id", SECRET))


def error(code: str, message: str = "what happened", **more):
    return {"code": code, "message": message, "request_id": "rQ1", "resource": "/x", **more}


ORDER = Order("sub-1", "u.1", "src", "dst", [Item("/a/x", "/b/x", "ab" * 64, "sha512"), Item("/a/y", "/b/y")])


# What is sent


def test_a_submit_says_all_that_matters(service, globus):
    sent = service.post(f"{API}/transfer", json={"code": "Accepted", "task_id": "t1"})
    assert Accepted("t1", duplicate=False) == globus.submit(ORDER)
    body = json.loads(sent.calls[0].request.body)
    items = body.pop("DATA")
    assert body == {
        "DATA_TYPE": "transfer",
        "source_endpoint": "src",
        "destination_endpoint": "dst",
        "label": "u.1",
        "submission_id": "sub-1",
        "verify_checksum": True,
        "preserve_timestamp": True,
        "encrypt_data": False,
        "skip_source_errors": False,
        "fail_on_quota_errors": True,
        "notify_on_succeeded": False,
        "notify_on_failed": False,
        "notify_on_inactive": False,
    }
    assert items[0] == {
        "DATA_TYPE": "transfer_item",
        "source_path": "/a/x",
        "destination_path": "/b/x",
        "recursive": False,
        "external_checksum": "ab" * 64,
        "checksum_algorithm": "SHA512",
    }
    assert {"DATA_TYPE", "source_path", "destination_path", "recursive"} == set(items[1])


def test_encryption_is_a_setting(service):
    sent = service.post(f"{API}/transfer", json={"code": "Accepted", "task_id": "t1"})
    GlobusSdk(ClientCredentials("client-id", SECRET), encrypt=True).submit(ORDER)
    assert json.loads(sent.calls[0].request.body)["encrypt_data"] is True


def test_a_submit_without_files_is_our_bug(service, globus):
    with pytest.raises(AssertionError):
        globus.submit(Order("s", "l", "a", "b", []))


def test_a_duplicate_is_accepted(service, globus):
    service.post(f"{API}/transfer", json={"code": "Duplicate", "task_id": "t1"})
    assert Accepted("t1", duplicate=True) == globus.submit(ORDER)


def test_a_lost_reply_repeats_the_same_submission(service, globus):
    service.post(f"{API}/transfer", body=requests.ConnectionError("reset by peer"))
    again = service.post(f"{API}/transfer", json={"code": "Duplicate", "task_id": "t1"})
    assert globus.submit(ORDER).duplicate
    assert json.loads(again.calls[0].request.body)["submission_id"] == "sub-1"


def test_the_recorded_answers_of_the_service_are_understood(service, globus):
    get_response_set("transfer.get_submission_id").lookup("default").add(requests_mock=service)
    get_response_set("transfer.submit_transfer").lookup("default").add(requests_mock=service)
    expected = get_response_set("transfer.submit_transfer").lookup("default").metadata
    assert globus.new_submission_id()
    assert globus.submit(ORDER).task_id == expected["task_id"]


def test_the_recorded_refusal_is_the_works_fault(service, globus):
    get_response_set("transfer.submit_transfer").lookup("failure").add(requests_mock=service)
    with pytest.raises(WorkFault, match="NoTransferItems") as caught:
        globus.submit(ORDER)
    assert caught.value.code == "GLOBUS-REFUSED"


def test_a_recorded_endpoint_is_understood(service, globus):
    recorded = get_response_set("transfer.get_endpoint").lookup("default").add(requests_mock=service)
    about = globus.collection(recorded.metadata["endpoint_id"])
    assert about.display_name == "myserver"
    assert about.collection_id == recorded.metadata["endpoint_id"]


# Whose fault an error is

AWAY = ["GLOBUS-AWAY", WorldFault]
ERRORS = [
    (500, error("InternalError"), *AWAY),
    (502, error("BadGateway"), *AWAY),
    (503, error("ServiceUnavailable", "maintenance"), *AWAY),
    (504, "<html>gateway</html>", *AWAY),
    (408, error("RequestTimeout"), *AWAY),
    (429, error("TooManyRequests"), "GLOBUS-BUSY", WorldFault),
    (429, "slow down", "GLOBUS-BUSY", WorldFault),
    (409, error("ClientError.Conflict.TooManyPendingJobs"), "GLOBUS-TOO-MANY-PENDING", WorldFault),
    (403, error("TooManyPendingJobs"), "GLOBUS-TOO-MANY-PENDING", WorldFault),
    (401, error("AuthenticationFailed"), "GLOBUS-CREDENTIALS", OperatorFault),
    (401, "no", "GLOBUS-CREDENTIALS", OperatorFault),
    (403, error("PermissionDenied"), "GLOBUS-PERMISSION", OperatorFault),
    (403, error("EndpointPermissionDenied"), "GLOBUS-PERMISSION", OperatorFault),
    (
        502,
        error("ExternalError.DirListingFailed", "v=1 c=PERMISSION_DENIED"),
        "GLOBUS-PERMISSION",
        OperatorFault,
    ),
    (404, error("EndpointNotFound"), "GLOBUS-COLLECTION", OperatorFault),
    (404, error("ClientError.NotFound", "No such endpoint 'x'"), "GLOBUS-COLLECTION", OperatorFault),
    (502, error("ExternalError.DirListingFailed.LoginFailed"), "GLOBUS-CREDENTIALS", OperatorFault),
    (502, error("ExternalError.DirListingFailed.GCDisconnected"), "GLOBUS-COLLECTION-AWAY", WorldFault),
    (503, error("EndpointError"), "GLOBUS-COLLECTION-AWAY", WorldFault),
    (400, error("ClientError.BadRequest"), "GLOBUS-REFUSED", WorkFault),
    (409, error("ClientError.Conflict.Other"), "GLOBUS-REFUSED", WorkFault),
    (413, error("PayloadTooLarge"), "GLOBUS-REFUSED", WorkFault),
    (404, "<html>proxy</html>", "GLOBUS-STRANGE-ANSWER", WorldFault),
    (403, "<html>proxy</html>", "GLOBUS-STRANGE-ANSWER", WorldFault),
    (407, error("ProxyAuthenticationRequired"), "GLOBUS-STRANGE-ANSWER", WorldFault),
    (418, [1, 2], "GLOBUS-STRANGE-ANSWER", WorldFault),
    (502, [1, 2], "GLOBUS-STRANGE-ANSWER", WorldFault),
]


@pytest.mark.parametrize(("status", "body", "code", "fault"), ERRORS)
def test_errors_of_the_service(service, globus, status, body, code, fault):
    content = {"body": body} if isinstance(body, str) else {"json": body}
    service.post(f"{API}/transfer", status=status, **content)
    with pytest.raises(fault) as caught:
        globus.submit(ORDER)
    assert code == caught.value.code
    assert "submitting task u.1" in caught.value.text
    assert caught.value.remedy


def test_a_text_has_what_the_service_said_in_one_plain_line(service, globus):
    service.get(f"{API}/task/t1", status=403, json=error("PermissionDenied", "you\nmay \x1b[31mnot" + "x" * 900))
    with pytest.raises(OperatorFault) as caught:
        globus.task("t1")
    assert "403 PermissionDenied: you may [31mnot" in caught.value.text
    assert "rQ1" in caught.value.text
    assert len(caught.value.text) < 500
    assert caught.value.text.isprintable()


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (requests.ConnectionError("Connection refused"), "Connection refused"),
        (requests.ConnectionError(requests.ConnectionError("x", OSError("No route to host"))), "No route"),
        (requests.ConnectTimeout("slow"), "slow"),
        (requests.ReadTimeout("slow"), "slow"),
        (requests.exceptions.ChunkedEncodingError("cut off"), "cut off"),
        (requests.exceptions.SSLError("certificate verify failed"), "certificate"),
    ],
)
def test_no_answer_is_the_worlds_fault(service, globus, trouble, words):
    asked = service.get(f"{API}/task/t1", body=trouble)
    with pytest.raises(WorldFault, match=words) as caught:
        globus.task("t1")
    assert caught.value.code == "GLOBUS-AWAY"
    assert len(asked.calls) == 4


@pytest.mark.parametrize(
    "answer",
    [
        {"body": "<html>welcome to the hotel</html>"},
        {"json": [1]},
        {"json": {}},
        {"json": TASK | {"status": "CANCELED"}},
        {"json": TASK | {"request_time": "yesterday"}},
        {"json": TASK | {"task_id": 7}},
    ],
)
def test_strange_answers_are_refused(service, globus, answer):
    service.get(f"{API}/task/t1", **answer)
    with pytest.raises(WorldFault) as caught:
        globus.task("t1")
    assert caught.value.code == "GLOBUS-STRANGE-ANSWER"


def test_a_strange_answer_to_a_submit_is_not_taken_for_acceptance(service, globus):
    service.post(f"{API}/transfer", json={"code": "Maybe", "task_id": "t1"})
    with pytest.raises(WorldFault, match="Maybe"):
        globus.submit(ORDER)


@pytest.mark.parametrize(
    ("header", "seconds", "asked"),
    [("120", 120.0, 1), ("1", 1.0, 4), ("Sun, 22 Nov 2026 10:01:00 GMT", 60.0, None), ("soon", None, 4)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_carried_over(service, status, header, seconds, asked):
    now = 1795341600.0  # 2026-11-22T10:00:00Z
    globus = GlobusSdk(ClientCredentials("client-id", SECRET), now=lambda: now)
    mock = service.get(f"{API}/task/t1", status=status, json=error("X"), headers={"Retry-After": header})
    with pytest.raises(WorldFault) as caught:
        globus.task("t1")
    assert seconds == caught.value.retry_after
    # A short wait is done by globus-sdk itself, a long one is left to the caller.
    if asked:
        assert asked == len(mock.calls)


def test_a_call_gives_up_when_its_time_is_over(service):
    mock = service.get(f"{API}/task/t1", status=503, json=error("ServiceUnavailable"))
    with pytest.raises(WorldFault):
        GlobusSdk(ClientCredentials("client-id", SECRET), give_up_after=0).task("t1")
    assert len(mock.calls) == 1


def test_requests_have_a_time_out(service, globus):
    service.get(f"{API}/task/t1", json=TASK)
    service.post(f"{API}/transfer", json={"code": "Accepted", "task_id": "t1"})
    globus.task("t1")
    globus.submit(ORDER)
    globus.task("t1")
    assert [call.request.req_kwargs["timeout"] for call in service.calls] == [30.0, 30.0, 60.0, 30.0]


def test_identical_paths(service, globus):
    message = "A transfer with identical paths has not yet completed"
    service.post(f"{API}/transfer", status=409, json=error("Conflict", message))
    with pytest.raises(IdenticalPaths):
        globus.submit(ORDER)


# Credentials


def test_an_expired_token_is_renewed_once(service, globus):
    service.get(f"{API}/task/t1", status=401, json=error("AuthenticationFailed"))
    service.get(f"{API}/task/t1", json=TASK)
    assert globus.task("t1").task_id == "t1"
    assert [call.request.url for call in service.calls if call.request.url == AUTH] == [AUTH, AUTH]


@pytest.mark.parametrize(
    ("status", "body", "code", "fault"),
    [
        (
            401,
            {"errors": [{"status": "401", "title": "Unauthorized"}], "error": "invalid_client"},
            "GLOBUS-CREDENTIALS",
            OperatorFault,
        ),
        (400, {"error": "invalid_grant"}, "GLOBUS-CREDENTIALS", OperatorFault),
        (
            400,
            {"error": "invalid_scope", "error_description": "unknown scope"},
            "GLOBUS-CONSENT",
            OperatorFault,
        ),
        (503, "x", "GLOBUS-AWAY", WorldFault),
        (429, "x", "GLOBUS-BUSY", WorldFault),
        (404, "<html>", "GLOBUS-STRANGE-ANSWER", WorldFault),
        (200, "<html>", "GLOBUS-STRANGE-ANSWER", WorldFault),
        (200, {"hello": 1}, "GLOBUS-STRANGE-ANSWER", WorldFault),
    ],
)
def test_errors_of_the_login_service(service, globus, status, body, code, fault):
    content = {"body": body} if isinstance(body, str) else {"json": body}
    service.replace("POST", AUTH, status=status, **content)
    with pytest.raises(fault) as caught:
        globus.task("t1")
    assert code == caught.value.code


def test_a_new_secret_needs_no_restart(service, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("old\n")
    secret.chmod(0o600)
    globus = GlobusSdk(ClientCredentials("client-id", secret_file=secret))
    service.replace("POST", AUTH, status=401, json={"error": "invalid_client"})
    with pytest.raises(OperatorFault):
        globus.task("t1")
    service.replace("POST", AUTH, json=token())
    service.get(f"{API}/task/t1", json=TASK)
    secret.write_text("new\n")
    globus.task("t1")
    sent = service.calls[1].request.headers["Authorization"]
    assert requests.auth._basic_auth_str("client-id", "new") == sent


def test_a_missing_data_access_consent_is_got_by_itself(service, globus):
    wanting = error("ConsentRequired", "Missing required data_access consent", required_scopes=[DATA_ACCESS])
    service.get(f"{API}/operation/endpoint/coll/ls", status=403, json=wanting)
    service.get(f"{API}/operation/endpoint/coll/ls", json={"DATA": [], "total": 0})
    assert globus.listing("coll", "/d") == []
    asked = [parse_qs(call.request.body)["scope"][0] for call in service.calls if call.request.url == AUTH]
    assert (len(asked), asked[0]) == (2, SCOPE)
    assert DATA_ACCESS in asked[1]


def test_a_consent_that_cannot_be_got_names_the_scopes(service, globus):
    wanting = error("ConsentRequired", "Missing required data_access consent", required_scopes=[DATA_ACCESS])
    service.get(f"{API}/operation/endpoint/coll/ls", status=403, json=wanting)
    with pytest.raises(OperatorFault) as caught:
        globus.listing("coll", "/d")
    assert caught.value.code == "GLOBUS-CONSENT"
    assert DATA_ACCESS in caught.value.text
    assert "tacc-sync login" in caught.value.remedy


def test_a_site_that_wants_its_own_identity_is_named(service, globus):
    wanting = error("PermissionDenied", authorization_parameters={"session_required_single_domain": ["nersc.gov"]})
    service.get(f"{API}/operation/endpoint/coll/ls", status=403, json=wanting)
    with pytest.raises(OperatorFault, match=r"nersc\.gov") as caught:
        globus.listing("coll", "/d")
    assert caught.value.code == "GLOBUS-CREDENTIALS"


def test_no_secret_is_ever_told(service, globus):
    leak = f'Authorization: Bearer {ACCESS} client_secret={SECRET} refresh_token: {ACCESS} "access_token": "{ACCESS}"'
    for status, body in ((403, error("PermissionDenied", leak)), (500, error("X", leak)), (400, leak)):
        service.replace("POST", AUTH, json=token())
        service.upsert(
            "GET",
            f"{API}/task/t1",
            status=status,
            **({"body": body} if isinstance(body, str) else {"json": body}),
        )
        with pytest.raises(Fault) as caught:
            globus.task("t1")
        said = f"{caught.value} {caught.value!r} {caught.value.__notes__ if hasattr(caught.value, '__notes__') else ''}"
        assert SECRET not in said
        assert ACCESS not in said
        assert caught.value.__suppress_context__
    assert SECRET not in repr(globus) + repr(ClientCredentials("c", SECRET)) + str(ClientCredentials("c", SECRET))


def test_who_we_are(service, globus):
    assert globus.whoami() == "client-id@clients.auth.globus.org"
    assert len(service.calls) == 1


# Tasks


def test_a_task(service, globus):
    service.get(f"{API}/task/t1", json=TASK)
    view = globus.task("t1")
    assert (
        view.task_id,
        view.label,
        view.status,
        view.nice_status,
    ) == ("t1", "u.1", "ACTIVE", "FILE_NOT_FOUND")
    assert view.nice_status_text == "file not found; 550 [31mno such file"
    assert (
        view.faults,
        view.files,
        view.files_transferred,
        view.files_skipped,
        view.bytes_transferred,
        view.bytes_checksummed,
    ) == (2, 3, 1, 0, 10, 5)
    assert (view.requested_at, view.completed_at, view.deadline) == (1795341600.0, None, 1795428000.0)
    assert (
        view.fatal_error,
        view.canceled_by_admin,
        view.history_deleted,
        view.is_paused,
    ) == ("", "", False, False)


def test_an_ended_task(service, globus):
    ended = TASK | {
        "status": "FAILED",
        "nice_status": None,
        "nice_status_short_description": None,
        "nice_status_details": None,
        "fatal_error": {"code": "CANCELED", "description": "canceled"},
        "completion_time": "2026-11-22T11:00:00+00:00",
        "canceled_by_admin": "SOURCE",
        "canceled_by_admin_message": "go away",
        "bytes_transferred": None,
        "history_deleted": True,
    }
    service.get(f"{API}/task/t1", json=ended)
    view = globus.task("t1")
    assert (
        view.fatal_error,
        view.canceled_by_admin,
        view.nice_status,
    ) == ("CANCELED: canceled", "SOURCE: go away", None)
    assert (
        view.completed_at,
        view.history_deleted,
        view.bytes_transferred,
        view.nice_status_text,
    ) == (1795345200.0, True, 0, "")


@pytest.mark.parametrize("call", ["task", "cancel", "transferred", "events"])
def test_unknown_tasks(service, globus, call):
    for method, path in (
        ("GET", ""),
        ("POST", "/cancel"),
        ("GET", "/successful_transfers"),
        ("GET", "/event_list"),
    ):
        service.add(method, f"{API}/task/t1{path}", status=404, json=error("TaskNotFound"))
    with pytest.raises(UnknownTask):
        getattr(globus, call)("t1")


def test_a_proxys_not_found_is_no_unknown_task(service, globus):
    service.get(f"{API}/task/t1", status=404, body="nothing here")
    with pytest.raises(WorldFault):
        globus.task("t1")


def test_tasks_are_filtered_exactly_and_newest_first(service, globus):
    rows = [
        TASK | {"task_id": "a", "request_time": "2026-11-22T09:00:00+00:00"},
        TASK | {"task_id": "b", "label": "u.11"},
        TASK | {"task_id": "c", "label": "U.1"},
        TASK | {"task_id": "d"},
    ]
    mock = service.get(f"{API}/task_list", json={"DATA": rows, "total": 4, "limit": 100, "offset": 0})
    assert [view.task_id for view in globus.tasks_labelled("u.1")] == ["d", "a"]
    asked = parse_qs(mock.calls[0].request.url.partition("?")[2])
    assert asked["filter"] == ["type:TRANSFER/label:u.1"]


def test_labels_that_the_filter_would_misunderstand_are_looked_for_by_us(service, globus):
    rows = [TASK | {"task_id": str(n), "label": "a,b/c"} for n in range(250)]

    def page(request):
        offset = int(request.params["offset"])
        assert request.params["filter"] == "type:TRANSFER"
        return 200, {}, json.dumps({"DATA": rows[offset : offset + 100], "total": 250})

    service.add_callback("GET", f"{API}/task_list", page)
    assert len(globus.tasks_labelled("a,b/c")) == 250


def test_cancelling_what_has_ended_is_fine(service, globus):
    service.post(f"{API}/task/t1/cancel", status=409, json=error("Conflict", "task is complete"))
    service.get(f"{API}/task/t1", json=TASK | {"status": "SUCCEEDED"})
    globus.cancel("t1")


def test_cancelling_that_is_refused_is_told(service, globus):
    service.post(f"{API}/task/t1/cancel", status=409, json=error("Conflict", "no"))
    service.get(f"{API}/task/t1", json=TASK)
    with pytest.raises(WorkFault):
        globus.cancel("t1")


def test_cancelling(service, globus):
    get_response_set("transfer.cancel_task").lookup("default").add(requests_mock=service)
    globus.cancel(get_response_set("transfer.cancel_task").lookup("default").metadata["task_id"])


RECORD = {
    "DATA_TYPE": "successful_transfer",
    "source_path": "/a/x",
    "destination_path": "/b/x",
    "size": 12,
    "checksum": "ABCDEF",
    "checksum_algorithm": "SHA-512",
}


def test_records_are_read_to_the_last_page(service, globus):
    def page(request):
        number = int(request.params.get("marker", 0))
        rows = [RECORD | {"source_path": f"/a/{number}.{n}"} for n in range(1000)]
        return 200, {}, json.dumps({"DATA": rows, "next_marker": number + 1 if number < 2 else None})

    service.add_callback("GET", f"{API}/task/t1/successful_transfers", page)
    records = list(globus.transferred("t1"))
    assert len({record.source for record in records}) == 3000
    assert (records[0].size, records[0].checksum, records[0].algorithm) == (12, "abcdef", "sha512")


def test_records_that_break_off_are_an_error(service, globus):
    service.get(f"{API}/task/t1/successful_transfers", json={"DATA": [RECORD], "next_marker": "m"})
    service.get(f"{API}/task/t1/successful_transfers", status=503, json=error("ServiceUnavailable"))
    records = globus.transferred("t1")
    next(records)
    with pytest.raises(WorldFault):
        next(records)


def test_markers_that_lead_in_a_circle_are_an_error(service, globus):
    service.get(f"{API}/task/t1/successful_transfers", json={"DATA": [], "next_marker": "m"})
    with pytest.raises(WorldFault, match="circle"):
        list(globus.transferred("t1"))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"checksum": None}, (12, None, "sha512")),
        ({"checksum_algorithm": None}, (12, "abcdef", None)),
        ({"size": None}, (None, "abcdef", "sha512")),
        ({"size": "12"}, (None, "abcdef", "sha512")),
        ({"size": True}, (None, "abcdef", "sha512")),
    ],
)
def test_records_with_gaps_stay_gaps(service, globus, more, expected):
    service.get(f"{API}/task/t1/successful_transfers", json={"DATA": [RECORD | more], "next_marker": None})
    (record,) = globus.transferred("t1")
    assert expected == (record.size, record.checksum, record.algorithm)


def test_a_record_without_destination_is_refused(service, globus):
    rows = [RECORD | {"destination_path": None}]
    service.get(f"{API}/task/t1/successful_transfers", json={"DATA": rows, "next_marker": None})
    with pytest.raises(WorldFault, match="destination_path"):
        list(globus.transferred("t1"))


def test_events(service, globus):
    row = {
        "code": "FILE_NOT_FOUND",
        "is_error": True,
        "time": "2026-11-22T10:00:00+00:00",
        "description": "file not found",
        "details": '{"path":\n"/a"}',
    }
    mock = service.get(f"{API}/task/t1/event_list", json={"DATA": [row] * 3, "total": 3})
    (event, _) = globus.events("t1", limit=2)
    assert (event.time, event.code, event.is_error) == (1795341600.0, "FILE_NOT_FOUND", True)
    assert event.text == 'file not found: {"path": "/a"}'
    assert "limit=2" in mock.calls[0].request.url


# Directories


def entry(name: str, **more):
    return {"name": name, "type": "file", "size": 5, "last_modified": "2026-11-22 10:00:00+00:00", **more}


def test_a_listing(service, globus):
    rows = [
        entry("a b"),
        entry(".hidden", type="dir", size=4096),
        entry("link", type="invalid_symlink", size=None),
        entry("new\nline", last_modified="never"),
    ]
    mock = service.get(f"{API}/operation/endpoint/coll/ls", json={"DATA": rows, "total": 4})
    assert [
        RemoteEntry("a b", "file", 5, 1795341600.0),
        RemoteEntry(".hidden", "dir", 4096, 1795341600.0),
        RemoteEntry("link", "other", 0, 1795341600.0),
        RemoteEntry("new\nline", "file", 5, None),
    ] == globus.listing("coll", "/some dir/ä")
    asked = parse_qs(mock.calls[0].request.url.partition("?")[2])
    assert (asked["path"], asked["show_hidden"]) == (["/some dir/ä"], ["1"])


def test_a_listing_is_read_to_its_end(service, globus):
    def page(request):
        offset = int(request.params["offset"])
        rows = [entry(f"f{n}") for n in range(offset, min(offset + 2, 5))]
        return 200, {}, json.dumps({"DATA": rows, "total": 5, "offset": offset})

    service.add_callback("GET", f"{API}/operation/endpoint/coll/ls", page)
    assert {f"f{n}" for n in range(5)} == {found.name for found in globus.listing("coll", "/d")}


def test_a_listing_that_ends_too_early_is_an_error(service, globus):
    service.get(f"{API}/operation/endpoint/coll/ls", json={"DATA": [entry("a")], "total": 3})
    service.get(f"{API}/operation/endpoint/coll/ls", json={"DATA": [], "total": 3})
    with pytest.raises(WorldFault, match="ends after 1 of 3"):
        globus.listing("coll", "/d")


@pytest.mark.parametrize("row", [entry("../x"), entry(".."), entry(""), entry("a", size=None), entry("a", size=-1), 7])
def test_strange_entries_are_refused(service, globus, row):
    service.get(f"{API}/operation/endpoint/coll/ls", json={"DATA": [row], "total": 1})
    with pytest.raises(WorldFault) as caught:
        globus.listing("coll", "/d")
    assert caught.value.code == "GLOBUS-STRANGE-ANSWER"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            404,
            error("ClientError.NotFound", "Directory '/endpoint' not found on endpoint 'x'"),
            NoSuchDirectory,
        ),
        (404, error("NotFound"), NoSuchDirectory),
        (
            502,
            error("ExternalError.DirListingFailed", "550-GlobusError: v=1 c=PATH_NOT_FOUND"),
            NoSuchDirectory,
        ),
        (502, error("ExternalError.DirListingFailed", "Not a directory"), WorkFault),
        (404, error("EndpointNotFound"), OperatorFault),
        (404, error("ClientError.NotFound", "No such endpoint 'x'"), OperatorFault),
        (404, None, WorldFault),
        (502, error("ExternalError.DirListingFailed.GCDisconnected"), WorldFault),
    ],
)
def test_what_is_no_directory(service, globus, status, body, expected):
    content = {"body": "gone"} if body is None else {"json": body}
    service.get(f"{API}/operation/endpoint/coll/ls", status=status, **content)
    with pytest.raises(expected):
        globus.listing("coll", "/endpoint")


def test_an_unknown_collection(service, globus):
    service.get(f"{API}/endpoint/coll", status=404, json=error("EndpointNotFound"))
    with pytest.raises(OperatorFault) as caught:
        globus.collection("coll")
    assert caught.value.code == "GLOBUS-COLLECTION"


# Threads


def test_each_thread_has_a_client_of_its_own(service, globus):
    service.get(f"{API}/task/t1", json=TASK)
    seen, barrier = [], threading.Barrier(4)

    def work():
        globus.task("t1")
        barrier.wait()
        seen.append(id(globus._service._mine.client))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 4


def test_importing_and_making_does_not_import_the_library():
    import subprocess
    import sys

    code = (
        "import sys; from tacc_sync.outside.globus.sdk import GlobusSdk; "
        "from tacc_sync.outside.globus.login import ClientCredentials; "
        "GlobusSdk(ClientCredentials('a', 'b')); print('globus_sdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

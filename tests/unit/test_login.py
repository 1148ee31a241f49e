"""Being logged in: where secrets lie, who can read them, and what happens when a login is over."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from urllib.parse import parse_qs, urlsplit

import globus_sdk
import pytest
import responses
from globus_sdk.token_storage import TokenStorageData

from tacc_sync.outside.globus.apps import TokenFile
from tacc_sync.outside.globus.login import ClientCredentials, UserLogin, log_in, log_out
from tacc_sync.outside.globus.sdk import GlobusSdk
from tacc_sync.rules.faults import EX_NOPERM, OperatorFault, WorldFault

AUTH = "https://auth.globus.org/v2/oauth2"
API = "https://transfer.api.globus.org/v0.10"
TRANSFER, AUTH_SERVER = "transfer.api.globus.org", "auth.globus.org"
ALL = f"urn:globus:auth:scope:{TRANSFER}:all"


@pytest.fixture
def service(monkeypatch):
    for name in ("GLOBUS_SDK_SERVICE_URL_AUTH", "GLOBUS_SDK_SERVICE_URL_TRANSFER", "GLOBUS_SDK_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory in which nothing may appear."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield tmp_path / "home"
    assert list((tmp_path / "home").iterdir()) == []


@pytest.fixture
def user(tmp_path):
    return UserLogin("native-id", tmp_path / "config" / "tacc-sync" / "tokens.json")


def data(server=TRANSFER, *, access="access-1", refresh="refresh-1", expires=2**31, scope=ALL, identity="user-1"):
    return TokenStorageData(server, identity, scope, access, refresh, expires, "Bearer")


def store(user, **more):
    TokenFile(user.token_file, anew=True).store_token_data_by_resource_server(
        {TRANSFER: data(**more), AUTH_SERVER: data(AUTH_SERVER, scope="openid profile")}
    )


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# The token file


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_the_token_file_is_the_owners_from_its_first_byte(user, umask, monkeypatch):
    modes = []
    real = os.open

    def watched(path, flags, *rest, **more):
        descriptor = real(path, flags, *rest, **more)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077)
        return descriptor

    monkeypatch.setattr(os, "open", watched)
    user.token_file.parent.parent.mkdir(mode=0o755)
    old = os.umask(umask)
    try:
        store(user)
        store(user)
    finally:
        os.umask(old)
    assert modes == [0, 0]
    assert mode(user.token_file) == 0o600
    assert mode(user.token_file.parent) == 0o700
    assert [user.token_file] == list(user.token_file.parent.iterdir())


def test_tokens_come_back_as_they_were(user):
    store(user)
    found = TokenFile(user.token_file).get_token_data_by_resource_server()
    assert {TRANSFER, AUTH_SERVER} == set(found)
    assert data().to_dict() == found[TRANSFER].to_dict()


def test_no_file_is_no_tokens(user):
    assert TokenFile(user.token_file).get_token_data_by_resource_server() == {}


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_not_used(user, wrong):
    store(user)
    user.token_file.chmod(wrong)
    with pytest.raises(OperatorFault, match="somebody else") as caught:
        TokenFile(user.token_file).get_token_data_by_resource_server()
    assert caught.value.code == "GLOBUS-TOKEN-FILE"


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"version": 2, "tokens": {}}', '{"version": 1, "tokens": {"a": 1}}', "\xff"]
)
def test_a_foreign_file_is_not_used_and_not_overwritten(user, content):
    store(user)
    user.token_file.write_text(content, encoding="latin-1")
    with pytest.raises(OperatorFault) as caught:
        TokenFile(user.token_file).store_token_data_by_resource_server({TRANSFER: data()})
    assert caught.value.code == "GLOBUS-TOKEN-FILE"
    assert content == user.token_file.read_text(encoding="latin-1")


def test_a_directory_that_others_may_write_to_is_refused(user):
    user.token_file.parent.mkdir(parents=True)
    user.token_file.parent.chmod(0o777)
    with pytest.raises(OperatorFault, match="written to by others"):
        store(user)


def test_a_refresh_keeps_the_refresh_token_and_never_undoes_a_login(user):
    store(user)
    running = TokenFile(user.token_file)
    running.store_token_data_by_resource_server({TRANSFER: data(access="access-2", refresh=None)})
    found = running.get_token_data_by_resource_server()[TRANSFER]
    assert (found.access_token, found.refresh_token) == ("access-2", "refresh-1")
    store(user, access="of-the-login", refresh="refresh-2")
    running.store_token_data_by_resource_server({TRANSFER: data(access="access-3", refresh="refresh-1")})
    found = running.get_token_data_by_resource_server()[TRANSFER]
    assert (found.access_token, found.refresh_token) == ("of-the-login", "refresh-2")


def test_a_failed_write_leaves_the_old_file_and_no_litter(user, monkeypatch):
    store(user)
    before = user.token_file.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store(user, access="new")
    assert before == user.token_file.read_bytes()
    assert [user.token_file] == list(user.token_file.parent.iterdir())


def test_readers_never_see_half_a_file(user):
    store(user)
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            if {TRANSFER, AUTH_SERVER} != set(TokenFile(user.token_file).get_token_data_by_resource_server()):
                wrong.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        TokenFile(user.token_file).store_token_data_by_resource_server({TRANSFER: data(access=f"a{number}")})
    stop.set()
    reader.join()
    assert wrong == []


def test_the_file_goes_with_the_last_token(user):
    store(user)
    tokens = TokenFile(user.token_file)
    assert tokens.remove_token_data(TRANSFER)
    assert not tokens.remove_token_data("other")
    assert user.token_file.exists()
    assert tokens.remove_token_data(AUTH_SERVER)
    assert not user.token_file.exists()


# A person


def test_without_login_one_is_told_to_log_in(service, home, user):
    with pytest.raises(OperatorFault) as caught:
        GlobusSdk(user).new_submission_id()
    assert (caught.value.code, caught.value.exit_code) == ("GLOBUS-CREDENTIALS", EX_NOPERM)
    assert "tacc-sync login" in caught.value.remedy
    assert not service.calls


def test_an_expired_token_is_refreshed_and_kept(service, home, user):
    store(user, expires=1)
    answer = {
        "access_token": "access-2",
        "scope": ALL,
        "expires_in": 172800,
        "token_type": "Bearer",
        "resource_server": TRANSFER,
        "other_tokens": [],
    }
    refreshed = service.post(f"{AUTH}/token", json=answer)
    asked = service.get(f"{API}/submission_id", json={"value": "s1"})
    assert GlobusSdk(user).new_submission_id() == "s1"
    sent = parse_qs(refreshed.calls[0].request.body)
    assert (sent["grant_type"], sent["refresh_token"]) == (["refresh_token"], ["refresh-1"])
    assert asked.calls[0].request.headers["Authorization"] == "Bearer access-2"
    kept = TokenFile(user.token_file).get_token_data_by_resource_server()[TRANSFER]
    assert (kept.access_token, kept.refresh_token, kept.identity_id) == ("access-2", "refresh-1", "user-1")
    assert mode(user.token_file) == 0o600


def test_a_revoked_login_is_told_and_a_new_one_needs_no_restart(service, home, user):
    store(user, expires=1)
    service.post(f"{AUTH}/token", status=400, json={"error": "invalid_grant"})
    asked = service.get(f"{API}/submission_id", json={"value": "s1"})
    globus = GlobusSdk(user)
    with pytest.raises(OperatorFault) as caught:
        globus.new_submission_id()
    assert caught.value.code == "GLOBUS-CREDENTIALS"
    assert "refresh-1" not in str(caught.value)
    store(user, access="access-9", refresh="refresh-9")
    assert globus.new_submission_id() == "s1"
    assert asked.calls[0].request.headers["Authorization"] == "Bearer access-9"


def test_a_login_service_that_is_away_is_no_reason_to_log_in(service, home, user):
    store(user, expires=1)
    service.post(f"{AUTH}/token", status=503)
    with pytest.raises(WorldFault) as caught:
        GlobusSdk(user).new_submission_id()
    assert caught.value.code == "GLOBUS-AWAY"


def test_a_person_is_never_asked_by_a_component(service, home, user):
    store(user)
    wanting = {
        "code": "ConsentRequired",
        "message": "m",
        "required_scopes": [f"{ALL}[*x]"],
        "request_id": "r",
        "resource": "/",
    }
    service.get(f"{API}/operation/endpoint/c/ls", status=403, json=wanting)
    with pytest.raises(OperatorFault) as caught:
        GlobusSdk(user).listing("c", "/")
    assert caught.value.code == "GLOBUS-CONSENT"


def test_who_we_are(service, home, user):
    store(user)
    service.get(f"{AUTH}/userinfo", json={"sub": "user-1", "preferred_username": "me@example.org"})
    assert GlobusSdk(user).whoami() == "me@example.org"
    service.replace("GET", f"{AUTH}/userinfo", json={"sub": "user-1"})
    assert GlobusSdk(user).whoami() == "user-1"


def test_a_full_disk_while_refreshing_is_the_worlds_fault(service, home, user, monkeypatch):
    store(user, expires=1)
    answer = {
        "access_token": "a",
        "scope": ALL,
        "expires_in": 9,
        "resource_server": TRANSFER,
        "other_tokens": [],
    }
    service.post(f"{AUTH}/token", json=answer)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorldFault) as caught:
        GlobusSdk(user).new_submission_id()
    assert caught.value.code == "DISK-FULL"


# Logging in and out


def token(server, access, scope):
    return {
        "access_token": access,
        "refresh_token": f"refresh-of-{access}",
        "scope": scope,
        "expires_in": 172800,
        "token_type": "Bearer",
        "resource_server": server,
    }


@pytest.fixture
def login(service, monkeypatch):
    """The login service agrees, to a user whose id is in the list that is returned."""
    users = ["user-1"]
    monkeypatch.setattr(globus_sdk.IDTokenDecoder, "decode", lambda self, text: {"sub": users[0]})
    answer = token(TRANSFER, "t", ALL) | {
        "id_token": "x.y.z",
        "other_tokens": [token(AUTH_SERVER, "o", "openid profile")],
    }
    service.post(f"{AUTH}/token", json=answer)
    return users


def test_a_login(service, home, user, login):
    shown, asked = [], []

    def ask(prompt):
        asked.append(prompt)
        return " the-code\n"

    log_in(user, show=shown.append, ask=ask)
    (text,) = shown
    url = next(word for word in text.split() if word.startswith("https://"))
    query = parse_qs(urlsplit(url).query)
    assert {ALL, "openid", "profile"} == set(query["scope"][0].split())
    assert (query["access_type"], query["client_id"]) == (["offline"], ["native-id"])
    sent = parse_qs(service.calls[0].request.body)
    assert (sent["code"], sent["grant_type"]) == (["the-code"], ["authorization_code"])
    assert len(asked) == 1
    assert mode(user.token_file) == 0o600
    kept = TokenFile(user.token_file).get_token_data_by_resource_server()
    assert (kept[TRANSFER].refresh_token, kept[TRANSFER].identity_id) == ("refresh-of-t", "user-1")


def test_a_mapped_collection_wants_a_second_consent(service, home, user, login):
    service.get(f"{API}/endpoint/mapped", json={"id": "mapped", "entity_type": "GCSv5_mapped_collection"})
    service.get(
        f"{API}/endpoint/high",
        json={"id": "high", "entity_type": "GCSv5_mapped_collection", "high_assurance": True},
    )
    service.get(f"{API}/endpoint/guest", json={"id": "guest", "entity_type": "GCSv5_guest_collection"})
    shown = []
    log_in(
        user,
        show=shown.append,
        ask=lambda _: "c",
        collections=["guest", "mapped", "high"],
        domains=["nersc.gov"],
    )
    urls = [word for text in shown for word in text.split() if word.startswith("https://")]
    first, second = (parse_qs(urlsplit(url).query) for url in urls)
    assert "data_access" not in first["scope"][0]
    assert f"{ALL}[*https://auth.globus.org/scopes/mapped/data_access]" in second["scope"][0]
    assert "guest" not in second["scope"][0]
    assert "high" not in second["scope"][0]
    assert first["session_required_single_domain"] == ["nersc.gov"]


def test_another_identity_must_log_out_first(service, home, user, login):
    store(user)
    login[0] = "user-2"
    with pytest.raises(OperatorFault, match="another identity") as caught:
        log_in(user, show=lambda _: None, ask=lambda _: "c")
    assert "logout" in caught.value.remedy
    assert TokenFile(user.token_file).get_token_data_by_resource_server()[TRANSFER].access_token == "access-1"


@pytest.mark.parametrize("answer", ["", "  ", EOFError()])
def test_no_code_is_no_login(service, home, user, answer):
    def ask(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(OperatorFault) as caught:
        log_in(user, show=lambda _: None, ask=ask)
    assert caught.value.code == "GLOBUS-CREDENTIALS"
    assert not user.token_file.exists()


def test_a_wrong_code(service, home, user):
    service.post(f"{AUTH}/token", status=400, json={"error": "invalid_grant"})
    with pytest.raises(OperatorFault) as caught:
        log_in(user, show=lambda _: None, ask=lambda _: "secret-code")
    assert caught.value.code == "GLOBUS-CREDENTIALS"
    assert "secret-code" not in str(caught.value)


def test_an_interrupted_login_is_just_interrupted(service, home, user):
    def ask(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        log_in(user, show=lambda _: None, ask=ask)


def test_logging_out_revokes_and_removes(service, home, user):
    store(user)
    revoked = service.post(f"{AUTH}/token/revoke", json={"active": False})
    log_out(user)
    assert {"access-1", "refresh-1"} == {parse_qs(call.request.body)["token"][0] for call in revoked.calls}
    assert not user.token_file.exists()


def test_logging_out_removes_the_file_even_if_globus_is_away(service, home, user):
    store(user)
    with pytest.raises(WorldFault):
        log_out(user)
    assert not user.token_file.exists()


def test_logging_out_without_login_is_fine(service, home, user):
    log_out(user)


# A service account


def test_a_service_account_leaves_nothing_on_disk(service, home, tmp_path):
    answer = token(TRANSFER, "t", ALL) | {"other_tokens": []}
    service.post(f"{AUTH}/token", json=answer)
    service.get(f"{API}/submission_id", json={"value": "s1"})
    assert GlobusSdk(ClientCredentials("id", "secret")).new_submission_id() == "s1"
    assert [home] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("client", "secret", "file"), [("", "s", False), ("c", None, False), ("c", "", False), ("c", "s", True)]
)
def test_a_service_account_needs_an_id_and_one_secret(client, secret, file, tmp_path):
    with pytest.raises(OperatorFault) as caught:
        ClientCredentials(client, secret, tmp_path / "x" if file else None)
    assert caught.value.code == "GLOBUS-CREDENTIALS"


@pytest.mark.parametrize(
    ("content", "permissions", "words"),
    [
        (b"secret\n", 0o604, "everybody"),
        (b"", 0o600, "nothing else"),
        (b"two words", 0o600, "nothing else"),
        (b"\xff\xfe", 0o600, "nothing else"),
        (None, 0, "cannot be read"),
    ],
)
def test_unfit_secret_files(service, tmp_path, content, permissions, words):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(permissions)
    with pytest.raises(OperatorFault, match=words) as caught:
        GlobusSdk(ClientCredentials("id", secret_file=path)).new_submission_id()
    assert caught.value.code == "GLOBUS-TOKEN-FILE"


def test_secrets_are_in_no_repr():
    assert "s3cret" not in repr(ClientCredentials("id", "s3cret")) + str(ClientCredentials("id", "s3cret"))
    assert json.dumps(str(ClientCredentials("id", "s3cret"))) == '"service account id"'

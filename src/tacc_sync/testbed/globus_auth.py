"""The testbed's Globus Auth: tokens for client credentials, refresh tokens and logins of a native app.

A login needs no browser: a GET of the authorize URL answers with the code as plain text, as if the
testbed's only user had said yes to everything (a redirect to a loopback address is obeyed).

Guarantee: a token is good for what it was asked for, for as long as the settings say, and survives a
restart.
Fails with: `Refusal`: 400 or 401 with an OAuth error, 401 AuthenticationFailed, 403 ConsentRequired.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from tacc_sync.testbed.globus_http import Call, Refusal, Reply
from tacc_sync.testbed.globus_scopes import TRANSFER_ALL, Asked, data_access, parse_scopes, resource_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tacc_sync.testbed.globus_identity import Keys
    from tacc_sync.testbed.globus_journal import Journal
    from tacc_sync.testbed.globus_settings import Watched

CODE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says: who, through which client, and for what."""

    identity_id: str
    client_id: str
    scopes: tuple[str, ...]
    needs: tuple[str, ...]


class Auth:
    """The calls of Globus Auth, and the test of a token for the calls of Transfer."""

    def __init__(self, settings: Watched, journal: Journal, keys: Keys) -> None:
        self._settings = settings
        self._journal = journal
        self._keys = keys

    # For the calls of Transfer.

    def grant(self, header: str) -> Grant:
        """What the bearer of this header may do; raises `Refusal`."""
        found = self._journal.token(header.removeprefix("Bearer ")) if header.startswith("Bearer ") else None
        if found is None or found["kind"] != "access" or found["expires_at"] <= time.time():
            raise Refusal(401, "AuthenticationFailed", "Token is not active")
        return Grant(found["identity_id"], found["client_id"], tuple(found["scopes"]), tuple(found["needs"]))

    def transfer_grant(self, grant: Grant, *collection_ids: str) -> None:
        """Refuse a token that is not for Transfer, or lacks the consent that one of the collections wants."""
        if TRANSFER_ALL not in grant.scopes:
            raise Refusal(403, "PermissionDenied", f"The token lacks the scope {TRANSFER_ALL}")
        collections = self._settings.now().collections
        missing = [
            data_access(key)
            for key in collection_ids
            if key in collections and collections[key].data_access and data_access(key) not in grant.needs
        ]
        if missing:
            raise self.consent_refusal([f"{TRANSFER_ALL}[{' '.join('*' + scope for scope in missing)}]"])

    def consent_refusal(self, scopes: Iterable[str] | None) -> Refusal:
        """403 ConsentRequired for these scopes; by default data_access of all collections."""
        if scopes is None:
            wanted = " ".join("*" + data_access(key) for key in self._settings.now().collections)
            scopes = [f"{TRANSFER_ALL}[{wanted}]"]
        message = "Missing required data_access consent"
        return Refusal(403, "ConsentRequired", message, required_scopes=list(scopes))

    def forget(self, header: str, form: Mapping[str, Any]) -> None:
        """Make a token, or the refresh token in a form, good for nothing."""
        for token in (header.removeprefix("Bearer "), form.get("refresh_token"), form.get("token")):
            if token:
                self._journal.drop_token(str(token))

    # The calls.

    def token(self, call: Call) -> Reply:
        """POST /v2/oauth2/token."""
        client_id, confidential = self._client(call)
        match call.body.get("grant_type"):
            case "client_credentials" if confidential:
                scopes = _parsed(call.body.get("scope") or TRANSFER_ALL)
                return Reply(self._tokens(client_id, client_id, scopes, offline=False))
            case "refresh_token":
                return self._refresh(client_id, call.body.get("refresh_token", ""))
            case "authorization_code":
                return self._exchange(call, client_id)
            case other:
                raise _oauth("unsupported_grant_type", f"not for this client: {other}")

    def _client(self, call: Call) -> tuple[str, bool]:
        settings = self._settings.now()
        header = call.headers.get("authorization", "")
        if header.startswith("Basic "):
            try:
                given = base64.b64decode(header[6:], validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise _oauth("invalid_client", "not Basic credentials", 401) from error
            if not hmac.compare_digest(given.encode(), f"{settings.client_id}:{settings.client_secret}".encode()):
                raise _oauth("invalid_client", "Invalid client id or secret", 401)
            return settings.client_id, True
        if call.body.get("client_id") != settings.native_client_id:
            raise _oauth("invalid_client", "No such native app", 401)
        return settings.native_client_id, False

    def _refresh(self, client_id: str, token: str) -> Reply:
        found = self._journal.token(token)
        if found is None or found["kind"] != "refresh" or found["client_id"] != client_id:
            raise _oauth("invalid_grant", "The refresh token is not good (any more)")
        answer = self._issue(found)
        return Reply({**answer, "refresh_token": token, "other_tokens": []})

    def _exchange(self, call: Call, client_id: str) -> Reply:
        code = str(call.body.get("code", ""))
        found = self._journal.token(code)
        self._journal.drop_token(code)
        if found is None or found["kind"] != "code" or found["client_id"] != client_id:
            raise _oauth("invalid_grant", "The code is not good (any more)")
        if found["expires_at"] < time.time() or found["redirect_uri"] != call.body.get("redirect_uri"):
            raise _oauth("invalid_grant", "The code has expired, or was for another place")
        if found["challenge"] and not _proves(str(call.body.get("code_verifier", "")), found):
            raise _oauth("invalid_grant", "The code verifier does not fit")
        user, scopes = found["identity_id"], _parsed(found["scope"])
        answer = self._tokens(user, client_id, scopes, offline=found["offline"])
        answer["state"] = found["state"]
        if any(scope.name == "openid" for scope in scopes):
            about = {**self._about(user), "aud": client_id, "iss": call.base_url}
            answer["id_token"] = self._keys.sign(about, self._settings.now().token_seconds)
        return Reply(answer)

    def authorize(self, call: Call) -> Reply:
        """GET /v2/oauth2/authorize: the testbed's user agrees at once."""
        query, settings = call.query, self._settings.now()
        if query.get("client_id") not in {settings.native_client_id, settings.client_id}:
            raise _oauth("invalid_client", "No such client", 401)
        if query.get("response_type") != "code":
            raise _oauth("unsupported_response_type", "only code")
        self._check(_parsed(query.get("scope", "")))
        redirect = query.get("redirect_uri", "")
        code = secrets.token_urlsafe(24)
        document = {
            "kind": "code",
            "client_id": query["client_id"],
            "identity_id": settings.user_id,
            "scope": query.get("scope", ""),
            "state": query.get("state", "_default"),
            "redirect_uri": redirect,
            "offline": query.get("access_type") == "offline",
            "challenge": query.get("code_challenge", ""),
            "method": query.get("code_challenge_method", "plain"),
            "expires_at": time.time() + CODE_SECONDS,
        }
        self._journal.put_token(code, document)
        # The SDK glues this to a base URL that may lack its last slash, so it is no proper URL always.
        if not redirect or redirect.endswith("v2/web/auth-code"):
            return Reply(text=code + "\n")
        target = urlsplit(redirect)
        if target.hostname not in {"127.0.0.1", "localhost", "::1"}:
            raise _oauth("invalid_request", "the testbed redirects to this machine only")
        mark = "&" if target.query else "?"
        return Reply(location=f"{redirect}{mark}{urlencode({'code': code, 'state': document['state']})}")

    def revoke(self, call: Call) -> Reply:
        """POST /v2/oauth2/token/revoke."""
        self.forget("", call.body)
        return Reply({"active": False})

    def userinfo(self, call: Call) -> Reply:
        """GET /v2/oauth2/userinfo."""
        about = self._about(call.owner().identity_id)
        return Reply({**about, "identity_set": [dict(about)]})

    def identities(self, call: Call) -> Reply:
        """GET /v2/api/identities: the client and the user are all there are."""
        settings = self._settings.now()
        wanted = set(f"{call.query.get('ids', '')},{call.query.get('usernames', '')}".split(","))
        known = [self._about(identity) for identity in (settings.client_id, settings.user_id)]
        rows = [
            {
                "id": about["sub"],
                "username": about["preferred_username"],
                "name": about["name"],
                "email": about["email"],
                "organization": about["organization"],
                "identity_provider": about["identity_provider"],
                "identity_type": "login",
                "status": "used",
            }
            for about in known
            if {about["sub"], about["preferred_username"]} & wanted
        ]
        return Reply({"identities": rows})

    def consents(self, call: Call) -> Reply:
        """GET /v2/api/identities/ID/consents: what the caller's client was allowed, as a tree."""
        grant = call.owner()
        kept = self._journal.token(f"consent {grant.client_id} {call.params['identity_id']}") or {"scopes": {}}
        rows: list[dict[str, Any]] = []
        for root, needs in kept["scopes"].items():
            top = len(rows) + 1
            rows.append(_consent(top, [top], root, grant))
            for number, need in enumerate(needs, top + 1):
                rows.append(_consent(number, [top, number], need, grant))
        return Reply({"consents": rows})

    def openid_configuration(self, call: Call) -> Reply:
        """GET /.well-known/openid-configuration."""
        return Reply(self._keys.configuration(call.base_url))

    def jwk(self, _: Call) -> Reply:
        """GET /jwk.json."""
        return Reply(self._keys.public())

    # Making tokens.

    def _check(self, scopes: Iterable[Asked]) -> None:
        settings = self._settings.now()
        for scope in scopes:
            if resource_server(scope.name, settings) is None:
                raise _oauth("unknown_scope", f"Unknown scope: {scope.name}")
            self._check(scope.needs)

    def _tokens(self, identity_id: str, client_id: str, scopes: tuple[Asked, ...], *, offline: bool) -> dict[str, Any]:
        self._check(scopes)
        self._consent(identity_id, client_id, scopes)
        settings = self._settings.now()
        by_server: dict[str, list[Asked]] = {}
        for scope in scopes:
            by_server.setdefault(resource_server(scope.name, settings) or "", []).append(scope)
        if not by_server:
            raise _oauth("invalid_scope", "no scope was asked for")
        answers = []
        for server, asked in by_server.items():
            document = {
                "identity_id": identity_id,
                "client_id": client_id,
                "resource_server": server,
                "scopes": list(dict.fromkeys(scope.name for scope in asked)),
                "needs": sorted({name for scope in asked for name in scope.below()}),
            }
            answer = self._issue(document)
            if offline:
                refresh = answer["refresh_token"] = secrets.token_urlsafe(32)
                self._journal.put_token(refresh, {**document, "kind": "refresh"})
            answers.append(answer)
        return {**answers[0], "other_tokens": answers[1:]}

    def _issue(self, document: Mapping[str, Any]) -> dict[str, Any]:
        seconds = self._settings.now().token_seconds
        token = secrets.token_urlsafe(32)
        kept = {**document, "kind": "access", "expires_at": time.time() + seconds}
        self._journal.put_token(token, kept)
        return {
            "access_token": token,
            "scope": " ".join(document["scopes"]),
            "expires_in": int(seconds),
            "token_type": "Bearer",
            "resource_server": document["resource_server"],
        }

    def _consent(self, identity_id: str, client_id: str, scopes: Iterable[Asked]) -> None:
        key = f"consent {client_id} {identity_id}"
        kept = (self._journal.token(key) or {"scopes": {}})["scopes"]
        for scope in scopes:
            kept[scope.name] = sorted({*kept.get(scope.name, ()), *scope.below()})
        self._journal.put_token(key, {"kind": "consent", "scopes": kept})

    def _about(self, identity_id: str) -> dict[str, Any]:
        settings = self._settings.now()
        a_client = identity_id == settings.client_id
        name = f"{identity_id}@clients.auth.globus.org" if a_client else settings.user_name
        return {
            "sub": identity_id,
            "preferred_username": name,
            "name": "tacc-sync testbed" if a_client else "Operator of the testbed",
            "email": None if a_client else name,
            "organization": "tacc-sync testbed",
            "identity_provider": str(uuid.uuid5(uuid.NAMESPACE_DNS, "testbed.invalid")),
            "identity_provider_display_name": "tacc-sync testbed",
            "last_authentication": int(time.time()),
        }


def _proves(verifier: str, found: Mapping[str, Any]) -> bool:
    if found["method"] == "S256":
        hashed = hashlib.sha256(verifier.encode()).digest()
        verifier = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
    return hmac.compare_digest(verifier.encode(), str(found["challenge"]).encode())


def _parsed(text: str) -> tuple[Asked, ...]:
    try:
        return parse_scopes(text)
    except ValueError as error:
        raise _oauth("invalid_scope", str(error)) from error


def _oauth(error: str, message: str, status: int = 400) -> Refusal:
    return Refusal(status, error, message, error=error, error_description=message)


def _consent(number: int, path: list[int], scope: str, grant: Grant) -> dict[str, Any]:
    now = "2026-01-01T00:00:00+00:00"
    return {
        "id": number,
        "dependency_path": path,
        "scope_name": scope,
        "scope": str(uuid.uuid5(uuid.NAMESPACE_URL, scope)),
        "client": grant.client_id,
        "effective_identity": grant.identity_id,
        "status": "approved",
        "created": now,
        "updated": now,
        "last_used": now,
        "allows_refresh": True,
        "auto_approved": False,
        "atomically_revocable": len(path) > 1,
    }

"""Says whose fault an error of globus-sdk is, in words for the operator.

Guarantee: every error that globus-sdk raises for an answer, or for the want of one, becomes one of the faults
that interface.py names; no secret is in the text. Imports globus-sdk, so it is itself imported late.
Fails with: nothing; what it does not know (our misuse of globus-sdk) it hands back as it is.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import globus_sdk
from globus_sdk.token_storage import TokenValidationError
from globus_sdk.token_storage.validating_token_storage import IdentityMismatchError

from tacc_sync.outside.globus.answers import plain
from tacc_sync.rules.faults import EX_NOPERM, Fault, OperatorFault, WorkFault, WorldFault, of_os_error

if TYPE_CHECKING:
    from collections.abc import Mapping

_AWAY = "nothing is lost; work goes on by itself when Globus answers again (https://status.globus.org)"
_COLLECTION_AWAY = "Globus answers, the collection's host does not; work goes on by itself when it does"
_LOG_IN = "run `tacc-sync login`, or give a client id and secret that Globus accepts"
_LOG_IN_THERE = (
    "run `tacc-sync login` with the site's identity; a service account can follow no such rule and "
    "needs a guest collection"
)
_CONSENT = "run `tacc-sync login` and agree to the collection's use, or use a guest collection"
_ACCESS = "give the identity that tacc-sync uses (`tacc-sync doctor` names it) access to the collection and path"
_REFUSED = "nothing was done; look at the paths and the configuration"

_HOSTS = ("ENDPOINTERROR", "EXTERNALERROR", "GCDISCONNECTED", "ENDPOINTNOTCONNECTED")
_SECRETS = re.compile(
    r"(?i)\b(?:bearer|basic)\s+\S+|\b(?:access_token|refresh_token|id_token|client_secret)\W{1,5}[\w.~+/-]+|\bcode=[^\s&]+"
)


def explain(error: Exception, doing: str, *, now: float) -> Exception:
    """The fault behind an error met while `doing`; `now` in epoch seconds, for Retry-After."""
    match error:
        case Fault() | globus_sdk.GlobusSDKUsageError():
            return error
        case globus_sdk.AuthAPIError():
            return _of_auth(error, doing, now)
        case globus_sdk.GlobusAPIError():
            return _of_transfer(error, doing, now)
        case IdentityMismatchError():
            why = f"{doing}: the browser is logged in as another identity than before"
            return credentials(why, "run `tacc-sync logout` first, if that is meant")
        case TokenValidationError():
            return credentials(f"{doing}: there is no valid login ({scrub(error)})")
        case globus_sdk.NetworkError():
            why = f"{error} ({_innermost(error.underlying_exception)})"
            return WorldFault("GLOBUS-AWAY", f"{doing}: no answer from Globus: {scrub(why)}", _AWAY)
        case OSError():
            # Only the token file is a file here.
            remedy = "the file that keeps the login must be ours to write"
            return of_os_error(error, doing) or OperatorFault(
                "GLOBUS-TOKEN-FILE", f"{doing}: {error}", remedy, EX_NOPERM
            )
        case KeyError() | TypeError() | ValueError() | AttributeError():
            # globus-sdk takes documents apart without looking, and stumbles over those of others.
            return _strange(doing, f"{type(error).__name__} while reading it")
    if type(error).__module__.startswith("jwt"):
        return _strange(doing, f"the identity token is not valid ({scrub(error)})")
    return error


def credentials(what: str, remedy: str = _LOG_IN) -> OperatorFault:
    """The login is missing, over, or not accepted."""
    return OperatorFault("GLOBUS-CREDENTIALS", what, remedy, EX_NOPERM)


def scrub(said: object) -> str:
    """A stranger's text without anything that looks like a secret."""
    return plain(_SECRETS.sub("(secret)", str(said)))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait as the service says it, as a number or a date; None when it does not say."""
    said = (headers.get("Retry-After") or "").strip()
    try:
        if said.isdecimal():
            return float(said)
        return max(0.0, parsedate_to_datetime(said).timestamp() - now) if said else None
    except ValueError:
        return None


def _of_auth(error: globus_sdk.AuthAPIError, doing: str, now: float) -> Exception:
    """The login service: token requests, and who we are."""
    what = f"{doing}: Globus' login service says {_say(error)}"
    body = _body(error)
    if error.http_status == 429:
        return _busy(what, error, now)
    if error.http_status >= 500 or error.http_status == 408:
        return WorldFault("GLOBUS-AWAY", what, _AWAY, retry_after(error.headers, now))
    if "scope" in f"{body.get('error')} {error.code}".casefold():
        return OperatorFault("GLOBUS-CONSENT", what, _CONSENT, EX_NOPERM)
    if body or error.http_status == 401:
        return credentials(what)
    return _strange(doing, _say(error))


def _of_transfer(error: globus_sdk.GlobusAPIError, doing: str, now: float) -> Exception:
    status, code = error.http_status, (error.code or "").upper()
    what, wait = f"{doing}: Globus says {_say(error)}", retry_after(error.headers, now)
    said = (error.message or "").casefold()
    if "TOOMANYPENDINGJOBS" in code:
        remedy = "Globus keeps at most 100 tasks of a user; work goes on by itself when some have ended"
        return WorldFault("GLOBUS-TOO-MANY-PENDING", what, remedy, wait)
    if status == 429:
        return _busy(what, error, now)
    if (login := _login_wanted(error, what)) is not None:
        return login
    if (status < 500 and not (_body(error) and code)) or status == 407:
        return _strange(doing, _say(error))
    if status == 403 or "c=permission_denied" in said:
        return OperatorFault("GLOBUS-PERMISSION", what, _ACCESS, EX_NOPERM)
    if "ENDPOINTNOTFOUND" in code or (status == 404 and said.startswith("no such endpoint")):
        return OperatorFault("GLOBUS-COLLECTION", what, "correct the collection's id in the configuration")
    if "not a directory" in said:
        return WorkFault("GLOBUS-REFUSED", what, _REFUSED)
    # The service hands on what a collection's host has said as 502; the host's trouble is not the service's.
    if any(host in code for host in _HOSTS):
        return WorldFault("GLOBUS-COLLECTION-AWAY", what, _COLLECTION_AWAY, wait)
    if status >= 500 or status == 408:
        return WorldFault("GLOBUS-AWAY", what, _AWAY, wait)
    return WorkFault("GLOBUS-REFUSED", what, _REFUSED)


def _login_wanted(error: globus_sdk.GlobusAPIError, what: str) -> OperatorFault | None:
    code, said = error.code or "", error.message or ""
    if error.info.consent_required or "ConsentRequired" in code:
        scopes = error.info.consent_required.required_scopes if error.info.consent_required else []
        wanted = " ".join(plain(scope) for scope in scopes) or "(it does not name them)"
        text = f"{what}; the scopes it wants: {wanted}"
        return OperatorFault("GLOBUS-CONSENT", text, _CONSENT, EX_NOPERM)
    session = error.info.authorization_parameters
    # The collection's host tells its rules inside the text of a GridFTP reply.
    if session or "LoginFailed" in code or "authorization_parameters" in said:
        domains = ", ".join(plain(d) for d in session.session_required_single_domain or [])
        wanted = f"; it wants a login with an identity of {domains}" if domains else ""
        return credentials(what + wanted, _LOG_IN_THERE)
    return credentials(what) if error.http_status == 401 else None


def _busy(what: str, error: globus_sdk.GlobusAPIError, now: float) -> WorldFault:
    remedy = "we ask too often, or others with the same identity do; work goes on by itself"
    return WorldFault("GLOBUS-BUSY", what, remedy, retry_after(error.headers, now))


def _strange(doing: str, what: str) -> WorldFault:
    return WorldFault(
        "GLOBUS-STRANGE-ANSWER",
        f"{doing}: an answer that Globus should not give: {what}",
        "is a proxy between us and Globus? Otherwise the service has changed: tell the developers",
    )


def _body(error: globus_sdk.GlobusAPIError) -> dict[str, Any]:
    return error.raw_json if isinstance(error.raw_json, dict) else {}


def _say(error: globus_sdk.GlobusAPIError) -> str:
    body = _body(error)
    code = error.code or body.get("error") or ""
    message = error.message or body.get("error_description") or error.http_reason
    request = f" (request {plain(error.request_id)})" if error.request_id else ""
    return scrub(" ".join(f"{error.http_status} {code}: {message}".replace(" :", ":").split())) + request


def _innermost(error: BaseException) -> str:
    """The reason at the heart of the libraries' nested exceptions: `Connection refused`, not five lines."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        candidates = (getattr(error, "reason", None), *error.args)
        inner = next((c for c in candidates if isinstance(c, BaseException) and c is not error), None)
    said = str(error)
    return (said.rpartition(": ")[2] if " object at 0x" in said else said) or type(error).__name__

"""A web service behind OAuth2 client credentials, asked for JSON: tokens, repetitions, and whose fault a failure is.

Guarantee: a token is got when one is needed, again before it expires, and once more when the service does not take it;
an answer is whole and came in time, or it is a fault; no secret is in the text of one, and none is sent elsewhere by a
redirect.
Fails with: WorldFault CATALOG-AWAY (it does not answer, or says to come back later), CATALOG-STRANGE (its answer cannot
be understood); OperatorFault CATALOG-CREDENTIALS.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.rules.faults import EX_NOPERM, OperatorFault, WorldFault
from tacc_sync.rules.identity import printable

# Seconds before the second try, the third, and so on.
PAUSES = (1.0, 4.0, 15.0)
# Statuses that pass: too many requests, or trouble on their side.
LATER = frozenset({429, 500, 502, 503, 504})
LARGEST = 64 * 1024 * 1024
# Of a token's life, so much is used.
USED = 0.8
PIECE = 65536

_AWAY = "nothing is lost; the requests are planned when it answers again"
_LET_IN = "check `client_id` and `token_url` in [catalog], FILE_CATALOG_CLIENT_SECRET, and the client's role there"


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are to the service: a client's id and secret, and where they are changed for a token ("": nowhere, the
    service asks nobody who they are)."""

    token_url: str = ""
    client_id: str = ""
    secret: str = ""

    def __repr__(self) -> str:
        return f"Client({self.client_id!r} at {self.token_url!r})"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: bytes
    retry_after: float | None


class _NoAnswer(Exception):
    pass


class _Bearer(AuthBase):
    """Also when there is no token: otherwise a line of ~/.netrc would be sent."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class CatalogService:
    """The service at `url`; each answer has to be there within `timeout` seconds."""

    def __init__(self, url: str, client: Client, clock: Clock, *, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._client = client
        self._clock = clock
        self._timeout = timeout
        self._token = ""
        # By this host's uptime.
        self._expires = 0.0
        self._mine = threading.local()

    def __str__(self) -> str:
        return self._url

    def ask(self, path: str, parameters: Mapping[str, str | int]) -> dict[str, Any] | None:
        """The JSON object at a path; None when the service says that there is nothing."""
        doing = f"asking {self._url}{path}"
        for is_last in (False, True):
            answer = self._again_and_again(doing, partial(self._get, path, parameters, self._bearer(anew=is_last)))
            if answer.status not in {401, 403}:
                break
            if is_last or not self._client.token_url:
                text = f"{doing}: we are not let in ({answer.status})"
                raise OperatorFault("CATALOG-CREDENTIALS", text, _LET_IN, EX_NOPERM)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise strange(f"{doing}: it answers {answer.status}")
        return _document(answer.content, doing)

    def _get(self, path: str, parameters: Mapping[str, str | int], token: str) -> _Answer:
        return self._exchange("GET", self._url + path, auth=_Bearer(token), params=parameters)

    # --- tokens -----------------------------------------------------------------------------------------------

    def _bearer(self, *, anew: bool) -> str:
        if not self._client.token_url:
            return ""
        if anew or not self._token or self._clock.uptime() >= self._expires:
            self._token, life = self._new_token()
            self._expires = self._clock.uptime() + life * USED
        return self._token

    def _new_token(self) -> tuple[str, float]:
        client, doing = self._client, f"getting a token at {self._client.token_url}"
        auth = HTTPBasicAuth(client.client_id.encode(), client.secret.encode())
        form = {"grant_type": "client_credentials"}
        answer = self._again_and_again(doing, lambda: self._exchange("POST", client.token_url, auth=auth, data=form))
        if answer.status in {400, 401, 403}:
            said = ""
            try:
                said = str(_document(answer.content, doing).get("error", ""))[:80]
            except WorldFault:
                pass
            text = f"{doing}: it does not take our client id and secret ({answer.status} {printable(said)})".rstrip()
            raise OperatorFault("CATALOG-CREDENTIALS", text, _LET_IN, EX_NOPERM)
        if answer.status != 200:
            raise strange(f"{doing}: it answers {answer.status}")
        document = _document(answer.content, doing)
        token, life = document.get("access_token"), document.get("expires_in", 60)
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise strange(f"{doing}: there is no token in the answer")
        if isinstance(life, bool) or not isinstance(life, int | float) or not 0 <= life < 1e9:
            raise strange(f"{doing}: the token's life is no time")
        return token, float(life)

    # --- one exchange -----------------------------------------------------------------------------------------

    def _again_and_again(self, doing: str, exchange: Callable[[], _Answer]) -> _Answer:
        for pause in (*PAUSES, None):
            try:
                answer = exchange()
            except _NoAnswer as why:
                text, after = f"no answer: {why}", None
            else:
                if answer.status not in LATER:
                    return answer
                text, after = f"it answers {answer.status}", answer.retry_after
            if pause is None or (after is not None and after > max(PAUSES)):
                raise WorldFault("CATALOG-AWAY", f"{doing}: {text}", _AWAY, retry_after=after)
            self._clock.sleep(max(pause, after or 0.0))
        raise AssertionError

    def _exchange(self, method: str, url: str, *, auth: AuthBase, **content: Any) -> _Answer:
        began = self._clock.uptime()
        try:
            with self._session().request(
                method, url, auth=auth, timeout=self._timeout, stream=True, allow_redirects=False,
                headers={"Accept": "application/json"}, **content,
            ) as response:  # fmt: skip
                body = bytearray()
                if 300 <= response.status_code < 400:
                    # Nobody is followed elsewhere, and its text is read already.
                    return _Answer(response.status_code, b"", None)
                # Piece by piece as they come: a server that sends a byte now and then never meets a timeout.
                while piece := response.raw.read1(PIECE, decode_content=True):
                    body += piece
                    if len(body) > LARGEST:
                        raise strange(f"{method} {url}: the answer is larger than {LARGEST} bytes")
                    if self._clock.uptime() - began > self._timeout:
                        raise _NoAnswer(f"not whole within {self._timeout:g} s")
                announced = response.headers.get("Content-Length", "")
                if announced.isdigit() and "Content-Encoding" not in response.headers and len(body) < int(announced):
                    raise _NoAnswer("it broke off")
                return _Answer(response.status_code, bytes(body), self._wait_of(response.headers))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            # Not the error's own text, in which the query stands.
            raise _NoAnswer(type(error).__name__) from None

    def _wait_of(self, headers: Mapping[str, str]) -> float | None:
        said = headers.get("Retry-After", "")
        if said.isascii() and said.isdigit():
            return min(float(said), 86400.0)
        try:
            return min(max(0.0, parsedate_to_datetime(said).timestamp() - self._clock.now()), 86400.0)
        except (ValueError, OverflowError):
            return None

    def _session(self) -> requests.Session:
        if not hasattr(self._mine, "session"):
            self._mine.session = requests.Session()
        session: requests.Session = self._mine.session
        return session


def strange(text: str) -> WorldFault:
    """Its answer cannot be understood."""
    return WorldFault(
        "CATALOG-STRANGE", text, "check `url` in [catalog]; if it is right, tell those who run the catalog"
    )


def _document(content: bytes, doing: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise strange(f"{doing}: the answer is no JSON") from None
    if not isinstance(found, dict):
        raise strange(f"{doing}: the answer is no JSON object")
    return found

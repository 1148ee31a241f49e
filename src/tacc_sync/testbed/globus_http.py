"""Between HTTP and the testbed's Globus calls: reads requests, makes the troubles on demand, answers, logs.

Guarantee: every request has one line in the log, also one whose answer was withheld. A call is either done
whole before its answer is withheld (drop_after), or not begun (drop_before, status).
Fails with: `Refusal` from a call, which becomes an error document.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import string
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from tacc_sync.testbed import globus_documents, globus_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from tacc_sync.testbed.globus_auth import Auth, Grant
    from tacc_sync.testbed.globus_faults import Rule
    from tacc_sync.testbed.globus_tasks import Engine

ALPHABET = string.ascii_letters + string.digits
TRANSPORT = "testbed.transport"

STATUS_CODES = {
    400: ("ClientError.BadRequest", "Bad request"),
    401: ("AuthenticationFailed", "Token is not active"),
    403: ("PermissionDenied", "Permission denied"),
    404: ("ClientError.NotFound", "Not found"),
    409: ("Conflict", "Conflict"),
    429: ("TooManyRequests", "Too many requests, slow down"),
    500: ("InternalError", "Internal server error"),
    502: ("ExternalError", "The endpoint did not answer as it should"),
    503: ("ServiceUnavailable", "The service is down for maintenance"),
}


class Refusal(Exception):
    """The call is refused with this error document."""

    def __init__(self, status: int, code: str, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.extra = extra


@dataclass(slots=True)
class Call:
    """A request, understood."""

    verb: str
    method: str
    resource: str
    base_url: str
    headers: Mapping[str, str]
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any]
    grant: Grant | None = None
    request_id: str = field(default_factory=lambda: "".join(secrets.choice(ALPHABET) for _ in range(9)))

    def owner(self) -> Grant:
        """Who calls; only for calls that need a token."""
        assert self.grant is not None
        return self.grant


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a document, or a text, or the way to another place."""

    document: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    text: str | None = None
    location: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Hangup(Response):
    """No answer: the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Cut the wire and wait until the server has noticed, so that it does not answer 500 by itself."""
        scope[TRANSPORT].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


def with_transport(app: ASGIApp) -> ASGIApp:
    """Lay the server's connection where `Hangup` finds it. ASGI itself has no way to close one unanswered."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope[TRANSPORT] = getattr(send, "__self__").transport  # noqa: B009  uvicorn's bound method
        await app(scope, receive, send)

    return outer


class Front:
    """What all calls have in common."""

    def __init__(self, engine: Engine, auth: Auth) -> None:
        self._engine = engine
        self._auth = auth
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = {}

    def endpoint(self, verb: str, call: Callable[[Call], Reply], *, needs_token: bool) -> Any:
        """A Starlette endpoint for a call."""

        async def answer(request: Request) -> Response:
            body = await request.body()
            this = Call(
                verb=verb,
                method=request.method,
                resource=request.url.path,
                base_url=str(request.base_url).rstrip("/"),
                headers=request.headers,
                params=request.path_params,
                query=_query(request),
                body=_understand(body, request.headers.get("content-type", "")),
            )
            # Threads, because calls touch disks and databases, and because a delay may not stop the others.
            reply = await run_in_threadpool(self._answer, this, call, needs_token=needs_token)
            return Hangup() if reply is None else _response(reply, this.request_id)

        return answer

    def _answer(self, this: Call, call: Callable[[Call], Reply], *, needs_token: bool) -> Reply | None:
        rules: list[Rule] = []
        reply: Reply | None = None
        with contextlib.suppress(_Withheld):
            try:
                rules = self._fired(this)
                self._before(this, rules)
                if needs_token:
                    this.grant = self._auth.grant(this.headers.get("authorization", ""))
                    self._limit(this.grant.identity_id)
                reply = call(this)
            except Refusal as refusal:
                reply = _refused(this, refusal)
            if any(rule.what == "drop_after" for rule in rules):
                reply = None
        self._engine.log.write(
            "request",
            method=this.method,
            path=this.resource,
            verb=this.verb,
            status=reply.status if reply else None,
            request_id=this.request_id,
            fault=[rule.what for rule in rules],
        )
        return reply

    def _fired(self, this: Call) -> list[Rule]:
        faults = self._engine.faults
        faults.refresh()
        kinds = globus_faults.REQUEST - {"forget"}  # which is for the calls themselves: it depends on the task
        if not faults.any_of(kinds):
            return []
        return faults.fired(kinds, verb=this.verb, label=self._label(this), paths=_paths(this))

    def _label(self, this: Call) -> str:
        if "task_id" in this.params:
            task = self._engine.tasks.get(this.params["task_id"])
            return (task.label or "") if task else ""
        if this.verb == "task_list":
            clauses = dict(clause.partition(":")[::2] for clause in this.query.get("filter", "").split("/"))
            return clauses.get("label", "").lstrip("=~")
        return str(this.body.get("label") or "")

    def _before(self, this: Call, rules: list[Rule]) -> None:
        for rule in rules:
            if rule.what == "delay":
                time.sleep(float(rule.options.get("seconds", 1)))
            elif rule.what == "drop_before":
                raise _Withheld
            elif rule.what == "expired_token":
                self._auth.forget(this.headers.get("authorization", ""), this.body)
                if this.verb == "token":
                    raise Refusal(400, "invalid_grant", "The grant has expired", error="invalid_grant")
                raise Refusal(401, *STATUS_CODES[401])
            elif rule.what == "consent_required":
                raise self._auth.consent_refusal(rule.options.get("scopes"))
            elif rule.what == "status":
                raise _ordered(rule)

    def _limit(self, identity_id: str) -> None:
        limit = self._engine.settings.now().requests_per_10_seconds
        if not limit:
            return
        now = time.monotonic()
        with self._lock:
            recent = self._recent.setdefault(identity_id, deque())
            while recent and recent[0] < now - 10:
                recent.popleft()
            if len(recent) >= limit:
                raise Refusal(429, *STATUS_CODES[429], retry_after=1)
            recent.append(now)


class _Withheld(Exception):
    """Nothing is done and nothing is answered."""


def _ordered(rule: Rule) -> Refusal:
    status = int(rule.options.get("status", 503))
    code, message = STATUS_CODES.get(status, ("Error", "Error"))
    extra = {"retry_after": rule.options["retry_after"]} if "retry_after" in rule.options else {}
    return Refusal(status, rule.options.get("code", code), rule.options.get("message", message), **extra)


def _refused(this: Call, refusal: Refusal) -> Reply:
    document = globus_documents.result("", refusal.code, refusal.message, this.request_id, this.resource)
    extra = dict(refusal.extra)
    headers = {"Retry-After": str(extra.pop("retry_after"))} if "retry_after" in extra else {}
    return Reply({**document, **extra}, refusal.status, headers=headers)


def _query(request: Request) -> dict[str, str]:
    query = dict(request.query_params)
    if "filter" in query:
        query["filter"] = "/".join(request.query_params.getlist("filter"))
    return query


def _understand(body: bytes, content_type: str) -> dict[str, Any]:
    if content_type.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        document = json.loads(body) if body else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _paths(this: Call) -> list[str]:
    places: list[Mapping[str, Any]] = [this.query, this.body]
    places += [item for item in this.body.get("DATA", ()) if isinstance(item, dict)]
    keys = ("path", "source_path", "destination_path", "old_path", "new_path")
    return [str(place[key]) for place in places for key in keys if key in place]


def _response(reply: Reply, request_id: str) -> Response:
    headers = {"X-Request-Id": request_id, **reply.headers}
    if reply.location is not None:
        return RedirectResponse(reply.location, 302, headers=headers)
    if reply.text is not None:
        return PlainTextResponse(reply.text, reply.status, headers=headers)
    return JSONResponse(reply.document, reply.status, headers=headers)

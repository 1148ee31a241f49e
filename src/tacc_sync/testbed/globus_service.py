"""The testbed's Globus service put together: Globus Auth and Globus Transfer under one URL.

A stand-in for real machinery, not a mock: clients reach it over a socket with globus_sdk or the `globus`
command, and it moves real bytes between two directories. What it is told is in `globus_settings`, the
troubles that it can make in `globus_faults`.

Guarantee: as its parts'. Fails with: `SettingsError` when there are no settings (see
`globus_settings.build`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Route

from tacc_sync.testbed import globus_settings
from tacc_sync.testbed.globus_auth import Auth
from tacc_sync.testbed.globus_faults import Faults
from tacc_sync.testbed.globus_http import Call, Front, Refusal, Reply, with_transport
from tacc_sync.testbed.globus_identity import Keys
from tacc_sync.testbed.globus_journal import Journal
from tacc_sync.testbed.globus_operations import Operations
from tacc_sync.testbed.globus_tasks import Engine
from tacc_sync.testbed.globus_transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.types import ASGIApp

READY = "/testbed/ready"  # our own: says whose service this is

Line = tuple[str, str, str, "Callable[[Call], Reply]"]


def create(root: Path) -> tuple[ASGIApp, Engine]:
    """The service of a testbed's root: an ASGI application, and the engine to start and stop."""
    home = globus_settings.directory(root)
    log = globus_settings.Log(root)
    settings = globus_settings.Watched(root, log)
    journal = Journal(home / "state.db")
    engine = Engine(settings, Faults(root, journal, log), journal, log)
    auth = Auth(settings, journal, Keys(home / "jwk.pem"))
    front = Front(engine, auth)

    def ready(_: Call) -> Reply:
        return Reply({"root": str(root), "pid": os.getpid()})

    open_calls = [*_auth_lines(auth), ("GET", READY, "ready", ready)]
    routes = [_route(front, line, needs_token=False) for line in open_calls]
    routes += [_route(front, line, needs_token=True) for line in _token_lines(engine, auth)]
    routes.append(Route("/{path:path}", front.endpoint("unknown", _unknown, needs_token=False)))
    return with_transport(Starlette(routes=routes)), engine


def _route(front: Front, line: Line, *, needs_token: bool) -> Route:
    method, path, verb, call = line
    endpoint: Any = front.endpoint(verb, call, needs_token=needs_token)
    return Route(path, endpoint, methods=[method])


def _unknown(call: Call) -> Reply:
    raise Refusal(404, "ClientError.NotFound", f"No such resource: {call.resource}")


def _auth_lines(auth: Auth) -> list[Line]:
    return [
        ("POST", "/v2/oauth2/token", "token", auth.token),
        ("GET", "/v2/oauth2/authorize", "authorize", auth.authorize),
        ("POST", "/v2/oauth2/token/revoke", "revoke", auth.revoke),
        ("GET", "/.well-known/openid-configuration", "openid_configuration", auth.openid_configuration),
        ("GET", "/jwk.json", "jwk", auth.jwk),
    ]


def _token_lines(engine: Engine, auth: Auth) -> list[Line]:
    transfer, operations = Transfer(engine, auth), Operations(engine, auth)
    api, one = "/v0.10", "/v0.10/task/{task_id}"
    place = "/v0.10/operation/endpoint/{endpoint_id}"
    return [
        ("GET", "/v2/oauth2/userinfo", "userinfo", auth.userinfo),
        ("GET", "/v2/api/identities", "identities", auth.identities),
        ("GET", "/v2/api/identities/{identity_id}/consents", "consents", auth.consents),
        ("GET", f"{api}/submission_id", "submission_id", transfer.submission_id),
        ("POST", f"{api}/transfer", "transfer", transfer.transfer),
        ("POST", f"{api}/delete", "delete", transfer.delete),
        ("GET", f"{api}/task_list", "task_list", transfer.task_list),
        ("GET", one, "task", transfer.task),
        ("PUT", one, "task_update", transfer.update),
        ("POST", f"{one}/cancel", "cancel", transfer.cancel),
        ("POST", f"{one}/remove", "remove", transfer.remove),
        ("GET", f"{one}/pause_info", "pause_info", transfer.pause_info),
        ("GET", f"{one}/event_list", "event_list", transfer.event_list),
        ("GET", f"{one}/successful_transfers", "successful_transfers", transfer.successful_transfers),
        ("GET", f"{one}/skipped_errors", "skipped_errors", transfer.skipped_errors),
        ("GET", f"{place}/ls", "ls", operations.ls),
        ("GET", f"{place}/stat", "stat", operations.stat),
        ("POST", f"{place}/mkdir", "mkdir", operations.mkdir),
        ("POST", f"{place}/rename", "rename", operations.rename),
        ("GET", f"{api}/endpoint/{{endpoint_id}}", "endpoint", operations.endpoint),
        ("GET", f"{api}/endpoint_search", "endpoint_search", operations.endpoint_search),
    ]

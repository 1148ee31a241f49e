"""One call to the service: by which thread's client, for how long, and whose fault it is when it fails.

Guarantee: each thread has an app and a client of its own, since neither is thread-safe; a call that met no
valid login forgets its app, so that the next one reads the login again: nothing needs a restart after
`tacc-sync login`.
Fails with: the faults that interface.py names, and the answers of the caller's own.
"""

# globus-sdk is imported inside the functions: it costs a third of a second, and most commands never need it.
# ruff: noqa: PLC0415

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from tacc_sync.outside.globus.answers import document, plain
from tacc_sync.rules.faults import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from globus_sdk import GlobusAPIError, GlobusHTTPResponse, TransferClient

    from tacc_sync.outside.globus.apps import Patience
    from tacc_sync.outside.globus.login import Credentials

T = TypeVar("T")


class Service:
    """The transfer service, to be asked anything."""

    def __init__(
        self,
        credentials: Credentials,
        http_timeout: float,
        give_up_after: float,
        retries: int,
        now: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._patience = (http_timeout, give_up_after, retries)
        self._now = now
        self._mine = threading.local()

    def __str__(self) -> str:
        return str(self._credentials)

    def ask(
        self,
        doing: str,
        call: Callable[[TransferClient], GlobusHTTPResponse],
        refused: Callable[[GlobusAPIError], Exception | None] = lambda _: None,
        timeout: float = 0.0,
    ) -> Mapping[str, Any]:
        """The JSON object that the service answers.

        `refused`: what an error of the service means to this call; None leaves it to the general rules.
        """
        answer = self._call(doing, lambda client: call(client).data, refused, timeout)
        return document(answer, f"the answer to {doing}")

    def whoami(self) -> str:
        """How we are logged in; a token is got, whether or not the transfer service accepts it."""

        def who(client: TransferClient) -> str:
            from globus_sdk import AuthClient, ClientApp

            from tacc_sync.outside.globus.apps import USER_SCOPES

            app, patience = self._mine.app, self._mine.patience
            app.get_authorizer(client.resource_server).get_authorization_header()
            if isinstance(app, ClientApp):
                return f"{app.client_id}@clients.auth.globus.org"
            with AuthClient(
                app=app,
                app_scopes=USER_SCOPES,
                transport=patience.transport(),
                retry_config=patience.retry_config(),
            ) as auth:
                about = document(auth.userinfo().data, "a user")
            return plain(about.get("preferred_username") or about.get("sub") or self._credentials)

        return self._call("asking who we are", who)

    def _call(
        self,
        doing: str,
        call: Callable[[TransferClient], T],
        refused: Callable[[GlobusAPIError], Exception | None] = lambda _: None,
        timeout: float = 0.0,
    ) -> T:
        from globus_sdk import TransferAPIError

        from tacc_sync.outside.globus.trouble import explain

        try:
            client, patience = self._client()
            client.transport.http_timeout = max(timeout, patience.http_timeout)
            patience.begin()
            return call(client)
        except Exception as error:  # noqa: BLE001  explain() says what it is
            answer = refused(error) if isinstance(error, TransferAPIError) else None
            fault = answer or explain(error, doing, now=self._now())
            if isinstance(fault, OperatorFault):
                # The operator will log in anew, in another process: read the login again next time.
                self._mine.__dict__.clear()
            # Not "from error": its notes repeat the whole answer, and whatever secret stands in it.
            raise fault from None

    def _client(self) -> tuple[TransferClient, Patience]:
        """The client of the calling thread."""
        mine = self._mine
        if not hasattr(mine, "client"):
            from globus_sdk import TransferClient

            from tacc_sync.outside.globus.apps import Patience

            http_timeout, give_up_after, retries = self._patience
            mine.patience = Patience(http_timeout=http_timeout, give_up_after=give_up_after, retries=retries)
            mine.patience.begin()
            mine.app = self._credentials.app(mine.patience)
            mine.client = TransferClient(
                app=mine.app,
                transport=mine.patience.transport(),
                retry_config=mine.patience.retry_config(),
            )
        return mine.client, mine.patience

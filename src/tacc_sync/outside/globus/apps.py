"""globus-sdk's apps as we want them: a token file of our own, no surprise logins, bounded patience.

Guarantee: a token is on disk only in a file that nobody but its owner could ever open, and that is always
whole; a call gives up in bounded time; a process without terminal is never asked to log in.
Fails with: what globus-sdk raises (trouble.py explains it), OSError, and OperatorFault GLOBUS-TOKEN-FILE.
Importing this imports globus-sdk, which costs a third of a second: it is imported late.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import globus_sdk
from globus_sdk.login_flows import CommandLineLoginFlowManager
from globus_sdk.scopes import AuthScopes, TransferScopes
from globus_sdk.token_storage import TokenStorage, TokenStorageData
from globus_sdk.transport import (
    RequestsTransport,
    RetryCheckCollection,
    RetryCheckResult,
    RetryConfig,
    RetryContext,
)

from tacc_sync.outside.globus.trouble import retry_after
from tacc_sync.rules.faults import EX_NOPERM, OperatorFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

APP_NAME = "tacc-sync"
USER_SCOPES = [AuthScopes.openid, AuthScopes.profile]
SCOPES = {
    TransferScopes.resource_server: [TransferScopes.all],
    AuthScopes.resource_server: USER_SCOPES,
}
_VERSION = 1


class TokenFile(TokenStorage):
    """The tokens of one login in one JSON file, mode 0600.

    `anew`: these tokens come from a login, and replace whatever is there. Otherwise they come from
    refreshing, and a login that somebody has made meanwhile is not overwritten with an older one.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        super().__init__()
        self._path = path
        self._anew = anew

    def get_token_data_by_resource_server(self) -> dict[str, TokenStorageData]:
        """The tokens on disk; none when there is no file."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
                why = "belongs to somebody else, or may be read by others"
                raise _unfit(self._path, why, "remove it and log in again")
            content = file.read()
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, globus_sdk.ValidationError):
            document = json.loads(content)
            if document["version"] == _VERSION:
                return {server: TokenStorageData.from_dict(d) for server, d in document["tokens"].items()}
        raise _unfit(self._path, "is not one that we have written", "move it away and log in again")

    def store_token_data_by_resource_server(
        self, token_data_by_resource_server: Mapping[str, TokenStorageData]
    ) -> None:
        """Write these tokens to disk, beside those of other servers."""
        tokens = {} if self._anew else self.get_token_data_by_resource_server()
        for server, new in token_data_by_resource_server.items():
            old = tokens.get(server)
            if old is not None and new.refresh_token is None:
                new.refresh_token = old.refresh_token  # the answer to a refresh need not repeat it
            if old is None or old.refresh_token in {None, new.refresh_token}:
                tokens[server] = new
        self._write(tokens)

    def remove_token_data(self, resource_server: str) -> bool:
        """Remove the tokens of one server; the file goes with the last of them."""
        tokens = self.get_token_data_by_resource_server()
        found = tokens.pop(resource_server, None) is not None
        if tokens:
            self._write(tokens)
        else:
            self._path.unlink(missing_ok=True)
        return found

    def _write(self, tokens: Mapping[str, TokenStorageData]) -> None:
        folder = self._path.parent
        _make_private(folder)
        document = {
            "version": _VERSION,
            "tokens": {server: data.to_dict() for server, data in tokens.items()},
        }
        beside = folder / f".{self._path.name}.{secrets.token_hex(8)}"
        # 0600 from the first byte: between an open() and a chmod() somebody else could open it. The
        # fchmod() is for a umask that would take the owner's rights away too.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(beside, flags, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # some file systems cannot; at worst one logs in once more
                os.fsync(directory)
        finally:
            os.close(directory)


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        _make_private(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            folder.chmod(0o700)
    mode = folder.stat().st_mode
    # Whoever may write into the directory may put another file in our file's place.
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise _unfit(folder, "may be written to by others", f"chmod go-w {folder}")


def _unfit(path: Path, why: str, remedy: str) -> OperatorFault:
    return OperatorFault("GLOBUS-TOKEN-FILE", f"{path} {why}", remedy, EX_NOPERM)


class AskingFlow(CommandLineLoginFlowManager):
    """The login on the command line, through functions that the caller hands in."""

    def __init__(
        self, client: globus_sdk.AuthLoginClient, show: Callable[[str], None], ask: Callable[[str], str]
    ) -> None:
        super().__init__(
            client,
            # globus-sdk's own default is wrong for a base URL without slash, as one from the environment.
            redirect_uri=f"{client.base_url.rstrip('/')}/v2/web/auth-code",
            request_refresh_tokens=True,
            native_prefill_named_grant=APP_NAME,
        )
        self._show, self._ask = show, ask

    def print_authorize_url(self, authorize_url: str) -> None:
        """Show where to log in."""
        self._show(f"Log in to Globus with a browser (on any machine) here:\n\n{authorize_url}\n")

    def prompt_for_code(self) -> str:
        """Ask for the code that the browser shows afterwards."""
        code = self._ask("Then enter the code that it shows: ").strip()
        if not code:
            raise EOFError
        return code


class Patience:
    """How long one call may take in all, with globus-sdk's own retries; each thread has its own call."""

    def __init__(self, *, http_timeout: float = 30.0, give_up_after: float = 20.0, retries: int = 3) -> None:
        self.http_timeout = http_timeout
        self._give_up_after = give_up_after
        self._retries = retries
        self._calls = threading.local()

    def begin(self) -> None:
        """A call begins."""
        self._calls.until = time.monotonic() + self._give_up_after

    def retry_config(self) -> RetryConfig:
        """What a client of globus-sdk must know of it. The first check that decides wins: ours is first."""
        checks = RetryCheckCollection()
        checks.register_check(self._in_time)
        return RetryConfig(max_retries=self._retries, max_sleep=5, checks=checks)

    def transport(self) -> RequestsTransport:
        """A transport that gives up waiting for bytes."""
        return RequestsTransport(http_timeout=self.http_timeout)

    def _in_time(self, context: RetryContext) -> RetryCheckResult:
        left = getattr(self._calls, "until", float("inf")) - time.monotonic()
        wait = None if context.response is None else retry_after(context.response.headers, time.time())
        # A service that wants us to wait long is obeyed by our caller, who can do other things meanwhile;
        # globus-sdk would cut the wait short and ask again.
        late = left <= 0 or (wait or 0) > context.caller_info.retry_config.max_sleep
        return RetryCheckResult.do_not_retry if late else RetryCheckResult.no_decision


def client_app(client_id: str, secret: str, patience: Patience) -> globus_sdk.ClientApp:
    """A service account; its tokens are in memory only.

    When a collection wants the data_access scope, the service says so in its answer, and
    auto_redrive_gares gets a token with it and asks again. To add that scope beforehand would have no
    effect on a token that we already have, and to ask a collection for it that takes no such scope would
    make every token request fail.
    """
    client = globus_sdk.ConfidentialAppAuthClient(
        client_id,
        secret,
        app_name=APP_NAME,
        transport=patience.transport(),
        retry_config=patience.retry_config(),
    )
    memory = globus_sdk.token_storage.MemoryTokenStorage()
    config = globus_sdk.GlobusAppConfig(token_storage=memory, auto_redrive_gares=True)
    return globus_sdk.ClientApp(APP_NAME, login_client=client, config=config)


def user_app(
    client_id: str,
    token_file: Path,
    patience: Patience,
    flow: Callable[[Any], AskingFlow] | None = None,
) -> globus_sdk.UserApp:
    """A person's login; without `flow` it never asks, a missing login is an error."""
    client = globus_sdk.NativeAppAuthClient(
        client_id,
        app_name=APP_NAME,
        transport=patience.transport(),
        retry_config=patience.retry_config(),
    )
    config = globus_sdk.GlobusAppConfig(
        token_storage=TokenFile(token_file, anew=flow is not None),
        request_refresh_tokens=True,
        token_validation_error_handler=None,
        login_flow_manager=flow(client) if flow else None,
    )
    scopes = {server: list(wanted) for server, wanted in SCOPES.items()}
    return globus_sdk.UserApp(APP_NAME, login_client=client, config=config, scope_requirements=scopes)

"""How we are logged in to Globus: as a service account (id and secret) or as a person (refresh tokens).

Guarantee: no secret in a repr, an error or a log line; tokens of a person are kept in a file of mode 0600,
those of a service account in memory, and nothing lies under ~/.globus.
Fails with: OperatorFault GLOBUS-CREDENTIALS (no login, or an expired one: run `tacc-sync login`),
GLOBUS-CONSENT, GLOBUS-TOKEN-FILE (a file with secrets that others may read); WorldFault GLOBUS-AWAY,
GLOBUS-BUSY, GLOBUS-STRANGE-ANSWER.
"""

# globus-sdk is imported inside the functions: it costs a third of a second, and most commands never need it.
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tacc_sync.rules.faults import EX_NOPERM, OperatorFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import globus_sdk

    from tacc_sync.outside.globus.apps import Patience


class Credentials(Protocol):
    """What can be logged in with."""

    def app(self, patience: Patience) -> globus_sdk.GlobusApp:
        """A new app of globus-sdk, for one thread: apps are not thread-safe."""

    def __str__(self) -> str:
        """Who that is, for people."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A service account: an id, and its secret as such or in a file."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    secret_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.client_id or bool(self.client_secret) == (self.secret_file is not None):
            raise OperatorFault(
                "GLOBUS-CREDENTIALS",
                "a service account needs an id, and either a secret or a file with the secret",
                "set GLOBUS_CLIENT_ID and GLOBUS_CLIENT_SECRET, or run `tacc-sync login`",
                EX_NOPERM,
            )

    def app(self, patience: Patience) -> globus_sdk.GlobusApp:
        """A service account's app. The file is read anew, so that a new secret needs no restart."""
        from tacc_sync.outside.globus.apps import client_app

        return client_app(self.client_id, self.client_secret or self._secret_from_file(), patience)

    def _secret_from_file(self) -> str:
        assert self.secret_file is not None
        try:
            with self.secret_file.open(encoding="utf-8") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                secret = file.read(10_000).strip()
        except OSError as error:
            raise _secret_fault(self.secret_file, f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            secret = ""
        if mode & 0o007:
            raise _secret_fault(self.secret_file, "may be read by everybody", f"chmod o-rwx {self.secret_file}")
        if not secret or any(c.isspace() for c in secret):
            raise _secret_fault(self.secret_file, "must contain the secret and nothing else")
        return secret

    def __str__(self) -> str:
        return f"service account {self.client_id}"


def _secret_fault(path: Path, why: str, remedy: str = "") -> OperatorFault:
    return OperatorFault("GLOBUS-TOKEN-FILE", f"the file with the client's secret, {path}, {why}", remedy, EX_NOPERM)


@dataclass(frozen=True, slots=True)
class UserLogin:
    """A person, logged in with `log_in`; refresh tokens in `token_file` keep the login for months."""

    client_id: str
    token_file: Path

    def app(self, patience: Patience) -> globus_sdk.GlobusApp:
        """A person's app; it never asks anything."""
        from tacc_sync.outside.globus.apps import user_app

        return user_app(self.client_id, self.token_file, patience)

    def __str__(self) -> str:
        return f"login in {self.token_file}"


def log_in(
    user: UserLogin,
    *,
    show: Callable[[str], None],
    ask: Callable[[str], str],
    collections: Sequence[str] = (),
    domains: Sequence[str] = (),
) -> None:
    """Log a person in: `show` the address to visit, `ask` for the code that it gives.

    `collections`: those that will be used; when one of them is a mapped collection, which wants a consent
    of its own, a second question follows. `domains`: the site's rule "log in with an identity of ...",
    when an error has told one.
    """
    _run_flow(user, show, ask, domains, ())
    wanted = [scope for collection in collections if (scope := _data_access(user, collection))]
    if wanted:
        show("A collection wants a consent of its own, so once more:\n")
        _run_flow(user, show, ask, domains, wanted)


def _run_flow(
    user: UserLogin,
    show: Callable[[str], None],
    ask: Callable[[str], str],
    domains: Sequence[str],
    scopes: Sequence[str],
) -> None:
    from globus_sdk.gare import GlobusAuthorizationParameters

    from tacc_sync.outside.globus.apps import AskingFlow, Patience, user_app
    from tacc_sync.outside.globus.trouble import credentials, explain

    patience = Patience()

    def asked(prompt: str) -> str:
        answer = ask(prompt)
        patience.begin()  # a person may take any time
        return answer

    wanted = GlobusAuthorizationParameters(
        required_scopes=list(scopes), session_required_single_domain=list(domains) or None
    )
    try:
        app = user_app(user.client_id, user.token_file, patience, lambda client: AskingFlow(client, show, asked))
        app.login(auth_params=wanted, force=True)
    except EOFError:
        raise credentials("logging in: no code was entered") from None
    except Exception as error:  # noqa: BLE001  explain() says what it is
        raise explain(error, "logging in", now=time.time()) from None


def _data_access(user: UserLogin, collection: str) -> str | None:
    """The scope with which a collection's data may be used, None when it needs none."""
    from tacc_sync.outside.globus.sdk import GlobusSdk

    about = GlobusSdk(user).collection(collection)
    # Guest collections and those with high assurance take no such scope: to ask for it fails the login.
    if about.entity_type != "GCSv5_mapped_collection" or about.high_assurance:
        return None
    from globus_sdk.scopes import GCSCollectionScopes, TransferScopes

    access = GCSCollectionScopes(collection).data_access.with_optional(optional=True)
    return str(TransferScopes.all.with_dependency(access))


def log_out(user: UserLogin) -> None:
    """Revoke the tokens at Globus and remove the file, which goes even when Globus does not answer."""
    from tacc_sync.outside.globus.apps import Patience, user_app
    from tacc_sync.outside.globus.trouble import explain

    patience = Patience()
    patience.begin()
    try:
        user_app(user.client_id, user.token_file, patience).logout(sweep=True)
    except Exception as error:  # noqa: BLE001  explain() says what it is
        raise explain(error, "revoking the login (its file is removed)", now=time.time()) from None
    finally:
        user.token_file.unlink(missing_ok=True)

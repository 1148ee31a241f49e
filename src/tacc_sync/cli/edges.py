"""The composition root: the only place that builds the edges (disk, clock, host, HPSS, Globus) and hands them in.

Guarantee: nothing is built before it is asked for, so that a command that only reads the workspace starts fast and
needs neither hsi nor Globus; what is missing is named with its key, its variable and the remedy.
Fails with `OperatorFault` WORKSPACE-…, CONFIG-…, BUFFER-…, HSI-MISSING, GLOBUS-….
"""

# What is slow to import is imported where it is built.
# ruff: noqa: PLC0415

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacc_sync import config
from tacc_sync.rules.faults import EX_NOPERM, EX_UNAVAILABLE, OperatorFault
from tacc_sync.rules.liveness import SUICIDE_SHARE
from tacc_sync.workspace import layout
from tacc_sync.workspace.posix_disk import PosixDisk

if TYPE_CHECKING:
    from tacc_sync.config import Configuration
    from tacc_sync.outside.checksums.catalog import FileCatalog
    from tacc_sync.outside.checksums.interface import Voucher
    from tacc_sync.outside.clock.interface import Clock
    from tacc_sync.outside.globus.interface import Globus
    from tacc_sync.outside.globus.login import Credentials, UserLogin
    from tacc_sync.outside.host.interface import Host
    from tacc_sync.outside.hpss.hsi import Hsi
    from tacc_sync.outside.hpss.hsi_lines import Dialect
    from tacc_sync.rules import settings as settings_schema
    from tacc_sync.rules.settings import Settings

WORKSPACE = "TACC_SYNC_WORK_ROOT"
CATALOG_SECRET = "FILE_CATALOG_CLIENT_SECRET"  # noqa: S105  the variable's name
SECRET = "GLOBUS_CLIENT_SECRET"  # noqa: S105  the variable's name

USES_HPSS = frozenset({"syncer", "retriever"})
USES_BUFFER = frozenset({"retriever", "globus_xfer", "reaper"})
USES_GLOBUS = frozenset({"globus_xfer"})


class Edges:
    """Everything outside, for one command."""

    def __init__(
        self,
        workspace: str | None = None,
        flags: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._workspace = workspace
        self._flags = flags or {}
        self._environment = os.environ if environment is None else environment

    @property
    def flags(self) -> Mapping[str, Any]:
        """What the command line says of the configuration."""
        return self._flags

    # --- the workspace ----------------------------------------------------------------------------------------

    @cached_property
    def disk(self) -> PosixDisk:
        """The workspace."""
        root = self._workspace or self._environment.get(WORKSPACE, "")
        if not root:
            raise OperatorFault(
                "WORKSPACE-MISSING",
                "no workspace was named",
                f"set {WORKSPACE}, or give --workspace DIR; `tacc-sync init DIR` makes one",
            )
        # Its real path: by that a workspace knows that it was not copied (workspace/ownership.py).
        disk = PosixDisk(os.path.realpath(root))
        layout.open_incomplete(disk)
        return disk

    @cached_property
    def configuration(self) -> Configuration:
        """The settings and where they came from; without a workspace, those of the environment."""
        named = self._workspace or self._environment.get(WORKSPACE)
        content = None
        if named:
            try:
                content = self.disk.read(layout.CONFIG, 1 << 20)
            except FileNotFoundError:
                content = None
        return config.load(content, layout.CONFIG, self._environment, self._flags)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.configuration.settings

    @cached_property
    def clock(self) -> Clock:
        """This host's clock."""
        from tacc_sync.outside.clock.system import SystemClock

        return SystemClock()

    @cached_property
    def host(self) -> Host:
        """This host."""
        from tacc_sync.outside.host.linux import LinuxHost

        return LinuxHost()

    # --- the neighbours ---------------------------------------------------------------------------------------

    @cached_property
    def buffer(self) -> PosixDisk:
        """The transfer buffer."""
        path = self.settings.buffer.path
        if not path:
            raise OperatorFault(
                "BUFFER-UNKNOWN",
                "nobody said where the transfer buffer is (`buffer.path`)",
                "set `path` in [buffer] of tacc-sync.toml, or TRANSFER_DIR",
            )
        if not path.startswith("/"):
            raise _bad_buffer(f"`buffer.path`, {path}, is not absolute", "begin it with /")
        if not os.path.isdir(path):
            raise _bad_buffer(
                f"`buffer.path`, {path}, is no directory on this host",
                "make it, or correct `path` in [buffer] of tacc-sync.toml (or TRANSFER_DIR)",
            )
        return PosixDisk(path)

    @property
    def buffer_if_there(self) -> PosixDisk | None:
        """The transfer buffer, when one is configured and there on this host."""
        path = self.settings.buffer.path
        return self.buffer if path and os.path.isdir(path) else None

    @cached_property
    def hpss(self) -> Hsi:
        """HPSS, through hsi."""
        return self.hpss_recalling(self.settings.hsi.recall)

    def hpss_recalling(self, recall: str) -> Hsi:
        """HPSS, its files asked for in this way, whatever is configured."""
        command = self.settings.hsi.command[0]
        if shutil.which(command, path=self._environment.get("PATH")) is None:
            raise OperatorFault(
                "HSI-MISSING",
                f"there is no program `{command}` on this host (`hsi.command`)",
                "load its module, or set `command` in [hsi] of tacc-sync.toml, or TACC_SYNC_HSI",
                EX_UNAVAILABLE,
            )
        from tacc_sync.outside.hpss.hsi import Hsi
        from tacc_sync.outside.hpss.hsi_gets import Staging

        section, lease = self.settings.hsi, self.settings.lease
        return Hsi(
            clock=self.clock,
            scratch=_scratch(),
            command=section.command,
            avail_command=section.available or None,
            listing_options=section.listing_options,
            get_options=section.get_options,
            get_flags=section.get_flags,
            stall_seconds=section.stall,
            staging=Staging(tuple(section.stage_options), section.stage_ahead) if recall == "stage" else None,
            stage_stall_seconds=section.stage_stall,
            listing_stall_seconds=section.listing_stall,
            listing_files=section.listing_files,
            listing_sessions=section.listing_sessions,
            answer_seconds=section.answer,
            # A process whose beats stop landing dies after SUICIDE_SHARE of the lease, and one that is frozen pulses no
            # more: either way its hsi must be gone before the lease is over and others take its claims.
            leash_seconds=lease.lease * (1 - SUICIDE_SHARE) * 0.8,
            dialect=_dialect(section),
        )

    @cached_property
    def globus(self) -> Globus:
        """Globus Transfer."""
        section = self.settings.globus
        for key, variable, value in (
            ("source_collection", "GLOBUS_SOURCE_COLLECTION_ID", section.source_collection),
            ("destination_collection", "GLOBUS_DEST_COLLECTION_ID", section.destination_collection),
        ):
            if not value:
                raise OperatorFault(
                    "CONFIG-MISSING",
                    f"`globus.{key}` is not set",
                    f"set `{key}` in [globus] of tacc-sync.toml, or {variable}",
                )
        from tacc_sync.outside.globus.sdk import GlobusSdk

        return GlobusSdk(self.credentials, encrypt=section.encrypt)

    @cached_property
    def credentials(self) -> Credentials:
        """What we log in to Globus with."""
        section = self.settings.globus
        if section.login == "user":
            return self.user_login
        from tacc_sync.outside.globus.login import ClientCredentials

        secret = self._environment.get(SECRET)
        if not section.client_id or not (secret or section.client_secret_file):
            missing = "its id (`globus.client_id`)" if not section.client_id else "its secret"
            raise OperatorFault(
                "GLOBUS-CREDENTIALS",
                f"the service account lacks {missing}",
                f"set GLOBUS_CLIENT_ID and {SECRET} (or `client_secret_file` in [globus]); "
                'or `login = "user"` and run `tacc-sync login`',
                EX_NOPERM,
            )
        file = Path(section.client_secret_file) if section.client_secret_file and not secret else None
        return ClientCredentials(section.client_id, secret or None, file)

    @property
    def user_login(self) -> UserLogin:
        """A person's login, made or not."""
        from tacc_sync.outside.globus.login import UserLogin

        section = self.settings.globus
        if not section.client_id:
            raise OperatorFault(
                "GLOBUS-CREDENTIALS",
                "a login needs the id of a registered application (`globus.client_id`)",
                "register a native application at app.globus.org/settings/developers, then set GLOBUS_CLIENT_ID",
                EX_NOPERM,
            )
        return UserLogin(section.client_id, self.token_file)

    @property
    def token_file(self) -> Path:
        """Where a person's login is kept: never in the workspace, which others may read."""
        if self.settings.globus.token_file:
            return Path(self.settings.globus.token_file)
        base = self._environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return Path(base) / "tacc-sync" / "tokens.json"

    @cached_property
    def catalog(self) -> FileCatalog | None:
        """The file catalog, when one is configured."""
        section = self.settings.catalog
        if not section.url:
            return None
        from tacc_sync.outside.checksums.catalog import FileCatalog
        from tacc_sync.outside.checksums.catalog_service import CatalogService, Client

        secret = ""
        if section.token_url:
            secret = self._environment.get(CATALOG_SECRET) or _secret_in(section.client_secret_file)
            if not section.client_id or not secret:
                missing = "id (`catalog.client_id`)" if not section.client_id else "secret"
                raise OperatorFault(
                    "CATALOG-CREDENTIALS",
                    f"{section.url} asks for a client's id and secret (`catalog.token_url`), and there is no {missing}",
                    f"set FILE_CATALOG_CLIENT_ID and {CATALOG_SECRET} (or `client_secret_file` in [catalog])",
                    EX_NOPERM,
                )
        client = Client(section.token_url, section.client_id, secret)
        service = CatalogService(section.url, client, self.clock, timeout=section.timeout)
        return FileCatalog(service, site=section.site, page=section.page)

    @property
    def vouchers(self) -> list[Voucher]:
        """Who else vouches for files."""
        from tacc_sync.outside.checksums.listed import ListedChecksums

        return [ListedChecksums(), *([self.catalog] if self.catalog is not None else [])]

    @property
    def has_secret(self) -> bool:
        """Is a client's secret in the environment?"""
        return bool(self._environment.get(SECRET))

    @property
    def looks_first(self) -> bool:
        """Does the syncer look at the destination before it plans?"""
        return self.settings.skip.before_recall

    def require(self, components: Collection[str]) -> None:
        """Build all that these components need, so that what is missing is said before anything begins."""
        if self._workspace or self._environment.get(WORKSPACE):
            layout.open_workspace(self.disk)
        if USES_BUFFER.intersection(components):
            assert self.buffer
        if USES_GLOBUS.intersection(components) or ("syncer" in components and self.looks_first):
            assert self.globus
            assert self.credentials
        if USES_HPSS.intersection(components):
            assert self.hpss
        if "syncer" in components:
            assert self.vouchers

    @staticmethod
    def new_scratch() -> str:
        """A directory of this process's own, which goes when it ends."""
        return _scratch()


def _secret_in(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        text = f"the secret in {path} cannot be read: {error}"
        raise OperatorFault(
            "CATALOG-CREDENTIALS", text, "correct `client_secret_file` in [catalog]", EX_NOPERM
        ) from None


def _scratch() -> str:
    # A new directory of an unguessable name, owner-only: IN files are commands, and /tmp belongs to everybody.
    from tacc_sync.outside.host.scratch import make_scratch

    directory = make_scratch()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _dialect(section: settings_schema.Hsi) -> Dialect:
    from tacc_sync.outside.hpss.hsi_lines import Dialect

    # A site's own wording replaces the one that we know or guess.
    said = {
        "authentication": section.unauthenticated_pattern,
        "sessions": section.sessions_pattern,
        "away": section.down_pattern,
    }
    return Dialect(**{name: (pattern,) for name, pattern in said.items() if pattern})


def _bad_buffer(text: str, remedy: str) -> OperatorFault:
    return OperatorFault("BUFFER-MISSING", text, remedy)

"""What the testbed's Globus service is told: its settings file, and the log that it writes.

`ROOT/globus/settings.json` is written once by `build` and read again whenever it changes, so that a test
(or a person) can change the weather under a running service. Its keys are the fields of `Settings`; those
of a collection are the fields of `Collection`.

Guarantee: a settings file that cannot be read, or has unknown keys, changes nothing: the service goes on
with the last good one and says so in the log. Fails with: `SettingsError`, only when there has never been a
good one.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ALGORITHMS = ("MD5", "SHA1", "SHA256", "SHA512", "ADLER32")


class SettingsError(Exception):
    """The settings file cannot be used."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A directory that the service calls a collection. No path leads out of `root`."""

    display_name: str
    root: str
    entity_type: str = "GCSv5_mapped_collection"
    default_directory: str = "/"
    data_access: bool = False  # asks for the consent of that name, and knows a scope of that name
    high_assurance: bool = False
    disable_verify: bool = False
    force_verify: bool = False
    checksums: tuple[str, ...] = ALGORITHMS


@dataclass(frozen=True, slots=True)
class Settings:
    """All that can be set. Speeds and times of 0 mean: as fast as the machine can."""

    client_id: str
    client_secret: str
    native_client_id: str
    user_id: str
    source_collection: str
    destination_collection: str
    collections: Mapping[str, Collection] = field(default_factory=dict)
    user_name: str = "operator@testbed.invalid"
    token_seconds: float = 172800  # life of an access token; may be below a second
    tasks_at_once: int = 3  # per owner, as the real service does
    pending_cap: int = 100  # per owner
    bytes_per_second: int = 0  # per task
    seconds_per_task: float = 0  # before the first byte
    seconds_per_file: float = 0
    retry_seconds: float = 1.0  # rest of a task that met a fault
    deadline_seconds: float = 86400  # when the submission names none
    progress_seconds: float = 259200  # the deadline is pushed this far after a file has arrived
    preserve_nanoseconds: bool = True  # the real service keeps whole seconds
    page_size: int = 1000  # of successful_transfers and skipped_errors
    ls_limit: int = 100_000
    submit_items_max: int = 0  # 0: no limit
    requests_per_10_seconds: int = 0  # 0: no limit; the real service says 200


def directory(root: Path) -> Path:
    """Where the service keeps everything of its own."""
    return root / "globus"


def build(root: Path) -> Settings:
    """Write the first settings file: fresh ids and secret, two collections at ROOT/nersc and ROOT/tacc.

    An existing file is kept: tokens, tasks and everybody's environment refer to it.
    """
    home = directory(root)
    home.mkdir(parents=True, exist_ok=True)
    target = home / "settings.json"
    if not target.exists():
        source, destination = str(uuid.uuid4()), str(uuid.uuid4())
        settings = Settings(
            client_id=str(uuid.uuid4()),
            client_secret=secrets.token_urlsafe(32),
            native_client_id=str(uuid.uuid4()),
            user_id=str(uuid.uuid4()),
            source_collection=source,
            destination_collection=destination,
            collections={
                source: Collection("NERSC DTN (testbed)", str(root.absolute() / "nersc")),
                destination: Collection("TACC Ranch (testbed)", str(root.absolute() / "tacc")),
            },
        )
        write_json(target, asdict(settings))
        target.chmod(0o600)
    settings = read(target)
    for collection in settings.collections.values():
        os.makedirs(collection.root, exist_ok=True)
    return settings


def read(path: Path) -> Settings:
    """The settings in a file; raises `SettingsError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        collections = {
            key: Collection(**{**value, "checksums": tuple(value.get("checksums", ALGORITHMS))})
            for key, value in document.pop("collections").items()
        }
        return Settings(**document, collections=collections)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def change(root: Path, **values: Any) -> None:
    """Change some settings of a (running) service: `change(root, bytes_per_second=1000)`."""
    path = directory(root) / "settings.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document.update(values)
    write_json(path, document)
    read(path)


def change_collection(root: Path, collection_id: str, **values: Any) -> None:
    """Change some settings of one collection: `change_collection(root, uuid, data_access=True)`."""
    path = directory(root) / "settings.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["collections"][collection_id].update(values)
    write_json(path, document)
    read(path)


def write_json(path: Path, document: Any) -> None:
    """Replace a file at one stroke: a reader sees the old one or the new one."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    # Created for the owner alone: the settings hold a client's secret.
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
    scratch.replace(path)


def fingerprint(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class Watched:
    """The settings as they are now."""

    def __init__(self, root: Path, log: Log) -> None:
        self._path = directory(root) / "settings.json"
        self._log = log
        self._seen = fingerprint(self._path)
        self._settings = read(self._path)

    def now(self) -> Settings:
        """The newest good settings; costs one stat."""
        seen = fingerprint(self._path)
        if seen != self._seen:
            self._seen = seen
            try:
                self._settings = read(self._path)
            except SettingsError as error:
                self._log.write("settings_refused", error=str(error))
        return self._settings


class Log:
    """`ROOT/globus/log.jsonl`: one line a request and a step of a task, for a test's assertions."""

    def __init__(self, root: Path) -> None:
        self._file = os.open(directory(root) / "log.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, event: str, **fields: Any) -> None:
        """Append one line. One write call: lines of several threads never mix."""
        line = json.dumps({"time": round(time.time(), 6), "event": event, **fields})
        os.write(self._file, line.encode() + b"\n")


def read_log(root: Path, *events: str) -> list[dict[str, Any]]:
    """The log's entries, oldest first; with names, only the entries of these events.

    Events: request (method, path, verb, status, fault), accepted, duplicate, started, fault, held, released,
    ended (status, files, skipped, bytes, faults), service_started, settings_refused,
    faults_refused, and bug, which no test should meet.
    """
    try:
        text = (directory(root) / "log.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]  # the last line may be on its way
    entries = [json.loads(line) for line in whole.splitlines()]
    return [entry for entry in entries if not events or entry["event"] in events]

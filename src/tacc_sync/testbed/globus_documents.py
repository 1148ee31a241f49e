"""The documents that the testbed's Globus service answers with: Transfer API v0.10, field by field.

Pure functions: a task, a file or a collection in, a JSON document out. Guarantee: every field that the real
documents have is there, with the real one's type.
"""

from __future__ import annotations

import grp
import pwd
import stat
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tacc_sync.testbed.globus_journal import describe

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from tacc_sync.testbed.globus_journal import Task
    from tacc_sync.testbed.globus_settings import Collection

Document = dict[str, Any]


def iso(seconds: float | None) -> str | None:
    """A time as the service writes it: UTC, whole seconds."""
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).isoformat()


def result(data_type: str, code: str, message: str, request_id: str, resource: str) -> Document:
    """What an operation answers that has nothing else to say; errors too, which have no DATA_TYPE."""
    document = {"code": code, "message": message, "request_id": request_id, "resource": resource}
    return {"DATA_TYPE": data_type, **document} if data_type else document


def submitted(task_id: str, submission_id: str, kind: str, *, duplicate: bool) -> Document:
    """The part of a transfer_result or delete_result that is about the task."""
    name = kind.lower()
    if duplicate:
        message = f"A {name} with submission_id '{submission_id}' was already submitted"
    else:
        message = f"The {name} has been accepted and a task has been created and queued for execution"
    return {
        "DATA_TYPE": f"{name}_result",
        "code": "Duplicate" if duplicate else "Accepted",
        "message": message,
        "submission_id": submission_id,
        "task_id": task_id,
        "task_link": {
            "DATA_TYPE": "link",
            "href": f"task/{task_id}?format=json",
            "rel": "related",
            "resource": "task",
            "title": "related task",
        },
    }


def nice_status(task: Task) -> str | None:
    """How an unended task fares, in one word."""
    if not task.live:
        return None
    if task.is_paused:
        return "PAUSED_BY_ADMIN"
    if task.status == "INACTIVE":
        return "AUTH"
    if task.error is not None:
        return task.error
    return "OK" if task.working else "Queued"


def task(task: Task, collections: Mapping[str, Collection]) -> Document:
    """The task document."""
    source_id, destination_id = endpoints(task)
    names = {key: value.display_name for key, value in collections.items()}
    document = {
        "DATA_TYPE": "task",
        "task_id": task.task_id,
        "type": task.kind,
        "label": task.label,
        "owner_id": task.owner_id,
        "username": "u_" + task.owner_id.replace("-", "")[:26],
        "command": "API 0.10",
        "request_time": iso(task.request_time),
        "completion_time": iso(task.completion_time),
        "deadline": iso(task.deadline),
        "source_endpoint": "testbed#source",
        "source_endpoint_id": source_id,
        "source_endpoint_display_name": names.get(source_id, ""),
        "destination_endpoint": None if destination_id is None else "testbed#destination",
        "destination_endpoint_id": destination_id,
        "destination_endpoint_display_name": None if destination_id is None else names.get(destination_id, ""),
        "files": task.files,
        "directories": task.directories,
        "symlinks": task.symlinks,
        "files_skipped": task.files_skipped,
        "files_transferred": task.files_transferred,
        "bytes_transferred": task.bytes_transferred,
        "bytes_checksummed": task.bytes_checksummed,
        "effective_bytes_per_second": _rate(task),
        "faults": task.faults,
        "history_deleted": False,
        "canceled_by_admin": task.canceled_by_admin,
        "canceled_by_admin_message": task.canceled_by_admin_message,
        **_options(task),
        **_health(task),
        **_subtasks(task),
    }
    if task.order.get("store_base_path_info"):
        paths = [(item.get("source_path"), item.get("destination_path")) for item in task.items]
        first = paths[0] if len(paths) == 1 else (None, None)
        document["source_base_path"], document["destination_base_path"] = first
    return document


def endpoints(task: Task) -> tuple[str, str | None]:
    """Source and destination of a task; a DELETE has only a source."""
    if task.kind == "DELETE":
        return task.order["endpoint"], None
    return task.order["source_endpoint"], task.order["destination_endpoint"]


def _options(task: Task) -> Document:
    order = task.order
    flags = (
        "delete_destination_extra",
        "encrypt_data",
        "fail_on_quota_errors",
        "preserve_timestamp",
        "skip_source_errors",
        "verify_checksum",
    )
    return {
        **{name: bool(order.get(name, False)) for name in flags},
        "sync_level": order.get("sync_level"),
        "recursive_symlinks": order.get("recursive_symlinks", "ignore"),
        "filter_rules": order.get("filter_rules"),
        "source_local_user": order.get("source_local_user"),
        "destination_local_user": order.get("destination_local_user"),
    }


def _health(task: Task) -> Document:
    nice = nice_status(task)
    return {
        "status": task.status,
        "fatal_error": task.fatal_error,
        "is_ok": (nice in {"OK", "Queued"}) if task.live else None,
        "is_paused": task.is_paused,
        "nice_status": nice,
        "nice_status_details": None,
        "nice_status_expires_in": -1 if task.live else None,
        "nice_status_short_description": {None: None, "OK": "OK", "Queued": "queued"}.get(nice, describe(nice or "")),
    }


def _subtasks(task: Task) -> Document:
    # One subtask more than files: somebody has to look at the source.
    ended = 0 if task.live else 1
    done = task.files_transferred + task.files_skipped
    total = max(task.files, len(task.items) if task.live else 0, done + task.retrying) + 1
    succeeded = done + (1 if task.status == "SUCCEEDED" else 0)
    rest = total - succeeded - task.skipped_errors
    cancelled = bool(task.fatal_error and task.fatal_error["code"] == "CANCELED")
    expired = bool(task.fatal_error and task.fatal_error["code"] == "EXPIRED")
    return {
        "subtasks_total": total,
        "subtasks_succeeded": succeeded,
        "subtasks_pending": 0 if ended else max(0, rest - task.retrying),
        "subtasks_retrying": 0 if ended else task.retrying,
        "subtasks_failed": rest if ended and not (cancelled or expired or task.status == "SUCCEEDED") else 0,
        "subtasks_canceled": rest if cancelled else 0,
        "subtasks_expired": rest if expired else 0,
        "subtasks_skipped_errors": task.skipped_errors,
    }


def _rate(task: Task) -> int:
    elapsed = (task.completion_time or time.time()) - task.request_time
    return int(task.bytes_transferred / elapsed) if elapsed > 0 else 0


def page(data_type: str, rows: list[Document], total: int, limit: int, offset: int) -> Document:
    """A list that is paged by offset."""
    return {
        "DATA_TYPE": data_type,
        "DATA": rows,
        "length": len(rows),
        "limit": limit,
        "offset": offset,
        "total": total,
    }


def marked(data_type: str, rows: list[Document], marker: int, next_marker: int | None) -> Document:
    """A list that is paged by marker."""
    return {"DATA_TYPE": data_type, "DATA": rows, "marker": marker, "next_marker": next_marker}


def told(record: Document) -> Document:
    """An event as clients see it."""
    return {"DATA_TYPE": "event", **record, "time": iso(record["time"])}


def skipped(record: Document) -> Document:
    """A skipped error as clients see it."""
    return {**record, "error_time": iso(record["error_time"])}


def pause_info(task: Task) -> Document:
    """Why a task is paused."""
    return {
        "DATA_TYPE": "pause_info_limited",
        "pause_rules": [],
        "source_pause_message": None,
        "destination_pause_message": task.pause_message if task.is_paused else None,
        "source_pause_message_share": None,
        "destination_pause_message_share": None,
    }


def file(name: str, status: os.stat_result, link: tuple[str, os.stat_result] | None = None) -> Document:
    """A file, directory or other thing in a listing; `link` when the name is a symbolic link to it."""
    target, own = link or (None, None)
    kinds = ((stat.S_ISDIR, "dir"), (stat.S_ISREG, "file"), (stat.S_ISCHR, "chr"), (stat.S_ISBLK, "blk"))
    pipe = "pipe" if stat.S_ISFIFO(status.st_mode) else "other"
    kind = next((word for is_kind, word in kinds if is_kind(status.st_mode)), pipe)
    if stat.S_ISLNK(status.st_mode):
        kind = "invalid_symlink"
    return {
        "DATA_TYPE": "file",
        "name": name,
        "type": kind,
        "size": status.st_size,
        "last_modified": _written(status.st_mtime),
        "permissions": f"{stat.S_IMODE(status.st_mode):04o}",
        "user": user_name(status.st_uid),
        "group": group_name(status.st_gid),
        "link_target": target,
        "link_size": own.st_size if own else None,
        "link_last_modified": _written(own.st_mtime) if own else None,
        "link_user": user_name(own.st_uid) if own else None,
        "link_group": group_name(own.st_gid) if own else None,
    }


def _written(seconds: float) -> str:
    # Listings write times otherwise than tasks do.
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")


_USERS: dict[int, str] = {}
_GROUPS: dict[int, str] = {}


def user_name(uid: int) -> str:
    """A user's name, or number if it has none."""
    if uid not in _USERS:
        try:
            _USERS[uid] = pwd.getpwuid(uid).pw_name
        except KeyError:
            _USERS[uid] = str(uid)
    return _USERS[uid]


def group_name(gid: int) -> str:
    """A group's name, or number if it has none."""
    if gid not in _GROUPS:
        try:
            _GROUPS[gid] = grp.getgrgid(gid).gr_name
        except KeyError:
            _GROUPS[gid] = str(gid)
    return _GROUPS[gid]


def endpoint(collection_id: str, collection: Collection, owner: str) -> Document:
    """The endpoint document of a collection."""
    nothing = (
        "authentication_timeout_mins", "contact_email", "contact_info", "department", "description",
        "expires_in", "gcp_connected", "gcp_paused", "globus_connect_setup_key", "host_endpoint_id",
        "host_path", "info_link", "location", "mapped_collection_id", "max_concurrency", "max_parallelism",
        "myproxy_dn", "myproxy_server", "non_functional_endpoint_display_name", "non_functional_endpoint_id",
        "oauth_server", "preferred_concurrency", "preferred_parallelism", "s3_url", "subscription_id",
    )  # fmt: skip
    false = (
        "acl_available", "acl_editable", "activated", "disable_anonymous_writes", "force_encryption",
        "french_english_bilingual", "in_use", "is_globus_connect", "mfa_required", "non_functional", "public",
        "s3_owner_activated", "shareable",
    )  # fmt: skip
    return {
        "DATA_TYPE": "endpoint",
        **dict.fromkeys(nothing),
        **dict.fromkeys(false, False),
        "id": collection_id,
        "display_name": collection.display_name,
        "canonical_name": f"testbed#{collection_id}",
        "organization": "tacc-sync testbed",
        "owner_id": owner,
        "owner_string": f"{owner}@clients.auth.globus.org",
        "username": "u_testbed",
        "entity_type": collection.entity_type,
        "default_directory": collection.default_directory,
        "disable_verify": collection.disable_verify,
        "force_verify": collection.force_verify,
        "high_assurance": collection.high_assurance,
        "gcs_version": "5.4.90",
        "network_use": "normal",
        "keywords": [],
        "my_effective_roles": [],
        "expires_in": 0,
        "expire_time": "2000-01-02 03:45:06+00:00",
        "DATA": [
            {
                "DATA_TYPE": "server",
                "hostname": "127.0.0.1",
                "id": 1,
                "port": 443,
                "scheme": "gsiftp",
                "subject": None,
                "uri": "gsiftp://127.0.0.1:443",
            }
        ],
    }

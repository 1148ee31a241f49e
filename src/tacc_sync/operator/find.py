"""Which request in finished does a person mean?

Guarantee: nothing is changed. Fails with `OperatorFault` REQUEST-UNKNOWN, and `OSError`.
"""

from __future__ import annotations

from tacc_sync.operator import places
from tacc_sync.rules.documents import BadDocument, NewerDocument
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.identity import SUFFIX, request_key
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk


def key_of(disk: Disk, name: str) -> str:
    """The key of the one request whose id begins so, or that has this label, among those that have a directory in
    finished."""
    layout.open_workspace(disk)
    keys = places.finished_keys(disk)
    wanted = request_key(name)
    found = [key for key in keys if wanted and key.startswith(wanted)] or [
        key for key in keys if _label(disk, key) == name
    ]
    if len(found) == 1:
        return found[0]
    text = f"{len(found)} requests in finished are called {name}" if found else f"no request in finished is {name}"
    raise OperatorFault("REQUEST-UNKNOWN", text, "`tacc-sync status --all` lists them", EX_USAGE)


def _label(disk: Disk, key: str) -> str | None:
    try:
        return queues.read_request(disk, f"{layout.finished(key)}/request{SUFFIX}").label
    except (FileNotFoundError, BadDocument, NewerDocument, OSError):
        return None

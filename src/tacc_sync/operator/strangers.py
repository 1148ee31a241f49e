"""What lies in the queues of units and is no unit of ours.

Guarantee: nothing is changed. Fails with `OSError`.
"""

from __future__ import annotations

from tacc_sync.rules import documents, legacy
from tacc_sync.rules.documents import BadDocument
from tacc_sync.rules.route import UNIT_QUEUES
from tacc_sync.workspace import queues
from tacc_sync.workspace.disk import Disk


def strangers(disk: Disk) -> tuple[list[str], list[str]]:
    """The paths of strangers, and those of work units of the earlier tacc-sync."""
    unknown: list[str] = []
    legacies: list[str] = []
    for queue in UNIT_QUEUES:
        for name in sorted(queues.strangers(disk, queue)):
            # Names with a leading dot are somebody's temporary files, the doctor's among them.
            if not name.startswith("."):
                path = f"{queue}/{name}"
                (legacies if _is_legacy(disk, path) else unknown).append(path)
    return unknown, legacies


def _is_legacy(disk: Disk, path: str) -> bool:
    try:
        return legacy.is_legacy_work(documents.fields_of(disk.read(path, documents.MAX_BYTES)))
    except (BadDocument, OSError):
        return False

"""What lies in the queues, or where marks are kept, and is nothing of ours.

Guarantee: nothing is changed. Fails with `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable

from tacc_sync.operator import places
from tacc_sync.rules import certificate, documents, identity, legacy
from tacc_sync.rules.documents import BadDocument
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.route import REQUEST_QUEUE, STANDING, UNIT_QUEUES
from tacc_sync.workspace import layout, listings, queues
from tacc_sync.workspace.disk import Disk

OF_A_REQUEST = frozenset({
    "admitted.json", "request.json", certificate.MANIFEST, certificate.CHECKSUMS, certificate.CERTIFICATE,
    certificate.SIGNATURE, certificate.BAG, layout.FORECASTS,
})  # fmt: skip


def strangers(disk: Disk) -> tuple[list[str], list[str]]:
    """The paths of strangers, and those of work units of the earlier tacc-sync."""
    unknown: list[str] = []
    legacies: list[str] = []
    unknown += _elsewhere(disk)
    for queue in UNIT_QUEUES:
        for name in sorted(name for name in places.names(disk, queue) if identity.parse_entry(name) is None):
            # Names with a leading dot are somebody's temporary files, the doctor's among them.
            if not name.startswith("."):
                path = f"{queue}/{name}"
                (legacies if _is_legacy(disk, path) else unknown).append(path)
    return unknown, legacies


def _elsewhere(disk: Disk) -> list[str]:
    """What cannot be a request, a finished unit, or a mark of one."""
    ours: dict[str, Callable[[str], bool]] = {
        STANDING: layout.is_document,
        REQUEST_QUEUE: lambda name: name.endswith(SUFFIX),
        layout.RESERVATIONS: lambda name: _is_mark(name, "."),
        layout.RESTS: lambda name: _is_mark(name, "~"),
        layout.LOANS: lambda name: identity.parse_unit(name) is not None,
        layout.SLOTS: lambda name: identity.parse_unit(name) is not None,
        layout.LISTINGS: listings.is_name,
        layout.CHAIN: lambda name: queues.is_number(name.removesuffix(SUFFIX)) and name.endswith(SUFFIX),
    }
    for key in places.finished_keys(disk):
        ours[layout.finished(key)] = _is_of_a_request
    return [
        f"{directory}/{name}"
        for directory, is_ours in ours.items()
        for name in sorted(places.names(disk, directory))
        if not name.startswith(".") and not is_ours(name)
    ]


def _is_of_a_request(name: str) -> bool:
    return name in OF_A_REQUEST or name.startswith(layout.INDEX) or identity.parse_entry(name) is not None


def _is_mark(name: str, separator: str) -> bool:
    unit, _, number = name.rpartition(separator)
    return identity.parse_unit(unit) is not None and queues.is_number(number)


def _is_legacy(disk: Disk, path: str) -> bool:
    try:
        return legacy.is_legacy_work(documents.fields_of(disk.read(path, documents.MAX_BYTES)))
    except (BadDocument, OSError):
        return False

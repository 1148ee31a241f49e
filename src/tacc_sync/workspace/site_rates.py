"""Reads what was measured of this site: `rates.json`.

Guarantee: what cannot be read, or a newer tacc-sync wrote, counts as not measured.
Fails with the disk's `OSError`.
"""

from __future__ import annotations

from tacc_sync.rules import documents
from tacc_sync.rules.measuring import VERSION
from tacc_sync.rules.site_rates import SiteRates
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk

LARGEST = 1 << 20


def read(disk: Disk) -> SiteRates | None:
    """What was measured, when anything was."""
    try:
        content = disk.read(layout.SITE_RATES, LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in NO_DOCUMENT:
            raise
        return None
    found = documents.decode_or_none(content, SiteRates)
    return found if found is not None and found.version <= VERSION else None

"""Which of our hashes goes to Globus with each file (`external_checksum`): what both endpoints are known to understand.
Pure.

Guarantee: nothing is sent that was not configured by name or seen to work between these very two collections.
"""

from __future__ import annotations

from tacc_sync.rules import documents

VERSION = 1
AUTO = "auto"


@documents.readable
class Understood(documents.Struct, kw_only=True):
    """`checksums.json`: what `doctor` has found out. `understood`: algorithms by which Globus verified a small file
    against our hash, the best first; `refused`: those with which its task failed."""

    version: int
    source_collection: str
    destination_collection: str
    understood: list[str]
    refused: list[str]
    found_at: str = ""


def candidates(record_algorithm: str) -> list[str]:
    """What is worth trying: those that every copy is hashed by anyway."""
    return list(dict.fromkeys(["sha512", *filter(None, [record_algorithm])]))


def is_about(known: Understood | None, source: str, destination: str) -> bool:
    """Whether it speaks of these two collections."""
    return known is not None and (known.source_collection, known.destination_collection) == (source, destination)


def choose(configured: str, known: Understood | None, source: str, destination: str) -> str:
    """The algorithm of the hashes that go along; "" when none do."""
    if configured != AUTO:
        return configured
    if known is None or not is_about(known, source, destination):
        return ""
    return known.understood[0] if known.understood else ""

"""Is a file delivered? What the service's record of one transferred file proves, and what it does not.

Guarantee: `Delivered` is said only of a record with our size and a checksum equal to one that we have taken
ourselves, unless the operator has explicitly accepted records without checksum; sizes must always agree.
Fails with: nothing; what cannot be judged yet is `NeedsHash`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGITS = {
    "adler32": 8,
    "crc32": 8,
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
}
"""Hexadecimal digits of the checksums that are known."""

COMPUTABLE = frozenset(DIGITS)
"""The algorithms that Python can compute without further libraries: all of these."""

_NUMBERS = {"adler32", "crc32"}
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Delivered:
    """Proven; `algorithm` is None when only the size was compared, as the operator has accepted."""

    algorithm: str | None


@dataclass(frozen=True, slots=True)
class NotDelivered:
    """Not proven, and why."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class NeedsHash:
    """Compute this hash from the buffer's copy, and judge again."""

    algorithm: str


@functools.lru_cache(maxsize=64)
def algorithm_name(said: str | None) -> str | None:
    """Our name of an algorithm: `MD5` is `md5`, `SHA-512` is `sha512`; None when none was said."""
    name = "".join(c for c in (said or "").casefold() if c.isalnum())
    return name or None


def checksum_value(algorithm: str, said: str | None) -> str | None:
    """A checksum in the form in which two may be compared, or None when it is none of this algorithm."""
    value = (said or "").strip().lower().removeprefix("0x")
    if algorithm in _NUMBERS:
        value = value.zfill(DIGITS[algorithm]) if value else ""  # some print it as a number
    if not _HEX.fullmatch(value):
        return None
    return value if len(value) == DIGITS.get(algorithm, len(value)) else None


def judge_record(
    *,
    size: int,
    hashes: Mapping[str, str],
    record_size: int | None,
    record_checksum: str | None,
    record_algorithm: str | None,
    accept_without_checksum: bool = False,
) -> Delivered | NotDelivered | NeedsHash:
    """Whether the file of `size` bytes whose hashes we took is delivered, according to this record."""
    if record_size is None:
        return NotDelivered("RECORD-WITHOUT-SIZE", "Globus' record does not tell the file's size")
    if record_size != size:
        return NotDelivered("RECORD-SIZE-DIFFERS", f"Globus transferred {record_size} bytes, the file has {size}")
    algorithm = algorithm_name(record_algorithm)
    if algorithm is None or not (record_checksum or "").strip():
        if accept_without_checksum:
            return Delivered(None)
        return NotDelivered("RECORD-WITHOUT-CHECKSUM", "Globus' record has no checksum: size alone proves nothing")
    theirs = checksum_value(algorithm, record_checksum)
    if theirs is None:
        return NotDelivered("RECORD-CHECKSUM-ODD", f"Globus' record has {record_checksum!r} as {algorithm}")
    ours = {algorithm_name(name): value for name, value in hashes.items()}.get(algorithm)
    if ours is None:
        if algorithm in COMPUTABLE:
            return NeedsHash(algorithm)
        if accept_without_checksum:
            return Delivered(None)
        return NotDelivered("RECORD-ALGORITHM-UNKNOWN", f"Globus' record has a {algorithm}, which we cannot compute")
    if theirs != checksum_value(algorithm, ours):
        return NotDelivered("RECORD-CHECKSUM-DIFFERS", f"{algorithm} of the copy is {theirs}, of the file {ours}")
    return Delivered(algorithm)

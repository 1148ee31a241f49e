"""Is a file at the destination already, so that no tape has to be mounted for it? Pure.

Guarantee: nothing but the word of a delivery of ours makes a file `proven`, and only as long as the archive and the
destination both are as that delivery left them; size alone proves nothing; what one of our own tasks may have left
there half-done counts as nothing; what differs from everything that is known is never overwritten in silence.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tacc_sync.rules.documents import File

# absent: nothing is there, or only what an unproven task of ours left. update: what we delivered is there, the archive
# has changed since. conflict: what is there differs from the archive, and from what we left.
Verdict = Literal["absent", "proven", "present", "update", "conflict"]


class Remote(NamedTuple):
    """A file at the destination: bytes, and epoch seconds (None when the collection does not tell)."""

    size: int
    mtime: float | None


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a delivery of ours says of a destination: by which request, of which version of the archive's file, and how
    it left the copy."""

    request: str
    size: int
    mtime: int | None
    written: str
    archive_hash: str
    delivered_at: str
    hashes: dict[str, str] = field(default_factory=dict)
    receipt: str = ""


class Adopted(NamedTuple):
    """What the operator has taken over at a destination: by which request, of which version of the archive's file."""

    request: str
    size: int
    written: str


def vouched_by(request: str, file: File) -> Vouched:
    """What a file that `request` has delivered says of its destination."""
    return Vouched(
        request=request,
        size=file.size,
        mtime=file.mtime,
        written=file.written,
        archive_hash=file.archive_hash,
        delivered_at=file.delivered_at,
        hashes=file.hashes,
        receipt=file.receipt,
    )


def prove(file: File, vouched: Vouched) -> None:
    """Note that a delivery proves that a file is at the destination."""
    file.outcome, file.vouched_by = "proven", vouched.request
    file.hashes, file.archive_hash, file.mtime = vouched.hashes, vouched.archive_hash, vouched.mtime
    file.receipt = vouched.receipt


def contradiction(said: Mapping[str, str], known: Vouched) -> str:
    """In what a delivery of ours differs from what others vouch for (`algorithm:hex` by who does); "" when in nothing
    that can be compared."""
    for who, value in sorted(said.items()):
        algorithm, _, theirs = value.partition(":")
        ours = _known_hash(known, algorithm)
        if ours and ours != theirs:
            return f"{algorithm} in the {who} is {theirs}, of what request {known.request} delivered it is {ours}"
    return ""


def is_comparable(said: str, known: Vouched | None) -> bool:
    """Is a hash of this algorithm known of what was delivered?"""
    return known is not None and bool(_known_hash(known, said.partition(":")[0]))


def _known_hash(known: Vouched, algorithm: str) -> str:
    of_archive = dict([known.archive_hash.split(":", 1)]) if ":" in known.archive_hash else {}
    return known.hashes.get(algorithm) or of_archive.get(algorithm, "")


def judge(
    *,
    size: int,
    written: str,
    times: Collection[int],
    remote: Remote | None,
    vouched: Vouched | None,
    is_unproven: bool = False,
) -> Verdict:
    """What the archive's file (`size` bytes, `written` as it prints it, which may mean any of `times`) is to what lies
    at its destination. `is_unproven`: a task of ours has been at work there, and nothing proves what it left."""
    if remote is None:
        return "absent"
    if vouched is not None and as_left(remote, vouched):
        unchanged = vouched.size == size and vouched.written == written
        return "proven" if unchanged else "update"
    if is_unproven:
        return "absent"
    if remote.size == size and remote.mtime is not None and int(remote.mtime) in times:
        return "present"
    return "conflict"


def as_left(remote: Remote, vouched: Vouched) -> bool:
    """Is what lies there what that delivery left there, by size and time?"""
    same_time = vouched.mtime is not None and remote.mtime is not None and int(remote.mtime) == vouched.mtime
    return same_time and remote.size == vouched.size


def times_of(written: str, zone: str) -> tuple[int, ...]:
    """The moments (epoch seconds) that the archive's date, which has no zone, may mean; two in the hour that a clock is
    put back by, none when it is no date. `zone` is an IANA name, "" for this host's own."""
    try:
        naive = dt.datetime.fromisoformat(written)
    except ValueError:
        return ()
    if naive.tzinfo is not None:
        return (int(naive.timestamp()),)
    tz = zoneinfo.ZoneInfo(zone) if zone else None
    moments = {int(naive.replace(fold=fold, tzinfo=tz).timestamp()) for fold in (0, 1)}
    return tuple(sorted(moments))

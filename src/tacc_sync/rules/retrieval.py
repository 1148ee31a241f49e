"""What counts as retrieved? Decided from what lies in the buffer, never from an exit status. Pure.

Guarantee: a file is retrieved only when it has its full size, no hole, and either the archive's own hash or, where
the archive has none, hsi's own line with that byte count (or the operator configured that size and freedom from holes
suffice)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tacc_sync.rules.documents import File, Why
from tacc_sync.rules.patience import from_iso

# A smaller file is read within the second that lies between two looks at one that arrives.
FOLLOWED_FROM = 256 * 1024 * 1024
# Sums of 32 bits: by chance another content has the same.
_SUMS = frozenset({"adler32", "crc32"})


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Proven, and by what."""

    proof: Literal["hash", "line", "size"]


def algorithms(file: File, record_algorithm: str) -> list[str]:
    """What to compute in the one read: sha512, the algorithms of the archive and of who else vouches, and the one that
    Globus' records use."""
    wanted = ["sha512"]
    known = (said.partition(":")[0] for said in (file.archive_hash, *file.vouched.values()))
    for name in (*known, record_algorithm):
        if name and name not in wanted:
            wanted.append(name)
    return wanted


def is_followed(file: File) -> bool:
    """Is this file to be hashed while it arrives? It must be so large that this saves time, and what was read then can
    be believed only where somebody knows a hash of it that no other content has."""
    if file.size < FOLLOWED_FROM:
        return False
    return any(said and said.partition(":")[0] not in _SUMS for said in (file.archive_hash, *file.vouched.values()))


def is_expected(file: File, hashes: Mapping[str, str]) -> bool:
    """Are these hashes what everybody who vouches for this file says, and does anybody?"""
    judged = judge_content(file, hashes, reported_bytes=None, unhashed="line")
    return isinstance(judged, Retrieved) and judged.proof == "hash"


def judge_shape(file: File, *, size: int | None, has_hole: bool, said: str) -> Why | None:
    """What is wrong before anything is hashed; `size` None when no file is there; `said`: hsi's error for it."""
    if size is None:
        return Why(code="FILE-NOT-FETCHED", text=said or "hsi ended without this file and without a word about it")
    if size != file.size:
        text = f"{size} bytes arrived, the listing says {file.size}"
        return Why(code="FILE-SIZE-DIFFERS", text=f"{text}; hsi said: {said}" if said else text)
    if has_hole:
        return Why(code="FILE-HAS-HOLES", text="the file has its full size, but parts of it were never written")
    return None


def judge_content(
    file: File, hashes: Mapping[str, str], *, reported_bytes: int | None, unhashed: str
) -> Retrieved | Why:
    """Is the content proven?"""
    said = {"the archive": file.archive_hash, **{f"the {who}": value for who, value in sorted(file.vouched.items())}}
    said = {who: value for who, value in said.items() if value}
    for who, value in said.items():
        algorithm, _, expected = value.partition(":")
        if hashes[algorithm] != expected:
            text = f"{algorithm} in {who} {expected}, in the buffer {hashes[algorithm]}"
            return Why(code="CHECKSUM-DIFFERS", text=text)
    if said:
        return Retrieved("hash")
    if reported_bytes == file.size:
        return Retrieved("line")
    if unhashed == "size":
        return Retrieved("size")
    if reported_bytes is not None:
        return Why(code="FILE-SIZE-DIFFERS", text=f"hsi reports {reported_bytes} bytes, the listing {file.size}")
    return Why(
        code="RETRIEVAL-UNPROVEN",
        text="the archive has no hash of this file, and hsi printed no line that confirms its bytes"
        " (see [hsi] get_options and unhashed in tacc-sync.toml)",
    )


def has_lain(file: File, *, now: float, running_since: float, longest: float) -> bool:
    """Is this file's copy in the buffer to be hashed again before it is sent? What has lain for `longest` seconds, or
    since before this process began, which may have been before the host went down. Times in epoch seconds."""
    seen = max(from_iso(file.retrieved_at), from_iso(file.checked_at))
    # Times in documents are whole seconds.
    return seen < int(running_since) or now - seen > longest


def ours(file: File) -> list[str]:
    """The algorithms by which a copy at rest is known again: all that is claimed of it goes on to Globus."""
    return sorted(file.hashes) or ["sha512"]


def judge_rest(file: File, found: Mapping[str, str] | None) -> Why | None:
    """Is the copy still what was retrieved?"""
    if found is None:
        return Why(code="BUFFER-LOST", text="its copy in the transfer buffer is gone")
    if dict(found) == file.hashes:
        return None
    return Why(
        code="BUFFER-ROTTEN",
        text=f"its copy in the buffer has changed while it lay there: sha512 was {file.hashes.get('sha512')},"
        f" is {found.get('sha512')}",
    )


def suspects(errors: Iterable[str], have: Iterable[bool]) -> list[bool]:
    """Which of the files that did not arrive are to be counted: those of which hsi said something, and, as a session
    that broke off says nothing of the rest, the first one that is missing without a word."""
    counted: list[bool] = []
    found_first = False
    for error, here in zip(errors, have, strict=True):
        silent = not here and not error
        counted.append(not here and (bool(error) or not found_first))
        found_first = found_first or silent
    return counted

"""The certificate of a finished request: what it says, how it is written, and whether it stands by its own digest, by
the lines of its manifest, and by its neighbours in the workspace's chain of certificates. Pure.

Guarantee: what `encode` writes, `decode` finds without a flaw; each flaw has a code of the runbook and names its file,
and its line where it has one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from tacc_sync.rules.documents import Struct, encode_any, readable

VERSION = 1

MANIFEST = "manifest.jsonl"
CHECKSUMS = "manifest-sha512.txt"
BAG = "bag"
BAG_CHECKSUMS = f"{BAG}/manifest-sha512.txt"
BAG_DECLARATION = f"{BAG}/bagit.txt"
BAG_INFO = f"{BAG}/bag-info.txt"
BAG_TAGS = f"{BAG}/tagmanifest-sha512.txt"
CERTIFICATE = "certificate.json"
SIGNATURE = "certificate.json.sig"

# Who vouches for a hash: the archive (its own hash), the list given with the request, the file catalog, the buffer (we
# have computed it from the copy there), the destination (Globus' record of the delivered file).
VOUCHERS = ("archive", "list", "catalog", "buffer", "destination")

_DIGEST = b',\n "digest": "'
_CLOSE = b'"\n}\n'


class Count(Struct, kw_only=True):
    """So many files with so many bytes."""

    files: int
    bytes: int


class Sealed(Struct, kw_only=True):
    """A file beside the certificate: its size in bytes, and its hash."""

    size: int
    sha512: str


class Chained(Struct, kw_only=True):
    """The hash chain over the manifest: how many lines, the `chain` of the last one, and that of each `every`-th."""

    lines: int
    last: str
    every: int
    checkpoints: list[str] = []  # noqa: RUF012


class Previous(Struct, kw_only=True):
    """The certificate before this one in the workspace's chain."""

    number: int
    request_id: str
    sha512: str


@readable
class Certificate(Struct, kw_only=True):
    """What a finished request was, and the hashes of everything that proves it. Times are ISO 8601 in UTC."""

    version: int
    request_id: str
    workspace_id: str
    number: int
    previous: Previous | None = None
    written_by: str
    source: list[str]
    destination: str
    label: str = ""
    requested_by: str = ""
    planned_at: str
    first_retrieved_at: str = ""
    last_delivered_at: str = ""
    finished_at: str
    outcomes: dict[str, Count]
    vouched: dict[str, int]
    manifest: Chained
    files: dict[str, Sealed]
    digest: str = ""


@readable
class Entry(msgspec.Struct, kw_only=True):
    """What matters of a line of the manifest; it may say more."""

    line: int = 0
    outcome: str = ""
    size: int = 0
    destination: str = ""
    hashes: dict[str, str] = {}
    vouched: dict[str, list[str]] = {}
    retrieved_at: str | None = None
    delivered_at: str | None = None


_ENTRY = msgspec.json.Decoder(Entry)


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is not as it was written: a code of the runbook, the file, the line (0: none), what."""

    code: str
    file: str
    line: int
    text: str

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{self.code}: {where}: {self.text}"


@dataclass(slots=True)
class Tally:
    """What the lines of a manifest add up to."""

    outcomes: dict[str, Count] = field(default_factory=dict)
    vouched: dict[str, int] = field(default_factory=dict)
    first_retrieved_at: str = ""
    last_delivered_at: str = ""

    def add(self, entry: Entry) -> None:
        """Count a line."""
        count = self.outcomes.setdefault(entry.outcome, Count(files=0, bytes=0))
        count.files += 1
        count.bytes += entry.size
        if entry.retrieved_at:
            self.first_retrieved_at = min(self.first_retrieved_at or entry.retrieved_at, entry.retrieved_at)
        if entry.outcome != "delivered":
            return
        self.last_delivered_at = max(self.last_delivered_at, entry.delivered_at or "")
        said = {who for by in entry.vouched.values() for who in by}
        who = " ".join(name for name in VOUCHERS if name in said)
        self.vouched[who] = self.vouched.get(who, 0) + 1


def total(outcomes: Mapping[str, Count], wanted: Collection[str]) -> Count:
    """The files of these outcomes, added up."""
    counts = [count for outcome, count in outcomes.items() if outcome in wanted]
    return Count(files=sum(count.files for count in counts), bytes=sum(count.bytes for count in counts))


def entry_of(line: bytes) -> Entry | None:
    """What a line of the manifest says; None when it cannot be understood."""
    try:
        return _ENTRY.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


# --- making ------------------------------------------------------------------------------------------------------


def bag_declaration() -> bytes:
    """`bagit.txt`."""
    return b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def bag_info(request_id: str, label: str, software: str, day: str, delivered: Count) -> bytes:
    """`bag-info.txt`: what the payload is, and how much."""
    lines = [
        f"External-Identifier: {request_id}",
        *([f"External-Description: {label}"] if label.strip() else []),
        f"Bagging-Date: {day}",
        f"Bag-Software-Agent: {software}",
        f"Payload-Oxum: {delivered.bytes}.{delivered.files}",
    ]
    return ("\n".join(lines) + "\n").encode()


def encode(certificate: Certificate) -> bytes:
    """Write a certificate; its last field is the sha512 of what stands in front of it."""
    bare = encode_any(msgspec.structs.replace(certificate, digest=""))
    body = bare.removesuffix(b"\n}\n")
    return body + _DIGEST + hashlib.sha512(body).hexdigest().encode() + _CLOSE


# --- checking ----------------------------------------------------------------------------------------------------


def decode(content: bytes) -> tuple[Certificate | None, list[Flaw]]:
    """Read a certificate; None when it cannot be understood at all."""
    body, _, rest = content.rpartition(_DIGEST)
    flaws = []
    if rest != hashlib.sha512(body).hexdigest().encode() + _CLOSE:
        text = "its `digest` is not that of its content: it was changed after it was written"
        flaws.append(Flaw("CERTIFICATE-CHANGED", CERTIFICATE, 0, text))
    try:
        return msgspec.json.decode(content, type=Certificate), flaws
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        text = f"it cannot be read: {error}"[:300]
        if not flaws:
            text += " (a newer tacc-sync may have written it: upgrade)"
        return None, [*flaws, Flaw("CERTIFICATE-CHANGED", CERTIFICATE, 0, text)]


def flaws_of_counts(certificate: Certificate, tally: Tally) -> Iterator[Flaw]:
    """Where the certificate's figures are not those of the manifest's lines."""
    for name, said, found in (
        ("outcomes", certificate.outcomes, tally.outcomes),
        ("vouched", certificate.vouched, tally.vouched),
        ("first_retrieved_at", certificate.first_retrieved_at, tally.first_retrieved_at),
        ("last_delivered_at", certificate.last_delivered_at, tally.last_delivered_at),
    ):
        if said != found:
            text = f"`{name}` is {_plain(said)}, the manifest's lines say {_plain(found)}"
            yield Flaw("CERTIFICATE-CHANGED", CERTIFICATE, 0, text)


def _plain(value: object) -> str:
    return msgspec.json.encode(value).decode()


def flaws_of_order(
    number: int, content: bytes, before: bytes | None, after: bytes | None, entry: bytes | None, where: str
) -> Iterator[Flaw]:
    """Does a certificate stand in the workspace's chain as it says? `entry`: the chain's own copy of it; `before`,
    `after`: the copies of its neighbours, None where there is none."""
    found, _ = decode(content)
    if found is None:
        return
    if entry is None:
        yield Flaw("CERTIFICATE-CHAIN", where, 0, f"the chain has no certificate {number}")
    elif entry != content:
        yield Flaw("CERTIFICATE-CHAIN", where, 0, f"certificate {number} of the chain is another one")
    if number == 1 and found.previous is not None:
        yield Flaw("CERTIFICATE-CHAIN", where, 0, "it is the first one, and names one before it")
    if number > 1:
        if found.previous is None or found.previous.number != number - 1:
            yield Flaw("CERTIFICATE-CHAIN", where, 0, f"it does not name certificate {number - 1}")
        elif before is None:
            yield Flaw("CERTIFICATE-CHAIN", where, 0, f"certificate {number - 1}, the one before it, is missing")
        elif hashlib.sha512(before).hexdigest() != found.previous.sha512:
            text = f"certificate {number - 1}, the one before it, has changed since"
            yield Flaw("CERTIFICATE-CHAIN", where, 0, text)
    if after is not None:
        following, _ = decode(after)
        said = following.previous if following is not None else None
        if said is None or said.sha512 != hashlib.sha512(content).hexdigest():
            text = f"certificate {number + 1}, the one after it, was written after another one than this"
            yield Flaw("CERTIFICATE-CHAIN", where, 0, text)

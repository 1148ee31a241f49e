"""Checking the proofs of finished requests: with nothing but their files, and with the workspace's chain where it lies
beside them.

Guarantee: nothing is changed and nobody outside is asked; memory does not grow with the number of files.
Fails with `OSError`, and `OperatorFault` SSH-KEYGEN-MISSING or SIGNERS-MISSING where a signature is to be checked.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tacc_sync.outside.ssh import keygen
from tacc_sync.rules import certificate, checksum_lists, completion
from tacc_sync.rules.certificate import Certificate, Count, Flaw
from tacc_sync.rules.identity import SUFFIX, is_key
from tacc_sync.rules.manifest_chain import LONGEST_LINE, ManifestCheck

CHAIN = "chain"
# Of one file; whoever has lost more than that needs another copy, not a longer list.
MOST = 50
LISTS: dict[str, Callable[[str, str], bytes]] = {
    certificate.CHECKSUMS: checksum_lists.coreutils_line,
    certificate.BAG_CHECKSUMS: checksum_lists.bag_line,
}


@dataclass(slots=True)
class Verdict:
    """What was found in one directory. `notes`: what could not be checked, and why."""

    path: str
    request_id: str = ""
    number: int = 0
    finished_at: str = ""
    lines: int = 0
    outcomes: dict[str, Count] = field(default_factory=dict)
    vouched: dict[str, int] = field(default_factory=dict)
    signed_by: str = ""
    flaws: list[Flaw] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(directory: Path, *, allowed_signers: str = "") -> Verdict:
    """Check a request's directory in finished, or a copy of it."""
    verdict = Verdict(str(directory))
    content = _read(directory / certificate.CERTIFICATE)
    if content is None:
        text = "there is none here: the request is not finished, or an earlier tacc-sync has finished it"
        verdict.flaws.append(Flaw("CERTIFICATE-MISSING", certificate.CERTIFICATE, 0, text))
        return verdict
    found, flaws = certificate.decode(content)
    verdict.flaws += flaws
    if found is not None:
        verdict.request_id, verdict.number, verdict.finished_at = found.request_id, found.number, found.finished_at
        verdict.lines, verdict.outcomes, verdict.vouched = found.manifest.lines, found.outcomes, found.vouched
        _files(directory, found, verdict)
        _place(directory, found, content, verdict)
    _signature(directory, content, allowed_signers, verdict)
    return verdict


def verify_chain(chain: Path) -> Verdict:
    """Check the workspace's chain of certificates from the first to the last."""
    verdict = Verdict(str(chain))
    numbers = sorted(int(path.stem) for path in chain.glob(f"*{SUFFIX}") if path.stem.isascii() and path.stem.isdigit())
    verdict.number = numbers[-1] if numbers else 0
    for number in range(1, verdict.number + 1):
        path = _entry(chain, number)
        content = _read(path)
        if content is None:
            verdict.flaws.append(Flaw("CERTIFICATE-CHAIN", str(path), 0, "it is missing"))
            continue
        found, flaws = certificate.decode(content)
        verdict.flaws += [Flaw(flaw.code, str(path), 0, flaw.text) for flaw in flaws]
        if found is not None and found.number != number:
            text = f"it calls itself certificate {found.number}"
            verdict.flaws.append(Flaw("CERTIFICATE-CHAIN", str(path), 0, text))
        before = _read(_entry(chain, number - 1))
        verdict.flaws += certificate.flaws_of_order(number, content, before, None, content, str(path))
    return verdict


def directories(finished: Path) -> list[Path]:
    """The directories of all requests that have a certificate."""
    found = (path for path in finished.iterdir() if is_key(path.name))
    return sorted(path for path in found if (path / certificate.CERTIFICATE).exists())


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, with their newlines; one that is longer than any of ours comes in pieces."""
    with path.open("rb", buffering=1 << 20) as file:
        while line := file.readline(LONGEST_LINE):
            yield line


# --- the parts ---------------------------------------------------------------------------------------------------


class _Hashing:
    """Lines that are hashed as they pass."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self._running = hashlib.sha512()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self._running.update(line)
            self.size += len(line)
            yield line

    @property
    def sealed(self) -> certificate.Sealed:
        return certificate.Sealed(size=self.size, sha512=self._running.hexdigest())


def _files(directory: Path, found: Certificate, verdict: Verdict) -> None:
    names = {certificate.MANIFEST, *LISTS, *found.files}
    missing = {name for name in names if not (directory / name).is_file()}
    for name in sorted(missing):
        verdict.flaws.append(Flaw("PROOF-MISSING", name, 0, "the certificate names it, and it is not there"))
    if certificate.MANIFEST in missing:
        return
    check = ManifestCheck(found)
    lines = _Hashing(read_lines(directory / certificate.MANIFEST))
    flaws = _some(_manifest_flaws(check, lines), certificate.MANIFEST)
    whole = lines.sealed == found.files.get(certificate.MANIFEST)
    if not whole and not flaws:
        text = "its hash is not the one in the certificate, though its lines and its chain are"
        flaws.append(Flaw("MANIFEST-CHANGED", certificate.MANIFEST, 0, text))
    verdict.flaws += flaws
    if whole:
        verdict.flaws += certificate.flaws_of_counts(found, check.tally)
    for name in sorted(names - missing - {certificate.MANIFEST}):
        verdict.flaws += _flaws_of(directory, name, found, whole=whole)


def _manifest_flaws(check: ManifestCheck, lines: Iterable[bytes]) -> Iterator[Flaw]:
    for line in lines:
        yield from check.line(line)
    yield from check.end()


def _flaws_of(directory: Path, name: str, found: Certificate, *, whole: bool) -> list[Flaw]:
    lines = _Hashing(read_lines(directory / name))
    flaws = []
    if name in LISTS:
        expected = _expected(directory / certificate.MANIFEST, found.destination, LISTS[name])
        flaws = _some(checksum_lists.flaws_of_list(name, expected, lines), name)
    else:
        deque(lines, maxlen=0)
    if lines.sealed != found.files.get(name):
        return flaws or [Flaw("PROOF-CHANGED", name, 0, "its hash is not the one in the certificate")]
    # A list that is as it was written is not to blame for a manifest that is not.
    return flaws if whole else []


def _expected(manifest: Path, destination: str, line: Callable[[str, str], bytes]) -> Iterator[bytes]:
    for raw in read_lines(manifest):
        entry = certificate.entry_of(raw)
        if entry is not None and entry.outcome in completion.PROVEN and "sha512" in entry.hashes:
            yield line(checksum_lists.relative(entry.destination, destination), entry.hashes["sha512"])


def _some(flaws: Iterator[Flaw], name: str) -> list[Flaw]:
    """The first flaws; the rest is counted, and read to its end all the same, for the hash."""
    found = list(islice(flaws, MOST))
    if more := sum(1 for _ in flaws):
        found.append(Flaw(found[-1].code, name, 0, f"and {more} more of this kind"))
    return found


def _place(directory: Path, found: Certificate, content: bytes, verdict: Verdict) -> None:
    chain = directory.absolute().parent / CHAIN
    if not chain.is_dir():
        text = f"the chain of certificates is not here: whether this is number {found.number} of it was not checked"
        verdict.notes.append(text)
        return
    before, entry, after = (_read(_entry(chain, found.number + step)) for step in (-1, 0, 1))
    verdict.flaws += certificate.flaws_of_order(found.number, content, before, after, entry, certificate.CERTIFICATE)


def _signature(directory: Path, content: bytes, allowed_signers: str, verdict: Verdict) -> None:
    path = directory / certificate.SIGNATURE
    if not path.is_file():
        if allowed_signers:
            text = "there is none; `tacc-sync sign` makes it"
            verdict.flaws.append(Flaw("SIGNATURE-MISSING", certificate.SIGNATURE, 0, text))
        return
    if not allowed_signers:
        verdict.notes.append("signed, not checked: --allowed-signers FILE says whose signature counts")
        return
    checked = keygen.check(content, str(path), allowed_signers)
    if checked.good:
        verdict.signed_by = checked.text
    else:
        verdict.flaws.append(Flaw("SIGNATURE-BAD", certificate.SIGNATURE, 0, checked.text))


def _entry(chain: Path, number: int) -> Path:
    return chain / f"{number:08d}{SUFFIX}"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None

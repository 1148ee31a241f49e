"""`hashlist`, `hashcreate` and `hashverify` of the simulated hsi: three commands, three formats.

hashlist reads the catalogue only and repeats the path as it was given; the other two read every byte from
tape, and hashverify prints the absolute path. A directory without `-R`: hashlist is silent and ends with 1,
the other two warn and end with 0. The order of a recursive answer means nothing. `-A` is auto-scheduling, not
"all".
"""

from __future__ import annotations

import os
import zlib

from tacc_sync.testbed.hpss_faults import FILE_KINDS, first
from tacc_sync.testbed.hsi_get import digest_of
from tacc_sync.testbed.hsi_words import Usage, Word, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tacc_sync.testbed.hsi_session import Session
    from tacc_sync.testbed.tape_catalogue import Entry

HASH_KINDS = FILE_KINDS & {"error", "vanish", "size", "wrong-hash"}
ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


def run_hash(session: Session, words: list[Word], command: str) -> None:
    """One of the three commands."""
    chosen, rest = options(words, b"RACSNhPF", b"HT")
    session.crash_if_too_many(rest)
    if not rest:
        raise Usage("missing path")
    algorithm = chosen.get("H", b"md5").decode("latin-1").lower()
    if algorithm not in ALGORITHMS:
        raise Usage(f"unknown hash type: {algorithm}")
    targets = session.targets(rest)
    faults, mark = session.begin_answer(command, targets)
    for shown, path in targets:
        entry = session.catalogue.find(path) if "h" in chosen else session.follow(path)
        if entry is None:
            session.refuse(command, path)
        elif entry.kind == "d":
            _directory(session, command, shown, entry, algorithm if "R" in chosen else None)
        elif entry.kind == "f":
            _file(session, command, shown, entry, algorithm)
    session.end_answer(faults, mark)


def _directory(session: Session, command: str, shown: bytes, entry: Entry, algorithm: str | None) -> None:
    if algorithm is None:
        if command == "hashlist":
            session.status = session.status or 1
        else:
            session.say(b"*** Warning: `" + shown + b"' is a directory - ignored")
        return
    start = len(entry.path.rstrip(b"/")) + 1
    base = entry.path if shown in (b"", b".") else shown
    below = [each for each in session.catalogue.below(entry.path) if each.kind == "f"]
    for each in sorted(below, key=lambda each: zlib.crc32(each.path)):
        _file(session, command, base.rstrip(b"/") + b"/" + each.path[start:], each, algorithm)


def _file(session: Session, command: str, shown: bytes, entry: Entry, algorithm: str) -> None:
    faults = session.faults.take(command, [entry.path], HASH_KINDS)
    if session.spoil(command, entry, faults) is None:
        return
    if first(faults, "wrong-hash") and entry.hex:
        entry.hex = entry.hex[::-1] if entry.hex != entry.hex[::-1] else "0" * len(entry.hex)
    kind = entry.algorithm.encode()
    if command == "hashlist":
        if entry.hex:
            session.say(b"%s %s %s [hsi]" % (entry.hex.encode(), kind, shown))
        else:
            session.say(b"(none)  " + shown)
    elif command == "hashcreate":
        digest = _read_from_tape(session, entry, algorithm)
        session.catalogue.set_hash(entry.path, algorithm, digest)
        session.say(f"{digest} ({algorithm}) ".encode() + shown)
    elif not entry.hex:
        session.fail(shown + b" failed: no valid checksum found")
    elif _read_from_tape(session, entry, entry.algorithm) == entry.hex:
        session.say(entry.path + b": (" + kind + b") OK")
    else:
        session.fail(entry.path + b": (" + kind + b") checksum mismatch")


def _read_from_tape(session: Session, entry: Entry, algorithm: str) -> str:
    if entry.volumes:
        session.clock.take(entry.volumes)
        session.clock.locate(entry.start)
        if session.settings.read_bytes_per_second:
            session.clock.nap(entry.size / session.settings.read_bytes_per_second)
        session.clock.advance(entry.size)
    source = os.open(entry.data, os.O_RDONLY)
    try:
        return digest_of(source, algorithm, entry.data_at, entry.size)
    finally:
        os.close(source)

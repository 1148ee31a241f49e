"""`get` and `cget` of the simulated hsi: files come from their tapes, in the order asked for.

`get [-c on] [-C] [-P] [-T on|off] [-A|-N|-S] LOCAL : HPSS ...`, also without `LOCAL :` (the file lands in the
current directory), also as a list `get << EOF`. What `stage` has
asked for is awaited, and comes from disk. As with the real one: blanks around the colon are needed; an existing local
file is overwritten without asking (`cget` leaves it alone, whatever is in it); a failed
transfer leaves what had arrived; the next file is tried, and the exit code at the end is 64. `-P` keeps the
modification time, `-c on` compares with the archive's hash where there is one, `-C` (purge the disk cache) is
only written into the log.
"""

from __future__ import annotations

import os
import time

from tacc_sync.testbed.hpss_faults import ALL_KINDS, Fault, first
from tacc_sync.testbed.hsi_words import BadLine, Usage, Word, options, split_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tacc_sync.testbed.hsi_session import Session
    from tacc_sync.testbed.tape_catalogue import Entry

GET_KINDS = ALL_KINDS - {"cut"}
PIECE = 8 << 20
TICK = 0.05


class TransferFailed(Exception):
    """A file did not arrive; the text is what hsi says after `get: Error`."""


def run_get(session: Session, words: list[Word], command: str) -> None:
    """`get` or `cget` with its arguments."""
    chosen, rest = options(words, b"CPANSsu", b"cT")
    transfer = Transfer(session, command, chosen)
    marker = here_document(rest)
    if marker is not None:
        for line in iter(session.next_line, None):
            if line.strip() == marker:
                return
            try:
                transfer.run([word for part in split_line(line) for word in part])
            except (BadLine, Usage) as trouble:
                session.fail(f"*** {command}: {trouble}".encode())
        return
    session.crash_if_too_many([word for word in rest if not word.is_live(b":")])
    if not rest:
        raise Usage("missing path")
    transfer.run(rest)


def here_document(words: list[Word]) -> bytes | None:
    """The end marker, if these words announce a list (`<< EOF` or `<<EOF`)."""
    if words and words[0].text[:2] == b"<<" and all(words[0].live[:2]):
        marker = words[0].text[2:] or (words[1].text if len(words) > 1 else b"")
        if not marker:
            raise Usage("<< needs an end marker")
        return marker
    return None


class Transfer:
    """The files of one command."""

    def __init__(self, session: Session, command: str, chosen: dict[str, bytes]) -> None:
        self.session = session
        self.command = command
        self.chosen = chosen
        # Whether the file that is fetched now lies on the archive's disks.
        self._from_disk = False
        client = session.client
        self.is_talkative = not client.popen or session.settings.get_lines_under_P

    def run(self, words: list[Word]) -> None:
        """Get `LOCAL : HPSS` pairs and single paths, mixed at will."""
        at = 0
        while at < len(words):
            if at + 1 < len(words) and words[at + 1].is_live(b":"):
                if at + 2 >= len(words):
                    raise Usage("missing path after ':'")
                path = words[at + 2]
                if path.is_pattern():
                    raise Usage("wildcards cannot be renamed")
                self.fetch(words[at].text, path.text)
                at += 3
                continue
            for shown, path_bytes in self.session.targets([words[at]]):
                self.fetch(shown[shown.rfind(b"/") + 1 :], path_bytes)
            at += 1

    def fetch(self, local: bytes, hpss: bytes) -> None:
        """Get one file."""
        session = self.session
        session.sleep_through_maintenance()
        path = session.resolve(hpss)
        if self.command == "cget" and os.path.lexists(local):
            return
        faults = session.faults.take(self.command, [path], GET_KINDS)
        session.suffer([fault for fault in faults if fault.what in ("sleep", "exit")])
        noise = first(faults, "noise")
        if noise:
            session.say(os.fsencode(noise.text("line", "[connecting to archive.example.org/1217]")))
        entry = session.follow(path)
        if entry is None:
            session.refuse(self.command, path)
        elif entry.kind != "f":
            session.refuse(self.command, path, "Is a directory", "-21: HPSS_EISDIR")
        elif session.spoil(self.command, entry, [fault for fault in faults if not is_midway(fault)]):
            self._receive(local, path, entry, faults)
            session.flush()
            return
        session.log("get", path=os.fsdecode(path), local=os.fsdecode(local), bytes=0, ok=False, cartridges=[])

    def _receive(self, local: bytes, path: bytes, entry: Entry, faults: list[Fault]) -> None:
        session = self.session
        began = time.monotonic()
        ok = True
        count = 0
        try:
            target = os.open(local, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            session.fail(f"get: Error -{error.errno} ({error.strerror}) opening local file for ".encode() + path)
            session.log("get", path=os.fsdecode(path), local=os.fsdecode(local), bytes=0, ok=False, cartridges=[])
            return
        try:
            count = self._deliver(target, path, entry, faults)
            if "P" in self.chosen:
                os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
        except TransferFailed as trouble:
            ok = False
            if str(trouble):
                session.fail(b"get: Error " + str(trouble).encode() + b" " + path)
        except OSError as error:
            ok = False
            session.fail(f"get: Error -{error.errno} ({error.strerror}) on transfer ".encode() + path)
        finally:
            size = os.fstat(target).st_size
            os.close(target)
        session.log(
            "get",
            path=os.fsdecode(path),
            local=os.fsdecode(local),
            bytes=size,
            ok=ok,
            cartridges=list(entry.volumes),
            section=entry.section,
            offset=entry.offset,
            purge="C" in self.chosen,
            faults=[fault.what for fault in faults],
        )
        if ok and self.is_talkative:
            rate = count / 1024 / max(time.monotonic() - began, 1e-6)
            date = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(entry.written)).encode()
            session.say(b"get  '%s' : '%s' (%s %d bytes, %.1f KBS )" % (local, path, date, count, rate))

    def _deliver(self, target: int, path: bytes, entry: Entry, faults: list[Fault]) -> int:
        """Write the file; the number of bytes that hsi will tell."""
        session = self.session
        is_staged = session.queue.has(entry)
        if is_staged:
            session.queue.bring(entry)
        elif entry.volumes:
            session.queue.use_drive()
            session.clock.take(entry.volumes)
            session.clock.locate(entry.start)
        stop = first(faults, "error", "hang", "signal", "truncate")
        size = where_to_stop(entry.size, stop)
        self._from_disk = is_staged or not entry.volumes
        self._write(target, entry, size, first(faults, "zeros"))
        if entry.volumes and not is_staged:
            session.clock.advance(size)
            session.queue.used_drive()
        if stop and stop.what == "error":
            session.report(self.command, path, stop)
            raise TransferFailed
        session.suffer([fault for fault in faults if fault.what in ("hang", "signal")])
        if stop and stop.what == "hang":
            # It was only a long pause.
            self._copy(target, entry, size, entry.size)
        if first(faults, "flip"):
            flip_a_byte(target)
        if self.chosen.get("c") == b"on" and not any(is_unseen(fault) for fault in faults):
            self._compare(target, path, entry)
        return entry.size

    def _write(self, target: int, entry: Entry, size: int, zeros: Fault | None) -> None:
        """Write the first bytes of an archived file, or zeros where a trouble wants it so."""
        good = min(size, int(entry.size * zeros.number("fraction", 0))) if zeros else size
        self._copy(target, entry, 0, good)
        if zeros:
            fill_with_zeros(target, good, size, is_hole=zeros.is_set("holes"))

    def _copy(self, target: int, entry: Entry, start: int, end: int) -> None:
        """Write these bytes of an archived file, not faster than tape or disk cache are."""
        settings = self.session.settings
        rate = settings.disk_bytes_per_second if self._from_disk else settings.read_bytes_per_second
        # At a rate the file grows in small steps: whoever watches it must see that it lives.
        piece = max(1, int(rate * TICK)) if rate else PIECE
        began, at = time.monotonic(), start
        source = os.open(entry.data, os.O_RDONLY) if end > start else -1
        try:
            while at < end:
                sent = os.sendfile(target, source, entry.data_at + at, min(piece, end - at))
                if not sent:
                    # The data ends early: changed since it was archived, or a trouble made it longer.
                    sent = os.write(target, b"\xee" * min(piece, end - at))
                at += sent
                if rate:
                    elapsed = (time.monotonic() - began) / max(settings.time_scale, 1e-9)
                    self.session.clock.nap((at - start) / rate - elapsed)
        finally:
            if source >= 0:
                os.close(source)

    def _compare(self, target: int, path: bytes, entry: Entry) -> None:
        if not entry.hex:
            wanted = self.session.settings.missing_checksum
            if wanted == "error":
                raise TransferFailed("-2 checksum not set for")
            if wanted == "message":
                self.session.say(b"get: checksum not set for " + path)
            return
        if digest_of(target, entry.algorithm) != entry.hex:
            raise TransferFailed("-5 on transfer: checksum mismatch for")


def is_unseen(fault: Fault) -> bool:
    """Whether wrong bytes come after hsi has compared them with the archive's hash."""
    return fault.what in ("flip", "truncate", "zeros") and not fault.is_set("seen")


def where_to_stop(size: int, stop: Fault | None) -> int:
    """How many bytes of a file arrive when this trouble strikes."""
    if stop is None:
        return size
    part = int(size * stop.number("fraction", 0.5))
    return int(stop.number("bytes", part)) if stop.what == "truncate" else part


def is_midway(fault: Fault) -> bool:
    """Whether an error strikes in the middle of the bytes; one with a name comes before them."""
    return fault.what == "error" and "name" not in fault.particulars


def digest_of(descriptor: int, algorithm: str, start: int = 0, size: int | None = None) -> str:
    """Hash of an open file, or of a part of it."""
    import hashlib  # noqa: PLC0415  costs more than all of the rest together

    digest = hashlib.new(algorithm)
    at = start
    while size is None or at < start + size:
        piece = os.pread(descriptor, PIECE if size is None else min(PIECE, start + size - at), at)
        if not piece:
            break
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


def flip_a_byte(target: int) -> None:
    """Spoil the byte in the middle."""
    middle = os.fstat(target).st_size // 2
    byte = os.pread(target, 1, middle)
    if byte:
        os.pwrite(target, bytes([byte[0] ^ 0x55]), middle)


def fill_with_zeros(target: int, start: int, end: int, *, is_hole: bool) -> None:
    """Bring a file to its full size without its content, as an interrupted parallel write does."""
    if is_hole:
        os.ftruncate(target, end)
        return
    at = start
    while at < end:
        at += os.pwrite(target, bytes(min(PIECE, end - at)), at)

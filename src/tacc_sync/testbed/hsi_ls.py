"""`ls` of the simulated hsi, in the forms that tools for tape archives use.

`-1` full paths, a slash after directories. `-l`, `-U` (adds class of service, account, DISK or TAPE), `-V`
(adds a block about the tape level): entries below a `directory:` line; `-D` long dates. `-P`: one line an
object, fields separated by tabs, 13 for a file. `-R` recursion, `-a` hidden names too, `-d` the directory
itself, `-s` sizes; `-N` changes nothing. Paths are printed as they are, whatever is in them: so does the real
one.

A relative argument gives relative paths under `-P`, bare names when there is no argument at all.
"""

from __future__ import annotations

import os
import time
import zlib

from tacc_sync.testbed.hpss_faults import FILE_KINDS
from tacc_sync.testbed.hsi_words import Word, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tacc_sync.testbed.hsi_session import Session
    from tacc_sync.testbed.tape_catalogue import Entry

LISTING_KINDS = FILE_KINDS & {"error", "vanish", "move", "size"}
ACCOUNT = 112498


class Listing:
    """One `ls` command."""

    def __init__(self, session: Session, chosen: dict[str, bytes]) -> None:
        self.session = session
        self.chosen = chosen
        self._dates: dict[int, bytes] = {}

    def run(self, targets: list[tuple[bytes, bytes]]) -> None:
        """List these."""
        for shown, path in targets:
            entry = self.session.catalogue.find(path)
            if entry is None:
                self.session.refuse("ls", path)
                continue
            seen = self._seen(entry)
            if seen is None:
                continue
            if "P" in self.chosen:
                self._tabbed(shown, seen)
            elif self.chosen.keys() & {"l", "U", "V"}:
                self._long(shown, seen)
            else:
                self._names(seen)

    def _seen(self, entry: Entry) -> Entry | None:
        if not self.session.faults.rules:
            return entry
        return self.session.spoil("ls", entry, self.session.faults.take("ls", [entry.path], LISTING_KINDS))

    def _is_opened(self, entry: Entry) -> bool:
        return entry.kind == "d" and "d" not in self.chosen

    def _within(self, entry: Entry) -> Iterator[Entry]:
        """What a directory argument stands for."""
        start = len(entry.path.rstrip(b"/"))
        if "R" in self.chosen:
            found: Iterable[Entry] = self.session.catalogue.below(entry.path)
        else:
            found = self.session.catalogue.children(entry.path)
        unreadable: bytes | None = None
        for each in found:
            if "a" not in self.chosen and b"/." in each.path[start:]:
                continue
            if unreadable is not None and each.path.startswith(unreadable):
                continue
            seen = self._seen(each)
            if seen is not None:
                yield seen
            elif each.kind == "d":
                unreadable = each.path + b"/"

    # -- ls -1

    def _names(self, entry: Entry) -> None:
        for each in self._within(entry) if self._is_opened(entry) else [entry]:
            size = b"%d " % each.size if "s" in self.chosen else b""
            self.session.say(size + each.path + (b"/" if each.kind == "d" else b""))

    # -- ls -P

    def _tabbed(self, shown: bytes, entry: Entry) -> None:
        if not self._is_opened(entry):
            self.session.say(self._record(shown, entry))
            return
        if "R" in self.chosen and self.session.settings.list_root_directory:
            self.session.say(self._record(shown, entry))
        base = shown.rstrip(b"/") + b"/" if shown not in (b"", b".") else b""
        start = len(entry.path.rstrip(b"/")) + 1
        say = self.session.say
        wait, listed = self._pace(), 0
        for listed, each in enumerate(self._within(entry), 1):
            say(self._record(base + each.path[start:], each))
            wait(listed)
        self.session.log("listed", path=os.fsdecode(entry.path), deep="R" in self.chosen, entries=listed)

    def _pace(self) -> Callable[[int], None]:
        """What waits after so many entries, so that a listing is as slow as the settings say."""
        settings = self.session.settings
        if not settings.list_entries_per_second:
            return lambda _listed: None
        at_once = max(1, int(settings.list_entries_per_second / 20))

        def wait(listed: int) -> None:
            if listed % at_once == 0:
                self.session.flush()
                time.sleep(at_once / settings.list_entries_per_second * settings.time_scale)

        return wait

    def _record(self, shown: bytes, entry: Entry) -> bytes:
        settings = self.session.settings
        tab = b" \t " if settings.pad_fields else b"\t"
        if entry.kind == "d":
            return b"DIRECTORY" + tab + shown
        if entry.kind == "l":
            return settings.link_word.encode() + tab + shown
        place = b"%d+%d" % (entry.section, entry.offset) if entry.volumes else b"0"
        volumes = ",".join(label + "00" for label in entry.volumes) if entry.volumes else settings.blank_vv
        size = b"%d" % entry.size
        return tab.join(
            (
                b"FILE",
                shown,
                size,
                size,
                place,
                volumes.encode(),
                b"%d" % entry.cos,
                b"0",
                b"1",
                self._two_fields(entry.written, tab),
                self._two_fields(entry.accessed, tab),
            )
        )

    def _two_fields(self, when: int, tab: bytes) -> bytes:
        text = self._dates.get(when)
        if text is None:
            text = time.strftime("%m/%d/%Y|%H:%M:%S", time.localtime(when)).encode().replace(b"|", tab)
            self._dates[when] = text
        return text

    # -- ls -l, -U, -V

    def _long(self, shown: bytes, entry: Entry) -> None:
        say = self.session.say
        if not self._is_opened(entry):
            parent = shown[: shown.rfind(b"/")] if b"/" in shown else b""
            if parent and self.session.settings.file_header:
                say(parent + b":")
            self._line(entry)
            return
        if "R" in self.chosen and shown:
            say(b"")
        waiting = [(shown or entry.path, entry)]
        is_first = True
        while waiting:
            header, directory = waiting.pop(0)
            if not is_first:
                say(b"")
            is_first = False
            say(header + b":")
            inner = []
            for each in self.session.catalogue.children(directory.path):
                name = each.path[each.path.rfind(b"/") + 1 :]
                seen = self._seen(each) if "a" in self.chosen or name[:1] != b"." else None
                if seen is None:
                    continue
                self._line(seen)
                if seen.kind == "d" and "R" in self.chosen:
                    inner.append((header.rstrip(b"/") + b"/" + name, seen))
            waiting[:0] = inner

    def _line(self, entry: Entry) -> None:
        settings = self.session.settings
        mode, links = {"d": ("drwxr-s---", 2), "l": ("lrwxrwxrwx", 1), "f": ("-rw-r-----", 1)}[entry.kind]
        text = f"{mode}{links:5d} {settings.user:<9s} {settings.group:<8s}"
        size = 512 if entry.kind == "d" else len(entry.data) if entry.kind == "l" else entry.size
        if self.chosen.keys() & {"U", "V"}:
            if entry.kind == "f":
                text += f"{entry.cos:7d}{ACCOUNT:13d} {'TAPE' if entry.volumes else 'DISK':4s}{size:14d}"
            else:
                text += f"{'':7s}{ACCOUNT:13d}{size:19d}"
        else:
            text += f" {size:11d}"
        form = "%a %b %e %H:%M:%S %Y" if "D" in self.chosen else "%b %e %H:%M"
        text += time.strftime(f" {form} ", time.localtime(entry.written))
        name = entry.path[entry.path.rfind(b"/") + 1 :]
        self.session.say(text.encode() + name + (b"@ -> " + entry.data if entry.kind == "l" else b""))
        if "V" in self.chosen and entry.kind == "f":
            self._tape_block(entry)

    def _tape_block(self, entry: Entry) -> None:
        say = self.session.say
        say(b"Storage   VV   Stripe  ")
        say(b" Level   Count  Width  Bytes at Level")
        say(b"-" * 76)
        if entry.volumes:
            where = f"{entry.volumes[0]}:{entry.section}".encode()
            width = len(entry.volumes)
            say(b" 1 (tape)   1       %d  %d" % (width, entry.size))
            say(b"  VV[ 0]:   Object ID: %08x-04-00000001-%016x-3f1d" % (100004, zlib.crc32(where)))
            labels = ",".join(label + "00" for label in entry.volumes).encode()
            say(b"  Pos:  %d+%d   PV List: %s   " % (entry.section, entry.offset, labels))
        else:
            say(b" 1 (tape)   0       1                                 (no data at this level)")
        say(b"")
        say(b"")


def run_ls(session: Session, words: list[Word]) -> None:
    """`ls [options] [path ...]`."""
    chosen, rest = options(words, b"1lRDaNUVPsdFhSTtxAC")
    session.crash_if_too_many(rest)
    targets = session.targets(rest) if rest else [(b"", session.directory)]
    faults, mark = session.begin_answer("ls", targets)
    Listing(session, chosen).run(targets)
    session.end_answer(faults, mark)

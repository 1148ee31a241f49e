"""One run of the simulated hsi: what it has open, how it speaks, how it is let in, how it ends.

Guarantee: what was printed before a crash or a kill is out (each command's answer is flushed), every event is
one whole line in log.jsonl, and a session counts against the limit exactly as long as its process lives.

Fails with: Leave (the process ends now with this exit code). Anything else is a bug of the testbed or a
broken site.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time

from tacc_sync.testbed.hpss_faults import Fault, Faults, first
from tacc_sync.testbed.hpss_sessions import dismiss
from tacc_sync.testbed.hpss_settings import Settings, SitePaths
from tacc_sync.testbed.hsi_words import Word, alternatives, pattern_of
from tacc_sync.testbed.tape_catalogue import Catalogue, Entry
from tacc_sync.testbed.tape_clock import TapeClock
from tacc_sync.testbed.tape_queue import TapeQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

EX_BADPARAM = 64
FULL_BUFFER = 1 << 16
POLL = 0.05


class Leave(BaseException):
    """End the process with this exit code, whatever was still to do."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Stream:
    """An output that is flushed at the end of each command, or when it is full."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.pending = bytearray()
        self.is_held = False

    def write(self, data: bytes) -> None:
        """Print."""
        self.pending += data
        if len(self.pending) > FULL_BUFFER and not self.is_held:
            self.flush()

    def flush(self) -> None:
        """Let go of everything printed so far."""
        data = memoryview(bytes(self.pending))
        self.pending.clear()
        while data:
            data = data[os.write(self._descriptor, data) :]


class ClientOptions:
    """What stood before the first command."""

    quiet: bool = False
    popen: bool = False
    echo: bool = False
    listing_file: bytes = b""


class Session:
    """Everything that the commands of one run share."""

    def __init__(self, paths: SitePaths, client: ClientOptions, argv: list[str]) -> None:
        self.paths = paths
        self.client = client
        self.argv = argv
        self.settings = Settings.load(paths)
        self.faults = Faults(paths)
        self.stdout, self.stderr = Stream(1), Stream(2)
        self.out = self.stdout if client.popen else self.stderr
        if client.listing_file:
            self.out = Stream(os.open(client.listing_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
        self.name = f"{os.getpid()}.{time.time_ns()}"
        self.directory = os.fsencode(self.settings.home)
        self.status = 0
        self.forced_status: int | None = None
        self.echo = client.popen and self.settings.echo_in_lines
        if client.echo:
            self.echo = True
        self._log_file = os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._is_in = False
        self._catalogue: Catalogue | None = None
        # Where `get << EOF` finds the lines of its list; set by whoever reads commands.
        self.next_line: Callable[[], bytes | None] = lambda: None
        self.clock = TapeClock(paths, self.settings, self.name, self.log)
        self.queue = TapeQueue(self.settings, self.clock, self.log)
        os.environ["TZ"] = self.settings.timezone
        time.tzset()

    @property
    def catalogue(self) -> Catalogue:
        """The archive's catalogue, opened when first asked for."""
        if self._catalogue is None:
            self._catalogue = Catalogue(self.paths.catalogue)
        return self._catalogue

    # -- words out

    def log(self, event: str, **facts: object) -> None:
        """Append one event; a single write, so that lines of several processes never mix."""
        line = {"t": round(time.time(), 6), "event": event, "session": self.name, **facts}
        os.write(self._log_file, json.dumps(line).encode() + b"\n")

    def say(self, line: bytes) -> None:
        """Print a line of an answer where this run prints answers."""
        self.out.write(line + b"\n")

    def flush(self) -> None:
        """Let go of everything printed."""
        for stream in (self.stdout, self.stderr, self.out):
            stream.flush()

    def fail(self, line: bytes, code: int = EX_BADPARAM) -> None:
        """Print an error line and remember that not all went well; the batch goes on."""
        self.say(line)
        self.status = code if self.status in (0, code) else EX_BADPARAM

    def refuse(
        self,
        command: str,
        path: bytes,
        text: str = "No such file or directory",
        code: str = "-2: HPSS_ENOENT",
    ) -> None:
        """Print the generic error: what went wrong, and on a line of its own, for which path."""
        self.fail(f"*** {command}: {text} [{code}]".encode() + b"\n    " + path)

    # -- coming and going

    def begin(self, living: int) -> None:
        """We are in, as one of so many."""
        self._is_in = True
        self.log("session-begin", pid=os.getpid(), argv=self.argv, living=living)

    def sleep_through_maintenance(self) -> None:
        """Do what hsi does while HPSS is in maintenance: wait, without a word, for ever."""
        if self.paths.is_raised("maintenance"):
            self.log("sleeping")
            self.flush()
            while self.paths.is_raised("maintenance"):
                time.sleep(POLL)

    def leave(self) -> int:
        """End in order; the exit code."""
        self.flush()
        self.clock.release()
        code = self.status if self.forced_status is None else self.forced_status
        if self._is_in:
            self.log("session-end", exit=code)
            dismiss(self.paths, self.name)
        return code

    def crash(self, signal_number: int = signal.SIGSEGV) -> NoReturn:
        """Die as a program dies of its bug: no word, no clean-up; but leave no core file lying about."""
        self.flush()
        self.log("crash", signal=int(signal_number))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if signal_number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), signal_number)
        while True:
            time.sleep(1)

    # -- paths and what they stand for

    def resolve(self, path: bytes) -> bytes:
        """The absolute path that a path means here, without `.`, `..`, and doubled slashes."""
        parts: list[bytes] = []
        for part in (path if path[:1] == b"/" else self.directory + b"/" + path).split(b"/"):
            if part == b"..":
                del parts[-1:]
            elif part not in (b"", b"."):
                parts.append(part)
        return b"/" + b"/".join(parts)

    def targets(self, words: list[Word]) -> list[tuple[bytes, bytes]]:
        """For each path argument, as it was given and absolute; wildcards are replaced by what they match."""
        found = []
        for word in words:
            if not word.is_pattern():
                found.append((word.text, self.resolve(word.text)))
                continue
            matches = [match for one in alternatives(word) for match in self._matches(one)]
            if not matches:
                self.fail(b"Warning: No matching names located for '" + word.text + b"'")
            found += matches
        return found

    def _matches(self, word: Word) -> list[tuple[bytes, bytes]]:
        here = b"" if word.text[:1] == b"/" else self.directory.rstrip(b"/") + b"/"
        beginning, pattern = pattern_of(Word(here + word.text, bytes(len(here)) + word.live))
        start = self.resolve(beginning)
        if not word.is_pattern():
            return [(word.text, start)] if self.catalogue.find(start) else []
        below = self.catalogue.below(start)
        return [(entry.path[len(here) :], entry.path) for entry in below if pattern.fullmatch(entry.path)]

    def follow(self, path: bytes) -> Entry | None:
        """The object at a path, links followed."""
        for _ in range(10):
            entry = self.catalogue.find(path)
            if entry is None or entry.kind != "l":
                return entry
            path = self.resolve(entry.data if entry.data[:1] == b"/" else path[: path.rfind(b"/") + 1] + entry.data)
        return None

    def spoil(self, command: str, entry: Entry, faults: list[Fault]) -> Entry | None:
        """The object as these troubles let it appear; None, and the error is printed, when they hide it."""
        for fault in faults:
            if fault.what == "vanish":
                self.refuse(command, entry.path)
                return None
            if fault.what == "error":
                self.report(command, entry.path, fault)
                return None
            if fault.what == "move":
                entry.volumes = fault.volumes()
                entry.section = int(fault.number("section", 1))
                entry.offset = int(fault.number("offset", 0))
            elif fault.what == "size":
                entry.size = max(0, int(fault.number("size", entry.size + fault.number("delta", 1))))
                entry.algorithm = entry.hex = ""
        return entry

    def report(self, command: str, path: bytes, fault: Fault) -> None:
        """Print the error line of an `error` trouble."""
        code = int(fault.number("code", -5))
        self.forced_status = int(fault.number("exit", 0)) if "exit" in fault.particulars else self.forced_status
        if "line" in fault.particulars:
            self.fail(os.fsencode(fault.text("line", "")).replace(b"{path}", path))
        elif command in ("get", "cget") and "name" not in fault.particulars:
            self.fail(f"get: Error {code} on transfer ".encode() + path)
        else:
            self.refuse(command, path, fault.text("text", "I/O error"), f"{code}: {fault.text('name', 'HPSS_EIO')}")

    # -- troubles that concern a whole command

    def suffer(self, faults: list[Fault]) -> None:
        """Let time pass, hang or die, as these troubles say."""
        for fault in faults:
            if fault.what in ("sleep", "hang"):
                self.flush()
                if fault.is_set("ignore_term"):
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                ends = time.monotonic() + fault.number("seconds", 1 if fault.what == "sleep" else 1e9)
                while (left := ends - time.monotonic()) > 0:
                    time.sleep(min(left, 3600))
            elif fault.what == "signal":
                self.crash(int(fault.number("signal", signal.SIGKILL)))
            elif fault.what == "exit":
                self.forced_status = int(fault.number("exit", 75))

    def crash_if_too_many(self, words: list[Word]) -> None:
        """The real hsi does not survive many path arguments."""
        if len(words) > self.settings.max_paths:
            self.crash()

    def begin_answer(self, command: str, targets: list[tuple[bytes, bytes]]) -> tuple[list[Fault], int]:
        """Before the answer of a listing command: meet its troubles; hold the answer back if they cut it."""
        paths = [path for _, path in targets] or [self.directory]
        faults = self.faults.take(command, paths, frozenset({"sleep", "hang", "signal", "exit", "cut", "noise"}))
        self.suffer(faults)
        self.out.is_held = first(faults, "cut", "noise") is not None
        return faults, len(self.out.pending)

    def end_answer(self, faults: list[Fault], mark: int) -> None:
        """After it: spoil the answer, if it is to be spoilt."""
        self.out.is_held = False
        cut, noise = first(faults, "cut"), first(faults, "noise")
        if not (cut or noise):
            return
        lines = [line + b"\n" for line in bytes(self.out.pending[mark:]).split(b"\n")[:-1]]
        if noise:
            lines.insert(
                (len(lines) + 1) // 2,
                os.fsencode(noise.text("line", "[connecting to archive.example.org/1217]")) + b"\n",
            )
        if cut:
            kept = int(cut.number("after_lines", len(lines) // 2))
            rest = lines[kept : kept + 1]
            lines = lines[:kept]
            if cut.is_set("inside") and rest:
                lines.append(rest[0][: max(1, len(rest[0]) // 2)])
        del self.out.pending[mark:]
        self.out.pending += b"".join(lines)
        if cut:
            self.flush()
            self.forced_status = int(cut.number("exit", 0))
            raise Leave(self.forced_status)

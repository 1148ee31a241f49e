"""Runs hsi on a leash, reads both of its streams as they come, and ends it when it is no longer wanted.

Guarantee: when `Kennel.run` returns or raises, hsi and everything in its process group are dead. While it runs they die
with us: see leash.py. Output is handed on in pieces of bounded size and never kept.
Fails with: OperatorFault HSI-MISSING (it can't be started), WorldFault (no file handles, disk full), and whatever the
caller's own functions raise.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.hpss import leash
from tacc_sync.rules.faults import Fault, OperatorFault, WorldFault, of_os_error

PIECE = 1 << 18
# Why a program was ended that the leash killed because we did not pulse, being frozen or unable to beat.
STOPPED = "stopped"
# How long a killed process may take to vanish, and how long its last words are waited for.
SECONDS_TO_DIE = 20.0
# Far more than fit on a command line, so that it can only be a flood.
KEPT_OF_STDERR = 4096


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit status (negative: the signal), and the reason if it was us who ended it."""

    exit_status: int
    killed_because: str


def find_program(command: Sequence[str], what: str) -> str:
    """The absolute path of a program; OperatorFault when it can't be run."""
    name = command[0] if command else ""
    found = shutil.which(name) if name else None
    if found:
        return str(Path(found).absolute())
    if os.sep in name and Path(name).is_file():
        text = f"{what} is not executable: {name}"
    elif os.sep in name:
        text = f"{what} does not exist: {name}"
    else:
        text = f"{what} is not in PATH: {name!r}"
    raise OperatorFault("HSI-MISSING", text, "run on a host that has hsi, or configure where it is")


class Kennel:
    """Starts programs on leashes, and holds the other ends."""

    def __init__(self, clock: Clock, *, leash_seconds: float, tick_seconds: float) -> None:
        self._clock = clock
        self._leash_seconds = leash_seconds
        self._tick_seconds = tick_seconds
        self._lock = threading.Lock()
        self._lifelines: set[int] = set()
        # Seconds since boot up to which a program may run without a further pulse; 0 before the first one.
        self._entitled_until = 0.0

    def pulse(self) -> None:
        """Tell all running programs that they are still wanted, and those that are started next that they may be."""
        with self._lock:
            self._entitled_until = leash.uptime() + self._leash_seconds
            for lifeline in self._lifelines:
                # A full pipe means that the leash is frozen, a broken one that it has just ended.
                with contextlib.suppress(BlockingIOError, BrokenPipeError):
                    os.write(lifeline, b".")

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        on_output: Callable[[int, bytes], None],
        why_kill: Callable[[float], str],
    ) -> Ended:
        """Run a command to its end.

        `on_output(stream, bytes)` gets what it prints (0 stdout, 1 stderr). `why_kill(quiet)` is asked about every
        tick, with the seconds since it last printed something; a reason ends the program.
        """
        try:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise _host_fault(error) from error
        os.set_blocking(write_end, False)
        leashed = [
            sys.executable,
            "-I",
            "-S",
            leash.__file__,
            str(read_end),
            str(self._leash_seconds),
            str(self._entitled_until),
            "--",
            *command,
        ]
        with self._lock:
            self._lifelines.add(write_end)
        process: subprocess.Popen[bytes] | None = None
        try:
            try:
                process = subprocess.Popen(
                    leashed,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=dict(environment),
                    cwd=directory,
                    pass_fds=(read_end,),
                    start_new_session=True,
                    bufsize=0,
                )
            except OSError as error:
                raise _host_fault(error) from error
            finally:
                os.close(read_end)
            return self._attend(process, write_end, on_output, why_kill)
        finally:
            self._let_go(write_end)
            if process is not None:
                _bury(process)

    def _attend(
        self,
        process: subprocess.Popen[bytes],
        lifeline: int,
        on_output: Callable[[int, bytes], None],
        why_kill: Callable[[float], str],
    ) -> Ended:
        """Hand on the output until both streams end; then, or when killed, wait for the process."""
        killed_because = ""
        last_words = b""
        now = self._clock.uptime()
        last_output, next_tick, deadline = now, now, float("inf")
        with selectors.DefaultSelector() as selector:
            for stream, pipe in enumerate((process.stdout, process.stderr)):
                assert pipe is not None
                selector.register(pipe, selectors.EVENT_READ, stream)
            while now < deadline:
                # With both streams closed the process itself may live on; it is looked at every tick.
                if not selector.get_map() and process.poll() is not None:
                    break
                if process.poll() is not None and deadline == float("inf"):
                    # Its streams are held open by somebody who escaped from its group.
                    deadline = now + SECONDS_TO_DIE
                wait = max(0.0, min(self._tick_seconds, next_tick - now))
                if selector.get_map():
                    for key, _ in selector.select(wait):
                        data = os.read(key.fd, PIECE)
                        if not data:
                            selector.unregister(key.fileobj)
                            continue
                        last_output = self._clock.uptime()
                        if key.data == 1:
                            last_words = (last_words + data)[-KEPT_OF_STDERR:]
                        on_output(key.data, data)
                else:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(max(wait, 0.01))
                now = self._clock.uptime()
                if now >= next_tick and not killed_because:
                    next_tick = now + self._tick_seconds
                    killed_because = why_kill(now - last_output)
                    if killed_because:
                        self._let_go(lifeline)
                        deadline = now + SECONDS_TO_DIE
        status = _bury(process)
        if status == leash.EX_CANNOT_START and leash.CANNOT_START.encode() in last_words:
            text = last_words.decode(errors="replace").strip().rpartition("leash: ")[2]
            raise OperatorFault("HSI-MISSING", text, "look at the program and at the file system it lies on")
        if status == -signal.SIGKILL and leash.UNWANTED.encode() in last_words:
            killed_because = killed_because or STOPPED
        return Ended(status, killed_because)

    def _let_go(self, lifeline: int) -> None:
        """The leash kills what it holds."""
        with self._lock:
            if lifeline in self._lifelines:
                self._lifelines.discard(lifeline)
                os.close(lifeline)


def _bury(process: subprocess.Popen[bytes]) -> int:
    """Wait for a leash that has been let go, or has nothing left to hold; the exit status."""
    try:
        process.wait(SECONDS_TO_DIE)
    except subprocess.TimeoutExpired:
        # Its death kills hsi itself, by the kernel.
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return process.returncode


def _host_fault(error: OSError) -> Fault:
    """This host can't start another process now."""
    known = of_os_error(error, "starting hsi")
    if known is not None and error.errno not in (errno.EACCES, errno.EPERM):
        return known
    return WorldFault(
        "HOST-BUSY", f"cannot start hsi: {error}", "this host is out of processes or memory; passes by itself"
    )

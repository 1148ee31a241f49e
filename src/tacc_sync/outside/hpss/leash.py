"""Runs a program so that it cannot outlive, or work on unseen by, the process that wanted it.

    python -I -S leash.py LIFELINE_FD SECONDS DEADLINE -- COMMAND [ARGUMENT ...]

The other end of the lifeline pipe is held by the process that wanted the program. When that process dies the pipe
ends; when it is frozen no bytes come through for SECONDS (0: that is not watched). In both cases the program and all
processes of its group are killed at once: whoever takes over its work may rely on nobody still writing. Until the first
byte comes DEADLINE holds (seconds since boot; 0: SECONDS from now): a process that was frozen just before it started
us may not have been entitled to do so any more, and then the program is not started.

Guarantee: when this process has ended, so have the program and its process group; the exit status, or the signal that
ended the program, is passed on. If this process itself is killed, the kernel kills the program.
Fails with: exit status 126 and a line `leash: cannot start ...` when the program can't be started; SIGKILL and a line
`leash: nobody ...` when SECONDS or DEADLINE were over.

It needs nothing but the standard library and takes a hundredth of a second to start. Libraries that an environment
preloads for us (conda does so) break hsi, so the program doesn't get them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CANNOT_START = "leash: cannot start "
UNWANTED = "leash: nobody has wanted it for too long"
EX_CANNOT_START = 126
PR_SET_PDEATHSIG = 1
# A process that ignores these would leave hsi unable to notice a closed pipe.
RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    lifeline, seconds, deadline, command = int(arguments[0]), float(arguments[1]), float(arguments[2]), arguments[4:]
    # Time in which the host was suspended counts: the others' clocks went on.
    last_moment = (deadline or uptime() + seconds) if seconds else None
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    must_stop: list[int] = []
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: must_stop.append(number))
    set_death_signal = ctypes.CDLL(None, use_errno=True).prctl
    ourselves = os.getpid()

    child = os.fork()
    if child == 0:
        run_child(command, lifeline, lambda: set_death_signal(PR_SET_PDEATHSIG, signal.SIGKILL), ourselves, last_moment)
    with contextlib.suppress(OSError):  # it did so itself, or has ended already
        os.setpgid(child, child)
    status = watch(child, lifeline, seconds, last_moment, wake_read, must_stop)
    return pass_on(status)


def run_child(
    command: list[str],
    lifeline: int,
    die_with_parent: Callable[[], object],
    parent: int,
    last_moment: float | None,
) -> None:
    """Become the program; never returns."""
    try:
        os.setpgid(0, 0)
        die_with_parent()
        if os.getppid() != parent:
            os._exit(EX_CANNOT_START)
        os.close(lifeline)
        signal.set_wakeup_fd(-1)
        for number in RESET_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        environment = {
            name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "LD_PRELOAD")
        }
        if last_moment is not None and uptime() >= last_moment:
            say_unwanted()
            os.kill(os.getpid(), signal.SIGKILL)
        os.execvpe(command[0], command, environment)  # noqa: S606  that is what we are for
    except OSError as error:
        os.write(2, f"{CANNOT_START}{command[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(EX_CANNOT_START)


def watch(child: int, lifeline: int, seconds: float, deadline: float | None, wake: int, must_stop: list[int]) -> int:
    """Wait for the child; kill its group when nobody wants it any more, and what is left of the group at the end."""
    lifelines = [lifeline]
    while True:
        # Look, but don't reap: as long as the dead child is not reaped, its group's number can't belong to others.
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            kill_group(child)
            return os.waitpid(child, 0)[1]
        left = None if deadline is None else max(0.0, deadline - uptime())
        readable, _, _ = select.select([wake, *lifelines], [], [], left)
        if wake in readable:
            os.read(wake, 4096)
        is_too_late = deadline is not None and uptime() >= deadline
        is_unwanted = bool(must_stop) or is_too_late
        if lifelines and lifeline in readable:
            if not os.read(lifeline, 4096):
                is_unwanted = True
                lifelines.clear()
            elif seconds and not is_unwanted:
                # A byte that comes too late does not help: others may have taken over by now.
                deadline = uptime() + seconds
        if is_unwanted:
            kill_group(child)
            deadline = None
            if is_too_late:
                say_unwanted()


def uptime() -> float:
    """Seconds since the host booted, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say_unwanted() -> None:
    """Say that the program's end is our doing, for when the process that wanted it goes on after all."""
    with contextlib.suppress(OSError):
        os.write(2, f"{UNWANTED}\n".encode())


def kill_group(child: int) -> None:
    """Kill the child and everything it started in its group."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)


def pass_on(status: int) -> int:
    """End as the child ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has left a core file if one was wanted
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return 128 + number
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The process of the testbed's Globus service: `python -m tacc_sync.testbed.globus_main --root DIR --port 0`.

Port 0 means: the port of last time if it is free, else any. With `--detach` the command returns when the
service is ready, and the service goes on in the background, writing to `ROOT/globus/service.out`.
`ROOT/globus/service.lock` is held locked while it lives; `ROOT/globus/pid` and `ROOT/globus/port` tell the
rest.

Guarantee: listens on 127.0.0.1 and nowhere else; one service a root.
Fails with: exit 64 (another address was asked for), 75 (a service of this root is up), 69 (not ready in
time).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tacc_sync.testbed import globus_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

LOOPBACK = "127.0.0.1"
EX_USAGE, EX_UNAVAILABLE, EX_TEMPFAIL = 64, 69, 75
READY_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="globus_main", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="the testbed's directory")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default=LOOPBACK, help="127.0.0.1; anything else is refused")
    parser.add_argument("--detach", action="store_true", help="return when ready, serve in the background")
    options = parser.parse_args(arguments)
    if options.host != LOOPBACK:
        return _complain(EX_USAGE, f"listens on {LOOPBACK} only, not on {options.host}: everybody may write here")
    root: Path = options.root.absolute()
    globus_settings.build(root)
    if options.detach:
        return _detached(root, options.port)
    return _serve(root, options.port, ready=-1)


def _complain(code: int, text: str) -> int:
    sys.stderr.write(f"globus_main: {text}\n")
    return code


def hold_lock(root: Path, patience: float = 0.0) -> int | None:
    """Take the lock of a root's service: a handle to keep open, or None when a service has it."""
    path = globus_settings.directory(root) / "service.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(handle)
                return None
            time.sleep(0.02)
        else:
            return handle


def _detached(root: Path, port: int) -> int:
    """Fork twice, so that the service is nobody's child, and wait for its word that it is ready."""
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        os.waitpid(child, 0)
        heard = select.select([reader], [], [], READY_SECONDS)[0]
        word = os.read(reader, 4) if heard else b""
        if word == b"up\n":
            return 0
        if word == b"old\n":
            return _complain(EX_TEMPFAIL, f"a service of {root} is up already")
        return _complain(EX_UNAVAILABLE, f"not ready; see {globus_settings.directory(root) / 'service.out'}")
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    output = os.open(globus_settings.directory(root) / "service.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    code = 1
    try:
        code = _serve(root, port, ready=writer)
    finally:
        os._exit(code)


def _bind(root: Path, port: int) -> socket.socket:
    # With the protocol named, or asyncio does not switch Nagle's delay off and each answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    last = globus_settings.directory(root) / "port"
    if port == 0 and last.exists():
        # The same port again: everybody's environment names it.
        with contextlib.suppress(OSError, ValueError):
            listener.bind((LOOPBACK, int(last.read_text(encoding="ascii"))))
            return listener
    listener.bind((LOOPBACK, port))
    return listener


def _serve(root: Path, port: int, *, ready: int) -> int:
    home = globus_settings.directory(root)
    lock = hold_lock(root, patience=0.3)  # somebody may just be asking whether we are up
    if lock is None:
        if ready >= 0:
            os.write(ready, b"old\n")
        return _complain(EX_TEMPFAIL, f"a service of {root} is up already")
    (home / "pid").unlink(missing_ok=True)  # a killed predecessor's; the number may be somebody else's by now
    import uvicorn  # noqa: PLC0415  after the fork, and not for a command that is refused

    from tacc_sync.testbed import globus_service  # noqa: PLC0415

    listener = _bind(root, port)
    listener.listen(128)
    app, engine = globus_service.create(root)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    engine.start()
    globus_settings.write_json(home / "port", listener.getsockname()[1])
    globus_settings.write_json(home / "pid", os.getpid())
    if ready >= 0:
        os.write(ready, b"up\n")
        os.close(ready)
    server.run(sockets=[listener])
    engine.stop()
    (home / "pid").unlink(missing_ok=True)
    os.close(lock)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

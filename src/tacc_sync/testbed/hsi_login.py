"""How the simulated hsi is let in: token, maintenance, outage, session limit, banner.

Guarantee: whoever is turned away has printed nothing on standard output and does not count as a session.
Fails with: Leave (turned away, with the exit code).
"""

from __future__ import annotations

import os

from tacc_sync.testbed.hpss_faults import first
from tacc_sync.testbed.hpss_sessions import admit
from tacc_sync.testbed.hsi_session import Leave, Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

NO_TOKEN = b"""\
Generating .netrc entry...
Must run interactively to update .netrc
Unable to update .netrc file
Error - authentication/initialization failed
"""
BAD_TOKEN = b"""\
result = -11000, errno = 29
Unable to authenticate user with HPSS.
result = -11000, errno = 9
Unable to setup communication to HPSS...
*** HSI: error opening logging
Error - authentication/initialization failed
"""


def log_in(session: Session) -> None:
    """Log in, or be turned away."""
    paths, settings = session.paths, session.settings
    if paths.is_raised("no-token"):
        turn_away(session, "no-token", NO_TOKEN, settings.authentication_exit)
    if paths.is_raised("bad-token"):
        turn_away(session, "bad-token", BAD_TOKEN, settings.authentication_exit)
    session.sleep_through_maintenance()
    if paths.is_raised("down"):
        turn_away(session, "down", b"HPSS Unavailable\n", 1)
    trouble = session.faults.take("connect", [], frozenset({"sleep", "hang", "signal", "error"}))
    session.suffer(trouble)
    error = first(trouble, "error")
    if error:
        line = os.fsencode(error.text("line", "connect: Connection refused"))
        turn_away(session, "connect", line + b"\n", int(error.number("exit", 75)))
    living = admit(paths, session.name, settings.session_limit)
    if not living:
        line = settings.session_limit_message.encode()
        turn_away(session, "session-limit", line + b"\n", settings.session_limit_exit)
    session.begin(living)
    session.clock.nap(settings.login_seconds)
    if not (session.client.quiet or session.client.popen):
        greet(session)


def greet(session: Session) -> None:
    """Print the banner of somebody who asked neither for -q nor for -P."""
    settings = session.settings
    session.stderr.write(
        f"Username: {settings.user}  UID: {settings.uid}  Acct: {settings.uid}({settings.user})"
        f" Copies: 1 COS: 0 Firewall: on [{settings.version}]\n"
        f"{settings.prompt}: firewall mode set ON, I/O mode set to extended (parallel=off),"
        " autoscheduling currently set to OFF\n".encode()
    )
    session.stderr.flush()


def turn_away(session: Session, why: str, words: bytes, code: int) -> NoReturn:
    """Say why not, and end."""
    session.stderr.write(words)
    session.log("turned-away", why=why, pid=os.getpid(), argv=session.argv)
    session.flush()
    raise Leave(code)

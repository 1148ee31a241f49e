"""The simulated `hsi`: client options, where commands come from, and which command does what.

Commands come from the arguments (joined by blanks), from a file (`hsi in FILE`), or, when there are none,
from standard input behind a prompt that is glued to the answers. Answers go to standard error, with `-P` to
standard output, with `-O FILE` into that file. Errors do not end a batch; its exit code is then 64.

Guarantee: a local command (`!`) is never run; it is written into the log as `shell-escape` and refused.
Ends with: 0, 64 (anything went wrong), 1 (HPSS is down; hashlist of a directory), 66 (no such IN file), 75
(session limit), 77 (authentication), or by a signal, like the real one, when a line or a list of paths is too
long.
"""

from __future__ import annotations

import os
import signal
import sys

from tacc_sync.testbed.hpss_settings import SitePaths
from tacc_sync.testbed.hsi_get import run_get
from tacc_sync.testbed.hsi_hashes import run_hash
from tacc_sync.testbed.hsi_login import log_in
from tacc_sync.testbed.hsi_ls import run_ls
from tacc_sync.testbed.hsi_session import EX_BADPARAM, ClientOptions, Leave, Session
from tacc_sync.testbed.hsi_stage import run_stage
from tacc_sync.testbed.hsi_words import BadLine, Usage, Word, is_shell_escape, split_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

EX_NOINPUT = 66
PLAIN_OPTIONS = ("-q", "-P", "-e")
VALUED_OPTIONS = ("-h", "-s", "-O", "-l", "-A")


def main(root: str) -> NoReturn:
    """Run hsi for the site at `root` with the arguments of this process."""
    # Die like a C program of a closed pipe or an interrupt: by the signal, without a traceback.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    client, words = client_options(sys.argv[1:])
    session = Session(SitePaths(root), client, sys.argv[1:])
    try:
        log_in(session)
        if words:
            run_lines(session, iter(b" ".join(words).split(b"\n")))
        else:
            run_standard_input(session)
    except Leave as leave:
        session.status = leave.code
    # Nothing is left to tidy up, and a normal exit of the interpreter takes longer than most commands.
    os._exit(session.leave())


def client_options(argv: list[str]) -> tuple[ClientOptions, list[bytes]]:
    """What stands before the first command, and the words of the command."""
    client = ClientOptions()
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option = rest.pop(0)
        if option not in PLAIN_OPTIONS and (option not in VALUED_OPTIONS or not rest):
            sys.stderr.write(f"hsi: unrecognized option or missing value: {option}\n")
            raise SystemExit(EX_BADPARAM)
        if option == "-q":
            client.quiet = True
        elif option == "-P":
            client.popen = True
        elif option == "-e":
            client.echo = True
        else:
            value = rest.pop(0)
            if option == "-O":
                client.listing_file = os.fsencode(value)
    return client, [os.fsencode(word) for word in rest]


def run_standard_input(session: Session) -> None:
    """Read commands behind a prompt, until the end or `quit`."""

    def lines() -> Iterator[bytes]:
        while True:
            session.stdout.write(session.settings.prompt.encode() + b":" + session.directory + b"-> ")
            session.flush()
            line = sys.stdin.buffer.readline()
            if not line:
                return
            yield line.rstrip(b"\n")

    run_lines(session, lines())


def run_file(session: Session, name: bytes) -> None:
    """`in FILE`."""
    try:
        with open(name, "rb") as file:
            content = file.read()
    except OSError as error:
        session.fail(b"*** in: unable to open '%s': %s" % (name, str(error.strerror).encode()), EX_NOINPUT)
        return
    lines = content.split(b"\n")
    # By this the log tells whether a session that others wait for is at its last file.
    session.log("asked", gets=sum(line.split(None, 1)[:1] == [b"get"] for line in lines))
    run_lines(session, iter(lines), may_echo=True)


def run_lines(session: Session, lines: Iterator[bytes], *, may_echo: bool = False) -> None:
    """Do one line after the other; a command that needs a list takes its lines from here too."""
    outer = session.next_line
    session.next_line = lambda: next(lines, None)
    for line in lines:
        if may_echo and session.echo and line.strip() and not line.lstrip().startswith(b"#"):
            session.stdout.write(line + b"\n")
        run_line(session, line)
    session.next_line = outer


def run_line(session: Session, line: bytes) -> None:
    """Do the commands of a line."""
    if len(line) > session.settings.max_line:
        session.crash()
    try:
        commands = split_line(line)
    except BadLine as trouble:
        session.fail(f"*** syntax error: {trouble}".encode())
        return
    for words in commands:
        session.sleep_through_maintenance()
        try:
            run_command(session, words)
        except Usage as trouble:
            session.fail(b"*** " + words[0].text + b": " + str(trouble).encode())
        session.flush()


def run_command(session: Session, words: list[Word]) -> None:
    """Do one command."""
    if is_shell_escape(words):
        session.log("shell-escape", text=os.fsdecode(words[0].text))
        session.fail(b"*** local shell commands are not available: " + words[0].text)
        return
    known = COMMANDS.get(words[0].text)
    if known is None:
        shown = b" ".join(word.text for word in words)
        session.fail(b"*** unrecognized command: '" + shown + b"'")
        return
    known(session, words[1:])


def _in(session: Session, words: list[Word]) -> None:
    if len(words) != 1:
        raise Usage("needs one file name")
    run_file(session, words[0].text)


def _cd(session: Session, words: list[Word]) -> None:
    path = session.resolve(words[0].text if words else os.fsencode(session.settings.home))
    entry = session.follow(path)
    if entry is None or entry.kind != "d":
        session.refuse("cd", path)
    else:
        session.directory = path


def _lcd(session: Session, words: list[Word]) -> None:
    try:
        os.chdir(words[0].text if words else os.path.expanduser(b"~"))
    except OSError as error:
        session.fail(f"*** lcd: {error.strerror}".encode())


def _pwd(session: Session, _words: list[Word]) -> None:
    session.say(b"pwd0: " + session.directory)


def _echo(session: Session, words: list[Word]) -> None:
    session.echo = words[0].text == b"on" if words else not session.echo


def _quit(session: Session, _words: list[Word]) -> None:
    raise Leave(session.status)


def _nothing(_session: Session, _words: list[Word]) -> None:
    """A setting that makes no difference here."""


COMMANDS: dict[bytes, Callable[[Session, list[Word]], None]] = {
    b"ls": run_ls,
    b"get": lambda session, words: run_get(session, words, "get"),
    b"cget": lambda session, words: run_get(session, words, "cget"),
    b"stage": run_stage,
    b"hashlist": lambda session, words: run_hash(session, words, "hashlist"),
    b"hashcreate": lambda session, words: run_hash(session, words, "hashcreate"),
    b"hashverify": lambda session, words: run_hash(session, words, "hashverify"),
    b"in": _in,
    b"cd": _cd,
    b"lcd": _lcd,
    b"pwd": _pwd,
    b"echo": _echo,
    b"quit": _quit,
    b"exit": _quit,
    b"end": _quit,
    b"firewall": _nothing,
    b"prompt": _nothing,
    b"umask": _nothing,
    b"autosched": _nothing,
}

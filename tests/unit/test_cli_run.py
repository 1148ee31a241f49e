"""`run` as a process: how it ends, what it logs, what it shows on a terminal."""

import contextlib
import errno
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from desk import Desk

from tacc_sync.cli import logs, run_command, talk
from tacc_sync.cli.logs import is_trouble, reporter
from tacc_sync.cli.run_command import _exit_code
from tacc_sync.rules.faults import Fault, OperatorFault, WorldFault


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def command(desk, *arguments):
    return [sys.executable, "-m", "tacc_sync", "--workspace", desk.disk.root, *arguments]


def test_once_ends_when_nothing_moves(desk):
    done = subprocess.run(
        command(desk, "run", "finisher", "--once", "--json"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    ending = json.loads(done.stdout)
    assert ending["exit_code"] == 0
    assert ending["faults"] == []
    assert ending["waits"]["finisher"]["waits_for"] == "requests in request_queue"
    assert "finisher waits for requests in request_queue" in done.stderr
    assert desk.tree("claims") == []


def test_a_time_ends_it(desk):
    started = time.monotonic()
    done = subprocess.run(command(desk, "run", "finisher", "--for", "1s"), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert time.monotonic() - started < 20
    wrong = subprocess.run(
        command(desk, "run", "--for", "soon"), capture_output=True, text=True, timeout=60, check=False
    )
    assert (wrong.returncode, "5h" in wrong.stderr) == (64, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(desk, number):
    process = subprocess.Popen(command(desk, "run", "finisher"), stderr=subprocess.PIPE, text=True)
    try:
        # Its own name alone: what lies below may be moved while somebody looks.
        while not any(name.startswith("finisher") for name in os.listdir(f"{desk.disk.root}/claims")):
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert "Takes no new work" in process.stderr.read()
    assert desk.tree("claims") == []


def test_on_a_terminal_there_is_a_live_display(desk):
    ours, theirs = pty.openpty()
    done = subprocess.run(
        command(desk, "run", "finisher", "--once"),
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        timeout=60,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "finisher" in shown
    assert "waits for requests in request_queue" in shown
    assert "\x1b[" in shown


def test_how_a_run_ended_decides_its_exit_code():
    world, operator, ours = WorldFault("A", "a"), OperatorFault("B", "b", exit_code=77), Fault("OURS", "c")
    assert _exit_code([], once=True) == 0
    assert _exit_code([world], once=True) == 75
    assert _exit_code([world], once=False) == 0
    assert _exit_code([world, operator], once=True) == 77
    assert _exit_code([world, operator, ours], once=True) == 70


# --- the log ------------------------------------------------------------------------------------------------------


def lines_of(log_format, *events, **options):
    lines = []
    report = reporter(log_format, write=lines.append, **options)
    for event, about in events:
        report(event, **about)
    return lines


UNIT = "0123456789ab.AA0001.0000.5"


def test_a_line_of_text():
    (line,) = lines_of("text", ("work_moved", {"unit": UNIT, "component": "reaper", "to": "finished", "none": ""}))
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ work_moved component=reaper request=0123456789ab unit={UNIT} to=finished",
        line,
    )


def test_a_line_of_json():
    (line,) = lines_of("json", ("work_moved", {"unit": UNIT, "file": "/a\nb", "unexplained": ["x"], "n": 3}))
    found = json.loads(line)
    assert "\n" not in line
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found.pop("at"))
    assert found == {"event": "work_moved", "request": "0123456789ab", "unit": UNIT, "file": "/a\nb",
                     "unexplained": ["x"], "n": 3}  # fmt: skip


def test_names_from_outside_cannot_break_a_line_or_pass_for_one():
    forged = "x\n2026-01-01T00:00:00Z request_finished request=ffffffffffff"
    (line,) = lines_of("text", ("file_not_retrieved", {"file": forged, "text": 'say "hi" \x1b[2J'}))
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.count("request_finished request=") == 1
    assert 'file="x\\\\x0a' in line


def test_secrets_and_tokens_are_left_out():
    (line,) = lines_of(
        "json", ("x", {"client_secret": "hush", "access_token": "hush", "Authorization": "hush", "ok": 1})
    )
    assert "hush" not in line


def test_a_traceback_is_marked():
    (text,) = lines_of("text", ("error_of_ours", {"component": "syncer", "traceback": "Traceback:\n  x\nValueError"}))
    first, *rest = text.split("\n")
    assert first.endswith("error_of_ours component=syncer")
    assert all(line.startswith("  | ") for line in rest)


def test_quiet_tells_of_troubles_only():
    events = [("work_moved", {}), ("stood_down", {"code": "HPSS-AWAY"}), ("work_quarantined", {})]
    assert [line.split()[1] for line in lines_of("text", *events, quiet=True)] == ["stood_down", "work_quarantined"]
    assert not is_trouble("request_finished")


class FullDisk(io.StringIO):
    """Where stderr goes when the log's disk is full."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch, log_format):
    monkeypatch.setattr(sys, "stderr", FullDisk())
    logs.reporter(log_format)("stood_down", component="retriever", code="DISK-FULL", text="full")
    talk.say("waits")
    talk.complain(WorldFault("DISK-FULL", "full"))


def test_who_must_die_dies_although_nobody_can_be_told(monkeypatch):
    """Others take over after the lease, whatever the log's disk says."""
    exits = []
    monkeypatch.setattr(sys, "stderr", FullDisk())
    monkeypatch.setattr(os, "_exit", exits.append)
    with contextlib.suppress(OSError):
        run_command._die("could not beat for half a lease")
    assert exits == [75]

"""The real clock and the real machine."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.host import linux, scratch
from tacc_sync.outside.host.linux import LinuxHost


def test_the_clock_tells_the_time():
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    before = clock.uptime()
    clock.sleep(0.05)
    clock.sleep(-1)
    assert 0.04 < clock.uptime() - before < 5
    assert abs(clock.uptime() - float(Path("/proc/uptime").read_text().split()[0])) < 5


def test_a_bell_is_remembered_once():
    clock = SystemClock()
    bell = clock.bell()
    assert not clock.wait(bell, 0)
    bell.ring()
    bell.ring()
    assert clock.wait(bell, 0)
    assert not clock.wait(bell, 0.01)


def test_a_bell_wakes_who_waits():
    clock = SystemClock()
    bell = clock.bell()
    ringer = threading.Timer(0.05, bell.ring)
    ringer.start()
    before = clock.uptime()
    assert clock.wait(bell, 1e12)
    assert clock.uptime() - before < 5
    ringer.join()


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-ISc", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def identity_of(host, pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return dataclasses.replace(host.identity(), pid=pid, started=int(fields[19]), slurm_job="")


def test_who_we_are(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    host = LinuxHost()
    me = host.identity()
    assert me.pid == os.getpid()
    assert me == host.identity()
    assert all((me.host, me.boot_id))
    assert me.pid_namespace.startswith("pid:[")
    assert me.slurm_job == ""
    assert not host.is_certainly_dead(me)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert host.identity().slurm_job == "17"
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "perlmutter")
    assert host.identity().slurm_job == "17@perlmutter"


def test_living_zombie_and_dead(sleeper):
    host = LinuxHost()
    other = identity_of(host, sleeper.pid)
    assert not host.is_certainly_dead(other)
    assert host.is_certainly_dead(dataclasses.replace(other, started=other.started - 1))
    sleeper.send_signal(signal.SIGSTOP)
    assert not host.is_certainly_dead(other)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert host.is_certainly_dead(other)  # a zombie writes no more
    sleeper.wait()
    assert host.is_certainly_dead(other)


@pytest.mark.parametrize(
    "change",
    [{"host": "elsewhere"}, {"boot_id": "x"}, {"pid_namespace": "pid:[1]"}, {"boot_id": ""}, {"pid": 0}, {"pid": -1}],
)
def test_who_is_not_here_cannot_be_told(change):
    host = LinuxHost()
    dead = dataclasses.replace(host.identity(), pid=2**22 + 5, started=1, slurm_job="")
    assert host.is_certainly_dead(dead)
    assert not host.is_certainly_dead(dataclasses.replace(dead, **change))


def test_a_name_in_brackets_does_not_confuse(tmp_path):
    program = tmp_path / "a) Z 1 ("
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "60"])
    try:
        host = LinuxHost()
        assert not host.is_certainly_dead(identity_of(host, process.pid))
    finally:
        process.kill()
        process.wait()


def test_an_unreadable_proc_is_no_proof(tmp_path):
    me = dataclasses.replace(LinuxHost().identity(), pid=2**22 + 5)
    assert not LinuxHost(proc=tmp_path).is_certainly_dead(me)


@pytest.mark.parametrize(
    ("answer", "is_over"),
    [
        ("exit 0", True),
        ("echo COMPLETED", True),
        ("echo 'CLUSTER: perlmutter'; echo CANCELLED", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo RUNNING", False),
        ("echo PENDING", False),
        ("echo COMPLETING", False),
        ("echo COMPLETED; echo RUNNING", False),
        ("echo SOMETHING_NEW", False),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", False),
        ("echo 'warning: stale' >&2", False),
        ("exit 3", False),
        ("exec sleep 60", False),
    ],
)
def test_jobs(tmp_path, monkeypatch, answer, is_over):
    monkeypatch.setattr(linux, "SQUEUE_SECONDS", 0.3 if "sleep" in answer else 10)
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n{answer}\n')
    squeue.chmod(0o755)
    host = LinuxHost(squeue=[str(squeue)])
    far = dataclasses.replace(host.identity(), host="elsewhere", slurm_job="4711@perlmutter")
    assert host.is_certainly_dead(far) is is_over
    assert host.is_certainly_dead(far) is is_over
    # Asked once: Slurm's controllers are shared by thousands.
    assert (tmp_path / "asked").read_text() == "-h -M perlmutter -j 4711 -o %T\n"


def test_odd_jobs_are_not_asked_about(tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\nexit 0\n")
    far = dataclasses.replace(LinuxHost().identity(), host="elsewhere")
    assert not LinuxHost(squeue=[str(squeue)]).is_certainly_dead(dataclasses.replace(far, slurm_job="1"))
    squeue.chmod(0o755)
    host = LinuxHost(squeue=[str(squeue)])
    for job in ("", "x", "1; rm", "1@a b", "-1"):
        assert not host.is_certainly_dead(dataclasses.replace(far, slurm_job=job))
    assert host.is_certainly_dead(dataclasses.replace(far, slurm_job="1"))


def test_random_names():
    host = LinuxHost()
    assert re.fullmatch(r"[0-9a-f]{8}", host.token())
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", host.new_uuid())
    assert host.token() != host.token()


def test_file_systems(tmp_path):
    host = LinuxHost()
    assert host.file_system("/proc/self") == "proc"
    assert host.file_system("/") != "unknown"
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:3 / /cfs rw,x shared:1 - gpfs cfs rw\n"
        "3 2 0:4 / /cfs/a\\040b rw - lustre l rw\n"
        "4 2 0:4 / /cfs/a\\040b rw - tmpfs later rw\n"
        "nonsense\n"
    )
    fake = LinuxHost(proc=tmp_path)
    paths = {"/": "ext4", "/cfsx/y": "ext4", "/cfs": "gpfs", "/cfs/x/y": "gpfs", "/cfs/a b/c": "tmpfs"}
    assert {path: fake.file_system(path) for path in paths} == paths
    assert LinuxHost(proc=tmp_path / "none").file_system("/") == "unknown"


SCRATCH = """
import sys, time
from tacc_sync.outside.host.scratch import make_scratch
print(make_scratch(), flush=True)
time.sleep(float(sys.argv[1]))
"""


def scratch_of_another_process(tmp_path, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRATCH, str(seconds)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_killed_processes_left_in_the_temporary_directory_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    alive, kept = scratch_of_another_process(tmp_path, 60)
    dead, left = scratch_of_another_process(tmp_path, 60)
    dead.kill()
    dead.communicate()
    (left / "x.in").write_text("get a : b")
    strange = tmp_path / (left.name + "strange")
    strange.mkdir()
    planted = tmp_path / (left.name + "link")
    planted.symlink_to(kept)
    try:
        ours = Path(scratch.make_scratch())
        assert sorted(path for path in tmp_path.iterdir()) == sorted([kept, strange, planted, ours])
        assert (kept / scratch.LOCK).exists()
        assert stat.S_IMODE(ours.stat().st_mode) == 0o700
        assert Path(scratch.make_scratch()).is_dir()
        assert ours.is_dir()
    finally:
        alive.kill()
        alive.communicate()

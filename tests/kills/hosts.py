"""Hosts of our own: a name and processes for itself each, and its own view of one shared directory.

A host is a UTS, a PID and a mount namespace. It sees the directory through a FUSE mount of its own (bindfs), so what it
has looked at it believes for three seconds, and a lock that it takes nobody on another host knows of.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from mounts import Refused

SIDE = str(Path(__file__).with_name("host_side.py"))
NEEDED = ("unshare", "bindfs")


class Host:
    """One of them."""

    def __init__(self, name, shared, mountpoint, environment, log):
        for program in NEEDED:
            if shutil.which(program) is None:
                raise Refused(f"{program} is not installed")
        self.name, self.place = name, Path(mountpoint)
        self.place.mkdir()
        self._log = Path(log)
        with self._log.open("wb") as errors:
            # --kill-child: it does not outlive us either, should we be killed.
            self._side = subprocess.Popen(
                ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, SIDE, name, str(shared), str(mountpoint)],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        ready = self._side.stdout.readline()
        if not ready:
            self.close()
            raise Refused(self._log.read_text(errors="replace").strip() or "no namespaces or no FUSE here")

    def close(self):
        for end in (self._side.stdin, self._side.stdout):
            end.close()
        self._side.wait()

    def start(self, command, log, cwd):
        return self._ask(do="start", command=command, log=str(log), cwd=str(cwd))["pid"]

    def signal(self, pid, number):
        """Send a signal; the exit status when it had ended already."""
        return self._ask(do="signal", pid=pid, number=number)["status"]

    def statuses(self):
        """pid -> exit status of all that were started here, None while they live."""
        return {int(pid): status for pid, status in self._ask(do="look")["statuses"].items()}

    def _ask(self, **order):
        self._side.stdin.write(json.dumps(order).encode() + b"\n")
        self._side.stdin.flush()
        answer = self._side.stdout.readline()
        assert answer, f"{self.name} is gone: {self._log.read_text(errors='replace')}"
        return json.loads(answer)


class Worker:
    """A `tacc-sync run` on one of the hosts, which is killed, frozen and started again."""

    def __init__(self, host, name, command, log, cwd):
        self.host, self.name = host, name
        self._command, self._log, self._cwd = command, Path(log), cwd
        self._pid = 0
        self.statuses = []
        self.frozen = False
        self.alive = False

    def start(self):
        self._pid = self.host.start(self._command, self._log, self._cwd)
        self.alive, self.frozen = True, False

    def kill(self):
        self._send(signal.SIGKILL)
        self.frozen = False

    def freeze(self):
        self._send(signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        self._send(signal.SIGCONT)
        self.frozen = False

    def stop(self):
        self._send(signal.SIGTERM)

    def look(self, statuses):
        """Learn whether it has ended."""
        if self.alive and statuses[self._pid] is not None:
            self.statuses.append(statuses[self._pid])
            self.alive = False

    @property
    def said(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _send(self, number):
        self.host.signal(self._pid, number)


def look(hosts, workers):
    """Learn of all workers whether they have ended."""
    statuses = {host.name: host.statuses() for host in hosts}
    for worker in workers:
        worker.look(statuses[worker.host.name])

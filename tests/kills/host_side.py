"""The first process of a host of its own: mounts what the hosts share, starts workers and sends them signals.

    unshare --uts --pid --fork --mount-proc python host_side.py NAME SHARED MOUNTPOINT

It reads orders and answers them, a JSON object a line each. When its input ends, it ends, and with it everything on this
host: the kernel takes the other processes of a PID namespace along with the first one.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys

# What one host has looked at it believes for three seconds, whatever the other one does meanwhile.
STALE = "attr_timeout=3,entry_timeout=3,negative_timeout=3"
# Otherwise a file that is replaced while it is read stays visible under another name.
OPTIONS = f"{STALE},hard_remove"
TICK = 0.1


class Orders:
    """The processes of this host."""

    def __init__(self):
        # pid -> exit status, None while it lives.
        self.started = {}

    def start(self, command, log, cwd):
        with open(log, "ab") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=cwd)
        self.started[process.pid] = None
        # We reap everybody ourselves.
        process.returncode = 0
        return {"pid": process.pid}

    def signal(self, pid, number):
        if self.started[pid] is None:
            os.kill(pid, number)
        return {"status": self.started[pid]}

    def look(self):
        return {"statuses": {str(pid): status for pid, status in self.started.items()}}

    def reap(self):
        """Bury our own, and those whose parents have died."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid in self.started:
                    self.started[pid] = os.waitstatus_to_exitcode(status)


def main(name, shared, mountpoint):
    socket.sethostname(name)
    subprocess.run(["bindfs", "-o", OPTIONS, shared, mountpoint], check=True)
    orders, pending = Orders(), b""
    print(json.dumps({"ready": socket.gethostname()}), flush=True)
    while True:
        readable, _, _ = select.select([0], [], [], TICK)
        orders.reap()
        if not readable:
            continue
        data = os.read(0, 1 << 16)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            print(json.dumps(getattr(orders, order.pop("do"))(**order)), flush=True)


main(*sys.argv[1:])

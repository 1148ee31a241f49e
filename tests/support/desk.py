"""The operator's desk: a House, and the commands and views of the operator on it."""

from __future__ import annotations

import json

from house import House

from tacc_sync.cli.main import main
from tacc_sync.operator import quarantine, repair
from tacc_sync.operator.check import Checker
from tacc_sync.operator.hands import hands
from tacc_sync.operator.status_reader import Reader
from tacc_sync.rules.liveness import Lease
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import Recovery


class Desk(House):
    """What a person can do and see, without going through the command line."""

    def hands(self):
        return hands(self.disk, self.clock, self.host)

    def status(self, only=""):
        return Reader(self.disk, self.clock, self.host, self.settings).read(only)

    def check(self):
        return Checker(self.disk, self.buffer, self.clock, self.host, self.settings.buffer.quota).check()

    def repair(self, disk=None, buffer=None):
        """What `check --repair` does; what it says. Through these disks, if any."""
        checker = Checker(self.disk, self.buffer, self.clock, self.host, self.settings.buffer.quota)
        mends = repair.mendable(checker, self.clock, checker.check())
        return list(repair.mend(disk or self.disk, buffer or self.buffer, self.clock, self.host, mends))

    def codes(self, severity=None):
        return sorted({f.code for f in self.check().findings if severity in {None, f.severity}})

    def quarantined(self):
        return [entry for entry in quarantine.entries(self.disk) if entry.document]

    def release(self, entry):
        with self.hands() as home:
            return quarantine.release(home, entry, quota=self.settings.buffer.quota)

    def abandon(self, entry):
        with self.hands() as home:
            return quarantine.abandon(home, entry)

    def recover(self):
        """All workers of dead processes are fenced and drained."""
        home = Home(self.disk, self.buffer, self.clock, self.host, component="recovery")
        home.enter()
        Recovery(home, Lease(), lambda *_: None).round()
        home.leave()

    def at_once(self):
        """The first failure of a file is its last."""
        self.settings.patience.attempts = 1
        self.settings.patience.at_least = 0.0
        return self

    def fill(self, files=6, tapes=2):
        for n in range(files):
            self.archive(f"file {n}", b"%d" % n * (n * 50 + 1), volumes=(f"AA000{n % tapes}00",), section=n)

    def cli(self, capsys, *arguments, code=0):
        """Run a command in this process; its stdout. Fails when the exit code is another."""
        capsys.readouterr()
        got = main(["--workspace", str(self.root / "ws"), *arguments])
        out, err = capsys.readouterr()
        assert got == code, f"{got}: {out}{err}"
        self.talk = err
        return out

    def cli_json(self, capsys, *arguments, code=0):
        return json.loads(self.cli(capsys, *arguments, "--json", code=code))

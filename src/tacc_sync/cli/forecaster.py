"""What lets a `run` foretell now and then: a process of its own, which works at the lowest priority.

Guarantee: it takes nothing from the components but a look at some small files four times a minute; whatever goes wrong
in a forecast, they go on. A request that has none gets one soon; then each `forecast.every`, whichever host makes it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from tacc_sync.operator import forecasts
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.pipeline.step import Report
from tacc_sync.rules.patience import from_iso
from tacc_sync.workspace import queues
from tacc_sync.workspace.disk import Disk

LOOK = 15.0
# After one that failed, and at least between two.
PAUSE = 600.0


class Forecaster:
    """One thread, and at times one process."""

    def __init__(self, disk: Disk, clock: Clock, report: Report, flags: Mapping[str, Any], every: float) -> None:
        self._disk, self._clock, self._report = disk, clock, report
        self._command = [sys.executable, "-m", "tacc_sync", "--workspace", disk.root]
        self._command += [word for key, value in flags.items() for word in ("--set", f"{key}={value}")]
        self._command += ["forecast", "--background"]
        self._every = every
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._live, daemon=True).start()

    def stop(self) -> None:
        """No more; a forecast that is being made is given up."""
        self._over.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def _live(self) -> None:
        while not self._over.wait(LOOK):
            try:
                if self._clock.uptime() >= self._not_before and self.is_due():
                    self._make()
            except OSError as error:
                # The disk's trouble is told by those who need the disk.
                self._not_before = self._clock.uptime() + PAUSE
                self._report("forecast_failed", text=str(error))

    def is_due(self) -> bool:
        """Has a request under way no forecast, or an old one? One that is made is made of all of them."""
        now = self._clock.now()
        for key in queues.requests(self._disk):
            entries = forecasts.read(self._disk, key)
            if not entries or now - from_iso(entries[-1].at) >= self._every:
                return True
        return False

    def _make(self) -> None:
        self._not_before = self._clock.uptime() + min(PAUSE, self._every)
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, said = self._process.communicate()
        if self._process.returncode and not self._over.is_set():
            lines = said.decode("utf-8", "replace").strip().splitlines() or [f"exit status {self._process.returncode}"]
            self._report("forecast_failed", text=lines[-1])
        elif not self._over.is_set():
            self._report("forecast_made")

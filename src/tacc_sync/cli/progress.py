"""The live display of `run` on a terminal: requests, files, bytes, and what each component does or waits for.

Guarantee: it only looks; what goes wrong in it never stops the components. Troubles are printed above it as they come.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.logs import is_trouble, reporter
from tacc_sync.operator import words
from tacc_sync.operator.status import RequestStatus, Status
from tacc_sync.operator.status_reader import Reader
from tacc_sync.pipeline.run import Runner, Worker
from tacc_sync.pipeline.step import Waits
from tacc_sync.rules.route import COMPONENTS

SHOWN_REQUESTS = 8
# Reading the sums must not take more than a small share of the time.
SHARE = 0.05


class Display:
    """Watches a run, and shows it on stderr."""

    def __init__(self, edges: Edges) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._reader = Reader(edges.disk, edges.clock, edges.host, edges.settings)
        self._clock = edges.clock
        self._runner: Runner | None = None
        self._status: Status | None = None
        self._begun: set[str] | None = None
        self._end = threading.Event()
        self._live = Live(console=self._console, get_renderable=self._picture, refresh_per_second=4)
        self._thread = threading.Thread(target=self._read_again_and_again, daemon=True)
        self._lines = reporter("text", write=self._print)

    def report(self, event: str, /, **about: Any) -> None:
        """An event of a component: only troubles and ends of requests are worth a line here."""
        if is_trouble(event) or event in {"request_planned", "request_finished"}:
            self._lines(event, **about)

    def watch(self, runner: Runner) -> None:
        """Show what these workers do."""
        self._runner = runner

    def __enter__(self) -> Self:
        self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(5)
        self._read()
        self._live.stop()

    def _print(self, line: str) -> None:
        self._console.print(Text(line))

    # --- looking ----------------------------------------------------------------------------------------------

    def _read_again_and_again(self) -> None:
        while not self._end.is_set():
            started = self._clock.uptime()
            self._read()
            took = self._clock.uptime() - started
            self._end.wait(max(0.5, took / SHARE))

    def _read(self) -> None:
        try:
            self._status = self._reader.read()
        except Exception:  # noqa: BLE001  a display that fails shows what it knew
            return
        if self._begun is None:
            # What was finished before we came is no news.
            self._begun = {r.request for r in self._status.requests if r.state == "finished"}

    # --- the picture ------------------------------------------------------------------------------------------

    def _picture(self) -> Group:
        return Group(self._requests(), self._components())

    def _requests(self) -> Table:
        table = Table.grid(padding=(0, 2))
        status = self._status
        if status is None:
            return table
        rows = [r for r in status.requests if r.request not in (self._begun or set())]
        for request in rows[:SHOWN_REQUESTS]:
            done = request.delivered.bytes + request.abandoned.bytes
            whole = request.selected.bytes
            files = request.delivered.files + request.abandoned.files
            table.add_row(
                Text((request.label and words.plain(request.label)) or request.request, style="bold"),
                ProgressBar(total=max(whole, 1), completed=done if whole else 1, width=24),
                Text(f"{files:,} of {words.files(request.selected.files)}"),
                Text(f"{words.size(done)} of {words.size(whole)}"),
                Text(_pace(request)),
            )
        if len(rows) > SHOWN_REQUESTS:
            table.add_row(Text(f"and {len(rows) - SHOWN_REQUESTS} more"))
        return table

    def _components(self) -> Table:
        table = Table.grid(padding=(0, 2))
        if self._runner is None:
            return table
        workers = self._runner.snapshot()
        units = self._status.places if self._status else {}
        for component in COMPONENTS:
            mine = [worker for worker in workers if worker.component == component]
            if not mine:
                continue
            place = units.get(_PLACES.get(component, ""))
            table.add_row(
                Text(component, style="cyan"),
                Text(words.counted(place.units, "unit") if place else "", justify="right"),
                Text(_doing(mine), overflow="ellipsis", no_wrap=True),
            )
        return table


_PLACES = {"retriever": "hpss_queue", "globus_xfer": "globus_queue", "reaper": "reaper_queue"}


def _pace(request: RequestStatus) -> str:
    if request.state == "finished":
        return f"finished, {words.rate(request.delivery.overall)}"
    if request.quarantined.files:
        return f"{words.files(request.quarantined.files)} in quarantine"
    left = "" if request.seconds_left is None else f", {words.duration(request.seconds_left)} left"
    return words.rate(request.delivery.recent) + left


def _doing(workers: list[Worker]) -> str:
    told: dict[str, int] = {}
    for worker in workers:
        text = _says(worker)
        told[text] = told.get(text, 0) + 1
    parts = sorted(told, key=lambda text: (text.startswith("waits"), text))
    return words.plain("; ".join(f"{told[p]} x {p}" if told[p] > 1 else p for p in parts))


def _says(worker: Worker) -> str:
    if isinstance(worker.step, Waits):
        return f"waits for {worker.step.waits_for}"
    doing = worker.home.doing[0] if worker.home is not None else ""
    return doing or "begins"

"""What was struck, and what came of it: for the table at the end."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue


@dataclass
class Row:
    """A component, and one kind of call."""

    component: str
    kind: str
    points: int = 0
    missed: int = 0
    violations: int = 0
    seconds: float = 0.0


@dataclass
class Ledger:
    """All of them."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    hidden: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    searches: dict[str, dict[str, float]] = field(default_factory=dict)

    def __bool__(self):
        return bool(self.rows or self.notes)

    def count(self, search, *, tried, violations, seconds):
        """Add to a search's sums (kills; power loss; disk errors; two hosts)."""
        sums = self.searches.setdefault(search, {"tried": 0, "violations": 0, "seconds": 0.0})
        sums["tried"] += tried
        sums["violations"] += violations
        sums["seconds"] += seconds

    def write(self, path):
        """Append the sums to a file, a line for each search."""
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(
                json.dumps({"search": search, **sums, "seconds": round(sums["seconds"], 1)}) + "\n"
                for search, sums in self.searches.items()
            )

    def row(self, component, kind):
        return self.rows.setdefault((component, kind), Row(component, kind))

    def table(self):
        head = f"{'component':<28} {'call':<8} {'points':>6} {'missed':>6} {'violations':>10} {'seconds':>8}"
        rows = [*self.rows.values()]
        total = Row(
            "all",
            "",
            *(sum(getattr(row, name) for row in rows) for name in ("points", "missed", "violations", "seconds")),
        )
        lines = [
            f"{r.component:<28} {r.kind:<8} {r.points:>6} {r.missed:>6} {r.violations:>10} {r.seconds:>8.1f}"
            for r in [*rows, total]
        ]
        hidden = ", ".join(f"{name} {count}" for name, count in self.hidden.items())
        notes = (
            "missed: the run was over before that call (how often Globus is asked differs from run to run)",
            f"out of reach, as another thread is first to do the like: {sum(self.hidden.values())} ({hidden})",
            f"wall time {time.monotonic() - self.began:.0f} s",
        )
        return "\n".join([head, *lines, *notes, *self.notes])


LEDGER = Ledger()


def on_all(lanes, jobs, do):
    """Do each job on whichever lane is free; what came of them, in their order."""
    waiting, results = SimpleQueue(), [None] * len(jobs)
    for number, job in enumerate(jobs):
        waiting.put((number, job))

    def work(lane):
        while True:
            try:
                number, job = waiting.get_nowait()
            except Empty:
                return
            results[number] = do(lane, job)

    with ThreadPoolExecutor(len(lanes)) as pool:
        try:
            for future in [pool.submit(work, lane) for lane in lanes]:
                future.result()
        finally:
            # Somebody has had enough, or it went wrong: begin no more.
            while not waiting.empty():
                with contextlib.suppress(Empty):
                    waiting.get_nowait()
    return results

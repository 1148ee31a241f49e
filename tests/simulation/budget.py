"""How much a search may take, and the line that says how much it took.

`SIMULATION_SCALE` (default 1) multiplies the numbers of schedules and worlds; `SIMULATION_SEED` (default 0) is where the
random ones begin. `make simulate MINUTES=60` sets both (see long_run.py).
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from searches import Found

SCALE = float(os.environ.get("SIMULATION_SCALE", "1"))
SEED = int(os.environ.get("SIMULATION_SEED", "0"))


def told(search, tried, started, *, violations=0, note=""):
    """Print and note what a search has tried: a line of JSON for the table that `make searches` prints."""
    seconds = round(time.monotonic() - started, 1)
    line = {"search": search, "tried": tried, "violations": violations, "seconds": seconds}
    if note:
        line["note"] = note
    text = json.dumps(line, ensure_ascii=False)
    print(text)
    if path := os.environ.get("SEARCH_LOG"):
        # One write, appended: several processes do so at once.
        with Path(path).open("a", encoding="utf-8") as log:
            log.write(text + "\n")


def note_of(tally):
    between = f", {tally.between_sessions} between two sessions" if tally.between_sessions else ""
    return f"{tally.boundaries} boundaries{between}, {tally.calls} calls"


@contextmanager
def searching(search):
    """Fails the test by what a search finds; yields a list for the search's tally."""
    started = time.monotonic()
    tallies = []
    try:
        yield tallies
    except Found as found:
        told(search, sum(tally.tried for tally in tallies), started, violations=1)
        pytest.fail(f"{search}: {found}", pytrace=False)
    (tally,) = tallies
    told(search, tally.tried, started, note=note_of(tally))

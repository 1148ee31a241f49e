"""How much a search may take, and the line that says how much it took.

`SIMULATION_SCALE` (default 1) multiplies the numbers of schedules and worlds; `SIMULATION_SEED` (default 0) is where the
random ones begin. `make simulate MINUTES=60` sets both (see long_run.py).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

SCALE = float(os.environ.get("SIMULATION_SCALE", "1"))
SEED = int(os.environ.get("SIMULATION_SEED", "0"))
# One line a search, for the table that `.ci/run` prints.
LOG = os.environ.get("SIMULATION_LOG", "")


def told(search, tally, started):
    """Print and note what a search has tried."""
    seconds = time.monotonic() - started
    line = (
        f"{search}: {tally.boundaries} boundaries, {tally.tried} tried, {tally.calls} calls, "
        f"{seconds:.1f} s, {tally.calls / max(seconds, 0.001):.0f} calls/s, violations {len(tally.found)}"
    )
    print(line)
    if LOG:
        with Path(LOG).open("a") as log:
            log.write(line + "\n")

"""Two testbeds for all strikes, and the table at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from lanes import Lane
from ledger import LEDGER

# More than cores: a strike waits about half of its time.
LANES = 3
MEMORY = 1 << 30


@pytest.fixture(scope="session")
def place_in_memory(tmp_path_factory):
    """A directory in memory when there is room, as every fsync costs: a kill leaves the page cache as it is anyway."""
    room = Path("/dev/shm")
    if not (room.is_dir() and os.access(room, os.W_OK) and shutil.disk_usage(room).free > MEMORY):
        yield tmp_path_factory.mktemp("strikes")
        return
    with tempfile.TemporaryDirectory(prefix="tacc-sync-strikes-", dir=room, ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture(scope="session")
def lanes(place_in_memory):
    root = place_in_memory / "lanes"
    made = []
    try:
        made += [Lane(root / str(number), number) for number in range(LANES)]
        yield made
    finally:
        for lane in made:
            lane.close()


@pytest.fixture(scope="session")
def stages(lanes):
    """The states at rest from which the components start, and how an undisturbed run ends."""
    found = lanes[0].stages()
    return found, lanes[0].end()


def pytest_terminal_summary(terminalreporter):
    if LEDGER:
        terminalreporter.section("strikes")
        terminalreporter.write_line(LEDGER.table())
    if path := os.environ.get("SEARCH_LOG"):
        LEDGER.write(path)

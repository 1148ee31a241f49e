"""What was tried, for the table that `make searches` prints."""

import json
import os
import time
from pathlib import Path

BEGAN = time.monotonic()


def pytest_sessionfinish(session):
    log = os.environ.get("SEARCH_LOG")
    if not log:
        return
    entry = {
        "search": "hostile input, planted entries, links and names: tests",
        "tried": session.testscollected,
        "violations": session.testsfailed,
        "seconds": time.monotonic() - BEGAN,
    }
    with Path(log).open("a") as file:
        file.write(json.dumps(entry) + "\n")

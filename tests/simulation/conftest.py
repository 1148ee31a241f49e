"""Shows what the searches have tried, also when several processes run them (`-n 2`). In all of them each file with a hash
in the archive, however small, is read while it arrives."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tacc_sync.pipeline import hashing
from tacc_sync.rules import retrieval


@pytest.fixture(autouse=True)
def followed(monkeypatch):
    monkeypatch.setattr(retrieval, "FOLLOWED_FROM", 1)
    monkeypatch.setattr(hashing, "BEHIND", 1)


def pytest_configure(config):
    if "SEARCH_LOG" not in os.environ:
        handle, os.environ["SEARCH_LOG"] = tempfile.mkstemp(prefix="tacc-sync-searches-")
        os.close(handle)
        config.add_cleanup(lambda: Path(os.environ.pop("SEARCH_LOG")).unlink())


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("searches")
    log = Path(os.environ["SEARCH_LOG"])
    terminalreporter.write(log.read_text() if log.exists() else "")

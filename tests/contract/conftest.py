"""What the contract suites share: the testbed's Globus service, and the way to the fakes.

The suites run over the real edges (against the testbed, or the operating system) and over the fakes, so that no fake can
drift from what it stands for.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tacc_sync.outside.globus.login import ClientCredentials

globus_faults = pytest.importorskip("tacc_sync.testbed.globus_faults")
globus_settings = pytest.importorskip("tacc_sync.testbed.globus_settings")

# At the end: no module of a suite may be shadowed by one of the simulation's.
sys.path.append(str(Path(__file__).parents[1] / "simulation"))


class Site:
    """The running service, and what a test wants to know of it."""

    def __init__(self, root, process):
        self.root = root
        self.process = process

    @property
    def settings(self):
        return globus_settings.read(self.root / "globus" / "settings.json")

    @property
    def source(self):
        return self.settings.source_collection

    @property
    def destination(self):
        return self.settings.destination_collection

    def credentials(self, secret=None):
        return ClientCredentials(self.settings.client_id, secret or self.settings.client_secret)

    def fault(self, what, **more):
        match = {key: more.pop(key) for key in ("verb", "label", "path", "nth") if key in more}
        return globus_faults.add(self.root, what, match=match, **more)

    def file(self, path, content=b"content"):
        target = self.root / "nersc" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return path

    def requests(self, verb):
        return [line for line in globus_settings.read_log(self.root, "request") if line["verb"] == verb]


@pytest.fixture(scope="session")
def globus_service(tmp_path_factory):
    root = tmp_path_factory.mktemp("testbed")
    command = [sys.executable, "-m", "tacc_sync.testbed.globus_main", "--root", str(root), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(root / "stderr").open("w"))
    for _ in range(200):
        if (root / "globus" / "pid").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert (root / "globus" / "pid").exists(), (root / "stderr").read_text()
    yield Site(root, process)
    # Clients of ended tests keep their connections open, and a gentle end would wait for them.
    process.kill()
    process.wait(60)


@pytest.fixture
def globus_site(globus_service, monkeypatch):
    url = f"http://127.0.0.1:{(globus_service.root / 'globus' / 'port').read_text().strip()}"
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", url)
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_TRANSFER", url)
    monkeypatch.setattr("random.random", lambda: 0.0)  # the shortest of globus-sdk's waits
    globus_faults.clear(globus_service.root)
    usual = globus_settings.Settings("", "", "", "", "", "")
    globus_settings.change(
        globus_service.root,
        token_seconds=usual.token_seconds,
        bytes_per_second=0,
        seconds_per_task=0,
        page_size=usual.page_size,
        pending_cap=usual.pending_cap,
        ls_limit=usual.ls_limit,
        requests_per_10_seconds=0,
        retry_seconds=0.05,
    )
    for collection in (globus_service.source, globus_service.destination):
        globus_settings.change_collection(
            globus_service.root, collection, data_access=False, checksums=list(globus_settings.ALGORITHMS)
        )
    yield globus_service
    globus_faults.clear(globus_service.root)

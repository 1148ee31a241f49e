"""With an hsi and a Globus service that nobody of us wrote for tacc-sync (other_hsi.py, other_globus.py), a request goes
through all the same: the testbed has no private channel."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest
from bed import PROGRAM, QUICK, read_tree, write_tree

HERE = Path(__file__).parent
FILES = {
    **{f"run{n % 5}/deep {n % 2}/file-{n}.dat": bytes([n]) * (n * 50 + 1) for n in range(40)},
    "run1/it's one": b"quotes",
    'run1/a "word"': b"more quotes",
    "run2/semi;colon*[x]{y}?!": b"glob",
    "run2/żółć": b"utf-8",
    "run3/empty": b"",
    "run3/breaks off.flaky": b"f" * 30_000,
}


@pytest.fixture
def other_globus(tmp_path):
    service = subprocess.Popen([sys.executable, HERE / "other_globus.py", tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(service.stdout.readline())}"
    finally:
        service.kill()
        service.wait()
        service.stdout.close()


@pytest.fixture
def tacc_sync(tmp_path, other_globus):
    for directory in ("source/buffer", "destination/ranch"):
        (tmp_path / directory).mkdir(parents=True)
    write_tree(tmp_path / "files", FILES)
    ours = ("TACC_SYNC", "GLOBUS_", "HPSS_", "TACC_", "TRANSFER_")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "GLOBUS_SDK_SERVICE_URL_AUTH": other_globus,
        "GLOBUS_SDK_SERVICE_URL_TRANSFER": other_globus,
        "GLOBUS_SDK_ENVIRONMENT": "nobody-knows-it",
        "GLOBUS_CLIENT_ID": str(uuid.uuid4()),
        "GLOBUS_CLIENT_SECRET": "any",
        "GLOBUS_SOURCE_COLLECTION_ID": "aaaaaaaa-0000-4000-8000-000000000001",
        "GLOBUS_DEST_COLLECTION_ID": "aaaaaaaa-0000-4000-8000-000000000002",
        "TACC_SYNC_HSI": f"{sys.executable} {HERE / 'other_hsi.py'} {tmp_path}",
        "TACC_SYNC_WORK_ROOT": str(tmp_path / "workspace"),
        "TACC_SYNC_BUFFER_GLOBUS_PATH": "/buffer",
        "TRANSFER_DIR": str(tmp_path / "source/buffer"),
        "TRANSFER_QUOTA": "200kB",
        "HPSS_BASE_PATH": "/archive",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }

    def call(*arguments):
        flags = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
        done = subprocess.run([PROGRAM, *flags, *arguments], env=environment, capture_output=True, text=True, timeout=90, check=False)  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    call("init", str(tmp_path / "workspace"))
    return call


def test_a_request_goes_through_with_an_hsi_and_a_globus_service_of_somebody_else(tmp_path, tacc_sync):
    assert "fail" not in tacc_sync("doctor")
    tacc_sync("submit", "--source", "/archive", "--destination", "/ranch/there")
    tacc_sync("run", "--once")
    (request,) = json.loads(tacc_sync("status", "--json"))["requests"]
    assert request["state"] == "finished"
    assert request["delivered"]["files"] == len(FILES)
    tacc_sync("check")
    # The service keeps whole seconds.
    there = {name: (content, mtime // 10**9) for name, (content, mtime) in read_tree(tmp_path / "destination/ranch/there").items()}  # fmt: skip
    assert there == {name: (content, mtime // 10**9) for name, (content, mtime) in read_tree(tmp_path / "files").items()}  # fmt: skip
    assert set(read_tree(tmp_path / "source/buffer")) == {b".tacc-sync.json"}
    manifest = tmp_path / "workspace/finished" / request["request"] / "manifest.jsonl"
    lines = {line["source"]: line for line in map(json.loads, manifest.read_text().splitlines())}
    assert {line["receipt"].partition(":")[0] for line in lines.values()} == {"sha256"}
    assert {line["archive_hash"].partition(":")[0] for line in lines.values() if line["archive_hash"]} == {"sha1", "sha256"}  # fmt: skip
    # The one whose first recall broke off was recalled once more; it alone.
    recalls = Counter((tmp_path / "recalls").read_text().splitlines())
    assert recalls.pop("/archive/run3/breaks off.flaky") == 2
    assert set(recalls.values()) == {1}

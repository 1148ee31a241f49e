"""The testbed's Globus service, asked by the `globus` command that everybody has.

The command lives in an environment of its own, because it wants another globus_sdk than ours: `.venv-globus-cli` in
the repository's root, made when it is not there (which needs a package registry) and kept.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tacc_sync.testbed import globus_settings, site

VERSION = "3.43.0"
ENVIRONMENT = pathlib.Path(__file__).parents[2] / ".venv-globus-cli"


@pytest.fixture(scope="session")
def program():
    program = ENVIRONMENT / "bin" / "globus"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        command = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", f"globus-cli=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"globus-cli cannot be installed here: {done.stderr[-300:]}")
    return program


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root, data = tmp_path_factory.mktemp("cli"), tmp_path_factory.mktemp("data")
    (data / "run.dat").write_bytes(b"raw")
    site.up(root, data)
    yield root
    site.down(root)


@pytest.fixture(scope="module")
def globus(program, root, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("GLOBUS", "PYTHON"))}

    def run(*arguments, status=0, given=None):
        done = subprocess.run(
            [program, *arguments],
            env={**clean, **site.environment(root), "HOME": str(home)},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def ends(root):
    settings = globus_settings.build(root)
    return settings.source_collection, settings.destination_collection


def submitted(answer):
    document = json.loads(answer)
    assert document["code"] == "Accepted"
    return document["task_id"]


def test_ls_stat_mkdir_rename_and_whoami(globus, root, ends):
    source, destination = ends
    (root / "nersc/seen").write_bytes(b"12345")
    assert "seen" in globus("ls", "-l", f"{source}:/")
    assert "5" in globus("stat", f"{source}:/seen")
    globus("mkdir", f"{destination}:/made")
    globus("rename", destination, "/made", "/renamed")
    assert "renamed/" in globus("ls", f"{destination}:/")
    client_id = globus_settings.build(root).client_id
    assert globus("whoami").strip() == f"{client_id}@clients.auth.globus.org"
    globus("ls", f"{source}:/no", status=1)


def test_transfer_wait_show_and_events(globus, root, ends):
    source, destination = ends
    (root / "nersc/one").write_bytes(b"one")
    task_id = submitted(
        globus(
            "transfer", "--verify-checksum", "--preserve-mtime", "--label", "by hand", "--format", "json",
            f"{source}:/one", f"{destination}:/ranch/demo/one",
        )
    )  # fmt: skip
    globus("task", "wait", "--polling-interval", "1", "--timeout", "20", task_id)
    assert (root / "tacc/ranch/demo/one").read_bytes() == b"one"
    shown = globus("task", "show", task_id)
    assert "SUCCEEDED" in shown
    assert "by hand" in shown
    assert "/ranch/demo/one" in globus("task", "show", "-t", task_id)
    assert "SUCCEEDED" in globus("task", "event-list", task_id)
    assert task_id in globus("task", "list", "--filter-label", "by hand")


def test_transfer_batch(globus, root, ends):
    source, destination = ends
    lines = []
    for number in range(3):
        (root / f"nersc/b{number}").write_bytes(b"x")
        lines.append(f"/b{number} /batch/b{number} --external-checksum 9dd4e461268c8034f5c8564e155c67a6\n")
    task_id = submitted(
        globus("transfer", "--batch", "-", "--format", "json", source, destination, given="".join(lines))
    )
    globus("task", "wait", "--polling-interval", "1", "--timeout", "20", task_id)
    assert sorted(os.listdir(root / "tacc/batch")) == ["b0", "b1", "b2"]
    unix = globus("task", "show", task_id, "--jmespath", "files_transferred", "--format", "unix")
    assert unix.strip() == "3"


def test_cancel_and_pause_info(globus, root, ends):
    source, destination = ends
    task_id = submitted(globus("transfer", "--format", "json", f"{source}:/missing", f"{destination}:/missing"))
    assert "not paused" in globus("task", "pause-info", task_id)
    assert "cancel" in globus("task", "cancel", task_id)
    assert "FAILED" in globus("task", "show", task_id)
    globus("task", "wait", task_id, status=1)

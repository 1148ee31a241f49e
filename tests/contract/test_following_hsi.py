"""Hashing while a file arrives, with the testbed's hsi, real threads and a real disk."""

from __future__ import annotations

import hashlib
import os
import random
import threading

import pytest

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.interface import Fetch
from tacc_sync.pipeline import hashing
from tacc_sync.pipeline.hashing import Arriving, Hashing
from tacc_sync.testbed import hpss_site
from tacc_sync.workspace.posix_disk import PosixDisk

PREFIX = "/home/projects/demo"
KB = 1024
FILES = {name: random.Random(name).randbytes(3000 * KB) for name in ("a", "b")}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads both files in one session, at a rate that takes half a second for each; what became of each."""
    monkeypatch.setattr(hashing, "BEHIND", 64 * KB)
    data, site = tmp_path / "data", tmp_path / "site"
    data.mkdir()
    for name, content in FILES.items():
        (data / name).write_bytes(content)
    hpss_site.build_site(site, data, hpss_prefix=PREFIX, tapes=1, two_cartridge_share=0, disk_share=0)
    hpss_site.set_settings(site, read_bytes_per_second=6e6)
    hpss_site.install(site)
    edge = Hsi(
        clock=SystemClock(),
        scratch=tmp_path / "scratch",
        command=[str(site / "bin" / "hsi")],
        avail_command=[str(site / "bin" / "hpss_avail"), "archive"],
        tick_seconds=0.02,
        stall_seconds=5,
    )
    (tmp_path / "buffer").mkdir()
    disk = PosixDisk(str(tmp_path / "buffer"))

    def run(*faults, may_go_on=lambda: True):
        hpss_site.set_faults(site, list(faults))
        files = [
            Arriving(n, name, ["sha512"], lambda found, c=content: found["sha512"] == hashlib.sha512(c).hexdigest())
            for n, (name, content) in enumerate(FILES.items())
        ]
        with hashing.threads(2) as executor:
            work = Hashing(disk, executor, may_go_on, files)
            early = {}

            def goes_on():
                work.look()
                early.update({file.path: file.begun.at for file in files if file.begun})
                return may_go_on()

            def over(number):
                work.begin(number, files[number].path, len(FILES[files[number].path]), ["sha512"])

            session = edge.get(
                [Fetch(f"{PREFIX}/{name}", f"{disk.root}/{name}") for name in FILES],
                session_name="test",
                may_go_on=goes_on,
                on_fetched=over,
            )
            for number in range(len(files)):
                over(number)
            found = {}
            for number, name in enumerate(FILES):
                if os.path.exists(f"{disk.root}/{name}"):
                    found[name] = work.hashes(number, name, ["sha512"])["sha512"]
            work.end()
        return session, work, early, found

    return run


def on_disk(tmp_path):
    return {name: hashlib.sha512((tmp_path / "buffer" / name).read_bytes()).hexdigest() for name in FILES}


def test_files_are_hashed_while_hsi_writes_them(read, tmp_path):
    session, work, early, found = read()
    assert session.trouble is None
    assert found == on_disk(tmp_path) == {n: hashlib.sha512(c).hexdigest() for n, c in FILES.items()}
    assert (work.well_followed, work.badly_followed) == (2, 0)
    # What is left to be read is what came since the last look.
    assert all(at > len(FILES[name]) / 2 for name, at in early.items()), early


@pytest.mark.parametrize("fault", [{"what": "zeros", "fraction": 0.5}, {"what": "truncate", "fraction": 0.7}])
def test_what_hsi_spoils_is_told_as_it_is(read, tmp_path, fault):
    _, work, _, found = read({"match": f"{PREFIX}/a", **fault})
    truth = {name: hashlib.sha512(content).hexdigest() for name, content in FILES.items()}
    assert found == on_disk(tmp_path)
    assert found["a"] != truth["a"]
    assert found["b"] == truth["b"]
    assert (work.well_followed, work.badly_followed) == (1, 0)


def test_a_session_that_dies_half_way_leaves_no_hash_of_half_a_file(read, tmp_path):
    session, work, _, found = read({"match": f"{PREFIX}/a", "what": "signal", "fraction": 0.5})
    assert session.trouble is not None
    assert work.well_followed == 0
    assert found.get("a") != hashlib.sha512(FILES["a"]).hexdigest()


def test_a_worker_that_loses_its_home_stops_its_hsi_and_its_reading(read, tmp_path):
    begun = threading.Event()

    def may_go_on():
        path = tmp_path / "buffer" / "a"
        if path.exists() and path.stat().st_size > len(FILES["a"]) / 3:
            begun.set()
        return not begun.is_set()

    with pytest.raises(InterruptedError):
        read(may_go_on=may_go_on)
    assert (tmp_path / "buffer" / "a").stat().st_size < len(FILES["a"])

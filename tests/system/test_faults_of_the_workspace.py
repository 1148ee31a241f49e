"""What can happen to a workspace and to the transfer buffer, as an operator meets it: with the installed command."""

import os
import shutil

import pytest
from bed import Bed, wait_for

from tacc_sync.testbed import site


def some_files(count, *, size=1000):
    return {f"d{n % 3}/file-{n:03d}.dat": bytes([n % 251]) * (size + n) for n in range(count)}


def buffer_of(bed):
    return bed.place / "nersc" / site.BUFFER[1:]


def unmount(bed):
    """As it looks when a file system is gone: an empty directory in its place."""
    buffer = buffer_of(bed)
    away = buffer.with_name("away")
    buffer.rename(away)
    buffer.mkdir()

    def mount():
        shutil.rmtree(buffer)
        away.rename(buffer)

    return mount


@pytest.mark.fault("buffer-unmounted")
def test_a_run_on_a_buffer_that_is_not_mounted_ends_and_the_next_one_goes_on(tmp_path):
    with Bed(tmp_path, some_files(9), tapes=3) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        mount = unmount(bed)
        assert "BUFFER-UNMARKED" in bed.run(code=78).err
        assert os.listdir(buffer_of(bed)) == []
        mount()
        bed.run()
        assert set(bed.gets().values()) == {1}
        bed.assert_finished(key)


@pytest.mark.fault("buffer-unmounted")
def test_a_buffer_that_is_unmounted_under_us_is_waited_for_and_neither_freed_nor_recalled(tmp_path):
    with Bed(tmp_path, some_files(9), tapes=3) as bed:
        key = bed.request()
        bed.run("syncer", "retriever", "globus_xfer")
        # What was delivered waits for the reaper, whose proof that it is freed is that nothing is there any more.
        reserved = bed.reserved()
        bed.tacc_sync("hold", "all")
        running = bed.start("run")
        wait_for(lambda: len(bed.names("claims/reaper.*")) == 1, "it runs")
        mount = unmount(bed)
        bed.tacc_sync("unhold", "all")
        wait_for(lambda: "BUFFER-UNMARKED" in bed.tacc_sync("status", code=None).out, "the status says so", 120)
        assert bed.reserved() == reserved
        assert bed.quarantine() == []
        mount()
        wait_for(lambda: bed.is_finished(key), "it goes on by itself")
        assert running.stop() == 0
        assert set(bed.gets().values()) == {1}
        assert bed.reserved() == 0
        bed.assert_finished(key)


@pytest.mark.fault("buffer-purged")
def test_copies_that_are_purged_from_the_buffer_are_recalled_again_and_no_others(tmp_path):
    with Bed(tmp_path, some_files(9), tapes=3) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        # Of one unit all, directory included; of another one file.
        first, second, _ = sorted(path for path in buffer_of(bed).iterdir() if not path.name.startswith("."))
        lost = len(os.listdir(first)) + 1
        shutil.rmtree(first)
        (second / "000001").unlink()
        bed.run()
        assert bed.quarantine() == []
        assert sorted(bed.gets().values()) == [1] * (9 - lost) + [2] * lost
        bed.assert_finished(key)


@pytest.mark.fault("ws-two-on-buffer")
def test_two_workspaces_on_one_buffer_are_refused_and_the_first_one_goes_on(tmp_path):
    with Bed(tmp_path, some_files(4), tapes=1) as bed:
        key = bed.request()
        bed.run("syncer", "retriever")
        other = bed.root / "other"
        bed.tacc_sync("init", other)
        done = bed.tacc_sync("--workspace", other, "run", "--once", code=78)
        assert "BUFFER-OF-ANOTHER" in done.err
        assert "buffer of its own" in done.err
        bed.run()
        bed.assert_finished(key)

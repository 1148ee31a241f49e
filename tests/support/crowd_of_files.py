"""Two archives of many files that are made up as they are listed, and a workspace that has delivered most of them: how much
memory an audit of them takes."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from fakes import FakeClock

from tacc_sync.operator.audit import Audit, Neighbours
from tacc_sync.outside.globus.interface import RemoteEntry
from tacc_sync.outside.hpss.interface import ListedFile, Listing
from tacc_sync.rules import documents
from tacc_sync.rules.documents import File, Plan, Request, Work
from tacc_sync.rules.identity import unit_id
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout
from tacc_sync.workspace.posix_disk import PosixDisk

SOURCE, DESTINATION = "/home/projects/demo", "/ranch/demo"
ID = "f8c7f5f6-d70a-4d05-8a84-5d6b0b2f2b6e"
KEY = "f8c7f5f6d70a"
IN_A_DIRECTORY, IN_A_UNIT = 5000, 2000
WRITTEN = "2020-06-01T12:00:00"
NOON = int(time.mktime((2020, 6, 1, 12, 0, 0, 0, 0, -1)))


def peak():
    """Kilobytes of this program at most. The kernel's resource usage would begin with what its parent had."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


def name(number):
    return f"directory {number // IN_A_DIRECTORY:05d}/a file of some length {number:010d}.i3.zst"


class Hpss:
    def __init__(self, files):
        self.files = files

    def list_trees(self, roots, checkpoint=None):
        assert roots == [SOURCE]
        listing = Listing()
        listing.files.extend(
            ListedFile(f"{SOURCE}/{name(n)}", n, n, 0, ("AG0001",), WRITTEN) for n in reversed(range(self.files))
        )
        return listing


class Globus:
    """Every thousandth is missing, and beside every thousandth is an extra one."""

    def __init__(self, files):
        self.files = files

    def entries(self, _collection, path):
        if path == DESTINATION:
            for directory in range(0, self.files, IN_A_DIRECTORY):
                yield RemoteEntry(name(directory).partition("/")[0], "dir", 0, None)
            return
        first = int(path.rpartition(" ")[2]) * IN_A_DIRECTORY
        for n in range(first, min(first + IN_A_DIRECTORY, self.files)):
            if n % 1000:
                yield RemoteEntry(name(n).partition("/")[2], "file", n, float(NOON))
            else:
                yield RemoteEntry(f"extra {n}", "file", n, 0.0)


def fill(disk, files):
    """A finished request that has delivered all of them."""
    layout.init(disk, "workspace-1", b"")
    directory = layout.finished(KEY)
    disk.mkdir(directory)
    units = []
    for seq, first in enumerate(range(0, files, IN_A_UNIT)):
        numbers = range(first, min(first + IN_A_UNIT, files))
        unit = unit_id(KEY, "AG0001", seq, sum(numbers))
        units.append(unit)
        work = Work(
            version=1, unit=unit, request_id=ID, tape=["AG0001"], bytes=sum(numbers), created_at="",
            files=[
                File(
                    path=f"{SOURCE}/{name(n)}", destination=f"{DESTINATION}/{name(n)}", size=n, written=WRITTEN,
                    mtime=NOON, outcome="delivered", receipt="md5:00", delivered_at="2026-03-28T00:15:20Z",
                )
                for n in numbers
            ],
        )  # fmt: skip
        disk.create(f"{directory}/{unit}.json", documents.encode(work))
    request = Request(
        version=1, source=SOURCE, destination=DESTINATION, request_id=ID,
        plan=Plan(planned_at="", files=files, bytes=0, units=units),
    )  # fmt: skip
    disk.create(f"{directory}/request.json", documents.encode(request))


def audit_of(files, root):
    """What an audit of so many files finds."""
    disk = PosixDisk(root)
    fill(disk, files)
    settings = Settings()
    settings.globus.destination_collection = "destination"
    with tempfile.TemporaryDirectory() as scratch:
        audited = Audit(disk, Neighbours(Hpss(files), Globus(files), FakeClock(), settings, scratch))
        for _ in audited.compare(KEY):
            pass
    return audited.counts


if __name__ == "__main__":
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        counts = audit_of(int(sys.argv[1]), str(Path(directory)))
    print(
        *(f"{kind}={amount.files}" for kind, amount in sorted(counts.kinds.items())),
        f"seconds={time.monotonic() - began:.0f}",
        f"kilobytes={peak()}",
    )

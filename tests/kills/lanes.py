"""A testbed that is used for one strike after the other: the state before each is put back from memory.

All strikes of a lane share its two sites. Each has a request of its own, whose key stands in every name and document of
the state and is replaced by a new one when the state is put back; so nothing that an earlier strike left at the sites can
be taken for the work of this one.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from bed import SOURCE, Bed

from tacc_sync.operator.check import Checker
from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.host.linux import LinuxHost
from tacc_sync.rules import documents
from tacc_sync.rules.ownership import Owner
from tacc_sync.testbed import globus_settings, site
from tacc_sync.workspace import layout
from tacc_sync.workspace.posix_disk import PosixDisk

FILES = {
    "a/one": b"1" * 3000,
    "a/two": b"22" * 35000,
    "b/three, with blanks": b"3" * 10,
    "empty": b"",
}
# Twelve hex digits that occur nowhere else.
TEMPLATE = "c0ffee00dead"
SETTINGS = {"hsi.sessions": "1", "run.poll": "0.1", "run.log_format": "json"}
# For what has no heartbeat, so that nobody can be certain: what waits for 30 minutes is not waited for here.
HURRY = {"lease.lease": "2", "lease.beat": "0.2", "lease.grace": "0.2", "lease.turn": "1"}
STAGES = ("syncer", "retriever", "globus_xfer", "reaper", "finisher")
EMPTY = (
    "inbox", "request_queue", "hpss_queue", "globus_queue", "reaper_queue", "claims", "reservations", "cartridges",
    "globus_slots", "rests", "hold", "finished/rejected", "finished/adopted",
    *(f"quarantine/{component}" for component in STAGES),
)  # fmt: skip
# Different each time.
OF_THE_MOMENT = ("listed_at", "retrieved_at", "delivered_at", "globus_task", "chain")


def uuid_of(key):
    return f"{key[:8]}-{key[8:]}-4000-8000-000000000001"


def swap(content, old, new):
    """Replace a request's key wherever it occurs."""
    for before, after in ((old, new), (uuid_of(old), uuid_of(new))):
        content = content.replace(before.encode(), after.encode())
    return content


def here(path, content, roots):
    """A document that says where its workspace lies says where it lies now."""
    if os.path.basename(path) not in (layout.IDENTITY, layout.MARKER):
        return content
    owner = msgspec.json.decode(content, type=Owner)
    return documents.encode_any(msgspec.structs.replace(owner, workspace_path=os.path.realpath(roots["workspace"])))


@dataclass
class Stage:
    """A workspace, a transfer buffer and a destination at rest, in memory."""

    # Of each tree the entries: path, content (None of a directory), time in ns.
    trees: dict[str, list[tuple[str, bytes | None, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, **roots):
        stage = cls()
        for name, root in roots.items():
            entries = []
            for here, folders, names in os.walk(root):
                below = os.path.relpath(here, root)
                entries += [(os.path.normpath(os.path.join(below, folder)), None, 0) for folder in sorted(folders)]
                for file in names:
                    path = Path(here, file)
                    relative = os.path.normpath(os.path.join(below, file))
                    entries.append((relative, path.read_bytes(), path.stat().st_mtime_ns))
            stage.trees[name] = entries
        return stage

    def put(self, key, **roots):
        for name, root in roots.items():
            root.mkdir(exist_ok=True)
            empty(root)
            for path, content, stamp in self.trees[name]:
                target = os.path.join(root, path.replace(TEMPLATE, key))
                if content is None:
                    os.mkdir(target, 0o700)
                    continue
                handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(handle, "wb") as file:
                    file.write(swap(here(path, content, roots), TEMPLATE, key))
                os.utime(target, ns=(stamp, stamp))


def empty(root):
    for entry in os.scandir(root):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


class Lane:
    """One testbed, one strike at a time."""

    def __init__(self, root, number=0, *, inside=None):
        root = Path(root)
        root.mkdir(parents=True)
        self.bed = Bed(root, FILES, tapes=2, settings=SETTINGS)
        self.root = root
        if inside is not None:
            # The workspace lies beside the buffer, below the directory that the source collection shows.
            shutil.rmtree(self.bed.workspace)
            self.bed.workspace = Path(inside)
        self.buffer = self.bed.place / "nersc" / site.BUFFER[1:]
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        self.bed.environment |= {"TACC_SYNC_WORK_ROOT": str(self.bed.workspace), "TMPDIR": str(self.scratch)}
        self._numbers = itertools.count(1)
        self._prefix = f"{0xBED0 + number:04x}"
        self.truth = self.bed.truth()
        self.key = ""
        self._log_began = 0

    def close(self):
        self.bed.close()

    @property
    def workspace(self):
        return self.bed.workspace

    @property
    def trees(self):
        return {"workspace": self.workspace, "buffer": self.buffer, "destination": self.destination}

    @property
    def destination(self):
        return self.bed.place / "tacc" / site.RANCH[1:] / self.key

    # --- states -------------------------------------------------------------------------------------------------

    def begin(self, stage=None, key=None):
        """Put a state back, under a key that was never used; without one, an empty workspace."""
        self.key = key or f"{self._prefix}{next(self._numbers):08x}"
        # The scratch directories of those that were killed.
        empty(self.scratch)
        self._log_began = os.path.getsize(self._globus_log) if self._globus_log.exists() else 0
        if stage is not None:
            stage.put(self.key, **self.trees)
            return
        for root in self.trees.values():
            root.mkdir(exist_ok=True)
            empty(root)
        self.bed.tacc_sync("init", str(self.workspace))

    @property
    def request_file(self):
        return self.root / "request.json"

    def write_request(self):
        document = {
            "version": 1, "source": SOURCE, "destination": f"{site.RANCH}/{self.key}", "request_id": uuid_of(self.key),
        }  # fmt: skip
        self.request_file.write_text(json.dumps(document))

    def stages(self):
        """component -> the state before it runs, and that in which nothing has been submitted yet."""
        self.begin(key=TEMPLATE)
        self.write_request()
        found = {"submit": Stage.of(**self.trees)}
        self.bed.tacc_sync("submit", str(self.request_file))
        for component in STAGES:
            found[component] = Stage.of(**self.trees)
            self.bed.run(component)
        assert self.wrong(tasks=3) == []
        found["end"] = Stage.of(**self.trees)
        return found

    # --- the program --------------------------------------------------------------------------------------------

    def command(self, *arguments, **settings):
        """The program as `python -m tacc_sync`: one process, and no script before it."""
        flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        own = self.bed.command(*flags, *arguments)[1:]
        return [sys.executable, "-m", "tacc_sync", *own]

    @property
    def options(self):
        return {"env": self.bed.environment, "cwd": self.root, "stdin": subprocess.DEVNULL}

    def run(self, *arguments, **settings):
        return subprocess.run(
            self.command(*arguments, **settings),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            **self.options,
        )

    def go_on(self):
        """Start again, until nothing moves any more; what it said when it did not end well."""
        done = self.run("run", "--once")
        said = [] if done.returncode == 0 else [f"run --once: {done.returncode}: {done.stderr[-1500:]}"]
        if "error_of_ours" in done.stderr:
            said.append(done.stderr[-3000:])
        for pause in (0.0, 2.2, 0.5, 0.5, 2.2):
            part = self.buffer / ".part"
            if not os.listdir(self.workspace / "claims") and not (part.exists() and os.listdir(part)):
                break
            # Killed while it furnished its home, or when it had just given up its heartbeat.
            time.sleep(pause)
            self.run("run", "--once", "reaper", **HURRY)
        return said

    # --- the end ------------------------------------------------------------------------------------------------

    def wrong(self, *, tasks):
        """What is not as it would be without a strike; `tasks`: how many must have been accepted since `begin` (None:
        a unit may have gone round for the rest of its files, but each file was sent once)."""
        wrong = []
        if self.bed.delivered(f"{site.RANCH}/{self.key}") != self.truth:
            wrong.append(f"at the destination: {sorted(self.bed.delivered(f'{site.RANCH}/{self.key}'))}")
        for place in EMPTY:
            if left := sorted(os.listdir(self.workspace / place)):
                wrong.append(f"{place} is not empty: {left}")
        if left := sorted(
            path.name for path in self.buffer.rglob("*") if path.name not in (layout.PART, layout.MARKER)
        ):
            wrong.append(f"in the buffer: {left}")
        if not (self.workspace / "turn").is_file():
            wrong.append("the turn is lost")
        wrong += self._wrong_documents()
        wrong += self._wrong_tasks(tasks)
        checker = Checker(PosixDisk(str(self.workspace)), PosixDisk(str(self.buffer)), SystemClock(), LinuxHost(), 0)
        return wrong + [f"check: {finding}" for finding in checker.check().findings]

    def _wrong_documents(self):
        directory = self.workspace / "finished" / self.key
        if not (directory / "request.json").is_file():
            return ["the request is not finished"]
        wrong = []
        for path in self.workspace.rglob("*.json"):
            try:
                json.loads(path.read_bytes())
            except ValueError:
                wrong.append(f"{path} is torn")
        plan = set(json.loads((directory / "request.json").read_bytes())["plan"]["units"])
        units = {path.stem for path in directory.glob(f"{self.key}.*.json")}
        if plan != units or len(plan) != 3:
            wrong.append(f"planned {sorted(plan)}, finished {sorted(units)}")
        return wrong

    def end(self, without=()):
        """The end in words that are the same each time: names, the list of sums, the manifest without its moments."""
        directory = self.workspace / "finished" / self.key
        names = sorted(path.name for path in directory.iterdir())
        sums = (directory / "manifest-sha512.txt").read_bytes()
        rows = [
            {key: value for key, value in json.loads(line).items() if key not in OF_THE_MOMENT and key not in without}
            for line in (directory / "manifest.jsonl").read_bytes().splitlines()
        ]
        return swap(json.dumps([names, sums.decode(), rows], sort_keys=True).encode(), self.key, TEMPLATE)

    @property
    def _globus_log(self):
        return globus_settings.directory(self.bed.place) / "log.jsonl"

    def heard(self):
        """What the Globus service noted since `begin`."""
        with self._globus_log.open("rb") as file:
            file.seek(self._log_began)
            content = file.read()
        return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]

    def accepted(self):
        return [entry for entry in self.heard() if entry["event"] == "accepted" and entry["label"].startswith(self.key)]

    def _wrong_tasks(self, expected):
        entries = self.heard()
        accepted = self.accepted()
        labels = Counter(entry["label"] for entry in accepted)
        ours = {entry["task_id"] for entry in accepted}
        bad = [
            one
            for one in entries
            if one["event"] == "ended" and one["task_id"] in ours and one["status"] != "SUCCEEDED"
        ]
        wrong = []
        if expected is None:
            if len(accepted) != len(labels) or sum(entry["items"] for entry in accepted) != len(self.truth):
                wrong.append(f"accepted: {accepted}")
        elif len(accepted) != expected or len(labels) != expected:
            wrong.append(f"{expected} tasks expected, accepted: {dict(labels)}")
        if bad:
            wrong.append(f"failed: {bad}")
        return wrong

    def contentions(self):
        """Cartridges that two sessions wanted at once."""
        return self.bed.hsi_log().contentions

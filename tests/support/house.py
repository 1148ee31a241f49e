"""A whole tacc-sync in one process and one thread: a workspace on disk, fakes around it, components stepped by the test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from fakes import Archived, FakeClock, FakeGlobus, FakeHost, FakeHpss

from tacc_sync.outside.checksums.listed import ListedChecksums
from tacc_sync.pipeline.finisher import Finisher
from tacc_sync.pipeline.globus_xfer import GlobusXfer
from tacc_sync.pipeline.reaper import Reaper
from tacc_sync.pipeline.retriever import Retriever
from tacc_sync.pipeline.step import Bench, Moved
from tacc_sync.pipeline.syncer import Syncer
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.posix_disk import PosixDisk

SOURCE = "/home/projects/demo"
DESTINATION = "/ranch/demo"


@dataclass
class House:
    root: Path
    settings: Settings = field(default_factory=Settings)
    clock: FakeClock = field(default_factory=FakeClock)
    host: FakeHost = field(default_factory=FakeHost)
    hpss: FakeHpss = field(default_factory=FakeHpss)
    events: list[tuple[str, dict]] = field(default_factory=list)
    vouchers: list = field(default_factory=lambda: [ListedChecksums()])

    def __post_init__(self):
        for name in ("ws", "nersc/buffer", "tacc"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.disk = PosixDisk(str(self.root / "ws"))
        self.buffer = PosixDisk(str(self.root / "nersc/buffer"))
        layout.init(self.disk, "workspace-1", b"")
        layout.open_buffer(self.buffer)
        self.globus = FakeGlobus(self.root / "nersc", self.root / "tacc", clock=self.clock)
        self.settings.buffer.globus_path = "/buffer"
        self.settings.globus.source_collection = "source"
        self.settings.globus.destination_collection = "destination"
        self.threads = 0

    def report(self, event, /, **about):
        self.events.append((event, about))

    def bench(self, component, host=None):
        self.threads += 1
        home = Home(self.disk, self.buffer, self.clock, host or self.host, component=component, thread=self.threads)
        home.enter()
        return Bench(home, self.settings, self.report, lambda _component: None)

    def component(self, name, host=None):
        bench = self.bench(name, host)
        return {
            "syncer": lambda: Syncer(bench, self.hpss, self.globus, self.vouchers),
            "retriever": lambda: Retriever(bench, self.hpss),
            "globus_xfer": lambda: GlobusXfer(bench, self.globus),
            "reaper": lambda: Reaper(bench),
            "finisher": lambda: Finisher(bench),
        }[name]()

    def archive(self, name, content, **about):
        path = name if name.startswith("/") else f"{SOURCE}/{name}"
        self.hpss.files[path] = Archived(content, **about)
        return path

    def drop(self, name="request.json", **fields):
        document = {"version": 1, "source": SOURCE, "destination": DESTINATION} | fields
        (self.root / "ws/inbox" / name).write_text(json.dumps(document))

    def run(self, *names, rounds=200, until=None):
        """Step the components round robin until nothing moves; time passes when nothing does."""
        names = names or ("syncer", "retriever", "globus_xfer", "reaper", "finisher")
        components = getattr(self, "_components", None)
        if components is None:
            components = self._components = {}
        idle = 0
        for _ in range(rounds):
            moved = False
            steps = []
            for name in names:
                if name not in components:
                    components[name] = self.component(name)
                step = components[name].step()
                steps.append(step)
                moved = moved or isinstance(step, Moved)
            if moved:
                idle = 0
                continue
            idle += 1
            due = [s.due for s in steps if s.due is not None]
            if (not due and idle > 2) or (until is not None and self.clock.now() >= until):
                return steps
            if until is not None:
                due = [min([*due, until])] if due else []
            self.clock.time = max(self.clock.time + 1, min(due, default=0))
        raise AssertionError(f"still moving after {rounds} rounds: {self.events[-5:]}")

    def tree(self, place=""):
        base = self.root / "ws" / place
        return sorted(str(p.relative_to(base)) for p in base.rglob("*") if p.is_file())

    def delivered(self):
        base = self.root / "tacc" / DESTINATION.lstrip("/")
        return {str(p.relative_to(base)): p.read_bytes() for p in base.rglob("*") if p.is_file()}

    def buffer_files(self):
        base = self.root / "nersc/buffer"
        return sorted(str(p.relative_to(base)) for p in base.rglob("*") if p.is_file())

    def documents(self, place):
        found = {}
        for path in sorted((self.root / "ws" / place).glob("*.json")):
            if not path.name.endswith(".why.json"):
                found[path.stem] = json.loads(path.read_text())
        return found

    def whys(self, place):
        return {p.name: json.loads(p.read_text()) for p in (self.root / "ws" / place).glob("*.why.json")}

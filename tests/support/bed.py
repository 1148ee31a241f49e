"""A testbed, a workspace, and the installed `tacc-sync`, used as a person would: for tests with real processes.

with Bed(tmp_path, {"a": b"x"}, tapes=1) as bed:
    bed.request()
    bed.run()
    assert bed.delivered() == bed.truth()
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tacc_sync.testbed import globus_faults, globus_settings, hpss_log, hpss_site, site

PROGRAM = str(Path(sys.executable).with_name("tacc-sync"))
KILLED_AT = str(Path(__file__).with_name("killed_at.py"))
SOURCE, DESTINATION = site.HPSS_PREFIX, site.RANCH
COMPONENTS = ("syncer", "retriever", "globus_xfer", "reaper", "finisher")
PATIENCE = 60.0

# The rhythm of the defaults is that of a tape library; nothing else is different.
QUICK = {
    "run.poll": "0.5",
    "run.stand_down": "1",
    "run.settle": "0.5",
    "patience.first_rest": "0.2",
    "patience.factor": "1",
    "patience.attempts": "2",
    "patience.at_least": "0",
    "globus.poll": "1",
    # A simulation beside what a test does would cost it more than all the rest.
    "forecast.every": "0",
}


def wait_for(condition, what="", seconds=PATIENCE, pause=0.02):
    """Wait until something is so; what it was, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        time.sleep(pause)
    return found


def is_alive(pid):
    """Whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def write_tree(directory, files):
    """Files by name; names may be bytes; each gets a time of its own, to the nanosecond."""
    for number, (name, content) in enumerate(files.items()):
        path = os.path.join(os.fsencode(directory), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        stamp = (1_300_000_000 + number) * 10**9 + 123_456_789
        os.utime(path, ns=(stamp, stamp))


def read_tree(directory):
    """name -> (bytes, mtime in ns) of all files below a directory; names are bytes."""
    root, found = os.fsencode(directory), {}
    for here, _, names in os.walk(root):
        for name in names:
            path = os.path.join(here, name)
            if not os.path.islink(path):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, root)] = (file.read(), os.stat(path).st_mtime_ns)
    return found


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def said(self):
        return self.out + self.err


class Running:
    """A `tacc-sync` in the background; what it says goes to a file."""

    def __init__(self, bed, arguments, number, by=()):
        self._log = bed.root / f"said-{number}.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*by, *bed.command(*arguments)], start_new_session=bool(by), env=bed.environment, cwd=bed.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )  # fmt: skip
        self.pid = self.process.pid

    @property
    def said(self):
        return self._log.read_text(errors="replace")

    def kill(self):
        """As the kernel does it: without a word."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self):
        """Ask it to end, and wait until it has; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end:\n{self.said[-3000:]}") from None


class Bed:
    """Both sites, and a workspace."""

    def __init__(
        self, root, files=(), *, settings=None, links=None, tapes=None, seed=0, hpss=None, placement=None, quota=None, prepare=lambda _data: None
    ):  # fmt: skip
        self.root = Path(root)
        self.data, self.place = self.root / "data", self.root / "site"
        self.workspace = self.root / "workspace"
        self.settings = QUICK | (settings or {})
        self._running = []
        self.data.mkdir()
        write_tree(self.data, dict(files))
        for name, target in (links or {}).items():
            os.symlink(target, self.data / name)
        prepare(self.data)
        if placement is not None:
            # What decides where a file lies, and which hash the archive has, can't be said to `up`.
            hpss_site.build_site(
                self.place, self.data, hpss_prefix=SOURCE, tapes=tapes, seed=seed, settings=hpss, **placement
            )
        self.site = site.up(self.place, self.data, tapes=tapes, seed=seed, hpss_settings=hpss)
        self.environment = {
            # Compiled modules make every start faster; some environments switch them off.
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("TACC_SYNC", "GLOBUS_")) and name != "PYTHONDONTWRITEBYTECODE"
            },
            **self.site.environment,
            "TACC_SYNC_WORK_ROOT": str(self.workspace),
            "PYTHONUNBUFFERED": "1",
        }
        if quota is not None:
            self.environment["TRANSFER_QUOTA"] = str(quota)
        try:
            self.tacc_sync("init", str(self.workspace))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
        site.down(self.place)

    # --- the program ----------------------------------------------------------------------------------------

    def command(self, *arguments):
        flags = [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]
        return [PROGRAM, *flags, *map(str, arguments)]

    def tacc_sync(self, *arguments, code=0, timeout=90, **environment):
        """Run a command to its end. `code`: what it has to exit with; None is anything."""
        done = subprocess.run(
            self.command(*arguments), env={**self.environment, **environment}, cwd=self.root, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="surrogateescape", timeout=timeout, check=False,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "error_of_ours" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *components, code=0):
        """`tacc-sync run --once`."""
        return self.tacc_sync("run", *components, "--once", code=code)

    def start(self, *arguments):
        """A command in the background."""
        running = Running(self, arguments, len(self._running))
        self._running.append(running)
        return running

    def start_led(self, *arguments, by):
        """A command in the background, started by another program that leads its process group."""
        running = Running(self, arguments, len(self._running), by)
        self._running.append(running)
        return running

    def run_killed_at(self, call, number, *arguments):
        """Run a command that is killed (SIGKILL) at its so-and-so-many-th call of this kind; whether it was."""
        command = [sys.executable, KILLED_AT, call, str(number), *self.command(*arguments)[1:]]
        done = subprocess.run(
            command, env=self.environment, cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True, timeout=90,
            check=False,
        )  # fmt: skip
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr.decode(errors="replace")[-3000:]
        return done.returncode == -signal.SIGKILL

    def request(self, name="request.json", **fields):
        """Drop a request into the inbox; the key by which the workspace will know it."""
        document = {
            "version": 1, "source": SOURCE, "destination": DESTINATION, "request_id": str(uuid.uuid4()), **fields,
        }  # fmt: skip
        beside = self.workspace / "inbox" / f".{name}"
        beside.write_text(json.dumps(document))
        beside.rename(self.workspace / "inbox" / name)
        return document["request_id"].replace("-", "")[:12]

    def status(self):
        """`tacc-sync status --json`, understood."""
        return json.loads(self.tacc_sync("status", "--json", code=None).out)

    def status_of(self, key):
        """What the status says of a request."""
        return next(request for request in self.status()["requests"] if request["request"] == key)

    def quarantine(self):
        """`tacc-sync quarantine list --json`, understood."""
        return json.loads(self.tacc_sync("quarantine", "list", "--json").out)

    def check(self):
        """Law 6, from the disk alone."""
        return self.tacc_sync("check")

    # --- the workspace, looked at from outside ----------------------------------------------------------------

    def names(self, pattern):
        return sorted(path.name for path in self.workspace.glob(pattern))

    def places_of_units(self):
        """unit -> where its document lies, claims included. A staged one does not count: it is not there yet."""
        found = {}
        patterns = ["*_queue/*.json", "finished/*/*.json", "quarantine/*/*.json", "claims/*/*_queue/*.json"]
        for path in (path for pattern in patterns for path in self.workspace.glob(pattern)):
            if path.name.count(".") == 4:  # request.tape.seq.bytes.json
                found.setdefault(path.stem, []).append(str(path.relative_to(self.workspace)))
        return found

    def works(self):
        """unit -> its document, wherever it lies; a look at which one moved is taken again."""

        def look():
            try:
                documents = {
                    unit: json.loads((self.workspace / places[0]).read_text())
                    for unit, places in self.places_of_units().items()
                }
            except FileNotFoundError:
                return None
            # No units are an answer, too.
            return [documents]

        return wait_for(look, "the units at rest")[0]

    def is_finished(self, key):
        return (self.workspace / "finished" / key / "request.json").exists()

    def reserved(self):
        """Bytes reserved in the buffer now."""
        return sum(int(name.rpartition(".")[2]) for name in os.listdir(self.workspace / "reservations"))

    def buffer_files(self):
        """What lies in it, but for the mark of whose it is."""
        return sorted(set(read_tree(self.place / "nersc" / site.BUFFER[1:])) - {b".tacc-sync.json"})

    def assert_documents_whole(self):
        """No document is ever visible half-written, and no unit is in two places."""
        for path in self.workspace.rglob("*.json"):
            # Homes that are not furnished yet, and the syncer's staging, are nobody else's to read.
            hidden = path.parent.name.startswith("new~") or "staging" in path.parts or path.name.startswith(".")
            if not hidden:
                with contextlib.suppress(FileNotFoundError):
                    json.loads(path.read_text())
        twice = {unit: places for unit, places in self.places_of_units().items() if len(places) > 1}
        assert not twice

    # --- both sites -------------------------------------------------------------------------------------------

    def truth(self, *, without=()):
        """What should arrive."""
        return {n: c for n, c in read_tree(self.data).items() if n not in {os.fsencode(name) for name in without}}

    def delivered(self, destination=DESTINATION):
        """What has arrived."""
        return read_tree(self.place / "tacc" / destination[1:])

    def assert_finished(self, key, *, without=()):
        """The end that all is about: bytes, names and times at the destination, nothing left over, the sums right."""
        assert self.delivered() == self.truth(without=without)
        assert self.is_finished(key), self.tacc_sync("status", code=None).out
        assert self.buffer_files() == []
        assert self.places_of_units().keys() == {p.stem for p in self.workspace.glob(f"finished/{key}/{key}.*.json")}
        self.assert_nothing_sent_twice()
        self.check()

    def hsi_faults(self, *rules):
        hpss_site.set_faults(self.place, rules)

    def hsi_flag(self, name, *, is_raised=True):
        hpss_site.set_flag(self.place, name, is_raised=is_raised)

    def globus_fault(self, what, match=None, **options):
        return globus_faults.add(self.place, what, match=match, **options)

    def globus_fired(self, rule):
        """How often a rule of the Globus service was met."""
        state = self.place / "globus" / "state.db"
        with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as database:
            row = database.execute("select fired from counts where rule = ?", (rule,)).fetchone()
        return row[0] if row else 0

    def globus_fault_ends(self, rule):
        globus_faults.remove(self.place, rule)

    def globus_log(self, *events):
        return globus_settings.read_log(self.place, *events)

    def hsi_log(self):
        return hpss_log.read_log(self.place)

    def gets(self):
        """How often each file was recalled whole."""
        return Counter(get.path.removeprefix(SOURCE + "/") for get in self.hsi_log().gets if get.ok)

    def hsi_pids(self):
        """hsi processes of this site that live."""
        return [
            session.pid for session in self.hsi_log().sessions if session.exit_status is None and is_alive(session.pid)
        ]

    def tasks(self):
        """The tasks that were accepted and have not failed, as the Globus service noted them."""
        failed = {end["task_id"] for end in self.globus_log("ended") if end["status"] == "FAILED"}
        return [task for task in self.globus_log("accepted") if task["task_id"] not in failed]

    def assert_nothing_sent_twice(self):
        """One task for each attempt of a unit, and as many files in them as there are at the destination."""
        labels = [task["label"] for task in self.tasks()]
        assert len(labels) == len(set(labels)), sorted(labels)
        assert sum(task["items"] for task in self.tasks()) == len(self.delivered())

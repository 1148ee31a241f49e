"""Two hosts that share one workspace and one buffer, and see it with 3 s of delay and without common locks; eight
workers on them that are killed and frozen at random. At the end nothing is lost, and nothing was done twice.

MINUTES_OF_STRIKES (0.75 in the small run, 5 with TACC_SYNC_KILLS=all): how long. STRIKES_SEED: which.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter

import pytest
from bed import SOURCE, Bed, wait_for
from hosts import Host, Worker, look
from lanes import EMPTY
from ledger import LEDGER
from mounts import Refused

from tacc_sync.testbed import site
from tacc_sync.workspace import layout

ALL = os.environ.get("TACC_SYNC_KILLS", "ci") == "all"
SECONDS = 60 * float(os.environ.get("MINUTES_OF_STRIKES", "5" if ALL else "0.75"))
SEED = int(os.environ.get("STRIKES_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
FILES, TAPES, UNIT = (5000, 60, 40) if SECONDS >= 240 else (800, 16, 25)
LEASE, GRACE, STALE = 10.0, 6.0, 3.0
SETTINGS = {
    # The turn's holder is taken for dead sooner; no time here is shorter than what a host may not know of the other.
    "lease.beat": "1", "lease.lease": f"{LEASE:g}", "lease.grace": f"{GRACE:g}", "lease.turn": "6",
    "run.poll": "1", "run.log_format": "json", "hsi.sessions": "1", "hsi.answer": "600",
    "units.files": str(UNIT), "globus.poll": "1",
    # Each kill of its worker is counted in a unit's document; here they come by the dozen.
    "patience.deaths": "1000", "patience.attempts": "100",
}  # fmt: skip
HPSS = {"mount_seconds": 0.5, "locate_seconds": 0.1}
# What the workers do: on each host one that does everything, and three that share the work.
DUTIES = ((), ("retriever",), ("retriever", "reaper"), ("globus_xfer", "finisher"))
EX_TEMPFAIL = 75
LEFT_IN_BUFFER = (layout.PART, layout.MARKER)
HOSTS = ("dtn01", "dtn02")
FROZEN_AT_ONCE = 3
# Three at work, one more queued at the service.
TASKS_AT_ONCE = 4
PATIENCE = 300.0

pytestmark = pytest.mark.timeout(3600)


def some_files(rng):
    block = rng.randbytes(1 << 16)
    sizes = [rng.choice((0, 1, *[rng.randrange(200, 6000)] * 20)) for _ in range(FILES)]
    return {
        f"d{number // 100:03}/f{number:05}": number.to_bytes(4, "big") * (size > 3) + block[: max(0, size - 4)]
        for number, size in enumerate(sizes)
    }


@pytest.fixture
def rng():
    print(f"seed {SEED}: say STRIKES_SEED={SEED} for the same strikes")
    return random.Random(SEED)


@pytest.fixture
def bed(place_in_memory, rng):
    root = place_in_memory / "two-hosts"
    root.mkdir()
    with Bed(
        root, some_files(rng), tapes=TAPES, seed=SEED, settings=SETTINGS, hpss=HPSS,
        placement={"two_cartridge_share": 0.03, "disk_share": 0.02},
    ) as bed:  # fmt: skip
        # What both hosts share: the workspace lies beside the buffer.
        shared = bed.place / "nersc"
        bed.workspace = shared / "workspace"
        total = sum(len(content) for content, _ in bed.truth().values())
        bed.environment |= {"TACC_SYNC_WORK_ROOT": str(bed.workspace), "TRANSFER_QUOTA": str(total // 3)}
        # Each host sees it in a place of its own, and this test in a third.
        bed.settings["run.also_at"] = " ".join(
            map(str, [bed.workspace, *(root / name / "workspace" for name in HOSTS)])
        )
        bed.tacc_sync("init", str(bed.workspace))
        yield bed


@pytest.fixture
def hosts(bed):
    made = []
    try:
        for name in HOSTS:
            scratch = bed.root / f"scratch-{name}"
            scratch.mkdir()
            shared, place = bed.place / "nersc", bed.root / name
            environment = bed.environment | {
                "TMPDIR": str(scratch),
                "TACC_SYNC_WORK_ROOT": str(place / "workspace"),
                "TRANSFER_DIR": str(place / site.BUFFER[1:]),
            }
            made.append(Host(name, shared, place, environment, bed.root / f"{name}.txt"))
        yield made
    except Refused as refused:
        pytest.skip(f"no hosts of our own here: {refused}")
    finally:
        for host in made:
            host.close()


class Strikes:
    """Who is struck when, and what is looked at meanwhile."""

    def __init__(self, bed, hosts, workers, rng):
        self.bed, self.hosts, self.workers, self._rng = bed, hosts, workers, rng
        self.kills = self.freezes = self.long_freezes = 0
        self._due = []  # (when, what)
        self._quota = int(bed.environment["TRANSFER_QUOTA"])
        self.wrong = []

    def at(self, seconds, what):
        self._due.append((time.monotonic() + seconds, what))

    def strike(self):
        """Kill or freeze somebody, and see to it that it is started or thawed again."""
        standing = [worker for worker in self.workers if worker.alive and not worker.frozen]
        if not standing:
            return
        worker = self._rng.choice(standing)
        if self._rng.random() < 0.6 or sum(one.frozen for one in self.workers) >= FROZEN_AT_ONCE:
            worker.kill()
            self.kills += 1
            return
        # From less than what makes it kill itself, to more than what lets others take over all that it has.
        seconds = self._rng.uniform(LEASE * 0.3, LEASE + GRACE + 3 * STALE)
        worker.freeze()
        self.freezes += 1
        self.long_freezes += seconds > LEASE
        self.at(seconds, worker.thaw)

    def tick(self):
        """Do what is due, start again who has ended, look at the reservations."""
        now = time.monotonic()
        due = [what for when, what in self._due if when <= now]
        self._due = [(when, what) for when, what in self._due if when > now]
        for what in due:
            what()
        look(self.hosts, self.workers)
        for worker in self.workers:
            if not worker.alive:
                worker.start()
        self._look_at_reservations()

    def thaw_all(self):
        self._due.clear()
        for worker in self.workers:
            if worker.alive and worker.frozen:
                worker.thaw()

    def _look_at_reservations(self):
        # Names that move may be seen twice: only what several readings agree upon is so.
        place = self.bed.workspace / "reservations"
        for _ in range(3):
            names = set(os.listdir(place))
            total = sum(int(name.rpartition(".")[2]) for name in names)
            if total <= self._quota:
                return
        self.wrong.append(f"{total} bytes reserved of {self._quota}: {sorted(names)}")


def tasks_at_once(bed):
    live, most = set(), 0
    for entry in bed.globus_log("accepted", "ended"):
        if entry["event"] == "accepted":
            live.add(entry["task_id"])
        else:
            live.discard(entry["task_id"])
        most = max(most, len(live))
    return most


def settle(bed):
    """Take over, on this third host, what workers left behind that nobody can be certain of."""
    for _ in range(20):
        bed.run("reaper")
        part = bed.place / "nersc" / site.BUFFER[1:] / ".part"
        if not os.listdir(bed.workspace / "claims") and not os.listdir(part):
            return
        time.sleep(LEASE / 5)


def test_two_hosts_under_fire(bed, hosts, rng):
    began = time.monotonic()
    workers = [
        Worker(host, f"{host.name} {' '.join(duty) or 'all'}", bed.command("run", *duty), bed.root / f"{host.name}-{number}.log", bed.root)
        for host in hosts
        for number, duty in enumerate(DUTIES)
    ]  # fmt: skip
    strikes = Strikes(bed, hosts, workers, rng)
    destinations = [f"{site.RANCH}/{number}" for number in range(100)]
    keys = []

    def ask():
        keys.append(bed.request(f"request-{len(keys)}.json", source=SOURCE, destination=destinations[len(keys)]))

    ask()
    for worker in workers:
        worker.start()
    end, next_strike = began + SECONDS, began + 3.0
    while time.monotonic() < end:
        time.sleep(0.2)
        strikes.tick()
        if time.monotonic() >= next_strike:
            strikes.strike()
            next_strike = time.monotonic() + rng.uniform(0.3, 3.0)
        # Under fire to the end: when all is done, again from the beginning.
        if bed.is_finished(keys[-1]):
            ask()
    under_fire = time.monotonic() - began
    strikes.thaw_all()

    def finished():
        strikes.tick()
        return all(bed.is_finished(key) for key in keys)

    try:
        wait_for(finished, "the end of the requests", PATIENCE, 0.5)
    except AssertionError:
        print(scene(bed, workers))
        raise
    for worker in workers:
        worker.stop()

    def ended():
        look(hosts, workers)
        return not any(worker.alive for worker in workers)

    wait_for(ended, "the end of the workers", PATIENCE, 0.2)
    settle(bed)

    wrong = strikes.wrong + violations(bed, workers, keys, destinations)
    struck = strikes.kills + strikes.freezes
    LEDGER.count("two hosts", tried=struck, violations=len(wrong), seconds=time.monotonic() - began)
    LEDGER.notes.append(
        f"two hosts: seed {SEED}, {FILES} files x {len(keys)}, {strikes.kills} kills, {strikes.freezes} freezes "
        f"({strikes.long_freezes} longer than the lease) in {under_fire:.0f} s, run dry after "
        f"{time.monotonic() - began:.0f} s; {sum(bed.gets().values())} recalls, {len(bed.globus_log('accepted'))} tasks, "
        f"{Counter(status for worker in workers for status in worker.statuses)}"
    )
    assert not wrong, f"seed {SEED}: {len(wrong)} violations\n" + "\n".join(wrong[:20])
    assert strikes.kills >= 5 and strikes.long_freezes >= 1, "too quiet to prove anything"


def scene(bed, workers):
    """What there is to be seen when it does not end: for whoever must find out why."""
    lines = [bed.tacc_sync("status", code=None).said, bed.tacc_sync("check", code=None).said]
    for place in (*EMPTY, "quarantine"):
        lines += sorted(str(path.relative_to(bed.workspace)) for path in (bed.workspace / place).rglob("*.*"))
    lines += [path.read_text() for path in (bed.workspace / "quarantine").glob("*/*.why.json")]
    units = [path.name.removesuffix(".json") for path in (bed.workspace / "quarantine").glob("*/*.json")]
    for worker in workers:
        said = worker.said.splitlines()
        lines += ["", f"--- {worker.name} {worker.statuses}", *said[-30:], "of what is in quarantine:"]
        lines += [line for line in said if any(unit in line for unit in units)]
    return "\n".join(lines)


def violations(bed, workers, keys, destinations):
    truth, wrong = bed.truth(), []
    for key, destination in zip(keys, destinations, strict=False):
        arrived = bed.delivered(destination)
        different = [name for name in truth.keys() | arrived.keys() if truth.get(name) != arrived.get(name)]
        if different:
            wrong.append(f"{destination}: {len(different)} files are not as they should be: {sorted(different)[:5]}")
        wrong += wrong_sums(bed, key, destination)
    for place in EMPTY:
        if left := sorted(os.listdir(bed.workspace / place)):
            wrong.append(f"{place} is not empty: {left[:10]}")
    if not (bed.workspace / "turn").is_file():
        wrong.append("the turn is lost")
    buffer = bed.place / "nersc" / site.BUFFER[1:]
    if left := sorted(str(path.relative_to(buffer)) for path in buffer.rglob("*") if path.name not in LEFT_IN_BUFFER):
        wrong.append(f"in the buffer: {left[:10]}")
    labels = Counter(task["label"] for task in bed.globus_log("accepted"))
    if twice := [label for label, count in labels.items() if count > 1]:
        wrong.append(f"accepted twice: {twice}")
    sent = sum(task["items"] for task in bed.tasks())
    if sent != len(truth) * len(keys):
        wrong.append(f"{sent} files were sent, not {len(truth)} x {len(keys)}: {sorted(labels)}")
    if bad := [task for task in bed.globus_log("ended") if task["status"] != "SUCCEEDED"]:
        wrong.append(f"failed: {bad}")
    if (most := tasks_at_once(bed)) > TASKS_AT_ONCE:
        wrong.append(f"{most} tasks at once")
    wrong += [f"two sessions wanted one cartridge: {json.dumps(one)}" for one in bed.hsi_log().contentions]
    for worker in workers:
        # It ends when it is told to, is killed, or kills itself as it could not beat.
        if strange := set(worker.statuses) - {0, -signal.SIGKILL, EX_TEMPFAIL}:
            words = [line for line in worker.said.splitlines() if not line.startswith("{")]
            wrong.append(f"{worker.name} ended with {strange}: {words[-40:]}")
        for bad in ("error_of_ours", "Traceback"):
            if bad in worker.said:
                at = worker.said.index(bad)
                wrong.append(f"{worker.name} said: {worker.said[max(0, at - 500) : at + 3000]}")
    checked = bed.tacc_sync("check", "--strict", code=None)
    if checked.code:
        wrong.append(f"check --strict: {checked.code}: {checked.said[-2000:]}")
    return wrong


def wrong_sums(bed, key, destination):
    """The list of sums that the request left, as a person would use it."""
    manifest = bed.workspace / "finished" / key / "manifest-sha512.txt"
    lines = manifest.read_bytes().splitlines()
    done = subprocess.run(
        ["sha512sum", "--check", "--strict", "--quiet", str(manifest)],
        cwd=bed.place / "tacc" / destination[1:], capture_output=True, text=True, check=False,
    )  # fmt: skip
    wrong = [f"{key}: sha512sum: {done.stdout[:500]} {done.stderr[:500]}"] if done.returncode else []
    if len(lines) != FILES:
        wrong.append(f"{key}: {len(lines)} sums of {FILES} files")
    return wrong

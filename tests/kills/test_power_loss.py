"""The power fails at a place where the program makes something durable: whatever was said outside is still known afterwards.

Workspace and transfer buffer lie on a file system of their own, which is shut down the moment the program is killed (what
was not flushed is lost), mounted again, and gone on with. TACC_SYNC_KILLS=ci: at each fsync; `all`: also at each rename,
link, send and write.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest
import strikes
from lanes import TEMPLATE, Lane, uuid_of
from ledger import LEDGER, on_all
from mounts import Mount, Refused
from scenarios import COMPONENTS, SUBMIT, command, prepare
from test_kills import go_on, places

ALL = os.environ.get("TACC_SYNC_KILLS", "ci") == "all"
KINDS = ("fsync", "rename", "link", "send", "write") if ALL else ("fsync",)
STRUCK = SUBMIT | COMPONENTS
ALONG_THE_WAY = ("hpss_queue", "globus_queue", "reaper_queue", "finished")
LANES = 3
AFTER_THE_END = strikes.Point("after the end", "", 0)

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


class FragileLane(Lane):
    """A lane whose workspace and transfer buffer may lose their power."""

    def __init__(self, root, number, kind):
        super().__init__(root, number)
        shown = self.bed.place / "nersc"
        try:
            self.mount = Mount(kind, self.root / "image", shown)
        except BaseException:
            super().close()
            raise
        self.buffer.mkdir()
        self.bed.workspace = shown / "workspace"
        self.bed.environment["TACC_SYNC_WORK_ROOT"] = str(self.bed.workspace)

    def close(self):
        super().close()
        self.mount.close()

    def begin(self, stage=None, key=None):
        super().begin(stage, key)
        self.mount.flush()


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def fragile(request, place_in_memory):
    """The lanes; the states from which the components start; how an undisturbed run ends; the file system."""
    kind, root, lanes = request.param, place_in_memory / f"fragile-{request.param}", []
    try:
        try:
            lanes += [FragileLane(root / str(number), 16 + number, kind) for number in range(LANES)]
        except Refused as refused:
            pytest.skip(f"no {kind} to cut off here: {refused}")
        states = lanes[0].stages()
        yield lanes, states, lanes[0].end(), kind
    finally:
        for lane in lanes:
            lane.close()


@pytest.mark.parametrize("name", list(STRUCK))
def test_what_was_said_is_known_after_a_power_loss(name, fragile):
    lanes, states, reference, kind = fragile
    scenario = STRUCK[name]
    points = [*places(lanes[0], scenario, states, KINDS), AFTER_THE_END]
    label = f"power loss ({kind}): {name}"
    LEDGER.hidden[label] = LEDGER.hidden.pop(name, 0)

    def do(lane, point):
        began = time.monotonic()
        hit, wrong = try_point(lane, scenario, point, states, reference)
        return point, hit, wrong, time.monotonic() - began

    violations, struck, started = [], 0, time.monotonic()
    for point, hit, wrong, seconds in on_all(lanes, points, do):
        struck += hit
        row = LEDGER.row(label, point.kind)
        row.points += hit
        row.missed += not hit
        row.violations += bool(wrong)
        row.seconds += seconds
        if wrong:
            violations.append("\n  ".join(wrong))
    LEDGER.count("power loss", tried=struck, violations=len(violations), seconds=time.monotonic() - started)
    assert not violations, f"{len(violations)} violations\n\n" + "\n\n".join(violations[:10])


def try_point(lane, scenario, point, states, reference):
    prepare(lane, scenario, states)
    lane.mount.flush()
    log = lane.root / "struck.txt"
    program = command(lane, scenario)
    if point is AFTER_THE_END:
        done = subprocess.run(program, capture_output=True, timeout=90, check=False, **lane.options)
        hit = done.returncode == 0
    else:
        hit, done = strikes.strike(strikes.renamed(point, TEMPLATE, lane.key), program, log, **lane.options)
    if not hit:
        return False, [f"{point}: {done.returncode}: {done.stderr!r}"] if done.returncode else []
    lane.mount.cut()
    wrong = forgotten(lane, done)
    wrong += go_on(lane, scenario)
    wrong += lane.wrong(tasks=scenario.tasks)
    if not wrong and lane.end() != reference:
        wrong.append(f"the end is another: {lane.end().decode()[:3000]}")
    if wrong:
        last = log.read_text(errors="replace").splitlines()[-4:] if log.exists() else []
        wrong = [f"{scenario.name}, {point}:", *wrong, "the last calls:", *last]
    return True, wrong


def forgotten(lane, done):
    """What the program (or the Globus service) had said, and the workspace does not know any more."""
    wrong = []
    documents = {path: path.read_bytes() for path in lane.workspace.rglob("*.json") if path.parts.count("staging") == 0}
    units = {
        path.stem: path for path in documents if path.name.startswith(f"{lane.key}.") and path.name.count(".") == 4
    }
    request = [path for path in documents if lane.key in path.name or path.parent.name == lane.key]
    if uuid_of(lane.key) in done.stdout.decode():
        content = (lane.workspace / "inbox" / f"{uuid_of(lane.key)}.json").read_bytes()
        if content != lane.request_file.read_bytes():
            wrong.append(f"submitted, and forgotten: {content!r}")
    for line in done.stderr.decode(errors="replace").splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        match said.get("event"):
            case "request_planned":
                if not any(path.parent.name in {"request_queue", lane.key} for path in request):
                    wrong.append(f"planned, and forgotten: {line}")
            case "work_moved":
                here = place(lane, units.get(said["unit"]))
                if here not in ALONG_THE_WAY or ALONG_THE_WAY.index(here) < ALONG_THE_WAY.index(said["to"]):
                    wrong.append(f"moved, and forgotten (it lies in {here}): {line}")
            case "transfer_submitted":
                if said["task"].encode() not in documents.get(units.get(said["unit"]), b""):
                    wrong.append(f"submitted to Globus, and forgotten: {line}")
            case "request_finished":
                if not (lane.workspace / "finished" / lane.key / "request.json").exists():
                    wrong.append(f"finished, and forgotten: {line}")
    for task in lane.accepted():
        unit = task["label"].rpartition(".")[0]
        work = json.loads(documents.get(units.get(unit), b"null"))
        if not work or not any(one["label"] == task["label"] and one["submission_id"] for one in work["tasks"]):
            wrong.append(f"accepted by Globus, and the attempt is forgotten: {task}")
    return wrong


def place(lane, path):
    """The queue of a document, also of a claimed one."""
    names = path.relative_to(lane.workspace).parts if path else ()
    return next((name for name in names if name in ALONG_THE_WAY), "")

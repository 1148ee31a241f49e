"""A single call on the workspace or on the transfer buffer fails (EIO, EDQUOT, ESTALE), or several in a row: nothing is
torn, the program says whose fault it is, and once it is over the end is that of an undisturbed run.

TACC_SYNC_KILLS=ci: some of the places, spread evenly, each with one of the errors; `all`: each rename, link, fsync,
creating open and write, with each error.
"""

from __future__ import annotations

import os
import shutil
import time

import pytest
import strikes
from lanes import TEMPLATE
from ledger import LEDGER, on_all
from scenarios import COMPONENTS, SUBMIT, command, prepare
from test_kills import go_on

ALL = os.environ.get("TACC_SYNC_KILLS", "ci") == "all"
KINDS = ("rename", "link", "fsync", "open", "write")
ERRORS = ("EIO", "EDQUOT", "ESTALE")
# A stretch is over before the components would all have met it.
STRETCH = 5
OF_EACH = 6
STRUCK = SUBMIT | COMPONENTS
# Places that depend on how often somebody was asked may not come.
REACHED = 0.7
EX_SOFTWARE = 70

pytestmark = [
    pytest.mark.timeout(7200),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


def disturbances(points):
    """What is tried: (place, error, how many times in a row)."""
    if ALL:
        single = [(point, error, 1) for point in points for error in ERRORS]
        return single + [
            (point, ERRORS[number % len(ERRORS)], STRETCH) for number, point in enumerate(points)
        ]  # fmt: skip
    step = max(1, len(points) // OF_EACH)
    return [
        (point, ERRORS[number % len(ERRORS)], STRETCH if number % 2 else 1)
        for number, point in enumerate(points[step // 2 :: step])
    ]


@pytest.mark.parametrize("which", ["workspace", "buffer"])
@pytest.mark.parametrize("name", list(STRUCK))
def test_errors_pass(name, which, lanes, stages):
    scenario, (states, reference) = STRUCK[name], stages
    prepare(lanes[0], scenario, states)
    seen = strikes.watch(command(lanes[0], scenario), lanes[0].root / "watched.txt", **lanes[0].options)
    points = [
        strikes.renamed(point, lanes[0].key, TEMPLATE)
        for point in strikes.sick_points(seen, KINDS, lanes[0].trees[which])
    ]
    if not points:
        pytest.skip(f"{name} changes nothing in the {which}")
    tried = disturbances(points)

    def do(lane, what):
        began = time.monotonic()
        hit, wrong = try_error(lane, scenario, *what, states, reference)
        return what, hit, wrong, time.monotonic() - began

    violations, reached, started = [], 0, time.monotonic()
    for (point, _, _), hit, wrong, seconds in on_all(lanes, tried, do):
        row = LEDGER.row(f"errors in {which}: {name}", point.kind)
        row.points += hit
        row.missed += not hit
        row.violations += bool(wrong)
        row.seconds += seconds
        reached += hit
        if wrong:
            violations.append("\n  ".join(wrong))
    LEDGER.count("disk errors", tried=reached, violations=len(violations), seconds=time.monotonic() - started)
    assert not violations, f"{len(violations)} violations\n\n" + "\n\n".join(violations[:10])
    assert reached >= REACHED * len(tried)


def try_error(lane, scenario, point, error, times, states, reference):
    """Whether it came to the error, and what is wrong at the end."""
    if point.kind == "write":
        # Each thread counts for itself, so that several in a row strike the host's temporary directories as well.
        times = 1
    prepare(lane, scenario, states)
    log = lane.root / "disturbed.txt"
    here = strikes.renamed(point, TEMPLATE, lane.key)
    hit, done = strikes.disturb(here, error, times, command(lane, scenario), log, **lane.options)
    wrong = []
    if done.returncode == EX_SOFTWARE or "error_of_ours" in done.stderr or "Traceback" in done.stderr:
        wrong.append(f"taken for a fault of ours: {done.returncode}: {done.stderr[-3000:]}")
    try:
        lane.bed.assert_documents_whole()
    except (AssertionError, ValueError) as found:
        wrong.append(f"right after it: {found!r}")
    wrong += go_on(lane, scenario)
    wrong += lane.wrong(tasks=scenario.tasks)
    if not wrong and lane.end() != reference:
        wrong.append(f"the end is another: {lane.end().decode()[:3000]}")
    if wrong:
        struck = [line for line in log.read_text(errors="replace").splitlines() if "INJECTED" in line]
        wrong = [f"{scenario.name}, {point}, {error} x {times}:", *wrong, "what failed:", *struck[:4]]
    return hit, wrong

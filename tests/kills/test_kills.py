"""Every place where the program can be killed is tried: whatever it is killed in, starting again ends as if nothing had been.

TACC_SYNC_KILLS=ci (as by default): at each rename, link, fsync and send. `all`: and at each unlink, mkdir, rmdir,
creating open and write.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
import strikes
from lanes import TEMPLATE
from ledger import LEDGER, on_all
from scenarios import ALL, COMPONENTS, command, prepare

KINDS = tuple(strikes.CALLS) if os.environ.get("TACC_SYNC_KILLS", "ci") == "all" else strikes.FEW
BAD_WRITER = str(Path(__file__).with_name("bad_writer.py"))
# Calls that depend on how often Globus was asked may not come.
REACHED = 0.8
EX_DATAERR = 65

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


def go_on(lane, scenario):
    said = []
    if scenario.stage == "submit":
        done = lane.run("submit", str(lane.request_file))
        if done.returncode:
            said.append(f"submit: {done.returncode}: {done.stderr[-500:]}")
    return said + lane.go_on()


def try_point(lane, scenario, point, stages, reference, program=command):
    """Strike there, start again: whether it was killed, and what is wrong at the end."""
    prepare(lane, scenario, stages)
    log = lane.root / "struck.txt"
    here = strikes.renamed(point, TEMPLATE, lane.key)
    hit, done = strikes.strike(here, program(lane, scenario), log, **lane.options)
    if not hit:
        text = done.stderr.decode(errors="replace")[-1500:]
        return False, [f"{point} was not reached, and: {text}"] if done.returncode else []
    wrong = []
    try:
        lane.bed.assert_documents_whole()
    except (AssertionError, ValueError) as error:
        wrong.append(f"right after the kill: {error!r}")
    wrong += go_on(lane, scenario)
    wrong += lane.wrong(tasks=scenario.tasks)
    if not wrong and lane.end() != reference:
        wrong.append(f"the end is another: {lane.end().decode()[:3000]}")
    if wrong:
        last = log.read_text(errors="replace").splitlines()[-4:]
        wrong = [f"{scenario.name}, {point}:", *wrong, "the last calls:", *last]
    return True, wrong


def places(lane, scenario, stages, kinds):
    prepare(lane, scenario, stages)
    seen = strikes.watch(command(lane, scenario), lane.root / "watched.txt", **lane.options)
    found, LEDGER.hidden[scenario.name] = strikes.points(seen, kinds)
    # The names of the new files carry the key of that run.
    return [strikes.renamed(point, lane.key, TEMPLATE) for point in found]


@pytest.mark.parametrize("name", list(ALL))
def test_after_any_kill_the_end_is_the_same(name, lanes, stages):
    scenario, (states, reference) = ALL[name], stages
    points = places(lanes[0], scenario, states, KINDS)
    assert len(points) > (2 if scenario.prior or name == "submit" else 10)

    def do(lane, point):
        began = time.monotonic()
        hit, wrong = try_point(lane, scenario, point, states, reference)
        return point, hit, wrong, time.monotonic() - began

    violations, reached, started = [], 0, time.monotonic()
    for point, hit, wrong, seconds in on_all(lanes, points, do):
        row = LEDGER.row(name, point.kind)
        row.points += hit
        row.missed += not hit
        row.violations += bool(wrong)
        row.seconds += seconds
        reached += hit
        if wrong:
            violations.append("\n  ".join(wrong))
    LEDGER.count("kills", tried=reached, violations=len(violations), seconds=time.monotonic() - started)
    assert not violations, f"{len(violations)} violations\n\n" + "\n\n".join(violations[:10])
    assert reached >= REACHED * len(points)
    for lane in lanes:
        assert lane.contentions() == []


def test_a_bad_writer_is_caught(lanes, stages):
    """The method finds bugs: a program that truncates documents in place does not get through."""
    scenario, (states, reference) = COMPONENTS["reaper"], stages

    def program(lane, scenario):
        return [sys.executable, BAD_WRITER, *command(lane, scenario)[3:]]

    prepare(lanes[0], scenario, states)
    seen = strikes.watch(program(lanes[0], scenario), lanes[0].root / "watched.txt", **lanes[0].options)
    points, _ = strikes.points(seen, ("write",))

    def do(lane, point):
        return try_point(lane, scenario, point, states, reference, program)

    struck = [wrong for hit, wrong in on_all(lanes, points, do) if hit]
    caught = sum(map(bool, struck))
    LEDGER.notes.append(f"a bad writer, on purpose: killed at {len(struck)} writes, caught at {caught} of them")
    assert caught >= 3

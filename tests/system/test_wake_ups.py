"""Who has something to do is woken: with pauses between two looks that nobody could sit through, a request still goes
through."""

import json
from datetime import datetime

from bed import Bed, wait_for

FILES = {f"run-{n % 3}/file-{n:03d}.dat": bytes([n]) * (500 + n) for n in range(60)}
# Nobody who waits for this is served within a test.
NEVER = "3600"
# Between two steps of a unit, on however busy a machine: what is measured in earnest is so by bench/latency.py.
AT_MOST = 30.0


def events_of(said):
    """(seconds since the epoch, event) as the log tells them."""
    found = []
    for line in said.splitlines():
        if line.startswith("{"):
            event = json.loads(line)
            found.append((datetime.fromisoformat(event["at"]).timestamp(), event))
    return found


def test_each_component_is_woken_by_the_one_before_it_and_nobody_waits_for_his_next_look(tmp_path):
    # Less room than files, so that units wait for what the reaper frees; more units than slots and sessions.
    settings = {"run.poll": NEVER, "globus.poll": "5", "run.log_format": "json", "hsi.sessions": "2"}
    with Bed(tmp_path, FILES, settings=settings, tapes=3, quota=20_000) as bed:
        key = bed.request()
        run = bed.start("run")
        wait_for(lambda: bed.is_finished(key), "the request")
        assert run.stop() == 0
        bed.assert_finished(key)
        events, log = events_of(run.said), bed.globus_log("accepted", "ended")
    units = {event["unit"] for _, event in events if event["event"] == "work_claimed"}
    assert len(units) > 4
    ends = [when for when, event in events if event["event"] == "transfer_ended"]
    for unit in units:
        at = {event["event"]: when for when, event in events if event.get("unit") == unit and "to" not in event}
        to = {event["to"]: when for when, event in events if event.get("unit") == unit and "to" in event}
        tasks = {entry["event"]: entry["time"] for entry in log if entry["label"].rpartition(".")[0] == unit}
        steps = [
            to["globus_queue"], tasks["accepted"], at["transfer_submitted"], tasks["ended"], at["transfer_ended"],
            at["buffer_freed"], to["finished"],
        ]  # fmt: skip
        # One after the other, but for the task, which may have ended before we know that it was accepted.
        assert steps[0] < steps[1] < steps[4] < steps[5] <= steps[6]
        # A slot may have been free only later.
        could = max([to["globus_queue"], *(when for when in ends if when < tasks["accepted"])])
        assert tasks["accepted"] - could < AT_MOST
        assert at["transfer_ended"] - max(tasks["ended"], at["transfer_submitted"]) < AT_MOST
        assert at["buffer_freed"] - at["transfer_ended"] < AT_MOST

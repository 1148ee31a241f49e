"""Before a byte moves, and after: what `plan` says is what happens, and the forecast is shown and judged."""

import json

from bed import DESTINATION, SOURCE, Bed, wait_for

WORDS = ("--source", SOURCE, "--destination", DESTINATION, "--exclude", "refused*")
FILES = {
    **{f"run-{n % 4}/file-{n:04d}.dat": bytes([n % 251]) * (500 + n) for n in range(60)},
    "run-0/large": b"x" * 50_000,
    "refused": b"y",
}


def snapshot(bed):
    """The workspace: each file and directory, and when it was changed."""
    found = {}
    for path in bed.workspace.rglob("*"):
        status = path.lstat()
        found[path] = (status.st_ino, status.st_size, status.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def test_what_is_planned_is_what_happens(tmp_path):
    with Bed(tmp_path, FILES, tapes=4, quota=40_000) as bed:
        before = snapshot(bed)
        (plan,) = json.loads(bed.tacc_sync("plan", *WORDS, "--json").out)
        (dry,) = json.loads(bed.tacc_sync("submit", "--dry-run", *WORDS, "--json").out)
        told = bed.tacc_sync("plan", *WORDS).out
        assert snapshot(bed) == before
        for name in ("selected", "there", "carried", "refused", "units", "tapes", "spanning", "rules"):
            assert plan[name] == dry[name], name
        assert plan["selected"]["files"] == len(FILES) - 1
        assert [each["code"] for each in plan["refused"]] == ["FILE-LARGER-THAN-BUFFER"]
        assert plan["refused"][0]["paths"] == [f"{SOURCE}/run-0/large"]
        assert "done about" in told
        assert "Ranch, mean-file" in told

        request_id = bed.tacc_sync("submit", *WORDS).out.strip()
        key = request_id.replace("-", "")[:12]
        bed.run("syncer")
        planned = bed.status_of(key)
        assert planned["selected"] == plan["selected"]
        assert planned["units"] == plan["units"]
        assert planned["quarantined"] == plan["refused"][0]["amount"]
        assert planned["forecasts"] == []

        # As a run does it, in a process of its own.
        bed.tacc_sync("forecast", "--background")
        (first,) = bed.status_of(key)["forecasts"]
        assert first["p10"] <= first["p50"] <= first["p90"]
        assert first["bytes"] == plan["carried"]["bytes"]
        assert "done about" in bed.tacc_sync("status").out
        bed.check()

        bed.run()
        moved = bed.status_of(key)
        assert moved["delivered"] == plan["carried"]
        bed.tacc_sync("quarantine", "abandon", "--all", "--yes")
        bed.run()
        assert bed.is_finished(key)
        assert bed.status_of(key)["delivered"] == plan["carried"]
        assert "foretold at its planning for about" in bed.tacc_sync("status").out
        (line,) = json.loads(bed.tacc_sync("history", "--by", "request", "--json").out)["lines"]
        assert line["forecast"] in {"earlier", "within", "later"}
        bed.check()

        # Of what is there already, nothing has to move; and what was seen of the site is what the next plan builds on.
        (again,) = json.loads(bed.tacc_sync("plan", *WORDS, "--json").out)
        assert again["there"] == plan["carried"]
        assert again["carried"]["files"] == 0
        assert again["forecast"] is None


def test_a_run_foretells_by_itself(tmp_path):
    with Bed(tmp_path, FILES, tapes=2, settings={"forecast.every": "6h"}) as bed:
        bed.tacc_sync("submit", *WORDS)
        bed.run("syncer")
        (key,) = [request["request"] for request in bed.status()["requests"]]
        running = bed.start("run", "finisher")
        try:
            wait_for(lambda: "forecast_made" in running.said, "a forecast of the run", pause=0.5)
        finally:
            assert running.stop() == 0
        (made,) = bed.status_of(key)["forecasts"]
        assert made["p50"]
        bed.run()
        assert bed.is_finished(key)

"""`history` and `export`: the figures are those of the manifests, and each file stands in the table once."""

import csv
import io
import json
import sys

import pytest
from desk import Desk
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.operator.history import COLUMNS, Finished, write_csv, write_parquet
from tacc_sync.rules.documents import File, Task, Why, Work
from tacc_sync.rules.figures import History

DAYS = ("2026-03-27", "2026-03-28", "2026-03-29")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path).at_once()
    desk.fill(6, tapes=2)
    (bad,) = [path for path in desk.hpss.files if path.endswith("file 3")]
    desk.hpss.errors[bad] = "get: Error -5 on transfer"
    desk.drop(label="one of six is bad")
    desk.run()
    for entry in desk.quarantined():
        desk.abandon(entry)
    desk.run()
    desk.archive('odd, "name"', b"x", hash=None)
    desk.drop("second.json", include=["odd*"], label="the odd one")
    desk.run()
    return desk


def manifest_lines(desk):
    paths = sorted((desk.root / "ws/finished").glob("*/manifest.jsonl"))
    return [json.loads(line) for path in paths for line in path.open()]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("by", ["day", "request", "tape"])
def test_the_figures_are_those_of_the_manifests(desk, capsys, by):
    lines = desk.cli_json(capsys, "history", "--by", by)["lines"]
    delivered = [line for line in manifest_lines(desk) if line["outcome"] == "delivered"]
    assert sum(line["files"] for line in lines) == len(delivered) == 6
    assert sum(line["bytes"] for line in lines) == sum(line["size"] for line in delivered)
    assert sum(line["abandoned"] for line in lines) == 1
    names = {
        "day": {line["delivered_at"][:10] for line in delivered},
        "request": {line["unit"][:12] for line in delivered},
        "tape": {"-".join(line["tape"]) or "none" for line in delivered},
    }[by]
    assert {line["name"] for line in lines} >= names
    if by == "request":
        assert {line["label"] for line in lines} == {"one of six is bad", "the odd one"}


def test_a_person_reads_a_table(desk, capsys):
    out = desk.cli(capsys, "history", "--by", "request")
    head, *rows = out.splitlines()
    assert head.split()[:3] == ["request", "files", "bytes"]
    assert len(rows) == 2
    assert any(row.endswith("one of six is bad") for row in rows)
    assert "6 files" in desk.talk


def test_the_table_has_each_file_once_and_says_what_the_manifest_says(desk, capsys, tmp_path):
    rows = rows_of(desk.cli(capsys, "export"))
    lines = {line["source"]: line for line in manifest_lines(desk)}
    assert list(rows[0]) == list(COLUMNS)
    assert sorted(row["source"] for row in rows) == sorted(lines)
    for row in rows:
        line = lines[row["source"]]
        for name in ("destination", "outcome", "unit", "written"):
            assert row[name] == line[name]
        for name in ("size", "section", "offset", "transfer_attempts", "rounds"):
            assert int(row[name]) == line[name]
        for name in ("archive_hash", "receipt", "why", "delivered_at"):
            assert row[name] == (line[name] or "")
        assert row["sha512"] == line["hashes"].get("sha512", "")
    desk.cli(capsys, "export", str(tmp_path / "files.csv"))
    assert rows_of((tmp_path / "files.csv").read_text()) == rows
    assert not (tmp_path / "files.csv.unfinished").exists()


def test_one_request_only(desk, capsys):
    (row,) = rows_of(desk.cli(capsys, "export", "--request", "the odd one"))
    assert row["source"].endswith('odd, "name"')
    desk.cli(capsys, "export", "--request", "nobody's", code=64)


def test_a_unit_that_cannot_be_read_is_named_and_the_others_count(desk, capsys):
    path = next(iter(sorted((desk.root / "ws/finished").glob("*/*.*.*.*.json"))))
    path.write_text("{")
    desk.cli(capsys, "export", code=1)
    assert path.name in desk.talk
    found = desk.cli_json(capsys, "history", code=1)
    assert [name.rpartition("/")[2] for name in found["unreadable"]] == [path.name]
    assert sum(line["files"] for line in found["lines"]) < 6


def test_what_breaks_off_leaves_nothing_under_the_name_that_was_asked_for(desk, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    desk.cli(capsys, "export", "--format", "parquet", str(tmp_path / "files.parquet"), code=69)
    assert "PARQUET-MISSING" in desk.talk and "pip install" in desk.talk
    assert not list(tmp_path.glob("files*"))
    desk.cli(capsys, "export", "--format", "parquet", code=64)


def test_parquet_says_the_same_as_csv(desk, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: it is an extra, and large")
    path = str(tmp_path / "files.parquet")
    assert write_parquet(Finished(desk.disk).rows(), path) == 7
    read = parquet.read_table(path)
    assert {field.name: str(field.type) for field in read.schema} == COLUMNS
    stream = io.StringIO()
    write_csv(read.to_pylist(), stream)
    again = io.StringIO()
    write_csv(Finished(desk.disk).rows(), again)
    assert stream.getvalue() == again.getvalue()


# --- the sums ------------------------------------------------------------------------------------------------------

TIMES = st.builds("{}T{:02d}:00:00Z".format, st.sampled_from(DAYS), st.integers(0, 23))


@st.composite
def works(draw):
    files = []
    for n in range(draw(st.integers(1, 5))):
        begun, ended = sorted((draw(TIMES), draw(TIMES)))
        about = {"path": f"/a/{n}", "destination": f"/b/{n}", "size": draw(st.integers(0, 10**12))}
        if draw(st.booleans()):
            files.append(File(**about, outcome="delivered", retrieved_at=begun, delivered_at=ended))
        else:
            files.append(File(**about, outcome="abandoned", why=Why(code="X-Y", text="", at=ended)))
    items = st.lists(st.integers(0, len(files) - 1), unique=True)
    tasks = [
        Task(attempt=n, submission_id="s", label="l", prepared_at="", items=draw(items), bytes=0)
        for n in range(draw(st.integers(0, 3)))
    ]
    request = draw(st.sampled_from(["00000000-0000-4000-8000-000000000000", "11111111-0000-4000-8000-000000000000"]))
    return Work(
        version=1, unit="u", request_id=request, tape=draw(st.sampled_from([[], ["AA0001"], ["AA0001", "AA0002"]])),
        bytes=0, created_at=f"{DAYS[0]}T00:00:00Z", round=draw(st.integers(1, 4)), tasks=tasks, files=files,
    )  # fmt: skip


@given(st.lists(works(), max_size=6))
def test_all_ways_to_add_up_agree(units):
    totals = []
    for by in ("day", "request", "tape"):
        history = History(by)
        for unit in units:
            history.add(unit)
        lines = history.lines
        totals.append(
            tuple(sum(getattr(line, what) for line in lines) for what in ("files", "bytes", "abandoned", "units", "repeats", "rounds"))
        )  # fmt: skip
        for line in lines:
            assert line.first_at <= line.last_at or not line.files
            if by == "day" and line.files:
                assert line.first_at[:10] == line.last_at[:10] == line.name
            if line.bytes_per_second is not None:
                assert line.bytes_per_second * 3 * 86400 >= line.bytes
    assert len(set(totals)) == 1
    files = [file for unit in units for file in unit.files]
    delivered = [file for file in files if file.outcome == "delivered"]
    assert totals[0][:4] == (
        len(delivered), sum(file.size for file in delivered), len(files) - len(delivered), len(units)
    )  # fmt: skip

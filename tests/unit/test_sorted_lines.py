"""Lines sorted outside of memory come out as `sorted` has them, with few files open and nothing left over."""

import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from tacc_sync.outside.host import sorted_lines
from tacc_sync.outside.host.sorted_lines import SortedLines

lines = st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"\t")), max_size=60)


@settings(deadline=None)
@given(lines, st.integers(1, 400), st.integers(2, 4))
def test_they_come_out_in_order_as_often_as_they_went_in_and_again(content, run_bytes, files):
    with tempfile.TemporaryDirectory() as directory:
        with SortedLines(directory, run_bytes=run_bytes, files=files) as ours:
            for line in content:
                ours.add(line)
            expected = sorted(content, key=lambda line: line + b"\n")
            assert list(ours) == expected
            assert list(ours) == expected
        assert os.listdir(directory) == []


def test_few_files_are_open_at_once_however_many_runs_there_are(tmp_path, monkeypatch):
    merged = []
    merge = sorted_lines._merge

    def counted(opened, runs, more):
        merged.append(len(list(runs)))
        return merge(opened, runs, more)

    monkeypatch.setattr(sorted_lines, "_merge", counted)
    with SortedLines(str(tmp_path), run_bytes=100, files=3) as ours:
        for number in range(1000, 0, -1):
            ours.add(b"%04d" % number)
        assert [int(line) for line in ours] == list(range(1, 1001))
    assert max(merged) <= 3

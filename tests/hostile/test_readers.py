"""Whatever reads what strangers have written: any bytes, and bytes that are nearly right. Nothing but the declared
errors comes out, and nothing grows without bounds."""

import json
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import targets
from mutation import mutated, mutated_json

from tacc_sync.outside.hpss.hsi_answers import FilesAnswer
from tacc_sync.outside.hpss.hsi_gets import GetsAnswer
from tacc_sync.outside.hpss.hsi_tree import TreeAnswer
from tacc_sync.rules import documents
from tacc_sync.rules.documents import BadDocument, Request, Work

JSON = ("document", "globus")
QUICK = settings(
    max_examples=200, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_seeds_are_what_the_readers_expect(name):
    for seed in targets.SEEDS[name]:
        targets.TARGETS[name](seed)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_any_bytes(name):
    @QUICK
    @given(st.binary(max_size=400))
    def check(data):
        targets.TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_bytes_that_are_nearly_right(name):
    @QUICK
    @given(mutated(targets.SEEDS[name]))
    def check(data):
        targets.TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", JSON)
def test_json_that_is_nearly_right(name):
    @settings(QUICK, max_examples=400)
    @given(mutated_json(targets.SEEDS[name]))
    def check(data):
        targets.TARGETS[name](data)

    check()


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda: TreeAnswer("/r", targets.DIALECT),
    lambda: FilesAnswer(targets.ASKED, targets.DIALECT),
    lambda: GetsAnswer(targets.FETCHES, (), targets.DIALECT),
])  # fmt: skip
@pytest.mark.parametrize("line", [
    b"*** HPSS Unavailable " + b"x" * 3000, b"*** get: I/O error on /r/a " + b"y" * 3000, b"gibberish " * 300, b"\x00" * 3000,
])  # fmt: skip
def test_a_flood_of_one_line_is_not_kept(make, line):
    answer = make()
    if isinstance(answer, TreeAnswer):
        # What lies in the tree is kept, of course.
        line = line.replace(b"/r/a", b"/elsewhere")
    tracemalloc.start()
    try:
        for number in range(300):
            # Each line is another one, and one of them never ends.
            answer.feed(number % 2, b"%d " % number * (b"HPSS" not in line) + line + b"\n")
            answer.feed(number % 2, line)
        answer.end()
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [
    b"[" * 1_000_000, b'{"a":' * 300_000, b'{"version":1,"source":' + b"[" * 200_000,
    b'{"version":' + b"9" * 100_000 + b"}", b'{"version":1e400}', b"\0" * 3_000_000, b"", b"\xef\xbb\xbf{}", b"null", b'"x"',
    b'{"version":1,"version":1,"source":"/a","destination":"/b"}', b'{"version":1,"source":"\\ud800","destination":"/b"}',
    b'{"version":-1,"source":"/a","destination":"/b"}', b'{"version":1,"source":"/a","destination":"/b"}x',
], ids=range(14))  # fmt: skip
def test_deep_large_and_torn_documents_are_refused_cheaply(data):
    tracemalloc.start()
    try:
        with pytest.raises(BadDocument) as caught:
            both(data)
        assert len(str(caught.value)) < 1000
        with pytest.raises(BadDocument):
            documents.decode(data, Work)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + 2_000_000
    finally:
        tracemalloc.stop()


def both(data):
    documents.fields_of(data)
    documents.decode(data, Request)


def test_what_stands_twice_further_down_is_refused_too():
    inner = json.dumps(targets.REQUEST["plan"])[:-1] + ',"files":4}'
    data = json.dumps(targets.REQUEST).replace(json.dumps(targets.REQUEST["plan"]), inner).encode()
    with pytest.raises(BadDocument, match="twice"):
        documents.fields_of(data)

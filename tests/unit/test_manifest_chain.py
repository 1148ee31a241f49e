"""Whatever single thing is changed in a manifest, it is noticed, and the line is named."""

import hashlib
import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.rules import certificate, checksum_lists, manifest_chain
from tacc_sync.rules.certificate import Certificate
from tacc_sync.rules.manifest_chain import Chain, ManifestCheck

REQUEST = "f8c7f5f6-d70a-4d05-8a84-5d6b0b2f2b6e"
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


def manifest(names, request=REQUEST):
    chain = Chain(request)
    lines = []
    for name in names:
        sha512 = hashlib.sha512(name.encode()).hexdigest()
        record = {"line": chain.next, "destination": f"/d/{name}", "size": len(name), "outcome": "delivered"}
        lines.append(chain.line(msgspec.json.encode({**record, "hashes": {"sha512": sha512}})))
    return lines, chain.chained


def a_certificate(chained):
    return Certificate(
        version=1, request_id=REQUEST, workspace_id="w", number=1, written_by="x", source=["/s"], destination="/d",
        planned_at="", finished_at="", outcomes={}, vouched={}, manifest=chained, files={},
    )  # fmt: skip


def split(content):
    """As a file is read: at newlines alone."""
    return [line for line in re.split(rb"(?<=\n)", content) if line]


def flaws_of(content, chained):
    check = ManifestCheck(a_certificate(chained))
    found = [flaw for line in split(content) for flaw in check.line(line)]
    return [*found, *check.end()]


def named(found):
    return {flaw.line for flaw in found}


def test_the_chain_is_what_the_document_says():
    lines, chained = manifest(["a", "b", "c"])
    before = REQUEST
    for line in lines:
        body, _, said = line.rpartition(b',"chain":"')
        before = hashlib.sha256(before.encode() + body + b"}").hexdigest()
        assert said == before.encode() + b'"}\n'
        assert json.loads(line)["chain"] == before
    assert (chained.lines, chained.last) == (3, before)


@given(st.lists(NAMES, max_size=8))
def test_an_untouched_manifest_has_no_flaw(names):
    lines, chained = manifest(names)
    assert flaws_of(b"".join(lines), chained) == []


@given(st.lists(NAMES, min_size=1, max_size=8), st.data())
def test_one_changed_byte_is_named_by_its_line(names, data):
    lines, chained = manifest(names)
    content = bytearray(b"".join(lines))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    line = bytes(b"".join(lines)[:at]).count(b"\n") + 1
    # A newline that is made or lost also moves the border to the neighbour.
    assert line in named(flaws_of(bytes(content), chained))
    assert named(flaws_of(bytes(content), chained)) <= {line, line + 1}


@given(st.lists(NAMES, min_size=1, max_size=8), st.data())
def test_one_byte_more_or_less_is_named_by_its_line(names, data):
    lines, chained = manifest(names)
    content = b"".join(lines)
    at = data.draw(st.integers(0, len(content) - 1))
    line = content[:at].count(b"\n") + 1
    more = data.draw(st.one_of(st.none(), st.binary(min_size=1, max_size=1)))
    changed = content[:at] + content[at + 1 :] if more is None else content[:at] + more + content[at:]
    if changed == content:
        return
    found = named(flaws_of(changed, chained))
    # An equal byte beside it makes the place ambiguous, also across the end of a line.
    assert found & {line, line + 1, line - 1}
    assert found <= {line - 1, line, line + 1, line + 2}


@given(st.lists(NAMES, min_size=1, max_size=8), st.data())
def test_a_missing_line_is_named(names, data):
    lines, chained = manifest(names)
    at = data.draw(st.integers(0, len(lines) - 1))
    (flaw,) = flaws_of(b"".join(lines[:at] + lines[at + 1 :]), chained)
    assert flaw.line == at + 1
    assert f"line {at + 1} is missing" in flaw.text


@given(st.lists(NAMES, min_size=2, max_size=8), st.data())
def test_missing_lines_are_named(names, data):
    lines, chained = manifest(names)
    first = data.draw(st.integers(0, len(lines) - 2))
    last = data.draw(st.integers(first + 1, len(lines) - 1))
    (flaw,) = flaws_of(b"".join(lines[:first] + lines[last + 1 :]), chained)
    assert f"lines {first + 1} to {last + 1} are missing" in flaw.text


@given(st.lists(NAMES, min_size=1, max_size=8), st.data())
def test_an_added_line_is_named(names, data):
    lines, chained = manifest(names)
    at = data.draw(st.integers(0, len(lines)))
    foreign = manifest(["foreign"], "another")[0][0]
    more = data.draw(st.sampled_from([*lines, foreign, b"\n", b"{}\n", b"nonsense\n"]))
    found = flaws_of(b"".join([*lines[:at], more, *lines[at:]]), chained)
    # Of two equal lines in a row either is the added one.
    equal = at < len(lines) and lines[at] == more
    assert named(found) == ({at + 2} if equal else {at + 1})
    assert "does not belong there" in found[0].text or "was added" in found[0].text


@given(st.lists(NAMES, min_size=2, max_size=8), st.data())
def test_two_swapped_lines_are_named(names, data):
    lines, chained = manifest(names)
    one = data.draw(st.integers(0, len(lines) - 2))
    other = data.draw(st.integers(one + 1, len(lines) - 1))
    swapped = list(lines)
    swapped[one], swapped[other] = lines[other], lines[one]
    found = flaws_of(b"".join(swapped), chained)
    assert one + 1 in named(found)
    assert named(found) & {other + 1, other + 2}


def test_a_chain_made_anew_is_named_between_two_checkpoints(monkeypatch):
    monkeypatch.setattr(manifest_chain, "EVERY", 10)
    names = [f"n{n}" for n in range(57)]
    _, chained = manifest(names)
    assert len(chained.checkpoints) == 5
    for changed, since, upto in ((0, 1, 10), (9, 1, 10), (10, 11, 20), (49, 41, 50), (50, 51, 57), (56, 51, 57)):
        forged, _ = manifest([*names[:changed], "forged", *names[changed + 1 :]])
        (flaw,) = flaws_of(b"".join(forged), chained)
        assert flaw.line == since
        assert f"and line {upto}, and the chain made anew" in flaw.text


def test_a_line_that_was_forged_with_its_own_chain_is_noticed_at_the_next_one():
    lines, chained = manifest(["a", "b", "c", "d"])
    forged, _ = manifest(["a", "x", "c", "d"])
    found = flaws_of(b"".join([lines[0], forged[1], *lines[2:]]), chained)
    assert named(found) == {3}
    assert "line 2 was, and its `chain` made anew" in found[0].text


def test_the_manifest_of_another_request_does_not_fit():
    chain = Chain("00000000-0000-4000-8000-000000000000")
    lines = [chain.line(msgspec.json.encode({"line": 1}))]
    assert flaws_of(b"".join(lines), manifest(["a"])[1])


@given(st.lists(NAMES, max_size=8), st.binary(max_size=400))
def test_garbage_is_never_taken_for_a_manifest(names, garbage):
    lines, chained = manifest(names)
    assert flaws_of(garbage, chained) or garbage == b"".join(lines)


# --- certificates --------------------------------------------------------------------------------------------------


def test_a_certificate_reads_back_equal_and_without_a_flaw():
    written = a_certificate(manifest(["a"])[1])
    found, flaws = certificate.decode(certificate.encode(written))
    assert flaws == []
    assert msgspec.structs.replace(found, digest="") == written


@given(st.data())
def test_one_changed_byte_in_a_certificate_is_noticed(data):
    content = bytearray(certificate.encode(a_certificate(manifest(["a"])[1])))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert {flaw.code for flaw in certificate.decode(bytes(content))[1]} == {"CERTIFICATE-CHANGED"}


@given(st.binary(max_size=300))
def test_garbage_is_no_certificate(garbage):
    found, flaws = certificate.decode(garbage)
    assert found is None and flaws


# --- lists of sums -------------------------------------------------------------------------------------------------

LINE = st.sampled_from([b"a  1\n", b"b  2\n", b"c  3\n", b"d  4\n", b"e  5\n", b"f  6\n"])
LINES = st.lists(LINE, max_size=10)


@given(LINES, LINES)
def test_a_list_has_a_flaw_exactly_when_it_differs(expected, found):
    flaws = list(checksum_lists.flaws_of_list("list", expected, found))
    assert (flaws == []) == (expected == found)


@given(st.lists(NAMES, min_size=1, max_size=200, unique=True), st.data())
def test_a_line_of_a_list_is_named(names, data):
    lines = [checksum_lists.coreutils_line(name, "0" * 128) for name in names]
    at = data.draw(st.integers(0, len(lines) - 1))
    what = data.draw(st.sampled_from(["changed", "missing", "added"]))
    found = {
        "changed": [*lines[:at], b"other\n", *lines[at + 1 :]],
        "missing": [*lines[:at], *lines[at + 1 :]],
        "added": [*lines[:at], b"other\n", *lines[at:]],
    }[what]
    (flaw,) = checksum_lists.flaws_of_list("list", lines, found)
    assert flaw.line == at + 1
    assert what in flaw.text


@pytest.mark.parametrize(
    ("name", "coreutils", "bag"),
    [
        ("a b", b"0  a b\n", b"0  data/a b\n"),
        ("50%", b"0  50%\n", b"0  data/50%25\n"),
        ("a\nb\r", b"\\0  a\\nb\\r\n", b"0  data/a%0Ab%0D\n"),
        ("a\\b", b"\\0  a\\\\b\n", b"0  data/a\\b\n"),
    ],
)
def test_names_are_escaped_as_each_reader_wants_them(name, coreutils, bag):
    assert checksum_lists.coreutils_line(name, "0") == coreutils
    assert checksum_lists.bag_line(name, "0") == bag

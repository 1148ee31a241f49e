"""What is done with a task, and which records prove a delivery."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.rules.evidence import COMPUTABLE, algorithm_name, checksum_value
from tacc_sync.rules.tasks import (
    Delivered,
    Ended,
    GiveUp,
    InProgress,
    NeedsHash,
    NotDelivered,
    TaskView,
    assess,
    judge_record,
)

NOW = 1_800_000_000.0
MINUTE, HOUR = 60.0, 3600.0

ACTIVE = TaskView(
    task_id="t1",
    label="u.1",
    status="ACTIVE",
    nice_status="OK",
    nice_status_text="",
    is_paused=False,
    faults=0,
    fatal_error="",
    files=2,
    files_transferred=0,
    files_skipped=0,
    bytes_transferred=0,
    bytes_checksummed=0,
    requested_at=NOW - HOUR,
    completed_at=None,
    deadline=NOW + 24 * HOUR,
    canceled_by_admin="",
    history_deleted=False,
)
SUCCEEDED = replace(ACTIVE, status="SUCCEEDED", nice_status=None, completed_at=NOW)
FAILED = replace(SUCCEEDED, status="FAILED")


def says(nice_status: str | None, **more) -> TaskView:
    return replace(ACTIVE, nice_status=nice_status, **more)


@pytest.mark.parametrize(
    ("view", "code", "stuck"),
    [
        (ACTIVE, "", False),
        (says("Queued"), "", False),
        (says(None), "", False),
        (says("CONNECTION_RESET", faults=3), "TASK-STUMBLES", False),
        (says("ENDPOINT_TOO_BUSY"), "TASK-STUMBLES", False),
        (says("TIMEOUT"), "TASK-STUMBLES", False),
        (says("SOMETHING_NEW"), "TASK-STUMBLES", False),
        (says("FILE_NOT_FOUND"), "TASK-FILE-MISSING", True),
        (says("PERMISSION_DENIED"), "TASK-PERMISSION", True),
        (says("QUOTA_EXCEEDED"), "TASK-QUOTA", True),
        (says("ENDPOINT_QUOTA_PROBLEM"), "TASK-QUOTA", True),
        (says("AMBIGUOUS_PATH"), "TASK-PATH", True),
        (says("FILE_SIZE_CHANGED"), "TASK-FILE-CHANGED", True),
        (says("VERIFY_CHECKSUM"), "TASK-CHECKSUM", True),
        (says("AUTH"), "TASK-CREDENTIALS", False),
        (says("EXPIRED_CREDENTIALS"), "TASK-CREDENTIALS", False),
        (says("PAUSED_BY_ADMIN"), "TASK-PAUSED", False),
        (says("OK", is_paused=True), "TASK-PAUSED", False),
        (says("FILE_NOT_FOUND", is_paused=True), "TASK-PAUSED", False),
        (replace(ACTIVE, status="INACTIVE"), "TASK-INACTIVE", False),
        (replace(ACTIVE, status="INACTIVE", nice_status="FILE_NOT_FOUND"), "TASK-INACTIVE", False),
    ],
)
def test_a_task_in_progress_is_waited_for_with_a_name(view, code, stuck):
    verdict = assess(view, now=NOW)
    assert isinstance(verdict, InProgress)
    assert (code, stuck) == (verdict.code, verdict.stuck)
    assert verdict.waits_for
    assert verdict.next


def test_inactive_tells_the_remedy_and_is_never_given_up():
    verdict = assess(replace(ACTIVE, status="INACTIVE"), now=NOW, since=NOW - 90 * 24 * HOUR)
    assert isinstance(verdict, InProgress)
    assert "tacc-sync login" in verdict.next
    assert "credentials" in verdict.waits_for


@pytest.mark.parametrize(
    ("nice_status", "code", "whose", "patience"),
    [
        ("FILE_NOT_FOUND", "TASK-FILE-MISSING", "work", 15 * MINUTE),
        ("AMBIGUOUS_PATH", "TASK-PATH", "work", 15 * MINUTE),
        ("PERMISSION_DENIED", "TASK-PERMISSION", "operator", 15 * MINUTE),
        ("QUOTA_EXCEEDED", "TASK-QUOTA", "world", 15 * MINUTE),
        ("VERIFY_CHECKSUM", "TASK-CHECKSUM", "work", 4 * HOUR),
        ("FILE_SIZE_CHANGED", "TASK-FILE-CHANGED", "work", 4 * HOUR),
    ],
)
def test_what_does_not_heal_is_given_up_when_patience_is_over(nice_status, code, whose, patience):
    view = says(nice_status, nice_status_text="file not found: /a/b", faults=7)
    assert isinstance(assess(view, now=NOW, since=NOW - patience + 1), InProgress)
    verdict = assess(view, now=NOW, since=NOW - patience)
    assert isinstance(verdict, GiveUp)
    assert (code, whose) == (verdict.code, verdict.whose)
    assert nice_status in verdict.text
    assert "/a/b" in verdict.text


def test_patience_is_configurable():
    assert isinstance(assess(says("FILE_NOT_FOUND"), now=NOW, since=NOW - 5, patience=5), GiveUp)
    assert isinstance(assess(says("FILE_NOT_FOUND"), now=NOW, since=NOW - 5, patience=6), InProgress)
    assert isinstance(assess(says("VERIFY_CHECKSUM"), now=NOW, since=NOW - 5, long_patience=5), GiveUp)


def test_a_clock_that_was_set_back_does_not_make_impatient():
    verdict = assess(says("FILE_NOT_FOUND"), now=NOW, since=NOW + HOUR)
    assert isinstance(verdict, InProgress)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (SUCCEEDED, (True, True, "", "work")),
        (replace(SUCCEEDED, history_deleted=True), (True, False, "", "work")),
        (
            replace(FAILED, fatal_error="FILE_NOT_FOUND: file not found"),
            (False, True, "TASK-FILE-MISSING", "work"),
        ),
        (replace(FAILED, fatal_error="PERMISSION_DENIED: no"), (False, True, "TASK-PERMISSION", "operator")),
        (replace(FAILED, fatal_error="QUOTA_EXCEEDED: full"), (False, True, "TASK-QUOTA", "world")),
        (replace(FAILED, fatal_error="VERIFY_CHECKSUM: differs"), (False, True, "TASK-CHECKSUM", "work")),
        (replace(FAILED, fatal_error="CANCELED: canceled"), (False, True, "TASK-CANCELED", "operator")),
        (replace(FAILED, fatal_error="TIMEOUT: deadline"), (False, True, "TASK-FAILED", "world")),
        (replace(FAILED, fatal_error="NEW_CODE: what"), (False, True, "TASK-FAILED", "work")),
        (FAILED, (False, True, "TASK-FAILED", "work")),
        (
            replace(FAILED, fatal_error="CANCELED: x", canceled_by_admin="SOURCE: maintenance"),
            (False, True, "TASK-CANCELED-BY-ADMIN", "operator"),
        ),
    ],
)
def test_an_ended_task_says_whether_there_are_records_and_whose_fault_it_was(view, expected):
    verdict = assess(view, now=NOW)
    assert isinstance(verdict, Ended)
    assert expected == (verdict.succeeded, verdict.records, verdict.code, verdict.whose)
    assert bool(verdict.text) is not verdict.succeeded


@given(
    st.sampled_from(["ACTIVE", "INACTIVE", "SUCCEEDED", "FAILED"]),
    st.none() | st.text(max_size=30) | st.sampled_from(["FILE_NOT_FOUND", "AUTH", "OK", "Queued"]),
    st.text(max_size=30),
    st.booleans(),
    st.none() | st.floats(0, 2e9),
)
def test_every_answer_has_a_verdict_and_only_hopeless_active_tasks_are_given_up(
    status, nice_status, fatal_error, paused, since
):
    view = replace(ACTIVE, status=status, nice_status=nice_status, fatal_error=fatal_error, is_paused=paused)
    verdict = assess(view, now=NOW, since=since)
    match verdict:
        case GiveUp():
            assert status == "ACTIVE"
            assert not paused
            assert since is not None
            assert assess(view, now=NOW, since=None).stuck
        case Ended():
            assert status in {"SUCCEEDED", "FAILED"}
            assert verdict.succeeded is (status == "SUCCEEDED")
        case InProgress():
            assert status in {"ACTIVE", "INACTIVE"}
            assert verdict.waits_for
            assert verdict.next


CONTENT = b"some content"
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA512 = hashlib.sha512(CONTENT).hexdigest()
ADLER32 = f"{zlib.adler32(CONTENT):08x}"
OURS = {"md5": MD5, "sha512": SHA512, "adler32": "001a2b3c"}


def judge(size=12, checksum=MD5, algorithm="md5", **more):
    return judge_record(
        size=12, hashes=OURS, record_size=size, record_checksum=checksum, record_algorithm=algorithm, **more
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ((12, MD5, "MD5"), Delivered("md5")),
        ((12, MD5.upper(), "md5"), Delivered("md5")),
        ((12, SHA512, "SHA-512"), Delivered("sha512")),
        ((12, SHA512, "sha_512"), Delivered("sha512")),
        ((12, "1a2b3c", "ADLER32"), Delivered("adler32")),
        ((12, "0x001a2b3c", "ADLER32"), Delivered("adler32")),
        ((12, "ab" * 32, "SHA256"), NeedsHash("sha256")),
        ((12, "ab" * 32, "SHA-256"), NeedsHash("sha256")),
        ((None, MD5, "MD5"), "RECORD-WITHOUT-SIZE"),
        ((11, MD5, "MD5"), "RECORD-SIZE-DIFFERS"),
        ((0, MD5, "MD5"), "RECORD-SIZE-DIFFERS"),
        ((12, None, "MD5"), "RECORD-WITHOUT-CHECKSUM"),
        ((12, " ", "MD5"), "RECORD-WITHOUT-CHECKSUM"),
        ((12, MD5, None), "RECORD-WITHOUT-CHECKSUM"),
        ((12, MD5[:-1], "MD5"), "RECORD-CHECKSUM-ODD"),
        ((12, "x" * 32, "MD5"), "RECORD-CHECKSUM-ODD"),
        ((12, "0" * 32, "MD5"), "RECORD-CHECKSUM-DIFFERS"),
        ((12, MD5, "sha512"), "RECORD-CHECKSUM-ODD"),
        ((12, "abcd", "whirlpool"), "RECORD-ALGORITHM-UNKNOWN"),
    ],
)
def test_which_records_prove_a_delivery(record, expected):
    verdict = judge(*record)
    if isinstance(expected, str):
        assert isinstance(verdict, NotDelivered)
        assert expected == verdict.code
    else:
        assert expected == verdict


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ((12, None, None), Delivered(None)),
        ((12, "abcd", "whirlpool"), Delivered(None)),
        ((12, MD5, "MD5"), Delivered("md5")),
        ((11, None, None), "RECORD-SIZE-DIFFERS"),
        ((None, None, None), "RECORD-WITHOUT-SIZE"),
        ((12, "0" * 32, "MD5"), "RECORD-CHECKSUM-DIFFERS"),
        ((12, "ab" * 32, "SHA256"), NeedsHash("sha256")),
    ],
)
def test_accepting_records_without_checksum_accepts_no_wrong_one(record, expected):
    verdict = judge(*record, accept_without_checksum=True)
    assert expected == (verdict.code if isinstance(verdict, NotDelivered) else verdict)


def test_our_own_unusable_hash_proves_nothing():
    verdict = judge_record(size=1, hashes={"md5": ""}, record_size=1, record_checksum=MD5, record_algorithm="md5")
    assert isinstance(verdict, NotDelivered)


HEX = st.text("0123456789abcdefABCDEF", max_size=130)


@given(
    st.none() | st.integers(-1, 20),
    st.none() | HEX | st.sampled_from([MD5, SHA512]),
    st.none() | st.sampled_from(["MD5", "sha-512", "SHA256", "tiger", ""]),
    st.booleans(),
)
def test_delivered_means_our_size_and_our_checksum(size, checksum, algorithm, accept):
    verdict = judge(size, checksum, algorithm, accept_without_checksum=accept)
    if isinstance(verdict, Delivered):
        assert size == 12
        if verdict.algorithm is None:
            assert accept
        else:
            assert checksum.lower() == OURS[verdict.algorithm]
    if isinstance(verdict, NeedsHash):
        assert verdict.algorithm in COMPUTABLE
        assert verdict.algorithm not in OURS


@given(st.binary(max_size=50))
def test_after_the_needed_hash_the_same_record_is_decided(content):
    theirs = hashlib.sha256(content).hexdigest()
    record = {"record_size": len(content), "record_checksum": theirs, "record_algorithm": "SHA256"}
    assert NeedsHash("sha256") == judge_record(size=len(content), hashes={}, **record)
    assert Delivered("sha256") == judge_record(size=len(content), hashes={"sha256": theirs}, **record)


@given(st.binary(max_size=50))
def test_adler32_is_the_same_with_and_without_leading_zeros(content):
    value = zlib.adler32(content)
    assert checksum_value("adler32", f"{value:08x}") == checksum_value("adler32", f"{value:X}")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("MD5", "md5"),
        ("SHA-512", "sha512"),
        ("sha512", "sha512"),
        ("Adler32", "adler32"),
        ("", None),
        (None, None),
    ],
)
def test_algorithm_names(said, name):
    assert name == algorithm_name(said)

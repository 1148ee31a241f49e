"""`doctor`: each probe finds what it is there for, and nothing is left behind."""

import json
import os
from pathlib import Path

import pytest
from desk import Desk

from tacc_sync.operator.doctor import Patient, examine, exit_code
from tacc_sync.outside.globus.interface import Collection
from tacc_sync.rules.faults import OperatorFault, WorldFault


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.settings.buffer.quota = 10**6
    (desk.root / "tacc/ranch").mkdir()
    return desk


def raising(fault):
    def build():
        raise fault

    return build


def examined(desk, **edges):
    patient = Patient(
        disk=desk.disk,
        settings=desk.settings,
        clock=desk.clock,
        host=desk.host,
        mtime=lambda path: desk.clock.now(),
        **{"buffer": lambda: desk.buffer, "hpss": lambda: desk.hpss, "globus": lambda: desk.globus, **edges},
    )
    probes = list(examine(patient))
    return {probe.name: probe for probe in probes}, exit_code(probes)


def everything(desk):
    return sorted(str(path.relative_to(desk.root)) for path in desk.root.rglob("*"))


def test_all_is_well_and_nothing_is_left_behind(desk):
    before = everything(desk)
    probes, code = examined(desk)
    assert code == 0
    assert {probe.state for name, probe in probes.items() if name != "login at HPSS"} == {"ok"}
    assert "rename, link and sync work between all" in probes["rename"].text
    assert everything(desk) == before


def test_a_single_cause_has_its_own_exit_code(desk):
    desk.hpss.fault = WorldFault("HPSS-AWAY", "HPSS is down", "come back later")
    probes, code = examined(desk)
    assert (probes["hsi"].state, probes["hsi"].code, probes["hsi"].remedy) == ("fail", "HPSS-AWAY", "come back later")
    assert probes["login at Globus"].state == "ok"
    assert code == 75


def test_several_causes_are_one(desk):
    desk.hpss.fault = WorldFault("HPSS-AWAY", "HPSS is down")
    _, code = examined(desk, globus=raising(OperatorFault("GLOBUS-CREDENTIALS", "no login", "log in", 77)))
    assert code == 1


def test_an_edge_that_cannot_be_built_is_a_finding(desk):
    probes, code = examined(desk, buffer=raising(OperatorFault("BUFFER-UNKNOWN", "where?", "set TRANSFER_DIR")))
    assert probes["buffer"].remedy == "set TRANSFER_DIR"
    assert code == 78


def test_the_buffers_two_names_must_be_one_directory(desk):
    desk.settings.buffer.globus_path = "/elsewhere"
    (desk.root / "nersc/elsewhere").mkdir()
    probes, _ = examined(desk)
    assert probes["the buffer's two names"].code == "BUFFER-NAMES-DIFFER"
    assert "TACC_SYNC_BUFFER_GLOBUS_PATH" in probes["the buffer's two names"].remedy


def test_a_collection_without_verification_is_a_warning(desk):
    desk.globus.collection = lambda id_: Collection(id_, id_, "GCSv5_mapped_collection", True, False, False)
    probes, code = examined(desk)
    assert probes["source collection"].state == "warn"
    assert code == 0


def test_a_quota_beyond_the_file_system_is_a_warning(desk):
    desk.settings.buffer.quota = 10**18
    assert examined(desk)[0]["quota"].state == "warn"
    desk.settings.buffer.quota = 0
    assert "no limit" in examined(desk)[0]["quota"].text


def test_a_place_on_another_file_system_is_found(desk, monkeypatch):
    real = desk.disk.rename

    def rename(old, new):
        if new.startswith("globus_queue/"):
            raise OSError(18, "Invalid cross-device link")
        real(old, new)

    monkeypatch.setattr(desk.disk, "rename", rename)
    probes, code = examined(desk)
    assert probes["rename"].code == "DISK-TWO-FILE-SYSTEMS"
    assert "-> globus_queue" in probes["rename"].text
    assert code == 75
    assert [p for p in everything(desk) if "doctor" in p] == []


def test_a_missing_place_is_named(desk):
    (desk.root / "ws/rests").rmdir()
    probes, code = examined(desk)
    assert "rests is missing" in probes["workspace"].text
    assert probes["workspace"].code == "WORKSPACE-DAMAGED"
    assert code == 78


def test_a_buffer_that_cannot_be_written_to(desk):
    if os.geteuid() == 0:
        Path(desk.root / "nersc/buffer/.part").rmdir()
        Path(desk.root / "nersc/buffer/.part").write_text("in the way")
    else:
        Path(desk.root / "nersc/buffer").chmod(0o500)
    probes, code = examined(desk)
    assert probes["buffer"].state == "fail"
    assert code != 0


def test_too_many_sessions_for_nersc(desk):
    desk.settings.hsi.sessions = 16
    assert examined(desk)[0]["sessions"].state == "warn"


def test_a_wrong_clock_is_for_people_to_know(desk):
    patient = Patient(
        disk=desk.disk,
        settings=desk.settings,
        clock=desk.clock,
        host=desk.host,
        buffer=lambda: desk.buffer,
        hpss=lambda: desk.hpss,
        globus=lambda: desk.globus,
        mtime=lambda _path: desk.clock.now() - 600,
    )
    (probe,) = [p for p in examine(patient) if p.name == "clock"]
    assert (probe.state, "10 min" in probe.text) == ("warn", True)


PROBE = "our hashes at Globus"


@pytest.fixture
def scratch(desk):
    desk.settings.destination.scratch = "/ranch"
    return desk


def remembered(desk):
    return json.loads((desk.root / "ws/checksums.json").read_text())


def sent_along(desk):
    """The algorithm of the hashes that go with the files of a request."""
    desk.archive("a", b"content")
    desk.drop()
    before = set(desk.globus.tasks)
    desk.run()
    assert desk.delivered() == {"a": b"content"}
    (task,) = [task for task_id, task in desk.globus.tasks.items() if task_id not in before]
    return {item.algorithm for item in task.order.items}


def test_which_hash_both_endpoints_verify_is_found_out_once_and_used(scratch):
    probes, code = examined(scratch)
    assert (code, probes[PROBE].state) == (0, "ok")
    assert "verify our sha512" in probes[PROBE].text
    assert remembered(scratch)["understood"] == ["sha512"]
    tasks = len(scratch.globus.tasks)
    assert tasks == 1
    examined(scratch)
    assert len(scratch.globus.tasks) == tasks, "it was found out again"
    assert scratch.buffer_files() == []
    assert sent_along(scratch) == {"sha512"}


def test_an_algorithm_that_an_endpoint_does_not_know_is_not_used(scratch):
    scratch.globus.unsupported = {"sha512"}
    probes, _ = examined(scratch)
    assert "verify our md5" in probes[PROBE].text
    assert (remembered(scratch)["understood"], remembered(scratch)["refused"]) == (["md5"], ["sha512"])
    assert sent_along(scratch) == {"md5"}


def test_where_none_is_understood_records_are_compared(scratch):
    scratch.globus.unsupported = {"sha512", "md5"}
    probes, code = examined(scratch)
    assert (code, probes[PROBE].state) == (0, "ok")
    scratch.globus.unsupported = set()
    assert sent_along(scratch) == {None}


def test_what_was_found_out_of_other_collections_does_not_count(scratch):
    examined(scratch)
    path = scratch.root / "ws/checksums.json"
    path.write_text(json.dumps(remembered(scratch) | {"destination_collection": "another"}))
    assert sent_along(scratch) == {None}
    examined(scratch)
    assert remembered(scratch)["destination_collection"] == "destination"


def test_what_cannot_be_told_is_not_remembered(scratch):
    scratch.globus.slow = 10**9
    probes, _ = examined(scratch)
    assert probes[PROBE].state == "warn"
    assert not (scratch.root / "ws/checksums.json").exists()
    assert scratch.buffer_files() == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1}', b"[]"])
def test_what_is_remembered_and_unreadable_is_as_if_it_were_not(scratch, content):
    (scratch.root / "ws/checksums.json").write_bytes(content)
    assert sent_along(scratch) == {None}
    examined(scratch)
    assert remembered(scratch)["understood"] == ["sha512"]


class Silent:
    def try_out(self):
        raise WorldFault("CATALOG-AWAY", "nobody answers", "wait")


class Answering:
    def try_out(self):
        return "https://catalog answers"


def test_a_file_catalog_is_asked_when_there_is_one(desk):
    assert "file catalog" not in examined(desk)[0]
    probes, code = examined(desk, catalog=Answering)
    assert (probes["file catalog"].state, probes["file catalog"].text, code) == ("ok", "https://catalog answers", 0)
    probes, code = examined(desk, catalog=Silent)
    assert (probes["file catalog"].code, code) == ("CATALOG-AWAY", 75)

"""SUCCEEDED is no evidence: without a record whose size and checksum are ours, no file is delivered, nor freed."""

import dataclasses

import pytest
from house import House

RECORDS = {
    "no record": lambda _record: None,
    "no checksum": lambda record: dataclasses.replace(record, checksum=None, algorithm=None),
    "an empty checksum": lambda record: dataclasses.replace(record, checksum=" "),
    "no word of its algorithm": lambda record: dataclasses.replace(record, algorithm=None),
    "an algorithm that nobody can compute": lambda record: dataclasses.replace(record, algorithm="QUICKXOR"),
    "another checksum": lambda record: dataclasses.replace(record, checksum="0" * len(record.checksum)),
    "another size": lambda record: dataclasses.replace(record, size=record.size + 1),
    "no size": lambda record: dataclasses.replace(record, size=None),
}


@pytest.mark.parametrize("external", ["", "sha512"], ids=["our hash stays here", "our hash goes along"])
@pytest.mark.parametrize("what", RECORDS)
def test_without_a_record_that_agrees_nothing_is_delivered(tmp_path, what, external):
    house = House(tmp_path)
    house.settings.globus.external_checksum = external
    house.settings.patience.attempts, house.settings.patience.at_least = 2, 0.0
    house.archive("a", b"a" * 100)
    house.archive("b", b"b" * 100)
    house.globus.records_as = RECORDS[what]
    house.drop()
    house.run()
    # The bytes are there, and the service calls its task well done; whether they are right nobody has said.
    assert set(house.delivered()) == {"a", "b"}
    assert {task.view.status for task in house.globus.tasks.values()} == {"SUCCEEDED"}
    (work,) = house.documents("quarantine/globus_xfer").values()
    assert {file["outcome"] for file in work["files"]} == {"failed"}
    assert len([name for name in house.buffer_files() if work["unit"] in name]) == 2
    assert [name for name in house.tree("finished") if name.endswith("manifest.jsonl")] == []
    # Nor is anything recalled again for it.
    assert len(house.hpss.sessions) == 1


@pytest.mark.parametrize("external", ["", "sha512"])
def test_a_record_that_agrees_is_enough(tmp_path, external):
    house = House(tmp_path)
    house.settings.globus.external_checksum = external
    house.archive("a", b"a" * 100)
    house.drop()
    house.run()
    assert any(name.endswith("manifest.jsonl") for name in house.tree("finished"))
    assert house.globus.submits == 1
    (item,) = next(iter(house.globus.tasks.values())).order.items
    assert bool(item.checksum) == bool(external)

"""Does the transfer buffer hold what the workspace says, and nothing else?

Guarantee: nothing is changed; only names and sizes are read, of the units' own directories.
Fails with `OSError`.
"""

from __future__ import annotations

from tacc_sync.operator import places
from tacc_sync.rules.audit import Finding, Reading, UnitFacts
from tacc_sync.rules.identity import buffer_name
from tacc_sync.rules.route import FINISHED
from tacc_sync.workspace import layout, transfer_buffer
from tacc_sync.workspace.disk import Disk


def check_buffer(buffer: Disk, reading: Reading) -> tuple[int, list[Finding]]:
    """Bytes in the units' directories, and what is off."""
    units = {facts.name.unit: facts for facts in reading.units}
    reserved = {name.unit: size for name, size in reading.reservations}
    findings: list[Finding] = []
    total = 0
    there = set(places.names(buffer, ""))
    reading.in_buffer = {}
    reading.parts = set(places.names(buffer, layout.PART))
    for name in sorted(there - {layout.PART, layout.MARKER}):
        facts = units.get(name)
        reading.in_buffer[name] = transfer_buffer.remaining(buffer, name)
        if facts is None or facts.place == FINISHED:
            what = "nothing of ours" if facts is None else "its unit is finished"
            findings.append(_finding("untidy" if facts else "broken", "BUFFER-UNOWNED", name, what))
            continue
        if reading.in_buffer[name] == ["."]:
            findings.append(_finding("broken", "BUFFER-STRANGER", name, "it is no directory"))
            continue
        size = _check_unit(buffer, facts, reserved.get(name, 0), findings)
        total += size
    for unit, facts in units.items():
        if facts.in_buffer and unit not in there:
            findings.append(_lost(facts, len(facts.in_buffer)))
    findings += [
        _finding("untidy", "BUFFER-LEFTOVER", f"{layout.PART}/{name}", "its worker is gone")
        for name in sorted(reading.parts)
        if name.removeprefix(layout.DEAD).partition("~")[0] not in reading.homes
    ]
    return total, findings


def _check_unit(buffer: Disk, facts: UnitFacts, reserved: int, findings: list[Finding]) -> int:
    unit = facts.name.unit
    ours = {buffer_name(index): index for index in range(facts.files)}
    total = 0
    found: set[int] = set()
    for name in sorted(places.names(buffer, unit)):
        index = ours.get(name)
        if index is None:
            if not facts.error:
                findings.append(_finding("broken", "BUFFER-STRANGER", f"{unit}/{name}", "it is no file of this unit"))
            continue
        status = transfer_buffer.status(buffer, unit, index)
        if status is None:
            continue
        total += status.size
        # What is not said to be there may be: a worker places a file before it says so.
        if status.kind == "file" and status.size == facts.in_buffer.get(index, status.size):
            found.add(index)
    lost = len(set(facts.in_buffer) - found)
    if lost:
        findings.append(_lost(facts, lost))
    if total > reserved:
        text = f"{total} bytes lie there, {reserved} are reserved"
        findings.append(_finding("broken", "BUFFER-OVER-RESERVATION", unit, text))
    return total


def _lost(facts: UnitFacts, count: int) -> Finding:
    remedy = "they are recalled again by themselves; in quarantine: `tacc-sync quarantine release`"
    text = f"{count} of its files should lie in the buffer, and do not (or are cut off)"
    return Finding("broken", "BUFFER-LOST", facts.path, text, remedy)


def _finding(severity: str, code: str, where: str, text: str) -> Finding:
    remedy = "look at it; if nobody needs it, remove it by hand"
    return Finding("broken" if severity == "broken" else "untidy", code, f"(buffer) {where}", text, remedy)

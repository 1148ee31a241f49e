"""Names: unit ids, worker names, file names in the buffer. All derived, all safe on any file system.

Guarantee: a name that `parse_unit` or `parse_worker` accepts has no slash, no leading dot and no control character, so
that it can be joined to a directory; the same request, tape and place always give the same id.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from tacc_sync.rules.faults import WorkFault

_UNIT = re.compile(
    r"(?P<request>[0-9a-f]{12})\.(?=[^.]{1,80}\.)(?P<tape>[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*)"
    r"\.(?P<seq>\d{4,9})\.(?P<bytes>\d{1,19})",
    re.ASCII,
)
_WORKER = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2,8}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

NO_TAPE = "none"
# In the place of a tape: a unit of files that are at the destination already.
THERE = "there"
# In the place of a tape: room in the buffer for a measurement. A cartridge's label has six characters.
MEASURING = "measuring"
SUFFIX = ".json"


class UnitName(NamedTuple):
    """A unit's id, taken apart: enough to schedule without opening its document."""

    unit: str
    request: str
    tape: str
    seq: int
    bytes: int

    @property
    def cartridges(self) -> tuple[str, ...]:
        """The cartridges that a session on this unit would use."""
        return () if self.tape in {NO_TAPE, THERE} else tuple(self.tape.split("-"))


def request_key(request_id: str) -> str:
    """The first twelve hex digits of a request id, by which the workspace knows the request."""
    return request_id.replace("-", "")[:12]


def is_key(name: str) -> bool:
    """Is it the key of a request?"""
    return re.fullmatch(r"[0-9a-f]{12}", name) is not None


def valid_request_id(request_id: str) -> bool:
    """Is it a UUID in lower case with dashes?"""
    return _UUID.fullmatch(request_id) is not None


def run_id(standing_id: str, run: int) -> str:
    """The request id of a run of a standing request."""
    digest = hashlib.sha256(f"{standing_id} {run}".encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def cartridge_label(volume: str) -> str:
    """The cartridge of an HPSS volume name: its first six characters (NERSC's own sorter keys on them).

    Characters that a file name should not have become `_`.
    """
    return re.sub(r"[^A-Za-z0-9]", "_", volume[:6])


def tape_name(cartridges: Sequence[str]) -> str:
    """The cartridges as one word, in sorted order; `none` when there is none.

    More cartridges than fit into a file name cannot be locked by name, and no such stripe is known.
    """
    if not cartridges:
        return NO_TAPE
    name = "-".join(sorted(set(cartridges)))
    if len(name) > 80:
        raise WorkFault("STRIPE-TOO-WIDE", f"a file on {len(set(cartridges))} cartridges", "split the file")
    return name


def unit_id(request: str, tape: str, seq: int, size: int) -> str:
    """`<request>.<tape>.<seq>.<bytes>`."""
    return f"{request}.{tape}.{seq:04d}.{size}"


def measuring_id(size: int) -> str:
    """What a measurement's room is reserved under; looks like a unit, and is none."""
    return unit_id("0" * 12, MEASURING, 0, size)


@functools.lru_cache(maxsize=1 << 16)
def parse_unit(name: str) -> UnitName | None:
    """Take a unit id apart; None when it is none. Directories are listed again and again: it is remembered."""
    match = _UNIT.fullmatch(name)
    if match is None:
        return None
    return UnitName(name, match["request"], match["tape"], int(match["seq"]), int(match["bytes"]))


@functools.lru_cache(maxsize=1 << 16)
def parse_entry(entry: str) -> UnitName | None:
    """The unit of a file name in a queue; None when it is no unit's."""
    return parse_unit(entry.removesuffix(SUFFIX)) if entry.endswith(SUFFIX) else None


def is_worker(name: str) -> bool:
    """Is it a worker's name (and safe to join to a directory)?"""
    return _WORKER.fullmatch(name) is not None and len(name) < 200


def worker_name(component: str, host: str, process: str, started: int, thread: int) -> str:
    """`<component>.<host>.<pid-namespace>-<pid>.<start>.<thread>`."""
    clean = re.sub(r"[^A-Za-z0-9_-]", "-", host)[:64] or "host"
    return f"{component}.{clean}.{re.sub(r'[^A-Za-z0-9_]+', '-', process)}.{started}.{thread}"


def buffer_name(index: int) -> str:
    """The name of a unit's file in the buffer: its index. Names from outside never become file names of ours."""
    return f"{index:06d}"


def task_label(unit: str, attempt: int) -> str:
    """The label of one attempt of one unit at Globus; at most 128 characters, unique in a workspace."""
    label = f"{unit}.{attempt}"
    if len(label) <= 128:
        return label
    return f"{unit[:90]}~{hashlib.sha256(unit.encode()).hexdigest()[:16]}.{attempt}"


def shortened(stem: str) -> str:
    """A file name of a stranger's choice, cut so that `~2` and `.why.json` can be appended to it."""
    return stem.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "surrogateescape")


def printable(path: str) -> str:
    """A path as it can stand in a document: bytes that are not UTF-8 are shown as `\\xNN`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

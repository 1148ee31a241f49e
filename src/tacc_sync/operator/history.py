"""Reading what has finished, unit by unit: for `history` and `export`.

Guarantee: one document is in memory at a time, so a workspace may hold tens of millions of files; nothing is changed.
Fails with `OSError`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, TextIO

from tacc_sync.operator import forecasts, places
from tacc_sync.rules import completion
from tacc_sync.rules.certificate import VOUCHERS
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request, Result, Work
from tacc_sync.rules.faults import EX_UNAVAILABLE, OperatorFault
from tacc_sync.rules.figures import By, Figures, History
from tacc_sync.rules.forecast import Judged, judged
from tacc_sync.rules.identity import SUFFIX, request_key, tape_name
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk

# Names and types of the table's columns, in order.
COLUMNS = {
    "request": "string",
    "unit": "string",
    "source": "string",
    "destination": "string",
    "size": "int64",
    "outcome": "string",
    "why": "string",
    "tape": "string",
    "section": "int64",
    "offset": "int64",
    "written": "string",
    "archive_hash": "string",
    "sha512": "string",
    "receipt": "string",
    "vouched": "string",
    "proof_of_retrieval": "string",
    "listed_at": "string",
    "retrieved_at": "string",
    "delivered_at": "string",
    "globus_task": "string",
    "transfer_attempts": "int64",
    "rounds": "int64",
}
_ROWS = 10_000


class Finished:
    """The finished units of a workspace; `unreadable` are those that could not be read."""

    def __init__(self, disk: Disk, keys: Sequence[str] = ()) -> None:
        layout.open_workspace(disk)
        self._disk = disk
        self._keys = list(keys) or places.finished_keys(disk)
        self.unreadable: list[str] = []

    def works(self) -> Iterator[Work]:
        """All of them, also those of requests that are not finished yet; by request, then by name."""
        for key in self._keys:
            for name in sorted(unit.unit for unit in queues.units(self._disk, layout.finished(key))):
                path = f"{layout.finished(key)}/{name}{SUFFIX}"
                try:
                    yield queues.work_of(self._disk, path)
                except FileNotFoundError:
                    continue
                except (BadDocument, NewerDocument):
                    self.unreadable.append(path)

    def history(self, by: By) -> list[Figures]:
        """The figures, by day, request or tape."""
        history = History(by)
        for work in self.works():
            history.add(work)
        if by == "request":
            for line in history.lines:
                request = self._request(line.name)
                line.label = request.label if request else ""
                if request and request.result and (found := self._judged(line.name, request.result)):
                    line.forecast, line.late = found
        return history.lines

    def rows(self) -> Iterator[dict[str, Any]]:
        """The table: a row for each file."""
        for work in self.works():
            tape = tape_name(work.tape)
            for line in completion.manifest_lines(work):
                said = {who for by in line["vouched"].values() for who in by}
                more = {
                    "request": request_key(work.request_id),
                    "tape": tape,
                    "sha512": line["hashes"].get("sha512"),
                    "vouched": " ".join(who for who in VOUCHERS if who in said),
                }
                row = {**line, **more}
                yield {name: row[name] for name in COLUMNS}

    def _judged(self, key: str, result: Result) -> Judged | None:
        return judged(forecasts.read(self._disk, key), result.finished_at)

    def _request(self, key: str) -> Request | None:
        for path in (f"{layout.finished(key)}/request{SUFFIX}", layout.entry("request_queue", key)):
            try:
                return queues.read_request(self._disk, path)
            except (FileNotFoundError, BadDocument, NewerDocument):
                continue
        return None


def write_csv(rows: Iterable[dict[str, Any]], stream: TextIO) -> int:
    """Write the table after RFC 4180, but for newlines; how many rows."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        writer.writerow(row.values())
        count += 1
    return count


def write_parquet(rows: Iterable[dict[str, Any]], path: str) -> int:
    """Write the table, a group of rows at a time; how many rows. OperatorFault PARQUET-MISSING."""
    try:
        arrow = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise OperatorFault(
            "PARQUET-MISSING",
            "this installation cannot write Parquet: pyarrow is not there",
            "`pip install pyarrow` beside tacc-sync (its extra `parquet`), or export CSV",
            EX_UNAVAILABLE,
        ) from None
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in COLUMNS.items()])
    count, left = 0, iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(left, _ROWS)):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count

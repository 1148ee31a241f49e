"""`history`, `export`: what has moved, for people and for those who analyse further."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import cast

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, say, show, show_json
from tacc_sync.operator.find import key_of
from tacc_sync.operator.history import Finished, write_csv, write_parquet
from tacc_sync.operator.words import counted, duration, files, rate, size, table
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.figures import By, Figures


@click.command(short_help="What has moved, how fast, with how much trouble?")
@click.option("--by", type=click.Choice(["day", "request", "tape"]), default="day", show_default=True)
@json_option
@pass_edges
def history(edges: Edges, by: str, *, as_json: bool) -> int:
    """Add up the finished units by day (UTC, of arrival), request or tape.

    The rate is that from the first verified copy in the buffer to the last arrival, pauses included. "sent again" are
    files that needed another task, "recalled again" are units that went back to the tape. By request, "forecast" says
    whether the end lay within what was foretold when it was planned.

    \b
    Example:
      tacc-sync history --by tape
    """
    finished = Finished(edges.disk)
    lines = finished.history(cast("By", by))
    _tell_unreadable(finished)
    if as_json:
        show_json({"by": by, "lines": lines, "unreadable": finished.unreadable})
        return 1 if finished.unreadable else 0
    head: tuple[str, ...] = (by, "files", "bytes", "rate", "sent again", "recalled again", "abandoned", "label")
    rows: list[tuple[str, ...]] = [
        (
            line.name, f"{line.files:,}", size(line.bytes), rate(line.bytes_per_second), f"{line.repeats:,}",
            f"{line.rounds:,}", f"{line.abandoned:,}", line.label,
        )
        for line in lines
    ]  # fmt: skip
    if any(line.forecast for line in lines):
        head = (*head[:-1], "forecast", head[-1])
        rows = [(*row[:-1], _foretold(line), row[-1]) for row, line in zip(rows, lines, strict=True)]
    for text in table([head, *rows]):
        show(text)
    total = sum(line.bytes for line in lines)
    say(f"{files(sum(line.files for line in lines))}, {size(total)}, in {counted(len(lines), by)}.")
    return 1 if finished.unreadable else 0


def _foretold(line: Figures) -> str:
    if line.late is None:
        return "-"
    return f"{line.forecast}, {duration(abs(line.late))} {'late' if line.late > 0 else 'early'}"


@click.command(short_help="A table of all files, as CSV or Parquet.")
@click.option("--format", "kind", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--request", default="", metavar="REQUEST", help="Only the files of this request.")
@click.argument("file", default="-")
@pass_edges
def export(edges: Edges, kind: str, request: str, file: str) -> int:
    """Write a row for each file of the finished units to FILE, or to standard output.

    Parquet needs pyarrow (the extra `parquet`) and a FILE.

    \b
    Example:
      tacc-sync export files.csv
      tacc-sync export --format parquet files.parquet
    """
    if kind == "parquet" and file == "-":
        raise OperatorFault("USAGE", "Parquet does not go to standard output", "name a FILE", EX_USAGE)
    finished = Finished(edges.disk, [key_of(edges.disk, request)] if request else ())
    if file == "-":
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[union-attr]
        write_csv(finished.rows(), sys.stdout)
    else:
        _write(finished, kind, file)
    _tell_unreadable(finished)
    return 1 if finished.unreadable else 0


def _write(finished: Finished, kind: str, file: str) -> None:
    # Under another name first: what bears the name that was asked for is whole.
    unfinished = f"{file}.unfinished"
    try:
        if kind == "parquet":
            count = write_parquet(finished.rows(), unfinished)
        else:
            with open(unfinished, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
                count = write_csv(finished.rows(), stream)
        os.replace(unfinished, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise
    say(f"{counted(count, 'row')} in {file}")


def _tell_unreadable(finished: Finished) -> None:
    for path in finished.unreadable:
        say(f"cannot be read, and is left out: {path}")

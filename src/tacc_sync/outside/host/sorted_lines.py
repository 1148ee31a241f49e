"""More lines than fit into memory, in order: sorted runs in a directory, merged when they are read.

Guarantee: memory does not grow with the number of lines, nor does the number of open files; lines come out in the order
of their bytes, equal ones as often as they went in.
Fails with `OSError`.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Self

# Bytes of the lines that are sorted in memory at once (which takes a few times as much), and files read at once.
RUN_BYTES = 16 << 20
FILES = 64


class SortedLines:
    """Lines without a newline at their end; first all are added, then they are read, as often as wanted."""

    def __init__(self, directory: str, *, run_bytes: int = RUN_BYTES, files: int = FILES) -> None:
        self._directory = directory
        self._run_bytes = run_bytes
        self._files = files
        self._lines: list[bytes] = []
        self._bytes = 0
        # Of each level, the runs that were merged so often.
        self._levels: list[list[str]] = []

    def add(self, line: bytes) -> None:
        """Add a line."""
        self._lines.append(line + b"\n")
        # A short line costs more than its bytes.
        self._bytes += len(line) + 64
        if self._bytes >= self._run_bytes:
            self._write_run()

    def __iter__(self) -> Iterator[bytes]:
        self._lines.sort()
        runs = [run for level in self._levels for run in level]
        while len(runs) > self._files:
            runs = [*runs[self._files :], self._merged(runs[: self._files])]
            self._levels = [runs]
        with ExitStack() as opened:
            yield from (line[:-1] for line in _merge(opened, runs, self._lines))

    def close(self) -> None:
        """Remove the runs."""
        for level in self._levels:
            for run in level:
                with contextlib.suppress(OSError):
                    os.unlink(run)
        self._levels.clear()
        self._lines.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_run(self) -> None:
        self._lines.sort()
        run = self._write(self._lines)
        self._lines, self._bytes = [], 0
        for level in range(len(self._levels) + 1):
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(run)
            if len(self._levels[level]) < self._files:
                return
            run = self._merged(self._levels[level])
            self._levels[level] = []

    def _merged(self, runs: list[str]) -> str:
        with ExitStack() as opened:
            merged = self._write(_merge(opened, runs, []))
        for run in runs:
            os.unlink(run)
        return merged

    def _write(self, lines: Iterable[bytes]) -> str:
        descriptor, path = tempfile.mkstemp(prefix="sorted.", dir=self._directory)
        with os.fdopen(descriptor, "wb", buffering=1 << 18) as file:
            file.writelines(lines)
        return path


def _merge(opened: ExitStack, runs: Iterable[str], lines: list[bytes]) -> Iterator[bytes]:
    files = [opened.enter_context(open(run, "rb", buffering=1 << 16)) for run in runs]  # noqa: SIM115
    return heapq.merge(*files, lines)

"""Amounts, times and rates in words for people. Pure.

Guarantee: nothing that came from outside can break a line or steer a terminal: control characters are shown, not sent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def size(count: float) -> str:
    """Bytes with three significant digits: `748 GB`, `1.5 TB`."""
    value, unit = float(count), 0
    while round(value) >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    if unit == 0:
        return f"{round(value)} B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def files(count: int) -> str:
    """`1 file`, `2,000 files`."""
    return counted(count, "file")


def counted(count: int, noun: str) -> str:
    """`1 unit`, `2,000 units`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def rate(bytes_per_second: float | None) -> str:
    """`12.3 MB/s`, or `-` when unknown."""
    return "-" if bytes_per_second is None else f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """The two largest units: `45 s`, `3 min`, `5 h 20 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    for length, name, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            rest = whole % length // below
            few = whole < 10 * length and rest
            return f"{whole // length} {name}" + (f" {rest} {smaller}" if few else "")
    return f"{whole} s"


def percent(part: int, whole: int) -> str:
    """How much of the whole; never 100 % before it is all."""
    if whole <= 0:
        return "100 %" if part >= whole else "0 %"
    return f"{min(int(100 * part / whole), 100 if part >= whole else 99)} %"


def plain(text: str) -> str:
    """A text from outside, on one line and without anything that a terminal would obey."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    # Cf holds the marks that turn text around; names of files come from anybody.
    if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return char


def table(rows: Sequence[tuple[str, ...]], *, gap: str = "  ") -> list[str]:
    """Columns as wide as what stands in them; the last one as it is."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

"""A part of RESULTS.md: what a benchmark prints is what stands there.

A table says its own goals, so that whoever collects the parts can tell which are met: a column `goal` is about the
column before it, and a head that ends in `(goal: ...)` about its own. A goal is `≤ 1.02` (also `1.02`), `≥ 8` or `= 0`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_IN_HEAD = re.compile(r"(.*?)\s*\(goal: ([^)]+)\)")
_GOAL = re.compile(r"([≤≥=]?)\s*([0-9][0-9,.]*)\b.*")
_NUMBER = re.compile(r"-?[0-9][0-9,]*(\.[0-9]+)?")


class Section:
    """What is said of one benchmark."""

    def __init__(self, title: str) -> None:
        self.lines = [f"## {title}", ""]

    def say(self, *lines: str) -> None:
        for line in lines:
            self.lines.append(line)
            print(line, flush=True)

    def table(self, head, rows) -> None:
        for cells in (head, ("---",) * len(head), *rows):
            self.say("| " + " | ".join(str(cell) for cell in cells) + " |")
        self.say("")

    def write(self, path: Path | None) -> None:
        if path is not None:
            path.write_text("\n".join([*self.lines, ""]), encoding="utf-8")


@dataclass(frozen=True)
class Goal:
    """Of one row: what was measured, what it should be, and whether it is."""

    what: str
    figure: str
    goal: str
    met: bool


def goals(markdown: str) -> list[Goal]:
    """All goals in the tables of a text."""
    found, title, head = [], "", []
    for line in markdown.splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ")
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not head:
            head = cells
        elif not set(line) <= set("|- "):
            found += _of_row(title, head, cells)
    return found


def _of_row(title: str, head: list[str], cells: list[str]) -> list[Goal]:
    found = []
    for number, (name, cell) in enumerate(zip(head, cells, strict=True)):
        stated = _IN_HEAD.fullmatch(name)
        if stated:
            measured, goal, of = cell, stated[2], f", {stated[1]}"
        elif name == "goal" and number:
            measured, goal, of = (
                cells[number - 1],
                cell,
                f", {head[number - 1]}" if head[number - 1] not in {"", "figure"} else "",
            )
        else:
            continue
        if _GOAL.fullmatch(goal):
            # What a row is about: all that stands before its figures.
            about = " ".join(c for c in cells[: max(1, number - 1)] if not _NUMBER.fullmatch(c)) or cells[0]
            found.append(Goal(f"{title}: {about}{of}", measured, goal, is_met(measured, goal)))
    return found


def is_met(figure: str, goal: str) -> bool:
    """Does a figure as it is printed reach its goal?"""
    sign, text = _GOAL.fullmatch(goal).groups()
    match = _NUMBER.search(figure.replace("**", ""))
    if match is None:
        return False
    number, wanted = (float(each.replace(",", "")) for each in (match[0], text))
    return number >= wanted if sign == "≥" else number == wanted if sign == "=" else number <= wanted

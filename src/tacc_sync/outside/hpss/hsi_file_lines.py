"""FILE lines of `ls -P`, of which there may be ten million.

Guarantee: a line is a file only if it has all thirteen fields and each has its form; a path that is not in
its normal form is refused by name. Half a line is never a file. Many lines at once (`plain_lines`) say what each of
them says alone, or nothing.
Never fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, repeat
from operator import add
from typing import NamedTuple, TypeVar

from tacc_sync.outside.hpss.hsi_commands import is_normal, why_unspeakable
from tacc_sync.outside.hpss.hsi_said import Complaint, Unknown
from tacc_sync.outside.hpss.interface import ListedFile

_T = TypeVar("_T")
_DATE = re.compile(r"(?:0[1-9]|1[0-2])/(?:0[1-9]|[12]\d|3[01])/\d{4}", re.ASCII)
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-6]\d", re.ASCII)
# No more digits than a 64-bit number surely holds.
_MOST_DIGITS = 18
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_POSITION = re.compile(r"(\d{1,18})(?:\+(\d{1,18}))?", re.ASCII)
# A plain FILE line: thirteen fields, no padding, a path without quotes and backslashes.
_PLAIN_FILE = re.compile(
    r'FILE\t(/[^\t"\\]+)\t(\d{1,18})\t\d{1,18}\t(\d{1,18})(?:\+(\d{1,18}))?\t([^\t]*)\t\d+\t\d+\t\d+'
    r"\t(\d\d/\d\d/\d{4})\t((?:[01]\d|2[0-3]):[0-5]\d:[0-6]\d)\t\d\d/\d\d/\d{4}\t\d\d:\d\d:\d\d",
    re.ASCII,
)
# What is left to `any`: names that may be unspeakable or have to be looked at twice.
_LONGEST_PLAIN_PATH = 250
# Their directory, and their last components, each with a quote behind it: no component begins with a dot, and the last
# one has no blank at its end.
_PLAIN_DIRECTORY = re.compile(r'(?:/[^/".\\][^/"\\]*+)*+')
_PLAIN_NAMES = re.compile(r'(?:[^/".\\][^/"\\]*+(?<! )")*+')
_PRINTABLE = bytes(range(0x20, 0x7F))
_FIELDS = 12
# What stands before a path.
_FIRST = "\nFILE\t"


class PlainLines(NamedTuple):
    """What many plain lines say: the files, and the same by directory: how many names, one after the other."""

    files: list[ListedFile]
    names: list[tuple[str, Sequence[str]]]


class FileLines:
    """Reads FILE lines; shares what repeats (cartridges, dates) between millions of files."""

    def __init__(self) -> None:
        self._volumes: dict[str, tuple[str, ...]] = {}
        self._days: dict[str, str] = {}
        # Times that have the form of one; and those with what follows a line's last field.
        self._times: set[str] = set()
        self._last_times: set[str] = set()
        self.plain = self._plain_reader()

    def _plain_reader(self) -> Callable[[str], ListedFile | None]:
        """A function from a line of the plain form to its file; None when `any` has to look at it.

        A closure, because this runs for each of ten million lines, and looking up attributes would be a tenth of it.
        """
        fullmatch, days, all_volumes = _PLAIN_FILE.fullmatch, self._days, self._volumes
        new = ListedFile

        def plain(line: str) -> ListedFile | None:
            found = fullmatch(line)
            if found is None:
                return None
            path, size, section, offset, labels, day, time = found.groups()
            if not path.isprintable() or "/." in path or "//" in path or path[-1] in " /":
                return None
            if len(path) > _LONGEST_PLAIN_PATH:
                return None
            volumes = all_volumes.get(labels)
            if volumes is None:
                volumes = self._read_volumes(labels)
            date = days.get(day) or self._read_day(day)
            if volumes is None or date is None:
                return None
            if volumes:
                return new(path, int(size), int(section), int(offset or 0), volumes, date + time)
            return new(path, int(size), 0, 0, (), date + time)

        return plain

    def plain_lines(self, parts: Iterable[str]) -> PlainLines | None:
        """The files of whole lines, each with a line end *before* it; None unless each is of the plain form.

        Column by column, so that what has to be so of each of many fields is asked once of all of them. It costs least
        when the lines of a part are about one directory.
        """
        runs = [run for part in parts for run in _runs(part)]
        if not runs:
            return PlainLines([], [])
        # No field but the last one of a line has a line end in it: so the lines are where the last fields say.
        first, *fields = "".join([*(run.text for run in runs if run), "\n"]).split("\t")
        if None in runs or first != "\n" or len(fields) % _FIELDS:
            return None
        names, sizes, sizes_again, positions, labels, *small, days, times, days_again, last_times = (
            fields[column::_FIELDS] for column in range(_FIELDS)
        )
        if not (
            self._are_times(times, last_times)
            and _are_plain_names(names)
            and (sizes_again == sizes or _numbers(sizes_again) is not None)
            and _numbers(list(set[str]().union(*small))) is not None
        ):
            return None
        volumes = _read_all(labels, self._volumes, self._read_volumes)
        dates, dates_again = (_read_all(texts, self._days, self._read_day) for texts in (days, days_again))
        places, bytes_of = _places(positions), _numbers(sizes)
        if volumes is None or dates is None or dates_again is None or places is None or bytes_of is None:
            return None
        sections, offsets = places
        if not all(volumes):
            sections = [section if on else 0 for section, on in zip(sections, volumes, strict=True)]
            offsets = [offset if on else 0 for offset, on in zip(offsets, volumes, strict=True)]
        by_directory, paths, start = list[tuple[str, Sequence[str]]](), list[str](), 0
        longest = _LONGEST_PLAIN_PATH - len(max(names, key=len)) - 1
        for directory, _, lines in filter(None, runs):
            if len(directory) > longest or not _PLAIN_DIRECTORY.fullmatch(directory) or not directory.isprintable():
                return None
            those = names[start : start + lines]
            by_directory.append((directory, those))
            paths += map(add, repeat(f"{directory}/"), those)
            start += lines
        written = map(add, dates, times)
        return PlainLines(list(map(ListedFile, paths, bytes_of, sections, offsets, volumes, written)), by_directory)

    def _are_times(self, times: list[str], last_times: list[str]) -> bool:
        """Whether the first ones are times, and the second ones too, each with the line end behind it."""
        if not self._times.issuperset(times):
            self._times.update(filter(_TIME.fullmatch, set(times)))
            if not self._times.issuperset(times):
                return False
        if not self._last_times.issuperset(last_times):
            self._last_times.update(
                time for time in set(last_times) if time.endswith("\n") and _TIME.fullmatch(time[:-1])
            )
            return self._last_times.issuperset(last_times)
        return True

    def any(self, line: str) -> ListedFile | Complaint | Unknown:
        """The file of a FILE line of any form: padded fields, tabs in the name, names that we cannot carry."""
        fields = line.split("\t")
        if len(fields) < 13:
            return Unknown(line)
        padded = fields[-11] != fields[-11].strip()
        path = "\t".join(fields[1:-11]).lstrip(" ")
        # Padding blanks or a name that ends in blanks? The line's other fields tell whether this hsi pads.
        path = path.rstrip(" ") if padded else path
        size, size_again, position, labels, *small, day, time, day_again, time_again = (f.strip() for f in fields[-11:])
        place = _POSITION.fullmatch(position)
        volumes = self._read_volumes(labels)
        date = self._read_day(day)
        well_formed = (
            path.startswith("/")
            and all(_NUMBER.fullmatch(number) for number in (size, size_again, *small))
            and _TIME.fullmatch(time)
            and self._read_day(day_again) is not None
            and _TIME.fullmatch(time_again)
        )
        if not well_formed or place is None or volumes is None or date is None:
            return Unknown(line)
        if re.search(r"\t\d\d:\d\d:\d\d", path):
            return Unknown(line)  # two records that lost the line end between them look like one name with tabs
        if not is_normal(path):
            # Such a path could lead anywhere. Other names that hsi can't be told are names of files all the same.
            return Complaint(path, "unspeakable", why_unspeakable(path))
        section, offset = (int(place.group(1)), int(place.group(2) or 0)) if volumes else (0, 0)
        return ListedFile(path, int(size), section, offset, volumes, date + time)

    def _read_volumes(self, labels: str) -> tuple[str, ...] | None:
        """The cartridges of a volume list such as `AU031800,AU031900`; () when not on tape, None when malformed."""
        known = self._volumes.get(labels)
        if known is not None:
            return known
        names = [name.strip() for name in labels.split(",")]
        if all(len(name) < 3 for name in names):
            volumes: tuple[str, ...] = ()  # blank, `0`: not on tape
        elif all(len(name) >= 6 and name.isascii() and name.isalnum() for name in names):
            volumes = tuple(dict.fromkeys(name[:6] for name in names))
        else:
            return None
        self._volumes[labels] = volumes
        return volumes

    def _read_day(self, day: str) -> str | None:
        known = self._days.get(day)
        if known is None and _DATE.fullmatch(day):
            known = self._days[day] = f"{day[6:]}-{day[:2]}-{day[3:5]}T"
        return known


class _Run(NamedTuple):
    """Lines about one directory: it, the lines with a tab for all that comes before a name, and how many they are."""

    directory: str
    text: str
    lines: int


def _runs(part: str) -> Iterator[_Run | None]:
    """Lines, each with a line end before it, by directory; None among them when some are not about any file."""
    if not part:
        return
    run = _run(part)
    if run is not None:
        yield run
        return
    for _, lines in groupby(part[1:].split("\n"), key=lambda line: line[: line.rfind("/", 0, line.find("\t", 5))]):
        yield _run("".join(f"\n{line}" for line in lines))


def _run(part: str) -> _Run | None:
    """Lines about one directory, that of the first one; None when they aren't."""
    begin, end = len(_FIRST), part.find("\t", len(_FIRST))
    slash = part.rfind("/", begin, end)
    if end < 0 or slash < 0 or not part.startswith(_FIRST):
        return None
    start, count = part[: slash + 1], part.count("\n")
    text = part.replace(start, "\n\t")
    # A name with a slash in it lies elsewhere; the two dates of a line have two each.
    if len(part) - len(text) != count * (len(start) - 2) or text.count("/") != 4 * count:
        return None
    return _Run(part[begin:slash], text, count)


def _read_all(texts: Sequence[str], known: Mapping[str, _T], read: Callable[[str], _T | None]) -> list[_T] | None:
    """What each says, of texts that nearly all are `known`; None when one of them can't be read."""
    try:
        return list(map(known.__getitem__, texts))
    except KeyError:
        if any("\n" in text or read(text) is None for text in set(texts).difference(known)):
            return None
    return list(map(known.__getitem__, texts))


def _are_plain_names(names: Sequence[str]) -> bool:
    """Whether each is the last component of a path that `_PLAIN_FILE` and `plain` take."""
    # No such name has a quote, so that it tells where one ends.
    text = '"'.join(names) + '"'
    return text.count('"') == len(names) and _PLAIN_NAMES.fullmatch(text) is not None and _is_printable(text)


def _is_printable(text: str) -> bool:
    if text.isascii():
        return not text.encode().translate(None, _PRINTABLE)
    return text.isprintable()


def _places(positions: list[str]) -> tuple[list[int], list[int]] | None:
    """The sections and the offsets that positions name; None unless each is of the form of one."""
    # Each is to have one plus; a tab tells where one begins, and has to be in front of a section.
    numbers = "+\t".join(positions).split("+")
    if len(numbers) != 2 * len(positions):
        numbers = "+\t".join([place if "+" in place else f"{place}+0" for place in positions]).split("+")
    sections, offsets = _numbers("".join(numbers[::2]).split("\t")), _numbers(numbers[1::2])
    if len(numbers) != 2 * len(positions) or sections is None or offsets is None:
        return None
    return sections, offsets


def _numbers(texts: Sequence[str]) -> list[int] | None:
    """What each says; None unless each is a number in ASCII digits, and not too long."""
    text = "".join(texts)
    if not (text.isascii() and text.isdigit()) or len(max(texts, key=len)) > _MOST_DIGITS:
        return None
    try:
        return list(map(int, texts))
    except ValueError:
        # One of them is empty.
        return None

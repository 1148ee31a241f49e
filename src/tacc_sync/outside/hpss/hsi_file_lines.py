"""FILE lines of `ls -P`, of which there may be ten million.

Guarantee: a line is a file only if it has all thirteen fields and each has its form; a path that is not in
its normal form is refused by name. Half a line is never a file. Many lines at once (`plain_lines`) say what each of
them says alone, or nothing.
Never fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from operator import add

from tacc_sync.outside.hpss.hsi_commands import is_normal, why_unspeakable
from tacc_sync.outside.hpss.hsi_said import Complaint, Unknown
from tacc_sync.outside.hpss.interface import ListedFile

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
# Such names, each with a quote behind it: components that do not begin with a dot, the last one without a blank at its
# end.
_PLAIN_PATHS = re.compile(r'(?:(?:/[^/".\\][^/"\\]*+)++(?<! )")*+')
_PRINTABLE = bytes(range(0x20, 0x7F))
_FIELDS = 12
# Behind the last field of a line: its end, and the first field of the next line.
_NEXT = "\nFILE"


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

    def plain_lines(self, text: str) -> list[ListedFile] | None:
        """The files of whole lines, each with a line end *before* it; None unless each is of the plain form.

        Column by column, so that what has to be so of each of many fields is asked once of all of them.
        """
        fields = (text.removeprefix(f"{_NEXT}\t") + _NEXT).split("\t")
        if len(fields) % _FIELDS:
            return None
        paths, sizes, sizes_again, positions, labels, *small, days, times, days_again, last_times = (
            fields[column::_FIELDS] for column in range(_FIELDS)
        )
        # No field but the last one has a line end in it: so the lines are where the last fields say that they are.
        if not (
            self._are_times(times, last_times)
            and _are_plain_paths(paths)
            and (sizes_again == sizes or _numbers(sizes_again) is not None)
            and _numbers(set[str]().union(*small)) is not None
        ):
            return None
        volumes = self._volumes_of(labels)
        if volumes is None or not self._are_days({*days, *days_again}):
            return None
        section_texts, _, offset_texts = zip(*[position.partition("+") for position in positions], strict=True)
        if "" in offset_texts:
            if any(position.endswith("+") for position in positions):
                return None
            offset_texts = tuple(offset or "0" for offset in offset_texts)
        sections, offsets, bytes_of = _numbers(section_texts), _numbers(offset_texts), _numbers(sizes)
        if sections is None or offsets is None or bytes_of is None:
            return None
        if not all(volumes):
            sections = [section if on else 0 for section, on in zip(sections, volumes, strict=True)]
            offsets = [offset if on else 0 for offset, on in zip(offsets, volumes, strict=True)]
        written = map(add, map(self._days.__getitem__, days), times)
        return list(map(ListedFile, paths, bytes_of, sections, offsets, volumes, written))

    def _volumes_of(self, labels: list[str]) -> list[tuple[str, ...]] | None:
        known = self._volumes
        for label in set(labels).difference(known):
            if "\n" in label or self._read_volumes(label) is None:
                return None
        return list(map(known.__getitem__, labels))

    def _are_days(self, days: set[str]) -> bool:
        return all(self._read_day(day) is not None for day in days.difference(self._days))

    def _are_times(self, times: list[str], last_times: list[str]) -> bool:
        """Whether the first ones are times, and the second ones too, each with what follows a line."""
        if not self._times.issuperset(times):
            self._times.update(filter(_TIME.fullmatch, set(times)))
            if not self._times.issuperset(times):
                return False
        if not self._last_times.issuperset(last_times):
            self._last_times.update(
                time for time in set(last_times) if time.endswith(_NEXT) and _TIME.fullmatch(time.removesuffix(_NEXT))
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


def _are_plain_paths(paths: list[str]) -> bool:
    """Whether each is a path that `_PLAIN_FILE` and `plain` take."""
    # No such path has a quote, so that it tells where one ends.
    text = '"'.join(paths) + '"'
    return (
        text.count('"') == len(paths)
        and _PLAIN_PATHS.fullmatch(text) is not None
        and _is_printable(text)
        and len(max(paths, key=len)) <= _LONGEST_PLAIN_PATH
    )


def _is_printable(text: str) -> bool:
    if text.isascii():
        return not text.encode().translate(None, _PRINTABLE)
    return text.isprintable()


def _numbers(texts: Collection[str]) -> list[int] | None:
    """What each says; None unless each is a number in ASCII digits, and not too long."""
    text = "".join(texts)
    if not (text.isascii() and text.isdigit()):
        return None
    if "" in texts or len(max(texts, key=len)) > _MOST_DIGITS:
        return None
    return list(map(int, texts))

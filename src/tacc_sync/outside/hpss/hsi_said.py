"""The things that a line of hsi can say: a closed set, so that no reader forgets one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tacc_sync.outside.hpss.interface import ListedFile

Kind = Literal["missing", "denied", "not-a-file", "unspeakable", "error"]


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory was met."""

    path: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error or a remark about one path; `path` is "" when the line doesn't name it."""

    path: str
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Hash:
    """A hash line; `algorithm` is "" when the archive keeps none. `whole` is the path with what may be an owner."""

    path: str
    whole: str
    algorithm: str
    hex: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The archive read a file and its hash was right."""

    path: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class Got:
    """The success line of a `get`: the pair as hsi prints it (`'LOCAL' : 'HPSS'`), the bytes if it tells them."""

    pair: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Echo:
    """hsi repeats a command of ours."""

    line: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """The session as a whole is in trouble; the code of the fault."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Noise:
    """A line that means nothing to us."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A line that we don't understand, so we may not say that we understood the answer."""

    text: str


Said = ListedFile | Directory | Complaint | Hash | Verified | Got | Echo | Trouble | Noise | Unknown

"""HPSS as the components see it: list, hash, get. One implementation runs `hsi` (hsi.py).

Every method may raise
- `WorldFault` with code HPSS-AWAY (down), HPSS-HANGING (no answer in time), HPSS-SESSIONS (session limit),
  HPSS-LISTING-BROKEN (a listing that broke off: it says nothing about what exists);
- `OperatorFault` with code HSI-MISSING (no such program) or HPSS-UNAUTHENTICATED (log in by hand, never retried).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal, Protocol

from msgspec import Struct

from tacc_sync.outside.host.spool import IN_MEMORY, Spool
from tacc_sync.rules.repeats import Paths


class ListedFile(Struct, frozen=True, array_like=True, gc=False):
    """One file of a listing.

    `path` is absolute, undecodable bytes carried by surrogateescape; it may be one that hsi can't be told, which `get`
    then refuses. `size` in bytes. `section` and `offset` are
    the position on tape (tape mark number, bytes past it); both 0 when the file has no position. `volumes` holds
    the cartridge labels (six characters) that the file lies on, in the listing's order; () when it is not on tape.
    `written` is the listing's first date as `YYYY-MM-DDTHH:MM:SS` in the site's own time zone (no zone printed).
    """

    path: str
    size: int
    section: int
    offset: int
    volumes: tuple[str, ...]
    written: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that was asked for, or met on the way, and is no file that we can carry; why, in words.

    `kind` is one of: "missing", "denied", "not-a-file" (a link or another object), "unspeakable" (a name that
    cannot be given to hsi), "error" (any other error that names this path).
    """

    path: str
    kind: Literal["missing", "denied", "not-a-file", "unspeakable", "error"]
    text: str


def listed_files(files: Iterable[ListedFile] = (), *, in_memory: int = IN_MEMORY) -> Spool[ListedFile]:
    """Files of a listing in its order, which also lie by their volumes. `in_memory`: so many of them."""
    return Spool(ListedFile, files, by=attrgetter("volumes"), in_memory=in_memory)


@dataclass(slots=True)
class Listing:
    """A complete listing: everything asked for was seen or refused by name.

    `paths`: those of all files, none of which is there twice, and of what was refused; None when nobody has watched
    that.
    """

    files: Spool[ListedFile] = field(default_factory=listed_files)
    directories: int = 0
    refused: list[Refused] = field(default_factory=list)
    paths: Paths | None = None


@dataclass(frozen=True, slots=True)
class ListedPart:
    """What was listed of one directory, completely: all that lies below it, or only what lies directly in it.

    `subdirectories`: None when it is all; otherwise the directories that lie directly in it, of which this says nothing
    more. `directories`: how many directories lie below it, as far as this says. `paths` as in `Listing`.
    """

    root: str
    files: Spool[ListedFile]
    directories: int
    subdirectories: tuple[str, ...] | None
    refused: list[Refused]
    paths: Paths | None = None


class Checkpoint(Protocol):
    """Where the parts of a long listing are kept, so that whoever goes on with it need not list them again."""

    def recall(self, directory: str) -> ListedPart | None:
        """What was kept of a directory, while it is good; all that lies below it rather than what lies in it."""

    def keep(self, parts: Sequence[ListedPart]) -> None:
        """Keep these; called in the thread that called for the listing."""

    def may_hold(self, directory: str) -> bool:
        """Could anything below it be wanted? A directory of which this is not so need not be listed."""

    def say(self, text: str) -> None:
        """Hears every few seconds how far the listing is."""


@dataclass(frozen=True, slots=True)
class ArchiveHash:
    """The archive's own hash of a file: algorithm in lower case without dash (`md5`, `sha512`), lower-case hex."""

    algorithm: str
    hex: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring the HPSS file `hpss_path` to the absolute local path `local_path`, which does not exist yet."""

    hpss_path: str
    local_path: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """What hsi itself said of one fetch. Never a proof by itself: see `Hpss.get`.

    `reported_bytes` is the byte count of hsi's own success line for exactly this pair of paths, None when it printed
    none; `error` is the error that it printed for this file, "" when none. An error that begins with NAME-UNSPEAKABLE
    is ours: one of the two paths can't be given to hsi, and the file was not asked for.
    """

    reported_bytes: int | None
    error: str


@dataclass(frozen=True, slots=True)
class Session:
    """A retrieval session that has ended. `fetched` is parallel to the fetches that were asked for.

    `trouble` is set when the session as a whole went wrong after it had begun: the code of the fault and a text. What
    was fetched before it stands. The codes: HPSS-HANGING (no byte had moved for the configured time; we killed it),
    STOPPED (`may_go_on` said no), HSI-CRASHED (ended by a signal that was not ours), HPSS-SESSION-BROKEN (ended early
    or badly without naming a file), and HPSS-AWAY, HPSS-SESSIONS, HPSS-UNAUTHENTICATED when hsi said so half-way.
    `exit_status` is negative when a signal ended hsi. `unexplained` holds the first lines that nobody understood.
    """

    fetched: list[Fetched]
    exit_status: int
    trouble: tuple[str, str] | None
    unexplained: list[str]


class Hpss(Protocol):
    """The archive."""

    def check_up(self) -> None:
        """Return when HPSS is up; raise as described above when it is not."""

    def list_trees(self, roots: Sequence[str], checkpoint: Checkpoint | None = None) -> Listing:
        """List everything below each root (a directory or a file), hidden entries included.

        Errors for single paths are `refused`; a root that does not exist is refused as "missing". What lies below a
        `.Trash` is left out. A large tree may be listed in parts, which a `checkpoint` keeps and recalls; then also
        what it says that nothing is wanted of is left out.
        """

    def list_files(self, paths: Sequence[str]) -> Listing:
        """List exactly these files; each is seen or refused by name. A directory is refused as "not-a-file"."""

    def hashes(self, paths: Iterable[str]) -> dict[str, ArchiveHash | None]:
        """The archive's own hash of each path; None where it has none. Reads metadata only, mounts no tape.

        A path that the archive refuses (missing, denied, unspeakable) is not in the answer.
        """

    def get(
        self,
        fetches: Sequence[Fetch],
        *,
        session_name: str,
        may_go_on: Callable[[], bool] = lambda: True,
        on_fetched: Callable[[int], None] = lambda _index: None,
        on_last: Callable[[], None] = lambda: None,
    ) -> Session:
        """Fetch files in the given order in one session, keeping their modification times.

        Returns when hsi and all its children have ended. `may_go_on` is asked about once a second; when it says
        False the session is killed. `on_fetched(i)` may be called, from another thread, as soon as fetch i is known
        to be over (at most once each; not promised). `on_last()` may be called, likewise, when the archive is seen to
        be at the last of the files: the one before it is over, or some of it has arrived; but not by a session that
        is in trouble. Progress is measured by growth of bytes, not by time in total.
        The caller decides what counts as retrieved, from what lies on disk.
        """

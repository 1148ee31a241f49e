"""The catalogue of the simulated archive: which objects exist, and where on which cartridge each file lies.

Guarantee: paths are bytes and come back as they went in. Reading is safe beside other readers and a writer.
Fails with: FileNotFoundError (the site was never built), sqlite3.Error (the catalogue is damaged).

One row an object. `volumes` are cartridge labels of six characters; a file without any is only on disk, or
empty. `start` counts bytes from the beginning of the tape (other people's data included); only the clock
looks at it, a listing shows `section+offset`. The content of a file is `size` bytes of the local file `data`
from `data_at` on.
"""

from __future__ import annotations

import os
import sqlite3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COLUMNS = (
    "path, kind, size, mtime_ns, written, accessed, volumes, section, offset, start, cos, algorithm, hex, data, data_at"
)
SCHEMA = """
CREATE TABLE object (
    path BLOB PRIMARY KEY, parent BLOB NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, written INTEGER NOT NULL, accessed INTEGER NOT NULL,
    volumes TEXT NOT NULL, section INTEGER NOT NULL, offset INTEGER NOT NULL, start INTEGER NOT NULL,
    cos INTEGER NOT NULL, algorithm TEXT NOT NULL, hex TEXT NOT NULL,
    data BLOB NOT NULL, data_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_parent ON object (parent, path);
"""


class Entry:
    """One object: `kind` is `f` (file), `d` (directory) or `l` (symbolic link, `data` is its target)."""

    __slots__ = (
        "accessed",
        "algorithm",
        "cos",
        "data",
        "data_at",
        "hex",
        "kind",
        "mtime_ns",
        "offset",
        "path",
        "section",
        "size",
        "start",
        "volumes",
        "written",
    )

    def __init__(
        self,
        path: bytes,
        kind: str,
        size: int = 0,
        mtime_ns: int = 0,
        written: int = 0,
        accessed: int = 0,
        volumes: str = "",
        section: int = 0,
        offset: int = 0,
        start: int = 0,
        cos: int = 0,
        algorithm: str = "",
        hex: str = "",  # noqa: A002  the column is called so
        data: bytes = b"",
        data_at: int = 0,
    ) -> None:
        self.path = path
        self.kind = kind
        self.size = size
        self.mtime_ns = mtime_ns
        self.written = written
        self.accessed = accessed
        self.volumes = tuple(volumes.split(",")) if volumes else ()
        self.section = section
        self.offset = offset
        self.start = start
        self.cos = cos
        self.algorithm = algorithm
        self.hex = hex
        self.data = data
        self.data_at = data_at

    def row(self) -> tuple[object, ...]:
        """As the catalogue stores it, its parent directory second."""
        return (
            self.path,
            parent_of(self.path),
            self.kind,
            self.size,
            self.mtime_ns,
            self.written,
            self.accessed,
            ",".join(self.volumes),
            self.section,
            self.offset,
            self.start,
            self.cos,
            self.algorithm,
            self.hex,
            self.data,
            self.data_at,
        )


def parent_of(path: bytes) -> bytes:
    """The directory that holds this path; the root has no parent."""
    return b"" if path == b"/" else path[: path.rfind(b"/")] or b"/"


class Catalogue:
    """An open catalogue."""

    def __init__(self, path: str) -> None:
        if not os.path.exists(path):
            raise FileNotFoundError(path)  # sqlite would make an empty one, and everything would be "missing"
        self._database = sqlite3.connect(path, timeout=60, isolation_level=None)

    @classmethod
    def create(cls, path: str, entries: Iterable[Entry]) -> None:
        """Write a new catalogue with these objects, missing parent directories included."""
        database = sqlite3.connect(path, isolation_level=None)
        database.executescript(SCHEMA)
        database.execute("BEGIN")
        marks = ",".join("?" * 16)
        database.executemany(
            f"INSERT OR REPLACE INTO object VALUES ({marks})",  # noqa: S608  marks only
            (entry.row() for entry in entries),
        )
        database.execute("COMMIT")
        database.close()

    def close(self) -> None:
        """Forget the connection."""
        self._database.close()

    def _entries(self, where: str, *values: object) -> Iterator[Entry]:
        sql = f"SELECT {COLUMNS} FROM object WHERE {where}"  # noqa: S608  constants
        return (Entry(*row) for row in self._database.execute(sql, values))

    def find(self, path: bytes) -> Entry | None:
        """The object with exactly this path."""
        return next(self._entries("path = ?", path), None)

    def children(self, directory: bytes) -> Iterator[Entry]:
        """The objects directly in a directory, by name."""
        return self._entries("parent = ? ORDER BY path", directory)

    def below(self, directory: bytes) -> Iterator[Entry]:
        """All objects below a directory, by path; a directory comes before what it holds."""
        if directory == b"/":
            return self._entries("path > ? ORDER BY path", directory)
        # '0' is the byte after '/': the range holds exactly the paths that begin with `directory/`.
        return self._entries("path > ? AND path < ? ORDER BY path", directory + b"/", directory + b"0")

    def files(self) -> Iterator[Entry]:
        """All files of the archive, by path."""
        return self._entries("kind = 'f' ORDER BY path")

    def set_hash(self, path: bytes, algorithm: str, hex_digest: str) -> None:
        """Remember a hash (`hashcreate`)."""
        self._database.execute("UPDATE object SET algorithm = ?, hex = ? WHERE path = ?", (algorithm, hex_digest, path))

"""The transfer buffer: `<unit>/<file>` holds complete, verified files only; `.part/<worker>/` what is being written.

Guarantee: a file gets under its unit's name only by `link` from the writer's own directory (gone when it was fenced)
and never over another; a unit's directory is made, and a bad copy discarded, through the writer's own directory too, so
that a worker that wakes late can do neither; what is removed is named by ids alone, and lies directly in the unit's own
directory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence

from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import buffer_name
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk, Status
from tacc_sync.workspace.recovery import remove_tree

# Inside a unit's directory below `.part/<worker>/`: neither is a file's name.
NEW = "new"
BAD = ".bad"
NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def path(unit: str, index: int) -> str:
    """Where a unit's file lies once it is verified."""
    return f"{unit}/{buffer_name(index)}"


def part_path(worker: str, unit: str, index: int) -> str:
    """Where it lies while it is being written."""
    return f"{layout.part(worker)}/{unit}/{buffer_name(index)}"


def prepare(disk: Disk, worker: str, unit: str) -> None:
    """Make room for a session: an empty directory for what is being written, and the unit's own."""
    for left in disk.names(layout.part(worker)):
        remove_tree(disk, f"{layout.part(worker)}/{left}")
    _make(disk, f"{layout.part(worker)}/{unit}")
    _make_through(disk, f"{layout.part(worker)}/{unit}/{NEW}", unit)


def place(disk: Disk, worker: str, unit: str, index: int, digest_of_part: dict[str, str]) -> bool:
    """Put a verified file under its unit's name; False when another content is there already."""
    source, target = part_path(worker, unit, index), path(unit, index)
    try:
        disk.link(source, target)
    except FileExistsError:
        # A lost reply, or a worker that was fenced after it had placed the same file.
        if digest(disk, target, digest_of_part) != digest_of_part:
            return False
    try:
        disk.unlink(source)
    except FileNotFoundError:
        # A lost reply again; or we were fenced, and then it is gone with its directory.
        pass
    return True


def digest(
    disk: Disk, path: str, algorithms: Iterable[str], may_go_on: Callable[[], bool] = lambda: True
) -> dict[str, str] | None:
    """Hashes of a copy in the buffer; None when it is gone, or is no plain file."""
    try:
        return disk.digest(path, algorithms, may_go_on)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno not in NO_DOCUMENT:
            raise
        return None


def clear_part(disk: Disk, worker: str, unit: str) -> None:
    """Remove what a session left behind, for good: after a power loss it would lie there unreserved."""
    remove_tree(disk, f"{layout.part(worker)}/{unit}")
    disk.sync(layout.part(worker))


def discard(disk: Disk, worker: str, unit: str, index: int) -> None:
    """Remove a copy that is no good; content when it is gone. FileNotFoundError when we were fenced: then what lies
    there now may be another worker's good one. A directory is a stranger's, and left to a person."""
    found = status(disk, unit, index)
    if found is not None and found.kind == "directory":
        return
    _make(disk, f"{layout.part(worker)}/{unit}")
    bad = f"{layout.part(worker)}/{unit}/{buffer_name(index)}{BAD}"
    try:
        disk.rename(path(unit, index), bad)
    except FileNotFoundError:
        if disk.status(layout.part(worker)) is None:
            raise
    try:
        disk.unlink(bad)
    except FileNotFoundError:
        return


def status(disk: Disk, unit: str, index: int) -> Status | None:
    """What lies at a file's place."""
    return disk.status(path(unit, index))


def remove(disk: Disk, unit: str, index: int) -> bool:
    """Remove a file of a unit; False when it is gone already, or is a directory, which was never ours."""
    try:
        disk.unlink(path(unit, index))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    return True


def remaining(disk: Disk, unit: str) -> list[str]:
    """What lies in a unit's directory; [] also when there is none, `.` when something else is in its place."""
    try:
        return sorted(disk.names(unit))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        return ["."]


def close(disk: Disk, unit: str) -> bool:
    """Remove a unit's empty directory; content when it is gone. False when it is not empty after all."""
    try:
        disk.rmdir(unit)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in NOT_EMPTY:
            raise
        return False
    disk.sync("")
    return True


def sync(disk: Disk, unit: str) -> None:
    """Make a unit's names durable, and the unit's own."""
    disk.sync(unit)
    disk.sync("")


def _make(disk: Disk, directory: str) -> None:
    try:
        disk.mkdir(directory)
    except FileExistsError:
        found = disk.status(directory)
        if found is None or found.kind != "directory":
            raise stranger(disk, directory, ["."]) from None


def stranger(disk: Disk, unit: str, names: Sequence[str]) -> WorkFault:
    """The fault of a unit in whose directory (or in whose place: `.`) lies what is not its own."""
    what = "lies what is not the unit's" if list(names) != ["."] else "there is no directory but something else"
    shown = ", ".join(map(ascii, names[:5]))
    return WorkFault(
        "BUFFER-STRANGER",
        f"in the buffer directory of this unit {what}: {shown}",
        f"look at {disk.root}/{unit}, move it away, then `tacc-sync quarantine release {unit}`",
    )


def _make_through(disk: Disk, ours: str, directory: str) -> None:
    if disk.status(directory) is None:
        _make(disk, ours)
        try:
            disk.rename(ours, directory)
        except FileNotFoundError:
            # A lost reply shows so.
            if disk.status(directory) is None:
                raise
        except NotADirectoryError:
            raise stranger(disk, directory, ["."]) from None
        except OSError as error:
            if error.errno not in NOT_EMPTY:
                raise
            disk.rmdir(ours)
    found = disk.status(directory)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "a unit's directory was taken away", directory)
    if found.kind != "directory":
        raise stranger(disk, directory, ["."])

"""The transfer buffer: `<unit>/<file>` holds complete, verified files only; `.part/<worker>/` what is being written.

Guarantee: a file gets under its unit's name only by `link` from the writer's own directory (gone when it was fenced)
and never over another; what is removed is named by ids alone, and lies directly in the unit's own directory."""

from __future__ import annotations

from tacc_sync.rules.identity import buffer_name
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import Disk, Status
from tacc_sync.workspace.recovery import remove_tree


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
    _make(disk, unit)


def place(disk: Disk, worker: str, unit: str, index: int, digest_of_part: dict[str, str]) -> bool:
    """Put a verified file under its unit's name; False when another content is there already."""
    source, target = part_path(worker, unit, index), path(unit, index)
    try:
        disk.link(source, target)
    except FileExistsError:
        # A lost reply, or a worker that was fenced after it had placed the same file.
        if disk.digest(target, digest_of_part) != digest_of_part:
            return False
    try:
        disk.unlink(source)
    except FileNotFoundError:
        # A lost reply again; or we were fenced, and then it is gone with its directory.
        pass
    return True


def clear_part(disk: Disk, worker: str, unit: str) -> None:
    """Remove what a session left behind, for good: after a power loss it would lie there unreserved."""
    remove_tree(disk, f"{layout.part(worker)}/{unit}")
    disk.sync(layout.part(worker))


def status(disk: Disk, unit: str, index: int) -> Status | None:
    """What lies at a file's place."""
    return disk.status(path(unit, index))


def remove(disk: Disk, unit: str, index: int) -> bool:
    """Remove a file of a unit; False when it is gone already."""
    try:
        disk.unlink(path(unit, index))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remaining(disk: Disk, unit: str) -> list[str]:
    """What lies in a unit's directory; [] also when there is none."""
    try:
        return sorted(disk.names(unit))
    except FileNotFoundError:
        return []


def close(disk: Disk, unit: str) -> None:
    """Remove a unit's empty directory; content when it is gone."""
    try:
        disk.rmdir(unit)
    except FileNotFoundError:
        return
    disk.sync("")


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
            raise NotADirectoryError(20, "is in the way of a unit's directory", directory) from None

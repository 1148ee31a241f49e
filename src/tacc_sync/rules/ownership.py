"""Is this workspace the one that its transfer buffer belongs to, or a copy of it? Pure.

The workspace's `identity.json` and the buffer's marker are the same document. A run raises the epoch, first in the
workspace, then in the buffer: so the buffer's is never ahead of a right workspace's, whatever is cut off between the
two, and is ahead of one that was restored from an older backup, or that another copy has overtaken.

Guarantee: what is at most an interrupted raise is never refused; whoever is refused is told what was seen.
Fails with: nothing; `judge` returns the fault.
"""

from __future__ import annotations

from collections.abc import Collection

from tacc_sync.rules import documents
from tacc_sync.rules.faults import OperatorFault

VERSION = 1

ADOPT = "make sure that nothing else runs, then `tacc-sync check --adopt`"


@documents.readable
class Owner(documents.Struct, kw_only=True):
    """Which workspace this is, where it lies, and how often its runs have said so. `raised_by`: the worker that raised
    the epoch last."""

    version: int
    workspace_id: str
    workspace_path: str
    epoch: int = 0
    raised_by: str = ""


def judge(
    ours: Owner, marker: Owner | None, *, here: str, also: Collection[str] = (), buffer: str = ""
) -> OperatorFault | None:
    """What keeps the workspace at the real path `here` (which other hosts may see as `also`) from being worked on;
    None when it is the right one. `buffer` is the buffer's path, "" when there is none on this host: then `marker`
    says nothing."""
    if ours.workspace_path != here and here not in also:
        return OperatorFault(
            "WORKSPACE-COPIED",
            f"the workspace at {here} says that it lies at {ours.workspace_path}: it was copied or moved",
            f"{ADOPT}; if it is one directory with two names, list them in `run.also_at`",
        )
    if not buffer:
        return None
    if marker is None:
        # Epoch 0: the first run has not marked its buffer yet, or was cut off before it had.
        return None if ours.epoch == 0 else unmarked(buffer)
    if marker.workspace_id != ours.workspace_id:
        return OperatorFault(
            "BUFFER-OF-ANOTHER",
            f"the transfer buffer {buffer} belongs to the workspace {marker.workspace_id} at {marker.workspace_path}",
            "give each workspace a buffer of its own (`buffer.path`)",
        )
    if marker.epoch > ours.epoch:
        where = "" if marker.workspace_path == ours.workspace_path else f", then at {marker.workspace_path},"
        return OperatorFault(
            "WORKSPACE-RESTORED",
            f"the transfer buffer has seen this workspace{where} in epoch {marker.epoch}, it is in epoch {ours.epoch}: "
            "it is an older copy",
            ADOPT,
        )
    if marker.epoch == ours.epoch and marker.raised_by != ours.raised_by:
        return OperatorFault(
            "WORKSPACE-RESTORED",
            f"epoch {ours.epoch} was begun by {marker.raised_by or 'nobody'} in the transfer buffer and by "
            f"{ours.raised_by or 'nobody'} in the workspace: two copies of it are at work",
            ADOPT,
        )
    return None


def unmarked(buffer: str) -> OperatorFault:
    """The fault of a buffer that has lost its marker."""
    return OperatorFault(
        "BUFFER-UNMARKED",
        f"the transfer buffer {buffer} does not say any more that it belongs to this workspace",
        f"mount its file system, or correct `buffer.path`; if it was emptied or replaced on purpose: {ADOPT}",
    )

"""Which workspace this is, and whether its transfer buffer knows it: `identity.json` and the buffer's marker.

Guarantee: a workspace that was copied, moved or restored, one whose buffer belongs to another, and one whose buffer is
not mounted are refused before anything outside is changed. The epoch is raised in the workspace first, durably and
under the turn, and then in the buffer, so that being cut off anywhere never makes the right workspace look like a copy.
Fails with `OperatorFault` (rules/ownership.py), `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from tacc_sync.rules import documents, ownership
from tacc_sync.rules.documents import BadDocument
from tacc_sync.rules.faults import EX_DATAERR, OperatorFault
from tacc_sync.rules.ownership import Owner
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

# On a network file system a host may know for some seconds only what was so before: of two documents that another host
# has just replaced it sees one anew and the other one as it was, or in its old length.
SEEN_LATE = 5.0
PAUSE = 0.25
MAY_BE_SEEN_LATE = frozenset({"WORKSPACE-RESTORED", "BUFFER-UNMARKED", "IDENTITY-DAMAGED"})


def identity(disk: Disk) -> Owner:
    """Who this workspace says that it is; one that never said it is in epoch 0, and lies where it lies."""
    found = _read(disk, layout.IDENTITY)
    if found is None:
        fresh = layout.open_workspace(disk).workspace_id
        return Owner(version=ownership.VERSION, workspace_id=fresh, workspace_path=disk.root)
    return found


def marker(buffer: Disk) -> Owner | None:
    """Whom the buffer belongs to, as it says; None when it does not say it (any more)."""
    return _read(buffer, layout.MARKER)


def must_be_ours(
    disk: Disk, buffer: Disk | None, also: Collection[str] = (), sleep: Callable[[float], None] | None = None
) -> None:
    """Return when nothing speaks against working on this workspace. With `sleep`, only what still does after
    SEEN_LATE counts."""
    waited = 0.0
    fault, seen = _against_us(disk, buffer, also)
    while fault is not None:
        if sleep is not None and fault.code in MAY_BE_SEEN_LATE and waited < SEEN_LATE:
            sleep(PAUSE)
            waited += PAUSE
            fault, seen = _against_us(disk, buffer, also)
            continue
        # Another run may just have marked the buffer for the first time: only what still stands speaks against us.
        before = seen
        fault, seen = _against_us(disk, buffer, also)
        if fault is not None and seen == before:
            raise fault


def _against_us(disk: Disk, buffer: Disk | None, also: Collection[str]) -> tuple[OperatorFault | None, Owner | None]:
    """What speaks against us now, and whom the buffer says that it belongs to."""
    theirs: Owner | None = None
    try:
        # The buffer's first: raised meanwhile, the workspace's is ahead, which is right.
        theirs = None if buffer is None else marker(buffer)
        root = "" if buffer is None else buffer.root
        return ownership.judge(identity(disk), theirs, here=disk.root, also=also, buffer=root), theirs
    except OperatorFault as damaged:
        return damaged, theirs


def claim(home: Home, also: Collection[str] = ()) -> None:
    """Begin a run: the workspace has an identity, its buffer is marked, and the epoch is raised; nothing of it without
    a buffer on this host, but for the identity."""
    waited = 0.0
    while True:
        try:
            _claim(home, also)
        except OperatorFault as fault:
            if fault.code not in MAY_BE_SEEN_LATE or waited >= SEEN_LATE:
                raise
        else:
            return
        home.clock.sleep(PAUSE)
        waited += PAUSE


def _claim(home: Home, also: Collection[str]) -> None:
    must_be_ours(home.disk, home.buffer, also)
    owner = identity(home.disk)
    if _read(home.disk, layout.IDENTITY) is None:
        home.put_new(layout.IDENTITY, documents.encode_any(owner))
    if home.buffer is None:
        return
    if owner.epoch == 0 and marker(home.buffer) is None:
        # Exclusively: of two workspaces that begin on one buffer, one has it.
        _mark(home, home.buffer, owner, exclusively=True)
        must_be_ours(home.disk, home.buffer, also)
    with home.turn(0.2) as ours:
        # Another run holds the turn, or held it when it died: the epoch is raised at the next slot that is given.
        if ours:
            try:
                raise_epoch(home)
            except OperatorFault:
                home.give_turn_back()
                raise
    confirm(home, also)


def raise_epoch(home: Home) -> None:
    """Say in the workspace that something outside is about to be changed. The caller holds the turn: two that raise at
    once would begin the same epoch. Nothing without a buffer, or before the first run."""
    owner = _read(home.disk, layout.IDENTITY)
    if owner is None or home.buffer is None:
        return
    raised = Owner(
        version=ownership.VERSION,
        workspace_id=owner.workspace_id,
        workspace_path=owner.workspace_path,
        epoch=owner.epoch + 1,
        raised_by=home.name,
    )
    home.put(layout.IDENTITY, documents.encode_any(raised))


def confirm(home: Home, also: Collection[str] = ()) -> None:
    """Return when nothing speaks against changing something outside, the buffer having seen the workspace's epoch."""
    must_be_ours(home.disk, home.buffer, also, home.clock.sleep)
    if home.buffer is None:
        return
    owner = identity(home.disk)
    theirs = marker(home.buffer)
    # Never marked here: without a mark an unmounted buffer could not be told from ours.
    if theirs is not None and theirs.epoch < owner.epoch:
        _mark(home, home.buffer, owner)


def take_over(home: Home, also: Collection[str] = ()) -> Owner:
    """Make this workspace, wherever it lies now, the one that its buffer belongs to; every other copy is an older one
    from now on. The caller holds the turn, and has made sure that this is right."""
    owner = identity(home.disk)
    theirs = None if home.buffer is None else marker(home.buffer)
    path = owner.workspace_path if home.disk.root in also else home.disk.root
    taken = Owner(
        version=ownership.VERSION,
        workspace_id=owner.workspace_id,
        workspace_path=path,
        epoch=max(owner.epoch, theirs.epoch if theirs is not None else 0) + 1,
        raised_by=home.name,
    )
    # The buffer first, for once: cut off between the two, this copy is still refused, and so is every other.
    if home.buffer is not None:
        _mark(home, home.buffer, taken)
    home.put(layout.IDENTITY, documents.encode_any(taken))
    return taken


def _mark(home: Home, buffer: Disk, owner: Owner, *, exclusively: bool = False) -> None:
    # Through our own directory, so that a worker that was fenced cannot put an older epoch back.
    temporary = f"{home.part}/{layout.MARKER}"
    content = documents.encode_any(owner)
    try:
        buffer.create(temporary, content)
    except FileExistsError:
        # Left by an earlier try.
        buffer.unlink(temporary)
        buffer.create(temporary, content)
    if exclusively:
        try:
            buffer.link(temporary, layout.MARKER)
        except FileExistsError:
            pass  # the caller looks whose it is
        buffer.unlink(temporary)
    else:
        try:
            buffer.rename(temporary, layout.MARKER)
        except FileNotFoundError:
            # A lost reply shows so; but so does a part that was taken away from us.
            if buffer.status(home.part) is None or buffer.status(temporary) is not None:
                raise
    buffer.sync("")


def _read(disk: Disk, path: str) -> Owner | None:
    try:
        content = queues.read_document(disk, path, 65536)
    except FileNotFoundError:
        return None
    except BadDocument as error:
        raise _unreadable(disk, path, error.text) from None
    found = documents.decode_or_none(content, Owner)
    if found is None:
        raise _unreadable(disk, path, "it is no document that this tacc-sync understands")
    return found


def _unreadable(disk: Disk, path: str, text: str) -> OperatorFault:
    return OperatorFault(
        "IDENTITY-DAMAGED",
        f"{disk.root}/{path}: {text}",
        "upgrade tacc-sync on this host if another is newer; else move it away, then `tacc-sync check --adopt`",
        EX_DATAERR,
    )

"""Standing requests on disk, and handing in their next runs.

Guarantee: whoever is killed anywhere in handing in a run, and however many do it at once, one run is admitted for each
number: the document is claimed, says which run begins before that is put into the inbox, and says that it lies there
afterwards; a run that is handed in twice all the same has the same id, and the second one is dropped (see the syncer).
Fails with `BadDocument`, `NewerDocument`, `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from tacc_sync.rules import documents, standing
from tacc_sync.rules.documents import StandingRequest
from tacc_sync.rules.identity import SUFFIX, request_key, run_id
from tacc_sync.rules.route import COMPONENTS, FINISHED, INBOX, REQUEST_QUEUE, STANDING
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

# "": nobody knows of it. finished: or given up.
Whereabouts = Literal["", "inbox", "open", "quarantine", "finished"]

REJECTED = f"{FINISHED}/rejected"


def names(disk: Disk) -> list[str]:
    """The ids of the standing requests, but for those that somebody holds just now."""
    return sorted(name.removesuffix(SUFFIX) for name in disk.names(STANDING) if layout.is_document(name))


def path_of(standing_id: str) -> str:
    """Where its document lies."""
    return layout.entry(STANDING, standing_id)


def read(disk: Disk, path: str) -> StandingRequest:
    """A standing request, fit to be acted on."""
    found = documents.decode(queues.read_document(disk, path), StandingRequest)
    standing.check(found, path.rpartition("/")[2].removesuffix(SUFFIX))
    return found


def change(
    home: Home, standing_id: str, into: Callable[[StandingRequest], StandingRequest | None]
) -> StandingRequest | None:
    """Change a standing request while nobody else does; None when it is not there, or somebody holds it. `into` makes
    the new one; None leaves it as it is."""
    claimed = home.claim(STANDING, standing_id + SUFFIX, durable=True)
    if claimed is None:
        return None
    try:
        found = read(home.disk, claimed)
        changed = into(found)
    except (documents.BadDocument, documents.NewerDocument):
        home.pass_on(claimed, STANDING)
        raise
    if changed is not None:
        home.put(claimed, standing.encode(changed))
    home.pass_on(claimed, STANDING)
    return changed or found


def stop(home: Home, standing_id: str) -> bool:
    """Let it have no further run; False when it is not there, or somebody holds it."""
    claimed = home.claim(STANDING, standing_id + SUFFIX, durable=True)
    return claimed is not None and home.take_away(claimed)


def renew(home: Home, standing_id: str, may_begin: Callable[[StandingRequest], bool]) -> StandingRequest | None:
    """Hand in the run that was begun last, unless it was; or, if it may begin, the next one. None when nothing was
    handed in."""
    handed_in: list[StandingRequest] = []

    def into(found: StandingRequest) -> StandingRequest | None:
        claimed = f"{home.path}/{STANDING}/{standing_id}{SUFFIX}"
        begun = found
        if found.run == 0 or found.handed_in:
            if not may_begin(found):
                return None
            begun = standing.begin(found, home.clock.now())
            # Before the run itself: after it nobody could tell whether it is this one's or the next one's.
            home.put(claimed, standing.encode(begun))
        request = standing.run_of(begun)
        if not whereabouts(home.disk, request.request_id):
            home.put_new(layout.entry(INBOX, request.request_id), documents.encode(request))
        begun.handed_in = True
        handed_in.append(begun)
        return begun

    change(home, standing_id, into)
    return handed_in[0] if handed_in else None


def has_ended(disk: Disk, request_id: str) -> bool:
    """Is a run finished, or was it given up before it was planned?"""
    finished = layout.finished(request_key(request_id))
    return disk.status(f"{finished}/request{SUFFIX}") is not None or _lies_in(disk, REJECTED, request_id)


def whereabouts(disk: Disk, request_id: str) -> Whereabouts:
    """Where a run is, as far as can be seen; looked for along the way that requests go, and in the beginning once
    more."""
    key = request_key(request_id)
    workers = disk.names(layout.CLAIMS)
    if has_ended(disk, request_id):
        return "finished"
    for _ in range(2):
        if any(_lies_in(disk, place, request_id) for place in (INBOX, *(f"{layout.home(w)}/{INBOX}" for w in workers))):
            return "inbox"
        quarantines = [layout.quarantine(component) for component in COMPONENTS]
        if any(_lies_in(disk, place, request_id) or _lies_in(disk, place, key) for place in quarantines):
            return "quarantine"
        if has_ended(disk, request_id):
            return "finished"
        open_ = [
            layout.entry(REQUEST_QUEUE, key),
            *(f"{layout.home(w)}/{REQUEST_QUEUE}/{key}{SUFFIX}" for w in workers),
        ]
        if any(disk.status(path) is not None for path in open_):
            return "open"
    # Its id is taken: it was planned, and is being moved.
    return "open" if disk.status(f"{layout.finished(key)}/admitted{SUFFIX}") is not None else ""


def run_in_progress(found: StandingRequest) -> str:
    """The id of the run that was begun last."""
    return run_id(found.standing_id, found.run)


def _lies_in(disk: Disk, directory: str, stem: str) -> bool:
    # Whoever puts it back or away may have given it another end: `~token`, `~2`.
    return any(_is_of(name, stem) for name in _names(disk, directory))


def _is_of(name: str, stem: str) -> bool:
    return layout.is_document(name) and name.removesuffix(SUFFIX).partition("~")[0] == stem


def _names(disk: Disk, directory: str) -> Iterator[str]:
    try:
        yield from disk.names(directory)
    except (FileNotFoundError, NotADirectoryError):
        return

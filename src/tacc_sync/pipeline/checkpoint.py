"""What a request's listing has come to, for whoever goes on with it: the syncer's checkpoint.

Guarantee: a small listing leaves no trace. Before the first part is kept, the claimed document has the request's id and
a token of its own, so that the request keeps both when it goes back to the inbox, and no other one is planned from
what was listed for this one.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from tacc_sync.outside.hpss.interface import ListedPart
from tacc_sync.pipeline.step import Bench
from tacc_sync.rules.documents import Admission, Request
from tacc_sync.rules.identity import request_key
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.pruning import may_hold
from tacc_sync.workspace import layout, listings
from tacc_sync.workspace.listings import KeptListing
from tacc_sync.workspace.recovery import remove_tree

# Seconds between two words about how far the listing is.
BETWEEN_WORDS = 5.0
# Seconds between two looks for what nobody needs any more.
BETWEEN_SWEEPS = 600.0


class RequestCheckpoint:
    """The `Checkpoint` of one claimed request."""

    def __init__(self, bench: Bench, request: Request, claimed: str) -> None:
        self._bench = bench
        self._request = request
        self._claimed = claimed
        self._kept = self._open() if request.admitted is not None else None
        self._last_word = bench.home.clock.uptime()
        self.may_hold = may_hold(request)

    def _open(self) -> KeptListing:
        assert self._request.admitted is not None
        key, token = request_key(self._request.request_id), self._request.admitted.token
        return KeptListing(self._bench.home, key, token, self._bench.settings.hsi.listing_age)

    def recall(self, directory: str) -> ListedPart | None:
        """What was kept of a directory."""
        return self._kept.recall(directory, self._bench.home.clock.now()) if self._kept is not None else None

    def keep(self, parts: Sequence[ListedPart]) -> None:
        """Keep these."""
        home, now = self._bench.home, self._bench.home.clock.now()
        if self._kept is None:
            if self._request.admitted is None:
                self._request.admitted = Admission(token=home.host.token() + home.host.token(), at=to_iso(now))
                home.put_document(self._claimed, self._request)
            self._kept = self._open()
        self._kept.keep(parts, now)

    def say(self, text: str) -> None:
        """Show it with the next heartbeat, which is now."""
        uptime = self._bench.home.clock.uptime()
        if uptime - self._last_word >= BETWEEN_WORDS:
            self._last_word = uptime
            self._bench.home.beat(doing=f"lists {text} (request {request_key(self._request.request_id)})")


def forget(bench: Bench, request: Request) -> None:
    """Nobody will go on with a request's listing: it was planned, or cannot be."""
    if request.admitted is not None:
        path = layout.listing(listings.directory_name(request_key(request.request_id), request.admitted.token))
        if bench.disk.status(path) is not None:
            remove_tree(bench.disk, path)


class Sweep:
    """Removes what is left of listings that nobody will go on with: their request is planned, or has gone."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._last: float | None = None
        # Somebody may have made an empty one a moment ago.
        self._empty: set[str] = set()

    def look(self) -> None:
        """Have a look, now and then."""
        disk, clock = self._bench.disk, self._bench.home.clock
        uptime = clock.uptime()
        if self._last is not None and uptime - self._last < BETWEEN_SWEEPS:
            return
        self._last = uptime
        age = self._bench.settings.hsi.listing_age
        was_empty, self._empty = self._empty, set()
        for name in sorted(name for name in listings.names(disk, layout.LISTINGS) if listings.is_name(name)):
            path = layout.listing(name)
            is_empty = not listings.names(disk, path)
            is_left = listings.is_of_planned(disk, name) or listings.is_outdated(disk, name, clock.now(), age)
            if is_left or name in was_empty:
                remove_tree(disk, path)
            elif is_empty:
                self._empty.add(name)

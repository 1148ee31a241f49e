"""The priorities of requests, by which their units are chosen."""

from __future__ import annotations

from tacc_sync.rules.documents import BadDocument, NewerDocument
from tacc_sync.rules.route import REQUEST_QUEUE
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk


class Priorities:
    """Looked up once for each request: its document does not change while it has work in the queues."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._known: dict[str, int] = {}

    def of(self, request: str) -> int:
        """The priority of a request, by its key; 0 when its document cannot be read."""
        if request not in self._known:
            try:
                self._known[request] = queues.read_request(self._disk, layout.entry(REQUEST_QUEUE, request)).priority
            except (OSError, BadDocument, NewerDocument):
                return 0
        return self._known[request]

"""What `status` shows, as records: requests with their sums, places, the buffer, the components."""

from __future__ import annotations

from dataclasses import dataclass, field

from tacc_sync.operator.standing import StandingStatus
from tacc_sync.operator.workers import ComponentStatus
from tacc_sync.rules.forecast import Forecast
from tacc_sync.rules.progress import Amount


@dataclass(slots=True)
class Speed:
    """Bytes a second: in the last hour in which something arrived, and since the request was planned."""

    recent: float | None = None
    overall: float | None = None
    last_at: str = ""


@dataclass(slots=True)
class RequestStatus:
    """A planned or finished request. The classes of the sum law: selected = there + delivered + abandoned +
    quarantined + on_the_way. `there` is what the destination had, or other requests have delivered; `retrieved` that
    part of what is on the way that lies verified in the transfer buffer."""

    request: str
    request_id: str
    state: str
    label: str
    requested_by: str
    priority: int
    sources: list[str]
    destination: str
    planned_at: str
    finished_at: str = ""
    selected: Amount = field(default_factory=Amount)
    there: Amount = field(default_factory=Amount)
    delivered: Amount = field(default_factory=Amount)
    abandoned: Amount = field(default_factory=Amount)
    quarantined: Amount = field(default_factory=Amount)
    on_the_way: Amount = field(default_factory=Amount)
    retrieved: Amount = field(default_factory=Amount)
    units: int = 0
    units_by_place: dict[str, int] = field(default_factory=dict)
    delivery: Speed = field(default_factory=Speed)
    retrieval: Speed = field(default_factory=Speed)
    seconds_left: float | None = None
    done_about: str = ""
    # The first one, the one that the last one is compared with, and the last one.
    forecasts: list[Forecast] = field(default_factory=list)
    not_carried: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PlaceStatus:
    """A place of the pipeline: units in all, those of them that a worker holds, and their planned bytes."""

    units: int = 0
    claimed: int = 0
    bytes: int = 0


@dataclass(slots=True)
class BufferStatus:
    """The transfer buffer, as reserved; it is not looked at. `quota` 0 is no limit."""

    quota: int
    reserved: int
    units: int


@dataclass(slots=True)
class Status:
    """All of it."""

    workspace: str
    at: str
    requests: list[RequestStatus]
    inbox: list[str]
    planning: list[str]
    places: dict[str, PlaceStatus]
    buffer: BufferStatus
    components: list[ComponentStatus]
    quarantined_units: int
    quarantined_requests: int
    strangers: list[str]
    legacy_units: list[str]
    unreadable: list[str]
    standing: list[StandingStatus] = field(default_factory=list)
    # Why, by label.
    cartridges_held: dict[str, str] = field(default_factory=dict)

    @property
    def overdue(self) -> list[str]:
        """Workers whose heartbeat is overdue."""
        return [w.worker for c in self.components for w in c.workers if w.state in {"silent", "dead"}]

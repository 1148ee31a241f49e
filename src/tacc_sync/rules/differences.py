"""What the archive, the destination and the workspace say of one file, as one of a few kinds and in words. Pure.

Guarantee: each file gets exactly one kind. A kind is `explained` when the file is there, or somebody sees to it or has
decided otherwise: a component, or the operator by name. Only the word of a delivery of ours makes a file `delivered`;
the same size alone is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from tacc_sync.rules import presence, route
from tacc_sync.rules.documents import File, Work, readable
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.presence import Remote, Vouched
from tacc_sync.rules.progress import Amount
from tacc_sync.rules.second_thoughts import PRESENT

# Kinds that need nobody's attention, in the order in which they are shown, and what they mean.
EXPLAINED = {
    "delivered": "delivered, and as we left it",
    "present": "there with its size and date, accepted by a request; nobody vouches for the content",
    "adopted": "there with its size and date, taken over by the operator; nobody vouches for the content",
    "missing-here": "gone from the archive since; at the destination as it was left",
    "in-flight": "on its way",
    "quarantine": "in quarantine",
    "abandoned": "given up by the operator",
    "excluded": "left out by the patterns of its request",
    "not-a-file": "no plain file in the archive",
    "others": "at the destination, another request's",
}
UNEXPLAINED = {
    "lost": "in neither archive any more",
    "missing-there": "it was at the destination, and is not there any more",
    "unplanned": "missing at the destination: no request has planned it",
    "changed-since": "the archive's file has changed since; the destination has the earlier one",
    "differs": "the destination differs from what was left there",
    "size-differs": "the destination has something of another size, which nobody vouches for",
    "date-differs": "the destination has something of another date, which nobody vouches for",
    "unvouched": "there with its size and date, but not by us, and accepted by nobody",
    "extra": "at the destination, and in no request",
    "unrequested": "in the archive, and in no request",
}
KINDS = {**EXPLAINED, **UNEXPLAINED}

# Where a unit lies, in words.
_PLACES = {
    route.HPSS_QUEUE: "waits for tape in hpss_queue",
    route.GLOBUS_QUEUE: "waits for Globus in globus_queue",
    route.REAPER_QUEUE: "waits in reaper_queue for the end of its round",
    "staging": "is being published",
}


@readable
class Here(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """A file of the archive: bytes, and the date as it prints it. `request` means it. `is_speakable`: its name can
    stand in a document as it is."""

    source: str
    size: int
    written: str
    request: str
    is_speakable: bool = True


@readable
class There(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """An entry at the destination: a file, a directory, or something else."""

    kind: str
    size: int
    mtime: float | None


@readable
class Known(msgspec.Struct, frozen=True, array_like=True, tag="w", kw_only=True):
    """What a unit says of a file. `place` and `by`: where the unit lies, and which worker holds it. `ours`: it belongs
    to what is looked at. `late`: the unit was found so only after the destination had been listed. `tried`: a task has
    had it."""

    request: str
    unit: str
    place: str
    by: str
    source: str
    size: int
    written: str
    outcome: str
    mtime: int | None
    delivered_at: str
    adopted_by: str
    borrowed_from: str
    why: str
    tried: bool
    is_vouched: bool
    in_buffer: bool
    ours: bool
    late: bool


@readable
class Aside(msgspec.Struct, frozen=True, array_like=True, tag="x"):
    """Something in the archive that goes nowhere, and the kind that it is of."""

    kind: str
    source: str
    size: int
    text: str


Fact = Here | There | Known | Aside


class Found(NamedTuple):
    """A file and what it is. `place` is its path at the destination, "" when it has none; `path` that in the archive,
    "" when that is unknown; `size` the archive's, or else the destination's, or else the one that we know.
    `is_adoptable`: what is there agrees with the archive, and waits for the operator's word. `request` is then one that
    means it, and `unit` the one in quarantine that has it, if any."""

    kind: str
    path: str
    place: str
    size: int
    text: str
    request: str = ""
    unit: str = ""
    is_adoptable: bool = False


@dataclass(slots=True)
class Counts:
    """How many files of each kind, with how many bytes."""

    kinds: dict[str, Amount] = field(default_factory=dict)

    def add(self, found: Found) -> None:
        """Count one."""
        self.kinds.setdefault(found.kind, Amount()).add(found.size)

    @property
    def total(self) -> Amount:
        """All of them."""
        return sum(self.kinds.values(), Amount())

    @property
    def unexplained(self) -> Amount:
        """Those that need somebody's attention."""
        return sum((amount for kind, amount in self.kinds.items() if kind in UNEXPLAINED), Amount())


def known_of(work: Work, *, place: str, by: str, ours: Iterable[bool], late: bool) -> Iterable[tuple[str, Known]]:
    """What a unit says of each of its files, by destination. `ours` is parallel to its files."""
    tried = {item for task in work.tasks for item in task.items}
    request = work.unit.partition(".")[0]
    for index, (file, is_ours) in enumerate(zip(work.files, ours, strict=True)):
        yield (
            file.destination,
            Known(
                request=file.vouched_by or request,
                unit=work.unit,
                place=place,
                by=by,
                source=file.path,
                size=file.size,
                written=file.written,
                outcome=file.outcome,
                mtime=file.mtime,
                delivered_at=file.delivered_at,
                adopted_by=file.adopted_by,
                borrowed_from=file.borrowed_from,
                why=f"{file.why.code}: {file.why.text}" if file.why else "",
                tried=index in tried,
                is_vouched=_is_vouched(file),
                in_buffer=route.in_buffer(file),
                ours=is_ours,
                late=late,
            ),
        )


def _is_vouched(file: File) -> bool:
    return file.outcome == "proven" or (file.outcome == "delivered" and route.may_free(file))


def judge(place: str, here: Sequence[Here], there: There | None, known: Sequence[Known], zone: str) -> list[Found]:
    """What is to be said of a place at the destination: of each file of the archive that goes there (`here`), or of
    what lies there without one; nothing when none of it belongs to what is looked at. `zone`: of the archive's
    dates."""
    remote = None
    if there is not None:
        remote = Remote(there.size, there.mtime) if there.kind == "file" else Remote(-1, None)
    case = _Case(place, remote, known, zone)
    if here:
        return [case.of_file(file) for file in here]
    found = case.without_file(is_directory=there is not None and there.kind == "dir")
    return [found] if found is not None else []


class _Case:
    def __init__(self, place: str, remote: Remote | None, known: Sequence[Known], zone: str) -> None:
        self._place = place
        self._remote = remote
        self._zone = zone
        self._is_late = any(each.late for each in known)
        vouched = [each for each in known if each.is_vouched]
        # A proven file has no time of its own: whoever delivered it says when.
        self._delivery = max(vouched, key=lambda each: (each.delivered_at, each.ours)) if vouched else None
        self._ours = _first(known, lambda each: each.ours)
        # A unit that waits for another one says less than that one.
        self._open = min(
            (each for each in known if each.outcome in {"waiting", "retrieved", "failed"}),
            key=lambda each: (bool(each.borrowed_from), not each.ours, each.place == route.QUARANTINE),
            default=None,
        )
        present = [each for each in known if each.outcome == "present"]
        self._accepted = _first(present, lambda each: bool(each.adopted_by)) or _first(present, lambda _each: True)
        self._abandoned = _first(known, lambda each: each.outcome == "abandoned")
        self._is_unproven = any(each.tried and not each.is_vouched for each in known)
        self._in_buffer = any(each.in_buffer for each in known)
        self._known = known

    # --- what the archive has ---------------------------------------------------------------------------------

    def of_file(self, here: Here) -> Found:
        verdict = presence.judge(
            size=here.size,
            written=here.written,
            times=presence.times_of(here.written, self._zone) if self._remote is not None else (),
            remote=self._remote,
            vouched=_vouched(self._delivery),
            is_unproven=self._is_unproven,
        )
        kind, text, about = self._of_verdict(here, verdict)
        request = about.request if about is not None else here.request
        unit = about.unit if about is not None else ""
        # In quarantine it is the unit's own word that nothing but this is in its way.
        asks = kind == "quarantine" and about is not None and about.ours and about.why.startswith(f"{PRESENT}:")
        is_adoptable = verdict == "present" and here.is_speakable and (kind == "unvouched" or asks)
        return Found(kind, here.source, self._place, here.size, text, request, unit, is_adoptable)

    def _of_verdict(self, here: Here, verdict: presence.Verdict) -> tuple[str, str, Known | None]:
        delivery, accepted, abandoned = self._delivery, self._accepted, self._abandoned
        if verdict == "proven" and delivery is not None:
            return "delivered", _delivered(delivery), delivery
        if verdict == "present" and accepted is not None:
            if accepted.adopted_by:
                return "adopted", f"the operator has taken it over by request {accepted.adopted_by}", accepted
            return "present", f"request {accepted.request} has accepted what was there", accepted
        if (unsettled := self._unsettled()) is not None:
            return unsettled
        if verdict == "update" and delivery is not None:
            if abandoned is not None and (abandoned.size, abandoned.written) == (here.size, here.written):
                text = f"{abandoned.why}; the destination has {_version(delivery)}, the earlier one"
                return "abandoned", text, abandoned
            return "changed-since", f"{_of_archive(here)}; {_delivered(delivery)}: {_version(delivery)}", delivery
        if self._remote is None:
            if delivery is not None:
                return "missing-there", f"{_delivered(delivery)}, and it is not there any more", delivery
            if accepted is not None:
                text = f"it was there when request {accepted.request} was planned, and is not there any more"
                return "missing-there", text, accepted
            if abandoned is not None:
                return "abandoned", abandoned.why, abandoned
            return "unplanned", f"request {here.request} means it, and was planned without it: submit it again", None
        if verdict == "present" and (abandoned is None or delivery is not None):
            return "unvouched", f"{_lies(self._remote)}, as in the archive", None
        if abandoned is not None and delivery is None:
            return "abandoned", f"{abandoned.why}; {_lies(self._remote)}", abandoned
        return self._conflict(here, self._remote)

    def _conflict(self, here: Here, remote: Remote) -> tuple[str, str, Known | None]:
        delivery, accepted = self._delivery, self._accepted
        if delivery is not None:
            left = f"{delivery.size} bytes of {_moment(delivery.mtime)}"
            return "differs", f"{_delivered(delivery)} with {left}; {_lies(remote)}", delivery
        if accepted is not None:
            if self._is_as_accepted(accepted, remote):
                text = f"{_of_archive(here)}; request {accepted.request} has accepted {_version(accepted)}"
                return "changed-since", text, accepted
            text = f"request {accepted.request} has accepted {_version(accepted)}; {_lies(remote)}"
            return "differs", text, accepted
        if self._is_unproven:
            return (
                "differs",
                f"a task of ours was at work there, and nothing proves what it left; {_lies(remote)}",
                None,
            )
        kind = "size-differs" if remote.size != here.size else "date-differs"
        return kind, f"{_of_archive(here)}; {_lies(remote)}", None

    def _unsettled(self) -> tuple[str, str, Known] | None:
        """Somebody sees to it."""
        if self._is_late:
            late = next(each for each in self._known if each.late)
            return "in-flight", "it has moved on while the audit looked; ask again", late
        about = self._open
        if about is None:
            return None
        whose = "" if about.ours else f"{about.unit} of another request: "
        if about.place == route.QUARANTINE:
            return "quarantine", f"{whose}by {about.by}: {about.why or 'see quarantine list'}", about
        return "in-flight", whose + _on_its_way(about), about

    # --- what it has not --------------------------------------------------------------------------------------

    def without_file(self, *, is_directory: bool) -> Found | None:
        remote, delivery, accepted = self._remote, self._delivery, self._accepted
        if self._ours is None:
            if remote is None or is_directory:
                return None
            if not self._known:
                return self._found("extra", f"{_lies(remote)}, and no request knows of it", None)
            other = delivery or self._known[0]
            return self._found("others", f"request {other.request} knows of it", other)
        if remote is None:
            return self._nowhere(self._ours)
        vouched = _vouched(delivery)
        if delivery is not None and vouched is not None and presence.as_left(remote, vouched):
            return self._found("missing-here", f"{_delivered(delivery)}, and is as we left it", delivery)
        if delivery is None and accepted is not None and self._is_as_accepted(accepted, remote):
            text = f"request {accepted.request} has accepted it; nobody vouches for the content"
            return self._found("missing-here", text, accepted)
        if (unsettled := self._unsettled()) is not None:
            return self._found(*unsettled)
        if self._abandoned is not None and delivery is None:
            return self._found("abandoned", f"{self._abandoned.why}; {_lies(remote)}", self._abandoned)
        about: Known = delivery or accepted or self._ours
        text = f"gone from the archive; {_delivered(about)} with {_version(about)}; {_lies(remote)}"
        return self._found("differs", text, about)

    def _nowhere(self, ours: Known) -> Found:
        unsettled = self._unsettled()
        if unsettled is not None and (self._is_late or self._in_buffer):
            return self._found(*unsettled)
        if self._abandoned is not None and self._delivery is None and self._open is None:
            return self._found("abandoned", f"{self._abandoned.why}; gone from the archive", self._abandoned)
        about = self._delivery or self._accepted or self._open or ours
        if unsettled is not None and about is self._open:
            return self._found("lost", f"gone from the archive before it was recalled ({unsettled[1]})", about)
        text = f"{_delivered(about)}; it is neither there nor in the archive any more"
        return self._found("lost", text, about)

    def _found(self, kind: str, text: str, about: Known | None) -> Found:
        size = max(self._remote.size, 0) if self._remote is not None else about.size if about is not None else 0
        if about is None:
            return Found(kind, "", self._place, size, text)
        return Found(kind, about.source, self._place, size, text, about.request, about.unit)

    def _is_as_accepted(self, accepted: Known, remote: Remote) -> bool:
        times = presence.times_of(accepted.written, self._zone)
        return remote.size == accepted.size and remote.mtime is not None and int(remote.mtime) in times


def _first(known: Sequence[Known], test: Callable[[Known], bool]) -> Known | None:
    """The first of those, one of ours if there is any."""
    return min((each for each in known if test(each)), key=lambda each: not each.ours, default=None)


def _vouched(known: Known | None) -> Vouched | None:
    if known is None:
        return None
    return Vouched(
        request=known.request,
        size=known.size,
        mtime=known.mtime,
        written=known.written,
        archive_hash="",
        delivered_at=known.delivered_at,
    )


# --- words --------------------------------------------------------------------------------------------------------


def _on_its_way(known: Known) -> str:
    if known.borrowed_from:
        return f"waits for {known.borrowed_from} of another request, which carries it"
    where = _PLACES.get(known.place, f"is in {known.place}")
    return f"{where}, in the hands of {known.by}" if known.by else where


def _delivered(known: Known) -> str:
    when = f" at {known.delivered_at}" if known.delivered_at else ""
    if known.is_vouched:
        return f"request {known.request} has delivered it{when}"
    return f"request {known.request} knows of it"


def _of_archive(here: Here) -> str:
    return f"the archive has {here.size} bytes of {here.written}"


def _version(known: Known) -> str:
    return f"{known.size} bytes of {known.written}"


def _lies(remote: Remote) -> str:
    if remote.size < 0:
        return "what lies there is no plain file"
    return f"{remote.size} bytes of {_moment(remote.mtime)} lie there"


def _moment(mtime: float | None) -> str:
    try:
        return "unknown date" if mtime is None else to_iso(mtime)
    except (ValueError, OverflowError, OSError):
        return "a date out of range"

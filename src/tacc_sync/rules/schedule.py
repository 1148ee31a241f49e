"""Which unit next, given the cartridges in use and the room in the buffer. Pure.

Guarantee: never a unit on a cartridge that is in use; never more reserved than the quota; a fresh tape does not
overtake one that is begun and waits for room; a unit that has waited longest for room is not overtaken for ever; when
nothing is on its way, whatever fits is chosen; whoever is not served is told why.

A chain of tapes that joints connect is best read from its head on one drive, for then no cartridge is mounted twice.
Room goes to the chain with most left, as a drive does: the longest one decides when all is done, and each unit makes
room by itself, so that nothing is won by finishing tapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any

from tacc_sync.rules.chains import HEAD, Fresh, Tape
from tacc_sync.rules.identity import UnitName
from tacc_sync.rules.waiting import Waiting

_Priority = Callable[[str], int]

# A tape that is in no drive is mounted when there is room for so much of it, or for all of it: else it would soon have
# to wait for room again, and be dismounted.
SHARE_TO_OPEN = 4
# So much of the quota at most is kept free for the next units of tapes that are begun.
SHARE_KEPT = 4
# So many units a session is what a buffer needs, so that some may be kept for what comes next.
UNITS_A_SESSION = 2.75
# When so much waits for the network, only one tape is read.
SHARE_OF_BACKLOG = 2
# When so much waits for it, it has enough for a while, whatever is read.
SHARE_OF_ENOUGH = 16
# A chain is late a little before it is too late: by so small a part of all that is left.
SHARE_OF_MARGIN = 64
# Of the kinds of tapes that are begun or in a drive, the one that takes its turn with what is fresh.
_LIKE_FRESH = 4


@dataclass(frozen=True, slots=True)
class Chosen:
    """This unit, with so many bytes to reserve for it (0 when it has its reservation already), and the unit that it
    overtakes, as that one waits for room."""

    unit: UnitName
    reserve: int
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """No unit can be taken now: what is waited for, when something may change by itself (epoch seconds or None), and
    the unit that waits for room, if one does."""

    waits_for: str
    due: float | None = None
    blocked: str = ""


@dataclass(frozen=True, slots=True)
class Buffer:
    """The buffer in bytes: `quota` 0 is no limit; `reserved` by unit. `backlog`: of that, what waits for the network
    while that is at work on something else."""

    quota: int
    reserved: Mapping[str, int]
    backlog: int = 0

    @property
    def total(self) -> int:
        """Bytes reserved in all."""
        return sum(self.reserved.values())

    @property
    def free(self) -> int:
        """Bytes that can still be reserved; meaningless without a quota."""
        return max(0, self.quota - self.total)

    @property
    def feeds(self) -> bool:
        """Does more wait for the network than it soon needs?"""
        return self.backlog * SHARE_OF_ENOUGH > self.quota > 0


@dataclass(frozen=True, slots=True)
class Drives:
    """Who uses which cartridge.

    `in_use`: no session on any of these may begin. `last`: on these a session of ours reads its last file, and one that
    goes on there takes its place. `mounted`: what our sessions have let go of, the newest last; probably still in the
    drives, and always taken to be when `stays`. `held`: cartridges that the operator holds back. `sessions`: how many
    this process may have, 0 is no limit; `at_work`: how many it has. `enough`: so many, of all hosts, bring what the
    network takes; 0 is not known.
    """

    in_use: AbstractSet[str] = frozenset()
    last: AbstractSet[str] = frozenset()
    mounted: Sequence[str] = ()
    stays: bool = False
    held: AbstractSet[str] = frozenset()
    sessions: int = 0
    at_work: int = 0
    enough: float = 0.0

    @property
    def is_one_free(self) -> bool:
        """May one more session begin?"""
        return not self.sessions or self.at_work < self.sessions


def choose_recall(
    waiting: Waiting,
    *,
    now: float,
    rests: Mapping[str, float],
    buffer: Buffer,
    drives: Drives,
    lent: AbstractSet[str] = frozenset(),
    priority: _Priority = lambda _request: 0,
    patient_since: Callable[[str], float] = lambda _unit: 0.0,
    overtaking_ends_after: float = 6 * 3600.0,
    on_its_way: Callable[[], bool] = lambda: True,
) -> Chosen | Nothing:
    """The unit that is to start now.

    `rests`: epoch seconds before which a unit rests. `lent`: units that other requests carry. `priority` of a request,
    by its key. `patient_since(unit)`: for how many seconds a unit has been seen to wait for room. `on_its_way`: will
    room become free by itself?"""
    look = _Look(waiting, now, rests, lent, buffer, drives, priority)
    blocked: UnitName | None = None
    for tape in look.in_order():
        goes_on = look.goes_on(tape)
        if not look.has_room(tape):
            blocked = blocked or tape.next
            if look.is_begun(tape):
                # What was begun before comes before what is fresh.
                look.takes_fresh = False
            continue
        if blocked and not goes_on and patient_since(blocked.unit) > overtaking_ends_after:
            # It has waited long enough: what is freed from now on is kept for it.
            continue
        return look.take(tape, tape.next, blocked)
    if blocked and not on_its_way():
        # Nobody would ever make more room: one by one, then.
        for tape in look.all_in_order():
            for unit in look.units_of(tape):
                if look.fits(unit):
                    return look.take(tape, unit, None)
    return look.nothing(blocked)


class _Look:
    """Everything that one choice looks at. `takes_fresh`: may a tape be begun?"""

    def __init__(
        self,
        waiting: Waiting,
        now: float,
        rests: Mapping[str, float],
        lent: AbstractSet[str],
        buffer: Buffer,
        drives: Drives,
        priority: _Priority,
    ) -> None:
        self._buffer, self._drives, self._free = buffer, drives, buffer.free
        self._ready = dict.fromkeys(drives.last, -1) | {label: at for at, label in enumerate(drives.mounted)}
        self._resting: list[float] = []
        self._too_large = ""
        self._waiting, self._rests, self._lent, self._now = waiting, rests, lent, now
        self._early: set[str] = set()
        self.takes_fresh = True
        # On these some units are to be left out; of all others the first of each request is enough.
        odd = {unit.split(".", 2)[1] for unit in (*rests, *lent)} & waiting.reels.keys()
        self._chains = chains = waiting.chains
        chains.refresh(
            waiting.reels,
            waiting.stale,
            odd=odd,
            held=drives.held,
            quota=buffer.quota,
            is_usable=self._is_usable,
            priorities={request: priority(request) for request in waiting.requests},
        )
        # Is the buffer large enough for more than what is being read, hashed and sent, in units as they are? In a
        # smaller one all room is used at once, whatever that costs in mounts.
        a_unit = waiting.bytes // max(1, sum(waiting.requests.values()))
        self._is_roomy = not buffer.quota or buffer.quota >= UNITS_A_SESSION * max(1, drives.sessions) * a_unit
        # By request: what it has of the buffer.
        self._got: dict[str, int] = {}
        reserved = set()
        for unit, size in buffer.reserved.items():
            request, tape = unit.split(".", 2)[:2]
            self._got[request] = self._got.get(request, 0) + size
            reserved.add(tape)
        self._busy = self._in_use()
        self._begun = self._begun_ones(reserved)
        self._kept = self._room_kept() if buffer.quota else {}
        in_drives = {tape.cartridges[0] for label in self._ready for tape in chains.on(label) if self.goes_on(tape)}
        # Where room is short, each tape waits for it again and again: with more of them open than there are drives,
        # each wait would be a mount.
        waiting_there = in_drives - drives.in_use - drives.last
        self._is_full = drives.sessions > 0 and drives.at_work + len(waiting_there) >= drives.sessions
        # Where the network has enough for one session to wait, so many less one are as fast as it is, or faster.
        self._enough = drives.enough or (max(1, drives.sessions - 1) if drives.sessions else 0)

    def _is_usable(self, unit: UnitName) -> bool:
        if unit.unit in self._lent:
            return False
        if self._rests.get(unit.unit, 0.0) > self._now:
            self._resting.append(self._rests[unit.unit])
            return False
        if self._buffer.quota and unit.bytes > self._buffer.quota and unit.unit not in self._buffer.reserved:
            self._too_large = min(filter(None, (self._too_large, unit.unit)))
            return False
        return True

    def units_of(self, tape: Tape) -> list[UnitName]:
        """Those of a tape that could start if there were room, in order."""
        return [unit for unit in self._waiting.reels[tape.name] if self._is_usable(unit)]

    def _in_use(self) -> set[str]:
        """The tapes of which no session may begin."""
        drives, on = self._drives, self._chains.on
        found = {tape.name for label in drives.in_use for tape in on(label)}
        # Where a session reads its last file, the next one may begin there, and not reach it from elsewhere.
        return found | {tape.name for label in drives.last for tape in on(label) if label in tape.cartridges[1:]}

    def _begun_ones(self, reserved: set[str]) -> dict[str, Tape]:
        """Those of which some was taken, or whose cartridge is in use."""
        chains = self._chains
        found = dict(chains.started)
        for name in reserved:
            if name in chains.tapes:
                found[name] = chains.tapes[name]
        for label in (*self._drives.in_use, *self._drives.last):
            for tape in chains.on(label):
                # A joint's turn comes when what its first cartridge holds besides is read.
                if not tape.is_joint or (tape.cartridges[0] == label and label not in chains.tapes):
                    found[tape.name] = tape
        return found

    def is_begun(self, tape: Tape) -> bool:
        """Was some of it taken, or is its cartridge in use?"""
        return tape.name in self._begun

    # --- room -------------------------------------------------------------------------------------------------

    def _room_kept(self) -> dict[str, int]:
        """How much room is kept from a tape that is begun for the next units of others that come before it; under "",
        from all that are not begun."""
        kept: dict[str, int] = {}
        room, most = 0, self._buffer.quota // SHARE_KEPT
        for tape in sorted(self._begun.values(), key=lambda tape: (tape.rank[0], -tape.following, tape.name)):
            kept[tape.name] = min(room, most)
            if tape.next.unit not in self._buffer.reserved:
                room += tape.next.bytes
        kept[""] = min(room, most)
        return kept

    def fits(self, unit: UnitName) -> bool:
        """Is there room for this unit, if nobody else needed any?"""
        return not self._buffer.quota or unit.unit in self._buffer.reserved or unit.bytes <= self._free

    def has_room(self, tape: Tape) -> bool:
        """May its next unit have the room that it needs, others considered?"""
        unit = tape.next
        if not self._buffer.quota or unit.unit in self._buffer.reserved:
            return True
        needed = unit.bytes
        if not self._is_roomy:
            return needed <= self._free and (self.goes_on(tape) or not self._is_full)
        if self._is_late(tape):
            return needed <= self._free
        if tape.cartridges:
            if not (self.goes_on(tape) if self._drives.stays else self._is_handed_over(tape)):
                if self._is_network_fed():
                    return False
                needed = max(needed, min(tape.following, self._buffer.quota // SHARE_TO_OPEN))
            elif self._is_to_pause(tape):
                return False
        return needed + self._kept[tape.name if self.is_begun(tape) else ""] <= self._free

    def _has_none_room(self, fresh: Fresh) -> bool:
        """Is it certain, without looking at each of them, that none of these has room?"""
        if not self._buffer.quota or fresh.least > self._free:
            return bool(self._buffer.quota)
        if fresh.has_no_cartridge or not self._is_roomy:
            return False
        if self._is_network_fed():
            return True
        needed = max(fresh.least, min(fresh.least_following, self._buffer.quota // SHARE_TO_OPEN))
        return needed + self._kept[""] > self._free

    def _is_late(self, tape: Tape) -> bool:
        """Does its chain have so much of all that is still to be sent that it would still be read when everything else
        is there, and is a drive free for it? That is so long before the end, since its drive reads it alone."""
        if tape.order[0] != HEAD or (self._is_full and not self.goes_on(tape)):
            return False
        share = self._enough * (1 + 1 / SHARE_OF_MARGIN)
        return tape.following * share >= self._chains.left + self._buffer.total

    def _is_to_pause(self, tape: Tape) -> bool:
        """Has the network more than enough, and is it this chain's turn to be left off? That is the one that would have
        least left. One at a time, and long before the buffer is full: then several would have to wait at once, and
        soon there would be too little; each costs a mount."""
        drives, quota = self._drives, self._buffer.quota
        at_work = drives.at_work + (not self._is_handed_over(tape))
        if not drives.sessions or self._chains.left * (at_work - self._enough) <= self._free * at_work:
            # Near the end there is room for all that they bring more than the network takes.
            return False
        idle = max(0, drives.sessions - at_work)
        # From half of the quota on; the fewer are at work, the closer to three quarters.
        if self._buffer.backlog <= quota // 2 + quota // 4 * (1 - 0.5**idle):
            return False
        used = drives.in_use | drives.last
        others = [t for t in self._begun.values() if t is not tape and not used.isdisjoint(t.cartridges[:1])]
        # The others' next units are on their way already.
        mine = tape.rank[0], tape.next.bytes - tape.following, tape.name
        return all((other.rank[0], -other.following, other.name) < mine for other in others)

    def _is_network_fed(self) -> bool:
        """Has the network enough to do without one more tape? The more there is, the fewer tapes are to be read at
        once: each would sooner or later have to wait for room, and be dismounted."""
        drives, left = self._drives, self._chains.left
        if not drives.sessions or not drives.at_work:
            return False
        if left * (drives.sessions - drives.at_work) <= self._free * drives.sessions:
            # Near the end. Those at work feed the network; what all together read more than it takes has room.
            return False
        most = self._buffer.quota // SHARE_OF_BACKLOG
        return self._buffer.backlog * drives.sessions > most * (drives.sessions - drives.at_work)

    def _is_handed_over(self, tape: Tape) -> bool:
        return self.goes_on(tape) and tape.cartridges[0] in self._drives.last

    # --- the order --------------------------------------------------------------------------------------------

    def goes_on(self, tape: Tape) -> bool:
        """Is the cartridge on which it begins in a drive, for us, and nothing else of that to be read before?"""
        if not tape.cartridges or tape.cartridges[0] not in self._ready:
            return False
        return not tape.is_joint or tape.cartridges[0] not in self._chains.tapes

    def in_order(self) -> Iterator[Tape]:
        """What could start now if there were room, best first; of fresh ones, when none of a request's has room, one
        alone."""
        return self._ordered(is_short=True)

    def all_in_order(self) -> Iterator[Tape]:
        """What could start now if there were room, fresh or not, best first."""
        self.takes_fresh = True
        return self._ordered(is_short=False)

    def _ordered(self, *, is_short: bool) -> Iterator[Tape]:
        chains, known = self._chains, dict(self._begun)
        for label in self._ready:
            known.update((tape.name, tape) for tape in chains.on(label) if self.goes_on(tape))
        for fresh in chains.fresh.values():
            # The longest ones lie first.
            known.update((tape.name, tape) for tape in takewhile(self._is_late, fresh.tapes))
        by_priority: dict[int, list[Tape]] = {priority: [] for priority, _ in chains.fresh}
        for tape in known.values():
            if self._could_start(tape):
                by_priority.setdefault(tape.rank[0], []).append(tape)
        for priority in sorted(by_priority):
            yield from self._of_priority(priority, by_priority[priority], is_short=is_short)

    def _of_priority(self, priority: int, known: list[Tape], *, is_short: bool) -> Iterator[Tape]:
        fresh = [
            (self._got.get(request, 0), those)
            for (rank, request), those in sorted(self._chains.fresh.items(), key=itemgetter(0))
            if rank == priority
        ]
        least: int | None = None
        if any(tape.is_joint and self.goes_on(tape) for tape in known):
            least = min((got for got, those in fresh if any(True for _ in self._startable(those))), default=None)
        keyed = sorted(((self._key(tape, least), tape) for tape in known), key=itemgetter(0))
        yield from (tape for key, tape in keyed if key[0] < _LIKE_FRESH)
        last = [(got, 1, self._in_short(those) if is_short else self._startable(those)) for got, those in fresh]
        last += [(self._got.get(tape.next.request, 0), 0, iter([tape])) for key, tape in keyed if key[0] == _LIKE_FRESH]
        for _, _, those in sorted(last, key=itemgetter(0, 1)):
            yield from those

    def _startable(self, fresh: Fresh) -> Iterator[Tape]:
        for tape in fresh.tapes:
            if not self.takes_fresh:
                return
            if not self._is_known(tape) and self._could_start(tape):
                yield tape

    def _is_known(self, tape: Tape) -> bool:
        return self.is_begun(tape) or self.goes_on(tape) or self._is_late(tape)

    def _in_short(self, fresh: Fresh) -> Iterator[Tape]:
        return islice(self._startable(fresh), 1 if self._has_none_room(fresh) else None)

    def _could_start(self, tape: Tape) -> bool:
        if tape.name in self._busy:
            return False
        if self._drives.last.isdisjoint(tape.cartridges) or self._is_roomy:
            return True
        # Room that is short would be kept for it while another session still reads from its cartridge.
        self._early.add(tape.name)
        return False

    def _key(self, tape: Tape, least: int | None) -> tuple[Any, ...]:
        """Of one that is begun, in a drive, or late. `least`: the least room of a request that could begin a tape."""
        got = self._got.get(tape.next.request, 0)
        if self.goes_on(tape) and (not tape.is_joint or not self._is_roomy):
            # In turn, where room is so short that each of them has to wait.
            return 0, -1 if self._is_roomy else self._ready[tape.cartridges[0]], -tape.following, tape.name
        if self._is_late(tape):
            return 1, -tape.following, tape.name
        if not self.goes_on(tape):
            return 3, -tape.following, tape.name
        if least is None or got <= 2 * least:
            # Its chain goes on, unless another request has waited for a drive.
            return 2, -tape.following, tape.name
        return _LIKE_FRESH, got, *tape.order

    # --- the outcome ------------------------------------------------------------------------------------------

    def take(self, tape: Tape, unit: UnitName, blocked: UnitName | None) -> Chosen | Nothing:
        """This one, if there is a session for it."""
        overtaken = blocked.unit if blocked else ""
        if not self._drives.is_one_free and self._drives.last.isdisjoint(tape.cartridges):
            return Nothing("a session: as many are at work as may be", None, overtaken)
        return Chosen(unit, 0 if unit.unit in self._buffer.reserved else unit.bytes, overtaken)

    def nothing(self, blocked: UnitName | None) -> Nothing:
        """Why there is none."""
        due, held = min(self._resting, default=None), _also(self._held())
        if blocked:
            text = (
                f"room in the transfer buffer: {blocked.unit} needs {blocked.bytes} bytes, "
                f"{self._free} of {self._buffer.quota} are free, some of that for tapes that are begun"
            )
            return Nothing(text + held, due, blocked.unit)
        if busy := len(self._busy | self._early):
            return Nothing(f"a cartridge: {busy} tapes wait, all on cartridges in use{held}", due)
        if self._too_large:
            text = f"a larger quota: {self._too_large} is larger than the whole transfer buffer"
            return Nothing(f"{text} of {self._buffer.quota} bytes{held}", due)
        if self._resting:
            return Nothing(f"the end of a rest: {len(self._resting)} units rest after a failure{held}", due)
        return Nothing(f"the operator{held}" if held else "work in hpss_queue", due)

    def _held(self) -> list[str]:
        """For each unit that the operator holds back, one of its cartridges."""
        held, found = self._drives.held, []
        for reel in self._waiting.reels.values() if held else ():
            label = next((label for label in reel.cartridges if label in held), None)
            found += [label for _ in reel if label is not None]
        return found


def _also(held: list[str]) -> str:
    if not held:
        return ""
    labels = sorted(set(held))
    shown = ", ".join(labels[:3]) + (" ..." if len(labels) > 3 else "")
    return f"; {len(held)} units wait for cartridges on hold ({shown})"

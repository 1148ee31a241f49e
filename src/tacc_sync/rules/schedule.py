"""Which unit next, given the cartridges in use and the room in the buffer. Pure.

Guarantee: never a unit on a cartridge that is in use; never more reserved than the quota; a fresh tape does not
overtake one that is begun and waits for room; a unit that has waited longest for room is not overtaken for ever; when
nothing is on its way, whatever fits is chosen; whoever is not served is told why.

Tapes are known by the names of their units alone. A file that runs over the end of a cartridge makes a *joint*, units
whose tape is `X-Y`: it begins on X and goes on on Y. Tapes that joints connect are a *chain*, best read from its head
on one drive, for then no cartridge is mounted twice. Room goes to the chain with most left, as a drive does: the
longest one decides when all is done, and each unit makes room by itself, so that nothing is won by finishing tapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from tacc_sync.rules.identity import UnitName
from tacc_sync.rules.waiting import Waiting

_Priority = Callable[[str], int]

# A tape that is in no drive is mounted when there is room for so much of it, or for all of it: else it would soon have
# to wait for room again, and be dismounted.
SHARE_TO_OPEN = 4
# So much of the quota at most is kept free for the next units of tapes that are begun.
SHARE_KEPT = 4
# So many units a session is what a buffer needs, so that some may be kept for what comes next.
UNITS_A_SESSION = 4
# When so much waits for the network, only one tape is read.
SHARE_OF_BACKLOG = 2


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


@dataclass(frozen=True, slots=True)
class Drives:
    """Who uses which cartridge.

    `in_use`: no session on any of these may begin. `last`: on these a session of ours reads its last file, and one that
    goes on there takes its place. `mounted`: what our sessions have let go of, the newest last; probably still in the
    drives, and always taken to be when `stays`. `held`: cartridges that the operator holds back. `sessions`: how many
    this process may have, 0 is no limit; `at_work`: how many it has.
    """

    in_use: AbstractSet[str] = frozenset()
    last: AbstractSet[str] = frozenset()
    mounted: Sequence[str] = ()
    stays: bool = False
    held: AbstractSet[str] = frozenset()
    sessions: int = 0
    at_work: int = 0

    @property
    def is_one_free(self) -> bool:
        """May one more session begin?"""
        return not self.sessions or self.at_work < self.sessions


@dataclass(slots=True, eq=False)
class _Tape:
    """The waiting units of one tape, or of one joint. `rank` orders its units. `begun`: some of it was taken, or its
    cartridge is in use. `following`: bytes of its chain from here on; `whole`: of all of the chain. `joints` begin on
    it, `before` end on it."""

    name: str
    cartridges: tuple[str, ...]
    next: UnitName | None = None
    rank: tuple[int, str, int] = (0, "", 0)
    left: int = 0
    begun: bool = False
    following: int = 0
    whole: int = 0
    joints: list[_Tape] = field(default_factory=list)
    before: list[_Tape] = field(default_factory=list)

    @property
    def is_joint(self) -> bool:
        return len(self.cartridges) == 2


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
    ordered = look.in_order()
    blocked: UnitName | None = None
    a_begun_one_waits = False
    for tape, unit in ordered:
        goes_on = look.goes_on(tape)
        if a_begun_one_waits and not tape.begun and not goes_on:
            continue
        if not look.has_room(tape, unit):
            blocked = blocked or unit
            a_begun_one_waits |= tape.begun
            continue
        if blocked and not goes_on and patient_since(blocked.unit) > overtaking_ends_after:
            # It has waited long enough: what is freed from now on is kept for it.
            continue
        return look.take(tape, unit, blocked)
    if blocked and not on_its_way():
        # Nobody would ever make more room: one by one, then.
        for tape, _ in ordered:
            for unit in look.units_of(tape):
                if look.fits(unit):
                    return look.take(tape, unit, None)
    return look.nothing(blocked)


class _Look:
    """Everything that one choice looks at."""

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
        self._held: list[str] = []
        self._too_large = ""
        self._busy = 0
        self._waiting, self._rests, self._lent, self._now = waiting, rests, lent, now
        self._tapes = self._sort_out(priority)
        # By request: what it has of the buffer.
        self._got: dict[str, int] = {}
        for unit, size in buffer.reserved.items():
            request, tape = unit.split(".", 2)[:2]
            self._got[request] = self._got.get(request, 0) + size
            if tape in self._tapes:
                self._tapes[tape].begun = True
        self._left = sum(tape.left for tape in self._tapes.values())
        self._connect()
        self._kept = self._room_kept() if buffer.quota else {}

    def _sort_out(self, priority: _Priority) -> dict[str, _Tape]:
        tapes: dict[str, _Tape] = {}
        priorities: dict[str, int] = {}
        quota, held = self._buffer.quota, self._drives.held
        # On these some units are to be left out; of all others the first of each request is enough.
        odd = {unit.split(".", 2)[1] for unit in (*self._rests, *self._lent)}
        for name, reel in self._waiting.reels.items():
            if held and not held.isdisjoint(reel.cartridges):
                label = next(label for label in reel.cartridges if label in held)
                self._held += [label for _ in reel]
                continue
            usable = reel.requests
            left = reel.bytes
            if name in odd or (quota and reel.largest > quota):
                usable = {}
                for unit in reel:
                    if self._is_usable(unit):
                        usable.setdefault(unit.request, []).append((unit.seq, unit))
                left = sum(unit.bytes for units in usable.values() for _, unit in units)
            tape: _Tape | None = None
            for request, units in usable.items():
                seq, unit = units[0]
                if request not in priorities:
                    priorities[request] = priority(request)
                rank = (-priorities[request], request, seq)
                if tape is None:
                    tape = tapes[name] = _Tape(name, reel.cartridges, unit, rank, left)
                elif rank < tape.rank:
                    tape.next, tape.rank = unit, rank
                # What comes first is taken first: some of it was.
                tape.begun |= seq > 0
        return tapes

    def _is_usable(self, unit: UnitName) -> bool:
        if unit.unit in self._lent:
            return False
        if self._rests.get(unit.unit, 0.0) > self._now:
            self._resting.append(self._rests[unit.unit])
            return False
        if self._buffer.quota and unit.bytes > self._buffer.quota and unit.unit not in self._buffer.reserved:
            self._too_large = self._too_large or unit.unit
            return False
        return True

    def units_of(self, tape: _Tape) -> list[UnitName]:
        """Those of a tape that could start if there were room, in order."""
        return [unit for unit in self._waiting.reels[tape.name] if self._is_usable(unit)]

    def _connect(self) -> None:
        """Chains, from their ends: a joint goes from a lower label to a higher one, so there is no circle."""
        tapes, using = self._tapes, self._drives.in_use | self._drives.last
        ordered = sorted(tapes.values(), key=lambda tape: (tape.cartridges[:1], tape.is_joint, tape.name))
        for tape in reversed(ordered):
            if tape.is_joint:
                first, then = tape.cartridges
                tape.following = tape.left + (tapes[then].following if then in tapes else 0)
                # Its turn comes when what its first cartridge holds besides is read.
                tape.begun |= first in using and first not in tapes
                if first in tapes:
                    tapes[first].joints.append(tape)
                if then in tapes:
                    tapes[then].before.append(tape)
            else:
                tape.following = tape.left + max((joint.following for joint in tape.joints), default=0)
                tape.begun |= not using.isdisjoint(tape.cartridges)
        for tape in ordered:
            before = tape.before
            if tape.is_joint and tape.cartridges[0] in tapes:
                before = [tapes[tape.cartridges[0]]]
            tape.whole = max((other.whole for other in before), default=tape.following)

    # --- room -------------------------------------------------------------------------------------------------

    def _room_kept(self) -> dict[str, int]:
        """How much room is kept from a tape that is begun for the next units of others that come before it; under "",
        from all that are not begun."""
        kept: dict[str, int] = {}
        room, most = 0, self._buffer.quota // SHARE_KEPT
        begun = [tape for tape in self._tapes.values() if tape.begun]
        for tape in sorted(begun, key=lambda tape: (tape.rank[0], -tape.following, tape.name)):
            kept[tape.name] = min(room, most)
            unit = tape.next
            if unit is not None and unit.unit not in self._buffer.reserved:
                room += unit.bytes
        kept[""] = min(room, most)
        return kept

    def fits(self, unit: UnitName) -> bool:
        """Is there room for this unit, if nobody else needed any?"""
        return not self._buffer.quota or unit.unit in self._buffer.reserved or unit.bytes <= self._free

    def has_room(self, tape: _Tape, unit: UnitName) -> bool:
        """May this unit have the room that it needs, others considered?"""
        if not self._buffer.quota or unit.unit in self._buffer.reserved:
            return True
        needed = unit.bytes
        if not self._is_roomy(unit):
            return needed <= self._free
        if tape.cartridges and not (self.goes_on(tape) if self._drives.stays else self._is_handed_over(tape)):
            if self._is_network_fed():
                return False
            needed = max(needed, min(tape.following, self._buffer.quota // SHARE_TO_OPEN))
        return needed + self._kept[tape.name if tape.begun else ""] <= self._free

    def _is_roomy(self, unit: UnitName) -> bool:
        """Is the buffer large enough for more than what is being read, hashed and sent? In a smaller one all room is
        used at once, whatever that costs in mounts."""
        return self._buffer.quota >= UNITS_A_SESSION * max(1, self._drives.sessions) * unit.bytes

    def _is_network_fed(self) -> bool:
        """Has the network enough to do without one more tape? The more there is, the fewer tapes are to be read at
        once: each would sooner or later have to wait for room, and be dismounted."""
        drives = self._drives
        if not drives.sessions or not drives.at_work:
            return False
        if self._left * (drives.sessions - drives.at_work) <= self._free * drives.sessions:
            # Near the end. Those at work feed the network; what all together read more than it takes has room.
            return False
        most = self._buffer.quota // SHARE_OF_BACKLOG
        return self._buffer.backlog * drives.sessions > most * (drives.sessions - drives.at_work)

    def _is_handed_over(self, tape: _Tape) -> bool:
        return self.goes_on(tape) and tape.cartridges[0] in self._drives.last

    # --- the order --------------------------------------------------------------------------------------------

    def goes_on(self, tape: _Tape) -> bool:
        """Is the cartridge on which it begins in a drive, for us, and nothing else of that to be read before?"""
        if not tape.cartridges or tape.cartridges[0] not in self._ready:
            return False
        return not tape.is_joint or tape.cartridges[0] not in self._tapes

    def in_order(self) -> list[tuple[_Tape, UnitName]]:
        """What could start now if there were room, best first."""
        drives = self._drives
        could: list[tuple[_Tape, UnitName]] = []
        for tape in self._tapes.values():
            if not drives.in_use.isdisjoint(tape.cartridges) or not drives.last.isdisjoint(tape.cartridges[1:]):
                self._busy += 1
            elif tape.next is not None and not self._is_too_early(tape, tape.next):
                could.append((tape, tape.next))
        # By priority: the least that a request has which could begin a tape.
        least: dict[int, int] = {}
        for tape, unit in could:
            if not tape.begun and not self.goes_on(tape):
                got = self._got.get(unit.request, 0)
                least[tape.rank[0]] = min(got, least.get(tape.rank[0], got))
        could.sort(key=lambda each: self._key(each[0], each[1], least))
        return could

    def _is_too_early(self, tape: _Tape, unit: UnitName) -> bool:
        """Would room that is short be kept for it while another session still reads from its cartridge?"""
        if self._drives.last.isdisjoint(tape.cartridges) or not self._buffer.quota or self._is_roomy(unit):
            return False
        self._busy += 1
        return True

    def _key(self, tape: _Tape, unit: UnitName, least: Mapping[int, int]) -> tuple[object, ...]:
        priority, _, seq = tape.rank
        got = self._got.get(unit.request, 0)
        goes_on = self.goes_on(tape)
        if goes_on and not tape.is_joint:
            # In turn, where room is so short that each of them has to wait.
            turn = -1 if not self._buffer.quota or self._is_roomy(unit) else self._ready[tape.cartridges[0]]
            return (priority, 0, turn, -tape.following, tape.name, seq)
        if goes_on and got <= 2 * least.get(priority, got):
            # Its chain goes on, unless another request has waited for a drive.
            return (priority, 1, -tape.following, tape.name, seq)
        if tape.begun and not goes_on:
            return (priority, 2, -tape.following, tape.name, seq)
        headless, size = 0, tape.following
        if tape.is_joint and tape.cartridges[0] in self._tapes:
            # The chain is cut here: best so that both parts are long.
            headless, size = 1, min(tape.following, tape.whole - tape.following)
        elif tape.before:
            headless = 2
        return (priority, 3, got, not goes_on, headless, -size, tape.name, seq)

    # --- the outcome ------------------------------------------------------------------------------------------

    def take(self, tape: _Tape, unit: UnitName, blocked: UnitName | None) -> Chosen | Nothing:
        """This one, if there is a session for it."""
        overtaken = blocked.unit if blocked else ""
        if not self._drives.is_one_free and self._drives.last.isdisjoint(tape.cartridges):
            return Nothing("a session: as many are at work as may be", None, overtaken)
        return Chosen(unit, 0 if unit.unit in self._buffer.reserved else unit.bytes, overtaken)

    def nothing(self, blocked: UnitName | None) -> Nothing:
        """Why there is none."""
        due, held = min(self._resting, default=None), _also(self._held)
        if blocked:
            text = (
                f"room in the transfer buffer: {blocked.unit} needs {blocked.bytes} bytes, "
                f"{self._free} of {self._buffer.quota} are free, some of that for tapes that are begun"
            )
            return Nothing(text + held, due, blocked.unit)
        if self._busy:
            return Nothing(f"a cartridge: {self._busy} tapes wait, all on cartridges in use{held}", due)
        if self._too_large:
            text = f"a larger quota: {self._too_large} is larger than the whole transfer buffer"
            return Nothing(f"{text} of {self._buffer.quota} bytes{held}", due)
        if self._resting:
            return Nothing(f"the end of a rest: {len(self._resting)} units rest after a failure{held}", due)
        return Nothing(f"the operator{held}" if held else "work in hpss_queue", due)


def _also(held: list[str]) -> str:
    if not held:
        return ""
    labels = sorted(set(held))
    shown = ", ".join(labels[:3]) + (" ..." if len(labels) > 3 else "")
    return f"; {len(held)} units wait for cartridges on hold ({shown})"

"""The tapes of the waiting units, and how files that run over the end of a cartridge join them to chains. Pure.

Guarantee: after `refresh` it says what it would say if it had been made anew; what it remembers saves time and nothing
else. There is no circle: a joint goes from a lower label to a higher one.

Tapes are known by the names of their units alone. A file that runs over the end of a cartridge makes a *joint*, units
whose tape is `X-Y`: it begins on X and goes on on Y. Tapes that joints connect are a *chain*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from operator import attrgetter

from tacc_sync.rules.identity import UnitName
from tacc_sync.rules.reel import Reel

# What comes first in the order of tapes: where a chain begins; where it can be cut; what lies in its middle.
HEAD, CUT, MIDDLE = range(3)


@dataclass(slots=True, eq=False)
class Tape:
    """The waiting units of one tape, or of one joint.

    `next`: the unit whose turn it is; `rank` orders its units. `is_started`: some of it was taken. `left`: bytes;
    `following`: bytes of its chain from here on; `whole`: of all of the chain. `joints` begin on it, `before` end on
    it. `order`: among those of a request that none of it was taken of, what is best begun first.
    """

    name: str
    cartridges: tuple[str, ...]
    next: UnitName
    rank: tuple[int, str, int]
    left: int
    is_started: bool
    is_joint: bool = False
    following: int = 0
    whole: int = 0
    place: tuple[object, ...] = ()
    order: tuple[int, int, str] = (0, 0, "")
    joints: list[Tape] = field(default_factory=list)
    before: list[Tape] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.is_joint = len(self.cartridges) == 2
        self.place = self.cartridges[:1], self.is_joint, self.name


@dataclass(slots=True)
class Fresh:
    """The tapes whose next unit is of one request, and of which nothing was taken, best first.

    `least`: of their next units, in bytes; `least_following`: of all of them. `has_no_cartridge`: one of
    them is on none.
    """

    tapes: list[Tape] = field(default_factory=list)
    least: int = 0
    least_following: int = 0
    has_no_cartridge: bool = False

    def settle(self) -> None:
        """Its tapes have changed."""
        self.tapes.sort(key=attrgetter("order"))
        self.least = min([tape.next.bytes for tape in self.tapes])
        self.least_following = min(map(attrgetter("following"), self.tapes))
        self.has_no_cartridge = () in map(attrgetter("cartridges"), self.tapes)


# By rank: the less, the sooner; and the request.
Kind = tuple[int, str]


class Chains:
    """All tapes. `fresh` by what they are; `started`: those of which some was taken; `left`: the bytes of all."""

    def __init__(self) -> None:
        self.tapes: dict[str, Tape] = {}
        self.started: dict[str, Tape] = {}
        self.fresh: dict[Kind, Fresh] = {}
        self.left = 0
        self._on: dict[str, set[str]] = {}
        self._odd: AbstractSet[str] = frozenset()
        self._held: AbstractSet[str] = frozenset()
        self._large: set[str] = set()
        self._quota = 0
        self._priorities: dict[str, int] = {}

    def on(self, label: str) -> Iterator[Tape]:
        """The tapes that have anything to do with a cartridge."""
        return (self.tapes[name] for name in sorted(self._on.get(label, ())))

    def refresh(
        self,
        reels: Mapping[str, Reel],
        stale: set[str],
        *,
        odd: AbstractSet[str],
        held: AbstractSet[str],
        quota: int,
        is_usable: Callable[[UnitName], bool],
        priorities: dict[str, int],
    ) -> None:
        """What waits is this now.

        `stale`: the names of reels that have changed since the last time; emptied. `odd`: reels of which some units
        may not be usable, `held`: cartridges that must not be. Of units above the quota too `is_usable` is asked.
        `priorities` of all requests, by key.
        """
        if priorities != self._priorities or held != self._held or quota != self._quota:
            stale |= reels.keys() | self.tapes.keys()
            self._priorities, self._held, self._quota = priorities, held, quota
            self._large.clear()
        if quota:
            for name in stale:
                if name in reels and reels[name].largest > quota:
                    self._large.add(name)
                else:
                    self._large.discard(name)
        odd = odd | self._large if self._large else odd
        changed: set[str] = set()
        moved: set[Kind] = set()
        is_new = False
        for name in (*stale, *((odd | self._odd) - stale)) if odd or self._odd else tuple(stale):
            old = self.tapes.get(name)
            new = self._look(name, reels.get(name), is_usable if name in odd else None)
            if old is not None and new is not None:
                if (old.next, old.rank, old.left) == (new.next, new.rank, new.left):
                    continue
                is_new |= (old.is_started, old.rank[:2]) != (new.is_started, new.rank[:2])
                self.left += new.left - old.left
                old.next, old.rank, old.left, old.is_started = new.next, new.rank, new.left, new.is_started
                changed.add(name)
            elif old is not None or new is not None:
                is_new = True
                changed |= self._take_out(old) if old is not None else set()
                changed |= self._put_in(new) if new is not None else set()
        stale.clear()
        self._odd = odd
        if not changed and not is_new:
            return
        for tape in self._connected(changed):
            if not tape.is_started:
                moved.add(tape.rank[:2])
        if is_new:
            self._sort_anew()
            moved = set(self.fresh)
        for kind in moved:
            self.fresh[kind].settle()

    def _look(self, name: str, reel: Reel | None, is_usable: Callable[[UnitName], bool] | None) -> Tape | None:
        if reel is None or (self._held and not self._held.isdisjoint(reel.cartridges)):
            return None
        best: tuple[int, str, int] | None = None
        following: UnitName | None = None
        left, is_started = reel.bytes, False
        if is_usable is not None:
            left = 0
        for request, units in reel.requests.items():
            if is_usable is not None:
                usable = [each for each in units if is_usable(each[1])]
                left += sum(unit.bytes for _, unit in usable)
                if not usable:
                    continue
            else:
                usable = units
            seq, unit = usable[0]
            rank = (-self._priorities[request], request, seq)
            if best is None or rank < best:
                best, following = rank, unit
            # What comes first is taken first: some of it was.
            is_started |= seq > 0
        if best is None or following is None:
            return None
        return Tape(name, reel.cartridges, following, best, left, is_started)

    def _put_in(self, tape: Tape) -> set[str]:
        self.tapes[tape.name] = tape
        self.left += tape.left
        for label in tape.cartridges:
            self._on.setdefault(label, set()).add(tape.name)
        return self._tie(tape)

    def _take_out(self, tape: Tape) -> set[str]:
        del self.tapes[tape.name]
        self.left -= tape.left
        touched = set[str]()
        for label in tape.cartridges:
            there = self._on[label]
            there.discard(tape.name)
            touched |= there
            if not there:
                del self._on[label]
        for name in touched:
            other = self.tapes[name]
            for ties in (other.joints, other.before):
                if tape in ties:
                    ties.remove(tape)
        return touched

    def _tie(self, tape: Tape) -> set[str]:
        touched = {tape.name}
        if tape.is_joint:
            first, then = (self.tapes.get(label) for label in tape.cartridges)
            if first is not None:
                first.joints.append(tape)
                touched.add(first.name)
            if then is not None:
                then.before.append(tape)
                touched.add(then.name)
        elif len(tape.cartridges) == 1:
            for other in list(self.on(tape.name)):
                if other.is_joint:
                    (tape.joints if other.cartridges[0] == tape.name else tape.before).append(other)
                    touched.add(other.name)
        return touched

    def _neighbours(self, tape: Tape) -> Iterable[Tape]:
        if not tape.is_joint:
            return tape.joints + tape.before
        return [self.tapes[label] for label in tape.cartridges if label in self.tapes]

    def _connected(self, names: set[str]) -> Iterable[Tape]:
        """Count again the chains of these."""
        seen: dict[str, Tape] = {}
        waiting = [self.tapes[name] for name in names if name in self.tapes]
        while waiting:
            tape = waiting.pop()
            if tape.name not in seen:
                seen[tape.name] = tape
                waiting += self._neighbours(tape)
        ordered = sorted(seen.values(), key=attrgetter("place"))
        tapes = self.tapes
        for tape in reversed(ordered):
            if tape.is_joint:
                then = tapes.get(tape.cartridges[1])
                tape.following = tape.left + (then.following if then is not None else 0)
            elif tape.joints:
                tape.following = tape.left + max([joint.following for joint in tape.joints])
            else:
                tape.following = tape.left
        for tape in ordered:
            first = tapes.get(tape.cartridges[0]) if tape.is_joint else None
            if first is not None:
                tape.whole = first.whole
                # The chain is cut here: best so that both parts are long.
                tape.order = CUT, -min(tape.following, tape.whole - tape.following), tape.name
            elif tape.before:
                tape.whole = max([other.whole for other in tape.before])
                tape.order = MIDDLE, -tape.following, tape.name
            else:
                tape.whole = tape.following
                tape.order = HEAD, -tape.following, tape.name
        return ordered

    def _sort_anew(self) -> None:
        self.started = {name: tape for name, tape in self.tapes.items() if tape.is_started}
        self.fresh = {}
        for tape in self.tapes.values():
            if not tape.is_started:
                self.fresh.setdefault(tape.rank[:2], Fresh()).tapes.append(tape)

"""`check --repair`: doing what rules/repair.py found to be safe.

Guarantee: only what two readings of a workspace at rest agree on is mended, and where it concerns what is chosen, again
under the turn; each mend goes through the operator's home, may be cut off anywhere, and is repeated without harm.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tacc_sync.operator import places
from tacc_sync.operator.check import Checker, Report
from tacc_sync.operator.hands import hands
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.host.interface import Host
from tacc_sync.rules import repair
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.repair import GONE, Kind, Mend
from tacc_sync.rules.route import COMPONENTS, FINISHED, GLOBUS_QUEUE, QUARANTINE, UNIT_QUEUES
from tacc_sync.workspace import layout, queues, transfer_buffer
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import HEARTBEAT, TURN, Home, make_directory
from tacc_sync.workspace.recovery import remove_tree

# A worker that is passing something on is a moment later elsewhere.
PAUSE = 1.0


def mendable(checker: Checker, clock: Clock, report: Report) -> list[Mend]:
    """What can be mended: what this reading and another one, a moment later, agree on; nothing while work moves."""
    if not report.steady:
        return []
    wanted = repair.plan(report.reading)
    if not wanted:
        return []
    clock.sleep(PAUSE)
    again = checker.check()
    still = set(repair.plan(again.reading)) if again.steady else set()
    return [mend for mend in wanted if mend in still]


def mend(disk: Disk, buffer: Disk | None, clock: Clock, host: Host, mends: list[Mend]) -> Iterator[str]:
    """Do it; what was done, each as it was."""
    for each in mends:
        # Without them nobody can have a home.
        if each.kind == "directory":
            make_directory(disk, each.what)
            disk.sync(each.what.rpartition("/")[0])
            yield str(each)
    rest = [each for each in mends if each.kind != "directory"]
    if not rest:
        return
    with hands(disk, clock, host, buffer) as home:
        for each in rest:
            if each.kind in CHOSEN:
                with home.turn() as ours:
                    done = ours and DOES[each.kind](home, each)
            else:
                done = DOES[each.kind](home, each)
            if done:
                yield str(each)


# --- each kind: whether it was done ------------------------------------------------------------------------------


def _turn(home: Home, _: Mend) -> bool:
    if any(home.disk.status(f"{layout.CLAIMS}/{name}/{TURN}/{layout.TURN}") for name in home.disk.names(layout.CLAIMS)):
        return False
    return home.put_new(layout.TURN, b"{}\n")


def _reason(home: Home, each: Mend) -> bool:
    document = each.what.removesuffix(layout.WHY) + SUFFIX
    return home.disk.status(document) is None and home.take_away(each.what)


def _rest(home: Home, each: Mend) -> bool:
    if not _is_elsewhere(home.disk, each, UNIT_QUEUES):
        return False
    removed = [home.take_away(path) for path in queues.rest_marks(home.disk, each.what)]
    return any(removed)


def _slot(home: Home, each: Mend) -> bool:
    return _is_elsewhere(home.disk, each, (GLOBUS_QUEUE,)) and home.take_away(f"{layout.SLOTS}/{each.what}")


def _cartridge(home: Home, each: Mend) -> bool:
    holder, path = each.about, f"{layout.CARTRIDGES}/{each.what}"
    if any(holder and holder in name for name in home.disk.names(layout.CLAIMS)):
        return False
    try:
        found = home.disk.read(path, 4096).decode("utf-8", "replace")
    except FileNotFoundError:
        return False
    return found == holder and home.take_away(path)


def _buffer(home: Home, each: Mend) -> bool:
    if home.buffer is None or _place(home.disk, each.what) != FINISHED:
        return False
    for index in range(int(each.about)):
        transfer_buffer.remove(home.buffer, each.what, index)
    if transfer_buffer.remaining(home.buffer, each.what):
        return False
    return transfer_buffer.close(home.buffer, each.what)


def _reserve(home: Home, each: Mend) -> bool:
    if home.buffer is None or not transfer_buffer.remaining(home.buffer, each.what):
        return False
    path = queues.reservation(each.what, int(each.about))
    home.put_new(path, b"")
    if not transfer_buffer.remaining(home.buffer, each.what):
        # The reaper was faster, and will not come by again.
        home.take_away(path)
        return False
    for name in home.disk.names(layout.RESERVATIONS):
        unit, _, size = name.rpartition(".")
        if unit == each.what and size != each.about:
            home.take_away(f"{layout.RESERVATIONS}/{name}")
    return True


def _reservation(home: Home, each: Mend) -> bool:
    if home.buffer is None or home.buffer.status(each.what) is not None:
        return False
    if _place(home.disk, each.what) not in {FINISHED, ""}:
        return False
    return home.take_away(queues.reservation(each.what, int(each.about)))


def _home(home: Home, each: Mend) -> bool:
    if home.buffer is not None and each.kind == "unborn":
        # It never had work: nothing can be writing there.
        remove_tree(home.buffer, layout.part(each.what.removeprefix(layout.UNBORN)))
    remove_tree(home.disk, layout.home(each.what), last=HEARTBEAT)
    return True


DOES: dict[Kind, Callable[[Home, Mend], bool]] = {
    "turn": _turn,
    "reason": _reason,
    "rest": _rest,
    "slot": _slot,
    "cartridge": _cartridge,
    "buffer": _buffer,
    "reserve": _reserve,
    "reservation": _reservation,
    "unborn": _home,
    "fenced": _home,
}
# What those look at who choose.
CHOSEN = frozenset({"rest", "slot", "cartridge", "reserve", "reservation"})


def _is_elsewhere(disk: Disk, each: Mend, queues_: tuple[str, ...]) -> bool:
    """Is the unit still in none of these? What is found nowhere though it was somewhere is just on its way."""
    place = _place(disk, each.what)
    return place not in queues_ if place else each.about == GONE


def _place(disk: Disk, unit: str) -> str:
    """Where a unit is now; "" when it is nowhere, or on its way. Looked up by name, most upstream first."""
    entry = unit + SUFFIX
    homes = [f"{layout.CLAIMS}/{name}/" for name in places.names(disk, layout.CLAIMS)]
    for queue in UNIT_QUEUES:
        if any(disk.status(f"{prefix}{queue}/{entry}") for prefix in ("", *homes)):
            return queue
    if disk.status(f"{layout.finished(unit.partition('.')[0])}/{entry}"):
        return FINISHED
    if any(disk.status(f"{layout.quarantine(component)}/{entry}") for component in COMPONENTS):
        return QUARANTINE
    return ""

"""The operator's own hands: a worker's home for the time of one command.

Guarantee: what a person does by command obeys the same law as what a component does: through a home that can be
fenced, with the content on disk before the place changes. A command that is killed leaves nothing that the drain does
not put back.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from tacc_sync.operator.beside import beside
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.host.interface import Host
from tacc_sync.rules import liveness
from tacc_sync.rules.faults import Fenced
from tacc_sync.rules.liveness import Lease
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.recovery import give_back

OPERATOR = "operator"
PULSE_SECONDS = 5.0


@contextmanager
def hands(disk: Disk, clock: Clock, host: Host, buffer: Disk | None = None) -> Iterator[Home]:
    """A home in the workspace (and in the transfer buffer, when one is given), left again at the end."""
    layout.open_workspace(disk)
    if buffer is not None:
        layout.open_buffer(buffer)
    home = Home(disk, buffer, clock, host, component=OPERATOR)
    home.enter()
    try:
        yield home
    except Fenced:
        raise
    except BaseException:
        # What was cut off goes back to its queue; if even that fails, the drain does it.
        with suppress(OSError, Fenced):
            give_back(home, home.path, home.name, lambda *_: None)
        with suppress(OSError, Fenced):
            home.leave()
        raise
    home.leave()


def beating(home: Home, lease: Lease, pulse: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
    """Beat for a command that takes long, and hold on to its hsi by `pulse`, as long as the beats land; `home.lost`
    when they do not, or when it was fenced."""

    def beat() -> float:
        try:
            if home.clock.uptime() - home.last_beat >= lease.beat:
                home.beat()
        except Fenced:
            home.lost = True
        except OSError:
            # The disk may come back; until then the last beat grows old.
            pass
        home.lost = home.lost or liveness.must_die(home.last_beat, home.clock.uptime(), lease)
        if not home.lost:
            pulse()
        return min(lease.beat, PULSE_SECONDS)

    return beside("beat", beat)

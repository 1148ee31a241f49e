"""The rules by which one session takes over a tape from another, and by which a lost login is not tried again, each with a
way to switch it off; see sabotage.py."""

from __future__ import annotations

import errno
from functools import partial

from crew import Hands, Solo, command
from invariants import check_all_delivered
from pairs import every_fencing, every_two
from searches import DELIVERED, KILLS, Ending, a_world, every_fault, every_fork, is_done
from sim_disk import SimDisk
from strikes import MUTATIONS, Ambiguous

from tacc_sync.pipeline.retriever import Retriever
from tacc_sync.pipeline.sessions import Sessions
from tacc_sync.workspace import layout, queues, recovery

# --- worlds ----------------------------------------------------------------------------------------------------------


def one_tape(**changes):
    """A unit of two files and one of one file."""
    return a_world(3, 1, **changes)


def two_tapes():
    return a_world(4, 2)


def login_is_lost():
    world = one_tape()
    world.hpss.login_lost = True
    return world


def login_will_be_lost():
    """With the first file that is read."""
    world = one_tape()
    files = world.hpss.files
    world.hpss.habits[min(files, key=lambda path: files[path].section)] = ["login lost"]
    return world


def planned(make):
    """A world in which only the retrievers have something to do."""
    world = make()
    lost, world.hpss.login_lost = world.hpss.login_lost, False
    solo = Solo(world, "a", ("syncer",))
    for _ in range(8):
        solo.enter()
        solo.cycle()
    solo.leave()
    world.hpss.login_lost = lost
    return world


class AfterLogin(Ending):
    """Somebody logs in by hand, and lets everybody go on."""

    def reach(self, world, host):
        process = world.start(host)
        command(Hands(world, process), "unhold", None)
        world.end(process)
        super().reach(world, host)


AFTER_LOGIN = AfterLogin(is_done, check_all_delivered)

# --- searches --------------------------------------------------------------------------------------------------------


def two_of_one_process(name, make=one_tape, ending=DELIVERED, **about):
    """Two living retrievers that share their sessions."""

    def run():
        more = {"stride": 3, "limit": 1, **about}
        return every_two(planned(make), "retriever", one_process=True, ending=ending, **more)

    run.name = f"two of one process: {name}"
    return run


def one_is_fenced(**about):
    """By hand, while the other one of its process lives on."""

    def run():
        return every_fencing(planned(one_tape), limit=1, **about)

    run.name = "one of two is fenced"
    return run


kills = partial(every_fork, {"killed": KILLS["killed"]}, one_tape, limit=1)
errors = partial(every_fault, MUTATIONS, Ambiguous(errno.EIO), one_tape, limit=1)
lost = partial(two_of_one_process, "the login is lost", login_is_lost, AFTER_LOGIN)
lost_half_way = partial(two_of_one_process, "the login is lost half-way", login_will_be_lost, AFTER_LOGIN)

# --- saboteurs -------------------------------------------------------------------------------------------------------


def any_number_at_their_last_file(patch):
    mark = Retriever._mark

    def put(self, path):
        if not path.endswith(layout.AT_LAST_FILE):
            return mark(self, path)
        self._bench.home.put(path, self._bench.home.name.encode())
        self._marks.add(path)
        return True

    patch.setattr(Retriever, "_mark", put)


def let_go_of_before_it_is_marked(patch):
    def hand_over(self, unit, files):
        label, sessions = unit.cartridges[-1], self._sessions
        self._unmark(queues.cartridge(label))
        if self._mark(queues.cartridge_at_last_file(label)):
            sessions.at_last_file(self._bench.home.name, label)
            self._bench.wake("retriever")

    patch.setattr(Retriever, "_hand_over", hand_over)


def what_was_let_go_of_stays_ours(patch):
    patch.setattr(Retriever, "_unmark", lambda self, path: self._bench.home.take_away(path))


def marks_not_looked_at_after_an_error(patch):
    patch.setattr(Retriever, "_must_look", property(lambda self: False, lambda self, value: None), raising=False)


def mark_of_the_successor_drained(patch):
    holds = recovery._holds

    def or_that_of_the_next_one(disk, path, owner):
        last = path + layout.AT_LAST_FILE
        return holds(disk, path, owner) or (path.startswith(layout.CARTRIDGES) and holds(disk, last, owner))

    patch.setattr(recovery, "_holds", or_that_of_the_next_one)


def marks_at_last_file_not_drained(patch):
    holds = recovery._holds
    patch.setattr(
        recovery,
        "_holds",
        lambda disk, path, owner: not path.endswith(layout.AT_LAST_FILE) and holds(disk, path, owner),
    )


def sessions_not_counted(patch):
    patch.setattr(Sessions, "at_work", 0)


def handed_over_in_any_case(patch):
    hand_over = Retriever._hand_over

    def always(self, unit, files):
        section = self._bench.settings.hsi
        section.handover, before = True, section.handover
        try:
            hand_over(self, unit, files)
        finally:
            section.handover = before

    patch.setattr(Retriever, "_hand_over", always)


def hold_not_looked_at_under_the_turn(patch):
    names = SimDisk.names

    def without_us(self, directory):
        return [name for name in names(self, directory) if directory != layout.HOLD or name != "retriever"]

    patch.setattr(SimDisk, "names", without_us)


def held_when_the_place_is_free_already(patch):
    patch.setattr(Retriever, "_hold", lambda self, fault: None)


def not_held_when_it_is_lost_half_way(patch):
    # A fault of a session that had begun names no remedy yet.
    hold = Retriever._hold
    patch.setattr(Retriever, "_hold", lambda self, fault: hold(self, fault) if fault.remedy else None)


RULES = {
    "handover: the mark of a last file is exclusive": (
        any_number_at_their_last_file,
        [two_of_one_process("handover", stride=1, moves=1)],
    ),
    "handover: marked before the cartridge is let go of": (let_go_of_before_it_is_marked, [kills]),
    "handover: what was let go of is the next one's": (what_was_let_go_of_stays_ours, [kills]),
    "handover: after an error the marks are looked at": (marks_not_looked_at_after_an_error, [errors]),
    "handover: only what the dead one had is drained": (mark_of_the_successor_drained, [one_is_fenced(stride=9)]),
    "handover: the mark of a last file is drained": (marks_at_last_file_not_drained, [kills]),
    "handover: sessions are counted": (sessions_not_counted, [two_of_one_process("two tapes", two_tapes)]),
    "handover: only where it is wanted": (
        handed_over_in_any_case,
        [partial(every_fork, {"killed": KILLS["killed"]}, partial(one_tape, handover=False), limit=1)],
    ),
    "lost login: hold is looked at under the turn": (hold_not_looked_at_under_the_turn, [lost(stride=1)]),
    "lost login: held before its place is free": (held_when_the_place_is_free_already, [lost(stride=1)]),
    "lost login: held also when it is lost half-way": (not_held_when_it_is_lost_half_way, [lost_half_way(stride=1)]),
}

CONTROLS = [
    two_of_one_process("handover", stride=17),
    two_of_one_process("two tapes", two_tapes, stride=37),
    lost(stride=7),
    lost_half_way(stride=11),
    one_is_fenced(stride=61),
]

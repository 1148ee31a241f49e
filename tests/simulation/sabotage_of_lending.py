"""The rules by which requests lend files to one another, each with a way to switch it off; see sabotage.py."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

from lending import every_loan_fork, every_overtaking, every_pair_of, recalled_meanwhile
from pairs import every_two
from searches import KILLS

from tacc_sync.pipeline import loans, retriever, syncer
from tacc_sync.pipeline.destination import Destination
from tacc_sync.pipeline.loans import Loans
from tacc_sync.pipeline.syncer import Syncer
from tacc_sync.rules import completion
from tacc_sync.rules.route import HPSS_QUEUE
from tacc_sync.workspace import earlier, layout, queues, recovery
from tacc_sync.workspace.home import Home

# --- searches --------------------------------------------------------------------------------------------------------


def named(name, search):
    search.name = name
    return search


def killed(name):
    return named(f"killed: {name}", partial(every_loan_fork, name, {"killed": KILLS["killed"]}, limit=1))


def two(name, other=None, stride=3):
    return named(
        f"two living: {name}, {other or 'syncer'}",
        partial(every_pair_of, every_two, name, other, stride=stride, limit=1),
    )


meanwhile = named(
    "recalled meanwhile: the second is planned",
    partial(every_loan_fork, "the second is planned", {"killed, recalled meanwhile": recalled_meanwhile}, limit=1),
)
overtaken = named("overtaken", partial(every_overtaking, limit=1))

# --- saboteurs -------------------------------------------------------------------------------------------------------


def planned_meanwhile_unseen(patch):
    def move(self, claimed, key, staging, known):
        self._bench.home.move(claimed, layout.entry("request_queue", key))
        return True

    patch.setattr(Syncer, "_move_unless_late", move)


def finished_meanwhile_unseen(patch):
    patch.setattr(earlier, "committed", lambda disk, known=(): set(queues.requests(disk)).difference(known))


def commit_without_the_turn(patch):
    @contextmanager
    def turn(self, patience=5.0):
        yield True

    patch.setattr(Home, "turn", turn)


def only_what_is_carried_is_compared(patch):
    patch.setattr(earlier.Index, "put_aside", lambda self, work: None)


def old_listings_used_again(patch):
    patch.setattr(Destination, "forget", lambda self: None)


def index_after_commit(patch):
    write, move = Syncer._write_index, Syncer._move_unless_late
    todo = []
    patch.setattr(Syncer, "_write_index", lambda self, *about: todo.append(about))

    def move_first(self, *about):
        moved = move(self, *about)
        if moved:
            write(self, *todo[-1])
        return moved

    patch.setattr(Syncer, "_move_unless_late", move_first)


def index_without_what_is_borrowed(patch):
    add = earlier.Index.add
    patch.setattr(earlier.Index, "add", lambda self, work: work.files[0].borrowed_from or add(self, work))


def any_of_those_that_wait(patch):
    patch.setattr(earlier, "_last", lambda queue: queue[0])


def settled_before_the_lender_is_finished(patch):
    patch.setattr(Loans, "_is_finished", lambda self, unit: True)
    read = Loans._read

    def anywhere(self, unit):
        found = read(self, unit)
        try:
            return found or queues.read_work(self._bench.disk, f"{HPSS_QUEUE}/{unit}.json")
        except FileNotFoundError:
            return None

    patch.setattr(Loans, "_read", anywhere)


def lenders_word_unread(patch):
    """What is finished counts as delivered."""
    patch.setattr(completion, "PROVEN", completion.SETTLED)


def mark_away_before_the_result(patch):
    settle = Loans._settle

    def early(self, unit):
        self._bench.home.take_away(f"loans/{unit}")
        return settle(self, unit)

    patch.setattr(Loans, "_settle", early)


def unit_published_before_its_mark(patch):
    publish = recovery.publish

    def units_first(home, owner_path, stem):
        staged = f"{owner_path}/staging/{stem}/{HPSS_QUEUE}"
        for name in recovery._names(home.disk, staged):
            recovery._rename_if_there(home.disk, f"{staged}/{name}", f"{HPSS_QUEUE}/{name}")
        publish(home, owner_path, stem)

    for module in (recovery, syncer):
        patch.setattr(module, "publish", units_first)


def staged_units_unseen(patch):
    patch.setattr(loans, "_names", lambda disk, directory: [])


def marks_unseen(patch):
    class Unmarked:
        def __getattr__(self, name):
            return (lambda disk: []) if name == "loans" else getattr(queues, name)

    patch.setattr(retriever, "queues", Unmarked())


GIVING_UP = "the third is planned while the first gives up"
SETTLED = "a loan is settled"

RULES = {
    "lending: what was planned meanwhile is looked at": (planned_meanwhile_unseen, [two("both are planned")]),
    "lending: also what was finished meanwhile": (finished_meanwhile_unseen, [overtaken]),
    "lending: also for what was put aside": (only_what_is_carried_is_compared, [overtaken]),
    "lending: a plan is committed under the turn": (commit_without_the_turn, [two("both are planned", stride=1)]),
    "lending: after a delivery the destination is listed anew": (old_listings_used_again, [overtaken]),
    "lending: the index is there before the commit": (
        index_after_commit,
        [killed("both are planned"), two("both are planned")],
    ),
    "lending: the index names what is borrowed": (index_without_what_is_borrowed, [killed(GIVING_UP)]),
    "lending: of those that wait the last lends": (any_of_those_that_wait, [killed(GIVING_UP)]),
    "lending: settled only on the lender's finished unit": (
        settled_before_the_lender_is_finished,
        [killed("the second is planned")],
    ),
    "lending: proven only by what the lender has delivered": (
        lenders_word_unread,
        [killed("a loan is settled, the lender has given up")],
    ),
    "lending: the result is written before the mark goes": (mark_away_before_the_result, [killed(SETTLED)]),
    "lending: the mark is there before the unit": (unit_published_before_its_mark, [meanwhile]),
    "lending: a mark stays while its unit is published": (staged_units_unseen, [two("the second is planned")]),
    "lending: what is lent is not recalled": (marks_unseen, [killed("the second is planned")]),
}

"""What a look remembers of the queue changes nothing that it finds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tacc_sync.rules.identity import SUFFIX, unit_id
from tacc_sync.rules.schedule import Buffer, Drives, choose_recall
from tacc_sync.rules.waiting import Waiting

LABELS = ("A1", "A2", "A3", "B1", "B2")
TAPES = st.one_of(
    st.sampled_from(LABELS),
    st.just("none"),
    st.lists(st.sampled_from(LABELS), min_size=2, max_size=3, unique=True).map(lambda labels: "-".join(sorted(labels))),
)
UNITS = st.builds(
    unit_id, st.sampled_from(("a" * 12, "b" * 12)), TAPES, st.integers(0, 3), st.sampled_from((1, 5, 40, 300))
)
SOME = st.frozensets(st.sampled_from(LABELS), max_size=2)


@st.composite
def looks(draw):
    """A queue, and everything else that a choice depends on."""
    queue = draw(st.sets(UNITS, max_size=14))
    of_queue = st.sampled_from(sorted(queue)) if queue else UNITS
    reserved = draw(st.dictionaries(st.one_of(of_queue, UNITS), st.integers(1, 60), max_size=4))
    in_use, is_on_its_way = draw(SOME), draw(st.booleans())
    return queue, {
        "now": 100.0,
        "rests": draw(st.dictionaries(of_queue, st.sampled_from((50.0, 150.0, 200.0)), max_size=2)),
        "lent": draw(st.frozensets(of_queue, max_size=2)),
        "buffer": Buffer(draw(st.sampled_from((0, 50, 100, 2000))), reserved, draw(st.sampled_from((0, 30, 900)))),
        "drives": Drives(
            in_use=in_use,
            last=draw(SOME) - in_use,
            mounted=[label for label in draw(st.permutations(LABELS))[:2] if label not in in_use],
            stays=draw(st.booleans()),
            held=draw(SOME),
            sessions=draw(st.integers(0, 3)),
            at_work=draw(st.integers(0, 3)),
        ),
        "priority": {"a" * 12: draw(st.integers(0, 1)), "b" * 12: 0}.__getitem__,
        "on_its_way": lambda: is_on_its_way,
    }


@settings(max_examples=400, deadline=None)
@given(st.lists(looks(), min_size=2, max_size=5))
def test_looking_again_and_again_finds_what_one_look_finds(series):
    waiting = Waiting()
    for queue, about in series:
        waiting.update(unit + SUFFIX for unit in sorted(queue))
        fresh = Waiting()
        fresh.update(unit + SUFFIX for unit in sorted(queue))
        assert choose_recall(waiting, **about) == choose_recall(fresh, **about)
        assert {name: (t.following, t.whole, t.order, t.next) for name, t in waiting.chains.tapes.items()} == {
            name: (t.following, t.whole, t.order, t.next) for name, t in fresh.chains.tapes.items()
        }
        assert waiting.chains.left == fresh.chains.left == sum(tape.left for tape in fresh.chains.tapes.values())

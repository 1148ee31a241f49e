"""Which unit next: the laws of the choice, on any mixture; and what it is for, by example."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tacc_sync.rules.identity import parse_unit, unit_id
from tacc_sync.rules.schedule import Buffer, Chosen, Drives, Nothing, choose_recall
from tacc_sync.rules.waiting import Waiting

R1, R2 = "a" * 12, "b" * 12
TAPES = ("A1", "A1-A2", "A2", "A2-A3", "A3", "B1", "B1-C1-D1", "none")
UNITS = st.builds(
    lambda request, tape, seq, size: parse_unit(unit_id(request, tape, seq, size)),
    st.sampled_from((R1, R2)),
    st.sampled_from(TAPES),
    st.integers(0, 6),
    st.integers(1, 60),
)
LABELS = st.sets(st.sampled_from(("A1", "A2", "A3", "B1", "C1")))


def unit(tape, seq=0, size=10, request=R1):
    return parse_unit(unit_id(request, tape, seq, size))


def choose(waiting, *, quota=0, reserved=(), backlog=0, now=100.0, rests=None, priority=None, **rest):
    drives = {name: rest.pop(name) for name in list(rest) if name in Drives.__dataclass_fields__}
    buffer = Buffer(quota, {unit.unit: unit.bytes for unit in reserved}, backlog)
    if priority:
        rest["priority"] = lambda request: priority.get(request, 0)
    return choose_recall(Waiting(waiting), now=now, rests=rests or {}, buffer=buffer, drives=Drives(**drives), **rest)


def chosen(*args, **about):
    found = choose(*args, **about)
    assert isinstance(found, Chosen), found
    return found.unit


@st.composite
def looks(draw):
    units = draw(st.lists(UNITS, unique_by=lambda unit: unit.unit, max_size=25))
    reserved = draw(st.lists(st.sampled_from(units), unique=True, max_size=6)) if units else []
    elsewhere = draw(st.lists(UNITS, unique_by=lambda unit: unit.unit, max_size=4))
    on_its_way = [unit for unit in elsewhere if unit not in units]
    total = sum(unit.bytes for unit in [*reserved, *on_its_way])
    in_use = draw(LABELS)
    sessions = draw(st.integers(0, 4))
    return units, {
        "quota": draw(st.just(0) | st.integers(total, total + 200)),
        "reserved": [*reserved, *on_its_way],
        "backlog": draw(st.integers(0, 100)),
        "in_use": in_use,
        "last": draw(LABELS) - in_use,
        "mounted": tuple(draw(LABELS) - in_use),
        "stays": draw(st.booleans()),
        "held": draw(st.sets(st.sampled_from(("A1", "B1")), max_size=1)),
        "sessions": sessions,
        "at_work": draw(st.integers(0, sessions)),
        "rests": {unit.unit: draw(st.sampled_from((50.0, 150.0))) for unit in units if draw(st.booleans())},
        "lent": {unit.unit for unit in units if draw(st.integers(0, 9)) == 0},
        "priority": {R2: draw(st.integers(-1, 1))},
    }


def could_start(unit, look):
    """Whether nothing but other units speaks against it."""
    used = look["in_use"] | look["held"] | (look["last"] - set(unit.cartridges[:1]))
    return (
        used.isdisjoint(unit.cartridges)
        and look["rests"].get(unit.unit, 0) <= 100
        and unit.unit not in look["lent"]
        and has_room(unit, look)
    )


def has_room(unit, look):
    free = look["quota"] - sum(other.bytes for other in look["reserved"])
    return not look["quota"] or unit in look["reserved"] or unit.bytes <= free


@settings(max_examples=400, deadline=None)
@given(looks(), st.sampled_from((0.0, 10.0)))
def test_what_is_chosen_may_start(look, waited):
    units, about = look
    found = choose(units, **about, patient_since=lambda _unit: waited, overtaking_ends_after=5.0)
    if isinstance(found, Chosen):
        assert could_start(found.unit, about)
        assert found.reserve == (0 if found.unit in about["reserved"] else found.unit.bytes)
        takes_over = not about["last"].isdisjoint(found.unit.cartridges)
        assert takes_over or not about["sessions"] or about["at_work"] < about["sessions"]
    else:
        assert found.waits_for


@settings(max_examples=400, deadline=None)
@given(looks())
def test_when_nothing_is_on_its_way_whatever_fits_is_chosen(look):
    units, about = look
    about |= {"in_use": set(), "last": set(), "at_work": 0}
    found = choose(
        units, **about, patient_since=lambda _unit: 10.0, overtaking_ends_after=5.0, on_its_way=lambda: False
    )
    assert isinstance(found, Chosen) == any(could_start(unit, about) for unit in units)


@settings(max_examples=400, deadline=None)
@given(looks())
def test_a_tape_that_was_begun_goes_before_a_fresh_one(look):
    units, about = look
    about |= {"priority": {}, "last": set(), "mounted": (), "rests": {}, "lent": set(), "sessions": 0}
    found = choose(units, **about)
    if not isinstance(found, Chosen):
        return
    begun = {unit.tape for unit in about["reserved"]}
    # What comes first of a request's is taken first: where it does not wait any more, the tape is begun as well.
    begun |= {
        unit.tape
        for unit in units
        if not any(v.request == unit.request and v.seq == 0 for v in units if v.tape == unit.tape)
    }
    if found.unit.tape not in begun and about["in_use"].isdisjoint(found.unit.cartridges):
        held = about["held"] | about["in_use"]
        ready = [u for u in units if u.tape in begun and held.isdisjoint(u.cartridges) and u in about["reserved"]]
        # Those that have their room already need nothing at all.
        first = {
            (u.tape, u.request): min(v.seq for v in units if (v.tape, v.request) == (u.tape, u.request)) for u in ready
        }
        assert not [
            u
            for u in ready
            if first[u.tape, u.request] == u.seq and u.request == min(v.request for v in units if v.tape == u.tape)
        ]


@given(st.lists(st.sets(st.sampled_from([unit(tape, seq).unit + ".json" for tape in TAPES for seq in range(3)]))))
def test_what_waits_is_what_was_listed_last(listings):
    waiting = Waiting()
    for listing in listings:
        waiting.update([*listing, "strange"])
        assert sorted(f"{unit.unit}.json" for unit in waiting) == sorted(listing)
        assert all(reel.bytes == sum(unit.bytes for unit in reel) for reel in waiting.reels.values())


def test_the_largest_remaining_tape_first_and_from_its_beginning():
    waiting = [unit("A1", 0, 30), unit("B1", 1, 20), unit("B1", 0, 20)]
    assert chosen(waiting) == unit("B1", 0, 20)


def test_a_session_stays_on_its_tape():
    waiting = [unit("A1", 3), unit("B1", 0, 90)]
    assert chosen(waiting, last={"A1"}, sessions=2, at_work=1) == unit("A1", 3)
    assert chosen(waiting, mounted=("A1",)) == unit("A1", 3)


def test_it_takes_another_ones_place_when_no_session_is_free():
    waiting = [unit("A1", 3), unit("B1", 0, 90)]
    assert chosen(waiting, last={"A1"}, sessions=1, at_work=1) == unit("A1", 3)
    assert choose([unit("B1", 0)], last={"A1"}, sessions=1, at_work=1).waits_for.startswith("a session")


def test_a_higher_priority_overtakes_between_two_units():
    waiting = [unit("A1", 3), unit("B1", 0, request=R2)]
    high = {R2: 1}
    assert chosen(waiting, last={"A1"}, sessions=2, at_work=1, priority=high).request == R2
    # No session is free: it gets the one that ends, for nobody takes its place.
    assert isinstance(choose(waiting, last={"A1"}, sessions=1, at_work=1, priority=high), Nothing)


def test_requests_share_when_a_tape_is_begun_and_not_within_one():
    theirs = [unit("C1", 0, 40, R1), unit("A1", 4, 10, R1)]
    mine = unit("D1", 0, 10, R2)
    reserved = [unit("E1", 0, 40, R1)]
    assert chosen([*theirs, mine], mounted=("A1",), reserved=reserved) == unit("A1", 4, 10, R1)
    assert chosen([theirs[0], mine], reserved=reserved) == mine
    # Not even a chain goes on while another request has nothing.
    joint = unit("A1-A2", 0, 10, R1)
    assert chosen([joint, mine], last={"A1"}, reserved=reserved) == mine
    assert chosen([joint, unit("D1", 0, 10, R1)], last={"A1"}, reserved=reserved) == joint


def test_a_chain_is_read_from_its_head_and_on_one_drive():
    chain = [unit("A1", 0, 10), unit("A1-A2", 0, 1), unit("A2", 0, 10), unit("A2-A3", 0, 1), unit("A3", 0, 10)]
    other = unit("B1", 0, 25)
    assert chosen([*chain, other]) == chain[0], "three tapes are more than one, though each is smaller"
    assert chosen([*chain[1:], other], last={"A1"}) == chain[1]
    assert chosen([*chain[2:], other], last={"A2"}) == chain[2]
    assert chosen([*chain[1:], other], in_use={"A1"}) == other, "the chain is being read"
    # No head is left for another drive: where both parts are about as long, so that each cartridge is mounted once.
    assert chosen(chain[1:], in_use={"A1"}) == chain[3]


def test_a_tape_is_not_left_in_its_middle_for_its_joint():
    waiting = [unit("A1", 2, 50), unit("A1-A2", 0, 1), unit("A2", 0, 10)]
    assert chosen(waiting, last={"A1"}) == waiting[0]
    found = choose(waiting, last={"A1"}, quota=4000, reserved=[unit("B1", 0, 3960)])
    assert isinstance(found, Nothing)


def test_room_is_kept_for_tapes_that_are_begun():
    begun = [unit("A1", 3, 10), unit("A2", 3, 10)]
    about = {"quota": 100, "sessions": 2, "at_work": 1, "in_use": {"A1", "A2"}}
    assert chosen([*begun, unit("B1", 0, 10)], **about, reserved=[unit("C1", 0, 40)]).tape == "B1"
    found = choose([*begun, unit("B1", 0, 10)], **about, reserved=[unit("C1", 0, 75)])
    assert isinstance(found, Nothing)
    assert found.blocked == unit("B1", 0, 10).unit


def test_a_fresh_tape_does_not_overtake_one_that_is_begun_and_waits_for_room():
    waiting = [unit("A1", 3, 30), unit("B1", 0, 1)]
    found = choose(waiting, quota=100, reserved=[unit("C1", 0, 80)])
    assert isinstance(found, Nothing)
    assert found.blocked == unit("A1", 3, 30).unit


def test_the_fewer_tapes_are_begun_the_more_waits_for_the_network():
    waiting = [unit("A1", 0, 10), *(unit("B1", seq, 50) for seq in range(1, 91))]
    about = {"quota": 1000, "sessions": 4, "in_use": {"B1"}}
    assert chosen(waiting, **about, at_work=3, backlog=100)
    assert isinstance(choose(waiting, **about, at_work=3, backlog=200), Nothing)
    assert chosen(waiting, **about, at_work=1, backlog=200)
    # Near the end there is room for what all drives read more than the network takes.
    assert chosen(waiting[:75], **about, at_work=3, backlog=200)
    # What is in its drive goes on as long as there is room.
    assert chosen([unit("A1", 3, 10)], **about, last={"A1"}, at_work=3, backlog=900)


def test_a_chain_that_would_be_read_when_all_else_is_there_is_late():
    waiting = [unit("A1", 0, 60), *(unit("B1", seq, 10) for seq in range(1, 10)), unit("C1", 0, 10)]
    about = {"quota": 1000, "sessions": 4, "in_use": {"B1"}, "at_work": 2, "backlog": 900}
    # Though the network has enough, and before what was begun.
    assert chosen(waiting, **about, reserved=[unit("E1", 0, 20)]).tape == "A1"
    assert chosen([unit("D1", 3, 20), *waiting], **about).tape == "A1"
    # The more there is besides, the less it is so.
    more = [*waiting, *(unit("D1", seq, 10) for seq in range(1, 400))]
    assert isinstance(choose(more, **(about | {"in_use": {"B1", "D1"}})), Nothing)
    # A drive must be free for it: what waits in one for room comes first.
    full = about | {"at_work": 3, "mounted": ["D1"]}
    assert chosen([unit("D1", 3, 5), *waiting], **full).tape == "D1"
    # In the middle of a chain it is not: what comes before it is on its way.
    joined = [unit("A0-A1", 0, 1), *waiting, *(unit("D1", seq, 10) for seq in range(1, 400))]
    assert isinstance(choose(joined, **(about | {"in_use": {"A0", "B1", "D1"}})), Nothing)


def test_a_chain_is_late_the_sooner_the_fewer_sessions_feed_the_network():
    waiting = [unit("A1", 0, 300), *(unit("B1", seq, 10) for seq in range(1, 121)), unit("C1", 0, 10)]
    about = {"quota": 1000, "sessions": 8, "in_use": {"B1"}, "at_work": 2, "backlog": 900}
    # A fifth of all that is left: by the side of four it is read in time, by that of six it would be the last one.
    assert isinstance(choose(waiting, **about, enough=4.0), Nothing)
    assert chosen(waiting, **about, enough=6.0).tape == "A1"


def test_one_chain_alone_pauses_long_before_the_buffer_is_full():
    shortest, others = unit("A1", 3, 30), [unit(tape, seq, 30) for tape in ("B1", "C1") for seq in range(3, 90)]
    about = {"quota": 1000, "sessions": 3, "at_work": 3, "last": {"A1"}, "in_use": {"B1", "C1"}, "enough": 2.0}
    assert chosen([shortest, *others], **about, backlog=500) == shortest
    assert isinstance(choose([shortest, *others], **about, backlog=501), Nothing)
    # The others go on, also when they ask at the same time.
    for tape in ("B1", "C1"):
        there = {"last": {"A1", tape}, "in_use": {"B1", "C1"} - {tape}}
        assert chosen([shortest, *others], **(about | there), backlog=600).tape == tape
    # When it has stopped, the next one has to only when there is more.
    fewer = about | {"at_work": 2, "last": {"B1"}, "in_use": {"C1"}, "enough": 1.5}
    assert chosen(others, **fewer, backlog=600) == unit("B1", 3, 30)
    assert isinstance(choose(others, **fewer, backlog=630), Nothing)
    # Near the end there is room for all of it.
    assert chosen([shortest, *others[:20]], **about, backlog=501) == shortest
    # As many as are at work now are needed, if its chain would else be the last one.
    assert chosen([shortest, *others], **(about | {"enough": 400.0}), backlog=501) == shortest


def test_where_room_is_short_no_more_tapes_are_open_than_drives():
    waiting = [unit("A1", 3, 10), unit("B1", 0, 10), unit("C1-C2", 0, 10)]
    about = {"quota": 30, "sessions": 2, "at_work": 1, "in_use": {"D1"}}
    assert chosen(waiting, **about, mounted=["E1"]).tape == "A1"
    # What waits for room in a drive has the other drive; also when a joint is next there.
    assert chosen(waiting, **about, mounted=["C1"]).tape == "C1-C2"
    assert isinstance(choose(waiting[:2], **about, mounted=["C1"], reserved=[unit("D1", 0, 21)]), Nothing)
    one = {**about, "reserved": [unit("D1", 0, 20)]}
    assert isinstance(choose([*waiting[:2], unit("C1-C2", 0, 11)], **one, mounted=["C1"]), Nothing)
    assert chosen(waiting[:2], **one).tape == "A1"
    # The one that has waited longest first.
    both = [unit("A1", 3, 10), unit("B1", 3, 10)]
    assert chosen(both, quota=30, sessions=2, mounted=["B1", "A1"]).tape == "B1"


def test_what_has_waited_long_for_room_is_overtaken_no_more():
    waiting = [unit("A1", 0, 80), unit("B1", 0, 5)]
    about = {"quota": 100, "reserved": [unit("C1", 0, 30)], "overtaking_ends_after": 60.0}
    found = choose(waiting, **about, patient_since=lambda _unit: 10.0)
    assert (found.unit, found.blocked) == (unit("B1", 0, 5), waiting[0].unit)
    assert isinstance(choose(waiting, **about, patient_since=lambda _unit: 61.0), Nothing)

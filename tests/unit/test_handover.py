"""The next session of a tape is ready when the last one ends; and nothing is in two hands when either is killed."""

from __future__ import annotations

import threading

import pytest
from house import House

from tacc_sync.pipeline.retriever import Retriever
from tacc_sync.pipeline.sessions import Sessions
from tacc_sync.pipeline.step import Bench, Waits
from tacc_sync.rules.faults import WorldFault
from tacc_sync.workspace.recovery import give_back


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.settings.units.files = 2
    for n in range(6):
        house.archive(f"file {n}", bytes([n]) * 100, volumes=("AA000100",), section=n)
    house.drop()
    house.run("syncer")
    return house


class Crew:
    """Workers of one process; whoever is woken while another one's session is at its last file takes a step then."""

    def __init__(self, house, count=3, most=1):
        self.house, self.sessions = house, Sessions(most)
        self.workers = []
        self.seen = []
        self.at_last_file = self.next_step
        for _ in range(count):
            bench = house.bench("retriever")
            bench = Bench(bench.home, bench.settings, bench.report, self.wake)
            self.workers.append(Retriever(bench, house.hpss, sessions=self.sessions))
        self.idle = list(self.workers)
        # The fake takes two sessions on one cartridge for a fight; here the second one waits.
        house.hpss.on_get = lambda paths: self.seen.append((len(paths), tuple(house.tree("cartridges"))))

    def wake(self, component):
        if component == "retriever" and any(name.endswith("~last") for name in self.house.tree("cartridges")):
            self.at_last_file()

    def next_step(self):
        if self.idle:
            return self.idle.pop(0).step()
        return None


def name_of(worker):
    return worker._bench.home.name


def test_the_next_session_begins_while_the_last_one_reads_its_last_file(house):
    crew = Crew(house)
    crew.next_step()
    # It found the mark of the first, and took its place, though only one session is allowed. A third one does not take
    # the place of the second as long as the first is there.
    assert crew.seen == [(2, ("AA0001",)), (2, ("AA0001", "AA0001~last"))]
    assert (len(house.tree("globus_queue")), len(house.tree("hpss_queue"))) == (2, 1)
    crew.workers[2].step()
    assert house.tree("cartridges") == []
    assert len(house.tree("globus_queue")) == 3
    assert crew.sessions.at_work == 0


def test_there_is_never_a_third_one(house):
    crew = Crew(house, count=4, most=3)
    found = []

    def look():
        crew.at_last_file = lambda: None
        crew.next_step_of = crew.idle.pop(0)
        real = house.hpss.get

        def get(fetches, **about):
            # The second one waits for the cartridge: a third one finds none.
            found.append(crew.idle.pop(0).step())
            return real(fetches, **about)

        house.hpss.get = get
        crew.next_step_of.step()
        house.hpss.get = real

    crew.at_last_file = look
    crew.next_step()
    (third,) = found
    assert isinstance(third, Waits)
    assert third.waits_for.startswith("a cartridge")
    assert house.tree("cartridges") == []


def test_without_handover_it_begins_when_the_last_one_has_ended(house):
    house.settings.hsi.handover = False
    crew = Crew(house)
    crew.next_step()
    assert crew.seen == [(2, ("AA0001",))]
    assert [name for name in house.tree("cartridges")] == []


@pytest.mark.parametrize("first_is_killed", [True, False])
def test_killed_while_the_next_one_is_ready(house, first_is_killed):
    crew = Crew(house)
    first, second = crew.workers[:2]
    state = []

    def die(paths):
        state.append({p.name: p.read_text() for p in (house.root / "ws/cartridges").iterdir()})
        if len(state) == 2:
            raise Killed

    house.hpss.on_get = die
    with pytest.raises(Killed):
        crew.next_step()
    # Both processes are gone (they are one). What each had is its own, and is given back by itself.
    assert state[1] == {"AA0001": name_of(second), "AA0001~last": name_of(first)}
    order = [first, second] if first_is_killed else [second, first]
    for worker in order:
        home = house.bench("recovery").home
        give_back(home, worker._bench.home.path, name_of(worker), lambda *_: None)
        left = {p.read_text() for p in (house.root / "ws/cartridges").iterdir()}
        assert name_of(worker) not in left
    assert house.tree("cartridges") == []
    assert len(house.tree("hpss_queue")) == 3
    house.hpss.on_get = lambda _paths: None
    house.hpss.in_use.clear()
    house.run("retriever", "globus_xfer", "reaper", "finisher")
    assert len(house.delivered()) == 6


def test_another_process_does_not_take_the_place_of_a_dead_one(house):
    crew = Crew(house)
    house.hpss.on_get = lambda _paths: None
    crew.at_last_file = lambda: (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        crew.next_step()
    assert house.tree("cartridges") == ["AA0001~last"]
    other = Crew(house, count=1, most=5)
    step = other.next_step()
    assert isinstance(step, Waits)
    assert step.waits_for.startswith("a cartridge")


def test_one_that_is_refused_begins_when_the_last_one_has_ended(house):
    crew = Crew(house, count=2)
    real, refused, threads = house.hpss.get, [], []

    def get(fetches, **about):
        if "AA0001~last" in house.tree("cartridges") and not refused:
            refused.append(True)
            raise WorldFault("HPSS-SESSIONS", "too many sessions")
        assert "AA0001~last" not in house.tree("cartridges")
        return real(fetches, **about)

    def in_a_thread():
        crew.at_last_file = lambda: None
        worker = crew.idle.pop(0)
        threads.append(threading.Thread(target=worker.step))
        threads[0].start()
        while not refused:
            threading.Event().wait(0.01)

    house.hpss.get = get
    crew.at_last_file = in_a_thread
    crew.next_step()
    threads[0].join(30)
    assert refused == [True]
    assert len(house.tree("globus_queue")) == 2
    assert house.tree("cartridges") == []


def test_a_session_counts_until_its_place_is_taken():
    sessions = Sessions(2)
    sessions.begin("one", ("A1",))
    sessions.begin("two", ("B1",))
    assert (sessions.at_work, sessions.is_one_free, sessions.last) == (2, False, set())
    sessions.at_last_file("one", "A1")
    assert sessions.last == {"A1"}
    assert sessions.begin("three", ("A1", "A2")) == "A1"
    assert (sessions.at_work, sessions.last) == (2, set())
    sessions.end("one", "A1")
    assert (sessions.at_work, sessions.mounted) == (2, [])
    sessions.end("two", "B1")
    sessions.end("three", "A2")
    sessions.end("three", "A2")
    assert (sessions.at_work, sessions.mounted) == (0, ["B1", "A2"])

"""Which workspace is the right one: a copy, an older state, another's buffer and no buffer are told from it, and being
cut off anywhere never makes the right one look like any of these."""

import itertools
import json
import shutil

import pytest
from dying_disk import Deaths, Died, DyingDisk
from house import House
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync.rules import ownership as rules
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.rules.ownership import Owner, judge
from tacc_sync.workspace import layout, ownership
from tacc_sync.workspace.home import Home
from tacc_sync.workspace.posix_disk import PosixDisk


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def begin(house, disk=None, buffer=None, deaths=None):
    """What `run` does first; afterwards the home is left, as at an orderly end."""
    disk, buffer = disk or house.disk, buffer or house.buffer
    if deaths is not None:
        disk, buffer = DyingDisk(disk, deaths), DyingDisk(buffer, deaths)
    house.threads += 1
    home = Home(disk, buffer, house.clock, house.host, component="recovery", thread=house.threads)
    ownership.must_be_ours(disk, buffer)
    home.enter()
    ownership.claim(home)
    return home


def give_a_slot(home):
    with home.turn() as ours:
        assert ours
        ownership.raise_epoch(home)
    ownership.confirm(home)


def refused(disk, buffer, also=()):
    with pytest.raises(OperatorFault) as caught:
        ownership.must_be_ours(disk, buffer, also)
    assert caught.value.exit_code == 78
    return caught.value.code


def test_the_first_run_marks_the_buffer_and_each_raises_the_epoch(house):
    for run in range(1, 4):
        begin(house).leave()
        ours, theirs = ownership.identity(house.disk), ownership.marker(house.buffer)
        assert ours == theirs
        assert (ours.epoch, ours.workspace_path, ours.workspace_id) == (run, house.disk.root, "workspace-1")


def test_a_run_that_begins_while_the_first_one_marks_the_buffer_is_not_refused(house):
    class Late(PosixDisk):
        """Reads the mark just before another run makes it."""

        met = False

        def read(self, path, limit=2**29):
            if path != layout.MARKER or self.met:
                return super().read(path, limit)
            self.met = True
            try:
                return super().read(path, limit)
            finally:
                begin(house)

    late = Late(house.buffer.root)
    ownership.must_be_ours(house.disk, late)
    assert late.met


def test_a_slot_raises_the_epoch_too(house):
    home = begin(house)
    give_a_slot(home)
    assert ownership.marker(house.buffer) == ownership.identity(house.disk)
    assert ownership.marker(house.buffer).epoch == 2


def test_a_copy_at_another_place_is_refused_though_its_epoch_is_equal(house, tmp_path):
    begin(house).leave()
    shutil.copytree(tmp_path / "ws", tmp_path / "copy")
    shutil.rmtree(tmp_path / "ws")
    assert refused(PosixDisk(str(tmp_path / "copy")), house.buffer) == "WORKSPACE-COPIED"


def test_another_name_of_the_same_directory_is_none(house, tmp_path):
    begin(house).leave()
    (tmp_path / "ws").rename(tmp_path / "elsewhere")
    elsewhere = PosixDisk(str(tmp_path / "elsewhere"))
    ownership.must_be_ours(elsewhere, house.buffer, [elsewhere.root])


@pytest.mark.parametrize("since", ["another run", "a slot"])
def test_an_older_state_at_the_same_place_is_refused(house, tmp_path, since):
    home = begin(house)
    shutil.copytree(tmp_path / "ws", tmp_path / "backup")
    if since == "another run":
        begin(house)
    else:
        give_a_slot(home)
    shutil.rmtree(tmp_path / "ws")
    (tmp_path / "backup").rename(tmp_path / "ws")
    assert refused(house.disk, house.buffer) == "WORKSPACE-RESTORED"


class SeenLate:
    """A disk on which one document is seen as it was, for some time after the first look."""

    def __init__(self, disk, clock, path, content, seconds):
        self._disk, self._clock, self._path, self._content, self._seconds = disk, clock, path, content, seconds
        self._until = None

    def __getattr__(self, name):
        return getattr(self._disk, name)

    def read(self, path, limit=1 << 20):
        if path != self._path:
            return self._disk.read(path, limit)
        self._until = self._until or self._clock.uptime() + self._seconds
        if self._clock.uptime() >= self._until:
            return self._disk.read(path, limit)
        if self._content is None:
            raise FileNotFoundError(path)
        return self._content


@pytest.mark.parametrize("seen", ["not yet there", "as it was", "in its old length"])
def test_what_another_host_has_just_written_may_be_seen_late(house, seen):
    begin(house)
    old = house.disk.read(layout.IDENTITY)
    begin(house)
    content = {"not yet there": None, "as it was": old, "in its old length": old[:-3]}[seen]
    late = SeenLate(house.disk, house.clock, layout.IDENTITY, content, 3.0)
    with pytest.raises(OperatorFault):
        ownership.must_be_ours(late, house.buffer)
    ownership.must_be_ours(late, house.buffer, (), house.clock.sleep)


@pytest.mark.parametrize("looks", range(1, 6))
def test_a_run_begins_although_what_it_has_just_read_is_seen_late(house, looks):
    """Whichever look it is: the run begins, in an epoch of its own, and the turn is not lost."""
    begin(house)
    content = house.disk.read(layout.IDENTITY)
    home = begin(house)
    count = itertools.count(1)

    class TornOnce(SeenLate):
        def read(self, path, limit=1 << 20):
            found = self._disk.read(path, limit)
            return found[:-3] if path == self._path and next(count) == looks else found

    home.disk = TornOnce(home.disk, house.clock, layout.IDENTITY, content, 0)
    ownership.claim(home)
    assert next(count) > looks
    assert json.loads(house.disk.read(layout.IDENTITY))["epoch"] >= 3
    assert house.disk.read(layout.TURN) is not None


def test_what_stands_is_refused_in_the_end(house, tmp_path):
    begin(house)
    shutil.copytree(tmp_path / "ws", tmp_path / "backup")
    begin(house)
    shutil.rmtree(tmp_path / "ws")
    (tmp_path / "backup").rename(tmp_path / "ws")
    with pytest.raises(OperatorFault, match="older copy"):
        ownership.must_be_ours(house.disk, house.buffer, (), house.clock.sleep)


def test_of_two_that_go_on_from_one_state_at_most_one_goes_on(house, tmp_path):
    """Two hosts with a directory each at the same path, say: only the buffer is common to them."""
    begin(house)
    shutil.copytree(tmp_path / "ws", tmp_path / "twin")
    twin = PosixDisk(str(tmp_path / "twin"))
    twin_home = Home(twin, house.buffer, house.clock, house.host, component="recovery", thread=90)
    twin_home.enter()
    home = begin(house)  # epoch 2, in the buffer too
    with twin_home.turn():
        ownership.raise_epoch(twin_home)  # epoch 2 as well, in the other directory
    assert refused(twin, house.buffer, [twin.root]) == "WORKSPACE-RESTORED"
    ownership.confirm(home)


def test_two_workspaces_on_one_buffer(house, tmp_path):
    other = PosixDisk(str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    layout.init(other, "workspace-2", b"")
    begin(house)
    assert refused(other, house.buffer) == "BUFFER-OF-ANOTHER"
    ownership.must_be_ours(house.disk, house.buffer)


@pytest.mark.parametrize("how", ["not mounted", "emptied"])
def test_a_buffer_that_is_not_ours_any_more(house, tmp_path, how):
    begin(house)
    if how == "not mounted":
        (tmp_path / "mount point").mkdir()
        buffer = PosixDisk(str(tmp_path / "mount point"))
    else:
        buffer = house.buffer
        buffer.unlink(layout.MARKER)
    assert refused(house.disk, buffer) == "BUFFER-UNMARKED"


def test_without_a_buffer_on_this_host_the_path_alone_counts(house, tmp_path):
    begin(house)
    ownership.must_be_ours(house.disk, None)
    (tmp_path / "ws").rename(tmp_path / "elsewhere")
    assert refused(PosixDisk(str(tmp_path / "elsewhere")), None) == "WORKSPACE-COPIED"


def test_a_damaged_mark_is_neither_believed_nor_taken_for_none(house):
    begin(house)
    house.buffer.unlink(layout.MARKER)
    house.buffer.create(layout.MARKER, b"{")
    with pytest.raises(OperatorFault, match="no document") as caught:
        ownership.must_be_ours(house.disk, house.buffer)
    assert caught.value.code == "IDENTITY-DAMAGED"


def test_nobody_is_freed_recalled_or_submitted_for_while_the_buffer_is_away(tmp_path):
    house = House(tmp_path)
    house.archive("a", b"12345")
    begin(house)
    house.drop()
    house.run("syncer")
    (tmp_path / "nersc/buffer").rename(tmp_path / "nersc/away")
    (tmp_path / "nersc/buffer").mkdir()
    for name, queue in (("retriever", "hpss_queue"), ("globus_xfer", "globus_queue"), ("reaper", "reaper_queue")):
        (unit,) = (p for q in ("hpss", "globus", "reaper") for p in (tmp_path / f"ws/{q}_queue").iterdir())
        unit.rename(tmp_path / "ws" / queue / unit.name)
        before = (tmp_path / "ws" / queue / unit.name).read_bytes()
        (tmp_path / "nersc/buffer/.part").mkdir(exist_ok=True)
        component = house.component(name)
        with pytest.raises(OperatorFault) as caught:
            component.step()
        assert caught.value.code == "BUFFER-UNMARKED"
        (claimed,) = (tmp_path / "ws").glob(f"**/{unit.name}")
        assert claimed.read_bytes() == before
        claimed.rename(tmp_path / "ws" / queue / unit.name)
        assert house.hpss.sessions == []
        assert house.globus.submits == 0


# --- cut off anywhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("first", [True, False], ids=["the first run", "a later run"])
def test_being_killed_anywhere_never_makes_the_right_one_look_wrong(tmp_path, first, after):
    died, at = 0, 0
    while True:
        at += 1
        root = tmp_path / str(at)
        root.mkdir()
        house = House(root)
        if not first:
            begin(house).leave()
        deaths = Deaths(at, after=after)
        try:
            home = begin(house, deaths=deaths)
            give_a_slot(home)
        except Died:
            died += 1
        else:
            break
        # Whoever comes next; the turn may have died with it, and is given back by recovery in its time.
        again = begin(house)
        ownership.confirm(again)
        assert ownership.marker(house.buffer) == ownership.identity(house.disk) or not house.disk.status("turn")
        shutil.rmtree(root)
    assert died > 15


@given(
    st.lists(st.booleans(), max_size=12),
)
def test_whatever_the_two_lose_together_or_alone_an_epoch_is_never_believed_backwards(steps):
    """The pure part: the workspace's raise is durable before the buffer's begins; the buffer may lose its own."""
    ours = theirs = Owner(version=1, workspace_id="w", workspace_path="/w")
    history = [ours]
    for number, reaches_the_buffer in enumerate(steps):
        ours = Owner(version=1, workspace_id="w", workspace_path="/w", epoch=ours.epoch + 1, raised_by=f"x{number}")
        if reaches_the_buffer:
            theirs = ours
        history.append(ours)
        assert judge(ours, theirs, here="/w", buffer="/b") is None
        for old in history:
            fault = judge(old, theirs, here="/w", buffer="/b")
            assert (fault is not None) == (old.epoch < theirs.epoch)
            assert judge(old, theirs, here="/copy", buffer="/b").code == "WORKSPACE-COPIED"
    assert rules.unmarked("/b").code == "BUFFER-UNMARKED"

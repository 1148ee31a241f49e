"""Quarantine: what is in it and why, letting it go round again, giving it up; and being killed while doing so."""

import json

import pytest
from desk import Desk
from fakes import FakeHost
from house import SOURCE

from tacc_sync.operator import quarantine
from tacc_sync.operator.hands import hands
from tacc_sync.rules.faults import Fault, OperatorFault, WorkFault
from tacc_sync.workspace.posix_disk import PosixDisk


@pytest.fixture(autouse=True)
def _no_waiting_for_the_platter(monkeypatch):
    # Processes are killed here, not machines.
    monkeypatch.setattr("os.fsync", lambda _fd: None)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path).at_once()


def one_bad_file(desk, bad="file 2"):
    desk.fill()
    desk.hpss.errors[f"{SOURCE}/{bad}"] = "*** hpss_Open: input/output error [-5: HPSS_EIO]"
    desk.drop()
    desk.run()
    (entry,) = desk.quarantined()
    return entry


def test_an_entry_tells_why(desk):
    entry = one_bad_file(desk)
    assert (entry.kind, entry.component, entry.code) == ("unit", "retriever", "FILE-NOT-FETCHED")
    assert entry.name.startswith(entry.request)
    assert "file 2" in entry.files[0]
    assert "release" in entry.remedy


def test_released_files_go_round_again_alone(desk):
    entry = one_bad_file(desk)
    desk.hpss.errors.clear()
    sessions = len(desk.hpss.sessions)
    assert desk.release(entry) == "hpss_queue"
    desk.run()
    assert desk.hpss.sessions[sessions:] == [[f"{SOURCE}/file 2"]]
    assert len(desk.delivered()) == 6
    assert desk.check().findings == []
    assert desk.tree("quarantine") == []


def test_a_released_unit_counts_its_attempts_anew(desk):
    entry = one_bad_file(desk)
    desk.release(entry)
    (work,) = desk.documents("hpss_queue").values()
    (file,) = [f for f in work["files"] if f["path"].endswith("file 2")]
    assert file.get("failures", 0) == 0
    assert file.get("outcome", "waiting") == "waiting"
    assert work["begun"] == work["ended"]
    desk.run()
    assert len(desk.quarantined()) == 1


def test_an_abandoned_unit_lets_the_request_finish_and_is_named(desk):
    entry = one_bad_file(desk)
    assert desk.abandon(entry) == "reaper_queue"
    desk.run()
    (manifest,) = (desk.root / "ws/finished").glob("*/manifest.jsonl")
    lines = {line["source"]: line for line in map(json.loads, manifest.read_text().splitlines())}
    assert lines[f"{SOURCE}/file 2"]["outcome"] == "abandoned"
    assert "FILE-NOT-FETCHED" in lines[f"{SOURCE}/file 2"]["why"]
    assert len(desk.delivered()) == 5
    assert desk.check().findings == []
    (request,) = desk.status().requests
    assert (request.state, request.abandoned.files, request.delivered.files) == ("finished", 1, 5)


def test_what_lies_in_the_buffer_is_not_recalled_again(desk):
    desk.fill()
    desk.drop()
    desk.globus.records_as = lambda record: None if record.size == 101 else record
    desk.run()
    (entry,) = desk.quarantined()
    assert entry.component == "globus_xfer"
    assert desk.check().findings == []
    sessions = len(desk.hpss.sessions)
    desk.globus.records_as = lambda record: record
    assert desk.release(entry) == "globus_queue"
    desk.run()
    assert len(desk.hpss.sessions) == sessions
    assert len(desk.delivered()) == 6
    assert desk.buffer_files() == []


def test_what_was_given_up_leaves_the_buffer(desk):
    desk.fill()
    desk.drop()
    desk.globus.records_as = lambda record: None if record.size == 101 else record
    desk.run()
    assert desk.buffer_files() != []
    desk.abandon(*desk.quarantined())
    desk.run()
    assert desk.buffer_files() == []
    assert desk.tree("reservations") == []
    assert desk.check().findings == []


def test_releasing_what_cannot_heal_is_refused_and_changes_nothing(desk):
    desk.fill()
    desk.hpss.errors[f"{SOURCE}/file 2"] = "NAME-UNSPEAKABLE: it holds a backslash"
    desk.drop()
    desk.run()
    (entry,) = desk.quarantined()
    before = desk.tree()
    with pytest.raises(WorkFault) as refused:
        desk.release(entry)
    assert refused.value.code == "RELEASE-HOPELESS"
    assert "abandon" in refused.value.remedy
    assert desk.tree() == before


def test_a_file_larger_than_the_buffer_waits_for_a_larger_quota(desk):
    desk.settings.buffer.quota = 1000
    desk.fill()
    desk.archive("huge", b"x" * 2000, volumes=("AA000900",))
    desk.drop()
    desk.run()
    (entry,) = desk.quarantined()
    assert entry.code == "FILE-LARGER-THAN-BUFFER"
    with pytest.raises(WorkFault) as refused:
        desk.release(entry)
    assert refused.value.code == "RELEASE-TOO-LARGE"
    assert "TRANSFER_QUOTA" in refused.value.remedy
    desk.settings.buffer.quota = 10_000
    desk.release(entry)
    desk.run()
    assert len(desk.delivered()) == 7
    assert desk.check().findings == []


def test_an_open_task_is_brought_to_its_end_before_anything_is_given_up(desk):
    entry = one_bad_file(desk)
    path = desk.root / "ws" / entry.path
    work = json.loads(path.read_text())
    work["tasks"] = [
        {"attempt": 1, "submission_id": "s", "label": "l", "prepared_at": "", "items": [0], "bytes": 1, "task_id": "t"}
    ]
    path.write_text(json.dumps(work))
    with pytest.raises(WorkFault) as refused:
        desk.abandon(entry)
    assert refused.value.code == "TASK-OPEN"
    assert desk.release(entry) == "globus_queue"


def test_an_unreadable_unit_is_refused_by_name_and_kept_byte_for_byte(desk):
    entry = one_bad_file(desk)
    path = desk.root / "ws" / entry.path
    path.write_bytes(b"{torn")
    for act in (desk.release, desk.abandon):
        with pytest.raises(WorkFault) as refused:
            act(entry)
        assert entry.path in refused.value.text
    assert path.read_bytes() == b"{torn"
    assert "DOCUMENT-BAD" in desk.codes("broken")


def test_a_rejected_request_goes_back_to_the_inbox_once_it_is_json(desk):
    desk.fill()
    desk.drop("mine.json", destination="relative")
    desk.run()
    (entry,) = desk.quarantined()
    assert (entry.kind, entry.component, entry.field) == ("request", "syncer", "destination")
    path = desk.root / "ws" / entry.path
    document = path.read_text()
    path.write_text("{")
    with pytest.raises(WorkFault, match=r"mine\.json"):
        desk.release(entry)
    path.write_text(document.replace("relative", "/ranch/demo"))
    assert desk.release(entry) == "inbox"
    desk.run()
    assert len(desk.delivered()) == 6
    assert desk.tree("quarantine") == []


def test_a_rejected_request_that_is_given_up_is_kept_with_its_reason(desk):
    desk.drop("mine.json", destination="relative")
    desk.drop("other.json", destination="also relative")
    desk.run()
    for entry in desk.quarantined():
        desk.abandon(entry)
    assert desk.tree("quarantine") == []
    assert desk.tree("finished/rejected") == ["mine.json", "mine.why.json", "other.json", "other.why.json"]
    desk.drop("mine.json", destination="relative again")
    desk.run()
    desk.abandon(*desk.quarantined())
    assert len(desk.tree("finished/rejected")) == 6
    assert desk.check().findings == []


def test_a_lone_reason_is_shown_and_released_away(desk):
    entry = one_bad_file(desk)
    (desk.root / "ws" / entry.path).unlink()
    assert desk.quarantined() == []
    (left,) = quarantine.entries(desk.disk)
    assert not left.document
    assert desk.release(left) == ""
    assert list(quarantine.entries(desk.disk)) == []


def test_an_unknown_name_is_the_operators_fault(desk):
    with pytest.raises(OperatorFault) as unknown:
        quarantine.choose(desk.disk, ["nothing"])
    assert unknown.value.exit_code == 64
    assert "list" in unknown.value.remedy


def test_choosing_by_request_or_all(desk):
    entry = one_bad_file(desk)
    assert quarantine.choose(desk.disk, (), request=entry.request) == [entry]
    assert quarantine.choose(desk.disk, (), everything=True) == [entry]
    assert quarantine.choose(desk.disk, [f"retriever/{entry.name}", entry.name]) == [entry]
    assert quarantine.choose(desk.disk, (), request="000000000000") == []


# --- killed -------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


class MortalDisk(PosixDisk):
    """Kills whoever uses it at the n-th change, and stays dead."""

    def __init__(self, root, lives):
        super().__init__(root)
        self.lives = lives

    def _change(self):
        self.lives -= 1
        if self.lives < 0:
            raise Killed

    def create(self, *arguments):
        self._change()
        super().create(*arguments)

    def rename(self, *arguments):
        self._change()
        super().rename(*arguments)

    def link(self, *arguments):
        self._change()
        super().link(*arguments)

    def unlink(self, *arguments):
        self._change()
        super().unlink(*arguments)

    def mkdir(self, *arguments):
        self._change()
        super().mkdir(*arguments)

    def rmdir(self, *arguments):
        self._change()
        super().rmdir(*arguments)


def die_at(desk, lives, act):
    """Let a mortal operator act; False when it survived."""
    mortal, host = MortalDisk(desk.disk.root, lives), FakeHost(pid=666)
    try:
        with hands(mortal, desk.clock, host) as home:
            act(home, *quarantine.choose(mortal, (), everything=True))
    except Killed:
        desk.host.dead.add(666)
        desk.recover()
        return True
    return False


@pytest.mark.parametrize("verb", ["release", "abandon"])
@pytest.mark.parametrize("kind", ["unit", "request"])
def test_killed_anywhere_it_is_in_one_place_and_can_be_done_again(tmp_path, verb, kind):
    def act(home, entry):
        if verb == "release":
            quarantine.release(home, entry, quota=0)
        else:
            quarantine.abandon(home, entry)

    for lives in range(100):
        desk = Desk(tmp_path / f"{lives}").at_once()
        if kind == "unit":
            one_bad_file(desk)
        else:
            desk.drop(destination="relative")
            desk.run()
        killed = die_at(desk, lives, act)
        # A reason without its document may be left, or a home that was never finished: no harm.
        assert desk.codes("broken") == [], lives
        assert set(desk.codes()) <= {"REASON-ORPHAN", "REASON-MISSING", "LEFTOVER"}, lives
        desk.hpss.errors.clear()
        desk.run()
        for entry in quarantine.choose(desk.disk, (), everything=True, leftovers=True):
            with desk.hands() as home:
                act(home, entry)
        desk.run()
        assert set(desk.codes()) <= {"REASON-ORPHAN", "LEFTOVER"}, lives
        if kind == "unit":
            (request,) = desk.status().requests
            assert request.state == "finished", lives
            assert request.delivered.files + request.abandoned.files == 6
        else:
            everything = desk.tree("quarantine") + desk.tree("finished/rejected")
            assert len([name for name in everything if not name.endswith(".why.json")]) == 1, lives
        if not killed:
            break
    assert 8 < lives < 99


def test_a_fault_in_the_middle_gives_the_unit_back(desk):
    entry = one_bad_file(desk)

    def fail_half_way():
        with desk.hands() as home:
            home.move(entry.path, f"{home.path}/reaper_queue/{entry.name}.json")
            raise WorkFault("X", "x")

    with pytest.raises(Fault):
        fail_half_way()
    assert all("operator" not in name for name in desk.tree("claims"))
    assert len(desk.documents("reaper_queue")) == 1

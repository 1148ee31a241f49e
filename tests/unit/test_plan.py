"""`plan`: what it shows is what the syncer then does, and it touches nothing."""

import json
import random
import time
from pathlib import Path

import pytest
from desk import Desk
from house import DESTINATION, SOURCE
from hypothesis import given
from hypothesis import strategies as st

from tacc_sync import config
from tacc_sync.cli.edges import Edges
from tacc_sync.cli.main import main
from tacc_sync.pipeline.foresight import Foresight
from tacc_sync.pipeline.step import Bench
from tacc_sync.rules.documents import Request
from tacc_sync.rules.settings import SiteRules
from tacc_sync.rules.site_rules import RULES, Load, Outlook, judge, ticket
from tacc_sync.workspace.home import Home

WORDS = ("--source", SOURCE, "--destination", DESTINATION)
TB = 10**12


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)
    for name in {*[variable for variable, _, _ in config.ENVIRONMENT], "TACC_SYNC_WORK_ROOT", "GLOBUS_CLIENT_SECRET"}:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A desk whose command line sees its archive and its destination."""
    desk = Desk(tmp_path)
    for name in ("hpss", "globus", "clock", "settings"):
        monkeypatch.setattr(Edges, name, property(lambda _edges, name=name: getattr(desk, name)))
    return desk


def snapshot(root):
    """Everything below a directory: names, contents, modes, times."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        status = path.lstat()
        found[str(path)] = (
            path.read_bytes() if path.is_file() else None,
            status.st_mode,
            status.st_ino,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
    return found


def fill(desk, count=60):
    """Files of all sorts: on one tape, on two, on none, larger than the buffer, of no speakable name."""
    rng = random.Random(5)
    desk.settings.units.files = 7
    desk.settings.buffer.quota = 900
    for number in range(count):
        volumes = (f"AA000{number % 3}00",) if number % 11 else ("AA000000", "AA000100")
        desk.archive(
            f"d{number % 4}/file {number}", bytes([number]) * (number + 1), volumes=volumes, section=rng.randrange(1000)
        )
    desk.archive("nowhere", b"no place", volumes=())
    desk.archive("huge", b"x" * 1000, volumes=("AA000900",))
    desk.archive("odd \udcff", b"odd")


def planned(desk, key):
    """What lies in the workspace of a request: the name of each unit up to its key, with place, sources and sizes."""
    found = {}
    for place in ("hpss_queue", "quarantine/syncer", f"finished/{key}"):
        for path in (desk.root / "ws" / place).glob(f"{key}.*.json"):
            if path.name.endswith(".why.json"):
                continue
            work = json.loads(path.read_text())
            on_loan = (desk.root / "ws/loans" / work["unit"]).exists()
            named = work["unit"].partition(".")[2]
            found[named] = (place.partition("/")[0], on_loan, [(f["path"], f["size"]) for f in work["files"]])
    return found


def foreseen(desk):
    home = Home(desk.disk, None, desk.clock, desk.host, component="operator")
    bench = Bench(home, desk.settings, desk.report, lambda _component: None)
    request = Request(
        version=1, source=SOURCE, destination=DESTINATION, request_id="30000000-0000-4000-8000-000000000000"
    )
    found = {}
    for unit in Foresight(bench, desk.hpss, desk.globus, desk.vouchers).foresee(request).units():
        place = "quarantine" if unit.refused else "finished" if unit.there else "hpss_queue"
        work = unit.work(lambda path: path, request_id="30", created_at="2020-01-01T00:00:00Z")
        found[unit.unit.partition(".")[2]] = (place, unit.loan, [(f.path, f.size) for f in work.files])
    return found


def test_what_is_foreseen_is_what_the_syncer_then_plans(desk):
    desk.archive("d0/first", b"delivered before", volumes=("AA000000",))
    desk.drop("first.json", request_id="10000000-0000-4000-8000-000000000000", include=["d0/**"])
    desk.run()
    fill(desk)
    desk.drop("second.json", request_id="20000000-0000-4000-8000-000000000000", include=["d1/**"])
    desk.run("syncer")
    (desk.root / "tacc" / DESTINATION.lstrip("/") / "d2").mkdir()
    (desk.root / "tacc" / DESTINATION.lstrip("/") / "d2/file 2").write_bytes(b"nobody knows this")
    before = snapshot(desk.root)
    units = foreseen(desk)
    assert snapshot(desk.root) == before
    desk.drop("third.json", request_id="30000000-0000-4000-8000-000000000000")
    desk.run("syncer")
    assert units == planned(desk, "300000000000")
    assert {place for place, _, _ in units.values()} == {"hpss_queue", "quarantine", "finished"}
    assert any(loan for _, loan, _ in units.values())


def test_the_figures_add_up_and_nothing_is_touched(capsys, desk):
    fill(desk)
    before = snapshot(desk.root)
    (shown,) = desk.cli_json(capsys, "plan", *WORDS)
    assert snapshot(desk.root) == before
    (dry,) = desk.cli_json(capsys, "submit", *WORDS, "--dry-run")
    assert snapshot(desk.root) == before
    own = ("request", "request_id", "document", "ticket", "forecast")
    assert {k: v for k, v in dry.items() if k not in own} == {k: v for k, v in shown.items() if k not in own}
    parts = [shown[name] for name in ("there", "borrowed", "carried")] + [r["amount"] for r in shown["refused"]]
    assert shown["selected"] == {
        "files": sum(part["files"] for part in parts),
        "bytes": sum(part["bytes"] for part in parts),
    }
    assert shown["selected"]["files"] == 63
    assert {refused["code"] for refused in shown["refused"]} == {"FILE-LARGER-THAN-BUFFER", "NAME-UNSPEAKABLE"}
    assert shown["tapes"] == 3
    assert shown["spanning"]["files"] == 6
    assert shown["without_position"] == {"files": 1, "bytes": 8}
    assert (shown["largest"], shown["largest_path"]) == (1000, f"{SOURCE}/huge")
    desk.cli(capsys, "submit", *WORDS)
    desk.run("syncer")
    (request,) = desk.documents("request_queue").values()
    assert request["plan"]["files"] == shown["selected"]["files"]
    assert request["plan"]["bytes"] == shown["selected"]["bytes"]
    assert len(request["plan"]["units"]) == shown["units"]


def test_it_is_told_to_a_person(capsys, desk):
    fill(desk)
    out = desk.cli(capsys, "plan", *WORDS, "--label", "run 12")
    assert 'plan "run 12"' in out
    assert f"{SOURCE}/huge" in out
    assert "6 files" in out
    assert "! Ranch, mean-file: the mean file has" in out
    assert "not checked: Ranch, destination-files" in out


def test_it_works_while_others_hold_the_turn_and_the_homes(capsys, desk):
    fill(desk)
    home = Home(desk.disk, None, desk.clock, desk.host, component="retriever")
    home.enter()
    with home.turn() as ours:
        assert ours
        before = snapshot(desk.root)
        desk.cli(capsys, "plan", *WORDS)
        assert snapshot(desk.root) == before


def test_a_listing_that_takes_long_is_held_on_to(capsys, desk, monkeypatch):
    """An hsi of which nobody says that it is wanted ends before long."""
    fill(desk)
    list_trees, pulses = desk.hpss.list_trees, []

    def slow(roots, checkpoint=None):
        pulses.append(desk.hpss.pulses)
        time.sleep(0.1)
        return list_trees(roots, checkpoint)

    monkeypatch.setattr("tacc_sync.cli.pulse.PULSE_SECONDS", 0.01)
    monkeypatch.setattr(desk.hpss, "list_trees", slow)
    desk.cli(capsys, "plan", *WORDS)
    assert desk.hpss.pulses > pulses[0]


def test_killed_at_any_question_it_leaves_nothing(desk, monkeypatch):
    fill(desk)
    before = snapshot(desk.root)

    class Killed(BaseException):
        pass

    def die(*_arguments, **_options):
        raise Killed

    for who, what in ((desk.hpss, "check_up"), (desk.hpss, "list_trees"), (desk.globus, "listing")):
        with monkeypatch.context() as patch:
            patch.setattr(who, what, die)
            with pytest.raises(Killed):
                foreseen(desk)
        assert snapshot(desk.root) == before


def test_a_request_of_which_nothing_can_be_carried_exits_65(capsys, desk):
    desk.settings.buffer.quota = 10
    desk.archive("large", b"x" * 100, volumes=("AA000000",))
    out = desk.cli(capsys, "plan", *WORDS, code=65)
    assert "FILE-LARGER-THAN-BUFFER" in out
    assert "Nothing of it can be carried" in desk.talk
    desk.cli(capsys, "plan", *WORDS, "--include", "*.nothing", code=65)
    desk.cli(capsys, "plan", "--source", "/nowhere", "--destination", DESTINATION, code=65)
    assert "SOURCE-MISSING" in desk.talk
    desk.settings.destination.path_prefix = "/scoutfs"
    desk.cli(capsys, "plan", *WORDS, code=65)
    assert "`destination`" in desk.talk


def test_an_id_that_is_in_use_is_refused(capsys, desk, tmp_path):
    desk.archive("x", b"x", volumes=("AA000000",))
    document = {"version": 1, "source": SOURCE, "destination": DESTINATION}
    document["request_id"] = "10000000-0000-4000-8000-000000000000"
    path = tmp_path / "request.json"
    path.write_text(json.dumps(document))
    assert "1 file" in desk.cli(capsys, "plan", str(path))
    desk.cli(capsys, "submit", str(path))
    desk.run("syncer")
    desk.cli(capsys, "plan", str(path), code=65)
    assert "is in use" in desk.talk


def test_the_ticket_is_shown_alone_when_asked_for(capsys, desk):
    desk.settings.site_rules = SiteRules(ticket_bytes=1000, ticket_file=10)
    fill(desk)
    text = desk.cli(capsys, "plan", *WORDS, "--ticket", "--requested-by", "A. Person")
    assert text.startswith("Subject: ")
    assert SOURCE in text
    assert text.endswith("A. Person\n")
    assert f"    {text.splitlines()[0]}" in desk.cli(capsys, "plan", *WORDS)
    (shown,) = desk.cli_json(capsys, "plan", *WORDS)
    assert shown["ticket"].startswith("Subject: ")
    desk.settings.site_rules = SiteRules()
    (shown,) = desk.cli_json(capsys, "plan", *WORDS)
    assert shown["ticket"] == ""


# --- the rules of the sites ---------------------------------------------------------------------------------------

SIZES = st.lists(st.integers(0, 30 * TB), max_size=30)


@given(SIZES, st.integers(1, 30))
def test_each_rule_says_what_the_sizes_say(sizes, sessions):
    rules = SiteRules(destination_files=20, destination_bytes=200 * TB)
    load = Load(sessions=sessions)
    for size in sizes:
        load.add(size, rules)
    truth = {
        "ticket": sum(size for size in sizes if size > 100 * 10**9) > 100 * TB,
        "difficult-files": any(size > TB for size in sizes),
        "largest-file": any(size > 20 * TB for size in sizes),
        "sessions": sessions > 15,
        "mean-file": 0 < sum(sizes) < 300 * 10**9 * len(sizes),
        "destination-files": len(sizes) > 20,
        "destination-bytes": sum(sizes) > 200 * TB,
    }
    judged = {each.rule: each.verdict for each in judge(load, rules)}
    assert judged == {rule: "broken" if broken else "kept" for rule, broken in truth.items()}
    for each in judge(load, rules):
        assert each.source
        assert bool(each.text) == bool(each.remedy) == (each.verdict == "broken")


def test_what_nobody_has_told_is_not_taken_for_kept():
    unknown = SiteRules(
        ticket_bytes=0,
        difficult_file=0,
        largest_file=0,
        sessions=0,
        mean_file=0,
        destination_files=0,
        destination_bytes=0,
    )
    load = Load(sessions=99)
    load.add(10**18, unknown)
    judged = judge(load, unknown)
    assert [each.verdict for each in judged] == ["unchecked"] * len(RULES)
    for each in judged:
        (key,) = [word for word in each.text.split() if word.startswith("site_rules.")]
        assert hasattr(unknown, key.removeprefix("site_rules."))


def test_the_ticket_says_what_the_site_has_to_know():
    rules, load = SiteRules(), Load(sessions=5)
    for _ in range(1200):
        load.add(95 * 10**9, rules)
    for _ in range(1000):
        load.add(150 * 10**9, rules)
    text = ticket(load, Outlook(("/home/a", "/home/b"), 302, 3, 10**12, "2026-12-01", "2027-01-09"))
    for needed in ("264 TB", "2,200 files", "150 TB", "/home/a", "/home/b", "302", "at once: 5", "2027-01-09", "1 TB"):
        assert needed in text


def test_plans_options_are_those_of_submit(capsys):
    def names(command):
        with pytest.raises(SystemExit):
            raise SystemExit(main([command, "--help"]))
        return {word for word in capsys.readouterr().out.split() if word.startswith("--")}

    own = {"--every", "--dry-run"}
    assert names("submit") - own <= names("plan")

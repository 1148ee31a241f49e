"""What a finished request leaves behind: it holds together, whoever finished it and however often they were killed, and
whatever is changed in it later is named."""

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import bagit
import pytest
from desk import Desk
from dying_disk import Deaths, Died, DyingDisk
from fakes import FakeHost

from tacc_sync.operator.verify import directories, verify, verify_chain
from tacc_sync.pipeline.finisher import Finisher
from tacc_sync.pipeline.proofs import Proofs
from tacc_sync.pipeline.step import Bench
from tacc_sync.rules import certificate
from tacc_sync.rules.faults import Fenced
from tacc_sync.workspace import chain, queues
from tacc_sync.workspace.home import Home

NAMES = {
    "manifest.jsonl", "manifest-sha512.txt", "certificate.json",
    "bag/bagit.txt", "bag/bag-info.txt", "bag/manifest-sha512.txt", "bag/tagmanifest-sha512.txt",
}  # fmt: skip


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.fill(6)
    desk.drop(label="six files")
    desk.run()
    return desk


@pytest.fixture
def done(desk):
    return the_directory(desk)


def the_directory(desk):
    (found,) = directories(desk.root / "ws/finished")
    return found


def codes(verdict):
    return {flaw.code for flaw in verdict.flaws}


def edit(path, change):
    content = path.read_bytes()
    changed = change(content)
    assert changed != content
    path.write_bytes(changed)


def certificate_of(directory):
    return json.loads((directory / "certificate.json").read_bytes())


def test_a_finished_request_has_all_its_proofs_and_they_hold(desk, done):
    assert {str(p.relative_to(done)) for p in done.rglob("*") if p.is_file() and "json" not in p.name} | {
        "manifest.jsonl", "certificate.json",
    } == NAMES  # fmt: skip
    verdict = verify(done)
    assert (verdict.flaws, verdict.notes) == ([], [])
    assert (verdict.number, verdict.lines, verdict.outcomes["delivered"].files) == (1, 6, 6)
    assert json.loads((done / "request.json").read_bytes())["result"]["certificate"] == 1
    assert desk.check().findings == []


def test_each_line_says_who_vouches_for_which_hash(tmp_path):
    desk = Desk(tmp_path)
    desk.fill(2)
    desk.archive("without", b"a hash", hash=None)
    desk.drop()
    desk.run()
    lines = [json.loads(line) for line in (the_directory(desk) / "manifest.jsonl").open()]
    for line in lines:
        assert set(line["vouched"]) == set(line["hashes"])
        for algorithm, who in line["vouched"].items():
            value = f"{algorithm}:{line['hashes'][algorithm]}"
            assert "buffer" in who
            assert ("archive" in who) == (line["archive_hash"] == value)
            assert ("destination" in who) == (line["receipt"] == value)
    vouched = certificate_of(the_directory(desk))["vouched"]
    assert sum(vouched.values()) == len(lines)
    assert vouched == {"archive buffer destination": 2, "buffer destination": 1}


def test_verification_needs_nothing_but_the_files(done, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(done, copy)
    verdict = verify(copy)
    assert verdict.flaws == []
    assert "not checked" in verdict.notes[0]


def test_the_program_in_the_documentation_does_the_same(done):
    text = (Path(__file__).resolve().parents[2] / "docs/workspace.md").read_text()
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    def says():
        done_ = subprocess.run([sys.executable, "-c", program, str(done)], capture_output=True, text=True, check=False)
        return done_.returncode, (done_.stdout + done_.stderr).strip()

    assert len(program.splitlines()) <= 20
    assert says() == (0, "as it was written")
    edit(done / "manifest-sha512.txt", lambda content: content.replace(b"file", b"File", 1))
    assert says() == (1, "manifest-sha512.txt was changed")
    edit(done / "manifest.jsonl", lambda content: content[: content.rindex(b"\n", 0, -1) + 1])
    assert "missing at the end" in says()[1]
    edit(done / "manifest.jsonl", lambda content: content.replace(b'"line":2', b'"line":7'))
    assert "line 2 was changed" in says()[1]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_proof_that_is_missing_is_named(done, name):
    (done / name).unlink()
    found = verify(done)
    assert found.flaws[0].file == name
    assert codes(found) <= {"PROOF-MISSING", "CERTIFICATE-MISSING"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_proof_that_was_changed_anywhere_is_named(done, name):
    content = (done / name).read_bytes()
    places = sorted({0, 1, len(content) // 3, len(content) // 2, len(content) - 2, len(content) - 1})
    for at in places:
        (done / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        found = verify(done)
        blamed = {flaw.file for flaw in found.flaws}
        # What the certificate says of another file may be what was changed in it.
        assert blamed == {name} or (name == "certificate.json" and name in blamed), (at, found.flaws)
        if name.endswith(("manifest.jsonl", "/manifest-sha512.txt")):
            line = content[:at].count(b"\n") + 1
            assert {flaw.line for flaw in found.flaws} & {line, line + 1}
    (done / name).write_bytes(content)
    assert verify(done).flaws == []


def test_figures_that_do_not_fit_the_lines_are_noticed(done):
    path = done / "certificate.json"
    found, _ = certificate.decode(path.read_bytes())
    found.outcomes["delivered"].files += 1
    path.write_bytes(certificate.encode(found))
    assert any("`outcomes`" in flaw.text for flaw in verify(done).flaws)


# --- the chain of certificates -------------------------------------------------------------------------------------


def finish_more(desk, count):
    for n in range(count):
        desk.drop(f"more{n}.json")
        desk.run()


def test_each_certificate_names_the_one_before_it(desk):
    finish_more(desk, 3)
    assert chain.numbers(desk.disk) == [1, 2, 3, 4]
    assert verify_chain(desk.root / "ws/finished/chain").flaws == []
    found = sorted(directories(desk.root / "ws/finished"), key=lambda path: certificate_of(path)["number"])
    for number, (before, after) in enumerate(itertools.pairwise(found), 1):
        previous = certificate_of(after)["previous"]
        assert previous["number"] == number
        assert previous["sha512"] == hashlib.sha512((before / "certificate.json").read_bytes()).hexdigest()
        assert verify(after).flaws == []


def test_a_certificate_that_was_made_anew_later_shows_in_the_chain(desk, done):
    finish_more(desk, 2)
    path = done / "certificate.json"
    found, _ = certificate.decode(path.read_bytes())
    found.label = "another"
    path.write_bytes(certificate.encode(found))
    assert codes(verify(done)) == {"CERTIFICATE-CHAIN"}
    # Also when the chain's own copy is made anew with it.
    shutil.copy(path, desk.root / "ws" / chain.entry(1))
    assert codes(verify(done)) == {"CERTIFICATE-CHAIN"}
    assert codes(verify_chain(desk.root / "ws/finished/chain")) == {"CERTIFICATE-CHAIN"}


def test_a_gap_in_the_chain_is_named(desk):
    finish_more(desk, 2)
    (desk.root / "ws" / chain.entry(2)).unlink()
    flaws = verify_chain(desk.root / "ws/finished/chain").flaws
    assert any(flaw.file.endswith("00000002.json") and "missing" in flaw.text for flaw in flaws)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_finisher_that_is_killed_anywhere_leaves_a_whole_chain(tmp_path, after):
    """Killed at each of its changes in turn, then another one finishes: one entry for the request, and no gap."""
    for at in range(1, 200):
        desk = Desk(tmp_path / str(at))
        desk.fill(3)
        desk.drop()
        desk.run("syncer", "retriever", "globus_xfer", "reaper")
        deaths = Deaths(at, after=after)
        home = Home(DyingDisk(desk.disk, deaths), None, desk.clock, FakeHost(pid=200), component="finisher")
        try:
            home.enter()
            Finisher(Bench(home, desk.settings, desk.report, lambda _: None)).step()
        except Died:
            desk.host.dead.add(200)
            desk.recover()
            desk.run("finisher")
        done = the_directory(desk)
        assert verify(done).flaws == [], at
        assert verify_chain(desk.root / "ws/finished/chain").flaws == [], at
        assert chain.numbers(desk.disk) == [1], at
        assert (done / "request.json").is_file()
        if not deaths.dead:
            break
    assert 40 < at < 199


def test_two_finishers_at_once_have_different_numbers(desk, tmp_path):
    """While one writes its certificate another one is faster, again and again."""
    desk.drop("late.json")
    desk.run("syncer", "retriever", "globus_xfer", "reaper")
    (key,) = queues.requests(desk.disk)
    request = queues.request_of(desk.disk, f"request_queue/{key}.json")
    slow, fast = desk.bench("finisher").home, desk.bench("finisher").home
    link, hurried = desk.disk.link, []

    def overtaken(old, new):
        if old.startswith(slow.path) and new.startswith("finished/chain/") and len(hurried) < 3:
            hurried.append(new)
            content = chain.append(
                fast,
                f"finished/{key}/other.json",
                lambda number, previous: certificate.encode(
                    certificate.Certificate(
                        version=1,
                        request_id=f"other {number}",
                        workspace_id="",
                        number=number,
                        previous=previous,
                        written_by="",
                        source=[],
                        destination="",
                        planned_at="",
                        finished_at="",
                        outcomes={},
                        vouched={},
                        manifest=certificate.Chained(lines=0, last="", every=1),
                        files={},
                    )
                ),
            )
            assert content
        link(old, new)

    desk.disk.link = overtaken
    written = Proofs(slow, request, key).write()
    assert (len(hurried), written.number) == (3, 5)
    assert verify_chain(desk.root / "ws/finished/chain").flaws == []
    assert verify(desk.root / "ws/finished" / key).flaws == []


def test_a_certificate_whose_manifest_is_gone_is_followed_by_another_one(desk):
    """Its finisher died before the request moved, and then somebody touched the manifest."""
    desk.drop("late.json")
    desk.run("syncer", "retriever", "globus_xfer", "reaper")
    (key,) = queues.requests(desk.disk)
    request = queues.request_of(desk.disk, f"request_queue/{key}.json")
    home = desk.bench("finisher").home
    assert [Proofs(home, request, key).write().number for _ in range(2)] == [2, 2]
    directory = desk.root / "ws/finished" / key
    edit(directory / "manifest.jsonl", lambda content: content[:-9])
    assert Proofs(home, request, key).write().number == 3
    assert verify(directory).flaws == []
    assert verify_chain(desk.root / "ws/finished/chain").flaws == []


def test_a_fenced_finisher_adds_nothing_to_the_chain(desk):
    home = desk.bench("finisher").home
    desk.disk.rename(home.path, f"{home.path}-gone")
    with pytest.raises(Fenced):
        chain.append(home, "finished/x.json", lambda *_: b"{}")
    assert chain.numbers(desk.disk) == [1]


# --- a bag ---------------------------------------------------------------------------------------------------------


def test_the_bag_is_one_when_the_tree_is_its_payload(desk, done, tmp_path):
    bag = tmp_path / "bag"
    shutil.copytree(done / "bag", bag)
    shutil.copytree(desk.root / "tacc/ranch/demo", bag / "data")
    for name in ("manifest-sha512.txt", "tagmanifest-sha512.txt"):
        subprocess.run(["sha512sum", "--strict", "--quiet", "-c", name], cwd=bag, check=True)
    info = dict(line.split(": ", 1) for line in (bag / "bag-info.txt").read_text().splitlines())
    files = [path for path in (bag / "data").rglob("*") if path.is_file()]
    assert info["Payload-Oxum"] == f"{sum(path.stat().st_size for path in files)}.{len(files)}"
    assert info["External-Description"] == "six files"
    assert (bag / "bagit.txt").read_bytes() == b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def test_a_validator_of_others_takes_the_bag(desk, done, tmp_path):
    shutil.copytree(done / "bag", tmp_path / "bag")
    shutil.copytree(desk.root / "tacc/ranch/demo", tmp_path / "bag/data")
    bag = bagit.Bag(str(tmp_path / "bag"))
    bag.validate()
    (tmp_path / "bag/data/file 1").write_bytes(b"other")
    with pytest.raises(bagit.BagValidationError):
        bag.validate()

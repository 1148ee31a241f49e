"""Running hsi: real processes that hang, crash, lie and are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.hpss import leash
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.interface import Fetch, Fetched
from tacc_sync.rules.faults import OperatorFault, WorldFault

TAIL = "\\t5\\t0\\t1\\t03/01/2021\\t11:15:47\\t03/01/2021\\t11:30:52"
# An hsi that knows the commands of our IN files; `files` says what it answers.
PRELUDE = f"""\
import os, re, signal, sys, time
lines = open(sys.argv[-1]).read().splitlines()
def record(path, size=10):
    return f"FILE\\t{{path}}\\t{{size}}\\t{{size}}\\t840+0\\tAG084600{TAIL}"
def say(line, end="\\n"):
    sys.stdout.write(line + end)
    sys.stdout.flush()
def paths(line):
    return re.findall("'([^']*)'", line)
def put(line, text):
    local, hpss = paths(line)
    with open(local, "w") as file:
        file.write(text)
    return f"get  '{{local}}' : '{{hpss}}' (2021/03/01 11:15:47 {{len(text)}} bytes, 1.0 KBS )"
"""


@pytest.fixture
def hsi(tmp_path):
    """A maker of `Hsi`, given the body of a fake program."""

    def make(body, *, prelude=True, **settings):
        program = tmp_path / "hsi"
        if body is not None:
            head = f"#!{sys.executable} -IS\n" + PRELUDE if prelude else "#!/bin/sh\n"
            program.write_text(head + textwrap.dedent(body))
            program.chmod(0o755)
        settings = {
            "clock": SystemClock(),
            "scratch": tmp_path / "scratch",
            "command": [str(program)],
            "tick_seconds": 0.02,
            "stall_seconds": 0.8,
            "listing_stall_seconds": 1.2,
            "answer_seconds": 0.8,
            **settings,
        }
        return Hsi(**settings)

    return make


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def read_pids(path, count):
    assert wait_until(lambda: path.exists() and len(path.read_text().split()) >= count)
    return [int(word) for word in path.read_text().split()]


# -- the program is not there, or not willing


def test_absent_and_not_executable(hsi, tmp_path, monkeypatch):
    absent = hsi(None)
    for call in (absent.check_up, lambda: absent.list_trees(["/r"]), lambda: absent.hashes(["/r"])):
        with pytest.raises(OperatorFault, match="does not exist") as caught:
            call()
        assert caught.value.code == "HSI-MISSING"
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OperatorFault, match="not in PATH"):
        hsi(None, command=["hsi"]).check_up()
    (tmp_path / "hsi").write_text("#!/bin/sh\n")
    with pytest.raises(OperatorFault, match="not executable"):
        hsi(None).check_up()
    (tmp_path / "hsi").write_text("#!/no/such/interpreter\n")
    (tmp_path / "hsi").chmod(0o755)
    with pytest.raises(OperatorFault, match="cannot start") as caught:
        hsi(None).list_trees(["/r"])
    assert caught.value.code == "HSI-MISSING"


def test_four_different_messages(hsi):
    cases = {
        "HPSS-UNAUTHENTICATED": "echo 'Generating .netrc entry...' >&2; echo 'Must run interactively' >&2; exit 77",
        "HPSS-AWAY": "echo 'HPSS Unavailable' >&2; exit 1",
        "HPSS-SESSIONS": "echo '*** too many sessions'; exit 75",
        "HPSS-HANGING": "exec sleep 60",
    }
    texts = set()
    for code, body in cases.items():
        archive = hsi(body, prelude=False)
        for call in (
            archive.list_trees,
            archive.list_files,
            archive.hashes,
        ):
            with pytest.raises((OperatorFault, WorldFault)) as caught:
                call(["/r"])
            assert caught.value.code == code
            assert isinstance(caught.value, OperatorFault) == (code == "HPSS-UNAUTHENTICATED")
            assert caught.value.remedy
            if code == "HPSS-HANGING":
                break
        texts.add(caught.value.text)
        if code != "HPSS-HANGING":
            with pytest.raises((OperatorFault, WorldFault)) as caught:
                archive.get([Fetch("/h", "/nowhere/l")], session_name="s")
            assert caught.value.code == code
    assert len(texts) == 4


def test_check_up(hsi, tmp_path):
    avail = tmp_path / "hpss_avail"
    archive = hsi("", prelude=False, avail_command=[str(avail), "archive"])
    with pytest.raises(OperatorFault, match="does not exist"):
        archive.check_up()
    for body, code in (("exit 0", None), ("echo maintenance; exit 1", "HPSS-AWAY"), ("exec sleep 60", "HPSS-HANGING")):
        avail.write_text(f'#!/bin/sh\n[ "$1" = archive ] || exit 9\n{body}\n')
        avail.chmod(0o755)
        if code is None:
            archive.check_up()
        else:
            with pytest.raises(WorldFault) as caught:
                archive.check_up()
            assert caught.value.code == code
    assert "maintenance" not in caught.value.text
    hsi("", prelude=False).check_up()


def test_what_hsi_is_given(hsi, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/conda/lib")
    monkeypatch.setenv("HOME", "/home/somebody")
    seen = tmp_path / "seen"
    archive = hsi(
        f"""
        env > {seen}
        echo "$@" >> {seen}
        readlink /proc/$$/fd/0 >> {seen}
        ps -o pgid= $$ | tr -d ' ' > {seen}.group
        echo $$ >> {seen}.group
        for last; do :; done
        cat "$last" >> {seen}
        """,
        prelude=False,
        command=[str(tmp_path / "hsi"), "-h", "archive"],
    )
    with pytest.raises(WorldFault):
        archive.list_trees(["/r"])
    text = seen.read_text()
    assert "LD_" not in text
    assert "ENVIRONMENT=BATCH" in text
    assert "HOME=/home/somebody" in text
    assert "-h archive -P in /" in text
    assert "\n/dev/null\n" in text
    assert "ls -a -N -R -P '/r'\nls -a -N -P '/r'\n" in text
    group, pid = (tmp_path / "seen.group").read_text().split()
    assert group == pid != str(os.getpgid(0))
    assert not list((tmp_path / "scratch").iterdir())


def test_scratch_directories(hsi, tmp_path):
    with pytest.raises(OperatorFault, match="control character") as caught:
        hsi("", scratch=tmp_path / "a\nb").list_trees(["/r"])
    assert caught.value.code == "HSI-SCRATCH"
    listing = hsi("lines = open(sys.argv[-1].strip(chr(39))).read().splitlines()\n" + TREE, scratch=tmp_path / "a b")
    with pytest.raises(WorldFault):  # the fake doesn't read quotes: it sees no file of that name
        listing.list_trees(["/r"])
    (tmp_path / "file").write_text("")
    with pytest.raises(WorldFault) as fault:
        hsi(TREE, scratch=tmp_path / "file").list_trees(["/r"])
    assert fault.value.code == "DISK-IO"


# -- listings


TREE = """
for line in lines:
    say(line)
    top, = paths(line)
    if " -R " in line:
        say("DIRECTORY\\t/r/d"); say(record("/r/a")); say(record("/r/d/x"))
    else:
        say("DIRECTORY\\t/r/d"); say(record("/r/a"))
"""


def test_a_listing(hsi):
    listing = hsi(TREE).list_trees(["/r/", "/r", "bad\nroot"])
    assert [file.path for file in listing.files] == ["/r/a", "/r/d/x"]
    assert listing.directories == 1
    assert [(r.path, r.kind) for r in listing.refused] == [("bad\nroot", "unspeakable")]


def counted(tmp_path, body):
    """A body that knows how often the program was started."""
    count = tmp_path / "count"
    return f"""
with open({str(count)!r}, "a+") as file:
    file.write("x"); file.seek(0); count = len(file.read())
{textwrap.dedent(body)}
"""


@pytest.mark.parametrize(
    "ending",
    ["sys.exit(0)", "sys.exit(75)", "os.kill(os.getpid(), 11)", 'say("FILE\\t/r/d/x\\t1", end=""); sys.exit(0)'],
)
def test_a_broken_listing_is_asked_for_again(hsi, tmp_path, ending):
    breaks = 'if count < 3:\n    say(lines[0]); say("DIRECTORY\\t/r/d"); say(record("/r/a"))\n    ' + ending
    body = counted(
        tmp_path,
        breaks + "\n" + TREE + 'if len(lines) > 2: say("*** ls: x [-2: HPSS_ENOENT]\\n    " + paths(lines[2])[0])',
    )
    body = body.replace('    else:\n        say("DIR', '    elif "-a" in line:\n        say("DIR')
    listing = hsi(body).list_trees(["/r"])
    assert len(listing.files) == 2
    assert (tmp_path / "count").read_text() == "xxx"


def test_a_listing_that_stays_broken_is_an_error_that_shows_the_line(hsi, tmp_path):
    with pytest.raises(WorldFault, match="what is this") as caught:
        hsi(counted(tmp_path, TREE + 'say("what is this")')).list_trees(["/r"])
    assert caught.value.code == "HPSS-LISTING-BROKEN"
    assert (tmp_path / "count").read_text() == "xxx"
    with pytest.raises(WorldFault, match="end of the listing"):
        hsi("sys.exit(0)").list_trees(["/r"])


def test_an_empty_root_is_asked_twice(hsi, tmp_path):
    body = 'for line in lines: say(line)\nif len(lines) > 2: say("*** ls: no [-2: HPSS_ENOENT]\\n    " + paths(lines[2])[0]); sys.exit(64)'
    listing = hsi(counted(tmp_path, body)).list_trees(["/r"])
    assert (list(listing.files), listing.directories, listing.refused) == ([], 0, [])
    assert (tmp_path / "count").read_text() == "xx"


def test_an_error_that_passes_is_asked_about_again(hsi, tmp_path):
    error = 'print("*** ls: busy [-16: HPSS_EBUSY]\\n    /r/d", file=sys.stderr)\n'
    listing = hsi(counted(tmp_path, TREE + "if count == 1: " + error)).list_files([])
    assert list(listing.files) == []
    body = 'for line in lines:\n    if count == 1: say("*** ls: busy [-16: HPSS_EBUSY]\\n    " + paths(line)[0])\n    else: say(record(paths(line)[0]))'
    listing = hsi(counted(tmp_path, body)).list_files(["/r/a"])
    assert [file.path for file in listing.files] == ["/r/a"]
    assert listing.refused == []
    listing = hsi(body.replace("if count == 1", "if True")).list_files(["/r/a"])
    assert [r.kind for r in listing.refused] == ["error"]


def test_listing_files_in_batches(hsi, tmp_path):
    body = """
    for line in lines:
        path, = paths(line)
        if path == "/gone": say("*** ls: No such file or directory [-2: HPSS_ENOENT]\\n    /gone")
        elif path == "/d" and count < 9: say(record("/d/inside"))
        else: say(record(path))
    """
    wanted = [f"/f{number}" for number in range(5)]
    listing = hsi(counted(tmp_path, body), batch_lines=3).list_files([*wanted, "/gone", "/d", "/x\ty", "/f0"])
    assert [file.path for file in listing.files] == wanted
    assert {r.path: r.kind for r in listing.refused} == {"/gone": "missing", "/d": "not-a-file", "/x\ty": "unspeakable"}
    assert (tmp_path / "count").read_text() == "xxx"


def test_a_silent_path_is_looked_up_in_its_directory(hsi, tmp_path):
    body = """
    for line in lines:
        path, = paths(line)
        if path == "/r/empty": continue
        if path == "/r": say("DIRECTORY\\t/r/empty"); say(record("/r/other"))
        else: say(record(path))
    """
    listing = hsi(counted(tmp_path, body)).list_files(["/r/a", "/r/empty"])
    assert [file.path for file in listing.files] == ["/r/a"]
    assert [(r.path, r.kind) for r in listing.refused] == [("/r/empty", "not-a-file")]
    assert (tmp_path / "count").read_text() == "xx"
    with pytest.raises(WorldFault, match="no word about 1 of 2"):
        hsi('for line in lines:\n    if "/r/a" in line: say(record("/r/a"))').list_files(["/r/a", "/r/b"])


def test_hashes(hsi):
    body = """
    for line in lines:
        path, = paths(line)
        say(line)
        if path == "/gone": say("*** hashlist: No such file or directory [-2: HPSS_ENOENT]\\n    /gone")
        elif path == "/none": say("(none)  /none")
        else: say("5e89461934bf030f0c4881f8dd0a2779 md5 " + path + " [hsi]")
    sys.exit(1)
    """
    hashes = hsi(body, batch_lines=2).hashes(iter(["/a", "/none", "/gone", "/b\n"]))
    assert {path: found and found.algorithm for path, found in hashes.items()} == {"/a": "md5", "/none": None}
    with pytest.raises(WorldFault, match="no word about"):
        hsi("sys.exit(0)").hashes(["/a"])
    with pytest.raises(WorldFault, match="cut off"):
        hsi('say("5e89461934bf030f0c4881f8dd0a2779 md5 /a", end="")').hashes(["/a"])


def test_a_listing_that_grows_is_not_hanging(hsi):
    slow = TREE.replace("    say(line)\n", "    say(line); time.sleep(0.5)\n").replace(
        "say(rec", "time.sleep(0.4); say(rec"
    )
    assert len(hsi(slow).list_trees(["/r"]).files) == 2


# -- retrieval


def fetches(tmp_path, *names):
    return [Fetch(f"/h/{name}", str(tmp_path / name)) for name in names]


def test_get(hsi, tmp_path):
    body = """
    for line in lines:
        local, path = paths(line)
        if path == "/h/bad": say("get: Error -5 on transfer /h/bad")
        else: print(put(line, "x" * 7), file=sys.stderr)
        time.sleep(0.1)
    sys.exit(64)
    """
    over = []
    session = hsi(body).get(fetches(tmp_path, "a", "bad", "c\td", "e"), session_name="unit/1", on_fetched=over.append)
    assert session.fetched == [
        Fetched(7, ""),
        Fetched(None, "get: Error -5 on transfer /h/bad"),
        Fetched(None, "NAME-UNSPEAKABLE: its path can't be given to hsi: it holds a control character"),
        Fetched(7, ""),
    ]
    assert (session.exit_status, session.trouble, session.unexplained) == (64, None, [])
    assert over[:2] == [0, 1]
    assert len(over) == len(set(over))


def test_get_of_nothing(hsi, tmp_path):
    assert hsi(None).get([], session_name="s").exit_status == 0
    assert hsi(None).get(fetches(tmp_path, "a\tb"), session_name="s").fetched[0].error.startswith("NAME-UNSPEAKABLE")
    with pytest.raises(ValueError, match="two fetches"):
        hsi(None).get([Fetch("/a", "/l"), Fetch("/b", "/l")], session_name="s")


def test_a_silent_get(hsi, tmp_path):
    """Under some options hsi says nothing: what is on disk tells that an earlier file is over."""
    body = """
    for number, line in enumerate(lines):
        put(line, 'x' * 7)
        while number and not os.path.exists(f"{seen}.{number - 1}"):
            time.sleep(0.01)
    """.replace("{seen}", str(tmp_path / "seen"))
    over = []

    def on_fetched(index):
        over.append(index)
        (tmp_path / f"seen.{index}").touch()

    session = hsi(body, stall_seconds=60).get(fetches(tmp_path, "a", "b", "c"), session_name="s", on_fetched=on_fetched)
    assert over == [0, 1]
    assert session.trouble is None
    assert session.fetched == [Fetched(None, "")] * 3


@pytest.mark.parametrize(
    ("files", "said", "is_told"),
    [
        (3, "", True),
        (1, "", True),
        (3, "connect: Connection refused", False),
        (3, "hpss_SetLoginCred: authentication/initialization failed", False),
    ],
)
def test_the_last_file_is_told_of_unless_the_session_is_in_trouble(hsi, tmp_path, files, said, is_told):
    """Whoever was told would let another session begin, to meet the same."""
    body = """
    for line in lines:
        say(line)
        answer = put(line, 'x' * 7)
        say("{said}" or answer)
    while not os.path.exists("{seen}"):
        time.sleep(0.01)
    """.replace("{seen}", str(tmp_path / "seen")).replace("{said}", said)
    times, looks = [], []

    def may_go_on():
        looks.append(len(times))
        if len(looks) > 15:
            (tmp_path / "seen").touch()
        return True

    names = ["a", "b", "c"][:files]
    session = hsi(body, stall_seconds=60).get(
        fetches(tmp_path, *names), session_name="s", may_go_on=may_go_on, on_last=lambda: times.append(1)
    )
    assert times == [1] * is_told
    assert (session.trouble is None) == is_told


def test_a_slow_get_is_not_stalled(hsi, tmp_path):
    body = """
    with open(paths(lines[0])[0], "w", buffering=1) as file:
        for _ in range(6):
            time.sleep(0.25); file.write("x" * 100 + "\\n")
    """
    assert hsi(body).get(fetches(tmp_path, "a"), session_name="s").trouble is None


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("time.sleep(60)", "HPSS-HANGING"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)", "HPSS-HANGING"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "HSI-CRASHED"),
        ("sys.exit(139)", "HSI-CRASHED"),
        ("sys.exit(75)", "HPSS-SESSION-BROKEN"),
        ("sys.exit(69)", "HPSS-AWAY"),
        ("sys.exit(0)", "HPSS-SESSION-BROKEN"),
        ("print('connect: Connection refused', file=sys.stderr); sys.exit(1)", "HPSS-AWAY"),
        ("say('Segmentation fault'); sys.exit(1)", "HSI-CRASHED"),
    ],
)
def test_sessions_that_go_wrong_half_way(hsi, tmp_path, ending, code):
    session = hsi("say(put(lines[0], 'x' * 7))\n" + ending).get(fetches(tmp_path, "a", "b"), session_name="s")
    assert session.trouble is not None
    assert session.trouble[0] == code
    assert session.fetched == [Fetched(7, ""), Fetched(None, "")]


def test_a_session_that_stalls_at_once(hsi, tmp_path):
    session = hsi("time.sleep(60)").get(fetches(tmp_path, "a"), session_name="s")
    assert session.trouble is not None
    assert session.trouble[0] == "HPSS-HANGING"
    assert session.exit_status < 0


def test_told_to_stop(hsi, tmp_path):
    pids = tmp_path / "pids"
    body = f"""
    import subprocess
    child = subprocess.Popen(["sleep", "60"])
    open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
    time.sleep(60)
    """
    archive = hsi(body, stall_seconds=60)
    asked = []

    def may_go_on():
        asked.append(1)
        return not pids.exists() or len(pids.read_text().split()) < 2

    session = archive.get(fetches(tmp_path, "a"), session_name="s", may_go_on=may_go_on)
    assert session.trouble is not None
    assert session.trouble[0] == "STOPPED"
    for pid in read_pids(pids, 2):
        assert wait_until(lambda pid=pid: not is_alive(pid))


def test_an_exception_of_the_caller_ends_the_session(hsi, tmp_path):
    pids = tmp_path / "pids"
    archive = hsi(f"open({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)", stall_seconds=60)

    def may_go_on():
        if pids.exists() and pids.read_text():
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        archive.get(fetches(tmp_path, "a"), session_name="s", may_go_on=may_go_on)
    (pid,) = read_pids(pids, 1)
    assert wait_until(lambda: not is_alive(pid), 20)
    assert not list((tmp_path / "scratch").iterdir())


def test_what_is_left_running_at_the_end_is_ended(hsi, tmp_path):
    pids = tmp_path / "pids"
    body = f"""
    import subprocess
    child = subprocess.Popen(["sleep", "60"])
    open({str(pids)!r}, "w").write(str(child.pid))
    say(put(lines[0], "x"))
    """
    began = time.monotonic()
    assert hsi(body, stall_seconds=60).get(fetches(tmp_path, "a"), session_name="s").trouble is None
    assert time.monotonic() - began < 50
    (pid,) = read_pids(pids, 1)
    assert wait_until(lambda: not is_alive(pid), 20)


def test_several_sessions_at_once(hsi, tmp_path):
    archive = hsi(
        "for line in lines:\n    time.sleep(0.2); say(put(line, 'x' * 7))\n", leash_seconds=30, stall_seconds=60
    )
    sessions = {}

    def run(name):
        sessions[name] = archive.get(fetches(tmp_path, name), session_name=name)

    threads = [threading.Thread(target=run, args=(f"f{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        archive.pulse()
        time.sleep(0.05)
    assert all(session.trouble is None for session in sessions.values())
    assert len(sessions) == 4
    archive.pulse()


def test_without_a_pulse_the_session_dies(hsi, tmp_path):
    archive = hsi("time.sleep(60)", leash_seconds=0.3, stall_seconds=60)
    session = archive.get(fetches(tmp_path, "a"), session_name="s")
    assert session.trouble is not None
    assert session.trouble[0] == "STOPPED"
    with pytest.raises(WorldFault) as fault:
        archive.list_trees(["/r"])
    assert fault.value.code == "STOPPED"


def test_who_was_frozen_before_it_started_a_session_does_not_start_it(hsi, tmp_path):
    """Others may have taken over meanwhile: its session must not even begin."""
    began = tmp_path / "began"
    archive = hsi(f"open({str(began)!r}, 'w'); time.sleep(60)", leash_seconds=0.2, stall_seconds=60)
    archive.pulse()
    time.sleep(0.3)
    session = archive.get(fetches(tmp_path, "a"), session_name="s")
    assert session.trouble is not None
    assert session.trouble[0] == "STOPPED"
    assert not began.exists()


# -- the leash


HOLDER = """
import sys, threading, time
from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.interface import Fetch
archive = Hsi(clock=SystemClock(), scratch=sys.argv[2], command=[sys.argv[1]], leash_seconds=float(sys.argv[3]), tick_seconds=0.05)
def beat():
    while True:
        archive.pulse()
        time.sleep(0.1)
threading.Thread(target=beat, daemon=True).start()
archive.get([Fetch("/h/a", sys.argv[2] + "/a")], session_name="s")
"""
LONG_HSI = """
import subprocess
child = subprocess.Popen(["sleep", "60"])
open({pids!r}, "w").write(f"{{os.getpid()}} {{child.pid}} {{os.getppid()}}")
time.sleep(60)
"""


@pytest.fixture
def holder(hsi, tmp_path):
    """A process of its own that runs a long session; and the pids of its hsi, hsi's child, and the leash."""
    started = []

    def start(leash_seconds):
        pids = tmp_path / "pids"
        hsi(LONG_HSI.format(pids=str(pids)))
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "hsi"), str(tmp_path), str(leash_seconds)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(process)
        return process, read_pids(pids, 3)

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_when_we_are_killed_hsi_dies_with_us(holder):
    process, pids = holder(0)
    assert all(is_alive(pid) for pid in pids)
    process.kill()
    process.wait()
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids), 20)


def test_when_we_are_frozen_hsi_dies(holder):
    process, pids = holder(1)
    time.sleep(1.5)
    assert all(is_alive(pid) for pid in pids)
    process.send_signal(signal.SIGSTOP)
    try:
        assert wait_until(lambda: not any(is_alive(pid) for pid in pids), 20)
    finally:
        process.send_signal(signal.SIGCONT)


def test_when_the_leash_is_killed_hsi_dies(holder):
    _, (hsi_pid, _child, leash_pid) = holder(0)
    os.kill(leash_pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(hsi_pid), 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_leash_that_is_told_to_end_takes_hsi_with_it(holder, number):
    _, pids = holder(0)
    os.kill(pids[2], number)
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids), 20)


def leashed(*command, seconds="0", deadline="0"):
    read_end, write_end = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-I", "-S", leash.__file__, str(read_end), seconds, deadline, "--", *command],
            pass_fds=(read_end,),
            capture_output=True,
            check=False,
        )
    finally:
        os.close(read_end)
        os.close(write_end)


def test_the_leash_passes_on_how_a_program_ended():
    assert leashed("/bin/sh", "-c", "exit 64").returncode == 64
    assert leashed("/bin/sh", "-c", "kill -SEGV $$").returncode == -signal.SIGSEGV
    assert leashed("/bin/sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL
    nowhere = leashed("/no/such/program")
    assert nowhere.returncode == leash.EX_CANNOT_START
    assert nowhere.stderr.decode().startswith(leash.CANNOT_START)
    assert leashed("/bin/sh", "-c", "echo hi").stdout == b"hi\n"
    assert leashed("/bin/sh", "-c", "echo hi", seconds="60").stdout == b"hi\n"
    too_late = leashed("/bin/sh", "-c", "echo hi", seconds="60", deadline=str(leash.uptime()))
    assert (too_late.stdout, too_late.returncode) == (b"", -signal.SIGKILL)
    assert too_late.stderr.decode().startswith(leash.UNWANTED)


def test_the_leash_restores_the_signals_that_python_ignores():
    ended = leashed("/bin/sh", "-c", "grep SigIgn /proc/$$/status")
    ignored = int(ended.stdout.split()[1], 16)
    # Only those: what whoever started the tests ignores (a shell's background, a batch system) is inherited rightly.
    assert not [number for number in leash.RESET_SIGNALS if ignored >> (number - 1) & 1]

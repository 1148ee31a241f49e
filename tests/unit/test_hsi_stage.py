"""`recall = "stage"`: what hsi is told, and that nothing it says of a `stage` counts for or against a file."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_hsi_runner import fetches, hsi, wait_until

from tacc_sync import config
from tacc_sync.outside.hpss import hsi_commands
from tacc_sync.outside.hpss.hsi_answers import STDERR, STDOUT
from tacc_sync.outside.hpss.hsi_gets import MOST_STAGE_REMARKS, GetsAnswer, Staging
from tacc_sync.outside.hpss.hsi_lines import Dialect
from tacc_sync.outside.hpss.interface import Fetch, Fetched
from tacc_sync.rules.faults import OperatorFault, WorldFault
from tacc_sync.testbed.hsi_words import split_line

__all__ = ["hsi"]

DIALECT = Dialect()
# Whatever a path may hold that can be told to hsi at all.
NAMES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="/\\'"), min_size=1, max_size=12
).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))


def words_of(line):
    (command,) = split_line(line.encode())
    return [(word.text.decode(), any(word.live)) for word in command]


# --- what hsi is told --------------------------------------------------------------------------------------------


@given(PATHS, st.lists(st.sampled_from(["-A", "-w", "-R"]), max_size=2))
def test_a_stage_is_one_command_about_exactly_this_path(path, options):
    command, *rest = words_of(hsi_commands.stage(path, tuple(options)))
    assert command[0] == "stage"
    assert [text for text, _ in rest] == [*options, path]
    # Quoted: no wildcard, blank or semicolon of a name means anything.
    assert rest[-1][1] is False


@given(st.integers(1, 12), st.integers(-1, 15))
def test_so_many_files_are_asked_for_ahead_and_each_before_its_get(count, ahead):
    gets, stages = [f"get {n}" for n in range(count)], [f"stage {n}" for n in range(count)]
    lines = hsi_commands.recall(gets, stages, ahead)
    assert sorted(lines) == sorted(gets + stages)
    assert [line for line in lines if line.startswith("get")] == gets
    open_requests = most = 0
    asked = set()
    for line in lines:
        word, number = line.split()
        if word == "stage":
            asked.add(number)
            open_requests += 1
        else:
            assert number in asked
            open_requests -= 1
        most = max(most, open_requests)
    assert most == min(max(1, ahead), count)


@given(st.lists(PATHS, min_size=1, max_size=6), st.integers(1, 6))
def test_each_line_of_such_a_session_is_known_again(paths, ahead):
    asked = [Fetch(path, f"/buffer/{number}") for number, path in enumerate(paths)]
    answer = GetsAnswer(asked, ("-P",), DIALECT, Staging(("-A",), ahead))
    answer.feed(STDOUT, "".join(f"{line}\n" for line in answer.lines).encode())
    answer.end()
    assert answer.strange == []
    # The last one has only begun.
    assert answer.over == len(paths) - 1


def test_a_line_that_would_be_too_long_is_left_out():
    answer = GetsAnswer(fetched("a", "b"), (), DIALECT, Staging(("-A" * 2500,), 10))
    assert [line.split()[0] for line in answer.lines] == ["get", "get"]


@pytest.mark.parametrize("option", ["-A; rm x", "a b", "'", "-w\n!ls", "", "*", "-" * 100, "é"])
def test_an_option_that_would_be_more_than_a_word_is_refused(option):
    with pytest.raises(OperatorFault, match="stage_options"):
        config.load(None, "", {}, {"hsi.stage_options": [option]})


def test_the_mode_is_off_unless_it_is_chosen_by_its_name():
    assert config.load(None, "", {}, {}).settings.hsi.recall == "order"
    assert config.load(None, "", {}, {"hsi.recall": "stage"}).settings.hsi.recall == "stage"
    for key, value in (("hsi.recall", "Stage"), ("hsi.stage_ahead", "0")):
        with pytest.raises(OperatorFault, match=key):
            config.load(None, "", {}, {key: value})


# --- what it says -------------------------------------------------------------------------------------------------


def fetched(*names):
    return [Fetch(f"/h/{name}", f"/buffer/{name}") for name in names]


def heard(text, *names, ahead=10, stream=STDOUT):
    answer = GetsAnswer(fetched(*names), (), DIALECT, Staging((), ahead))
    answer.feed(stream, text.encode())
    answer.end()
    return answer


def got(name, size=7):
    return f"get  '/buffer/{name}' : '/h/{name}' (2021/03/01 11:15:47 {size} bytes, 1.0 KBS )\n"


COMPLAINTS = [
    "*** stage: No such file or directory [-2: HPSS_ENOENT]\n    /h/a\n",
    "stage: Error -5 on /h/a\n",
    "*** stage: I/O error [-5: HPSS_EIO] /h/a\n",
    "stage '/h/a'\n*** HPSS said no [-5: HPSS_EIO]\n    /h/a\n",
]


@pytest.mark.parametrize("complaint", COMPLAINTS)
@pytest.mark.parametrize("stream", [STDOUT, STDERR])
def test_a_stage_that_fails_says_nothing_against_the_file(complaint, stream):
    answer = heard(complaint + got("a") + got("b"), "a", "b", stream=stream)
    assert [answer.fetched(n) for n in (0, 1)] == [Fetched(7, ""), Fetched(7, "")]
    assert answer.is_explained(has_begun=True)


@pytest.mark.parametrize(
    "complaint", ["get: Error -5 on transfer /h/a\n", "*** get: denied [-13: HPSS_EACCES]\n  /h/a\n"]
)
def test_a_get_that_fails_says_so_although_a_stage_was_repeated_last(complaint):
    answer = heard("get '/buffer/a' : '/h/a'\nstage '/h/b'\n" + complaint, "a", "b", ahead=1)
    assert answer.fetched(0).error
    assert answer.stage_complaints == 0


def test_words_that_nobody_knows_are_unexplained_but_do_not_crowd_out_the_others():
    said = "".join(f"stage: /h/{n} is on its way\n" for n in range(99)) + "what is this?\n"
    answer = heard(said, "a")
    assert len(answer.strange) == MOST_STAGE_REMARKS + 1
    assert answer.strange[-1] == "what is this?"


def test_a_success_of_a_stage_is_no_proof_of_anything():
    answer = heard("stage  '/h/a' (7 bytes)\nstage: '/h/a' : OK\n", "a")
    assert answer.fetched(0) == Fetched(None, "")
    assert answer.over == 0
    assert not answer.is_explained(has_begun=False)


@given(st.lists(st.one_of(st.text(max_size=40), st.sampled_from(COMPLAINTS), st.just(got("a"))), max_size=8))
def test_no_line_makes_a_file_of_a_stage(texts):
    text = "\n".join(texts)
    answer = heard(text, "a", "b")
    # Only hsi's own success line for exactly its pair of paths gives a byte count.
    assert answer.fetched(1) == Fetched(None, answer.fetched(1).error)
    assert answer.fetched(0).reported_bytes in {None, 7}
    assert (answer.fetched(0).reported_bytes == 7) <= (got("a").strip() in text)


# --- sessions -----------------------------------------------------------------------------------------------------

GETS = """
    for line in lines:
        if not line.startswith("get"): continue
        print(put(line, "x" * 7))
        sys.stdout.flush()
    """


def staging(**settings):
    return {"staging": Staging((), 100), **settings}


def test_a_session_stages_first_and_its_indices_are_right(hsi, tmp_path):
    over = []
    body = """
    assert [line.split()[0] for line in lines] == ["stage", "stage", "get", "stage", "get", "get"], lines
    for line in lines:
        say(line)
        if line.startswith("get"): say(put(line, "x" * 7))
        time.sleep(0.05)
    """
    session = hsi(body, staging=Staging((), 2)).get(
        fetches(tmp_path, "a", "b\tc", "d", "e"), session_name="s", on_fetched=over.append
    )
    assert [each.reported_bytes for each in session.fetched] == [7, None, 7, 7]
    assert (session.trouble, session.unexplained) == (None, [])
    assert over[:2] == [0, 2]
    assert set(over) <= {0, 2, 3}


def test_only_the_stages_failed(hsi, tmp_path):
    body = 'say("*** stage: I/O error [-5: HPSS_EIO]"); say("    /h/a")' + GETS + "sys.exit(64)"
    session = hsi(body.replace("\n    ", "\n"), **staging()).get(fetches(tmp_path, "a", "b"), session_name="s")
    assert (session.exit_status, session.trouble) == (64, None)
    assert session.fetched == [Fetched(7, ""), Fetched(7, "")]


def test_an_hsi_that_knows_no_stage_fetches_all_the_same(hsi, tmp_path):
    body = "say(\"*** unrecognized command: 'stage'\")" + GETS + "sys.exit(64)"
    session = hsi(body.replace("\n    ", "\n"), **staging()).get(fetches(tmp_path, "a", "b"), session_name="s")
    assert session.trouble is None
    assert session.unexplained == ["*** unrecognized command: 'stage'"]
    assert session.fetched == [Fetched(7, ""), Fetched(7, "")]


@pytest.mark.parametrize(
    ("ending", "code"),
    [("sys.exit(64)", "HPSS-SESSION-BROKEN"), ("os.kill(os.getpid(), 11)", "HSI-CRASHED")],
)
def test_a_session_that_ends_among_its_stages_is_broken(hsi, tmp_path, ending, code):
    body = f'say("*** stage: I/O error [-5: HPSS_EIO] /h/a"); {ending}'
    session = hsi(body, **staging()).get(fetches(tmp_path, "a"), session_name="s")
    assert session.trouble[0] == code
    assert session.fetched == [Fetched(None, "")]


@pytest.mark.parametrize(
    ("line", "fault", "code"),
    [
        ("HPSS Unavailable", WorldFault, "HPSS-AWAY"),
        ("Unable to authenticate user with HPSS.", OperatorFault, "HPSS-UNAUTHENTICATED"),
        ("too many sessions", WorldFault, "HPSS-SESSIONS"),
    ],
)
def test_trouble_of_the_session_among_its_stages_is_what_it_is_elsewhere(hsi, tmp_path, line, fault, code):
    body = f"say(lines[0]); say({line!r}); sys.exit(1)"
    with pytest.raises(fault) as caught:
        hsi(body, **staging()).get(fetches(tmp_path, "a"), session_name="s")
    assert caught.value.code == code


def test_while_it_stages_it_has_a_patience_of_its_own(hsi, tmp_path):
    body = "time.sleep(0.6)" + GETS
    asked = fetches(tmp_path, "a")
    impatient = {"stall_seconds": 0.2}
    session = hsi(body.replace("\n    ", "\n"), **staging(**impatient, stage_stall_seconds=5)).get(
        asked, session_name="s"
    )
    assert session.fetched == [Fetched(7, "")]
    os.unlink(tmp_path / "a")
    assert hsi(body.replace("\n    ", "\n"), **impatient).get(asked, session_name="s").trouble[0] == "HPSS-HANGING"


def test_one_that_hangs_ends_all_the_same(hsi, tmp_path):
    pid = tmp_path / "pid"
    body = f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    session = hsi(body, **staging(stage_stall_seconds=0.4)).get(fetches(tmp_path, "a"), session_name="s")
    assert session.trouble[0] == "HPSS-HANGING"
    assert re.search("0.4 s", session.trouble[1])
    assert wait_until(lambda: not os.path.exists(f"/proc/{pid.read_text()}"))

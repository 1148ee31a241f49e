"""Large trees in parts: the union is what one session would have said, whatever happens meanwhile."""

import itertools
import re
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoken_tree import SpokenTree, file_line

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.hpss import hsi_division
from tacc_sync.outside.hpss.hsi import Hsi
from tacc_sync.outside.hpss.hsi_lines import Dialect
from tacc_sync.outside.hpss.hsi_parts import PartsAnswer
from tacc_sync.outside.hpss.hsi_process import Ended
from tacc_sync.rules.faults import WorldFault

ROOT = "/home/projects/demo"


class Kept:
    """A checkpoint in memory."""

    def __init__(self, unwanted=()):
        self.parts = {}
        self.kept = []
        self.said = []
        self.unwanted = set(unwanted)
        self.recalled = set()
        self.on_keep = lambda _parts: None

    def recall(self, directory):
        for kind in ("deep", "level"):
            if (directory, kind) in self.parts:
                self.recalled.add(directory)
                return self.parts[directory, kind]
        return None

    def keep(self, parts):
        self.on_keep(parts)
        for part in parts:
            self.kept.append(part.root)
            self.parts[part.root, "deep" if part.subdirectories is None else "level"] = part

    def may_hold(self, directory):
        return directory not in self.unwanted

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def hsi(scratch):
    def make(tree, **settings):
        made = Hsi(
            clock=SystemClock(),
            scratch=scratch,
            command=["/bin/true"],
            **{"listing_sessions": 2, "listing_files": 10, **settings},
        )
        made._kennel = tree
        return made

    return make


def tree_of(*, wide=3, deep=2, files=4, **options):
    """`wide` directories on each of `deep` levels, with as many files in each."""
    found = []
    for level in range(deep + 1):
        for numbers in itertools.product(range(wide), repeat=level):
            here = "/".join([ROOT, *(f"d{n}" for n in numbers)])
            found += [f"{here}/f{n}" for n in range(files)]
    return SpokenTree(found, piece=512, **options)


def summary(listing):
    files = [file.path for file in listing.files]
    assert len(files) == len(listing.files) == len(set(files))
    return sorted(files), listing.directories, sorted((r.path, r.kind) for r in listing.refused)


def looked_at(tree):
    return {line.partition("'")[2][:-1] for line in tree.commands if line.startswith("ls -N -a")}


def listed_whole(tree):
    return {line.partition("'")[2][:-1] for line in tree.commands if "-R" in line}


# -- the union

NAMES = st.text(st.sampled_from("ab \u00e4.-'\""), min_size=1, max_size=3).filter(
    lambda name: name.strip(".") and name == name.strip()
)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=25)


@settings(max_examples=40)
@given(
    files=PATHS,
    empty=PATHS,
    piece=st.integers(20, 500),
    limit=st.integers(1, 12),
    sessions=st.integers(1, 3),
    enough=st.integers(1, 12),
    share=st.integers(1, 3),
)
def test_the_union_is_what_one_session_says(scratch, files, empty, piece, limit, sessions, enough, share):
    files = {"/".join([ROOT, "x", *names]) for names in files}
    # What is a directory is no file.
    files = {path for path in files if not any(other.startswith(f"{path}/") for other in files)}
    empty = {"/".join([ROOT, "y", *names]) for names in empty}
    tree = SpokenTree(files, {*empty, ROOT}, piece=piece)
    whole = Hsi(clock=SystemClock(), scratch=scratch, command=["/bin/true"])
    parts = Hsi(
        clock=SystemClock(), scratch=scratch, command=["/bin/true"], listing_sessions=sessions, listing_files=limit
    )
    whole._kennel = parts._kennel = tree
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hsi_division, "ENOUGH", enough)
        patch.setattr(hsi_division, "SHARE", share)
        kept = Kept()
        assert summary(parts.list_trees([ROOT], kept)) == summary(whole.list_trees([ROOT]))
        again = SpokenTree()
        parts._kennel = again
        if kept.kept:
            # Whatever was kept is all there is: nothing is asked a second time.
            assert summary(parts.list_trees([ROOT], kept)) == summary(whole.list_trees([ROOT]))
            assert not again.sessions


def test_a_small_tree_is_one_session_and_leaves_no_trace(hsi):
    tree, kept = tree_of(), Kept()
    one = hsi(tree, listing_files=1000).list_trees([ROOT], kept)
    assert len(tree.sessions) == 1
    assert not kept.kept
    assert not kept.recalled
    assert len(one.files) == 4 * (1 + 3 + 9)


def test_a_large_tree_is_cut_off_and_listed_by_several_at_once(hsi):
    tree, kept = tree_of(wide=15, deep=2), Kept()
    barrier = threading.Event()

    def before(line):
        # Somebody else lists as well, or this waits in vain.
        if "-R" in line and line != f"ls -a -N -R -P '{ROOT}'":
            barrier.wait(0.002)

    tree.before = before
    listing = hsi(tree, listing_files=100).list_trees([ROOT], kept)
    assert summary(listing) == summary(hsi(tree, listing_files=0).list_trees([ROOT]))
    assert tree.most_at_once == 2
    assert ROOT in listed_whole(tree)
    assert looked_at(tree) == {ROOT, *(f"{ROOT}/d{n}" for n in range(15))}
    # 225 directories, many in one session.
    assert len([lines for lines in tree.sessions if any("-R" in line for line in lines)]) < 120


def test_directories_of_one_child_are_followed_down(hsi):
    deep = "/".join([ROOT, *"abcdefgh"])
    tree = SpokenTree([f"{deep}/d{n}/f{m}" for n in range(20) for m in range(5)], piece=64)
    listing = hsi(tree).list_trees([ROOT])
    assert len(listing.files) == 100
    assert listing.directories == 28
    assert deep in looked_at(tree)


def test_what_is_flat_is_not_worth_a_division(hsi):
    tree = SpokenTree([f"{ROOT}/f{n}" for n in range(500)] + [f"{ROOT}/g/f"], piece=64)
    kept = Kept()
    assert len(hsi(tree).list_trees([ROOT], kept).files) == 501
    assert len(tree.sessions) == 1
    # But it need not be listed again.
    assert kept.kept == [ROOT]


def test_a_part_that_turns_out_to_be_large_is_divided_in_its_turn(hsi, monkeypatch):
    monkeypatch.setattr(hsi_division, "ENOUGH", 3)
    files = [f"{ROOT}/d{n}/f" for n in range(5)] + [f"{ROOT}/d0/e{n}/f{m}" for n in range(40) for m in range(10)]
    tree = SpokenTree(files, piece=64)
    assert len(hsi(tree).list_trees([ROOT]).files) == len(files)
    assert f"{ROOT}/d0" in looked_at(tree) & listed_whole(tree)
    assert f"{ROOT}/d0/e7" in listed_whole(tree) | looked_at(tree)


def test_a_session_in_which_much_was_listed_begins_no_further_directory(hsi, monkeypatch):
    monkeypatch.setattr(hsi_division, "ENOUGH", 3)
    tree = SpokenTree([f"{ROOT}/d{n}/f{m}" for n in range(60) for m in range(30)], piece=256)
    kept = Kept()
    assert set(summary(hsi(tree, listing_files=40, listing_sessions=1).list_trees([ROOT], kept))[0]) == tree.files
    asked = [line for line in tree.commands if "-R" in line and line != f"ls -a -N -R -P '{ROOT}'"]
    assert len(asked) == 60
    # Whose turn was just coming is asked for once more, and no other one.
    assert any(tree.commands[line] > 1 for line in asked)
    assert sum(tree.commands[line] for line in asked) < 75
    assert sorted(kept.kept) == sorted({*kept.kept})


def test_an_hsi_that_does_not_repeat_our_commands_lists_in_one_session(hsi):
    tree = tree_of(wide=5)
    tree.echoes = False
    tree.files.add(f"{ROOT}/last")
    listing = hsi(tree).list_trees([ROOT], Kept())
    assert set(summary(listing)[0]) == tree.files
    assert all(len(lines) <= 3 for lines in tree.sessions)
    assert not looked_at(tree)


def test_what_cannot_be_asked_for_is_listed_with_what_it_lies_in(hsi):
    files = [f"{ROOT}/d{n}/f{m}" for n in range(3) for m in range(9)]
    odd = [f'{ROOT}/d1/it\'s "odd"/f{m}' for m in range(200)] + [f'{ROOT}/d1/it\'s "odd"/more/f']
    tree = SpokenTree(files + odd, piece=64)
    assert set(summary(hsi(tree).list_trees([ROOT]))[0]) == tree.files
    assert f"{ROOT}/d1" in listed_whole(tree)


def test_what_nobody_wants_is_not_listed(hsi):
    tree = tree_of(wide=4)
    kept = Kept(unwanted=[f"{ROOT}/d1", f"{ROOT}/d2/d3"])
    paths = summary(hsi(tree).list_trees([ROOT], kept))[0]
    unwanted = tuple(f"{each}/" for each in kept.unwanted)
    assert paths == sorted(path for path in tree.files if not path.startswith(unwanted))
    assert not kept.unwanted & (looked_at(tree) | listed_whole(tree))


def test_it_says_how_far_it_is(hsi, monkeypatch):
    monkeypatch.setattr(hsi_division, "SECONDS_BETWEEN_LOOKS", 0)
    kept = Kept()
    hsi(tree_of(wide=5)).list_trees([ROOT], kept)
    assert re.fullmatch(rf"{ROOT}: \d+ files so far", kept.said[0])
    assert kept.said[-1] == f"part 31 of 31 of {ROOT}: 124 files so far"


# -- the tree changes meanwhile


def test_a_directory_that_vanishes_meanwhile_is_not_missed(hsi):
    tree = tree_of(wide=3, deep=2)
    gone = {path for path in tree.files if path.startswith(f"{ROOT}/d1/")}

    def before(line):
        if line == f"ls -N -a -P '{ROOT}/d1'":
            tree.files -= gone

    tree.before = before
    listing = hsi(tree).list_trees([ROOT], Kept())
    assert summary(listing) == summary(hsi(tree, listing_files=0).list_trees([ROOT]))
    assert tree.commands[f"ls -N -a -P '{ROOT}'"] == 2


def test_one_that_is_named_again_and_again_and_does_not_exist_is_no_answer(hsi):
    tree = tree_of()

    def before(line):
        if line.endswith(f"'{ROOT}/d1'"):
            return ["*** ls: No such file or directory [-2: HPSS_ENOENT]", f"    {ROOT}/d1"]
        return None

    tree.before = before
    with pytest.raises(WorldFault, match="names it, and yet it does not exist") as caught:
        hsi(tree).list_trees([ROOT], Kept())
    assert caught.value.code == "HPSS-LISTING-BROKEN"


def test_a_source_that_vanishes_meanwhile_is_missing(hsi):
    tree = tree_of()

    def before(line):
        if line == f"ls -N -a -P '{ROOT}'":
            tree.files.clear()

    tree.before = before
    listing = hsi(tree).list_trees([ROOT], Kept())
    assert [(r.path, r.kind) for r in listing.refused] == [(ROOT, "missing"), (ROOT, "missing")][: len(listing.refused)]
    assert listing.refused
    assert not len(listing.files)


def test_one_that_appears_meanwhile_does_no_harm(hsi):
    tree = tree_of()
    before = set(tree.files)

    def appear(line):
        if "d2" in line:
            tree.files.add(f"{ROOT}/new/f")

    tree.before = appear
    assert before <= set(summary(hsi(tree).list_trees([ROOT]))[0]) <= tree.files


def test_a_directory_that_has_become_a_file_is_a_file(hsi):
    tree = tree_of()

    def before(line):
        if line == f"ls -N -a -P '{ROOT}/d1'":
            tree.files = {path for path in tree.files if not path.startswith(f"{ROOT}/d1/")} | {f"{ROOT}/d1"}

    tree.before = before
    assert f"{ROOT}/d1" in summary(hsi(tree).list_trees([ROOT]))[0]


# -- the world


def once(what):
    """Say this once, for each command of which `what` says what."""
    struck = set()

    def before(line):
        if line not in struck and (answer := what(line)) is not None:
            struck.add(line)
            return answer
        return None

    return before


@pytest.mark.parametrize("status", [0, 69, 74, 75, 139])
def test_a_session_that_ends_early_costs_a_second_look_and_nothing_else(hsi, status):
    tree = tree_of(wide=4)
    tree.before = once(lambda line: status if line == f"ls -N -a -P '{ROOT}/d2'" else None)
    if status == 69:
        with pytest.raises(WorldFault, match="69") as caught:
            hsi(tree).list_trees([ROOT])
        assert caught.value.code == "HPSS-AWAY"
    else:
        assert set(summary(hsi(tree).list_trees([ROOT]))[0]) == tree.files


@pytest.mark.parametrize(
    "said",
    [
        [],
        ["what is this"],
        [file_line("/elsewhere/f")],
        [f"DIRECTORY\t{ROOT}/d2/d0/too/deep"],
        [file_line(f"{ROOT}/d2/f0")[:40]],
        [f"ls -N -a -P '{ROOT}/d0'"],
    ],
)
def test_no_part_is_believed_whose_answer_is_not_whole(hsi, said):
    tree = tree_of(wide=3)
    first = f"ls -N -a -P '{ROOT}/d2'"
    tree.before = once(lambda line: said if line == first else None)
    assert set(summary(hsi(tree).list_trees([ROOT]))[0]) == tree.files
    assert tree.commands[first] >= 2
    tree.before = lambda line: said if line == first else None
    if said:
        with pytest.raises(WorldFault) as caught:
            hsi(tree).list_trees([ROOT], kept := Kept())
        assert caught.value.code == "HPSS-LISTING-BROKEN"
        # The others are listed all the same, and need not be again.
        assert f"{ROOT}/d1" in kept.kept
        assert f"{ROOT}/d2" not in kept.kept


def test_an_error_of_one_path_does_not_take_the_others_along(hsi):
    tree = tree_of(wide=3)
    denied = f"{ROOT}/d1"

    def before(line):
        if line.endswith(f"'{denied}'"):
            return ["*** ls: Access denied [-13: HPSS_EACCES]", f"    {denied}"]
        return None

    tree.before = before
    listing = hsi(tree).list_trees([ROOT])
    assert (denied, "denied") in summary(listing)[2]
    assert {path for path in tree.files if not path.startswith(denied)} == set(summary(listing)[0])


def test_an_error_that_passes_is_asked_about_again(hsi):
    tree = tree_of(wide=3)
    path = f"{ROOT}/d1/d2"

    tree.before = once(
        lambda line: ["*** ls: Odd [-5: HPSS_EIO]", f"    {path}"] if line == f"ls -N -a -P '{path}'" else None
    )
    assert set(summary(hsi(tree).list_trees([ROOT]))[0]) == tree.files


def test_fewer_sessions_are_used_when_others_have_them(hsi):
    tree = tree_of(wide=15)
    full = "*** HSI: maximum number of concurrent sessions exceeded"
    open_ = threading.Semaphore(1)
    run = tree.run

    def limited(command, *, on_output, **rest):
        if not open_.acquire(blocking=False):
            on_output(0, f"{full}\n".encode())
            return Ended(75, "")
        try:
            return run(command, on_output=on_output, **rest)
        finally:
            open_.release()

    tree.run = limited
    tree.before = lambda _line: threading.Event().wait(0.0005) or None
    assert set(summary(hsi(tree, listing_sessions=4).list_trees([ROOT]))[0]) == tree.files
    open_.acquire()
    with pytest.raises(WorldFault) as caught:
        hsi(tree).list_trees([ROOT])
    assert caught.value.code == "HPSS-SESSIONS"


def test_an_archive_that_goes_away_ends_it_and_what_was_kept_stays(hsi):
    tree, kept = tree_of(wide=15), Kept()
    count = itertools.count()

    def before(line):
        if "-R" in line and line != f"ls -a -N -R -P '{ROOT}'" and next(count) == 100:
            return ["HPSS Unavailable"]
        return None

    tree.before = before
    with pytest.raises(WorldFault) as caught:
        hsi(tree).list_trees([ROOT], kept)
    assert caught.value.code == "HPSS-AWAY"
    done = {root for root, kind in kept.parts if kind == "deep"}
    assert done
    tree.before = lambda _line: None
    tree.commands.clear()
    listing = hsi(tree).list_trees([ROOT], kept)
    assert set(summary(listing)[0]) == tree.files
    assert not listed_whole(tree) & done
    assert not looked_at(tree)


def test_whoever_asked_fails_and_all_sessions_end(hsi):
    tree, kept = tree_of(wide=15), Kept()

    def full(_parts):
        raise OSError(28, "no space left on device")

    kept.on_keep = full
    with pytest.raises(OSError, match="no space"):
        hsi(tree).list_trees([ROOT], kept)
    assert tree.at_once == 0


def test_of_many_broken_directories_not_all_are_tried(hsi):
    tree = tree_of(wide=15, deep=2)
    tree.before = lambda line: ["what?"] if "-R" in line and line != f"ls -a -N -R -P '{ROOT}'" else None
    with pytest.raises(WorldFault) as caught:
        hsi(tree).list_trees([ROOT])
    assert caught.value.code == "HPSS-LISTING-BROKEN"
    assert len(tree.sessions) < 200


# -- several roots


def test_several_roots_some_of_them_large(hsi):
    tree = tree_of(wide=3)
    tree.files |= {"/home/projects/small/f", "/home/projects/demo2/a/b"}
    roots = [ROOT, "/home/projects/small", "/home/projects/gone", f"{ROOT}/d1"]
    listing = hsi(tree).list_trees(roots, Kept())
    assert summary(listing)[0] == sorted(tree.files - {"/home/projects/demo2/a/b"})
    assert summary(listing)[2] == [("/home/projects/gone", "missing")]


# -- standard error


def test_what_comes_on_standard_error_is_about_a_part_or_spoils_all():
    roots = ["/r/a", "/r/b"]

    def answer(*said):
        made = PartsAnswer(roots, Dialect(), deep=True)
        for part in made.parts:
            made.feed(0, "".join(f"{line}\n" for line in part.lines).encode())
        made.feed(1, "".join(f"{line}\n" for line in said).encode())
        made.end()
        return made

    assert answer("", "[connecting to x]").whys(0) == ["", ""]
    quiet = answer("*** ls: Access denied [-13: HPSS_EACCES]", "    /r/b/x")
    assert quiet.whys(64) == ["", ""]
    assert quiet.parts[1].refused["/r/b/x"].kind == "denied"
    assert all(answer("*** ls: Access denied [-13: HPSS_EACCES]", "    /r/c").whys(64))
    assert all(answer("what?").whys(0))
    assert all(answer(file_line("/r/a/f")).whys(0))
    assert all(answer().whys(75))
    assert answer().whys(None) == ["", "the session was ended before its end was seen"]

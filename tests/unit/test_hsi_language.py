"""hsi's language: what we say can't be misunderstood, what we read is understood or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacc_sync.outside.hpss import hsi_commands, hsi_lines
from tacc_sync.outside.hpss.hsi_answers import STDERR, STDOUT, FilesAnswer, HashesAnswer
from tacc_sync.outside.hpss.hsi_file_lines import FileLines
from tacc_sync.outside.hpss.hsi_gets import GetsAnswer
from tacc_sync.outside.hpss.hsi_lines import Dialect, Ear
from tacc_sync.outside.hpss.hsi_said import Complaint, Directory, Echo, Got, Hash, Noise, Trouble, Unknown, Verified
from tacc_sync.outside.hpss.hsi_tree import TreeAnswer
from tacc_sync.outside.hpss.interface import ArchiveHash, Fetch, ListedFile

DATA = Path(__file__).parents[1] / "data" / "hsi_lines.txt"
TAIL = "\t5\t0\t1\t03/01/2021\t11:15:47\t03/01/2021\t11:30:52"
DIALECT = Dialect()


def hear(*lines, own=()):
    ear = Ear(DIALECT, set(own), FileLines())
    return [said for line in lines for said in ear.hear(line)] + ear.end()


def record(path, size=10, position="840+0", labels="AG084600"):
    return f"FILE\t{path}\t{size}\t{size}\t{position}\t{labels}{TAIL}"


# -- every line that was ever seen


def groups():
    found, name = {}, ""
    for line in DATA.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            name = line[2:]
        elif line:
            found.setdefault(name, []).append(line)
    return found


GROUPS = groups()
LISTED = GROUPS["ls -P"]
GLUED = next(lines for name, lines in GROUPS.items() if name.startswith("ls -P of two tapes"))
TWO_TAPES = ListedFile(
    "/path/to/remote/1000.tar", 51320295424, 427, 1351567309546, ("AU2972", "AU2973"), "2013-04-27T15:19:08"
)


def test_listing_lines():
    assert hear(*LISTED, own=[LISTED[0]]) == [
        Echo(LISTED[0]),
        ListedFile(LISTED[0][7:], 99658060045, 840, 0, ("AG0846",), "2021-03-01T11:15:47"),
        ListedFile("/home/l/lgerhard/159240_test.tar", 2465280, 111, 1121698225, ("EG0101",), "2013-11-06T08:47:20"),
        Directory("/home/tpb/bearcat"),
        ListedFile("/home/tpb/halloy_test", 111670, 3962, 300150, ("X03527",), "2004-01-29T15:25:02"),
        ListedFile("/home/tpb/hic_test/empty", 0, 0, 0, (), "2014-07-10T14:30:40"),
    ]


def test_prompts_and_errors_glued_to_data():
    assert hear(GLUED[0]) == [Noise(), TWO_TAPES]
    error = "*** ls: No such file or directory [-2: HPSS_ENOENT]"
    said = [one for one in hear(*GLUED[1:]) if one != Noise()]
    assert said == [TWO_TAPES, Complaint("/path/to/remote/my_file_2.gz", "missing", error)]


@pytest.mark.parametrize("line", GROUPS["other forms of ls, which we never ask for"])
def test_other_listings_are_not_mistaken_for_ours(line):
    (said,) = hear(line)
    if line.startswith("/") and line.endswith(":"):
        assert said == Noise()
    elif line.startswith("l"):
        assert said == Complaint("", "not-a-file", f"a symbolic link: {line}")
    else:
        assert said == Unknown(line.strip())


def test_a_link_in_the_long_form_is_named_below_its_header():
    link = next(line for line in GROUPS["other forms of ls, which we never ask for"] if line.startswith("l"))
    assert hear("/home/b/bweaver:", link)[1].path == "/home/b/bweaver/cosmo"


GOT = [
    Got("'/tmp/data1.fits' : '/home/myusername/data1.fits'", 1024000000) if line.startswith("get") else Unknown(line)
    for line in GROUPS["get and put"]
]
BANNERS = GROUPS["banners and prompts"]
TROUBLES = {
    "result = -11000, errno = 29": "HPSS-UNAUTHENTICATED",
    "Unable to authenticate user with HPSS.": "HPSS-UNAUTHENTICATED",
    "result = -11000, errno = 9": "",
    "Unable to setup communication to HPSS...": "HPSS-AWAY",
    "*** HSI: error opening logging": "",
    "Error - authentication/initialization failed": hsi_lines.LOGIN_FAILED,
    "Generating .netrc entry...": "HPSS-UNAUTHENTICATED",
    "Password + OTP:": "HPSS-UNAUTHENTICATED",
    "HPSS Unavailable": "HPSS-AWAY",
    "Segmentation fault": "HSI-CRASHED",
    "connect: Connection refused": "HPSS-AWAY",
    "hpssex_OpenConnection: unable to obtain remote site info": "HPSS-AWAY",
}
COMPLAINTS = {
    "*** Warning: `mnv-quoted-products-20260812' is a directory - ignored": (
        "mnv-quoted-products-20260812",
        "not-a-file",
    ),
    "Warning: No matching names located for '{target}'": ("{target}", "missing"),
    "get: Error -5 on transfer /home/u/user/a.tar": ("/home/u/user/a.tar", "error"),
    "hpss_Chdir: Access denied": ("", "denied"),
}


@pytest.mark.parametrize("line", GROUPS["errors, warnings, noise"])
def test_errors(line):
    (said,) = hear(line)
    if line in TROUBLES:
        assert said == Trouble(TROUBLES[line], line)
    elif "unrecognized" in line:
        assert said == Unknown(line)
    elif "no valid checksum" in line:
        assert said == Hash("/home/u/user/a.tar", "/home/u/user/a.tar", "", "")
    else:
        assert said == Complaint(*COMPLAINTS.get(line, ("", "error")), line)


def test_hashes_in_three_formats():
    listed, listed_long, none, none_too, verified, verified_too, created = GROUPS["hashes"]
    path = "/home/u/user/mnv-p3f-smoketest/smoketest.json"
    assert hear(listed) == [Hash(path, f"{path} [hsi]", "md5", "5e89461934bf030f0c4881f8dd0a2779")]
    assert hear(listed_long)[0].path.endswith("universes_full.root")
    assert [said.algorithm for said in hear(none, none_too)] == ["", ""]
    assert hear(none)[0].path == "/home/u/user/backups/scratch_backup/backup_2026-02-20.tar"
    assert all(isinstance(said, Verified) and said.algorithm == "md5" for said in hear(verified, verified_too))
    path = "/home/u/user/legacy/hashcreate_format.root"
    assert hear(created) == [Hash(path, path, "md5", "96c912c71c459fc88507ff27766c4c22")]


def test_get_lines_and_banners():
    assert hear(*GROUPS["get and put"]) == GOT
    assert hear(*BANNERS) == [Noise()] * len(BANNERS)
    assert hear("\r".join(BANNERS[:4]) + "\r" + LISTED[3]) == [Noise()] * 4 + [Directory("/home/tpb/bearcat")]
    assert hear("[connecting to archive.example.org/1217]") == [Noise()]


# -- listing lines, the odd ones


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (record("/a b/ c;!*?[x]{y}'"), "/a b/ c;!*?[x]{y}'"),
        (record("/dätä/ż"), "/dätä/ż"),
        (record("/a/b "), "/a/b "),
        ("FILE \t /a/b \t 10 \t 10 \t 840+0 \t AG084600" + TAIL.replace("\t", " \t "), "/a/b"),
        ("FILE\t /a/b \t 10 \t 10 \t 840+0 \t AG084600" + TAIL.replace("\t", " \t ").rstrip(), "/a/b"),
        (record("/a/b") + "\r", "/a/b"),
        (record("/.hidden/..x/b"), "/.hidden/..x/b"),
    ],
)
def test_names(line, expected):
    (said,) = hear(line)
    assert (said.path, said.size, said.section, said.volumes) == (expected, 10, 840, ("AG0846",))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/a/b\tc", "control"),
        ("/a/b\rc", "control"),
        ("/a/b\x1b[2Jc", "control"),
        ("/a/b\udcff", "UTF-8"),
        ("/a/'b\"", "both kinds"),
        ("/a/b\\", "backslash"),
        ("/a/" + "b" * 1022, "longer"),
    ],
)
def test_names_that_we_cannot_say_are_those_of_files_all_the_same(path, reason):
    (said,) = hear(record(path))
    assert (said.path, said.size, said.volumes) == (path, 10, ("AG0846",))
    assert reason in hsi_commands.why_unspeakable(path)


@pytest.mark.parametrize("path", ["/a/../../etc/passwd", "/a//b", "/a/./b", "/a/b/"])
def test_a_path_that_could_lead_anywhere_is_no_file(path):
    (said,) = hear(record(path))
    assert (said.path, said.kind) == (path, "unspeakable")


@pytest.mark.parametrize(
    ("position", "labels", "expected"),
    [
        ("427+1351567309546", "AU297200,AU297300", (427, 1351567309546, ("AU2972", "AU2973"))),
        ("427+987654321098765432", "AU297200", (427, 987654321098765432, ("AU2972",))),
        ("0", "", (0, 0, ())),
        ("0", "  ", (0, 0, ())),
        ("17", "0", (0, 0, ())),
        ("5+1", "X0352700, X0352800", (5, 1, ("X03527", "X03528"))),
        ("5+1", "X0352700,X0352700", (5, 1, ("X03527",))),
        ("5+1", "X03", None),
        ("5+1", "X0352-00", None),
        ("5+", "X0352700", None),
        ("+1", "X0352700", None),
    ],
)
def test_positions(position, labels, expected):
    (said,) = hear(record("/a", position=position, labels=labels))
    if expected is None:
        assert isinstance(said, Unknown)
    else:
        assert (said.section, said.offset, said.volumes) == expected


@pytest.mark.parametrize(
    "line",
    [
        record("/a").removesuffix("2"),
        record("a"),
        record("/a", size="-1"),
        record("/a", size="1_0"),
        record("/a", size="٣"),
        record("/a").replace("03/01/2021", "13/01/2021", 1),
        record("/a").replace("11:15:47", "24:15:47"),
        record("/a") + record("/b"),
        "FILE\t/a",
        "FILE\t/a\t10",
        "DIRECTORY\tx",
        "DIRECTORY\t/a\t7",
        "FILE\t/a*** ls: oops [-5: HPSS_EIO]",
        "7 files listed",
        "5e89461934bf030f0c4881f8dd0a27 md5 /cut [hsi]",
        "5e89461934bf030f0c4881f8dd0a2779 (md5 /odd",
    ],
)
def test_what_is_not_whole_is_unknown_or_two_things(line):
    said = hear(line)
    if line == record("/a") + record("/b"):
        assert [one.path for one in said] == ["/a", "/b"]
    else:
        assert [type(one) for one in said] == [Unknown]


def test_other_objects():
    assert hear("DIRECTORY \t /a/b") == [Directory("/a/b")]
    assert hear("LINK\t/a/b") == [Complaint("/a/b", "not-a-file", "hsi calls it LINK")]
    assert hear("SYMBOLIC LINK\t/a/b \tx") == [Complaint("/a/b", "not-a-file", "hsi calls it SYMBOLIC LINK")]


def test_two_line_errors():
    denied = "*** ls: Permission denied [-13: HPSS_EACCES]"
    assert hear(denied, "    /a b/c")[1:] == [Complaint("/a b/c", "denied", denied)]
    assert hear(denied, record("/a"))[1] == Complaint("", "denied", denied)
    assert hear(denied)[1:] == [Complaint("", "denied", denied)]
    assert hear("*** ls: I/O error [-5: HPSS_EIO]", "\t'/a'")[1].kind == "error"


# -- what we say


def test_quoting():
    assert hsi_commands.list_tree("/a b") == "ls -a -N -R -P '/a b'"
    assert hsi_commands.list_one("/it's") == 'ls -N -P "/it\'s"'
    assert hsi_commands.get("/h;x", "/l", ("-c", "on", "-P")) == "get -c on -P '/l' : '/h;x'"
    assert hsi_commands.in_file(["a", "b"]) == b"a\nb\n"
    with pytest.raises(ValueError, match="control"):
        hsi_commands.quoted("/a\n!rm -rf ~")
    for path in ("", "a", "/a/", "//a", "/a/../b", "/a/./b", "/a\x00", "/a\u2028b", "/a\x85"):
        assert hsi_commands.why_unspeakable(path)
    for path in ("/", "/a", "/-rf", "/..a/.b", "/" + "b" * 1023):
        assert not hsi_commands.why_unspeakable(path)
    assert hsi_commands.word("/tmp/x.in") == "/tmp/x.in"
    assert hsi_commands.word("/tmp/x y.in") == "'/tmp/x y.in'"
    assert "longer" in hsi_commands.why_not_gettable("/a" * 100, "/l", ("-x" * 2000,))
    assert "buffer" in hsi_commands.why_not_gettable("/a", "l", ())


def words_of(line, *, backslash_escapes):
    """A reference reader of hsi's command lines: blanks part words, `;` parts commands, quotes protect."""
    commands, word, quote, at = [[]], None, "", 0
    while at < len(line):
        char = line[at]
        if backslash_escapes and char == "\\" and at + 1 < len(line):
            at += 1
            word = (word or "") + line[at]
        elif quote:
            if char == quote:
                quote = ""
            else:
                word += char
        elif char in "'\"":
            quote, word = char, word or ""
        elif char in " \t\n;":
            if word is not None:
                commands[-1].append(word)
                word = None
            if char in ";\n":
                commands.append([])
        else:
            word = (word or "") + char
        at += 1
    assert not quote
    return [*commands[:-1], [*commands[-1], *([word] if word is not None else [])]]


nasty = st.text(alphabet=st.sampled_from("ab/ ;!'\"\\\n\t*{}-:#\udc80ü"), max_size=12) | st.text(max_size=20)


@given(nasty, nasty, st.booleans())
def test_no_path_becomes_another_command(hpss, local, backslash_escapes):
    hpss, local = "/" + hpss, "/" + local
    if hsi_commands.why_not_gettable(hpss, local, ("-P",)):
        return
    line = hsi_commands.get(hpss, local, ("-P",))
    assert len(line.splitlines()) == 1
    assert line.encode().count(b"\n") == 0
    assert words_of(line, backslash_escapes=backslash_escapes) == [["get", "-P", local, ":", hpss]]


@given(nasty)
def test_a_listed_name_is_the_name_that_was_printed(path):
    path = "/" + path.replace("\n", "")
    (said,) = hear(record(path))
    assert said.path in (path, "") or isinstance(said, Unknown)
    assert isinstance(said, ListedFile) or hsi_commands.why_unspeakable(path)
    assert not isinstance(said, ListedFile) or hsi_commands.is_normal(path)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(data):
    for answer in (
        TreeAnswer("/r", DIALECT),
        FilesAnswer(["/r"], DIALECT),
        HashesAnswer(["/r"], DIALECT),
        GetsAnswer([Fetch("/r", "/l")], (), DIALECT),
    ):
        for stream in (STDOUT, STDERR):
            for at in range(0, len(data), 7):
                answer.feed(stream, data[at : at + 7])
        answer.end()
    tree = TreeAnswer("/r", DIALECT)
    tree.feed(STDOUT, data)
    tree.end()
    assert tree.why_incomplete(0)


ALL_LINES = [line for lines in GROUPS.values() for line in lines]


@given(st.lists(st.sampled_from(ALL_LINES), max_size=6), st.data())
def test_mutated_lines_can_be_read(lines, data):
    text = "\n".join(lines)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + data.draw(st.sampled_from(["", "\t", "\r", "FILE\t/", "'", "A:/x-> ", "*** ", "\n"]))
            + text[at + 2 :]
        )
    hear(*text.split("\n"))


# -- whole answers


def tree_output(entries, *, echo=True, root="/r", stranger=""):
    """What hsi prints for a TreeAnswer; entries are files, or directories with a slash at their end."""
    answer = TreeAnswer(root, DIALECT, stranger=stranger)

    def printed(path):
        return f"DIRECTORY\t{path[:-1]}" if path.endswith("/") else record(path)

    top = [path for path in entries if "/" not in path.removeprefix(root.rstrip("/") + "/").rstrip("/")]
    lines = []
    for command, paths in zip(answer.lines, (entries, top, None), strict=False):
        lines += [command] if echo else []
        lines += ["*** ls: No such file or directory [-2: HPSS_ENOENT]", f"    {stranger}"] if paths is None else []
        lines += [printed(path) for path in paths or ()]
    return answer, "".join(line + "\n" for line in lines).encode()


def judge(answer, output, status=0, stream=STDOUT):
    answer.feed(stream, output)
    answer.end()
    return answer.why_incomplete(status)


TREE = ["/r/.h/", "/r/.h/f", "/r/a", "/r/b c", "/r/d/", "/r/d/e/", "/r/d/e/f", "/r/e/"]


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("stranger", ["", "/r/.stranger"])
def test_a_whole_tree(echo, stranger):
    answer, output = tree_output(TREE, echo=echo, stranger=stranger)
    assert judge(answer, output, 64 if stranger else 0) == ""
    assert [file.path for file in answer.files] == [path for path in TREE if not path.endswith("/")]
    assert answer.directories == 4
    assert answer.echoed is echo


def test_a_tree_on_standard_error():
    answer, output = tree_output(TREE, echo=False)
    assert judge(answer, output, stream=STDERR) == ""


@pytest.mark.parametrize("entries", [TREE, ["/r/a"], ["/r/d/", "/r/d/x"], []])
@pytest.mark.parametrize(("echo", "stranger"), [(True, ""), (False, ""), (True, "/r/.s"), (False, "/r/.s")])
def test_every_cut_is_noticed(entries, echo, stranger):
    _, output = tree_output(entries, echo=echo, stranger=stranger)
    whole = {file for file in entries if not file.endswith("/")}
    for cut in range(len(output)):
        for status in (0, 64, 75):
            answer, _ = tree_output(entries, echo=echo, stranger=stranger)
            if judge(answer, output[:cut], status):
                continue
            # What is accepted in spite of a cut lost nothing but words behind the end.
            assert {file.path for file in answer.files} == whole
            assert output[:cut].endswith(b"\n")
            assert not echo or stranger or not entries


@settings(deadline=None)
@given(st.data())
def test_any_missing_stretch_of_lines_at_the_top_is_noticed(data):
    _, output = tree_output(TREE, echo=data.draw(st.booleans()))
    lines = output.splitlines(keepends=True)
    start = data.draw(st.integers(0, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    kept = lines[:start] + lines[end:]
    answer, _ = tree_output(TREE)
    if judge(answer, b"".join(kept)) == "":
        found = {file.path for file in answer.files}
        assert {"/r/a", "/r/b c"} <= found


def test_silence_is_not_a_tree():
    assert "end of the listing" in judge(TreeAnswer("/r", DIALECT), b"")


@pytest.mark.parametrize("status", [64, 69, 70, 74, 75, -11, 139])
def test_an_exit_status_wants_a_reason(status):
    answer, output = tree_output(TREE)
    assert str(status) in judge(answer, output, status)


def test_a_named_error_explains_an_exit_status_but_not_all():
    error = b"*** ls: Permission denied [-13: HPSS_EACCES]\n    /r/d/e\n"
    for status, is_explained in ((64, True), (0, True), (75, False), (-9, False), (74, False)):
        answer, output = tree_output(TREE)
        answer.feed(STDERR, error)
        assert (judge(answer, output, status) == "") is is_explained
        assert answer.refused["/r/d/e"].kind == "denied"


def test_a_missing_root():
    error = "*** ls: No such file or directory [-2: HPSS_ENOENT]\n    /r\n"
    answer = TreeAnswer("/r", DIALECT)
    assert judge(answer, f"{answer.lines[0]}\n{error}{answer.lines[1]}\n{error}".encode(), 64) == ""
    assert [(r.path, r.kind) for r in answer.refused.values()] == [("/r", "missing")]
    answer = TreeAnswer("/r", DIALECT)
    assert judge(answer, (error * 2).encode(), 64) == ""
    assert judge(TreeAnswer("/r", DIALECT), error.encode(), 64)


def test_a_root_that_is_a_file():
    answer = TreeAnswer("/r", DIALECT)
    line = record("/r") + "\n"
    assert judge(answer, f"{answer.lines[0]}\n{line}{answer.lines[1]}\n{line}".encode()) == ""
    assert [file.path for file in answer.files] == ["/r"]


def test_the_whole_archive():
    answer, output = tree_output(["/a", "/d/", "/d/x"], root="/")
    assert judge(answer, output) == ""
    assert len(answer.files) == 2


def test_trash_is_left_out():
    answer, output = tree_output(["/r/.Trash/", "/r/.Trash/x", "/r/a", "/r/.Trashy"])
    answer.feed(STDERR, b"*** ls: Permission denied [-13: HPSS_EACCES]\n    /r/.Trash/u\n")
    assert judge(answer, output, 64) == ""
    assert [file.path for file in answer.files] == ["/r/a", "/r/.Trashy"]
    assert not answer.refused


def test_links_are_refused_and_unspeakable_names_are_not():
    answer = TreeAnswer("/r", DIALECT)
    entries = "LINK\t/r/l\n" + record("/r/x\ty") + "\n" + record("/r/n\udcff") + "\n"
    output = f"{answer.lines[0]}\n{entries}{answer.lines[1]}\n{entries}".encode("utf-8", "surrogateescape")
    assert judge(answer, output) == ""
    assert {r.path: r.kind for r in answer.refused.values()} == {
        "/r/l": "not-a-file",
    }
    assert [file.path for file in answer.files] == ["/r/x\ty", "/r/n\udcff"]


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        record("/elsewhere/x"),
        record("/rr/x"),
        record("/r/d/e/f"),
        "DIRECTORY\t/elsewhere",
        "*** ls: oops [-5: HPSS_EIO]",
        "*** ls: oops [-5: HPSS_EIO]\n    /elsewhere",
        "Aborting transfer",
        "5e89461934bf030f0c4881f8dd0a2779 md5 /r/a [hsi]",
        "connect: Connection refused",
        "x" * 70000,
    ],
)
@pytest.mark.parametrize("where", [1, -1])
def test_strange_lines_break_a_listing(line, where):
    answer, output = tree_output(TREE)
    lines = output.decode().splitlines()
    lines.insert(where % len(lines), line)
    assert judge(answer, "".join(f"{one}\n" for one in lines).encode())


def test_a_session_that_begins_anew_is_not_one_listing():
    answer, output = tree_output(TREE)
    first_half = output[: output.index(b"FILE\t/r/b c")]
    assert judge(answer, first_half + output)


def test_a_tree_that_lacks_a_directory_of_its_top():
    answer, output = tree_output(TREE)
    lines = output.splitlines(keepends=True)
    lacking = [line for number, line in enumerate(lines) if number > len(TREE) or b"/r/e" not in line]
    assert "second look: '/r/e'" in judge(answer, b"".join(lacking))


def test_an_entry_from_deep_inside_behind_the_end():
    for echo in (True, False):
        answer, output = tree_output(TREE, echo=echo)
        assert "behind the end" in judge(answer, output + record("/r/d/e/f").encode() + b"\n")


@pytest.mark.parametrize("path", ["/elsewhere/x", "/rr/x", "/R", "/"])
def test_what_lies_elsewhere_is_told(path):
    answer, output = tree_output(TREE)
    assert "not below /r" in judge(answer, record(path + "y").encode() + b"\n" + output)


def test_a_line_without_an_end_is_not_kept():
    answer = TreeAnswer("/r", DIALECT)
    for _ in range(100):
        answer.feed(STDOUT, b"x" * 10000)
        assert len(answer._carry[STDOUT]) <= 64 * 1024
    assert "more than 65536 bytes" in judge(answer, b"")


def test_noise_in_the_middle_does_no_harm():
    answer, output = tree_output(TREE)
    noisy = output.replace(b"\nFILE\t/r/d", b"\n[connecting to archive.example.org/1217]\nFILE\t/r/d")
    assert noisy != output
    assert judge(answer, noisy) == ""


def test_files_are_seen_or_refused_by_name():
    answer = FilesAnswer(["/a", "/b", "/d", "/gone", "/silent", "/l"], DIALECT)
    lines = [record("/a"), record("/b"), record("/d/x"), "DIRECTORY\t/d/y", "LINK\t/l"]
    lines += ["*** ls: No such file or directory [-2: HPSS_ENOENT]", "    /gone"]
    answer.feed(STDOUT, "".join(f"{line}\n" for line in lines).encode())
    answer.end()
    assert not answer.why_incomplete()
    assert sorted(answer.found) == ["/a", "/b"]
    assert {path: refused.kind for path, refused in answer.refused.items()} == {
        "/d": "not-a-file",
        "/gone": "missing",
        "/l": "not-a-file",
    }
    assert answer.silent() == ["/silent"]


@pytest.mark.parametrize("line", [record("/other"), "hm", "DIRECTORY\t/other", record("/a")[:-1], "*** ls: oops"])
def test_strange_lines_break_a_listing_of_files(line):
    answer = FilesAnswer(["/a"], DIALECT)
    answer.feed(STDOUT, line.encode() + b"\n")
    answer.end()
    assert answer.why_incomplete()


def test_hashes_are_seen_or_refused_by_name():
    md5, sha512 = "5e89461934bf030f0c4881f8dd0a2779", "ab" * 64
    answer = HashesAnswer(["/a b", "/odd [x]", "/none", "/gone", "/two"], DIALECT)
    lines = [f"{md5} md5 /a b [hsi]", f"{md5.upper()} MD5 /odd [x]", "(none)  /none"]
    lines += [f"{md5} md5 /two [hsi]", f"{sha512} sha-512 /two [hsi]", f"{md5} md5 /two [hsi]"]
    lines += ["*** hashlist: No such file or directory [-2: HPSS_ENOENT]", "    /gone"]
    answer.feed(STDOUT, "".join(f"{line}\n" for line in lines).encode())
    answer.end()
    assert not answer.why_incomplete()
    assert answer.found == {
        "/a b": ArchiveHash("md5", md5),
        "/odd [x]": ArchiveHash("md5", md5),
        "/none": None,
        "/two": ArchiveHash("sha512", sha512),
    }
    assert answer.refused["/gone"].kind == "missing"
    assert answer.silent() == []


def gets(*pairs, flags=("-P",)):
    return GetsAnswer([Fetch(hpss, local) for hpss, local in pairs], flags, DIALECT)


def test_success_and_failure_of_gets():
    answer = gets(("/h/a b", "/l/1"), ("/h/it's (x)", "/l/2"), ("/h/c", "/l/3"), ("/h/c.d", "/l/4"), ("/h/e", "/l/5"))
    output = (
        "get  '/l/1' : '/h/a b' (2011/10/04 16:28:50 7 bytes, 1.0 KBS )\n"
        "get  '/l/2' : '/h/it's (x)' (2011/10/04 16:28:50 8 bytes, 1.0 KBS )\n"
        "get: Error -5 on transfer /h/c.d\n"
        "*** get: No such file or directory [-2: HPSS_ENOENT]\n    /h/c\n"
        "get  '/l/9' : '/h/c' (2011/10/04 16:28:50 9 bytes, 1.0 KBS )\n"
        "Aborting transfer\n"
    )
    answer.feed(STDERR, output.encode())
    answer.end()
    assert answer.sizes == [7, 8, None, None, None]
    assert "ENOENT" in answer.fetched(2).error
    assert "Error -5" in answer.fetched(3).error
    assert answer.over == 2
    assert answer.unanswered() == [4]
    assert len(answer.strange) == 2


def test_an_error_without_a_path_belongs_to_the_command_that_was_just_repeated():
    answer = gets(("/h/a", "/l/a"), ("/h/b", "/l/b"))
    answer.feed(STDOUT, f"{answer.lines[1]}\nError -5 on transfer\n".encode())
    answer.end()
    assert answer.fetched(1).error == "Error -5 on transfer"
    assert answer.over == 1
    assert answer.fetched(0) == type(answer.fetched(0))(None, "")


def test_a_missing_checksum_is_no_failure():
    answer = gets(("/h/a", "/l/a"))
    answer.feed(STDOUT, b"get: checksum not set for /h/a\n")
    answer.end()
    assert not answer.fetched(0).error
    assert not answer.strange


def test_an_error_about_a_longer_name_is_not_about_ours():
    answer = gets(("/h/a", "/l/a"))
    answer.feed(STDOUT, b"get: Error -5 on transfer /h/ab\n")
    answer.end()
    assert answer.fetched(0).error == ""
    assert answer.strange


def test_our_own_echo_is_not_a_success():
    answer = gets(("/h/a", "/l/a"), flags=())
    answer.feed(STDOUT, f"{answer.lines[0]}\n".encode())
    answer.end()
    assert answer.sizes == [None]


# -- troubles


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (list(TROUBLES)[:6], "HPSS-UNAUTHENTICATED"),
        (["Generating .netrc entry...", "Must run interactively to update .netrc"], "HPSS-UNAUTHENTICATED"),
        (["Unable to setup communication to HPSS...", "Error - authentication/initialization failed"], "HPSS-AWAY"),
        (["Error - authentication/initialization failed"], "HPSS-UNAUTHENTICATED"),
        (["HPSS Unavailable"], "HPSS-AWAY"),
        (["*** HSI: maximum number of concurrent sessions exceeded"], "HPSS-SESSIONS"),
        (["Segmentation fault (core dumped)"], "HSI-CRASHED"),
        (["result = -11000, errno = 9"], None),
        ([record("/r/HPSS Unavailable")], None),
    ],
)
def test_troubles_of_a_session(lines, code):
    answer = TreeAnswer("/r", DIALECT)
    answer.feed(STDERR, "\n".join(lines).encode() + b"\n")
    answer.end()
    trouble = answer.trouble()
    assert (trouble and trouble[0]) == code


def test_a_site_may_speak_its_own_dialect():
    dialect = Dialect(sessions=("Zu viele",), away=("Feierabend",), authentication=("Wer da",), noise=("^Moin",))
    ear = Ear(dialect, set(), FileLines())
    said = [
        ear.hear(line)[0] for line in ("Zu viele Sitzungen", "Feierabend", "Wer da?", "Moin moin", "HPSS Unavailable")
    ]
    assert [getattr(one, "code", type(one).__name__) for one in said] == [
        "HPSS-SESSIONS",
        "HPSS-AWAY",
        "HPSS-UNAUTHENTICATED",
        "Noise",
        "Unknown",
    ]


def test_a_flood_of_strange_lines_is_cut_short():
    answer = TreeAnswer("/r", DIALECT)
    for _ in range(100):
        answer.feed(STDOUT, b"what? " * 200 + b"\n")
    assert len(answer.strange) == 50
    assert len(answer.strange_text()) < 4000
    assert re.search(r"and 45 more$", answer.strange_text())


def test_a_million_lines_stay_cheap():
    answer = TreeAnswer("/r", DIALECT)
    lines = [record(f"/r/d/{number:06d}") for number in range(20000)]
    import time

    began = time.process_time()
    for start in range(0, len(lines), 400):
        answer.feed(STDOUT, ("\n".join(lines[start : start + 400]) + "\n").encode())
    # About 2 microseconds a line; only a mistake of an order of magnitude is to be found here.
    assert (time.process_time() - began) / len(lines) < 30e-6
    assert len(answer.files) == len(lines)


# -- many lines at once

COLUMNS = [
    (["/r/d/a", "/r/d/b", "/r/d/e/a", "/r/e/a"], ["", "/", "/r", "/r/a", "/r/d/", "/r/d/.b", "/r/d//b", "/r/d/b ",
      '/r/d/"', "/r/d/\\", "/r/d/\u2028", "/r/d/\udcff", "/r/d/\r", "/s/d", "r/d", "/r/.Trash/a", "/r/d/" + "x" * 250, "7"]),
    (["10", "0", "99658060045"], ["", "x", "-1", " 10", "10 ", "\u0661", "\u00b2", "1_0", "9" * 20]),
    (["10", "0"], ["", "x", "10 ", "\u0661"]),
    (["840+0", "0+0", "427+1351567309546", "0"], ["", "+", "8+", "+8", "8+8+8", "8+ 8", "\u0661+0"]),
    (["AG084600", "AU031800,AU031900", "", " "], ["AG0846\r", "AG08,46", "0", "AG084600 ", "\u0661" * 8, "AG-84600"]),
    (["5", "12"], ["", "x", " 5", "/r/d/a"]),
    (["0"], ["", "\u0661"]),
    (["1"], ["", "1\r"]),
    (["03/01/2021", "12/31/2009"], ["", "13/01/2021", "03/32/2021", "3/1/2021", " 03/01/2021", "03/01/\u06612021"]),
    (["11:15:47", "00:00:00", "23:59:60"], ["", "24:00:00", "11:60:47", "1:15:47", "11:15:47 "]),
    (["03/01/2021"], ["", "99/99/2021", "03/01/21"]),
    (["11:30:52"], ["", "11:30:52\r", "11:30:52FILE", "99:99:99", "11:30:52A:/r-> ", "11:30", "11:30:52\tx"]),
]  # fmt: skip
OTHER_LINES = [
    "DIRECTORY\t/r/d", "DIRECTORY\t/r/d/e", "DIRECTORY\t/r", "DIRECTORY\tx", "DIRECTORY\t/r/d\tFILE\t", "DIRECTORY /r/d",
    "DIRECTORY\t/r/d\r", "", "FILE", "\tFILE\t/r/d/a", "A:/r-> " + record("/r/d/p"), record("/r/d/a") + record("/r/d/b"),
    record("/r/d/a") + record("/r/d/b").removeprefix("FILE"), "[connecting to host/1]", "ls: cannot access", "*** ls: No such file or directory [-2: HPSS_ENOENT]", "    /r/d/gone",
    hsi_commands.list_tree("/r"), hsi_commands.list_top("/r"), "DIRECTORY\t/s", "LINK\t/r/d/l",
]  # fmt: skip


@st.composite
def said_lines(draw):
    """A line of a listing, plain in nearly all cases, else with one field that is not as it should be."""
    odd = draw(st.sampled_from([*range(12), *["other"] * 4, *[None] * 24]))
    if odd == "other":
        return draw(st.sampled_from(OTHER_LINES))
    fields = [draw(st.sampled_from(bad if column == odd else good)) for column, (good, bad) in enumerate(COLUMNS)]
    if odd != 2 and draw(st.booleans()):
        fields[2] = fields[1]
    return "\t".join(["FILE", *fields])


def state(answer):
    files = list(answer.files)
    return (
        sorted(map(repr, files)),
        answer.directories,
        answer.refused,
        sorted(answer.strange),
        answer.troubles,
        answer.echoed,
        [answer.why_incomplete(status) for status in (0, 74)] if not answer.strange else [],
    )


def assert_same(pieces):
    """What is fed in pieces says what its lines say one by one."""
    together, alone = TreeAnswer("/r", DIALECT), TreeAnswer("/r", DIALECT)
    for piece in pieces:
        together.feed(STDOUT, piece)
    alone.files_heard.plain_lines = lambda _: None
    for line in b"".join(pieces).splitlines(keepends=True):
        # Cut behind carriage returns too: what is no whole line is kept until it is one.
        alone.feed(STDOUT, line)
    together.end()
    alone.end()
    assert state(together) == state(alone)


@settings(max_examples=200)
@given(st.lists(said_lines(), max_size=30), st.data())
def test_many_lines_at_once_say_what_each_says_alone(lines, data):
    output = "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")
    if output and data.draw(st.integers(0, 3)) == 0:
        # A byte lost, or a line end that should not be there.
        at = data.draw(st.integers(0, len(output) - 1))
        output = output[:at] + data.draw(st.sampled_from([b"", b"\n", b"\t"])) + output[at + 1 :]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=4)))
    assert_same([output[start:end] for start, end in zip([0, *cuts], [*cuts, len(output)], strict=True)])


def test_one_odd_line_among_many():
    plain = [good[0] for good, _ in COLUMNS]
    odd = [line.split("\t") for line in OTHER_LINES]
    for column, (good, bad) in enumerate(COLUMNS):
        for text in [*good, *bad, *(f"{text}{end}" for text in good for end in ("\n", "\r", "\t", "\n1"))]:
            odd.append(["FILE", *plain[:column], text, *plain[column + 1 :]])
    for fields in odd:
        for before, behind in [(0, 0), (1, 1), (2, 0), (0, 1)]:
            lines = [record(f"/r/d/{number}") for number in range(before + behind)]
            lines[before:before] = ["\t".join(fields)]
            assert_same(["".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")])
    # A line that lost some fields beside one that has as many too many.
    line = record("/r/d/a")
    for cut in range(len(line)):
        assert_same([f"{line[:cut]}\n{line}{line[cut:]}\n{line}\n".encode()])
        assert_same([f"{line}\n{line[:cut]}\n{line[cut:]}\n".encode()])


@given(st.lists(said_lines(), min_size=1, max_size=6), st.data())
def test_plain_lines_are_those_that_are_plain_one_by_one(lines, data):
    reader = FileLines()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lines)), max_size=3)))
    parts = [lines[start:end] for start, end in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    together = reader.plain_lines("".join(f"\n{line}" for line in part) for part in parts)
    alone = [FileLines().plain(line) for line in lines]
    if together is not None:
        assert together.files == alone
        assert [f"{directory}/{name}" for directory, names in together.names for name in names] == [
            file.path for file in alone
        ]
    elif None not in alone:
        # Left to the reader of single lines, which is no harm: what nearly no archive says.
        assert any(odd in line for line in lines for odd in ("/99/", "9" * 20, "99/99/2021", "99:99:99"))


@pytest.mark.parametrize("position", ["0+0", "9+" + "9" * 5000, "9" * 20 + "+0"])
def test_numbers_of_no_sane_length_are_no_file(position):
    line = record("/r/d/a", 10 if position != "0+0" else 10**20, position)
    assert hear(line) == [Unknown(line)]
    answer = TreeAnswer("/r", DIALECT)
    answer.feed(STDOUT, f"{line}\n".encode())
    assert answer.strange


def test_whole_blocks_of_a_listing_are_understood_at_once():
    names = [f"/r/{top}/{name}" for top in "ab" for name in ("x y", "\u00e4\u6771", "z'", "+1", "a.b")]
    lines = [f"DIRECTORY\t/r/{top}" for top in "ab"] + [record(name) for name in names] + [record("/r/a/e", 0, "0", "")]
    answer = TreeAnswer("/r", DIALECT)
    answer.files_heard.any = answer.files_heard.plain = None  # the readers of single lines are not asked
    answer.feed(STDOUT, "\n".join([*lines, ""]).encode())
    assert [file.path for file in answer.files] == [*names, "/r/a/e"]
    assert answer.directories == 2
    assert list(answer.files)[-1] == ListedFile("/r/a/e", 0, 0, 0, (), "2021-03-01T11:15:47")

"""The simulated hsi, run as the operator's tools run it: a program, its output, its exit status."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tacc_sync.testbed.hpss_log import read_log
from tacc_sync.testbed.hpss_sessions import admit, living_sessions
from tacc_sync.testbed.hpss_settings import Settings, SitePaths
from tacc_sync.testbed.hpss_site import (
    build_site,
    entries_of,
    install,
    make_synthetic_site,
    set_faults,
    set_flag,
    set_settings,
)
from tacc_sync.testbed.tape_clock import locate_seconds

TOP = b"/home/projects/demo"
ODD_NAMES = (
    b"with blank.dat",
    b"it's.dat",
    b'say "hi".dat',
    b"semi;colon.dat",
    b"star*.dat",
    b"[brackets].dat",
    b"{braces,more}.dat",
    b"(round).dat",
    b"!bang.dat",
    b"back\\slash.dat",
    b"#hash.dat",
    b"-dash.dat",
    "gr\u00fc\u00df.dat".encode(),
    b"\xff\xfe.dat",
    b"a : b.dat",
)


class Site:
    """A simulated site and a way to run its programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root.parent / f"{root.name}-work"
        self.work.mkdir()
        self.environment = install(root)
        (self.program,) = shlex.split(self.environment["TACC_SYNC_HSI"])

    def run(self, *arguments: str | bytes, stdin: bytes | None = None, timeout: float = 30):
        """Run hsi to its end."""
        return subprocess.run(
            [self.program, *arguments],
            input=stdin if stdin is not None else b"",
            capture_output=True,
            timeout=timeout,
            cwd=self.work,
            check=False,
            env={"PATH": "/usr/bin:/bin"},
        )

    def start(self, *arguments: str | bytes) -> subprocess.Popen[bytes]:
        """Start hsi in a process group of its own."""
        return subprocess.Popen(
            [self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.work,
            start_new_session=True,
        )

    def lines(self, *lines: bytes) -> str:
        """Write an IN file."""
        path = self.work / "commands.in"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return str(path)

    def batch(self, *lines: bytes, client: str = "-P"):
        """Run an IN file."""
        return self.run(client, "in", self.lines(*lines))


def quoted(path: bytes) -> bytes:
    """Single quotes, or double ones when the path holds a single quote."""
    return b'"' + path + b'"' if b"'" in path else b"'" + path + b"'"


def until(condition, seconds: float = 10) -> None:
    """Wait for something that must come true."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A real directory with all kinds of names and things."""
    top = tmp_path / "data"
    for directory in ("run1", "run2/deep", ".Trash"):
        (top / directory).mkdir(parents=True)
    for number in range(30):
        path = top / "run1" / f"f{number:02d}.dat"
        path.write_bytes(bytes([number]) * (1000 + number))
        os.utime(path, ns=(1_600_000_000_123_456_789 + number * 10**9,) * 2)
    for name in ODD_NAMES:
        (Path(os.fsdecode(os.fsencode(top) + b"/run2/deep/" + name))).write_bytes(b"content of " + name)
    (top / "run2/empty").touch()
    (top / ".Trash/old").write_bytes(b"old")
    (top / "run2/link").symlink_to("../run1/f00.dat")
    (top / "run2/dangling").symlink_to("nowhere")
    os.mkfifo(top / "run2/pipe")
    return top


@pytest.fixture
def site(tmp_path: Path, data: Path) -> Site:
    """A site over that directory; the build says what it left out."""
    summary = build_site(tmp_path / "site", data, seed=1)
    assert (summary.files, summary.links, summary.directories) == (32 + len(ODD_NAMES), 2, 4)
    assert len(summary.tapes) >= 3
    assert len(summary.skipped) == 1
    assert "pipe" in summary.skipped[0]
    return Site(tmp_path / "site")


@pytest.fixture
def bulk(tmp_path: Path) -> Site:
    """A synthetic site of many small files."""
    make_synthetic_site(tmp_path / "bulk", files=400, tapes=8, seed=3)
    return Site(tmp_path / "bulk")


def on_tape(site: Site) -> list:
    """The files that lie on exactly one cartridge."""
    return [entry for entry in entries_of(site.root) if len(entry.volumes) == 1]


# ---------------------------------------------------------------- the site


def test_the_same_data_and_seed_make_the_same_tapes(tmp_path: Path, data: Path) -> None:
    for name in ("a", "b"):
        build_site(tmp_path / name, data, seed=7)
    a, b = ([entry.row() for entry in entries_of(tmp_path / name)] for name in ("a", "b"))
    assert a == b
    with pytest.raises(FileExistsError):
        build_site(tmp_path / "a", data)


def test_files_are_spread_over_all_tapes_with_rising_positions_and_never_in_the_order_of_names(bulk: Site) -> None:
    entries = entries_of(bulk.root)
    by_tape: dict[str, list] = {}
    for entry in entries:
        if entry.volumes:
            by_tape.setdefault(entry.volumes[0], []).append(entry)
    assert len(by_tape) == 8
    for tape in by_tape.values():
        in_order = sorted(tape, key=lambda entry: (entry.section, entry.offset))
        assert [entry.start for entry in in_order] == sorted({entry.start for entry in tape})
        assert in_order != tape
    assert sum(len(entry.volumes) == 2 for entry in entries) == 4
    assert sum(not entry.volumes for entry in entries) == 4
    kinds = [entry.algorithm for entry in entries]
    assert 0.55 < kinds.count("md5") / 400 < 0.75
    assert 0.1 < kinds.count("sha512") / 400 < 0.25
    assert 0.1 < kinds.count("") / 400 < 0.25


def test_settings_that_do_not_exist_are_refused(site: Site) -> None:
    with pytest.raises(ValueError, match="unknown key"):
        set_settings(site.root, no_such_thing=1)
    with pytest.raises(ValueError, match="must be bool"):
        set_settings(site.root, pad_fields="yes")
    with pytest.raises(ValueError, match="what"):
        set_faults(site.root, [{"what": "nonsense"}])


def test_it_starts_fast_and_needs_nothing_from_the_environment(site: Site) -> None:
    best = 9.0
    for _ in range(5):
        began = time.perf_counter()
        answer = subprocess.run(
            [site.program, "-P", "ls", "-NP", TOP + b"/run1/f00.dat"],
            env={"PYTHONPATH": "/nonsense", "PYTHONHOME": "/nonsense"},
            capture_output=True,
            check=True,
        )
        best = min(best, time.perf_counter() - began)
    assert answer.stdout.startswith(b"FILE\t")
    assert best < 5, f"a call took {best:.3f} s"


def test_it_brings_no_heavy_modules(site: Site) -> None:
    launcher = site.root / "hpss" / "hsi.py"
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", launcher, "-P", "ls", "-NP", TOP + b"/run1/f00.dat"],
        capture_output=True,
        check=True,
    )
    loaded = {line.rsplit(b"|", 1)[1].strip().decode() for line in answer.stderr.splitlines() if b"|" in line}
    assert not loaded & {"argparse", "typing", "dataclasses", "pathlib", "hashlib", "subprocess", "inspect", "random"}


# ---------------------------------------------------------------- where answers go


def test_answers_go_to_standard_error_and_with_popen_to_standard_output(site: Site) -> None:
    quiet = site.run("-q", "ls", "-1", TOP + b"/run1")
    assert (quiet.returncode, quiet.stdout) == (0, b"")
    popen = site.run("-P", "ls", "-1", TOP + b"/run1")
    assert (popen.returncode, popen.stderr) == (0, b"")
    assert popen.stdout == quiet.stderr
    assert popen.stdout.count(b"\n") == 30
    error = site.run("-P", "ls", "-1", "/nowhere")
    assert (error.returncode, error.stderr) == (64, b"")
    assert error.stdout == b"*** ls: No such file or directory [-2: HPSS_ENOENT]\n    /nowhere\n"


def test_a_listing_file_takes_answers_into_a_file(site: Site) -> None:
    answer = site.run("-q", "-O", "out.txt", "-s", "archive", "ls", "-1", TOP + b"/run1/f00.dat")
    assert (answer.stdout, answer.stderr) == (b"", b"")
    assert (site.work / "out.txt").read_bytes() == TOP + b"/run1/f00.dat\n"


def test_without_quiet_there_is_a_banner(site: Site) -> None:
    answer = site.run("-h", "archive", "-l", "demo", "-A", "combo", "ls", "-1", TOP + b"/run1/f00.dat")
    assert answer.stdout == b""
    first, second, third, _ = answer.stderr.split(b"\n")
    assert re.fullmatch(rb"Username: demo  UID: \d+  Acct: .* Copies: 1 COS: 0 Firewall: on \[hsi\..*\]", first)
    assert second.startswith(b"A: firewall mode set ON")
    assert third == TOP + b"/run1/f00.dat"


def test_an_in_file_echoes_each_command_before_its_answer(site: Site) -> None:
    commands = (b"", b"# a comment", b"ls -1 " + TOP + b"/run1/f00.dat", b"  ", b"ls -1 /nowhere", b"quota")
    answer = site.batch(*commands)
    assert answer.returncode == 64
    assert answer.stdout.split(b"\n") == [
        b"ls -1 " + TOP + b"/run1/f00.dat",
        TOP + b"/run1/f00.dat",
        b"ls -1 /nowhere",
        b"*** ls: No such file or directory [-2: HPSS_ENOENT]",
        b"    /nowhere",
        b"quota",
        b"*** unrecognized command: 'quota'",
        b"",
    ]
    set_settings(site.root, echo_in_lines=False)
    assert b"ls -1" not in site.batch(*commands).stdout
    assert b"ls -1" in site.run("-P", "-e", "in", site.lines(*commands)).stdout
    assert b"ls -1" not in site.batch(*commands, client="-q").stdout


def test_on_standard_input_the_prompt_is_glued_to_the_answers(site: Site) -> None:
    answer = site.run("-P", "-q", stdin=b"ls -P -N " + TOP + b"/run1/f00.dat\n\nls -P /nowhere\n")
    assert answer.returncode == 64
    lines = answer.stdout.split(b"\n")
    assert lines[0].startswith(b"A:/home/d/demo-> FILE\t" + TOP + b"/run1/f00.dat\t")
    assert lines[1] == b"A:/home/d/demo-> A:/home/d/demo-> *** ls: No such file or directory [-2: HPSS_ENOENT]"
    assert lines[3] == b"A:/home/d/demo-> "


def test_commands_are_joined_from_arguments_and_separated_by_semicolons(site: Site) -> None:
    answer = site.run("-P", "ls", "-1", TOP + b"/run1/f00.dat;", "cd", TOP, ";ls -1 run1/f01.dat; quota -h ; pwd")
    assert answer.returncode == 64
    assert answer.stdout.splitlines() == [
        TOP + b"/run1/f00.dat",
        TOP + b"/run1/f01.dat",
        b"*** unrecognized command: 'quota -h'",
        b"pwd0: " + TOP,
    ]


def test_unknown_client_options_and_a_missing_in_file_are_told(site: Site) -> None:
    assert site.run("-Z", "ls").returncode == 64
    assert site.run("-P", "in", "no-such-file").returncode == 66
    assert site.run("-P", "ls", "-j").returncode == 64


# ---------------------------------------------------------------- quoting


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_quoted_path_means_itself(site: Site, name: bytes) -> None:
    path = TOP + b"/run2/deep/" + name
    answer = site.batch(b"ls -NP " + quoted(path), b"get -P 'out' : " + quoted(path))
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout.split(b"\n")[1].split(b"\t")[:2] == [b"FILE", path]
    assert (site.work / "out").read_bytes() == b"content of " + name
    assert not read_log(site.root).shell_escapes


def test_backslash_quotes_one_character(site: Site) -> None:
    path = TOP + rb"/run2/deep/with\ blank.dat"
    assert b"with blank.dat" in site.run("-P", b"ls -1 " + path).stdout
    assert b"it's.dat" in site.run("-P", b"ls -1 " + TOP + rb"/run2/deep/it\'s.dat").stdout


def test_unquoted_special_characters_do_what_they_do(site: Site) -> None:
    deep = TOP + b"/run2/deep/"
    assert site.run("-P", b"ls -1 " + deep + b"with blank.dat").returncode == 64
    assert b"unrecognized command: 'colon.dat'" in site.run("-P", b"ls -1 " + deep + b"semi;colon.dat").stdout
    assert b"syntax error" in site.run("-P", b"ls -1 " + deep + b"it's.dat").stdout
    assert b"syntax error" in site.run("-P", b"ls -1 " + deep + b"(round).dat").stdout


def test_wildcards_work_when_not_quoted(site: Site) -> None:
    def names(pattern: bytes) -> list[bytes]:
        return site.run("-P", b"ls -1 " + TOP + b"/run1/" + pattern).stdout.replace(TOP + b"/run1/", b"").split()

    assert names(b"f0?.dat") == [b"f%02d.dat" % number for number in range(10)]
    assert names(b"f[12]0.dat") == [b"f10.dat", b"f20.dat"]
    assert names(b"f0[!1-9].dat") == [b"f00.dat"]
    assert names(b"f{03,0[45]}.dat") == [b"f03.dat", b"f04.dat", b"f05.dat"]
    assert len(names(b"*")) == 30
    nothing = site.run("-P", b"ls -1 " + TOP + b"/run1/nothing*")
    assert nothing.returncode == 64
    assert nothing.stdout == b"Warning: No matching names located for '" + TOP + b"/run1/nothing*'\n"
    assert site.run("-P", b"ls -1 '" + TOP + b"/run1/f0*'").returncode == 64


def test_an_unquoted_bang_is_recorded_and_never_run(site: Site) -> None:
    answer = site.batch(b"!touch " + os.fsencode(site.work) + b"/ran; ls", b"ls -1 " + TOP + b"/run1/f00.dat")
    assert answer.returncode == 64
    assert answer.stdout.endswith(TOP + b"/run1/f00.dat\n")
    assert not (site.work / "ran").exists()
    assert len(read_log(site.root).shell_escapes) == 1


# ---------------------------------------------------------------- ls


def test_tabbed_listing_prints_13_fields_for_a_file(site: Site) -> None:
    for form in (b"ls -NP", b"ls -P", b"ls -P -N", b"ls -a -N -P"):
        answer = site.run("-P", form + b" '" + TOP + b"/run1/f03.dat'")
        fields = answer.stdout.rstrip(b"\n").split(b"\t")
        assert len(fields) == 13
        assert fields[:4] == [b"FILE", TOP + b"/run1/f03.dat", b"1003", b"1003"]
        assert fields[7:9] == [b"0", b"1"]
    (truth,) = [entry for entry in entries_of(site.root) if entry.path.endswith(b"f03.dat")]
    assert fields[4] == b"%d+%d" % (truth.section, truth.offset)
    assert fields[5].decode() == truth.volumes[0] + "00"
    # 2020-09-13T12:26:43Z is 05:26:43 at a site on Pacific time
    assert fields[9:11] == [b"09/13/2020", b"05:26:43"]
    assert re.fullmatch(rb"\d\d/\d\d/\d{4}", fields[11])


def test_tabbed_listing_of_empty_disk_only_and_two_cartridge_files(bulk: Site, site: Site) -> None:
    empty = site.run("-P", b"ls -P " + TOP + b"/run2/empty").stdout.rstrip(b"\n").split(b"\t")
    assert empty[2:6] == [b"0", b"0", b"0", b""]
    entries = entries_of(bulk.root)
    disk = next(entry for entry in entries if not entry.volumes)
    fields = bulk.run("-P", b"ls -P " + disk.path).stdout.rstrip(b"\n").split(b"\t")
    assert fields[2:6] == [b"1000", b"1000", b"0", b""]
    two = next(entry for entry in entries if len(entry.volumes) == 2)
    fields = bulk.run("-P", b"ls -P " + two.path).stdout.rstrip(b"\n").split(b"\t")
    assert re.fullmatch(rb"\w{6}00,\w{6}00", fields[5])
    assert fields[6] == b"12"


def test_tabbed_listing_padding_and_blank_volume_are_settings(site: Site) -> None:
    set_settings(site.root, pad_fields=True, blank_vv=" ")
    fields = site.run("-P", b"ls -P " + TOP + b"/run2/empty").stdout.split(b"\t")
    assert len(fields) == 13
    assert fields[1] == b" " + TOP + b"/run2/empty "
    assert fields[5].strip() == b""


def test_tabbed_listing_of_directories(site: Site) -> None:
    direct = site.run("-P", b"ls -P " + TOP + b"/run2").stdout.splitlines()
    assert b"DIRECTORY\t" + TOP + b"/run2/deep" in direct
    assert b"LINK\t" + TOP + b"/run2/link" in direct
    assert len(direct) == 4
    shallow = site.run("-P", b"ls -R -P " + TOP).stdout
    everything = site.run("-P", b"ls -a -N -R -P '" + TOP + b"'").stdout
    assert (shallow.count(b"FILE\t"), everything.count(b"FILE\t")) == (31 + len(ODD_NAMES), 32 + len(ODD_NAMES))
    assert b"DIRECTORY\t" + TOP + b"/.Trash\n" in everything
    assert b".Trash" not in shallow
    assert everything.count(b"DIRECTORY\t") == 4
    itself = site.run("-P", b"ls -Pd " + TOP).stdout
    assert itself == b"DIRECTORY\t" + TOP + b"\n"
    set_settings(site.root, list_root_directory=True)
    assert site.run("-P", b"ls -PR " + TOP).stdout.startswith(itself)


def test_tabbed_listing_of_relative_paths_prints_relative_paths(site: Site) -> None:
    answer = site.run("-P", b"cd " + TOP + b"; ls -P run1/f00.dat; cd run1; ls -P; ls -P f0?.dat")
    paths = [line.split(b"\t")[1] for line in answer.stdout.splitlines()]
    assert paths[0] == b"run1/f00.dat"
    assert paths[1] == b"f00.dat"
    assert paths[31:] == [b"f%02d.dat" % number for number in range(10)]


def test_several_paths_in_one_command(site: Site) -> None:
    answer = site.run("-P", b"ls -NP " + b" ".join(TOP + b"/run1/f%02d.dat" % n for n in (5, 99, 6)))
    assert answer.returncode == 64
    first, error, where, second, _ = answer.stdout.split(b"\n")
    assert first.startswith(b"FILE\t" + TOP + b"/run1/f05.dat\t")
    assert error == b"*** ls: No such file or directory [-2: HPSS_ENOENT]"
    assert where == b"    " + TOP + b"/run1/f99.dat"
    assert second.startswith(b"FILE\t" + TOP + b"/run1/f06.dat\t")


def test_ls_1_prints_full_paths(site: Site) -> None:
    answer = site.run("-P", "cd", TOP, "; ls -1 run2").stdout.splitlines()
    assert answer == [TOP + b"/run2/" + name for name in (b"dangling", b"deep/", b"empty", b"link")]
    assert TOP + b"/run2/deep/it's.dat" in site.run("-P", "ls", "-1", "-R", TOP).stdout.splitlines()
    assert site.run("-P", b"ls -1s " + TOP + b"/run1/f03.dat").stdout == b"1003 " + TOP + b"/run1/f03.dat\n"


def test_ls_l_has_a_header_and_columns(site: Site) -> None:
    lines = site.run("-P", b"ls -l " + TOP + b"/run2").stdout.splitlines()
    assert lines[0] == TOP + b"/run2:"
    assert re.fullmatch(
        rb"lrwxrwxrwx    1 demo      demo              15 \w{3} .\d \d\d:\d\d link@ -> ../run1/f00.dat", lines[4]
    )
    assert re.fullmatch(rb"drwxr-s---    2 demo      demo             512 \w{3} .\d \d\d:\d\d deep", lines[2])
    one = site.run("-P", b"ls -lD " + TOP + b"/run1/f03.dat").stdout.splitlines()
    assert one == [
        TOP + b"/run1:",
        b"-rw-r-----    1 demo      demo            1003 Sun Sep 13 05:26:43 2020 f03.dat",
    ]
    deep = site.run("-P", b"cd " + TOP + b"; ls -lRD run2").stdout.splitlines()
    assert deep[:2] == [b"", b"run2:"]
    assert deep[6:8] == [b"", b"run2/deep:"]


def test_long_listings_tell_about_the_tape(site: Site) -> None:
    u = site.run("-P", b"ls -U " + TOP + b"/run1/f03.dat").stdout.splitlines()[1]
    assert u.split()[6] == b"TAPE"
    (truth,) = [entry for entry in entries_of(site.root) if entry.path.endswith(b"f03.dat")]
    v = site.run("-P", b"ls -V " + TOP + b"/run1/f03.dat").stdout.splitlines()
    assert v[2:5] == [b"Storage   VV   Stripe  ", b" Level   Count  Width  Bytes at Level", b"-" * 76]
    assert v[5] == b" 1 (tape)   1       1  1003"
    assert v[6].startswith(b"  VV[ 0]:   Object ID: ")
    assert v[7] == f"  Pos:  {truth.section}+{truth.offset}   PV List: {truth.volumes[0]}00   ".encode()
    empty = site.run("-P", b"ls -V " + TOP + b"/run2/empty").stdout
    assert b"DISK" in empty
    assert b" 1 (tape)   0       1" + b" " * 33 + b"(no data at this level)\n" in empty


def test_a_listing_of_nothing_is_empty_and_fine(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    build_site(tmp_path / "site", tmp_path / "nothing")
    answer = Site(tmp_path / "site").run("-P", b"ls -a -N -R -P '" + TOP + b"'")
    assert (answer.returncode, answer.stdout) == (0, b"")


# ---------------------------------------------------------------- get


def test_get_keeps_bytes_and_time_and_tells_it(site: Site) -> None:
    local = os.fsencode(site.work) + b"/out file"
    answer = site.batch(b"get -c on -C -P -T off '" + local + b"' : '" + TOP + b"/run1/f03.dat'", client="-q")
    assert (answer.returncode, answer.stdout) == (0, b"")
    assert re.fullmatch(
        b"get  '"
        + re.escape(local)
        + b"' : '"
        + TOP
        + rb"/run1/f03.dat' \(2020/09/13 05:26:43 1003 bytes, \d+\.\d KBS \)\n",
        answer.stderr,
    )
    status = os.stat(local)
    assert (status.st_size, status.st_mtime_ns) == (1003, 1_600_000_003_123_456_789)
    (got,) = read_log(site.root).gets
    assert (got.path, got.size, got.ok) == (os.fsdecode(TOP) + "/run1/f03.dat", 1003, True)


def test_get_without_its_flag_does_not_keep_the_time(site: Site) -> None:
    site.batch(b"get out : " + TOP + b"/run1/f03.dat")
    assert (site.work / "out").stat().st_mtime > 1_700_000_000


def test_under_the_popen_option_success_is_silent_unless_set(site: Site) -> None:
    line = b"get out : " + TOP + b"/run1/f03.dat"
    assert site.batch(line).stdout == line + b"\n"
    set_settings(site.root, get_lines_under_P=True)
    assert site.batch(line).stdout.startswith(line + b"\nget  'out' : '")


def test_several_pairs_single_paths_and_lists(site: Site) -> None:
    one = TOP + b"/run1/f01.dat"
    answer = site.batch(
        b"get a : " + one + b" b : " + one + b" " + TOP + b"/run1/f02.dat",
        b"get -P << EOF",
        b"'c' : '" + one + b"'",
        b"d : /nowhere",
        b"e : " + one,
        b"EOF",
        b"get " + TOP + b"/run1/f1[01].dat",
    )
    assert answer.returncode == 64
    assert {path.name for path in site.work.iterdir()} == {
        "a", "b", "c", "e", "f02.dat", "f10.dat", "f11.dat", "commands.in"
    }  # fmt: skip


def test_the_colon_needs_blanks(site: Site) -> None:
    answer = site.batch(b"get a:" + TOP + b"/run1/f01.dat")
    assert answer.returncode == 64
    assert not (site.work / "a").exists()


def test_a_batch_goes_on_after_errors_and_ends_with_64(site: Site) -> None:
    one = TOP + b"/run1/f01.dat"
    answer = site.batch(
        b"get a : /no/such",
        b"get no-such-directory/b : " + one,
        b"get c : " + TOP + b"/run1",
        b"get d : " + one,
    )
    assert answer.returncode == 64
    assert b"*** get: No such file or directory [-2: HPSS_ENOENT]\n    /no/such\n" in answer.stdout
    assert re.search(rb"get: Error -2 .* " + one + rb"\n", answer.stdout)
    assert (site.work / "d").read_bytes() == bytes([1]) * 1001
    assert not (site.work / "a").exists()
    assert [get.ok for get in read_log(site.root).gets] == [False, False, False, True]


def test_get_overwrites_without_asking_and_cget_does_not(site: Site) -> None:
    (site.work / "out").write_bytes(b"precious" * 1000)
    site.batch(b"cget out : " + TOP + b"/run1/f01.dat")
    assert (site.work / "out").stat().st_size == 8000
    site.batch(b"get out : " + TOP + b"/run1/f01.dat")
    assert (site.work / "out").stat().st_size == 1001
    site.batch(b"cget new : " + TOP + b"/run1/f01.dat")
    assert (site.work / "new").stat().st_size == 1001


def test_links_are_followed(site: Site) -> None:
    assert site.batch(b"get out : " + TOP + b"/run2/link").returncode == 0
    assert (site.work / "out").stat().st_size == 1000
    assert site.batch(b"get out : " + TOP + b"/run2/dangling").returncode == 64


def test_synthetic_files_have_the_hashes_that_the_archive_tells(bulk: Site) -> None:
    entries = [entry for entry in entries_of(bulk.root) if entry.algorithm][:20]
    answer = bulk.batch(*(b"get -P -c on %d : %s" % (n, entry.path) for n, entry in enumerate(entries)))
    assert answer.returncode == 0, answer.stdout
    for number, entry in enumerate(entries):
        path = bulk.work / str(number)
        assert hashlib.new(entry.algorithm, path.read_bytes()).hexdigest() == entry.hex
        assert path.stat().st_mtime_ns == entry.mtime_ns


# ---------------------------------------------------------------- hashes


def test_hashes_have_three_formats(site: Site) -> None:
    entries = {entry.path: entry for entry in entries_of(site.root)}
    known = next(entry for entry in entries.values() if entry.algorithm == "md5" and b"/run1/" in entry.path)
    sha = next(entry for entry in entries.values() if entry.algorithm == "sha512" and b"/run1/" in entry.path)
    bare = next(entry for entry in entries.values() if not entry.algorithm and b"/run1/" in entry.path)
    listed = site.run("-P", b"hashlist " + b" ".join(entry.path for entry in (known, sha, bare)))
    assert listed.returncode == 0
    assert listed.stdout.splitlines() == [
        known.hex.encode() + b" md5 " + known.path + b" [hsi]",
        sha.hex.encode() + b" sha512 " + sha.path + b" [hsi]",
        b"(none)  " + bare.path,
    ]
    name = known.path[len(TOP) + 1 :]
    relative = site.run("-P", b"cd " + TOP + b"; hashlist " + name + b"; hashverify " + name).stdout.splitlines()
    assert relative == [known.hex.encode() + b" md5 " + name + b" [hsi]", known.path + b": (md5) OK"]
    verified = site.run("-P", b"hashverify " + bare.path)
    assert verified.returncode == 64
    assert verified.stdout == bare.path + b" failed: no valid checksum found\n"
    digest = hashlib.md5(Path(os.fsdecode(bare.data)).read_bytes()).hexdigest().encode()
    assert site.run("-P", b"hashcreate " + bare.path).stdout == digest + b" (md5) " + bare.path + b"\n"
    assert site.run("-P", b"hashlist " + bare.path).stdout == digest + b" md5 " + bare.path + b" [hsi]\n"


def test_hash_commands_and_directories(site: Site) -> None:
    silent = site.run("-P", b"hashlist " + TOP)
    assert (silent.returncode, silent.stdout) == (1, b"")
    ignored = site.run("-P", b"hashverify -A " + TOP)
    assert (ignored.returncode, ignored.stdout) == (
        0,
        b"*** Warning: `" + TOP + b"' is a directory - ignored\n",
    )
    listed = site.run("-P", b"hashlist -R " + TOP).stdout.splitlines()
    assert len(listed) == 32 + len(ODD_NAMES)
    missing = site.run("-P", "hashlist /nowhere")
    assert missing.stdout == b"*** hashlist: No such file or directory [-2: HPSS_ENOENT]\n    /nowhere\n"
    verified = site.run("-P", b"hashverify -R -A " + TOP)
    assert verified.stdout.count(b" OK\n") == sum(bool(entry.hex) for entry in entries_of(site.root))


# ---------------------------------------------------------------- how it breaks


def test_too_many_paths_or_a_long_line_is_a_segmentation_fault(site: Site) -> None:
    path = TOP + b"/run1/f01.dat"
    assert site.run("-P", b"ls -1 " + b" ".join([path] * 30)).returncode == 0
    assert site.run("-P", b"ls -1 " + b" ".join([path] * 31)).returncode == -signal.SIGSEGV
    assert site.run("-P", b"hashlist " + b" ".join([path] * 31)).returncode == -signal.SIGSEGV
    short = b"ls -1 " + path
    died = site.batch(short, b"ls -1 " + path + b" " * 4200)
    assert died.returncode == -signal.SIGSEGV
    assert path in died.stdout
    assert site.batch(b"ls -1 " + path.ljust(4090)).returncode == 0
    many = [b"get << EOF", *(b"x%d : %s" % (n, path) for n in range(50)), b"EOF"]
    assert site.batch(*many).returncode == 0
    assert not list(site.work.glob("core*"))


def test_token_missing_and_expired(site: Site) -> None:
    set_flag(site.root, "no-token", is_raised=True)
    answer = site.run("-P", "ls", "-1", TOP)
    assert answer.returncode not in (0, 64, 75)
    assert answer.stdout == b""
    assert answer.stderr.startswith(b"Generating .netrc entry...\nMust run interactively to update .netrc\n")
    assert len(answer.stderr.splitlines()) == 4
    set_flag(site.root, "no-token", is_raised=False)
    set_flag(site.root, "bad-token", is_raised=True)
    answer = site.run("-P", "ls", "-1", TOP)
    assert answer.stdout == b""
    assert b"result = -11000, errno = 29\nUnable to authenticate user with HPSS.\n" in answer.stderr
    assert [each["why"] for each in read_log(site.root).of("turned-away")] == ["no-token", "bad-token"]
    assert not read_log(site.root).sessions
    with pytest.raises(ValueError, match="no such flag"):
        set_flag(site.root, "nonsense", is_raised=True)


def avail(site: Site, *arguments: str) -> int:
    """Exit status of hpss_avail."""
    return subprocess.run([site.root / "bin/hpss_avail", *arguments], check=False, stderr=subprocess.DEVNULL).returncode


def test_down_says_so(site: Site) -> None:
    assert avail(site, "archive") == 0
    assert avail(site) == 64
    set_flag(site.root, "down", is_raised=True)
    assert avail(site, "archive") == 1
    answer = site.run("-P", "ls", "-1", TOP)
    assert (answer.returncode, answer.stdout, answer.stderr) == (1, b"", b"HPSS Unavailable\n")


def test_in_maintenance_hsi_sleeps_until_it_is_over(site: Site) -> None:
    set_flag(site.root, "maintenance", is_raised=True)
    assert avail(site, "archive") == 1
    process = site.start("-P", "ls", "-1", TOP + b"/run1/f00.dat")
    until(lambda: read_log(site.root).of("sleeping"))
    assert process.poll() is None
    set_flag(site.root, "maintenance", is_raised=False)
    output, _ = process.communicate(timeout=10)
    assert (process.returncode, output) == (0, TOP + b"/run1/f00.dat\n")


def test_a_running_batch_sleeps_too_when_maintenance_begins(site: Site) -> None:
    one = TOP + b"/run1/f01.dat"
    rest = site.work / "rest.in"
    os.mkfifo(rest)
    process = site.start("-P", "in", site.lines(b"get a : " + one, b"in rest.in"))
    until(lambda: read_log(site.root).gets)
    # Opened by both ends at once: it has its first file, and waits for us to say what the second one is.
    with rest.open("wb") as lines:
        set_flag(site.root, "maintenance", is_raised=True)
        lines.write(b"get b : " + one + b"\n")
    until(lambda: read_log(site.root).of("sleeping"))
    assert (site.work / "a").exists()
    assert not (site.work / "b").exists()
    set_flag(site.root, "maintenance", is_raised=False)
    assert process.wait(10) == 0
    assert (site.work / "b").exists()
    process.communicate()


def test_who_logs_out_while_another_logs_in_disturbs_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*real(path), "17.1234567890"])
    assert admit(SitePaths(str(site.root)), "18.1234567891", 15) == 1


def test_the_session_limit_counts_living_processes_only(site: Site) -> None:
    set_settings(site.root, session_limit=2)
    set_faults(site.root, [{"match": {"command": "ls"}, "what": "hang", "times": 2}])
    hanging = [site.start("-P", "ls", "-1", TOP) for _ in range(2)]
    until(lambda: len(living_sessions(str(site.root))) == 2)
    refused = site.run("-P", "ls", "-1", TOP)
    assert (refused.returncode, refused.stdout) == (75, b"")
    assert b"sessions" in refused.stderr
    os.killpg(hanging[0].pid, signal.SIGKILL)
    hanging[0].communicate()
    assert site.run("-P", "ls", "-1", TOP + b"/run1/f00.dat").returncode == 0
    hanging[1].terminate()
    hanging[1].communicate()
    assert hanging[1].returncode == -signal.SIGTERM
    assert living_sessions(str(site.root)) == []
    log = read_log(site.root)
    assert log.most_sessions_at_once == 2
    assert sorted(str(session.exit_status) for session in log.sessions) == ["0", "None", "None"]


# ---------------------------------------------------------------- faults


def fault(site: Site, what: str, *, command: str = "get", path: str = "*f01.dat", **particulars: object) -> None:
    """One rule."""
    set_faults(site.root, [{"match": {"command": command, "path": path}, "what": what, **particulars}])


ONE = TOP + b"/run1/f01.dat"
TWO = TOP + b"/run1/f02.dat"
CONTENT = bytes([1]) * 1001


def test_a_transfer_error_leaves_a_part_and_the_batch_goes_on(site: Site) -> None:
    fault(site, "error")
    answer = site.batch(b"get a : " + ONE, b"get b : " + TWO)
    assert answer.returncode == 64
    assert b"get: Error -5 on transfer " + ONE + b"\n" in answer.stdout
    assert (site.work / "a").read_bytes() == CONTENT[:500]
    assert (site.work / "b").stat().st_size == 1002
    assert site.batch(b"get a : " + ONE).returncode == 0, "it strikes once"


def test_an_error_with_a_name_comes_before_the_first_byte(site: Site) -> None:
    fault(site, "error", code=-13, name="HPSS_EACCES", text="Access denied", exit=77)
    answer = site.batch(b"get a : " + ONE)
    assert answer.returncode == 77
    assert answer.stdout.endswith(b"*** get: Access denied [-13: HPSS_EACCES]\n    " + ONE + b"\n")
    assert not (site.work / "a").exists()


def test_wrong_bytes_with_all_signs_of_success(site: Site) -> None:
    for what, more, size in (
        ("flip", {}, 1001),
        ("truncate", {"fraction": 0.25}, 250),
        ("zeros", {"fraction": 0.5}, 1001),
        ("zeros", {"holes": True}, 1001),
    ):
        fault(site, what, **more)
        answer = site.batch(b"get -c on -P a : " + ONE, client="-q")
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr.startswith(b"get  'a' : '" + ONE + b"'")
        content = (site.work / "a").read_bytes()
        assert len(content) == size
        assert content != CONTENT
    assert content == bytes(1001)
    assert (site.work / "a").stat().st_blocks == 0


def test_get_c_on_finds_wrong_bytes_that_are_there_to_be_seen(site: Site) -> None:
    entry = next(entry for entry in on_tape(site) if entry.algorithm and b"/run1/" in entry.path)
    fault(site, "flip", path=os.fsdecode(entry.path), seen=True, times=None)
    assert site.batch(b"get a : " + entry.path).returncode == 0
    answer = site.batch(b"get -c on a : " + entry.path)
    assert answer.returncode == 64
    assert answer.stdout.endswith(b" " + entry.path + b"\n")
    bare = next(entry for entry in entries_of(site.root) if not entry.algorithm and b"/run1/" in entry.path)
    assert site.batch(b"get -c on a : " + bare.path).returncode == 0
    set_settings(site.root, missing_checksum="error")
    assert b"checksum not set" in site.batch(b"get -c on a : " + bare.path).stdout


def test_vanish_move_and_size(site: Site) -> None:
    fault(site, "vanish")
    assert b"FILE\t" in site.run("-P", b"ls -P " + ONE).stdout
    assert b"HPSS_ENOENT" in site.batch(b"get a : " + ONE).stdout
    fault(site, "vanish", command="ls", times=None)
    assert b"HPSS_ENOENT" in site.run("-P", b"ls -P " + ONE).stdout
    recursive = site.run("-P", b"ls -R -P " + TOP + b"/run1")
    assert recursive.stdout.count(b"FILE\t") == 29
    set_faults(
        site.root, [{"match": os.fsdecode(ONE), "what": "move", "volumes": ["NEW001"], "section": 7, "times": None}]
    )
    assert b"\t7+0\tNEW00100\t" in site.run("-P", b"ls -P " + ONE).stdout
    site.batch(b"get a : " + ONE)
    assert read_log(site.root).mounts[-1].cartridge == "NEW001"
    set_faults(site.root, [{"match": os.fsdecode(ONE), "what": "size", "delta": 5, "times": None}])
    assert b"\t1006\t1006\t" in site.run("-P", b"ls -P " + ONE).stdout
    assert site.run("-P", b"hashlist " + ONE).stdout == b"(none)  " + ONE + b"\n"
    assert site.batch(b"get -c on a : " + ONE).returncode == 0
    assert (site.work / "a").stat().st_size == 1006


def test_wrong_hash(site: Site) -> None:
    entry = next(entry for entry in on_tape(site) if entry.algorithm == "md5")
    set_faults(site.root, [{"match": {"path": os.fsdecode(entry.path)}, "what": "wrong-hash", "times": None}])
    shown = site.run("-P", b"hashlist " + entry.path).stdout.split()[0].decode()
    assert re.fullmatch("[0-9a-f]{32}", shown)
    assert shown != entry.hex
    assert site.run("-P", b"hashverify " + entry.path).returncode == 64


def test_hang_and_signal_leave_a_part(site: Site) -> None:
    fault(site, "hang", ignore_term=True)
    process = site.start("-P", "in", site.lines(b"get a : " + ONE))
    until(lambda: (site.work / "a").exists() and (site.work / "a").stat().st_size == 500)
    time.sleep(0.05)
    process.terminate()
    time.sleep(0.1)
    assert process.poll() is None, "it was told to survive SIGTERM"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    fault(site, "hang", seconds=0.1)
    assert site.batch(b"get a : " + ONE).returncode == 0
    assert (site.work / "a").read_bytes() == CONTENT
    fault(site, "signal", signal=11)
    assert site.batch(b"get a : " + ONE).returncode == -signal.SIGSEGV
    assert (site.work / "a").stat().st_size == 500
    fault(site, "signal")
    assert site.batch(b"get a : " + ONE).returncode == -signal.SIGKILL


def test_listings_that_break_off(site: Site) -> None:
    whole = site.run("-P", b"ls -P " + TOP + b"/run1").stdout
    top = os.fsdecode(TOP) + "/run1"
    fault(site, "cut", command="ls", path=top)
    cut = site.run("-P", b"ls -P " + TOP + b"/run1; ls -P " + ONE)
    assert cut.returncode == 0
    assert cut.stdout == b"".join(whole.splitlines(keepends=True)[:15])
    fault(site, "cut", command="ls", path=top, inside=True, after_lines=3, exit=75)
    cut = site.run("-P", b"ls -P " + TOP + b"/run1")
    assert cut.returncode == 75
    assert not cut.stdout.endswith(b"\n")
    assert cut.stdout.count(b"\n") == 3
    assert whole.startswith(cut.stdout)
    fault(site, "noise", command="ls", path=top)
    noisy = site.run("-P", b"ls -P " + TOP + b"/run1").stdout.splitlines()
    assert len(noisy) == 31
    assert noisy[15].startswith(b"[connecting to ")


def test_errors_inside_a_recursive_listing(site: Site) -> None:
    rule = {"match": {"command": "ls", "path": "*/.Trash"}, "what": "error", "code": -13, "name": "HPSS_EACCES"}
    set_faults(site.root, [{**rule, "text": "Permission denied", "times": None}])
    answer = site.run("-P", b"ls -a -N -R -P '" + TOP + b"'")
    assert answer.returncode == 64
    assert b"*** ls: Permission denied [-13: HPSS_EACCES]\n    " + TOP + b"/.Trash\n" in answer.stdout
    assert b".Trash/old" not in answer.stdout
    assert answer.stdout.count(b"FILE\t") == 31 + len(ODD_NAMES)


def test_exit_code_only_sleep_and_connect(site: Site) -> None:
    fault(site, "exit", exit=72)
    answer = site.batch(b"get a : " + ONE)
    assert answer.returncode == 72
    assert (site.work / "a").read_bytes() == CONTENT
    fault(site, "sleep", seconds=0.3)
    began = time.monotonic()
    site.batch(b"get a : " + ONE)
    assert time.monotonic() - began > 0.3
    set_faults(site.root, [{"match": "connect", "what": "error", "line": "connect: Connection refused"}])
    answer = site.run("-P", "ls", "-1", TOP)
    assert (answer.returncode, answer.stdout, answer.stderr) == (75, b"", b"connect: Connection refused\n")
    assert site.run("-P", "ls", "-1", TOP).returncode == 0


def test_rules_count_across_processes_and_wait_for_their_turn(site: Site) -> None:
    set_faults(site.root, [{"match": "get", "what": "error", "times": 3, "after": 2}])
    site.lines(*(b"get -P x : " + ONE for _ in range(4)))
    processes = [site.start("-P", "in", "commands.in") for _ in range(4)]
    errors = sum(process.communicate()[0].count(b"get: Error -5") for process in processes)
    assert errors == 3
    assert [get.ok for get in read_log(site.root).gets].count(False) == 3


# ---------------------------------------------------------------- tapes


def test_each_cartridge_is_mounted_once_when_files_come_in_tape_order(bulk: Site) -> None:
    entries = on_tape(bulk)[:150]
    in_order = sorted(entries, key=lambda entry: (entry.volumes, entry.section, entry.offset))
    bulk.batch(*(b"get -P x : " + entry.path for entry in in_order))
    log = read_log(bulk.root)
    assert set(log.mounts_per_cartridge.values()) == {1}
    assert log.steps_back == 0
    assert log.bytes_read == 150 * 1000
    # Mounted already, in eight drives: nothing is mounted again for the next session, but tapes run backwards.
    bulk.batch(*(b"get -P x : " + entry.path for entry in entries))
    log = read_log(bulk.root)
    assert set(log.mounts_per_cartridge.values()) == {1}
    assert log.steps_back > 5


def test_few_drives_and_idle_time_cost_mounts(bulk: Site) -> None:
    set_settings(bulk.root, drives=1)
    a, b = (
        next(e for e in on_tape(bulk) if e.volumes[0] == label)
        for label in sorted({e.volumes[0] for e in on_tape(bulk)})[:2]
    )
    bulk.batch(*(b"get x : " + entry.path for entry in (a, b, a, a)))
    log = read_log(bulk.root)
    assert log.mounts_per_cartridge == {a.volumes[0]: 2, b.volumes[0]: 1}
    assert [event["why"] for event in log.of("dismount")] == ["needed", "needed"]
    set_settings(bulk.root, idle_dismount=0.05)
    time.sleep(0.1)
    bulk.batch(b"get x : " + a.path)
    assert read_log(bulk.root).mounts_per_cartridge[a.volumes[0]] == 3


def test_two_cartridges_need_two_drives_or_one_after_the_other(bulk: Site) -> None:
    two = next(entry for entry in entries_of(bulk.root) if len(entry.volumes) == 2)
    bulk.batch(b"get x : " + two.path)
    assert sorted(mount.cartridge for mount in read_log(bulk.root).mounts) == sorted(two.volumes)
    assert len({mount.drive for mount in read_log(bulk.root).mounts}) == 2
    set_settings(bulk.root, drives=1)
    assert bulk.batch(b"get x : " + two.path).returncode == 0


def test_two_sessions_on_one_cartridge_wait_for_each_other_and_are_told_on(bulk: Site) -> None:
    tape = on_tape(bulk)[0].volumes[0]
    a, b = [entry for entry in on_tape(bulk) if entry.volumes[0] == tape][:2]
    set_faults(bulk.root, [{"match": os.fsdecode(a.path), "what": "hang", "seconds": 0.5}])
    first = bulk.start("-P", "get", "x", ":", a.path)
    until(lambda: read_log(bulk.root).mounts)
    second = bulk.start("-P", "get", "y", ":", b.path)
    second.communicate()
    first.communicate()
    log = read_log(bulk.root)
    (contention,) = log.contentions
    assert contention["cartridge"] == tape
    assert contention["holder"] == log.sessions[0].name
    assert contention["session"] == log.sessions[1].name
    assert [get.path for get in log.gets] == [os.fsdecode(a.path), os.fsdecode(b.path)]
    assert log.mounts_per_cartridge == {tape: 1}


def test_a_killed_session_gives_its_drive_back(bulk: Site) -> None:
    tape = on_tape(bulk)[0].volumes[0]
    a, b = [entry for entry in on_tape(bulk) if entry.volumes[0] == tape][:2]
    set_faults(bulk.root, [{"match": os.fsdecode(a.path), "what": "hang"}])
    first = bulk.start("-P", "get", "x", ":", a.path)
    until(lambda: (bulk.work / "x").exists() and read_log(bulk.root).mounts)
    first.kill()
    first.communicate()
    assert bulk.run("-P", "get", "y", ":", b.path).returncode == 0
    log = read_log(bulk.root)
    assert not log.contentions
    assert log.mounts_per_cartridge == {tape: 1}


def test_many_sessions_at_once_keep_the_log_and_the_drives_in_order(bulk: Site) -> None:
    set_settings(bulk.root, drives=2)
    entries = on_tape(bulk)
    tapes = sorted({entry.volumes[0] for entry in entries})
    processes = []
    for tape in tapes[:6]:
        script = bulk.work / f"{tape}.in"
        mine = [entry for entry in entries if entry.volumes[0] == tape][:20]
        script.write_bytes(b"".join(b"get -P %s.x : %s\n" % (tape.encode(), entry.path) for entry in mine))
        processes.append(bulk.start("-P", "in", str(script)))
    for process in processes:
        process.communicate(timeout=30)
        assert process.returncode == 0
    log = read_log(bulk.root)
    assert log.mounts_per_cartridge == dict.fromkeys(tapes[:6], 1)
    assert len(log.gets) == 120
    assert {mount.drive for mount in log.mounts} == {0, 1}
    assert all(session.exit_status == 0 for session in log.sessions)


def test_mounting_locating_and_reading_take_the_time_they_are_set_to(bulk: Site) -> None:
    a, b = on_tape(bulk)[:2]
    set_settings(bulk.root, mount_seconds=10.0, locate_seconds=5.0, read_bytes_per_second=100.0, time_scale=0.01)
    began = time.monotonic()
    bulk.batch(b"get x : " + a.path)
    took = time.monotonic() - began
    assert took > 0.24, "10 s to mount, 5 to locate, 10 to read, a hundred times as fast"
    disk = next(entry for entry in entries_of(bulk.root) if not entry.volumes)
    mounts = len(read_log(bulk.root).mounts)
    bulk.batch(b"get x : " + disk.path)
    assert len(read_log(bulk.root).mounts) == mounts, "a file on disk needs no tape"
    assert b.path != a.path


def test_a_file_grows_while_it_is_read_slowly(bulk: Site) -> None:
    set_settings(bulk.root, read_bytes_per_second=2000.0)
    process = bulk.start("-P", "get", "x", ":", on_tape(bulk)[0].path)
    sizes = set()
    while process.poll() is None:
        if (bulk.work / "x").exists():
            sizes.add((bulk.work / "x").stat().st_size)
        time.sleep(0.02)
    process.communicate()
    assert len(sizes) > 4


def test_on_a_serpentine_tape_near_in_bytes_is_not_near_in_metres() -> None:
    settings = Settings({"tape_capacity": 160_000, "tape_wraps": 160})
    next_wrap_same_place = locate_seconds(settings, 100, 1900)
    same_wrap_far = locate_seconds(settings, 100, 900)
    assert next_wrap_same_place < same_wrap_far
    assert locate_seconds(settings, 900, 100) > same_wrap_far
    assert locate_seconds(settings, 5, 5) == 0
    reading = Settings({"tape_capacity": 160_000, "tape_wraps": 160, "read_bytes_per_second": 100.0})
    assert locate_seconds(reading, 100, 110) == pytest.approx(0.1)


# ---------------------------------------------------------------- speed


def test_a_hundred_small_files_in_one_session_are_quick(bulk: Site) -> None:
    entries = sorted(on_tape(bulk)[:100], key=lambda entry: (entry.volumes, entry.section, entry.offset))
    script = bulk.lines(*(b"get -C -P x%d : '%s'" % (n, entry.path) for n, entry in enumerate(entries)))
    best = 9.0
    for _ in range(3):
        began = time.perf_counter()
        assert bulk.run("-P", "in", script).returncode == 0
        best = min(best, time.perf_counter() - began)
    assert best < 10, f"{best:.3f} s"


def test_the_log_survives_half_a_line(site: Site) -> None:
    site.batch(b"get a : " + ONE)
    with Path(SitePaths(str(site.root)).log).open("ab") as file:
        file.write(b'{"t": 1, "event": "ge')
    assert len(read_log(site.root).gets) == 1
    assert read_log(site.root / "elsewhere").events == []

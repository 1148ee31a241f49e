"""`Disk`, by the real file system and by the simulated one: what the components rely on, and each error by its number."""

from __future__ import annotations

import errno
import hashlib
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import World

from tacc_sync.workspace.disk import NO_DOCUMENT, Status
from tacc_sync.workspace.posix_disk import PosixDisk


def simulated():
    from sim_disk import Fs, SimDisk

    world = World({})
    return SimDisk(world, world.start("a"), Fs("other"), "/other")


@pytest.fixture(params=["real", "simulated"])
def disk(request, tmp_path):
    if request.param == "simulated":
        return simulated()
    return PosixDisk(str(tmp_path))


def refused(call, *codes):
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno in codes
    return caught.value


def test_a_new_file_has_its_content_once(disk):
    disk.create("a", b"one")
    disk.create("b", iter([b"o", b"n", b"e"]))
    assert (disk.read("a"), disk.read("b")) == (b"one", b"one")
    refused(lambda: disk.create("a", b"two"), errno.EEXIST)
    assert disk.read("a") == b"one"
    refused(lambda: disk.create("no/a", b""), errno.ENOENT)
    refused(lambda: disk.create("a/b", b""), errno.ENOTDIR)


def test_what_is_too_large_or_no_file_is_not_read(disk):
    disk.create("a", b"12345")
    disk.mkdir("d")
    assert disk.read("a", 5) == b"12345"
    refused(lambda: disk.read("a", 4), errno.EFBIG)
    refused(lambda: disk.read("d"), *NO_DOCUMENT)
    refused(lambda: disk.read("gone"), errno.ENOENT)
    refused(lambda: disk.read("a/b"), errno.ENOTDIR)
    refused(lambda: disk.digest("d", ["md5"]), *NO_DOCUMENT)
    refused(lambda: disk.digest("gone", ["md5"]), errno.ENOENT)


@pytest.mark.parametrize("path", ["..", "../a", "d/../a", "d/.", "", "d//a"])
def test_no_path_leads_out(disk, path):
    disk.mkdir("d")
    disk.create("a", b"")
    calls = [
        lambda: disk.read(path),
        lambda: disk.create(path, b""),
        lambda: disk.rename("a", path),
        lambda: disk.unlink(path),
        lambda: disk.mkdir(path),
    ]
    for call in calls:
        with pytest.raises(ValueError):
            call()


def test_a_rename_replaces_a_file_and_nothing_else(disk):
    for name in ("a", "b"):
        disk.create(name, name.encode())
    for name in ("empty", "full", "moved"):
        disk.mkdir(name)
    disk.create("full/x", b"")
    disk.create("moved/y", b"")
    disk.rename("a", "b")
    assert (disk.status("a"), disk.read("b")) == (None, b"a")
    refused(lambda: disk.rename("a", "b"), errno.ENOENT)
    refused(lambda: disk.rename("b", "no/b"), errno.ENOENT)
    refused(lambda: disk.rename("b", "full"), errno.EISDIR)
    refused(lambda: disk.rename("moved", "b"), errno.ENOTDIR)
    refused(lambda: disk.rename("moved", "full"), errno.ENOTEMPTY, errno.EEXIST)
    disk.rename("moved", "empty")
    assert disk.names("empty") == ["y"]


def test_a_renamed_directory_takes_everything_along(disk):
    disk.mkdir("d")
    disk.mkdir("d/e")
    disk.create("d/e/f", b"x")
    disk.rename("d", "away")
    assert disk.read("away/e/f") == b"x"
    for call in (
        lambda: disk.create("d/new", b""),
        lambda: disk.rename("d/e/f", "f"),
        lambda: disk.names("d"),
        lambda: disk.sync("d"),
    ):
        refused(call, errno.ENOENT)


def test_a_link_is_never_over_another(disk):
    for name in ("a", "b"):
        disk.create(name, name.encode())
    disk.mkdir("d")
    refused(lambda: disk.link("a", "b"), errno.EEXIST)
    refused(lambda: disk.link("a", "d"), errno.EEXIST)
    refused(lambda: disk.link("gone", "c"), errno.ENOENT)
    refused(lambda: disk.link("d", "e"), errno.EPERM)
    disk.link("a", "c")
    # Two names of one file: renaming one onto the other does nothing, and says that it has.
    disk.rename("a", "c")
    assert (disk.read("a"), disk.read("c")) == (b"a", b"a")
    disk.unlink("a")
    assert (disk.status("a"), disk.read("c"), disk.read("b")) == (None, b"a", b"b")


def test_making_and_removing(disk):
    disk.mkdir("d")
    refused(lambda: disk.mkdir("d"), errno.EEXIST)
    refused(lambda: disk.mkdir("no/d"), errno.ENOENT)
    disk.create("d/a", b"")
    refused(lambda: disk.rmdir("d"), errno.ENOTEMPTY)
    refused(lambda: disk.rmdir("d/a"), errno.ENOTDIR)
    refused(lambda: disk.unlink("d"), errno.EISDIR, errno.EPERM)
    disk.unlink("d/a")
    refused(lambda: disk.unlink("d/a"), errno.ENOENT)
    disk.rmdir("d")
    refused(lambda: disk.rmdir("d"), errno.ENOENT)


def test_looking(disk):
    disk.mkdir("d")
    disk.create("d/.hidden", b"")
    disk.create("d/a", b"12345")
    assert sorted(disk.names("d")) == [".hidden", "a"]
    assert disk.names("") == ["d"]
    refused(lambda: disk.names("d/a"), errno.ENOTDIR)
    refused(lambda: disk.names("gone"), errno.ENOENT)
    assert disk.status("d/a") == Status("file", 5, has_hole=False)
    assert disk.status("d").kind == "directory"
    assert [disk.status(path) for path in ("gone", "gone/x", "d/a/x")] == [None, None, None]
    assert disk.free_bytes() > 0
    disk.sync("d")
    disk.sync("")


def test_digests(disk):
    disk.create("a", b"content")
    found = disk.digest("a", ["md5", "sha512", "adler32", "crc32"])
    assert found == {
        "md5": hashlib.md5(b"content").hexdigest(),
        "sha512": hashlib.sha512(b"content").hexdigest(),
        "adler32": f"{zlib.adler32(b'content'):08x}",
        "crc32": f"{zlib.crc32(b'content'):08x}",
    }
    with pytest.raises(ValueError):
        disk.digest("a", ["no-such-hash"])
    with pytest.raises(InterruptedError):
        disk.digest("a", ["md5"], lambda: False)


PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/b", "e", "e/d", "e/d/a", "a/x"])
CALLS = st.one_of(
    st.tuples(st.just("create"), PATHS, st.binary(max_size=3)),
    st.tuples(st.sampled_from(["rename", "link"]), PATHS, PATHS),
    st.tuples(st.sampled_from(["unlink", "mkdir", "rmdir"]), PATHS),
    st.tuples(st.sampled_from(["names", "read", "status"]), PATHS),
)
# Systems differ in which of two troubles they name first.
SAME = {errno.EEXIST: errno.ENOTEMPTY, errno.EPERM: errno.EISDIR, errno.ELOOP: errno.EISDIR}
START = [("mkdir", "d"), ("mkdir", "e"), ("mkdir", "e/d"), ("create", "a", b"a"), ("create", "d/a", b"b")]


def outcome(disk, call):
    name, *arguments = call
    try:
        result = getattr(disk, name)(*arguments)
    except OSError as error:
        return SAME.get(error.errno, error.errno)
    return sorted(result) if name == "names" else result


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(CALLS, max_size=12))
def test_both_do_the_same(tmp_path_factory, calls):
    real, fake = PosixDisk(str(tmp_path_factory.mktemp("disk"))), simulated()
    for number, call in enumerate([*START, *calls]):
        assert outcome(real, call) == outcome(fake, call), (number, call)


# --- a file that grows


def write(disk, path, content, *, zeros_up_to=0):
    """What another program does to a file: it holds this now, from its beginning; with a hole behind it up to a size."""
    if isinstance(disk, PosixDisk):
        with open(f"{disk.root}/{path}", "r+b") as file:
            file.truncate(0)
            file.write(content)
            file.truncate(max(len(content), zeros_up_to))
    else:
        disk.fs.write(disk.fs.at(path), content + bytes(max(0, zeros_up_to - len(content))), hole=zeros_up_to > 0)


def followed(disk, begun=None, *, path="a", behind=0, most=10**9, may_go_on=lambda: True):
    return disk.follow(path, ["md5", "sha512"], begun, behind=behind, most=most, may_go_on=may_go_on)


def sums(content):
    return {"md5": hashlib.md5(content).hexdigest(), "sha512": hashlib.sha512(content).hexdigest()}


def test_what_has_arrived_is_hashed_and_the_rest_later(disk):
    disk.create("a", b"")
    begun = followed(disk)
    assert begun.at == 0
    for content, behind, most, at in (
        (b"1234567890", 3, 100, 7),
        (b"1234567890ab", 3, 1, 8),
        (b"1234567890ab", 3, 9, 9),
    ):
        write(disk, "a", content)
        begun = followed(disk, begun, behind=behind, most=most)
        assert begun.at == at
    write(disk, "a", b"1234567890abcd")
    assert disk.digest("a", ["md5", "sha512"], begun=begun) == sums(b"1234567890abcd")


def test_of_what_was_read_early_the_digest_is_that_of_what_lay_there_then(disk):
    disk.create("a", b"early")
    begun = followed(disk)
    write(disk, "a", b"laterest")
    assert disk.digest("a", ["md5", "sha512"], begun=begun) == sums(b"earlyest")
    assert disk.digest("a", ["md5", "sha512"]) == sums(b"laterest")


def test_of_another_file_or_a_shorter_one_nothing_was_read(disk):
    for change in ("replaced", "cut"):
        disk.create("a", b"early")
        again, begun = followed(disk), followed(disk)
        if change == "replaced":
            disk.create("b", b"another one")
            disk.rename("b", "a")
        else:
            write(disk, "a", b"ear")
        content = disk.read("a")
        assert followed(disk, again) is None
        assert disk.digest("a", ["md5", "sha512"], begun=begun) == sums(content)
        assert followed(disk).at == len(content)
        disk.unlink("a")


def test_no_hole_is_followed(disk):
    disk.create("a", b"")
    write(disk, "a", b"", zeros_up_to=100_000)
    begun = followed(disk)
    assert begun.at == 0
    write(disk, "a", b"x" * 100_000)
    assert followed(disk, begun).at == 100_000


def test_what_cannot_be_followed(disk):
    disk.mkdir("d")
    disk.create("a", b"x")
    refused(lambda: followed(disk, path="gone"), errno.ENOENT)
    refused(lambda: followed(disk, path="d/gone/x"), errno.ENOENT)
    refused(lambda: followed(disk, path="d"), *NO_DOCUMENT)
    refused(lambda: followed(disk, may_go_on=lambda: False), errno.EINTR)
    with pytest.raises(ValueError):
        disk.follow("a", ["no-such-sum"], None, behind=0, most=1)

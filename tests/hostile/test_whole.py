"""The installed command against the testbed: file names that would like to be commands, secrets that must not be told,
and a umask that would let everybody read."""

import contextlib
import json
import os
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest
from bed import DESTINATION, SOURCE, Bed, read_tree
from house import SOURCE as HOUSE_SOURCE
from house import House

from tacc_sync.operator.words import plain
from tacc_sync.outside.hpss import hsi_commands

SPEAKABLE = [
    "!touch pwned", ";!touch pwned", "; rm -R /home", "`touch pwned`", "$(touch pwned)", "a' ; !touch pwned ; 'b",
    'a" ; !touch pwned ; "b', "-R", "--", "-rf *", "*", "?", "[a-z]*", "{a,b}", "~", "~root", "a : b", "<< EOF", "| sh", "> out",
    "&", "#", "%s%n", "$HOME", "get", "exit", "..a", "...", " ", "a ", "\u202etxt.exe", "\u00a0", "\u2003",
]  # fmt: skip
UNSPEAKABLE = [
    "a\n!touch pwned", "\n", "a\r!touch pwned", "a\tb", "\x1b]0;title\x07", "\x01", "\x7f", "\x85", "\u2028!touch pwned", "back\\slash",
    "end\\", "\\'", "both ' and \"", os.fsdecode(b"\xff\xfe"), "x" * 255 + "/" + "y" * 255 + "/" + "z" * 255 + "/" + "w" * 255,
]  # fmt: skip


def test_names_that_would_be_commands_with_a_fake_archive(tmp_path):
    house = House(tmp_path)
    refused = [name for name in UNSPEAKABLE if name.isascii() or name.isprintable()][:-1]
    for n, name in enumerate(SPEAKABLE + refused):
        path = house.archive(f"{HOUSE_SOURCE}/{n}/{name}", b"x" * n, section=n)
        why = hsi_commands.why_unspeakable(path)
        assert bool(why) == (name in refused), name
        if why:
            # As hsi.py says it, which does not ask for such a file.
            house.hpss.errors[path] = f"NAME-UNSPEAKABLE: {why}"
    house.drop()
    house.run(rounds=500, until=house.clock.now() + 3000)
    assert house.delivered() == {f"{n}/{name}": b"x" * n for n, name in enumerate(SPEAKABLE)}
    (why,) = house.whys("quarantine/retriever").values()
    assert why["code"] == "NAME-UNSPEAKABLE"
    assert len(why["files"]) == len(refused)
    # Shown, these names do nothing to a terminal.
    assert all(plain(line).isprintable() for line in why["files"])


def test_names_that_would_be_commands_with_the_real_hsi_edge(tmp_path):
    # A line end in a name makes lines of a listing that nobody can read: that request waits, and the other goes on.
    broken = {
        f"broken/{n}/{name}": b"b"
        for n, name in enumerate(("a\n!touch pwned", "\nFILE\t/etc/passwd\t1", "a\r!touch pwned"))
    }
    odd = [name for name in SPEAKABLE + UNSPEAKABLE if not {"\n", "\r"} & set(name)][:-1]
    good = {f"good/{n}/{name}": b"g" for n, name in enumerate(odd)}
    with Bed(tmp_path, {os.fsencode(name): content for name, content in {**good, **broken}.items()}, tapes=2) as bed:
        bed.request("broken.json", source=f"{SOURCE}/broken", destination=f"{DESTINATION}/broken")
        bed.request("good.json", source=f"{SOURCE}/good", destination=f"{DESTINATION}/good")
        for n, source in enumerate(
            (f"{SOURCE}/x'; !touch pwned; '", f"{SOURCE}/x\n!touch pwned", "-rf", f"{SOURCE}/*", f'{SOURCE}/"')
        ):
            bed.request(f"source-{n}.json", source=source, destination=f"{DESTINATION}/x")
        bed.run(code=None)
        assert bed.hsi_log().shell_escapes == []
        assert not list(tmp_path.rglob("pwned"))
        want = {os.fsencode(name) for name in good if Path(name).name in SPEAKABLE or name.endswith(tuple(SPEAKABLE))}
        got = {b"good/" + name for name in bed.delivered(f"{DESTINATION}/good")}
        assert got == {name for name in want if not any(os.fsencode(u) in name for u in UNSPEAKABLE)}
        for line in bed.hsi_log().gets:
            assert line.path.startswith(f"{SOURCE}/good/")
        bed.tacc_sync("status")


# --- secrets -------------------------------------------------------------------------------------------------------

PLANTED = (
    "planted-refresh-token-5Zq",
    "planted-access-token-8Yw",
    "planted-netrc-password-3Kd",
    "planted-echo-token-1Lm",
)


def secrets_of(bed):
    state = bed.place / "globus" / "state.db"
    with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as database:
        tokens = [row[0] for row in database.execute("select token from tokens")]
    return [bed.environment["GLOBUS_CLIENT_SECRET"], *tokens, *PLANTED]


def test_secrets_are_told_nowhere(tmp_path):
    files = {f"f{n}": bytes([n]) * 100 for n in range(6)}
    with Bed(tmp_path, files, tapes=2) as bed:
        said = []

        def do(*arguments, **environment):
            done = bed.tacc_sync(*arguments, code=None, **environment)
            said.append(done.said)
            return done

        secret = bed.environment["GLOBUS_CLIENT_SECRET"]
        netrc = bed.root / "home"
        netrc.mkdir()
        (netrc / ".netrc").write_text(f"machine archive login me password {PLANTED[2]}\n")
        (netrc / ".netrc").chmod(0o600)
        bed.environment["HOME"] = str(netrc)
        echo = f"bad Authorization: Bearer {PLANTED[3]} client_secret={secret} access_token: {PLANTED[1]}"
        for verb in ("token", "submission_id", "transfer", "task", "endpoint", "ls", "successful_transfers"):
            for number, status in enumerate((403, 400)):
                bed.globus_fault(
                    "status", {"verb": verb, "nth": number + 1}, times=1, status=status, code="X", message=echo
                )
        key = bed.request()
        do("doctor")
        do("run", "--once", GLOBUS_CLIENT_SECRET=f"wrong-{PLANTED[1]}")
        for number in range(20):
            do("--set", f"run.log_format={('json', 'text')[number % 2]}", "run", "--once")
            if bed.is_finished(key):
                break
        tokens = bed.root / "tokens.json"
        tokens.write_text(json.dumps({"version": 1, "tokens": {"transfer.api.globus.org": {
            "resource_server": "transfer.api.globus.org", "identity_id": None, "scope": "urn:x", "access_token": PLANTED[1],
            "refresh_token": PLANTED[0], "expires_at_seconds": 1, "token_type": "Bearer"}}}))  # fmt: skip
        tokens.chmod(0o600)
        user = ("--set", "globus.login=user", "--set", f"globus.token_file={tokens}")
        do(*user, "doctor")
        do(*user, "run", "--once")
        do(*user, "logout")
        tokens.write_text(f"torn {PLANTED[0]}")
        tokens.chmod(0o600)
        do(*user, "doctor")
        (bed.workspace / "tacc-sync.toml").write_text(f'[globus]\nclient_secret = "{secret}"\n')
        assert do("status").code == 78
        (bed.workspace / "tacc-sync.toml").write_text(f'[globus]\nclient_secret = "{secret}')
        do("status")
        (bed.workspace / "tacc-sync.toml").write_text("")
        for command in (
            ("config", "show"),
            ("config", "show", "--json"),
            ("status", "--json"),
            ("check",),
            ("quarantine", "list"),
        ):
            do(*command)
        assert bed.is_finished(key), "\n".join(said)[-4000:]
        everything = "\n".join(said)
        assert "GLOBUS-" in everything
        for word in dict.fromkeys(secrets_of(bed)):
            assert len(word) > 8
            assert word not in everything, everything[max(0, everything.find(word) - 500) : everything.find(word) + 100]
            for path, (content, _) in read_tree(bed.workspace).items():
                assert word.encode() not in content, path


# --- permissions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_everything_is_for_the_owner_only(tmp_path, umask):
    before = os.umask(umask)
    try:
        with Bed(tmp_path, {f"f{n}": b"x" * n for n in range(4)}, tapes=2) as bed:
            workspace = bed.root / "deep" / "workspace"
            environment = {**bed.environment, "TACC_SYNC_WORK_ROOT": str(workspace)}
            subprocess.run([*bed.command("init", workspace)], env=environment, check=True, capture_output=True)
            bed.workspace, bed.environment = workspace, environment
            key = bed.request()
            for _ in range(3):
                ran = bed.tacc_sync("run", "syncer", "retriever", "--once")
            buffer = bed.place / "nersc" / "buffer"
            buffer = next(path for path in (buffer, bed.place / "nersc") if path.is_dir())
            copies = [path for path in buffer.rglob("0000??") if path.is_file()]
            assert len(copies) == 4, ran.said
            for path in (*copies, *(copy.parent for copy in copies), *workspace.rglob("*"), workspace):
                mode = stat.S_IMODE(path.lstat().st_mode)
                # What the test itself has dropped into the inbox is as the test has made it.
                if path.name != "request.json":
                    assert mode & 0o077 == 0, (oct(mode), path)
            bed.run()
            assert bed.is_finished(key)
            for path in workspace.rglob("*"):
                assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0 or path.name == "request.json", path
    finally:
        os.umask(before)

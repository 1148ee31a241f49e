"""The command line: what it prints where, exit codes, and that a mistake is answered with its name and remedy."""

import json
import os
import subprocess
import sys

import pytest
from desk import Desk

from tacc_sync import __version__, config
from tacc_sync.cli.main import COMMANDS, cli, main
from tacc_sync.rules.route import COMPONENTS

UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch, tmp_path):
    monkeypatch.setattr("os.fsync", lambda _fd: None)
    for name in {*[variable for variable, _, _ in config.ENVIRONMENT], "TACC_SYNC_WORK_ROOT", "GLOBUS_CLIENT_SECRET"}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def fails(capsys, *arguments, code):
    capsys.readouterr()
    got = main([*arguments])
    out, err = capsys.readouterr()
    assert got == code, err
    assert "Traceback" not in err
    assert out == ""
    return err


def process(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "tacc_sync", *arguments],
        env={**os.environ, "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- the frame ----------------------------------------------------------------------------------------------------


def test_the_version():
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"tacc-sync, version {__version__}\n")


def test_what_is_slow_to_import_is_not_imported_for_status(desk):
    code = (
        "import sys; from tacc_sync.cli.main import main; main(['--workspace', sys.argv[1], 'status']); "
        "print([m for m in ('globus_sdk', 'rich', 'structlog', 'starlette', 'requests') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, desk.disk.root], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def walk(command, path=()):
    import click

    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))
    else:
        yield path, command


@pytest.mark.parametrize(
    ("path", "command"), list(walk(cli)), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_each_command_has_a_help_with_an_example(path, command):
    assert "Example:" in command.help, path
    assert "tacc-sync " + " ".join(path) in command.help, path


@pytest.mark.parametrize("path", ["status", "check", "doctor", "run", "submit", "adopt", "config show", "quarantine list",
                                  "quarantine show", "testbed env", "testbed status"])  # fmt: skip
def test_what_shows_something_shows_it_as_json_too(path):
    command = dict(walk(cli))[tuple(path.split())]
    assert any("--json" in parameter.opts for parameter in command.params)


def test_all_commands_are_listed(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "75 try again" in out


def test_a_usage_error_is_64(capsys):
    assert "No such command" in fails(capsys, "frobnicate", code=64)
    fails(capsys, "status", "--frobnicate", code=64)
    fails(capsys, "hold", "somebody", code=64)
    assert "SECTION.KEY=VALUE" in fails(capsys, "--set", "quota=5", "status", code=64)


@pytest.mark.parametrize("key", ["url", "token_url"])
@pytest.mark.parametrize(
    ("address", "is_safe"),
    [
        ("https://catalog.example.org", True),
        ("https://catalog.example.org:8443/x", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost/x", True),
        ("http://catalog.example.org", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1@example.org", False),
        ("https://me:secret@example.org", False),
        ("ftp://catalog.example.org", False),
        ("https://", False),
        ("catalog.example.org", False),
    ],
)
def test_a_secret_goes_nowhere_in_the_clear(capsys, desk, key, address, is_safe):
    words = ["--set", f"catalog.{key}={address}", "status"]
    if is_safe:
        desk.cli(capsys, *words)
    else:
        assert f"catalog.{key}" in fails(capsys, "--workspace", desk.disk.root, *words, code=78)


def test_no_workspace_is_named(capsys):
    err = fails(capsys, "status", code=78)
    assert err.startswith("tacc-sync: WORKSPACE-MISSING: ")
    assert "TACC_SYNC_WORK_ROOT" in err
    assert "--workspace" in err


def test_the_workspace_is_not_there(capsys, tmp_path):
    err = fails(capsys, "--workspace", str(tmp_path / "none"), "status", code=78)
    assert f"tacc-sync init {tmp_path}/none" in err


def test_the_variable_names_the_workspace_and_the_flag_wins(capsys, desk, monkeypatch, tmp_path):
    monkeypatch.setenv("TACC_SYNC_WORK_ROOT", desk.disk.root)
    assert main(["status"]) == 0
    fails(capsys, "--workspace", str(tmp_path / "none"), "status", code=78)


def test_a_fault_of_ours_is_a_traceback_and_70(capsys, desk, monkeypatch):
    monkeypatch.setattr("tacc_sync.operator.status_reader.Reader.read", lambda *_: 1 / 0)
    assert main(["--workspace", desk.disk.root, "status"]) == 70
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "OURS" in err


def test_a_full_disk_is_the_worlds_fault(capsys, desk, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tacc_sync.operator.status_reader.Reader.read", full)
    err = fails(capsys, "--workspace", desk.disk.root, "status", code=75)
    assert "DISK-FULL" in err


def test_a_closed_pipe_is_quiet(desk):
    command = f"{sys.executable} -m tacc_sync --workspace {desk.disk.root} config show | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, 141}, done.stderr
    assert done.stderr == ""


# --- init and config ----------------------------------------------------------------------------------------------


def test_init_makes_a_workspace_and_says_what_comes_next(capsys, tmp_path):
    where = tmp_path / "deep/ws"
    assert main(["init", str(where), "--buffer", str(tmp_path / "buf"), "--quota", "20TB"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{where}\n"
    for word in ("TACC_SYNC_WORK_ROOT", "doctor", "submit", "run"):
        assert word in err
    settings = config.load((where / "tacc-sync.toml").read_bytes(), "", {}, {}).settings
    assert (settings.buffer.path, settings.buffer.quota) == (str(tmp_path / "buf"), 20 * 10**12)
    for place in ("inbox", "quarantine/globus_xfer", "finished/rejected", "claims"):
        assert (where / place).is_dir()
    assert "WORKSPACE-EXISTS" in fails(capsys, "init", str(where), code=73)


def test_init_refuses_a_senseless_quota(capsys, tmp_path):
    assert "20TB" in fails(capsys, "init", str(tmp_path / "ws"), "--quota", "much", code=64)
    assert not (tmp_path / "ws").exists()


def test_each_line_of_the_template_can_be_uncommented():
    import re

    text = re.sub(r"^# (\w+ = .*)$", r"\1", config.TEMPLATE, flags=re.MULTILINE)
    origin = config.load(text.encode(), "template", {}, {}).origin
    assert len(origin) == sum(line.startswith("# ") and " = " in line for line in config.TEMPLATE.splitlines()) == 21


def test_config_show_tells_where_each_value_came_from_and_no_secret(capsys, desk, monkeypatch):
    (desk.root / "ws/tacc-sync.toml").write_text('[buffer]\nquota = "5TB"\n[run]\npoll = "3s"\n')
    monkeypatch.setenv("GLOBUS_CLIENT_ID", "me")
    monkeypatch.setenv("GLOBUS_CLIENT_SECRET", "hush-hush")
    monkeypatch.setenv("TRANSFER_QUOTA", "6TB")
    capsys.readouterr()
    assert main(["--workspace", desk.disk.root, "--set", "run.poll=4s", "config", "show", "--json"]) == 0
    out = capsys.readouterr().out
    assert "hush-hush" not in out
    shown = json.loads(out)
    rows = {row["key"]: (row["value"], row["origin"]) for row in shown["values"]}
    assert rows["buffer.quota"] == (6 * 10**12, "environment, TRANSFER_QUOTA")
    assert rows["run.poll"] == (4.0, "command line")
    assert rows["globus.tasks"] == (3, "default")
    assert shown["secrets"] == {"GLOBUS_CLIENT_SECRET": True}
    assert main(["--workspace", desk.disk.root, "config", "show"]) == 0
    out = capsys.readouterr().out
    assert "hush-hush" not in out
    assert "set, not shown" in out


def test_an_unknown_key_is_refused_by_name(capsys, desk):
    (desk.root / "ws/tacc-sync.toml").write_text("[buffer]\nqouta = 5\n")
    err = fails(capsys, "--workspace", desk.disk.root, "status", code=78)
    assert "buffer.qouta" in err
    assert "quota" in err


def ready(desk, monkeypatch):
    monkeypatch.setenv("TACC_SYNC_HSI", "/bin/true")
    monkeypatch.setenv("TRANSFER_DIR", desk.buffer.root)
    monkeypatch.setenv("GLOBUS_CLIENT_ID", "me")
    monkeypatch.setenv("GLOBUS_CLIENT_SECRET", "hush")
    monkeypatch.setenv("GLOBUS_SOURCE_COLLECTION_ID", "a")
    monkeypatch.setenv("GLOBUS_DEST_COLLECTION_ID", "b")


@pytest.mark.parametrize(
    ("variable", "code", "says"),
    [
        ("TRANSFER_DIR", 78, "BUFFER-UNKNOWN: nobody said where the transfer buffer is (`buffer.path`)"),
        ("GLOBUS_SOURCE_COLLECTION_ID", 78, "CONFIG-MISSING: `globus.source_collection` is not set"),
        ("GLOBUS_DEST_COLLECTION_ID", 78, "CONFIG-MISSING: `globus.destination_collection` is not set"),
        ("GLOBUS_CLIENT_SECRET", 77, "GLOBUS-CREDENTIALS"),
        ("GLOBUS_CLIENT_ID", 77, "GLOBUS-CREDENTIALS"),
    ],
)
def test_what_is_missing_is_said_before_anything_begins(capsys, desk, monkeypatch, variable, code, says):
    ready(desk, monkeypatch)
    desk.cli(capsys, "config", "check")
    monkeypatch.delenv(variable)
    for command in (["config", "check"], ["run", "--once"]):
        err = fails(capsys, "--workspace", desk.disk.root, *command, code=code)
        assert says in err
        assert variable in err
    assert desk.tree("claims") == []


def test_a_component_needs_only_what_it_uses(capsys, desk, monkeypatch):
    assert main(["--workspace", desk.disk.root, "config", "check", "finisher"]) == 0
    monkeypatch.setenv("TRANSFER_DIR", desk.buffer.root)
    assert main(["--workspace", desk.disk.root, "config", "check", "reaper"]) == 0


def test_hsi_that_is_not_there(capsys, desk, monkeypatch):
    ready(desk, monkeypatch)
    monkeypatch.setenv("TACC_SYNC_HSI", "/no/such/hsi")
    err = fails(capsys, "--workspace", desk.disk.root, "run", "--once", code=69)
    assert "HSI-MISSING" in err
    assert "/no/such/hsi" in err


def test_a_buffer_that_is_not_there(capsys, desk, monkeypatch):
    ready(desk, monkeypatch)
    monkeypatch.setenv("TRANSFER_DIR", "/no/such/buffer")
    assert "/no/such/buffer" in fails(capsys, "--workspace", desk.disk.root, "run", "--once", code=78)


# --- submit -------------------------------------------------------------------------------------------------------


def test_submit_puts_a_whole_request_into_the_inbox_and_shows_its_id(capsys, desk):
    out = desk.cli(
        capsys, "submit", "--source", "/home/a", "--source", "/home/b", "--destination", "/scoutfs/x", "--include", "*.zip",
        "--exclude", "tmp/**", "--priority", "5", "--label", "run 12", "--requested-by", "me",
    )  # fmt: skip
    (request,) = desk.documents("inbox").values()
    assert out == request["request_id"] + "\n"
    assert request["source"] == ["/home/a", "/home/b"]
    assert (request["include"], request["exclude"], request["priority"]) == (["*.zip"], ["tmp/**"], 5)
    assert (request["label"], request["requested_by"]) == ("run 12", "me")
    assert request["created_at"].endswith("Z")
    assert "tacc-sync run" in desk.talk
    assert desk.tree("claims") == []


def test_submit_says_what_becomes_of_what_lies_at_the_destination(capsys, desk, tmp_path):
    words = ["--source", "/home/a", "--destination", "/scoutfs/x"]
    desk.cli(capsys, "submit", *words, "--present", "quarantine", "--conflict", "overwrite")
    (request,) = desk.documents("inbox").values()
    assert (request["present"], request["conflict"]) == ("quarantine", "overwrite")
    (desk.root / "ws/inbox" / desk.tree("inbox")[0]).unlink()
    desk.cli(capsys, "submit", *words)
    (plain,) = desk.documents("inbox").values()
    assert "present" not in plain
    assert "conflict" not in plain
    for words in (["--present", "skip"], ["--conflict", "accept"]):
        fails(capsys, "--workspace", desk.disk.root, "submit", *words, code=64)
    document = tmp_path / "request.json"
    document.write_text(json.dumps({"version": 1, "source": "/a", "destination": "/b"}))
    for words in (["--present", "accept"], ["--conflict", "quarantine"]):
        assert "not both" in fails(capsys, "--workspace", desk.disk.root, "submit", str(document), *words, code=64)


def test_submit_json(capsys, desk):
    (shown,) = desk.cli_json(capsys, "submit", "--source", "/home/a", "--destination", "/scoutfs/x")
    assert shown["request"] == shown["request_id"].replace("-", "")[:12]
    assert desk.tree("inbox") == [shown["entry"].removeprefix("inbox/")]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--source", "relative", "--destination", "/x"], "source"),
        (["--source", "/a/../b", "--destination", "/x"], "source"),
        (["--source", "/a", "--destination", "x"], "destination"),
        (["--source", "/a", "--source", "/a/b", "--destination", "/x"], "source"),
        (["--source", "/a", "--destination", "/x", "--include", "[z"], "include[0]"),
        (["--source", "/a", "--destination", "/x", "--priority", "101"], "priority"),
    ],
)
def test_a_bad_request_is_refused_before_it_is_written(capsys, desk, arguments, field):
    err = fails(capsys, "--workspace", desk.disk.root, "submit", *arguments, code=65)
    assert f"`{field}`" in err
    assert " -- " in err
    assert desk.tree("inbox") == []


def test_files_from_a_list(capsys, desk, tmp_path):
    listed = tmp_path / "list"
    listed.write_text("/home/a/with blank\n/home/a/ü\n\n")
    desk.cli(capsys, "submit", "--source", "/home/a", "--destination", "/x", "--files-from", str(listed))
    (request,) = desk.documents("inbox").values()
    assert request["files"] == ["/home/a/with blank", "/home/a/ü"]
    listed.write_bytes(b"/home/a/\xff\n")
    arguments = ["submit", "--source", "/home/a", "--destination", "/x", "--files-from", str(listed)]
    assert "line 1" in fails(capsys, "--workspace", desk.disk.root, *arguments, code=65)


def test_submit_without_words(capsys, desk):
    assert "--source and --destination" in fails(capsys, "--workspace", desk.disk.root, "submit", code=64)
    err = fails(capsys, "--workspace", desk.disk.root, "submit", "x.json", "--source", "/a", code=64)
    assert "not both" in err
    assert "none.json" in fails(capsys, "--workspace", desk.disk.root, "submit", "/none.json", code=64)


def test_documents_go_in_as_they_are_when_they_have_an_id(capsys, desk, tmp_path):
    document = tmp_path / "r.json"
    content = json.dumps({"version": 1, "source": "/a", "destination": "/b", "request_id": UUID}) + "   \n"
    document.write_text(content)
    assert desk.cli(capsys, "submit", str(document)) == UUID + "\n"
    assert (desk.root / f"ws/inbox/{UUID}.json").read_text() == content
    document.write_text(content.replace("/b", "/c"))
    assert "in use" in fails(capsys, "--workspace", desk.disk.root, "submit", str(document), code=65)


def test_a_document_without_id_gets_one(capsys, desk, tmp_path):
    document = tmp_path / "r.json"
    document.write_text(json.dumps({"version": 1, "source": "/a", "destination": "/b"}))
    request_id = desk.cli(capsys, "submit", str(document)).strip()
    assert desk.documents("inbox")[request_id]["request_id"] == request_id


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "JSON"),
        ('{"version": 1, "source": "/a", "destination": "/b", "sauce": 1}', "`sauce`"),
        ('{"version": 1, "source": "/a"}', "`destination`"),
        ('{"version": 2, "source": "/a", "destination": "/b"}', "upgrade"),
        ('{"version": 1, "source": "/a", "destination": "/b", "plan": {"planned_at": "", "files": 0, "bytes": 0, "units": []}}',
         "`plan`"),
        ('{"work_id": "x"}', "adopt"),
    ],
)  # fmt: skip
def test_a_bad_document_is_named(capsys, desk, tmp_path, content, says):
    (tmp_path / "bad.json").write_text(content)
    err = fails(capsys, "--workspace", desk.disk.root, "submit", str(tmp_path / "bad.json"), code=65)
    assert says in err
    assert desk.tree("inbox") == []


def test_a_request_of_the_earlier_tacc_sync(capsys, desk, tmp_path, monkeypatch):
    document = {
        "request_id": UUID,
        "date_created": "2024-03-28T00:15:14.988742277Z",
        "source": "NERSC",
        "dest": "TACC",
        "pattern": "/home/projects/x/**",
    }
    (tmp_path / "old.json").write_text(json.dumps(document))
    err = fails(capsys, "--workspace", desk.disk.root, "submit", str(tmp_path / "old.json"), code=65)
    assert "HPSS_BASE_PATH" in err
    monkeypatch.setenv("HPSS_BASE_PATH", "/home/projects/x")
    monkeypatch.setenv("TACC_BASE_PATH", "/scoutfs/x")
    assert desk.cli(capsys, "submit", str(tmp_path / "old.json")).strip() == UUID
    assert desk.documents("inbox")[UUID] == document


# --- the others ---------------------------------------------------------------------------------------------------


def test_hold_and_unhold(capsys, desk):
    desk.cli(capsys, "hold", "retriever", "HPSS", "maintenance")
    assert (desk.root / "ws/hold/retriever").read_text().startswith("HPSS maintenance (since ")
    assert "ON HOLD: HPSS maintenance" in desk.cli(capsys, "status")
    desk.cli(capsys, "unhold", "retriever")
    assert desk.tree("hold") == []
    desk.cli(capsys, "unhold", "retriever")
    assert "was not on hold" in desk.talk
    desk.cli(capsys, "hold", "all")
    assert desk.tree("hold") == sorted(COMPONENTS)


def test_status_exits_1_when_a_heartbeat_is_overdue(capsys, desk):
    from tacc_sync.workspace.home import Home

    desk.cli(capsys, "status")
    desk.cli(capsys, "status", "--strict", code=1)
    home = Home(desk.disk, None, desk.clock, desk.host, component="reaper")
    desk.clock.time = 1_000_000_000.0
    home.enter()
    shown = desk.cli_json(capsys, "status", code=1)
    assert shown["overdue"] == [home.name]
    (reaper,) = [c for c in shown["components"] if c["component"] == "reaper"]
    assert (reaper["running"], reaper["workers"][0]["state"]) == (False, "silent")


def test_status_json(capsys, desk):
    desk.fill()
    desk.drop(label="x")
    desk.run("syncer", "retriever")
    shown = desk.cli_json(capsys, "status")
    assert set(shown) >= {"workspace", "at", "requests", "inbox", "places", "buffer", "components", "overdue"}
    (request,) = shown["requests"]
    size = sum(len(a.content) for a in desk.hpss.files.values())
    assert request["selected"] == {"files": 6, "bytes": size}
    assert request["retrieved"] == {"files": 6, "bytes": size}
    assert shown["places"]["globus_queue"]["units"] == 2
    assert shown["buffer"]["reserved"] == size
    assert "REQUEST-UNKNOWN" in fails(capsys, "--workspace", desk.disk.root, "status", "nobody", code=64)


def test_check_exits_1_when_something_is_off(capsys, desk, monkeypatch):
    monkeypatch.setenv("TRANSFER_DIR", desk.buffer.root)
    desk.fill()
    desk.drop()
    desk.run()
    assert "adds up: 6 files" in desk.cli(capsys, "check", "--strict")
    (desk.root / "ws/rests/0123456789ab.AA0001.0000.5~1800000000").touch()
    desk.cli(capsys, "check")
    desk.cli(capsys, "check", "--strict", code=1)
    (desk.root / "ws/turn").unlink()
    shown = desk.cli_json(capsys, "check", code=1)
    assert (shown["ok"], shown["steady"]) == (False, True)
    assert {finding["code"] for finding in shown["findings"]} == {"REST-ORPHAN", "TURN-MISSING"}
    desk.cli(capsys, "check", "--repair")
    assert (desk.root / "ws/turn").exists()


def test_the_quarantine_by_command(capsys, desk):
    desk.at_once().fill()
    desk.hpss.errors["/home/projects/demo/file 2"] = "*** it broke"
    desk.drop()
    desk.drop("bad.json", destination="x")
    desk.run()
    listed = desk.cli_json(capsys, "quarantine", "list")
    assert [(e["kind"], e["component"], e["code"]) for e in listed] == [
        ("request", "syncer", "DOCUMENT-BAD"),
        ("unit", "retriever", "FILE-NOT-FETCHED"),
    ]
    name = listed[1]["name"]
    assert name in desk.cli(capsys, "quarantine", "list")
    assert "it broke" in desk.cli(capsys, "quarantine", "show", name)
    run = ("--workspace", desk.disk.root, "quarantine")
    assert "--all" in fails(capsys, *run, "release", code=64)
    assert "QUARANTINE-UNKNOWN" in fails(capsys, *run, "show", "nobody", code=64)
    err = fails(capsys, *run, "abandon", "--all", code=64)
    assert "--yes" in err
    desk.cli(capsys, "quarantine", "release", name)
    assert "now in hpss_queue" in desk.talk
    desk.cli(capsys, "quarantine", "abandon", "bad", "--yes")
    assert desk.cli_json(capsys, "quarantine", "list") == []
    desk.cli(capsys, "quarantine", "release", "--request", "0123456789ab")
    assert "nothing" in desk.talk


def test_one_refusal_does_not_stop_the_others(capsys, desk):
    desk.at_once().fill()
    desk.hpss.errors["/home/projects/demo/file 2"] = "NAME-UNSPEAKABLE: it holds a backslash"
    desk.hpss.errors["/home/projects/demo/file 3"] = "*** it broke"
    desk.drop()
    desk.run()
    desk.cli(capsys, "quarantine", "release", "--all", code=65)
    assert "RELEASE-HOPELESS" in desk.talk
    assert "is released" in desk.talk


def test_fence(capsys, desk, monkeypatch):
    from tacc_sync.workspace.home import Home

    monkeypatch.setenv("TRANSFER_DIR", desk.buffer.root)
    home = Home(desk.disk, desk.buffer, desk.clock, desk.host, component="retriever")
    home.enter()
    run = ("--workspace", desk.disk.root, "fence")
    assert "WORKER-UNKNOWN" in fails(capsys, *run, "nobody.x.y", code=64)
    assert "--yes" in fails(capsys, *run, home.name, code=64)
    desk.cli(capsys, "fence", home.name, "--yes")
    assert [p.name.startswith(f"dead~{home.name}~") for p in (desk.root / "ws/claims").iterdir()] == [True]
    assert [p.name.startswith("dead~") for p in (desk.root / "nersc/buffer/.part").iterdir()] == [True]


def test_login_needs_a_terminal(capsys, desk, monkeypatch):
    err = fails(capsys, "--workspace", desk.disk.root, "login", code=77)
    assert "GLOBUS_CLIENT_ID" in err
    monkeypatch.setenv("GLOBUS_CLIENT_ID", "me")
    assert "terminal" in fails(capsys, "--workspace", desk.disk.root, "login", code=77)
    desk.cli(capsys, "logout")
    assert "Nobody is logged in" in desk.talk

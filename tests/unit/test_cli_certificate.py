"""`verify-certificate` and `sign`, as a person uses them."""

import json
import shutil
import subprocess

import pytest
from desk import Desk

from tacc_sync.outside.ssh import keygen
from tacc_sync.workspace import chain

needs_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen on this host")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.fill(4)
    desk.drop(label="four files")
    desk.run()
    return desk


@pytest.fixture
def done(desk):
    (path,) = (desk.root / "ws/finished").glob("*/certificate.json")
    return path.parent


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    (tmp_path / "signers").write_text(f"jane {path.with_suffix('.pub').read_text()}")
    return path


def change_line(path, number):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"size":', b'"size":1', 1)
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("how", ["key", "beginning", "label", "directory", "file"])
def test_it_says_that_all_is_as_it_was_written(desk, done, capsys, how):
    name = {
        "key": done.name,
        "beginning": done.name[:5],
        "label": "four files",
        "directory": str(done),
        "file": str(done / "certificate.json"),
    }[how]
    out = desk.cli(capsys, "verify-certificate", name)
    assert "certificate 1: as it was written" in out
    assert "4 files delivered" in out


def test_it_names_the_changed_line_and_exits_with_1(desk, done, capsys):
    change_line(done / "manifest.jsonl", 3)
    out = desk.cli(capsys, "verify-certificate", done.name, code=1)
    assert "MANIFEST-CHANGED: manifest.jsonl, line 3: was changed" in out
    assert out.count("\n") == 1
    found = desk.cli_json(capsys, "verify-certificate", done.name, code=1)
    assert found["ok"] is False
    assert [flaw["line"] for flaw in found["verdicts"][0]["flaws"]] == [3]


def test_it_needs_no_workspace(desk, done, tmp_path, capsys, monkeypatch):
    from tacc_sync.cli.main import main

    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    monkeypatch.delenv("TACC_SYNC_WORK_ROOT", raising=False)
    assert main(["verify-certificate", str(copy)]) == 0
    assert "as it was written" in capsys.readouterr().out
    change_line(copy / "manifest.jsonl", 1)
    assert main(["verify-certificate", str(copy)]) == 1


def test_all_of_a_workspace(desk, capsys):
    desk.drop("second.json")
    desk.run()
    out = desk.cli(capsys, "verify-certificate", "--all")
    assert "the chain: 2 certificates, none missing, none changed" in out
    (desk.root / "ws" / chain.entry(1)).unlink()
    out = desk.cli(capsys, "verify-certificate", "--all", code=1)
    assert "00000001.json: it is missing" in out


@pytest.mark.parametrize("name", ["ffff", "no/such/directory", "another label"])
def test_what_is_not_there_is_said(desk, capsys, name):
    desk.cli(capsys, "verify-certificate", name, code=64)
    assert "REQUEST-UNKNOWN" in desk.talk


def test_nothing_named_is_wrong_usage(desk, capsys):
    desk.cli(capsys, "verify-certificate", code=64)


def test_a_directory_without_a_certificate(desk, tmp_path, capsys):
    assert "CERTIFICATE-MISSING" in desk.cli(capsys, "verify-certificate", str(tmp_path), code=1)


# --- signing -------------------------------------------------------------------------------------------------------


@needs_keygen
def test_a_signature_is_made_and_checked(desk, done, key, capsys):
    signers = str(key.with_name("signers"))
    desk.cli(capsys, "verify-certificate", done.name, "--allowed-signers", signers, code=1)
    desk.cli(capsys, "sign", done.name, "--key", str(key))
    assert desk.check().findings == []
    assert ", signed by jane" in desk.cli(capsys, "verify-certificate", done.name, "--allowed-signers", signers)
    # ssh-keygen itself agrees.
    subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", signers, "-I", "jane", "-n", "tacc-sync", "-s", str(done / "certificate.json.sig")],
        input=(done / "certificate.json").read_bytes(), check=True, capture_output=True,
    )  # fmt: skip


@needs_keygen
def test_a_signature_that_nobody_checks_is_named(desk, done, key, capsys):
    desk.cli(capsys, "sign", done.name, "--key", str(key))
    desk.cli(capsys, "verify-certificate", done.name)
    assert "signed, not checked" in desk.talk
    assert "signed, not checked" in desk.cli_json(capsys, "verify-certificate", done.name)["verdicts"][0]["notes"][0]


@needs_keygen
@pytest.mark.parametrize("what", ["certificate", "signature", "signer"])
def test_a_signature_of_something_else_or_by_somebody_else_is_bad(desk, done, key, tmp_path, capsys, what):
    desk.cli(capsys, "sign", done.name, "--key", str(key))
    signers = key.with_name("signers")
    if what == "certificate":
        path = done / "certificate.json"
        path.write_bytes(path.read_bytes().replace(b"four files", b"five files"))
    elif what == "signature":
        path = done / "certificate.json.sig"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([lines[0], lines[1][::-1].lstrip() + b"\n", *lines[2:]]))
    else:
        other = tmp_path / "other"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
        signers.write_text(f"jane {other.with_suffix('.pub').read_text()}")
    out = desk.cli(capsys, "verify-certificate", done.name, "--allowed-signers", str(signers), code=1)
    assert "SIGNATURE-BAD" in out


@needs_keygen
def test_what_does_not_hold_is_not_signed(desk, done, key, capsys):
    change_line(done / "manifest.jsonl", 2)
    desk.cli(capsys, "sign", done.name, "--key", str(key), code=65)
    assert "SIGNING-FAILED" in desk.talk
    assert not (done / "certificate.json.sig").exists()


@needs_keygen
def test_a_key_that_is_none_is_said(desk, done, tmp_path, capsys):
    desk.cli(capsys, "sign", done.name, "--key", str(tmp_path / "nowhere"), code=64)
    (tmp_path / "bad").write_text("no key\n")
    (tmp_path / "bad").chmod(0o600)
    desk.cli(capsys, "sign", done.name, "--key", str(tmp_path / "bad"), code=78)
    assert "SIGNING-FAILED" in desk.talk


def test_a_host_without_ssh_keygen_says_so(desk, done, tmp_path, capsys, monkeypatch):
    (tmp_path / "key").write_text("x")
    monkeypatch.setattr(keygen, "PROGRAM", "no-such-ssh-keygen")
    desk.cli(capsys, "sign", done.name, "--key", str(tmp_path / "key"), code=69)
    assert "SSH-KEYGEN-MISSING" in desk.talk
    assert "openssh-client" in desk.talk


def test_no_file_of_allowed_signers(desk, done, capsys):
    (done / "certificate.json.sig").write_text("x")
    desk.cli(capsys, "verify-certificate", done.name, "--allowed-signers", "/no/such/file", code=64)
    assert "SIGNERS-MISSING" in desk.talk


def test_the_record_is_plain_json(desk, done, capsys):
    (verdict,) = desk.cli_json(capsys, "verify-certificate", done.name)["verdicts"]
    assert verdict["number"] == 1
    assert verdict["outcomes"] == json.loads((done / "certificate.json").read_bytes())["outcomes"]

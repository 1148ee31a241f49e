"""What a finished request leaves behind, with the installed command and the real tools: sha512sum on the delivered tree,
verify-certificate on a manifest that was touched, ssh-keygen's signature."""

import json
import shutil
import subprocess

import pytest
from bed import DESTINATION, Bed

FILES = {"a": b"a" * 1000, "b/with blank": b"b" * 70_000, "c/empty": b"", "c/d": b"d" * 10}


def sums(directory, name, cwd):
    return subprocess.run(
        ["sha512sum", "--strict", "--quiet", "-c", str(directory / name)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_proofs_of_two_requests_hold_and_a_touched_one_is_named(tmp_path):
    with Bed(tmp_path, FILES, tapes=2) as bed:
        key = bed.request()
        bed.run()
        bed.assert_finished(key)
        bed.request("second.json", destination=f"{DESTINATION}-again")
        bed.run()
        directory = bed.workspace / "finished" / key
        tree = bed.place / "tacc" / DESTINATION[1:]

        # The delivered tree, by coreutils alone.
        assert sums(directory, "manifest-sha512.txt", tree).returncode == 0
        shutil.copytree(directory / "bag", tmp_path / "bag")
        (tmp_path / "bag/data").symlink_to(tree)
        assert sums(tmp_path / "bag", "manifest-sha512.txt", tmp_path / "bag").returncode == 0
        assert sums(tmp_path / "bag", "tagmanifest-sha512.txt", tmp_path / "bag").returncode == 0

        # The proofs, by their own chain.
        said = bed.tacc_sync("verify-certificate", "--all").out
        assert said.count("as it was written") == 2
        assert "the chain: 2 certificates" in said

        manifest = directory / "manifest.jsonl"
        content = manifest.read_bytes()
        lines = content.splitlines(keepends=True)
        assert len(lines) == len(FILES)
        for number, line in enumerate(lines, 1):
            changed = line.replace(b'"outcome":"delivered"', b'"outcome":"Delivered"')
            manifest.write_bytes(b"".join([*lines[: number - 1], changed, *lines[number:]]))
            found = bed.tacc_sync("verify-certificate", str(directory), code=1).out
            assert f"manifest.jsonl, line {number}: was changed" in found
        manifest.write_bytes(content)

        # One byte of the delivered tree: that is what the list of sums is for.
        (tree / "a").write_bytes(b"a" * 999 + b"b")
        assert "a: FAILED" in sums(directory, "manifest-sha512.txt", tree).stdout


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen on this host")
def test_a_certificate_is_signed_and_checked_with_a_key(tmp_path):
    with Bed(tmp_path, {"a": b"x"}, tapes=1) as bed:
        key = bed.request()
        bed.run()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
        (tmp_path / "signers").write_text("operator " + (tmp_path / "key.pub").read_text())
        bed.tacc_sync("sign", key, "--key", tmp_path / "key")
        said = bed.tacc_sync("verify-certificate", key, "--allowed-signers", tmp_path / "signers", "--json").out
        assert json.loads(said)["verdicts"][0]["signed_by"] == "operator"
        bed.check()

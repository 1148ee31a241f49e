"""Signing a file with a person's ssh key, and checking such a signature, by `ssh-keygen -Y` (OpenSSH 8.2 or later).

Guarantee: what is signed or checked is handed over on standard input, and no file is written; passphrases are asked for
by ssh-keygen itself, on the terminal.
Fails with `OperatorFault` SSH-KEYGEN-MISSING, SIGNING-FAILED, SIGNERS-MISSING.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from tacc_sync.rules.faults import EX_UNAVAILABLE, EX_USAGE, OperatorFault

# What the signature is for: one made for anything else does not count.
NAMESPACE = "tacc-sync"
PROGRAM = "ssh-keygen"


@dataclass(frozen=True, slots=True)
class Checked:
    """Is a signature good, and whose; or what ssh-keygen says against it."""

    good: bool
    text: str


def sign(content: bytes, key: str) -> bytes:
    """The signature of some bytes by the key in this file (or by the agent's key whose public half is in it)."""
    if not os.path.isfile(key):
        raise OperatorFault("SIGNING-FAILED", f"there is no key {key}", "name a private ssh key with --key", EX_USAGE)
    done = _run(["-Y", "sign", "-q", "-f", key, "-n", NAMESPACE], content)
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise OperatorFault(
            "SIGNING-FAILED",
            f"ssh-keygen would not sign with {key}: {_said(done)}",
            "try `ssh-keygen -Y sign` by hand with that key",
        )
    return done.stdout


def check(content: bytes, signature: str, allowed_signers: str) -> Checked:
    """Is the signature in this file one of these bytes, by one of these signers?"""
    if not os.path.isfile(allowed_signers):
        raise OperatorFault(
            "SIGNERS-MISSING",
            f"there is no file {allowed_signers}",
            "write it: a line for each signer, NAME and public key (see ALLOWED SIGNERS in `man ssh-keygen`)",
            EX_USAGE,
        )
    found = _run(["-Y", "find-principals", "-s", signature, "-f", allowed_signers], b"")
    names = found.stdout.decode("utf-8", "replace").splitlines()
    if found.returncode or not names:
        return Checked(good=False, text=f"none of the allowed signers has made it: {_said(found)}")
    who = names[0]
    done = _run(["-Y", "verify", "-f", allowed_signers, "-I", who, "-n", NAMESPACE, "-s", signature], content)
    return Checked(good=done.returncode == 0, text=who if done.returncode == 0 else _said(done))


def _run(arguments: list[str], content: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run([PROGRAM, *arguments], input=content, capture_output=True, check=False)
    except FileNotFoundError:
        raise OperatorFault(
            "SSH-KEYGEN-MISSING",
            f"there is no program `{PROGRAM}` on this host",
            "install OpenSSH's client (Debian: openssh-client), or do it on another host; nothing else needs it",
            EX_UNAVAILABLE,
        ) from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = (done.stderr + done.stdout).decode("utf-8", "replace")
    return "; ".join(text.split("\n"))[:300].strip("; ") or f"exit code {done.returncode}"

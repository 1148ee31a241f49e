"""`verify-certificate`, `sign`: the proofs of finished requests, years later."""

from __future__ import annotations

from pathlib import Path

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json as json_option
from tacc_sync.cli.talk import pass_edges, say, show, show_json
from tacc_sync.operator.find import key_of
from tacc_sync.operator.hands import hands
from tacc_sync.operator.verify import Verdict, directories, verify, verify_chain
from tacc_sync.operator.words import counted, files, size
from tacc_sync.outside.ssh import keygen
from tacc_sync.rules.certificate import CERTIFICATE, SIGNATURE
from tacc_sync.rules.faults import EX_DATAERR, EX_USAGE, OperatorFault
from tacc_sync.rules.route import FINISHED
from tacc_sync.workspace import layout


@click.command(short_help="Is the proof of a request still as it was written?")
@click.argument("names", nargs=-1, metavar="[REQUEST|PATH]...")
@click.option("--all", "everything", is_flag=True, help="All requests of the workspace, and the chain that joins them.")
@click.option("--allowed-signers", metavar="FILE", default="", help="Check the signature too; whose counts, says FILE.")
@json_option
@pass_edges
def verify_certificate(
    edges: Edges, names: tuple[str, ...], allowed_signers: str, *, everything: bool, as_json: bool
) -> int:
    """Check a certificate, its manifest and its lists against each other, and name what was changed. Exits 1 then.

    PATH is a directory finished/KEY, or a copy of it anywhere: nothing but its files is needed.

    \b
    Example:
      tacc-sync verify-certificate f8c7f5f6d70a
      tacc-sync verify-certificate /safe/place/f8c7f5f6d70a --allowed-signers signers
      tacc-sync verify-certificate --all
    """
    if not names and not everything:
        raise OperatorFault("USAGE", "nothing was named", "name requests or directories, or say --all", EX_USAGE)
    wanted = [_directory(edges, name) for name in names]
    verdicts = []
    if everything:
        finished = Path(edges.disk.root, FINISHED)
        wanted += directories(finished)
        verdicts.append(verify_chain(Path(edges.disk.root, layout.CHAIN)))
    for directory in wanted:
        verdicts.append(verify(directory, allowed_signers=allowed_signers))
        if not as_json:
            _tell(verdicts[-1])
    bad = [verdict for verdict in verdicts if verdict.flaws]
    if as_json:
        show_json({"ok": not bad, "verdicts": verdicts})
        return 1 if bad else 0
    if everything:
        _tell_chain(verdicts[0])
    return 1 if bad else 0


@click.command(short_help="Sign a request's certificate with your ssh key.")
@click.argument("request")
@click.option("--key", required=True, metavar="FILE", help="Your private ssh key, or the public half of an agent's.")
@pass_edges
def sign(edges: Edges, request: str, key: str) -> None:
    """Write certificate.json.sig beside a certificate, after checking what it certifies.

    The signature is one of ssh-keygen, for the namespace tacc-sync.

    \b
    Example:
      tacc-sync sign f8c7f5f6d70a --key ~/.ssh/id_ed25519
    """
    found = key_of(edges.disk, request)
    directory = Path(edges.disk.root, layout.finished(found))
    verdict = verify(directory)
    if verdict.flaws:
        raise OperatorFault("SIGNING-FAILED", f"it does not hold: {verdict.flaws[0]}", "see it first", EX_DATAERR)
    signature = keygen.sign((directory / CERTIFICATE).read_bytes(), key)
    with hands(edges.disk, edges.clock, edges.host) as home:
        home.put(f"{layout.finished(found)}/{SIGNATURE}", signature)
    say(f"Signed certificate {verdict.number}: {directory / SIGNATURE}")


def _directory(edges: Edges, name: str) -> Path:
    path = Path(name)
    if path.name == CERTIFICATE and path.is_file():
        return path.parent
    if "/" in name or path.is_dir():
        if not path.is_dir():
            raise OperatorFault("REQUEST-UNKNOWN", f"there is no directory {name}", "name one of finished/", EX_USAGE)
        return path
    return Path(edges.disk.root, layout.finished(key_of(edges.disk, name)))


def _tell(verdict: Verdict) -> None:
    who = f"request {verdict.request_id}, certificate {verdict.number}" if verdict.request_id else verdict.path
    for flaw in verdict.flaws:
        show(f"{who}: {flaw}")
    for note in verdict.notes:
        say(f"{who}: {note}")
    if not verdict.flaws:
        parts = [f"{files(count.files)} {outcome} ({size(count.bytes)})" for outcome, count in verdict.outcomes.items()]
        signed = f", signed by {verdict.signed_by}" if verdict.signed_by else ""
        what = ", ".join(parts) or "no files"
        show(f"{who}: as it was written {verdict.finished_at}: {what}{signed}")


def _tell_chain(verdict: Verdict) -> None:
    for flaw in verdict.flaws:
        show(str(flaw))
    if not verdict.flaws:
        show(f"the chain: {counted(verdict.number, 'certificate')}, none missing, none changed")

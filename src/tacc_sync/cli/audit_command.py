"""`audit`: both archives listed anew, and every difference explained."""

from __future__ import annotations

import click
import msgspec

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.pulse import pulsed
from tacc_sync.cli.request_words import user
from tacc_sync.cli.talk import confirm, pass_edges, say, show
from tacc_sync.operator.adopt_present import Adoption
from tacc_sync.operator.audit import Audit, Neighbours
from tacc_sync.operator.hands import hands
from tacc_sync.operator.words import files, size, table
from tacc_sync.rules.differences import KINDS, UNEXPLAINED, Found

# Of each kind that is a difference, so many are shown without --all.
SHOWN = 20
# They are told one by one only when everything is.
_PLAIN = frozenset({"delivered", "excluded", "others"})


@click.command(short_help="List both archives anew, and explain every difference.")
@click.argument("what", metavar="REQUEST|PATH")
@click.option("--all", "everything", is_flag=True, help="Name every file, also those that are as they should be.")
@click.option("--adopt", is_flag=True, help="Take over what others have brought and agrees in size and date.")
@click.option("--yes", is_flag=True, help="Do not ask before adopting.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: every difference, then the counts.")
@pass_edges
def audit(edges: Edges, what: str, *, everything: bool, adopt: bool, yes: bool, as_json: bool) -> int:
    """Compare the archive with the destination, by names, sizes and times, and with what this workspace knows.

    REQUEST is an id, its beginning or a label, PATH a path in HPSS or at the destination. Nothing is recalled, hashed
    or changed. Exits with 1 when anything is missing, differs or is there without a reason that the workspace knows.

    \b
    Example:
      tacc-sync audit f8c7f5f6d70a
      tacc-sync audit /home/projects/demo/exp/2019 --all
      tacc-sync audit f8c7f5f6d70a --adopt
    """
    neighbours = Neighbours(edges.hpss, edges.globus, edges.clock, edges.settings, edges.new_scratch())
    audited = Audit(edges.disk, neighbours)
    adoption = Adoption(neighbours.scratch)
    with pulsed(edges):
        for found in audited.compare(what):
            adoption.add(found)
            seen = audited.counts.kinds[found.kind].files
            if not everything and (found.kind in _PLAIN or (seen > SHOWN and not as_json)):
                continue
            if as_json:
                _show_line(_line(found))
            else:
                mark = "!" if found.kind in UNEXPLAINED else " "
                show(f"{mark} {found.kind}  {found.place or found.path}  {size(found.size)}  {found.text}")
    if as_json:
        _show_line({"summary": _summary(audited)})
    else:
        _tell(audited, everything=everything)
    if adopt:
        _adopt(edges, audited, adoption, yes=yes)
    elif adoption.amount.files:
        amount = adoption.amount
        say(f"{files(amount.files)}, {size(amount.bytes)}: to be taken over with --adopt, if you vouch for them.")
    return 0 if audited.is_fine else 1


def _adopt(edges: Edges, audited: Audit, adoption: Adoption, *, yes: bool) -> None:
    amount = adoption.amount
    if not amount.files:
        say("There is nothing to adopt.")
        return
    confirm(f"Take over {files(amount.files)}, {size(amount.bytes)}, for whose content nobody vouches?", yes=yes)
    with hands(edges.disk, edges.clock, edges.host) as home:
        done = adoption.carry_out(home, audited.request, user())
    for text in done.refused:
        say(f"not adopted: {text}")
    for request in done.requests:
        say(f"Request {request} waits in inbox: the syncer looks once more, and recalls nothing for it.")
    for unit in done.units:
        say(f"{unit} has taken over what was there, and goes on.")


def _line(found: Found) -> dict[str, object]:
    return {
        "kind": found.kind,
        "explained": found.kind not in UNEXPLAINED,
        "source": found.path,
        "destination": found.place,
        "size": found.size,
        "text": found.text,
        "request": found.request,
        "unit": found.unit,
    }


def _summary(audited: Audit) -> dict[str, object]:
    return {
        "ok": audited.is_fine,
        "kinds": {kind: audited.counts.kinds[kind] for kind in KINDS if kind in audited.counts.kinds},
        "total": audited.counts.total,
        "unexplained": audited.counts.unexplained,
        "notes": audited.notes,
        "unreadable": audited.unreadable,
    }


def _tell(audited: Audit, *, everything: bool) -> None:
    counts = audited.counts
    rows = [("", "kind", "files", "bytes", "meaning")]
    for kind, meaning in KINDS.items():
        if kind in counts.kinds:
            amount = counts.kinds[kind]
            mark = "!" if kind in UNEXPLAINED else ""
            rows.append((mark, kind, f"{amount.files:,}", size(amount.bytes), meaning))
    total = counts.total
    rows.append(("", "total", f"{total.files:,}", size(total.bytes), ""))
    for line in table(rows):
        show(line)
    for note in audited.notes:
        say(f"Note: {note}.")
    for path in audited.unreadable:
        say(f"cannot be read, and is left out: {path}")
    if not everything and any(counts.kinds[kind].files > SHOWN for kind in counts.kinds if kind not in _PLAIN):
        say(f"Of each kind {SHOWN} were named; --all names every file.")
    if audited.is_fine:
        say("Everything is explained.")
    else:
        amount = counts.unexplained
        say(
            f"{files(amount.files)}, {size(amount.bytes)}: not explained (marked !). docs/operating.md says what to do."
        )


def _show_line(document: object) -> None:
    click.echo(msgspec.json.encode(document).decode())

"""`submit` and `adopt`: putting requests into the inbox."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, Literal

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.talk import as_json, pass_edges, say, show, show_json
from tacc_sync.config import parse_seconds
from tacc_sync.operator import adopt as adoption
from tacc_sync.operator import submit as submission
from tacc_sync.operator.adopt import Found
from tacc_sync.operator.hands import hands
from tacc_sync.operator.submit import Submission
from tacc_sync.operator.words import counted
from tacc_sync.rules import standing
from tacc_sync.rules.documents import MAX_BYTES, VERSION, BadDocument, Request
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.route import HPSS_QUEUE


class Interval(click.ParamType[float]):
    """A time: `12h`, `1d`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        try:
            return parse_seconds(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write 12h, 1d or 1w", param, ctx)


@click.command(short_help="Submit a request.")
@click.argument("documents", nargs=-1, metavar="[FILE.json]...")
@click.option("--source", "sources", multiple=True, metavar="PATH", help="A path in HPSS; may be repeated.")
@click.option("--destination", metavar="PATH", help="The directory at TACC that gets what lies below the source.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Only what matches, such as '*.zip' or 'raw/**'.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Not what matches.")
@click.option("--files-from", metavar="FILE", help="Exactly these files: absolute HPSS paths, one a line; - is stdin.")
@click.option("--checksums", default="", metavar="FILE", help="A list as sha512sum writes it, which vouches for files.")
@click.option(
    "--present",
    type=click.Choice(["accept", "recall", "quarantine", "adopt"]),
    help="What becomes of a file of which the destination has a copy, not ours, of its size and date [accept].",
)
@click.option(
    "--conflict",
    type=click.Choice(["quarantine", "overwrite"]),
    help="What becomes of a file in whose place something unknown lies [quarantine].",
)
@click.option("--priority", type=int, default=0, show_default=True, help="-100 to 100; higher goes first.")
@click.option("--label", default="", metavar="TEXT", help="A name for people.")
@click.option("--requested-by", metavar="WHO", help="Who asked; the user name by default.")
@click.option("--every", type=Interval(), metavar="TIME", help="Renew it so often, such as 1d: a standing request.")
@click.option("--dry-run", is_flag=True, help="Check the request and show it, but do not submit it.")
@as_json
@pass_edges
def submit(
    edges: Edges,
    documents: tuple[str, ...],
    sources: tuple[str, ...],
    destination: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    files_from: str | None,
    checksums: str,
    present: Literal["accept", "recall", "quarantine", "adopt"] | None,
    conflict: Literal["quarantine", "overwrite"] | None,
    priority: int,
    label: str,
    requested_by: str | None,
    every: float | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Submit a request: from words, or from documents that are written already. Shows the request's id.

    With --every it is a standing request, which is handed in again and again; what is shown is that one's id.

    \b
    Example:
      tacc-sync submit --source /home/projects/x --destination /scoutfs/x --include '*.zip' --label 'run 12'
      tacc-sync submit request.json
    """
    words = (sources, destination, include, exclude, files_from, checksums, present, conflict)
    if documents and any(words):
        raise OperatorFault(
            "USAGE", "either documents or options describe a request, not both", "leave one out", EX_USAGE
        )
    if documents:
        ready = [_from_file(edges, path) for path in documents]
    else:
        if not sources or not destination:
            raise OperatorFault(
                "USAGE", "a request needs --source and --destination", "`tacc-sync submit --help`", EX_USAGE
            )
        request = Request(
            version=VERSION,
            source=sources[0] if len(sources) == 1 else list(sources),
            destination=destination,
            include=list(include),
            exclude=list(exclude),
            files=_lines(files_from) if files_from else [],
            checksums=os.path.abspath(checksums) if checksums else "",
            present=present or "accept",
            conflict=conflict or "quarantine",
            priority=priority,
            label=label,
            requested_by=user() if requested_by is None else requested_by,
            created_at=to_iso(edges.clock.now()),
            request_id=edges.host.new_uuid(),
        )
        ready = [submission.of_request(request)]
    if every is not None:
        _stand(edges, ready, every, dry_run=dry_run, as_json=as_json)
        return
    if dry_run:
        for one in ready:
            click.echo(one.content.decode(), nl=False)
        return
    entries: list[str] = []
    with hands(edges.disk, edges.clock, edges.host) as home:
        entries.extend(submission.put(home, one) for one in ready)
    _tell(ready, entries, as_json=as_json)


def _stand(edges: Edges, ready: list[Submission], every: float, *, dry_run: bool, as_json: bool) -> None:
    now = edges.clock.now()
    made = [standing.new(one.request, standing_id=edges.host.new_uuid(), every=every, now=now) for one in ready]
    if dry_run:
        for each in made:
            click.echo(standing.encode(each).decode(), nl=False)
        return
    with hands(edges.disk, edges.clock, edges.host) as home:
        entries = [submission.put_standing(home, each) for each in made]
    if as_json:
        show_json(
            [{"standing_id": each.standing_id, "entry": entry} for each, entry in zip(made, entries, strict=True)]
        )
        return
    for each in made:
        show(each.standing_id)
    say("`tacc-sync run` hands it in now, and again when it is due. `tacc-sync standing list` tells how it goes.")


def _tell(ready: list[Submission], entries: list[str], *, as_json: bool) -> None:
    if as_json:
        show_json(
            [
                {"request_id": one.request.request_id, "request": one.key, "entry": entry}
                for one, entry in zip(ready, entries, strict=True)
            ]
        )
        return
    for one in ready:
        show(one.request.request_id)
    say(f"It waits in inbox for the syncer (`tacc-sync run`). `tacc-sync status {ready[0].key}` tells how it goes.")


def _from_file(edges: Edges, path: str) -> Submission:
    content = _read(path)
    try:
        return submission.of_document(content, edges.host, edges.settings.legacy)
    except BadDocument as bad:
        raise BadDocument("", f"{path}: {bad.text}", bad.remedy) from None


def _read(path: str) -> bytes:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise OperatorFault("USAGE", f"cannot read {path}: {error.strerror}", "name a file", EX_USAGE) from None
    if len(content) > MAX_BYTES:
        raise BadDocument("", f"{path} is larger than {MAX_BYTES} bytes", "split it")
    return content


def _lines(path: str) -> list[str]:
    lines = _read(path).split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            found.append(line.decode())
        except UnicodeDecodeError:
            raise BadDocument(
                "files", f"line {number} of {path} is not UTF-8: {line[:200]!r}", "rename that file in HPSS"
            ) from None
    if not found:
        raise BadDocument("files", f"{path} names no file", "write one absolute path a line")
    return found


def user() -> str:
    """Who types."""
    import getpass  # noqa: PLC0415  seldom needed

    with contextlib.suppress(Exception):  # there are hosts on which a user has no name
        return getpass.getuser()
    return ""


@click.command(short_help="Take over work of the earlier tacc-sync.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--dry-run", is_flag=True, help="Show what would be adopted, and change nothing.")
@as_json
@pass_edges
def adopt(edges: Edges, paths: tuple[str, ...], *, dry_run: bool, as_json: bool) -> None:
    """Take over work units of the earlier tacc-sync: files, or directories such as its hpss_queue.

    A request is made of the units of each request of the earlier one. Units further down its pipeline are refused by
    name. HPSS_BASE_PATH and TACC_BASE_PATH say where the files come from and go to.

    \b
    Example:
      tacc-sync adopt /global/cfs/cdirs/PROJECT/old-workspace/hpss_queue
    """
    found = [document for path in paths for document in _documents(edges, Path(path))]
    adoptions = adoption.plan(found, edges.settings.legacy)
    results = []
    if dry_run:
        fresh = [True] * len(adoptions)
    else:
        with hands(edges.disk, edges.clock, edges.host) as home:
            fresh = [adoption.adopt(home, one) for one in adoptions]
    for one, is_new in zip(adoptions, fresh, strict=True):
        request = one.submission.request
        results.append(
            {
                "request_id": request.request_id,
                "request": one.submission.key,
                "units": [unit.path for unit in one.units],
                "files": len(request.files),
                "globus_tasks": one.tasks,
                "new": is_new,
                "dry_run": dry_run,
            }
        )
        if not as_json:
            show(request.request_id)
            state = "would be adopted" if dry_run else "adopted" if is_new else "was adopted already"
            say(f"{counted(len(one.units), 'unit')} with {counted(len(request.files), 'file')}: {state}")
        if one.tasks:
            say(f"The earlier tacc-sync had begun Globus tasks for some of them: {', '.join(one.tasks)}")
    if as_json:
        show_json(results)


def _documents(edges: Edges, path: Path) -> list[Found]:
    # Absolute, but with links left as they are: the workspace is known by the name that it was opened by.
    absolute = path.absolute()
    if not absolute.is_dir():
        return [_found(edges, absolute, _read(str(path)))]
    found = []
    for below in sorted(absolute.iterdir()):
        if below.suffix != ".json" or not below.is_file() or below.is_symlink():
            continue
        content = _read(str(below))
        if adoption.is_candidate(below.name, content):
            found.append(_found(edges, below, content))
    return found


def _found(edges: Edges, absolute: Path, content: bytes) -> Found:
    entry = ""
    queue = Path(edges.disk.root) / HPSS_QUEUE
    if absolute.parent.resolve() == queue.resolve():
        entry = absolute.name
    above = () if entry else tuple(parent.name for parent in absolute.parents)[:2]
    return Found(str(absolute), above, content, entry)

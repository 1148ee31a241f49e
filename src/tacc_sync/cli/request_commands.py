"""`submit` and `adopt`: putting requests into the inbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.cli.request_words import Words, describes_requests, read, submissions
from tacc_sync.cli.talk import as_json, pass_edges, say, show, show_json
from tacc_sync.config import parse_seconds
from tacc_sync.operator import adopt as adoption
from tacc_sync.operator import submit as submission
from tacc_sync.operator.adopt import Found
from tacc_sync.operator.hands import hands
from tacc_sync.operator.submit import Submission
from tacc_sync.operator.words import counted
from tacc_sync.rules import standing
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
@describes_requests
@click.option("--every", type=Interval(), metavar="TIME", help="Renew it so often, such as 1d: a standing request.")
@click.option("--dry-run", is_flag=True, help="Do not submit it: show what `plan` shows.")
@as_json
@pass_edges
def submit(edges: Edges, words: Words, every: float | None, *, dry_run: bool, as_json: bool) -> int:
    """Submit a request: from words, or from documents that are written already. Shows the request's id.

    With --every it is a standing request, which is handed in again and again; what is shown is that one's id.

    \b
    Example:
      tacc-sync submit --source /home/projects/x --destination /scoutfs/x --include '*.zip' --label 'run 12'
      tacc-sync submit request.json
    """
    ready = submissions(edges, words)
    if dry_run:
        from tacc_sync.cli.plan_command import show_plans  # noqa: PLC0415  only a plan needs all that a plan needs

        return show_plans(edges, ready, as_json=as_json)
    if every is not None:
        _stand(edges, ready, every, as_json=as_json)
        return 0
    entries: list[str] = []
    with hands(edges.disk, edges.clock, edges.host) as home:
        entries.extend(submission.put(home, one) for one in ready)
    _tell(ready, entries, as_json=as_json)
    return 0


def _stand(edges: Edges, ready: list[Submission], every: float, *, as_json: bool) -> None:
    now = edges.clock.now()
    made = [standing.new(one.request, standing_id=edges.host.new_uuid(), every=every, now=now) for one in ready]
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
        return [_found(edges, absolute, read(str(path)))]
    found = []
    for below in sorted(absolute.iterdir()):
        if below.suffix != ".json" or not below.is_file() or below.is_symlink():
            continue
        content = read(str(below))
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

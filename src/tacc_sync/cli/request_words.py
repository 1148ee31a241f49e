"""How a person describes a request on the command line: the options that `submit` and `plan` share.

Fails with `OperatorFault` USAGE and `BadDocument`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import click

from tacc_sync.cli.edges import Edges
from tacc_sync.operator import submit as submission
from tacc_sync.operator.submit import Submission
from tacc_sync.rules.documents import MAX_BYTES, VERSION, BadDocument, Request
from tacc_sync.rules.faults import EX_USAGE, OperatorFault
from tacc_sync.rules.patience import to_iso


@dataclass(frozen=True, slots=True)
class Words:
    """What was said. Either documents, or a source and a destination and the rest."""

    documents: tuple[str, ...]
    sources: tuple[str, ...]
    destination: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    files_from: str | None
    checksums: str
    present: Literal["accept", "recall", "quarantine", "adopt"] | None
    conflict: Literal["quarantine", "overwrite"] | None
    priority: int
    label: str
    requested_by: str | None


_OPTIONS = (
    click.argument("documents", nargs=-1, metavar="[FILE.json]..."),
    click.option("--source", "sources", multiple=True, metavar="PATH", help="A path in HPSS; may be repeated."),
    click.option("--destination", metavar="PATH", help="The directory at TACC that gets what lies below the source."),
    click.option("--include", multiple=True, metavar="PATTERN", help="Only what matches, such as '*.zip' or 'raw/**'."),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="Not what matches."),
    click.option(
        "--files-from", metavar="FILE", help="Exactly these files: absolute HPSS paths, one a line; - is stdin."
    ),
    click.option(
        "--checksums", default="", metavar="FILE", help="A list as sha512sum writes it, which vouches for files."
    ),
    click.option(
        "--present",
        type=click.Choice(["accept", "recall", "quarantine", "adopt"]),
        help="What becomes of a file of which the destination has a copy, not ours, of its size and date [accept].",
    ),
    click.option(
        "--conflict",
        type=click.Choice(["quarantine", "overwrite"]),
        help="What becomes of a file in whose place something unknown lies [quarantine].",
    ),
    click.option("--priority", type=int, default=0, show_default=True, help="-100 to 100; higher goes first."),
    click.option("--label", default="", metavar="TEXT", help="A name for people."),
    click.option("--requested-by", metavar="WHO", help="Who asked; the user name by default."),
)


def describes_requests(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, and what was said as `words`."""

    @wraps(command)
    def with_words(*arguments: Any, **options: Any) -> Any:
        said = {name: options.pop(name) for name in Words.__dataclass_fields__}
        return command(*arguments, words=Words(**said), **options)

    described: Callable[..., Any] = with_words
    for option in reversed(_OPTIONS):
        described = option(described)
    return described


def submissions(edges: Edges, words: Words) -> list[Submission]:
    """The requests that were described, each with an id."""
    said = (
        words.sources,
        words.destination,
        words.include,
        words.exclude,
        words.files_from,
        words.checksums,
        words.present,
        words.conflict,
    )
    if words.documents and any(said):
        raise OperatorFault(
            "USAGE", "either documents or options describe a request, not both", "leave one out", EX_USAGE
        )
    if words.documents:
        return [_from_file(edges, path) for path in words.documents]
    if not words.sources or not words.destination:
        raise OperatorFault(
            "USAGE", "a request needs --source and --destination", "`tacc-sync submit --help`", EX_USAGE
        )
    request = Request(
        version=VERSION,
        source=words.sources[0] if len(words.sources) == 1 else list(words.sources),
        destination=words.destination,
        include=list(words.include),
        exclude=list(words.exclude),
        files=_lines(words.files_from) if words.files_from else [],
        checksums=os.path.abspath(words.checksums) if words.checksums else "",
        present=words.present or "accept",
        conflict=words.conflict or "quarantine",
        priority=words.priority,
        label=words.label,
        requested_by=user() if words.requested_by is None else words.requested_by,
        created_at=to_iso(edges.clock.now()),
        request_id=edges.host.new_uuid(),
    )
    return [submission.of_request(request)]


def _from_file(edges: Edges, path: str) -> Submission:
    content = read(path)
    try:
        return submission.of_document(content, edges.host, edges.settings.legacy)
    except BadDocument as bad:
        raise BadDocument("", f"{path}: {bad.text}", bad.remedy) from None


def read(path: str) -> bytes:
    """A document that a person named; - is standard input."""
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise OperatorFault("USAGE", f"cannot read {path}: {error.strerror}", "name a file", EX_USAGE) from None
    if len(content) > MAX_BYTES:
        raise BadDocument("", f"{path} is larger than {MAX_BYTES} bytes", "split it")
    return content


def _lines(path: str) -> list[str]:
    lines = read(path).split(b"\n")
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

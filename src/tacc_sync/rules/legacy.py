"""Documents of the earlier tacc-sync: told apart from ours, read as strictly, made into our requests. Pure.

Its requests say neither where from nor where to, but only a glob over the whole archive: the two base paths of the
configuration stand in for both. Of its units only the files' paths are taken over; sizes and places on tape are listed
anew, and what its Globus tasks may have delivered is for the syncer to find out at the destination.
Fails with: `BadDocument`, `BadPattern`; they name the field of the document that the person wrote, or the variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from tacc_sync.rules.documents import VERSION, BadDocument, Request, Struct, decode_exactly, fields_of, readable
from tacc_sync.rules.patterns import BadPattern
from tacc_sync.rules.validity import is_within, validate, why_bad_path

_UUID = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})", re.IGNORECASE)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")

# Which field or variable of theirs stands behind a field of the request that we make.
_BEHIND = {"include[0]": "pattern", "created_at": "date_created", "source": "", "destination": ""}

_Count = Annotated[int, msgspec.Meta(ge=0)]


@readable
class _TheirRequest(Struct, kw_only=True):
    request_id: str
    date_created: str
    source: str
    dest: str
    pattern: str


class _TheirChecksum(Struct, kw_only=True):
    adler32: str
    sha512: str


class _TheirFile(Struct, kw_only=True):
    file_name: str
    hpss_path: str
    size: _Count
    tape_num: _Count
    tape_offset: _Count
    globus_task_id: str | None = None
    checksum: _TheirChecksum | None = None


@readable
class _TheirWork(Struct, kw_only=True):
    work_id: str
    request_id: str
    date_created: str
    tape: str
    size: _Count
    files: list[_TheirFile]


class LegacyWork(NamedTuple):
    """A unit of the earlier tacc-sync: whose it is, which files; the Globus tasks it had started, if any."""

    request_id: str
    paths: list[str]
    work_id: str
    globus_tasks: list[str]


def is_legacy_request(fields: Mapping[str, Any]) -> bool:
    """Whether these are the top-level fields of a request of the earlier tacc-sync."""
    return "version" not in fields and "work_id" not in fields and ("pattern" in fields or "date_created" in fields)


def is_legacy_work(fields: Mapping[str, Any]) -> bool:
    """Whether these are the top-level fields of a unit of the earlier tacc-sync."""
    return "version" not in fields and "work_id" in fields


def convert_request(data: bytes, hpss_base: str, tacc_base: str) -> Request:
    """Our request for one of theirs, valid; its pattern keeps its meaning (globset rules, absolute paths)."""
    fields_of(data)
    theirs = decode_exactly(data, _TheirRequest)
    request = Request(
        version=VERSION,
        source=_base(hpss_base, "HPSS_BASE_PATH"),
        destination=_base(tacc_base, "TACC_BASE_PATH"),
        include=[theirs.pattern],
        pattern_rules="globset",
        created_at=_time(theirs.date_created),
        request_id=_uuid(theirs.request_id, "request_id"),
    )
    _validate(request)
    return request


def convert_work(data: bytes) -> LegacyWork:
    """What `adopt` needs of one of their units; all of its fields are checked."""
    fields_of(data)
    theirs = decode_exactly(data, _TheirWork)
    _time(theirs.date_created)
    for index, file in enumerate(theirs.files):
        if wrong := why_bad_path(file.hpss_path):
            raise BadDocument(f"files[{index}].hpss_path", *wrong)
    tasks = {
        _uuid(file.globus_task_id, f"files[{index}].globus_task_id")
        for index, file in enumerate(theirs.files)
        if file.globus_task_id is not None
    }
    return LegacyWork(
        request_id=_uuid(theirs.request_id, "request_id"),
        paths=[file.hpss_path for file in theirs.files],
        work_id=_uuid(theirs.work_id, "work_id"),
        globus_tasks=sorted(tasks),
    )


def request_from_works(works: Iterable[LegacyWork], *, hpss_base: str, tacc_base: str, created_at: str = "") -> Request:
    """One request, under their request's id, for the files of all of its units; each file once.

    The earlier one made units again after a crash, under new ids: so the same file may stand in several.
    """
    works = list(works)
    ids = sorted({work.request_id for work in works})
    if len(ids) != 1:
        raise BadDocument(
            "request_id", f"the units belong to {len(ids)} requests", "adopt those of one request at a time"
        )
    request = Request(
        version=VERSION,
        source=(source := _base(hpss_base, "HPSS_BASE_PATH")),
        destination=_base(tacc_base, "TACC_BASE_PATH"),
        files=sorted({path for work in works for path in work.paths}),
        label="adopted from the earlier tacc-sync",
        created_at=created_at,
        request_id=ids[0],
    )
    if not request.files:
        raise BadDocument("files", "is empty in all of these units", "remove them: there is nothing to take over")
    for path in request.files:
        if not is_within(path, source):
            text = f"{path[:200]!a} lies outside of HPSS_BASE_PATH, {source}"
            raise BadDocument("files", text, "set HPSS_BASE_PATH to a directory above all of these files")
    _validate(request)
    return request


def _base(path: str, variable: str) -> str:
    if not path:
        text = f"{variable} is not set, and a request of the earlier tacc-sync says nothing in its place"
        raise BadDocument("", text, f"set {variable}, or write a request of this tacc-sync")
    path = path.rstrip("/") or "/"
    if wrong := why_bad_path(path):
        raise BadDocument("", f"{variable} {wrong[0]}", wrong[1])
    return path


def _validate(request: Request) -> None:
    try:
        validate(request)
    except BadPattern as bad:
        raise bad.in_field(_BEHIND.get(bad.field, bad.field)) from None
    except BadDocument as bad:
        text = bad.text.removeprefix(f"field `{bad.field}`: ")
        raise BadDocument(_BEHIND.get(bad.field, bad.field), text, bad.remedy) from None


def _uuid(text: str, field: str) -> str:
    match = _UUID.fullmatch(text)
    if match is None:
        raise BadDocument(field, f"{text[:80]!a} is not a UUID", "write a UUID")
    return "-".join(match.groups()).lower()


def _time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise BadDocument(
            "date_created", f"{text[:80]!a} is not a time in RFC 3339", "write it like 2024-03-28T00:15:14Z"
        )
    return text

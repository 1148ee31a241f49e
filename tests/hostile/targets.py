"""What is fed with bytes of any kind, by the property tests and by the coverage-guided fuzzer alike.

A target takes bytes, and returns when they were dealt with as declared. Any exception that leaves it is a find.
"""

from __future__ import annotations

import json
import unicodedata

from tacc_sync import config
from tacc_sync.outside.globus import answers
from tacc_sync.outside.hpss import hsi_commands
from tacc_sync.outside.hpss.hsi_answers import FilesAnswer, HashesAnswer
from tacc_sync.outside.hpss.hsi_gets import GetsAnswer
from tacc_sync.outside.hpss.hsi_lines import Dialect
from tacc_sync.outside.hpss.hsi_tree import TreeAnswer
from tacc_sync.outside.hpss.interface import Fetch
from tacc_sync.rules import batches, documents, evidence, identity, legacy, patience, polling, progress, sanity, tasks
from tacc_sync.rules.documents import BadDocument, NewerDocument, Request, Work
from tacc_sync.rules.faults import OperatorFault, WorldFault
from tacc_sync.rules.patterns import BadPattern
from tacc_sync.rules.selection import validate

DIALECT = Dialect()
ROOT = "/r"
ASKED = ["/r/a", "/r/d/b c", "/r/d"]
FETCHES = [Fetch(path, f"/l/{index:06d}") for index, path in enumerate(ASKED)]
NOW = 1_800_000_000.0


def _is_short(fault, code, longest):
    assert fault.code == code
    assert len(str(fault)) < longest


def _feed(answer, data):
    """In pieces whose sizes the data themselves tell; both streams."""
    at, stream = 0, 0
    while at < len(data):
        size = 1 + data[at] * 3
        stream ^= data[at] % 11 == 0
        answer.feed(stream, data[at : at + size])
        at += size
    answer.end()
    assert len(answer.strange) <= 51 and all(len(line) <= 420 for line in answer.strange)
    assert len(answer.troubles) <= 60
    answer.trouble()
    return answer


def listing(data):
    """What hsi prints, as the answer to a listing of a tree and of files."""
    tree = _feed(TreeAnswer(ROOT, DIALECT, stranger="/r/.end" if data[:1] > b"\x80" else ""), data)
    tree.why_incomplete(data[0] if data else 0)
    for file in tree.files:
        assert file.path.startswith("/r/") or file.path == ROOT
        assert hsi_commands.is_normal(file.path)
        assert file.size >= 0 and all(len(v) == 6 and v.isalnum() for v in file.volumes)
        if not hsi_commands.why_unspeakable(file.path):
            assert "\n" not in hsi_commands.list_one(file.path)
    files = _feed(FilesAnswer(ASKED, DIALECT, around=["/r"]), data)
    assert set(files.found) <= set(ASKED) and set(files.refused) <= set(ASKED)
    files.why_incomplete()


def hashes(data):
    """What hsi prints, as the answer to a question for hashes."""
    answer = _feed(HashesAnswer(ASKED, DIALECT), data)
    assert set(answer.found) <= set(ASKED)
    for found in answer.found.values():
        assert found is None or (found.algorithm in evidence.COMPUTABLE and int(found.hex, 16) >= 0)
    answer.why_incomplete()


def gets(data):
    """What hsi prints while it fetches."""
    answer = _feed(GetsAnswer(FETCHES, ("-P",), DIALECT), data)
    assert 0 <= answer.over <= len(FETCHES)
    for index in range(len(FETCHES)):
        fetched = answer.fetched(index)
        assert len(fetched.error) < 6000
        assert fetched.reported_bytes is None or fetched.reported_bytes >= 0
    answer.unanswered()


def document(data):
    """A document of ours, or one that somebody has dropped."""
    for kind in (Request, Work):
        try:
            found = documents.decode(data, kind)
        except (BadDocument, NewerDocument):
            continue
        assert documents.decode(documents.encode(found), kind) == found
        if isinstance(found, Request):
            _request(found)
        else:
            _work(found)
    try:
        fields = documents.fields_of(data)
    except BadDocument as bad:
        _is_short(bad, "DOCUMENT-BAD", 2000)
    else:
        legacy.is_legacy_request(fields)
        legacy.is_legacy_work(fields)
    for convert in (lambda: legacy.convert_request(data, "/home/x", "/ranch/x"), lambda: legacy.convert_work(data)):
        try:
            convert()
        except (BadDocument, BadPattern):
            continue


def _request(request):
    try:
        validate(request)
    except (BadDocument, BadPattern):
        pass
    else:
        for path in (*request.sources, *request.files, request.destination):
            assert path.startswith("/") and not {".", ".."}.intersection(path.split("/"))
            assert not any(unicodedata.category(c) == "Cc" for c in path)
    try:
        sanity.check_request(request, identity.request_key(request.request_id))
    except BadDocument:
        return
    assert all(identity.parse_unit(unit) for unit in request.plan.units)


def _work(work):
    try:
        sanity.check_work(work, work.unit)
    except BadDocument:
        return
    # What passes can be reckoned with.
    progress.Standing().add(work, quarantined=False)
    patience.rest_until(work, NOW, patience.Patience())
    for file in work.files:
        patience.note_failure(file, documents.Why(code="X", text="x"), NOW, patience.Patience())
    for task in work.tasks:
        assert sum(work.files[item].size for item in task.items) >= 0
        patience.from_iso(task.trouble_since)


def configuration(data):
    """A tacc-sync.toml; what comes before a NUL is the file, the lines behind it are the environment."""
    toml, _, rest = data.partition(b"\0")
    said = [text for text in rest.decode("utf-8", "surrogateescape").split("\n") if "\0" not in text]
    names = [variable for variable, _, _ in config.ENVIRONMENT]
    environment = dict(zip(names, said, strict=False)) if rest else {}
    try:
        found = config.load(toml, "tacc-sync.toml", environment, {})
    except OperatorFault as fault:
        _is_short(fault, "CONFIG-BAD", 5000)
        return
    assert found.rows()
    lease = found.settings.lease
    assert 0 <= lease.beat * 4 <= lease.lease < float("inf")
    assert found.settings.buffer.quota >= 0


READERS = (
    answers.task_view, answers.transferred, answers.task_event, answers.remote_entry, answers.collection,
    lambda data: answers.entries(answers.document(data, "it"), "it"),
)  # fmt: skip


def globus(data):
    """A reply of the transfer service, as JSON."""
    try:
        reply = json.loads(data)
    except (ValueError, RecursionError):
        return
    replies = [reply, *reply] if isinstance(reply, list) else [reply]
    for one in replies[:20]:
        for read in READERS:
            try:
                found = read(one)
            except WorldFault as fault:
                _is_short(fault, "GLOBUS-STRANGE-ANSWER", 2000)
                continue
            if isinstance(found, tasks.TaskView):
                _view(found)
            elif isinstance(found, answers.Transferred):
                _record(found)


def _view(view):
    patience.to_iso(view.completed_at or NOW)
    for since in (None, NOW - 1e6):
        verdict = tasks.assess(view, now=NOW, since=since)
        if isinstance(verdict, tasks.Ended):
            continue
        assert len(getattr(verdict, "waits_for", "")) < 3000
    track, habits = polling.Track(), polling.Habits()
    for now in (NOW, NOW + 1.0, NOW + 1e6):
        track.note(view, 5, now)
        pause = polling.pause(track, habits, 5, now, usual=5.0, begun=view.requested_at)
        assert polling.SHORTEST <= pause <= polling.FAR * 5.0
    habits.learn(track, 5, NOW)


def _record(record):
    for accept in (False, True):
        verdict = evidence.judge_record(
            size=5, hashes={"md5": "0" * 32, "sha512": "1" * 128}, record_size=record.size,
            record_checksum=record.checksum, record_algorithm=record.algorithm, accept_without_checksum=accept,
        )  # fmt: skip
        assert len(getattr(verdict, "text", "")) < 1500


def name(data):
    """The name of a file that lies in a queue."""
    entry = data.decode("utf-8", "surrogateescape")
    unit = identity.parse_entry(entry)
    if unit is not None:
        assert "/" not in entry and entry.isascii() and entry.isprintable() and len(entry) < 200
        assert unit.bytes >= 0 and all(unit.cartridges)
        assert len(identity.task_label(unit.unit, 99)) <= 128
    identity.printable(entry).encode()
    assert len(identity.shortened(entry).encode("utf-8", "surrogateescape")) <= 200
    if identity.is_worker(entry):
        assert "/" not in entry and ".." not in entry.split("/")
    assert batches.bytes_of_a_unit(len(data), quota=len(entry), sessions=1) >= 0


# --- what to begin with --------------------------------------------------------------------------------------------

UNIT = "0123456789ab.AA0001.0000.15"
REQUEST_ID = "01234567-89ab-4def-8123-456789abcdef"
FILE = {
    "path": "/home/x/a", "destination": "/ranch/x/a", "size": 5, "outcome": "delivered", "task_id": "t-1",
    "receipt": "md5:" + "0" * 32, "delivered_at": "2026-03-28T00:15:14Z", "archive_hash": "md5:" + "0" * 32,
}  # fmt: skip
WORK = {
    "version": 1, "unit": UNIT, "request_id": REQUEST_ID, "tape": ["AA0001"], "bytes": 15,
    "created_at": "2026-03-28T00:15:14Z", "begun": 2, "ended": 1,
    "tasks": [{
        "attempt": 1, "submission_id": "s-1", "label": f"{UNIT}.1", "prepared_at": "2026-03-28T00:15:14Z",
        "items": [0, 1], "bytes": 10, "task_id": "t-1", "trouble_since": "2026-03-28T00:15:14Z",
    }],
    "files": [FILE, FILE | {"path": "/home/x/b", "destination": "/ranch/x/b"}, FILE | {"outcome": "waiting"}],
}  # fmt: skip
REQUEST = {
    "version": 1, "source": ["/home/x", "/home/y"], "destination": "/ranch/x", "include": ["**/*.{zip,[a-c]z}", "/home/x/*"],
    "exclude": ["tmp/**"], "files": ["/home/x/a"], "priority": 3, "label": "demo", "created_at": "2026-03-28T00:15:14Z",
    "request_id": REQUEST_ID, "admitted": {"token": "t", "at": ""},
    "plan": {"planned_at": "2026-03-28T00:15:14Z", "files": 3, "bytes": 15, "units": [UNIT]},
}  # fmt: skip
THEIRS = {
    "request_id": REQUEST_ID, "date_created": "2024-03-28T00:15:14Z", "source": "NERSC", "dest": "TACC",
    "pattern": "/home/x/**/*.zip",
}  # fmt: skip
THEIR_WORK = {
    "work_id": REQUEST_ID, "request_id": REQUEST_ID, "date_created": "2024-03-28T00:15:14Z", "tape": "AA0001", "size": 5,
    "files": [{"file_name": "a", "hpss_path": "/home/x/a", "size": 5, "tape_num": 1, "tape_offset": 0}],
}  # fmt: skip
TASK = {
    "task_id": "t1", "status": "ACTIVE", "label": "u.1", "request_time": "2026-11-22T10:00:00+00:00",
    "completion_time": None, "deadline": "2026-11-23T10:00:00+00:00", "is_paused": False, "faults": 2,
    "fatal_error": {"code": "X", "description": "y"}, "files": 3, "nice_status": "FILE_NOT_FOUND",
    "nice_status_details": "550 no such file\r\n", "canceled_by_admin": None, "history_deleted": False,
}  # fmt: skip
ENDED = TASK | {"status": "FAILED", "completion_time": "2026-11-22T11:00:00+00:00"}
RECORD = {
    "source_path": "/b/a", "destination_path": "/ranch/x/a", "size": 5, "checksum": "0" * 32, "checksum_algorithm": "MD5",
}  # fmt: skip
ENTRY = {"name": "a", "type": "file", "size": 5, "last_modified": "2026-11-22 10:00:00+00:00"}
COLLECTION = {"id": "c", "display_name": "C", "entity_type": "GCSv5_mapped_collection", "disable_verify": False}
EVENT = {"time": "2026-11-22 10:00:00+00:00", "code": "X", "is_error": True, "description": "d", "details": "e"}

_FILE_LINE = b"FILE\t/r/a\t10\t10\t3+5\tAA0001,AA0002\t1\t2\t3\t02/28/2021\t10:00:00\t03/01/2021\t11:15:47\n"
SEEDS = {
    "listing": [
        b"ls -a -N -R -P '/r'\n%bDIRECTORY\t/r/d\n%bls -a -N -P '/r'\n%bDIRECTORY\t/r/d\n"
        % (_FILE_LINE, _FILE_LINE.replace(b"/r/a", b"/r/d/b c"), _FILE_LINE),
        b"*** ls: No such file or directory [-2: HPSS_ENOENT]\n    /r/a\n*** HPSS Unavailable\n",
        b"Username: x UID: 1\nA:/home/x-> \nLink\t/r/l\nlrwxrwxrwx 1 a b 1 Jan 1 2020 /r/l@ -> /etc\n",
    ],
    "hashes": [
        b"0123456789abcdef0123456789abcdef md5 /r/a [owner]\n(none) /r/d/b c\n/r/d failed: no valid checksum found\n",
        b"*** hashlist: Error -5 on /r/a [-5: HPSS_EIO]\n/r/a: (md5) OK\n",
    ],
    "gets": [
        b"get -P '/l/000000' : '/r/a'\nget  '/l/000000' : '/r/a' (2021/03/01 11:15:47 10 bytes, 1.0 KBS )\n",
        b"*** get: Error -5 on transfer. /l/000001 from /r/d/b c [-5: HPSS_EIO]\nconnect: Connection refused\n",
    ],
    "document": [json.dumps(d).encode() for d in (REQUEST, WORK, THEIRS, THEIR_WORK)],
    "configuration": [
        config.TEMPLATE.encode(),
        config.TEMPLATE.replace("# ", "").encode()[:400],
        (b'[run]\npoll = 5\nstand_down = "1h"\n[buffer]\nquota = "20TB"\n[hsi]\ncommand = ["hsi", "-x"]\nsessions = 3\n'
        b'[lease]\nbeat = 1.5\nlease = 1e3\nturn = 120\n[globus]\nlogin = "user"\nencrypt = true\n'),
        b"\0hsi -v\nhpss_avail x\n/b\n/g\n5TB\n",
    ],
    "globus": [json.dumps([TASK, ENDED, RECORD, ENTRY, COLLECTION, EVENT, {"DATA": [ENTRY]}]).encode()],
    "name": [f"{UNIT}.json".encode(), b"retriever.host.1-2.3.0.abcd", b"request.json", b"0123456789ab.A-B.0001.5.json"],
}  # fmt: skip
TARGETS = {
    "listing": listing, "hashes": hashes, "gets": gets, "document": document, "configuration": configuration,
    "globus": globus, "name": name,
}  # fmt: skip

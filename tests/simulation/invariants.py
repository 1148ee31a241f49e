"""The laws of the design, checked on the raw state of a world, after every change and at rest.

`check(world)` raises `Violation` with the law that is broken and where. It reads the state directly, not through any code
of tacc-sync but the decoders of its documents.
"""

from __future__ import annotations

import hashlib

import msgspec
from sim_disk import Dir, File, SimDisk, hash_of
from world import DESTINATION, FOREIGN, SOURCE, Process, SimClock, SimHost, Violation, origin

from tacc_sync.operator.check import Checker
from tacc_sync.rules import certificate
from tacc_sync.rules.documents import Request, Work
from tacc_sync.rules.identity import parse_unit
from tacc_sync.rules.manifest_chain import ManifestCheck
from tacc_sync.rules.route import CLAIMABLE, COMPONENTS, QUARANTINE, UNIT_QUEUES
from tacc_sync.workspace import layout

_WORK = msgspec.json.Decoder(Work)
_REQUEST = msgspec.json.Decoder(Request)
_UNITS: dict[str, object] = {}
ROOT_NAMES = {
    *(path for path in layout.DIRECTORIES if "/" not in path),
    layout.CONFIG,
    layout.FORMAT_FILE,
    layout.TURN,
    layout.IDENTITY,
}


def unit_of(name):
    if name not in _UNITS:
        _UNITS[name] = parse_unit(name)
    return _UNITS[name]


def broken(law, text):
    raise Violation(f"law {law}: {text}")


def parsed(file, decoder, where):
    if file.doc is None:
        try:
            file.doc = decoder.decode(file.content)
        except msgspec.MsgspecError as error:
            broken(2, f"{where} does not parse: {error}: {file.content[:80]!r}")
    return file.doc


class Survey:
    """Where everything lies."""

    def __init__(self, world):
        self.world = world
        self.places: dict[str, list[tuple[str, File]]] = {}
        self.staged: dict[str, list[str]] = {}
        self.requests: dict[str, tuple[str, Request]] = {}
        root = world.ws.root.entries
        for queue in UNIT_QUEUES:
            self._units(root[queue].entries, queue)
        for component in COMPONENTS:
            entries = root[QUARANTINE].entries[component].entries
            self._units(entries, f"quarantine/{component}")
        self._requests(root["request_queue"].entries, "request_queue")
        for name, home in root["claims"].entries.items():
            if type(home) is Dir:
                self._home(name, home)
        for key, directory in root["finished"].entries.items():
            self._units(directory.entries, f"finished/{key}")
            document = directory.entries.get("request.json")
            if document is not None:
                self._request(key, f"finished/{key}", document)

    def _units(self, entries, where):
        for name, file in entries.items():
            if name.endswith(".json") and unit_of(name[:-5]) is not None:
                parsed(file, _WORK, f"{where}/{name}")
                self.places.setdefault(name[:-5], []).append((where, file))

    def _requests(self, entries, where):
        for name, file in entries.items():
            if name.endswith(".json"):
                self._request(name[:-5], where, file)

    def _request(self, key, where, file):
        if key in self.requests:
            broken(1, f"request {key} is in {self.requests[key][0]} and in {where}")
        self.requests[key] = (where, parsed(file, _REQUEST, f"{where}/{key}"))

    def _home(self, worker, home):
        for name, directory in home.entries.items():
            if type(directory) is not Dir or not directory.entries:
                continue
            if name == "staging":
                inbox = home.entries.get("inbox")
                for stem, staging in directory.entries.items():
                    if inbox is not None and f"{stem}.json" in inbox.entries:
                        continue  # not committed: will be deleted
                    for folder in ("hpss_queue", "quarantine", "finished"):
                        below = staging.entries.get(folder)
                        for entry in below.entries if below is not None else ():
                            if entry.endswith(".json") and unit_of(entry[:-5]) is not None:
                                self.staged.setdefault(entry[:-5], []).append(f"{worker}/staging/{stem}")
            elif name == "request_queue":
                self._requests(directory.entries, f"claims/{worker}/request_queue")
            elif name in CLAIMABLE and name not in {"inbox", "standing"}:
                self._units(directory.entries, f"claims/{worker}/{name}")


def check(world):
    """Laws 1, 2, 3, 4, 5, 6, 8, 9, 10, as far as they can be seen at any moment."""
    survey = Survey(world)
    _one_place(survey)
    _bytes(survey)
    _buffer(world, survey)
    _outside(world)
    return survey


def _one_place(survey):
    planned = set()
    for key, (where, request) in survey.requests.items():
        if request.plan is None:
            if where.startswith("finished"):
                broken(6, f"request {key} finished without a plan")
            continue
        files = 0
        for unit in request.plan.units:
            planned.add(unit)
            found = survey.places.get(unit, ())
            staged = survey.staged.get(unit, ())
            if len(found) + len(staged) != 1:
                places = [place for place, _ in found] + list(staged)
                broken(1, f"{unit} is in {len(places)} places: {places}")
            if found:
                files += len(found[0][1].doc.files)
                if where.startswith("finished/") and found[0][0] != where:
                    broken(7, f"request {key} is finished, but {unit} is in {found[0][0]}")
            else:
                files = -(10**9)
                if where.startswith("finished/"):
                    broken(7, f"request {key} is finished, but {unit} is in {staged}")
        if files >= 0 and files != request.plan.files:
            broken(6, f"request {key} has {request.plan.files} files, its units have {files}")
    for unit, found in survey.places.items():
        if unit not in planned:
            broken(1, f"{unit} is in {[place for place, _ in found]}, but in no request's plan")


def _bytes(survey):
    world = survey.world
    destination, buffer = world.globus.destination, world.buffer.root.entries
    for unit, found in survey.places.items():
        where, file = found[0]
        # What was once found right about this very document stays so only while the world does not change.
        directory = buffer.get(unit)
        for index, entry in enumerate(file.doc.files):
            # A file may have grown since it was listed: what was listed is what was promised.
            content = world.hpss.content(entry.path, entry.size)
            if entry.outcome in {"delivered", "proven"}:
                if destination.get(entry.destination) != content:
                    broken(
                        4,
                        f"{unit} says that {entry.path} is {entry.outcome}, the destination does not have it ({where})",
                    )
            elif entry.outcome == "retrieved" and (unit, index) not in world.hurt:
                copy = directory.entries.get(f"{index:06d}") if directory is not None else None
                if copy is None or copy.content != content:
                    what = "missing" if copy is None else "wrong"
                    broken(5, f"the copy of {entry.path} in the buffer ({unit}/{index:06d}) is {what}")
            if where.startswith("finished/") and entry.outcome not in {"delivered", "abandoned", "proven"}:
                broken(4, f"{unit} is finished with {entry.path} {entry.outcome}")


def _buffer(world, survey):
    reserved: dict[str, int] = {}
    for name in world.ws.root.entries["reservations"].entries:
        unit, _, size = name.rpartition(".")
        if unit_of(unit) is None:
            broken(8, f"reservations/{name}")
        reserved[unit] = reserved.get(unit, 0) + int(size)
    quota = world.settings.buffer.quota
    if quota and sum(reserved.values()) > quota:
        broken(10, f"{sum(reserved.values())} bytes are reserved, the quota is {quota}: {reserved}")
    lying: dict[str, dict[int, int]] = {}
    for name, directory in world.buffer.root.entries.items():
        if name == layout.PART:
            for worker, part in directory.entries.items():
                for unit, files in part.entries.items():
                    if unit == layout.MARKER:
                        continue
                    if type(files) is not Dir or unit_of(unit) is None:
                        broken(8, f".part/{worker}/{unit} in the buffer")
                    lying.setdefault(unit, {}).update(
                        (id(f), len(f.content)) for f in files.entries.values() if type(f) is File
                    )
        elif name == layout.MARKER:
            continue
        elif unit_of(name) is None:
            broken(8, f"{name} in the buffer")
        elif directory.entries:
            lying.setdefault(name, {}).update((id(f), len(f.content)) for f in directory.entries.values())
    for unit, files in lying.items():
        # A file that has grown since it was listed is written to its end before anybody can see it; it is never placed.
        size = sum(files.values()) - grown(world, survey, unit)
        if size > reserved.get(unit, 0):
            broken(10, f"{size} bytes of {unit} lie in the buffer, {reserved.get(unit, 0)} are reserved for it")


def grown(world, survey, unit):
    """Bytes by which a unit's files are longer by now than they were when they were listed."""
    if not world.hpss.since or unit not in survey.places:
        return 0
    since = [(world.hpss.since.get(file.path), file.size) for file in survey.places[unit][0][1].doc.files]
    return sum(max(0, len(now.content) - size) for now, size in since if now is not None)


def _outside(world):
    strange = world.ws.root.entries.keys() - ROOT_NAMES
    if strange:
        broken(8, f"in the workspace: {strange}")
    users: dict[str, list] = {}
    at_work: dict[int, list] = {}
    marks = world.ws.root.entries["cartridges"].entries.keys()
    for session in world.hpss.sessions:
        if session.alive:
            at_work.setdefault(session.process.pid, []).append(session)
            for label in session.cartridges:
                users.setdefault(label, []).append(session)
                if label not in marks and not (session.is_at_last_file and f"{label}~last" in marks):
                    broken(9, f"a session uses {label}, and nothing keeps others from it")
    for label, sessions in users.items():
        # The next one may be ready while the last one reads its last file.
        if len(sessions) > 1 + world.hands_over or sum(not session.is_at_last_file for session in sessions) > 1:
            broken(9, f"{len(sessions)} sessions use {label}")
    for sessions in at_work.values():
        # Those whose place another one has taken are at their last file.
        most, reading = world.sessions_at_once, [session for session in sessions if not session.is_at_last_file]
        if len(reading) > most or len(sessions) > (1 + world.hands_over) * most:
            broken("11 (sessions)", f"{len(sessions)} of one process are at work: {[s.unit for s in sessions]}")
    live = [task for task in world.globus.live() if task.fate != FOREIGN]
    if len(live) > world.tasks_at_once:
        broken("11 (three tasks)", f"{len(live)} tasks are at work or queued: {[t.order.label for t in live]}")
    units = [task.order.label.rpartition(".")[0] for task in live]
    if len(set(units)) != len(units):
        broken(3, f"two live tasks of one unit: {units}")
    for path in world.globus.destination:
        if origin(path) not in world.hpss.files:
            broken(8, f"{path} at the destination")


def check_at_rest(world, *, quarantine=False):
    """Everything finished (or in quarantine, where the world was such that it must be), and nothing left lying about."""
    survey = check(world)
    root = world.ws.root.entries
    left = []
    for place in ("inbox", "request_queue", "cartridges", "globus_slots", "rests", "loans", "claims", *UNIT_QUEUES):
        left += [f"{place}/{name}" for name in root[place].entries]
    quarantined = set()
    for component in COMPONENTS:
        for name in root[QUARANTINE].entries[component].entries:
            if not quarantine:
                left.append(f"quarantine/{component}/{name}")
            quarantined.add(name.removesuffix(".json"))
    if quarantine:
        left = [entry for entry in left if not entry.startswith("request_queue/")]
    for name in root["reservations"].entries:
        if name.rpartition(".")[0] not in quarantined:
            left.append(f"reservations/{name}")
    for name, directory in world.buffer.root.entries.items():
        if name == layout.PART:
            left += [f"buffer/.part/{below}" for below in directory.entries]
        elif name not in quarantined and name != layout.MARKER:
            left.append(f"buffer/{name}")
    if left:
        broken("at rest", f"left over: {left}")
    if "turn" not in root:
        broken("at rest", "the turn is lost")
    if world.errors:
        broken("ours", world.errors[0])
    findings = checked(world)
    if findings:
        broken("at rest", f"`tacc-sync check` finds: {'; '.join(map(str, findings))}")
    certified = [key for key, (where, _) in survey.requests.items() if where.startswith("finished/")]
    for key in certified:
        _certified(key, root_of(world, f"finished/{key}"))
    if certified:
        _chained(root_of(world, layout.CHAIN), len(certified))
    return survey


def checked(world):
    """What `tacc-sync check` finds: the very function behind it, on the simulated disks, run by nobody's process."""
    onlooker = Process("a", 1)
    before = world.hook, world.after, world.checker, world.scheduler, world.count
    world.hook = world.after = world.checker = world.scheduler = None
    try:
        disk = SimDisk(world, onlooker, world.ws, "/ws")
        buffer = SimDisk(world, onlooker, world.buffer, world.buffer_root)
        host = SimHost(world, onlooker)
        report = Checker(disk, buffer, SimClock(world, onlooker), host, world.settings.buffer.quota).check()
    finally:
        world.hook, world.after, world.checker, world.scheduler, world.count = before
    if not report.steady:
        broken("at rest", "`tacc-sync check` saw something move")
    return report.findings


def check_all_delivered(world, requests=1):
    """And every file of the archive is there, moved by one good task."""
    survey = check_at_rest(world)
    finished = [key for key, (where, _) in survey.requests.items() if where.startswith("finished/")]
    if len(finished) != requests:
        broken("at rest", f"{len(finished)} of {requests} requests are finished")
    wanted = {path.replace(SOURCE, DESTINATION, 1): f.content for path, f in world.hpss.files.items()}
    if world.globus.destination != wanted:
        broken("at rest", f"at the destination: {sorted(world.globus.destination)}")
    for key in finished:
        directory = root_of(world, f"finished/{key}")
        lines = directory["manifest.jsonl"].content.decode().splitlines()
        plan = survey.requests[key][1].plan
        if len(lines) != plan.files or "manifest-sha512.txt" not in directory:
            broken(6, f"the manifest of {key} has {len(lines)} lines for {plan.files} files")
    check_tasks(world)


def _certified(key, directory):
    """The certificate is that of the files beside it."""
    found, flaws = certificate.decode(directory[certificate.CERTIFICATE].content)
    if flaws:
        broken(2, f"the certificate of {key}: {flaws[0]}")
    for name, sealed in found.files.items():
        place, _, last = name.rpartition("/")
        entries = directory[place].entries if place else directory
        if last not in entries or hashlib.sha512(entries[last].content).hexdigest() != sealed.sha512:
            broken(3, f"{name} of {key} is not what its certificate says")
    check = ManifestCheck(found)
    for line in directory[certificate.MANIFEST].content.splitlines(keepends=True):
        flaws += check.line(line)
    flaws += check.end()
    if flaws:
        broken(3, f"the manifest of {key}: {flaws[0]}")


def _chained(entries, requests):
    """One certificate a request, without a gap, each naming the one before it."""
    contents = [entries[name].content for name in sorted(entries)]
    if sorted(entries) != [f"{number:08d}.json" for number in range(1, requests + 1)]:
        broken(3, f"the chain of certificates for {requests} requests: {sorted(entries)}")
    for number, content in enumerate(contents, 1):
        before = contents[number - 2] if number > 1 else None
        for flaw in certificate.flaws_of_order(number, content, before, None, content, f"certificate {number}"):
            broken(3, str(flaw))


def check_tasks(world):
    """One task per attempt; no file was carried by two tasks that both succeeded."""
    labels: dict[str, int] = {}
    carried: dict[str, int] = {}
    for task in world.globus.tasks.values():
        if task.fate == FOREIGN:
            continue
        labels[task.order.label] = labels.get(task.order.label, 0) + 1
        if task.status == "SUCCEEDED" and not task.fate:
            for item in task.order.items:
                carried[item.destination] = carried.get(item.destination, 0) + 1
    proven: set[tuple[str, int]] = set()
    for task in sorted(world.globus.tasks.values(), key=lambda task: task.submitted):
        if task.fate == FOREIGN:
            continue
        unit = task.order.label.rpartition(".")[0]
        again = [item.destination for item in task.order.items if (unit, item.destination) in proven]
        if again:
            broken(3, f"carried again by {task.order.label}, though an earlier record proved it: {again}")
        if not task.forgotten:
            proven |= {(unit, record.destination) for record in task.records if is_proof(world, record)}
    twice = [label for label, number in labels.items() if number > 1]
    if twice:
        broken(3, f"two tasks for one attempt: {twice}")
    twice = [path for path, number in carried.items() if number > 1]
    if twice:
        broken(3, f"carried twice: {twice}")


def is_proof(world, record):
    content = world.globus.destination[record.destination]
    return record.size == len(content) and record.checksum == hash_of(
        "md5", world.hpss.files[origin(record.destination)].content
    )


def root_of(world, path):
    return world.ws.directory(path).entries

"""Is everything there, and does it answer? Tries out, on this host, what the components will rely on.

Guarantee: leaves nothing behind but what a drain removes, and, where a scratch directory is configured, what it found
out of the endpoints' checksums, with one small file there; never reads or changes a file of anybody else; each probe
says what it found, and a failed one what to do. A probe that fails does not stop the others.
Fails with: nothing but our own bugs; what is wrong is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tacc_sync.operator import checksum_probe
from tacc_sync.operator.hands import hands
from tacc_sync.operator.words import duration, size
from tacc_sync.outside.checksums.interface import Catalog
from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.globus.interface import Globus, NoSuchDirectory
from tacc_sync.outside.host.interface import Host
from tacc_sync.outside.hpss.interface import Hpss
from tacc_sync.rules import external
from tacc_sync.rules.faults import Fault, OperatorFault, of_os_error
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout, queues
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

State = Literal["ok", "warn", "fail"]

# docs.nersc.gov, archive: at most so many sessions of a user at a time.
NERSC_SESSIONS = 15
# How often, and how many seconds apart, the other name of the buffer is looked at: a file system may show new files
# late.
LOOKS, PAUSE = 4, 1.0
CHECKSUMS = "our hashes at Globus"
PROBE = b"tacc-sync doctor\n"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one probe found; when it failed also the code of the fault, the remedy, and the exit code."""

    name: str
    state: State
    text: str
    remedy: str = ""
    code: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined; the edges are built when their probe's turn has come, since building them may fail."""

    disk: Disk
    settings: Settings
    clock: Clock
    host: Host
    buffer: Callable[[], Disk]
    hpss: Callable[[], Hpss]
    globus: Callable[[], Globus]
    mtime: Callable[[str], float]
    catalog: Callable[[], Catalog | None] = lambda: None


def examine(patient: Patient) -> Iterator[Probe]:
    """All probes, cheap ones first."""
    yield from _guarded("workspace", lambda: _workspace(patient))
    yield from _guarded("buffer", lambda: _buffer(patient))
    yield from _guarded("hsi", lambda: _hpss(patient))
    yield from _guarded("globus", lambda: _globus(patient))
    yield from _guarded("file catalog", lambda: _catalog(patient))


def _guarded(name: str, probes: Callable[[], Iterator[Probe]]) -> Iterator[Probe]:
    try:
        yield from probes()
    except Fault as fault:
        yield _failed(name, fault)
    except OSError as error:
        known = of_os_error(error, name)
        yield _failed(name, known or OperatorFault("DISK", f"{name}: {error}", "look at it by hand", 74))


def _failed(name: str, fault: Fault) -> Probe:
    return Probe(name, "fail", fault.text, fault.remedy, fault.code, fault.exit_code)


# --- the workspace --------------------------------------------------------------------------------------------


def _workspace(patient: Patient) -> Iterator[Probe]:
    disk = patient.disk
    layout.open_workspace(disk)
    kind = patient.host.file_system(disk.root)
    yield Probe("workspace", "ok", f"{disk.root} on {kind}, {size(disk.free_bytes())} free")
    with hands(disk, patient.clock, patient.host) as home:
        yield from _moves(home)
        yield _clock(patient, home)
    held = queues.held(disk)
    if held:
        yield Probe("hold", "warn", f"on hold: {', '.join(held)}", "`tacc-sync unhold` lets them go on")


def _moves(home: Home) -> Iterator[Probe]:
    """A file of ours goes through all the places of the workspace, under a name that nobody takes for a document."""
    disk, name = home.disk, f".doctor-{home.host.token()}"
    there = f"{home.path}/{name}"
    disk.create(there, PROBE)
    places = (*layout.DIRECTORIES, home.path)
    try:
        for place in places:
            step = f"{there.rpartition('/')[0]} -> {place}"
            try:
                disk.rename(there, f"{place}/{name}")
                there = f"{place}/{name}"
                disk.sync(place)
            except OSError as error:
                fault = of_os_error(error, step) or OperatorFault("DISK", f"{step}: {error}", "look at it by hand", 74)
                yield _failed("rename", fault)
                return
        disk.link(there, f"{there}-2")
        disk.unlink(f"{there}-2")
    finally:
        disk.unlink(there)
    yield Probe("rename", "ok", f"rename, link and sync work between all {len(places)} places")


def _clock(patient: Patient, home: Home) -> Probe:
    path = f"{home.path}/clock"
    before = patient.clock.now()
    home.disk.create(path, PROBE)
    after = patient.clock.now()
    theirs = patient.mtime(f"{home.disk.root}/{path}")
    home.disk.unlink(path)
    skew = theirs - before if theirs < before else max(0.0, theirs - after)
    by = "less than 1 s" if abs(skew) < 1 else duration(abs(skew))
    text = f"the file server's clock differs from this host's by {by}"
    # Nothing relies on it: see rules/liveness.py.
    return Probe(
        "clock", "ok" if abs(skew) < 60 else "warn", text, "" if abs(skew) < 60 else "for people's sake: use NTP"
    )


# --- the buffer -----------------------------------------------------------------------------------------------


def _buffer(patient: Patient) -> Iterator[Probe]:
    buffer = patient.buffer()
    quota, free = patient.settings.buffer.quota, buffer.free_bytes()
    kind = patient.host.file_system(buffer.root)
    with hands(patient.disk, patient.clock, patient.host, buffer) as home:
        path = f"{home.part}/doctor"
        buffer.create(path, PROBE)
        intact = buffer.read(path) == PROBE
        buffer.unlink(path)
    if not intact:
        yield Probe("buffer", "fail", f"{buffer.root} gives back other bytes", "tell its administrators", "DISK-IO", 74)
    yield Probe("buffer", "ok", f"{buffer.root} on {kind}, can be written to")
    reserved = sum(queues.reservations(patient.disk).values())
    if quota == 0:
        yield Probe(
            "quota", "warn", f"no limit is set; {size(free)} are free", "set `quota` in [buffer], or TRANSFER_QUOTA"
        )
    elif free < quota - reserved:
        text = f"the quota leaves {size(quota - reserved)} to be filled, the file system {size(free)}"
        yield Probe("quota", "warn", text, "make the quota smaller, or free some space", "DISK-FULL")
    else:
        yield Probe("quota", "ok", f"{size(quota)}, {size(reserved)} reserved; {size(free)} free on the file system")
    if buffer.root == patient.disk.root or patient.disk.root.startswith(buffer.root + "/"):
        text = "the workspace lies in the transfer buffer"
        yield Probe("buffer", "fail", text, "give each a directory of its own", "CONFIG-BAD", 78)


# --- HPSS -----------------------------------------------------------------------------------------------------


def _hpss(patient: Patient) -> Iterator[Probe]:
    section = patient.settings.hsi
    hpss = patient.hpss()
    hpss.check_up()
    how = "HPSS says that it is up" if section.available else "there; `hsi.available` is not set, so HPSS was not asked"
    yield Probe("hsi", "ok", f"{' '.join(section.command)}: {how}")
    root = patient.settings.legacy.hpss_base_path or "/"
    # Reads a single entry of the catalogue, no tape; it proves the login.
    listing = hpss.list_files([root])
    refused = listing.refused[0].kind if listing.refused else ""
    if refused in {"", "not-a-file"}:
        yield Probe("login at HPSS", "ok", f"hsi logs in, and sees {root}")
    else:
        text = f"hsi logs in, but {root}: {listing.refused[0].text}"
        yield Probe("login at HPSS", "warn", text, "correct HPSS_BASE_PATH, or get permission")
    if section.sessions > NERSC_SESSIONS:
        text = f"{section.sessions} sessions; NERSC allows {NERSC_SESSIONS} of a user"
        yield Probe("sessions", "warn", text, "set `sessions` in [hsi] to 10 or less")


# --- Globus ---------------------------------------------------------------------------------------------------


def _globus(patient: Patient) -> Iterator[Probe]:
    globus, settings = patient.globus(), patient.settings
    yield Probe("login at Globus", "ok", globus.whoami())
    buffer_path = settings.buffer.globus_path or settings.buffer.path
    for name, collection, path in (
        ("source", settings.globus.source_collection, buffer_path),
        ("destination", settings.globus.destination_collection, settings.destination.globus_prefix),
    ):
        yield from _guarded(f"{name} collection", lambda n=name, c=collection, p=path: _collection(globus, n, c, p))  # type: ignore[misc]
    yield from _guarded("the buffer's two names", lambda: _two_names(patient, globus, buffer_path))
    yield from _guarded(CHECKSUMS, lambda: _checksums(patient, globus))


def _collection(globus: Globus, name: str, collection: str, path: str) -> Iterator[Probe]:
    about = globus.collection(collection)
    try:
        entries = len(globus.listing(collection, path)) if path else 0
    except NoSuchDirectory:
        key = "buffer.globus_path" if name == "source" else "destination.globus_prefix"
        code = "BUFFER-NAMES-DIFFER" if name == "source" else "DESTINATION-OUTSIDE"
        text = f"{about.display_name} has no directory {path}"
        remedy = f"set `{key}` to the collection's own name of the directory; `globus ls {collection}` shows its root"
        yield Probe(f"{name} collection", "fail", text, remedy, code, 78)
        return
    text = f"{about.display_name}: {path} has {entries} entries"
    if about.disable_verify:
        remedy = "ask its owner to allow verification: without it no file counts as delivered"
        yield Probe(f"{name} collection", "warn", text + "; it forbids verification of checksums", remedy)
    else:
        yield Probe(f"{name} collection", "ok", text)


def _two_names(patient: Patient, globus: Globus, path: str) -> Iterator[Probe]:
    """A small file in the buffer must be seen through the source collection."""
    buffer = patient.buffer()
    name = "the buffer's two names"
    with hands(patient.disk, patient.clock, patient.host, buffer) as home:
        buffer.create(f"{home.part}/doctor", PROBE)
        seen = _sees(patient, globus, f"{path.rstrip('/')}/{home.part}")
        buffer.unlink(f"{home.part}/doctor")
    if seen:
        yield Probe(name, "ok", f"{buffer.root} is {path} in the source collection")
    else:
        text = f"a file in {buffer.root} is not seen in {path} of the source collection"
        remedy = (
            "set `globus_path` in [buffer] (TACC_SYNC_BUFFER_GLOBUS_PATH) to the collection's name of the directory"
        )
        yield Probe(name, "fail", text, remedy, "BUFFER-NAMES-DIFFER", 78)


def _checksums(patient: Patient, globus: Globus) -> Iterator[Probe]:
    """Do both endpoints verify our own hashes?"""
    section = patient.settings.globus
    if section.external_checksum != external.AUTO:
        return
    known = checksum_probe.known(patient.disk)
    how = f"remembered in {layout.CHECKSUMS}, which may be removed"
    if known is None or not external.is_about(known, section.source_collection, section.destination_collection):
        if not patient.settings.destination.scratch:
            text = "not tried, since it needs a place to send a small file to (`destination.scratch`)"
            yield Probe(CHECKSUMS, "ok", f"{text}; the checksums in Globus' records are compared with ours")
            return
        buffer = patient.buffer()
        with hands(patient.disk, patient.clock, patient.host, buffer) as home:
            found = checksum_probe.find_out(home, buffer, globus, patient.settings)
        if isinstance(found, str):
            yield Probe(CHECKSUMS, "warn", found, "try again later; until then Globus' records are compared with ours")
            return
        known, how = found, "seen just now"
    if known.understood:
        yield Probe(CHECKSUMS, "ok", f"both collections verify our {known.understood[0]} ({how})")
    else:
        text = f"the collections do not verify our {' or '.join(known.refused)} ({how})"
        yield Probe(CHECKSUMS, "ok", f"{text}; the checksums in Globus' records are compared with ours")


def _catalog(patient: Patient) -> Iterator[Probe]:
    catalog = patient.catalog()
    if catalog is not None:
        yield Probe("file catalog", "ok", catalog.try_out())


def _sees(patient: Patient, globus: Globus, directory: str) -> bool:
    for look in range(LOOKS):
        if look:
            patient.clock.sleep(PAUSE)
        try:
            found = globus.listing(patient.settings.globus.source_collection, directory)
        except NoSuchDirectory:
            continue
        if any(entry.name == "doctor" and entry.size == len(PROBE) for entry in found):
            return True
    return False


def exit_code(probes: list[Probe]) -> int:
    """0 when nothing failed; the cause's own code when there is a single one; otherwise 1."""
    causes = {probe.exit_code for probe in probes if probe.state == "fail"}
    if not causes:
        return 0
    return causes.pop() if len(causes) == 1 else 1

"""Do both endpoints verify our own hashes? Found out once, by sending a small file along with its hash.

Guarantee: what is remembered was seen: the task succeeded, and its record has our hash; or it failed. What could not be
told (a paused collection, say) is not remembered. Leaves one small file at the destination, always the same.
Fails with: the faults of Globus, `OSError`.
"""

from __future__ import annotations

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.globus.interface import Globus, Item, Order, UnknownTask
from tacc_sync.rules import evidence, external
from tacc_sync.rules.documents import decode_or_none, encode_any
from tacc_sync.rules.external import Understood
from tacc_sync.rules.patience import to_iso
from tacc_sync.rules.settings import Settings, to_collection
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import Disk
from tacc_sync.workspace.home import Home

NAME = ".tacc-sync-doctor"
# A small file is over in seconds. Of a task that has met errors about checksums for so long no more is to be expected.
LONGEST, LONGEST_IN_TROUBLE, PAUSE = 120.0, 15.0, 2.0


def known(disk: Disk) -> Understood | None:
    """What is remembered; None when nothing is, or cannot be read: then it is found out again."""
    try:
        return decode_or_none(disk.read(layout.CHECKSUMS, 65536), Understood)
    except FileNotFoundError:
        return None


def find_out(home: Home, buffer: Disk, globus: Globus, settings: Settings) -> Understood | str:
    """Try, and remember; in words why nothing could be told."""
    section = settings.destination
    target = to_collection(f"{section.scratch.rstrip('/')}/{NAME}", section.path_prefix, section.globus_prefix)
    if target is None:
        return f"`destination.scratch`, {section.scratch}, does not lie below {section.path_prefix}"
    probe = f"{home.part}/doctor-checksum"
    # Never the same content: nothing at the destination may be what was left there by an earlier try.
    buffer.create(probe, f"tacc-sync doctor {home.host.token()}\n".encode())
    understood, refused = list[str](), list[str]()
    try:
        for algorithm in external.candidates(settings.globus.record_algorithm):
            item = Item(
                f"{(settings.buffer.globus_path or buffer.root).rstrip('/')}/{probe}",
                target,
                buffer.digest(probe, [algorithm])[algorithm],
                algorithm,
            )
            order = Order(
                globus.new_submission_id(),
                f"tacc-sync doctor {algorithm} {home.host.token()}",
                settings.globus.source_collection,
                settings.globus.destination_collection,
                [item],
            )
            verdict = _try(globus, home.clock, order, item)
            if verdict is None:
                return f"the task that was to tell did not end within {LONGEST:g} s"
            (understood if verdict else refused).append(algorithm)
            if verdict:
                break
    finally:
        buffer.unlink(probe)
    found = Understood(
        version=external.VERSION,
        source_collection=settings.globus.source_collection,
        destination_collection=settings.globus.destination_collection,
        understood=understood,
        refused=refused,
        found_at=to_iso(home.clock.now()),
    )
    home.put(layout.CHECKSUMS, encode_any(found))
    return found


def _try(globus: Globus, clock: Clock, order: Order, item: Item) -> bool | None:
    """Whether this hash was verified; None when that cannot be told."""
    task_id = globus.submit(order).task_id
    began = clock.uptime()
    while True:
        view = globus.task(task_id)
        if view.status == "SUCCEEDED":
            return any(
                evidence.algorithm_name(record.algorithm) == item.algorithm and record.checksum == item.checksum
                for record in globus.transferred(task_id)
            )
        if view.status == "FAILED":
            return False
        so_long = clock.uptime() - began
        # An endpoint that does not know the algorithm is tried again and again.
        refuses = so_long > LONGEST_IN_TROUBLE and view.faults and _is_about_checksums(globus, task_id)
        if refuses or so_long > LONGEST:
            try:
                globus.cancel(task_id)
            except UnknownTask:
                return None
            return False if refuses else None
        clock.sleep(PAUSE)


def _is_about_checksums(globus: Globus, task_id: str) -> bool:
    said = [f"{event.code} {event.text}".lower() for event in globus.events(task_id) if event.is_error]
    return any("checksum" in words or "algorithm" in words for words in said)

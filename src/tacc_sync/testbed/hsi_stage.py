"""`stage` of the simulated hsi: files are asked for, and come to the archive's disks as the drive chooses.

`stage [-A] [-w] PATH ...`. It returns at once; with `-w` when the file is on disk. How the real one does, what it
prints and which options it has is documented nowhere that we could read: `-A` was seen in use, `-w` is hearsay. Here
it prints nothing of a file that it has asked for, unless `stage_says` is set. A file that cannot be asked for costs
an error line, and the next one is tried.
"""

from __future__ import annotations

import os

from tacc_sync.testbed.hpss_faults import first
from tacc_sync.testbed.hsi_words import Usage, Word, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tacc_sync.testbed.hsi_session import Session

STAGE_KINDS = frozenset({"sleep", "hang", "signal", "exit", "noise", "error", "vanish"})


def run_stage(session: Session, words: list[Word]) -> None:
    """`stage` with its arguments."""
    chosen, rest = options(words, b"Aw", b"")
    session.crash_if_too_many(rest)
    if not rest:
        raise Usage("missing path")
    for _, path in session.targets(rest):
        _stage(session, path, must_wait="w" in chosen)


def _stage(session: Session, path: bytes, *, must_wait: bool) -> None:
    session.sleep_through_maintenance()
    faults = session.faults.take("stage", [path], STAGE_KINDS)
    session.suffer([fault for fault in faults if fault.what not in ("noise", "error", "vanish")])
    noise = first(faults, "noise")
    if noise:
        session.say(os.fsencode(noise.text("line", "[connecting to archive.example.org/1217]")))
    entry = session.follow(path)
    ok = False
    if entry is None:
        session.refuse("stage", path)
    elif entry.kind != "f":
        session.refuse("stage", path, "Is a directory", "-21: HPSS_EISDIR")
    elif session.spoil("stage", entry, faults):
        ok = True
        session.queue.ask(entry)
        if session.settings.stage_says:
            session.say(os.fsencode(session.settings.stage_says).replace(b"{path}", path))
        if must_wait and session.queue.has(entry):
            session.flush()
            session.queue.bring(entry)
    session.log("stage", path=os.fsdecode(path), ok=ok)

"""What this site's drives, sessions and network have been seen to do: what `doctor --measure` writes and forecasts
read. Pure.

Guarantee: what was not measured says so (None), and is never guessed here.
"""

from __future__ import annotations

from tacc_sync.rules.documents import Struct, readable


@readable
class SiteRates(Struct, kw_only=True, omit_defaults=False):
    """`rates.json`. Bytes a second, and seconds; None is not measured.

    `drive_rate`: of one session, from its first byte to its last. `session_start`: until hsi answers. `mount`: from
    asking for the first file of a cartridge until its first byte. `locate`: from one file's last byte to the next one's
    first, the median. `stage_gain`: the time of a recall in tape order, divided by that of the same number of files
    asked for at once. `network_rate`: of all tasks together. `task_start`: from submit to the first byte.
    `verification`: from a task's last byte to its end. `cartridges`, `files`: what the tape figures were measured on.
    """

    version: int
    measured_at: str = ""
    cartridges: int = 0
    files: int = 0
    drive_rate: float | None = None
    session_start: float | None = None
    mount: float | None = None
    locate: float | None = None
    stage_gain: float | None = None
    network_rate: float | None = None
    task_start: float | None = None
    verification: float | None = None

"""Where the simulated HPSS site keeps its things, and how it is set up to behave.

Guarantee: importing this costs next to nothing, because every call of the simulated `hsi` does it.
`settings.json` holds only what differs from the defaults below; an unknown key or a value of the wrong type
is refused.

Fails with: ValueError (settings.json is not what it should be), OSError (the site directory is away).

Below ROOT/hpss: `catalogue.sqlite` (what is on which tape), `settings.json`, `faults.json`, `log.jsonl`,
`drives.json` (what is mounted), `sessions/` (one locked file a session), and *flags*, files that only have to
exist:

| flag          | what happens while it exists                                                            |
|---------------|------------------------------------------------------------------------------------------|
| `maintenance` | hsi sleeps until it is gone, also between two commands; `hpss_avail archive` says down    |
| `down`        | hsi prints "HPSS Unavailable" and ends with 1; `hpss_avail archive` says down             |
| `no-token`    | nobody has logged in: hsi cannot write .netrc without a terminal                          |
| `bad-token`   | the token has expired: hsi cannot authenticate                                            |
"""

from __future__ import annotations

import json
import os

FLAGS = ("maintenance", "down", "no-token", "bad-token")


class SitePaths:
    """The names of everything below ROOT/hpss."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.hpss = os.path.join(root, "hpss")
        self.catalogue = os.path.join(self.hpss, "catalogue.sqlite")
        self.settings = os.path.join(self.hpss, "settings.json")
        self.faults = os.path.join(self.hpss, "faults.json")
        self.faults_state = os.path.join(self.hpss, "faults.state.json")
        self.faults_lock = os.path.join(self.hpss, "faults.lock")
        self.log = os.path.join(self.hpss, "log.jsonl")
        self.drives = os.path.join(self.hpss, "drives.json")
        self.drives_lock = os.path.join(self.hpss, "drives.lock")
        self.sessions = os.path.join(self.hpss, "sessions")
        self.sessions_lock = os.path.join(self.hpss, "sessions.lock")

    def flag(self, name: str) -> str:
        """The file whose existence raises this flag."""
        return os.path.join(self.hpss, name)

    def is_raised(self, name: str) -> bool:
        """Whether the flag exists now."""
        return os.path.exists(self.flag(name))


class Settings:
    """Every switch of the site with its default. All seconds are multiplied with `time_scale`."""

    # Who we are, and the time zone of the dates in listings (a POSIX TZ string: no zone files are needed).
    user: str = "demo"
    group: str = "demo"
    uid: int = 1000
    home: str = "/home/d/demo"
    prompt: str = "A"
    version: str = "hsi.8.3.0.p0 Tue Jan 10 10:03:13 PST 2023"
    timezone: str = "PST8PDT,M3.2.0,M11.1.0"

    # How hsi writes.
    echo_in_lines: bool = True  # `hsi -P in FILE` repeats each command before its answer
    get_lines_under_P: bool = False  # noqa: N815  success lines of `get` although -P was given
    pad_fields: bool = False  # a blank on each side of the tabs of `ls -P`
    blank_vv: str = ""  # what stands for "no cartridge" in `ls -P`
    list_entries_per_second: float = 0.0  # how fast a directory is listed by `ls -P`; 0 is as fast as it can be read
    link_word: str = "LINK"  # first of the two fields that `ls -P` prints for a symbolic link
    list_root_directory: bool = False  # `ls -P -R DIR` begins with DIR itself
    file_header: bool = True  # `ls -l DIR/FILE` prints `DIR:` first
    missing_checksum: str = "silent"  # what `get -c on` makes of a file without hash; or "message", or "error"

    # Where hsi breaks.
    max_paths: int = 30  # more path arguments in one command: SIGSEGV
    max_line: int = 4096  # a longer line: SIGSEGV

    # Logging in.
    session_limit: int = 15
    session_limit_message: str = "*** HSI: maximum number of concurrent sessions exceeded"
    session_limit_exit: int = 75
    authentication_exit: int = 77
    login_seconds: float = 0.0

    # Tapes and drives. A rate of 0 is "as fast as the disk".
    drives: int = 8
    idle_dismount: float = 3600.0  # an unused cartridge stays in its drive that long
    mount_seconds: float = 0.0
    unload_seconds: float = 0.0
    locate_seconds: float = 0.0  # for each file that does not follow the one read before it
    serpentine: bool = False  # instead: a model of a tape with wraps, see tape_clock.py
    tape_capacity: int = 10_000_000_000_000  # for the model: how many catalogue bytes fill a tape
    tape_wraps: int = 160
    tape_metres: int = 1072
    stage_reorders: bool = True  # the drive may choose among the requests that `stage` has opened
    stage_says: str = ""  # what `stage` prints of a file that it has asked for; `{path}` is filled in
    read_bytes_per_second: float = 0.0
    disk_bytes_per_second: float = 0.0
    time_scale: float = 1.0

    def __init__(self, values: dict[str, object] | None = None) -> None:
        for key, value in (values or {}).items():
            if key not in Settings.__annotations__:
                raise ValueError(f"settings.json: unknown key {key!r}")
            default = getattr(Settings, key)
            if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
                setattr(self, key, float(value))
            elif type(value) is type(default):
                setattr(self, key, value)
            else:
                raise ValueError(f"settings.json: {key} must be {type(default).__name__}, not {value!r}")

    @classmethod
    def load(cls, paths: SitePaths) -> Settings:
        """What settings.json says, defaults for the rest."""
        try:
            with open(paths.settings, encoding="utf-8") as file:
                values = json.load(file)
        except FileNotFoundError:
            return cls()
        if not isinstance(values, dict):
            raise ValueError("settings.json: must be an object")
        return cls(values)


def write_whole(path: str, text: str) -> None:
    """Replace a small file so that a reader sees the old or the new content, never a part."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)

"""What can be configured, with its defaults and units: the schema of `tacc-sync.toml`. Pure.

Sizes are bytes, times are seconds; the file and the environment may say `20TB`, `20TiB`, `5h` (see config.py). Site
facts carry their source in the comment."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base: an unknown key is an error, so that a misspelt one is noticed."""


class Hsi(Section, kw_only=True):
    """How to reach HPSS."""

    command: list[str] = msgspec.field(default_factory=lambda: ["hsi"])
    # Exit 0 means that HPSS is up; [] means: do not ask. NERSC has `hpss_avail archive`.
    available: list[str] = []
    # NERSC allows 15 concurrent sessions per user (docs.nersc.gov, archive); other tools of the same user need some.
    sessions: int = 5
    # The next session of a tape logs in while the last one reads its last file, and waits for the cartridge in HPSS'
    # queue; so it stays in its drive. For that time there may be up to twice as many sessions; one that is refused
    # begins when the last one has ended.
    handover: bool = True
    # A tape may queue for hours; a session in which no byte has moved for so long is ended.
    stall: float = 4 * 3600.0
    # "order": files are asked for one by one, in tape order. "stage": HPSS is asked for many files of a tape at once,
    # and can choose the order. Whether NERSC's HPSS gains by it is not known: `doctor --measure` tells.
    recall: str = "order"
    # hsi's options of `stage` are not documented anywhere that we could read; it must not wait for each file.
    stage_options: list[str] = []
    # How many files of a session are asked for ahead: they lie on HPSS' own disks until they are fetched.
    stage_ahead: int = 100
    # The same as `stall`, of a session that stages: HPSS may read all that was asked for before it gives the first one.
    stage_stall: float = 24 * 3600.0
    listing_stall: float = 900.0
    # A tree of more files and directories is listed in parts, by so many sessions at once; 0 files: none is. A session
    # lists some 700 a second (hsi_xfer: a million in 25 minutes), so it is worth it from five minutes on.
    listing_files: int = 200_000
    listing_sessions: int = 2
    # What was listed of a request that could not be planned yet is listed anew after so long: positions on tape change.
    listing_age: float = 86400.0
    answer: float = 120.0
    # Under -P hsi probably suppresses the lines that confirm each file, and those are a proof where the archive has
    # no hash.
    listing_options: list[str] = msgspec.field(default_factory=lambda: ["-P"])
    get_options: list[str] = msgspec.field(default_factory=lambda: ["-q"])
    # -P: keep modification times. Add -C to purge from HPSS' disk cache what was fetched.
    get_flags: list[str] = msgspec.field(default_factory=lambda: ["-P"])
    # Ask the archive for its own hashes of the files of a request when it is planned.
    hashes: bool = True
    # What proves the retrieval of a file for which the archive has no hash: "line" (hsi's own line with the byte
    # count) or "size" (its size and freedom from holes suffice; full-size files of zeros then go through).
    unhashed: str = "line"
    # A cartridge on which so many files fail, and more than can be read, is held until the operator says go; 0: never.
    tape_failures: int = 10
    # Threads of one `run` that hash what hsi has brought, while it goes on; 0: one for each core that we may use.
    hashing: int = 0
    # How a release of hsi words its troubles is not documented; regular expressions, searched in each line.
    down_pattern: str = ""
    sessions_pattern: str = ""
    unauthenticated_pattern: str = ""


class Buffer(Section, kw_only=True):
    """The transfer buffer."""

    path: str = ""
    # The same directory as the source collection sees it; "" means: the same path.
    globus_path: str = ""
    # 0 is no limit.
    quota: int = 0
    # What has lain there for longer is hashed again before it is sent.
    rest: float = 86400.0


class Destination(Section, kw_only=True):
    """Paths at the destination: requests name them as the site does, Globus as the collection does."""

    path_prefix: str = "/"
    globus_prefix: str = "/"
    # A directory (as the site names it) to which `doctor` may send a small file; "": it sends none.
    scratch: str = ""


class GlobusSection(Section, kw_only=True):
    """How to reach Globus."""

    # "client" (client id and secret) or "user" (after `tacc-sync login`).
    login: str = "client"
    client_id: str = ""
    # Secrets belong in the environment or in a file of their own, never in this one.
    client_secret_file: str = ""
    token_file: str = ""
    source_collection: str = ""
    destination_collection: str = ""
    # Globus works on three tasks of a user at a time (docs.globus.org, task behaviour).
    tasks: int = 3
    # So many more wait at the service, which then begins with them itself: it needs no look of ours for that. Nothing
    # overtakes them any more.
    queued: int = 1
    # How late the end of a task is seen at the most; far from it, a task is looked at less often (rules/polling.py).
    poll: float = 5.0
    # The algorithm that the service's records are expected in, hashed in the same read as sha512. Another one is
    # computed from the buffer when the records come.
    record_algorithm: str = "md5"
    # "": not sent. "sha512", say: our hash goes along as external_checksum; both endpoints must know it. "auto": what
    # `doctor` has seen to work.
    external_checksum: str = "auto"
    # Deliver on a record without a checksum? The task verifies in any case; the record then does not prove it.
    accept_records_without_checksum: bool = False
    encrypt: bool = False
    trouble_patience: float = 900.0


class Legacy(Section, kw_only=True):
    """What requests of the earlier tacc-sync leave unsaid."""

    hpss_base_path: str = ""
    tacc_base_path: str = ""


class Units(Section, kw_only=True):
    """How large a work unit may be."""

    bytes: int = 10**12
    files: int = 2000


class Skip(Section, kw_only=True):
    """What is not recalled because the destination has it."""

    # Look at the destination before a request is planned. The syncer then needs Globus.
    before_recall: bool = True
    # A listing of the destination is used again for so long (seconds).
    listing_age: float = 900.0
    requests_per_second: float = 20.0
    # The zone of the archive's dates, which it prints without one; "" is that of the host that runs the syncer.
    archive_zone: str = ""


class Catalog(Section, kw_only=True):
    """A file catalog whose hashes vouch for files."""

    # "": none is asked.
    url: str = ""
    # Where a client's id and secret are changed for a token; "": the catalog is open to everybody.
    token_url: str = ""
    client_id: str = ""
    client_secret_file: str = ""
    # What the catalog calls the archive.
    site: str = "NERSC"
    timeout: float = 60.0
    page: int = 1000


class PatienceSection(Section, kw_only=True):
    """When to try again after a failure of the work's own."""

    first_rest: float = 60.0
    factor: float = 4.0
    longest_rest: float = 6 * 3600.0
    at_least: float = 3 * 86400.0
    attempts: int = 5
    deaths: int = 10


class LeaseSection(Section, kw_only=True):
    """When a silent worker is taken for dead. All hosts of a workspace must agree."""

    beat: float = 60.0
    lease: float = 1800.0
    grace: float = 900.0
    turn: float = 120.0


class Run(Section, kw_only=True):
    """The rhythm of the components."""

    # How often an idle component looks, when nobody wakes it.
    poll: float = 5.0
    # After a fault of the world.
    stand_down: float = 60.0
    # A file in the inbox that does not parse is left alone until it has been unchanged for so long.
    settle: float = 60.0
    # A unit that has waited so long for room is not overtaken any more.
    overtaking: float = 6 * 3600.0
    log_format: str = "text"
    # Other absolute paths under which hosts see this workspace; anywhere else it is taken for a copy.
    also_at: list[str] = []


class SiteRules(Section, kw_only=True):
    """What the sites ask of a request (see rules/site_rules.py); sizes, and numbers. 0: nobody knows."""

    # NERSC wants a ticket before more than this is recalled in files larger than that.
    ticket_bytes: int = 100 * 10**12
    ticket_file: int = 100 * 10**9
    difficult_file: int = 10**12
    largest_file: int = 20 * 10**12
    sessions: int = 15
    # Ranch's; what is left of a project's quota is told by `samcli quota use -H` only.
    mean_file: int = 300 * 10**9
    destination_files: int = 0
    destination_bytes: int = 0


class ForecastSection(Section, kw_only=True):
    """How the end of a request is foretold (see docs/simulate.md)."""

    # How often a `run` makes a forecast of the requests that are under way; 0: never.
    every: float = 6 * 3600.0
    # A forecast takes no more CPU time than this, but for its first three runs.
    cpu: float = 60.0
    runs: int = 9
    medium: str = "TS1155"
    # Planned outages, START/LENGTH: "2026-12-09T08:00Z/12h".
    outages: list[str] = []
    # Those that come again, START/LENGTH/EVERY: "2026-12-02T08:00Z/10h/14d".
    maintenance: list[str] = []


class Settings(Section, kw_only=True):
    """All of it."""

    hsi: Hsi = msgspec.field(default_factory=Hsi)
    buffer: Buffer = msgspec.field(default_factory=Buffer)
    destination: Destination = msgspec.field(default_factory=Destination)
    globus: GlobusSection = msgspec.field(default_factory=GlobusSection)
    legacy: Legacy = msgspec.field(default_factory=Legacy)
    units: Units = msgspec.field(default_factory=Units)
    skip: Skip = msgspec.field(default_factory=Skip)
    catalog: Catalog = msgspec.field(default_factory=Catalog)
    patience: PatienceSection = msgspec.field(default_factory=PatienceSection)
    lease: LeaseSection = msgspec.field(default_factory=LeaseSection)
    run: Run = msgspec.field(default_factory=Run)
    site_rules: SiteRules = msgspec.field(default_factory=SiteRules)
    forecast: ForecastSection = msgspec.field(default_factory=ForecastSection)


def to_collection(path: str, prefix: str, collection_prefix: str) -> str | None:
    """A site's path as the collection sees it; None when it does not lie below `prefix`."""
    prefix = prefix.rstrip("/")
    if path != prefix and not path.startswith(prefix + "/"):
        return None
    return collection_prefix.rstrip("/") + path[len(prefix) :]

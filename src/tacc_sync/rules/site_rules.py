"""What the sites ask of a request, and which of it one breaks; and the ticket for what a site wants to hear of. Pure.

Guarantee: a limit that nobody has told us (0) is said to be unchecked, never taken for kept. A broken rule is a
warning: whether an exception was granted, only people know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from tacc_sync.rules.settings import SiteRules

Verdict = Literal["kept", "broken", "unchecked"]


@dataclass(slots=True)
class Load:
    """A request as a site sees it: what is to be recalled and written. `large_bytes`: those of files larger than
    `site_rules.ticket_file`; `difficult_files`: how many files are larger than `site_rules.difficult_file`;
    `too_large_files`: than `site_rules.largest_file`. `sessions`: with hsi at once."""

    files: int = 0
    bytes: int = 0
    large_files: int = 0
    large_bytes: int = 0
    difficult_files: int = 0
    too_large_files: int = 0
    sessions: int = 0

    def add(self, size: int, rules: SiteRules) -> None:
        """Count a file that has to be carried."""
        self.files += 1
        self.bytes += size
        if size > rules.ticket_file:
            self.large_files += 1
            self.large_bytes += size
        self.difficult_files += size > rules.difficult_file
        self.too_large_files += size > rules.largest_file

    @property
    def mean(self) -> float:
        """Bytes of a file on the average."""
        return self.bytes / self.files if self.files else 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule, and what a request makes of it: what the site asks, where it says so, what was found, what to do."""

    rule: str
    site: str
    verdict: Verdict
    text: str
    source: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    site: str
    source: str
    # The key of [site_rules] that has the limit; 0: unknown.
    key: str
    is_broken: Callable[[Load, SiteRules], bool]
    text: Callable[[Load, SiteRules], str]
    remedy: str


NERSC = "docs.nersc.gov, HPSS archive"
RANCH = "docs.tacc.utexas.edu, Ranch user guide"

# Each rule with its source.
RULES: tuple[_Rule, ...] = (
    _Rule(
        "ticket", "NERSC", f"{NERSC}: large retrievals",
        "ticket_bytes",
        lambda load, rules: load.large_bytes > rules.ticket_bytes,
        lambda load, rules: f"{_size(load.large_bytes)} in {load.large_files:,} files larger than "
        f"{_size(rules.ticket_file)}; above {_size(rules.ticket_bytes)} the site wants to know beforehand",
        "send the ticket (`tacc-sync plan --ticket`), and wait for the answer",
    ),
    _Rule(
        "difficult-files", "NERSC", f"{NERSC}: file sizes; above 1 TB it takes longer and breaks off more often",
        "difficult_file",
        lambda load, _rules: load.difficult_files > 0,
        lambda load, rules: f"{load.difficult_files:,} files are larger than {_size(rules.difficult_file)}, which the "
        "site calls difficult",
        "they go, but each interruption recalls the whole file again",
    ),
    _Rule(
        "largest-file", "NERSC", f"{NERSC}: file sizes; at most about 20 TB",
        "largest_file",
        lambda load, _rules: load.too_large_files > 0,
        lambda load, rules: f"{load.too_large_files:,} files are larger than {_size(rules.largest_file)}, the most "
        "that the site supports",
        "ask the site whether they can be read at all",
    ),
    _Rule(
        "sessions", "NERSC", f"{NERSC}: 15 concurrent sessions of a user, for all programs together",
        "sessions",
        lambda load, rules: load.sessions > rules.sessions,
        lambda load, rules: f"{load.sessions} sessions at once (hsi.sessions); the site allows {rules.sessions}",
        "lower hsi.sessions; several runs add up",
    ),
    _Rule(
        "mean-file", "Ranch", f"{RANCH}: an average file of 300 GB to 4 TB",
        "mean_file",
        lambda load, rules: 0 < load.mean < rules.mean_file,
        lambda load, rules: f"the mean file has {_size(load.mean)}; the site asks for {_size(rules.mean_file)} or more",
        "tell the site, or let the archive's owners bundle the files",
    ),
    _Rule(
        "destination-files", "Ranch", f"{RANCH}: a project's quota counts files too (`samcli quota use -H`)",
        "destination_files",
        lambda load, rules: load.files > rules.destination_files,
        lambda load, rules: f"{load.files:,} files; {rules.destination_files:,} more fit into the quota",
        "ask for a larger quota by ticket before the request is handed in",
    ),
    _Rule(
        "destination-bytes", "Ranch", f"{RANCH}: a project's quota (`samcli quota use -H`)",
        "destination_bytes",
        lambda load, rules: load.bytes > rules.destination_bytes,
        lambda load, rules: f"{_size(load.bytes)}; {_size(rules.destination_bytes)} more fit into the quota",
        "ask for a larger quota by ticket before the request is handed in",
    ),
)  # fmt: skip


def judge(load: Load, rules: SiteRules) -> list[Judged]:
    """Every rule, in the order of the table."""
    return list(_judged(load, rules))


def _judged(load: Load, rules: SiteRules) -> Iterator[Judged]:
    for rule in RULES:
        if not getattr(rules, rule.key):
            text = f"nobody has said what the site allows: set site_rules.{rule.key}"
            yield Judged(rule.name, rule.site, "unchecked", text, rule.source)
        elif rule.is_broken(load, rules):
            yield Judged(rule.name, rule.site, "broken", rule.text(load, rules), rule.source, rule.remedy)
        else:
            yield Judged(rule.name, rule.site, "kept", "", rule.source)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a ticket tells besides: from where, how many cartridges, and (when it is known) from when to about when."""

    sources: tuple[str, ...]
    tapes: int
    spanning_files: int
    largest: int
    begin: str
    end: str = ""
    requested_by: str = ""


def ticket(load: Load, outlook: Outlook) -> str:
    """A ticket to the archive's site, ready to be sent."""
    sources = "\n".join(f"  {source}" for source in outlook.sources)
    end = f", and last until about {outlook.end}" if outlook.end else ""
    spanning = f"; {outlook.spanning_files:,} files lie on more than one cartridge" if outlook.spanning_files else ""
    signature = f"\n\n{outlook.requested_by}" if outlook.requested_by else ""
    return (
        f"Subject: HPSS: recall of {_size(load.bytes)} in {load.files:,} files from the archive\n"
        "\n"
        "Dear storage group,\n"
        "\n"
        f"we would like to recall {_size(load.bytes)} in {load.files:,} files from the HPSS archive, to send them to\n"
        "TACC's Ranch by Globus. Your documentation asks for a word beforehand.\n"
        "\n"
        f"Directories:\n{sources}\n"
        f"Files: {load.files:,}, {_size(load.mean)} on the average, the largest {_size(outlook.largest)};\n"
        f"  {_size(load.large_bytes)} of it in {load.large_files:,} of the larger ones\n"
        f"Cartridges: {outlook.tapes:,}{spanning}\n"
        f"Sessions at once: {load.sessions}\n"
        "Order: cartridge by cartridge, the files of each by their position; a cartridge is never asked for by two\n"
        "  sessions\n"
        f"Time: we would begin on {outlook.begin}{end}\n"
        "\n"
        "Is that fine with you? We can use fewer sessions, keep away from certain hours, and stop at any time."
        f"{signature}\n"
    )


_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def _size(count: float) -> str:
    value, unit = float(count), 0
    while round(value) >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.3g} {_UNITS[unit]}"

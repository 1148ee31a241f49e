"""The configuration: flags over environment over `tacc-sync.toml` over defaults, and where each value came from.

Guarantee: an unknown key, a wrong type or an impossible value is refused with its name and the remedy; secrets are
never shown.
Fails with `OperatorFault` CONFIG-BAD.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import msgspec

from tacc_sync.rules.evidence import COMPUTABLE
from tacc_sync.rules.external import AUTO
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.rules.outages import Outage, parse_outage
from tacc_sync.rules.settings import ForecastSection, Settings

# The variables that operators of LTA and of the earlier tacc-sync already have keep their names; later names win.
ENVIRONMENT: tuple[tuple[str, str, str], ...] = (
    ("TACC_SYNC_HSI", "hsi", "command"),
    ("TACC_SYNC_HPSS_AVAIL", "hsi", "available"),
    ("TRANSFER_DIR", "buffer", "path"),
    ("TACC_SYNC_BUFFER_GLOBUS_PATH", "buffer", "globus_path"),
    ("TRANSFER_QUOTA", "buffer", "quota"),
    ("GLOBUS_CLIENT_ID", "globus", "client_id"),
    ("GLOBUS_SOURCE_ENDPOINT", "globus", "source_collection"),
    ("GLOBUS_DEST_ENDPOINT", "globus", "destination_collection"),
    ("GLOBUS_SOURCE_COLLECTION_ID", "globus", "source_collection"),
    ("GLOBUS_DEST_COLLECTION_ID", "globus", "destination_collection"),
    ("FILE_CATALOG_REST_URL", "catalog", "url"),
    ("FILE_CATALOG_CLIENT_ID", "catalog", "client_id"),
    ("HSI_BASE_PATH", "legacy", "hpss_base_path"),
    ("HPSS_BASE_PATH", "legacy", "hpss_base_path"),
    ("TACC_BASE_PATH", "legacy", "tacc_base_path"),
)
SECRETS = ("GLOBUS_CLIENT_SECRET", "FILE_CATALOG_CLIENT_SECRET")

SIZES = {
    ("buffer", "quota"),
    ("units", "bytes"),
    *(
        ("site_rules", key)
        for key in ("ticket_bytes", "ticket_file", "difficult_file", "largest_file", "mean_file", "destination_bytes")
    ),
}
TIMES = {
    *(("hsi", key) for key in ("stall", "stage_stall", "listing_stall", "listing_age", "answer")),
    ("buffer", "rest"),
    *(("globus", key) for key in ("poll", "trouble_patience")),
    *(("patience", key) for key in ("first_rest", "longest_rest", "at_least")),
    *(("lease", key) for key in ("beat", "lease", "grace", "turn")),
    *(("run", key) for key in ("poll", "stand_down", "settle", "overtaking")),
    ("skip", "listing_age"),
    ("catalog", "timeout"),
    *(("forecast", key) for key in ("every", "cpu")),
}
CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("hsi", "recall"): ("order", "stage"),
    ("hsi", "unhashed"): ("line", "size"),
    ("globus", "login"): ("client", "user"),
    ("run", "log_format"): ("text", "json"),
}

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kKMGTPE]?)(?P<binary>i?)B?")
_TIME = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s|min|m|h|d|w)?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_OPTION = re.compile(r"[A-Za-z0-9._=+,-]{1,80}")
_URL = re.compile(r"(https://[^\s/@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?)(/\S*)?")
LONGEST = 1e12
_SECONDS = {
    None: 1.0,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and for each `section.key` where its value came from."""

    settings: Settings
    origin: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, Any, str]]:
        """`section.key`, value, origin, for people."""
        found = []
        for section in self.settings.__struct_fields__:
            part = getattr(self.settings, section)
            for key in part.__struct_fields__:
                name = f"{section}.{key}"
                found.append((name, getattr(part, key), self.origin.get(name, "default")))
        return found


def parse_size(text: str | int) -> int:
    """`20TB`, `20TiB`, `1500` as bytes; ValueError otherwise."""
    if isinstance(text, int) and not isinstance(text, bool):
        if text < 0:
            raise ValueError(text)
        return text
    match = _SIZE.fullmatch(str(text).strip())
    if match is None or (match["binary"] and not match["unit"]):
        raise ValueError(text)
    unit = (1024 if match["binary"] else 1000) ** _POWERS[match["unit"]]
    number = match["number"]
    if len(number) > 30:
        raise ValueError(text)
    return round(float(number) * unit) if "." in number else int(number) * int(unit)


def parse_seconds(text: str | float) -> float:
    """`90`, `90s`, `15min`, `5h`, `3d` as seconds; ValueError otherwise."""
    if isinstance(text, bool):
        raise ValueError(text)
    if isinstance(text, int | float):
        # Neither is a time: nan, which is never less and never more, and what is longer than a hundred thousand years.
        if not 0 <= text < LONGEST:
            raise ValueError(text)
        return float(text)
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return parse_seconds(float(match["number"]) * _SECONDS[match["unit"]])


def load(toml: bytes | None, toml_name: str, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Configuration:
    """Build the configuration. `flags` are `section.key` -> value, from the command line."""
    values: dict[str, dict[str, Any]] = {}
    origin: dict[str, str] = {}
    for section, keys in _tables(toml, toml_name).items():
        for key, value in keys.items():
            _set(values, origin, section, key, value, toml_name)
    for variable, section, key in ENVIRONMENT:
        if variable in environment:
            _set(values, origin, section, key, environment[variable], f"environment, {variable}")
    for name, value in flags.items():
        section, _, key = name.partition(".")
        _set(values, origin, section, key, value, "command line")
    try:
        settings = msgspec.convert(values, type=Settings, strict=True)
    except msgspec.ValidationError as error:
        raise _bad(str(error), "see `tacc-sync config show` for the names and their types") from None
    _check(settings)
    return Configuration(settings, origin)


def _tables(toml: bytes | None, name: str) -> dict[str, dict[str, Any]]:
    if toml is None:
        return {}
    try:
        found = tomllib.loads(toml.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(f"{name}: {error}", "correct that line") from None
    sections = {key: value for key, value in found.items() if isinstance(value, dict)}
    loose = sorted(set(found) - set(sections))
    if loose:
        raise _bad(f"{name}: `{loose[0]}` stands outside of a section", "put it below its [section]")
    return sections


def _set(
    values: dict[str, dict[str, Any]], origin: dict[str, str], section: str, key: str, value: Any, source: str
) -> None:
    hints = get_type_hints(Settings)
    if section not in hints:
        raise _bad(f"{source}: there is no section [{section}]", f"the sections are {', '.join(hints)}")
    keys = get_type_hints(hints[section])
    if key not in keys:
        known = ", ".join(hints[section].__struct_fields__)
        raise _bad(f"{source}: there is no key `{section}.{key}`", f"the keys of [{section}] are {known}")
    values.setdefault(section, {})[key] = _typed(section, key, keys[key], value, source)
    origin[f"{section}.{key}"] = source


def _typed(section: str, key: str, kind: Any, value: Any, source: str) -> Any:
    name = f"{source}: `{section}.{key}`"
    try:
        if (section, key) in SIZES:
            return parse_size(value)
        if (section, key) in TIMES and isinstance(value, str | int | float):
            return parse_seconds(value)
        if kind in (int, float) and isinstance(value, str | int | float) and not abs(float(value)) < LONGEST:
            raise ValueError(value)
        if isinstance(value, str) and kind in (int, float):
            return kind(value)
        if isinstance(value, str) and kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
        if isinstance(value, str) and kind == list[str]:
            return shlex.split(value)
        if isinstance(value, int) and not isinstance(value, bool) and kind is float:
            return float(value)
    except (ValueError, KeyError, OverflowError):
        example = "20TB" if (section, key) in SIZES else "5h" if (section, key) in TIMES else "see docs/operating.md"
        raise _bad(f"{name} cannot be {_shown(value)}", f"write it like this: {example}") from None
    choices = CHOICES.get((section, key))
    if choices and value not in choices:
        raise _bad(f"{name} cannot be {_shown(value)}", f"write one of {', '.join(choices)}")
    if any("\0" in text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)):
        raise _bad(f"{name} holds a null character", "remove it")
    return value


def _shown(value: Any) -> str:
    try:
        return repr(value)[:200]
    except ValueError:  # a number of thousands of digits
        return f"this {type(value).__name__}"


def parse_outages(section: ForecastSection) -> list[Outage]:
    """The outages that the configuration tells of; `OperatorFault` CONFIG-BAD for one that cannot be read."""
    found = []
    for key, recurs in (("outages", False), ("maintenance", True)):
        for text in getattr(section, key):
            try:
                outage = parse_outage(text, parse_seconds)
                if bool(outage.every) != recurs:
                    raise ValueError(text)
            except (ValueError, OverflowError):
                example = "2026-12-02T08:00Z/10h/14d" if recurs else "2026-12-09T08:00Z/12h"
                raise _bad(f"`forecast.{key}` cannot be {_shown(text)}", f"write it like this: {example}") from None
            found.append(outage)
    return found


def _check(settings: Settings) -> None:
    parse_outages(settings.forecast)
    lease = settings.lease
    wrong = [
        (settings.hsi.sessions < 1, "hsi.sessions must be at least 1"),
        (settings.hsi.listing_sessions < 1, "hsi.listing_sessions must be at least 1"),
        (settings.hsi.listing_files < 0, "hsi.listing_files must be at least 0"),
        (not settings.hsi.command, "hsi.command must name a program"),
        (settings.hsi.stage_ahead < 1, "hsi.stage_ahead must be at least 1"),
        (
            # A line of hsi holds several commands and paths, and these words are not quoted.
            not all(map(_OPTION.fullmatch, settings.hsi.stage_options)),
            "hsi.stage_options must be plain words such as -A",
        ),
        (settings.globus.tasks < 1, "globus.tasks must be at least 1"),
        (
            not 0 <= settings.globus.queued <= 90,
            "globus.queued must be between 0 and 90: Globus takes no more than 100 tasks of a user",
        ),
        (
            settings.units.files < 1 or settings.units.bytes < 1,
            "units.files and units.bytes must be at least 1",
        ),
        (settings.units.files > 100_000, "units.files must be at most 100000"),
        (lease.beat * 4 > lease.lease, "lease.lease must be at least four times lease.beat"),
        (lease.beat * 2 > lease.turn, "lease.turn must be at least twice lease.beat"),
        (settings.patience.factor < 1, "patience.factor must be at least 1"),
        (settings.patience.attempts < 1, "patience.attempts must be at least 1"),
        (
            settings.globus.record_algorithm not in COMPUTABLE,
            f"globus.record_algorithm must be one of {', '.join(sorted(COMPUTABLE))}",
        ),
        (
            settings.globus.external_checksum not in {"", AUTO, *COMPUTABLE},
            f"globus.external_checksum must be empty, auto or one of {', '.join(sorted(COMPUTABLE))}",
        ),
        (not 3 <= settings.forecast.runs <= 99, "forecast.runs must be between 3 and 99"),
        (settings.catalog.page < 1, "catalog.page must be at least 1"),
        (settings.catalog.timeout <= 0, "catalog.timeout must be more than nothing"),
        *(
            (bool(value) and not _is_safe(value), f"catalog.{key} must begin with https:// (http:// on this host only)")
            for key, value in (("url", settings.catalog.url), ("token_url", settings.catalog.token_url))
        ),
        (not settings.destination.path_prefix.startswith("/"), "destination.path_prefix must begin with /"),
        (
            not settings.destination.globus_prefix.startswith("/"),
            "destination.globus_prefix must begin with /",
        ),
    ]
    for is_wrong, text in wrong:
        if is_wrong:
            raise _bad(text, "correct it in tacc-sync.toml or in the environment")


def _is_safe(url: str) -> bool:
    # A secret, or a token, goes there.
    return _URL.fullmatch(url) is not None


def _bad(text: str, remedy: str) -> OperatorFault:
    return OperatorFault("CONFIG-BAD", text, remedy)


TEMPLATE = """\
# tacc-sync.toml: the configuration of this workspace.
# Everything has a default; `tacc-sync config show` lists all keys, their values and where each one came from.
# Flags win over the environment, the environment over this file.
# Sizes: 20TB, 20TiB or bytes. Times: 90s, 15min, 5h, 3d. In brackets: the variable that says the same.

[buffer]
# The transfer buffer on the community file system, as hsi writes to it. [TRANSFER_DIR]
# path = "/global/cfs/cdirs/PROJECT/transfer_buffer"

# The same directory as the source collection sees it, when it shows another root. [TACC_SYNC_BUFFER_GLOBUS_PATH]
# globus_path = "/transfer_buffer"

# What it may hold at any moment; 0 is no limit. [TRANSFER_QUOTA]
# quota = "20TB"

[globus]
# "client": a client id and a secret (GLOBUS_CLIENT_SECRET or client_secret_file);
# "user": a person's login, made once with `tacc-sync login`.
# login = "client"

# [GLOBUS_CLIENT_ID]
# client_id = "00000000-0000-0000-0000-000000000000"

# client_secret_file = "/path/owner-only"

# [GLOBUS_SOURCE_COLLECTION_ID]
# source_collection = "00000000-0000-0000-0000-000000000000"

# [GLOBUS_DEST_COLLECTION_ID]
# destination_collection = "00000000-0000-0000-0000-000000000000"

[destination]
# Requests name destination paths as the site does; when the collection shows another root, say which part it replaces.
# path_prefix = "/scoutfs/projects/PROJECT"
# globus_prefix = "/"

[hsi]
# [TACC_SYNC_HSI]
# command = ["hsi"]

# A program that exits with 0 while HPSS is up. [TACC_SYNC_HPSS_AVAIL]
# available = ["hpss_avail", "archive"]

# At most 15 sessions per user at NERSC; leave some to others.
# sessions = 5

# What proves the retrieval of a file of which the archive has no hash: "line" (hsi's own line) or "size".
# unhashed = "line"

[units]
# A work unit is a batch of files of one tape, at most so large.
# bytes = "1TB"
# files = 2000

[catalog]
# A file catalog whose hashes must hold; its secret belongs into FILE_CATALOG_CLIENT_SECRET. [FILE_CATALOG_REST_URL]
# url = "https://file-catalog.icecube.wisc.edu"
# token_url = "https://keycloak.icecube.wisc.edu/auth/realms/IceCube/protocol/openid-connect/token"

# [FILE_CATALOG_CLIENT_ID]
# client_id = "long-term-archive"

[legacy]
# For requests of the earlier tacc-sync. [HPSS_BASE_PATH]
# hpss_base_path = "/home/projects/PROJECT"

# [TACC_BASE_PATH]
# tacc_base_path = "/scoutfs/projects/PROJECT"
"""

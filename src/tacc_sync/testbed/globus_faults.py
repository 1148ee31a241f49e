"""Troubles on demand for the testbed's Globus service.

`ROOT/globus/faults.json` is a list of rules, read again whenever it changes; `add`, `remove` and `clear`
write it. A rule:

    {"what": "status", "match": {"verb": "transfer", "label": "u.*", "path": "/a*", "nth": 2}, "times": 1}

`match` (all optional; verb, label and path are shell globs; no match at all matches everything):
    verb   name of the call: submission_id transfer delete task task_update cancel remove pause_info
           event_list successful_transfers skipped_errors task_list ls stat mkdir rename endpoint
           endpoint_search, token authorize userinfo revoke consents identities openid_configuration jwk
    label  label of the task (for task_list: of its filter)
    path   a source or destination path of the task, of the file, or of the ls, stat, mkdir, rename
    nth    the first nth-1 matches go by unharmed
`times`    how often it fires; kept across restarts; absent = always, or once where `nth` is given
`id`       keeps the count; absent: the rule's own text. Counts of rules that leave the file are forgotten.

`what`, with its further keys:
  a request (match.verb)
    status             status (429, 500, 502, 503, 403 ...), code, message, retry_after: the answer
    delay              seconds: the call goes on afterwards
    drop_before        the connection is closed, nothing was done
    drop_after         the call is done, then the connection is closed without an answer
    expired_token      401, and the token is good for nothing any more
    consent_required   403 ConsentRequired with required_scopes (scopes; default: of all collections)
    forget             the task is unknown (404), and is in no list
  a task, once each (after_files: when that many have arrived; default 0)
    inactive           INACTIVE as long as the rule stands
    paused             is_paused, PAUSED_BY_ADMIN as long as the rule stands; message
    stall              seconds: ACTIVE and silent
    fail               FAILED; code, description of fatal_error
    cancel_by_admin    FAILED, canceled_by_admin; side (SOURCE, DESTINATION, BOTH), message
  a file, each time it is tried
    fault              code (FILE_NOT_FOUND, PERMISSION_DENIED, QUOTA_EXCEEDED, CONNECTION_RESET ...), message
    corrupt_wire       a byte is changed on the way; verify_checksum sees it and sends the file again
    truncate_wire      the end does not arrive; verify_checksum sees it
    flip_wire, cut_wire, zeros_wire  as these, but a single bit, the last byte alone, or zeros for the last bytes
    flip_landed, cut_landed, zeros_landed  the same happens at the destination, to what has been written and not yet
                       been read for verify_checksum, which sees it
    corrupt_after      a byte at the destination is changed after verification: nobody is told
    truncate_after     the destination loses its last half after verification: nobody is told
    flip_after, cut_after, zeros_after  as these, but a single bit, the last byte alone, or a block of zeros
    vanish_after       the destination file is gone after verification: nobody is told
  a file's record in successful_transfers
    record_missing, record_wrong_size, record_wrong_checksum, record_without_checksum

Guarantee: a count never goes up twice for one match, also when the service is killed and started again.
Fails with: `ValueError` from `add` for a rule that the service would not understand; the service itself
ignores a file that it does not understand, and says so in its log.
"""

from __future__ import annotations

import fnmatch
import json
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tacc_sync.testbed import globus_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tacc_sync.testbed.globus_journal import Journal

REQUEST = frozenset({"status", "delay", "drop_before", "drop_after", "expired_token", "consent_required", "forget"})
TASK = frozenset({"inactive", "paused", "stall", "fail", "cancel_by_admin"})
WIRE = frozenset({"corrupt_wire", "truncate_wire", "flip_wire", "cut_wire", "zeros_wire"})
AFTER = frozenset({"corrupt_after", "truncate_after", "flip_after", "cut_after", "zeros_after", "vanish_after"})
LANDED = frozenset({"flip_landed", "cut_landed", "zeros_landed"})
FILE = frozenset({"fault", *WIRE, *LANDED, *AFTER})
RECORD = frozenset({"record_missing", "record_wrong_size", "record_wrong_checksum", "record_without_checksum"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the file, understood."""

    key: str
    what: str
    verb: str
    label: str
    path: str
    nth: int
    times: int | None
    options: Mapping[str, Any]

    def fits(self, *, verb: str, label: str, paths: Iterable[str]) -> bool:
        """Whether the rule speaks of this."""
        return (
            (not self.verb or fnmatch.fnmatchcase(verb, self.verb))
            and (not self.label or fnmatch.fnmatchcase(label, self.label))
            and (not self.path or any(fnmatch.fnmatchcase(path, self.path) for path in paths))
        )


def parse(document: Any) -> tuple[Rule, ...]:
    """The rules of a file's contents; raises `ValueError`."""
    if not isinstance(document, list):
        raise ValueError("a list of rules is wanted")
    return tuple(_rule(entry) for entry in document)


def _rule(entry: Any) -> Rule:
    if not isinstance(entry, dict) or entry.get("what") not in REQUEST | TASK | FILE | RECORD:
        raise ValueError(f"not a rule: {entry!r}")
    match = entry.get("match", {})
    unknown = set(match) - {"verb", "label", "path", "nth"}
    if unknown:
        raise ValueError(f"match has unknown {sorted(unknown)}")
    times = entry.get("times", 1 if "nth" in match else None)
    return Rule(
        key=str(entry.get("id") or json.dumps(entry, sort_keys=True)),
        what=entry["what"],
        verb=match.get("verb", ""),
        label=match.get("label", ""),
        path=match.get("path", ""),
        nth=int(match.get("nth", 1)),
        times=None if times is None else int(times),
        options=entry,
    )


def add(root: Path, what: str, *, match: Mapping[str, Any] | None = None, **options: Any) -> str:
    """Add a rule to the file of a (running) service; returns its id."""
    rule = {"id": uuid.uuid4().hex, "what": what, "match": dict(match or {}), **options}
    parse([rule])
    _write(root, [*_read(root), rule])
    return str(rule["id"])


def remove(root: Path, rule_id: str) -> None:
    """Take a rule out of the file; content when it is not there."""
    _write(root, [rule for rule in _read(root) if rule.get("id") != rule_id])


def clear(root: Path) -> None:
    """Take all rules out of the file."""
    _write(root, [])


def _read(root: Path) -> list[dict[str, Any]]:
    try:
        text = (globus_settings.directory(root) / "faults.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    rules: list[dict[str, Any]] = json.loads(text)
    return rules


def _write(root: Path, rules: Sequence[Mapping[str, Any]]) -> None:
    globus_settings.write_json(globus_settings.directory(root) / "faults.json", rules)


class Faults:
    """The rules as they are now, and how often each has fired."""

    def __init__(self, root: Path, journal: Journal, log: globus_settings.Log) -> None:
        self._path = globus_settings.directory(root) / "faults.json"
        self._journal = journal
        self._log = log
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._rules: tuple[Rule, ...] = ()
        self._kinds: frozenset[str] = frozenset()
        self.refresh()

    def refresh(self) -> None:
        """Read the file again if it has changed; costs one stat if it has not."""
        with self._lock:
            seen = globus_settings.fingerprint(self._path)
            if seen == self._seen:
                return
            self._seen = seen
            try:
                text = self._path.read_text(encoding="utf-8") if seen else "[]"
                self._rules = parse(json.loads(text))
            except (OSError, ValueError, TypeError, AttributeError) as error:
                self._log.write("faults_refused", error=str(error))
                return
            self._kinds = frozenset(rule.what for rule in self._rules)
            self._journal.keep_counts({rule.key for rule in self._rules})

    def any_of(self, kinds: frozenset[str]) -> bool:
        """Whether there are rules of these kinds at all: the fast way past everything below."""
        return not self._kinds.isdisjoint(kinds)

    def stands(self, key: str) -> bool:
        """Whether a rule is still in the file."""
        return any(rule.key == key for rule in self._rules)

    def of_kinds(self, kinds: frozenset[str]) -> list[Rule]:
        """The rules of these kinds, in the file's order."""
        return [rule for rule in self._rules if rule.what in kinds]

    def count(self, rule: Rule) -> bool:
        """Count one match of a rule, and say whether it fires."""
        return self._journal.count(rule.key, rule.nth, rule.times)

    def fired(self, kinds: frozenset[str], *, verb: str = "", label: str = "", paths: Iterable[str] = ()) -> list[Rule]:
        """The rules that speak of this and fire now."""
        if not self.any_of(kinds):
            return []
        known = tuple(paths)
        fitting = (rule for rule in self.of_kinds(kinds) if rule.fits(verb=verb, label=label, paths=known))
        return [rule for rule in fitting if self.count(rule)]

"""The log: one line an event on stderr, as text or JSON, with the ids that it concerns.

Guarantee: every line has its time (UTC, ISO 8601) and event, and component, request, unit, file and task where they
apply; whatever looks like a secret is left out; a value from outside never breaks a line. A log that cannot be written
(its disk is full, say) never stops the work, nor is it an error of the work's: those lines are lost.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from tacc_sync.operator.words import plain
from tacc_sync.pipeline.step import Report

Event = MutableMapping[str, Any]

FIRST = ("component", "request", "unit", "file", "task")
SECRET = re.compile(r"(?i)secret|token|password|authorization|credential")
# What a person should see even when all else is quiet.
TROUBLE = re.compile(
    r"stood_down|error_of_ours|fenced|quarantined|could_not|not_retrieved|not_delivered|discarded|cancelled|left_alone"
)


def is_trouble(event: str) -> bool:
    """Does it tell of something that went wrong?"""
    return TROUBLE.search(event) is not None


def reporter(log_format: str, *, quiet: bool = False, write: Callable[[str], None] | None = None) -> Report:
    """Where a component's events go: to stderr, or to `write`, line by line; `quiet`: only troubles."""
    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr) if write is None else _Writer(write),
        processors=[
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True, key="at"),
            _know_the_request,
            _forget_secrets,
            _json if log_format == "json" else _text,
        ],
        wrapper_class=structlog.BoundLoggerBase,
    )

    def report(event: str, /, **about: Any) -> None:
        if quiet and not is_trouble(event):
            return
        with contextlib.suppress(OSError):
            logger._proxy_to_logger("info", event, **about)  # noqa: SLF001  the way for wrappers

    return report


class _Writer:
    """Hands lines to a function."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def info(self, message: str) -> None:
        self._write(message)


def _know_the_request(_logger: Any, _method: str, event: Event) -> Event:
    unit = event.get("unit")
    if isinstance(unit, str) and "." in unit and "request" not in event:
        event["request"] = unit.partition(".")[0]
    return event


def _forget_secrets(_logger: Any, _method: str, event: Event) -> Event:
    return {key: value for key, value in event.items() if not SECRET.search(key)}


def _in_order(event: Event) -> list[tuple[str, Any]]:
    rest = [key for key in event if key not in {*FIRST, "at", "event", "traceback"}]
    return [(key, event[key]) for key in (*FIRST, *rest) if key in event and event[key] not in ("", None, [])]


def _json(_logger: Any, _method: str, event: Event) -> str:
    line = {"at": event["at"], "event": event["event"], **dict(_in_order(event))}
    if "traceback" in event:
        line["traceback"] = event["traceback"]
    return json.dumps(line, default=str)


def _text(_logger: Any, _method: str, event: Event) -> str:
    words = " ".join(f"{key}={_value(value)}" for key, value in _in_order(event))
    line = f"{event['at'][:19]}Z {event['event']}" + (f" {words}" if words else "")
    # Of several lines by nature; each is marked, so that none can pass for a line of the log.
    trace = str(event.get("traceback", "")).rstrip()
    return "\n".join([line, *(f"  | {plain(part)}" for part in trace.splitlines())])


def _value(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str)
    text = plain(str(value))
    return text if re.fullmatch(r"[^\s\"'=]+", text) else json.dumps(text, ensure_ascii=False)

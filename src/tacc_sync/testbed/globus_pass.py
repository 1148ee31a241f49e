"""One pass over a task of the testbed's Globus service: everything that is not done yet is tried once.

Guarantee: a file's record is in the journal only after the file is at the destination, and a file with a
record is not touched again. What met a fault is left for the next pass.
Fails with: `Stopped` when the task is to go no further; otherwise the outcome is in the task.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import time
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from tacc_sync.testbed import globus_mover
from tacc_sync.testbed.globus_journal import Task, describe
from tacc_sync.testbed.globus_mover import Pace, Stopped
from tacc_sync.testbed.globus_notes import Notes, Unit
from tacc_sync.testbed.globus_sandbox import PathNotAllowed, Place, Sandbox, Trouble, trouble_of

if TYPE_CHECKING:
    from tacc_sync.testbed.globus_faults import Rule
    from tacc_sync.testbed.globus_tasks import Engine

WIRE_TRIES = 3  # how often a file whose checksum differs is sent within one pass


class Pass:
    """One pass over one task."""

    def __init__(self, engine: Engine, task: Task) -> None:
        self._engine = engine
        self._task = task
        self._settings = engine.settings.now()
        self._pace = Pace(self._settings.bytes_per_second, lambda: engine.may_go_on(task), self._moved)
        self._notes = Notes(engine, task)
        self._again = task.started  # not the first pass over this task, perhaps not the first service
        self._looked = 0.0

    def run(self) -> None:
        """Try everything that is not done, then end the task or let it rest."""
        task = self._task
        try:
            self._begin()
            if task.kind == "DELETE":
                self._delete_all()
            else:
                self._move_all()
            if self._ruled() or not task.live:
                return
            self._conclude()
        except Trouble as trouble:
            self._notes.fault(trouble)
            self._notes.flush()
            engine = self._engine
            engine.end(task, "FAILED", fatal=(trouble.code, describe(trouble.code)))
        except Stopped:
            if task.live and not task.cancel and time.time() > task.deadline:
                self._engine.expire(task)
        finally:
            self._notes.flush()

    def _begin(self) -> None:
        task = self._task
        if not task.started:
            task.started = True
            details = '{"type":"GridFTP Transfer","concurrency":2,"parallelism":4,"pipelining":20}'
            self._notes.event("STARTED", details)
            self._engine.log.write("started", task_id=task.task_id, label=task.label)
        if not self._ruled():
            self._pace.rest(self._settings.seconds_per_task)

    def _conclude(self) -> None:
        task = self._task
        self._notes.flush()
        task.retrying = self._notes.failed
        if not self._notes.failed:
            task.error = None
            self._engine.end(task, "SUCCEEDED")
            return
        task.not_before = time.monotonic() + self._settings.retry_seconds

    # Task rules.

    def _ruled(self) -> bool:
        """Ask the task rules; True when the pass is over because of one."""
        if not self._task.live or self._task.held_by is not None:
            return True
        rule = self._engine.judge(self._task)
        if rule is None:
            return False
        return self._obey(rule)

    def _obey(self, rule: Rule) -> bool:
        task, options = self._task, rule.options
        if rule.what == "stall":
            self._pace.rest(float(options.get("seconds", 1)))
            return False
        self._notes.flush()
        if rule.what in {"inactive", "paused"}:
            self._engine.hold(task, rule)
        elif rule.what == "fail":
            code = str(options.get("code", "ENDPOINT_ERROR"))
            self._engine.end(task, "FAILED", fatal=(code, str(options.get("description", "endpoint error"))))
        else:
            task.canceled_by_admin = str(options.get("side", "DESTINATION"))
            task.canceled_by_admin_message = str(options.get("message", "canceled by the administrator"))
            self._engine.end(task, "FAILED", fatal=("CANCELED", "canceled by admin"))
        return True

    # Moving.

    def _move_all(self) -> None:
        task, order = self._task, self._task.order
        here = self._settings.collections[order["source_endpoint"]]
        there = self._settings.collections[order["destination_endpoint"]]
        source = Sandbox(here.root, here.default_directory)
        destination = Sandbox(there.root, there.default_directory)
        kinds: dict[str, set[str]] = {"successful": set(), "record_missing": set(), "skipped_error": set()}
        for kind, paths in kinds.items():
            paths.update(
                document["destination_path"] for _, document in self._engine.journal.records(task.task_id, kind)
            )
        done: set[str] = set().union(*kinds.values())
        # Counted anew: a killed service may have counted more than it noted, and what was skipped is looked at again.
        task.skipped_errors = len(kinds["skipped_error"])
        task.files, task.files_transferred = len(done), len(done) - task.skipped_errors
        task.files_skipped = task.directories = task.symlinks = 0
        queue = deque(
            Unit(item["source_path"], item["destination_path"], item, item.get("recursive")) for item in task.items
        )
        while queue:
            if self._stop_here():
                return
            unit = queue.popleft()
            if unit.destination in done:
                continue
            try:
                if unit.recursive:
                    queue.extend(self._look_into(source, destination, unit))
                else:
                    self._move(source, destination, unit)
            except IsADirectoryError:
                queue.extend(self._found_directory(source, destination, unit))
            except Trouble as trouble:
                self._notes.trouble(unit, trouble)
            self._notes.flush(when_due=True)

    def _stop_here(self) -> bool:
        if not self._engine.may_go_on(self._task):
            raise Stopped
        now = time.monotonic()
        if now - self._looked > 0.02:  # a stat for each of thousands of files would be felt
            self._looked = now
            self._engine.faults.refresh()
        return self._ruled()

    def _found_directory(self, source: Sandbox, destination: Sandbox, unit: Unit) -> list[Unit]:
        """The submitter left it open whether the item is a directory: it is."""
        try:
            if unit.recursive is None:
                return self._look_into(source, destination, unit)
            trouble = Trouble("UNKNOWN", f"Is a directory, but not submitted as recursive: {unit.source}")
        except Trouble as met:
            trouble = met
        self._notes.trouble(unit, trouble)
        return []

    def _look_into(self, source: Sandbox, destination: Sandbox, unit: Unit) -> list[Unit]:
        task, found = self._task, []
        self._notes.file_rules(unit)
        try:
            with os.scandir(source.resolve(unit.source)) as entries:
                for entry in sorted(entries, key=lambda e: e.name):
                    if entry.is_symlink():
                        task.symlinks += 1
                        continue
                    directory = entry.is_dir()
                    if self._wanted(entry.name, directory=directory):
                        here, there = (f"{side.rstrip('/')}/{entry.name}" for side in (unit.source, unit.destination))
                        found.append(Unit(here, there, {}, directory))
            os.makedirs(destination.locate(unit.destination), exist_ok=True)
        except OSError as error:
            raise trouble_of(error) from error
        task.directories += 1
        return found

    def _wanted(self, name: str, *, directory: bool) -> bool:
        for rule in self._task.order.get("filter_rules") or []:
            if rule.get("type") in {None, "dir" if directory else "file"} and fnmatch.fnmatchcase(
                name, rule.get("name", "")
            ):
                return bool(rule.get("method", "exclude") == "include")
        return True

    def _move(self, source: Sandbox, destination: Sandbox, unit: Unit) -> None:
        task, order = self._task, self._task.order
        here, there = Place(source, unit.source), Place(destination, unit.destination)
        rules = self._notes.file_rules(unit)
        if self._settings.seconds_per_file:
            self._pace.rest(self._settings.seconds_per_file)
        algorithm = str(unit.item.get("checksum_algorithm") or "MD5").upper()
        external, level = unit.item.get("external_checksum"), order.get("sync_level")
        hashed = bool(self._verifies() or external)
        if hashed or level == 3:
            self._can(algorithm)
        if level is not None and not globus_mover.needs_copy(level, here, there, algorithm, self._pace):
            task.files += 1
            task.files_skipped += 1
            return
        copied = self._send(unit, here, there, algorithm if hashed else None, rules)
        if external and copied.digests[algorithm] != str(external).lower():
            self._external_differs(unit, f"{algorithm} is {copied.digests[algorithm]}, not {external}")
        if order.get("preserve_timestamp"):
            whole = not self._settings.preserve_nanoseconds
            globus_mover.set_mtime(there, copied.mtime_ns, whole_seconds=whole)
        for rule in rules:
            if rule.what.endswith("_after"):
                globus_mover.spoil_there(there, rule.what)
        self._notes.transferred(unit, copied, algorithm if hashed else None, self._settings.progress_seconds)

    def _send(
        self, unit: Unit, here: Place, there: Place, algorithm: str | None, rules: list[Rule]
    ) -> globus_mover.Copied:
        """Copy a file, again if it does not arrive as it left; new rules are added to the given ones."""
        strikes = list(rules)
        for _ in range(WIRE_TRIES):
            hashes = (algorithm,) if algorithm else ()
            wire = next((rule.what for rule in strikes if rule.what.endswith("_wire")), "")
            copied = globus_mover.copy(here, there, globus_mover.How(hashes, self._pace, wire))
            for rule in strikes:
                if rule.what.endswith("_landed"):
                    globus_mover.spoil_there(there, rule.what)
            if algorithm is None:
                return copied
            arrived = globus_mover.digest(there, algorithm, self._pace)
            self._task.bytes_checksummed += arrived[0]
            if arrived == (copied.size, copied.digests[algorithm]):
                return copied
            if not self._verifies():
                self._external_differs(unit, f"{algorithm} at the destination is {arrived[1]}")
            differs = f"Checksums differ: {unit.source}, {unit.destination}; the file is transferred again"
            self._notes.fault(Trouble("VERIFY_CHECKSUM", differs))
            strikes = self._notes.file_rules(unit)
            rules += strikes
        raise Trouble("VERIFY_CHECKSUM", f"Checksums differ: {unit.source}, {unit.destination}")

    @staticmethod
    def _external_differs(unit: Unit, text: str) -> NoReturn:
        raise Trouble("VERIFY_CHECKSUM", f"External checksum: {unit.source}: {text}", fatal=True)

    def _moved(self, amount: int) -> None:
        self._task.bytes_transferred += amount  # what is sent again is counted again

    def _verifies(self) -> bool:
        sides = [self._settings.collections[self._task.order[f"{side}_endpoint"]] for side in ("source", "destination")]
        if any(side.disable_verify for side in sides):
            return False
        return bool(self._task.order.get("verify_checksum")) or any(side.force_verify for side in sides)

    def _can(self, algorithm: str) -> None:
        for side in ("source", "destination"):
            collection = self._settings.collections[self._task.order[f"{side}_endpoint"]]
            if algorithm not in collection.checksums:
                text = f"500-Command failed. : unsupported algorithm {algorithm}: {collection.display_name}"
                raise Trouble("ENDPOINT_ERROR", text)

    # Deleting.

    def _delete_all(self) -> None:
        order = self._task.order
        collection = self._settings.collections[order["endpoint"]]
        sandbox = Sandbox(collection.root, collection.default_directory)
        for item in self._task.items:
            if self._stop_here():
                return
            unit = Unit(item["path"], item["path"], item, bool(order.get("recursive")))
            try:
                self._delete(sandbox, unit)
                self._task.files += 1
            except FileNotFoundError as error:
                # In a later pass it may well have been us who deleted it.
                if not (order.get("ignore_missing") or self._again):
                    self._notes.trouble(unit, trouble_of(error))
            except OSError as error:
                self._notes.trouble(unit, trouble_of(error))
            except Trouble as trouble:
                self._notes.trouble(unit, trouble)

    def _delete(self, sandbox: Sandbox, unit: Unit) -> None:
        self._notes.file_rules(unit)
        found = sandbox.locate(unit.source)
        if found == sandbox.root:
            raise PathNotAllowed(unit.source)
        if os.path.isdir(found) and not os.path.islink(found):
            if not unit.recursive:
                raise Trouble("UNKNOWN", f"Is a directory: {unit.source}", fatal=True)
            shutil.rmtree(found)
        else:
            os.unlink(found)

"""The archive, by running the program `hsi`: writes IN files, runs hsi on a leash, believes only whole answers.

Guarantee: a listing that is returned is complete (hsi_tree.py, hsi_answers.py); a broken one is asked for again, three
times in all, and then it is an error. No session outlives the call that started it. hsi gets nothing to type into, so
it can't wait for a password that never comes.
Fails with: what interface.py says.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tacc_sync.outside.clock.interface import Clock
from tacc_sync.outside.hpss.hsi_answers import Answer, FilesAnswer, HashesAnswer
from tacc_sync.outside.hpss.hsi_commands import in_file, why_not_gettable, why_unspeakable, word
from tacc_sync.outside.hpss.hsi_division import LARGE, DividedListing
from tacc_sync.outside.hpss.hsi_gets import GetsAnswer, Staging
from tacc_sync.outside.hpss.hsi_lines import Dialect
from tacc_sync.outside.hpss.hsi_parts import PartsAnswer, part_of
from tacc_sync.outside.hpss.hsi_process import STOPPED, Ended, Kennel, find_program
from tacc_sync.outside.hpss.hsi_progress import Progress
from tacc_sync.outside.hpss.hsi_tree import TreeAnswer
from tacc_sync.outside.hpss.interface import (
    ArchiveHash,
    Checkpoint,
    Fetch,
    Fetched,
    ListedFile,
    Listing,
    Refused,
    Session,
    listed_files,
)
from tacc_sync.rules.faults import Fault, OperatorFault, WorldFault, of_os_error
from tacc_sync.rules.validity import is_within

TRIES = 3
EX_UNAVAILABLE, EX_NOPERM = 69, 77
# A path that hsi said nothing about is looked up in its directory; more of them are a broken answer.
MOST_SILENT_PATHS = 20
STALLED = "stalled"
_NOT_TO_GO_ON = "hsi was ended because its worker may not go on: it was told so, was frozen, or could not beat"

_REMEDIES = {
    "HPSS-UNAUTHENTICATED": "run hsi by hand on this host, log in, then start again",
    "HPSS-SESSIONS": "work goes on when other sessions have ended; fewer retrievers need fewer sessions",
    "HPSS-AWAY": "work goes on when HPSS is back",
    "HPSS-HANGING": "HPSS may be in maintenance; work goes on when it answers",
    "HPSS-LISTING-BROKEN": "try again later; if it stays so, hsi speaks in a way that we don't know: report the lines",
}


class Hsi:
    """`Hpss` by means of hsi. Safe to use from several threads; each call is a session of its own."""

    def __init__(
        self,
        *,
        clock: Clock,
        scratch: Path | str,
        command: Sequence[str] = ("hsi",),
        avail_command: Sequence[str] | None = None,
        listing_options: Sequence[str] = ("-P",),
        get_options: Sequence[str] = ("-q",),
        get_flags: Sequence[str] = ("-P",),
        stall_seconds: float = 4 * 3600,
        staging: Staging | None = None,
        stage_stall_seconds: float = 24 * 3600,
        listing_stall_seconds: float = 15 * 60,
        listing_sessions: int = 1,
        listing_files: int = 0,
        answer_seconds: float = 60,
        batch_lines: int = 1000,
        leash_seconds: float = 0,
        tick_seconds: float = 1,
        dialect: Dialect | None = None,
    ) -> None:
        """`scratch` is a local directory for IN files. A tree of more than `listing_files` files and directories is
        listed in parts (0: none is), by `listing_sessions` at once. `leash_seconds` > 0 needs somebody who calls
        `pulse`.

        Success lines of `get` are said to be suppressed under `-P`, hence `-q` there. With `staging` HPSS is asked for
        many files of a session at once; as it may then read any of them first, and shows nothing of it, such a session
        has a patience of its own.
        """
        self._clock = clock
        self._scratch = Path(scratch)
        self._command = tuple(command)
        self._avail_command = tuple(avail_command) if avail_command else None
        self._listing_options = tuple(listing_options)
        self._get_options = tuple(get_options)
        self._get_flags = tuple(get_flags)
        self._staging = staging
        self._stall_seconds = stall_seconds if staging is None else stage_stall_seconds
        self._listing_stall_seconds = listing_stall_seconds
        self._listing_sessions = listing_sessions
        self._listing_files = listing_files
        self._answer_seconds = answer_seconds
        self._batch_lines = max(1, batch_lines)
        self._dialect = dialect or Dialect()
        self._kennel = Kennel(clock, leash_seconds=leash_seconds, tick_seconds=tick_seconds)
        # Whether hsi was seen not to repeat our commands: then listings need another proof of their end.
        self._is_mute = False

    def pulse(self) -> None:
        """Tell all running sessions that they are still wanted (see leash.py); called with each heartbeat."""
        self._kennel.pulse()

    def check_up(self) -> None:
        """Return when HPSS is up; without an `avail_command` only the program itself is looked for."""
        find_program(self._command, "hsi")
        if self._avail_command is None:
            return
        program = find_program(self._avail_command, "the program that tells whether HPSS is up")
        answer = bytearray()

        def keep(_stream: int, data: bytes) -> None:
            answer.extend(data[: 4096 - len(answer)])

        began = self._clock.uptime()
        ended = self._kennel.run(
            [program, *self._avail_command[1:]],
            environment=_environment(),
            directory=self._scratch_directory(),
            on_output=keep,
            why_kill=lambda _quiet: STALLED if self._clock.uptime() - began > self._answer_seconds else "",
        )
        name = " ".join(self._avail_command)
        if ended.killed_because == STOPPED:
            raise _fault("STOPPED", _NOT_TO_GO_ON)
        if ended.killed_because:
            raise _fault("HPSS-HANGING", f"`{name}` did not answer within {self._answer_seconds:g} s")
        if ended.exit_status:
            said = answer.decode(errors="replace").strip()
            raise _fault(
                "HPSS-AWAY",
                f"`{name}` says that HPSS is down (exit status {ended.exit_status}) {said}".strip(),
            )

    # -- listings

    def list_trees(self, roots: Sequence[str], checkpoint: Checkpoint | None = None) -> Listing:
        """List everything below each root: in one session, but a tree that turns out to be large in parts."""
        listing = Listing()
        wanted = list(dict.fromkeys(root.rstrip("/") or "/" for root in roots))
        large: list[str] = []
        entries = 0
        for root in wanted:
            reason = why_unspeakable(root)
            if reason:
                listing.refused.append(Refused(root, "unspeakable", reason))
                continue
            part = checkpoint.recall(root) if checkpoint is not None else None
            is_new = part is None
            if part is None:
                answer = self._list_tree(root, checkpoint)
                part = part_of(answer) if answer is not None else None
            if part is None or part.subdirectories is not None:
                large.append(root)
                continue
            entries += len(part.files) + part.directories
            if checkpoint is not None and is_new and entries > self._listing_files > 0:
                checkpoint.keep([part])
            listing.directories += part.directories
            if len(listing.files):
                listing.files.extend(part.files)
                listing.paths = None
            else:
                listing.files, listing.paths = part.files, part.paths
            listing.refused += part.refused
        if large:
            listing.paths = None
            outermost = [root for root in large if not any(root != one and is_within(root, one) for one in large)]
            self._divided(listing, checkpoint, outermost).list_below(outermost)
        if any(one != other and is_within(one, other) for one in wanted for other in wanted):
            listing.files = listed_files({file.path: file for file in listing.files}.values())
            listing.refused = list({refused.path: refused for refused in listing.refused}.values())
        return listing

    def _divided(self, listing: Listing, checkpoint: Checkpoint | None, roots: Sequence[str]) -> DividedListing:
        def run(answer: PartsAnswer, why_end: Callable[[], str]) -> int | None:
            ended = self._ask(answer, self._listing_options, "list", why_end)
            return None if ended.killed_because else ended.exit_status

        return DividedListing(
            listing,
            checkpoint,
            run=run,
            answer=lambda directories, deep: PartsAnswer(directories, self._dialect, deep=deep, twice=roots),
            sessions=self._listing_sessions,
            too_large=self._listing_files,
        )

    def _list_tree(self, root: str, checkpoint: Checkpoint | None) -> TreeAnswer | None:
        """List a tree in one session; None when that was ended because the tree is large, and can be divided."""
        broken = ""
        for attempt in range(TRIES):
            # The stranger's name is new each time, so nothing but this very session can know it.
            stranger = f"{root.rstrip('/')}/.tacc-sync.end.{secrets.token_hex(8)}"
            wants_stranger = (self._is_mute or bool(broken)) and not why_unspeakable(stranger)
            answer = TreeAnswer(root, self._dialect, stranger=stranger if wants_stranger else "")
            ended = self._ask(answer, self._listing_options, "list", self._why_end_tree(answer, checkpoint))
            if ended.killed_because == LARGE:
                return None
            broken = answer.why_incomplete(ended.exit_status)
            if not answer.echoed and (answer.files or answer.directories):
                self._is_mute = True
            if not broken and answer.is_empty and attempt == 0:
                # An empty archive is a bold claim: it has to be made twice.
                broken = f"nothing at all below {root}"
            elif not broken and attempt < TRIES - 1 and any(r.kind == "error" for r in answer.refused.values()):
                broken = "; ".join(f"{r.text} {r.path}" for r in answer.refused.values() if r.kind == "error")
            if not broken:
                return answer
        raise _fault("HPSS-LISTING-BROKEN", f"the listing of {root} broke off or can't be read: {broken}")

    def _why_end_tree(self, answer: TreeAnswer, checkpoint: Checkpoint | None) -> Callable[[], str]:
        # Several sessions, or a listing that can be gone on with, are worth beginning again for. An hsi that does not
        # repeat its commands can't be asked about several directories in one session.
        may_divide = self._listing_files > 0 and (self._listing_sessions > 1 or checkpoint is not None)

        def why_end() -> str:
            if may_divide and answer.echoed and answer.entries > self._listing_files and answer.is_divisible:
                return LARGE
            if checkpoint is not None:
                checkpoint.say(f"{answer.root}: {len(answer.files):,} files so far")
            return ""

        return why_end

    def list_files(self, paths: Sequence[str]) -> Listing:
        """List exactly these files, in batches."""
        listing = Listing()
        for batch in self._batches(paths, listing.refused):
            found, refused = self._list_batch(batch)
            listing.files.extend(found)
            listing.refused += refused
        return listing

    def _list_batch(self, batch: list[str]) -> tuple[list[ListedFile], list[Refused]]:
        found: dict[str, ListedFile] = {}
        refused: dict[str, Refused] = {}
        left, around, broken = batch, list[str](), ""
        for _ in range(TRIES):
            answer = FilesAnswer(left, self._dialect, around=around)
            self._ask(answer, self._listing_options, "files")
            broken = answer.why_incomplete()
            if broken:
                continue
            found |= answer.found
            refused |= answer.refused
            # An error that may pass is asked about again, and stands only if it stays.
            left = [path for path in left if path not in found and _may_pass(refused.get(path))]
            if not left:
                break
            silent = answer.silent()
            around = []
            if silent:
                broken = f"no word about {len(silent)} of {len(batch)} paths, such as {silent[0]!r}"
                if len(silent) <= MOST_SILENT_PATHS:
                    around = sorted({path.rpartition("/")[0] or "/" for path in silent})
        if broken and any(path not in found and path not in refused for path in batch):
            raise _fault("HPSS-LISTING-BROKEN", f"the listing of {len(batch)} files can't be read: {broken}")
        return list(found.values()), [refusal for path, refusal in refused.items() if path not in found]

    def hashes(self, paths: Iterable[str]) -> dict[str, ArchiveHash | None]:
        """The archive's hashes, in batches; a path that the archive refuses is not in the answer."""
        hashes: dict[str, ArchiveHash | None] = {}
        for batch in self._batches(paths, []):
            left, broken = batch, ""
            for _ in range(TRIES):
                answer = HashesAnswer(left, self._dialect)
                self._ask(answer, self._listing_options, "hashes")
                broken = answer.why_incomplete()
                if broken:
                    continue
                hashes.update(answer.found)
                left = [path for path in left if path not in hashes and _may_pass(answer.refused.get(path))]
                if not left:
                    break
                silent = answer.silent()
                broken = f"no word about {len(silent)} of {len(batch)} paths, such as {silent[0]!r}" if silent else ""
            if broken:
                raise _fault("HPSS-LISTING-BROKEN", f"the hashes of {len(batch)} files can't be read: {broken}")
        return hashes

    def _batches(self, paths: Iterable[str], refused: list[Refused]) -> Iterator[list[str]]:
        """Speakable paths, each once, in pieces of a session's size."""
        batch: list[str] = []
        for path in dict.fromkeys(paths):
            reason = why_unspeakable(path)
            if reason:
                refused.append(Refused(path, "unspeakable", reason))
                continue
            batch.append(path)
            if len(batch) >= self._batch_lines:
                yield batch
                batch = []
        if batch:
            yield batch

    def _ask(self, answer: Answer, options: Sequence[str], name: str, why_end: Callable[[], str] = lambda: "") -> Ended:
        """One session of questions; raises what is the matter with HPSS as a whole. The caller judges the answer, and
        may end the session by giving a reason."""
        ended = self._run(
            answer,
            options,
            name,
            lambda quiet: STALLED if quiet > self._listing_stall_seconds else why_end(),
        )
        if ended.killed_because == STOPPED:
            raise _fault("STOPPED", _NOT_TO_GO_ON)
        if ended.killed_because == STALLED:
            raise _fault("HPSS-HANGING", f"hsi printed nothing for {self._listing_stall_seconds:g} s")
        trouble = answer.trouble()
        if trouble is not None and trouble[0] != "HSI-CRASHED":
            raise _fault(*trouble)
        if ended.exit_status == EX_UNAVAILABLE:
            raise _fault("HPSS-AWAY", f"hsi ended with exit status {EX_UNAVAILABLE}: {answer.strange_text()}")
        return ended

    # -- retrieval

    def get(
        self,
        fetches: Sequence[Fetch],
        *,
        session_name: str,
        may_go_on: Callable[[], bool] = lambda: True,
        on_fetched: Callable[[int], None] = lambda _index: None,
        on_last: Callable[[], None] = lambda: None,
    ) -> Session:
        """Fetch files in the given order in one session."""
        if len({fetch.local_path for fetch in fetches}) != len(fetches):
            raise ValueError("two fetches into one file")
        refusals = [why_not_gettable(f.hpss_path, f.local_path, self._get_flags) for f in fetches]
        speakable = [index for index, refusal in enumerate(refusals) if not refusal]
        asked = [fetches[index] for index in speakable]
        result = [Fetched(None, f"NAME-UNSPEAKABLE: {refusal}" if refusal else "") for refusal in refusals]
        if not asked:
            return Session(result, 0, None, [])
        answer = GetsAnswer(asked, self._get_flags, self._dialect, self._staging)
        progress = Progress([fetch.local_path for fetch in asked])
        announced = 0
        is_last_told = False

        def why_kill(quiet: float) -> str:
            nonlocal announced, is_last_told
            now = self._clock.uptime()
            answer.is_over(progress.look(now))
            while announced < answer.over:
                on_fetched(speakable[announced])
                announced += 1
            is_at_last = answer.over >= len(asked) - 1 and (answer.over > 0 or progress.has_bytes())
            if is_at_last and not is_last_told and not answer.troubles:
                is_last_told = True
                on_last()
            if not may_go_on():
                return STOPPED
            is_stalled = quiet > self._stall_seconds and progress.is_stalled(now, self._stall_seconds)
            return STALLED if is_stalled else ""

        ended = self._run(answer, self._get_options, session_name, why_kill)
        for position, index in enumerate(speakable):
            result[index] = answer.fetched(position)
        has_begun = answer.over > 0 or progress.has_begun() or any(answer.errors)
        trouble = self._trouble_of_session(answer, ended, has_begun=has_begun)
        if trouble is not None and trouble[0] in _REMEDIES and not ended.killed_because and not has_begun:
            raise _fault(*trouble)
        return Session(result, ended.exit_status, trouble, answer.strange)

    def _trouble_of_session(self, answer: GetsAnswer, ended: Ended, *, has_begun: bool) -> tuple[str, str] | None:
        """What went wrong with the session as a whole."""
        if ended.killed_because == STOPPED:
            return "STOPPED", _NOT_TO_GO_ON
        if ended.killed_because:
            return "HPSS-HANGING", f"no byte has moved for {self._stall_seconds:g} s"
        trouble = answer.trouble()
        if trouble is not None:
            return trouble
        status = ended.exit_status
        if status < 0 or status > 128:
            return "HSI-CRASHED", f"hsi was ended by signal {-status if status < 0 else status - 128}"
        if status == EX_UNAVAILABLE:
            return "HPSS-AWAY", f"hsi ended with exit status {status}: {answer.strange_text()}"
        silent = answer.unanswered()
        if silent and status:
            return (
                "HPSS-SESSION-BROKEN",
                f"hsi ended with exit status {status} without a word about {len(silent)} files",
            )
        if silent:
            return "HPSS-SESSION-BROKEN", f"hsi ended without a word about {len(silent)} files"
        if status and not answer.is_explained(has_begun=has_begun):
            return "HPSS-SESSION-BROKEN", f"hsi ended with exit status {status} and named no file"
        return None

    # -- running

    def _run(self, answer: Answer, options: Sequence[str], name: str, why_kill: Callable[[float], str]) -> Ended:
        program = find_program(self._command, "hsi")
        with self._in_file(name, in_file(answer.lines)) as path:
            ended = self._kennel.run(
                [program, *self._command[1:], *options, "in", word(str(path))],
                environment=_environment(),
                directory=path.parent,
                on_output=answer.feed,
                why_kill=why_kill,
            )
        answer.end()
        return ended

    def _scratch_directory(self) -> Path:
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _local_fault(error) from error
        return self._scratch.absolute()

    @contextlib.contextmanager
    def _in_file(self, name: str, content: bytes) -> Iterator[Path]:
        """An IN file that exists as long as its session."""
        directory = self._scratch_directory()
        reason = why_unspeakable(str(directory))
        if reason:
            raise OperatorFault("HSI-SCRATCH", f"hsi can't be told of files in {str(directory)!r}: {reason}")
        safe_name = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
        try:
            descriptor, path = tempfile.mkstemp(prefix=f"{safe_name}.", suffix=".in", dir=directory)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError as error:
            raise _local_fault(error) from error
        try:
            yield Path(path)
        finally:
            with contextlib.suppress(OSError):
                Path(path).unlink()


def _environment() -> dict[str, str]:
    """Our own environment (hsi finds its token by HOME), and the promise that nobody is there to answer questions."""
    return {**os.environ, "ENVIRONMENT": "BATCH"}


def _may_pass(refusal: Refused | None) -> bool:
    return refusal is None or refusal.kind == "error"


def _fault(code: str, text: str) -> Fault:
    remedy = _REMEDIES.get(code, "")
    if code == "HPSS-UNAUTHENTICATED":
        return OperatorFault(code, f"hsi can't log in: {text}", remedy, EX_NOPERM)
    return WorldFault(code, text, remedy)


def _local_fault(error: OSError) -> Fault:
    known = of_os_error(error, "writing a command file for hsi")
    return known or WorldFault("DISK-IO", f"writing a command file for hsi: {error}")

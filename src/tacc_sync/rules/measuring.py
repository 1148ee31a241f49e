"""What a measurement of the site reads, and what follows from what was seen. Pure.

Guarantee: no file is read twice in a measurement; what was seen too shortly to tell is None; `stage` is recommended
only when the time that it saved is more than the scatter of the gaps between files explains.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

VERSION = 1
# Fewer cannot show a gap between files.
FEWEST = 2
# So many neighbours of each recall lie together.
RUN = 4
# Enough to choose from, and no more work than that, whatever was listed.
MOST_CARTRIDGES, MOST_FILES = 8, 2000
# A server that reorders gains nothing from so few requests; see docs/operating.md.
FEWEST_TO_RECOMMEND = 16
LEAST_GAIN = 1.1
# Gaps that grow with the sizes of the files, so closely, are no locates alone.
CLOSELY = 0.9
FEWEST_TO_FIT = 5


@dataclass(frozen=True, slots=True)
class Lying:
    """A file on tape: `cartridges` are labels, `place` orders what lies on one of them."""

    path: str
    size: int
    cartridges: tuple[str, ...]
    place: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """What is read of one cartridge: one file for the mount, some in tape order, as many others asked for at once."""

    cartridge: str
    first: Lying
    ordered: tuple[Lying, ...]
    staged: tuple[Lying, ...]

    @property
    def room(self) -> int:
        """The most bytes that lie in the buffer at a time."""
        return max(self.first.size, _total(self.ordered), _total(self.staged))


def choose(files: Iterable[Lying], *, count: int, limit: int, avoid: Collection[str]) -> Sample | None:
    """Neighbours on the cartridge that has most of these files, `limit` bytes at a time at most; fewer than `count`
    when there are no more, or no more fit. None when it cannot even be two."""
    by_cartridge: dict[str, list[Lying]] = {}
    for file in files:
        # A file on several cartridges tells of none of them.
        if len(file.cartridges) == 1 and 0 < file.size <= limit and file.cartridges[0] not in avoid:
            by_cartridge.setdefault(file.cartridges[0], []).append(file)
    most = sorted(by_cartridge.items(), key=lambda item: (-len(item[1]), item[0]))
    considered = most[:MOST_CARTRIDGES]
    for number in range(count, FEWEST - 1, -1):
        for cartridge, there in considered:
            there.sort(key=lambda file: (file.place, file.path))
            middle = max(0, (len(there) - MOST_FILES) // 2)
            del there[:middle], there[MOST_FILES:]
            fitting = [sample for sample in _windows(cartridge, there, number) if sample.room <= limit]
            if fitting:
                # What is usual there, neither the largest nor the smallest.
                return sorted(fitting, key=lambda sample: (sample.room, sample.first.place))[len(fitting) // 2]
    return None


def _windows(cartridge: str, there: Sequence[Lying], number: int) -> Iterable[Sample]:
    for at in range(len(there) - 2 * number):
        # The one for the mount is the last, so that both recalls begin by winding back over all of it.
        yield Sample(cartridge, there[at + 2 * number], *_halves(there[at : at + 2 * number]))


def _halves(there: Sequence[Lying]) -> tuple[tuple[Lying, ...], tuple[Lying, ...]]:
    """Both over the same stretch of tape, or it would be the stretches that are compared; in runs of neighbours, or
    most gaps would be those that we make."""
    ordered: list[Lying] = []
    staged: list[Lying] = []
    at = 0
    while at < len(there):
        run = min(RUN, (len(there) - at) // 2)
        ordered += there[at : at + run]
        staged += there[at + run : at + 2 * run]
        at += 2 * run
    return tuple(ordered), tuple(staged)


def _total(files: Iterable[Lying]) -> int:
    return sum(file.size for file in files)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file as it was seen to grow: when it was first seen with how many bytes, and when with all. Seconds."""

    size: int
    first_at: float
    first_bytes: int
    last_at: float


@dataclass(frozen=True, slots=True)
class TapeFigures:
    """Of a recall in tape order: bytes a second while files grew, the median gap between two of them, all gaps.

    `reads_ahead`: the gaps grew with the files, so HPSS seems to read a file before it gives its first byte; that time
    is then in the rate, and not in `locate`.
    """

    drive_rate: float | None
    locate: float | None
    gaps: tuple[float, ...]
    reads_ahead: bool = False


def tape_figures(arrivals: Sequence[Arrival]) -> TapeFigures:
    """What the files of one session tell, in the order in which they came."""
    grown = [(each.size - each.first_bytes, each.last_at - each.first_at) for each in arrivals]
    told = [(size, seconds) for size, seconds in grown if size > 0 and seconds > 0]
    size, seconds = sum(size for size, _ in told), sum(seconds for _, seconds in told)
    rate = size / seconds if seconds else None
    pairs = list(itertools.pairwise(arrivals))
    gaps = tuple(max(0.0, later.first_at - earlier.last_at) for earlier, later in pairs)
    if not gaps:
        return TapeFigures(rate, None, gaps)
    sizes = [later.size for _, later in pairs]
    if rate and len(gaps) >= FEWEST_TO_FIT and len(set(sizes)) > 1 and len(set(gaps)) > 1:
        slope, start = statistics.linear_regression(sizes, gaps)
        is_close = statistics.correlation(sizes, gaps) >= CLOSELY
        if is_close and slope * statistics.mean(sizes) > statistics.mean(gaps) / 2:
            return TapeFigures(1 / (1 / rate + slope), max(0.0, start), gaps, reads_ahead=True)
    return TapeFigures(rate, statistics.median(gaps), gaps)


def stage_gain(ordered: tuple[float, int], staged: tuple[float, int], drive_rate: float | None) -> float | None:
    """The time of the one, divided by that of the other, had it been as many bytes. Each: seconds of the whole
    session, bytes."""
    seconds, size = staged
    if drive_rate:
        seconds += (ordered[1] - size) / drive_rate
    return ordered[0] / seconds if ordered[0] > 0 and seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Advice:
    """Is it worth it, and why."""

    stage: bool
    text: str


def advise(gain: float | None, seconds: float, gaps: Sequence[float]) -> Advice:
    """Whether to ask for files at once. `seconds`: of the recall in tape order; `gaps`: between its files."""
    files = len(gaps) + 1
    if gain is None:
        return Advice(stage=False, text="it was not measured what asking for files at once gains")
    if files < FEWEST_TO_RECOMMEND:
        text = f"{files} files are too few to tell: measure with --files {2 * FEWEST_TO_RECOMMEND}"
        return Advice(stage=False, text=text)
    saved = seconds - seconds / gain
    # Both recalls have their own gaps.
    noise = 2 * statistics.stdev(gaps) * (2 * len(gaps)) ** 0.5
    if gain < LEAST_GAIN:
        return Advice(
            stage=False, text=f"asking for files at once gains nothing that counts ({gain:.2f} times as fast)"
        )
    if saved <= noise:
        text = (
            f"it was {gain:.2f} times as fast, but the {saved:.0f} s saved may be chance (up to {noise:.0f} s): measure"
        )
        text += f" with --files {2 * files}"
        return Advice(stage=False, text=text)
    text = f'{gain:.2f} times as fast, {saved:.0f} s saved where chance explains {noise:.0f} s: try recall = "stage"'
    return Advice(stage=True, text=text)

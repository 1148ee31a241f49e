"""How the files of a simulated archive come to lie on its tapes.

Guarantee: the same files and seed give the same tapes; no order of names is the order on tape, so that
whoever forgets to sort is found out.

Files come in runs of neighbours, as an archive migrates what was written together; the runs go to a few tapes
at a time in a random order, some of them backwards. Some small files share a section, other people's data
lies in between, a few files lie on two cartridges, a few are only on disk, and empty files have no position.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tacc_sync.testbed.tape_catalogue import Entry

FILES_PER_TAPE = 75
SMALL = 1 << 20
STREAMS = 4


class Tape:
    """A tape that is being filled."""

    def __init__(self, label: str, rng: random.Random) -> None:
        self.label = label
        self.rng = rng
        self.section = rng.randint(1, 40)
        self.offset = 0
        self.byte = rng.randint(0, 10**9)
        self.files = 0
        self.may_share = False

    def add(self, entry: Entry, labels: tuple[str, ...]) -> None:
        """Write this file behind the last one."""
        rng = self.rng
        is_small = entry.size < SMALL
        if is_small and self.may_share and rng.random() < 0.4:
            pass  # migrated together with the one before: same section, right behind it
        else:
            # Other people's files lie in between, now and then.
            strangers = rng.randint(1, 30) if rng.random() < 0.2 else 0
            self.section += 1 + strangers
            self.byte += strangers * 10**8
            self.offset = rng.choice((0, 0, 0, rng.randint(1, 10**12))) if is_small else 0
        entry.volumes = labels
        entry.section, entry.offset, entry.start = self.section, self.offset, self.byte
        entry.cos = 12 if len(labels) > 1 else 4 if is_small else 5
        self.offset += entry.size
        self.byte += entry.size
        self.may_share = is_small
        self.files += 1


def place_on_tapes(
    files: list[Entry], tapes: int | None, *, seed: int, two_cartridge_share: float, disk_share: float
) -> list[str]:
    """Give each file its cartridges and position; the labels of the tapes that were used."""
    rng = random.Random(seed)  # noqa: S311  reproducible, not secret
    for entry in files:
        entry.cos = 4
    solid = [entry for entry in files if entry.size]
    fresh = set(some_of(solid, disk_share, rng))
    on_tape = [entry for entry in solid if entry not in fresh]
    if not on_tape:
        return []
    wanted = min(tapes or max(3, len(on_tape) // FILES_PER_TAPE), len(on_tape))
    spread = [Tape(label, rng) for label in labels_for(wanted, rng)]
    twice = set(some_of(on_tape, two_cartridge_share, rng)) if wanted > 1 else set()
    capacity = -(-len(on_tape) // wanted)
    waiting = list(spread)
    streams = [waiting.pop(0) for _ in range(min(STREAMS, wanted))]
    for run in runs_of(on_tape, max(1.0, min(20.0, capacity / 5)), rng):
        left = run
        while left:
            # A tape that nothing lies on yet comes first, so that none stays empty.
            tape = next((tape for tape in streams if not tape.files), rng.choice(streams))
            part, left = left[: capacity - tape.files], left[capacity - tape.files :]
            for entry in part:
                neighbour = spread[(spread.index(tape) + 1) % len(spread)] if entry in twice else None
                tape.add(entry, (tape.label, neighbour.label) if neighbour else (tape.label,))
            if tape.files >= capacity:
                streams.remove(tape)
                if waiting:
                    streams.append(waiting.pop(0))
    return [tape.label for tape in spread]


def runs_of(entries: list[Entry], mean: float, rng: random.Random) -> list[list[Entry]]:
    """Cut into runs of random length, in random order, a quarter of them backwards."""
    runs, at = [], 0
    while at < len(entries):
        length = 1 + int(rng.expovariate(1 / mean))
        run = entries[at : at + length]
        runs.append(run[::-1] if rng.random() < 0.25 else run)
        at += length
    rng.shuffle(runs)
    return runs


def some_of(entries: list[Entry], share: float, rng: random.Random) -> Iterable[Entry]:
    """A share of them, at least one if there are enough to spare one."""
    number = round(share * len(entries))
    if share and len(entries) >= 20:
        number = max(1, number)
    return rng.sample(entries, number)


def labels_for(number: int, rng: random.Random) -> list[str]:
    """Different labels of six characters, as a library hands them out: rising, with gaps."""
    letters = rng.choice(("AG", "AU", "EG", "AB"))
    step = max(1, min(9, 9000 // max(number, 1)))
    labels, at = [], rng.randint(100, 400)
    for _ in range(number):
        at += rng.randint(1, step)
        labels.append(f"{letters}{at:04d}" if at < 10_000 else f"{letters[0]}{at:05d}")
    return labels

"""When will it be done? The real components, simulated several times in weather that is drawn from what was seen.

Guarantee: the same seed, remains, basis and number of runs give the same figures. What is drawn is drawn from the basis
(rules/basis.py) alone: rates, and the shares of files and tasks that fail; what is planned (outages) is as planned. A
run that does not end counts as never.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tacc_sync.campaign.campaign import Outcome, Scene, run
from tacc_sync.campaign.remains import Remains
from tacc_sync.campaign.service import Network
from tacc_sync.campaign.tape_model import MEDIA, ROBOT, Geometries, Medium
from tacc_sync.campaign.weather import Trouble
from tacc_sync.rules.basis import Basis, Figure, Share
from tacc_sync.rules.forecast import quantile
from tacc_sync.rules.identity import request_key
from tacc_sync.rules.settings import Settings

# Fewer tell nothing of a spread.
LEAST_RUNS = 3
# From so many resampled means the one of a rank is taken.
RESAMPLES = 200
HASH_RATE = 500e6
LONGEST = 20 * 365 * 86400.0


@dataclass(slots=True)
class Foretold:
    """What the runs say. `ends`: seconds from now until each request is finished, by its key, one for each run (inf:
    never). The other lists: one for each run too. `grain`: bytes that were taken together, 0 when each file stood for
    itself."""

    ends: dict[str, list[float]]
    grain: int
    pieces: int
    asked: int
    mounts: list[int] = field(default_factory=list)
    most_reserved: list[int] = field(default_factory=list)
    drive_seconds: list[float] = field(default_factory=list)
    network_seconds: list[float] = field(default_factory=list)
    drive_rates: list[float] = field(default_factory=list)
    network_rates: list[float] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """How many there were."""
        return len(self.mounts)


@dataclass(frozen=True, slots=True)
class Weather:
    """One run's."""

    drive: float
    network: float
    files: float
    tasks: float
    seed: int


def foretell(
    remains: Remains,
    basis: Basis,
    settings: Settings,
    outages: Sequence[tuple[float, float]],
    *,
    cpu: Callable[[], float],
    seed: int = 1,
) -> Foretold:
    """Simulate what remains, as often as the settings ask for, or as the CPU time that they allow (`cpu` tells it) will
    do for, judged by the first run."""
    section = settings.forecast
    catalogue = remains.catalogue(section.medium)
    coarse = _coarse(remains, settings)
    told = Foretold(
        {request_key(request.request_id): [] for request in remains.requests},
        remains.grain,
        remains.count,
        section.runs,
    )
    begun = cpu()
    runs = section.runs
    weathers = iter(draws(remains, basis, settings, runs=1, seed=seed))
    while told.runs < runs:
        weather = next(weathers)
        scene, medium = _scene(basis, settings, weather, outages, coarse, remains)
        outcome = run(replace(catalogue, medium=medium), scene, Geometries(medium, weather.seed), remains.requests)
        _note(told, outcome, coarse, weather)
        if told.runs == 1:
            # An odd number, so that the one that was made is the one in the middle.
            runs = _odd(min(section.runs, section.cpu / max(1e-6, cpu() - begun)))
            weathers = iter(draws(remains, basis, settings, runs=runs, seed=seed)[1:])
    return told


def draws(remains: Remains, basis: Basis, settings: Settings, *, runs: int, seed: int) -> list[Weather]:
    """The weather of each run. Ranks are spread evenly over the runs, for each figure in another order, so that a few
    runs show the whole spread. The first run, whatever their number, is the one in the middle."""
    days = _days(remains, basis, settings)
    drive, network = (_Drawn(figure, days, seed) for figure in (basis.drive, basis.network))
    others = [(number + 0.5) / runs for number in range(runs) if 2 * number + 1 != runs]
    found = []
    for number, (of_drive, of_network) in enumerate(
        zip([0.5, *_shuffled(others, seed, "drive")], [0.5, *_shuffled(others, seed, "network")], strict=True)
    ):
        chance = random.Random(f"{seed} {number} shares")  # noqa: S311  a model
        files, tasks = _share(basis.files, chance), _share(basis.tasks, chance)
        found.append(Weather(drive.at(of_drive), network.at(of_network), files, tasks, seed * 1000 + number))
    return found


def _odd(runs: float) -> int:
    whole = max(LEAST_RUNS, int(runs))
    return whole if whole % 2 else whole - 1


def _shuffled(ranks: list[float], seed: int, what: str) -> list[float]:
    shuffled = list(ranks)
    random.Random(f"{seed} {what}").shuffle(shuffled)  # noqa: S311  a model
    return shuffled


class _Drawn:
    """What a figure may be in a campaign of so many days, in order."""

    def __init__(self, figure: Figure, days: int, seed: int) -> None:
        self._values = sorted(figure.values)
        if figure.by_day:
            # Other days might have been seen (with repetition, as many as there were); of those a campaign sees some.
            chance = random.Random(f"{seed} days")  # noqa: S311  a model
            self._values = []
            for _ in range(RESAMPLES):
                seen = chance.choices(figure.values, k=len(figure.values))
                self._values.append(sum(chance.choices(seen, k=days)) / days)
            self._values.sort()

    def at(self, rank: float) -> float:
        """The value of this rank; between two of them, what lies between."""
        return quantile(self._values, rank)


def _share(share: Share, chance: random.Random) -> float:
    return chance.betavariate(share.failed, max(1e-9, share.of - share.failed))


def _seconds(remains: Remains, basis: Basis, settings: Settings) -> tuple[float, float]:
    """About how long the drives take, and the network."""
    sessions = max(1, min(settings.hsi.sessions, remains.tapes))
    return remains.from_tape / basis.drive.middle / sessions, remains.bytes / basis.network.middle


def _days(remains: Remains, basis: Basis, settings: Settings) -> int:
    return min(365, max(1, round(max(_seconds(remains, basis, settings)) / 86400)))


def _coarse(remains: Remains, settings: Settings) -> float:
    """How many times larger units (and the buffer with them) are in the simulation than in truth."""
    return max(1.0, remains.grain / settings.units.bytes)


def _scene(
    basis: Basis,
    settings: Settings,
    weather: Weather,
    outages: Sequence[tuple[float, float]],
    coarse: float,
    remains: Remains,
) -> tuple[Scene, Medium]:
    section = settings.forecast
    # What decides about the pace; not where things lie, or how they are called.
    globus = type(settings.globus)(tasks=settings.globus.tasks, poll=settings.globus.poll)
    units = type(settings.units)(bytes=math.ceil(settings.units.bytes * coarse), files=settings.units.files)
    quota = math.ceil(settings.buffer.quota * coarse)
    if quota:
        # What is larger than the whole buffer is in quarantine, and not here.
        quota = max(quota, remains.largest)
    medium = MEDIA[section.medium]
    medium = replace(medium, rate=weather.drive, load=max(0.0, basis.mount - ROBOT))
    scene = Scene(
        drives=settings.hsi.sessions,
        buffer=quota,
        network=Network(
            rate=weather.network,
            task_start=basis.task_start,
            verification=basis.verification,
            release=max(0.0, basis.release - settings.globus.poll),
        ),
        session_start=basis.session_start,
        # A file is hashed after its last byte; a piece stands for several.
        hash_rate=HASH_RATE * max(1.0, remains.files_of_a_piece),
        trouble=Trouble(
            # A piece of many files is read again when one of them is: as many bytes in the mean.
            files=weather.files,
            tasks=weather.tasks,
            planned=tuple(outages),
            seed=weather.seed,
        ),
        settings=Settings(units=units, globus=globus, patience=settings.patience, run=settings.run),
        seed=weather.seed,
        longest=LONGEST,
    )
    return scene, medium


def _note(told: Foretold, outcome: Outcome, coarse: float, weather: Weather) -> None:
    for key, ends in told.ends.items():
        ends.append(outcome.finished_at.get(key, math.inf))
    told.mounts.append(outcome.drives.mounts)
    told.most_reserved.append(round(outcome.most_reserved / coarse))
    told.drive_seconds.append(outcome.drives.busy)
    told.network_seconds.append(outcome.network_busy)
    told.drive_rates.append(weather.drive)
    told.network_rates.append(weather.network)

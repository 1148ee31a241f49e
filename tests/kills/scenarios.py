"""What is struck: a component (or a recovery) from a state at rest."""

from __future__ import annotations

from dataclasses import dataclass

import strikes
from lanes import STAGES, TEMPLATE
from strikes import Point

TASKS = 3  # as many as the request has units


@dataclass(frozen=True)
class Scenario:
    """`arguments` is what gets struck, after `prior` was: a component and the place where it died."""

    name: str
    stage: str
    arguments: tuple[str, ...]
    tasks: int = TASKS
    prior: str = ""


COMPONENTS = {
    name: Scenario(name, name, ("run", "--once", name), 0 if name in {"reaper", "finisher"} else TASKS)
    for name in STAGES
}  # fmt: skip
# Any component recovers what others have left; the reaper has nothing else to do here.
RECOVERIES = {
    f"recovery of {name}": Scenario(f"recovery of {name}", name, ("run", "--once", "reaper"), TASKS, name)
    for name in ("syncer", "retriever", "globus_xfer")
}
SUBMIT = {"submit": Scenario("submit", "submit", ("submit",))}
ALL = SUBMIT | COMPONENTS | RECOVERIES


def prepare(lane, scenario, stages):
    """Put the state back in which the scenario begins."""
    lane.begin(stages[scenario.stage])
    lane.write_request()
    if scenario.prior:
        log = lane.root / "prior.txt"
        point = _where_it_hurts(lane, scenario.prior, stages)
        lane.begin(stages[scenario.stage])
        hit, done = strikes.strike(point, lane.command("run", "--once", scenario.prior), log, **lane.options)
        assert hit, f"{scenario.prior} ended before {point}: {done.stderr.decode(errors='replace')[-1000:]}"


def command(lane, scenario):
    extra = [str(lane.request_file)] if scenario.stage == "submit" else []
    return lane.command(*scenario.arguments, *extra)


_KNOWN: dict[str, Point] = {}


def _where_it_hurts(lane, component, stages):
    """A place in the middle of things, with as much as possible in the component's hands."""
    if component not in _KNOWN:
        lane.begin(stages[component])
        seen = strikes.watch(lane.command("run", "--once", component), lane.root / "watched.txt", **lane.options)
        position = {"syncer": _published, "retriever": _placed, "globus_xfer": _submitted}[component](seen, lane.key)
        chosen = seen[position]
        number = sum(one.call == chosen.call and one.thread == chosen.thread for one in seen[: position + 1])
        _KNOWN[component] = Point("", chosen.call, number)
        assert TEMPLATE not in chosen.text
    return _KNOWN[component]


def _published(seen, key):
    # The request is committed, its units still lie in the syncer's home.
    return next(at for at, one in enumerate(seen) if one.call == "renameat" and f'"{key}.' in one.text)


def _placed(seen, key):
    # A session has ended, its first file is about to get its name.
    return next(at for at, one in enumerate(seen) if one.call == "linkat" and ".tmp" not in one.text)


def _submitted(seen, key):
    # Globus has accepted the task, nobody has noted it.
    sent = next(
        at for at, one in enumerate(seen) if one.call == "sendto" and r"\"DATA_TYPE\": \"transfer\"" in one.text
    )
    return next(
        at for at, one in enumerate(seen) if at > sent and one.call == "fsync" and one.thread == seen[sent].thread
    )

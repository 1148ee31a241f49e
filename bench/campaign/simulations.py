"""Many campaigns at a time: each in a process of its own, as many as there are cores.

All are decided by seeds, so that their order does not matter; what is asked for twice is run once.
"""

from __future__ import annotations

import os
import resource
import time
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace

from tacc_sync.campaign import bound, campaign, catalogues, policies
from tacc_sync.campaign.campaign import Outcome, Scene
from tacc_sync.campaign.tape_model import Geometries

_CASES: dict[object, object] = {}
_TAPES: dict[object, bound.Tapes] = {}


def case(name: str, scale: float, medium: str = "TS1155", winding: float = 1.0):
    """A catalogue and the geometries of its cartridges; the last one that was asked for is kept."""
    key = name, scale, medium, winding
    if key not in _CASES:
        made = catalogues.make(name, scale=scale, medium=medium)
        made = replace(made, medium=replace(made.medium, winding=winding))
        _CASES.clear()
        _CASES[key] = made, Geometries(made.medium)
    return _CASES[key]


def ours(what: tuple, scene: Scene) -> tuple[Outcome, float, float]:
    """How a campaign went, its CPU seconds, and this process's largest memory in MB so far."""
    made, geometries = case(*what)
    begun = time.process_time()
    outcome = campaign.run(made, scene, geometries)
    return outcome, time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def models(what: tuple, scene: Scene) -> dict[str, policies.Ran]:
    """The simpler policies."""
    made, geometries = case(*what)
    site = policies.Site(
        scene.drives, scene.buffer, scene.network.rate, scene.network.verification + scene.network.release
    )
    return {
        "listing order, one session": policies.listing_order(made, geometries, site),
        "whole tapes, one session": policies.whole_units(made, geometries, site, sessions=1),
        "whole tapes, D sessions": policies.whole_units(made, geometries, site, sessions=scene.drives),
    }


def tapes(what: tuple) -> bound.Tapes:
    """What the cartridges of a catalogue take."""
    if what not in _TAPES:
        _TAPES[what] = bound.tapes_of(*case(*what))
    return _TAPES[what]


class Simulations:
    """What has been asked for."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(os.cpu_count() or 1)
        self._asked: dict[str, Future] = {}

    def ask(self, how, *words) -> Future:
        """Run one of the functions above somewhere."""
        key = repr((how.__name__, words))
        if key not in self._asked:
            self._asked[key] = self._pool.submit(how, *words)
        return self._asked[key]

    def close(self) -> None:
        self._pool.shutdown()

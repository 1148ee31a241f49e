"""Holding on to hsi for commands that list for hours: it ends when nobody says any more that it is wanted."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tacc_sync.cli.edges import Edges
from tacc_sync.operator.beside import beside

PULSE_SECONDS = 30.0


def pulsed(edges: Edges) -> AbstractContextManager[None]:
    """While a command goes on its sessions are wanted."""
    hpss = edges.hpss

    def pulse() -> float:
        hpss.pulse()
        return PULSE_SECONDS

    return beside("pulse", pulse)

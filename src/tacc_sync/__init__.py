"""tacc-sync: from tape at NERSC to tape at TACC, by request, with proof."""

from __future__ import annotations

__version__ = "0.1.0"

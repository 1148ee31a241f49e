"""`python -m tacc_sync` is `tacc-sync`."""

from __future__ import annotations

import sys

from tacc_sync.cli.main import main

sys.exit(main())

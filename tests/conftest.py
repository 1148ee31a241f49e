"""Makes `tests/support` importable: fakes and small builders that several test files share."""

import sys
from pathlib import Path

from hypothesis import settings

# How long an example takes is a matter of what else the machine does; a test that hangs has its own time limit.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

sys.path.insert(0, str(Path(__file__).parent / "support"))

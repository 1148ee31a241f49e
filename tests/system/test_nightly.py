"""A request that is handed in again each night: what it costs when nothing, or next to nothing, has changed."""

import importlib.util
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"
# Where the benchmarks find each other.
sys.path.append(str(BENCH))
SPEC = importlib.util.spec_from_file_location("nightly", BENCH / "nightly.py")
nightly = sys.modules["nightly"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(nightly)

FILES, PER_DIRECTORY = 1000, 50
DIRECTORIES = FILES // PER_DIRECTORY


def test_a_night_without_changes_costs_one_listing_on_each_side_and_one_with_three_changes_three_files(tmp_path):
    nights = nightly.Nights(tmp_path, files=FILES, tapes=5, per_directory=PER_DIRECTORY)
    try:
        first = nights.night()
        assert first.result["delivered_files"] == FILES == len(first.recalled)
        assert first.tasks == first.calls["transfer"] > 0

        quiet = nights.night()
        assert (quiet.mounts, quiet.recalled, quiet.bytes, quiet.tasks) == (0, [], 0, 0)
        assert (quiet.result["there_files"], quiet.result.get("delivered_files", 0)) == (FILES, 0)
        # At the archive one session, the listing: nobody asks for the hashes of what is proven. At the destination each
        # directory once, and the one that holds them; then nothing but the token.
        assert quiet.sessions == 1
        assert quiet.calls.pop("token", 0) <= 1
        assert quiet.calls == {"ls": DIRECTORIES + 1}

        changed = nights.change(3)
        busy = nights.night()
        assert busy.recalled == changed
        assert (busy.result["delivered_files"], busy.result["there_files"]) == (3, FILES - 3)
        assert busy.mounts <= 3
        assert busy.calls["ls"] == DIRECTORIES + 1
        assert nights.night().recalled == []
    finally:
        nights.close()

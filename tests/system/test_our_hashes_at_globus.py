"""`doctor` finds out which hash both endpoints verify, and that one goes along with each file."""

from __future__ import annotations

import json

import pytest
from bed import DESTINATION, Bed

from tacc_sync.testbed import globus_settings

PLACEMENT = {"hash_shares": (1, 0, 0), "two_cartridge_share": 0, "disk_share": 0}


@pytest.mark.parametrize(
    ("knows", "understood"), [(("MD5", "SHA512"), ["sha512"]), (("MD5",), ["md5"]), (("SHA256",), [])]
)
def test_what_the_endpoints_know_is_found_out_and_used(tmp_path, knows, understood):
    files = {"a": b"content of a", "b": b"content of b"}
    settings = {"destination.scratch": DESTINATION.rpartition("/")[0] + "/scratch"}
    with Bed(tmp_path, files, tapes=1, placement=PLACEMENT, settings=settings) as bed:
        (bed.place / "tacc" / settings["destination.scratch"].lstrip("/")).mkdir()
        collection = bed.environment["GLOBUS_DEST_COLLECTION_ID"]
        globus_settings.change_collection(bed.place, collection, checksums=list(knows))
        said = bed.tacc_sync("doctor").out
        assert "our hashes at Globus" in said
        assert json.loads((bed.workspace / "checksums.json").read_text())["understood"] == understood
        before = len(bed.globus_log("accepted"))
        bed.tacc_sync("doctor")
        assert len(bed.globus_log("accepted")) == before, "it was found out again"
        if not understood:
            # Without a checksum that both know Globus verifies nothing either, and nothing is delivered.
            return
        key = bed.request()
        bed.run()
        works = [json.loads(path.read_text()) for path in bed.workspace.glob(f"finished/{key}/{key}.*.json")]
        receipts = {file["receipt"].partition(":")[0] for work in works for file in work["files"]}
        assert receipts == set(understood)
        assert bed.delivered() == bed.truth()

"""`tacc-sync audit` with the installed command: what it says, and how it exits."""

import json
import os
import shutil

from bed import DESTINATION, SOURCE, Bed

FILES = {"a": b"a" * 1000, "b/with blank": b"b" * 70_000, "b/ünï": b"u", "c/empty": b"", "c/d": b"d" * 10}


def told(bed, *arguments, code=0):
    *lines, last = map(json.loads, bed.tacc_sync("audit", *arguments, "--json", code=code).out.splitlines())
    return {line["destination"].removeprefix(DESTINATION + "/"): line["kind"] for line in lines}, last["summary"]


def test_both_archives_are_compared_and_every_difference_is_explained(tmp_path):
    with Bed(tmp_path, FILES, tapes=2) as bed:
        key = bed.request(label="all")
        bed.run("syncer")
        kinds, summary = told(bed, key)
        assert kinds == dict.fromkeys(FILES, "in-flight")
        assert summary["ok"]
        bed.run()

        gets = bed.gets()
        before = bed.names("**/*")
        said = bed.tacc_sync("audit", SOURCE)
        assert "Everything is explained." in said.err
        assert "delivered" in said.out
        kinds, summary = told(bed, "all", "--all")
        assert kinds == dict.fromkeys(FILES, "delivered")
        assert summary["kinds"] == {"delivered": {"files": 5, "bytes": 71_011}}
        assert (bed.gets(), bed.names("**/*")) == (gets, before)
        bed.check()

        tree = bed.place / "tacc" / DESTINATION[1:]
        (tree / "a").unlink()
        (tree / "b/extra").write_bytes(b"x" * 7)
        os.utime(tree / "c/d", (1, 1))
        kinds, summary = told(bed, key, code=1)
        assert kinds == {"a": "missing-there", "b/extra": "extra", "c/d": "differs"}
        assert summary["unexplained"] == {"files": 3, "bytes": 1017}
        said = bed.tacc_sync("audit", f"{DESTINATION}/b", code=1)
        assert f"! extra  {DESTINATION}/b/extra  7 B" in said.out
        assert "missing-there" not in said.out

        # A listing that breaks off is an error on either side, and says nothing of what it did not see.
        bed.hsi_faults({"match": "ls", "what": "cut", "after_lines": 2, "times": None})
        broken = bed.tacc_sync("audit", key, code=75)
        assert "HPSS-LISTING-BROKEN" in broken.err
        assert broken.out == ""
        bed.hsi_faults()
        bed.globus_fault("status", verb="ls", status=403, code="PermissionDenied", message="x")
        broken = bed.tacc_sync("audit", key, code=77)
        assert "GLOBUS-CREDENTIALS" in broken.err
        assert broken.out == ""


def test_what_others_have_brought_is_adopted(tmp_path):
    with Bed(tmp_path, FILES, tapes=2, settings={"skip.archive_zone": "America/Los_Angeles"}) as bed:
        tree = bed.place / "tacc" / DESTINATION[1:]
        (tree / "c").mkdir(parents=True)
        shutil.copy2(bed.data / "c/d", tree / "c/d")
        key = bed.request(present="quarantine", exclude=["a"])
        bed.run()
        (entry,) = bed.quarantine()
        assert entry["code"] == "DESTINATION-PRESENT"
        shutil.copy2(bed.data / "a", tree / "a")
        first = bed.request("all.json", files=[f"{SOURCE}/a"], present="quarantine")
        bed.run()

        said = bed.tacc_sync("audit", SOURCE)
        assert "2 files, 1.01 kB: to be taken over with --adopt" in said.err
        # Nobody is here to be asked.
        bed.tacc_sync("audit", SOURCE, "--adopt", code=64)
        assert len(bed.quarantine()) == 2
        said = bed.tacc_sync("audit", SOURCE, "--adopt", "--yes")
        assert said.err.count("has taken over what was there") == 2
        gets = bed.gets()
        bed.run()
        kinds, summary = told(bed, SOURCE, "--all")
        assert kinds == dict.fromkeys(FILES, "delivered") | {"a": "adopted", "c/d": "adopted"}
        assert summary["ok"]
        assert bed.quarantine() == []
        assert bed.gets() == gets
        assert bed.is_finished(key)
        assert bed.is_finished(first)
        bed.check()
        bed.tacc_sync("verify-certificate", "--all")

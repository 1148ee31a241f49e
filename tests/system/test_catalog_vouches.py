"""A file catalog on a port of its own, and the installed command."""

import hashlib
import json

from bed import SOURCE, Bed
from catalog_site import CatalogSite

FILES = {"a": b"a" * 1000, "b/c": b"c" * 70_000}


def test_the_catalog_is_tried_out_and_vouches_for_what_is_delivered(tmp_path):
    with CatalogSite() as site, Bed(tmp_path, FILES, tapes=1) as bed:
        for name, content in FILES.items():
            site.add(f"{SOURCE}/{name}", hashlib.sha512(content).hexdigest())
        bed.settings |= {"catalog.url": site.url, "catalog.token_url": f"{site.url}/token"}
        key = bed.request()
        assert "CATALOG-CREDENTIALS" in bed.tacc_sync("run", "--once", code=77).err
        bed.environment |= {"FILE_CATALOG_CLIENT_ID": site.client_id, "FILE_CATALOG_CLIENT_SECRET": "wrong"}
        assert "CATALOG-CREDENTIALS" in bed.tacc_sync("run", "--once", code=77).err
        assert "CATALOG-CREDENTIALS" in bed.tacc_sync("doctor", code=77).out
        bed.environment["FILE_CATALOG_CLIENT_SECRET"] = site.secret
        assert f"{site.url} answers" in bed.tacc_sync("doctor").out
        bed.run()
        bed.assert_finished(key)
        lines = map(json.loads, (bed.workspace / "finished" / key / "manifest.jsonl").open())
        assert [line["vouched"]["sha512"] for line in lines] == [["catalog", "buffer"]] * 2
        bed.tacc_sync("verify-certificate", key)
        said = bed.tacc_sync("config", "show").out
        assert site.url in said
        assert site.secret not in said

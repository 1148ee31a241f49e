"""The IceCube File Catalog's hashes: `checksum.sha512` of the entry that has a file's path among its locations.

Guarantee: only an entry with that very path at that very site speaks for a file; a file without an entry, or whose
entry has no sha512, has no hash. That the catalog cannot be asked is never taken for that.
Fails with: WorkFault CATALOG-ENTRY-BAD; and with what `CatalogService.ask` fails with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tacc_sync.outside.checksums.catalog_service import CatalogService, strange
from tacc_sync.rules.documents import Request
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import printable

FILES = "/api/files"
KEYS = "uuid|checksum|locations"
# Characters of the paths in an address: servers and proxies take addresses of 8 kB at least.
LONGEST = 6000

_SHA512 = re.compile(r"[0-9a-fA-F]{128}")
_UUID = re.compile(r"[0-9A-Za-z-]{1,64}")


class FileCatalog:
    """`Voucher` by the catalog. `site` is what it calls the archive; `page` the most entries to ask for at once."""

    def __init__(self, service: CatalogService, *, site: str, page: int) -> None:
        self._service = service
        self._site = site
        self._page = page

    @property
    def name(self) -> str:
        return "catalog"

    def hashes(self, request: Request, paths: Sequence[str]) -> Mapping[str, str]:  # noqa: ARG002  asks for paths alone
        found: dict[str, str] = {}
        for batch in batches(paths, self._page):
            wanted, known = set(batch), set[str]()
            for entry in self._entries(batch, wanted, known):
                those = self._paths_of(entry) & wanted
                value = self._sha512(entry) if those else None
                known |= those
                for path in those:
                    if value is not None and found.setdefault(path, value) != value:
                        raise _bad(path, f"two entries speak for it, with {found[path]} and {value}")
        return found

    def try_out(self) -> str:
        """Ask for an entry, whichever; what was found."""
        answer = self._page_at({"locations.site": self._site}, 0, 1)
        return f"{self._service} answers" + ("" if answer else f", and has no file at {self._site}")

    def _entries(self, batch: Sequence[str], wanted: set[str], known: set[str]) -> Iterator[dict[str, Any]]:
        # Both conditions may be met by different locations of an entry; `_paths_of` looks closer.
        query = {"locations.site": self._site, "locations.path": {"$in": list(batch)}}
        seen: set[str] = set()
        start = 0
        # A page may be shorter than was asked for and not be the last one, so only an empty one ends; a location
        # belongs to one entry, so there is none when all are found.
        while not wanted <= known and (page := self._page_at(query, start, self._page)):
            ids = {json.dumps(entry, sort_keys=True) for entry in page}
            if ids <= seen:
                raise strange(f"{self._service}{FILES}: its pages lead round in a circle")
            seen |= ids
            yield from page
            start += len(page)

    def _page_at(self, query: Mapping[str, Any], start: int, limit: int) -> list[dict[str, Any]]:
        answer = self._service.ask(FILES, {"query": json.dumps(query), "keys": KEYS, "limit": limit, "start": start})
        # "Not found" is said of an entry, never of all of them: this is not the catalog.
        files = answer.get("files") if answer is not None else None
        if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
            raise strange(f"{self._service}{FILES}: the answer has no list of files")
        return files

    def _paths_of(self, entry: Mapping[str, Any]) -> set[str]:
        locations = entry.get("locations")
        return {
            location["path"]
            for location in (locations if isinstance(locations, list) else ())
            if isinstance(location, dict)
            and location.get("site") == self._site
            and isinstance(location.get("path"), str)
            # A file inside of an archive at that path.
            and not location.get("archive")
        }

    def _sha512(self, entry: Mapping[str, Any]) -> str | None:
        if "checksum" not in entry:
            # An old server, which does not choose the fields that it is asked for.
            entry = self._whole(entry)
        checksum = entry.get("checksum")
        value = checksum.get("sha512") if isinstance(checksum, dict) else None
        if value is None:
            return None
        if not isinstance(value, str) or not _SHA512.fullmatch(value):
            path = min(self._paths_of(entry), default="a file")
            raise _bad(path, f"its sha512 is {printable(str(value))[:150]}, which is none")
        return f"sha512:{value.lower()}"

    def _whole(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        uuid = entry.get("uuid")
        if not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
            raise strange(f"{self._service}{FILES}: an entry has neither a checksum nor a uuid")
        return self._service.ask(f"{FILES}/{uuid}", {}) or {}


def batches(paths: Iterable[str], most: int) -> Iterator[list[str]]:
    """Paths that can be told in one address, each once; those that are not UTF-8 are in no catalog."""
    batch: list[str] = []
    length = 0
    for path in dict.fromkeys(paths):
        try:
            path.encode()
        except UnicodeEncodeError:
            continue
        # In quotes, with a comma and a blank.
        told = len(quote(json.dumps(path))) + 6
        if batch and (length + told > LONGEST or len(batch) >= most):
            yield batch
            batch, length = [], 0
        batch.append(path)
        length += told
    if batch:
        yield batch


def _bad(path: str, text: str) -> WorkFault:
    return WorkFault(
        "CATALOG-ENTRY-BAD",
        f"the file catalog's entry of {printable(path)}: {text}",
        "have the entry corrected, or exclude the file, and drop the request again",
    )

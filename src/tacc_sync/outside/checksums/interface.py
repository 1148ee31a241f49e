"""Hashes of files that others vouch for: what a site's own lists or catalogues say, besides the archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tacc_sync.rules.documents import Request

# The voucher whose word comes with the request. It costs nothing to ask, and is asked of what is there already, too.
GIVEN = "list"


class Catalog(Protocol):
    """A catalog that may not answer."""

    def try_out(self) -> str:
        """Ask it for something; what was found. WorldFault or OperatorFault when it does not answer."""


class Voucher(Protocol):
    """Somebody who knows hashes of files in the archive. `name` stands for it in documents."""

    @property
    def name(self) -> str:
        """Who vouches: a short word."""

    def hashes(self, request: Request, paths: Sequence[str]) -> Mapping[str, str]:
        """Path -> `algorithm:hex`, of those of the paths that it knows.

        WorkFault when what the request names cannot be used; WorldFault or OperatorFault when nobody could be asked.
        """

"""A list in the form of `sha512sum`, given with the request (`checksums`).

Guarantee: the list is read once, when the request is planned; what it says is kept with each file.
Fails with: WorkFault CHECKSUM-LIST-BAD.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from tacc_sync.outside.checksums.interface import GIVEN
from tacc_sync.rules import vouching
from tacc_sync.rules.documents import Request

# A million lines of the longest kind.
LARGEST = 512 * 1024 * 1024


class ListedChecksums:
    """`Voucher` by a list on this host."""

    @property
    def name(self) -> str:
        return GIVEN

    def hashes(self, request: Request, paths: Sequence[str]) -> Mapping[str, str]:
        if not request.checksums:
            return {}
        try:
            content = _read(request.checksums)
        except OSError as error:
            text = f"{request.checksums} cannot be read on this host: {error.strerror}"
            raise vouching.bad_list(text) from error
        return vouching.vouched(content, request.sources, paths)


def _read(path: str) -> bytes:
    # O_NONBLOCK: a FIFO must not hang us.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise vouching.bad_list(f"{path} is no plain file")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise vouching.bad_list(f"{path} is larger than {LARGEST} bytes")
    return content

"""The workspace's chain of certificates: `finished/chain/00000001.json` and so on, each a copy of a request's
certificate, each naming the hash of the one before it.

Guarantee: numbers have no gap, and an entry is never written a second time, whatever number of finishers is at work and
wherever each of them dies: an entry is made whole and exclusively, and what is meant to become one lies beside the
request's manifest beforehand, so that who goes on finds out whether it did.
Fails with `Fenced` and `OSError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tacc_sync.rules import certificate
from tacc_sync.rules.certificate import Certificate, Previous
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.route import FINISHED
from tacc_sync.workspace import layout
from tacc_sync.workspace.disk import NO_DOCUMENT, Disk
from tacc_sync.workspace.home import Home, make_directory


def entry(number: int) -> str:
    """The path of a certificate in the chain."""
    return f"{layout.CHAIN}/{number:08d}{SUFFIX}"


def numbers(disk: Disk) -> list[int]:
    """The numbers in the chain, in order; a listing may miss the newest."""
    try:
        stems = [name.removesuffix(SUFFIX) for name in disk.names(layout.CHAIN) if name.endswith(SUFFIX)]
    except FileNotFoundError:
        return []
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def read(disk: Disk, number: int) -> bytes | None:
    """A certificate in the chain; None where there is none that can be read."""
    return _content(disk, entry(number))


def standing(disk: Disk, path: str) -> Certificate | None:
    """The certificate at this path, if it has become a part of the chain; None when it has not."""
    content = _content(disk, path)
    found = certificate.decode(content)[0] if content is not None else None
    return found if found is not None and read(disk, found.number) == content else None


def append(home: Home, path: str, make: Callable[[int, Previous | None], bytes]) -> bytes:
    """Write a certificate to `path` and to the end of the chain. `make` is told its number and the one before it, again
    and again as long as others are faster."""
    disk = home.disk
    if disk.status(layout.CHAIN) is None:
        make_directory(disk, layout.CHAIN)
        disk.sync(FINISHED)
    number = max(numbers(disk), default=0) + 1
    while True:
        # What a listing has missed is found by name.
        while disk.status(entry(number)) is not None:
            number += 1
        content = make(number, _previous(disk, number))
        # First: who finds it here and not in the chain knows that it did not get there.
        home.put(path, content)
        if home.put_new(entry(number), content):
            return content


def _previous(disk: Disk, number: int) -> Previous | None:
    content = read(disk, number - 1) if number > 1 else None
    if content is None:
        return None
    found, _ = certificate.decode(content)
    return Previous(
        number=number - 1,
        # One that cannot be read has changed since; its hash is noted all the same, and `verify-certificate` tells.
        request_id=found.request_id if found is not None else "",
        sha512=hashlib.sha512(content).hexdigest(),
    )


def _content(disk: Disk, path: str) -> bytes | None:
    try:
        return disk.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in NO_DOCUMENT:
            raise
        return None

"""Scopes of the testbed's Globus Auth: what may be asked for, and whose it is.

Pure functions. Fails with: `ValueError` for a text that is no list of scopes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tacc_sync.testbed.globus_settings import Settings

AUTH = "auth.globus.org"
TRANSFER = "transfer.api.globus.org"
TRANSFER_ALL = f"urn:globus:auth:scope:{TRANSFER}:all"
OPENID = frozenset({"openid", "email", "profile"})


def data_access(collection_id: str) -> str:
    """The scope that a mapped collection may ask for."""
    return f"https://{AUTH}/scopes/{collection_id}/data_access"


@dataclass(frozen=True, slots=True)
class Asked:
    """A scope that was asked for, with the scopes in its brackets."""

    name: str
    needs: tuple[Asked, ...] = ()

    def below(self) -> list[str]:
        """All scopes in the brackets, however deep."""
        return [name for need in self.needs for name in (need.name, *need.below())]


def parse_scopes(text: str) -> tuple[Asked, ...]:
    """Scopes of a request: `a b[*c d]`. The star (atomically revocable) makes no difference here."""
    words = re.findall(r"[\[\]]|[^\s\[\]]+", text)

    def level() -> tuple[Asked, ...]:
        found: list[Asked] = []
        while words:
            word = words.pop(0)
            if word == "]":
                break
            if word == "[":
                if not found:
                    raise ValueError(f"brackets without a scope: {text}")
                found[-1] = Asked(found[-1].name, level())
            else:
                found.append(Asked(word.removeprefix("*")))
        return tuple(found)

    return level()


def resource_server(scope: str, settings: Settings) -> str | None:
    """Whose scope this is; None for one that nobody knows."""
    if scope in OPENID:
        return AUTH
    if match := re.fullmatch(r"urn:globus:auth:scope:([a-z.]+\.globus\.org):[a-z_:]+", scope):
        return match[1]
    for key, collection in settings.collections.items():
        # A collection that wants no consent has no such scope: asking for it is an error, as in real life.
        if scope == data_access(key) and collection.data_access:
            return key
    return None

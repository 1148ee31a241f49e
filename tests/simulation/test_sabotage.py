"""Each rule of the protocol is switched off, and a search must notice. A rule whose loss nobody notices is either not
tested or not needed: such a test fails and names the rule and the searches that found nothing.

Run with `-s` to see which search noticed, after how many tries, and what it found.
"""

from __future__ import annotations

import time

import pytest
from budget import told
from sabotage import CONTROLS, RULES
from searches import Found, Tally

pytestmark = pytest.mark.timeout(1200)


def name_of(search):
    return getattr(search, "name", None) or f"{search.func.__name__}: {', '.join(next(iter(search.args), ''))}"


@pytest.mark.parametrize("search", CONTROLS, ids=name_of)
def test_without_sabotage_nothing_is_found(search):
    try:
        search()
    except Found as found:
        pytest.fail(f"{name_of(search)}: {found}", pytrace=False)


@pytest.mark.parametrize("rule", RULES)
def test_the_loss_of_a_rule_is_noticed(rule, monkeypatch):
    saboteur, searches = RULES[rule]
    saboteur(monkeypatch)
    started = time.monotonic()
    for search in searches:
        try:
            search()
        except Found as found:
            noticed = str(found).splitlines()[0][:300]
            told(f"sabotage: {rule}", Tally(tried=1), started)
            print(f"    noticed by {name_of(search)}: {noticed}")
            return
        except Exception as error:  # noqa: BLE001  a broken rule may also break the code loudly
            print(f"    noticed by {name_of(search)}: {type(error).__name__}: {error}")
            return
    pytest.fail(f"nobody noticed the loss of: {rule} ({', '.join(map(name_of, searches))})", pytrace=False)

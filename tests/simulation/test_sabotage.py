"""Each rule of the protocol is switched off, and a search must notice. A rule whose loss nobody notices is either not
tested or not needed: such a test fails and names the rule and the searches that found nothing.

Run with `-s` to see which search noticed, after how many tries, and what it found.
"""

from __future__ import annotations

import time

import pytest
from budget import searching, told
from sabotage import CONTROLS, RULES
from sabotage_of_handover import CONTROLS as CONTROLS_OF_HANDOVER
from sabotage_of_handover import RULES as RULES_OF_HANDOVER
from sabotage_of_lending import RULES as RULES_OF_LENDING
from searches import Found

pytestmark = pytest.mark.timeout(1200)
ALL = RULES | RULES_OF_LENDING | RULES_OF_HANDOVER


def name_of(search):
    return getattr(search, "name", None) or f"{search.func.__name__}: {', '.join(next(iter(search.args), ''))}"


@pytest.mark.parametrize("search", CONTROLS + CONTROLS_OF_HANDOVER, ids=name_of)
def test_without_sabotage_nothing_is_found(search):
    with searching(f"control: {name_of(search)}") as tallies:
        tallies.append(search())


@pytest.mark.parametrize("rule", ALL)
def test_the_loss_of_a_rule_is_noticed(rule, monkeypatch):
    saboteur, searches = ALL[rule]
    saboteur(monkeypatch)
    started = time.monotonic()
    for number, search in enumerate(searches, 1):
        try:
            search()
        except Found as found:
            noticed = str(found).splitlines()[0][:160]
        except Exception as error:  # noqa: BLE001  a broken rule may also break the code loudly
            noticed = f"{type(error).__name__}: {error}"[:160]
        else:
            continue
        told(f"sabotage, noticed: {rule}", number, started, note=f"by {name_of(search)}: {noticed}")
        return
    told(f"sabotage, NOT noticed: {rule}", len(searches), started, violations=1)
    pytest.fail(f"nobody noticed the loss of: {rule} ({', '.join(map(name_of, searches))})", pytrace=False)

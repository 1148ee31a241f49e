"""Something small that goes on beside a command, again and again, for as long as the command takes.

Guarantee: it has ended when the command goes on without it.
Fails with: nothing of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(name: str, again: Callable[[], float]) -> Iterator[None]:
    """Call `again`, at once and then each time after as many seconds as it says, in a thread of this name."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(again()):
            pass

    thread = threading.Thread(target=go_on, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

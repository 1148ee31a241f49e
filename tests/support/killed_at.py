"""Runs `tacc-sync` until the n-th call of some kind, and there it is killed by SIGKILL: nothing is flushed, nothing tidied.

    python killed_at.py rename 7 run --once

Kinds: the names of functions of `os` that change the disk (`rename`, `link`, `unlink`, `mkdir`, `write`, `fsync`), with
`all` for all of them together; `submit` is the moment when a transfer's order has been answered and nobody has noted it.
`write` kills in the middle: half of the bytes are written.
"""

import itertools
import os
import signal
import sys

DISK = ("rename", "link", "unlink", "mkdir", "write", "fsync")


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def arm(owner, name, counter, number):
    real = getattr(owner, name)

    def doomed(*arguments, **options):
        if next(counter) != number:
            return real(*arguments, **options)
        if name == "write":
            content = bytes(arguments[1])
            real(arguments[0], content[: len(content) // 2])
        elif name not in DISK:
            real(*arguments, **options)
        die()
        return None

    setattr(owner, name, doomed)


def main():
    kind, number = sys.argv[1], int(sys.argv[2])
    counter = itertools.count(1)
    if kind == "submit":
        import globus_sdk

        arm(globus_sdk.TransferClient, "submit_transfer", counter, number)
    for name in DISK:
        if kind in {"all", name}:
            arm(os, name, counter, number)
    from tacc_sync.cli.main import main as tacc_sync

    sys.exit(tacc_sync(sys.argv[3:]))


main()

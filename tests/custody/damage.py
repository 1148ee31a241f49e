"""Three ways in which a file goes bad without a sign: size (but for one) and time of modification stay."""

from __future__ import annotations

import os

KINDS = ("flip", "cut", "zeros")
BLOCK = 4096


def damage(path, kind):
    """One bit flipped, the last byte cut off, or a block of zeros."""
    times = os.stat(path)
    middle = times.st_size // 2
    with open(path, "r+b") as file:
        if kind == "cut":
            file.truncate(times.st_size - 1)
        else:
            file.seek(middle)
            data = file.read(BLOCK)
            file.seek(middle)
            file.write(bytes(len(data)) if kind == "zeros" else bytes([data[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

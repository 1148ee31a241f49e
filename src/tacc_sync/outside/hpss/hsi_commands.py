"""What we say to hsi: the lines of an IN file, one path or one pair of paths a line.

Guarantee: a line built here is one command about exactly the paths that it was built from, whatever characters they
hold. A path for which that can't be had is *unspeakable* and refused by name; it never becomes part of a line.
Fails with: ValueError, when asked to quote an unspeakable path (ask `why_unspeakable` first).
"""

from __future__ import annotations

import re

# hsi crashes on long lines (about 36 paths in one command); old manuals allow paths of 1024 characters.
LONGEST_PATH = 1024
LONGEST_LINE = 4000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=+-]+")


def why_unspeakable(path: str) -> str:
    """Why this absolute path can't be given to hsi without risk of meaning something else; "" when it can."""
    # The order is that of plainness to a reader, not of danger.
    if not path.startswith("/"):
        return "it is not absolute"
    if _SURROGATE.search(path):
        return "its bytes are not UTF-8"
    if _CONTROL.search(path):
        return "it holds a control character"
    if "\\" in path:
        # Whether hsi takes a backslash inside of quotes literally is not known, and a path that ends in one could
        # swallow the closing quote.
        return "it holds a backslash"
    if "'" in path and '"' in path:
        return "it holds both kinds of quotes"
    if len(path.encode()) > LONGEST_PATH:
        return f"it is longer than {LONGEST_PATH} bytes"
    if not is_normal(path):
        # hsi would answer about the path in its normal form, and we would miss the answer.
        return "it is not in its normal form (`//`, `/./`, `/../` or a slash at the end)"
    return ""


def is_normal(path: str) -> bool:
    """Whether an absolute path has no `//`, `/./`, `/../`, and no slash at its end."""
    return path == "/" or {"", ".", ".."}.isdisjoint(path.split("/")[1:])


def quoted(path: str) -> str:
    """The path as one word of an IN file; inside of quotes neither blanks, `;`, `!` nor wildcards mean anything."""
    reason = why_unspeakable(path)
    if reason:
        msg = f"cannot say {path!r} to hsi: {reason}"
        raise ValueError(msg)
    return f'"{path}"' if "'" in path else f"'{path}'"


def list_tree(root: str) -> str:
    """List everything below a root, hidden entries included."""
    return f"ls -a -N -R -P {quoted(root)}"


def list_top(root: str) -> str:
    """List what lies directly in a root: said again after `list_tree`, its answer proves that the tree's has ended."""
    return f"ls -a -N -P {quoted(root)}"


def list_level(directory: str) -> str:
    """List what lies directly in a directory; in other words than `list_top`, so that hsi's echo tells which it is."""
    return f"ls -N -a -P {quoted(directory)}"


def list_one(path: str) -> str:
    """List one file."""
    return f"ls -N -P {quoted(path)}"


def list_hash(path: str) -> str:
    """Show the hash that the archive keeps of a file; reads no tape."""
    return f"hashlist {quoted(path)}"


def get(hpss_path: str, local_path: str, flags: tuple[str, ...]) -> str:
    """Fetch one file. hsi wants the local path first, and blanks around the colon."""
    return " ".join(("get", *flags, quoted(local_path), ":", quoted(hpss_path)))


def stage(hpss_path: str, options: tuple[str, ...]) -> str:
    """Ask HPSS to bring one file from tape to its own disks."""
    return " ".join(("stage", *options, quoted(hpss_path)))


def recall(gets: list[str], stages: list[str], ahead: int) -> list[str]:
    """The lines of a session that offers HPSS many requests at once: the first `ahead` files are asked for before the
    first one is fetched, and one more with each that is fetched. A "" among the stages is left out."""
    ahead = max(1, ahead)
    lines = [line for line in stages[:ahead] if line]
    for index, line in enumerate(gets):
        lines.append(line)
        lines += [later for later in stages[index + ahead : index + ahead + 1] if later]
    return lines


def why_not_gettable(hpss_path: str, local_path: str, flags: tuple[str, ...]) -> str:
    """Why this pair can't be put on one line; "" when it can."""
    for name, path in (("its path", hpss_path), ("the path in the buffer", local_path)):
        reason = why_unspeakable(path)
        if reason:
            return f"{name} can't be given to hsi: {reason}"
    if len(get(hpss_path, local_path, flags).encode()) > LONGEST_LINE:
        return f"the command would be longer than {LONGEST_LINE} bytes"
    return ""


def word(text: str) -> str:
    """A word of hsi's own command line, which hsi joins with blanks and reads like a line of an IN file."""
    return text if _PLAIN_WORD.fullmatch(text) else quoted(text)


def in_file(lines: list[str]) -> bytes:
    """The bytes of an IN file."""
    return "".join(f"{line}\n" for line in lines).encode()

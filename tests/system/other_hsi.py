"""An hsi that has nothing in common with the testbed's but what is known of hsi: for tests of "no private channel".

    python other_hsi.py ARCHIVE [-q] [-P] in FILE

Serves the directory ARCHIVE/files as `/archive`. Among what hsi is allowed to do, it does the other thing: it repeats no
command, pads its fields with blanks, lists what is deep first, tells of the directory that was asked for, says `get` lines
on the other stream than errors, prints hashes when all is over and in no order. The first `get` of a file whose name ends
in `.flaky` breaks off.
"""

import hashlib
import os
import random
import shutil
import sys
import time
import zlib

HERE, PREFIX = os.fsencode(sys.argv[1]), b"/archive"
QUIET, POPEN = "-q" in sys.argv[2:], "-P" in sys.argv[2:]
HASHED = ("sha1", "sha256", None)


class Speaker:
    def __init__(self):
        self.answers = sys.stdout.buffer if POPEN else sys.stderr.buffer
        self.status = 0
        self.hashes = []

    def answer(self, line):
        self.answers.write(line + b"\n")

    def error(self, command, text, path, status=64):
        self.answer(b"*** %s: %s\n    %s" % (command, text, path))
        self.status = status


def words_of(line):
    words, word, quote = [], None, b""
    for byte in (line[i : i + 1] for i in range(len(line))):
        if quote:
            quote, word = (b"", word) if byte == quote else (quote, word + byte)
        elif byte in (b"'", b'"'):
            quote, word = byte, word or b""
        elif byte == b" ":
            words, word = words + ([word] if word is not None else []), None
        elif byte in b";!*?[]{}":
            raise SystemExit(64)  # not quoted: it would mean something
        else:
            word = (word or b"") + byte
    return words + ([word] if word is not None else [])


def local(path):
    assert path == PREFIX or path.startswith(PREFIX + b"/")
    return HERE + b"/files" + path[len(PREFIX) :]


def place(path):
    """Which tape, and where on it: from the name alone, so that no order of names is the order on tape."""
    lot = zlib.crc32(path)
    tapes = [b"X%05d00" % (lot % 4)] + ([b"X%05d00" % (lot % 4 + 1)] if lot % 11 == 0 else [])
    return b",".join(tapes), lot % 9973, lot % 7 * 1_100_000_000_000


def record(path):
    status = os.stat(local(path))
    size = b"%d" % status.st_size
    volumes, section, offset = place(path)
    position = b"%d+%d" % (section, offset) if status.st_size else b"0"
    written = time.strftime("%m/%d/%Y\t%H:%M:%S", time.localtime(status.st_mtime)).encode()
    fields = [path, size, size, position, volumes if status.st_size else b" ", b"5081", b"0", b"1", written, written]
    return b"FILE\t" + b"\t".join(fields).replace(b"\t", b" \t ") + b" "


def ls(speaker, words):
    flags = [word for word in words if word.startswith(b"-")]
    (path,) = (word for word in words if not word.startswith(b"-"))
    if not os.path.exists(local(path)):
        speaker.error(b"ls", b"No such file or directory [-2: HPSS_ENOENT]", path)
    elif os.path.isdir(local(path)):
        for directory, below, names in os.walk(local(path), topdown=False):
            shown = PREFIX + directory[len(HERE) + len(b"/files") :]
            if b"-R" not in flags and shown != path:
                continue
            for name in sorted(names, reverse=True):
                speaker.answer(record(shown + b"/" + name))
            if b"-R" not in flags:
                for name in below:
                    speaker.answer(b"DIRECTORY\t" + shown + b"/" + name)
            speaker.answer(b"DIRECTORY \t " + shown + b" ")
        sys.stderr.buffer.write(b"[connecting to archive.example.org/1217]\n")
    else:
        speaker.answer(record(path))


def hashlist(speaker, words):
    (path,) = words
    kind = HASHED[zlib.crc32(path) % 3]
    with open(local(path), "rb") as file:
        digest = hashlib.file_digest(file, kind).hexdigest().upper() if kind else ""
    line = b"%s %s %s [hsi]" % (digest.encode(), kind.encode(), path) if kind else b"(none)  " + path
    speaker.hashes.append(line)


def get(speaker, words):
    into, colon, path = words[-3:]
    assert colon == b":"
    with open(HERE + b"/recalls", "ab") as file:
        file.write(path + b"\n")
    size = os.stat(local(path)).st_size
    mark = HERE + b"/failed." + hashlib.md5(path).hexdigest().encode()
    if path.endswith(b".flaky") and not os.path.exists(mark):
        open(mark, "w").close()
        with open(local(path), "rb") as source, open(into, "wb") as target:
            target.write(source.read(size // 3))
        speaker.answer(b"get: Error -5 on transfer " + path)
        speaker.status = 74
        return
    shutil.copyfile(local(path), into)
    if b"-P" in words[:-3]:
        shutil.copystat(local(path), into)
    if not POPEN:
        sys.stdout.buffer.write(b"get  '%s' : '%s' (2021/03/01 11:15:47 %d bytes, 0.1 KBS )\n" % (into, path, size))


def main():
    *_, command, name = sys.argv
    assert command == "in"
    speaker = Speaker()
    with open(name, "rb") as file:
        for line in file.read().splitlines():
            command, *words = words_of(line)
            {b"ls": ls, b"hashlist": hashlist, b"get": get}[command](speaker, words)
    random.shuffle(speaker.hashes)
    for line in speaker.hashes:
        speaker.answer(line)
    sys.stderr.flush()
    sys.stdout.flush()
    sys.exit(speaker.status)


main()

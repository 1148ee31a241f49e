"""A shared file system in memory that does what the real ones are allowed to do, and no more.

A path is resolved first and the operation executes later, on the directory that was found: in between the directory may
have been renamed away. A listing is two half-readings. A new file is first empty, then full, then on disk. Names that
nobody has synced, and contents that nobody has flushed, may be gone after a power loss: each file system rolls back on its
own, and a synced directory keeps only what happened in it (and what that depends on), not what happened elsewhere before.
"""

from __future__ import annotations

import errno
import hashlib
import zlib

from tacc_sync.workspace.disk import Seal, Status

_HASHES: dict[tuple[str, bytes], str] = {}


NO_NAMES = frozenset(("", ".", ".."))


class File:
    __slots__ = ("content", "doc", "hole", "synced")

    def __init__(self, content=b"", synced=None, hole=False):
        self.content, self.synced, self.hole, self.doc = content, synced, hole, None


class Dir:
    __slots__ = ("entries", "removed")

    def __init__(self):
        self.entries: dict[str, Dir | File] = {}
        self.removed = False


class Fs:
    """The state: a tree, and the operations that a power loss would take back. `version` counts changes."""

    def __init__(self, name):
        self.name = name
        self.root = Dir()
        self.version = 0
        # (number of the operation, directory, entry, what was there before), oldest first
        self.undo: list[tuple[int, Dir, str, Dir | File | None]] = []

    # --- looking, without any boundary: for the operations below and for the invariants

    def directory(self, path):
        node = self.root
        if path:
            for name in path.split("/"):
                if type(node) is not Dir:
                    raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
                node = node.entries.get(name)
                if node is None:
                    if name in NO_NAMES:
                        raise ValueError(path)
                    raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if type(node) is not Dir:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        return node

    def parent(self, path):
        directory, _, name = path.rpartition("/")
        if name in NO_NAMES:
            raise ValueError(path)
        return self.directory(directory), name

    def at(self, path):
        """What lies there, or None."""
        try:
            directory, name = self.parent(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return directory.entries.get(name)

    def below(self, path=""):
        """(path, file) of all files below a directory."""
        node = self.directory(path) if path else self.root
        stack = [(path, node)]
        while stack:
            where, directory = stack.pop()
            for name, found in directory.entries.items():
                here = f"{where}/{name}" if where else name
                if type(found) is Dir:
                    stack.append((here, found))
                else:
                    yield here, found

    # --- changing

    def set(self, directory, name, node):
        self.undo.append((self.version, directory, name, directory.entries.get(name)))
        if node is None:
            del directory.entries[name]
        else:
            directory.entries[name] = node

    def create(self, directory, name, path):
        if directory.removed:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        if name in directory.entries:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self.version += 1
        file = File()
        self.set(directory, name, file)
        return file

    def rename(self, old_dir, old_name, new_dir, new_name, path):
        node = old_dir.entries.get(old_name)
        if node is None or new_dir.removed:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        there = new_dir.entries.get(new_name)
        if there is node:
            return
        if type(there) is Dir:
            if type(node) is not Dir:
                raise IsADirectoryError(errno.EISDIR, "is a directory", path)
            if there.entries:
                raise OSError(errno.ENOTEMPTY, "not empty", path)
            there.removed = True
        elif there is not None and type(node) is Dir:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        self.version += 1
        self.set(old_dir, old_name, None)
        self.set(new_dir, new_name, node)

    def link(self, old_dir, old_name, new_dir, new_name, path):
        node = old_dir.entries.get(old_name)
        if node is None or new_dir.removed:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if new_name in new_dir.entries:
            raise FileExistsError(errno.EEXIST, "exists", path)
        if type(node) is Dir:
            raise PermissionError(errno.EPERM, "is a directory", path)
        self.version += 1
        self.set(new_dir, new_name, node)

    def unlink(self, directory, name, path):
        node = directory.entries.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if type(node) is Dir:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        self.version += 1
        self.set(directory, name, None)

    def mkdir(self, directory, name, path):
        if directory.removed:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        if name in directory.entries:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self.version += 1
        self.set(directory, name, Dir())

    def rmdir(self, directory, name, path):
        node = directory.entries.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        if type(node) is not Dir:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        if node.entries:
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        self.version += 1
        node.removed = True
        self.set(directory, name, None)

    def write(self, file, content, *, hole=False):
        self.version += 1
        file.content, file.hole, file.doc = content, hole, None

    def flush(self, file):
        if file.synced != file.content:
            self.version += 1
            file.synced = file.content

    def sync(self, directory):
        """What happened in this directory is durable, with what it depends on: earlier changes of the same names."""
        kept = {(id(d), name) for _, d, name, _ in self.undo if d is directory}
        if not kept:
            return
        self.version += 1
        durable = set()
        for number, d, name, _ in reversed(self.undo):
            if d is directory or (id(d), name) in kept:
                durable.add(number)
                kept.update((id(d2), name2) for n2, d2, name2, _ in self.undo if n2 == number)
        self.undo = [entry for entry in self.undo if entry[0] not in durable]

    def power_loss(self, lose=1.0, zeros=False):
        """Take back the last share of what is not durable, newest first; contents that were never flushed go."""
        numbers = sorted({entry[0] for entry in self.undo})
        lost = set(numbers[len(numbers) - round(len(numbers) * lose) :])
        # Whatever came later on a name that is taken back goes with it: the list is closed upwards, being a suffix.
        for number, directory, name, before in reversed(self.undo):
            if number not in lost:
                continue
            if before is None:
                directory.entries.pop(name, None)
            else:
                directory.entries[name] = before
                if type(before) is Dir:
                    before.removed = False
        self.undo = []
        self.version += 1
        for _, file in self.below():
            if file.synced != file.content:
                if zeros:
                    self.write(file, bytes(len(file.content)), hole=True)
                else:
                    self.write(file, file.synced or b"")
                file.synced = file.content

    def clone(self, memo=None):
        memo = {} if memo is None else memo

        def copy(node):
            key = id(node)
            found = memo.get(key)
            if found is not None:
                return found
            if type(node) is File:
                new = File(node.content, node.synced, node.hole)
                new.doc = node.doc
                memo[key] = new
                return new
            new = Dir()
            new.removed = node.removed
            memo[key] = new
            new.entries = {name: copy(child) for name, child in node.entries.items()}
            return new

        other = Fs(self.name)
        other.root = copy(self.root)
        other.version = self.version
        other.undo = [
            (number, copy(directory), name, None if before is None else copy(before))
            for number, directory, name, before in self.undo
        ]
        return other


class Begun:
    """What was read of a file while it was written."""

    __slots__ = ("content", "file")

    def __init__(self, file):
        self.file, self.content = file, b""

    @property
    def at(self):
        return len(self.content)


class Flight:
    """An operation that is on the wire: its paths are resolved, it has not been executed yet."""

    __slots__ = ("do", "done", "error", "result", "since")

    def __init__(self, do, since):
        self.do, self.since, self.done, self.result, self.error = do, since, False, None, None

    def land(self):
        if self.done:
            return
        self.done = True
        try:
            self.result = self.do()
        except OSError as error:
            self.error = error


FALSE_ERROR = {
    "rename": FileNotFoundError(errno.ENOENT, "no such file (the reply to the first call was lost)"),
    "unlink": FileNotFoundError(errno.ENOENT, "no such file (the reply to the first call was lost)"),
    "rmdir": FileNotFoundError(errno.ENOENT, "no such file (the reply to the first call was lost)"),
    "link": FileExistsError(errno.EEXIST, "exists (the reply to the first call was lost)"),
    "mkdir": FileExistsError(errno.EEXIST, "exists (the reply to the first call was lost)"),
    "create": FileExistsError(errno.EEXIST, "exists (the reply to the first call was lost)"),
}


class SimDisk:
    """`Disk` for one process. Each `boundary` is a point where the world may do something to that process."""

    def __init__(self, world, process, fs, root):
        self.world, self.process, self.fs, self._root = world, process, fs, root

    @property
    def root(self):
        return self._root

    def _call(self, kind, path, resolve):
        process, boundary = self.process, self.world.boundary
        boundary(process, kind, path)
        flight = Flight(resolve(), self.world.time)
        process.flight = flight
        boundary(process, "wire", path)
        flight.land()
        process.flight = None
        self.world.landed(process, kind, path, flight)
        if flight.error is not None:
            raise flight.error
        return flight.result

    def names(self, directory):
        self.world.boundary(self.process, "names", directory)
        found = self.fs.directory(directory)
        first = sorted(found.entries)
        if not first:
            return []
        pivot = first[len(first) // 2]
        self.world.boundary(self.process, "names2", directory)
        return [name for name in first if name < pivot] + sorted(name for name in found.entries if name >= pivot)

    def _file(self, path):
        directory, name = self.fs.parent(path)
        node = directory.entries.get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if type(node) is Dir:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        return node

    def read(self, path, limit=512 * 1024 * 1024):
        self.world.boundary(self.process, "read", path)
        content = self._file(path).content
        if len(content) > limit:
            raise OSError(errno.EFBIG, "too large", path)
        return content

    def create(self, path, content):
        def resolve():
            directory, name = self.fs.parent(path)
            return lambda: self.fs.create(directory, name, path)

        file = self._call("create", path, resolve)
        data = content if isinstance(content, bytes) else b"".join(content)
        self.world.boundary(self.process, "write", path)
        self.fs.write(file, data)
        self.world.boundary(self.process, "fsync", path)
        self.fs.flush(file)
        self.world.changed()

    def rename(self, old, new):
        def resolve():
            old_dir, old_name = self.fs.parent(old)
            new_dir, new_name = self.fs.parent(new)
            if new.startswith(f"{old}/"):
                raise OSError(errno.EINVAL, "would lie in itself", new)
            return lambda: self.fs.rename(old_dir, old_name, new_dir, new_name, f"{old} -> {new}")

        self._call("rename", (old, new), resolve)

    def link(self, old, new):
        def resolve():
            old_dir, old_name = self.fs.parent(old)
            new_dir, new_name = self.fs.parent(new)
            return lambda: self.fs.link(old_dir, old_name, new_dir, new_name, f"{old} -> {new}")

        self._call("link", (old, new), resolve)

    def unlink(self, path):
        def resolve():
            directory, name = self.fs.parent(path)
            return lambda: self.fs.unlink(directory, name, path)

        self._call("unlink", path, resolve)

    def mkdir(self, path):
        def resolve():
            directory, name = self.fs.parent(path)
            return lambda: self.fs.mkdir(directory, name, path)

        self._call("mkdir", path, resolve)

    def rmdir(self, path):
        def resolve():
            directory, name = self.fs.parent(path)
            return lambda: self.fs.rmdir(directory, name, path)

        self._call("rmdir", path, resolve)

    def sync(self, directory):
        self.world.boundary(self.process, "sync", directory)
        self.fs.sync(self.fs.directory(directory))

    def status(self, path):
        self.world.boundary(self.process, "status", path)
        node = self.fs.at(path)
        if node is None:
            return None
        if type(node) is Dir:
            return Status("directory", 0, has_hole=False)
        return Status("file", len(node.content), has_hole=node.hole)

    def seal(self, path):
        self.world.boundary(self.process, "seal", path)
        node = self.fs.at(path)
        if type(node) is not File:
            return None
        # The content itself is the best of all times of change.
        return Seal(len(node.content), 1, int(node.hole), zlib.crc32(node.content))

    def digest(self, path, algorithms, may_go_on=lambda: True, begun=None):
        self.world.boundary(self.process, "digest", path)
        file = self._file(path)
        content = file.content
        if begun is not None and begun.file is file and begun.at <= len(content):
            content = begun.content + content[begun.at :]
        self.world.boundary(self.process, "digest2", path)
        if not may_go_on():
            raise InterruptedError(errno.EINTR, "stopped while hashing", path)
        self.fs.flush(file)
        return {algorithm: hash_of(algorithm, content) for algorithm in algorithms}

    def follow(self, path, algorithms, begun, *, behind, most, may_go_on=lambda: True):
        self.world.boundary(self.process, "follow", path)
        file = self._file(path)
        for algorithm in algorithms:
            hash_of(algorithm, b"")
        begun = begun or Begun(file)
        if begun.file is not file or begun.at > len(file.content):
            return None
        there = begun.at if file.hole else len(file.content)
        end = max(begun.at, min(there - behind, begun.at + most))
        while begun.at < end:
            begun.content += file.content[begun.at : begun.at + 1]
            if not may_go_on():
                raise InterruptedError(errno.EINTR, "stopped while hashing", path)
        return begun

    def free_bytes(self):
        return 10**15


def hash_of(algorithm, content):
    key = (algorithm, content)
    if key not in _HASHES:
        if algorithm == "adler32":
            _HASHES[key] = f"{zlib.adler32(content):08x}"
        elif algorithm == "crc32":
            _HASHES[key] = f"{zlib.crc32(content):08x}"
        else:
            _HASHES[key] = hashlib.new(algorithm, content).hexdigest()
    return _HASHES[key]

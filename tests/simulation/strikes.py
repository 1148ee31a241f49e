"""Ways in which a call goes wrong."""

from __future__ import annotations

import errno

from tacc_sync.rules.faults import WorldFault

MUTATIONS = ("rename", "link", "unlink", "mkdir", "rmdir", "create")
NEED_SPACE = ("create", "write", "fsync", "mkdir", "link")
READS = ("read", "names", "status", "seal", "digest", "follow", "sync")
GLOBUS = ("submission_id", "submit", "task", "tasks", "records", "cancel")


class Strike:
    before = True

    def __call__(self, world, process, kind, path, later):
        raise NotImplementedError


class LostReply(Strike):
    """The call was executed, its reply was lost, the client has sent it again: a false error, as on NFS."""

    before = False

    def __call__(self, world, process, kind, path, later):
        world.lose_reply(kind)


class Ambiguous(Strike):
    """The call was executed, and then says that it was not."""

    before = False

    def __init__(self, code):
        self.code = code

    def __call__(self, world, process, kind, path, later):
        world.full(path, self.code)


class Refused(Strike):
    """The call is refused, and so are the next ones, so many times over."""

    def __init__(self, code, times=1):
        self.code, self.times = code, times

    def __call__(self, world, process, kind, path, later):
        if later < self.times:
            raise OSError(self.code, errno.errorcode[self.code] + " (simulated)", str(path))


class NoAnswer(Strike):
    """The service does not answer; before or after it has done what it was asked."""

    def __init__(self, *, before):
        self.before = before

    def __call__(self, world, process, kind, path, later):
        if later == 0:
            raise WorldFault("GLOBUS-AWAY", "no answer (simulated)")

"""`Clock` and `Host`, by this machine, by the simulation and by the fakes of the unit tests."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import fakes
import pytest
import world as simulation

from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.host.linux import LinuxHost


class Real:
    def __init__(self):
        self.clock, self.host = SystemClock(), LinuxHost(squeue=("no-such-squeue",))

    def other(self):
        """Another process of this host: who it is, and what ends it."""
        process = subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE)
        started = LinuxHost()._started(process.pid)

        def end():
            process.kill()
            process.communicate()

        return dataclasses.replace(self.host.identity(), pid=process.pid, started=started), end


class Simulated:
    def __init__(self):
        self.world = simulation.World({})
        process = self.world.start("a")
        self.clock, self.host = simulation.SimClock(self.world, process), simulation.SimHost(self.world, process)

    def other(self):
        process = self.world.start("a")
        return simulation.SimHost(self.world, process).identity(), lambda: self.world.end(process)


class Fake:
    def __init__(self):
        self.clock, self.host = fakes.FakeClock(), fakes.FakeHost()

    def other(self):
        other = fakes.FakeHost(pid=101).identity()
        return other, lambda: self.host.dead.add(101)


@pytest.fixture(params=[Real, Simulated, Fake], ids=["real", "simulation", "fake"])
def machine(request):
    return request.param()


def test_time_passes(machine):
    clock = machine.clock
    now, uptime = clock.now(), clock.uptime()
    clock.sleep(0.03)
    assert clock.uptime() - uptime >= 0.029
    assert clock.now() - now >= 0.02
    assert now > 1_600_000_000
    assert uptime > 0


def test_who_we_are(machine):
    host = machine.host
    assert host.identity() == host.identity()
    assert not host.is_certainly_dead(host.identity())
    tokens = {host.token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(re.fullmatch(r"[0-9a-f]{8}", token) for token in tokens)
    ids = {host.new_uuid() for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in ids)


def test_only_what_is_certain_is_death(machine):
    host = machine.host
    other, end = machine.other()
    assert not host.is_certainly_dead(other)
    end()
    assert host.is_certainly_dead(other)
    # Of another host, another boot or another container nothing is known from here.
    for change in ({"host": "elsewhere"}, {"boot_id": "another"}, {"pid_namespace": "another"}):
        assert not host.is_certainly_dead(dataclasses.replace(other, **change)), change
    # The number is in use, but by another process.
    ours = host.identity()
    assert host.is_certainly_dead(dataclasses.replace(ours, started=ours.started + 1))

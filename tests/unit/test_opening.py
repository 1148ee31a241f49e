"""Opening a workspace and its transfer buffer: what must be there, and what is said and done when it is not."""

import errno
import json
import threading

import pytest
from desk import Desk

from tacc_sync.cli.main import main
from tacc_sync.outside.clock.system import SystemClock
from tacc_sync.outside.host.linux import LinuxHost
from tacc_sync.pipeline.attempt import World, attempt
from tacc_sync.pipeline.finisher import Finisher
from tacc_sync.pipeline.reaper import Reaper
from tacc_sync.pipeline.run import Runner
from tacc_sync.pipeline.step import Waits
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.workspace import layout, ownership
from tacc_sync.workspace.posix_disk import PosixDisk


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


# --- the workspace ---------------------------------------------------------------------------------------------------


@pytest.mark.fault("ws-damaged")
@pytest.mark.parametrize("damage", ["link", "file", "missing"])
@pytest.mark.parametrize("name", [d for d in layout.DIRECTORIES if "/" not in d or d.endswith(("reaper", "adopted"))])
def test_a_directory_that_is_none_ends_every_command_with_a_remedy(desk, capsys, name, damage):
    directory, away = desk.root / "ws" / name, desk.root / "away"
    directory.rename(away)
    if damage == "link":
        directory.symlink_to(away)
    elif damage == "file":
        directory.write_text("")
    commands = [["run", "--once", "finisher"], ["status"], ["hold", "all"]]
    if damage == "missing":
        # That can be mended.
        assert main(["--workspace", desk.disk.root, "check"]) == 1
        assert f"{name} " in capsys.readouterr().out
    else:
        commands.append(["check"])
    for command in commands:
        assert main(["--workspace", desk.disk.root, *command]) == 78
        said = capsys.readouterr().err
        assert "WORKSPACE-DAMAGED" in said
        assert f"{name} is " in said
        assert "mkdir" in said
        assert "Traceback" not in said
    # Nothing was made through a link, nor in its place.
    assert not any(away.iterdir()) or name in {"finished", "quarantine"}
    if damage != "missing":
        directory.unlink()
    away.rename(directory)
    assert main(["--workspace", desk.disk.root, "check"]) == 0


@pytest.mark.fault("ws-newer")
def test_a_workspace_of_a_newer_version_is_left_alone(desk, capsys):
    path = desk.root / "ws" / layout.FORMAT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": layout.FORMAT + 1}))
    before = desk.tree()
    for command in (["run", "--once"], ["status"], ["check"], ["hold", "all"]):
        assert main(["--workspace", desk.disk.root, *command]) == 78
        said = capsys.readouterr().err
        assert "WORKSPACE-NEWER" in said
        assert "upgrade tacc-sync" in said
    assert desk.tree() == before


# --- the transfer buffer ---------------------------------------------------------------------------------------------


def test_the_room_of_a_buffer_that_goes_away_while_the_reaper_looks_stays_reserved(desk, monkeypatch):
    desk.fill()
    desk.drop()
    desk.run("syncer", "retriever", "globus_xfer")
    reserved = desk.tree("reservations")
    buffer, away = desk.root / "nersc/buffer", desk.root / "nersc/away"
    reaper = desk.component("reaper")
    ownership.claim(reaper._bench.home)
    free = Reaper._free

    def unmounted_meanwhile(self, work):
        if not away.exists():
            buffer.rename(away)
            buffer.mkdir()
        return free(self, work)

    monkeypatch.setattr(Reaper, "_free", unmounted_meanwhile)
    with pytest.raises(OperatorFault) as fault:
        reaper.step()
    assert fault.value.code == "BUFFER-UNMARKED"
    assert desk.tree("reservations") == reserved


def test_a_worker_whose_buffer_is_unmounted_is_not_fenced(desk):
    desk.fill()
    desk.drop()
    desk.run("syncer")
    retriever = desk.component("retriever")
    home = retriever._bench.home
    ownership.claim(home)
    buffer, away = desk.root / "nersc/buffer", desk.root / "nersc/away"

    def unmount(_paths):
        buffer.rename(away)
        buffer.mkdir()
        raise FileNotFoundError(2, "what hsi was to write to is gone")

    desk.hpss.on_get = unmount
    world = World(desk.disk, desk.buffer, desk.clock, desk.host, desk.settings, desk.report)
    for _ in range(2):
        _, fault = attempt(world, "retriever", retriever, home)
        assert fault.code == "BUFFER-UNMARKED"
    # Its claim is back in the queue, uncounted; and it goes on itself, under its own name.
    assert len(desk.documents("hpss_queue")) == 2
    buffer.rmdir()
    away.rename(buffer)
    desk.hpss.on_get = lambda _paths: None
    desk.hpss.in_use.clear()
    step, fault = attempt(world, "retriever", retriever, home)
    assert fault is None, step
    desk.run()
    assert len(desk.delivered()) == 6


# --- a full disk -----------------------------------------------------------------------------------------------------


class Sick(PosixDisk):
    """A disk on which nothing new can be made, until it can."""

    def __init__(self, root, error):
        super().__init__(root)
        self.error = error

    def _try(self):
        if self.error:
            raise OSError(self.error, "no room")

    def create(self, path, content):
        self._try()
        super().create(path, content)

    def mkdir(self, path):
        self._try()
        super().mkdir(path)


@pytest.mark.fault("ws-full")
@pytest.mark.parametrize("which", ["workspace", "buffer"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_run_that_begins_on_a_full_disk_stands_down_and_goes_on_by_itself(desk, which, error):
    disks = {"workspace": PosixDisk(desk.disk.root), "buffer": PosixDisk(desk.buffer.root)}
    sick = disks[which] = Sick(disks[which].root, error)
    desk.settings.run.stand_down = desk.settings.run.poll = 0.05
    said = threading.Event()

    def report(event, /, **about):
        desk.report(event, **about)
        if event == "stood_down":
            said.set()

    world = World(disks["workspace"], disks["buffer"], SystemClock(), LinuxHost(), desk.settings, report)
    at_once = Runner(world, {"finisher": Finisher}, {}).run(once=True)
    assert [fault.code[:5] for fault in at_once.faults] == ["DISK-"]
    said.clear()
    runner = Runner(world, {"finisher": Finisher}, {})
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    assert said.wait(30)
    assert thread.is_alive()
    sick.error = None
    while not any(isinstance(worker.step, Waits) and worker.fault is None for worker in runner.snapshot()):
        assert thread.is_alive()
    runner.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert desk.tree("claims") == []
    assert desk.disk.names(layout.CLAIMS) == []


def test_a_run_that_waits_for_a_full_disk_ends_when_told_and_when_its_time_is_over(desk):
    desk.settings.run.stand_down = 0.05
    world = World(
        Sick(desk.disk.root, errno.ENOSPC), None, SystemClock(), LinuxHost(), desk.settings, desk.report
    )  # fmt: skip
    assert [fault.code for fault in Runner(world, {"finisher": Finisher}, {}).run(seconds=0.2).faults] == ["DISK-FULL"]
    runner = Runner(world, {"finisher": Finisher}, {})
    runner.stop()
    assert [fault.code for fault in runner.run().faults] == ["DISK-FULL"]

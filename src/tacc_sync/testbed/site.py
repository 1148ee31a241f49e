"""Both sites of the testbed, up and down: HPSS at "NERSC", Globus, and a directory for Ranch at "TACC".

    site = up(Path("demo"), Path("/data/run1"))
    subprocess.run(["tacc-sync", ...], env={**os.environ, **site.environment})
    down(Path("demo"))

Below ROOT: `nersc/` is the root of the source collection, `nersc/transfer_buffer` the transfer buffer in
it, `tacc/` the root of the destination collection, `tacc/ranch/demo` where files shall arrive; `globus/`
and `hpss/` are the sites' own.

Guarantee: what `environment` names is on 127.0.0.1 or below ROOT, and whoever forgets one of the variables
gets an error and not the production service. After `down`, or after a kill, `up` with the same root goes on
with the same tasks, tapes, ids and port.
Fails with: `SiteError`, whose text says what to do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tacc_sync.testbed import globus_main, globus_settings, hpss_site
from tacc_sync.testbed.hpss_settings import SitePaths

if TYPE_CHECKING:
    from collections.abc import Mapping

HPSS_PREFIX = "/home/projects/demo"
BUFFER = "/transfer_buffer"
RANCH = "/ranch/demo"
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing answers there
STOP_SECONDS = 10.0


class SiteError(Exception):
    """The testbed cannot be brought up, down, or be told of."""


@dataclass(frozen=True, slots=True)
class Site:
    """A testbed that is up."""

    root: Path
    url: str
    pid: int
    environment: Mapping[str, str]
    hpss: hpss_site.SiteSummary | None  # what was put on tape just now; None when it was there before


def up(
    root: Path,
    data: Path | None = None,
    *,
    also: Mapping[str, Path] | None = None,
    tapes: int | None = None,
    seed: int = 0,
    hpss_prefix: str = HPSS_PREFIX,
    hpss_settings: Mapping[str, object] | None = None,
    port: int = 0,
) -> Site:
    """Build what is not there yet, start the Globus service in the background, and wait until it answers.

    `data` is the directory whose files are on tape, `also` further ones below it, by name; they are needed the first
    time only.
    """
    root = root.absolute()
    if (root / "globus").exists() and is_up(root):
        raise SiteError(f"{root} is up already; take it down first")
    globus_settings.build(root)
    for directory in (root / "nersc" / BUFFER[1:], root / "tacc" / RANCH[1:]):
        directory.mkdir(parents=True, exist_ok=True)
    summary = None
    if not Path(SitePaths(str(root.resolve())).catalogue).exists():
        if data is None:
            raise SiteError(f"{root} has no tapes yet: name a directory whose files shall be on them")
        summary = hpss_site.build_site(
            root, data, also=also, hpss_prefix=hpss_prefix, tapes=tapes, seed=seed, settings=hpss_settings
        )
    (root / "hpss_prefix").write_text(hpss_prefix, encoding="utf-8")
    pid = start_service(root, port=port)
    return Site(root, service_url(root), pid, environment(root), summary)


def down(root: Path) -> bool:
    """Stop the Globus service; False when it was not up. Everything on disk stays."""
    return stop_service(root.absolute())


def is_up(root: Path) -> bool:
    """Whether a Globus service of this root lives."""
    lock = globus_main.hold_lock(root)
    if lock is None:
        return True
    os.close(lock)
    return False


def start_service(root: Path, *, port: int = 0) -> int:
    """Start the Globus service alone, in the background; its process id."""
    sources = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    command = [sys.executable, "-m", "tacc_sync.testbed.globus_main", "--root", str(root), "--port", str(port)]
    done = subprocess.run(
        [*command, "--detach"],
        env={**os.environ, "PYTHONPATH": f"{sources}{os.pathsep}{known}" if known else sources},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == globus_main.EX_TEMPFAIL:
        raise SiteError(f"{root} is up already; take it down first")
    if done.returncode:
        raise SiteError(f"the Globus service did not start ({done.returncode}): {done.stderr.strip()}")
    return _pid(root)


def stop_service(root: Path, *, kill: bool = False) -> bool:
    """Stop the Globus service alone, or kill it in the middle of things; False when it was not up."""
    if not (root / "globus").exists() or not is_up(root):
        return False
    pid, end = _pid(root), time.monotonic() + STOP_SECONDS
    os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
    while is_up(root):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            end += STOP_SECONDS
        time.sleep(0.02)
    return True


def service_url(root: Path) -> str:
    """Where the Globus service answers, or did when it was up last."""
    try:
        port = int((root / "globus" / "port").read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise SiteError(f"{root} has never been up") from error
    return f"http://{globus_main.LOOPBACK}:{port}"


def environment(root: Path) -> dict[str, str]:
    """Everything that points tacc-sync, globus_sdk and the `globus` command at this testbed."""
    root = root.absolute()
    url = service_url(root)
    settings = globus_settings.build(root)
    elsewhere = ("GROUPS", "SEARCH", "FLOWS", "TIMER", "COMPUTE")
    return {
        "GLOBUS_SDK_SERVICE_URL_AUTH": url,
        "GLOBUS_SDK_SERVICE_URL_TRANSFER": url,
        # An environment that nobody knows: without the two lines above, globus_sdk fails, and is not in production.
        "GLOBUS_SDK_ENVIRONMENT": "tacc-sync-testbed",
        **{f"GLOBUS_SDK_SERVICE_URL_{name}": NOWHERE for name in elsewhere},
        "GLOBUS_CLIENT_ID": settings.client_id,
        "GLOBUS_CLIENT_SECRET": settings.client_secret,
        "GLOBUS_CLI_CLIENT_ID": settings.client_id,
        "GLOBUS_CLI_CLIENT_SECRET": settings.client_secret,
        "GLOBUS_SOURCE_COLLECTION_ID": settings.source_collection,
        "GLOBUS_DEST_COLLECTION_ID": settings.destination_collection,
        "HPSS_BASE_PATH": (root / "hpss_prefix").read_text(encoding="utf-8"),
        "TACC_BASE_PATH": RANCH,
        "TRANSFER_DIR": str(root / "nersc" / BUFFER[1:]),
        "TACC_SYNC_BUFFER_GLOBUS_PATH": BUFFER,
        **{name: _with_loopback(os.environ.get(name, "")) for name in ("NO_PROXY", "no_proxy")},
        **hpss_site.install(root),
    }


def _with_loopback(known: str) -> str:
    return ",".join(dict.fromkeys([*filter(None, known.split(",")), globus_main.LOOPBACK, "localhost"]))


def _pid(root: Path) -> int:
    end = time.monotonic() + STOP_SECONDS
    while True:
        try:
            return int((root / "globus" / "pid").read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            if time.monotonic() > end:
                raise SiteError(f"{root}/globus/pid: the service does not say who it is") from error
            time.sleep(0.02)

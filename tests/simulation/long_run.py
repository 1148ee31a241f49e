"""The searches for a given time, with fresh seeds: `python tests/simulation/long_run.py --minutes 60` (`make simulate MINUTES=60`).

First every pair without any stride, then random worlds from new seeds until the time is over. Prints a line a search;
ends with 1 at the first failure, whose output holds the reproducer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def run(tests, **environment):
    print(f"--- {' '.join(tests)} {environment}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-x", "-p", "no:cacheprovider", "--timeout=0"]
    return subprocess.run([*command, *tests], cwd=HERE, env={**os.environ, **environment}, check=False).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.minutes * 60
    seed = arguments.seed
    steps = [
        (["test_every_crash.py"], {"SIMULATION_SCALE": "4"}),
        (["test_random_worlds.py"], {"SIMULATION_SEED": str(seed)}),
        (
            ["test_every_pair.py"],
            {"SIMULATION_STRIDE": "3" if arguments.minutes < 120 else "1", "SIMULATION_SEED": str(seed)},
        ),
        (["test_sabotage.py"], {}),
    ]
    while time.monotonic() < end:
        if not steps:
            seed += 1
            steps = [(["test_random_worlds.py"], {"SIMULATION_SEED": str(seed), "SIMULATION_SCALE": "4"})]
        tests, environment = steps.pop(0)
        if code := run(tests, **environment):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())

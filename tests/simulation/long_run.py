"""The searches for a given time, with fresh seeds: `make simulate MINUTES=60`.

Random worlds from new seeds; every crash; every pair with a smaller stride (with all steps, when there is time for it); the
sabotage; then random worlds from further seeds until the time is over. Prints the seed and a line a search. Ends with 1 at
the first failure, whose output holds the reproducer: `SIMULATION_SEED`, and for a random world its `Case(...)`. What is
at work when the time is over is stopped, and is no failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def run(tests, end, **environment):
    """0 when nothing was found, None when the time was over first."""
    print(f"--- {' '.join(f'{name}={value}' for name, value in environment.items())} {' '.join(tests)}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider", "--timeout=0"]
    process = subprocess.Popen([*command, *tests], cwd=HERE, env={**os.environ, **environment})
    try:
        return process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        # As by a person: its own processes end with it, and what was tried so far is shown.
        process.send_signal(2)
        process.wait(60)
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.minutes * 60
    seed = arguments.seed
    print(f"seed {seed}: `python tests/simulation/long_run.py --seed {seed}` does the same again", flush=True)
    stride = "1" if arguments.minutes >= 120 else "3"
    steps = [
        (["test_random_worlds.py"], {"SIMULATION_SEED": str(seed)}),
        (["test_every_crash.py"], {"SIMULATION_SCALE": "4"}),
        (["test_every_pair.py"], {"SIMULATION_STRIDE": stride, "SIMULATION_SEED": str(seed)}),
        (["test_lending.py"], {"SIMULATION_STRIDE": stride, "SIMULATION_SEED": str(seed)}),
        (["test_sabotage.py"], {}),
    ]
    while time.monotonic() < end:
        if not steps:
            seed += 1
            steps = [(["test_random_worlds.py"], {"SIMULATION_SEED": str(seed), "SIMULATION_SCALE": "4"})]
        tests, environment = steps.pop(0)
        code = run(tests, end, **environment)
        if code:
            print(f"FAILED, seed {seed}: {' '.join(tests)} {environment}")
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())

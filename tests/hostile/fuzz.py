"""The coverage-guided fuzzer: fuzz.py TARGET SECONDS. Needs atheris, which `make fuzz` installs.

Prints at its end how many inputs were tried; what broke a target is kept in `.fuzz/TARGET/crash-*` and ends with exit
code 1 and a traceback. `all` shares the seconds among the targets, and adds up."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
KEPT = HERE.parents[1] / ".fuzz"
DICTIONARY = (
    "FILE\\x09/r/a", "DIRECTORY\\x09/r/d", "*** ", "[-2: HPSS_ENOENT]", "get  '", "A:/x-> ", "md5 /r/a", "(none) /r/a",
    "HPSS Unavailable", "\\x22version\\x22:1", "\\x22source\\x22:", "\\x22files\\x22:[", "\\x22plan\\x22:{", "\\\\ud800",
    "1e400", "20TiB", "[hsi]\\x0a", "command = [", "nan", "inf", "ACTIVE", "request_time", "9999-12-31T23:59:59-23:59",
)  # fmt: skip


def fuzz(name: str, seconds: int) -> None:
    """In this process; ends it."""
    import atheris

    with atheris.instrument_imports(include=["tacc_sync"]):
        import targets
    corpus, crashes = KEPT / name / "corpus", KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = KEPT / "dictionary.txt"
    words.write_text("".join(f'"{word}"\n' for word in DICTIONARY))
    flags = [
        f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0",
        "-print_final_stats=1", f"-artifact_prefix={crashes}/", f"-dict={words}", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags], targets.TARGETS[name])
    atheris.Fuzz()


def run(name: str, seconds: int) -> int:
    """In a process of its own; the inputs tried."""
    done = subprocess.run(
        [sys.executable, __file__, name, str(seconds), "inside"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    said = done.stdout + done.stderr
    found = re.search(r"number_of_executed_units: (\d+)", said)
    if done.returncode or not found:
        print(said[-6000:])
        print(f"{name}: FOUND SOMETHING (exit status {done.returncode}); the input is in {KEPT / name}")
        raise SystemExit(1)
    print(f"{name}: {found[1]} inputs in {seconds} s, violations 0", flush=True)
    return int(found[1])


def main() -> None:
    name, seconds = sys.argv[1], int(sys.argv[2])
    sys.path.insert(0, str(HERE))
    if sys.argv[3:] == ["inside"]:
        fuzz(name, seconds)
        return
    import targets

    names = list(targets.TARGETS) if name == "all" else [name]
    began = time.monotonic()
    total = sum(run(each, max(1, seconds // len(names))) for each in names)
    print(f"fuzz: {total} inputs, violations 0")
    if log := os.environ.get("SEARCH_LOG"):
        entry = {"search": "fuzzer: inputs", "tried": total, "violations": 0, "seconds": time.monotonic() - began}
        with Path(log).open("a") as file:
            file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()

"""An hsi that runs the real one of the testbed, and behind its back, before it ends, damages what it has written.

What to damage stands in a JSON file beside the buffer: {size of the file: kind of damage}; each is done once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from damage import damage


def main(real, orders, buffer, arguments):
    status = subprocess.run([real, *arguments], check=False).returncode
    wanted = json.loads(Path(orders).read_text())
    for path in Path(buffer).glob(".part/*/*/*"):
        if path.is_file() and (kind := wanted.pop(str(path.stat().st_size), None)):
            damage(path, kind)
    Path(orders).write_text(json.dumps(wanted))
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], sys.argv[4:]))

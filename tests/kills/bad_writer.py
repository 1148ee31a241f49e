"""`tacc-sync` with a bug on purpose: documents are truncated and written in place.

python bad_writer.py run --once reaper
"""

import sys

from tacc_sync.workspace.home import Home


def put(home, path, content, *, durable=True):
    pieces = [content] if isinstance(content, bytes) else content
    with open(f"{home.disk.root}/{path}", "wb") as file:
        file.writelines(pieces)


if __name__ == "__main__":
    Home.put = put
    from tacc_sync.cli.main import main

    sys.exit(main(sys.argv[1:]))

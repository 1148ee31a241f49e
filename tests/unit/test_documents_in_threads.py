"""Several threads that read their first documents at the same moment: msgspec alone crashes the process there."""

import subprocess
import sys

READ_AT_ONCE = """
import sys, threading
from tacc_sync.rules import documents, liveness
from tacc_sync.workspace import layout, queues

sys.setswitchinterval(1e-6)
kinds = (
    documents.Work, documents.Request, documents.Admission, liveness.Heartbeat, liveness.Seen,
    queues.WhyDocument, layout.Format,
)
together = threading.Barrier(6)

def read():
    together.wait()
    for kind in kinds:
        documents.decode_or_none(b'{"version": 1, "files": [{"path": "x"}], "worker": "a", "source": "x"}', kind)

threads = [threading.Thread(target=read) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_first_documents_of_several_threads():
    for _ in range(12):
        done = subprocess.run([sys.executable, "-c", READ_AT_ONCE], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

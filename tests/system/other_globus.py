"""A Globus service that has nothing in common with the testbed's but the documents: for tests of "no private channel".

    python other_globus.py ROOT      prints its port; collections are ROOT/source and ROOT/destination

Among what the service is allowed to do, it does the other thing than the testbed's: times are whole seconds, records come
two at a time and with SHA-256, tasks take a while and start queued, the first submit is answered by a proxy.
"""

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROOT = Path(sys.argv[1])
COLLECTIONS = {
    "aaaaaaaa-0000-4000-8000-000000000001": "source",
    "aaaaaaaa-0000-4000-8000-000000000002": "destination",
}
issued, tasks, by_submission, tokens = set(), {}, {}, set()
counts = {"submits": 0}
lock = threading.Lock()


def now():
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def where(collection, path):
    assert ".." not in path.split("/")
    return ROOT / COLLECTIONS[collection] / path.lstrip("/")


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.document = status, {"code": code, "message": message}


def work(task, order):
    time.sleep(0.2)
    task["nice_status"] = "OK"
    for item in order["DATA"]:
        source = where(order["source_endpoint"], item["source_path"])
        target = where(order["destination_endpoint"], item["destination_path"])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        stamp = int(source.stat().st_mtime)
        os.utime(target, (stamp, stamp))
        content = target.read_bytes()
        task["records"].append(
            {
                "DATA_TYPE": "successful_transfer", "source_path": item["source_path"], "dynamic": False,
                "destination_path": item["destination_path"], "size": len(content),
                "checksum": hashlib.sha256(content).hexdigest(), "checksum_algorithm": "SHA256",
            }
        )  # fmt: skip
    task.update(status="SUCCEEDED", nice_status=None, completion_time=now())


def document_of(task):
    shown = {key: value for key, value in task.items() if key != "records"}
    files = len(task["records"])
    return {"DATA_TYPE": "task", **shown, "files": files, "files_transferred": files, "files_skipped": 0, "faults": 0}


def submission_id(_query, _body):
    value = str(uuid.uuid4())
    issued.add(value)
    return {"DATA_TYPE": "submission_id", "value": value}


def transfer(_query, order):
    counts["submits"] += 1
    if counts["submits"] == 1:
        raise Refused(502, None, "<html>Bad Gateway</html>")
    assert order["DATA_TYPE"] == "transfer"
    assert order["submission_id"] in issued
    assert order["verify_checksum"] and order["preserve_timestamp"] and order["DATA"]
    assert "sync_level" not in order and "deadline" not in order
    with lock:
        code = "Duplicate" if order["submission_id"] in by_submission else "Accepted"
        if code == "Accepted":
            task_id = by_submission[order["submission_id"]] = str(uuid.uuid4())
            tasks[task_id] = {
                "task_id": task_id, "type": "TRANSFER", "label": order["label"], "status": "ACTIVE", "is_paused": False,
                "request_time": now(), "completion_time": None, "deadline": None, "fatal_error": None, "records": [],
                "nice_status": "Queued", "nice_status_short_description": "queued", "canceled_by_admin": None,
            }  # fmt: skip
            threading.Thread(target=work, args=(tasks[task_id], order)).start()
    return {
        "DATA_TYPE": "transfer_result", "code": code, "message": "fine", "submission_id": order["submission_id"],
        "task_id": by_submission[order["submission_id"]],
    }  # fmt: skip


def task_of(task_id):
    if task_id not in tasks:
        raise Refused(404, "ClientError.NotFound", f"No task {task_id}")
    return tasks[task_id]


def successful(query, _body, task_id):
    start = int(query.get("marker", "0"))
    records = task_of(task_id)["records"]
    more = str(start + 2) if start + 2 < len(records) else None
    return {
        "DATA_TYPE": "successful_transfers",
        "marker": str(start),
        "next_marker": more,
        "DATA": records[start : start + 2],
    }


def task_list(query, _body):
    wanted = dict(clause.split(":", 1) for clause in query.get("filter", "").split("/") if clause)
    found = [document_of(task) for task in tasks.values() if wanted.get("label") in {None, task["label"]}]
    return {"DATA_TYPE": "task_list", "total": len(found), "offset": 0, "limit": 100, "DATA": found}


def endpoint(_query, _body, collection):
    if collection not in COLLECTIONS:
        raise Refused(404, "EndpointNotFound", "No such endpoint")
    return {
        "DATA_TYPE": "endpoint",
        "id": collection,
        "display_name": COLLECTIONS[collection],
        "entity_type": "GCSv4_host",
    }


def ls(query, _body, collection):
    directory = where(collection, query["path"])
    if not directory.is_dir():
        text = f"550-GlobusError: v=1 c=PATH_NOT_FOUND 550-GridFTP-Path: {query['path']}"
        raise Refused(404, "ClientError.NotFound", text)
    entries = [
        {
            "DATA_TYPE": "file", "name": path.name, "type": "dir" if path.is_dir() else "file", "size": path.stat().st_size,
            "last_modified": dt.datetime.fromtimestamp(int(path.stat().st_mtime), dt.UTC).isoformat(" "),
        }
        for path in directory.iterdir()
    ]  # fmt: skip
    return {"DATA_TYPE": "file_list", "path": query["path"], "total": len(entries), "DATA": entries}


CALLS = (
    ("GET", r"/v0\.10/submission_id", submission_id),
    ("POST", r"/v0\.10/transfer", transfer),
    ("GET", r"/v0\.10/task_list", task_list),
    ("GET", r"/v0\.10/task/([^/]+)", lambda _query, _body, task_id: document_of(task_of(task_id))),
    ("GET", r"/v0\.10/task/([^/]+)/successful_transfers", successful),
    ("GET", r"/v0\.10/endpoint/([^/]+)", endpoint),
    ("GET", r"/v0\.10/operation/endpoint/([^/]+)/ls", ls),
)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        try:
            self.send(200, self.document(url.path, query, body))
        except Refused as refused:
            self.send(refused.status, {**refused.document, "request_id": "r", "resource": url.path})

    def document(self, path, query, body):
        if path == "/v2/oauth2/token":
            form = parse_qs(body)
            tokens.add(token := uuid.uuid4().hex)
            return {
                "access_token": token, "scope": form["scope"][0], "expires_in": 172800, "token_type": "Bearer",
                "resource_server": "transfer.api.globus.org", "other_tokens": [],
            }  # fmt: skip
        if self.headers.get("authorization", "").removeprefix("Bearer ") not in tokens:
            raise Refused(401, "AuthenticationFailed", "No such token")
        for method, pattern, call in CALLS:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return call(query, json.loads(body) if body else {}, *match.groups())
        raise Refused(404, "ClientError.NotFound", f"no resource {path}")

    def send(self, status, document):
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()

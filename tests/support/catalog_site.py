"""A file catalog, and who gives tokens for it, on a port of this host: HTTP over real sockets, told to misbehave."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class CatalogSite:
    """With `tokens` valid for so many calls each; `faults` are statuses (or what `_misbehave` knows), taken one a call."""

    client_id, secret = "tacc-sync", "s3cret"

    def __init__(self):
        self.entries = []
        self.largest_page = 10_000
        self.calls_of_a_token = 10**9
        self.expires_in = 300
        self.asks_for_token = True
        self.role = True
        self.fields_chosen = True
        self.faults = []
        self.token_faults = []
        self.calls = []
        self.tokens = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def add(self, path, sha512, site="NERSC", **about):
        uuid = f"uuid-{len(self.entries)}"
        location = {"site": site, "path": path, "hpss": True, "online": False}
        entry = {
            "uuid": uuid, "logical_name": path, "checksum": {"sha512": sha512}, "file_size": 1, "locations": [location],
        }  # fmt: skip
        self.entries.append(entry | about)
        return uuid

    def of(self, kind):
        return [call for call in self.calls if call[0] == kind]

    # --- the service ----------------------------------------------------------------------------------------------

    def files(self, query, keys, limit, start):
        wanted = set(query.get("locations.path", {}).get("$in", ()))
        found = [
            entry
            for entry in self.entries
            if any(location["site"] == query["locations.site"] for location in entry["locations"])
            and (not wanted or any(location["path"] in wanted for location in entry["locations"]))
        ]
        page = found[start : start + min(limit, self.largest_page)]
        chosen = keys if self.fields_chosen else ["uuid", "logical_name", "locations"]
        return {"_links": {}, "files": [{key: entry[key] for key in chosen if key in entry} for entry in page]}

    def _handler(site):  # noqa: N805  the handler has the other self
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, document=None, **headers):
                body = document if isinstance(document, bytes) else json.dumps(document or {}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def misbehave(self, fault):
                if isinstance(fault, tuple):
                    self.answer(fault[0], {"error": "trouble"}, **fault[1])
                elif isinstance(fault, int):
                    self.answer(fault, {"error": "trouble"})
                elif isinstance(fault, bytes):
                    self.answer(200, fault)
                elif fault == "hang up":
                    self.close_connection = True
                    self.connection.close()
                elif fault == "half":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"files": [')
                    self.close_connection = True
                elif fault == "chunks":
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for piece in (b'{"fil', b'es": []}'):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                        self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")
                elif fault == "slow":
                    time.sleep(3)
                    self.answer(200, {"files": []})
                elif fault == "drip":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000000")
                    self.end_headers()
                    try:
                        for _ in range(1000):
                            self.wfile.write(b" ")
                            self.wfile.flush()
                            time.sleep(0.05)
                    except OSError:
                        self.close_connection = True

            def do_POST(self):
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                site.calls.append(("token", form))
                if site.token_faults:
                    return self.misbehave(site.token_faults.pop(0))
                told = base64.b64decode(self.headers.get("Authorization", "Basic ").split()[-1]).decode()
                if told != f"{site.client_id}:{site.secret}" or form != {"grant_type": ["client_credentials"]}:
                    return self.answer(401, {"error": "invalid_client"})
                token = f"token-{len(site.tokens)}"
                site.tokens[token] = site.calls_of_a_token
                return self.answer(200, {"access_token": token, "expires_in": site.expires_in, "token_type": "Bearer"})

            def do_GET(self):
                parts = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                site.calls.append(("get", parts.path, asked, self.headers.get("Authorization")))
                if site.faults:
                    return self.misbehave(site.faults.pop(0))
                if site.asks_for_token:
                    token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                    if site.tokens.get(token, 0) <= 0:
                        return self.answer(401)
                    site.tokens[token] -= 1
                    if not site.role:
                        return self.answer(403)
                if parts.path == "/api/files":
                    query, keys = json.loads(asked["query"]), asked["keys"].split("|")
                    return self.answer(200, site.files(query, keys, int(asked["limit"]), int(asked["start"])))
                uuid = parts.path.removeprefix("/api/files/")
                entry = next((entry for entry in site.entries if entry["uuid"] == uuid), None)
                return self.answer(200, entry) if entry else self.answer(404)

        return Handler

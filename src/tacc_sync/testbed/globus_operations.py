"""The calls of the testbed's Transfer API that look at collections: ls, stat, mkdir, rename, endpoint.

Guarantee: nothing outside a collection's directory is shown or touched.
Fails with: `Refusal`: 404 when a path or endpoint is not there, 403 EndpointPermissionDenied, 502
ExternalError.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from tacc_sync.testbed import globus_documents
from tacc_sync.testbed.globus_http import Call, Refusal, Reply
from tacc_sync.testbed.globus_sandbox import PathNotAllowed, Sandbox
from tacc_sync.testbed.globus_transfer import matches, ordered

if TYPE_CHECKING:
    from tacc_sync.testbed.globus_auth import Auth
    from tacc_sync.testbed.globus_settings import Collection
    from tacc_sync.testbed.globus_tasks import Engine


class Operations:
    """The calls."""

    def __init__(self, engine: Engine, auth: Auth) -> None:
        self._engine = engine
        self._auth = auth

    def endpoint(self, call: Call) -> Reply:
        """GET /endpoint/ID."""
        self._auth.transfer_grant(call.owner())
        return Reply(self._document(call, call.params["endpoint_id"]))

    def endpoint_search(self, call: Call) -> Reply:
        """GET /endpoint_search: collections whose name has the words."""
        self._auth.transfer_grant(call.owner())
        words = call.query.get("filter_fulltext", "").lower().split()
        collections = self._engine.settings.now().collections
        found = [key for key, each in collections.items() if all(w in each.display_name.lower() for w in words)]
        rows = [self._document(call, key) for key in found]
        return Reply(
            {
                "DATA_TYPE": "endpoint_list",
                "DATA": rows,
                "has_next_page": False,
                "limit": 100,
                "offset": 0,
            }
        )

    def ls(self, call: Call) -> Reply:
        """GET /operation/endpoint/ID/ls."""
        sandbox, collection = self._sandbox(call)
        path = call.query.get("path") or "/~/"
        limit = min(int(call.query.get("limit") or 100_000), self._engine.settings.now().ls_limit)
        offset = int(call.query.get("offset") or 0)
        try:
            shown = sandbox.absolute(path)
            rows = _entries(sandbox, path)
        except NotADirectoryError as error:
            code = "ExternalError.DirListingFailed.NotDirectory"
            raise Refusal(502, code, f"The path '{path}' is not a directory") from error
        except (OSError, PathNotAllowed) as error:
            raise self._refusal(call, collection, path, error) from error
        if call.query.get("show_hidden", "1").lower() in {"0", "false"}:
            rows = [row for row in rows if not row["name"].startswith(".")]
        for clause in filter(None, call.query.get("filter", "").split("/")):
            rows = [row for row in rows if _chosen(row, clause)]
        rows = ordered(rows, call.query.get("orderby") or "name ASC")
        part = rows[offset : offset + limit]
        document = globus_documents.page("file_list", part, len(rows), limit, offset)
        about = {
            "absolute_path": shown if shown == "/" else shown + "/",
            "endpoint": call.params["endpoint_id"],
            "path": path,
            "rename_supported": True,
            "symlink_supported": False,
        }
        return Reply({**document, **about})

    def stat(self, call: Call) -> Reply:
        """GET /operation/endpoint/ID/stat."""
        sandbox, collection = self._sandbox(call)
        path = call.query.get("path") or "/~/"
        try:
            found = sandbox.resolve(path)
            name = found.rpartition("/")[2]
            return Reply(globus_documents.file(name, os.stat(found)))
        except (OSError, PathNotAllowed) as error:
            raise self._refusal(call, collection, path, error, "NotFound") from error

    def mkdir(self, call: Call) -> Reply:
        """POST /operation/endpoint/ID/mkdir."""
        sandbox, collection = self._sandbox(call)
        path = str(call.body.get("path", ""))
        try:
            os.mkdir(sandbox.locate(path))
        except FileExistsError as error:
            raise Refusal(502, "ExternalError.MkdirFailed.Exists", f"Path already exists: {path}") from error
        except (OSError, PathNotAllowed) as error:
            raise self._refusal(call, collection, path, error) from error
        return _done(call, "mkdir_result", "DirectoryCreated", "The directory was created successfully", 202)

    def rename(self, call: Call) -> Reply:
        """POST /operation/endpoint/ID/rename."""
        sandbox, collection = self._sandbox(call)
        old, new = str(call.body.get("old_path", "")), str(call.body.get("new_path", ""))
        try:
            source, target = sandbox.locate(old), sandbox.locate(new)
            if os.path.lexists(target):
                raise Refusal(502, "ExternalError.RenameFailed.Exists", f"Path already exists: {new}")
            os.rename(source, target)
        except (OSError, PathNotAllowed) as error:
            raise self._refusal(call, collection, old, error) from error
        return _done(call, "result", "FileRenamed", "File or directory renamed successfully", 200)

    def _document(self, call: Call, collection_id: str) -> dict[str, Any]:
        collection = self._engine.settings.now().collections.get(collection_id)
        if collection is None:
            raise Refusal(404, "EndpointNotFound", f"No such endpoint '{collection_id}'")
        return globus_documents.endpoint(collection_id, collection, call.owner().identity_id)

    def _sandbox(self, call: Call) -> tuple[Sandbox, Collection]:
        collection_id = call.params["endpoint_id"]
        collection = self._engine.settings.now().collections.get(collection_id)
        if collection is None:
            raise Refusal(404, "EndpointNotFound", f"No such endpoint '{collection_id}'")
        self._auth.transfer_grant(call.owner(), collection_id)
        return Sandbox(collection.root, collection.default_directory), collection

    @staticmethod
    def _refusal(
        call: Call,
        collection: Collection,
        path: str,
        error: OSError | PathNotAllowed,
        lost: str = "ClientError.NotFound",
    ) -> Refusal:
        where = f"Endpoint: {collection.display_name} ({call.params['endpoint_id']})\nServer: 127.0.0.1:443\n"
        if isinstance(error, PathNotAllowed) or error.errno in {errno.EACCES, errno.EPERM}:
            detail = "500 Command failed : Path not allowed.\\r\\n"
            message = f"Denied by endpoint, Error ({call.verb})\n{where}Message: Fatal FTP Response\n---\n"
            return Refusal(403, "EndpointPermissionDenied", f"{message}Details: {detail}\n")
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            detail = f"Error: '{path}' not found\\r\\n550-GlobusError: v=1 c=PATH_NOT_FOUND\\r\\n550 End.\\r\\n"
            message = f"Path not found, Error ({call.verb})\n{where}Message: No such file or directory\n---\n"
            return Refusal(404, lost, f"{message}Details: {detail}\n")
        return Refusal(502, "EndpointError", f"Error ({call.verb})\n{where}Message: {error.strerror}\n")


def _entries(sandbox: Sandbox, path: str) -> list[dict[str, Any]]:
    rows = []
    with os.scandir(sandbox.resolve(path)) as entries:
        for entry in entries:
            own = entry.stat(follow_symlinks=False)
            if not stat.S_ISLNK(own.st_mode):
                rows.append(globus_documents.file(entry.name, own))
                continue
            try:
                target = os.stat(sandbox.resolve(f"{path}/{entry.name}"))
            except (OSError, PathNotAllowed):
                target = own
            link = os.readlink(entry.path), own
            rows.append(globus_documents.file(entry.name, target, link))
    return rows


def _chosen(row: dict[str, Any], clause: str) -> bool:
    name, _, wanted = clause.partition(":")
    if name not in row:
        raise Refusal(400, "ClientError.BadRequest", f"Unknown filter: {name}")
    if name == "last_modified":
        low, _, high = wanted.partition(",")
        return bool((not low or row[name] >= low) and (not high or row[name] <= high))
    if name == "size" and wanted[:1] in {"<", ">"}:
        size, bound = int(row[name]), int(wanted[1:])
        return size < bound if wanted[0] == "<" else size > bound
    values = wanted.split(",")
    if values[0].startswith("!"):
        return not any(matches(str(row[name]), each.removeprefix("!")) for each in values)
    return any(matches(str(row[name]), each) for each in values)


def _done(call: Call, data_type: str, code: str, message: str, status: int) -> Reply:
    return Reply(globus_documents.result(data_type, code, message, call.request_id, call.resource), status)

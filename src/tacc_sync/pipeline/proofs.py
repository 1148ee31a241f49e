"""What a finished request leaves behind: the manifest, the lists of sums, the tag files of a bag, and the certificate
over all of them.

Guarantee: each file is whole or not there, and memory does not grow with the number of files. The certificate comes
last: once it is a part of the workspace's chain nothing of this is written again, and before that all of it may be.
Fails with `WorkFault` UNIT-UNSETTLED, `BadDocument`, `NewerDocument`, `Fenced` and `OSError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from tacc_sync import __version__
from tacc_sync.rules import certificate, checksum_lists, completion
from tacc_sync.rules.certificate import Certificate, Previous, Sealed, Tally
from tacc_sync.rules.documents import Request, Work
from tacc_sync.rules.faults import WorkFault
from tacc_sync.rules.identity import SUFFIX
from tacc_sync.rules.manifest_chain import Chain
from tacc_sync.rules.patience import to_iso
from tacc_sync.workspace import chain, layout, queues
from tacc_sync.workspace.home import Home, make_directory

SOFTWARE = f"tacc-sync {__version__}"


class _Hashed:
    """Pieces of a file that are hashed as they are written; from the beginning each time that they are asked for."""

    def __init__(self, pieces: Callable[[], Iterable[bytes]]) -> None:
        self._pieces = pieces
        self.sealed = Sealed(size=0, sha512="")

    def __iter__(self) -> Iterator[bytes]:
        running, size = hashlib.sha512(), 0
        for piece in self._pieces():
            running.update(piece)
            size += len(piece)
            yield piece
        self.sealed = Sealed(size=size, sha512=running.hexdigest())


class Proofs:
    """Writes the proofs of one request into its directory in finished."""

    def __init__(self, home: Home, request: Request, key: str) -> None:
        self._home = home
        self._request = request
        self._directory = layout.finished(key)
        self._key = key
        self._tally = Tally()
        self._chain = Chain(request.request_id)
        self._files: dict[str, Sealed] = {}

    def write(self) -> Certificate:
        """Write them, unless they stand already: then a finisher has died between this and the end."""
        path = f"{self._directory}/{certificate.CERTIFICATE}"
        standing = chain.standing(self._home.disk, path)
        if standing is not None and self._is_for(standing):
            return standing
        self._put(certificate.MANIFEST, self._manifest)
        self._put(certificate.CHECKSUMS, lambda: self._list(checksum_lists.coreutils_line))
        finished_at = to_iso(self._home.clock.now())
        self._bag(finished_at)
        content = chain.append(
            self._home, path, lambda *place: certificate.encode(self._certificate(finished_at, *place))
        )
        written, flaws = certificate.decode(content)
        if written is None or flaws:
            raise AssertionError(flaws)
        return written

    def _is_for(self, standing: Certificate) -> bool:
        disk, request = self._home.disk, self._request
        plan = request.plan
        sealed = standing.files.get(certificate.MANIFEST)
        manifest = f"{self._directory}/{certificate.MANIFEST}"
        if plan is None or sealed is None or disk.status(manifest) is None:
            return False
        return (
            standing.request_id == request.request_id
            and certificate.total(standing.outcomes, completion.SETTLED).files == plan.files
            and disk.digest(manifest, ["sha512"])["sha512"] == sealed.sha512
        )

    def _put(self, name: str, pieces: Callable[[], Iterable[bytes]]) -> None:
        content = _Hashed(pieces)
        self._home.put(f"{self._directory}/{name}", content)
        self._files[name] = content.sealed

    # --- the pieces -------------------------------------------------------------------------------------------

    def _works(self) -> Iterator[Work]:
        plan = self._request.plan
        # The listing was a hint; each unit is now opened by its name.
        for unit in sorted(plan.units if plan else ()):
            work = queues.work_of(self._home.disk, f"{self._directory}/{unit}{SUFFIX}")
            if not completion.is_settled(work):
                raise WorkFault(
                    "UNIT-UNSETTLED",
                    f"{unit} lies in finished, but not all of its files are delivered or given up",
                    f"move it back to {layout.quarantine('finisher')}/ and release it",
                )
            yield work

    def _manifest(self) -> Iterator[bytes]:
        encoder = msgspec.json.Encoder()
        self._tally, self._chain = Tally(), Chain(self._request.request_id)
        for work in self._works():
            yield b"".join(self._line(encoder, record) for record in completion.manifest_lines(work))
        plan = self._request.plan
        for strange in plan.strange if plan else ():
            record = {"source": strange.path, "outcome": "not carried", "kind": strange.kind, "why": strange.text}
            yield self._line(encoder, record)

    def _line(self, encoder: msgspec.json.Encoder, record: Mapping[str, object]) -> bytes:
        line = self._chain.line(encoder.encode({"line": self._chain.next, **record}))
        entry = certificate.entry_of(line)
        if entry is None:
            raise AssertionError(line)
        self._tally.add(entry)
        return line

    def _list(self, line: Callable[[str, str], bytes]) -> Iterator[bytes]:
        root = self._request.destination
        for work in self._works():
            yield b"".join(
                line(checksum_lists.relative(file.destination, root), file.hashes["sha512"])
                for file in work.files
                if file.outcome in completion.PROVEN and "sha512" in file.hashes
            )

    def _bag(self, finished_at: str) -> None:
        make_directory(self._home.disk, f"{self._directory}/{certificate.BAG}")
        self._home.disk.sync(self._directory)
        request = self._request
        proven = certificate.total(self._tally.outcomes, completion.PROVEN)
        info = certificate.bag_info(request.request_id, request.label, SOFTWARE, finished_at[:10], proven)
        self._put(certificate.BAG_DECLARATION, lambda: [certificate.bag_declaration()])
        self._put(certificate.BAG_INFO, lambda: [info])
        self._put(certificate.BAG_CHECKSUMS, lambda: self._list(checksum_lists.bag_line))
        tags = [
            f"{self._files[name].sha512}  {name.removeprefix(certificate.BAG + '/')}\n".encode()
            for name in (certificate.BAG_DECLARATION, certificate.BAG_INFO, certificate.BAG_CHECKSUMS)
        ]
        self._put(certificate.BAG_TAGS, lambda: tags)

    def _certificate(self, finished_at: str, number: int, previous: Previous | None) -> Certificate:
        request, tally = self._request, self._tally
        return Certificate(
            version=certificate.VERSION,
            request_id=request.request_id,
            workspace_id=layout.open_workspace(self._home.disk).workspace_id,
            number=number,
            previous=previous,
            written_by=SOFTWARE,
            source=request.sources,
            destination=request.destination,
            label=request.label,
            requested_by=request.requested_by,
            planned_at=request.plan.planned_at if request.plan else "",
            first_retrieved_at=tally.first_retrieved_at,
            last_delivered_at=tally.last_delivered_at,
            finished_at=finished_at,
            outcomes=tally.outcomes,
            vouched=tally.vouched,
            manifest=self._chain.chained,
            files=self._files,
        )

"""The hash chain over a manifest: making its lines, and naming the one that is not as it was written. Pure.

Each line ends in its `chain`: the sha256 of the `chain` of the line before it (before the first line: the request's id)
followed by the line without its own. So a line that was changed, left out, added or moved does not fit the one before
it. Who makes the whole chain anew ends at another last value than the certificate says, and the certificate's
checkpoints tell between which lines.

Guarantee: memory does not grow with the number of lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from tacc_sync.rules.certificate import MANIFEST, Certificate, Chained, Flaw, Tally, entry_of

# Between checkpoints. The certificate of ten million lines has a thousand of them.
EVERY = 10_000
# A path of 4,096 characters, each escaped, twice; hashes and words besides. What is longer is no line of ours.
LONGEST_LINE = 1 << 20

_CHAIN = b',"chain":"'
_END = b'"}\n'
_LINK = 64
# So many values are kept from which a line may go on while none fits.
_LINKS = 12


class Chain:
    """Makes the lines of a manifest, one after the other."""

    def __init__(self, request_id: str) -> None:
        self._last = request_id
        self._lines = 0
        self._checkpoints: list[str] = []

    @property
    def next(self) -> int:
        """The number of the next line."""
        return self._lines + 1

    def line(self, body: bytes) -> bytes:
        """The line for a JSON object, with its `chain`."""
        self._last = link(self._last, body)
        self._lines += 1
        if self._lines % EVERY == 0:
            self._checkpoints.append(self._last)
        return body[:-1] + _CHAIN + self._last.encode() + _END

    @property
    def chained(self) -> Chained:
        """What the certificate says of it."""
        return Chained(lines=self._lines, last=self._last, every=EVERY, checkpoints=list(self._checkpoints))


def link(before: str, body: bytes) -> str:
    """The chain's value after a line; `body` is the line without its `chain`."""
    return hashlib.sha256(before.encode() + body).hexdigest()


class ManifestCheck:
    """Reads a manifest line by line, and says what is wrong with it; `tally` is what its lines add up to.

    After a line that does not fit, the next one may go on from what the bad line says, from what it should say, or from
    the line before it; which of these it does tells what has happened.
    """

    def __init__(self, certificate: Certificate) -> None:
        self.tally = Tally()
        self._chained = certificate.manifest
        # The chain's value after the last good line, and that line's number.
        self._last = certificate.request_id
        self._number = 0
        self._links = [self._last]
        self._bad: _Bad | None = None
        self._at = 0
        self._fits = True
        self._differs_at = 0

    def line(self, raw: bytes) -> Iterator[Flaw]:
        """Read the next line, with its newline."""
        self._at += 1
        entry = entry_of(raw)
        if entry is not None:
            self.tally.add(entry)
        number = entry.line if entry is not None else 0
        if self._bad is None and self._last == self._chained.last:
            if self._number == self._chained.lines:
                self._number += 1
                yield _flaw(self._at, f"was added: the certificate knows {self._chained.lines} lines")
            return
        body, said = _parts(raw)
        follows = next((before for before in self._links if body and link(before, body) == said), None)
        if self._bad is not None:
            yield self._judged(self._bad, follows, number)
        if follows is not None:
            self._accept(said, number)
            return
        computed = [link(before, body) for before in self._links] if body else []
        bad = _Bad(self._at, number, self._number + 1, said, computed, self._last if self._fits else "")
        self._bad, self._fits = bad, False
        self._links = [*filter(None, (bad.before, said)), *computed, *self._links][:_LINKS]

    def end(self) -> Iterator[Flaw]:
        """There are no more lines."""
        chained = self._chained
        if self._bad is not None:
            follows = chained.last if chained.last in self._links else None
            yield self._judged(self._bad, follows, chained.lines + 1)
            if follows is not None:
                return
        elif self._last == chained.last:
            return
        elif self._differs_at or self._number >= chained.lines:
            # The chain is whole in itself, and not the one that was certified.
            upto = self._differs_at or chained.lines
            since = max(1, upto - (upto % chained.every or chained.every) + 1)
            yield _flaw(since, f"something was changed between here and line {upto}, and the chain made anew")
        if self._number < chained.lines:
            missing = _lines(self._number + 1, chained.lines)
            yield _flaw(self._at + 1, f"{missing} missing at the end")

    def _accept(self, said: str, number: int) -> None:
        self._bad, self._fits = None, True
        self._last, self._links = said, [said]
        self._number = number or self._number + 1
        place, rest = divmod(self._number, self._chained.every)
        if not rest and not self._differs_at and self._chained.checkpoints[place - 1 : place] != [said]:
            self._differs_at = min(self._number, self._chained.lines)

    def _judged(self, bad: _Bad, follows: str | None, after: int) -> Flaw:
        """What has happened to a line, now that we know from where the next one goes on, and its number."""
        if follows is not None and follows == bad.before:
            return _flaw(bad.at, "does not belong there" + (f": it calls itself line {bad.number}" * (bad.number > 0)))
        if follows is not None and follows != bad.said and follows in bad.computed:
            self._number = bad.expected
            return _flaw(bad.at, "was changed, in its `chain`")
        if bad.number > bad.expected and after != bad.expected + 1:
            self._number = bad.number
            return _flaw(bad.at, f"{_lines(bad.expected, bad.number - 1)} missing in front of it")
        if 0 < bad.number < bad.expected and after != bad.expected + 1:
            return _flaw(bad.at, f"does not belong there: it calls itself line {bad.number}")
        self._number = bad.expected
        before = f" (or line {bad.at - 1} was, and its `chain` made anew)" if bad.at > 1 else ""
        return _flaw(bad.at, f"was changed{before}")


@dataclass(frozen=True, slots=True)
class _Bad:
    """A line that does not fit: where it stands, the number that it bears and that it should bear, the `chain` that it
    says, those that it may have had to say, and the chain's value before it, when that is known."""

    at: int
    number: int
    expected: int
    said: str
    computed: list[str]
    before: str


def _parts(raw: bytes) -> tuple[bytes, str]:
    """A line without its `chain`, and that; empty where they cannot be told."""
    body, mark, rest = raw.rpartition(_CHAIN)
    if not mark:
        # The mark itself may be what was changed.
        return b"", raw[-_LINK - len(_END) : -len(_END)].decode("ascii", "replace")
    if len(rest) != _LINK + len(_END) or not rest.endswith(_END):
        return body + b"}", ""
    return body + b"}", rest[:_LINK].decode("ascii", "replace")


def _lines(first: int, last: int) -> str:
    return f"line {first} is" if first == last else f"lines {first} to {last} are"


def _flaw(line: int, text: str) -> Flaw:
    return Flaw("MANIFEST-CHANGED", MANIFEST, line, text)

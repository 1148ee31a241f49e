"""Hypothesis strategies: bytes that are nearly right."""

from __future__ import annotations

import json

from hypothesis import strategies as st

BITS = [
    b"", b"\n", b"\r", b"\t", b"\0", b"\xff\xfe", b"'", b'"', b"\\", b"..", b"/../", b"\x1b[31m", b"FILE\t/", b"A:/x-> ",
    b"*** ", b"{", b"}", b"[", b"]", b",", b":", b"1e999", b"-1", b"9" * 30, b"nan", b"inf", b"\\ud800", b"null", b"true",
    b'"version":99', "\u0663\u00b2\u2028".encode(), b"[x]\n", b"=", b'"""', b"9" * 5000, b"[" * 2000,
]  # fmt: skip


@st.composite
def mutated(draw, seeds):
    """A seed with some bytes replaced, left out, or repeated."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.sampled_from([0, 1, 1, 2, 5, 20, 10**6]))
        put = draw(st.one_of(st.sampled_from(BITS), st.binary(max_size=6), st.just(data[at : at + 30])))
        data = data[:at] + put + data[at + cut :]
    return data


ODD = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.sampled_from([-1, 2**63, 10**40, 1e308, -0.5, ""]),
        st.floats(allow_nan=False), st.text(max_size=8),
        st.sampled_from([
            "..", "../../etc/passwd", "/a/../b", "/a//b", "a", "x\ny", "\x00", "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59", "2026-03-28T00:15:14Z", "2026-03-28", "0" * 32, "md5:zz", "shake_128:00", "\u202e",
        ]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4,
)  # fmt: skip


def _paths(value, here=()):
    yield here
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in below:
        yield from _paths(inner, (*here, key))


def _with(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(copy[path[0]], path[1:], new)
    return copy


@st.composite
def mutated_json(draw, seeds):
    """A JSON document some values of which are others."""
    value = json.loads(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        value = _with(value, draw(st.sampled_from(list(_paths(value)))), draw(ODD))
    return json.dumps(value).encode("utf-8", "surrogatepass")

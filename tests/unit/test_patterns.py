"""Globs: examples, hostile patterns, and both sets of rules against slow, obvious matchers."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tacc_sync.rules.glob_syntax import from_octets, octets
from tacc_sync.rules.patterns import BadPattern, any_of, compile_glob


def path_match(pattern: str, path: str) -> bool:
    glob = compile_glob(pattern, "path")
    return glob.matches(path, "") if pattern.startswith("/") else glob.matches("/nothing", path)


def globset_match(pattern: str, path: str) -> bool:
    return compile_glob(pattern, "globset").matches(path, "never looked at")


# --- The path rules, by example ---


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.zip", "a.zip", True),
        ("*.zip", "d/a.zip", False),
        ("*.zip", "a.zip.part", False),
        ("?.zip", "a.zip", True),
        ("?.zip", "ab.zip", False),
        ("a?b", "a/b", False),
        ("a[!x]b", "a/b", False),
        ("a[+-9]b", "a/b", False),
        ("a[^x]b", "ayb", True),
        ("[0-9][0-9]", "42", True),
        ("[]]", "]", True),
        ("[a-]", "-", True),
        ("[\\]x]", "]", True),
        ("**", "a/b/c", True),
        ("**/c", "c", True),
        ("**/c", "a/b/c", True),
        ("**/c", "a/bc", False),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/x/y/c", True),
        ("a/**/c", "ax/c", False),
        ("a/**", "a/x/y", True),
        ("a/**", "a", False),
        ("a/**", "ab", False),
        ("a/", "a/x/y", True),
        ("a/", "a", False),
        ("*/", "a/b", True),
        ("*/", "a", False),
        ("**/x*y/**/z", "q/xq/xy/r/z", True),
        ("**/x*y/**/z", "xy/z", True),
        ("**/x*y/**/z", "xy/q", False),
        ("a/**/**/b", "a/b", True),
        ("**/a/**/b/**/c", "a/b/a/c", True),
        ("*a*b*c", "abac", True),
        ("{a,b}/*.{zip,tar}", "b/q.tar", True),
        ("{a,b}/*.{zip,tar}", "c/q.tar", False),
        ("{a,{b,c}d}x", "cdx", True),
        ("a{,b}c", "ac", True),
        ("{a,b/c}/d", "b/c/d", True),
        ("{a/,b}", "a/q", True),
        ("*{a,ab}c", "xabc", True),
        ("*{abc,b}*c", "abc", True),
        ("*", ".hidden", True),
        ("**/.git/**", "x/.git/config", True),
        ("A", "a", False),
        ("a,b", "a,b", True),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("\\{a\\}", "{a}", True),
        ("x\\/y", "x/y", True),
        ("with blank*", "with blanks", True),
        ("new*line", "new\nline", True),
        ("a.c", "abc", False),
        ("h\N{LATIN SMALL LETTER E WITH ACUTE}", "h\N{LATIN SMALL LETTER E WITH ACUTE}", True),
        ("a?", "a\udcff", True),
        ("a*", "a\udcff\udcfe", True),
        ("/a/*", "/a/b", True),
        ("/a/*", "/x/a/b", False),
        ("/", "/a/b", True),
    ],
)
def test_path_rules(pattern, path, expected):
    assert path_match(pattern, path) is expected


def test_a_pattern_with_a_leading_slash_looks_at_the_absolute_path_any_other_at_the_relative_one():
    both = any_of([compile_glob("/a/b/*.zip", "path"), compile_glob("sub/*.tar", "path")])
    assert both("/a/b/x.zip", "x.zip")
    assert both("/a/b/sub/x.tar", "sub/x.tar")
    assert not both("/a/b/sub/x.zip", "sub/x.zip")


@pytest.mark.parametrize(
    ("pattern", "column", "word"),
    [
        ("", 0, "empty"),
        ("a[b", 2, "never closed"),
        ("[]", 1, "never closed"),
        ("[!]", 1, "never closed"),
        ("[a\\", 1, "never closed"),
        ("a{b,c", 2, "never closed"),
        ("a}b", 2, "closes nothing"),
        ("abc\\", 4, "escapes nothing"),
        ("a**", 2, "stand alone"),
        ("**a/b", 1, "stand alone"),
        ("a/**.zip", 3, "stand alone"),
        ("a{**,b}", 3, "stand alone"),
        ("***", 1, "two stars"),
        ("[z-a]", 1, "backwards"),
        ("[a/b]", 3, "never matches `/`"),
        ("[[:alpha:]]", 2, "named classes"),
        ("a//b", 1, "two slashes"),
        ("//a", 1, "two slashes"),
        ("./a", 1, "match no path"),
        ("a/../b", 3, "match no path"),
        ("{/a,b}", 2, "absolute"),
        ("{,a}", 0, "empty"),
        ("{" * 11 + "a" + "}" * 11, 11, "deeper"),
        ("a" * 5000, 0, "longer"),
        ("{a,bb}" * 12, 0, "alternatives"),
    ],
)
def test_a_bad_pattern_is_refused_with_column_and_remedy(pattern, column, word):
    with pytest.raises(BadPattern) as caught:
        compile_glob(pattern, "path")
    assert caught.value.code == "PATTERN-BAD"
    assert caught.value.column == column
    assert word in caught.value.trouble
    assert caught.value.remedy
    named = caught.value.in_field("include[3]")
    assert named.field == "include[3]"
    assert "`include[3]`" in named.text


# --- The globset rules, by example (what globset 0.4 was seen to do) ---


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/data/*.zip", "/data/2019/a.zip", True),
        ("/data/?.zip", "/data//.zip", True),
        ("*", "/a/b", True),
        ("**", "/a/b", True),
        ("**/", "/a/b", True),
        ("**/b", "/a/b", True),
        ("**/b", "/b", True),
        ("**/b", "/a/xb", False),
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/a", False),
        ("/a/**/c", "/a/c", True),
        ("/a/**/c", "/a/b/x/c", True),
        ("/a/**/c", "/a/xc", False),
        ("/a**c", "/a/b/c", True),
        ("/a/**c", "/a/b/xc", True),
        ("/[!a]b", "//b", True),
        ("/{a,b}/x", "/b/x", True),
        ("/a{,b}", "/a", False),
        ("/a{,b}", "/ab", True),
        ("/a{}", "/a", True),
        ("/x{**/a,b}", "/xa", True),
        ("/x{**/a,b}", "/xq/a", True),
        ("/x{**/a,b}", "/xqa", False),
        ("*x{**/a}", "/xxa", True),
        ("/a\\*", "/a*", True),
        ("/a\\*", "/ab", False),
        ("/[\\]", "/\\", True),
        ("/\N{LATIN SMALL LETTER E WITH ACUTE}", "/\N{LATIN SMALL LETTER E WITH ACUTE}", True),
        ("/?", "/\N{LATIN SMALL LETTER E WITH ACUTE}", False),
        ("/??", "/\N{LATIN SMALL LETTER E WITH ACUTE}", True),
        ("/?", "/\udcff", True),
        ("data/*", "/data/a", False),
    ],
)
def test_globset_rules(pattern, path, expected):
    assert globset_match(pattern, path) is expected


@pytest.mark.parametrize("pattern", ["", "/a[", "/a[]", "/a{b", "/a}", "/a\\", "/[z-a]"])
def test_globset_errors(pattern):
    with pytest.raises(BadPattern):
        compile_glob(pattern, "globset")


# --- Directories ---


@pytest.mark.parametrize(
    ("pattern", "rules", "directories"),
    [
        ("*.zip", "path", ("",)),
        ("2019/*.zip", "path", ("2019",)),
        ("2019/unb*/x", "path", ("2019",)),
        ("2019/a.zip", "path", ("2019",)),
        ("20{18,19}/*", "path", ("2018", "2019")),
        ("a/", "path", ("a",)),
        ("**/a", "path", ("",)),
        ("/a/b/**", "path", ("/a/b",)),
        ("/*", "path", ("/",)),
        ("/a/b*", "globset", ("/a",)),
        ("/a/**/b", "globset", ("/a",)),
        ("/\N{LATIN SMALL LETTER E WITH ACUTE}/*", "globset", ("/\N{LATIN SMALL LETTER E WITH ACUTE}",)),
        ("**/b", "globset", ("/",)),
        ("a/b/*", "globset", ()),
    ],
)
def test_what_a_pattern_means_lies_below_its_directories(pattern, rules, directories):
    assert compile_glob(pattern, rules).directories == directories


# --- Against slow, obvious matchers ---


def braces(pattern: str) -> list[str]:
    """Multiply the first braces out, textually; escapes and classes are not used in these patterns."""
    start = pattern.find("{")
    if start < 0:
        return [pattern]
    depth, parts, last = 0, [], start + 1
    for i in range(start, len(pattern)):
        depth += (pattern[i] == "{") - (pattern[i] == "}")
        if (pattern[i] == "," and depth == 1) or depth == 0:
            parts.append(pattern[last:i])
            last = i + 1
        if depth == 0:
            break
    return [flat for part in parts for flat in braces(pattern[:start] + part + pattern[last:])]


def slow_components(pattern: list[str], path: list[str]) -> bool:
    if not pattern:
        return not path
    first, *others = pattern
    if first == "**":
        if not others:
            return bool(path)
        return slow_components(others, path) or (bool(path) and slow_components(pattern, path[1:]))
    return bool(path) and slow_text(first, path[0]) and slow_components(others, path[1:])


def slow_text(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return slow_text(pattern[1:], text) or (bool(text) and slow_text(pattern, text[1:]))
    if pattern[0] == "[":
        inner, rest = pattern[1 : pattern.index("]")], pattern[pattern.index("]") + 1 :]
        hit = bool(text) and ((text[0] in inner[1:]) != (inner[0] == "!") if inner[0] == "!" else text[0] in inner)
        return hit and slow_text(rest, text[1:])
    return bool(text) and pattern[0] in {"?", text[0]} and slow_text(pattern[1:], text[1:])


def slow_path_match(pattern: str, path: str) -> bool:
    flats = [flat + "**" if flat.endswith("/") else flat for flat in braces(pattern)]
    return any(slow_components(flat.split("/"), path.split("/")) for flat in flats)


component = st.lists(
    st.sampled_from(["a", "b", "ab", "*", "?", "[ab]", "[!a]", "{a,ab}", "{b*,a?b}", "{,b}", "{a,{b,aa*}}"]),
    min_size=1,
    max_size=5,
).map("".join)
patterns = st.lists(st.one_of(component, st.just("**"), st.just("{a/b,b}")), min_size=1, max_size=5).map("/".join)
names = st.text("ab", min_size=1, max_size=6)
paths = st.lists(names, min_size=1, max_size=5).map("/".join)


@settings(max_examples=500, deadline=None)
@given(patterns, st.booleans(), st.lists(paths, min_size=1, max_size=8))
def test_the_path_rules_agree_with_a_slow_matcher(pattern, slash, some_paths):
    pattern += "/" * slash
    pattern = re.sub(r"\*(?=\*\*)", "", pattern) if "***" in pattern else pattern
    try:
        glob = compile_glob(pattern, "path")
    except BadPattern:
        # What is refused, the slow matcher would not match either, or a `**` does not stand alone.
        assume(False)
    for path in some_paths:
        assert glob.matches("/x", path) == slow_path_match(pattern, path), (pattern, path)
        if slow_path_match(pattern, path):
            assert any(d == "" or path.startswith(d + "/") for d in glob.directories), glob.directories


bare = st.sampled_from(["a", "b", "*", "?"])
deep_patterns = st.lists(st.one_of(st.just("**"), bare), min_size=2, max_size=9).map("/".join)
starry_patterns = st.lists(bare, min_size=2, max_size=9).map(lambda parts: re.sub(r"\*+", "*", "".join(parts)))


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(deep_patterns, starry_patterns), st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=9)
)
def test_the_first_place_that_fits_is_as_good_as_any(pattern, texts):
    glob = compile_glob(pattern, "path")
    for text in texts:
        for path in (text, "/".join(text)):
            assert glob.matches("", path) == slow_path_match(pattern, path), (pattern, path)


@settings(max_examples=300, deadline=None)
@given(patterns, paths)
def test_a_pattern_in_front_of_which_its_source_is_written_means_the_same(pattern, path):
    try:
        relative = compile_glob(pattern, "path")
    except BadPattern:
        assume(False)
    assert compile_glob("/s/" + pattern, "path").matches("/s/" + path, "") == relative.matches("", path)


def slow_globset(pattern: str, path: str) -> bool:
    """globset's translation into a regular expression, without any care for time; no braces across `**`."""

    def translate(text: str, *, top: bool) -> str:
        out, i = "", 0
        while i < len(text):
            if text.startswith("**/", i) and i == 0:
                while text.startswith("**/", i):
                    i += 3
                out += "(?:/?|.*/)"
                if top and i == len(text):
                    return ".*"
                if top and text[i:] == "**":
                    return ".*"
            elif text.startswith("/**/", i):
                while text.startswith("/**/", i):
                    i += 3
                i += 1
                if text[i:] == "**":
                    out += "/.*"
                    i += 2
                else:
                    out += "(?:/|/.*/)"
            elif text[i:] == "/**":
                out, i = out + "/.*", i + 3
            elif text[i] == "*":
                out, i = out + ".*", i + 1
            elif text[i] == "?":
                out, i = out + ".", i + 1
            elif text[i] == "[":
                end = text.index("]", i)
                out, i = out + "[" + text[i + 1 : end].replace("!", "^") + "]", end + 1
            elif text[i] == "{":
                end = text.index("}", i)
                options = [translate(part, top=False) for part in text[i + 1 : end].split(",")]
                out, i = out + "(?:" + "|".join(filter(None, options)) + ")", end + 1
            else:
                out, i = out + re.escape(text[i]), i + 1
        return out

    return re.fullmatch(translate(pattern, top=True), octets(path), re.DOTALL) is not None


globset_patterns = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "/",
            "*",
            "?",
            "**",
            "**/",
            "/**",
            "/**/",
            "[ab]",
            "[!a]",
            "{a,ab}",
            "{*b,a/}",
            "{**/a,b}",
            "{a/**,,b}",
        ]
    ),
    min_size=1,
    max_size=6,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(globset_patterns, st.lists(st.text("ab/", max_size=10), min_size=1, max_size=8))
def test_the_globset_rules_agree_with_their_plain_translation(pattern, some_paths):
    glob = compile_glob(pattern, "globset")
    for path in some_paths:
        assert glob.matches(path, "") == slow_globset(pattern, path), (pattern, path, glob.regex)
        if path.startswith("/") and slow_globset(pattern, path):
            assert any(d == "/" or path.startswith(d + "/") for d in glob.directories), glob.directories


@given(st.text(min_size=1, max_size=20), st.sampled_from(["path", "globset"]))
def test_any_text_compiles_or_is_refused(pattern, rules):
    try:
        glob = compile_glob(pattern, rules)
    except BadPattern:
        return
    assert glob.matches("/a/b\udcff", "b\udcff") in {True, False}


@given(st.text(alphabet=st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_an_escaped_name_matches_itself_and_nothing_else(name):
    assume(name not in {".", ".."})
    escaped = "".join("\\" + char for char in name)
    for rules in ("path", "globset"):
        glob = compile_glob("/" + escaped, rules)
        assert glob.matches("/" + name, name)
        assert not glob.matches("/" + name + "x", name + "x")
        assert glob.regex is None


@given(st.binary(max_size=30))
def test_octets_are_reversible(data):
    text = data.decode("utf-8", "surrogateescape")
    assert from_octets(octets(text)) == text
    assert len(octets(text)) == len(data)


# --- Hostile patterns ---


@pytest.mark.parametrize("rules", ["path", "globset"])
@pytest.mark.parametrize(
    "pattern",
    [
        "/" + "*a" * 300 + "*b",
        "/" + "*?" * 200 + "b",
        "/" + "**/a*/" * 100 + "b",
        "/" + "**/*a*/" * 60 + "**/b",
        "/" + "*{a,aa}" * 9 + "*b",
        "/" + "{*a,*aa,a*a}" * 6 + "b",
        "/{" + ",".join(f"*{'a' * i}*b" for i in range(1, 80)) + "}",
    ],
)
def test_no_pattern_takes_exponential_time(rules, pattern):
    glob = compile_glob(pattern, rules)
    start = time.perf_counter()
    for path in ("/" + "a" * 1000, "/" + "a/" * 500 + "a", "/" + "aaaa/" * 200 + "a"):
        assert not glob.matches(path, path[1:])
    assert time.perf_counter() - start < 5.0


def test_many_equal_alternatives_are_no_trouble():
    pattern = "{" + ",".join(f"run{i:05d}" for i in range(400)) + "}/*.zip"
    glob = compile_glob(pattern, "path")
    assert glob.matches("", "run00123/a.zip")
    assert not glob.matches("", "run00400/a.zip")

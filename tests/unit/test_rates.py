"""Rates and words: pure."""

import pytest

from tacc_sync.operator import words
from tacc_sync.rules.rates import Tempo, seconds_left


def test_nothing_has_no_rate():
    tempo = Tempo()
    assert tempo.recently("2026-01-01T00:00:00Z") is None
    assert tempo.overall("2026-01-01T00:00:00Z") is None
    assert seconds_left(100, None) is None
    assert seconds_left(0, 5.0) is None


def test_overall_counts_from_the_beginning_to_the_last_arrival():
    tempo = Tempo()
    tempo.add("2026-01-01T00:00:50Z", 500)
    tempo.add("2026-01-01T00:01:40Z", 500)
    assert tempo.overall("2026-01-01T00:00:00Z") == pytest.approx(10)
    assert tempo.recently("2026-01-01T00:00:00Z") == pytest.approx(10)
    assert tempo.last_at == "2026-01-01T00:01:40Z"


def test_lately_is_the_last_hour_in_which_something_arrived():
    tempo = Tempo()
    tempo.add("2026-01-01T00:30:00Z", 10**9)
    for minute in range(60):
        tempo.add(f"2026-01-02T10:{minute:02}:30Z", 60)
    begun = "2026-01-01T00:00:00Z"
    assert tempo.recently(begun) == pytest.approx(1, rel=0.05)
    assert tempo.overall(begun) > 1000


def test_merging_is_counting_together():
    whole, one, other = Tempo(), Tempo(), Tempo()
    for n, at in enumerate(["2026-01-01T00:00:05Z", "2026-01-01T00:00:50Z", "2026-01-01T00:03:00Z"]):
        (one if n % 2 else other).add(at, 100)
        whole.add(at, 100)
    one.merge(other)
    one.merge(Tempo())
    assert one.overall("") == whole.overall("")
    assert (one.bytes, one.last_at) == (300, "2026-01-01T00:03:00Z")


def test_one_second_says_nothing():
    tempo = Tempo()
    tempo.add("2026-01-01T00:00:00Z", 500)
    assert tempo.recently("2026-01-01T00:00:00Z") is None


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (12_345, "12.3 kB"), (999_499, "999 kB"), (999_999, "1.00 MB"),
     (748_246_351_402, "748 GB"), (1.5e12, "1.50 TB"), (2e19, "20.0 EB")],
)  # fmt: skip
def test_sizes(count, text):
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (700, "11 min"), (19_200, "5 h 20 min"), (273_600, "3 d 4 h"),
     (864_000, "10 d")],
)  # fmt: skip
def test_durations(seconds, text):
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 0, "100 %"), (999, 1000, "99 %"), (5, 5, "100 %"), (0, 9, "0 %")]
)
def test_a_hundred_percent_means_all(part, whole, text):
    assert words.percent(part, whole) == text


def test_plain_shows_what_a_terminal_would_obey():
    assert words.plain("Grüße, 東京") == "Grüße, 東京"
    assert words.plain("a\nb\x1b[2J\u202e\udc80") == "a\\x0ab\\x1b[2J\\u202e\\udc80"

"""When will it be done? Outages, observed rates, percentiles, the simulation of what is left."""

import itertools
import json
import math
import sys
import time

import pytest
from desk import Desk
from hypothesis import given, settings
from hypothesis import strategies as st

from tacc_sync import config
from tacc_sync.campaign import forecast as campaign
from tacc_sync.campaign.remains import FEW, PIECES, Remains
from tacc_sync.campaign.weather import Trouble, Weather
from tacc_sync.cli.edges import Edges
from tacc_sync.cli.forecaster import Forecaster
from tacc_sync.config import parse_seconds
from tacc_sync.operator import forecasts
from tacc_sync.operator.forecast_text import done_about, in_the_end, outlook
from tacc_sync.rules import basis as rules
from tacc_sync.rules.basis import MEASURED_ONCE, Basis, Figure, Share, basis
from tacc_sync.rules.documents import File, Task, Work
from tacc_sync.rules.faults import OperatorFault
from tacc_sync.rules.forecast import MOST_ENTRIES, WEEK, Forecast, forecast, judged, moved, quantile, with_entry
from tacc_sync.rules.observed import PAUSE, Observed, Seen
from tacc_sync.rules.outages import Outage, parse_outage, spans
from tacc_sync.rules.patience import from_iso, to_iso
from tacc_sync.rules.settings import Settings
from tacc_sync.rules.site_rates import SiteRates

GB, TB, HOUR, DAY = 10**9, 10**12, 3600.0, 86400.0
NOW = 1_800_000_000.0
FIRST, SECOND = "10000000-0000-4000-8000-000000000000", "20000000-0000-4000-8000-000000000000"

# --- outages ------------------------------------------------------------------------------------------------------


def test_how_outages_are_written():
    assert parse_outage("2027-01-15T08:00Z/12h", parse_seconds) == Outage(NOW, 12 * HOUR)
    assert parse_outage("2027-01-15T00:00-08:00/10h/14d", parse_seconds) == Outage(NOW, 10 * HOUR, 14 * DAY)
    for bad in ("", "12h", "2027-01-15T08:00Z", "2027-01-15T08:00/1h", "soon/1h", "2027-01-15T08:00Z/0", "2027-01-15T08:00Z/2h/1h",
                "2027-01-15T08:00Z/1h/1d/1d"):  # fmt: skip
        with pytest.raises(ValueError):
            parse_outage(bad, parse_seconds)


OUTAGES = st.lists(
    st.builds(
        Outage,
        st.floats(-1000, 3000),
        st.floats(1, 300),
        st.one_of(st.just(0.0), st.floats(310, 900)),
    ),
    max_size=5,
)


@given(OUTAGES, st.lists(st.floats(0, 2000), min_size=1, max_size=20))
def test_the_sites_are_down_when_one_of_the_outages_says_so(outages, times):
    found = spans(outages, 0.0, 2000.0)
    assert all(begin < end for begin, end in found)
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(found))
    weather = Weather(Trouble(planned=tuple(found)))
    for when in times:
        # To a hair's breadth of a boundary, sums of floats may differ.
        in_one = [(when - outage.begin) % (outage.every or math.inf) for outage in outages if when >= outage.begin]
        lengths = [outage.length for outage in outages if when >= outage.begin]
        if any(abs(since - length) < 1e-6 or since < 1e-6 for since, length in zip(in_one, lengths, strict=True)):
            continue
        down = any(since < length for since, length in zip(in_one, lengths, strict=True))
        assert bool(weather.down_until(when)) == down
        if down:
            assert not weather.down_until(weather.down_until(when))


@given(OUTAGES, st.floats(1, 5000))
def test_time_that_the_sites_are_up_is_counted_with_planned_outages(outages, seconds):
    weather = Weather(Trouble(planned=tuple(spans(outages, 0.0, 2000.0)), outage=50.0, outage_every=700.0))
    end = weather.add_up_time(0.0, seconds)
    assert weather.up(0.0, end) == pytest.approx(seconds)


# --- percentiles, and what became of them -------------------------------------------------------------------------

ENDS = st.lists(st.one_of(st.floats(0, 1e9), st.just(math.inf)), min_size=1, max_size=15)


@given(ENDS, st.floats(0, 1), st.floats(0, 1))
def test_percentiles_are_in_order_and_within_what_was_said(ends, one, other):
    ordered = sorted(ends)
    low, high = sorted((one, other))
    assert ordered[0] <= quantile(ordered, low) <= quantile(ordered, high) <= ordered[-1]
    assert quantile(ordered, 0.0) == ordered[0]
    assert quantile(ordered, 1.0) == ordered[-1]
    assert not math.isnan(quantile(ordered, one))


@given(ENDS)
def test_a_forecast_says_when(ends):
    made = forecast(ends, now=NOW, size=7, sources={})
    told = [from_iso(when) if when else math.inf for when in (made.p10, made.p50, made.p90)]
    assert told == sorted(told)
    assert (made.at, made.runs, made.bytes) == (to_iso(NOW), len(ends), 7)
    assert bool(made.p50) == (not math.isinf(quantile(sorted(ends), 0.5)))


def entry(days, p50, spread=3.0):
    at = NOW + days * DAY
    when = [to_iso(NOW + (p50 + more) * DAY) for more in (-spread, 0, spread)]
    return Forecast(at=to_iso(at), bytes=1, runs=9, p10=when[0], p50=when[1], p90=when[2])


@given(st.lists(st.floats(0, 400), min_size=0, max_size=40, unique=True))
def test_a_forecast_is_compared_with_one_that_was_made_about_a_week_before(days):
    entries = [entry(day, 500) for day in sorted(days)]
    found = moved(entries)
    if len(entries) < 2:
        assert found is None
        return
    assert found.earlier in entries[:-1]
    last = from_iso(entries[-1].at)
    assert found.age == last - from_iso(found.earlier.at)
    assert all(abs(found.age - WEEK) <= abs(last - from_iso(other.at) - WEEK) for other in entries[:-1])


def test_movement_in_words():
    assert outlook([], NOW) == ""
    first = entry(0, 30)
    alone = f"done about {first.p50[:10]} (between {first.p10[:10]} and {first.p90[:10]})"
    assert outlook([first], NOW) == done_about(first) == alone
    week = entry(7, 32)
    assert outlook([first, week], NOW + 7 * DAY).endswith(f"; a week ago it said {first.p50[:10]}")
    assert outlook([first, entry(3, 32)], NOW + 3 * DAY).endswith(f"; 3 d before it said {first.p50[:10]}")
    assert outlook([first], NOW + 3 * DAY) == f"{alone} (foretold 3 d ago)"
    never = Forecast(at=to_iso(NOW), bytes=1, runs=3, p10="", p50="", p90="")
    assert outlook([never], NOW) == "not done in any time that can be told"
    near = entry(0, 0.5, 0.1)
    assert outlook([near], NOW) == "done about 2027-01-15 20:00 (between 2027-01-15 17:36 and 2027-01-15 22:24)"


@given(st.floats(0, 100), st.floats(0.1, 20), st.floats(0, 150))
def test_in_the_end_the_first_forecast_is_judged(p50, spread, end):
    entries = [entry(0, p50 + spread, spread), entry(1, 0)]
    finished = to_iso(NOW + end * DAY)
    found = judged(entries, finished)
    first = entries[0]
    assert found.verdict == ("earlier" if finished < first.p10 else "later" if finished > first.p90 else "within")
    assert found.late == from_iso(finished) - from_iso(first.p50)
    assert first.p50[:10] in in_the_end(entries, finished)


def test_what_was_not_foretold_is_not_judged():
    assert judged([], to_iso(NOW)) is None
    assert judged([entry(1, 5)], to_iso(NOW)) is None
    assert in_the_end([], to_iso(NOW)) == ""


def test_of_many_entries_the_first_and_the_latest_are_kept():
    entries = []
    for day in range(1000):
        entries = with_entry(entries, entry(day, 2000))
        assert len(entries) <= MOST_ENTRIES
        assert [e.at for e in entries] == sorted({e.at for e in entries})
        assert entries[-1].at == entry(day, 2000).at
        assert entries[0].at == entry(0, 2000).at
    assert [e.at for e in entries[-20:]] == [entry(day, 2000).at for day in range(980, 1000)]


# --- what was seen ------------------------------------------------------------------------------------------------


def unit(seq, *, tape="AA0001", at=0.0, size=100 * GB, files=2, rate=1e9, status="SUCCEEDED", round_=1, release=30):
    """A finished unit whose files were retrieved at a time, and delivered at that network rate right after it."""
    begin = NOW + at
    end = begin + 10 + files * size / rate
    return Work(
        version=1, unit=f"111111111111.{tape}.{seq:04d}.{files * size}", request_id=FIRST, tape=[tape],
        bytes=files * size, created_at=to_iso(NOW), round=round_,
        tasks=[Task(attempt=1, submission_id="s", label="l", prepared_at=to_iso(begin + 10), items=list(range(files)),
                    bytes=files * size, task_id="t", ended_at=to_iso(end + release), status=status)],
        files=[File(path=f"/a/{seq}/{n}", destination=f"/b/{seq}/{n}", size=size, outcome="delivered",
                    retrieved_at=to_iso(begin), delivered_at=to_iso(end), task_id="t") for n in range(files)],
    )  # fmt: skip


def test_rates_are_those_of_the_time_in_which_something_was_under_way():
    observed = Observed()
    for day in range(3):
        for seq in range(5):
            # On each of two tapes a unit of 200 GB every thousand seconds.
            for tape in ("AA0001", "AA0002"):
                observed.add(unit(seq, tape=f"{tape[:-1]}{day}" + tape[-1], at=day * DAY + seq * 1000))
    seen = observed.seen()
    assert seen.drive_days == pytest.approx((2e8, 2e8, 2e8))
    # Two tasks at once take 200 s together, not each.
    assert seen.network_days == pytest.approx((2e9, 2e9, 2e9))
    assert (seen.release, seen.files, seen.files_again, seen.tasks, seen.tasks_failed) == (30, 60, 0, 30, 0)


def test_a_pause_is_no_slow_drive_and_what_failed_says_nothing_of_rates():
    observed = Observed()
    observed.add(unit(0))
    observed.add(unit(1, at=PAUSE + 1))
    assert observed.seen().drive_days == ()
    observed.add(unit(2, at=PAUSE + 1001, status="FAILED"))
    observed.add(unit(3, at=PAUSE + 1500, round_=3))
    seen = observed.seen()
    assert seen.drive_days == pytest.approx((2e8,))
    assert (seen.tasks, seen.tasks_failed, seen.files_again) == (4, 1, 2)
    assert Observed().seen() == Seen()


def test_what_a_forecast_is_built_on_is_taken_in_order():
    nothing = basis(Seen(), None, nominal=4e8, efficiency=0.5, medium="LTO9")
    assert sorted(nothing.drive.values) == pytest.approx([1e8, 1.4e8, 1.44e8, 2e8, 2.5e8, 2.5e8, 2.5e8])
    # Where nearly all of the time goes into locates, their doubt is that of the forecast.
    sought = basis(Seen(), None, nominal=4e8, efficiency=1e-6, medium="LTO9")
    assert max(sought.drive.values) > 3 * min(sought.drive.values)
    assert "not measured" in nothing.sources["drive"]
    assert "not measured" in nothing.sources["network"]
    rates = SiteRates(version=1, measured_at="2026-12-01T00:00:00Z", drive_rate=3e8, network_rate=2e9, mount=70.0)
    measured = basis(Seen(), rates, nominal=4e8, efficiency=0.5, medium="LTO9")
    assert measured.drive.values == tuple(share * 3e8 for share in MEASURED_ONCE)
    assert measured.network.values == tuple(share * 2e9 for share in MEASURED_ONCE)
    assert measured.mount == 70.0
    assert "doctor --measure of 2026-12-01" in measured.sources["drive"]
    # Somebody may have written nonsense into it.
    nonsense = SiteRates(version=1, drive_rate=-1.0, network_rate=0.0, mount=-5.0)
    other = basis(Seen(), nonsense, nominal=4e8, efficiency=0.5, medium="LTO9")
    assert (other.drive, other.network, other.mount) == (nothing.drive, nothing.network, 0.0)
    seen = Seen((1e8, 3e8), (1e9,), 40.0, 10_000, 50, 200, 6)
    own = basis(seen, rates, nominal=4e8, efficiency=0.5, medium="LTO9")
    assert own.drive == Figure((1e8, 3e8), "our own sessions, 2 days", by_day=True)
    assert (own.network.values, own.network.by_day, own.release, own.verification) == ((1e9,), True, 40.0, 0.0)
    assert (own.files.failed, own.files.of) == (50 + rules.FILES_FAILED_BEFORE, 10_000 + rules.FILES_BEFORE)
    assert "6 of 200 tasks" in own.sources["tasks failing"]


# --- the simulation of what is left -------------------------------------------------------------------------------


def left(files=40, size=100 * GB, tapes=4, *, key=FIRST, priority=0, remains=None):
    remains = remains or Remains(files, files * size)
    short = key.replace("-", "")[:12]
    remains.request(key, short, priority)
    for tape in range(tapes):
        for number in range(files // tapes):
            remains.add(short, (f"AA000{tape}",), number, 0, size)
    return remains


def fixed(drive=4e8, network=2e9, **more):
    return Basis(Figure((drive,), "x"), Figure((network,), "x"), Share(1e-9, 1.0, "x"), Share(1e-9, 1.0, "x"), **more)


def configured(**of_forecast):
    found = Settings()
    found.hsi.sessions, found.buffer.quota = 4, 5 * TB
    found.forecast.runs = 3
    for name, value in of_forecast.items():
        setattr(found.forecast, name, value)
    return found


def foretell(remains, built_on, outages=(), **of_forecast):
    return campaign.foretell(remains, built_on, configured(**of_forecast), outages, cpu=time.process_time)


def test_the_end_is_that_of_the_slower_of_drives_and_network():
    told = foretell(left(), fixed())
    ((key, ends),) = told.ends.items()
    assert key == FIRST.replace("-", "")[:12]
    # 1 TB of each of four tapes at 400 MB/s; then the hashes and the way of the last unit of each.
    assert all(2500 < end < 4000 for end in ends)
    assert told.mounts == [4, 4, 4]
    assert max(told.most_reserved) <= 5 * TB
    slow = foretell(left(), fixed(network=4e8))
    assert all(10_000 < end < 11_500 for end in slow.ends[key])


def test_the_same_weather_gives_the_same_figures():
    one, other = (foretell(left(), basis(Seen(), None, nominal=3.6e8, efficiency=0.9, medium="TS1155")) for _ in "ab")
    assert one == other
    assert one.ends[FIRST.replace("-", "")[:12]] != sorted(one.ends[FIRST.replace("-", "")[:12]])[:1] * 3


def test_an_outage_delays_the_end_by_its_length():
    (fair,) = foretell(left(), fixed()).ends.values()
    (down,) = foretell(left(), fixed(), [(600.0, 600.0 + 5 * HOUR)]).ends.values()
    for before, after in zip(sorted(fair), sorted(down), strict=True):
        # What was being read is read again.
        assert before + 5 * HOUR <= after < before + 5 * HOUR + 2000
    (later,) = foretell(left(), fixed(), [(9e6, 9.1e6)]).ends.values()
    assert later == fair


def test_requests_share_the_drives_and_the_one_of_higher_priority_is_done_first():
    both = Remains(80, 8 * TB)
    left(key=FIRST, remains=both)
    left(key=SECOND, priority=50, remains=both)
    told = foretell(both, fixed())
    first, second = (told.ends[key.replace("-", "")[:12]] for key in (FIRST, SECOND))
    assert all(high < low for high, low in zip(second, first, strict=True))
    (alone,) = foretell(left(), fixed()).ends.values()
    assert min(first) > 1.5 * max(alone)


def test_what_is_in_the_buffer_already_needs_the_network_alone():
    remains = Remains(10, TB)
    remains.request(FIRST, "100000000000", 0)
    for number in range(10):
        remains.add("100000000000", (), number, 0, 100 * GB)
    told = foretell(remains, fixed())
    assert told.mounts == [0, 0, 0]
    assert all(500 < end < 900 for end in told.ends["100000000000"])


@settings(max_examples=30)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=80), st.integers(1, 4))
def test_however_much_is_taken_together_no_byte_is_lost(sizes, tapes):
    remains = Remains(FEW + 1, sum(sizes))
    remains.grain = 300
    remains.request(FIRST, "100000000000", 0)
    for number, size in enumerate(sizes):
        remains.add("100000000000", (f"AA000{number % tapes}",), number, 0, size)
    catalogue = remains.catalogue("TS1155")
    assert catalogue.bytes == remains.bytes == remains.bytes_of("100000000000") == sum(sizes)
    assert sum(extent.end - extent.start for extents in catalogue.extents.values() for extent in extents) == sum(sizes)
    assert all(file.size <= max(300, *sizes) for file in catalogue.files)
    assert len(catalogue.files) == remains.count


def test_a_large_request_is_simulated_in_a_bounded_number_of_pieces():
    remains = Remains(100_000, 100_000 * GB)
    remains.request(FIRST, "100000000000", 0)
    for number in range(100_000):
        remains.add("100000000000", (f"AA{number // 1000:04d}",), number % 1000, 0, GB)
    assert PIECES <= remains.count <= PIECES + 100
    assert remains.largest == GB


def test_taken_together_it_takes_as_long():
    files, size = 400, 20 * GB
    (exact,) = foretell(left(files, size), fixed()).ends.values()
    remains = Remains(files, files * size)
    remains.grain = 100 * GB
    left(files, size, remains=remains)
    (coarse,) = foretell(remains, fixed()).ends.values()
    assert remains.count == 80
    assert sorted(coarse)[1] == pytest.approx(sorted(exact)[1], rel=0.03)


DAYS = st.lists(st.floats(1e7, 1e9), min_size=1, max_size=10)


@settings(max_examples=25)
@given(DAYS, DAYS, st.sampled_from([3, 5, 9]))
def test_what_is_drawn_lies_within_what_was_seen(drives, network, runs):
    built_on = fixed()
    built_on = Basis(
        Figure(tuple(drives), "x", by_day=True), Figure(tuple(network), "x"), built_on.files, built_on.tasks
    )
    found = campaign.draws(left(), built_on, configured(), runs=runs, seed=1)
    assert len(found) == runs
    for weather in found:
        assert min(drives) <= weather.drive * (1 + 1e-9)
        assert weather.drive <= max(drives) * (1 + 1e-9)
        assert min(network) <= weather.network <= max(network)
    # The first one is the same however many follow.
    assert campaign.draws(left(), built_on, configured(), runs=1, seed=1) == found[:1]


def test_few_observations_give_a_wider_spread_than_many():
    def spread(days):
        built_on = fixed()
        figure = Figure(tuple(days), "x", by_day=True)
        remains = left(4000, 100 * GB)
        weather = campaign.draws(
            remains, Basis(figure, figure, built_on.files, built_on.tasks), configured(), runs=9, seed=1
        )
        rates = [each.drive for each in weather]
        return max(rates) - min(rates)

    assert spread([1e8, 3e8]) > 2 * spread([1e8, 3e8] * 30)
    assert spread([2e8]) < 1


def test_no_more_cpu_time_is_taken_than_is_allowed_but_for_three_runs():
    ticks = itertools.count()
    told = campaign.foretell(left(), fixed(), configured(runs=9, cpu=0.1), (), cpu=lambda: float(next(ticks)))
    assert told.runs == 3
    told = campaign.foretell(left(), fixed(), configured(runs=9, cpu=6.9), (), cpu=lambda: float(next(ticks)))
    assert told.runs == 5


# --- a workspace --------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _fd: None)
    for name in {*[variable for variable, _, _ in config.ENVIRONMENT], "TACC_SYNC_WORK_ROOT"}:
        monkeypatch.delenv(name, raising=False)
    desk = Desk(tmp_path)
    for name in ("clock", "settings"):
        monkeypatch.setattr(Edges, name, property(lambda _edges, name=name: getattr(desk, name)))
    return desk


def planned(desk, **fields):
    desk.fill(files=12, tapes=3)
    desk.drop(request_id=FIRST, **fields)
    desk.run("syncer")
    return FIRST.replace("-", "")[:12]


def test_it_is_kept_shown_and_judged_in_the_end(capsys, desk):
    key = planned(desk, label="run 12")
    assert desk.status().requests[0].forecasts == []
    begun = desk.clock.now()
    out = desk.cli(capsys, "forecast")
    assert f"request {key}: done about " in out
    assert "drive: not measured" in out
    made = json.loads((desk.root / f"ws/finished/{key}/forecasts.json").read_text())["entries"]
    assert made[0]["bytes"] == desk.status().requests[0].selected.bytes
    assert "done about " in desk.cli(capsys, "status")
    assert desk.codes() == []
    # A week goes by in which nothing moves.
    desk.clock.time += WEEK
    shown = desk.cli_json(capsys, "forecast", key)[key]
    assert from_iso(shown["p50"]) - from_iso(made[0]["p50"]) == pytest.approx(WEEK, abs=2)
    assert f"; a week ago it said {made[0]['p50'][:16].replace('T', ' ')}" in desk.cli(capsys, "status", code=1)
    (status,) = desk.cli_json(capsys, "status", code=1)["requests"]
    assert [entry["p50"] for entry in status["forecasts"]] == [made[0]["p50"], shown["p50"]]
    desk.run()
    assert desk.codes() == []
    (status,) = desk.status().requests
    late = from_iso(status.finished_at) - from_iso(made[0]["p50"])
    assert late > 0
    assert "later than" in desk.cli(capsys, "status", code=1)
    (line,) = desk.cli_json(capsys, "history", "--by", "request")["lines"]
    assert (line["forecast"], line["late"]) == ("later", late)
    assert "later, 6 d 23 h late" in desk.cli(capsys, "history", "--by", "request")
    assert begun < from_iso(made[0]["p10"])
    desk.cli(capsys, "forecast")
    assert "Nothing is under way" in desk.talk
    desk.cli(capsys, "forecast", "abcdef", code=64)


def test_what_is_left_is_what_has_not_moved(desk):
    key = planned(desk)
    everything = desk.status().requests[0].selected.bytes
    (found,) = forecasts.open_requests(desk.disk)
    assert (found.key, sum(left.bytes for left in found.left)) == (key, everything)
    assert {left.tape for left in found.left} == {("AA0000",), ("AA0001",), ("AA0002",)}
    retriever = desk.component("retriever")
    retriever.step()
    (found,) = forecasts.open_requests(desk.disk)
    assert sum(left.bytes for left in found.left) == everything
    (fetched,) = [left for left in found.left if left.tape == ()]
    desk.run("globus_xfer")
    (found,) = forecasts.open_requests(desk.disk)
    assert sum(left.bytes for left in found.left) == everything - fetched.bytes


def test_an_outage_on_the_command_line_or_in_the_configuration_delays_it(capsys, desk):
    key = planned(desk)
    (before,) = desk.cli_json(capsys, "forecast").values()
    (down,) = desk.cli_json(capsys, "forecast", "--outage", "2027-01-15T08:00Z/36h").values()
    assert from_iso(down["p50"]) - from_iso(before["p50"]) >= 30 * HOUR
    assert down["sources"]["outages"] == "1 planned"
    desk.settings.forecast.maintenance = ["2027-01-08T08:00Z/36h/7d"]
    (again,) = desk.cli_json(capsys, "forecast", key).values()
    assert again["p50"] == down["p50"]
    desk.cli(capsys, "forecast", "--outage", "tomorrow", code=64)


def test_a_forecast_that_cannot_be_read_is_none(capsys, desk):
    key = planned(desk)
    path = desk.root / f"ws/finished/{key}/forecasts.json"
    for content in (b"", b"{}", b'{"version": 99, "request": "x", "entries": []}', b"\xff" * 99):
        path.write_bytes(content)
        assert desk.status().requests[0].forecasts == []
    desk.cli(capsys, "forecast")
    assert len(desk.status().requests[0].forecasts) == 1


def test_settings_of_outages_are_checked():
    def load(key, value):
        return config.load(None, "", {}, {f"forecast.{key}": value}).settings.forecast

    assert config.parse_outages(load("outages", "2027-01-15T08:00Z/12h")) == [Outage(NOW, 12 * HOUR)]
    for key, bad in (("outages", "x"), ("outages", "2027-01-15T08:00Z/1h/1d"), ("maintenance", "2027-01-15T08:00Z/1h")):
        with pytest.raises(OperatorFault, match=f"forecast.{key}"):
            load(key, bad)


def test_a_run_makes_one_when_there_is_none_or_an_old_one(desk, monkeypatch):
    key = planned(desk)
    said = []
    forecaster = Forecaster(desk.disk, desk.clock, lambda event, **about: said.append((event, about)), {}, 6 * HOUR)
    assert forecaster.is_due()
    entry_now = forecast([10.0, 20.0, 30.0], now=desk.clock.now(), size=1, sources={})
    with desk.hands() as home:
        forecasts.keep(home, key, entry_now)
    assert not forecaster.is_due()
    desk.clock.time += 6 * HOUR
    assert forecaster.is_due()
    monkeypatch.setattr(forecaster, "_command", [sys.executable, "-c", "import sys; sys.exit('so it failed')"])
    forecaster._make()
    assert said == [("forecast_failed", {"text": "so it failed"})]
    desk.run()
    assert not forecaster.is_due()

"""The parts of the campaign benchmark. Each asks for its campaigns, yields, and then tells what came of them."""

from __future__ import annotations

from dataclasses import replace

from simulations import case, models, ours, tapes

from tacc_sync.campaign import compare, reorder
from tacc_sync.campaign.bound import shortest_schedule
from tacc_sync.campaign.campaign import Scene
from tacc_sync.campaign.service import Network
from tacc_sync.campaign.weather import Trouble

TB, HOUR = 10**12, 3600.0
DAY = 24 * HOUR
USUAL = Scene(8, 20 * TB, Network(2.5e9))


def hours(seconds):
    return "never" if seconds is None else f"{seconds / HOUR:,.1f}"


def named(name, scale):
    return name if scale == 1 else f"{name} (x {scale:g})"


def least_of(what, scene):
    return compare.bound_of(tapes(what), scene)


def span(outcome):
    """Seconds, None when it never ended."""
    return outcome.makespan if outcome.finished else None


def side_by_side(bench):
    shares = [("A", 1.0), ("A2", 1.0), ("B", 0.25), ("C", 0.1), *([("M", 1.0)] if bench.large else [])]
    cases = [(name, bench.full * share) for name, share in shares]
    asked = [(bench.ask(ours, what, USUAL), bench.ask(models, what, USUAL)) for what in cases]
    yield
    bench.say("### Policies side by side", "")
    bench.say("D = 8 drives, B = 20 TB, W = 2.5 GB/s, 20 s from a task's last byte to its end. Times in hours.", "")
    rows, against = [], []
    for what, (own, others) in zip(cases, asked, strict=True):
        (outcome, cpu, memory), known = own.result(), others.result()
        cartridges, least, label = tapes(what), least_of(what, USUAL), named(*what)
        for policy, ran in known.items():
            ratio = "-" if ran.makespan is None else f"{ran.makespan / least.seconds:.2f}"
            rows.append(
                (label, policy, hours(ran.makespan), ratio, f"{ran.mounts:,}", hours(ran.drive_seconds), "", "")
            )
            if ran.makespan is not None and policy != "listing order, one session":
                goal = "≥ 0.99" if what[0] == "A" else ""
                gain, allowed = ran.makespan / outcome.makespan, ran.makespan / least.seconds
                against.append((label, policy, f"{gain:.2f}", f"{allowed:.2f}", f"{gain / allowed:.4f}", goal))
        done = outcome.drives
        ratio = f"{outcome.makespan / least.seconds:.4f}"
        measured = f"{cpu:.0f}", f"{memory:.0f}"
        rows.append(
            (label, "**tacc-sync**", hours(span(outcome)), ratio, f"{done.mounts:,}", hours(done.busy), *measured)
        )
        bounds = hours(least.seconds), "1", f"{len(cartridges.times):,}", hours(least.tape_seconds), "", ""
        rows.append((label, f"lower bound ({least.by})", *bounds))
    bench.table(("catalogue", "policy", "makespan", "x bound", "mounts", "drive hours", "CPU s", "MB"), rows)
    bench.say(
        "How many times faster than whole tapes (one session: the earlier tacc-sync), and what the bound allows:", ""
    )
    bench.table(("catalogue", "against", "faster", "bound allows", "share of that", "goal"), against)
    if bench.full == 1:
        rows = [
            ("a campaign of 43,000 files, 4.3 PB", f"{asked[0][0].result()[1]:.0f}", "≤ 60"),
            *([("1,000,000 files, 10 PB", f"{asked[-1][0].result()[1]:.0f}", "≤ 1,200")] if bench.large else []),
        ]
        bench.table(("what a simulation takes", "CPU s", "goal"), rows)


def fairness(bench):
    cases = [("A", bench.full), ("A2", bench.full), ("B", bench.full * 0.25)]
    asked = [bench.ask(ours, what, USUAL) for what in cases]
    yield
    bench.say("### Buffer and fairness", "")
    bench.say(
        "The same campaigns. The reservations are looked at with each change, and what lies in the buffer too.", ""
    )
    rows = []
    for what, own in zip(cases, asked, strict=True):
        outcome = own.result()[0]
        rows.append(
            (
                named(*what),
                f"{outcome.most_reserved / USUAL.buffer:.4f}",
                "≤ 1",
                f"{outcome.most_held / USUAL.buffer:.3f}",
                outcome.units - outcome.units_finished,
                "= 0",
                f"{outcome.longest_wait / outcome.makespan:.3f}",
                f"{outcome.longest_pause / outcome.makespan:.3f}",
            )
        )
    bench.table(
        (
            "catalogue",
            "most reserved, of the buffer",
            "goal",
            "most held, of the buffer",
            "units left behind",
            "goal",
            "longest wait in hpss_queue, of the campaign",
            "longest pause of a begun tape, of the campaign",
        ),
        rows,
    )


def mounts(bench):
    # When the last chain of cartridges is cut over the drives that are free, each cut costs a mount: the fewer
    # cartridges there are, the more that counts.
    share = min(bench.full, 2.5 * bench.scale)
    wanted = [
        ((name, share), replace(USUAL, idle_dismount=idle)) for name in ("A", "A2") for idle in (0.0, 60.0, 900.0)
    ]
    asked = [bench.ask(ours, *each) for each in wanted]
    yield
    bench.say("### Mounts", "", "For each time after which an idle cartridge is dismounted.", "")
    rows = []
    for (what, scene), own in zip(wanted, asked, strict=True):
        outcome, distinct = own.result()[0], len(tapes(what).times)
        ratio, least = outcome.drives.mounts / distinct, least_of(what, scene).seconds
        text = f"after {scene.idle_dismount:.0f} s"
        spent = f"{outcome.makespan / least:.4f}"
        rows.append((named(*what), text, distinct, outcome.drives.mounts, spent, f"{ratio:.3f}", "≤ 1.02"))
    bench.table(("catalogue", "dismounted", "cartridges", "mounts", "x bound", "mounts a cartridge", "goal"), rows)


def buffers(bench):
    what = ("A", bench.scale)
    wanted = []
    for drives, rate, latency in ((4, 2.5e9, 20.0), (8, 2.5e9, 20.0), (8, 2.5e9, 300.0), (8, 5e9, 20.0)):
        scene = Scene(drives, 0, Network(rate, verification=latency))
        star = least_of(what, scene).enough_buffer
        wanted += [(times, star, replace(scene, buffer=int(star * times))) for times in (1, 2, 4, 8, 16)]
    asked = [bench.ask(ours, what, scene) for _, _, scene in wanted]
    yield
    bench.say("### The least buffer", "")
    bench.say("B* is the buffer that just keeps the slower of drives and network busy.")
    bench.say("Of so few cartridges each is on one drive; how near to the bound whole tapes, longest first, then come")
    bench.say("without any limit of buffer stands beside it.", "")
    rows = []
    for (times, star, scene), own in zip(wanted, asked, strict=True):
        outcome, least = own.result()[0], least_of(what, scene).seconds
        site = f"D = {scene.drives}, W = {scene.network.rate / 1e9:g} GB/s, h = {scene.network.verification:.0f} s"
        ratio = f"{outcome.makespan / least:.4f}" if outcome.finished else "never"
        goal = "≤ 1.25" if times == 1 else "≤ 1.01"
        whole = f"{max(1.0, shortest_schedule(tapes(what).times, scene.drives) / least):.4f}"
        rows.append((site, f"{times} B*", f"{star / TB:.2f}", outcome.units, outcome.drives.mounts, whole, ratio, goal))
    bench.table(("site", "B", "B*, TB", "units", "mounts", "whole tapes x bound", "x bound", "goal"), rows)


def against_buffer(bench):
    what, sizes = ("A", bench.scale), (1, 2, 3, 5, 10, 20, 40, 80, 160)
    scenes = [replace(USUAL, buffer=size * TB) for size in sizes]
    asked = [(bench.ask(ours, what, scene), bench.ask(models, what, scene)) for scene in scenes]
    yield
    bench.say("### Makespan against buffer", "")
    curves = {"lower bound": [], "tacc-sync": []}
    for size, scene, (own, others) in zip(sizes, scenes, asked, strict=True):
        curves["lower bound"].append((size, least_of(what, scene).seconds / DAY))
        outcome = own.result()[0]
        curves["tacc-sync"].append((size, outcome.makespan / DAY if outcome.finished else None))
        for policy, ran in others.result().items():
            name = policy.replace("D sessions", "8 sessions")
            curves.setdefault(name, []).append((size, ran.makespan / DAY if ran.makespan else None))
    title = f"Makespan against buffer: {named(*what)}, 8 drives, 2.5 GB/s"
    bench.plot(
        "makespan", title, "buffer, TB", "makespan, days", curves, log_x=True, log_y=True, dashed=("lower bound",)
    )
    rows = [[name, *("never" if y is None else f"{y:.2f}" for _, y in points)] for name, points in curves.items()]
    bench.table(("days with a buffer of", *(f"{size} TB" for size in sizes)), rows)


def one_campaign(bench):
    asked = bench.ask(ours, ("A", bench.full), USUAL)
    yield
    bench.say("### One campaign", "")
    samples = asked.result()[0].samples
    at = [sample.at / DAY for sample in samples]
    bench.plot(
        "buffer",
        f"The buffer over a campaign: {named('A', bench.full)}, 8 drives, 20 TB, 2.5 GB/s",
        "days since the request",
        "TB",
        {
            "quota": [(at[0], USUAL.buffer / TB), (at[-1], USUAL.buffer / TB)],
            "reserved": [(x, s.reserved / TB) for x, s in zip(at, samples, strict=True)],
            "in the buffer": [(x, s.held / TB) for x, s in zip(at, samples, strict=True)],
        },
        y_from=0,
        dashed=("quota",),
    )
    used = {"network": [], "drives, reading": []}
    step = max(1, len(samples) // 120)
    for before, after in zip(samples[::step], samples[step::step], strict=False):
        seconds, middle = (after.at - before.at) or 1.0, (before.at + after.at) / 2 / DAY
        used["network"].append((middle, 100 * (after.moving - before.moving) / seconds))
        used["drives, reading"].append((middle, 100 * (after.reading - before.reading) / seconds / USUAL.drives))
    title = f"Use of drives and network: {named('A', bench.full)}, 8 drives, 20 TB, 2.5 GB/s"
    bench.plot("utilisation", title, "days since the request", "% of the time", used, y_from=0)


def weather(bench):
    # A shorter campaign has its week in as much less time: the same share of maintenance, as often.
    share = bench.full * 0.25
    what = ("A", share)
    outage = {"outage": 12 * HOUR * share, "outage_every": 168 * HOUR * share}
    wanted = [
        ("fair", Trouble(), ""),
        ("5 % of the files fail once", Trouble(files=0.05), ""),
        ("12 h of maintenance a week", Trouble(**outage), ""),
        ("both", Trouble(files=0.05, **outage), "≤ 1.05"),
        (
            "both, 2 % of the tasks break off, a drive fails every 500 h",
            Trouble(files=0.05, tasks=0.02, drive_hours=500 * share, drive_repair=24 * HOUR * share, **outage),
            "",
        ),
    ]
    scenes = [replace(USUAL, trouble=trouble) for _, trouble, _ in wanted]
    asked = [bench.ask(ours, what, scene) for scene in scenes]
    yield
    bench.say("### Foul weather", "")
    bench.say("The bound counts what was read in vain, the mounts that were made, and the time that the sites were up.")
    if share < 1:
        bench.say(f"Catalogue {named(*what)}, with weeks (and days) of {share:g} times their length.")
    bench.say("")
    rows = []
    for (text, _, goal), scene, own in zip(wanted, scenes, asked, strict=True):
        outcome = own.result()[0]
        least = compare.bound_in_weather(tapes(what), scene, outcome)
        vain = f"{outcome.drives.wasted_bytes / TB:.1f}"
        ratio = f"{outcome.makespan / least:.4f}" if outcome.finished else "never"
        rows.append((text, hours(span(outcome)), outcome.drives.mounts, vain, outcome.more_rounds, ratio, goal))
    bench.table(("trouble", "makespan h", "mounts", "TB read in vain", "second rounds", "x bound", "goal"), rows)


def sweep(bench):
    what, sizes = ("A", bench.sweep), (1, 2, 5, 10, 20, 40, 80)
    wanted = [
        (drives, rate, latency, size)
        for drives in (1, 2, 4, 8, 16)
        for rate in (1.25e9, 2.5e9, 5e9)
        for latency in (20.0, 300.0, 900.0)
        for size in sizes
    ]
    scenes = [
        Scene(drives, size * TB, Network(rate, verification=20.0, release=latency - 20.0))
        for drives, rate, latency, size in wanted
    ]
    asked = [bench.ask(ours, what, scene) for scene in scenes]
    yield
    bench.say("### Sweep", "")
    bench.say(
        f"Catalogue {named(*what)}: makespan as a multiple of the bound. h: seconds from a task's last byte until the",
        "service tells its end. **Bold**: more than 1.05 though the buffer is 2 B* or more.",
        f"With so few cartridges ({len(tapes(what).times)}) many drives do not end together, which no order changes.",
        "",
    )
    rows: dict[tuple, list[str]] = {}
    for (drives, rate, latency, size), scene, own in zip(wanted, scenes, asked, strict=True):
        outcome, least = own.result()[0], least_of(what, scene)
        ratio = outcome.makespan / least.seconds
        text = f"{ratio:.3f}" if outcome.finished else "never"
        if ratio > 1.05 and size * TB >= 2 * least.enough_buffer:
            text = f"**{text}**"
        rows.setdefault((drives, f"{rate / 1e9:g}", f"{latency:.0f}", f"{least.enough_buffer / TB:.2f}"), []).append(
            text
        )
    head = ("D", "W GB/s", "h s", "B* TB", *(f"B = {size} TB" for size in sizes))
    bench.table(head, [(*site, *cells) for site, cells in rows.items()])


def outstanding(bench):
    numbers = (1, 8, 32, 128, 512)
    share = 0.05 * bench.full
    scene = Scene(4, 20 * TB, Network(2.5e9))
    asked = [bench.ask(ours, ("B", share), replace(scene, outstanding=number)) for number in numbers]
    yield
    bench.say("### Requests that are open at once", "")
    bench.say(
        'What an archive gains that chooses among the requests of a session (`recall = "stage"`), if it does so: drive',
        "time in tape order, divided by that with N requests at a time. The last column: whole campaigns of catalogue",
        f"{named('B', share)} on 4 drives. Winding x 0.6 is nearer to LTO-9.",
        "",
    )
    columns = []
    for name, winding in (("A2", 1.0), ("B", 1.0), ("B", 0.6), ("C", 1.0), ("C", 0.6)):
        made, geometries = case(name, 0.01 if name == "A2" else 0.02, "TS1155", winding)
        on = made.by_cartridge()
        some = [(geometries.of(label), sorted(on[label], key=lambda extent: extent.start)) for label in sorted(on)[:8]]
        columns.append([busy(made.medium, some, number) for number in numbers])
    rows = []
    first = asked[0].result()[0].makespan
    for place, (number, own) in enumerate(zip(numbers, asked, strict=True)):
        gains = [f"{column[0] / column[place]:.2f}" for column in columns]
        rows.append((number, *gains, f"{first / own.result()[0].makespan:.2f}"))
    bench.table(("requests", "A2", "B", "B, winding x 0.6", "C", "C, winding x 0.6", "campaign, B"), rows)


def busy(medium, some, number):
    """Seconds for which drives are busy with some cartridges."""
    return sum(
        reorder.tape_time(
            geometry,
            medium.mount,
            extents,
            reorder.served(geometry, medium.rate, extents, outstanding=number, at=0.0),
        )
        for geometry, extents in some
    )


PARTS = (
    side_by_side,
    fairness,
    mounts,
    buffers,
    against_buffer,
    one_campaign,
    weather,
    outstanding,
    sweep,
)

"""The promises of `coeval bench align`, and how a table's rows stand to them."""

from collections.abc import Sequence

from coeval_lab.bench.align_plan import CLEAN, NOISY
from coeval_lab.bench.bars import Bar, every
from coeval_lab.bench.rows import Row
from coeval_lab.bench.syncwise import METHOD as SYNCWISE

LEAST_ACCEPTED = 100
"""Coverage is judged where at least this many trials were accepted: of fewer, chance alone puts
many lines below 90% or above 99%."""
SPEECH = "audio-text"
RIGS = "skew: video-imu"
SCENES = "held-out scenes, 60 s"
LONG_SCENES = "held-out scenes, 600 s"
LONG_SOUND = "able_frenchsong, whole"
"""183 s."""


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """How the promises of the first release stand."""
    ours = [row for row in rows if row["method"] == "coeval"]

    def where(pair: str, source: str | None = None) -> list[Row]:
        return [r for r in ours if r["pair"] == pair and source in (None, r["source"])]

    def noted(note: str) -> list[Row]:
        return [row for row in ours if row["note"] == note]

    pairs_of_scenes = [
        row
        for row in ours
        if row["source"] == SCENES and not str(row["pair"]).startswith(("unrelated", "joint"))
    ]
    stills = [row for row in ours if row["source"] == LONG_SCENES]
    covered = [
        row
        for row in ours
        if row.get("coverage95") is not None
        and row["trials"] * (row["locked"] or 0) / 100 >= LEAST_ACCEPTED
    ]
    # Where the truth itself is only known to so many ms, too wide an interval does not show.
    exact = [row for row in covered if not row["truth_sigma_ms"]]
    karma = where("video-metadata", "gopro_karma video-gyro, whole")
    fast = where("speed: video, imu, audio", "300 s")
    three_minutes = [row for pair in (CLEAN, NOISY) for row in where(pair, LONG_SOUND)]
    bars = [
        at_most("audio–audio clean, median", where(CLEAN, "all, whole"), "median_ms", 0.1, "ms"),
        at_most(
            "audio–audio reverb + 0 dB noise, median",
            where(NOISY, "all, whole"),
            "median_ms",
            1,
            "ms",
        ),
        at_most("video–IMU with motion, median", where(RIGS), "median_ms", 10, "ms"),
        at_least("video–IMU with motion, accepted within 40 ms", where(RIGS), "within_40ms", 95),
        at_most("speech audio–text, median", where(SPEECH, "all, whole"), "median_ms", 50, "ms"),
        at_least(
            "generated scenes 60 s, accepted within 100 ms", pairs_of_scenes, "within_100ms", 95
        ),
        at_least(
            "generated scenes 10 min with stills, accepted within 300 ms",
            stills,
            "within_300ms",
            90,
        ),
        at_most("gopro_karma video–gyro locked, p95", karma, "p95_ms", 60, "ms"),
        at_most(
            "stabilised video, near-continuous speech: accepted",
            noted("locked should be 0"),
            "locked",
            0,
            "%",
        ),
        at_most("unrelated or silent: accepted", noted("locked should be ≤ 1"), "locked", 1, "%"),
        at_most("skew of 3 min audio", three_minutes, "skew_err_ppm", 5, "ppm"),
        at_most("skew of 2 min video–IMU", where(RIGS), "skew_err_ppm", 20, "ppm"),
        at_least("95% interval covers", covered, "coverage95", 90),
        at_most("95% interval is no wider than need be", exact, "coverage95", 99, "%"),
        every("3 streams × 5 min, CPU", fast, "cpu_s", "< 10 s", lambda v: v < 10),
        every("peak memory", fast, "peak_mb", "< 500 MB", lambda v: v < 500),
    ]
    for peer in ("audalign", "syncstart", "audio-offset-finder"):
        for pair in (CLEAN, NOISY):
            bars.append(against(rows, peer, pair, "all, whole", "median_ms"))
    bars.append(against(rows, "ffsubsync", SPEECH, "all, whole", "median_ms"))
    for peer, pair, source in (
        ("ffsubsync", SPEECH, "all, whole"),
        ("nearest-advocate", SPEECH, "all, whole"),
        ("nearest-advocate", "metadata-metadata", "all, whole"),
        (SYNCWISE, "video-metadata", "all, whole"),
        (SYNCWISE, RIGS, "held-out rig scenes, 150 s"),
    ):
        bars.append(against(rows, peer, pair, source, "right"))
    return bars


def at_most(name: str, rows: Sequence[Row], column: str, limit: float, unit: str) -> Bar:
    """A bar that every row's number must not exceed."""
    return every(name, rows, column, f"≤ {limit:g} {unit}", lambda value: value <= limit)


def at_least(name: str, rows: Sequence[Row], column: str, percent: float) -> Bar:
    """A bar that every row's share must reach."""
    return every(name, rows, column, f"≥ {percent:g}%", lambda value: value >= percent)


def against(rows: Sequence[Row], peer: str, pair: str, source: str, column: str) -> Bar:
    """Our number against a peer's on the same trials: a smaller median, a larger share right."""
    found = {
        row["method"]: row[column]
        for row in rows
        if row["pair"] == pair and row["source"] == source and row["method"] in ("coeval", peer)
    }
    ours, theirs = found.get("coeval"), found.get(peer)
    if column == "right":
        name, sign, unit = f"right (within 100 ms, of all trials) no less than {peer}", "≥", "%"
        met = ours is not None and theirs is not None and ours >= theirs
    else:
        name, sign, unit = f"median no worse than {peer}", "≤", "ms"
        met = ours is not None and theirs is not None and ours <= theirs
    return Bar(
        name=f"{pair}: {name}",
        wanted="peer not measured" if theirs is None else f"{sign} {theirs} {unit}",
        got="none" if ours is None else f"{ours} {unit}",
        met=met,
    )

"""What is promised of the aggregator, and how it stands; the pictures of its cost."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from coeval_lab.bench.aggregator_process import Row
from coeval_lab.bench.bars import Bar

FLAT_PERCENT = 1.0
"""Growth of memory in half an hour that counts as none."""

FROM_A_LINE = 0.2
IN_TIME_MS = 1000.0
"""Later than that after the last block of a tick, a process does not keep up."""


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """What is promised of the aggregator; what was not measured is not kept."""
    return [
        ingest_bar(rows),
        *live_bars(rows),
        memory_bar(rows),
        linear_bar(rows),
        session_bar(rows),
        *(aligned_bar(rows, database) for database in ("SQLite", "PostgreSQL")),
        *outage_bars(rows),
    ]


def missing(name: str, wanted: str) -> Bar:
    """A bar that was not measured."""
    return Bar(name=name, wanted=wanted, got="not measured", met=False)


def ingest_bar(rows: Sequence[Row]) -> Bar:
    """How fast a backlog becomes durable."""
    name = "ingest, durable and aligned, of the rate of a bare paho client"
    ratios = [row["ratio_to_bare_paho"] for row in rows if "ratio_to_bare_paho" in row]
    if not ratios:
        return missing(name, "≥ 0.7")
    return Bar(name=name, wanted="≥ 0.7", got=", ".join(map(str, ratios)), met=min(ratios) >= 0.7)


def live_bars(rows: Sequence[Row]) -> list[Bar]:
    """Two hundred streams; the share also once the rings are full, where that was measured."""
    lived = [r for r in rows if r["part"] in ("live", "memory") and r["streams"] == 200]
    shares = [row["cpu_share"] for row in lived]
    late = [row["p99_ms"] for row in lived if row["part"] == "live"]
    names = "200 streams: of one core", "200 streams: ticks after the last block, 99 %"
    return [
        Bar(
            name=names[0],
            wanted="< 1",
            got=", ".join(f"{row['cpu_share']} ({row['part']})" for row in lived),
            met=max(shares) < 1,
        )
        if lived
        else missing(names[0], "< 1"),
        Bar(
            name=names[1],
            wanted="< 250 ms",
            got=", ".join(f"{ms} ms" for ms in late),
            met=all(ms is not None and ms < 250 for ms in late),
        )
        if late
        else missing(names[1], "< 250 ms"),
    ]


def memory_bar(rows: Sequence[Row]) -> Bar:
    """Flat: the upper end of the slope's interval is below a percent in half an hour."""
    name = f"200 streams: memory over 30 min grows by less than {FLAT_PERCENT:g} %, 95 % sure"
    wanted = f"< {FLAT_PERCENT:g} %"
    found = [row for row in rows if row["part"] == "memory" and row["minutes"] >= 30]
    if not found:
        return missing(name, wanted)
    row = found[-1]
    scale = 0.5 * 100.0 / row["first_mb"]
    slope, ci95 = row["slope_mb_per_h"] * scale, row["slope_ci95_mb_per_h"] * scale
    return Bar(name=name, wanted=wanted, got=f"{slope:.2f} ± {ci95:.2f} %", met=slope + ci95 < 1.0)


def linear_bar(rows: Sequence[Row]) -> Bar:
    """What a block and a tick cost, whatever the number of sessions: a line, beside a fixed cost.

    Estimates of clocks are left out: however many sessions there are, all together they take half
    of the time at most. A process that is full falls behind and does more at once, so that what
    it takes is no cost of its streams: such numbers of streams are named, and keep no promise.
    """
    name = "cost without estimates of clocks: farthest from a line through the numbers of streams"
    wanted = f"≤ {FROM_A_LINE:.0%}, all in time"
    found = [row for row in rows if row["part"] == "live" and row.get("p99_ms") is not None]
    late = [row for row in found if row["p99_ms"] > IN_TIME_MS]
    streams, cost = (
        np.array([value(row) for row in found if row not in late], np.float64)
        for value in (lambda row: row["streams"], cost_of_streams)
    )
    if len(cost) < 3:
        return missing(name, wanted)
    inverse = np.stack([1.0 / cost, streams / cost], axis=1)  # relative errors count alike
    (fixed, each), *_ = np.linalg.lstsq(inverse, np.ones(len(cost)), rcond=None)
    worst = float(np.abs((fixed + each * streams) / cost - 1.0).max())
    told = [f"{worst:.0%} for {streams.min():.0f} to {streams.max():.0f} streams"]
    told += [
        f"{row['streams']}: {row['p99_ms'] / 1e3:.1f} s late, {row['cpu_share']:.2f} of a core"
        for row in late
    ]
    return Bar(name=name, wanted=wanted, got="; ".join(told), met=worst <= FROM_A_LINE and not late)


def cost_of_streams(row: Row) -> float:
    """Share of a core without estimates of clocks."""
    return float(row["cpu_share"] - row["estimating_share"])


def session_bar(rows: Sequence[Row]) -> Bar:
    """From each number of streams to the next, within one session: against N log N."""
    name = "cost within a session, growth over that of N log N from the smallest"
    found = sorted((r for r in rows if r["part"] == "session"), key=lambda row: row["streams"])
    if len(found) < 2:
        return missing(name, "≤ 1")
    costs = [row["cpu_share"] / n_log_n(row["streams"]) for row in found]
    worst = max(costs[1:]) / costs[0]
    return Bar(name=name, wanted="≤ 1", got=f"{worst:.2f}", met=worst <= 1.0)


def n_log_n(num: int) -> float:
    """N log N."""
    return num * math.log(num)


def aligned_bar(rows: Sequence[Row], database: str) -> Bar:
    """Ten minutes of ten streams."""
    name = f"10 min × 10 streams aligned, from {database}"
    found = {
        row["by"].rpartition(", ")[2]: row["p50_ms"]
        for row in rows
        if row["part"] == "aligned" and database in row["by"] and row.get("p50_ms") is not None
    }
    if not found:
        return missing(name, "< 100 ms")
    got = ", ".join(f"{answer} {ms} ms" for answer, ms in found.items())
    return Bar(name=name, wanted="< 100 ms", got=got, met=max(found.values()) < 100)


def outage_bars(rows: Sequence[Row]) -> list[Bar]:
    """A database that goes away."""
    name = "PostgreSQL away for ten minutes, 200 streams: lost, duplicated; said so"
    wanted = "0, 0; yes"
    found = [row for row in rows if row["part"] == "outage" and row["outage_s"] >= 600]
    if not found:
        return [missing(name, wanted)]
    row = found[-1]
    said = "yes" if row["told_on_mqtt"] and row["told_on_health"] else "no"
    return [
        Bar(
            name=name,
            wanted=wanted,
            got=f"{row['lost']}, {row['duplicated']}; {said}",
            met=row["lost"] == 0 and row["duplicated"] == 0 and said == "yes",
        )
    ]


def plot_costs(rows: Sequence[Row], path: Path) -> None:
    """Processor share against streams, over sessions and within one, and memory against time."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    over, within, memory = figure.subplots(1, 3)
    live = sorted((r for r in rows if r["part"] == "live"), key=lambda row: row["streams"])
    streams = [row["streams"] for row in live]
    over.plot(streams, [row["cpu_share"] for row in live], "o-", label="all")
    over.plot(
        streams,
        [row["cpu_share"] - (row.get("estimating_share") or 0.0) for row in live],
        "s-",
        label="without estimates of clocks",
    )
    over.set_xlabel("streams, in sessions of 20")
    one = sorted((r for r in rows if r["part"] == "session"), key=lambda row: row["streams"])
    if one:
        counts = [row["streams"] for row in one]
        scale = one[0]["cpu_share"] / n_log_n(counts[0])
        within.plot(counts, [row["cpu_share"] for row in one], "o-", label="measured")
        within.plot(counts, [scale * n_log_n(n) for n in counts], "k--", label="N log N")
    within.set_xlabel("streams in one session")
    for axes in (over, within):
        axes.set_ylabel("share of one core")
        axes.set_ylim(bottom=0.0)
        if axes.has_data():
            axes.legend()
    for row in rows:
        if row["part"] == "memory":
            memory.plot(row["memory_by_minute_mb"], label=f"{row['streams']} streams")
    memory.set_xlabel("minutes")
    memory.set_ylabel("resident memory, MB")
    memory.set_ylim(bottom=0.0)
    for axes in (over, within, memory):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)

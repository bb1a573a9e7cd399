"""Live sessions: processor, memory, how late ticks are; against streams, and over time."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coeval_lab.bench.aggregator_load import SETTLE_S, Load
from coeval_lab.bench.aggregator_process import (
    Row,
    Say,
    Seen,
    Sending,
    Watched,
    aggregating,
    num_blocks,
    rounded,
    sending,
    wait_for,
    wait_until_up,
)
from coeval_lab.broker import start_broker

LOOK_S = 1.0
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """What was seen of a run."""

    watched: Watched
    """The aggregator."""
    told: dict[str, Any]
    """What the sender sent and heard."""
    behind_s: float
    """From the sender's end until every block was stored."""


def live(load: Load, *, seconds: float, after_s: float) -> Lived:
    """Run sessions against an aggregator with an SQLite store.

    Args:
        load: the sessions.
        seconds: how long.
        after_s: when what counts begins.
    """
    with start_broker() as broker, tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        url = f"sqlite:///{folder}/store.db"
        with aggregating(broker, url) as watched:
            wait_until_up(Path(folder))
            with sending(broker, load, seconds=seconds) as sender:
                told = watch(watched, sender, after_s=after_s)
            ended_s = time.monotonic()
            wait_for(lambda: num_blocks(url) >= told["blocks"], "every block to be stored")
            return Lived(watched=watched, told=told, behind_s=time.monotonic() - ended_s)


def watch(watched: Watched, sender: Sending, *, after_s: float) -> dict[str, Any]:
    """Look at the aggregator until the sender ends; what that said."""
    begin_s = watched.look().t_s + after_s
    while not sender.is_done:
        time.sleep(LOOK_S)
        is_mark = time.monotonic() >= begin_s
        watched.look(is_mark=is_mark)
        begin_s = math.inf if is_mark else begin_s
    watched.look(is_mark=True)
    return sender.told()


def live_row(load: Load, *, part: str, seconds: float, say: Say, settle_s: float = SETTLE_S) -> Row:
    """One number of streams; what comes before `settle_s` does not count."""
    say(f"{load.total} streams in {len(load.sessions)} sessions live for {seconds:g} s")
    lived = live(load, seconds=seconds, after_s=settle_s)
    return {"part": part, **facts(load, lived)}


def facts(load: Load, lived: Lived) -> Row:
    """What is told of every run."""
    shares, told = lived.watched.shares(), lived.told
    heard = ", ".join(f"{mode} {num}" for mode, num in sorted(told["fusions"].items()))
    return {
        "by": "coeval, SQLite",
        "streams": load.total,
        "sessions": len(load.sessions),
        "cpu_share": round(shares.own, 3),
        "estimating_share": round(shares.estimating, 3),
        "cpu_share_a_stream": round(shares.own / load.total, 5),
        "p50_ms": rounded(told["p50_ms"]),
        "p99_ms": rounded(told["p99_ms"]),
        "ticks": told["ticks"],
        "memory_mb": round(lived.watched.seen[-1].memory_mb, 1),
        "others_cpu": round(shares.others, 2),
        "note": f"ticks: {heard or 'none'}; every block stored {lived.behind_s:.1f} s after the "
        f"last; latest tick {told['max_ms']:.0f} ms",
    }


def memory_row(load: Load, *, warm_s: float, seconds: float, say: Say) -> Row:
    """Whether memory grows, once the rings are full.

    A window of the streams is kept (600 s of theirs): until it is full memory must grow, and what
    is measured begins after.
    """
    say(f"memory of {load.total} streams for {seconds / 60:g} min after {warm_s / 60:g} min")
    lived = live(load, seconds=warm_s + seconds, after_s=warm_s)
    slope = slope_of(lived.watched.seen, after_s=warm_s)
    own = facts(load, lived)
    seen = lived.watched.seen
    first = next(each for each in seen if each.t_s >= seen[0].t_s + warm_s)
    return {
        "part": "memory",
        **own,
        "slope_mb_per_h": rounded(slope.mb_per_h, 2),
        "slope_ci95_mb_per_h": rounded(slope.ci95_mb_per_h, 2),
        "minutes": round(seconds / 60, 1),
        "first_mb": round(first.memory_mb, 1),
        "note": f"after {warm_s / 60:.0f} min of warm-up; {own['note']}",
        "memory_by_minute_mb": [round(value, 2) for value in minutes_of(seen)],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """How memory goes."""

    mb_per_h: float
    """Growth."""
    ci95_mb_per_h: float
    """Half-width of its 95 % interval."""


def minutes_of(seen: Sequence[Seen], *, after_s: float = 0.0) -> list[float]:
    """Mean memory of every whole minute, MB."""
    begin_s = seen[0].t_s + after_s
    minutes: dict[int, list[float]] = {}
    for each in seen:
        if each.t_s >= begin_s:
            minutes.setdefault(int((each.t_s - begin_s) / MINUTE_S), []).append(each.memory_mb)
    whole = int((seen[-1].t_s - begin_s) / MINUTE_S)
    return [float(np.mean(minutes[k])) for k in range(whole) if k in minutes]


def slope_of(seen: Sequence[Seen], *, after_s: float) -> Slope:
    """Least squares through the minutes' means.

    Memory goes in steps, and a minute is like the one before: the interval is widened as the
    correlation of what is left over from one minute to the next says (effective sample size of a
    first-order autoregression).
    """
    means = np.array(minutes_of(seen, after_s=after_s))
    if len(means) < 4:
        return Slope(mb_per_h=float("nan"), ci95_mb_per_h=float("nan"))
    t_h = np.arange(len(means)) / 60.0
    slope, level = np.polyfit(t_h, means, 1)
    rest = means - (slope * t_h + level)
    spread = float(np.sum(rest**2))
    alike = float(np.sum(rest[1:] * rest[:-1]) / spread) if spread > 1e-12 else 0.0
    alike = min(max(alike, 0.0), 0.95)
    sigma = np.sqrt(spread / (len(means) - 2) / np.sum((t_h - t_h.mean()) ** 2))
    return Slope(
        mb_per_h=float(slope),
        ci95_mb_per_h=float(2.0 * sigma * np.sqrt((1 + alike) / (1 - alike))),
    )

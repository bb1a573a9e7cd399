"""`coeval bench aggregator`: how fast, how steady and how cheap the aggregator is.

Each section is a function of its own file; they run one after the other, since two cores would
share. The aggregator is `coeval aggregator` in a process of its own, with what it has by default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from coeval_lab.bench.aggregator_bars import bars_of, plot_costs
from coeval_lab.bench.aggregator_ingest import ingest_rows
from coeval_lab.bench.aggregator_live import live_row, memory_row
from coeval_lab.bench.aggregator_load import Load
from coeval_lab.bench.aggregator_lsl import lsl_rows
from coeval_lab.bench.aggregator_outage import outage_row
from coeval_lab.bench.aggregator_process import Row, Say
from coeval_lab.bench.aggregator_reading import reading_rows
from coeval_lab.bench.bars import Bar
from coeval_lab.bench.report import Page, chosen_parts, with_parts_again

Keep = Callable[[Sequence[Row]], None]

SECTIONS = ("ingest", "live", "session", "aligned", "lsl", "memory", "outage")
"""In the order they run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    sections: tuple[str, ...] = SECTIONS
    """Which of SECTIONS."""
    backlog: int = 2000
    """Blocks of each of 20 streams that are drained."""
    streams: tuple[int, ...] = (10, 50, 200, 500, 1000)
    """How many are live in sessions of 20, one after the other."""
    in_session: tuple[int, ...] = (5, 20, 50, 100)
    """How many are live in one session."""
    live_s: float = 70.0
    """How long each."""
    stored_s: int = 3600
    """How much the store holds that is read from, at least half an hour."""
    repeats: int = 20
    """How often a range is read; the median counts."""
    lsl_streams: tuple[int, ...] = (20, 200)
    """How many LSL carries."""
    lsl_s: float = 30.0
    """How long each."""
    warm_s: float = 1500.0
    """When memory is looked at: its rings are full after 480 s, and what is allocated for estimates
    settles until minute 21 (200 streams, 2026-11-26); flat since."""
    memory_s: float = 1800.0
    """How long."""
    outage_s: float = 600.0
    """How long the database is away."""
    long_streams: int = 200
    """How many are live while memory is looked at, and while the database is away."""


QUICK = Plan(
    backlog=200,
    streams=(20,),
    in_session=(5,),
    live_s=16.0,
    stored_s=1800,
    repeats=5,
    lsl_streams=(20,),
    lsl_s=5.0,
    warm_s=12.0,
    memory_s=8.0,
    outage_s=5.0,
    long_streams=20,
)


def plan_of(
    *,
    quick: bool,
    seed: int,
    recordings: Path | None = None,
    with_peers: bool = True,
    sections: Sequence[str] = (),
) -> Plan:
    """What to measure; seed and recordings play no part.

    Raises:
        BadConfig: a section that is none.
    """
    del seed, recordings
    chosen = chosen_parts(sections, SECTIONS)
    if not with_peers:
        chosen = tuple(name for name in chosen if name != "lsl")
    return replace(QUICK if quick else Plan(), sections=chosen)


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Keep = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Every section, one after the other."""
    parts = [part for section in plan.sections for part in parts_of(plan, section, say)]
    rows: list[Row] = []
    for k, part in enumerate(parts):
        found = part()
        keep(found)
        rows += found
        progress((k + 1) / len(parts))
    return rows, bars_of(rows)


def merged(plan: Plan, before: Sequence[Row], rows: Sequence[Row]) -> tuple[list[Row], list[Bar]]:
    """A report's rows with those of the sections that were measured again in their place."""
    whole = with_parts_again(
        before, rows, chosen=plan.sections, known=SECTIONS, part_of=lambda row: str(row["part"])
    )
    return whole, bars_of(whole)


def parts_of(plan: Plan, section: str, say: Say) -> list[Callable[[], list[Row]]]:
    """What a section does, step by step."""

    def lived(load: Load) -> list[Row]:
        return [live_row(load, part=section, seconds=plan.live_s, say=say)]

    def remembered(load: Load) -> list[Row]:
        return [memory_row(load, warm_s=plan.warm_s, seconds=plan.memory_s, say=say)]

    def bereft(load: Load) -> list[Row]:
        return [outage_row(load, outage_s=plan.outage_s, say=say)]

    def heard(num: int) -> list[Row]:
        return lsl_rows(num, seconds=plan.lsl_s, say=say)

    match section:
        case "ingest":
            return [partial(ingest_rows, plan.backlog, say)]
        case "live":
            return [partial(lived, Load.of(num)) for num in plan.streams]
        case "session":
            return [partial(lived, Load(sessions=(num,))) for num in plan.in_session]
        case "aligned":
            return [partial(reading_rows, say, stored_s=plan.stored_s, repeats=plan.repeats)]
        case "lsl":
            return [partial(heard, num) for num in plan.lsl_streams]
        case "memory":
            return [partial(remembered, Load.of(plan.long_streams))]
        case _:
            return [partial(bereft, Load.of(plan.long_streams))]


PAGE = Page(
    title="the aggregator",
    columns=(
        "part",
        "by",
        "streams",
        "sessions",
        "rate",
        "ratio_to_bare_paho",
        "cpu_us",
        "cpu_share",
        "estimating_share",
        "cpu_share_a_stream",
        "others_cpu",
        "p50_ms",
        "p99_ms",
        "ticks",
        "memory_mb",
        "slope_mb_per_h",
        "slope_ci95_mb_per_h",
        "outage_s",
        "lost",
        "duplicated",
        "catch_up_s",
        "note",
    ),
    names=("part", "by", "note"),
    explanation=(
        "`ingest`: a backlog of 304-byte QoS 1 blocks that mosquitto kept for absent subscribers;"
        " `rate` in messages a second, `cpu_us` of processor a message. `live`: sessions of 20 "
        "streams on 10 nodes, 25 embeddings a second each (clocks of 20 Hz hops, run 1.25 times "
        "as fast), embeddings of a generated scene under the shipped encoders' hashes, pulses of "
        "UTC of every node; `session`: as many in one session. Shares are of one core; "
        "`estimating_share` is the part of `cpu_share` for estimates of clocks, of which all "
        "sessions together get half of the time at most; `others_cpu` all other processes of this"
        " machine, broker and sender among them. `p50_ms` and `p99_ms`: from when the broker was "
        "handed the last block that a tick needs to the tick at a subscriber. `memory`: resident "
        "memory after the rings have filled, its slope by least squares over the minutes' means, "
        "with a 95 % interval that counts how alike one minute is to the next. `aligned`: "
        "`/aligned` over HTTP, from question to whole answer. `lsl`: liblsl carries as many "
        "streams of 16 numbers at 25 Hz in chunks of 8, received by one process, which estimates "
        "each sender's clock by network and aligns, fuses and stores nothing. `outage`: "
        "PostgreSQL is killed, and comes back after `outage_s`. Broker, sender, database and "
        "aggregator share this machine's cores."
    ),
    caption="Share of one core against live streams, over sessions and within one; memory.",
    plot=plot_costs,
)

"""`coeval bench aggregator`: how fast, how steady and how cheap the aggregator is.

Ingest: a backlog is drained from mosquitto by a bare paho client, and by the aggregator into its
store and its sessions. Live: sessions of 20 streams at 20 embeddings a second each, every node with
pulses of UTC. Reading: `/aligned` of ten minutes of ten streams, from either database.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coeval.errors import CoevalError
from coeval.hops import HOP_NS
from coeval.time import NS_PER_S, NodeNs, RefNs
from coeval_aggregator.api.aligned import to_json
from coeval_aggregator.store.alignment import align_rows
from coeval_aggregator.store.opening import open_reader, open_store
from coeval_aggregator.store.records import BlockRecord, ClockRecord, Kept, Record, Timeline
from coeval_lab.bench.aggregator_load import (
    ROWS,
    Load,
    publish_backlog,
    subscribe_and_leave,
)
from coeval_lab.bench.bars import Bar
from coeval_lab.bench.report import Page
from coeval_lab.broker import RunningBroker, start_broker
from coeval_lab.postgres import find_postgres, start_postgres

Row = dict[str, Any]
Say = Callable[[str], None]
Keep = Callable[[Sequence[Row]], None]

PATIENCE_S = 600.0
TICKS_A_S = os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1000
SESSION = Load(num_sessions=1, num_nodes=10, num_streams=2)
"""A session of 20 streams."""
STEP_NS = 250_000_000

AGGREGATOR = """
import sys, threading
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.config import StoreConfig

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
store = StoreConfig(url=sys.argv[2])
Aggregator(AggregatorConfig(session="+", broker=sys.argv[1], store=store)).run(stop)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    backlog: int
    """Blocks of each of 20 streams that are drained."""
    sessions: tuple[int, ...]
    """How many sessions of 20 streams are live, one after the other."""
    live_s: float
    """How long each."""
    repeats: int
    """How often a range is read; the median counts."""
    stored_s: int = 3600
    """How much the store holds that is read from, at least half an hour."""


def plan_of(
    *, quick: bool, seed: int, recordings: Path | None = None, with_peers: bool = True
) -> Plan:
    """What to measure; seed, recordings and peers play no part."""
    del seed, recordings, with_peers
    if quick:
        return Plan(backlog=200, sessions=(1,), live_s=12.0, repeats=5, stored_s=1800)
    return Plan(backlog=2000, sessions=(1, 3, 10, 25, 50), live_s=120.0, repeats=20)


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Keep = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Every part, one after the other: two cores would share."""
    parts: list[Callable[[], list[Row]]] = [
        lambda: ingest_rows(plan, say),
        *(lambda n=n: [live_row(plan, n, say)] for n in plan.sessions),
        lambda: reading_rows(plan, say),
    ]
    rows: list[Row] = []
    for k, part in enumerate(parts):
        found = part()
        keep(found)
        rows += found
        progress((k + 1) / len(parts))
    return rows, bars_of(rows)


def ingest_rows(plan: Plan, say: Say) -> list[Row]:
    """The same backlog, drained by a bare client and by the aggregator."""
    num = plan.backlog * SESSION.total
    with start_broker() as broker, tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        url = f"sqlite:///{folder}/store.db"
        subscribe_and_leave(broker.url)
        with aggregating(broker, url):
            wait_for(lambda: Path(f"{folder}/store.db").exists(), "the aggregator")
            time.sleep(2.0)  # it has subscribed; the broker keeps what comes from now on
        say(f"a backlog of {num} blocks")
        publish_backlog(broker.url, SESSION, num_each=plan.backlog)
        say("drained by paho alone")
        command = [sys.executable, "-m", "coeval_lab.bench.aggregator_load"]
        said = subprocess.run(
            [*command, "bare", broker.url, str(num)], capture_output=True, check=True, text=True
        )
        bare = json.loads(said.stdout)
        say("drained by the aggregator")
        with aggregating(broker, url) as process:
            began_s = first_s = time.monotonic()
            while (done := num_blocks(url)) < num:
                if not done:
                    first_s = time.monotonic()
                if time.monotonic() > began_s + PATIENCE_S:
                    raise CoevalError(f"{done} of {num} blocks stored after {PATIENCE_S:g} s")
                time.sleep(0.02)
            took_s = time.monotonic() - first_s
            cpu_s = cpu_of(process)
    rate, bare_rate = num / took_s, num / bare["took_s"]
    return [
        {
            "part": "ingest",
            "by": "paho, bare",
            "streams": SESSION.total,
            "rate": round(bare_rate),
            "cpu_us": round(1e6 * bare["cpu_s"] / num, 1),
        },
        {
            "part": "ingest",
            "by": "coeval, SQLite",
            "streams": SESSION.total,
            "rate": round(rate),
            "ratio_to_bare_paho": round(rate / bare_rate, 3),
            "cpu_us": round(1e6 * cpu_s / num, 1),
            "note": "durable and in its session; its start is in cpu_us",
        },
    ]


def live_row(plan: Plan, num_sessions: int, say: Say) -> Row:
    """Sessions of 20 streams, live: processor, memory, how late ticks are."""
    load = Load(
        num_sessions=num_sessions, num_nodes=SESSION.num_nodes, num_streams=SESSION.num_streams
    )
    say(f"{load.total} streams live for {plan.live_s:g} s")
    with start_broker() as broker, tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        url = f"sqlite:///{folder}/store.db"
        with aggregating(broker, url) as process:
            wait_for(lambda: Path(f"{folder}/store.db").exists(), "the aggregator")
            time.sleep(2.0)
            before_cpu_s, began_s = cpu_of(process), time.monotonic()
            sender = [sys.executable, "-m", "coeval_lab.bench.aggregator_load", "sender"]
            numbers = [num_sessions, load.num_nodes, load.num_streams, plan.live_s]
            said = subprocess.run(
                [*sender, broker.url, *map(str, numbers)],
                capture_output=True,
                check=True,
                text=True,
            )
            cpu_s, took_s = cpu_of(process) - before_cpu_s, time.monotonic() - began_s
            memory_mb = memory_of(process)
            told = json.loads(said.stdout)
            wait_for(lambda: num_blocks(url) >= told["sent"], "every block to be stored")
            caught_up_s = time.monotonic() - began_s - took_s
    late_ms = 1e3 * np.array(told["late_s"] or [np.nan])
    return {
        "part": "live",
        "by": "coeval, SQLite",
        "streams": load.total,
        "cpu_share": round(cpu_s / took_s, 3),
        "cpu_share_a_stream": round(cpu_s / took_s / load.total, 5),
        "p50_ms": rounded(float(np.percentile(late_ms, 50))),
        "p99_ms": rounded(float(np.percentile(late_ms, 99))),
        "ticks": len(told["late_s"]),
        "memory_mb": round(memory_mb, 1),
        "note": f"every block stored {caught_up_s:.1f} s after the last",
    }


def reading_rows(plan: Plan, say: Say) -> list[Row]:
    """Ten minutes of ten streams from a store of twenty."""
    with tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        say("aligned rows from SQLite")
        rows = [reading_row(plan, f"sqlite:///{folder}/store.db", "coeval, SQLite")]
    if find_postgres() is None:
        return [*rows, {"part": "aligned", "by": "coeval, PostgreSQL", "note": "not installed"}]
    say("aligned rows from PostgreSQL")
    with start_postgres() as server:
        return [*rows, reading_row(plan, server.url, "coeval, PostgreSQL")]


def reading_row(plan: Plan, url: str, by: str) -> Row:
    """What `/aligned` does between request and answer, as JSON, at the default step."""
    fill(url, seconds=plan.stored_s)
    reader = open_reader(url)
    session = reader.sessions()[0]
    timeline = reader.timelines(session)[-1]
    t_ref_ns = np.arange(1200 * NS_PER_S, 1800 * NS_PER_S, STEP_NS, dtype=np.int64)
    streams = [f"n{k}/x0" for k in range(10)]
    took_s, cpu_s = [], []
    for _ in range(plan.repeats):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        rows = align_rows(reader, session, timeline, t_ref_ns=t_ref_ns, streams=streams)
        body = to_json(
            session, timeline, t_ref_ns=t_ref_ns, step_ns=STEP_NS, streams=rows, following=None
        )
        took_s.append(time.perf_counter() - began_s)
        cpu_s.append(time.process_time() - began_cpu_s)
    is_whole = all(each.is_there.all() for each in rows.values())
    reader.close()
    return {
        "part": "aligned",
        "by": by,
        "streams": len(streams),
        "p50_ms": rounded(1e3 * float(np.median(took_s))),
        "p99_ms": rounded(1e3 * max(took_s)),
        "cpu_us": rounded(1e6 * float(np.median(cpu_s))),
        "note": f"10 min × 10 streams, {len(body) / 1e6:.1f} MB of JSON, slowest of {plan.repeats}"
        + ("" if is_whole else "; ROWS ARE MISSING"),
    }


def fill(url: str, *, seconds: int) -> None:
    """Twenty nodes of one stream, their clocks estimated every three seconds."""
    store = open_store(url)
    rng = np.random.default_rng(0)
    timeline = Timeline(reference="n0", boot_id=1)
    block_ns = ROWS * HOP_NS
    num = seconds * NS_PER_S // block_ns
    for begin in range(0, num, 100):
        records: list[Record] = []
        for seq in range(begin, min(begin + 100, num)):
            t_ns = seq * block_ns
            embeddings = rng.normal(size=ROWS * 16).astype("<f2").tobytes()
            for k in range(20):
                records.append(
                    BlockRecord(
                        node=f"n{k}",
                        stream="x0",
                        boot_id=1,
                        seq=seq,
                        t0_node_ns=NodeNs(t_ns),
                        hop_ns=HOP_NS,
                        num_rows=ROWS,
                        dim=16,
                        embeddings=embeddings,
                    )
                )
            if t_ns % (3 * NS_PER_S) < block_ns:
                records += [
                    ClockRecord(
                        timeline=timeline,
                        node=f"n{k}",
                        boot_id=1,
                        status="locked",
                        t_ref_ns=RefNs(t_ns),
                        covers_from_ns=RefNs(max(0, t_ns - 600 * NS_PER_S)),
                        offset_ns=1e7 * k,
                        skew_ppb=1e3,
                        var_offset_ns2=1e12,
                        cov_offset_skew=1e5,
                        var_skew_ppb2=1e4,
                        evidence=("content",),
                    )
                    for k in range(1, 20)
                ]
        store.write([Kept(session="hour", utc_ns=1, records=tuple(records))])
    store.close()


@contextmanager
def aggregating(broker: RunningBroker, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """An aggregator of all sessions in a process of its own."""
    command = [sys.executable, "-c", AGGREGATOR, broker.url, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        yield process


def num_blocks(url: str) -> int:
    """Blocks in a store that another process writes."""
    import sqlite3

    with sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30.0) as connection:
        try:
            ((num,),) = connection.execute("SELECT num_blocks FROM kept_blocks").fetchall()
        except sqlite3.OperationalError:  # its tables are not made yet
            num = 0
    connection.close()
    return int(num)


def wait_for(is_so: Callable[[], bool], what: str) -> None:
    """Wait.

    Raises:
        CoevalError: it does not come.
    """
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > until_s:
            raise CoevalError(f"waited {PATIENCE_S:g} s for {what}")
        time.sleep(0.05)


def cpu_of(process: "subprocess.Popen[bytes]") -> float:
    """Processor seconds of a process so far (proc(5), utime and stime)."""
    text = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_S


def memory_of(process: "subprocess.Popen[bytes]") -> float:
    """Resident memory of a process, MB."""
    text = Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * PAGE_KB / 1000


def rounded(value: float) -> float | None:
    """To a tenth; None: not a number, nothing was measured."""
    return None if value != value else round(value, 1)


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """What is promised of the aggregator."""
    ratios = [row["ratio_to_bare_paho"] for row in rows if "ratio_to_bare_paho" in row]
    live = {row["streams"]: row for row in rows if row["part"] == "live"}
    bars = [
        Bar(
            name="ingest, durable and aligned, of the rate of a bare client",
            wanted="≥ 0.7",
            got=", ".join(map(str, ratios)) or "not measured",
            met=bool(ratios) and min(ratios) >= 0.7,
        )
    ]
    if 200 in live:
        share, late_ms = live[200]["cpu_share"], live[200]["p99_ms"]
        bars += [
            Bar(name="200 streams: of one core", wanted="< 1", got=f"{share}", met=share < 1),
            Bar(
                name="200 streams: ticks after the last block, 99 %",
                wanted="< 250 ms",
                got=f"{late_ms} ms",
                met=late_ms is not None and late_ms < 250,
            ),
        ]
    if len(live) > 1:
        costs = [row["cpu_share_a_stream"] for row in live.values() if row["streams"] >= 50]
        spread = max(costs) / min(costs) if costs and min(costs) else float("inf")
        bars.append(
            Bar(
                name="cost a stream, dearest over cheapest number of streams",
                wanted="≤ 1.2",
                got=f"{spread:.2f}",
                met=spread <= 1.2,
            )
        )
    for row in rows:
        if row["part"] == "aligned":
            got = row.get("p50_ms")
            bars.append(
                Bar(
                    name=f"10 min × 10 streams aligned ({row['by']})",
                    wanted="< 100 ms",
                    got="not measured" if got is None else f"{got} ms",
                    met=got is not None and got < 100,
                )
            )
    return bars


def plot_costs(rows: Sequence[Row], path: Path) -> None:
    """Processor share against streams."""
    import matplotlib.pyplot as plt

    live = [row for row in rows if row["part"] == "live"]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot([r["streams"] for r in live], [r["cpu_share"] for r in live], "o-")
    axes.set_xlabel("streams, in sessions of 20")
    axes.set_ylabel("share of one core")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


PAGE = Page(
    title="the aggregator",
    columns=(
        "part",
        "by",
        "streams",
        "rate",
        "ratio_to_bare_paho",
        "cpu_us",
        "cpu_share",
        "cpu_share_a_stream",
        "p50_ms",
        "p99_ms",
        "ticks",
        "memory_mb",
        "note",
    ),
    names=("part", "by", "note"),
    explanation=(
        "`ingest`: a backlog of 304-byte blocks that mosquitto kept for an absent subscriber; "
        "`rate` in messages a second, `cpu_us` of processor a message. `live`: sessions of 20 "
        "streams on 10 nodes, 20 embeddings a second each and pulses of UTC; `cpu_share` of one "
        "core, `p50_ms` and `p99_ms` from the broker's having the last block that a tick needs to "
        "the tick. `aligned`: what `/aligned` does between question and answer, `cpu_us` a "
        "question. Broker, sender and aggregator share this machine's cores."
    ),
    caption="Share of one core against the number of live streams.",
    plot=plot_costs,
)

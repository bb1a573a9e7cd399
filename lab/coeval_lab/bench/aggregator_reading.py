"""`/aligned` of ten minutes of ten streams, asked over HTTP, from either database."""

import http.client
import tempfile
import time
from urllib.parse import urlsplit

import numpy as np

from coeval.hops import HOP_NS
from coeval.time import NS_PER_S, NodeNs, RefNs
from coeval_aggregator.api.aligned import ARROW
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.server import serving
from coeval_aggregator.store.opening import open_reader, open_store
from coeval_aggregator.store.records import BlockRecord, ClockRecord, Kept, Record, Timeline
from coeval_aggregator.view import View
from coeval_lab.bench.aggregator_load import ROWS
from coeval_lab.bench.aggregator_process import Row, Say, rounded
from coeval_lab.postgres import find_postgres, start_postgres

FROM_S, TO_S = 1200, 1800
STREAMS = [f"n{k}/x0" for k in range(10)]
STEP_S = 0.25
ANSWERS = {"JSON": "application/json", "Arrow": ARROW}


def reading_rows(say: Say, *, stored_s: int, repeats: int) -> list[Row]:
    """From a store of twenty streams, of SQLite and of PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        say("aligned rows from SQLite")
        url = f"sqlite:///{folder}/store.db"
        fill(url, seconds=stored_s)
        rows = asked_rows(url, "SQLite", repeats=repeats)
    if find_postgres() is None:
        return [*rows, {"part": "aligned", "by": "coeval, PostgreSQL", "note": "not installed"}]
    say("aligned rows from PostgreSQL")
    with start_postgres() as server:
        fill(server.url, seconds=stored_s)
        return [*rows, *asked_rows(server.url, "PostgreSQL", repeats=repeats)]


def asked_rows(url: str, database: str, *, repeats: int) -> list[Row]:
    """Time from question to whole answer, over HTTP on loopback."""
    query = f"from={FROM_S}&to={TO_S}&step={STEP_S}&streams={','.join(STREAMS)}"
    path = f"/v1/sessions/hour/aligned?{query}"
    rows: list[Row] = []
    with serving(ApiConfig(listen="127.0.0.1:0"), View, lambda: open_reader(url)) as address:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60.0)
        for answer, kind in ANSWERS.items():
            took_s, cpu_s, body = [], [], b""
            for _ in range(repeats + 1):
                began_s, began_cpu_s = time.perf_counter(), time.process_time()
                connection.request("GET", path, headers={"Accept": kind})
                reply = connection.getresponse()
                body = reply.read()
                took_s.append(time.perf_counter() - began_s)
                cpu_s.append(time.process_time() - began_cpu_s)
                assert reply.status == 200, body[:200]
            missing = body.count(b"null") if answer == "JSON" else 0
            rows.append(
                {
                    "part": "aligned",
                    "by": f"coeval, {database}, {answer}",
                    "streams": len(STREAMS),
                    "p50_ms": rounded(1e3 * float(np.median(took_s[1:]))),
                    "p99_ms": rounded(1e3 * max(took_s[1:])),
                    "cpu_us": rounded(1e6 * float(np.median(cpu_s[1:]))),
                    "note": f"10 min × 10 streams every {STEP_S} s, {len(body) / 1e6:.1f} MB; "
                    f"slowest of {repeats}; the first one {1e3 * took_s[0]:.0f} ms"
                    + ("; ROWS ARE MISSING" if missing > MOST_NULLS else ""),
                }
            )
        connection.close()
    return rows


MOST_NULLS = 1 + len(STREAMS)
"""Of a whole answer: `next`, and the modality of streams that were never described."""


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

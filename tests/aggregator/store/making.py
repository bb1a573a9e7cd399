"""Records as sessions leave them, for tests of the store."""

import numpy as np

from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NodeNs, RefNs
from coeval_aggregator.store.records import (
    Ack,
    BlockRecord,
    ClockRecord,
    EventRecord,
    EvidenceRecord,
    Kept,
    Record,
    TickRecord,
    Timeline,
)
from coeval_aggregator.store.store import Store

ROWS = 10
TIMELINE = Timeline(reference="cam", boot_id=1)


def block(seq: int, *, node: str = "cam", boot_id: int = 1, num_rows: int = ROWS) -> BlockRecord:
    """A block whose rows say which hop they are."""
    hops = np.arange(seq * ROWS, seq * ROWS + num_rows)
    rows = np.repeat(hops[:, None] % 1024, EMBEDDING_DIM, axis=1)
    return BlockRecord(
        node=node,
        stream="mic",
        boot_id=boot_id,
        seq=seq,
        t0_node_ns=NodeNs(seq * ROWS * HOP_NS),
        hop_ns=HOP_NS,
        num_rows=num_rows,
        dim=EMBEDDING_DIM,
        embeddings=rows.astype("<f2").tobytes(),
    )


def clock(t_ref_ns: int, *, node: str = "wrist", offset_ns: float = 5e8) -> ClockRecord:
    return ClockRecord(
        timeline=TIMELINE,
        node=node,
        boot_id=1,
        status="locked",
        t_ref_ns=RefNs(t_ref_ns),
        covers_from_ns=RefNs(0),
        offset_ns=offset_ns,
        skew_ppb=100.0,
        var_offset_ns2=1e12,
        cov_offset_skew=-1e3,
        var_skew_ppb2=1e4,
        evidence=("content",),
    )


def tick(t_ref_ns: int) -> TickRecord:
    return TickRecord(timeline=TIMELINE, t_ref_ns=RefNs(t_ref_ns), anomaly=0.5, payload="{}")


def event() -> EventRecord:
    return EventRecord(
        kind="gap", node="cam", stream="mic", timeline=TIMELINE, t_ref_ns=RefNs(5), payload="{}"
    )


def evidence(payload: bytes = b"{}") -> EvidenceRecord:
    return EvidenceRecord(node="cam", boot_id=1, payload=payload)


def kept(
    *records: Record, session: str = "s", utc_ns: int = 1_000_000_000, mid: int | None = None
) -> Kept:
    ack = None if mid is None else Ack(connection=1, number=mid)
    return Kept(session=session, utc_ns=utc_ns, records=records, ack=ack)


def count(store: Store, table: str) -> int:
    """Rows of a table."""
    return int(store.database.fetch(f"SELECT COUNT(*) FROM {table}")[0][0])

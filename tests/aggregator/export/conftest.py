"""A stored session to export."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from coeval.evidence import SERVER
from coeval.evidence_wire import (
    EdgeSample,
    EvidenceMessage,
    ExchangeSample,
    PpsSample,
    StatementSample,
    encode_evidence,
)
from coeval.network import Exchange
from coeval.time import NS_PER_S
from coeval_aggregator.export.content import Content, find_session, find_timeline
from coeval_aggregator.store.opening import open_store
from coeval_aggregator.store.reading import Reader
from coeval_aggregator.store.records import DescriptorRecord

from ..store.making import block, clock, event, evidence, kept, tick

OFFSET_S = 5.0
UTC_NS = 1_700_000_000 * NS_PER_S


def measured() -> bytes:
    """One message with every kind of evidence."""
    exchange = Exchange(t1_ns=1, t2_ns=2, t3_ns=3, t4_ns=4_000_000_005)
    samples = (
        PpsSample(t_node_ns=1_000_000_001, t_utc_ns=2_000_000_000, sigma_ns=250.0),
        ExchangeSample(other=SERVER, exchange=exchange),
        ExchangeSample(other="wrist", exchange=exchange),
        EdgeSample(line="strobe", t_node_ns=-5, sigma_ns=100.0),
        StatementSample(by="chrony", t_node_ns=1, t_utc_ns=2, sigma_ns=3.0, bias_sigma_ns=4.0),
    )
    return encode_evidence(EvidenceMessage(boot_id=1, samples=samples))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with a session of two nodes on one timeline, and one whose clock is unknown."""
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url)
    described = [
        DescriptorRecord(node=node, stream="mic", boot_id=1, modality="audio", payload="{}")
        for node in ("cam", "wrist", "roof")
    ]
    blocks = [block(seq, node=node) for seq in range(40) for node in ("cam", "wrist", "roof")]
    clocks = [clock(t_s * NS_PER_S, offset_ns=OFFSET_S * 1e9) for t_s in (5, 10, 20)]
    store.write(
        [
            kept(
                *described,
                *blocks,
                *clocks,
                tick(NS_PER_S),
                event(),
                evidence(measured()),
                utc_ns=UTC_NS,
            )
        ]
    )
    store.close()
    return url


@pytest.fixture
def content(url: str) -> Iterator[Content]:
    reader = Reader(open_store(url).database)
    session = find_session(reader, "s")
    yield Content(reader=reader, session=session, timeline=find_timeline(reader, session, None))
    reader.close()

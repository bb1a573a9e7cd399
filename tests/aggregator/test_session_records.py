"""What a session leaves to be kept: every block as it came, and what was found."""

import json

from coeval.estimates import Jump, NodeEstimate
from coeval.evidence_wire import EvidenceMessage, encode_evidence
from coeval.hops import HOP_NS
from coeval.time import ClockLine, RefNs
from coeval.topics import Topics
from coeval.wire import HEADER_BYTES
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.session import Session
from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.records import (
    BlockRecord,
    ClockRecord,
    DescriptorRecord,
    EventRecord,
    EvidenceRecord,
    TickRecord,
    Timeline,
)

from .test_session import NOTHING, Room, block, descriptor, two_nodes

TOPICS = Topics()


def locked(t_ref_ns: int, *jumps: Jump) -> NodeEstimate:
    return NodeEstimate(
        status="locked",
        line=ClockLine(t0_ref_ns=RefNs(t_ref_ns), offset_ns=5e8, skew_ppb=2e3),
        ci95_ns=1.96e6,
        skew_ci95_ppb=1.96e3,
        jumps=jumps,
        evidence=("content",),
        cov_offset_skew=-7.0,
    )


def kept(room: Room, kind: type) -> list:
    """The records of a kind since the last call; the others are thrown away."""
    return [record for record in room.session.told.take_records() if isinstance(record, kind)]


def test_a_block_is_kept_as_it_came_and_its_repetition_too() -> None:
    room = Room()
    room.block("cam", 3)
    room.block("cam", 3)
    first, again = kept(room, BlockRecord)
    assert first == again
    assert (first.node, first.stream, first.boot_id, first.seq) == ("cam", "mic", 1, 3)
    assert (first.t0_node_ns, first.num_rows, first.dim) == (30 * HOP_NS, 10, 16)
    assert first.embeddings == block(3)[HEADER_BYTES:]


def test_blocks_that_are_not_used_live_are_kept() -> None:
    room = Room(window_s=10.0)
    room.block("cam", 1000)
    room.block("cam", 1)  # older than the ring
    room.block("cam", 0, boot_id=2)  # of a rival
    assert [(r.boot_id, r.seq) for r in kept(room, BlockRecord)] == [(1, 1000), (1, 1), (2, 0)]


def test_what_cannot_be_used_at_all_is_not_kept() -> None:
    room = Room(max_streams=1)
    room.block("cam", 0)
    room.block("wrist", 0)
    room.hear(TOPICS.block("cam", "mic"), b"no block")
    assert [r.node for r in kept(room, BlockRecord)] == ["cam"]


def test_descriptors_and_evidence_are_kept_whole() -> None:
    room = Room()
    room.describe("cam")
    payload = encode_evidence(EvidenceMessage(boot_id=5, samples=()))
    room.hear(TOPICS.evidence("cam"), payload)
    described, measured = room.session.told.take_records()
    assert isinstance(described, DescriptorRecord)
    assert json.loads(described.payload) == json.loads(descriptor())
    assert measured == EvidenceRecord(node="cam", boot_id=5, payload=payload)


def test_a_clock_is_kept_with_its_covariance_and_what_it_rests_on() -> None:
    room = two_nodes()
    room.tracks()
    room.session.told.take_records()
    jump = Jump(t_ref_ns=RefNs(7), delta_ns=3.0)
    room.session.apply({"wrist": locked(9, jump)}, now_s=0.0)
    (clock,) = kept(room, ClockRecord)
    assert clock.timeline == Timeline(reference="cam", boot_id=1)
    assert (clock.node, clock.boot_id, clock.status) == ("wrist", 1, "locked")
    assert (clock.t_ref_ns, clock.covers_from_ns) == (9, 0)
    assert (clock.offset_ns, clock.skew_ppb) == (5e8, 2e3)
    assert abs((clock.var_offset_ns2 or 0) / 1e12 - 1) < 1e-3
    assert abs((clock.var_skew_ppb2 or 0) / 1e6 - 1) < 1e-3
    assert clock.cov_offset_skew == -7.0
    assert clock.jumps == ((7, 3.0),)


def test_a_clock_that_stays_unknown_is_kept_once() -> None:
    room = two_nodes()
    room.tracks()
    for status in (NOTHING, NOTHING, locked(9), NOTHING):
        room.session.apply({"wrist": status}, now_s=0.0)
    assert [r.status for r in kept(room, ClockRecord)] == ["unsure", "locked", "unsure"]


def test_ticks_are_kept_without_what_blocks_already_hold() -> None:
    room = two_nodes()
    room.tracks()
    room.session.tell_ticks()
    (tick,) = kept(room, TickRecord)
    assert tick.timeline == Timeline(reference="cam", boot_id=1)
    assert set(json.loads(tick.payload)) >= {"fusion", "fused"}
    assert "streams" not in json.loads(tick.payload)


def test_an_event_is_kept_with_when_it_was_on_the_timeline() -> None:
    room = two_nodes()
    room.tracks()
    room.session.apply({"wrist": locked(9, Jump(t_ref_ns=RefNs(7), delta_ns=3.0))}, now_s=0.0)
    (event,) = kept(room, EventRecord)
    assert (event.kind, event.node, event.stream) == ("jump", "wrist", None)
    assert event.t_ref_ns == 40 * HOP_NS
    assert json.loads(event.payload)["jump_s"] == 3e-9


def test_nothing_gathers_where_nothing_is_kept() -> None:
    session = Session(AggregatorConfig(store=StoreConfig(url="none")))
    session.handle(TOPICS.block("cam", "mic"), block(0), now_s=0.0)
    assert session.told.take_records() == []

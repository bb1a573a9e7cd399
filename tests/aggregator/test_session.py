"""A session: whatever comes in, it goes on; what it says is right."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coeval.estimates import Jump, NodeEstimate
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NS_PER_S, ClockLine, NodeNs, RefNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.session import Session

TOPICS = Topics()


def block(seq: int, *, boot_id: int = 1, t0_s: float | None = None) -> bytes:
    t0_hop = seq * 10 if t0_s is None else round(t0_s * NS_PER_S) // HOP_NS
    return encode_block(
        Block(
            boot_id=boot_id,
            seq=seq,
            t0_node_ns=NodeNs(t0_hop * HOP_NS),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=np.ones((10, EMBEDDING_DIM), np.float32),
        )
    )


def descriptor(
    *, boot_id: int = 1, sha256: str = "aa", modality: str = "audio", **encoder: object
) -> bytes:
    value = {
        "modality": modality,
        "encoder": {"sha256": sha256, **encoder},
        "boot": f"{boot_id:016x}",
    }
    return json.dumps(value).encode()


class Room:
    """A session, and what it says."""

    def __init__(self, **config: Any) -> None:
        self.session = Session(AggregatorConfig(**config))
        self.now_s = 0.0

    def hear(self, topic: str, payload: bytes) -> None:
        self.session.handle(topic, payload, now_s=self.now_s)

    def describe(self, node: str, stream: str = "mic", **kwargs: Any) -> None:
        self.hear(TOPICS.descriptor(node, stream), descriptor(**kwargs))

    def block(self, node: str, seq: int, stream: str = "mic", **kwargs: Any) -> None:
        self.hear(TOPICS.block(node, stream), block(seq, **kwargs))

    def state(self, node: str, state: str, *, boot_id: int = 1) -> None:
        value = {"state": state, "boot": f"{boot_id:016x}"}
        self.hear(TOPICS.state(node), json.dumps(value).encode())

    def said(self, subtree: str) -> list[dict[str, Any]]:
        """What was said on a subtree since the last call; the rest is thrown away."""
        return [
            json.loads(message.payload)
            for message in self.session.told.take_outbox()
            if message.topic.startswith(f"coeval/default/{subtree}")
        ]

    def tracks(self) -> set[tuple[str, int]]:
        snapshot = self.session.snapshot()
        if snapshot is None:
            return set()
        return {(track.node, sum(len(run.rows) for run in track.runs)) for track in snapshot.tracks}


def two_nodes(**config: Any) -> Room:
    room = Room(**config)
    for node in ("cam", "wrist"):
        room.describe(node)
        for seq in range(4):
            room.block(node, seq)
    return room


def locked(*jumps: Jump) -> NodeEstimate:
    return NodeEstimate(
        status="locked",
        line=ClockLine(t0_ref_ns=RefNs(0), offset_ns=0.5e9, skew_ppb=0.0),
        ci95_ns=1e6,
        skew_ci95_ppb=1e3,
        jumps=jumps,
        evidence=("content",),
    )


NOTHING = NodeEstimate(
    status="unsure", line=None, ci95_ns=None, skew_ci95_ppb=None, jumps=(), evidence=()
)


def test_streams_are_handed_to_the_estimator_with_the_first_node_as_reference() -> None:
    room = two_nodes()
    assert room.tracks() == {("cam", 40), ("wrist", 40)}
    assert room.session.reference == "cam"


def test_a_named_reference_is_waited_for() -> None:
    room = two_nodes(reference="roof")
    assert room.session.snapshot() is None
    room.describe("roof")
    room.block("roof", 0)
    snapshot = room.session.snapshot()
    assert snapshot is not None
    assert snapshot.reference == "roof"


def test_blocks_are_kept_until_their_descriptor_comes() -> None:
    room = two_nodes()
    room.block("roof", 0)
    assert "roof" not in {node for node, _ in room.tracks()}
    room.describe("roof")
    assert ("roof", 10) in room.tracks()


def test_an_encoder_that_differs_is_refused_by_name_and_taken_back_when_it_agrees() -> None:
    room = two_nodes()
    room.session.snapshot()
    room.describe("wrist", sha256="bb")
    (event,) = room.said("event/refused/wrist/mic")
    assert (event["encoder_sha256"], event["expected_sha256"]) == ("bb", "aa")
    assert room.session.snapshot() is None
    room.describe("wrist", sha256="bb")
    assert room.said("event/refused") == []
    room.describe("wrist", sha256="aa")
    assert ("wrist", 40) in room.tracks()


def test_other_modalities_have_encoders_of_their_own() -> None:
    room = two_nodes()
    room.describe("roof", modality="video", sha256="cc")
    room.block("roof", 0)
    assert ("roof", 10) in room.tracks()


def test_two_nodes_of_one_id_are_named_and_not_mixed() -> None:
    room = two_nodes()
    for seq in range(4, 8):
        room.block("wrist", seq)
        room.block("wrist", seq - 4, boot_id=2, t0_s=500.0)
    (event,) = room.said("event/duplicate/wrist")
    assert event["used_boot"] == f"{1:016x}"
    assert event["ignored_boot"] == f"{2:016x}"
    assert ("wrist", 80) in room.tracks()
    assert room.session.told.counts["rival_blocks"] == 4


def test_a_restarted_node_begins_a_new_clock() -> None:
    room = two_nodes()
    room.session.snapshot()
    room.session.apply({"wrist": locked()}, now_s=1.0)
    room.state("wrist", "offline")
    room.describe("wrist", boot_id=2)
    room.block("wrist", 0, boot_id=2)
    assert ("wrist", 10) in room.tracks()
    room.said("")
    room.session.tell_clocks(now_s=2.0)
    stated = {clock["node"]: clock for clock in room.said("clock")}
    assert stated["wrist"]["offset_s"] is None


def test_a_restarted_run_brings_its_own_descriptor() -> None:
    room = two_nodes()
    room.session.snapshot()
    room.state("wrist", "offline")
    room.block("wrist", 0, boot_id=2)
    assert "wrist" not in {node for node, _ in room.tracks()}
    room.describe("wrist", boot_id=2)
    assert ("wrist", 10) in room.tracks()


def test_a_gap_is_told_once() -> None:
    room = two_nodes()
    room.block("wrist", 7)
    room.session.check(now_s=5.0)
    assert room.said("event/gap") == []
    for now_s in (11.0, 12.0):
        room.session.check(now_s=now_s)
    (event,) = room.said("event/gap/wrist/mic")
    assert (event["blocks"], event["first_seq"]) == (3, 4)


def test_a_stream_that_its_node_leaves_out_is_told_with_the_reason_and_is_no_loss() -> None:
    room = two_nodes()
    told = {"state": "irrelevant", "reason": "frozen", "since_node_ns": 5, "dropped": True}
    for relevance in (told, told, told | {"state": "relevant", "reason": None, "dropped": False}):
        payload = json.loads(descriptor()) | {"relevance": relevance}
        room.hear(TOPICS.descriptor("wrist", "mic"), json.dumps(payload).encode())
    room.block("wrist", 4, t0_s=500.0)
    room.session.check(now_s=60.0)
    said = room.said("event/relevance")
    assert [(event["event"], event["state"], event["reason"]) for event in said] == [
        ("relevance", "irrelevant", "frozen"),
        ("relevance", "relevant", None),
    ]


def test_clocks_are_told_with_null_for_what_is_unknown() -> None:
    room = two_nodes()
    room.session.snapshot()
    room.session.apply({"wrist": locked()}, now_s=1.0)
    stated = {clock["node"]: clock for clock in room.said("clock")}
    assert stated["cam"]["status"] == "reference"
    assert stated["wrist"]["offset_s"] == pytest.approx(0.5)
    assert stated["wrist"]["t_ref_ns"] == 40 * HOP_NS
    room.describe("roof")
    room.block("roof", 0)
    room.session.apply({"roof": NOTHING}, now_s=2.0)
    stated = {clock["node"]: clock for clock in room.said("clock")}
    assert stated["roof"]["offset_s"] is None


def test_a_jump_and_an_unrelated_node_are_told_once() -> None:
    room = two_nodes()
    room.session.snapshot()
    jump = Jump(t_ref_ns=RefNs(NS_PER_S), delta_ns=0.25e9)
    unrelated = NodeEstimate(
        status="unrelated", line=None, ci95_ns=None, skew_ci95_ppb=None, jumps=(), evidence=()
    )
    for now_s in (1.0, 2.0):
        room.session.apply({"wrist": locked(jump)}, now_s=now_s)
    (event,) = room.said("event/jump/wrist")
    assert event["jump_s"] == 0.25
    for now_s in (3.0, 4.0):
        room.session.apply({"wrist": unrelated}, now_s=now_s)
    assert len(room.said("event/unrelated/wrist")) == 1


def test_a_tick_is_looked_for_when_all_that_it_waits_for_has_come() -> None:
    room = two_nodes(reference="cam")
    room.session.apply({"wrist": locked()}, now_s=0.0)
    room.session.tell_ticks()
    assert not room.session.may_tick
    room.block("cam", 4)
    assert not room.session.may_tick
    room.block("wrist", 4)
    assert room.session.may_tick
    room.said("aligned")
    room.session.tell_ticks()
    assert len(room.said("aligned")) == 2


def test_ticks_of_an_outage_come_in_parts_and_are_said_to_be_late() -> None:
    room = two_nodes(reference="cam")
    room.session.tell_ticks()
    for seq in range(4, 50):
        room.block("cam", seq)
    room.said("aligned")
    parts = []
    while room.session.may_tick:
        room.session.tell_ticks()
        parts.append((len(room.said("aligned")), room.session.facts()["ticks"]))
    assert [num for num, _ in parts] == [16] * 5 + [12]
    assert [told["behind"] for _, told in parts] == [76, 60, 44, 28, 12, 0]


def test_ticks_carry_every_known_clock() -> None:
    room = two_nodes(tick_wait_s=0.5)
    room.session.snapshot()
    room.session.apply({"wrist": locked()}, now_s=1.0)
    room.session.tell_ticks()
    (tick,) = room.said("aligned")
    assert set(tick["streams"]) == {"cam/mic", "wrist/mic"}


def test_streams_beyond_the_limit_are_refused_and_the_others_go_on() -> None:
    room = two_nodes(max_streams=2)
    for k in range(5):
        room.block(f"more{k}", 0)
    assert room.session.told.counts["too_many_streams"] == 5
    room.block("wrist", 4)
    assert ("wrist", 50) in room.tracks()


@pytest.mark.parametrize(
    ("topic", "payload", "kind"),
    [
        (TOPICS.block("cam", "mic"), b"", "bad_block"),
        (TOPICS.block("cam", "mic"), b"COEV\x03", "bad_block"),
        (TOPICS.block("cam", "mic"), block(9)[:-1], "bad_block"),
        (TOPICS.descriptor("cam", "mic"), b"{}", "bad_state"),
        (TOPICS.state("cam"), b"online", "bad_state"),
        (TOPICS.block("ca\nm", "mic"), block(9), "bad_topic"),
        (TOPICS.block("cam", "m" * 300), block(9), "bad_topic"),
    ],
    ids=str,
)
def test_bad_input_is_counted_and_changes_nothing(topic: str, payload: bytes, kind: str) -> None:
    room = two_nodes()
    room.hear(topic, payload)
    assert room.session.told.counts[kind] == 1
    assert room.tracks() == {("cam", 40), ("wrist", 40)}


def test_a_flood_of_bad_blocks_is_logged_sparingly(caplog: pytest.LogCaptureFixture) -> None:
    room = Room()
    for _ in range(1000):
        room.hear(TOPICS.block("cam", "mic"), b"junk")
    assert len(caplog.records) == 10


def test_messages_that_are_no_concern_of_ours_are_left_alone() -> None:
    room = two_nodes()
    for topic in ("coeval/default/clock/cam", "coeval/default/state/aggregator", "x", ""):
        room.hear(topic, b"\xff")
    assert set(room.session.told.counts) == {"blocks"}


VALID = st.sampled_from(
    [
        block(0),
        block(5),
        block(5, boot_id=2),
        block(2**32 - 1),
        block(0, t0_s=4e9),
        block(3, t0_s=-4e9),
        descriptor(),
        descriptor(boot_id=2, sha256="bb"),
        b'{"state": "offline", "boot": "0000000000000001"}',
        b'{"state": "online", "boot": "0000000000000002"}',
    ]
)


@settings(max_examples=150)
@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from(["state", "bin", "clock", "event", "time"]),
            st.lists(st.sampled_from(["cam", "wrist", "mic", "", "a#", "aggregator"]), max_size=3),
            VALID | st.binary(max_size=80) | st.text(max_size=20).map(str.encode),
            st.floats(0, 30),
        ),
        max_size=25,
    )
)
def test_no_message_ends_the_session(
    messages: list[tuple[str, list[str], bytes, float]],
) -> None:
    room = Room(window_s=10.0)
    for subtree, names, payload, later_s in messages:
        room.now_s += later_s
        room.hear("/".join(["coeval/default", subtree, *names]), payload)
        room.session.check(now_s=room.now_s)
        room.session.snapshot()
        room.session.apply({"wrist": locked(), "gone": NOTHING}, now_s=room.now_s)
        room.session.tell_ticks()
        for message in room.session.told.take_outbox():
            json.loads(message.payload)
        json.dumps(room.session.facts(), allow_nan=False)


def changed_over(room: Room, node: str, *, from_seq: int) -> None:
    """A node's stream goes over to another set of encoders."""
    room.describe(node, sha256="bb", set="new", from_seq=from_seq)


@pytest.mark.parametrize(("reduced_from", "is_refused"), [("aa", False), ("cc", True)])
def test_nodes_of_two_precisions_share_a_session_where_their_encoders_are_of_one_training(
    reduced_from: str, is_refused: bool
) -> None:
    room = two_nodes()
    room.describe("wrist", sha256="bb", reduced_from=reduced_from)
    assert ("wrist" in {node for node, _ in room.tracks()}) != is_refused
    refusals = room.said("event/refused/wrist/mic")
    assert [event["expected_sha256"] for event in refusals] == ["aa"] * is_refused


def test_streams_of_another_set_wait_until_the_reference_has_it_too() -> None:
    room = two_nodes()
    changed_over(room, "wrist", from_seq=4)
    (event,) = room.said("event/refused/wrist/mic")
    assert (event["encoder_set"], event["expected_set"]) == ("new", "")
    room.block("wrist", 4)
    assert room.tracks() == {("cam", 40)} or room.session.snapshot() is None
    changed_over(room, "cam", from_seq=4)
    room.block("cam", 4)
    assert room.tracks() == {("cam", 10), ("wrist", 10)}


def test_a_set_of_another_training_is_refused_in_every_modality() -> None:
    room = two_nodes()
    room.describe("roof", modality="video", sha256="cc", set="other")
    (event,) = room.said("event/refused/roof/mic")
    assert event["expected_sha256"] is None


def test_rows_of_two_encoders_never_stand_in_one_ring() -> None:
    room = two_nodes()
    for node in ("cam", "wrist"):
        changed_over(room, node, from_seq=6)
        for seq in (4, 5):  # of the old encoder, behind in the spool
            room.block(node, seq)
    assert room.session.snapshot() is None
    for node in ("cam", "wrist"):
        room.block(node, 6)
        room.block(node, 1)  # sent again
    assert room.tracks() == {("cam", 10), ("wrist", 10)}
    assert [counts["lost"] for counts in room.session.facts()["streams"].values()] == [0, 0]  # type: ignore[attr-defined]


def test_an_aggregator_that_comes_later_leaves_the_old_encoders_blocks_out() -> None:
    room = Room()
    for node in ("cam", "wrist"):
        changed_over(room, node, from_seq=2)
        for seq in range(4):
            room.block(node, seq)
    assert room.tracks() == {("cam", 20), ("wrist", 20)}
    streams: Any = room.session.facts()["streams"]
    assert [each["superseded"] for each in streams.values()] == [2, 2]


def test_clocks_and_the_timeline_go_on_while_encoders_change() -> None:
    room = two_nodes()
    room.session.snapshot()
    room.session.apply({"wrist": locked()}, now_s=0.0)
    before = room.said("clock/wrist")[-1]
    for node in ("cam", "wrist"):
        changed_over(room, node, from_seq=4)
    room.session.tell_clocks(now_s=1.0)
    after = room.said("clock/wrist")[-1]
    assert (after["status"], after["offset_s"]) == ("locked", before["offset_s"])
    assert after["t_ref_ns"] == before["t_ref_ns"]


def test_a_description_said_again_changes_nothing() -> None:
    room = two_nodes()
    room.describe("cam")
    assert room.tracks() == {("cam", 40), ("wrist", 40)}


def test_a_new_run_counts_its_blocks_from_its_own_beginning() -> None:
    room = two_nodes()
    changed_over(room, "wrist", from_seq=400)
    room.state("wrist", "offline")
    room.describe("wrist", boot_id=2, set="", from_seq=0)
    room.block("wrist", 0, boot_id=2)
    assert room.tracks() == {("cam", 40), ("wrist", 10)}

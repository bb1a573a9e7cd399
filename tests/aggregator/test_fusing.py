"""Live fusion: what the network says comes into the ticks, and anomalies are told once."""

import base64
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import jsonschema
import numpy as np
import pytest

from coeval.adapted import Adapted
from coeval.alarm_rate import AlarmRate
from coeval.errors import EncoderMismatch
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.mqtt_messages import MESSAGES
from coeval.samples import MODALITIES, FloatArray
from coeval.time import NodeNs, RefNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_aggregator import fusing
from coeval_aggregator.aligned import AlignedStream, make_tick
from coeval_aggregator.clocks import REFERENCE
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.fusing import MOST_STREAMS, LiveFusion
from coeval_aggregator.fusion import SHIPPED, TICK_NS, Fusion
from coeval_aggregator.ring import Ring
from coeval_aggregator.session import Session
from coeval_aggregator.store.records import EventRecord, TickRecord

TOPICS = Topics()
BLOCK_HOPS = 10
SHA256 = "aa"
RATE = AlarmRate(scores=(-10.0, 0.0), per_day=(1000.0, 1.5), scale=1.0, shape=0.0, calm_hours=10.0)


class FrozenFinder:
    """Stands in for the network: suspects a stream that has not moved for a second."""

    def run(self, _names: list[str], fed: dict[str, FloatArray]) -> list[FloatArray]:
        steps = np.abs(np.diff(fed["recent"][:, :, -20:], axis=2)).sum(axis=(2, 3))
        n = len(steps)
        scores = np.where(steps == 0, 10.0, -10.0)[:, None].repeat(3, axis=1)
        return [np.ones((n, 3, 64), np.float32), scores]


def frozen_finder() -> Fusion:
    return Fusion(
        FrozenFinder(),
        sha256="ff",
        encoders=dict.fromkeys(MODALITIES, SHA256),
        rates={"hybrid": dict.fromkeys(MODALITIES, RATE)},
        mode="hybrid",
    )


def absent() -> Fusion:
    raise EncoderMismatch("fusion fusion.onnx: cannot be read: No such file or directory")


class Scene:
    """A session of one node whose streams a test makes up, block by block."""

    def __init__(
        self,
        *streams: str,
        load: Callable[[], Fusion] = frozen_finder,
        sha256: str = SHA256,
        **config: Any,
    ) -> None:
        config = {"reference": "cam", "tick_wait_s": 1.0, **config}
        self.session = Session(AggregatorConfig(**config), load_fusion=load)
        self._rng = np.random.default_rng(3)
        self._seq = dict.fromkeys(streams, 0)
        self._block = 0
        for stream in streams:
            self.describe(stream, sha256=sha256)
        self.ticks: list[dict[str, Any]] = []
        self.anomalies: list[dict[str, Any]] = []
        self.topics: set[str] = set()

    def describe(self, stream: str, *, sha256: str = SHA256, **more: object) -> None:
        told = {"modality": "audio", "encoder": {"sha256": sha256}, "boot": f"{1:016x}", **more}
        self.session.handle(TOPICS.descriptor("cam", stream), json.dumps(told).encode(), now_s=0.0)

    def go_on(
        self, *, for_s: float, frozen: str = "", missing: str = "", repeating: str = ""
    ) -> None:
        """Let every stream send noise, one the same row again and again, one nothing, one noise
        of which its node says that the samples behind it repeat."""
        for _ in range(round(for_s * 1e9 / HOP_NS / BLOCK_HOPS)):
            for stream in self._seq:
                rows = self._rng.normal(0, 0.1, (BLOCK_HOPS, EMBEDDING_DIM)).astype(np.float32)
                if stream != missing:
                    surprise = 30.0 if stream == repeating else 0.0
                    self._send(
                        stream, rows * 0 + 0.1 if stream == frozen else rows, surprise=surprise
                    )
            self._block += 1
            self.session.tell_ticks()
        for message in self.session.told.take_outbox():
            if message.topic == TOPICS.aligned:
                self.ticks.append(json.loads(message.payload))
            elif "/event/anomaly/" in message.topic:
                self.topics.add(message.topic)
                self.anomalies.append(json.loads(message.payload))

    def _send(self, stream: str, rows: FloatArray, *, surprise: float) -> None:
        block = Block(
            boot_id=1,
            seq=self._seq[stream],
            t0_node_ns=NodeNs(self._block * BLOCK_HOPS * HOP_NS),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=rows,
            surprise=surprise,
        )
        self._seq[stream] += 1
        self.session.handle(TOPICS.block("cam", stream), encode_block(block), now_s=0.0)


def test_a_calm_session_is_fused_and_raises_nothing() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=20)
    last = scene.ticks[-1]
    assert (last["fusion"], last["fusion_why"], last["alarm"]) == ("hybrid", None, False)
    assert len(base64.b64decode(last["fused"])) == 2 * 64
    assert last["anomaly"] < 0
    assert last["streams"]["cam/mic"]["anomaly"] < 0
    assert scene.anomalies == []


def test_a_stream_is_not_judged_in_its_first_ten_seconds() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=9, frozen="roof")
    assert {tick["anomaly"] for tick in scene.ticks} == {None}
    assert scene.anomalies == []


def test_a_frozen_stream_is_told_of_once_and_its_end_after_ten_calm_seconds() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=20)
    scene.go_on(for_s=5, frozen="roof")
    scene.go_on(for_s=3)
    scene.go_on(for_s=5, frozen="roof")
    (begin,) = scene.anomalies
    assert scene.ticks[-1]["alarm"]
    assert scene.ticks[-1]["suspect"] == "cam/roof"
    assert (begin["state"], begin["streams"], begin["duration_s"]) == ("begin", ["cam/roof"], None)
    assert begin["once_in_days"] > 1 / begin["false_alarms_per_day"]
    scene.go_on(for_s=12)
    end = scene.anomalies[-1]
    assert [each["state"] for each in scene.anomalies] == ["begin", "end"]
    assert scene.topics == {"coeval/default/event/anomaly/cam/roof"}
    assert 11 < end["duration_s"] < 14
    assert not scene.ticks[-1]["alarm"]


def test_a_node_that_says_its_samples_repeat_raises_the_alarm_whatever_they_look_like() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=20)
    scene.go_on(for_s=2, repeating="roof")
    (begin,) = scene.anomalies
    assert (begin["state"], begin["streams"]) == ("begin", ["cam/roof"])
    assert begin["once_in_days"] > 1e6


def test_what_calm_hours_bear_out_is_told_of_all_streams_together() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=20)
    scene.go_on(for_s=3, frozen="roof")
    told = scene.anomalies[0]["guaranteed_per_day"]
    assert told == pytest.approx(2 * RATE.guaranteed_per_day)


def test_anomalies_are_kept_with_the_ticks_and_as_events() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=20)
    scene.go_on(for_s=3, frozen="roof")
    records = scene.session.told.take_records()
    ticks = [record for record in records if isinstance(record, TickRecord)]
    events = [record for record in records if isinstance(record, EventRecord)]
    assert ticks[-1].anomaly == scene.ticks[-1]["anomaly"] > 0
    assert [(e.kind, e.stream) for e in events if e.kind == "anomaly"] == [("anomaly", "roof")]


def test_a_stream_that_is_missing_is_left_out_and_the_rest_go_on() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=15)
    scene.go_on(for_s=5, missing="roof")
    assert set(scene.ticks[-1]["streams"]) == {"cam/mic"}
    assert scene.ticks[-1]["anomaly"] < 0
    scene.go_on(for_s=3)
    assert scene.ticks[-1]["streams"]["cam/roof"]["anomaly"] is not None
    assert scene.anomalies == []


def test_why_a_stream_is_irrelevant_stands_in_the_tick_also_while_nothing_is_sent() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=2)
    told = {"state": "irrelevant", "reason": "silent", "since_node_ns": 0, "dropped": True}
    scene.describe("roof", relevance=told)
    scene.go_on(for_s=2, missing="roof")
    assert scene.ticks[-1]["irrelevant"] == {"cam/roof": "silent"}
    assert "cam/roof" not in scene.ticks[-1]["streams"]


def test_other_encoders_are_fused_by_the_mean_and_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        scene = Scene("mic", sha256="bb")
        scene.go_on(for_s=5)
    assert scene.ticks[-1]["fusion"] == "mean"
    assert "trained on the audio encoder aa, got bb" in scene.ticks[-1]["fusion_why"]
    assert len(base64.b64decode(scene.ticks[-1]["fused"])) == 2 * EMBEDDING_DIM
    assert sum("trained on the audio" in record.message for record in caplog.records) == 1


def test_encoders_that_fit_again_are_fused_again() -> None:
    scene = Scene("mic", sha256="bb")
    scene.go_on(for_s=2)
    scene.describe("mic")
    scene.go_on(for_s=2)
    assert scene.ticks[-1]["fusion"] == "hybrid"


def test_an_adapted_encoder_s_rows_are_turned_back_into_what_the_network_knows() -> None:
    matrix = np.eye(EMBEDDING_DIM) * 2.0
    adapted = Adapted(from_sha256=SHA256, matrix=matrix)
    scene = Scene("mic", sha256="bb")
    scene.describe("mic", encoder={"sha256": "bb", "adapted": adapted.to_json()})
    scene.go_on(for_s=2)
    assert scene.ticks[-1]["fusion"] == "hybrid"


def test_rows_of_weights_that_are_kept_smaller_are_fused_by_the_network() -> None:
    scene = Scene("mic", sha256="bb")
    scene.describe("mic", encoder={"sha256": "bb", "reduced_from": SHA256})
    scene.go_on(for_s=2)
    assert scene.ticks[-1]["fusion"] == "hybrid"


def test_rows_of_an_adapted_encoder_reach_the_network_as_they_were_before() -> None:
    ring = Ring(capacity_hops=100)
    rows = np.random.default_rng(1).normal(size=(100, EMBEDDING_DIM)).astype(np.float32)
    ring.write(Hops(t0_node_ns=NodeNs(0), rows=rows))
    stream = AlignedStream(
        name="cam/mic",
        modality="audio",
        ring=ring,
        clock=REFERENCE,
        adapted=Adapted(from_sha256=SHA256, matrix=np.eye(EMBEDDING_DIM) * 2.0),
    )
    np.testing.assert_allclose(fusing.hops_of(stream, 2, 4).rows, rows[5:15] / 2.0, rtol=1e-5)


def test_without_the_network_the_mean_is_told_and_why() -> None:
    scene = Scene("mic", load=absent)
    scene.go_on(for_s=2)
    assert scene.ticks[-1]["fusion"] == "mean"
    assert "cannot be read" in scene.ticks[-1]["fusion_why"]
    assert scene.ticks[-1]["alarm"] is None


def test_an_installation_without_onnxruntime_goes_on_by_the_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    scene = Scene("mic", load=Fusion.load)
    scene.go_on(for_s=2)
    assert scene.ticks[-1]["fusion"] == "mean"
    assert "onnxruntime is not installed" in scene.ticks[-1]["fusion_why"]


def test_who_wants_the_mean_loads_no_network() -> None:
    scene = Scene("mic", fusion="mean", load=lambda: pytest.fail("it was loaded"))
    scene.go_on(for_s=2)
    assert (scene.ticks[-1]["fusion"], scene.ticks[-1]["fusion_why"]) == ("mean", None)


def test_too_many_streams_are_fused_by_the_mean() -> None:
    scene = Scene(*(f"s{k}" for k in range(MOST_STREAMS + 1)), max_streams=MOST_STREAMS + 1)
    scene.go_on(for_s=1)
    assert f"at most {MOST_STREAMS} streams" in scene.ticks[-1]["fusion_why"]


@pytest.mark.parametrize("tick_s", [0.1, 1.0])
def test_ticks_of_another_rhythm_carry_what_the_network_last_said(tick_s: float) -> None:
    scene = Scene("mic", "roof", tick_s=tick_s)
    scene.go_on(for_s=20)
    scene.go_on(for_s=3, frozen="roof")
    assert scene.ticks[-1]["fused"] is not None
    assert [each["state"] for each in scene.anomalies] == ["begin"]


def test_a_reference_that_starts_anew_ends_the_anomaly() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=20)
    scene.go_on(for_s=3, frozen="roof")
    scene.session._ticks.restart()
    scene.go_on(for_s=1)
    assert [each["state"] for each in scene.anomalies] == ["begin", "end"]
    assert scene.ticks[-1]["anomaly"] is None


class SteppedClock:
    """A clock that was first taken to read the timeline, then to be fast."""

    offset_ns = 0

    def to_node(self, t_ref_ns: int) -> int:
        return t_ref_ns + self.offset_ns


@pytest.mark.parametrize(("offset_ns", "is_judged"), [(60_000_000, True), (200_000_000, False)])
def test_a_stream_whose_clock_was_found_to_be_off_is_judged_anew(
    offset_ns: int, is_judged: bool
) -> None:
    ring, clock = Ring(capacity_hops=1000), SteppedClock()
    rows = np.random.default_rng(1).normal(size=(1000, EMBEDDING_DIM)).astype(np.float32)
    ring.write(Hops(t0_node_ns=NodeNs(0), rows=rows))
    aligned = AlignedStream(
        name="cam/mic",
        modality="audio",
        ring=ring,
        clock=clock,  # type: ignore[arg-type]  # all that is asked of it
        encoder_sha256=SHA256,
    )
    live = LiveFusion(mode="hybrid", per_day=1.0, load=frozen_finder)
    judged = []
    for k in range(1, 80):
        if k == 60:
            clock.offset_ns = offset_ns
        tick = make_tick(RefNs(k * TICK_NS), [aligned])
        live.fuse([tick], [aligned])
        judged.append(tick["anomaly"] is not None)
    assert judged[58]
    assert judged[60] == is_judged


def test_the_network_is_loaded_early_only_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []
    monkeypatch.setattr(fusing, "load_shipped", lambda: loaded.append(1))
    fusing.load_early("mean")
    assert not loaded
    fusing.load_early("hybrid")
    assert loaded


def test_an_aggregator_starts_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusing, "load_shipped", absent)
    fusing.load_early("hybrid")  # raises nothing: the ticks say why


def test_ticks_and_anomalies_are_what_the_document_says() -> None:
    scene = Scene("mic", "roof")
    scene.go_on(for_s=20)
    scene.go_on(for_s=3, frozen="roof")
    scene.go_on(for_s=12)
    schemas = {message.name: message.payload or {} for message in MESSAGES}
    for name, told in (("tick", scene.ticks), ("event_anomaly", scene.anomalies)):
        for each in told:
            jsonschema.Draft7Validator(schemas[name]).validate(each)
            assert each.keys() == schemas[name]["properties"].keys()


@pytest.mark.skipif(not SHIPPED.exists(), reason="no fusion.onnx yet: make it with `make models`")
def test_the_network_that_ships_suspects_the_stream_that_froze() -> None:
    fusion = Fusion.load()
    scene = Scene("mic", "roof", load=lambda: fusion, sha256=fusion.encoders["audio"])
    scene.go_on(for_s=40)
    calm = scene.ticks[-1]["anomaly"]
    assert calm < -1
    scene.ticks.clear()
    scene.go_on(for_s=6, frozen="roof")
    worst = max(scene.ticks, key=lambda tick: tick["anomaly"])
    assert worst["anomaly"] > calm + 2
    assert worst["suspect"] == "cam/roof"

"""The fusion network that ships, as the server runs it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coeval.errors import EncoderMismatch
from coeval.fusion_input import TICK_HOPS
from coeval.samples import MODALITIES, Modality
from coeval_aggregator.fusion import (
    MODES,
    SHIPPED,
    TICKS_AT_ONCE,
    WARM_HOPS,
    FusedTick,
    Fusion,
    FusionTrack,
    StreamHops,
)

pytestmark = pytest.mark.skipif(
    not SHIPPED.exists(), reason="no fusion.onnx yet: make it with `coeval train-fusion`"
)


@pytest.fixture(scope="module")
def fusion() -> Fusion:
    return Fusion.load()


def stream(name: str, modality: Modality, *, hops: int = 300, seed: int = 1) -> StreamHops:
    rows = np.random.default_rng(seed).normal(0, 0.1, (hops, 16)).astype(np.float32)
    return StreamHops(name=name, modality=modality, rows=rows, covered=np.ones(hops, np.float32))


def part(whole: StreamHops, first: int, last: int) -> StreamHops:
    return StreamHops(
        name=whole.name,
        modality=whole.modality,
        rows=whole.rows[first:last],
        covered=whole.covered[first:last],
    )


def same(a: FusedTick, b: FusedTick) -> bool:
    assert a.vector is not None
    assert b.vector is not None
    return bool(np.allclose(a.vector, b.vector, atol=1e-4)) and a.suspect == b.suspect


@pytest.mark.parametrize("modality", MODALITIES)
def test_one_stream_of_any_modality_gives_a_vector(fusion: Fusion, modality: Modality) -> None:
    (tick,) = fusion.fuse([stream("a", modality)])
    assert tick.vector is not None
    assert tick.vector.shape == (64,)
    assert np.isfinite(tick.vector).all()


def test_two_streams_of_one_modality_are_two_streams(fusion: Fusion) -> None:
    (tick,) = fusion.fuse([stream("left", "video"), stream("right", "video", seed=2)])
    assert set(tick.streams) == {"left", "right"}


def test_twenty_streams_are_fused(fusion: Fusion) -> None:
    kinds = [MODALITIES[k % 5] for k in range(20)]
    (tick,) = fusion.fuse([stream(f"s{k}", kind, seed=k) for k, kind in enumerate(kinds)])
    assert len(tick.streams) == 20


def test_ticks_one_by_one_are_those_of_all_at_once(fusion: Fusion) -> None:
    streams = [stream("a", "video"), stream("b", "audio", seed=2)]
    whole = FusionTrack(fusion).push(streams)
    track = FusionTrack(fusion)
    single = [
        track.push([part(s, k, k + TICK_HOPS) for s in streams])[0]
        for k in range(0, 300, TICK_HOPS)
    ]
    assert len(single) == len(whole) == 60
    assert all(same(a, b) for a, b in zip(single, whole, strict=True))


class Watching:
    """The network, and how many ticks went through it at once."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.num_ticks: list[int] = []

    def run(self, wanted: list[str], fed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.num_ticks.append(len(fed["recent"]))
        answers: list[np.ndarray] = self._network.run(wanted, fed)
        return answers


def test_ticks_that_had_to_wait_take_no_more_of_the_networks_memory(
    fusion: Fusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Watching(fusion._session)
    monkeypatch.setattr(fusion, "_session", network)
    streams = [stream("a", "audio", hops=14 * TICK_HOPS)]
    assert len(FusionTrack(fusion).push(streams)) == 14
    assert max(network.num_ticks) == TICKS_AT_ONCE
    assert sum(network.num_ticks) == 14


def test_the_order_of_streams_does_not_matter(fusion: Fusion) -> None:
    a, b = stream("a", "video"), stream("b", "text", seed=2)
    assert same(fusion.fuse([a, b])[0], fusion.fuse([b, a])[0])


def test_a_stream_that_ends_is_left_out_and_the_rest_go_on(fusion: Fusion) -> None:
    a, b = stream("a", "video"), stream("b", "audio", seed=2)
    gone = np.ones(300, np.float32)
    gone[200:] = 0.0
    ended = StreamHops(name="b", modality="audio", rows=b.rows, covered=gone)
    (tick,) = fusion.fuse([a, ended])
    assert set(tick.streams) == {"a"}
    assert tick.vector is not None


def test_a_stream_that_was_moved_is_not_judged_until_something_is_usual_for_it_again(
    fusion: Fusion,
) -> None:
    a, b = stream("a", "video", hops=600), stream("b", "audio", hops=600, seed=2)
    track = FusionTrack(fusion)
    track.push([part(a, 0, 300), part(b, 0, 300)])
    moved = track.push([part(a, 300, 400), part(b, 300, 400)], moved=["b"])
    assert {name for tick in moved for name in tick.streams} == {"a"}
    later = track.push([part(a, 400, 600), part(b, 400, 600)])
    assert set(later[-1].streams) == {"a", "b"}


def test_streams_come_and_go_between_ticks(fusion: Fusion) -> None:
    a, b = stream("a", "video"), stream("b", "audio", seed=2)
    track = FusionTrack(fusion)
    track.push([a])
    assert set(track.push([a, b])[-1].streams) == {"a", "b"}
    assert set(track.push([b])[-1].streams) == {"b"}
    assert track.push([]) == []


def test_nothing_there_is_no_vector_and_no_score(fusion: Fusion) -> None:
    there = stream("a", "video")
    absent = StreamHops(
        name="a", modality="video", rows=there.rows, covered=np.zeros(300, np.float32)
    )
    (tick,) = fusion.fuse([absent])
    assert tick.vector is None
    assert tick.anomaly is None
    assert not tick.is_alarm


def test_a_stream_is_not_judged_before_anything_is_usual_for_it(fusion: Fusion) -> None:
    young = stream("a", "video", hops=WARM_HOPS - TICK_HOPS)
    (tick,) = fusion.fuse([young])
    assert tick.vector is not None
    assert tick.anomaly is None
    assert tick.suspect is None


def test_modes_answer_differently(fusion: Fusion) -> None:
    streams = [stream("a", "video"), stream("b", "audio", seed=2)]
    vectors = [fusion.in_mode(mode).fuse(streams)[0].vector for mode in MODES]
    assert all(vector is not None for vector in vectors)
    assert not np.allclose(vectors[0], vectors[1])  # type: ignore[arg-type]
    assert not np.allclose(vectors[1], vectors[2])  # type: ignore[arg-type]


def test_an_alarm_needs_a_rarer_score_where_fewer_are_accepted(fusion: Fusion) -> None:
    streams = [stream("a", "video"), stream("b", "audio", seed=2)]
    (tick,) = fusion.fuse(streams)
    assert tick.anomaly is not None
    above, below = 10 ** -(tick.anomaly - 0.1), 10 ** -(tick.anomaly + 0.1)
    assert fusion.fuse(streams, per_day=above)[0].is_alarm
    assert not fusion.fuse(streams, per_day=below)[0].is_alarm


def test_other_encoders_are_refused_by_name(fusion: Fusion) -> None:
    fusion.require(fusion.encoders)
    with pytest.raises(EncoderMismatch, match="trained on the video encoder"):
        fusion.require({"video": "0" * 64})


def test_samples_that_repeat_are_an_alarm_of_their_own(fusion: Fusion) -> None:
    a, b = stream("a", "video"), stream("b", "audio", seed=2)
    repeating = replace(a, surprise=np.linspace(0, 30, 300).astype(np.float32))
    calm, found = fusion.fuse([a, b])[0], fusion.fuse([repeating, b])[0]
    assert not calm.is_alarm
    assert found.is_alarm
    assert found.suspect == "a"
    assert found.streams["a"].score == pytest.approx(calm.streams["a"].score)


def test_two_ways_to_raise_an_alarm_raise_twice_as_many(fusion: Fusion) -> None:
    score = fusion.rates["hybrid"]["video"].threshold(1.0)
    assert fusion.per_day(score, 0.0, modality="video") == pytest.approx(2.0, rel=1e-3)
    assert fusion.per_day(-99.0, np.log(86_400.0), modality="video") == pytest.approx(2.0)


def test_of_text_nobody_asks_whether_it_repeats(fusion: Fusion) -> None:
    score = fusion.rates["hybrid"]["text"].threshold(1.0)
    assert fusion.per_day(score, 99.0, modality="text") == pytest.approx(1.0, rel=1e-3)


def test_a_stream_that_always_lies_above_counted_calm_alarms_that_much_later(
    fusion: Fusion,
) -> None:
    rate = fusion.rates["hybrid"]["video"]
    score, raised = rate.threshold(1.0), rate.passed(0.1) + 0.7
    told = fusion.per_day(score + 0.7, 0.0, modality="video", usual=raised)
    assert told == pytest.approx(fusion.per_day(score, 0.0, modality="video"), rel=1e-3)


def test_a_stream_that_lies_below_counted_calm_alarms_no_sooner(fusion: Fusion) -> None:
    like = fusion.per_day(0.5, 0.0, modality="video")
    assert fusion.per_day(0.5, 0.0, modality="video", usual=-9.0) == like


def test_what_is_usual_for_a_stream_excuses_no_repeats(fusion: Fusion) -> None:
    repeats = fusion.per_day(-99.0, 20.0, modality="video")
    assert fusion.per_day(-99.0, 20.0, modality="video", usual=5.0) == repeats


def test_a_stream_of_unknown_past_is_taken_for_a_raised_one(fusion: Fusion) -> None:
    unknown = fusion.per_day(1.0, 0.0, modality="video", usual=float("nan"))
    like = fusion.per_day(1.0, 0.0, modality="video")
    assert unknown is not None
    assert like is not None
    assert unknown > like

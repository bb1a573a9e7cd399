"""Training material: true times that survive restamping and cropping, files that stay true."""

from pathlib import Path

import numpy as np
import pytest

from coeval import features
from coeval.features import DIMS
from coeval.features.metadata import POOLED_DIM
from coeval.hops import HOP_NS, Hops
from coeval.lag import DenseStream, highpass, window_scores
from coeval.samples import AudioBlock, FloatArray, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NodeNs
from coeval_training.data import (
    FIRST_HELD_OUT_SEED,
    FIRST_WATCHED_SEED,
    SLOTS,
    Batch,
    StreamRows,
    draw_batch,
    longest,
    make_scene_file,
    make_scenes,
    read_scene_file,
    restamp,
    scene_file,
    scene_rows,
)
from coeval_training.scenes import STREAMS, generate_scene
from coeval_training.train import TrainConfig

SHORT_S = 6.0
CONTEXT = 64

Rows = dict[str, StreamRows]


def numbered(slot: str, *, start_hops: float, count: int) -> StreamRows:
    """Rows that say their own number, from 1 on."""
    rows = np.repeat(np.arange(1, count + 1, dtype=np.float32)[:, None], DIMS[SLOTS[slot]], axis=1)
    return StreamRows(start_hops=start_hops, rows=rows)


def draw(scenes: list[Rows], *, seed: int = 0, crop: int = 128, shift: int = 40) -> Batch:
    return draw_batch(
        scenes,
        np.random.default_rng(seed),
        crop_hops=crop,
        context_hops=CONTEXT,
        longest_shift_hops=shift,
    )


def fractional_lag(first: FloatArray, second: FloatArray) -> float:
    """Lag of the second stream's rows against the first's, in hops."""
    (scores,) = window_scores(
        DenseStream(first_hop=0, rows=highpass(first[40:])),
        DenseStream(first_hop=0, rows=highpass(second[40:])),
        window_hops=len(first),
        lowest_lag=-5,
        highest_lag=5,
    )
    k = int(scores.argmax())
    low, mid, high = scores[k - 1 : k + 2]
    return float((k + 0.5 * (low - high) / (low - 2 * mid + high)) / 2 - 5)


def times(sample: Sample) -> list[int]:
    """Every time a sample has."""
    if isinstance(sample, MetadataBlock):
        return [int(t) for t in sample.t_node_ns]
    if isinstance(sample, TextLine):
        assert sample.t_end_node_ns is not None
        return [sample.t_node_ns, sample.t_end_node_ns]
    return [sample.t_node_ns]


@pytest.mark.parametrize(
    "sample",
    [
        AudioBlock(t_node_ns=NodeNs(5), rate_hz=8000.0, pcm=np.zeros(3, np.float32)),
        Frame(t_node_ns=NodeNs(5), grey=np.zeros((2, 2), np.uint8)),
        MetadataBlock(t_node_ns=np.array([5, 8]), values=np.zeros((2, 1))),
        TextLine(t_node_ns=NodeNs(5), t_end_node_ns=NodeNs(9), text="a"),
    ],
)
def test_restamping_moves_every_time_of_a_sample(sample: Sample) -> None:
    before = times(sample)
    moved = restamp(sample, 100)
    assert type(moved) is type(sample)
    assert times(moved) == [t + 100 for t in before]
    assert times(sample) == before


def test_a_line_of_unknown_end_still_has_none() -> None:
    line = TextLine(t_node_ns=NodeNs(5), t_end_node_ns=None, text="a")
    assert restamp(line, 100) == TextLine(t_node_ns=NodeNs(105), t_end_node_ns=None, text="a")


def test_the_longest_run_of_rows_is_taken() -> None:
    parts = [
        Hops(t0_node_ns=NodeNs(first * HOP_NS), rows=np.full((count, 2), first, np.float32))
        for first, count in ((0, 3), (10, 2), (12, 4), (30, 5))
    ]
    run = longest(parts)
    assert (run.t0_node_ns // HOP_NS, len(run.rows)) == (10, 6)


def test_the_slots_are_the_streams_of_a_scene() -> None:
    assert set(SLOTS) == set(STREAMS)


def test_rows_of_a_scene_are_reproducible_and_have_the_dimensions_of_their_features() -> None:
    first, second = (scene_rows(generate_scene(4, duration_s=SHORT_S), 4) for _ in range(2))
    assert set(first) == set(second) == set(SLOTS)
    for slot, stream in first.items():
        assert stream.rows.shape[1] == DIMS[SLOTS[slot]]
        assert np.isfinite(stream.rows).all()
        np.testing.assert_array_equal(stream.rows, second[slot].rows)
        assert stream.start_hops == second[slot].start_hops


def test_streams_of_a_scene_lie_a_fraction_of_a_hop_apart() -> None:
    starts = [s.start_hops % 1 for s in scene_rows(generate_scene(4, duration_s=5.0), 4).values()]
    assert len({round(start, 6) for start in starts}) == len(starts)


@pytest.fixture(scope="module")
def one_scene_three_times() -> dict[int, Rows]:
    """Rows of one scene, by the seed of the clocks' phases."""
    scene = generate_scene(FIRST_HELD_OUT_SEED + 8, duration_s=20.0, kind="machine")
    return {seed: scene_rows(scene, seed, varied=False) for seed in (1, 5, 6)}


@pytest.mark.parametrize(
    ("slot", "one", "other"),  # seeds whose phases of this slot lie apart, of an IMU's same columns
    [
        ("video", 5, 6),
        ("imu", 5, 6),
        ("stills", 5, 6),
        ("audio", 1, 6),
        ("machine", 1, 6),
        ("text", 1, 6),
    ],
)
def test_the_true_time_of_a_row_is_where_its_content_is(
    one_scene_three_times: dict[int, Rows], slot: str, one: int, other: int
) -> None:
    first, second = (one_scene_three_times[seed][slot] for seed in (one, other))
    true_lag = first.start_hops - second.start_hops
    assert abs(true_lag) > 0.3
    # Single channels swing faster than hops can show: their lag is of aliases.
    columns = slice(POOLED_DIM if SLOTS[slot] == "metadata" else None)
    lag = fractional_lag(first.rows[:, columns], second.rows[:, columns])
    assert lag == pytest.approx(true_lag, abs=0.15)


def test_a_scene_is_rendered_once_and_read_back_to_half_precision(tmp_path: Path) -> None:
    path = make_scene_file(tmp_path, 2, SHORT_S)
    expected = scene_rows(generate_scene(2, duration_s=SHORT_S), 2)
    kept = read_scene_file(path)
    assert list(kept) == list(expected)
    for slot, stream in kept.items():
        assert stream.start_hops == expected[slot].start_hops
        assert stream.rows.dtype == np.float32
        np.testing.assert_allclose(stream.rows, expected[slot].rows, rtol=1e-3, atol=1e-3)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    path.write_bytes(b"kept")
    assert make_scene_file(tmp_path, 2, SHORT_S).read_bytes() == b"kept"


def test_rows_of_another_length_or_of_older_features_are_never_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = scene_file(tmp_path, 2, SHORT_S)
    assert scene_file(tmp_path, 2, 7.0) != now
    assert scene_file(tmp_path, 3, SHORT_S) != now
    monkeypatch.setitem(features.VERSIONS, "audio", features.VERSIONS["audio"] + 1)
    assert scene_file(tmp_path, 2, SHORT_S) != now


def test_many_scenes_come_in_the_order_of_their_seeds_whoever_rendered_them(
    tmp_path: Path,
) -> None:
    make_scene_file(tmp_path, 6, SHORT_S)
    scenes = make_scenes(tmp_path, range(5, 8), duration_s=SHORT_S, workers=1)
    for seed, scene in zip(range(5, 8), scenes, strict=True):
        expected = scene_rows(generate_scene(seed, duration_s=SHORT_S), seed)
        assert {slot: rows.start_hops for slot, rows in scene.items()} == {
            slot: rows.start_hops for slot, rows in expected.items()
        }


def test_the_scenes_of_training_watching_and_testing_are_apart() -> None:
    config = TrainConfig()
    assert config.num_scenes <= FIRST_WATCHED_SEED
    assert FIRST_WATCHED_SEED + config.num_validation <= FIRST_HELD_OUT_SEED


@pytest.mark.parametrize("seed", range(5))
def test_a_crop_says_the_true_time_of_its_first_row_and_has_the_rows_before_it(seed: int) -> None:
    scene = {slot: numbered(slot, start_hops=k + 0.3, count=400) for k, slot in enumerate(SLOTS)}
    batch = draw([scene, scene], seed=seed)
    for k, slot in enumerate(SLOTS):
        assert batch.rows[slot].shape == (2, CONTEXT + 128, DIMS[SLOTS[slot]])
        for b in range(2):
            said = batch.rows[slot][b, :, 0]
            index = batch.start_hops[slot][b] - (k + 0.3)
            expected = np.arange(-CONTEXT, 128) + 1 + round(float(index))
            np.testing.assert_array_equal(said, np.where(expected > 0, expected, 0))
            assert index == pytest.approx(round(float(index)), abs=1e-3)
        assert batch.present[slot].all()


def test_streams_of_one_crop_lie_up_to_the_longest_shift_apart() -> None:
    scene = {slot: numbered(slot, start_hops=0.0, count=600) for slot in SLOTS}
    batch = draw([scene] * 60, crop=64, shift=20)
    starts = np.stack([batch.start_hops[slot] for slot in SLOTS])
    spread = np.ptp(starts, axis=0)
    assert spread.max() <= 20
    assert spread.max() > 15
    assert np.ptp(starts[0]) > 300  # anywhere in the scene


def test_a_stream_that_is_absent_is_zeros_and_says_so() -> None:
    whole = {slot: numbered(slot, start_hops=0.0, count=400) for slot in SLOTS}
    deaf = {slot: stream for slot, stream in whole.items() if slot != "audio"}
    batch = draw([whole, deaf])
    assert batch.present["audio"].tolist() == [True, False]
    assert batch.rows["audio"][0].any()
    assert not batch.rows["audio"][1].any()
    assert batch.present["video"].all()


def test_a_stream_that_ended_before_the_crop_is_zeros_and_says_so() -> None:
    scene = {
        "video": numbered("video", start_hops=0.0, count=5000),
        "text": numbered("text", start_hops=0.0, count=10),
    }
    batch = draw([scene] * 20, crop=256, shift=0)
    late = batch.start_hops["text"] > 10
    assert late.sum() > 10
    assert not batch.present["text"].any()
    assert not batch.rows["text"][batch.start_hops["text"] > 10 + CONTEXT].any()


def test_a_scene_shorter_than_the_crop_is_filled_with_zeros() -> None:
    scene = {slot: numbered(slot, start_hops=0.0, count=90) for slot in SLOTS}
    batch = draw([scene], crop=128, shift=0)
    said = batch.rows["video"][0, :, 0]
    assert said[CONTEXT:].tolist() == [*range(1, 91), *[0] * 38]
    assert not said[:CONTEXT].any()


def test_the_same_seed_draws_the_same_crops() -> None:
    scene = {slot: numbered(slot, start_hops=0.0, count=400) for slot in SLOTS}
    one, two, other = (draw([scene] * 3, seed=seed) for seed in (1, 1, 2))
    assert all((one.rows[slot] == two.rows[slot]).all() for slot in SLOTS)
    assert any((one.rows[slot] != other.rows[slot]).any() for slot in SLOTS)

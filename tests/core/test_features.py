"""Streaming features: exact in time, the same however the samples come in pieces."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coeval.features import DIMS, feature_spec, make_extractor
from coeval.features.grid import HopGrid
from coeval.features.metadata import CHANNEL_DIM, POOLED_DIM
from coeval.features.picture import global_change
from coeval.features.text import BEGINS, TextFeatures, hash_words
from coeval.hops import HOP_NS, Hops, join
from coeval.preprocessing import Preprocessing
from coeval.preprocessing.wide import NUM_KEPT
from coeval.samples import MODALITIES, AudioBlock, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NodeNs

S = 1_000_000_000


def rows_of(modality: str, samples: list[Sample]) -> Hops:
    extractor = make_extractor(modality)  # type: ignore[arg-type]
    parts: list[Hops] = []
    for sample in samples:
        parts += extractor.push(sample)
    parts += extractor.flush()
    joined = join(parts)
    assert len(joined) == 1
    return joined[0]


def sound(seconds: float, *, t0_ns: int = 7, seed: int = 0) -> AudioBlock:
    pcm = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16_000))
    return AudioBlock(t_node_ns=NodeNs(t0_ns), rate_hz=16_000.0, pcm=pcm.astype(np.float32))


def pieces_of(block: AudioBlock, cuts: list[int]) -> list[Sample]:
    edges = [0, *sorted(cuts), len(block.pcm)]
    return [
        AudioBlock(
            t_node_ns=NodeNs(round(block.t_node_ns + low / block.rate_hz * S)),
            rate_hz=block.rate_hz,
            pcm=block.pcm[low:high],
        )
        for low, high in itertools.pairwise(edges)
        if high > low
    ]


@given(cuts=st.lists(st.integers(1, 31_999), max_size=6))
@settings(max_examples=20)
def test_audio_rows_do_not_depend_on_how_the_sound_is_cut(cuts: list[int]) -> None:
    whole = sound(2.0)
    together, apart = rows_of("audio", [whole]), rows_of("audio", pieces_of(whole, cuts))
    assert together.t0_node_ns == apart.t0_node_ns
    np.testing.assert_allclose(together.rows, apart.rows, atol=2e-3)


def test_readings_in_one_block_or_many_give_the_same_rows() -> None:
    rng = np.random.default_rng(1)
    t = np.cumsum(rng.integers(4_000_000, 6_000_000, 1000)).astype(np.int64)
    x = np.cumsum(rng.standard_normal((1000, 3)), axis=0)
    one = rows_of("metadata", [MetadataBlock(t_node_ns=t, values=x)])
    many = rows_of(
        "metadata",
        [MetadataBlock(t_node_ns=t[k : k + 37], values=x[k : k + 37]) for k in range(0, 1000, 37)],
    )
    np.testing.assert_allclose(one.rows, many.rows, atol=1e-4)


def singles(block: MetadataBlock) -> np.ndarray:
    """What rows tell of single channels, shape (n, channels, columns)."""
    rows = rows_of("metadata", [block]).rows
    return rows[:, POOLED_DIM:-1].reshape(len(rows), NUM_KEPT, CHANNEL_DIM)


def test_each_channel_is_told_by_itself_with_the_direction_it_moves_in() -> None:
    t = np.arange(400) * 50_000_000
    ramp = np.repeat([0.0, 1.0, 1.0, -1.0], 100)
    told = singles(MetadataBlock(t_node_ns=t, values=np.stack([ramp, -ramp, 7 + 0 * ramp], axis=1)))
    np.testing.assert_allclose(told[:, 0, :2], -told[:, 1, :2], atol=1e-5)
    assert told[100:110, 0, 0].max() > 1
    assert told[300:310, 0, 0].min() < -1
    assert not told[:, 2:].any()  # one that never moved, and those that are not there


def test_of_more_channels_than_are_told_all_are_pooled_and_none_is_an_error() -> None:
    rng = np.random.default_rng(3)
    block = MetadataBlock(
        t_node_ns=np.arange(300) * 20_000_000,
        values=np.cumsum(rng.standard_normal((300, 40)), axis=0),
    )
    extractor = make_extractor("metadata", Preprocessing(wide=False))
    rows = join([*extractor.push(block), *extractor.flush()])[0].rows
    assert rows.shape[1] == DIMS["metadata"]
    assert np.isfinite(rows).all()


def test_every_modality_gives_rows_of_its_stated_width_on_the_hop_grid() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (30, 48, 64)).astype(np.uint8)
    frames: list[Sample] = [
        Frame(t_node_ns=NodeNs(k * 33_333_333 + 5), grey=grey[k]) for k in range(30)
    ]
    samples: dict[str, list[Sample]] = {
        "video": frames,
        "image": frames[::10],
        "audio": [sound(1.0)],
        "metadata": [MetadataBlock(t_node_ns=np.arange(200) * 5_000_000, values=np.ones((200, 2)))],
        "text": [TextLine(t_node_ns=NodeNs(S), t_end_node_ns=None, text="door opens")],
    }
    for modality in MODALITIES:
        hops = rows_of(modality, samples[modality])
        assert hops.t0_node_ns % HOP_NS == 0
        assert hops.rows.shape[1] == DIMS[modality] == feature_spec(modality).dim
        assert np.isfinite(hops.rows).all()


@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    start=st.integers(0, 99),
)
@settings(max_examples=50)
def test_the_grid_keeps_the_integral_of_segments_of_any_length(
    lengths: list[int], cut: int, start: int
) -> None:
    ends = (start + np.cumsum(lengths)) * 1_000_000
    starts = ends - np.array(lengths) * 1_000_000
    values = np.random.default_rng(len(lengths)).standard_normal((len(lengths), 2))
    grid = HopGrid(2)
    parts = grid.push(starts[:cut], ends[:cut], values[:cut])
    parts += grid.push(starts[cut:], ends[cut:], values[cut:]) + grid.flush()
    rows = np.concatenate([part.rows for part in parts])
    integral = (rows[:, :2] * rows[:, 2:]).sum(axis=0) * HOP_NS
    expected = (values * (ends - starts)[:, None]).sum(axis=0)
    np.testing.assert_allclose(integral, expected, rtol=1e-4, atol=1e4)


def test_a_silence_of_more_than_a_minute_starts_a_new_run_of_rows() -> None:
    grid = HopGrid(1)
    at = np.array([0], np.int64)
    parts = grid.push(at, at + S, np.ones((1, 1)))
    parts += grid.push(at + 100 * S, at + 101 * S, np.ones((1, 1))) + grid.flush()
    assert [part.t0_node_ns for part in join(parts)] == [0, 100 * S]


def test_a_line_of_text_keeps_its_time_within_a_hop() -> None:
    for t_ns in (S, S + 10_000_000, S + 37_000_000):
        features = TextFeatures()
        line = TextLine(t_node_ns=NodeNs(t_ns), t_end_node_ns=NodeNs(t_ns + S), text="stop")
        hops = join([*features.push(line), *features.flush()])[0]
        middles = hops.t0_node_ns + (np.arange(len(hops.rows)) + 0.5) * HOP_NS
        impulse = hops.rows[:, BEGINS]
        assert impulse.sum() == pytest.approx(1.0)
        assert middles @ impulse == pytest.approx(t_ns, abs=1e3)


def test_rows_given_by_advance_are_never_changed_by_a_later_line() -> None:
    lines = [
        TextLine(t_node_ns=NodeNs(k * 300_000_000), t_end_node_ns=None, text=f"line {k}")
        for k in range(20)
    ]
    patient = rows_of("text", list(lines))
    features, parts = TextFeatures(), []
    for line in lines:
        parts += features.advance(int(line.t_node_ns)) + features.push(line)
    hasty = join(parts + features.flush())[0]
    np.testing.assert_array_equal(patient.rows, hasty.rows)


def test_words_hash_alike_whatever_their_case_and_language() -> None:
    np.testing.assert_array_equal(hash_words("Tür ÖFFNET"), hash_words("tür öffnet"))
    assert not hash_words("…!").any()


def scene(x: float, y: float) -> np.ndarray:
    """A smooth texture seen from (x, y) pixels, shape (48, 64)."""
    u = (np.arange(64) + x)[None, :]
    v = (np.arange(48) + y)[:, None]
    waves = np.sin(0.31 * u + 0.17 * v) + np.sin(0.13 * u - 0.29 * v) + np.cos(0.07 * u * 1.3)
    return (0.5 + 0.15 * waves).astype(np.float32)


@pytest.mark.parametrize(("dx", "dy"), [(0.3, -0.2), (1.5, 1.0), (-3.0, 2.0)])
def test_global_motion_is_positive_to_the_right_and_down(dx: float, dy: float) -> None:
    found = global_change(scene(0, 0)[None], scene(-dx, -dy)[None], light=True)
    np.testing.assert_allclose(found.motion[0, :2] * 64, [dx, dy], atol=0.1)


def test_a_constant_channel_and_missing_readings_give_finite_rows() -> None:
    values = np.ones((400, 3))
    values[:, 1] = np.nan
    values[50:90, 2] = np.nan
    block = MetadataBlock(t_node_ns=np.arange(400) * 10_000_000, values=values)
    assert np.isfinite(rows_of("metadata", [block]).rows).all()


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="48×64"):
        make_extractor("video").push(Frame(t_node_ns=NodeNs(0), grey=np.zeros((10, 10), np.uint8)))

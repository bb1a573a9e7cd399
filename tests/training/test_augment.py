"""Scenes drawn anew: other rows, the same truth."""

import numpy as np
import pytest
import torch

from coeval.features import DIMS
from coeval.features.metadata import CHANNEL_DIM, POOLED_DIM
from coeval_training.augment import disturbed, other_channels, overlaid, stretched, varied
from coeval_training.data import StreamRows


def clicks(times_hops: list[float], *, start_hops: float, count: int = 300) -> StreamRows:
    """A stream that shows smooth bumps at true times."""
    middles = start_hops + np.arange(count) + 0.5
    bumps = sum(np.exp(-0.5 * ((middles - t) / 3.0) ** 2) for t in times_hops)
    return StreamRows(start_hops=start_hops, rows=np.asarray(bumps, np.float32)[:, None])


def seen_at(stream: StreamRows) -> float:
    """True time of a stream's one bump, in hops."""
    weights = stream.rows[:, 0] / stream.rows[:, 0].sum()
    return float(weights @ (stream.start_hops + np.arange(len(stream.rows)) + 0.5))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_a_stretched_scene_shows_everything_earlier_or_later_by_one_factor(factor: float) -> None:
    scene = {
        "imu": clicks([150.0], start_hops=0.3),
        "audio": clicks([150.0], start_hops=-20.7),
    }
    for stream in stretched(scene, factor).values():
        assert seen_at(stream) == pytest.approx(150.0 / factor, abs=0.05)


def test_only_a_share_of_the_scenes_is_stretched() -> None:
    scene = {"imu": clicks([150.0], start_hops=0.0)}
    rng = np.random.default_rng(0)
    drawn = [varied(scene, rng, stretch=0.2, share=0.5) for _ in range(60)]
    lengths = [len(one["imu"].rows) for one in drawn]
    assert 15 < lengths.count(300) < 45
    assert min(lengths) > 300 * np.exp(-0.21)
    assert max(lengths) < 300 * np.exp(0.21)


def test_disturbed_rows_keep_coverage_and_absence() -> None:
    rows = torch.randn((3, 50, 9), generator=torch.Generator().manual_seed(0))
    rows[:, 20:30] = 0.0
    other = disturbed(rows, torch.Generator().manual_seed(1), noise=0.1, columns=0.3)
    assert torch.equal(other[..., -1], rows[..., -1])
    assert not other[:, 20:30].any()
    assert not torch.equal(other[:, :20, :-1], rows[:, :20, :-1])


def random_rows(batch: int, dim: int, *, hops: int = 50) -> torch.Tensor:
    return torch.randn((batch, hops, dim), generator=torch.Generator().manual_seed(0))


def test_an_overlaid_stream_also_shows_the_scene_so_many_places_before() -> None:
    rows = random_rows(8, 9)
    rows[:, 20:30] = 0.0
    other = overlaid(rows, torch.Generator().manual_seed(1), apart=3, share=1.0, largest=0.6)
    factors = (other - rows)[:, :20, :-1] / rows.roll(3, dims=0)[:, :20, :-1]
    for factor in factors:
        torch.testing.assert_close(factor, factor[0, 0].expand_as(factor), rtol=1e-3, atol=1e-4)
    assert 0 < factors.min() < factors.max() < 0.6
    assert not other[:, 20:30].any()
    assert torch.equal(other[..., -1], rows[..., -1])


def test_as_many_streams_are_overlaid_as_asked_for() -> None:
    rows = random_rows(200, 9, hops=2)
    other = overlaid(rows, torch.Generator().manual_seed(1), apart=4, share=0.3, largest=0.6)
    assert 30 <= (other != rows).any(2).any(1).sum() <= 90


def test_single_channels_lose_sign_and_gain_or_are_lost_and_what_is_pooled_stays() -> None:
    rows = random_rows(40, DIMS["metadata"])
    other = other_channels(rows, torch.Generator().manual_seed(1), spread=0.2, lost=0.15)
    assert torch.equal(other[..., :POOLED_DIM], rows[..., :POOLED_DIM])
    assert torch.equal(other[..., -1], rows[..., -1])
    ratio = (other / rows)[..., POOLED_DIM:-1].reshape(40, 50, -1, CHANNEL_DIM)
    factor = ratio[:, 0]
    torch.testing.assert_close(ratio, factor[:, None].expand_as(ratio), rtol=1e-3, atol=1e-4)
    level, change, bustle, sudden = factor.unbind(-1)
    torch.testing.assert_close(level, change, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(bustle, sudden, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(level.abs(), bustle, rtol=1e-3, atol=1e-4)
    assert 200 < (level < 0).sum() < 350
    assert 40 < (level == 0).sum() < 160

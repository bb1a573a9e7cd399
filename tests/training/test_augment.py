"""Scenes drawn anew: other rows, the same truth."""

import numpy as np
import pytest
import torch

from coeval_training.augment import disturbed, stretched, varied
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

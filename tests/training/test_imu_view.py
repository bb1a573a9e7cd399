"""Inertial readings as other sensors tell them: same scene, same times."""

import numpy as np
import pytest

from coeval.samples import MetadataBlock
from coeval.time import NS_PER_S
from coeval_training.imu_view import AXES, ImuTeller, ImuView, as_seen

RATE_HZ = 100


def blocks(*, seconds: int = 10, size: int = 64) -> list[MetadataBlock]:
    """A gyroscope that turns by 1 rad/s about x from 2 s on, and an accelerometer that counts."""
    t_s = np.arange(seconds * RATE_HZ) / RATE_HZ
    values = np.zeros((len(t_s), 6))
    values[:, 0] = t_s >= 2.0
    values[:, 3] = np.arange(len(t_s))
    t_ns = np.rint(t_s * NS_PER_S).astype(np.int64)
    return [
        MetadataBlock(t_node_ns=t_ns[at : at + size], values=values[at : at + size])
        for at in range(0, len(t_ns), size)
    ]


def told(view: ImuView) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and values of the whole, as a view tells them."""
    seen = list(as_seen(blocks(), view, np.random.default_rng(0)))
    parts = [block for block in seen if isinstance(block, MetadataBlock)]
    times = np.concatenate([block.t_node_ns for block in parts]) / NS_PER_S
    return times, np.concatenate([block.values for block in parts])


@pytest.mark.parametrize("every", [1, 2, 7, 10])
def test_every_kth_reading_is_told_at_its_own_time_across_blocks(every: int) -> None:
    times, values = told(ImuView(axes=slice(3, 6), every=every))
    np.testing.assert_array_equal(values[:, 0], np.arange(0, 10 * RATE_HZ, every))
    np.testing.assert_allclose(times, np.arange(0, 10 * RATE_HZ, every) / RATE_HZ)


def test_angles_grow_with_the_turn_and_are_forgotten_as_stated() -> None:
    times, values = told(ImuView(axes=slice(0, 6), forget_s=4.0))
    expected = np.where(times >= 2.0, 4.0 * (1 - np.exp(-(times - 2.0).clip(0) / 4.0)), 0.0)
    np.testing.assert_allclose(values[:, 0], expected, atol=0.02)
    np.testing.assert_array_equal(values[:, 3], np.arange(10 * RATE_HZ))


def test_other_channels_stand_beside_and_never_repeat() -> None:
    _, values = told(ImuView(axes=slice(0, 3), num_others=3))
    assert values.shape == (10 * RATE_HZ, 6)
    assert (np.diff(values[:, 3:], axis=0) != 0).all()


def test_a_block_may_hold_no_reading() -> None:
    teller = ImuTeller(ImuView(axes=slice(0, 6), every=10), np.random.default_rng(0))
    sizes = [len(teller.tell(block).t_node_ns) for block in blocks(seconds=1, size=4)]
    assert sum(sizes) == 10
    assert 0 in sizes


def test_every_way_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = [ImuView.drawn(rng) for _ in range(400)]
    assert {str(view.axes) for view in drawn} == {str(axes) for axes in AXES}
    assert any(view.forget_s is not None for view in drawn)
    assert all(view.axes.start == 0 for view in drawn if view.forget_s is not None)
    assert {view.every for view in drawn} == set(range(1, 11))
    assert {view.num_others for view in drawn} == set(range(5))

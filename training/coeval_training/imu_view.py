"""How an inertial sensor's readings may reach us: some axes, angles, slower, beside other channels.

Real numeric streams of movement are seldom six axes at 200 Hz: flight logs tell attitude, robots
a heading, phones a tenth of the readings, and most of them other quantities in the same rows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from coeval.samples import MetadataBlock, Sample
from coeval.time import NS_PER_S

AXES = (slice(0, 6), slice(0, 6), slice(0, 3), slice(3, 6))
"""Gyroscope and accelerometer, or one of them: real streams often carry only one."""
AS_ANGLES = 0.25
"""How often the gyroscope is told as angles, and how often one is told …"""
SLOWER = 0.3
"""… with only every second to tenth reading, …"""
BESIDE_OTHERS = 0.3
"""… beside channels that have nothing to do with the scene."""
MOST_OTHERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ImuView:
    """What of an inertial sensor's readings is told."""

    axes: slice
    """Of gx gy gz ax ay az."""
    forget_s: float | None = None
    """Time constant of a high-passed integral of the gyroscope told in its place: angles of an
    attitude filter that drifts back; None: rates as they are."""
    every: int = 1
    """One reading of so many is told."""
    num_others: int = 0
    """Channels beside them that tell nothing of the scene."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "ImuView":
        """One of the ways, by chance."""
        axes = AXES[rng.integers(len(AXES))]
        as_angles = rng.random() < AS_ANGLES and axes.start == 0
        return cls(
            axes=axes,
            forget_s=float(10 ** rng.uniform(0.3, 1.5)) if as_angles else None,
            every=int(rng.integers(2, 11)) if rng.random() < SLOWER else 1,
            num_others=int(rng.integers(1, MOST_OTHERS + 1)) if rng.random() < BESIDE_OTHERS else 0,
        )


class ImuTeller:
    """Tells an inertial sensor's blocks as a view says; keeps state from block to block."""

    def __init__(self, view: ImuView, rng: np.random.Generator) -> None:
        self._view = view
        self._rng = rng
        self._skipped = 0
        self._angles = np.zeros((1, 3))
        self._walk = np.zeros(view.num_others)
        self._step = 10 ** rng.uniform(-2, 2, view.num_others)
        self._noise = self._step * 10 ** rng.uniform(-1, 1.5, view.num_others)
        """Of channels that walk at random and are read with noise, by channel."""

    def tell(self, sample: MetadataBlock) -> MetadataBlock:
        """The block as it is told; it may hold no reading."""
        times = sample.t_node_ns
        values = sample.values
        if self._view.forget_s is not None and len(times) > 1:
            values = values.copy()
            values[:, :3] = self._integrated(values[:, :3], times)
        kept = slice(-self._skipped % self._view.every, None, self._view.every)
        self._skipped = (self._skipped + len(times)) % self._view.every
        told = values[kept, self._view.axes]
        return MetadataBlock(
            t_node_ns=times[kept], values=np.concatenate([told, self._others(len(told))], axis=1)
        )

    def _integrated(
        self, rates: NDArray[np.float64], times: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Angles that forget, by one filter at the block's mean interval."""
        assert self._view.forget_s is not None
        step_s = float(np.diff(times).mean()) / NS_PER_S
        keep = np.exp(-step_s / self._view.forget_s)
        angles, _ = lfilter([step_s], [1.0, -keep], rates, axis=0, zi=keep * self._angles)
        self._angles = angles[-1:]
        return np.asarray(angles, np.float64)

    def _others(self, count: int) -> NDArray[np.float64]:
        """Readings of the other channels, shape (count, num_others)."""
        shape = (count, self._view.num_others)
        walked = self._walk + np.cumsum(self._step * self._rng.standard_normal(shape), axis=0)
        if count:
            self._walk = walked[-1]
        noisy: NDArray[np.float64] = walked + self._noise * self._rng.standard_normal(shape)
        return noisy


def as_seen(samples: Iterable[Sample], view: ImuView, rng: np.random.Generator) -> Iterator[Sample]:
    """An inertial sensor's blocks as a view tells them.

    Args:
        samples: metadata of six channels, gx gy gz ax ay az.
        view: how.
        rng: draws the other channels.
    """
    teller = ImuTeller(view, rng)
    for sample in samples:
        assert isinstance(sample, MetadataBlock)
        yield teller.tell(sample)

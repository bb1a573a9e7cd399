"""Dimensionality reduction of wide metadata: many channels become a few principal ones.

In: readings of any number of channels. Out: the same where they are few, else NUM_KEPT channels:
running sums of the increments, each channel's measured by its typical size, on the principal axes
of all increments so far. Channels that never move weigh nothing and equal ones share an axis.

The axes are renewed when the number of readings has doubled, at last every LONGEST_MEMORY; the
first ones are random of a fixed seed. Increments are projected, not levels: new axes are no jump.
"""

import numpy as np
from numpy.typing import NDArray

NUM_KEPT = 16
"""Channels kept, and the most that are left as they are."""
FIRST_AXES = 32
"""Readings until the first axes are computed: twice what is kept."""
LONGEST_MEMORY = 4096
"""Readings that the axes remember, about."""
LIMIT = 30.0
"""Typical increments that one channel may leap at most: no glitch is all that is seen."""


def is_wide(num_channels: int) -> bool:
    """Whether so many channels are reduced."""
    return num_channels > NUM_KEPT


class WideReduction:
    """Streaming projection of more than NUM_KEPT channels."""

    def __init__(self, num_channels: int) -> None:
        random = np.random.default_rng(num_channels).standard_normal((num_channels, NUM_KEPT))
        self._axes = np.linalg.qr(random)[0]
        self._last: NDArray[np.float64] | None = None
        self._sum = np.zeros(NUM_KEPT)
        self._size = np.zeros(num_channels)
        """Typical increment of each channel: root mean square; 0 where it never moved."""
        self._scatter = np.zeros((num_channels, num_channels))
        self._weight = 0.0
        """How many readings the scatter holds, of those remembered."""
        self._seen = 0
        self._batch: list[NDArray[np.float64]] = []
        """Increments since the axes were renewed."""
        self._renew_at = 1

    def push(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reduce readings in order.

        Args:
            values: finite readings, shape (n, channels).

        Returns:
            Shape (n, NUM_KEPT).
        """
        if not len(values):
            return np.zeros((0, NUM_KEPT))
        first = values[:1] if self._last is None else self._last
        increments = np.diff(np.concatenate([first, values]), axis=0)
        self._last = values[-1:]
        parts = []
        while len(increments):
            now = increments[: self._renew_at - self._seen]
            increments = increments[len(now) :]
            parts.append(self._sum + np.cumsum(self._measured(now) @ self._axes, axis=0))
            self._sum = parts[-1][-1]
            self._batch.append(now)
            self._seen += len(now)
            if self._seen == self._renew_at:
                self._renew()
        return np.concatenate(parts)

    def _measured(self, increments: NDArray[np.float64]) -> NDArray[np.float64]:
        """Increments in typical sizes, limited so that one channel's leap is not all there is."""
        size = np.where(self._size > 0, self._size, np.inf)
        return np.clip(increments / size, -LIMIT, LIMIT)

    def _renew(self) -> None:
        """Learn sizes and axes from what has passed; the next readings are measured by them."""
        batch = np.concatenate(self._batch)
        self._batch = []
        keep = min(1.0, max(LONGEST_MEMORY - len(batch), 0) / max(self._weight, 1.0))
        before, self._weight = self._weight * keep, self._weight * keep + len(batch)
        square = (self._size**2 * before + (batch**2).sum(axis=0)) / self._weight
        self._size = np.sqrt(square)
        measured = self._measured(batch)
        self._scatter = self._scatter * keep + measured.T @ measured
        self._renew_at = self._seen + min(self._seen, LONGEST_MEMORY)
        if self._seen >= FIRST_AXES:
            self._axes = np.linalg.eigh(self._scatter)[1][:, -NUM_KEPT:]

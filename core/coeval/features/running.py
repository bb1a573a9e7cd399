"""Running normalisation: what a node can know of its signal's level and spread so far."""

import numpy as np
from numpy.typing import NDArray

from coeval.samples import FloatArray

MOST_AT_ONCE = 64
"""Rows in one matrix of weights."""
FEWEST_AT_ONCE = 6
"""Of fewer rows the plain recursion is faster (measured)."""

Moment = NDArray[np.float64]


class RunningNorm:
    """Subtracts a running mean and divides by a running spread, both exponential.

    Until `memory_hops` rows have passed the memory is all rows so far, so that the first rows
    are normalised by what there is and not by an invented constant.
    """

    def __init__(
        self, dim: int, *, memory_hops: int, floor: float, standardise: bool = True
    ) -> None:
        """Start without knowledge.

        Args:
            dim: columns.
            memory_hops: rows remembered.
            floor: least spread, so that what stands still is not blown up.
            standardise: whether to divide by the spread; else rows are centred only.
        """
        self._memory_hops = memory_hops
        self._floor = floor
        self._standardise = standardise
        self._mean = np.zeros(dim)
        self._square = np.zeros(dim)
        self._seen = 0

    def push(self, rows: NDArray[np.floating], weights: NDArray[np.floating]) -> FloatArray:
        """Normalise rows in order.

        Args:
            rows: shape (n, dim).
            weights: 0…1, shape (n,); a row of weight 0 teaches nothing and comes out 0.

        Returns:
            (row − running mean) / running spread, shape (n, dim), limited to ±8.
        """
        out = np.zeros(rows.shape, np.float32)
        used = np.flatnonzero(weights >= 0.5)
        step = MOST_AT_ONCE if len(used) >= FEWEST_AT_ONCE else 1
        for first in range(0, len(used), step):
            some = used[first : first + step]
            deviation, square = (self._one if step == 1 else self._many)(rows[some])
            if self._standardise:
                deviation = deviation / np.sqrt(square + self._floor**2)
            out[some] = deviation
        return np.clip(out, -8.0, 8.0, out=out)

    def _one(self, row: NDArray[np.floating]) -> tuple[Moment, Moment]:
        """Deviation and mean square deviation of a row, shape (1, dim)."""
        self._seen += 1
        gain = max(1.0 / self._seen, 1.0 / self._memory_hops)
        self._mean = self._mean + gain * (row[0] - self._mean)
        deviation = row - self._mean
        self._square = self._square + gain * (deviation[0] ** 2 - self._square)
        return deviation, self._square

    def _many(self, rows: NDArray[np.floating]) -> tuple[Moment, Moment]:
        """The same of several rows at once.

        Row k of the recursion y += gain · (x − y) is a sum with the weights
        gain_j · Π (1 − gain_i) over i = j + 1 … k, and of the last y with all factors.
        """
        seen = self._seen + np.arange(1, len(rows) + 1)
        self._seen += len(rows)
        gains = np.maximum(1.0 / seen, 1.0 / self._memory_hops)
        kept = np.cumprod(1.0 - gains)[:, None]
        earlier = np.tri(len(rows), k=-1, dtype=bool)
        left = np.cumprod(np.where(earlier, (1.0 - gains)[:, None], 1.0), axis=0)
        taken = np.where(earlier.T, 0.0, left) * gains
        means = kept * self._mean + taken @ rows
        deviation = rows - means
        squares = kept * self._square + taken @ deviation**2
        self._mean, self._square = means[-1], squares[-1]
        return deviation, squares

    @property
    def is_warm(self) -> bool:
        """Whether as many rows have been seen as are remembered: the level is no longer a guess."""
        return self._seen >= self._memory_hops

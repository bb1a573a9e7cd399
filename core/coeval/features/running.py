"""Running normalisation: what a node can know of its signal's level and spread so far."""

import numpy as np
from numpy.typing import NDArray

from coeval.samples import FloatArray


class RunningNorm:
    """Subtracts a running mean and divides by a running spread, both exponential.

    Until `memory_hops` rows have passed the memory is all rows so far, so that the first rows
    are normalised by what there is and not by an invented constant.
    """

    def __init__(self, dim: int, *, memory_hops: int, floor: float, shared_spread: bool) -> None:
        self._memory_hops = memory_hops
        self._floor = floor
        self._shared_spread = shared_spread
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
        for k, (row, weight) in enumerate(zip(rows, weights, strict=True)):
            if weight < 0.5:
                continue
            self._seen += 1
            gain = max(1.0 / self._seen, 1.0 / self._memory_hops)
            self._mean += gain * (row - self._mean)
            deviation = row - self._mean
            self._square += gain * (deviation * deviation - self._square)
            square = self._square.mean() if self._shared_spread else self._square
            out[k] = deviation / np.sqrt(square + self._floor**2)
        return np.clip(out, -8.0, 8.0, out=out)

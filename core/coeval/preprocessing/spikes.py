"""Spike removal for numeric channels: one impossible reading between two that agree.

A Hampel-like filter: a reading far from the median of itself and its neighbours, measured by the
channel's own typical step, is replaced by the neighbours' mean. An impact lasts two readings or
more and stays; a slow meter, and a channel that mostly stands still (a button), are left alone.
It answers one reading late, but for a slow meter.
"""

import numpy as np
from numpy.typing import NDArray

from coeval.samples import IntArray
from coeval.time import NS_PER_S

WINDOW = 32
"""Steps whose median is a channel's typical one."""
LEAST_TIMES_TYPICAL = 15.0
"""How many typical steps a reading must lie off: of Gaussian noise one in 10²⁰ does."""
LARGEST_RETURN = 0.1
"""Share of the excursion by which its two neighbours may differ."""
LARGEST_APPROACH = 0.25
"""Share of the excursion that the step before it may have."""
LONGEST_STEP_NS = NS_PER_S // 4
"""Readings further apart belong to a slow meter."""


class SpikeFilter:
    """Streaming filter over any number of channels."""

    def __init__(self, num_channels: int) -> None:
        self._times = np.zeros(0, np.int64)
        self._values = np.zeros((0, num_channels))
        """The last two readings."""
        self._num_done = 0
        """How many of those two have been handed out."""
        self._steps = np.full((WINDOW, num_channels), np.nan)
        """Sizes of the steps up to the first of those two, NaN where there was none."""

    def push(
        self, t_node_ns: IntArray, values: NDArray[np.float64]
    ) -> tuple[IntArray, NDArray[np.float64]]:
        """Add readings; take those whose successor is known, or does not matter.

        Args:
            t_node_ns: times, shape (n,), strictly increasing.
            values: readings, finite, shape (n, channels).

        Returns:
            Times and cleaned readings.
        """
        times = np.concatenate([self._times, t_node_ns])
        raw = np.concatenate([self._values, values])
        is_slow = len(times) > 1 and times[-1] - times[-2] > 2 * LONGEST_STEP_NS
        end = len(times) if is_slow else max(len(times) - 1, 0)
        done = times[self._num_done : end], self._clean(times, raw)[self._num_done : end]
        self._steps = np.concatenate([self._steps, np.abs(np.diff(raw[:-1], axis=0))])[-WINDOW:]
        self._times, self._values = times[-2:], raw[-2:]
        self._num_done = max(end - (len(times) - len(self._times)), 0)
        return done

    def flush(self) -> tuple[IntArray, NDArray[np.float64]]:
        """Take the reading that waited and start anew."""
        done = self._times[self._num_done :], self._values[self._num_done :]
        self.__init__(self._values.shape[1])  # type: ignore[misc]
        return done

    def _clean(self, times: IntArray, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Readings with spikes replaced; the first and the last are as they came."""
        if len(raw) < 3:
            return raw
        before, here, after = raw[:-2], raw[1:-1], raw[2:]
        off = np.minimum(np.abs(here - before), np.abs(here - after))
        is_spike = np.abs(after - before) <= LARGEST_RETURN * off
        is_spike &= (here > before) == (here > after)
        is_spike &= (times[2:] - times[:-2] <= 2 * LONGEST_STEP_NS)[:, None]
        reading, channel = np.nonzero(is_spike & (off > 0))
        if not len(reading):
            return raw
        # Steps before each candidate: those kept, then those of this block.
        steps = np.concatenate([self._steps, np.abs(np.diff(raw, axis=0))])
        window = steps[reading[:, None] + np.arange(WINDOW), channel[:, None]]
        # More than half below the limit, and above 0: so is the median. NaN is neither.
        limit = off[reading, channel][:, None] / LEAST_TIMES_TYPICAL
        is_far = np.count_nonzero(window < limit, axis=1) > WINDOW // 2
        # A peak of something fast is approached in large steps; a spike comes from nowhere.
        is_far &= window[:, -1] <= LARGEST_APPROACH * off[reading, channel]
        is_far &= np.count_nonzero(window > 0, axis=1) > WINDOW // 2
        reading, channel = reading[is_far], channel[is_far]
        cleaned = raw.copy()
        cleaned[reading + 1, channel] = 0.5 * (before + after)[reading, channel]
        return cleaned

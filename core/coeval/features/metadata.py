"""Numeric channels → rows: how much, how fast and how suddenly they move, over all channels.

Any number of channels with any units becomes one fixed set of numbers: each channel is measured
against its own recent behaviour, the channels are pooled, and up to NUM_KEPT of them are also told
one by one. Their order means nothing: an encoder treats all alike.
"""

import numpy as np
from numpy.typing import NDArray

from coeval.features.grid import HopGrid
from coeval.features.running import RunningNorm
from coeval.hops import Hops
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.preprocessing.spikes import SpikeFilter
from coeval.preprocessing.wide import NUM_KEPT, WideReduction, is_wide
from coeval.samples import FloatArray, IntArray, MetadataBlock
from coeval.time import NS_PER_S

MEMORY_HOPS = 20 * 10
NUM_STRONGEST = 4
LONGEST_STEP_NS = 10 * NS_PER_S
"""Two readings further apart are not joined by a line."""
STUCK = 1e-29
"""Typical step of a channel that never moved."""
LARGEST = 1e100
"""No reading of anything."""

POOLED_DIM = 4 * NUM_STRONGEST + 8
"""Columns over all channels; then come NUM_KEPT times CHANNEL_DIM of single ones."""
CHANNEL_DIM = 4
"""Of one channel: its level, how that changed, how busy it is and how suddenly it moves; 0 where
there is no such channel, or it never moved."""
DIM = POOLED_DIM + NUM_KEPT * CHANNEL_DIM + 1


class MetadataFeatures:
    """Streaming features of any numeric channels at any rate."""

    def __init__(self, preprocessing: Preprocessing = DEFAULT_STEPS) -> None:
        self._preprocessing = preprocessing
        self._last_t = np.zeros(0, np.int64)
        self._last_values: NDArray[np.float64] | None = None
        self._held: NDArray[np.float64] | None = None
        """The last reading as it came, gaps filled."""
        self._spikes: SpikeFilter | None = None
        self._wide: WideReduction | None = None
        self._grid: HopGrid | None = None
        self._levels: RunningNorm | None = None
        self._bustle: RunningNorm | None = None
        self._pooled = self._norm(8, floor=0.2)
        self._previous: FloatArray | None = None
        self._scale: NDArray[np.float64] | None = None

    def _norm(self, dim: int, *, floor: float) -> RunningNorm:
        return RunningNorm(
            dim,
            memory_hops=MEMORY_HOPS,
            floor=floor,
            standardise=self._preprocessing.standardise,
        )

    @property
    def is_warm(self) -> bool:
        """Whether levels and steps are known over the whole memory."""
        return self._pooled.is_warm

    def push(self, sample: MetadataBlock) -> list[Hops]:
        """Add readings; take the rows they complete.

        Raises:
            ValueError: the number of channels changed.
        """
        if not len(sample.t_node_ns):
            return []
        num_channels = sample.values.shape[1]
        if self._held is None:
            self._start(num_channels)
            self._held = np.zeros((1, num_channels))
        if num_channels != self._held.shape[1]:
            raise ValueError(
                f"metadata must keep its {self._held.shape[1]} channels, got {num_channels}"
            )
        values = hold_missing(np.concatenate([self._held, sample.values]))[1:]
        self._held = values[-1:]
        times = sample.t_node_ns
        if self._spikes is not None:
            times, values = self._spikes.push(times, values)
        return self._add(times, values)

    def _start(self, num_channels: int) -> None:
        """Make what depends on the number of channels."""
        wanted = self._preprocessing
        self._spikes = SpikeFilter(num_channels) if wanted.spikes else None
        self._wide = WideReduction(num_channels) if wanted.wide and is_wide(num_channels) else None
        kept = num_channels if self._wide is None else NUM_KEPT
        self._grid = HopGrid(3 * kept)
        self._levels = self._norm(kept, floor=1e-3)
        self._bustle = self._norm(kept, floor=0.25)
        self._last_values = None
        self._previous, self._scale = None, None

    def _add(self, times: IntArray, values: NDArray[np.float64]) -> list[Hops]:
        """Add cleaned readings: each two neighbours are a segment."""
        if self._wide is not None:
            values = self._wide.push(values)
        if self._last_values is not None:
            times = np.concatenate([self._last_t, times])
            values = np.concatenate([self._last_values, values])
        if not len(times):
            return []
        self._last_t, self._last_values = times[-1:], values[-1:]
        steps_s = np.diff(times)[:, None] / NS_PER_S
        change = np.diff(values, axis=0)
        segments = np.concatenate(
            [0.5 * (values[1:] + values[:-1]), np.abs(change) / steps_s, change**2 / steps_s],
            axis=1,
        )
        usable = np.diff(times) <= LONGEST_STEP_NS
        assert self._grid is not None
        rows = self._grid.push(times[:-1][usable], times[1:][usable], segments[usable])
        return self._finish(rows)

    def advance(self, t_node_ns: int) -> list[Hops]:
        """Readings complete rows by themselves only."""
        del t_node_ns
        return []

    def flush(self) -> list[Hops]:
        """Take the rows that are left and start anew."""
        if self._held is None:
            return []
        rows = [] if self._spikes is None else self._add(*self._spikes.flush())
        assert self._grid is not None
        rows += self._finish(self._grid.flush())
        self._held = None
        return rows

    def _finish(self, parts: list[Hops]) -> list[Hops]:
        return [Hops(t0_node_ns=part.t0_node_ns, rows=self._pool(part.rows)) for part in parts]

    def _pool(self, rows: FloatArray) -> FloatArray:
        """Pool per-channel rows, shape (n, 3·channels + 1), into rows of features (n, DIM)."""
        assert self._levels is not None
        assert self._bustle is not None
        channels = (rows.shape[1] - 1) // 3
        coverage = rows[:, -1]
        mean, path, power = (rows[:, k * channels : (k + 1) * channels] for k in range(3))
        if self._scale is None:
            self._scale = np.full(channels, 1e-30)
        # Units differ by many powers of ten: measure each channel by its own typical step.
        scale = np.empty(mean.shape)
        for k in range(len(rows)):
            if coverage[k] >= 0.5:
                step = np.maximum(path[k], 1e-30)
                grown = np.where(self._scale <= STUCK, step, self._scale)
                self._scale = grown + (step - grown) / MEMORY_HOPS
            scale[k] = self._scale
        level = self._levels.push(mean / (scale + 1e-20), coverage)
        before = np.concatenate([level[:1] if self._previous is None else self._previous, level])
        self._previous = level[-1:]
        change = np.diff(before, axis=0)
        moved = np.abs(change)
        bustle = self._bustle.push(np.log(path / (scale + 1e-20) + 0.05), coverage)
        sudden = np.log(power / (scale**2 + 1e-30) + 0.01)
        pooled = np.stack(
            [
                np.log(moved.mean(axis=1) + 0.02),
                np.log(moved.max(axis=1) + 0.02),
                bustle.mean(axis=1),
                bustle.max(axis=1),
                bustle.min(axis=1),
                sudden.mean(axis=1),
                sudden.max(axis=1),
                np.abs(level).mean(axis=1),
            ],
            axis=1,
        )
        strongest = np.concatenate(
            [top(moved), top(bustle), top(np.abs(level)), top(np.clip(sudden, -8, 8))], axis=1
        )
        is_stuck = scale <= STUCK
        single = one_by_one(level, change, bustle, sudden, is_stuck)
        features = np.concatenate(
            [strongest, self._pooled.push(pooled, coverage), single, coverage[:, None]], axis=1
        )
        # Before anything moved there is nothing to show, not even that the sensor is there.
        features[(coverage < 0.5) | is_stuck.all(axis=1)] = 0.0
        return features.astype(np.float32)


def top(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The NUM_STRONGEST largest of each row, descending; a row of fewer repeats its last."""
    ordered = -np.sort(-values, axis=1)[:, :NUM_STRONGEST]
    missing = NUM_STRONGEST - ordered.shape[1]
    if missing > 0:
        ordered = np.concatenate([ordered, np.repeat(ordered[:, -1:], missing, axis=1)], axis=1)
    return ordered


def one_by_one(
    level: NDArray[np.floating],
    change: NDArray[np.floating],
    bustle: NDArray[np.floating],
    sudden: NDArray[np.floating],
    is_stuck: NDArray[np.bool_],
) -> NDArray[np.floating]:
    """The first NUM_KEPT channels, CHANNEL_DIM columns each, shape (n, NUM_KEPT · CHANNEL_DIM).

    Args:
        level: standardised level, shape (n, channels), as the others.
        change: its change from the hop before.
        bustle: standardised logarithm of the path.
        sudden: logarithm of the power.
        is_stuck: whether the channel never moved so far.
    """
    told = np.stack([level, change, bustle, np.clip(sudden, -8, 8) / 4], axis=2)[:, :NUM_KEPT]
    told[is_stuck[:, :NUM_KEPT]] = 0.0
    missing = NUM_KEPT - told.shape[1]
    padded = np.pad(told, ((0, 0), (0, max(missing, 0)), (0, 0)))
    return padded.reshape(len(level), NUM_KEPT * CHANNEL_DIM)


def hold_missing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace what is no number by the channel's last reading; the first row's by 0, shape kept.

    Infinities and what float64 cannot square are no readings either.
    """
    missing = ~(np.abs(values) < LARGEST)
    if not missing.any():
        return values
    rows = np.where(missing, 0, np.arange(len(values))[:, None])
    np.maximum.accumulate(rows, axis=0, out=rows)
    held: NDArray[np.float64] = np.take_along_axis(values, rows, axis=0)
    return np.where(np.abs(held) < LARGEST, held, 0.0)

"""Video → rows: how the picture moves as a whole, where it changes, how it is laid out.

Motion comes first: a picture's content says little about time, its change says much.
"""

from dataclasses import dataclass

import numpy as np

from coeval.features.grid import HopGrid
from coeval.features.picture import (
    FRAME_HEIGHT,
    FRAME_WIDTH,
    NUM_CELLS,
    NUM_MOTION,
    cells,
    global_change,
    layout,
    to_float,
)
from coeval.features.running import RunningNorm
from coeval.hops import Hops
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.samples import FloatArray, Frame, IntArray
from coeval.time import NS_PER_S

BATCH_FRAMES = 8
"""Frames per numpy call: 4 × cheaper than one at a time, and 0.3 s at 25 Hz."""
LONGEST_STEP_NS = 2 * NS_PER_S
"""Two frames further apart are not compared."""
MEMORY_HOPS = 20 * 10
NUM_ENERGIES = 4

DIM = NUM_MOTION + NUM_ENERGIES + 2 * NUM_CELLS + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionTrack:
    """Global motion of the picture between neighbouring frames, as rates."""

    starts_ns: IntArray
    """Time of the earlier frame, node clock, shape (n,)."""
    ends_ns: IntArray
    """Time of the later frame, shape (n,)."""
    rates: FloatArray
    """Shift right, shift down (picture widths/s), rotation (rad/s), zoom (1/s), shape (n, 4)."""


class VideoFeatures:
    """Streaming features of grey frames."""

    def __init__(
        self, preprocessing: Preprocessing = DEFAULT_STEPS, *, keep_motion: bool = False
    ) -> None:
        self._light = preprocessing.light
        self._frames: list[FloatArray] = []
        self._times: list[int] = []
        self._grid = HopGrid(DIM - 1)
        self._keep_motion = keep_motion
        self._kept: list[MotionTrack] = []
        self._norm = RunningNorm(
            NUM_ENERGIES + NUM_CELLS,
            memory_hops=MEMORY_HOPS,
            floor=0.15,
            standardise=preprocessing.standardise,
        )

    @property
    def is_warm(self) -> bool:
        """Whether the usual change is known over the whole memory."""
        return self._norm.is_warm

    def push(self, sample: Frame) -> list[Hops]:
        """Add a frame; take the rows that the frames so far complete."""
        if sample.grey.shape != (FRAME_HEIGHT, FRAME_WIDTH):
            raise ValueError(
                f"frame must be {FRAME_HEIGHT}×{FRAME_WIDTH} grey, got {sample.grey.shape}"
            )
        self._frames.append(to_float(sample.grey))
        self._times.append(int(sample.t_node_ns))
        return self._run() if len(self._frames) > BATCH_FRAMES else []

    def advance(self, t_node_ns: int) -> list[Hops]:
        """Video completes rows by its own frames only."""
        del t_node_ns
        return []

    def flush(self) -> list[Hops]:
        """Take the rows that are left and start anew."""
        done = self._run() + self._finish(self._grid.flush())
        self._frames, self._times = [], []
        return done

    def motion(self) -> MotionTrack:
        """All global motion so far; needs `keep_motion`."""
        empty = MotionTrack(
            starts_ns=np.zeros(0, np.int64),
            ends_ns=np.zeros(0, np.int64),
            rates=np.zeros((0, NUM_MOTION), np.float32),
        )
        kept = [empty, *self._kept]
        return MotionTrack(
            starts_ns=np.concatenate([part.starts_ns for part in kept]),
            ends_ns=np.concatenate([part.ends_ns for part in kept]),
            rates=np.concatenate([part.rates for part in kept]),
        )

    def _run(self) -> list[Hops]:
        """Compare neighbours among the frames held; keep the last frame for the next batch."""
        if len(self._frames) < 2:
            return []
        frames = np.stack(self._frames)
        times = np.array(self._times, np.int64)
        self._frames, self._times = self._frames[-1:], self._times[-1:]
        before, after = frames[:-1], frames[1:]
        seconds = np.diff(times)[:, None] / NS_PER_S
        found = global_change(before, after, light=self._light)
        rates = (found.motion / seconds).astype(np.float32)
        change = np.abs(after - before - found.light)
        local = cells(change)
        pace = np.sqrt(np.maximum(seconds, 1e-3) * 25.0)
        brighter = (after.mean(axis=(1, 2)) - before.mean(axis=(1, 2)))[:, None] / seconds
        energies = np.concatenate(
            [
                np.log(found.residual[:, None] / pace + 1e-3),
                np.log(change.mean(axis=(1, 2))[:, None] / pace + 1e-3),
                np.arcsinh(4.0 * brighter),
                np.log(np.linalg.norm(rates[:, :2], axis=1, keepdims=True) + 1e-2),
            ],
            axis=1,
        )
        values = np.concatenate(
            [
                np.arcsinh(4.0 * rates),
                energies,
                np.log(local / pace + 2e-3),
                0.5 * (layout(before) + layout(after)),
            ],
            axis=1,
        )
        usable = np.diff(times) <= LONGEST_STEP_NS
        starts, ends = times[:-1][usable], times[1:][usable]
        if self._keep_motion:
            self._kept.append(MotionTrack(starts_ns=starts, ends_ns=ends, rates=rates[usable]))
        return self._finish(self._grid.push(starts, ends, values[usable]))

    def _finish(self, parts: list[Hops]) -> list[Hops]:
        """Normalise energies and local change against their recent level."""
        for part in parts:
            changing = slice(NUM_MOTION, NUM_MOTION + NUM_ENERGIES + NUM_CELLS)
            part.rows[:, changing] = self._norm.push(part.rows[:, changing], part.rows[:, -1])
        return parts

"""What stills show at their instants and between them: small pictures, shifts, change.

Stills come a second or more apart. Each says how things stand at its own instant (a mouth is open,
a door is shut), and two neighbours say what went on between them. In: stills of one stream. Out:
arrays for `coeval.stills`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.features.picture import FRAME_HEIGHT, FRAME_WIDTH, cells, shrink, to_float
from coeval.samples import FloatArray, Frame, IntArray

REACH_PX = (22, 12)
"""Shifts up to this far (right, down) of the 64 × 48 picture are looked for."""
LEAST_CLEARNESS = 6.0
"""A shift whose peak stands out by fewer standard deviations is none: the view is another one."""
SHIFT_SCALE_PX = 3.0
WHITENING = 0.7
"""Exponent that flattens the cross spectrum: edges count, light does not."""
DARK = 2e-3
"""Added to change before the logarithm: half a grey level of 255."""
BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StillTrack:
    """Stills of one stream, n of them."""

    t_node_ns: IntArray
    """Their times on the node's clock, shape (n,), increasing."""
    pictures: FloatArray
    """Brightness 0…1 of 12 × 16 cells, shape (n, 192)."""
    changes: FloatArray
    """Logarithm of the mean change of 4 × 6 cells since the still before, shape (n − 1, 24)."""
    shifts: FloatArray
    """Shift of the picture right and down since the still before, compressed; 0 where it cannot be
    told, shape (n − 1, 2)."""


def still_track(frames: Sequence[Frame]) -> StillTrack | None:
    """What stills show; None for fewer than two.

    Args:
        frames: stills of 64 × 48 grey, in time order; one that is not later than the one before is
            left out.
    """
    later: list[Frame] = []
    for frame in frames:
        if not later or frame.t_node_ns > later[-1].t_node_ns:
            later.append(frame)
    if len(later) < 2:
        return None
    pictures, changes, shifts = [], [], []
    for first in range(0, len(later), BATCH):
        # One still of the batch before: what changed since.
        low = max(first - 1, 0)
        batch = to_float(np.stack([frame.grey for frame in later[low : first + BATCH]]))
        small = shrink(shrink(batch[first - low :]))
        pictures.append(small.reshape(len(small), -1))
        if len(batch) > 1:
            changes.append(np.log(cells(np.abs(np.diff(batch, axis=0))) + DARK))
            shifts.append(shifts_of(batch))
    return StillTrack(
        t_node_ns=np.array([int(frame.t_node_ns) for frame in later], np.int64),
        pictures=np.concatenate(pictures).astype(np.float32),
        changes=np.concatenate(changes).astype(np.float32),
        shifts=np.concatenate(shifts).astype(np.float32),
    )


def shifts_of(pictures: FloatArray) -> FloatArray:
    """How far each picture lies right and down of the one before, by phase correlation.

    Args:
        pictures: shape (n, 48, 64).

    Returns:
        Compressed shifts (asinh of thirds of pixels … tens), shape (n − 1, 2).
    """
    window = np.sqrt(
        np.outer(np.hanning(FRAME_HEIGHT + 2)[1:-1], np.hanning(FRAME_WIDTH + 2)[1:-1])
    )
    size = (2 * FRAME_HEIGHT, 2 * FRAME_WIDTH)
    level = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    spectrum = np.fft.rfft2(level * window, size)
    cross = spectrum[:-1].conj() * spectrum[1:]
    strength = np.abs(cross) ** WHITENING
    strength += 1e-3 * strength.mean(axis=(1, 2), keepdims=True) + 1e-12
    match = np.fft.irfft2(cross / strength, size)
    across, down = REACH_PX
    near = np.roll(match, (down, across), axis=(1, 2))[:, : 2 * down + 1, : 2 * across + 1]
    flat = near.reshape(len(near), -1)
    row, column = np.divmod(flat.argmax(axis=1), 2 * across + 1)
    clearness = (flat.max(axis=1) - flat.mean(axis=1)) / (flat.std(axis=1) + 1e-12)
    shift_px = np.stack([column - across, row - down], axis=1)
    shift_px[clearness < LEAST_CLEARNESS] = 0
    compressed: FloatArray = np.arcsinh(shift_px / SHIFT_SCALE_PX).astype(np.float32)
    return compressed


def components(table: NDArray[np.floating], *, most: int) -> NDArray[np.float64]:
    """Principal components of unit variance, the strongest first, shape (n, ≤ most)."""
    centred = np.asarray(table, np.float64) - table.mean(axis=0)
    power, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    keep = np.flatnonzero(power > 1e-5 * max(power.max(), 1e-12))[::-1][:most]
    found: NDArray[np.float64] = centred @ (axes[:, keep] / np.sqrt(power[keep]))
    return found

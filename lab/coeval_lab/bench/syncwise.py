"""SyncWISE's steps, reimplemented as a baseline: window-induced shift estimation.

Source: Zhang, Zhang, Chatterjee, Al Mamun, Yang, Stanley, Rehg, Hasan, Kumar and others,
"SyncWISE: Window Induced Shift Estimation for Synchronization of Video and Accelerometry from
Wearable Sensors", IMWUT 4(3), 2020. Reimplemented from the description, not the authors' code:
every window's best shift between video motion and acceleration, then a kernel density estimate
over the windows' shifts, weighted by their confidence.
"""

import time

import numpy as np
from numpy.typing import NDArray

from coeval.signals import SignalTrack
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack
from coeval_lab.bench.cells import Draw, constant_trial
from coeval_lab.bench.metrics import Trial

METHOD = "SyncWISE (reimplemented)"
MAX_OFFSET_S = 60.0
"""As far as ours searches."""
ACCELERATIONS = slice(3, 6)
"""Of an IMU's six columns, in this order: rates, accelerations."""

RATE_HZ = 25.0
KERNEL_S = 0.2


def syncwise_offset(
    motion_t_s: NDArray[np.floating],
    motion: NDArray[np.floating],
    accel_t_s: NDArray[np.floating],
    accel: NDArray[np.floating],
    *,
    max_offset_s: float,
    window_s: float = 10.0,
    stride_s: float = 1.0,
) -> float | None:
    """Offset of the accelerometer's clock against the video's, in s; positive: it is fast.

    Args:
        motion_t_s: times of the video's motion, shape (n,).
        motion: magnitude of the motion, shape (n,).
        accel_t_s: times of the readings, shape (m,).
        accel: magnitude of the acceleration, shape (m,).
        max_offset_s: shifts searched, on both sides.
        window_s: length of a window of video.
        stride_s: distance of windows.

    Returns:
        The densest shift, or None where no window fits.
    """
    step = 1.0 / RATE_HZ
    grid_v = np.arange(motion_t_s[0], motion_t_s[-1], step)
    video = np.interp(grid_v, motion_t_s, motion)
    size, reach = round(window_s * RATE_HZ), round(max_offset_s * RATE_HZ)
    shifts, weights = [], []
    for start in range(0, len(video) - size + 1, max(round(stride_s * RATE_HZ), 1)):
        window = video[start : start + size]
        times = grid_v[start] + (np.arange(size + 2 * reach) - reach) * step
        other = np.interp(times, accel_t_s, accel, left=np.nan, right=np.nan)
        known = ~np.isnan(other)
        if window.std() < 1e-9 or known.sum() < size:
            continue
        filled = np.where(known, other, np.nanmean(other))
        w = (window - window.mean()) / window.std()
        views = np.lib.stride_tricks.sliding_window_view(filled, size)
        covered = np.lib.stride_tricks.sliding_window_view(known, size).mean(axis=1)
        spread = views.std(axis=1)
        correlation = (views @ w) / size / np.maximum(spread, 1e-9)
        correlation[(covered < 0.9) | (spread < 1e-9)] = -1.0
        best = int(correlation.argmax())
        if correlation[best] > 0:
            shifts.append((best - reach) * step)
            weights.append(float(correlation[best]) ** 2)
    if not shifts:
        return None
    candidates = np.arange(-max_offset_s, max_offset_s, step / 4)
    distance = (candidates[:, None] - np.array(shifts)) / KERNEL_S
    density = (np.exp(-0.5 * distance**2) * np.array(weights)).sum(axis=1)
    return float(candidates[density.argmax()])


def syncwise_trial(
    tracks: tuple[StreamTrack, StreamTrack],
    draw: Draw,
    *,
    shared_cpu_s: float,
    truth_sigma_s: float = 0.0,
) -> Trial:
    """The baseline on one of our trials: the same video motion, the same readings.

    Args:
        tracks: the video's track and the readings'.
        draw: the trial.
        shared_cpu_s: cost of making the tracks, which it would have too.
        truth_sigma_s: how far the truth can be trusted.
    """
    began_s = time.process_time()
    video, sensor = (track.signals for track in tracks)
    found = None
    if video is not None and sensor is not None:
        base_ns = int(video.t_node_ns[0])
        found = syncwise_offset(
            *magnitude_of(video, since_ns=base_ns),
            *magnitude_of(sensor, since_ns=base_ns),
            max_offset_s=MAX_OFFSET_S,
        )
    cpu_s = shared_cpu_s + time.process_time() - began_s
    return constant_trial(found, cpu_s, draw, truth_sigma_s=truth_sigma_s)


def magnitude_of(
    track: SignalTrack, *, since_ns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times in s and the size of motion: of accelerations where an IMU has rates too."""
    values = track.values[:, ACCELERATIONS] if track.values.shape[1] == 6 else track.values
    times: NDArray[np.float64] = (track.t_node_ns - since_ns) / NS_PER_S
    size: NDArray[np.float64] = np.sqrt((values**2).sum(axis=1))
    return times, size

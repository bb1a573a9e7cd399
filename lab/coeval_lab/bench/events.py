"""Moments at which something begins in a stream: what methods that match lists of events take.

In: samples on a node's clock. Out: times in s. A baseline's food, not the product's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from coeval.samples import AudioBlock, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S

FRAME_S = 0.02
RISE_DB = 6.0
"""A sound begins where its level exceeds the mean of the last BEFORE_S by this much."""
BEFORE_S = 0.3
QUIET_DB = -70.0
LEAST_GAP_S = 0.2
"""Events nearer than this are one."""
STRONG = 1.0
"""A reading's activity peaks where it exceeds the mean by this many standard deviations."""


def event_times(samples: Sequence[Sample], *, since_ns: int) -> NDArray[np.float64]:
    """Seconds after `since_ns` at which sounds, lines or movements begin, increasing."""
    lines = [sample for sample in samples if isinstance(sample, TextLine)]
    if lines:
        return np.array(sorted((line.t_node_ns - since_ns) / NS_PER_S for line in lines))
    sound = [sample for sample in samples if isinstance(sample, AudioBlock)]
    if sound:
        return sound_onsets(sound, since_ns=since_ns)
    blocks = [sample for sample in samples if isinstance(sample, MetadataBlock)]
    return activity_peaks(blocks, since_ns=since_ns) if blocks else np.zeros(0)


def sound_onsets(blocks: Sequence[AudioBlock], *, since_ns: int) -> NDArray[np.float64]:
    """Where the level of a sound rises above what was before."""
    times, levels = [], []
    for block in blocks:
        size = round(FRAME_S * block.rate_hz)
        frames = block.pcm[: len(block.pcm) // size * size].reshape(-1, size)
        levels.append(10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-12))
        begin_s = (block.t_node_ns - since_ns) / NS_PER_S
        times.append(begin_s + np.arange(len(frames)) * FRAME_S)
    t_s, level = np.concatenate(times), np.maximum(np.concatenate(levels), QUIET_DB)
    before = round(BEFORE_S / FRAME_S)
    if len(level) <= before:
        return np.zeros(0)
    past = np.convolve(level, np.ones(before) / before, "valid")[:-1]
    rise = np.concatenate([np.zeros(before), level[before:] - past])
    peaks, _ = find_peaks(rise, height=RISE_DB, distance=round(LEAST_GAP_S / FRAME_S))
    found: NDArray[np.float64] = t_s[peaks]
    return found


def activity_peaks(blocks: Sequence[MetadataBlock], *, since_ns: int) -> NDArray[np.float64]:
    """Where the readings change most, all channels together."""
    t_s = np.concatenate([block.t_node_ns - since_ns for block in blocks]) / NS_PER_S
    values = np.nan_to_num(np.concatenate([block.values for block in blocks]).astype(np.float64))
    if len(t_s) < 3:
        return np.zeros(0)
    change = np.diff(values, axis=0)
    spread = change.std(axis=0)
    activity = np.sqrt(((change[:, spread > 0] / spread[spread > 0]) ** 2).sum(axis=1))
    interval_s = max(float(np.median(np.diff(t_s))), 1e-6)
    peaks, _ = find_peaks(
        activity,
        height=float(activity.mean() + STRONG * activity.std()),
        distance=max(round(LEAST_GAP_S / interval_s), 1),
    )
    found: NDArray[np.float64] = 0.5 * (t_s[peaks] + t_s[peaks + 1])
    return found

"""When a sensor samples: nearly regular, sometimes jittered, sometimes dropping."""

from collections.abc import Iterator

import numpy as np

from coeval.samples import IntArray
from coeval.time import NS_PER_S


def sample_times_ns(
    rng: np.random.Generator,
    duration_s: float,
    rate_hz: float,
    *,
    jitter: float,
    batch: int,
) -> Iterator[IntArray]:
    """Times of the samples of one stream, batches of at most `batch`, strictly increasing.

    Args:
        rng: the stream's generator; half of the streams neither jitter nor drop.
        duration_s: times lie in 0…duration_s.
        rate_hz: mean rate before drops.
        jitter: standard deviation of one stream's worst jitter, part of a period.
        batch: most samples a batch.
    """
    period = NS_PER_S / rate_hz
    phase = rng.uniform(0, period)
    sway = rng.choice([0.0, 0.02, 1.0]) * jitter * period
    drop = float(rng.choice([0.0, 0.0, 0.002, 0.02]))
    gaps_per_min = float(rng.choice([0.0, 0.0, 1.0]))
    total = int((duration_s * NS_PER_S - phase) / period)
    last = -1
    gap_until = 0.0
    for first in range(0, total, batch):
        k = np.arange(first, min(first + batch, total))
        t = (
            phase
            + k * period
            + np.clip(sway * rng.standard_normal(len(k)), -0.4 * period, 0.4 * period)
        )
        t_ns = np.round(t).astype(np.int64)
        keep = rng.random(len(k)) >= drop
        if rng.random() < gaps_per_min * batch * period / (60 * NS_PER_S):
            start = rng.uniform(t[0], t[-1])
            gap_until = start + rng.uniform(0.1, 1.0) * NS_PER_S
            keep &= ~((t >= start) & (t < gap_until))
        else:
            keep &= t >= gap_until
        t_ns = t_ns[keep & (t_ns > last) & (t_ns >= 0) & (t_ns < duration_s * NS_PER_S)]
        if len(t_ns):
            last = int(t_ns[-1])
            yield t_ns

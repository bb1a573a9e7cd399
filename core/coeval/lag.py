"""Where two streams' embeddings agree: cross-correlation over all lags, window by window.

In: embeddings of two streams on the hop grid of their own node clocks. Out: a score for every
window and lag. Sign: a positive lag means that the second stream's clock is ahead: it stamps
the same content later (offset = node − reference with the first stream as reference).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import FloatArray

HIGHPASS_HOPS = 121
"""Embeddings are compared against the mean of the surrounding 6 s: slow drift says nothing
about time. Training applies the same filter."""

WARM_UP_HOPS = 30
"""The first 1.5 s of a run is left out: there, features know no level yet and every stream shows
its own beginning, which would align the beginnings of files instead of their content."""
MOST_WARM_UP = 0.2
"""… but never more than this share of a run."""
ENDING_HOPS = 4
"""The last hops of a run may be half covered, and are left out for the same reason."""

STEPS_PER_HOP = 2
"""Scores are interpolated band-limited to half hops (25 ms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseStream:
    """One stream's filtered embeddings from its first to its last hop; gaps are zeros."""

    first_hop: int
    """Index of the first row: node time / HOP_NS."""
    rows: FloatArray
    """Shape (T, 16)."""


def highpass(rows: FloatArray) -> FloatArray:
    """Subtract the mean of the surrounding HIGHPASS_HOPS rows (fewer at the ends)."""
    half = HIGHPASS_HOPS // 2
    total = np.concatenate(
        [np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)]
    )
    index = np.arange(len(rows))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(rows))
    mean = (total[high] - total[low]) / (high - low)[:, None]
    filtered: FloatArray = (rows - mean).astype(np.float32)
    return filtered


def densify(parts: list[Hops]) -> DenseStream:
    """Filter every run of embeddings and lay them on one grid."""
    first = min(part.t0_node_ns for part in parts) // HOP_NS
    last = max(part.end_node_ns for part in parts) // HOP_NS
    rows = np.zeros((last - first, EMBEDDING_DIM), np.float32)
    for part in parts:
        start = part.t0_node_ns // HOP_NS - first
        begin = min(WARM_UP_HOPS, int(MOST_WARM_UP * len(part.rows)))
        end = len(part.rows) - min(ENDING_HOPS, begin)
        rows[start + begin : start + end] = highpass(part.rows[begin:end])
    return DenseStream(first_hop=int(first), rows=rows)


def good_fft_size(at_least: int) -> int:
    """Smallest size ≥ `at_least` whose prime factors are 2, 3 and 5."""
    best = 1 << max(at_least - 1, 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            size = three << max(0, (-(-at_least // three) - 1).bit_length())
            if at_least <= size < best:
                best = size
            three *= 3
        five *= 5
    return best


def window_scores(
    a: DenseStream, b: DenseStream, *, window_hops: int, lowest_lag: int, highest_lag: int
) -> NDArray[np.float32]:
    """Cross-correlate every window of `a` with `b` around it.

    Args:
        a: the first stream; its rows are cut into consecutive windows.
        b: the second stream.
        window_hops: rows in a window; the last one may hold fewer.
        lowest_lag: lowest lag in hops, b's hop index − a's.
        highest_lag: highest lag in hops, inclusive.

    Returns:
        Scores in nats, shape (windows, STEPS_PER_HOP·(highest_lag − lowest_lag) + 1); column k is
        the lag lowest_lag + k / STEPS_PER_HOP.
    """
    num_lags = highest_lag - lowest_lag + 1
    num_windows = -(-len(a.rows) // window_hops)
    size = good_fft_size(2 * window_hops + num_lags)
    scores = np.zeros((num_windows, STEPS_PER_HOP * (num_lags - 1) + 1), np.float32)
    for w in range(num_windows):
        rows_a = a.rows[w * window_hops : (w + 1) * window_hops]
        if not rows_a.any():
            continue
        start = a.first_hop + w * window_hops + lowest_lag - b.first_hop
        rows_b = between(b.rows, start, start + len(rows_a) + num_lags - 1)
        if not rows_b.any():
            continue
        spectrum = np.fft.rfft(rows_a.T, size).conj() * np.fft.rfft(rows_b.T, size)
        total = np.zeros(size * STEPS_PER_HOP // 2 + 1, np.complex128)
        total[: size // 2 + 1] = spectrum.sum(axis=0)
        if size % 2 == 0:
            total[size // 2] *= 0.5
        fine = np.fft.irfft(total, size * STEPS_PER_HOP) * STEPS_PER_HOP
        scores[w] = fine[: scores.shape[1]]
    return scores


def between(rows: FloatArray, start: int, stop: int) -> FloatArray:
    """Rows start…stop, zeros where there are none."""
    out = np.zeros((stop - start, rows.shape[1]), np.float32)
    low, high = max(start, 0), min(stop, len(rows))
    if low < high:
        out[low - start : high - start] = rows[low:high]
    return out

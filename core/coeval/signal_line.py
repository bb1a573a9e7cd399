"""Skew of two raw signals: a line through the delays of many short blocks.

Once the lag is known to some 20 ms, the linear map between the two streams' channels can be learnt
from the whole recording (Σ a bᵀ along the line). Each block then needs one number, the delay at
which the mapped first stream meets the second: a matched filter, whose peaks scatter far less than
scores that learn the map anew in every block. The map mixes channels with their derivatives and so
swallows a constant delay: only the skew is taken from here. In: channels. Out: a line of the same
lag and a sharper skew. Sign: second clock against the first; positive: the second is fast.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from coeval.line import LineFit
from coeval.signals import HIGHEST_HZ, SignalTrack, measured, to_grid, whiten
from coeval.time import NS_PER_S

STEP_NS = 5_000_000
BLOCK_S = 3.0
REACH_STEPS = 12
"""A block's delay is looked for within 60 ms of the line."""
LEAST_BLOCKS = 6
LEAST_Z = 3.0
"""A block whose peak stands out less of the same sum at random shifts is left out."""
ROUNDS = 2
HUBER = 1.5
SCATTER_INFLATION = 1.4
"""Neighbouring blocks share slow errors: real over apparent spread of the skew on generated rigs
950 000 to 950 023, 2026-11-24."""


def regress_signals(
    a: SignalTrack, b: SignalTrack, line: LineFit, *, start_ns: float, stop_ns: float
) -> LineFit | None:
    """Sharpen a line's skew by the delays of blocks along it.

    Args:
        a: the first node's channels.
        b: the second node's.
        line: lag of the second clock against the first, good to some 20 ms everywhere.
        start_ns: begin of the span, on the first clock.
        stop_ns: end of the span.

    Returns:
        The sharper line, or None where too few blocks say anything.
    """
    found = line
    for _ in range(ROUNDS):
        sharper = regress_once(a, b, found, start_ns=start_ns, stop_ns=stop_ns)
        if sharper is None:
            return None
        found = sharper
    return found


def regress_once(
    a: SignalTrack, b: SignalTrack, line: LineFit, *, start_ns: float, stop_ns: float
) -> LineFit | None:
    """One pass along a line."""
    along = replace(b, t_node_ns=along_line(b, line))
    span = {"start_ns": round(start_ns), "stop_ns": round(stop_ns), "step_ns": STEP_NS}
    one, other = to_grid(a, **span), to_grid(along, **span)
    if one is None or other is None:
        return None
    first = max(one[0], other[0])
    last = min(one[0] + len(one[1]), other[0] + len(other[1]))
    highest_hz = min(HIGHEST_HZ, 0.45 * a.rate_hz, 0.45 * b.rate_hz)
    blocks = [
        whiten(
            rows[first - begin : last - begin],
            step_ns=STEP_NS,
            highest_hz=highest_hz,
            present=measured(track, first, last - first, step_ns=STEP_NS),
        )
        for track, (begin, rows) in ((a, one), (along, other))
    ]
    if blocks[0] is None or blocks[1] is None:
        return None
    rows_a, rows_b = blocks[0].rows, blocks[1].rows
    mapped = rows_a @ (rows_a.T @ rows_b / len(rows_a))
    length = round(BLOCK_S * NS_PER_S / STEP_NS)
    shifts = np.arange(-REACH_STEPS, REACH_STEPS + 1)
    delays, heights, times = [], [], []
    for begin in range(REACH_STEPS, len(rows_a) - length - REACH_STEPS, length):
        piece = mapped[begin : begin + length]
        curve = np.array(
            [float((piece * rows_b[begin + k : begin + length + k]).sum()) for k in shifts]
        )
        noise = float(np.sqrt((piece**2).sum() * (rows_b[begin : begin + length] ** 2).mean()))
        k = int(curve.argmax())
        if not 0 < k < len(curve) - 1 or curve[k] < LEAST_Z * noise:
            continue
        left, top, right = curve[k - 1 : k + 2]
        bend = 2 * top - left - right
        delays.append((shifts[k] + 0.5 * (right - left) / bend) * STEP_NS)
        heights.append(top / noise)
        times.append((first + begin + 0.5 * length) * STEP_NS)
    if len(delays) < LEAST_BLOCKS:
        return None
    return with_delays(line, np.array(times), np.array(delays), np.array(heights))


def along_line(track: SignalTrack, line: LineFit) -> NDArray[np.int64]:
    """The track's times on the first clock, if the line were right."""
    since_mid = track.t_node_ns - round(line.t_mid_ns + line.lag_ns)
    times: NDArray[np.int64] = round(line.t_mid_ns) + np.round(
        since_mid / (1.0 + line.skew_ppm * 1e-6)
    ).astype(np.int64)
    return times


def with_delays(
    line: LineFit,
    times_ns: NDArray[np.float64],
    delays_ns: NDArray[np.float64],
    heights: NDArray[np.float64],
) -> LineFit:
    """The line turned by what blocks are off it, robustly; their scatter gives the variance."""
    since_s = (times_ns - line.t_mid_ns) * 1e-9
    design = np.stack([np.ones(len(since_s)), since_s * 1e3], axis=1)
    weights, robust = heights**2, np.ones(len(since_s))
    solution: NDArray[np.floating] = np.zeros(2)
    scatter = 0.0
    for _ in range(8):
        w = weights * robust
        solution = np.linalg.solve((design.T * w) @ design, (design.T * w) @ delays_ns)
        residual = np.abs(delays_ns - design @ solution)
        scatter = 1.4826 * float(np.median(residual)) + 1e3
        robust = np.minimum(1.0, HUBER * scatter / np.maximum(residual, 1e-9))
    w = robust * weights / weights.mean()
    scatter *= SCATTER_INFLATION * (
        1.0 + 4.0 / len(delays_ns)
    )  # a median of few residuals is too small
    skew_variance = float(np.linalg.inv((design.T * w) @ design)[1, 1]) * scatter**2
    return replace(
        line,
        skew_ppm=line.skew_ppm + float(solution[1]),
        covariance=np.diag([line.covariance[0, 0], skew_variance]),
    )

"""How much happens in a stream, for the eye: one number a hop from its embeddings."""

import numpy as np
from numpy.typing import NDArray

from coeval.hops import HOP_NS, Hops, join

BARS = " ▁▂▃▄▅▆▇█"
CALM_PERCENTILE, BUSY_PERCENTILE = 20.0, 99.0


def activity(blocks: list[Hops]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each embedding moves from the one before, scaled to 0…1.

    Args:
        blocks: embeddings in time order.

    Returns:
        Node time of each hop's middle in s, and its activity, both shape (n,); a gap is NaN.
    """
    times: list[NDArray[np.float64]] = []
    moves: list[NDArray[np.float64]] = []
    for run in join(blocks):
        k = np.arange(len(run.rows))
        steps = np.linalg.norm(np.diff(run.rows, axis=0, prepend=run.rows[:1]), axis=1)
        middles = (run.t0_node_ns + (k + 0.5) * HOP_NS) * 1e-9
        times += [middles.astype(np.float64), np.array([np.nan])]
        moves += [steps.astype(np.float64), np.array([np.nan])]
    if not times:
        return np.zeros(0), np.zeros(0)
    t_s, moved = np.concatenate(times), np.concatenate(moves)
    low, high = np.nanpercentile(moved, [CALM_PERCENTILE, BUSY_PERCENTILE])
    return t_s, np.clip((moved - low) / max(float(high - low), 1e-9), 0.0, 1.0)


def sparkline(blocks: list[Hops], *, width: int, hops_a_bar: int = 10) -> str:
    """The latest activity as a line of bars, the newest at the right."""
    num_hops, recent = 0, []
    for block in reversed(blocks):
        recent.append(block)
        num_hops += len(block.rows)
        if num_hops >= 4 * width * hops_a_bar:
            break
    _, moved = activity(recent[::-1])
    moved = moved[~np.isnan(moved)]
    moved = moved[len(moved) % hops_a_bar :].reshape(-1, hops_a_bar).max(axis=1)[-width:]
    return "".join(BARS[round(float(m) * (len(BARS) - 1))] for m in moved).rjust(width)

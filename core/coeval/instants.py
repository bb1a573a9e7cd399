"""Where two slow streams were sampled at the same moments, whatever they show.

A camera that writes a row of telemetry with every picture, a log line for each still, two logs of
one machine: what triggers both makes the pattern of their sampling instants the same, and irregular
intervals tell the lag. Even intervals tell nothing: every multiple of them fits as well.
In: sampling instants on the nodes' clocks. Out: scores on a pair's lags. Sign: a positive lag means
that the second stream's clock is fast.

Each instant of the first stream counts by the logarithm of the mixture "the second stream has its
own within the jitter of a common trigger, or it has not", against instants that come at random.
Only what stands out of the lags elsewhere is evidence.
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from coeval.line import LagGrid, Surface
from coeval.samples import IntArray
from coeval.stills import highest_elsewhere
from coeval.time import NS_PER_S

LEAST_INSTANTS = 8
"""Of fewer, two that were left out at the same distance would decide."""
SHORTEST_INTERVAL_S = 0.25
"""Streams that come faster are sampled by a clock of their own, not triggered."""
JITTER_NS = 20e6
"""How far (1 σ) two stamps of one trigger lie apart."""
TRIGGERED_SHARE = 0.8
"""Instants of which the other stream has one, too, if anything triggers both."""
STEP_NS = 5_000_000
"""Likelihoods are tabled at this step along the second stream."""
REACH_STEPS = 16
"""… this far around each of its instants: beyond, none is as likely as any."""
WINDOW_S = 30.0
"""A skew of 500 ppm moves a window's ends by 15 ms, less than the jitter."""
LEAST_COMMON = 0.4
"""Lags at which fewer instants of the sparser stream fall into the other's time are not scored."""


def instants_of(t_node_ns: IntArray) -> IntArray | None:
    """The instants of a stream that may be triggered; None where they are too few or too fast."""
    times = np.unique(t_node_ns)
    if len(times) < LEAST_INSTANTS:
        return None
    if float(np.median(np.diff(times))) < SHORTEST_INTERVAL_S * NS_PER_S:
        return None
    return times


def instants_surface(a: IntArray, b: IntArray, grid: LagGrid) -> Surface | None:
    """Scores over windows of the first stream and the lags of the grid.

    Args:
        a: the first stream's instants, ns, increasing.
        b: the second stream's.
        grid: lags of the second clock against the first, in multiples of STEP_NS.

    Returns:
        A surface, or None where the streams are too short to compare.

    Raises:
        ValueError: the grid's step is no multiple of STEP_NS.
    """
    if grid.step_ns % STEP_NS:
        raise ValueError(f"lags {grid.step_ns} ns apart; expected a multiple of {STEP_NS} ns")
    if min(len(a), len(b)) < LEAST_INSTANTS:
        return None
    first, table = likelihoods(b)
    stride = grid.step_ns // STEP_NS
    num_windows = max(round(float(a[-1] - a[0]) / NS_PER_S / WINDOW_S), 1)
    edges = np.linspace(float(a[0]), float(a[-1]), num_windows + 1)
    window = np.clip(np.searchsorted(edges, a, side="right") - 1, 0, num_windows - 1)
    scores = np.zeros((num_windows, grid.num_lags), np.float32)
    lags = np.arange(grid.num_lags) * stride
    common = np.zeros(grid.num_lags, np.int64)
    for t_ns, w in zip(a, window, strict=True):
        place = round((int(t_ns) + grid.lowest_ns) / STEP_NS) - first + lags
        inside = (place >= 0) & (place < len(table))
        scores[w, inside] += table[place[inside]]
        common += inside
    scores[:, common < max(LEAST_COMMON * min(len(a), len(b)), LEAST_INSTANTS // 2)] = 0.0
    scores *= standing_out(scores.sum(axis=0), grid)
    if not scores.any():
        return None
    mids_ns = np.array([0.5 * (low + high) for low, high in itertools.pairwise(edges)])
    return Surface(mids_ns=mids_ns, length_ns=float(edges[1] - edges[0]), scores=scores)


def standing_out(total: NDArray[np.float32], grid: LagGrid) -> NDArray[np.float32]:
    """Share of each lag's score that is evidence, 0…1, shape (L,).

    A likelihood gained by chance exceeds x nats with probability e⁻ˣ, so the best of L lags reaches
    about ln L. Nearly even intervals reach more at many lags, one chance making all coincide. What
    either reaches is no evidence; the rest counts as much less as those reach more than chance.
    """
    by_chance = math.log(len(total))
    rival = max(highest_elsewhere(total, grid), by_chance)
    beyond = np.maximum(total - rival, 0.0) / np.maximum(total, 1e-6)
    share: NDArray[np.float32] = (beyond * by_chance / rival).astype(np.float32)
    return share


def likelihoods(instants: IntArray) -> tuple[int, NDArray[np.float32]]:
    """What an instant of another stream would count at each step of this stream's time.

    Returns:
        Index of the first step (time / STEP_NS), and nats.
    """
    places = np.round(instants / STEP_NS).astype(np.int64)
    first = int(places[0]) - REACH_STEPS
    table = np.full(int(places[-1]) - first + REACH_STEPS + 1, np.log(1.0 - TRIGGERED_SHARE))
    interval_ns = float(instants[-1] - instants[0]) / (len(instants) - 1)
    around = np.arange(-REACH_STEPS, REACH_STEPS + 1)
    density = np.exp(-0.5 * (around * STEP_NS / JITTER_NS) ** 2) / np.sqrt(2 * np.pi) / JITTER_NS
    counted = np.log(1.0 - TRIGGERED_SHARE + TRIGGERED_SHARE * density * interval_ns)
    for place in places - first:
        near = slice(place - REACH_STEPS, place + REACH_STEPS + 1)
        table[near] = np.maximum(table[near], counted)
    return first, table.astype(np.float32)

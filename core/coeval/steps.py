"""Steps of clocks in a session: every clock against all others together.

A step of one clock shows in its pairs with all others, so all of them are asked at once: their
scores are laid on one grid of lags against the timeline, by where the others were placed. Sign:
lag = clock − timeline; a positive step is forwards.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.hops import HOP_NS
from coeval.jumps import JumpFit, Witness, lag_at
from coeval.lag import DenseStream
from coeval.line import LagGrid, Surface, add_shifted


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """Another clock of the session, which a clock is compared with."""

    surfaces: Sequence[Surface]
    """The pair's scores, on `grid`."""
    grid: LagGrid
    """Lags of the pair's second clock against its first."""
    is_first: bool
    """Whether the partner is the first of the pair."""
    place_ns: float
    """Where the partner was put: its lag against the timeline."""
    skew_ppm: float
    """Its skew against the timeline."""
    span_ns: tuple[float, float]
    """Begin and end of its material on its own clock."""
    streams: Sequence[DenseStream]
    """Its embeddings."""


def witness_of(
    partner: Partner,
    surface: Surface,
    grid: LagGrid,
    *,
    place_ns: float,
    span_ns: tuple[float, float],
    middle_ns: float,
) -> Witness:
    """What a partner's scores say of a clock's lag against the timeline.

    Args:
        partner: the other clock.
        surface: some of the pair's scores.
        grid: lags against the timeline.
        place_ns: where the clock itself was put.
        span_ns: begin and end of the clock's material on itself.
        middle_ns: instant of the timeline from which the partner's skew counts.
    """
    scores, lowest_ns = surface.scores, partner.grid.lowest_ns + partner.place_ns
    mids_ns, other_span_ns = surface.mids_ns - partner.place_ns, span_ns
    if not partner.is_first:  # the windows are the clock's own, and lags count the other way
        scores = scores[:, ::-1]
        lowest_ns = partner.place_ns - partner.grid.at(partner.grid.num_lags - 1)
        mids_ns = surface.mids_ns - place_ns
        low, high = partner.span_ns
        other_span_ns = (low - partner.place_ns, high - partner.place_ns)
    laid = np.zeros((len(scores), grid.num_lags), np.float32)
    drift_ns = partner.skew_ppm * 1e-6 * (mids_ns - middle_ns)
    for row, its, late_ns in zip(laid, scores, drift_ns, strict=True):
        # Column k of the pair lies at lowest_ns + late_ns + k steps of the timeline's lags.
        lay(row, its, (lowest_ns + late_ns - grid.lowest_ns) / grid.step_ns)
    return Witness(
        surface=Surface(mids_ns=mids_ns, length_ns=surface.length_ns, scores=laid),
        other_span_ns=other_span_ns,
        direction=1.0 if partner.is_first else -1.0,
        ahead_ns=0.0 if partner.is_first else place_ns,
    )


def lay(row: NDArray[np.float32], scores: NDArray[np.float32], at: float) -> None:
    """Add scores to a row of another length, the first of them at column `at`."""
    low = int(np.floor(at))
    room = np.zeros(max(len(row), len(scores)) + 2, np.float32)
    begin, end = max(-low, 0), min(len(scores), len(row) - low)
    if begin < end:
        room[low + begin : low + end] = scores[begin:end]
        add_shifted(row, room[: len(row)], low - at)


def sharpen_instant(
    jump: JumpFit,
    streams: Sequence[DenseStream],
    partners: Sequence[Partner],
    *,
    around_ns: float,
) -> float:
    """When a clock stepped, hop by hop: up to then one lag fits, from then on the other.

    Args:
        jump: the step, known to a window's length.
        streams: embeddings of the clock.
        partners: the clocks that saw it.
        around_ns: how far from `jump.t_ns` it may be.

    Returns:
        The instant on the clock before the step, ns.
    """
    before_ns = lag_at(jump.before, jump.t_ns)
    first = round((jump.t_ns + before_ns - around_ns) / HOP_NS)
    hops = np.arange(first, first + round(2 * around_ns / HOP_NS))
    gain = np.zeros(len(hops))
    for partner in partners:
        for sign, line in ((1.0, jump.before), (-1.0, jump.after)):
            lag_hops = round((partner.place_ns - lag_at(line, jump.t_ns)) / HOP_NS)
            for own, its in itertools.product(streams, partner.streams):
                gain += sign * (rows_at(own, hops) * rows_at(its, hops + lag_hops)).sum(axis=1)
    best = int(np.argmax(np.concatenate([[0.0], np.cumsum(gain)])))
    return float((first + best) * HOP_NS)


def rows_at(stream: DenseStream, hops: NDArray[np.int64]) -> NDArray[np.floating]:
    """Rows at hop numbers, zeros where there are none."""
    index = hops - stream.first_hop
    inside = (index >= 0) & (index < len(stream.rows))
    rows = np.zeros((len(hops), stream.rows.shape[1]))
    rows[inside] = stream.rows[index[inside]]
    return rows

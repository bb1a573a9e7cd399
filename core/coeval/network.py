"""Network evidence of a clock: two-way time exchanges, kept where their delay was least.

One exchange: the node sends at t1 (its clock), the other end receives at t2 and answers at t3 (its
clock), the node receives at t4. Sign: offset = node − other end; positive: the node is fast.
"""

import numpy as np
from numpy.typing import NDArray

from coeval.errors import NotEnoughEvidence
from coeval.hardware import LEAST_EDGES, EdgeLine, fit_edges
from coeval.samples import IntArray

WINDOW_EXCHANGES = 8
"""Of this many neighbouring exchanges the one of least delay is kept (NTP's clock filter)."""


def fit_exchanges(t1: IntArray, t2: IntArray, t3: IntArray, t4: IntArray) -> EdgeLine:
    """Offset and skew of the node against the other end.

    The error of one exchange is bounded by half its delay, and its asymmetry cannot be seen
    from inside: the stated spread of the offset never falls below a quarter of the least delay,
    however many exchanges agree.

    Args:
        t1: sent by the node, its clock, ns, shape (n,).
        t2: received at the other end, its clock.
        t3: answered there.
        t4: received by the node.

    Raises:
        NotEnoughEvidence: fewer than 3 usable exchanges; one with a negative delay is not.
    """
    delay = (t4 - t1) - (t3 - t2)
    usable = (delay >= 0) & (t4 >= t1) & (t3 >= t2)
    t1, t2, t3, t4, delay = (column[usable] for column in (t1, t2, t3, t4, delay))
    if len(t1) < LEAST_EDGES:
        raise NotEnoughEvidence(f"{len(t1)} usable time exchanges; a line needs 3")
    window = max(1, min(WINDOW_EXCHANGES, len(t1) // LEAST_EDGES))
    groups = np.array_split(np.arange(len(t1)), max(len(t1) // window, LEAST_EDGES))
    best = np.array([group[delay[group].argmin()] for group in groups if len(group)])
    t_other = t2[best] + (t3[best] - t2[best]) // 2
    t_node = t1[best] + (t4[best] - t1[best]) // 2
    sigma: NDArray[np.floating] = np.maximum(delay[best] / 4.0, 1.0)
    line = fit_edges(t_node, t_other, sigma)
    asymmetry = np.diag([float(delay[best].min() / 4.0) ** 2, 0.0])
    return EdgeLine(
        t_ns=line.t_ns,
        offset_ns=line.offset_ns,
        skew_ppm=line.skew_ppm,
        covariance=line.covariance + asymmetry,
        num_rejected=line.num_rejected + int((~usable).sum()),
    )

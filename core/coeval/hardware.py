"""Hardware evidence of clocks: PPS edges with known reference time, and shared electrical edges.

In: times of edges. Out: a line of one clock against another. Sign: offset = node − reference;
positive: the node is fast.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.errors import NotEnoughEvidence
from coeval.samples import IntArray

LEAST_EDGES = 3
OUTLIER_SIGMAS = 4.0
SHARED_EDGE_SIGMA_NS = 20_000.0
"""Kernel time stamps of one edge on two machines: some 10 µs of interrupt latency each."""
CLEAR_SHARE = 0.8
"""An offset that matches this share of the most edges is as good an answer as the best one."""
STEP_NS = 50_000.0
"""A smaller step of a clock is left to the scatter of the edges."""
STEP_SIGMAS = 10.0
"""How far a step must stand out of the edges' own scatter."""
STEP_EDGES = 5
"""Most of so many edges on each side of a step must agree on it: two in a row may be glitches."""
MATCH_NS = 2_000_000
"""Two nodes' edges that fit one offset to within this are the same edge (2 ms)."""

MOST_VOTERS = 400
"""Edges of the first node that vote on the offset: an hour of pulses must not cost n²."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLine:
    """A clock's line through edges."""

    t_ns: int
    """Instant of the other clock at which `offset_ns` holds."""
    offset_ns: int
    """This clock − the other; positive: this one is fast. Whole, as it may be years."""
    skew_ppm: float
    """Same sign."""
    covariance: NDArray[np.float64]
    """Of (offset ns, skew ppm), shape (2, 2)."""
    num_rejected: int
    """Edges that disagreed with the line and were left out."""


def fit_edges(
    t_node_ns: IntArray, t_other_ns: IntArray, sigma_ns: NDArray[np.floating]
) -> EdgeLine:
    """Fit offset and skew to paired edges: weighted least squares, outliers left out.

    Args:
        t_node_ns: times on the node's clock, shape (n,).
        t_other_ns: times of the same edges on the other clock, shape (n,).
        sigma_ns: standard deviation of each edge's stamp, shape (n,).

    Raises:
        NotEnoughEvidence: fewer than 3 edges, or they share one instant; no line is invented.
    """
    if len(t_node_ns) < LEAST_EDGES or len(set(t_other_ns.tolist())) < LEAST_EDGES:
        raise NotEnoughEvidence(
            f"{len(t_node_ns)} edges at {len(set(t_other_ns.tolist()))} instants; a line needs 3"
        )
    middle = int(np.mean(t_other_ns - t_other_ns[0])) + int(t_other_ns[0])
    difference = t_node_ns - t_other_ns
    base = int(np.sort(difference)[len(difference) // 2])
    design = np.stack([np.ones(len(difference)), (t_other_ns - middle) * 1e-6], axis=1)
    y = (difference - base).astype(np.float64)
    keep = np.ones(len(y), np.bool_)
    for _ in range(6):
        weights = keep / sigma_ns**2
        information = (design.T * weights) @ design
        solution = np.linalg.lstsq(information, (design.T * weights) @ y, rcond=None)[0]
        residual = np.abs(y - design @ solution)
        scatter = 1.4826 * float(np.median(residual[keep]))
        again = residual <= OUTLIER_SIGMAS * np.maximum(sigma_ns, scatter)
        if again.sum() < LEAST_EDGES or (again == keep).all():
            break
        keep = again
    # Edges that scatter more than they claim widen the interval.
    excess = max(1.0, float(np.mean((residual[keep] / sigma_ns[keep]) ** 2)))
    weights = keep / sigma_ns**2
    covariance = np.linalg.inv((design.T * weights) @ design) * excess
    return EdgeLine(
        t_ns=middle,
        offset_ns=base + round(float(solution[0])),
        skew_ppm=float(solution[1]),
        covariance=covariance,
        num_rejected=int((~keep).sum()),
    )


def find_steps(
    t_node_ns: IntArray, t_other_ns: IntArray, sigma_ns: NDArray[np.floating]
) -> list[int]:
    """Where a clock stepped between two paired edges.

    Args:
        t_node_ns: times on the node's clock, shape (n,), in the order of `t_other_ns`.
        t_other_ns: times of the same edges on the other clock, shape (n,), increasing.
        sigma_ns: standard deviation of each edge's stamp, shape (n,).

    Returns:
        Index of the first edge after each step; none where fewer than 3 edges lie on a side.
    """
    if len(t_node_ns) < 2 * LEAST_EDGES:
        return []
    difference = t_node_ns - t_other_ns
    y = (difference - difference[0]).astype(np.float64)
    seconds = (t_other_ns - t_other_ns[0]) * 1e-9
    rates = np.diff(y) / np.maximum(np.diff(seconds), 1e-9)
    y = y - float(np.median(rates)) * seconds
    change = np.abs(np.diff(y))
    scatter = np.maximum(1.4826 * float(np.median(change)), np.sqrt(2.0) * sigma_ns[1:])
    wanted = np.maximum(STEP_NS, STEP_SIGMAS * scatter)
    steps: list[int] = []
    for k in (int(index) + 1 for index in np.flatnonzero(change > wanted)):
        low = max(steps[-1] if steps else 0, k - STEP_EDGES)
        if k - low < LEAST_EDGES or len(y) - k < LEAST_EDGES:
            continue
        moved = float(np.median(y[k : k + STEP_EDGES]) - np.median(y[low:k]))
        if abs(moved) > wanted[k - 1]:
            steps.append(k)
    return steps


def match_edges(
    t_first_ns: IntArray, t_second_ns: IntArray, *, expected_ns: float | None = None
) -> tuple[IntArray, IntArray]:
    """Pair the edges of one electrical line as two nodes stamped them.

    The offset that most pairs agree on decides; a regular pulse agrees with many, so an expected
    offset breaks the tie, and without one a tie is refused.

    Returns:
        Times of the matched edges on the first and on the second clock.

    Raises:
        NotEnoughEvidence: fewer than 3 edges match, or several offsets match as many.
    """
    t_first_ns, t_second_ns = np.sort(t_first_ns), np.sort(t_second_ns)
    middle = len(t_first_ns) // 2
    voters = t_first_ns[max(middle - MOST_VOTERS // 2, 0) : middle + MOST_VOTERS // 2 + 1]
    differences = (t_second_ns[None, :] - voters[:, None]).ravel()
    votes = Counter((differences // MATCH_NS).tolist())
    both = Counter({bin_: votes[bin_] + votes.get(bin_ + 1, 0) for bin_ in votes})
    most = max(both.values(), default=0)
    best = [bin_ for bin_, count in both.items() if count >= CLEAR_SHARE * most]
    clusters = [bin_ for bin_ in best if bin_ - 1 not in best]
    if most < LEAST_EDGES:
        raise NotEnoughEvidence(f"only {most} shared edges match; an offset needs 3")
    if len(clusters) > 1 and expected_ns is None:
        raise NotEnoughEvidence(
            f"shared edges fit {len(clusters)} offsets equally well (a regular pulse?); "
            "irregular edges or content evidence would decide"
        )
    winner = max(best, key=lambda bin_: both[bin_])
    near = expected_ns if expected_ns is not None else (winner + 1) * MATCH_NS
    chosen = min(clusters, key=lambda bin_: abs((bin_ + 1) * MATCH_NS - near))
    offset = (chosen + 1) * MATCH_NS
    wanted = t_first_ns + offset
    after = np.clip(np.searchsorted(t_second_ns, wanted), 1, len(t_second_ns) - 1)
    is_before = wanted - t_second_ns[after - 1] < t_second_ns[after] - wanted
    index = after - is_before
    matched = np.abs(t_second_ns[index] - wanted) <= MATCH_NS
    return t_first_ns[matched], t_second_ns[index[matched]]

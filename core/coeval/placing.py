"""From lines between pairs of nodes to one line a node: weighted least squares on the graph.

A pair's line is a measurement of a difference of two states (offset, skew), so that all pairs
together give each node's clock, and their covariance. Offset = node − reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.line import TYPICAL_SKEW_PPM

LARGEST_RESIDUAL_SIGMAS = 4.0
"""A pair that disagrees with all others by more counts less and less (Huber weights)."""
ROUNDS = 5

NodeState = tuple[float, float, NDArray[np.floating]]
"""Offset in ns, skew in ppm, their covariance (2, 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLine:
    """Lag of the second node's clock against the first's."""

    first: str
    second: str
    t_ns: float
    """Instant at which `lag_ns` holds."""
    lag_ns: float
    """Second − first; positive: the second is fast."""
    skew_ppm: float
    """Second against first; positive: fast."""
    covariance: NDArray[np.float64]
    """Of (lag, skew), shape (2, 2)."""


def solve_lines(
    lines: Sequence[PairLine], names: Sequence[str], *, reference: str, t0_ns: float
) -> dict[str, NodeState]:
    """Offset and skew at `t0_ns` of every node that the lines tie to the reference.

    A prior of TYPICAL_SKEW_PPM on each skew keeps short recordings from inventing one.
    """
    tied = reachable(lines, reference)
    index = {name: k for k, name in enumerate(name for name in names if name in tied)}
    index.pop(reference, None)
    index = {name: k for k, name in enumerate(index)}
    if not index:
        return {}
    used = [line for line in lines if line.first in tied and line.second in tied]
    weights = np.ones(len(used))
    state: NDArray[np.floating] = np.zeros(2 * len(index))
    information = np.eye(len(state))
    for _ in range(ROUNDS):
        information = np.zeros((len(state), len(state)))
        vector = np.zeros(len(state))
        for k in index.values():
            information[2 * k + 1, 2 * k + 1] += TYPICAL_SKEW_PPM**-2
        for line, weight in zip(used, weights, strict=True):
            design = design_of(line, index, t0_ns=t0_ns)
            precision = weight * np.linalg.inv(line.covariance)
            information += design.T @ precision @ design
            vector += design.T @ precision @ np.array([line.lag_ns, line.skew_ppm])
        state = np.linalg.solve(information + 1e-18 * np.eye(len(state)), vector)
        for m, line in enumerate(used):
            miss = (
                np.array([line.lag_ns, line.skew_ppm]) - design_of(line, index, t0_ns=t0_ns) @ state
            )
            sigmas = float(np.sqrt(miss @ np.linalg.solve(line.covariance, miss)))
            weights[m] = min(1.0, LARGEST_RESIDUAL_SIGMAS / max(sigmas, 1e-9))
    covariance = np.linalg.inv(information)
    return {
        name: (
            float(state[2 * k]),
            float(state[2 * k + 1]),
            covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2],
        )
        for name, k in index.items()
    }


def design_of(line: PairLine, index: dict[str, int], *, t0_ns: float) -> NDArray[np.float64]:
    """Rows that turn the states into the line's lag and skew, shape (2, 2·nodes)."""
    design = np.zeros((2, 2 * len(index)))
    since_t0 = (line.t_ns - t0_ns) * 1e-6
    for name, sign in ((line.second, 1.0), (line.first, -1.0)):
        if name in index:
            k = 2 * index[name]
            design[0, k], design[0, k + 1] = sign, sign * since_t0
            design[1, k + 1] = sign
    return design


def reachable(lines: Sequence[PairLine], reference: str) -> set[str]:
    """The nodes that a chain of lines ties to the reference."""
    found = {reference}
    while True:
        more = {
            name
            for line in lines
            if line.first in found or line.second in found
            for name in (line.first, line.second)
        } | found
        if more == found:
            return found
        found = more

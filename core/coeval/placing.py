"""From lines between pairs of nodes to one line a node: weighted least squares on the graph.

A pair's line is a measurement of a difference of two states (offset, skew), so that all pairs
together give each node's clock, and their covariance. What is stamped late on a node is late in
all its pairs: such a latency is a state of its own. Offset = node − reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.evidence import EvidenceKind
from coeval.line import TYPICAL_SKEW_PPM
from coeval.segments import clock_of

LARGEST_RESIDUAL_SIGMAS = 4.0
"""A pair that disagrees with all others by more counts less and less (Huber weights)."""
ROUNDS = 5

NodeState = tuple[float, float, NDArray[np.floating]]
"""Offset in ns, skew in ppm, their covariance (2, 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLine:
    """Lag of the second node's clock against the first's."""

    first: str
    """The clock that serves as reference of the pair."""
    second: str
    """The other clock."""
    kind: EvidenceKind
    """Where the line comes from."""
    t_second_ns: float
    """Reading of the second clock at the instant at which `lag_ns` holds."""
    lag_ns: float
    """Second − first; positive: the second is fast."""
    skew_ppm: float
    """Second against first; positive: fast."""
    covariance: NDArray[np.floating]
    """Of (lag, skew), shape (2, 2)."""
    latencies_ns: tuple[float, float] = (0.0, 0.0)
    """Spread (1 σ) of a latency of the first and the second node that this line shares with all
    other lines of that node which have one; 0: the line has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A pair whose line does not fit what all others say: a loop of clocks that does not close."""

    first: str
    """The clock that serves as reference of the pair."""
    second: str
    """The other clock."""
    kind: EvidenceKind
    """Where the line comes from."""
    miss_ns: float
    """How far its lag is off, ns."""
    sigmas: float
    """How far lag and skew are off together, in standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """All clocks, and what did not fit."""

    states: Mapping[str, NodeState]
    """By clock, the reference left out."""
    contradictions: tuple[Contradiction, ...]
    """The worst first."""


def solve_lines(lines: Sequence[PairLine], *, reference: str, t0_ns: float) -> Solution:
    """Offset and skew at `t0_ns` of every clock that the lines tie to the reference.

    A prior of TYPICAL_SKEW_PPM on each skew keeps short recordings from inventing one.

    Args:
        lines: measurements of differences of clocks.
        reference: the clock that the others are measured against.
        t0_ns: instant of the reference at which offsets are counted.
    """
    rough = rough_offsets(lines, reference)
    index = {name: k for k, name in enumerate(name for name in rough if name != reference)}
    if not index:
        return Solution(states={}, contradictions=())
    used = [line for line in lines if line.first in rough and line.second in rough]
    latencies = shared_latencies(used)
    late = {name: 2 * len(index) + k for k, name in enumerate(latencies)}
    # Offsets may be years (another epoch): only what the rough ones leave goes through floats.
    misses = [
        np.array([line.lag_ns - (rough[line.second] - rough[line.first]), line.skew_ppm])
        for line in used
    ]
    precisions = [np.linalg.inv(line.covariance) for line in used]
    weights = np.ones(len(used))
    state: NDArray[np.floating] = np.zeros(2 * len(index) + len(late))
    prior = np.diag(
        np.array(
            [0.0, TYPICAL_SKEW_PPM**-2] * len(index) + [sigma**-2 for sigma in latencies.values()]
        )
    )
    information = prior
    off: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        information, vector = prior.copy(), np.zeros(len(state))
        designs = []
        for line, miss, precision, weight in zip(used, misses, precisions, weights, strict=True):
            k = index.get(line.second)
            offset_ns, skew = 0.0, 0.0
            if k is not None:
                offset_ns, skew = rough[line.second] + float(state[2 * k]), float(state[2 * k + 1])
            since_t0_ns = (line.t_second_ns - offset_ns - t0_ns) / (1.0 + skew * 1e-6)
            design = np.zeros((2, len(state)))
            fill_design(design, line, index, late, since_t0_ns=since_t0_ns)
            information += weight * design.T @ precision @ design
            vector += weight * design.T @ precision @ miss
            designs.append(design)
        state = np.linalg.solve(information, vector)
        off = []
        for design, miss, precision in zip(designs, misses, precisions, strict=True):
            left = miss - design @ state
            off.append((float(left[0]), float(np.sqrt(left @ precision @ left))))
        weights = np.array([min(1.0, LARGEST_RESIDUAL_SIGMAS / max(s, 1e-9)) for _, s in off])
    covariance = np.linalg.inv(information)
    states = {
        name: (
            rough[name] + float(state[2 * k]),
            float(state[2 * k + 1]),
            covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2],
        )
        for name, k in index.items()
    }
    contradictions = [
        Contradiction(
            first=line.first, second=line.second, kind=line.kind, miss_ns=miss_ns, sigmas=sigmas
        )
        for line, (miss_ns, sigmas) in zip(used, off, strict=True)
        if sigmas > LARGEST_RESIDUAL_SIGMAS
    ]
    return Solution(
        states=states, contradictions=tuple(sorted(contradictions, key=lambda c: -c.sigmas))
    )


def shared_latencies(lines: Sequence[PairLine]) -> dict[str, float]:
    """The spread of each node's latency, for the nodes that have one: a step leaves it as it is."""
    found: dict[str, float] = {}
    for line in lines:
        for name, sigma_ns in zip((line.first, line.second), line.latencies_ns, strict=True):
            if sigma_ns > 0:
                clock = clock_of(name)
                found[clock] = min(sigma_ns, found.get(clock, sigma_ns))
    return found


def fill_design(
    design: NDArray[np.float64],
    line: PairLine,
    index: dict[str, int],
    late: dict[str, int],
    *,
    since_t0_ns: float,
) -> None:
    """Set the rows (2, states) that turn the states into the line's lag and skew."""
    ends = ((line.second, 1.0, line.latencies_ns[1]), (line.first, -1.0, line.latencies_ns[0]))
    for name, sign, latency_ns in ends:
        if name in index:
            k = 2 * index[name]
            design[0, k], design[0, k + 1] = sign, sign * since_t0_ns * 1e-6
            design[1, k + 1] = sign
        if latency_ns > 0:
            design[0, late[clock_of(name)]] += sign


def rough_offsets(lines: Sequence[PairLine], reference: str) -> dict[str, float]:
    """Offset in ns of every clock that a chain of lines ties to the reference, by one chain."""
    found = {reference: 0.0}
    waiting = sorted(lines, key=lambda line: float(line.covariance[0, 0]))
    while True:
        line = next(
            (line for line in waiting if (line.first in found) != (line.second in found)), None
        )
        if line is None:
            return found
        if line.first in found:
            found[line.second] = found[line.first] + line.lag_ns
        else:
            found[line.first] = found[line.second] - line.lag_ns

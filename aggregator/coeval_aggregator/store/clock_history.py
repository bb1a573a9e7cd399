"""Where an instant lies on a node's clock, by the surest of all estimates that were ever made.

An estimate is a line with a covariance, made from the material of some minutes: it is surest in
their middle, and less and less beyond them. So each instant is placed by the estimate with the
least variance there, usually one that was made later.
Sign: offset = node − reference; positive: the node is fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.interval import NORMAL_95
from coeval.samples import IntArray
from coeval.time import NS_PER_S
from coeval_aggregator.clocks import HOLDOVER_PPM

KNOT_NS = 10 * NS_PER_S
"""Estimates are chosen anew this often: between two the same one is used."""
CANDIDATES_NS = np.arange(-300, 601, 30) * NS_PER_S
"""Estimates made so much later are looked at: the surest has the instant in its middle."""
AWAY_NS_PER_S = HOLDOVER_PPM * 1e3 / NORMAL_95
"""Growth of the standard deviation beyond the material that an estimate rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One estimate, as it was stored."""

    t_ref_ns: int
    """The instant at which the offset holds; its material ends there."""
    covers_from_ns: int
    """Where its material begins."""
    offset_ns: float
    """node − reference; positive: the node is fast."""
    skew_ppb: float
    """Rate minus one; positive: fast."""
    var_offset_ns2: float
    """Variance of the offset."""
    cov_offset_skew: float
    """Covariance of offset and skew, ns·ppb; 0: not known."""
    var_skew_ppb2: float
    """Variance of the skew."""
    jumps: tuple[tuple[int, float], ...] = ()
    """Steps: when, and by how much the offset changed."""


REFERENCE = Estimate(
    t_ref_ns=0,
    covers_from_ns=-(2**62),
    offset_ns=0.0,
    skew_ppb=0.0,
    var_offset_ns2=0.0,
    cov_offset_skew=0.0,
    var_skew_ppb2=0.0,
)
"""The reference's clock against itself; its material never ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Instants of one clock on another: of the timeline on a node's, or the other way round."""

    t_ns: IntArray
    """What the other clock read, shape (n,)."""
    sigma_ns: NDArray[np.float64]
    """How sure that is, 1 σ, shape (n,)."""


class ClockHistory:
    """All that was ever estimated of one run of a node's clock against one timeline."""

    def __init__(self, estimates: Sequence[Estimate], *, is_reference: bool = False) -> None:
        """Take estimates in any order.

        Args:
            estimates: at least one, unless it is the reference's.
            is_reference: whether the clock is the timeline itself.
        """
        in_order = sorted(estimates, key=lambda each: each.t_ref_ns)
        self._estimates = [REFERENCE] if is_reference else in_order
        self._is_reference = is_reference
        columns = (
            "t_ref_ns",
            "covers_from_ns",
            "offset_ns",
            "skew_ppb",
            "var_offset_ns2",
            "cov_offset_skew",
            "var_skew_ppb2",
        )
        table = [[getattr(each, name) for name in columns] for each in self._estimates]
        self._columns = dict(zip(columns, np.array(table, np.float64).T, strict=True))
        self._lines = Lines(self._estimates)

    def to_node(self, t_ref_ns: IntArray) -> Placed:
        """What the clock read at instants of the timeline, shape (n,), increasing."""
        if self._is_reference or not len(t_ref_ns):
            return Placed(t_ns=t_ref_ns, sigma_ns=np.zeros(len(t_ref_ns)))
        # Counted from 0, so that an instant's place does not depend on what else is asked for.
        knots, which = np.unique(t_ref_ns // KNOT_NS, return_inverse=True)
        chosen, variance = self._surest((knots + 0.5) * KNOT_NS)
        offset_ns = self._lines.offset_at(t_ref_ns, chosen[which])
        return Placed(t_ns=t_ref_ns + offset_ns, sigma_ns=np.sqrt(variance)[which])

    def to_ref(self, t_node_ns: IntArray) -> Placed:
        """The instants of the timeline at which the clock read `t_node_ns`, increasing."""
        t_ref_ns = t_node_ns.copy()
        placed = Placed(t_ns=t_ref_ns, sigma_ns=np.zeros(len(t_ref_ns)))
        if self._is_reference or not len(t_node_ns):
            return placed
        t_ref_ns = t_node_ns - round(self._estimates[-1].offset_ns)
        for _ in range(3):  # the offset changes so slowly that the second step is exact
            placed = self.to_node(np.maximum.accumulate(t_ref_ns))
            t_ref_ns = t_ref_ns - (placed.t_ns - t_node_ns)
        return Placed(t_ns=t_ref_ns, sigma_ns=placed.sigma_ns)

    def _surest(self, t_ref_ns: NDArray[np.floating]) -> tuple[IntArray, NDArray[np.float64]]:
        """Index and variance of the surest estimate at instants, shape (n,)."""
        made_ns = self._columns["t_ref_ns"]
        near = np.searchsorted(made_ns, t_ref_ns[:, None] + CANDIDATES_NS)
        before = np.searchsorted(made_ns, t_ref_ns)[:, None] - 1
        candidates = np.clip(np.hstack([before, near]), 0, len(made_ns) - 1)
        column = {name: values[candidates] for name, values in self._columns.items()}
        away_ns = t_ref_ns[:, None] - column["t_ref_ns"]
        away_s = away_ns / NS_PER_S  # ppb times seconds is ns
        variance = (
            column["var_offset_ns2"]
            + 2 * away_s * column["cov_offset_skew"]
            + away_s**2 * column["var_skew_ppb2"]
        )
        beyond_ns = np.maximum(away_ns, 0) + np.maximum(
            column["covers_from_ns"] - t_ref_ns[:, None], 0
        )
        # Numbers stored in single steps may leave a variance a little below zero.
        variance = np.maximum(variance, 0) + (beyond_ns / NS_PER_S * AWAY_NS_PER_S) ** 2
        best = variance.argmin(axis=1)
        each = np.arange(len(best))
        return candidates[each, best], variance[each, best]


class Lines:
    """The lines of many estimates, with their steps."""

    def __init__(self, estimates: Sequence[Estimate]) -> None:
        self._t_ref_ns = np.array([each.t_ref_ns for each in estimates], np.int64)
        self._skew = np.array([each.skew_ppb for each in estimates]) * 1e-9
        self._whole_ns = np.array([round(each.offset_ns) for each in estimates], np.int64)
        offset_ns = np.array([each.offset_ns for each in estimates])
        self._rest_ns = offset_ns - self._whole_ns
        self._steps = {k: each.jumps for k, each in enumerate(estimates) if each.jumps}

    def offset_at(self, t_ref_ns: IntArray, which: IntArray) -> IntArray:
        """Offset in whole ns (node − reference; positive: fast), steps included.

        Args:
            t_ref_ns: instants, shape (n,).
            which: the estimate to place each by, shape (n,).
        """
        moved_ns = self._skew[which] * (t_ref_ns - self._t_ref_ns[which]) + self._rest_ns[which]
        for index in self._steps.keys() & set(np.unique(which).tolist()):
            here = which == index
            for at_ns, delta_ns in self._steps[index]:
                moved_ns[here] += delta_ns * (t_ref_ns[here] >= at_ns)
        offsets: IntArray = self._whole_ns[which] + np.rint(moved_ns).astype(np.int64)
        return offsets

"""From things that happened between two instants to rows on the hop grid.

In: contiguous or gappy segments, each with one vector. Out: the mean of that vector over
every hop, exact for any sample times: a frame that straddles two hops counts in both by its share.
"""

import numpy as np
from numpy.typing import NDArray

from coeval.hops import HOP_NS, Hops
from coeval.samples import FloatArray, IntArray
from coeval.time import NodeNs

LONGEST_GAP_HOPS = 20 * 60
"""A longer silence (60 s) starts a new run of rows instead of filling them with nothing."""

Segments = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class HopGrid:
    """Averages piecewise-constant vectors over hops.

    A row ends with its coverage: the share of the hop that segments covered, 0…1. The other
    columns are means over the covered share, 0 where nothing covered the hop.
    """

    def __init__(self, dim: int, *, hop_ns: int = HOP_NS) -> None:
        self.dim = dim
        self.hop_ns = hop_ns
        self._next_ns: int | None = None
        """Start of the first row not handed out yet."""
        self._starts: list[IntArray] = []
        self._ends: list[IntArray] = []
        self._values: list[NDArray[np.float64]] = []

    def push(
        self, starts_ns: IntArray, ends_ns: IntArray, values: NDArray[np.floating]
    ) -> list[Hops]:
        """Add segments and take the rows they complete.

        Args:
            starts_ns: starts on the node's clock, shape (n,), not before the last end.
            ends_ns: ends, shape (n,), after their starts.
            values: one vector a segment, shape (n, dim).

        Returns:
            Completed rows, shape (hops, dim + 1) each; more than one element after a long gap.
        """
        if not len(starts_ns):
            return []
        done: list[Hops] = []
        edge = int(ends_ns[-1])
        if self._next_ns is None:
            self._next_ns = int(starts_ns[0]) // self.hop_ns * self.hop_ns
        elif int(starts_ns[0]) - self._last_end() > LONGEST_GAP_HOPS * HOP_NS:
            done += self.flush()
            self._next_ns = int(starts_ns[0]) // self.hop_ns * self.hop_ns
        self._starts.append(starts_ns)
        self._ends.append(ends_ns)
        self._values.append(values.astype(np.float64))
        return done + self._emit(edge // self.hop_ns * self.hop_ns)

    def advance(self, t_node_ns: int) -> list[Hops]:
        """Take the rows up to an instant, knowing that nothing before it is still to come."""
        if self._next_ns is None:
            return []
        return self._emit(t_node_ns // self.hop_ns * self.hop_ns)

    def flush(self) -> list[Hops]:
        """Take what is left, the last row half-covered or not, and start anew."""
        if self._next_ns is None or not self._ends:
            self._next_ns = None
            return []
        rows = self._emit(-(-self._last_end() // self.hop_ns) * self.hop_ns)
        self._starts, self._ends, self._values = [], [], []
        self._next_ns = None
        return rows

    def _last_end(self) -> int:
        return int(self._ends[-1][-1]) if self._ends else (self._next_ns or 0)

    def _emit(self, until_ns: int) -> list[Hops]:
        """Average everything before `until_ns`, a multiple of the hop; keep the rest."""
        assert self._next_ns is not None
        num_hops = (until_ns - self._next_ns) // self.hop_ns
        if num_hops <= 0:
            return []
        first = self._next_ns
        self._next_ns = until_ns
        rows = np.zeros((num_hops, self.dim + 1), np.float32)
        if self._starts:
            starts = np.concatenate(self._starts)
            ends = np.concatenate(self._ends)
            values = np.concatenate(self._values)
            rows = mean_over_hops(
                (starts - first) / self.hop_ns, (ends - first) / self.hop_ns, values, num_hops
            )
            keep = ends > until_ns
            self._starts = [np.maximum(starts[keep], until_ns)] if keep.any() else []
            self._ends = [ends[keep]] if keep.any() else []
            self._values = [values[keep]] if keep.any() else []
        return [Hops(t0_node_ns=NodeNs(first), rows=rows)]


def mean_over_hops(
    starts: NDArray[np.float64],
    ends: NDArray[np.float64],
    values: NDArray[np.float64],
    num_hops: int,
) -> FloatArray:
    """Mean of piecewise-constant vectors over hops 0…num_hops, and the coverage.

    The running integral at every segment edge is interpolated at the hop edges; differences are
    exact for segments of any length.

    Args:
        starts: segment starts in hops, shape (n,), not before the previous end.
        ends: segment ends in hops, shape (n,).
        values: vectors, shape (n, dim).
        num_hops: how many rows.

    Returns:
        Rows, shape (num_hops, dim + 1); the last column is the coverage.
    """
    lengths = np.maximum(ends - starts, 0.0)
    weighted = np.concatenate([values, np.ones((len(values), 1))], axis=1) * lengths[:, None]
    integral = np.concatenate([np.zeros((1, weighted.shape[1])), np.cumsum(weighted, axis=0)])
    edges = np.arange(num_hops + 1, dtype=np.float64)
    inside = np.searchsorted(starts, edges, side="right") - 1
    k = np.maximum(inside, 0)
    share = np.clip((edges - starts[k]) / np.maximum(lengths[k], 1e-12), 0.0, 1.0)
    share[inside < 0] = 0.0
    at_edges = integral[k] + share[:, None] * (integral[k + 1] - integral[k])
    rows = np.diff(at_edges, axis=0)
    coverage = rows[:, -1:]
    rows[:, :-1] /= np.where(coverage > 1e-9, coverage, 1.0)
    means: FloatArray = rows.astype(np.float32)
    return means

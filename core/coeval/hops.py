"""Rows on a regular grid of hops: what features and embeddings are made of."""

from dataclasses import dataclass

import numpy as np

from coeval.samples import FloatArray
from coeval.time import NS_PER_S, NodeNs

HOP_NS = NS_PER_S // 20
"""Time between embeddings, the same for every modality: 50 ms (20 Hz)."""

EMBEDDING_DIM = 16
"""Length of every embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hops:
    """Consecutive rows, one a hop.

    Row k describes the node time from `t0_node_ns + k·HOP_NS` to one hop later. `t0_node_ns`
    is a multiple of HOP_NS on the node's clock, so that rows of one node line up.
    """

    t0_node_ns: NodeNs
    """Start of the first row's hop."""
    rows: FloatArray
    """Values, shape (num_hops, dim)."""

    @property
    def end_node_ns(self) -> NodeNs:
        """End of the last row's hop."""
        return NodeNs(self.t0_node_ns + len(self.rows) * HOP_NS)


def join(parts: "list[Hops]") -> "list[Hops]":
    """Join neighbours that follow on without a gap; a gap starts a new element."""
    joined: list[Hops] = []
    for part in parts:
        if not len(part.rows):
            continue
        if joined and joined[-1].end_node_ns == part.t0_node_ns:
            rows = np.concatenate([joined[-1].rows, part.rows])
            joined[-1] = Hops(t0_node_ns=joined[-1].t0_node_ns, rows=rows)
        else:
            joined.append(part)
    return joined

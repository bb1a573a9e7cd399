"""Time as Coeval counts it: integer nanoseconds, and never two clocks in one variable.

Sign, once and for all: **offset = node − reference; positive: the node is fast.**
Skew has the same sign: positive when the node's clock runs fast.
"""

from dataclasses import dataclass
from typing import NewType

NodeNs = NewType("NodeNs", int)
"""A reading of a node's own clock, in nanoseconds."""

RefNs = NewType("RefNs", int)
"""A reading of the session's reference timeline, in nanoseconds."""

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLine:
    """A node's clock against the reference: an offset at one instant and a constant skew."""

    t0_ref_ns: RefNs
    """The instant at which `offset_ns` holds."""
    offset_ns: float
    """node − reference at `t0_ref_ns`; positive: the node is fast."""
    skew_ppb: float
    """Rate of the node against the reference minus one, in parts per billion; positive: fast."""

    def offset_at(self, t_ref_ns: RefNs) -> float:
        """Offset in ns (node − reference) at an instant of the reference."""
        return self.offset_ns + self.skew_ppb * 1e-9 * (t_ref_ns - self.t0_ref_ns)

    def to_node(self, t_ref_ns: RefNs) -> NodeNs:
        """What the node's clock reads at an instant of the reference."""
        return NodeNs(t_ref_ns + round(self.offset_at(t_ref_ns)))

    def to_ref(self, t_node_ns: NodeNs) -> RefNs:
        """The instant of the reference at which the node's clock reads `t_node_ns`."""
        since_t0 = (t_node_ns - self.t0_ref_ns - self.offset_ns) / (1.0 + self.skew_ppb * 1e-9)
        return RefNs(self.t0_ref_ns + round(since_t0))

"""Evidence of clocks: one measured difference of two clocks, and how far it can be believed.

Sign: offset = second − first; with the reference as the first, positive: the node is fast.
"""

from dataclasses import dataclass
from typing import Literal

EvidenceKind = Literal["hardware", "network", "content"]

UTC, SERVER = "@utc", "@server"
"""Clocks that are no node of the session, but that evidence may tie nodes to; so is the
grandmaster of a PTP domain, `@ptp-` and its identity."""


def is_node(clock: str) -> bool:
    """Whether a clock is that of a node, not one that evidence ties nodes to."""
    return not clock.startswith("@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One measurement of the difference of two clocks."""

    kind: EvidenceKind
    """Where it comes from."""
    source: str
    """What measured it, as `pps/cam`: samples of one source share their bias."""
    first: str
    """The clock that serves as reference: a node, UTC or SERVER."""
    second: str
    """The other clock."""
    t_second_ns: int
    """Reading of the second clock at the instant of the measurement."""
    offset_ns: int
    """Second − first; positive: the second is fast."""
    sigma_ns: float
    """Standard deviation of this sample's own error, above 0."""
    bias_sigma_ns: float = 0.0
    """Standard deviation of the error that all samples of the source share (the asymmetry of a
    path, the latency of a sensor): no number of samples averages it away."""
    is_bias_bounded: bool = False
    """Whether that error is spread evenly between two bounds, √3 standard deviations to either
    side, rather than normally."""

"""What is known of clocks: of a node, of a pair, of a session.

Sign: offset = node − reference; positive: the node is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from coeval.line import LineFit
from coeval.placing import Contradiction
from coeval.time import ClockLine, RefNs

Status = Literal["locked", "unsure", "unrelated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A step of a node's clock."""

    t_ref_ns: RefNs
    """When, on the timeline."""
    delta_ns: float
    """Change of the offset (node − reference)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEstimate:
    """What is known of one node's clock."""

    status: Status
    """locked: believe it; unsure: not enough evidence; unrelated: evidence against a relation."""
    line: ClockLine | None
    """Offset (node − reference) and skew; None unless locked. Holds before the first jump."""
    ci95_ns: float | None
    """Half-width of the 95% interval of the offset at `line.t0_ref_ns`."""
    skew_ci95_ppb: float | None
    """Half-width of the 95% interval of the skew."""
    jumps: tuple[Jump, ...]
    """Steps of the clock, in time order."""
    evidence: tuple[str, ...]
    """Kinds of evidence used."""
    cov_offset_skew: float | None = None
    """Covariance of offset and skew at `line.t0_ref_ns`, ns·ppb; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEstimate:
    """What two nodes' content says about each other."""

    first: str
    """The node that serves as reference of the pair."""
    second: str
    """The other node."""
    fit: LineFit | None
    """Best line: lag of the second clock against the first; None without evidence."""
    streams: tuple[str, ...]
    """Stream pairs that were compared."""
    accepted: bool
    """Whether the pair alone would be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEstimate:
    """Every node's clock against the reference node."""

    reference: str
    """The reference node."""
    nodes: Mapping[str, NodeEstimate]
    """By node, the reference itself left out."""
    pairs: tuple[PairEstimate, ...]
    """What each pair said."""
    contradictions: tuple[Contradiction, ...] = ()
    """Pairs that do not fit what all others say, the worst first."""


UNSURE = NodeEstimate(
    status="unsure", line=None, ci95_ns=None, skew_ci95_ppb=None, jumps=(), evidence=()
)


UNRELATED = replace(UNSURE, status="unrelated")

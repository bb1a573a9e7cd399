"""What is known of every node's clock, held over between estimates, and how it is told.

Sign: offset = node − reference; positive: the node is fast.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coeval.estimates import NodeEstimate
from coeval.interval import NORMAL_95
from coeval.oscillators import UNKNOWN as UNKNOWN_CLASS
from coeval.oscillators import OscillatorClass
from coeval.time import NS_PER_S, NodeNs, RefNs

LONGEST_HOLDOVER_S = 60.0
"""A clock that could not be estimated for so long is no longer stated."""
HOLDOVER_PPM = 5.0
"""Growth of the interval while nothing confirms it, of a clock of which it is not said what kind it
is: a crystal's change of rate as it warms up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeClock:
    """One node's clock as it is stated."""

    status: str
    """`reference`, or what the last estimate said: `locked`, `unsure`, `unrelated`."""
    known: NodeEstimate | None
    """The last estimate that locked; None: unknown."""
    locked_s: float | None
    """When it locked, on the aggregator's monotonic clock."""

    def offset_ns(self, t_ref_ns: RefNs) -> float | None:
        """Offset (node − reference; positive: fast) at an instant; None: unknown."""
        if self.status == "reference":
            return 0.0
        if self.known is None or self.known.line is None:
            return None
        jumped_ns = sum(jump.delta_ns for jump in self.known.jumps if jump.t_ref_ns <= t_ref_ns)
        return self.known.line.offset_at(t_ref_ns) + jumped_ns

    def to_node(self, t_ref_ns: RefNs) -> NodeNs | None:
        """What the node's clock read at an instant of the timeline; None: unknown."""
        offset_ns = self.offset_ns(t_ref_ns)
        return None if offset_ns is None else NodeNs(t_ref_ns + round(offset_ns))

    def to_ref(self, t_node_ns: NodeNs) -> RefNs | None:
        """The instant of the timeline at which the clock read `t_node_ns`; None: unknown."""
        t_ref_ns = RefNs(int(t_node_ns))
        for _ in range(3):  # the offset changes so slowly that the second step is exact
            offset_ns = self.offset_ns(t_ref_ns)
            if offset_ns is None:
                return None
            t_ref_ns = RefNs(t_node_ns - round(offset_ns))
        return t_ref_ns

    def statement(
        self,
        node: str,
        *,
        reference: str,
        t_ref_ns: RefNs,
        now_s: float,
        oscillators: Sequence[OscillatorClass] = (UNKNOWN_CLASS,),
    ) -> dict[str, object]:
        """The payload of the node's clock topic; what is unknown is null.

        Args:
            node: the node.
            reference: the node whose clock is the timeline.
            t_ref_ns: the instant of the timeline at which the clock is stated.
            now_s: the aggregator's monotonic clock.
            oscillators: the kinds of both nodes' clocks, as which the interval grows.
        """
        offset_ns = self.offset_ns(t_ref_ns)
        stated: dict[str, object] = {
            "node": node,
            "reference": reference,
            "status": self.status,
            "t_ref_ns": int(t_ref_ns),
            "offset_s": None if offset_ns is None else offset_ns / NS_PER_S,
            "skew_ppm": None,
            "ci95_s": None,
            "skew_ci95_ppm": None,
            "evidence": [],
            "jumps": [],
            "holdover_s": None,
        }
        if self.status == "reference":
            return stated | {"skew_ppm": 0.0, "ci95_s": 0.0, "skew_ci95_ppm": 0.0}
        known = self.known
        if known is None or known.line is None or self.locked_s is None:
            return stated
        holdover_s = now_s - self.locked_s
        ci95_s = None
        if known.ci95_ns is not None:
            ci95_s = (known.ci95_ns + holdover_ns(holdover_s, oscillators)) / NS_PER_S
            if known.skew_ci95_ppb is not None:
                away_s = abs(t_ref_ns - known.line.t0_ref_ns) / NS_PER_S
                ci95_s += away_s * known.skew_ci95_ppb * 1e-9
        return stated | {
            "skew_ppm": known.line.skew_ppb * 1e-3,
            "ci95_s": ci95_s,
            "skew_ci95_ppm": None if known.skew_ci95_ppb is None else known.skew_ci95_ppb * 1e-3,
            "evidence": list(known.evidence),
            "jumps": [
                {"at_s": jump.t_ref_ns / NS_PER_S, "jump_s": jump.delta_ns / NS_PER_S}
                for jump in known.jumps
            ],
            "holdover_s": round(holdover_s, 3),
        }


def holdover_ns(holdover_s: float, oscillators: Sequence[OscillatorClass]) -> float:
    """By how much a 95% interval has grown since the clock was last confirmed."""
    if UNKNOWN_CLASS in oscillators:
        return holdover_s * HOLDOVER_PPM * 1e3
    return NORMAL_95 * math.sqrt(sum(each.wander(holdover_s) for each in oscillators))


UNKNOWN = NodeClock(status="unsure", known=None, locked_s=None)
REFERENCE = NodeClock(status="reference", known=None, locked_s=None)


class ClockBook:
    """The stated clocks of a session's nodes."""

    def __init__(self) -> None:
        self._clocks: dict[str, NodeClock] = {}

    def __getitem__(self, node: str) -> NodeClock:
        return self._clocks.get(node, UNKNOWN)

    def nodes(self) -> set[str]:
        """The nodes of which something was stated."""
        return set(self._clocks)

    def update(self, estimates: Mapping[str, NodeEstimate], *, now_s: float) -> None:
        """Take over a new estimate.

        A node that locked is stated anew. One that is `unsure` keeps its last line for
        LONGEST_HOLDOVER_S; one that is `unrelated` loses it.
        """
        for node, estimate in estimates.items():
            if estimate.status == "locked":
                self._clocks[node] = NodeClock(status="locked", known=estimate, locked_s=now_s)
            elif estimate.status == "unrelated":
                self._clocks[node] = NodeClock(status="unrelated", known=None, locked_s=None)
            else:
                before = self[node]
                self._clocks[node] = NodeClock(
                    status="unsure", known=before.known, locked_s=before.locked_s
                )
        self.expire(now_s=now_s)

    def expire(self, *, now_s: float) -> None:
        """Forget what was not confirmed for too long."""
        for node, clock in self._clocks.items():
            if clock.locked_s is not None and now_s - clock.locked_s > LONGEST_HOLDOVER_S:
                self._clocks[node] = UNKNOWN

    def set_reference(self, node: str) -> None:
        """Make a node the reference; what was known against another one is void."""
        self._clocks = {node: REFERENCE}

    def forget(self, node: str) -> None:
        """A node's clock started anew."""
        if self[node].status != "reference":
            self._clocks.pop(node, None)
        else:
            self.set_reference(node)

"""Network evidence of a clock: two-way time exchanges, kept where their delay was least.

One exchange: the node sends at t1 (its clock), the other end receives at t2 and answers at t3 (its
clock), the node receives at t4. Sign: offset = node − other end; positive: the node is fast.
"""

import math
import statistics
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.errors import NotEnoughEvidence
from coeval.evidence import Evidence
from coeval.hardware import LEAST_EDGES, EdgeLine, fit_edges
from coeval.samples import IntArray

WINDOW_EXCHANGES = 8
"""Of this many neighbouring exchanges the one of least delay is kept (NTP's clock filter)."""
MEMORY_EXCHANGES = 256
"""The least delay of a path is that of so many exchanges: routes change."""
BURST_EXCESS = 5.0
"""An exchange that waited this many times as long as usual says nothing."""
LEAST_KNOWN = 8
"""Exchanges that tell how long they usually wait."""
LEAST_SHARE = 1.0
"""The least delay seen in n exchanges is itself above the path's own: by about this over √n of the
usual wait (the quickest of n sums of two exponential waits of mean w lies near 1.25 w / √n)."""
REGIME_SHARE = 0.25
"""Of the least delay: how it divides between there and back moves with the load, so no single
exchange is believed to better than this. The asymmetry itself is larger, so nothing is lost."""
LEAST_SIGMA_NS = 2e3
"""Time stamps in user space scatter by microseconds even where nothing queues."""
BELIEVED_PAUSE = 0.1
"""Of the whole trip: so much of it the other end may say that it took to answer. One that claims
more would make its path look short, and its asymmetry small."""
LONGEST_DELAY_NS = 10 * 1_000_000_000
"""An answer that took longer is no measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One two-way time exchange, ns."""

    t1_ns: int
    """Sent by the node, its clock."""
    t2_ns: int
    """Received at the other end, its clock."""
    t3_ns: int
    """Answered there."""
    t4_ns: int
    """Received by the node."""

    @property
    def delay_ns(self) -> int:
        """Time on the way, both ways."""
        return (self.t4_ns - self.t1_ns) - (self.t3_ns - self.t2_ns)

    @property
    def bound_ns(self) -> float:
        """Twice the bound of the offset's error: the delay, however long the other end claims to
        have taken to answer."""
        return max(float(self.delay_ns), (1.0 - BELIEVED_PAUSE) * (self.t4_ns - self.t1_ns))

    @property
    def offset_ns(self) -> int:
        """Node − other end; positive: the node is fast. Its error is at most half the delay."""
        return ((self.t1_ns - self.t2_ns) + (self.t4_ns - self.t3_ns)) // 2

    @property
    def t_node_ns(self) -> int:
        """Instant on the node's clock at which the offset holds."""
        return self.t1_ns + (self.t4_ns - self.t1_ns) // 2


class ExchangeFilter:
    """Turns the exchanges of one path into evidence, weighted by their delay above the least.

    An exchange that waited longer than the quickest of its window errs by at most half the
    difference, and that is its own error; so the quick ones decide. How the least delay divides
    between there and back cannot be seen from inside: that is an error that all samples share.
    """

    def __init__(self, *, node: str, other: str) -> None:
        """Prepare.

        Args:
            node: whose clock stamps t1 and t4.
            other: the other end.
        """
        self.counts: Counter[str] = Counter()
        """Exchanges by what became of them: used, settling, burst, negative, backwards, slow."""
        self._node, self._other = node, other
        self._delays_ns: deque[float] = deque(maxlen=MEMORY_EXCHANGES)
        self._last_ns: int | None = None

    def push(self, exchange: Exchange) -> Evidence | None:
        """Take an exchange; its sample, if it is usable."""
        reason = why_unusable(exchange)
        if reason is None and self._last_ns is not None and exchange.t1_ns <= self._last_ns:
            reason = "backwards"
        if reason is not None:
            self.counts[reason] += 1
            return None
        self._last_ns = exchange.t1_ns
        self._delays_ns.append(exchange.bound_ns)
        least_ns = min(self._delays_ns)
        usual_ns = statistics.median(self._delays_ns) - least_ns
        excess_ns = exchange.bound_ns - least_ns
        if len(self._delays_ns) < LEAST_KNOWN:
            self.counts["settling"] += 1
            return None
        if excess_ns > BURST_EXCESS * max(usual_ns, LEAST_SIGMA_NS):
            self.counts["burst"] += 1
            return None
        self.counts["used"] += 1
        # Either way may have waited: the error is spread evenly between −excess/2 and +excess/2.
        unseen_ns = LEAST_SHARE * usual_ns / math.sqrt(len(self._delays_ns))
        spread_ns = (excess_ns + unseen_ns) / math.sqrt(12.0)
        return Evidence(
            kind="network",
            source=f"exchange/{self._other}-{self._node}",
            first=self._other,
            second=self._node,
            t_second_ns=exchange.t_node_ns,
            offset_ns=exchange.offset_ns,
            sigma_ns=math.hypot(LEAST_SIGMA_NS, REGIME_SHARE * least_ns, spread_ns),
            bias_sigma_ns=max(least_ns / math.sqrt(12.0), LEAST_SIGMA_NS),
            is_bias_bounded=True,
        )


def why_unusable(exchange: Exchange) -> str | None:
    """What makes an exchange impossible, or None."""
    if exchange.t4_ns < exchange.t1_ns or exchange.t3_ns < exchange.t2_ns:
        return "backwards"
    if exchange.delay_ns < 0:
        return "negative"
    if exchange.delay_ns > LONGEST_DELAY_NS:
        return "slow"
    return None


def fit_exchanges(t1: IntArray, t2: IntArray, t3: IntArray, t4: IntArray) -> EdgeLine:
    """Offset and skew of the node against the other end.

    The error of one exchange is bounded by half its delay, and its asymmetry cannot be seen
    from inside: the stated spread of the offset never falls below a quarter of the least delay,
    however many exchanges agree.

    Args:
        t1: sent by the node, its clock, ns, shape (n,).
        t2: received at the other end, its clock.
        t3: answered there.
        t4: received by the node.

    Raises:
        NotEnoughEvidence: fewer than 3 usable exchanges; one with a negative delay is not.
    """
    delay = (t4 - t1) - (t3 - t2)
    usable = (delay >= 0) & (t4 >= t1) & (t3 >= t2)
    delay = np.maximum(delay, np.ceil((1.0 - BELIEVED_PAUSE) * (t4 - t1)).astype(np.int64))
    t1, t2, t3, t4, delay = (column[usable] for column in (t1, t2, t3, t4, delay))
    if len(t1) < LEAST_EDGES:
        raise NotEnoughEvidence(f"{len(t1)} usable time exchanges; a line needs 3")
    window = max(1, min(WINDOW_EXCHANGES, len(t1) // LEAST_EDGES))
    groups = np.array_split(np.arange(len(t1)), max(len(t1) // window, LEAST_EDGES))
    best = np.array([group[delay[group].argmin()] for group in groups if len(group)])
    t_other = t2[best] + (t3[best] - t2[best]) // 2
    t_node = t1[best] + (t4[best] - t1[best]) // 2
    sigma: NDArray[np.floating] = np.maximum(delay[best] / 4.0, 1.0)
    line = fit_edges(t_node, t_other, sigma)
    asymmetry = np.diag([float(delay[best].min() / 4.0) ** 2, 0.0])
    return EdgeLine(
        t_ns=line.t_ns,
        offset_ns=line.offset_ns,
        skew_ppm=line.skew_ppm,
        covariance=line.covariance + asymmetry,
        num_rejected=line.num_rejected + int((~usable).sum()),
    )

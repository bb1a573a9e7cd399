"""The clock of a hardware timestamp engine (Jetson), which no program can read.

Its stamps are exact against one another, but what they are against the node's clock shows only in
the arrival of the edges: arrival − stamp is the clocks' difference plus how late the program woke,
so the least of many is nearest. It stays late by the least wake-up there was; the bias says so.
Written from the kernel's documentation (driver-api/hte); not tried on a Jetson.
"""

from collections import deque

from coeval.time import NodeNs

KEPT = 256
"""Arrivals of which the least counts; the engine runs on the counter that the node's clock runs
on, so old ones stay valid."""
WAKE_BIAS_NS = 100_000.0
"""The least wake-up of a program that waits for an edge, at most, on a machine that idles."""


class HteClock:
    """Puts the stamps of one line on the node's clock."""

    def __init__(self) -> None:
        self._late_ns: deque[int] = deque(maxlen=KEPT)

    def to_node(self, stamp_ns: int, *, arrival_node_ns: NodeNs) -> NodeNs:
        """A stamp on the node's clock, by the least delay of the last arrivals."""
        self._late_ns.append(arrival_node_ns - stamp_ns)
        return NodeNs(stamp_ns + min(self._late_ns))

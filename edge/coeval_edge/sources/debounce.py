"""Takes the bounces out of a line's edges, and keeps the time of the first one.

The kernel can debounce too, but then stamps the edge when its debounce timer has run out
(gpiolib-cdev's `debounce_work_func`): late by the period and a work queue. So the raw edges are
asked for, and judged here. Pure: time comes with the edges.
"""

from dataclasses import dataclass, replace

from coeval.time import NodeNs


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEdge:
    """One change of a line's level."""

    t_node_ns: NodeNs
    """When."""
    is_rising: bool
    """To the active level."""
    error_ns: float
    """How far the stamp may be wrong."""


class Debouncer:
    """Holds an edge until its line has been still for the period; a period of 0 lets all pass."""

    def __init__(self, period_ns: int) -> None:
        self.num_bounces = 0
        """Edges not told of, since another had begun the change, or nothing changed in the end."""
        self._period_ns = period_ns
        self._level: bool | None = None
        self._first: RawEdge | None = None
        self._last: RawEdge | None = None

    def push(self, edge: RawEdge) -> list[RawEdge]:
        """Take a raw edge; returns the one that is settled by its coming so late."""
        if self._period_ns == 0:
            return [edge]
        settled = self.settle(edge.t_node_ns)
        if self._first is None:
            self._first = edge
        else:
            self.num_bounces += 1
        self._last = edge
        return settled

    def settle(self, now_node_ns: NodeNs) -> list[RawEdge]:
        """The edge after which the line has been still for the period until now; none or one.

        Call it only when every edge up to now was pushed.
        """
        first, last = self._first, self._last
        if first is None or last is None or now_node_ns - last.t_node_ns < self._period_ns:
            return []
        self._first = self._last = None
        before = not first.is_rising if self._level is None else self._level
        self._level = last.is_rising
        if last.is_rising == before:  # a glitch: the line is where it was
            self.num_bounces += 1
            return []
        # The kernel reads a level after the interrupt: of a burst, only the last is sure.
        return [replace(first, is_rising=last.is_rising)]

    @property
    def settles_at_ns(self) -> NodeNs | None:
        """When the edge that is held will be settled; None while none is."""
        if self._last is None:
            return None
        return NodeNs(self._last.t_node_ns + self._period_ns)

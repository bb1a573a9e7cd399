"""Pulses that both the node and a probe stamp: they put the probe's counter on the node's clock.

In: the kernel's stamps of a PPS line, from the thread that reads it, and the ticks at which a probe
saw the same pulses. Out: any tick on the node's clock, to some microseconds, where arrivals over a
serial line leave some hundred.
"""

import math
import threading
from collections import deque

import numpy as np

from coeval.errors import NotEnoughEvidence
from coeval.hardware import EdgeLine, fit_edges
from coeval.time import NS_PER_S, NodeNs

KEPT_STAMPS = 32
NEAR_NS = 100_000_000
"""A pulse's time by arrivals is within this of its kernel stamp; the next is a second away."""
KEPT_PAIRS = 16
"""Pulses that the line is drawn through: long enough for the scatter, short enough for crystals."""
LEAST_PAIRS = 4
CARRIED_NS = 5 * NS_PER_S
"""So long after the last pulse the line still places ticks: 10 ppb of wander is 0.05 µs then."""
STAMP_SIGMA_NS = 2_000.0
"""Of one kernel stamp, before the stamps themselves tell."""


class PulseStamps:
    """A line's good pulses on the node's clock; pushed by one thread, asked by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamps: deque[int] = deque(maxlen=KEPT_STAMPS)

    def push(self, t_node_ns: NodeNs) -> None:
        """A good pulse."""
        with self._lock:
            self._stamps.append(t_node_ns)

    def near(self, t_node_ns: NodeNs) -> int | None:
        """The stamp of the pulse that was about then; None: there is none, or not yet."""
        with self._lock:
            stamp = min(self._stamps, key=lambda each: abs(each - t_node_ns), default=None)
        return stamp if stamp is not None and abs(stamp - t_node_ns) <= NEAR_NS else None


class PulseLine:
    """The probe's counter on the node's clock, by the pulses that both saw."""

    def __init__(self, tick_hz: int) -> None:
        self._tick_ns = NS_PER_S / tick_hz
        self._pairs: deque[tuple[int, int]] = deque(maxlen=KEPT_PAIRS)
        self._line: EdgeLine | None = None

    def push(self, tick: int, t_node_ns: int) -> None:
        """A pulse: the probe's tick and the kernel's stamp of it."""
        self._pairs.append((tick, t_node_ns))
        if len(self._pairs) < LEAST_PAIRS:
            return
        ticks, stamps = np.array(self._pairs, np.int64).T
        counter_ns = np.round(ticks * self._tick_ns).astype(np.int64)
        sigma_ns = np.full(len(stamps), STAMP_SIGMA_NS)
        try:
            self._line = fit_edges(stamps, counter_ns, sigma_ns)
        except NotEnoughEvidence:
            self._line = None

    def covers(self, tick: int) -> bool:
        """Whether the line places a tick."""
        if self._line is None:
            return False
        return abs(tick - self._pairs[-1][0]) * self._tick_ns <= CARRIED_NS

    def t_ns(self, tick: int) -> NodeNs:
        """When the counter was at a tick that the line covers."""
        line, counter_ns = self._of(tick)
        return NodeNs(
            counter_ns + line.offset_ns + round(line.skew_ppm * 1e-6 * (counter_ns - line.t_ns))
        )

    def sigma_ns(self, tick: int) -> float:
        """Standard deviation of that, beside what all stamps of the line share."""
        line, counter_ns = self._of(tick)
        arm = np.array([1.0, (counter_ns - line.t_ns) * 1e-6])
        return math.sqrt(float(arm @ line.covariance @ arm))

    def _of(self, tick: int) -> tuple[EdgeLine, int]:
        if self._line is None:
            raise ValueError("no line yet")
        return self._line, round(tick * self._tick_ns)

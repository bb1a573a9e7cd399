"""What others do with the same two-way exchanges: three estimators reimplemented from their papers
and documentation, each labelled so.

Every one takes the exchanges in order and answers at any time with the offset of the node against
the other end, in ns; positive: the node is fast. None states an interval.
"""

from collections import deque
from typing import Protocol

import numpy as np

from coeval.network import Exchange


class Estimator(Protocol):
    """Follows a clock by exchanges."""

    def push(self, exchange: Exchange) -> None:
        """Take in an exchange."""

    def at(self, t_node_ns: int) -> float | None:
        """Offset at an instant of the node's clock; None: nothing is known yet."""


class ClockFilter:
    """NTP's clock filter (RFC 5905, section 10): of the last eight exchanges the quickest."""

    NUM = 8

    def __init__(self) -> None:
        self._last: deque[Exchange] = deque(maxlen=self.NUM)

    def push(self, exchange: Exchange) -> None:
        """Take in an exchange."""
        self._last.append(exchange)

    def at(self, t_node_ns: int) -> float | None:
        """Offset of the quickest."""
        del t_node_ns
        if not self._last:
            return None
        return float(min(self._last, key=lambda each: each.delay_ns).offset_ns)


class LowestRoundTrip:
    """LSL's (liblsl, time_receiver): of a burst of eight exchanges the quickest; then, as pyxdf
    does with the stream of those, a robust straight line (Huber weights) over all so far."""

    BURST = 8

    def __init__(self) -> None:
        self._burst: list[Exchange] = []
        self._points: list[tuple[int, int]] = []

    def push(self, exchange: Exchange) -> None:
        """Take in an exchange."""
        self._burst.append(exchange)
        if len(self._burst) == self.BURST:
            best = min(self._burst, key=lambda each: each.delay_ns)
            self._points.append((best.t_node_ns, best.offset_ns))
            self._burst.clear()

    def at(self, t_node_ns: int) -> float | None:
        """Offset on the line."""
        if not self._points:
            return None
        t0, base = self._points[0]
        t = np.array([(t - t0) * 1e-9 for t, _ in self._points])
        y = np.array([float(offset - base) for _, offset in self._points])
        if len(t) < 3:
            return base + float(y[-1])
        weights = np.ones(len(t))
        line = np.zeros(2)
        for _ in range(10):
            line = np.polyfit(t, y, 1, w=np.sqrt(weights))
            miss = np.abs(y - np.polyval(line, t))
            scale = 1.4826 * float(np.median(miss)) + 1.0
            weights = np.minimum(1.0, 1.345 * scale / np.maximum(miss, 1e-9))
        return base + float(np.polyval(line, (t_node_ns - t0) * 1e-9))


class RunsRegression:
    """chrony's class (sourcestats.c, as its documentation describes it): a straight line through
    the latest exchanges, weighted by their delays above the least one; the oldest are thrown out
    while the residuals' signs form fewer runs than chance would make."""

    MOST, LEAST = 64, 3
    FEWEST_RUNS = 0.35
    """Share of sign changes below which the line is taken to be bent."""

    def __init__(self) -> None:
        self._last: deque[Exchange] = deque(maxlen=self.MOST)

    def push(self, exchange: Exchange) -> None:
        """Take in an exchange."""
        self._last.append(exchange)

    def at(self, t_node_ns: int) -> float | None:
        """Offset on the line."""
        kept = list(self._last)
        if not kept:
            return None
        if len(kept) < self.LEAST:
            return float(kept[-1].offset_ns)
        base, t0 = kept[0].offset_ns, kept[0].t_node_ns
        t = np.array([(each.t_node_ns - t0) * 1e-9 for each in kept])
        y = np.array([float(each.offset_ns - base) for each in kept])
        delay = np.array([float(each.delay_ns) for each in kept])
        excess = delay - delay.min()
        sigma = delay.min() / 20.0 + excess / 2.0
        while True:
            line = np.polyfit(t, y, 1, w=1.0 / sigma)
            signs = np.sign(y - np.polyval(line, t))
            runs = 1 + int((signs[1:] != signs[:-1]).sum())
            if len(t) <= 2 * self.LEAST or runs >= self.FEWEST_RUNS * len(t):
                return base + float(np.polyval(line, (t_node_ns - t0) * 1e-9))
            t, y, sigma = t[1:], y[1:], sigma[1:]


BASELINES: dict[str, type[Estimator]] = {
    "clock filter (RFC 5905)": ClockFilter,
    "lowest RTT + line (LSL, pyxdf)": LowestRoundTrip,
    "regression + runs (chrony's class)": RunsRegression,
}

"""What others do with the same two-way exchanges: three estimators reimplemented from what their
authors published, each labelled so, with what was left out.

Every one takes the exchanges in order and answers at any time with the offset of the node against
the other end, in ns; positive: the node is fast. None states an interval. None of them can see how
a path's least delay divides between there and back, and neither can ours: on a path where that
decides, all of them err alike.
"""

import math
from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from coeval.network import Exchange

FloatArray = NDArray[np.float64]


class Estimator(Protocol):
    """Follows a clock by exchanges."""

    def push(self, exchange: Exchange) -> None:
        """Take in an exchange."""

    def at(self, t_node_ns: int) -> float | None:
        """Offset at an instant of the node's clock; None: nothing is known yet."""


class ClockFilter:
    """NTP's clock filter (RFC 5905, section 10): of the last eight exchanges the quickest.

    Left out: the discipline of section 11.3. The node's clock runs free here, so the answer is as
    old as the exchange chosen, and errs by what the clock gained since (10 ppm: 10 µs a second).
    """

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
    """LSL's (liblsl, `time_receiver`): of a burst of eight exchanges the quickest; then, as pyxdf
    does with those of a whole recording, a straight line of least Huber loss over all so far.

    Different here: liblsl sends its eight within half a second, every two seconds; the exchanges
    it is given are one a second, for all methods the same, so it has a quarter of what it would
    ask for.
    """

    BURST = 8
    HUBER_NS = 1e5
    """Residuals beyond this count by their size, not its square (pyxdf's `winsor_threshold`)."""
    STEPS = 30
    """Of reweighted least squares, which end where pyxdf's ADMM does."""

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
        for _ in range(self.STEPS):
            level, slope = fit_line(t, y, weights)
            miss = np.abs(y - level - slope * t)
            weights = np.minimum(1.0, self.HUBER_NS / np.maximum(miss, 1.0))
        return base + level + slope * (t_node_ns - t0) * 1e-9


class RunsRegression:
    """chrony's class (`sourcestats.c`, `regress.c`): a straight line through the latest exchanges,
    weighted by their delays above the least one; the oldest are dropped for good while the signs
    of the residuals form fewer runs than chance would make, and twice as many as the line is
    drawn through are asked for that.

    Left out: the correction of asymmetric jitter, the tests that refuse an exchange for its delay,
    and the polling that adapts to all this.
    """

    MOST, LEAST = 64, 6
    RUNS_RATIO = 2
    SD_TO_DISTANCE = 0.7
    PRECISION_NS = 100.0
    """What reading the clock takes."""

    def __init__(self) -> None:
        self._kept: list[Exchange] = []
        self._dropped: list[Exchange] = []
        """Older ones, the last of them next to the kept; only their signs are asked for."""
        self._line: tuple[int, int, float, float] | None = None

    def push(self, exchange: Exchange) -> None:
        """Take in an exchange, and drop those that bend the line."""
        self._kept.append(exchange)
        if len(self._kept) > self.MOST:
            self._drop(1)
        if len(self._kept) < 3:
            return
        t0, base = exchange.t_node_ns, exchange.offset_ns
        every = [*self._dropped, *self._kept]
        num_dropped = len(self._dropped)
        t = np.array([(each.t_node_ns - t0) * 1e-9 for each in every])
        y = np.array([float(each.offset_ns - base) for each in every])
        weights = self.weights(np.array([each.delay_ns for each in self._kept], np.float64))
        for start in range(len(self._kept)):
            num = len(self._kept) - start
            fitted = slice(num_dropped + start, None)
            level, slope = fit_line(t[fitted], y[fitted], weights[start:])
            asked = min(num * self.RUNS_RATIO, num + num_dropped)
            runs = count_runs((y - level - slope * t)[-asked:])
            if num <= self.LEAST or runs > critical_runs(asked):
                break
        self._line = (t0, base, level, slope)
        self._drop(start)

    def at(self, t_node_ns: int) -> float | None:
        """Offset on the line."""
        if self._line is None:
            return float(self._kept[-1].offset_ns) if self._kept else None
        t0, base, level, slope = self._line
        return base + level + slope * (t_node_ns - t0) * 1e-9

    def weights(self, delay_ns: FloatArray) -> FloatArray:
        """1/variance of each exchange in units of the quickest one's, shape as `delay_ns`."""
        distance = 0.5 * delay_ns
        least = float(distance.min())
        sd = (float(np.median(distance)) - least) / self.SD_TO_DISTANCE
        sd = min(max(sd, self.PRECISION_NS), max(least, self.PRECISION_NS))
        above = np.maximum(distance - least - self.PRECISION_NS, 0.0)
        weights: FloatArray = (1.0 + above / sd) ** -2.0
        return weights

    def _drop(self, num: int) -> None:
        """Take the oldest out of the line, and remember as many as the runs are counted over."""
        self._dropped += self._kept[:num]
        del self._kept[:num]
        most = (self.RUNS_RATIO - 1) * len(self._kept)
        del self._dropped[: max(len(self._dropped) - most, 0)]


def fit_line(t_s: FloatArray, y_ns: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Level at 0 (ns) and slope (ns/s) of the weighted least squares line, shapes (n,).

    A line through one instant is level.
    """
    total = float(weights.sum())
    t_mean, y_mean = float(weights @ t_s) / total, float(weights @ y_ns) / total
    since = t_s - t_mean
    spread = float(weights @ since**2)
    slope = float(weights @ (since * (y_ns - y_mean))) / spread if spread > 0 else 0.0
    return y_mean - slope * t_mean, slope


def count_runs(residuals: FloatArray) -> int:
    """Stretches of residuals of one sign; a zero is a stretch of its own."""
    signs = np.sign(residuals)
    is_same = (signs[1:] == signs[:-1]) & (signs[1:] != 0)
    return 1 + int((~is_same).sum())


def critical_runs(num: int) -> int:
    """As many runs, or fewer, 10% of lines through `num` points of mere noise have; 0 below 8.

    The normal quantile of 1 + Binomial(n − 1, ½), half a run more for the fit; within one of
    chrony's table from 8 to 64.
    """
    return 0 if num < 8 else math.floor(num / 2 + 1 - 1.2816 * math.sqrt(num - 1) / 2)


BASELINES: dict[str, type[Estimator]] = {
    "clock filter (RFC 5905)": ClockFilter,
    "lowest RTT + line (LSL, pyxdf)": LowestRoundTrip,
    "regression + runs (chrony's class)": RunsRegression,
}

"""When each sample of a sound was: a line through the stamps of blocks, drawn as they come.

A block's stamp carries the jitter of interrupts and buffers; the samples themselves come as evenly
as the converter's oscillator. So the sample counter is the time, and the stamps only say where it
started and how fast it runs: a Kalman filter of two states, the line's height and slope, whose
slope may wander as oscillators do. In: sample numbers and stamps. Out: a time for every sample.

The mean lateness of the stamps is no jitter, and stays in the times: it is the source's latency.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass

from coeval.time import NS_PER_S, NodeNs

SKEW_SIGMA_PPM = 250.0
"""Of a sound card against its host before anything is measured: cards 451 ppm off were met."""
WANDER_PPM = 0.1
"""Change of the skew in a second, standard deviation; in more, by the root. Generous: a crystal
that warms up changes by some ppm in minutes."""
JITTER_NS = 5e6
"""Of a stamp, before anything is measured."""
JITTER_COUNT = 10.0
"""How many stamps the guess counts for."""
JITTER_MEMORY = 1000.0
"""How many stamps the jitter is the mean of."""
OUTLIER = 3.0
"""Standard deviations beyond which a stamp counts less (Huber)."""
LEAST_BREAK_NS = 2e6
BREAK = 6.0
"""Stamps whose median is further off than this many of its own standard deviations, and than the
least, lie on another line: samples were lost."""
BREAK_WINDOW_NS = 800_000_000
"""Of the median. A machine that is busy for less than a third of it gives late stamps, and then
right ones again; no line broke in two hours of such (2026-11-25, 5 ms of jitter, stalls of up to
150 ms every 5 s)."""
LEAST_STAMPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    """A stamp against the line as it was before it."""

    t_node_ns: NodeNs
    residual_ns: float
    skew: float
    skew_variance: float


class SampleClock:
    """The line of one sound."""

    def __init__(self, rate_hz: float) -> None:
        """Begin without a line.

        Args:
            rate_hz: nominal sample rate.
        """
        self.num_pieces = 0
        """Lines so far: the first, and one more each time that samples were lost."""
        self._rate_hz = rate_hz
        self._skew, self._skew_variance = 0.0, (SKEW_SIGMA_PPM * 1e3) ** 2
        """Rate error of the sample period, ns a second; positive: the card is slow."""
        self._jitter2, self._num = JITTER_NS**2, JITTER_COUNT
        self._has_line = False
        self._sample0, self._t0_ns = 0, 0
        self._at_s = 0.0
        """Nominal seconds from the line's start to the last stamp."""
        self._height, self._height_variance, self._covariance = 0.0, 0.0, 0.0
        """Of the line over the nominal one, at the last stamp, ns."""
        self._recent: deque[_Stamp] = deque()

    @property
    def sigma_ns(self) -> float:
        """Standard deviation of the times around the last stamp; infinite without a stamp."""
        return math.sqrt(self._height_variance) if self._has_line else math.inf

    @property
    def jitter_ns(self) -> float:
        """Standard deviation of one stamp."""
        return math.sqrt(self._jitter2)

    @property
    def skew_ppm(self) -> float:
        """Rate error of the samples' clock against the node's; positive: it is fast."""
        return -self._skew / (1.0 + self._skew * 1e-9) * 1e-3

    def push(self, sample: int, t_node_ns: NodeNs) -> bool:
        """Add a stamp; whether it begins a new line.

        Args:
            sample: number of a sample, not below those pushed before.
            t_node_ns: when it was, by its block's stamp.
        """
        if not self._has_line:
            self._begin(sample, t_node_ns)
            return True
        self._move_to((sample - self._sample0) / self._rate_hz)
        residual_ns = t_node_ns - self._t0_ns - self._at_s * NS_PER_S - self._height
        self._remember(residual_ns, t_node_ns)
        middle_ns = statistics.median(stamp.residual_ns for stamp in self._recent)
        if self._is_broken(middle_ns):
            oldest = self._recent[0]
            self._skew, self._skew_variance = oldest.skew, oldest.skew_variance
            self._begin(sample, t_node_ns)
            return True
        # Around the middle of the last ones: stamps of another line are off, and jitter no more.
        self._learn_jitter(residual_ns - middle_ns)
        spread2 = self._height_variance + self._jitter2
        limit_ns = OUTLIER * math.sqrt(spread2)
        if abs(residual_ns) > limit_ns:
            spread2 *= abs(residual_ns) / limit_ns
        gain, skew_gain = self._height_variance / spread2, self._covariance / spread2
        self._height += gain * residual_ns
        self._skew += skew_gain * residual_ns
        self._skew_variance -= skew_gain * self._covariance
        self._covariance -= gain * self._covariance
        self._height_variance -= gain * self._height_variance
        return False

    def restart(self) -> None:
        """Samples were lost: the next stamp begins a new line. Its slope is what it was."""
        self._has_line = False

    def t_ns(self, sample: int) -> NodeNs:
        """When a sample was or will be, by the line as it is now.

        Raises:
            ValueError: there is no line yet.
        """
        if not self._has_line:
            raise ValueError("no stamp yet")
        since_s = (sample - self._sample0) / self._rate_hz
        over_ns = self._height + self._skew * (since_s - self._at_s)
        return NodeNs(self._t0_ns + round(since_s * NS_PER_S + over_ns))

    def _begin(self, sample: int, t_node_ns: NodeNs) -> None:
        self.num_pieces += 1
        self._has_line = True
        self._sample0, self._t0_ns, self._at_s = sample, t_node_ns, 0.0
        self._height, self._height_variance, self._covariance = 0.0, self._jitter2, 0.0
        self._recent.clear()

    def _move_to(self, at_s: float) -> None:
        """Carry the state to another place on the line."""
        step_s = at_s - self._at_s
        wander = (WANDER_PPM * 1e3) ** 2
        self._height += self._skew * step_s
        self._height_variance += (
            2 * self._covariance * step_s + self._skew_variance * step_s**2 + wander * step_s**3 / 3
        )
        self._covariance += self._skew_variance * step_s + wander * step_s**2 / 2
        self._skew_variance += wander * step_s
        self._at_s = at_s

    def _remember(self, residual_ns: float, t_node_ns: NodeNs) -> None:
        """Keep a stamp for as long as it says whether the line holds."""
        self._recent.append(
            _Stamp(
                t_node_ns=t_node_ns,
                residual_ns=residual_ns,
                skew=self._skew,
                skew_variance=self._skew_variance,
            )
        )
        while t_node_ns - self._recent[0].t_node_ns > BREAK_WINDOW_NS:
            self._recent.popleft()

    def _is_broken(self, middle_ns: float) -> bool:
        """Whether the last stamps lie off the line, by their median."""
        num = len(self._recent)
        span_ns = self._recent[-1].t_node_ns - self._recent[0].t_node_ns
        if num < LEAST_STAMPS or span_ns < BREAK_WINDOW_NS // 2:
            return False
        # A median's variance is π/2 of the mean's.
        spread_ns = math.sqrt(self._height_variance + self._jitter2 * math.pi / 2 / num)
        return abs(middle_ns) > max(LEAST_BREAK_NS, BREAK * spread_ns)

    def _learn_jitter(self, residual_ns: float) -> None:
        """Follow the mean square of the residuals; single ones count as outliers at most."""
        clipped2 = min(residual_ns**2, OUTLIER**2 * self._jitter2)
        self._num = min(self._num + 1.0, JITTER_MEMORY)
        self._jitter2 += (clipped2 - self._jitter2) / self._num

"""A Kalman filter over the clocks that evidence ties together, and over their sources' biases.

States, all against one root clock: offset (ns) and skew (ppb) of every other clock, and the bias
(ns) of every source that has one. Sign: offset = clock − root; positive: the clock is fast.

Offsets may be years, so each clock has an integer base, and only what is left goes through floats.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.oscillators import OscillatorClass
from coeval.time import NS_PER_S

FloatArray = NDArray[np.float64]

BIAS_MEMORY_S = 14_400.0
"""A bias forgets its past within about this time: routes and loads change. Were it shorter, the
mean over some minutes would be believed to be nearer to no bias at all, which a latency that never
changes is not: with half an hour, intervals of PPS held 93.5% of the truth."""

SAME_BIAS = 0.02
"""A source whose stated bias changes by no more than this share of it says what it said before."""
SYMMETRIC_AGAIN = 64
"""Rounding makes a covariance lopsided; after so many measurements it is evened out."""

Row = list[tuple[int, float]]
"""A measurement's coefficients of the states, as (index, coefficient)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """How the states flow with time, kept between changes of which states there are."""

    offsets: NDArray[np.intp]
    """Where the clocks' offsets are."""
    biases: NDArray[np.intp]
    """Where the sources' biases are."""
    bias_variances: FloatArray
    """What each bias spreads by without evidence, ns²."""
    first: FloatArray
    """Covariance gained in dt: dt · first + dt²/2 · second + dt³/3 · third, each (n, n)."""
    second: FloatArray
    third: FloatArray


class ClockFilter:
    """The states of clocks that are tied together."""

    def __init__(self, root: str, oscillator: OscillatorClass, *, t_root_ns: int) -> None:
        """Begin with the root alone.

        Args:
            root: the clock that the others are measured against.
            oscillator: its noise, which shows in all others alike.
            t_root_ns: the root's reading now.
        """
        self.root = root
        self.t_root_ns = t_root_ns
        self.bases: dict[str, int] = {root: 0}
        """Integer part of each clock's offset, ns."""
        self.index: dict[str, int] = {}
        """Where each clock's offset state is; its skew follows."""
        self.bias_index: dict[str, int] = {}
        """Where each source's bias is."""
        self.bias_bases: dict[str, float] = {}
        """What each source's bias strays around, ns: 0 until the source changed its mind."""
        self.mean: FloatArray = np.zeros(0)
        self.covariance: FloatArray = np.zeros((0, 0))
        self._oscillators: dict[str, OscillatorClass] = {root: oscillator}
        self._bias_sigmas: dict[str, float] = {}
        self._bounded: set[str] = set()
        self._flow: Flow | None = None
        self._num_updates = 0

    def __contains__(self, clock: str) -> bool:
        return clock in self.bases

    @property
    def clocks(self) -> list[str]:
        """All clocks, the root first."""
        return list(self.bases)

    def predict(self, t_root_ns: int) -> None:
        """Let time go on to an instant of the root's clock; an earlier one changes nothing."""
        dt_s = (t_root_ns - self.t_root_ns) / NS_PER_S
        if dt_s <= 0:
            return
        self.t_root_ns = t_root_ns
        flow = self._flow
        if flow is None:
            flow = self._flow = self._make_flow()
        x, mean, cov = flow.offsets, self.mean, self.covariance
        mean[x] += dt_s * mean[x + 1]
        cov[x] += dt_s * cov[x + 1]
        cov[:, x] += dt_s * cov[:, x + 1]
        cov += dt_s * flow.first
        cov += dt_s**2 / 2.0 * flow.second
        cov += dt_s**3 / 3.0 * flow.third
        b = flow.biases
        if len(b):
            kept = math.exp(-dt_s / BIAS_MEMORY_S)
            mean[b] *= kept
            cov[b] *= kept
            cov[:, b] *= kept
            cov[b, b] += flow.bias_variances * (1.0 - kept**2)

    def _make_flow(self) -> Flow:
        num = len(self.mean)
        first, second, third = (np.zeros((num, num)) for _ in range(3))
        x = np.fromiter(self.index.values(), np.intp, len(self.index))
        b = np.fromiter(self.bias_index.values(), np.intp, len(self.bias_index))
        root = self._oscillators[self.root]
        own = [self._oscillators[clock] for clock in self.index]
        white = np.diag([each.white_fm_ns**2 for each in own]) + root.white_fm_ns**2
        walk = np.diag([each.walk_fm_ppb**2 for each in own]) + root.walk_fm_ppb**2
        first[np.ix_(x, x)], first[np.ix_(x + 1, x + 1)] = white, walk
        second[np.ix_(x, x + 1)] = second[np.ix_(x + 1, x)] = walk
        third[np.ix_(x, x)] = walk
        sigmas = np.fromiter(self._bias_sigmas.values(), np.float64, len(b))
        return Flow(
            offsets=x,
            biases=b,
            bias_variances=sigmas**2,
            first=first,
            second=second,
            third=third,
        )

    def transition(self, dt_s: float) -> FloatArray:
        """What `predict` multiplies the states by, shape (n, n)."""
        matrix = np.eye(len(self.mean))
        for k in self.index.values():
            matrix[k, k + 1] = dt_s
        for k in self.bias_index.values():
            matrix[k, k] = math.exp(-dt_s / BIAS_MEMORY_S)
        return matrix

    def add_clock(
        self, clock: str, oscillator: OscillatorClass, *, base_ns: int, sigma_ns: float
    ) -> None:
        """Add a clock whose offset is about `base_ns`, give or take `sigma_ns`."""
        root = self._oscillators[self.root]
        skew_variance = oscillator.skew_sigma_ppb**2 + root.skew_sigma_ppb**2
        self.index[clock] = self._grow([0.0, 0.0], np.diag([sigma_ns**2, skew_variance]))
        self.bases[clock] = base_ns
        self._oscillators[clock] = oscillator

    def set_oscillator(self, clock: str, oscillator: OscillatorClass) -> None:
        """Say what kind of clock one of these is."""
        self._oscillators[clock] = oscillator
        self._flow = None

    def add_bias(self, source: str, sigma_ns: float, *, is_bounded: bool = False) -> None:
        """Add a source's bias, or take over what it now states.

        A source that learns that its bias is smaller, as one whose path turns out to be shorter
        than it was at first, tells of all its samples: as if the bias had been measured to be 0
        with just the difference of the two precisions. One that learns that it is larger unlearns.

        Args:
            source: the source.
            sigma_ns: standard deviation of its bias.
            is_bounded: whether that is spread evenly between two bounds, not normally.
        """
        if source not in self.bias_index:
            self.bias_index[source] = self._grow([0.0], np.array([[sigma_ns**2]]))
        else:
            before_ns = self._bias_sigmas[source]
            if abs(sigma_ns - before_ns) <= SAME_BIAS * before_ns:
                return
            k = self.bias_index[source]
            if sigma_ns < before_ns:
                variance = 1.0 / (sigma_ns**-2 - before_ns**-2)
                self.update([(k, 1.0)], -float(self.mean[k]), variance=variance)
            else:
                self.covariance[k, k] += sigma_ns**2 - before_ns**2
        self._bias_sigmas[source] = sigma_ns
        self._flow = None
        if is_bounded:
            self._bounded.add(source)

    def absorb(self, other: "ClockFilter", *, base_ns: int, sigma_ns: float) -> None:
        """Take over all clocks of another filter, whose root is about `base_ns` ahead of ours.

        Args:
            other: a filter that shares no clock with this one, at the same instant.
            base_ns: offset of the other's root against this root.
            sigma_ns: standard deviation of that.
        """
        oscillator = other._oscillators[other.root]
        self.add_clock(other.root, oscillator, base_ns=base_ns, sigma_ns=sigma_ns)
        start = len(self.mean)
        self._grow(list(other.mean), other.covariance)
        root = self.index[other.root]
        for clock, k in other.index.items():
            self.index[clock] = start + k
            self.bases[clock] = base_ns + other.bases[clock]
            self._oscillators[clock] = other._oscillators[clock]
        # Each offset and skew is now that against the other's root plus that root's own.
        x = np.fromiter((start + k for k in other.index.values()), np.intp, len(other.index))
        for i in (0, 1):
            self.covariance[x + i] += self.covariance[root + i]
        for i in (0, 1):
            self.covariance[:, x + i] += self.covariance[:, [root + i]]
        self.bias_bases |= other.bias_bases
        for source, k in other.bias_index.items():
            self.bias_index[source] = start + k
            self._bias_sigmas[source] = other._bias_sigmas[source]
        self._bounded |= other._bounded

    def remove_clock(self, clock: str) -> None:
        """Forget a clock; where it is the root, the next clock takes its place."""
        if clock == self.root:
            self._change_root(next(iter(self.index)))
            return
        k = self.index.pop(clock)
        self._shrink([k, k + 1])
        del self.bases[clock], self._oscillators[clock]
        self.index = {name: at - 2 * (at > k) for name, at in self.index.items()}
        self.bias_index = {name: at - 2 * (at > k) for name, at in self.bias_index.items()}

    def remove_bias(self, source: str) -> None:
        """Forget a source."""
        k = self.bias_index.pop(source)
        self._shrink([k])
        del self._bias_sigmas[source]
        self.bias_bases.pop(source, None)
        self._bounded.discard(source)
        self.index = {name: at - (at > k) for name, at in self.index.items()}
        self.bias_index = {name: at - (at > k) for name, at in self.bias_index.items()}

    def row(self, first: str, second: str, source: str | None, *, late_s: float = 0.0) -> Row:
        """Coefficients of second − first (+ the source's bias), `late_s` before the present."""
        row: Row = []
        for clock, sign in ((second, 1.0), (first, -1.0)):
            if clock != self.root:
                k = self.index[clock]
                row += [(k, sign), (k + 1, -sign * late_s)]
        if source in self.bias_index:
            row.append((self.bias_index[source], 1.0))
        return row

    def expect(self, row: Row) -> tuple[float, float]:
        """Mean and variance that the states give a measurement, its own noise left out."""
        mean = sum(c * self.mean[i] for i, c in row)
        variance = sum(ci * cj * self.covariance[i, j] for i, ci in row for j, cj in row)
        return float(mean), max(float(variance), 0.0)

    def update(self, row: Row, innovation: float, *, variance: float) -> None:
        """Take in a measurement.

        Args:
            row: its coefficients.
            innovation: measured minus expected, ns.
            variance: of the measurement's own noise, ns².
        """
        across = np.zeros(len(self.mean))
        for i, c in row:
            across += c * self.covariance[i]
        total = sum(c * float(across[i]) for i, c in row) + variance
        self.mean += across * (innovation / total)
        across *= 1.0 / math.sqrt(total)
        self.covariance -= np.outer(across, across)
        self._num_updates += 1
        if self._num_updates % SYMMETRIC_AGAIN == 0:
            self.covariance = 0.5 * (self.covariance + self.covariance.T)

    def step(self, clock: str, size_ns: float, *, sigma_ns: float, rate_ppb: float = 0.0) -> None:
        """A clock stepped by about so much: its offset is elsewhere, and its skew is unknown anew.

        Args:
            clock: the clock that stepped.
            size_ns: by about how much.
            sigma_ns: standard deviation of that.
            rate_ppb: how far its rate may have stepped too, beyond its class's spread.

        A step of the root shows as one and the same step of all others.
        """
        whole = round(size_ns)
        moved = list(self.index) if clock == self.root else [clock]
        for name in moved:
            self.bases[name] += -whole if clock == self.root else whole
        states = [self.index[name] for name in moved]
        self.covariance[np.ix_(states, states)] += sigma_ns**2
        skew_sigma_ppb = max(self._oscillators[clock].skew_sigma_ppb, rate_ppb)
        skews = [k + 1 for k in states]
        self.covariance[np.ix_(skews, skews)] += skew_sigma_ppb**2

    def step_bias(self, source: str, size_ns: float, *, sigma_ns: float) -> None:
        """A source's bias is elsewhere: it changed its mind by about so much."""
        self.bias_bases[source] = self.bias_bases.get(source, 0.0) + size_ns
        k = self.bias_index[source]
        self.covariance[k, k] += sigma_ns**2

    def offset(self, clock: str, *, since_s: float = 0.0) -> tuple[float, float]:
        """Offset (ns, without its base) and skew (ppb) of a clock, `since_s` after the present."""
        if clock == self.root:
            return 0.0, 0.0
        k = self.index[clock]
        skew = float(self.mean[k + 1])
        return float(self.mean[k]) + skew * since_s, skew

    def whole_offset(self, clock: str) -> int:
        """Offset of a clock against the root at the present, in whole ns, its base included."""
        return self.bases[clock] + round(self.offset(clock)[0])

    def spread(self, clock: str, *, against: str | None = None, since_s: float = 0.0) -> FloatArray:
        """Covariance (2, 2) of a clock's offset (ns) and skew (ppb), `since_s` from the present.

        Args:
            clock: any clock.
            against: the clock it is compared with; None: the root.
            since_s: seconds after the present; before it where negative.
        """
        other = self.root if against is None else against
        if clock == other:
            return np.zeros((2, 2))
        design = np.zeros((2, len(self.mean)))
        noise = np.zeros((2, 2))
        for name, sign in ((clock, 1.0), (other, -1.0)):
            noise += self._oscillators[name].noise(abs(since_s))
            if name != self.root:
                k = self.index[name]
                design[0, k], design[0, k + 1], design[1, k + 1] = sign, sign * since_s, sign
        spread: FloatArray = design @ self.covariance @ design.T + noise
        np.fill_diagonal(spread, np.maximum(np.diag(spread), 0.0))
        return spread

    def bounded_shares(self, clock: str, *, against: str) -> list[float]:
        """What biases that have bounds make of the variance of a clock's error against another.

        A bias's share is what its correlation with the error says, less as far as evidence has
        told of it: then it is spread no longer evenly between its bounds.
        """
        design = np.zeros(len(self.mean))
        for name, sign in ((clock, 1.0), (against, -1.0)):
            if name != self.root:
                design[self.index[name]] += sign
        across = self.covariance @ design
        variance = float(design @ across)
        shares = []
        for source in self._bounded:
            k = self.bias_index[source]
            own = float(self.covariance[k, k])
            if own > 0 and variance > 0:
                unknown = min(1.0, own / self._bias_sigmas[source] ** 2)
                shares.append(min(float(across[k]) ** 2 / (own * variance), 1.0) * unknown)
        return shares

    def wander(self, first: str, second: str, dt_s: float) -> float:
        """Variance (ns²) of how far two clocks drift apart within `dt_s` beyond their skew."""
        clocks = () if first == second else (first, second)
        return sum(self._oscillators[clock].wander(dt_s) for clock in clocks)

    def copy(self) -> "ClockFilter":
        """An independent filter of the same states."""
        twin = ClockFilter(self.root, self._oscillators[self.root], t_root_ns=self.t_root_ns)
        twin.bases, twin.index = dict(self.bases), dict(self.index)
        twin.bias_index, twin._bias_sigmas = dict(self.bias_index), dict(self._bias_sigmas)
        twin._oscillators, twin.bias_bases = dict(self._oscillators), dict(self.bias_bases)
        twin.mean, twin.covariance = self.mean.copy(), self.covariance.copy()
        twin._bounded, twin._flow = set(self._bounded), self._flow
        twin._num_updates = self._num_updates
        return twin

    def _change_root(self, new: str) -> None:
        """Measure all clocks against another one, and forget the old root."""
        k = self.index.pop(new)
        base_ns = self.bases[new] + round(float(self.mean[k]))
        transform = np.eye(len(self.mean))
        for at in self.index.values():
            transform[at, k], transform[at + 1, k + 1] = -1.0, -1.0
        self.mean = transform @ self.mean
        self.covariance = transform @ self.covariance @ transform.T
        self.t_root_ns += base_ns
        del self.bases[self.root], self._oscillators[self.root]
        own_base = self.bases[new]
        self.bases = {new: 0} | {
            name: base - own_base for name, base in self.bases.items() if name != new
        }
        self.root = new
        self._shrink([k, k + 1])
        self.index = {name: at - 2 * (at > k) for name, at in self.index.items()}
        self.bias_index = {name: at - 2 * (at > k) for name, at in self.bias_index.items()}

    def _grow(self, means: Sequence[float], covariance: FloatArray) -> int:
        """Append states that are independent of the others; where they begin."""
        self._flow = None
        old, new = len(self.mean), len(means)
        grown = np.zeros((old + new, old + new))
        grown[:old, :old] = self.covariance
        grown[old:, old:] = covariance
        self.covariance = grown
        self.mean = np.concatenate([self.mean, np.asarray(means, np.float64)])
        return old

    def _shrink(self, states: list[int]) -> None:
        self._flow = None
        self.mean = np.delete(self.mean, states)
        self.covariance = np.delete(np.delete(self.covariance, states, 0), states, 1)

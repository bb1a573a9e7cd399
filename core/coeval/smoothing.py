"""What later evidence says of earlier times: a fixed-lag smoother over the filter's past states.

The estimate of an instant gets better while evidence after it comes in; what is stored is read
from here. Rauch, Tung and Striebel, AIAA Journal 3 (1965) 1445. Sign: offset = clock − root;
positive: the clock is fast.
"""

import bisect
from collections import deque

import numpy as np

from coeval.clock_filter import ClockFilter, FloatArray
from coeval.time import NS_PER_S

MOST_STATES = 600
"""States kept: ten minutes of a sample a second."""


class Smoother:
    """The past states of one group of clocks, and what they became in hindsight."""

    def __init__(self, *, most_states: int = MOST_STATES) -> None:
        self._states: deque[ClockFilter] = deque(maxlen=most_states)
        self._smoothed: list[tuple[FloatArray, FloatArray]] | None = None

    def record(self, filter_: ClockFilter) -> None:
        """Keep the states after a sample was taken in; call it after every sample.

        States of other clocks than before, or of an earlier instant, begin anew: a clock that
        stepped, came or went has no past that hindsight could better.
        """
        if self._states:
            last = self._states[-1]
            same = (last.index, last.bias_index) == (filter_.index, filter_.bias_index)
            same &= (last.bases, last.bias_bases) == (filter_.bases, filter_.bias_bases)
            if not same or filter_.t_root_ns < last.t_root_ns:
                self._states.clear()
        self._states.append(filter_.copy())
        self._smoothed = None

    def at(
        self, clock: str, t_root_ns: int, *, against: str | None = None
    ) -> tuple[int, float, float, FloatArray] | None:
        """A clock at an instant of the root's clock, by all evidence before and after it.

        Args:
            clock: any clock but the root.
            t_root_ns: the instant.
            against: the clock it is compared with; None: the root.

        Returns:
            The whole part of its offset (ns), the rest (ns), its skew (ppb), and the covariance
            of offset and skew, shape (2, 2); None where the instant lies outside what is kept, or
            the clock is not known.
        """
        if not self._states or clock not in self._states[-1]:
            return None
        other = self._states[-1].root if against is None else against
        if other not in self._states[-1]:
            return None
        times = [state.t_root_ns for state in self._states]
        k = bisect.bisect_right(times, t_root_ns) - 1
        if k < 0:
            return None
        if self._smoothed is None:
            self._smoothed = self._look_back()
        state = self._states[k].copy()
        state.mean, state.covariance = (part.copy() for part in self._smoothed[k])
        since_s = (t_root_ns - state.t_root_ns) / NS_PER_S
        rest_ns, skew_ppb = state.offset(clock, since_s=since_s)
        other_ns, other_ppb = state.offset(other, since_s=since_s)
        return (
            state.bases[clock] - state.bases[other],
            rest_ns - other_ns,
            skew_ppb - other_ppb,
            state.spread(clock, against=other, since_s=since_s),
        )

    def _look_back(self) -> list[tuple[FloatArray, FloatArray]]:
        """Means and covariances of all kept states in hindsight, in time order."""
        states = list(self._states)
        found = [(states[-1].mean, states[-1].covariance)]
        for state, after in zip(states[-2::-1], states[:0:-1], strict=True):
            expected = state.copy()
            expected.predict(after.t_root_ns)
            matrix = state.transition((after.t_root_ns - state.t_root_ns) / NS_PER_S)
            # A perfect clock's states have no spread of their own: the pseudo-inverse leaves them.
            gain = state.covariance @ matrix.T @ np.linalg.pinv(expected.covariance, hermitian=True)
            later_mean, later_covariance = found[-1]
            mean = state.mean + gain @ (later_mean - expected.mean)
            covariance = state.covariance + gain @ (later_covariance - expected.covariance) @ gain.T
            found.append((mean, 0.5 * (covariance + covariance.T)))
        return found[::-1]

"""The clocks of a session in groups: those of one group are tied to one another by evidence.

Each group has a filter of its own (`clock_filter`); a sample about clocks of two groups makes them
one. Sign: offset = clock − reference; positive: the clock is fast.
"""

import math
from collections.abc import Iterator, Mapping

from coeval.clock_filter import ClockFilter
from coeval.evidence import UTC, Evidence
from coeval.oscillators import PERFECT, UNKNOWN, OscillatorClass
from coeval.time import NS_PER_S

LOOSE = 10.0
"""What is new may lie this many standard deviations of its first sample away."""


class ClockGroups:
    """The groups, and what kind of clock each one is."""

    def __init__(
        self,
        *,
        oscillators: Mapping[str, OscillatorClass] | None = None,
        default: OscillatorClass = UNKNOWN,
    ) -> None:
        """Begin without evidence.

        Args:
            oscillators: class of each clock, where known.
            default: class of the others.
        """
        self.oscillators = dict(oscillators or {}) | {UTC: PERFECT}
        """The kinds of the clocks of which it was said."""
        self._default = default
        self._filters: list[ClockFilter] = []

    def __iter__(self) -> Iterator[ClockFilter]:
        return iter(list(self._filters))

    def of(self, clock: str) -> ClockFilter | None:
        """The group of a clock; None: nothing was measured of it."""
        return next((f for f in self._filters if clock in f), None)

    def oscillator(self, clock: str) -> OscillatorClass:
        """What kind of clock one is."""
        return self.oscillators.get(clock, self._default)

    def set_oscillator(self, clock: str, oscillator: OscillatorClass) -> None:
        """Say what kind of clock one is."""
        self.oscillators[clock] = oscillator
        filter_ = self.of(clock)
        if filter_ is not None:
            filter_.set_oscillator(clock, oscillator)

    def replace(self, before: ClockFilter, after: ClockFilter) -> None:
        """Put other states of a group in place of those that were thought to be."""
        self._filters[self._filters.index(before)] = after

    def remove_if_empty(self, group: ClockFilter) -> None:
        """Drop a group that has no clock left."""
        if not group.index:
            self._filters.remove(group)

    def tie(self, evidence: Evidence, *, reference: str) -> ClockFilter:
        """The group of both clocks, made or joined where there is none yet.

        Args:
            evidence: a measurement of the difference of the two.
            reference: the group that holds it keeps its root.
        """
        first, second = self.of(evidence.first), self.of(evidence.second)
        t_first_ns = evidence.t_second_ns - evidence.offset_ns
        if first is None:
            first = self._make(evidence.first, t_root_ns=t_first_ns)
        if second is None:
            second = self._make(evidence.second, t_root_ns=evidence.t_second_ns)
        if first is second:
            return first
        # The group that holds the reference keeps its root; else the one of more clocks.
        swap = reference in second or (
            reference not in first and len(second.clocks) > len(first.clocks)
        )
        kept, gone = (second, first) if swap else (first, second)
        near, far = (evidence.second, evidence.first) if swap else (evidence.first, evidence.second)
        measured_ns = -evidence.offset_ns if swap else evidence.offset_ns
        t_kept_ns = t_first_ns + (evidence.offset_ns if swap else 0) - kept.whole_offset(near)
        t_gone_ns = t_first_ns + (0 if swap else evidence.offset_ns) - gone.whole_offset(far)
        # Either group may have heard of a later instant: both go on to the later of the two.
        late_ns = max(kept.t_root_ns - t_kept_ns, gone.t_root_ns - t_gone_ns, 0)
        kept.predict(t_kept_ns + late_ns)
        gone.predict(t_gone_ns + late_ns)
        base_ns = kept.whole_offset(near) + measured_ns - gone.whole_offset(far)
        known = kept.spread(near)[0, 0] + gone.spread(far)[0, 0]
        for clock in (evidence.first, evidence.second):
            kind, late_s = self.oscillator(clock), late_ns / NS_PER_S
            known += (kind.skew_sigma_ppb * late_s) ** 2 + kind.wander(late_s)
        sigma = LOOSE * math.sqrt(evidence.sigma_ns**2 + evidence.bias_sigma_ns**2 + known)
        kept.absorb(gone, base_ns=base_ns, sigma_ns=sigma)
        self._filters.remove(gone)
        return kept

    def _make(self, clock: str, *, t_root_ns: int) -> ClockFilter:
        made = ClockFilter(clock, self.oscillator(clock), t_root_ns=t_root_ns)
        self._filters.append(made)
        return made

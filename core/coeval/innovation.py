"""A sample against what the states of its clocks make expect: the innovation, in a filter's words.

Sign: offset = second − first; positive: the second clock is fast.
"""

import math
from dataclasses import dataclass

from coeval.clock_filter import ClockFilter, Row
from coeval.evidence import Evidence
from coeval.time import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Innovation:
    """What a sample says that was not expected."""

    row: Row
    """The sample's coefficients in the states."""
    miss_ns: float
    """Measured minus expected."""
    spread_ns2: float
    """Variance that the states leave in that."""
    noise_ns2: float
    """The sample's own variance."""

    @property
    def variance_ns2(self) -> float:
        """Variance that is to be expected of the miss."""
        return self.spread_ns2 + self.noise_ns2

    @property
    def sigmas(self) -> float:
        """How far the miss is from nothing, in its standard deviations."""
        return abs(self.miss_ns) / math.sqrt(self.variance_ns2)


def innovation(filter_: ClockFilter, evidence: Evidence, *, scale: float) -> Innovation:
    """Hold a sample against the states.

    Args:
        filter_: the states of both clocks.
        evidence: the sample.
        scale: how much more its source scatters than it claims.
    """
    late_s = max(0.0, (filter_.t_root_ns - root_time(filter_, evidence)) / NS_PER_S)
    row = filter_.row(evidence.first, evidence.second, evidence.source, late_s=late_s)
    expected_ns, spread_ns2 = filter_.expect(row)
    bases_ns = filter_.bases[evidence.second] - filter_.bases[evidence.first]
    expected_ns += filter_.bias_bases.get(evidence.source, 0.0)
    noise_ns2 = (scale * evidence.sigma_ns) ** 2
    noise_ns2 += filter_.wander(evidence.first, evidence.second, late_s)
    return Innovation(
        row=row,
        miss_ns=float(evidence.offset_ns - bases_ns) - expected_ns,
        spread_ns2=spread_ns2,
        noise_ns2=noise_ns2,
    )


def root_time(filter_: ClockFilter, evidence: Evidence) -> int:
    """Instant of a sample on the clock of the filter's root."""
    return evidence.t_second_ns - filter_.whole_offset(evidence.second)


def is_usable(evidence: Evidence) -> bool:
    """Whether a sample's numbers can be numbers of a measurement."""
    return (
        evidence.first != evidence.second
        and 0 < evidence.sigma_ns < math.inf
        and 0 <= evidence.bias_sigma_ns < math.inf
    )

"""What evidence shows of clocks and sources apart from the estimate: steps, leap seconds, liars.

Sign: offset = clock − reference; positive: the clock is fast.
"""

from dataclasses import dataclass
from typing import Literal

from coeval.evidence import UTC, Evidence
from coeval.time import NS_PER_S

LEAP_TOLERANCE_NS = 1e6
LEAP_AROUND_S = 60
"""A step of UTC by one second within this of its midnight is a leap second."""
DAY_S = 86_400

FindingKind = Literal[
    "jump", "no_jump", "leap_second", "source_stepped", "source_distrusted", "source_wide"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that evidence showed apart from the estimate."""

    kind: FindingKind
    """jump: a clock stepped; no_jump: one told before was none; leap_second: UTC stepped, no clock
    did; source_…: about a source."""
    clock: str
    """The clock."""
    source: str
    """The source that showed it, or that it is about."""
    t_second_ns: int
    """Reading of the second clock of the first sample that showed it."""
    size_ns: float | None = None
    """Size of the step; None for `source_wide`."""
    scale: float | None = None
    """`source_wide`: real over claimed scatter."""


def finding(
    kind: FindingKind,
    evidence: Evidence,
    *,
    clock: str | None = None,
    size_ns: float | None = None,
    scale: float | None = None,
) -> Finding:
    """A finding that a sample showed."""
    return Finding(
        kind=kind,
        clock=evidence.second if clock is None else clock,
        source=evidence.source,
        t_second_ns=evidence.t_second_ns,
        size_ns=size_ns,
        scale=scale,
    )


def is_leap_second(evidence: Evidence, size_ns: float) -> bool:
    """Whether a step of a clock against UTC is one of UTC: by one second, at its midnight."""
    if evidence.first != UTC or abs(abs(size_ns) - NS_PER_S) > LEAP_TOLERANCE_NS:
        return False
    second = (evidence.t_second_ns - evidence.offset_ns) // NS_PER_S % DAY_S
    return min(second, DAY_S - second) <= LEAP_AROUND_S

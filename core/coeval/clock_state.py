"""What is known of a clock at an instant.

Sign: offset = clock − reference; positive: the clock is fast.
"""

from dataclasses import dataclass

from coeval.clock_filter import FloatArray
from coeval.evidence import EvidenceKind
from coeval.time import NS_PER_S

LARGEST_CI95_NS = 0.5 * NS_PER_S
"""A clock known no better is not locked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockState:
    """What is known of a clock at an instant."""

    offset_ns: int
    """clock − reference; positive: fast."""
    skew_ppb: float
    """Same sign."""
    ci95_ns: float
    """Half-width of the offset's 95% interval."""
    skew_ci95_ppb: float
    """Half-width of the skew's."""
    covariance: FloatArray
    """Of offset (ns) and skew (ppb), shape (2, 2), a doubted jump included."""
    kinds: tuple[EvidenceKind, ...]
    """Kinds of evidence of the last minute."""
    holdover_s: float
    """Time since the last evidence about this clock."""

    @property
    def is_locked(self) -> bool:
        """Whether it is known well enough to be used."""
        return self.ci95_ns <= LARGEST_CI95_NS

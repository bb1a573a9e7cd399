"""What is learnt of a source of evidence: how much it scatters, and whether it tells the truth."""

import math
from dataclasses import dataclass, field

from coeval.evidence import Evidence

SCALE_SAMPLES = 32
"""A source's scatter is judged anew after so many samples."""
ONE_SIGMA_SHARE = 0.6827
LEAST_STEP = 0.7
"""A source that scatters less again is believed more again, but slowly."""
LARGEST_SCALE = 1e3
STEPS_OF_LIAR = 3
"""A source that changed its mind so often is no longer listened to …"""
FORGIVEN_S = 600.0
"""… for so long after the last time."""


@dataclass(slots=True)
class SourceTrust:
    """One source."""

    clocks: frozenset[str]
    """The clocks that it compares."""
    scale: float = 1.0
    """Real over claimed scatter, at least 1."""
    held: list[tuple[Evidence, float]] = field(default_factory=list)
    """Latest samples in a row that disagreed, and by how much (ns)."""
    accepted_ns: float = -math.inf
    """Instant of its last sample that was taken in, on the root's clock."""
    sigma_ns: float = math.inf
    """Standard deviation of that sample, what its source shares included."""
    steps: int = 0
    """How often it changed its mind."""
    stepped_ns: float = -math.inf
    """When it last did, on the root's clock."""
    _misses: list[float] = field(default_factory=list)

    def note(self, sigmas: float) -> None:
        """Learn from how far a sample fell from what was expected, in standard deviations.

        The share within one sigma decides, so that few outliers and steps do not count.
        """
        self._misses.append(sigmas)
        if len(self._misses) < SCALE_SAMPLES:
            return
        one_sigma = sorted(self._misses)[int(ONE_SIGMA_SHARE * SCALE_SAMPLES)]
        self._misses.clear()
        self.scale = min(max(1.0, self.scale * max(one_sigma, LEAST_STEP)), LARGEST_SCALE)

    def step(self, t_root_ns: int) -> None:
        """Note that it changed its mind."""
        self.steps += 1
        self.stepped_ns = t_root_ns
        self.held.clear()

    def is_distrusted(self, t_root_ns: float) -> bool:
        """Whether it changed its mind too often to be listened to."""
        return self.steps >= STEPS_OF_LIAR and t_root_ns - self.stepped_ns < FORGIVEN_S * 1e9

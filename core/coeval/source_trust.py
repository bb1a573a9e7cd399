"""What is learnt of a source of evidence: how much it scatters, and whether it tells the truth."""

import math
from collections import deque
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
RECENT_SAMPLES = 5
"""A step is looked for in so many of the latest samples together."""
STEP_NATS = 9.5
"""Two or more samples have seen a step if a step makes them likelier by this much: 4.4 standard
deviations. Noise alone makes it so once in 10⁵ samples, once in ten days of a content window every
ten seconds."""
STRAY_DENSITY = 1e-5
"""Any sample may be a stray, anywhere, with this density per standard deviation: 3% of content's
windows match something else within ±20 s. So one that is far off says less than it seems to."""
ODD_SIGMAS = 3.0
"""None of them may be farther than this from what they say together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenStep:
    """What the latest samples of a source say together about a step before them."""

    num: int
    """How many samples."""
    size_ns: float
    """How far they are off."""
    sigma_ns: float
    """Standard deviation of that."""
    nats: float
    """Logarithm of how much likelier a step makes them, strays allowed for."""

    @property
    def sigmas(self) -> float:
        """How far that is from nothing."""
        return abs(self.size_ns) / self.sigma_ns


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
    recent: deque[tuple[Evidence, float, float]] = field(
        default_factory=lambda: deque(maxlen=RECENT_SAMPLES)
    )
    """Latest samples, taken in or held back: by how much they were off (ns), and the variance
    (ns²) that was to be expected of that."""
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

    def seen_step(self, *, least_ns: float, least_num: int = 2) -> SeenStep | None:
        """The step that the latest samples show most clearly, if they agree on one.

        What a filter did not expect of one sample has nothing to do with what it did not expect
        of the next, so that misses of the same sign add up to a step's likelihood ratio.

        Args:
            least_ns: a step of no more than this is none.
            least_num: so many samples at least; with 1, a single one that is off is enough.
        """
        if max((abs(miss_ns) for _, miss_ns, _ in self.recent), default=0.0) <= least_ns:
            return None  # nearly always, and cheap
        best: SeenStep | None = None
        latest = [(miss_ns, variance) for _, miss_ns, variance in reversed(self.recent)]
        for num in range(least_num, len(latest) + 1):
            weight = sum(1.0 / variance for _, variance in latest[:num])
            size_ns = sum(miss_ns / variance for miss_ns, variance in latest[:num]) / weight
            sigmas = [(miss_ns, size_ns, variance**-0.5) for miss_ns, variance in latest[:num]]
            if max(abs(miss - size) * per for miss, size, per in sigmas) > ODD_SIGMAS:
                continue
            nats = sum(
                math.log(density((miss - size) * per) / density(miss * per))
                for miss, size, per in sigmas
            )
            if abs(size_ns) > least_ns and (best is None or nats > best.nats):
                best = SeenStep(num=num, size_ns=size_ns, sigma_ns=weight**-0.5, nats=nats)
        return best

    def step(self, t_root_ns: int) -> None:
        """Note that it changed its mind."""
        self.steps += 1
        self.stepped_ns = t_root_ns
        self.held.clear()
        self.recent.clear()

    def is_distrusted(self, t_root_ns: float) -> bool:
        """Whether it changed its mind too often to be listened to."""
        return self.steps >= STEPS_OF_LIAR and t_root_ns - self.stepped_ns < FORGIVEN_S * 1e9


def density(sigmas: float) -> float:
    """Density of a sample so many standard deviations off, normal or a stray."""
    return math.exp(-0.5 * sigmas**2) / math.sqrt(2.0 * math.pi) + STRAY_DENSITY

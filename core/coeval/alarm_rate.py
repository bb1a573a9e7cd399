"""How often calm material would raise an alarm at a score: what makes a threshold honest.

Split-conformal: the scores come from calm sessions that nothing was trained on, and an alarm is a
spell (exceedances less than QUIET_S apart count once). Of n calm blocks the largest peak is passed
by a new one with a chance of at most 1/(n + 1): rates down to that are guaranteed under
exchangeability. Rarer ones are an extrapolation of the spells' peaks by a generalised Pareto tail
whose shape is never taken as bounded (ξ ≥ 0).

What is counted, and judged, is what a score has been for a second at least: calm has short peaks.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coeval.errors import NotEnoughEvidence
from coeval.samples import FloatArray

TICKS_PER_S = 4
QUIET_S = 10.0
"""Exceedances closer than this are one alarm."""
LASTING_TICKS = 4
"""A score counts as high as it has been for so long (1 s): a fault lasts."""
TAIL_SPELLS = 40
"""Spells whose peaks the tail is fitted to."""
QUANTILES = (0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
LEAST_SPELLS = 8
LEAST_HOURS = 0.2
S_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRate:
    """Alarms a day that a stream of calm material raises at a score."""

    scores: tuple[float, ...]
    """Rising scores, the last one where the tail begins."""
    per_day: tuple[float, ...]
    """Alarms a day above each: counted at the last, by the share of ticks above below it."""
    scale: float
    """Scale σ of the tail above the last score."""
    shape: float
    """Its shape ξ ≥ 0; 0: exponential."""
    calm_hours: float
    """Hours of streams that were counted."""

    @property
    def guaranteed_per_day(self) -> float:
        """The lowest rate that the calm hours alone bear out, without the tail."""
        blocks = self.calm_hours * 3600 / QUIET_S
        return S_PER_DAY / QUIET_S / (blocks + 1)

    def at(self, score: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Alarms a day at a score, or at many."""
        x = np.asarray(score, np.float64)
        counted = np.exp(np.interp(x, self.scores, np.log(self.per_day)))
        beyond = np.maximum(x - self.scores[-1], 0.0) / self.scale
        if self.shape < 1e-3:
            tail = np.exp(-beyond)
        else:
            tail = (1.0 + self.shape * beyond) ** (-1.0 / self.shape)
        found: NDArray[np.float64] = counted * tail
        return found

    def threshold(self, per_day: float) -> float:
        """The score above which calm material goes that often."""
        low, high = self.scores[0], self.scores[-1] + 1e3 * self.scale
        for _ in range(80):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if float(self.at(middle)) > per_day else (low, middle)
        return high

    def passed(self, share: float) -> float:
        """The score that calm material passes so much of its time; no higher than is counted."""
        wanted = np.log(share * self.per_day[0])
        return float(np.interp(-wanted, -np.log(self.per_day), self.scores))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "scores": [round(s, 4) for s in self.scores],
            "per_day": [round(r, 4) for r in self.per_day],
            "scale": round(self.scale, 5),
            "shape": round(self.shape, 4),
            "calm_hours": round(self.calm_hours, 3),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """From what `to_json` gave."""
        return cls(
            scores=tuple(value["scores"]),
            per_day=tuple(value["per_day"]),
            scale=float(value["scale"]),
            shape=float(value["shape"]),
            calm_hours=float(value["calm_hours"]),
        )


class Lasting:
    """Follows the scores of one stream."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=LASTING_TICKS)

    def push(self, score: float) -> float:
        """The least of the last second; what is no number is given back and forgotten."""
        if not np.isfinite(score):
            return score
        self._latest.append(score)
        return min(self._latest)


def lasting(run: FloatArray) -> FloatArray:
    """A stream's scores, tick by tick, each as high as it has been for a second; NaN stays."""
    watch = Lasting()
    return np.array([watch.push(score) for score in run.tolist()], np.float32)


def fit_alarm_rate(runs: Sequence[FloatArray], *, views: int = 1) -> AlarmRate:
    """Count spells of calm runs and fit their tail.

    Args:
        runs: scores of a calm stream, tick by tick, NaN where there is none.
        views: how many runs show the same hours; what is guaranteed counts those once.

    Raises:
        NotEnoughEvidence: less than LEAST_HOURS, or hardly any spell.
    """
    kept = [run[np.isfinite(run)] for run in runs]
    kept = [run for run in kept if len(run)]
    ticks = sum(len(run) for run in kept)
    hours = ticks / TICKS_PER_S / 3600
    if hours < LEAST_HOURS:
        raise NotEnoughEvidence(
            f"calm scores of {hours:.2f} h; at least {LEAST_HOURS} h are needed to state a rate"
        )
    every = np.concatenate(kept)
    grid = np.unique(np.quantile(every, QUANTILES))
    counts = [sum(len(peaks_above(run, u)) for run in kept) for u in grid]
    # The tail begins where about TAIL_SPELLS spells are left.
    wanted = max(LEAST_SPELLS, min(TAIL_SPELLS, max(counts) // 2))
    usable = [k for k, count in enumerate(counts) if count >= wanted]
    if not usable:
        raise NotEnoughEvidence(f"{max(counts)} spells in {hours:.2f} h of calm scores: too few")
    last = usable[-1]
    peaks = np.concatenate([peaks_above(run, grid[last]) for run in kept]) - grid[last]
    scale, shape = fit_tail(peaks)
    # Spells are counted where the tail begins; below, the rate goes by the share of ticks above,
    # which tells scores apart where spells run into one another, and never understates.
    share = np.array([np.mean(every > u) for u in grid[: last + 1]])
    rates = counts[last] / (hours / 24) * share / share[-1]
    return AlarmRate(
        scores=tuple(float(u) for u in grid[: last + 1]),
        per_day=tuple(float(rate) for rate in rates),
        scale=scale,
        shape=shape,
        calm_hours=hours / views,
    )


def peaks_above(run: FloatArray, threshold: float) -> FloatArray:
    """The highest score of every spell above a threshold."""
    above = np.flatnonzero(run > threshold)
    if not len(above):
        return np.zeros(0, np.float32)
    starts = np.flatnonzero(np.diff(above) > QUIET_S * TICKS_PER_S) + 1
    return np.array([run[spell].max() for spell in np.split(above, starts)], np.float32)


def fit_tail(excesses: FloatArray) -> tuple[float, float]:
    """Scale and shape of a generalised Pareto tail by probability-weighted moments, ξ in 0…0.5.

    Source: Hosking & Wallis 1987, "Parameter and Quantile Estimation for the GPD".
    """
    x = np.sort(excesses.astype(np.float64))
    n = len(x)
    mean = float(x.mean())
    weighted = float((x * (n - np.arange(1, n + 1)) / max(n - 1, 1)).mean())
    shape = 2.0 - mean / max(mean - 2.0 * weighted, 1e-9)
    shape = float(np.clip(shape, 0.0, 0.5))
    return max(mean * (1.0 - shape), 1e-6), shape

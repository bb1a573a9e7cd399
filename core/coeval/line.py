"""From scores over windows and lags to one line: offset and skew with their covariance.

A clock with a constant skew draws a straight line through the windows' lags. All lines within
the searched offsets and skews are summed over the windows, so that windows too weak to show a
peak of their own still count. Sign: offset and skew of the second stream's clock against the
first one's; positive: the second is fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LARGEST_SKEW_PPM = 2000.0
"""Cheap heart-rate belts reach this; sound cards 450, depth cameras 30."""
TYPICAL_SKEW_PPM = 250.0
"""Standard deviation of the Gaussian prior on skew: it matters only for short recordings."""
MOST_SKEWS = 1500
LEAST_SPREAD_NATS = 1.0
"""Scores at wrong lags are taken to spread by this much at least: where only what stands out is
scored, the rest is all but zero."""
LEAST_LAGS = 8
"""Among fewer lags than these nothing can stand out."""
RIVAL_DISTANCE_S = 0.4
"""A second peak nearer than this is the same answer, as far as its side lobes let one tell."""
SIDE_LOBE_DECAY = 1.6
"""A side lobe lower than the peak by one spread of wrong lags is exp(−this) as likely the truth.
Accepted lines whose best other peak within RIVAL_DISTANCE_S was 0–0.5, 0.5–1, 1–1.5, 1.5–2, 2–3
spreads lower lay on it in 33, 20, 6, 4, 1% (scenes 931 000 to 931 199, 2026-11-25)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Scores of consecutive windows over lags."""

    mids_ns: NDArray[np.floating]
    """Middles of the windows on the first stream's clock, shape (W,)."""
    length_ns: float
    """Length of a window."""
    scores: NDArray[np.float32]
    """Nats, shape (W, L); 0 where the two streams say nothing."""

    def weighted(self, weight: NDArray[np.float32] | np.float32) -> "Surface":
        """The same with its scores counting for more or less: by lag, shape (L,), or all alike."""
        return replace(self, scores=self.scores * weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class LagGrid:
    """The lags every surface of a pair shares."""

    lowest_ns: int
    """First lag."""
    step_ns: int
    """Distance of lags."""
    num_lags: int
    """Number of lags."""

    def at(self, index: float) -> float:
        """Lag in ns at a fractional index."""
        return self.lowest_ns + index * self.step_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSearch:
    """Every line's score: the best skew at each lag."""

    t_mid_ns: float
    """Instant on the first stream's clock at which the lags of `curve` hold."""
    skews_ppm: NDArray[np.floating]
    """Skews tried, shape (K,)."""
    sums: NDArray[np.float32]
    """Score of each skew and lag, prior included, shape (K, L)."""

    @property
    def curve(self) -> NDArray[np.float32]:
        """Best score at each lag, shape (L,)."""
        best: NDArray[np.float32] = self.sums.max(axis=0)
        return best


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFit:
    """One line and how far it can be trusted."""

    t_mid_ns: float
    """Instant on the first stream's clock at which `lag_ns` holds."""
    lag_ns: float
    """Lag of the second clock at `t_mid_ns`; positive: the second is fast."""
    skew_ppm: float
    """Skew of the second clock against the first; positive: fast."""
    covariance: NDArray[np.float64]
    """Of (lag in ns, skew in ppm), shape (2, 2)."""
    peak: float
    """Score of the line in nats."""
    z: float
    """Score in standard deviations of the scores at wrong lags."""
    margin: float
    """Distance to the best line elsewhere, in the same unit."""
    lags_tried: int
    """Lags among which this one is the best."""
    reach_ns: float = 0.0
    """The true lag is nearer than this in 95 of 100 cases, side lobes of the peak included …"""
    utmost_ns: float = 0.0
    """… and than this in 995 of 1000."""


def skew_grid(span_s: float, step_s: float, largest_ppm: float) -> NDArray[np.float64]:
    """Skews so close that between neighbours no window moves by more than half a lag step."""
    spacing = 1e6 * 0.5 * step_s / max(span_s / 2, 1e-9)
    count = min(int(largest_ppm / spacing), MOST_SKEWS)
    return spacing * np.arange(-count, count + 1, dtype=np.float64)


def search_lines(
    surfaces: Sequence[Surface],
    grid: LagGrid,
    *,
    t_mid_ns: float,
    span_s: float,
    largest_skew_ppm: float = LARGEST_SKEW_PPM,
) -> LineSearch:
    """Sum the scores along every line.

    Args:
        surfaces: scores of the pair's streams, all on `grid`.
        grid: the lags.
        t_mid_ns: instant at which a line's lag is counted: the middle of the common material.
        span_s: length of the material, which decides how fine skews are tried.
        largest_skew_ppm: skews on both sides of 0 that are tried.
    """
    skews = skew_grid(span_s, grid.step_ns * 1e-9, largest_skew_ppm)
    sums = np.zeros((len(skews), grid.num_lags), np.float32)
    for surface in surfaces:
        used = np.flatnonzero(surface.scores.any(axis=1))
        for k, skew in enumerate(skews):
            drift = skew * 1e-6 * (surface.mids_ns[used] - t_mid_ns) / grid.step_ns
            for w, shift in zip(used, drift, strict=True):
                add_shifted(sums[k], surface.scores[w], shift)
    sums -= (0.5 * (skews / TYPICAL_SKEW_PPM) ** 2).astype(np.float32)[:, None]
    return LineSearch(t_mid_ns=t_mid_ns, skews_ppm=skews, sums=sums)


def add_shifted(total: NDArray[np.float32], scores: NDArray[np.float32], shift: float) -> None:
    """total[l] += scores[l + shift], linear between columns, nothing beyond the ends."""
    whole = int(np.floor(shift))
    part = np.float32(shift - whole)
    for offset, weight in ((whole, np.float32(1) - part), (whole + 1, part)):
        if weight == 0 or abs(offset) >= len(total):
            continue
        if offset >= 0:
            total[: len(total) - offset] += weight * scores[offset:]
        else:
            total[-offset:] += weight * scores[:offset]


def spread_of(curve: NDArray[np.floating]) -> float:
    """Standard deviation of a curve's values, robust against its peaks."""
    seen = curve[curve != 0]
    if len(seen) < LEAST_LAGS:
        return 0.0
    return float(1.4826 * np.median(np.abs(seen - np.median(seen))))


def fit_peak(
    search: LineSearch,
    grid: LagGrid,
    *,
    near: tuple[int, int] | None = None,
    near_spread: float = 0.0,
) -> LineFit | None:
    """The best line, between the grid's points, with the covariance of its peak.

    Args:
        search: sums over lines.
        grid: the lags.
        near: restrict the lag to these indices (from, to); None: anywhere.
        near_spread: standard deviation of scores beside the peak, where it is known to be more
            than that of scores at wrong lags.

    Returns:
        The line, or None where the scores have no peak.
    """
    low, high = near or (0, grid.num_lags)
    low, high = max(low, 1), min(high, grid.num_lags - 1)
    if high <= low:
        return None
    window = search.sums[:, low:high]
    k, column = divmod(int(window.argmax()), window.shape[1])
    column += low
    peak = float(search.sums[k, column])
    curve = search.curve
    seen = curve[curve != 0]
    if peak <= 0 or len(seen) < LEAST_LAGS:
        return None
    spread = max(spread_of(curve), LEAST_SPREAD_NATS)
    rival_steps = round(RIVAL_DISTANCE_S * 1e9 / grid.step_ns)
    elsewhere = np.concatenate(
        [curve[: max(column - rival_steps, 0)], curve[column + rival_steps :]]
    )
    rival = float(elsewhere.max()) if len(elsewhere) else 0.0
    around = curve[max(column - rival_steps, 0) : column + rival_steps + 1] - peak
    shift, skew_shift, covariance = peak_shape(search, k, column)
    spacing = float(search.skews_ppm[1] - search.skews_ppm[0]) if len(search.skews_ppm) > 1 else 0.0
    scale = np.array([grid.step_ns, spacing or 1.0])
    return LineFit(
        t_mid_ns=search.t_mid_ns,
        lag_ns=grid.at(column + shift),
        skew_ppm=float(search.skews_ppm[k]) + skew_shift * spacing,
        covariance=covariance * np.outer(scale, scale)
        if spacing
        else np.diag([covariance[0, 0] * grid.step_ns**2, TYPICAL_SKEW_PPM**2]),
        peak=peak,
        z=(peak - float(np.median(seen))) / spread,
        margin=(peak - rival) / spread,
        lags_tried=int(np.count_nonzero(curve)),
        reach_ns=grid.step_ns * reach_of(around, max(spread, near_spread), share=0.95),
        utmost_ns=grid.step_ns * reach_of(around, max(spread, near_spread), share=0.995),
    )


def reach_of(below: NDArray[np.floating], spread: float, *, share: float) -> int:
    """Steps from the highest of some scores within which the truth lies in a share of cases.

    Args:
        below: scores less the highest of them, shape (L,).
        spread: standard deviation of scores at wrong lags.
        share: of cases, 0…1.
    """
    steps = np.abs(np.arange(len(below)) - int(below.argmax()))
    order = np.argsort(steps, kind="stable")
    likely = np.cumsum(np.exp(SIDE_LOBE_DECAY * below[order] / spread))
    return int(steps[order][np.searchsorted(likely, share * likely[-1])])


def peak_shape(search: LineSearch, k: int, column: int) -> tuple[float, float, NDArray[np.float64]]:
    """Sub-grid position and covariance from the quadratic through the peak's neighbours.

    Returns:
        Shift in lag steps, shift in skew steps, covariance in those steps, shape (2, 2).
    """
    sums = search.sums.astype(np.float64)
    centre = sums[k, column]
    left, right = sums[k, column - 1], sums[k, column + 1]
    bend = max(2 * centre - left - right, 1e-6)
    shift = float(np.clip(0.5 * (right - left) / bend, -0.5, 0.5))
    if len(search.skews_ppm) < 3 or not 0 < k < len(search.skews_ppm) - 1:
        return shift, 0.0, np.diag([1.0 / bend, 1.0])
    down, up = sums[k - 1, column], sums[k + 1, column]
    skew_bend = max(2 * centre - down - up, 1e-6)
    twist = 0.25 * (
        sums[k + 1, column + 1]
        - sums[k + 1, column - 1]
        - sums[k - 1, column + 1]
        + sums[k - 1, column - 1]
    )
    information = np.array([[bend, -twist], [-twist, skew_bend]])
    limit = 0.95 * np.sqrt(bend * skew_bend)
    information[0, 1] = information[1, 0] = np.clip(-twist, -limit, limit)
    gradient = np.array([0.5 * (right - left), 0.5 * (up - down)])
    step = np.clip(np.linalg.solve(information, gradient), -0.7, 0.7)
    return float(step[0]), float(step[1]), np.linalg.inv(information)

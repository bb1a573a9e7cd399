"""Where stills agree with another stream: a map learnt on the rest of the recording.

A still a second says too little for embeddings to lock, but it says much about its own instant
(an open mouth, a shut door, a raised arm) and, with its neighbour, about what went on between.
Which of that another stream shows, and how, differs from scene to scene. So for every lag a linear
map from the other stream to the stills is learnt on all windows but one, and that one window is
scored: the log-likelihood that the map gains over none. A map made by chance predicts nothing.

In: `StillTrack` and `Shown` on their nodes' clocks. Out: scores on the lags of `coeval.lag`.
Sign: lag = second clock − first.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coeval.line import LagGrid, Surface
from coeval.shown import Shown
from coeval.still_track import StillTrack, components
from coeval.time import NS_PER_S

LEAST_STILLS = 24
"""Fewer are not looked at. The map has more numbers than that, but is shrunk by what chance makes
of each, and counts by what it predicts of stills that it was not learnt on."""
WINDOW_S = 60.0
LEAST_WINDOWS = 8
MOST_PICTURE_COMPONENTS = 12
MOST_CHANGE_COMPONENTS = 4
MOST_SHOWN_COMPONENTS = 14
LEAST_SHOWN_POWER = 0.02
"""Components of the other stream weaker than this share of the strongest are noise."""
INSTANT_NS = 100_000_000
"""How long the other stream is averaged around a still."""
DRIFT_S = 30.0
"""What the other stream does more slowly says nothing of when."""
TYPICAL_INTERVAL_S = 1.5
"""Time over which the other stream's changes are measured when its components are chosen."""
STUCK = 1e-6
"""What moves by less than this share of its size is rounding."""
LARGEST_MEMORY = 0.95
"""A still is told from the one before by at most this share of it."""
LEAST_COMMON = 0.3
"""Lags that leave less than this share of the stills are not scored."""
INDEPENDENT_SHARE = 0.75
"""What a map does not explain of stills comes in runs and in bursts: scores count that much less.
Scenes 930 000 to 930 005, 2026-11-25."""
RIVAL_DISTANCE_S = 2.0
"""A second peak nearer than this is a side lobe of the first."""
MOST_CELLS = 1_000_000
"""Numbers in one of the tables that are held while lags are scored: 8 MB."""

Rows = NDArray[np.float64]
Scores = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What stills tell, n of them, each but for what the one before already told."""

    rows: Rows
    """Unit variance, shape (n, P); the first row is 0."""
    memory: Rows
    """Share of the row before that was taken out, shape (P,)."""

    @property
    def matched(self) -> Rows:
        """Rows whose product with unfiltered rows is that of both filtered, shape (n, P)."""
        after = np.concatenate([self.rows[1:], np.zeros((1, self.rows.shape[1]))])
        matched: Rows = self.rows - self.memory * after
        return matched


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to compare stills with another stream."""

    rows: Literal["at", "between"]
    """Which rows of the other stream it takes."""
    is_instant: bool
    """Whether a still tells of its own instant, or of the time since the one before."""
    delay_ns: float
    """How far (1 σ) one may show later than the other what they share: nothing says that the
    picture of a door and the sound of its lock belong to the same instant."""


STANDING = View(rows="at", is_instant=True, delay_ns=100e6)
"""How things stand. Delays found on scenes 930 000 to 930 023, 2026-11-25."""
CHANGE = View(rows="between", is_instant=False, delay_ns=200e6)
"""How much changed, and where."""
SHIFT = View(rows="between", is_instant=False, delay_ns=10e6)
"""How far the view as a whole was moved: a camera and its gyroscope feel the same turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Running sums of a stream's components."""

    first: int
    """Index of the first row: node time / step."""
    step_ns: int
    """Time between rows."""
    total: Rows
    """Sum of the components before each row, shape (T + 1, Q)."""
    covered: Rows
    """Sum of the coverage, shape (T + 1, 1)."""

    def mean(self, start_ns: Rows, stop_ns: Rows) -> Rows:
        """Means over spans, 0 where not covered, shape (…, Q + 1); last column 1 or 0."""
        low, high = (t_ns / self.step_ns - self.first for t_ns in (start_ns, stop_ns))
        length = (high - low)[..., None]
        there = sum_to(self.covered, high) - sum_to(self.covered, low) > 0.9 * length
        means = (sum_to(self.total, high) - sum_to(self.total, low)) / length
        return np.concatenate([means * there, there], axis=-1)


def sum_to(total: Rows, place: Rows) -> Rows:
    """A running sum at fractional places, held at its ends."""
    place = np.clip(place, 0.0, len(total) - 1.001)
    low = place.astype(np.int64)
    part = (place - low)[..., None]
    found: Rows = total[low] * (1.0 - part) + total[low + 1] * part
    return found


def stills_surface(
    stills: StillTrack, shown: Shown, grid: LagGrid, *, stills_first: bool
) -> Surface | None:
    """Scores of stills against another stream.

    Args:
        stills: the stills.
        shown: what the other stream shows.
        grid: the lags, second clock − first.
        stills_first: whether the stills' clock is the pair's first.

    Returns:
        A surface of one window on the first clock, or None where there is too little: windows were
        scored by maps of one lag each, and so say nothing of lines across lags, of skew.
    """
    t_ns = stills.t_node_ns
    seconds = float(t_ns[-1] - t_ns[0]) / NS_PER_S
    if len(t_ns) < LEAST_STILLS or len(shown.at) * shown.step_ns < 0.1 * NS_PER_S * seconds:
        return None
    num_windows = max(round(seconds / WINDOW_S), LEAST_WINDOWS)
    edges = np.linspace(float(t_ns[0]), float(t_ns[-1]), num_windows + 1)
    window = np.clip(np.searchsorted(edges, t_ns, side="right") - 1, 0, num_windows - 1)
    lags_ns: Rows = grid.lowest_ns + np.arange(grid.num_lags, dtype=np.float64) * grid.step_ns
    # On the other stream's clock a still lies where the lag says.
    sign = 1.0 if stills_first else -1.0
    scores = np.zeros(grid.num_lags, np.float32)
    for told, view in told_of(stills):
        running = running_of(getattr(shown, view.rows), shown, is_instant=view.is_instant)
        if running is None or not told.rows.any():
            continue
        start_ns, stop_ns = spans_of(t_ns, is_instant=view.is_instant)
        raw = map_scores(told, running, start_ns, stop_ns, window=window, shifts_ns=sign * lags_ns)
        scores += delayed(believed(raw.sum(axis=0), grid), view.delay_ns / grid.step_ns)
    if not scores.any():
        return None
    mid_ns = 0.5 * float(t_ns[0] + t_ns[-1])
    if not stills_first:  # on the first clock, but for skew times the unknown part of the lag
        mid_ns -= 0.5 * (lags_ns[0] + lags_ns[-1])
    weighed = (INDEPENDENT_SHARE * scores[None, :]).astype(np.float32)
    return Surface(mids_ns=np.array([mid_ns]), length_ns=seconds * NS_PER_S, scores=weighed)


def told_of(stills: StillTrack) -> list[tuple[Told, View]]:
    """What stills tell, by view."""

    def since(rows: NDArray[np.floating]) -> Rows:
        return np.concatenate([np.zeros((1, rows.shape[1])), rows])

    changes = components(stills.changes, most=MOST_CHANGE_COMPONENTS)
    return [
        (told_by(components(stills.pictures, most=MOST_PICTURE_COMPONENTS)), STANDING),
        (told_by(since(changes)), CHANGE),
        (told_by(since(stills.shifts)), SHIFT),
    ]


def told_by(rows: Rows) -> Told:
    """Rows of stills without what the still before already told, of unit variance."""
    centred = rows - rows.mean(axis=0)
    power = (centred**2).sum(axis=0) + 1e-12
    memory = np.clip((centred[1:] * centred[:-1]).sum(axis=0) / power, 0.0, LARGEST_MEMORY)
    fresh = np.zeros_like(centred)
    fresh[1:] = centred[1:] - memory * centred[:-1]
    return Told(rows=fresh / (fresh.std(axis=0) + 1e-9), memory=memory)


def spans_of(t_ns: NDArray[np.int64], *, is_instant: bool) -> tuple[Rows, Rows]:
    """The time that each still tells of: around it, or since the one before."""
    times = t_ns.astype(np.float64)
    if is_instant:
        return times - INSTANT_NS / 2, times + INSTANT_NS / 2
    return np.concatenate([[times[0] - TYPICAL_INTERVAL_S * NS_PER_S], times[:-1]]), times


def running_of(rows: Rows, shown: Shown, *, is_instant: bool) -> Running | None:
    """A stream's strongest components, measured at the pace of the stills."""
    covered = shown.covered[:, None]
    steps_per_s = NS_PER_S / shown.step_ns
    size = np.abs(rows).max(axis=0)
    rows = without_drift(rows, covered, width=round(DRIFT_S * steps_per_s))
    interval = round(TYPICAL_INTERVAL_S * steps_per_s)
    width = max(round(INSTANT_NS / shown.step_ns), 1) if is_instant else interval
    if len(rows) <= 2 * interval:
        return None
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    means = (total[width:] - total[:-width]) / width
    moved = means[interval:] - means[:-interval]
    spread = moved.std(axis=0)
    moving = spread > STUCK * size
    if not moving.any():
        return None
    unit = moved[:, moving] / spread[moving]
    power, axes = np.linalg.eigh(unit.T @ unit / len(unit))
    keep = np.flatnonzero(power > LEAST_SHOWN_POWER * power.max())[::-1][:MOST_SHOWN_COMPONENTS]
    mixed = total[:, moving] @ (axes[:, keep] / np.sqrt(power[keep]) / spread[moving, None])
    seen = np.concatenate([np.zeros((1, 1)), np.cumsum(covered, axis=0)])
    return Running(first=shown.first, step_ns=shown.step_ns, total=mixed, covered=seen)


def without_drift(rows: Rows, covered: Rows, *, width: int) -> Rows:
    """Rows against the mean of those around them that are covered; 0 where they are not."""
    half = max(width // 2, 1)
    index = np.arange(len(rows))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(rows))
    total = np.cumsum(np.concatenate([np.zeros((1, rows.shape[1])), rows * covered]), axis=0)
    count = np.cumsum(np.concatenate([np.zeros((1, 1)), covered]), axis=0)
    mean = (total[high] - total[low]) / np.maximum(count[high] - count[low], 1.0)
    level: Rows = (rows - mean) * covered
    return level


def map_scores(
    told: Told,
    running: Running,
    start_ns: Rows,
    stop_ns: Rows,
    *,
    window: NDArray[np.int64],
    shifts_ns: Rows,
) -> Scores:
    """Log-likelihood that a map learnt on the other windows gains in each, at each lag.

    Args:
        told: what n stills tell, P numbers each.
        running: the other stream's Q components.
        start_ns: begin of the time each still tells of, shape (n,).
        stop_ns: its end.
        window: window of each still, shape (n,).
        shifts_ns: what a lag adds to times of stills to give the other stream's, shape (L,).

    Returns:
        Nats, shape (W, L); 0 at lags that leave too few stills.
    """
    num_windows, num_lags = int(window.max()) + 1, len(shifts_ns)
    num_told, num_shown = told.rows.shape[1], running.total.shape[1]
    held = max(num_windows * num_told, len(start_ns)) * num_shown
    chunk = max(MOST_CELLS // held, 1)
    matched = told.matched
    scores = np.zeros((num_windows, num_lags), np.float32)
    for first in range(0, num_lags, chunk):
        shifts = shifts_ns[first : first + chunk]
        seen = running.mean(start_ns[:, None] + shifts, stop_ns[:, None] + shifts)
        rows, there = seen[..., :-1], seen[..., -1]
        products = np.zeros((num_windows, num_told, len(shifts), num_shown))
        counts = np.zeros((num_windows, len(shifts)))
        for w in range(num_windows):
            mine = window == w
            flat = matched[mine].T @ rows[mine].reshape(int(mine.sum()), -1)
            products[w] = flat.reshape(num_told, len(shifts), num_shown)
            counts[w] = there[mine].sum(axis=0)
        count = np.maximum(counts.sum(axis=0), 1.0)
        # Power of the other stream's components when filtered as each of the stills' is.
        same, next_ = (rows**2).sum(axis=0), (rows[1:] * rows[:-1]).sum(axis=0)
        memory = told.memory[:, None, None]
        power = ((1 + memory**2) * same - 2 * memory * next_) / count[:, None]
        products /= np.sqrt(np.maximum(power, 1e-3 * same / count[:, None]) + 1e-6)
        scores[:, first : first + chunk] = gains(products, counts)
    common = common_stills(running, start_ns, stop_ns, shifts_ns)
    scores[:, common < LEAST_COMMON * len(window)] = 0.0
    return scores


def common_stills(running: Running, start_ns: Rows, stop_ns: Rows, shifts_ns: Rows) -> Rows:
    """How many stills fall into the other stream's time, at each lag."""
    low = running.first * running.step_ns
    high = low + (len(running.total) - 1) * running.step_ns
    after = np.searchsorted(start_ns, low - shifts_ns)
    before = np.searchsorted(stop_ns, high - shifts_ns, side="right")
    common: Rows = np.maximum(before - after, 0).astype(np.float64)
    return common


def gains(products: Rows, counts: Rows) -> Scores:
    """What maps learnt on all other windows gain in each.

    Args:
        products: sums of stills times components, both of unit variance, shape (W, P, L, Q).
        counts: stills in each window, shape (W, L).

    Returns:
        Nats, shape (W, L).
    """
    total, count = products.sum(axis=0), counts.sum(axis=0)
    found = np.zeros(counts.shape, np.float32)
    for w, (mine, my_count) in enumerate(zip(products, counts, strict=True)):
        learnt_on = np.maximum(count - my_count, 1.0)[:, None]
        entry = (total - mine) / learnt_on
        # An entry is shrunk by what chance alone makes of it.
        entry *= np.clip(1.0 - 1.0 / (learnt_on * entry**2 + 1e-12), 0.0, 1.0)
        gain = (entry * mine).sum(axis=(0, 2)) - 0.5 * my_count * (entry**2).sum(axis=(0, 2))
        found[w] = gain
    return found


def believed(raw: Scores, grid: LagGrid) -> Scores:
    """Scores of maps as far as they can be believed, shape (L,)."""
    # Where a map only loses, none is the better guess: that loses nothing.
    kept = raw / (1.0 + np.maximum(-raw, 0.0))
    return kept * np.float32(believed_share(kept, grid))


def believed_share(scores: Scores, grid: LagGrid) -> float:
    """How far scores may be believed, 0…1: as far as wrong lags behave as chance would have it.

    A likelihood gained by chance exceeds x nats with probability e⁻ˣ, so the best of L lags reaches
    about ln L; where lags far from the best reach higher, all are to be scaled down.
    """
    by_chance = math.log(len(scores))
    return min(1.0, by_chance / max(highest_elsewhere(scores, grid), by_chance))


def highest_elsewhere(scores: Scores, grid: LagGrid) -> float:
    """The highest score that is no side lobe of the highest; 0 where there is none."""
    best = int(scores.argmax())
    near = round(RIVAL_DISTANCE_S * NS_PER_S / grid.step_ns)
    elsewhere = np.concatenate([scores[: max(best - near, 0)], scores[best + near :]])
    return float(elsewhere.max()) if len(elsewhere) else 0.0


def delayed(scores: Scores, steps: float) -> Scores:
    """Scores when what is shared may be shown later by one stream than by the other.

    Args:
        scores: nats, shape (L,).
        steps: standard deviation of that delay, in steps of the lags.

    Returns:
        The logarithm of the mean likelihood over delays, shape (L,).
    """
    reach = math.ceil(3 * steps)
    delays = np.arange(-reach, reach + 1)
    weights = -0.5 * (delays / max(steps, 1e-9)) ** 2
    weights -= np.log(np.exp(weights).sum())
    padded = np.pad(scores.astype(np.float64), reach, mode="edge")
    likely = [padded[k : k + len(scores)] + w for k, w in zip(delays + reach, weights, strict=True)]
    mixed = np.logaddexp.reduce(np.stack(likely), axis=0)
    late: Scores = np.where(scores == 0, 0.0, mixed)
    return late

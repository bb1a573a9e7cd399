"""Steps of a clock: where one line does not explain all windows but two do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coeval.line import (
    LagGrid,
    LineFit,
    Surface,
    add_shifted,
    fit_peak,
    search_lines,
)

LEAST_GAIN_NATS = 15.0
"""Gain in score that two lines must bring over one: about 3 × 10⁻⁷ by chance, times the places.
A larger step has more lags to choose from and needs more, by the logarithm of its size."""
LEAST_GAIN_SIGMAS = 3.0
"""The gain must also stand out of how much the scores of both sides spread at wrong lags: an echo's
two peaks are as high as each other, and chance prefers one before and the other after."""
LEAST_SIDE_Z = 5.0
"""How far each side's line must stand out of its own wrong lags."""
LEAST_JUMP_NS = 40e6
"""Smaller steps cannot be told from skew by embeddings of 50 ms hops."""
LEAST_WINDOWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class JumpFit:
    """One step between two lines."""

    t_ns: float
    """When, on the first stream's clock: the edge between the windows before and after."""
    before: LineFit
    """Line before the step."""
    after: LineFit
    """Line after the step."""
    gain: float
    """How much better than one line they explain the scores, in nats."""

    @property
    def delta_ns(self) -> float:
        """Change of the second clock's lag at the step."""
        return lag_at(self.after, self.t_ns) - lag_at(self.before, self.t_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Scores that may show a step, and where the material lies that they compare."""

    surface: Surface
    """The scores."""
    other_span_ns: tuple[float, float]
    """Begin and end of the material that the windows are compared with, on its own clock."""
    direction: float = 1.0
    """At lag l a window is compared with what is `direction` · l later …"""
    ahead_ns: float = 0.0
    """… and this much besides."""

    def seen(self, jump: JumpFit) -> NDArray[np.bool_]:
        """Windows for which there is material at the lags of both lines, shape (W,)."""
        half = 0.4 * self.surface.length_ns
        seen = np.ones(len(self.surface.mids_ns), np.bool_)
        for line in (jump.before, jump.after):
            mids = self.surface.mids_ns + self.ahead_ns + self.direction * lag_at(line, jump.t_ns)
            seen &= (mids - half >= self.other_span_ns[0]) & (mids + half <= self.other_span_ns[1])
        return seen


def lag_at(fit: LineFit, t_ns: float) -> float:
    """Lag of a line at an instant of the first stream's clock, in ns."""
    return fit.lag_ns + fit.skew_ppm * 1e-6 * (t_ns - fit.t_mid_ns)


def between_times(surface: Surface, start_ns: float, stop_ns: float) -> Surface:
    """The windows of a surface that lie in a span, but for a tenth of their length."""
    half = 0.4 * surface.length_ns
    inside = (surface.mids_ns - half >= start_ns) & (surface.mids_ns + half <= stop_ns)
    return windows_of(surface, inside)


def fit_between(
    surfaces: Sequence[Surface], grid: LagGrid, start_ns: float, stop_ns: float
) -> LineFit | None:
    """The best line of the windows in a span."""
    parts = [between_times(surface, start_ns, stop_ns) for surface in surfaces]
    middle, span_s = 0.5 * (start_ns + stop_ns), (stop_ns - start_ns) * 1e-9
    return fit_peak(search_lines(parts, grid, t_mid_ns=middle, span_s=span_s), grid)


def best_line_score(
    surfaces: Sequence[Surface], grid: LagGrid, *, start_ns: float, stop_ns: float
) -> float:
    """Score of the best single line of any skew that is searched, less what its skew costs.

    A clock steeper than the split tries is none with a step.
    """
    middle, span_s = 0.5 * (start_ns + stop_ns), (stop_ns - start_ns) * 1e-9
    return float(search_lines(surfaces, grid, t_mid_ns=middle, span_s=span_s).sums.max())


def find_jump(
    witnesses: Sequence[Witness], grid: LagGrid, *, span_ns: tuple[float, float]
) -> JumpFit | None:
    """The step that explains the windows better than one line, if there is one.

    Where there is no material at a line's lag, nothing speaks for that line: such windows must not
    speak for the other one, so they are left out and the step is sought again.

    Args:
        witnesses: scores at lags of one clock against another.
        grid: their lags.
        span_ns: begin and end of the windows.

    Returns:
        The step, or None where one line is enough or a side is too weak to tell.
    """
    while (jump := best_jump([w.surface for w in witnesses], grid, span_ns=span_ns)) is not None:
        seen = [witness.seen(jump) for witness in witnesses]
        if all(part.all() for part in seen):
            return jump
        witnesses = [
            replace(witness, surface=windows_of(witness.surface, part))
            for witness, part in zip(witnesses, seen, strict=True)
        ]
    return None


def windows_of(surface: Surface, wanted: NDArray[np.bool_]) -> Surface:
    """Some of a surface's windows."""
    return replace(surface, mids_ns=surface.mids_ns[wanted], scores=surface.scores[wanted])


def best_jump(
    surfaces: Sequence[Surface], grid: LagGrid, *, span_ns: tuple[float, float]
) -> JumpFit | None:
    """The step that explains the scores better than one line, whatever material is behind them."""
    start_ns, stop_ns = span_ns
    mids = np.concatenate([surface.mids_ns for surface in surfaces])
    rows = np.concatenate([surface.scores for surface in surfaces])
    order = np.argsort(mids, kind="stable")
    mids, rows = mids[order], rows[order]
    if len(mids) < 2 * LEAST_WINDOWS:
        return None
    middle = 0.5 * (start_ns + stop_ns)
    half_ns = 0.5 * (stop_ns - start_ns)
    spacing = grid.step_ns / max(half_ns, 1.0)
    num_skews = min(int(600e-6 / spacing), 12)
    best_split, best_two, best_one = 0, -np.inf, -np.inf
    for skew in spacing * np.arange(-num_skews, num_skews + 1):
        summed = np.zeros((len(mids) + 1, grid.num_lags), np.float32)
        for w, shift in enumerate(skew * (mids - middle) / grid.step_ns):
            summed[w + 1] = summed[w]
            add_shifted(summed[w + 1], rows[w], float(shift))
        left = summed.max(axis=1)
        right = (summed[-1] - summed).max(axis=1)
        best_one = max(best_one, float(left[-1]))
        two = (left + right)[LEAST_WINDOWS:-LEAST_WINDOWS]
        if len(two) and two.max() > best_two:
            best_two, best_split = float(two.max()), int(two.argmax()) + LEAST_WINDOWS
    if best_two - best_one < LEAST_GAIN_NATS:
        return None
    t_ns = 0.5 * (mids[best_split - 1] + mids[best_split])
    before = fit_between(surfaces, grid, start_ns, t_ns)
    after = fit_between(surfaces, grid, t_ns, stop_ns)
    if before is None or after is None or min(before.z, after.z) < LEAST_SIDE_Z:
        return None
    sides = [
        between_times(surface, begin_ns, end_ns)
        for begin_ns, end_ns in ((start_ns, t_ns), (t_ns, stop_ns))
        for surface in surfaces
    ]
    one = best_line_score(sides, grid, start_ns=start_ns, stop_ns=stop_ns)
    gain = before.peak + after.peak - one
    jump = with_one_skew(JumpFit(t_ns=float(t_ns), before=before, after=after, gain=gain))
    size = abs(jump.delta_ns) / LEAST_JUMP_NS
    by_chance = LEAST_GAIN_SIGMAS * math.hypot(*(side.peak / side.z for side in (before, after)))
    if size < 1 or gain < max(LEAST_GAIN_NATS + math.log(size), by_chance):
        return None
    return jump


def with_one_skew(jump: JumpFit) -> JumpFit:
    """Both lines with the skew that they give together: a step moves a clock, not its crystal."""
    sides = (jump.before, jump.after)
    weights = np.array([1.0 / side.covariance[1, 1] for side in sides])
    skew_ppm = float(weights @ [side.skew_ppm for side in sides] / weights.sum())
    before, after = (
        replace(
            side,
            skew_ppm=skew_ppm,
            covariance=np.diag([side.covariance[0, 0], 1.0 / weights.sum()]),
        )
        for side in sides
    )
    return replace(jump, before=before, after=after)

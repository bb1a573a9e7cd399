"""Where nodes belong, roughly: placed one after the other, the surest next.

A node is placed by all nodes placed before, so that pairs too weak to decide alone still count.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.compare import LAG_STEP_NS, PairWork, is_sure
from coeval.line import LEAST_SPREAD_NATS, LagGrid, LineFit, LineSearch, fit_peak, spread_of
from coeval.placing import PairLine, solve_lines


def tied_by(evidence: Sequence[PairLine], reference: str, start_ns: int) -> dict[str, "Place"]:
    """The reference, and the nodes that hardware or network evidence already ties to it."""
    solved = solve_lines(evidence, reference=reference, t0_ns=float(start_ns))
    places = {name: Place(lag_ns=state[0], fit=None) for name, state in solved.states.items()}
    return places | {reference: Place(lag_ns=0.0, fit=None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a node was put: its offset, and how sure that is."""

    lag_ns: float
    """Offset against the reference around the middle of the material."""
    fit: LineFit | None
    """What said so; None for the reference."""
    is_loose: bool = False
    """Whether all that said so says only loosely when something happened."""

    @property
    def margin(self) -> float:
        """How far the place stands out of all others."""
        return np.inf if self.fit is None else self.fit.margin

    @property
    def reach_ns(self) -> float:
        """How far off the place may be; 0 for the reference."""
        return 0.0 if self.fit is None else self.fit.reach_ns


def place_nodes(
    works: Mapping[tuple[str, str], PairWork],
    names: Sequence[str],
    tied: Mapping[str, Place],
) -> dict[str, Place]:
    """Place nodes one after the other, the surest next, by all nodes placed before.

    Args:
        works: content of the pairs.
        names: the nodes.
        tied: places of the reference and of what is known already.

    Returns:
        The places of the nodes that could be placed surely, those of `tied` included.
    """
    placed = dict(tied)
    while True:
        candidates = {
            name: place
            for name in names
            if name not in placed and (place := best_place(works, placed, name)) is not None
        }
        sure = {
            name: place
            for name, place in candidates.items()
            if is_sure(place.fit, is_loose=place.is_loose)
        }
        if not sure:
            return placed
        name = max(sure, key=lambda key: sure[key].margin)
        placed[name] = sure[name]


def best_place(
    works: Mapping[tuple[str, str], PairWork], placed: Mapping[str, Place], name: str
) -> Place | None:
    """The offset that the pairs with all placed nodes agree on most; None without any pair.

    Each pair counts by how far its best stands out: scores of a broad map spread as far at wrong
    lags as those of a sharp one, and tell less. What surrounds a peak is the node's own, though,
    and alike in all pairs that have theirs there: they do not average, and their spreads add up.
    """
    voices = [
        voice_of(work, place, is_second=(other, name) in works)
        for other, place in placed.items()
        if (work := works.get((other, name)) or works.get((name, other))) is not None
        and work.fit is not None
        and not work.is_unproven
    ]
    loudest = max((voice.weight for voice in voices), default=0.0)
    if loudest <= 0:
        return None
    lowest = min(voice.lowest_ns for voice in voices)
    highest = max(voice.lowest_ns + len(voice.curve) * LAG_STEP_NS for voice in voices)
    axis = np.arange(lowest, highest, LAG_STEP_NS)
    each = np.stack([voice.at(axis) for voice in voices])
    shares = np.array([voice.weight / loudest for voice in voices])
    total = shares @ each
    agreed = [voice.agreed(row[total.argmax()]) for voice, row in zip(voices, each, strict=True)]
    search = LineSearch(t_mid_ns=0.0, skews_ppm=np.zeros(1), sums=total[None, :].astype(np.float32))
    grid = LagGrid(lowest_ns=round(lowest), step_ns=LAG_STEP_NS, num_lags=len(axis))
    fit = fit_peak(search, grid, near_spread=float(shares @ agreed))
    if fit is None:
        return None
    return Place(lag_ns=fit.lag_ns, fit=fit, is_loose=all(voice.is_loose for voice in voices))


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What a pair says of where a node belongs."""

    lowest_ns: float
    """Offset of the node against the reference to which the first score belongs."""
    curve: NDArray[np.float32]
    """Scores, LAG_STEP_NS apart."""
    height: float
    """How far the best of them stands out, nats."""
    spread: float
    """Standard deviation of the scores at wrong lags."""
    weight: float
    """How much it counts: its height over the square of its spread, as signals in noise are summed
    so that the sum stands out most (maximal-ratio combining)."""
    is_loose: bool
    """Whether it says only loosely when something happened."""

    def at(self, offsets_ns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Its scores at offsets of the node, 0 beyond its ends."""
        own_ns = self.lowest_ns + np.arange(len(self.curve)) * LAG_STEP_NS
        scores: NDArray[np.float64] = np.interp(offsets_ns, own_ns, self.curve, left=0, right=0)
        return scores

    def agreed(self, score: float) -> float:
        """Spread of the scores beside a place that has this one, as far as its best lies there."""
        return self.spread * min(max(score / self.height, 0.0), 1.0) if self.height > 0 else 0.0


def voice_of(work: PairWork, place: Place, *, is_second: bool) -> Voice:
    """What a pair says of one of its nodes, the other one having been placed.

    Args:
        work: the pair; it has a best line.
        place: where its other node is.
        is_second: whether the node in question is the pair's second.
    """
    assert work.fit is not None
    curve, grid = work.search.curve, work.grid
    spread = max(spread_of(curve), LEAST_SPREAD_NATS)
    height = max(work.fit.z, 0.0) * spread
    return Voice(
        lowest_ns=place.lag_ns + (grid.lowest_ns if is_second else -grid.at(grid.num_lags - 1)),
        curve=curve if is_second else curve[::-1],
        height=height,
        spread=spread,
        weight=height / max(spread, chance_spread(work.fit.lags_tried)) ** 2,
        is_loose=work.is_loose,
    )


def chance_spread(num_lags: int) -> float:
    """Spread (nats) of scores that reach by chance what the best of so many wrong lags reaches.

    Where little is scored, most lags are all but zero and do not show it: the best of L reaches
    ln L nats, and lies √(2 ln L) spreads out.
    """
    return math.sqrt(0.5 * math.log(max(num_lags, 2)))

"""Where nodes belong, roughly: placed one after the other, the surest next.

A node is placed by all nodes placed before, so that pairs too weak to decide alone still count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.compare import LAG_STEP_NS, PairWork, is_sure
from coeval.line import LagGrid, LineFit, LineSearch, fit_peak
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
    """The offset that the pairs with all placed nodes agree on most; None without any pair."""
    curves: list[tuple[float, NDArray[np.float32]]] = []
    are_loose: list[bool] = []
    for other, place in placed.items():
        work = works.get((other, name)) or works.get((name, other))
        if work is None or work.is_unproven:
            continue
        are_loose.append(work.is_loose)
        if (other, name) in works:
            curves.append((place.lag_ns + work.grid.lowest_ns, work.search.curve))
        else:
            highest_ns = work.grid.at(work.grid.num_lags - 1)
            curves.append((place.lag_ns - highest_ns, work.search.curve[::-1]))
    if not curves:
        return None
    lowest = min(low for low, _ in curves)
    highest = max(low + len(curve) * LAG_STEP_NS for low, curve in curves)
    axis = np.arange(lowest, highest, LAG_STEP_NS)
    total = np.zeros(len(axis))
    for low, curve in curves:
        total += np.interp(axis, low + np.arange(len(curve)) * LAG_STEP_NS, curve, left=0, right=0)
    search = LineSearch(t_mid_ns=0.0, skews_ppm=np.zeros(1), sums=total[None, :].astype(np.float32))
    grid = LagGrid(lowest_ns=round(lowest), step_ns=LAG_STEP_NS, num_lags=len(axis))
    fit = fit_peak(search, grid)
    if fit is None:
        return None
    return Place(lag_ns=fit.lag_ns, fit=fit, is_loose=all(are_loose))

"""Which pairs of clocks to compare next: those that a measurement would tell most of.

A session of N clocks needs about N pairs, not N²: once two clocks are tied to a third one, what
they would say of each other is mostly known.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from coeval.clock_filter import ClockFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOffer:
    """A pair that could be compared."""

    first: str
    """One clock."""
    second: str
    """The other."""
    sigma_ns: float
    """Standard deviation that the measurement would have."""


def choose_pairs(
    offers: Sequence[PairOffer], filters: Sequence[ClockFilter], *, num: int
) -> list[PairOffer]:
    """The most telling pairs, greedily, each counted as measured before the next is chosen.

    Args:
        offers: what could be compared.
        filters: the groups of clocks that are tied already; they are left as they are.
        num: how many pairs to choose.

    Returns:
        At most `num` offers, the most telling first.
    """
    states = [filter_.copy() for filter_ in filters]
    group: dict[str, object] = {clock: f for f in states for clock in f.clocks}
    for offer in offers:
        for clock in (offer.first, offer.second):
            group.setdefault(clock, clock)
    # What a pair would tell only shrinks as others are measured, so that the first of the heap is
    # the best as soon as its gain is that of the moment: not every pair is looked at every time.
    heap = [(-gain_of(offer, group), offer.sigma_ns, k) for k, offer in enumerate(offers)]
    heapq.heapify(heap)
    chosen: list[PairOffer] = []
    while heap and len(chosen) < num:
        _, sigma_ns, k = heapq.heappop(heap)
        best = offers[k]
        gain = gain_of(best, group)
        if heap and (-gain, sigma_ns, k) > heap[0]:
            heapq.heappush(heap, (-gain, sigma_ns, k))
            continue
        chosen.append(best)
        mine, other = group[best.first], group[best.second]
        if mine is not other:
            for clock, owner in group.items():
                if owner is other:
                    group[clock] = mine
        elif isinstance(mine, ClockFilter) and best.first in mine and best.second in mine:
            row = mine.row(best.first, best.second, None)
            mine.update(row, 0.0, variance=best.sigma_ns**2)
    return chosen


def gain_of(offer: PairOffer, group: dict[str, object]) -> float:
    """Information (nats) that comparing a pair would give; infinite where nothing ties it yet."""
    mine, other = group[offer.first], group[offer.second]
    if mine is not other:
        return math.inf
    if not isinstance(mine, ClockFilter) or offer.first not in mine or offer.second not in mine:
        return 0.0  # tied by a pair that was just chosen
    _, variance = mine.expect(mine.row(offer.first, offer.second, None))
    return 0.5 * math.log1p(variance / offer.sigma_ns**2)

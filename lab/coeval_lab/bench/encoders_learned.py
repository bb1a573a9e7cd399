"""What the product's own chain says of a pair and of a whole scene, whether it believes it or not.

`coeval align` gives no number that it is not sure of; here the best lag is taken in any case, so
that every trial counts, and what the product itself would have said stands beside it.
Sign: lag = second − first; positive: the second clock is fast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coeval.align import estimate_nodes, line_near
from coeval.compare import PairWork, compare_nodes
from coeval.estimates import NodeEstimate
from coeval.lag import densify
from coeval.placing import solve_lines
from coeval.rough_places import Place, best_place
from coeval.stepped import place_with_steps
from coeval.tracks import StreamTrack, node_span

MAX_OFFSET_S = 60.0
"""As far as the product searches by default; all methods search as far."""

Works = Mapping[tuple[str, str], PairWork]
Nodes = Mapping[str, Sequence[StreamTrack]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """One answer about two clocks."""

    t_first_ns: float
    """Reading of the first clock at which the lag holds."""
    lag_ns: float
    """Second − first; positive: the second is fast."""


def compared(first: StreamTrack, second: StreamTrack) -> PairWork | None:
    """The product's comparison of two streams; None where there is nothing to compare."""
    tracks = (first, second)
    if not all(track.embeddings for track in tracks):
        return None
    dense = {id(track): densify(list(track.embeddings)) for track in tracks}
    return compare_nodes([first], [second], dense, max_offset_s=MAX_OFFSET_S)


def best_lag(work: PairWork | None, by_node: Nodes) -> Lag | None:
    """The best line of a pair, sharpened by what both have raw; None where nothing peaks."""
    if work is None or work.fit is None:
        return None
    places = Place(lag_ns=0.0, fit=None), Place(lag_ns=work.fit.lag_ns, fit=work.fit)
    line = line_near(work, *places, by_node)
    if line is None:
        return Lag(t_first_ns=work.fit.t_mid_ns, lag_ns=work.fit.lag_ns)
    return Lag(t_first_ns=line.t_second_ns - line.lag_ns, lag_ns=line.lag_ns)


def believed(works: Works, by_node: Nodes, *, reference: str) -> dict[str, NodeEstimate]:
    """What `coeval align` says of every node but the reference, from comparisons already made."""
    start_ns = node_span(by_node[reference])[0]
    session = place_with_steps(
        by_node, works, (), {}, reference=reference, start_ns=start_ns, max_offset_s=MAX_OFFSET_S
    )
    nodes, _ = estimate_nodes(session, by_node, (), reference=reference, start_ns=float(start_ns))
    return nodes


def surest(works: Works) -> str | None:
    """The first node of the pair that stands out most; None where no pair has a peak."""
    margins = {pair: work.fit.margin for pair, work in works.items() if work.fit is not None}
    return max(margins, key=lambda pair: margins[pair])[0] if margins else None


def joint_offsets(works: Works, by_node: Nodes, *, reference: str, t_ns: float) -> dict[str, float]:
    """Offset (ns) against the reference of every node that has a peak with any, placed jointly.

    The product's own steps, but that the surest node is placed next even where it is not sure.

    Args:
        works: comparisons of all pairs.
        by_node: the streams.
        reference: whose clock the others are measured against.
        t_ns: its reading at which the offsets hold.
    """
    placed = {reference: Place(lag_ns=0.0, fit=None)}
    while candidates := {
        name: place
        for name in by_node
        if name not in placed and (place := best_place(works, placed, name)) is not None
    }:
        name = max(candidates, key=lambda key: candidates[key].margin)
        placed[name] = candidates[name]
    lines = [
        line
        for (first, second), work in works.items()
        if first in placed
        and second in placed
        and (line := line_near(work, placed[first], placed[second], by_node)) is not None
    ]
    states = solve_lines(lines, reference=reference, t0_ns=t_ns).states
    return {
        name: states[name][0] if name in states else place.lag_ns
        for name, place in placed.items()
        if name != reference
    }

"""Evidence that contradicts the answer: said to people, who can tell which of the two is wrong."""

from collections.abc import Mapping

from coeval.estimates import PairEstimate, SessionEstimate
from coeval.evidence import SERVER, UTC
from coeval.time import NS_PER_S, ClockLine, NodeNs, RefNs

LEAST_MISS_NS = 250_000_000
"""Content that is off by less may be late itself: a picture lags the steering by 0.2 s."""
PSEUDO_CLOCKS = {UTC: "UTC", SERVER: "the server"}


def disagreements(estimate: SessionEstimate) -> list[str]:
    """One line for each evidence that would be believed alone and says something else.

    A PPS that is a whole second off, or a recording of another day, is seen by nothing else.
    """
    lines: dict[str, ClockLine] = {
        estimate.reference: ClockLine(t0_ref_ns=RefNs(0), offset_ns=0.0, skew_ppb=0.0)
    }
    for name, node in estimate.nodes.items():
        if node.line is not None and not node.jumps:  # what a step explains is no contradiction
            lines[name] = node.line
    said = []
    for pair in estimate.pairs:
        miss_ns = pair_miss_ns(pair, lines)
        if miss_ns is not None and abs(miss_ns) >= LEAST_MISS_NS:
            said.append(
                f"the content of {pair.first} and {pair.second} contradicts the other evidence: "
                f"by content {pair.second} is {miss_ns / NS_PER_S:+.3f} s from what is stated; "
                "see --method content"
            )
    for each in estimate.contradictions:
        if each.kind != "content":
            first, second = (PSEUDO_CLOCKS.get(name, name) for name in (each.first, each.second))
            said.append(
                f"{each.kind} evidence of {second} against {first} does not fit the rest: it is "
                f"{each.miss_ns / NS_PER_S:+.9f} s ({each.sigmas:.0f} standard deviations) off"
            )
    return said


def pair_miss_ns(pair: PairEstimate, lines: Mapping[str, ClockLine]) -> float | None:
    """How much faster the second clock is by content than by the answer; None: not comparable."""
    if pair.fit is None or not pair.accepted or not {pair.first, pair.second} <= lines.keys():
        return None
    t_first_ns = round(pair.fit.t_mid_ns)
    t_second_ns = lines[pair.second].to_node(lines[pair.first].to_ref(NodeNs(t_first_ns)))
    return pair.fit.lag_ns - (t_second_ns - t_first_ns)

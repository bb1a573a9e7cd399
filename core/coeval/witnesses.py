"""What the other sources of a clock say when one of them shows a step of it."""

import math
from collections.abc import Mapping

from coeval.evidence import Evidence, is_node
from coeval.source_trust import SourceTrust
from coeval.time import NS_PER_S

GATE_SIGMAS = 3.0
"""A sample farther from what is expected is held back, and a step farther than this is seen."""
AGREE_SIGMAS = 4.0
"""Two samples held back that differ by less, in their own standard deviations, agree."""
JUMP_NS = 2e6
"""A step of more than this is no matter of load, which moves stamps by microseconds."""
WAIT_S = 15.0
"""So long a step that one source shows waits for another that should see it, too."""

Sources = Mapping[str, SourceTrust]
"""Every source of a session, by name."""


def other_sources(
    sources: Sources, evidence: Evidence, *, size_ns: float, t_root_ns: float
) -> list[SourceTrust]:
    """Other sources that would see a step of this size, and are believed."""
    clocks = set(filter(is_node, (evidence.first, evidence.second)))
    return [
        trust
        for name, trust in sources.items()
        if name != evidence.source
        and clocks & trust.clocks
        and GATE_SIGMAS * trust.sigma_ns < abs(size_ns)
        and not trust.is_distrusted(t_root_ns)
    ]


def witness_of(
    sources: Sources, evidence: Evidence, miss_ns: float, *, tolerance_ns: float
) -> SourceTrust | None:
    """Another source whose last sample held back tells of the same step of the same clock."""
    if abs(miss_ns) <= JUMP_NS:
        return None
    for name, trust in sources.items():
        if name == evidence.source or not trust.held:
            continue
        other, other_miss_ns = trust.held[-1]
        same = 1.0 if other.second == evidence.second else -1.0
        shared = {other.second, other.first} & {evidence.second, evidence.first}
        if not any(map(is_node, shared)) or other.second not in (
            evidence.first,
            evidence.second,
        ):
            continue
        room_ns = tolerance_ns + AGREE_SIGMAS * trust.scale * other.sigma_ns
        room_ns += AGREE_SIGMAS * math.hypot(other.bias_sigma_ns, evidence.bias_sigma_ns)
        if abs(miss_ns - same * other_miss_ns) <= min(room_ns, 0.5 * abs(miss_ns)):
            return trust
    return None


def stepping_clock(sources: Sources, evidence: Evidence) -> str:
    """Which of two clocks stepped: the one that other sources doubt too, else the second."""
    if not is_node(evidence.second):
        return evidence.first
    if not is_node(evidence.first):
        return evidence.second
    doubted = {
        clock
        for name, trust in sources.items()
        if name != evidence.source and trust.held
        for clock in trust.clocks
    }
    is_first = evidence.first in doubted and evidence.second not in doubted
    return evidence.first if is_first else evidence.second


def is_due(trust: SourceTrust, onset_ns: float) -> bool:
    """Whether a source that spoke shortly before an onset may be expected to speak again soon."""
    return onset_ns - trust.accepted_ns < WAIT_S * NS_PER_S

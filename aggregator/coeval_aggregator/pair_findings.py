"""What single pairs of nodes say, and which of them do not fit the others."""

import logging
import math
from collections.abc import Sequence

from coeval.estimates import PairEstimate
from coeval.evidence import is_node
from coeval.interval import NORMAL_95
from coeval.placing import Contradiction, PairLine
from coeval.time import NS_PER_S
from coeval_aggregator.told import Told

logger = logging.getLogger(__name__)


class PairFindings:
    """What every pair of nodes last told by content, and the contradictions that were told."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._content_facts: dict[tuple[str, str], dict[str, object]] = {}
        self._contradictory: set[tuple[str, str, str]] = set()

    def note(self, pairs: Sequence[PairEstimate], contradictions: Sequence[Contradiction]) -> None:
        """Take over what single pairs told, and tell of those that do not fit the others, once."""
        for pair in pairs:
            self._content_facts[pair.first, pair.second] = content_facts(pair)
        found = {(each.first, each.second, each.kind): each for each in contradictions}
        for key in found.keys() - self._contradictory:
            self._tell(found[key])
        # What was not compared this time contradicts as before.
        compared = {frozenset((pair.first, pair.second)) for pair in pairs}
        self._contradictory = set(found) | {
            key
            for key in self._contradictory
            if key[2] == "content" and frozenset(key[:2]) not in compared
        }

    def forget(self, node: str) -> None:
        """A node started anew: what its pairs told does not hold."""
        self._content_facts = {
            pair: facts for pair, facts in self._content_facts.items() if node not in pair
        }

    def facts(self, lines: Sequence[PairLine]) -> list[dict[str, object]]:
        """What is known between two clocks each.

        Args:
            lines: what hardware and network say.
        """
        return [*map(line_facts, lines), *self._content_facts.values()]

    def _tell(self, found: Contradiction) -> None:
        logger.warning(
            "evidence contradicts first=%s second=%s kind=%s miss_s=%.6f sigmas=%.1f",
            found.first,
            found.second,
            found.kind,
            found.miss_ns / NS_PER_S,
            found.sigmas,
        )
        node, other = found.second, found.first
        if not is_node(node):
            node, other = other, node
        self._told.event(
            "contradiction",
            node,
            against=other,
            kind=found.kind,
            miss_s=(1.0 if node == found.second else -1.0) * found.miss_ns / NS_PER_S,
            sigmas=round(found.sigmas, 1),
        )


def line_facts(line: PairLine) -> dict[str, object]:
    """What hardware or network says between two clocks, as it is told."""
    ci95_s = NORMAL_95 * math.sqrt(float(line.covariance[0, 0])) / NS_PER_S
    return {
        "first": line.first,
        "second": line.second,
        "kind": line.kind,
        "accepted": True,
        "ci95_s": ci95_s,
    }


def content_facts(pair: PairEstimate) -> dict[str, object]:
    """What content says between two nodes, as it is told; without a line, no interval."""
    ci95_s = None
    if pair.fit is not None:
        ci95_s = NORMAL_95 * math.sqrt(float(pair.fit.covariance[0, 0])) / NS_PER_S
    return {
        "first": pair.first,
        "second": pair.second,
        "kind": "content",
        "accepted": pair.accepted,
        "ci95_s": ci95_s,
    }

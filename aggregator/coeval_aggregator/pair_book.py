"""Which pairs of nodes to compare by content next: two a node, not all.

In: what pairs told when they were last compared, and what is known of the clocks. Out: the pairs
of the next estimate. Three in four places go to the pairs that would tell most (`pair_choice`): a
pair that locked promises what it told, one never compared what content tells on average, one
without common content next to nothing. Between clocks that hardware has told a hundred times better
than content could, there is nothing to tell. The rest go to the pairs that waited longest, since a
scene changes, and hardware may be wrong.
"""

import itertools
import math
from collections.abc import Sequence

from coeval.clock_filter import ClockFilter
from coeval.estimates import PairEstimate
from coeval.pair_choice import PairOffer, choose_pairs, gain_of

Pair = tuple[str, str]

PAIRS_A_NODE = 2
TELLING_SHARE = 0.75
EXPECTED_SIGMA_NS = 20e6
"""Of a pair that was never compared."""
SILENT_SIGMA_NS = 1e9
"""Of one that was compared in vain."""
LEAST_NATS = 0.005
"""A pair that promises less information would not narrow an interval by half a percent."""


class PairBook:
    """What is known of every pair's content."""

    def __init__(self) -> None:
        self._sigma_ns: dict[Pair, float] = {}
        self._compared: dict[Pair, int] = {}
        self._round = 0

    def choose(self, nodes: Sequence[str], filters: Sequence[ClockFilter]) -> set[Pair] | None:
        """The pairs to compare next; None: all, they are few.

        Args:
            nodes: those that have content.
            filters: what hardware and network know of the clocks.
        """
        every = list(itertools.combinations(sorted(nodes), 2))
        num = PAIRS_A_NODE * len(nodes)
        if len(every) <= num:
            return None
        offers = [
            PairOffer(
                first=pair[0],
                second=pair[1],
                sigma_ns=self._sigma_ns.get(pair, EXPECTED_SIGMA_NS),
            )
            for pair in every
        ]
        open_ = [offer for offer in offers if not is_known(offer, filters)]
        num_telling = math.ceil(TELLING_SHARE * num)
        chosen = {(o.first, o.second) for o in choose_pairs(open_, filters, num=num_telling)}
        waiting = sorted(set(every) - chosen, key=lambda pair: (self._compared.get(pair, -1), pair))
        return chosen | set(waiting[: num - num_telling])

    def note(self, pairs: Sequence[PairEstimate]) -> None:
        """Take over what the compared pairs told."""
        self._round += 1
        for each in pairs:
            pair = min(each.first, each.second), max(each.first, each.second)
            self._compared[pair] = self._round
            is_telling = each.accepted and each.fit is not None
            self._sigma_ns[pair] = (
                math.sqrt(float(each.fit.covariance[0, 0]))
                if is_telling and each.fit is not None
                else SILENT_SIGMA_NS
            )

    def forget(self, node: str) -> None:
        """A node started anew: its content is another."""
        for kept in (self._sigma_ns, self._compared):
            for pair in [pair for pair in kept if node in pair]:
                del kept[pair]


def is_known(offer: PairOffer, filters: Sequence[ClockFilter]) -> bool:
    """Whether hardware and network know a pair so well that its content would tell nothing."""
    owner = next((each for each in filters if offer.first in each), None)
    if owner is None or offer.second not in owner:
        return False
    return gain_of(offer, {offer.first: owner, offer.second: owner}) < LEAST_NATS

"""The wrong clocks of a demo, and what their true offsets are.

Every node's clock is given an error, the reference's too: no clock is right, as in life. Sign:
offset = node − reference; positive: the node is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coeval.manifest import Manifest, NodeTruth
from coeval.time import NS_PER_S
from coeval_edge.skew import ClockError

LEAST_OFFSET_S, LARGEST_OFFSET_S = 1.5, 8.0
LEAST_SKEW_PPM, LARGEST_SKEW_PPM = 15.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueState:
    """What a node's clock really is against the reference's."""

    offset_s: float
    """node − reference; positive: the node is fast."""
    skew_ppm: float
    """Rate of the node against the reference minus one."""


class TrueClocks:
    """The clocks of a demo's nodes: known in the recording, made wrong for the replay."""

    def __init__(
        self,
        manifest: Manifest,
        errors: Mapping[str, ClockError],
        *,
        reference: str,
        start_s: float,
    ) -> None:
        """Put together what is known.

        Args:
            manifest: of the recording that is replayed.
            errors: what each node's clock is made wrong by.
            reference: the node whose clock is the timeline.
            start_s: earliest stamp of the recording, where the errors' offsets hold.
        """
        self.errors, self.reference = errors, reference
        self._truth, self._start_s = manifest.truth, start_s

    @property
    def sigma_s(self) -> float:
        """Standard deviation of the recording's own truth; 0 where it states none."""
        return (self._truth.sigma_s or 0.0) if self._truth else 0.0

    @property
    def first_reading_s(self) -> float:
        """What the reference's clock shows at the recording's start, about."""
        return self._start_s + self.errors[self.reference].offset_s

    def at(self, node: str, t_ref_ns: int) -> TrueState | None:
        """The state of a node when the reference's clock shows `t_ref_ns`; None: not known."""
        own, reference = self._known(node), self._known(self.reference)
        if own is None or reference is None:
            return None
        shown_s = t_ref_ns / NS_PER_S
        true_s = shown_s
        for _ in range(20):  # clocks err by so little that each step gains four digits
            true_s -= self._reading_s(self.reference, reference, true_s) - shown_s
        rate, reference_rate = self._rate(node, own), self._rate(self.reference, reference)
        return TrueState(
            offset_s=self._reading_s(node, own, true_s) - shown_s,
            skew_ppm=(rate / reference_rate - 1.0) * 1e6,
        )

    def _known(self, node: str) -> NodeTruth | None:
        return None if self._truth is None else self._truth.nodes.get(node)

    def _rate(self, node: str, known: NodeTruth) -> float:
        return (1 + known.skew_ppm * 1e-6) * (1 + self.errors[node].skew_ppm * 1e-6)

    def _reading_s(self, node: str, known: NodeTruth, true_s: float) -> float:
        """What the node's wrong clock shows at a true instant."""
        holds_s = self._start_s
        if self._truth is not None and self._truth.start_s is not None:
            holds_s = self._truth.start_s
        since_s = true_s - holds_s
        stamp_s = true_s + known.offset_s + known.skew_ppm * 1e-6 * since_s
        stamp_s += sum(jump.by_s for jump in known.jumps if since_s >= jump.at_s)
        error = self.errors[node]
        return stamp_s + error.offset_s + error.skew_ppm * 1e-6 * (stamp_s - self._start_s)


def draw_errors(nodes: list[str], *, seed: int) -> dict[str, ClockError]:
    """Errors of seconds and tens of ppm, either way, for every node."""
    rng = np.random.default_rng(seed)
    errors = {}
    for node in nodes:
        offset_s = rng.uniform(LEAST_OFFSET_S, LARGEST_OFFSET_S) * rng.choice((-1, 1))
        skew_ppm = rng.uniform(LEAST_SKEW_PPM, LARGEST_SKEW_PPM) * rng.choice((-1, 1))
        errors[node] = ClockError(
            offset_s=round(float(offset_s), 3), skew_ppm=round(float(skew_ppm), 1)
        )
    return errors

"""Pictures that stopped changing: a frozen camera, a covered lens.

Every picture is compared with the one after which nothing changed, not with its neighbour, so that
a change too slow to be seen from one to the next adds up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.relevance.judgement import Finding, Reason
from coeval.samples import Frame
from coeval.time import NS_PER_S

NOISE_MEAN, NOISE_PEAK = 0.6, 3.0
"""Grey levels (of 255, pictures of 64 × 48) by which compression and the sensor's noise make a
picture of nothing new differ: mean over the picture, and the most of any pixel."""
DARK_LEVEL = 24
"""A picture of which 99.5 % of the pixels are no brighter is dark: video black and its noise."""
DARK_MEAN, DARK_PEAK = 2.0, 10.0
"""The same as for noise, where the gain is turned up to see anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long pictures must stay the same before that says nothing any more."""

    identical_ns: int
    """Where they are the same bit for bit: no live sensor does that for long, a screen may."""
    similar_ns: int
    """Where they differ by noise: a camera at rest does that."""
    least_pictures: int
    """And so many of them at least."""
    longest_step_ns: int
    """Pictures further apart say nothing of the time between them."""


VIDEO = Patience(
    identical_ns=10 * NS_PER_S,
    similar_ns=30 * NS_PER_S,
    least_pictures=10,
    longest_step_ns=5 * NS_PER_S,
)
STILLS = Patience(
    identical_ns=60 * NS_PER_S,
    similar_ns=120 * NS_PER_S,
    least_pictures=8,
    longest_step_ns=60 * NS_PER_S,
)


class PictureJudge:
    """Judges frames of a video, or stills."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._anchor: NDArray[np.int16] | None = None
        """The picture after which nothing changed."""
        self._anchor_ns = self._last_ns = 0
        self._num_same = 0
        self._is_identical = True

    def push(self, sample: Frame) -> list[Finding]:
        """Add a picture."""
        picture = sample.grey.astype(np.int16)
        t_ns = int(sample.t_node_ns)
        is_far = t_ns - self._last_ns > self._patience.longest_step_ns
        self._last_ns = t_ns
        is_dark = float(np.percentile(picture, 99.5)) <= DARK_LEVEL
        if self._anchor is None or is_far or not self._is_same(picture, is_dark=is_dark):
            self._anchor, self._anchor_ns = picture, t_ns
            self._num_same, self._is_identical = 0, True
            return [Finding(t_node_ns=t_ns)]
        self._num_same += 1
        patience = self._patience
        limit_ns = patience.similar_ns
        if self._is_identical or is_dark:
            limit_ns = patience.identical_ns
        if self._num_same < patience.least_pictures:
            limit_ns = max(limit_ns, t_ns - self._anchor_ns + 1)
        reason: Reason = "dark" if is_dark else "frozen"
        return [
            Finding(t_node_ns=t_ns, reason=reason, since_node_ns=self._anchor_ns, limit_ns=limit_ns)
        ]

    def advance(self, t_node_ns: int) -> list[Finding]:
        """A camera that sends nothing says nothing of what it would have seen."""
        del t_node_ns
        return []

    def _is_same(self, picture: NDArray[np.int16], *, is_dark: bool) -> bool:
        assert self._anchor is not None
        if picture.shape != self._anchor.shape:
            return False
        difference = np.abs(picture - self._anchor)
        peak = int(difference.max())
        if peak:
            self._is_identical = False
        mean_limit, peak_limit = (DARK_MEAN, DARK_PEAK) if is_dark else (NOISE_MEAN, NOISE_PEAK)
        return peak <= peak_limit and float(difference.mean()) <= mean_limit

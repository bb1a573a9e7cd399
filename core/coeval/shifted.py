"""Has a stream moved in time against the others? A sequential test of each against all others.

In: embeddings of streams on one timeline, less their slow mean, tick by tick. Out: nats for "since
some moment of the last minute it shows another moment than the others", against "it does not".

Shape letters: S streams, T hops of a tick, E embedding, L lags.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coeval.hops import EMBEDDING_DIM
from coeval.samples import MODALITIES, FloatArray, Modality

LONGEST_LAG_HOPS = 100
"""How far apart moments are compared (5 s)."""
FAR_HOPS = 6
"""Lags from here on (0.3 s) count as another moment."""
PICTURES: tuple[Modality, ...] = ("video", "image")
"""Stills tell when they were taken against pictures, and hardly against anything else."""
TEMPER = 0.6
"""Share of the nats that is believed: neighbouring hops say much the same. By logistic regression
on pairs of tuning scenes (940 000 to 940 079) 0.35 to 0.85, of stills with others 0.0 to 0.07."""
STILLS_TEMPER = 0.7
"""… of stills with pictures."""
MEMORY_TICKS = 240
"""Moments at which a stream may have moved: the last 60 s, the older the less likely."""
OFFSET_TICKS = 600
"""Memory of how much more each lag is usually told than the same moment (150 s) …"""
OFFSET_MARGIN = 1.25
"""… so many times of which is no evidence: a stream that was late from the beginning did not
move."""
WARM_TICKS = 40
"""What is usual is learned first: so long (10 s) nothing speaks against a stream."""
LEAST_NATS, MOST_NATS = -6.0, 60.0
"""Less says nothing more, and what has added up must be taken back when all is well again."""

_LAGS = np.arange(-LONGEST_LAG_HOPS, LONGEST_LAG_HOPS + 1)
_FAR = np.flatnonzero(np.abs(_LAGS) >= FAR_HOPS)
_PRIOR = np.log((1.0 / np.abs(_LAGS[_FAR])) / (1.0 / np.abs(_LAGS[_FAR])).sum()).astype(np.float32)
"""Shifts are as likely by factors: 0.3 to 0.6 s as 2.5 to 5 s."""


def believed() -> FloatArray:
    """Share of two streams' nats that is believed, by modality, shape (M, M)."""
    share = np.full((len(MODALITIES), len(MODALITIES)), TEMPER, np.float32)
    still = MODALITIES.index("image")
    share[still, :] = share[:, still] = 0.0
    for picture in map(MODALITIES.index, PICTURES):
        share[still, picture] = share[picture, still] = STILLS_TEMPER
    return share


_BELIEVED = believed()

BY_STREAM = ("nats", "offset", "ticks")


class ShiftTest:
    """Follows a session's streams, tick after tick.

    Averages the likelihood ratio of every shift since every moment (Shiryaev 1963, Roberts 1966):
    the evidence since the stream moved adds up, that of the calm before it is forgotten. Where
    nothing happens the ratio stays what it is: a quiet scene speaks against nobody.
    """

    def __init__(self, modality: Sequence[Modality]) -> None:
        """Begin with nothing known.

        Args:
            modality: of each stream.
        """
        S = len(modality)
        self._kind = np.array([MODALITIES.index(m) for m in modality], np.int64)
        self.nats = np.zeros((S, len(_FAR)), np.float32)
        """Of each shift."""
        self.offset = np.zeros((S, len(_FAR)), np.float32)
        """How much more than the same moment each other one is usually told."""
        self.ticks = np.zeros(S, np.float32)
        """How long the stream was seen."""

    def push(self, past: FloatArray, now: FloatArray, is_there: NDArray[np.bool_]) -> FloatArray:
        """Take in one tick.

        Args:
            past: LONGEST_LAG_HOPS hops and those of the tick, shape (S, LONGEST_LAG_HOPS + T, E);
                zeros where there are none.
            now: those of the tick, shape (S, T, E).
            is_there: who is there, shape (S,).

        Returns:
            Nats for "it moved" of each stream, shape (S,), LEAST_NATS…MOST_NATS.
        """
        # Who is not there now is no partner: what it showed would meet nothing but the past.
        present = past * is_there[:, None, None]
        later = products(now, self._others(present))
        earlier = products(self._others(now), present)
        told = np.concatenate([earlier[:, :0:-1], later], axis=1)
        more = told[:, _FAR] - told[:, LONGEST_LAG_HOPS, None]
        self.ticks += is_there
        known = (is_there & (self.ticks > WARM_TICKS))[:, None]
        since = np.logaddexp(
            self.nats + np.float32(np.log1p(-1.0 / MEMORY_TICKS)),
            np.float32(-np.log(MEMORY_TICKS)),
        )
        usual = OFFSET_MARGIN * np.maximum(self.offset, 0.0)
        found = np.minimum(since + more - usual, MOST_NATS)
        self.nats = np.where(known, found, self.nats).astype(np.float32)
        gain = is_there / np.clip(self.ticks, 1, OFFSET_TICKS)
        self.offset += (gain[:, None] * (more - self.offset)).astype(np.float32)
        nats: FloatArray = np.logaddexp.reduce(self.nats + _PRIOR, axis=1)
        return np.clip(nats, LEAST_NATS, MOST_NATS)

    def _others(self, rows: FloatArray) -> FloatArray:
        """What all others show, each as far as it is believed, shape of `rows`.

        Added up by modality before it is compared: all pairs cost no more than all streams.
        """
        S, T, E = rows.shape
        flat = rows.reshape(S, -1)
        sums = np.zeros((len(MODALITIES), T * E), np.float32)
        for kind in np.unique(self._kind):
            sums[kind] = flat[self._kind == kind].sum(axis=0)
        share = _BELIEVED[self._kind]
        own = share[np.arange(S), self._kind]
        others: FloatArray = (share @ sums - own[:, None] * flat).reshape(S, T, E)
        return others


def products(now: FloatArray, past: FloatArray) -> FloatArray:
    """Of each stream, what is shown now times what was shown some hops before.

    Args:
        now: the last hops, shape (S, T, E).
        past: LONGEST_LAG_HOPS hops and those, shape (S, LONGEST_LAG_HOPS + T, E).

    Returns:
        Sums over hops and embedding of lags 0…LONGEST_LAG_HOPS, shape (S, L).
    """
    S, T, _ = now.shape
    flat = past.reshape(S, -1)
    # The T hops that lie some lag before the last T are T·E numbers side by side.
    windows = np.lib.stride_tricks.sliding_window_view(flat, T * EMBEDDING_DIM, axis=1)
    windows = windows[:, ::EMBEDDING_DIM]
    found: FloatArray = np.einsum("slk,sk->sl", windows, now.reshape(S, -1))[:, ::-1]
    return found

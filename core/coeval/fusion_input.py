"""What the fusion network sees at a tick: the last moments of every stream, what is usual for
each, and how well the streams' contents agree about the moment.

In: embeddings of streams on one timeline, hop by hop. Out: arrays for a tick, all causal. The
same code runs in training and on the server.

Shape letters: N ticks, S streams, T hops, E embedding, L lags.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.hops import EMBEDDING_DIM
from coeval.samples import FloatArray, Modality
from coeval.shifted import BY_STREAM, FAR_HOPS, LONGEST_LAG_HOPS, ShiftTest, products

TICK_HOPS = 5
"""Hops between ticks (0.25 s)."""
RECENT_HOPS = 64
"""Hops of each stream that a tick shows (3.2 s)."""
HIGHPASS_HOPS = 121
"""Memory of the mean that is subtracted before contents are compared: `coeval.lag` subtracts one
of as many hops, which a causal filter can only approximate."""
NEAR_HOPS = 1
"""Lags up to this count as the same moment."""
WINDOWS_TICKS = (4, 8, 16, 32, 64)
"""Windows of the comparison: 1 to 16 s, each forgetting at once what is older, so that a fault is
not outweighed by the calm before it."""
USUAL_TICKS, LONG_TICKS = 120, 400
"""Memories of how much two streams usually agree: 30 and 100 s."""
PRIOR_TICKS = 20
"""So many ticks in which nothing agreed are taken to come before a session."""
MOST_ACTIVE = 4.0
"""A moment counts as no more than so many times the usual one."""
HISTORY_HOPS = 800
"""Memory of what is usual for a stream (40 s)."""
LEAST_STIR = 1e-6
"""Added to the squared step of an embedding: above float16's rounding on the wire, far below the
steps of a live stream (about 5e-3)."""

HISTORY_DIM = 2 * EMBEDDING_DIM + 3
"""Usual embedding, its spread, usual stir and its spread, how much of the memory is filled."""
MOST_NATS = 100.0
"""What a sequential test adds up to at most, so that it comes back when all is well again."""
JOINT_DIM = 4 * len(WINDOWS_TICKS) + 6
"""Of each window: the same moment, any other, their difference, and what was to be expected; then
what is usually told, lately and for long, how much happens, now and usually, and the tests for a
stream that moved and for one that is unrelated."""


STATE_BY_STREAM = (
    "_recent",
    "_covered",
    "_stir",
    "_mean",
    "_square",
    "_stir_mean",
    "_stir_square",
    "_seen",
    "_slow",
    "_past",
    "_told",
    "_sums",
    "_expected",
    "_happened",
    "_energy",
    "_long",
    "_moved",
    "_offset",
    "_apart",
)
STATE_BY_PAIR = ("_near", "_together")
"""Of every two streams: how much they usually agree, and for how many ticks that was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickInputs:
    """What is known at N ticks of S streams; a stream that is not there has zeros."""

    recent: FloatArray
    """Embeddings of the last hops, shape (N, S, RECENT_HOPS, E)."""
    covered: FloatArray
    """1 where there is a row, else 0, shape (N, S, RECENT_HOPS)."""
    stir: FloatArray
    """Step of each hop against what is usual for the stream, in spreads, (N, S, RECENT_HOPS)."""
    history: FloatArray
    """What is usual for the stream, shape (N, S, HISTORY_DIM)."""
    joint: FloatArray
    """How well each stream agrees with all others together, shape (N, S, JOINT_DIM)."""
    shifted: FloatArray
    """Nats for "it has moved in time" (`coeval.shifted`), shape (N, S, 1)."""

    def take(
        self, ticks: "slice | np.ndarray", streams: Sequence[int] | None = None
    ) -> "TickInputs":
        """Some of the ticks, and the streams in the order named; comparisons are not made anew."""
        s = slice(None) if streams is None else np.asarray(streams)
        return TickInputs(
            **{name: getattr(self, name)[ticks][:, s] for name in TickInputs.__slots__}
        )


class SessionInputs:
    """Keeps what a session's ticks need of the past; one instance serves one set of streams."""

    def __init__(self, modality: Sequence[Modality]) -> None:
        """Begin with nothing known of any stream.

        Args:
            modality: of each stream.
        """
        S, E = len(modality), EMBEDDING_DIM
        self.modality = tuple(modality)
        self.num_streams = S
        self._recent = np.zeros((S, RECENT_HOPS, E), np.float32)
        self._covered = np.zeros((S, RECENT_HOPS), np.float32)
        self._stir = np.zeros((S, RECENT_HOPS), np.float32)
        self._mean = np.zeros((S, E), np.float32)
        self._square = np.zeros((S, E), np.float32)
        self._stir_mean = np.zeros(S, np.float32)
        self._stir_square = np.zeros(S, np.float32)
        self._seen = np.zeros(S, np.float32)
        self._slow = np.zeros((S, E), np.float32)
        self._past = np.zeros((S, LONGEST_LAG_HOPS, E), np.float32)
        L, W, H = 2 * LONGEST_LAG_HOPS + 1, len(WINDOWS_TICKS), WINDOWS_TICKS[-1]
        self._tick = 0
        """Where in `_told` the next tick goes."""
        self._told = np.zeros((S, H, L), np.float32)
        """Nats of the last ticks by lag, one after the other, round and round."""
        self._sums = np.zeros((S, W, L))
        """Of `_told` over each window; float64, since what is added is taken away again."""
        self._expected = np.zeros((S, H), np.float32)
        self._happened = np.zeros((S, H), np.float32)
        """Energy of the last ticks, kept as `_told` is."""
        self._energy = np.zeros(S, np.float32)
        self._long = np.zeros(S, np.float32)
        self._near = np.zeros((S, S, 2 * NEAR_HOPS + 1), np.float32)
        self._together = np.zeros((S, S), np.float32)
        self._moved = np.zeros((S, L), np.float32)
        self._offset = np.zeros((S, L), np.float32)
        """How much more than the same moment each other one is usually told."""
        self._apart = np.zeros(S, np.float32)
        self._shift = ShiftTest(modality)

    def rearranged(
        self, order: Sequence[int | None], modality: Sequence[Modality]
    ) -> "SessionInputs":
        """The same with other streams.

        Args:
            order: for each stream from now on, its index until now; None: a new one.
            modality: of each stream from now on.
        """
        made = SessionInputs(modality)
        new = np.array([k for k, old in enumerate(order) if old is not None], np.int64)
        was = np.array([old for old in order if old is not None], np.int64)
        for name in STATE_BY_STREAM:
            getattr(made, name)[new] = getattr(self, name)[was]
        for name in BY_STREAM:
            getattr(made._shift, name)[new] = getattr(self._shift, name)[was]
        for name in STATE_BY_PAIR:
            getattr(made, name)[np.ix_(new, new)] = getattr(self, name)[np.ix_(was, was)]
        made._tick = self._tick
        return made

    def push(self, rows: FloatArray, covered: FloatArray) -> TickInputs:
        """Take the streams' next hops; one tick for every TICK_HOPS of them.

        Args:
            rows: embeddings, shape (S, T, E), T a multiple of TICK_HOPS, streams in one order.
            covered: 1 where there is a row, shape (S, T).

        Returns:
            Inputs of the T / TICK_HOPS ticks, each at the end of its hops.
        """
        assert rows.shape[0] == self.num_streams
        assert rows.shape[1] % TICK_HOPS == 0
        parts = [
            self._push_tick(
                rows[:, k : k + TICK_HOPS].astype(np.float32, copy=False),
                covered[:, k : k + TICK_HOPS].astype(np.float32, copy=False),
            )
            for k in range(0, rows.shape[1], TICK_HOPS)
        ]
        recent, present, stir, history, joint, shifted = (
            np.stack(part) for part in zip(*parts, strict=True)
        )
        return TickInputs(
            recent=recent,
            covered=present,
            stir=stir,
            history=history,
            joint=joint,
            shifted=shifted,
        )

    def _push_tick(self, rows: FloatArray, covered: FloatArray) -> tuple[FloatArray, ...]:
        rows = rows * covered[..., None]
        steps = np.diff(np.concatenate([self._recent[:, -1:], rows], axis=1), axis=1)
        was_there = np.concatenate([self._covered[:, -1:], covered[:, :-1]], axis=1) * covered
        stir = np.log(np.square(steps).mean(axis=-1) + LEAST_STIR)
        passed = np.empty_like(rows)
        usual = np.empty_like(covered)
        for t in range(rows.shape[1]):
            passed[:, t] = self._note(rows[:, t], covered[:, t])
            usual[:, t] = self._note_stir(stir[:, t], was_there[:, t])
        self._recent = np.concatenate([self._recent[:, TICK_HOPS:], rows], axis=1)
        self._covered = np.concatenate([self._covered[:, TICK_HOPS:], covered], axis=1)
        self._stir = np.concatenate([self._stir[:, TICK_HOPS:], usual], axis=1)
        is_there: NDArray[np.bool_] = np.asarray(covered.any(axis=1))
        both = is_there[:, None] & is_there[None] & ~np.eye(self.num_streams, dtype=np.bool_)
        told, near, shifted = self._compare(passed, both)
        joint = self._agreement(told, near, passed, both, is_there)
        return self._recent, self._covered, self._stir, self._history(), joint, shifted

    def _note(self, row: FloatArray, covered: FloatArray) -> FloatArray:
        """Take one hop into the usual; returns it less its slow mean, zero where nothing is."""
        self._seen = self._seen + covered
        gain = covered / np.minimum(np.maximum(self._seen, 1.0), HISTORY_HOPS)
        self._mean += gain[:, None] * (row - self._mean)
        self._square += gain[:, None] * (np.square(row) - self._square)
        gain = covered / np.minimum(np.maximum(self._seen, 1.0), HIGHPASS_HOPS)
        self._slow += gain[:, None] * (row - self._slow)
        return (row - self._slow) * covered[:, None]

    def _note_stir(self, stir: FloatArray, usable: FloatArray) -> FloatArray:
        """How far a step is from the usual, in spreads; then it becomes part of the usual."""
        spread = np.sqrt(np.maximum(self._stir_square - np.square(self._stir_mean), 0.25))
        known = usable * (self._seen > 20)
        off = np.clip((stir - self._stir_mean) / spread, -8.0, 8.0) * known
        gain = usable / np.minimum(np.maximum(self._seen, 1.0), HISTORY_HOPS)
        self._stir_mean += gain * (stir - self._stir_mean)
        self._stir_square += gain * (np.square(stir) - self._stir_square)
        return off.astype(np.float32)

    def _history(self) -> FloatArray:
        spread = np.sqrt(np.maximum(self._square - np.square(self._mean), 0.0))
        stir_spread = np.sqrt(np.maximum(self._stir_square - np.square(self._stir_mean), 0.0))
        filled = np.minimum(self._seen / HISTORY_HOPS, 1.0)
        rest = np.stack([self._stir_mean, stir_spread, filled], axis=1)
        return np.concatenate([self._mean, spread, rest], axis=1).astype(np.float32)

    def _compare(
        self, passed: FloatArray, both: NDArray[np.bool_]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Correlate the new hops with the last seconds of every stream that is there, lag by lag.

        Returns:
            Nats of each stream against all others together by lag, shape (S, L), of every two
            streams at the lags that count as the same moment, shape (S, S, 2·NEAR_HOPS + 1), and
            for "it has moved", shape (S, 1).
        """
        self._past = np.concatenate([self._past, passed], axis=1)
        shifted = self._shift.push(self._past, passed, np.asarray(both.any(axis=1)))[:, None]
        # What the others show now or showed before adds up before it is compared: all pairs of
        # streams cost no more than all streams. Who is not there now is no partner.
        there = np.asarray(both.any(axis=1))[:, None, None]
        others_past = (self._past * there).sum(axis=0) - self._past * there
        others_now = passed.sum(axis=0) - passed
        # Of each stream against all others together: lags 0…L and 0…−L, then −L…L.
        later, earlier = products(passed, others_past), products(others_now, self._past)
        told = np.concatenate([earlier[:, :0:-1], later], axis=1) * there[:, 0]
        by_pair = [self._past_by(lag) for lag in range(NEAR_HOPS + 1)]
        now = passed.reshape(self.num_streams, -1)
        after = [now @ past.T for past in by_pair]
        near = np.stack([*(x.T for x in after[:0:-1]), *after], axis=-1) * both[..., None]
        self._past = self._past[:, -LONGEST_LAG_HOPS:]
        return told, near, shifted

    def _past_by(self, lag: int) -> FloatArray:
        """What was shown some hops before the last tick's, shape (S, TICK_HOPS·E)."""
        end = self._past.shape[1] - lag
        return self._past[:, end - TICK_HOPS : end].reshape(self.num_streams, -1)

    def _agreement(
        self,
        told: FloatArray,
        near: FloatArray,
        passed: FloatArray,
        both: NDArray[np.bool_],
        is_there: NDArray[np.bool_],
    ) -> FloatArray:
        """What the correlations and the tests say, shape (S, JOINT_DIM).

        What is to be expected of a stream is what those that are there usually tell of it, the more
        the more it shows: who is gone, or quiet, is no evidence.
        """
        usual_by_lag = (self._near * both[..., None]).sum(axis=1)
        at = usual_by_lag.argmax(axis=1)[:, None]
        usual = np.maximum(np.take_along_axis(usual_by_lag, at, axis=1)[:, 0], 0.0)
        here = np.take_along_axis(near.sum(axis=1), at, axis=1)[:, 0]
        happened = np.square(passed).sum(axis=(1, 2))
        active = np.minimum(happened / np.maximum(self._energy, 1e-3), MOST_ACTIVE)
        expected = usual * active * is_there
        self._test(told, here, usual, expected)
        self._slide(told, expected, happened)
        joint = self._windows(usual)
        self._together += both
        gain = both / np.minimum(self._together + PRIOR_TICKS, USUAL_TICKS)
        self._near += gain[..., None] * (near - self._near)
        seen = self._seen / TICK_HOPS + PRIOR_TICKS
        self._long += is_there / np.minimum(seen, LONG_TICKS) * (here - self._long)
        self._energy += is_there / np.minimum(seen, USUAL_TICKS) * (happened - self._energy)
        return joint

    def _test(
        self, told: FloatArray, here: FloatArray, usual: FloatArray, expected: FloatArray
    ) -> None:
        """Sequential tests of every stream against all others: moved in time, or unrelated.

        Page's CUSUM (1954) of log-likelihood ratios: it forgets what spoke for calm and keeps what
        has spoken against it since, so that weak evidence adds up for as long as it takes. What
        is to be expected sets its drift; a lag that was always told more (the stream is late by
        its nature) must be told more than it was.
        """
        L = LONGEST_LAG_HOPS
        more = told - here[:, None]
        drift = np.maximum(0.25 * expected[:, None], 0.5 * (self._offset + usual[:, None]))
        moved = self._moved + more - drift
        moved[:, L - FAR_HOPS + 1 : L + FAR_HOPS] = 0.0
        self._moved = np.clip(moved, 0.0, MOST_NATS)
        self._apart = np.clip(self._apart + 0.5 * expected - here, 0.0, MOST_NATS)
        seen = np.minimum(self._seen / TICK_HOPS + 2 * PRIOR_TICKS, 2 * USUAL_TICKS)[:, None]
        self._offset += (more - self._offset) / seen

    def _slide(self, told: FloatArray, expected: FloatArray, happened: FloatArray) -> None:
        """Move every window on by a tick."""
        kept = WINDOWS_TICKS[-1]
        for w, window in enumerate(WINDOWS_TICKS):
            self._sums[:, w] += told - self._told[:, (self._tick - window) % kept]
        slot = self._tick % kept
        self._told[:, slot], self._expected[:, slot] = told, expected
        self._happened[:, slot] = happened
        self._tick = (self._tick + 1) % kept

    def _windows(self, usual: FloatArray) -> FloatArray:
        """What the windows and the tests say, compressed by arcsinh, shape (S, JOINT_DIM)."""
        ages = (self._tick - 1 - np.arange(WINDOWS_TICKS[-1])) % WINDOWS_TICKS[-1]
        inside = (ages < np.array(WINDOWS_TICKS)[:, None]).astype(np.float32)
        said = [*evidence(self._sums), self._expected @ inside.T]
        second = WINDOWS_TICKS[1]
        rest = [
            second * usual,
            second * self._long,
            self._happened @ inside[1],
            second * self._energy,
            self._apart,
            self._moved.max(axis=1),
        ]
        joint = np.concatenate([*said, np.stack(rest, axis=1)], axis=1)
        compressed: FloatArray = np.arcsinh(joint).astype(np.float32)
        return compressed


def evidence(told: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    """What correlations say of the moment: three arrays of shape (…).

    Args:
        told: nats of lags −LONGEST_LAG_HOPS…LONGEST_LAG_HOPS, shape (…, L).

    Returns:
        The same moment, any other (log-mean-exp of them), and their difference.
    """
    middle = LONGEST_LAG_HOPS
    near = told[..., middle - NEAR_HOPS : middle + NEAR_HOPS + 1].max(axis=-1)
    others = np.concatenate(
        [told[..., : middle - FAR_HOPS + 1], told[..., middle + FAR_HOPS :]], axis=-1
    )
    top = others.max(axis=-1)
    far = top + np.log(np.exp(others - top[..., None]).mean(axis=-1))
    return [near, far, near - far]

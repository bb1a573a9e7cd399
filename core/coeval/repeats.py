"""Samples that repeat the ones before: how unlike a stream's past that is.

A frozen camera, a stuck sensor and a dead microphone go on sending, the same bits again and again.
Embeddings show that after seconds, when their context has passed; the samples show it at once. The
node sees samples, the server embeddings: the number made here goes with every block, so that the
server may say that something is wrong. (`coeval.relevance` says, later and surer, that a stream
carries nothing.)

In: a stream's samples. Out: the surprise of the run of equal samples that is going on, in nats,
so that exp(−surprise) is how often in a second such a run begins while all is well:

- a run so long was seen c times in τ seconds: (1 + c) / (1 + τ), the rule of succession;
- it is longer than any before, of n repeats and not m: as likely less as ((1 + m) / (1 + n))^α. A
  sensor that never rests (no run of REST_REPEATS) is taken to end a run soon, α = 3, the more so
  the longer it is known; one that rests does so for times of all sizes, α = 1.
"""

import math

import numpy as np

from coeval.samples import AudioBlock, FloatArray, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S

REST_REPEATS = 10
"""A stream that repeated itself so often in a row while all was well is one that rests."""
KNOWN_S = 30.0
"""A stream that did not rest for so long is one that does not: a hand lets go of a mouse before."""
LIVE_POWER, REST_POWER = 3.0, 1.0
CHUNK_S = 0.02
"""Sound is compared in pieces: one that is the same number throughout repeats the one before."""
LARGEST_SURPRISE = 600.0
NO_REST = math.log(86_400.0)
"""A run as surprising as once a day is no rest: nothing is learned from it."""


class RepeatWatch:
    """Follows one stream; a plain object without I/O."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._sound: FloatArray = np.zeros(0, np.float32)
        self._first_ns: int | None = None
        self._now_ns = 0
        self._run = 0
        """Repeats that are going on."""
        self._runs: dict[int, int] = {}
        """Runs that are over: number of each length, long ones rounded up by an eighth at most."""
        self._longest = 0

    @property
    def surprise(self) -> float:
        """Of the run that goes on, in nats, 0…LARGEST_SURPRISE; 0: the last sample was new."""
        if not self._run or self._first_ns is None:
            return 0.0
        known_s = (self._now_ns - self._first_ns) / NS_PER_S
        before = sum(count for length, count in self._runs.items() if length >= self._run)
        nats = math.log((1.0 + known_s) / (1.0 + before))
        if self._run > self._longest:
            rests = self._longest >= REST_REPEATS
            power = REST_POWER if rests else LIVE_POWER * min(known_s / KNOWN_S, 1.0)
            nats += power * math.log((1 + self._run) / (1 + self._longest))
        return min(max(nats, 0.0), LARGEST_SURPRISE)

    def push(self, sample: Sample) -> None:
        """Add a sample; lines of text say nothing here."""
        match sample:
            case Frame():
                self._compare(sample.grey[None], np.array([sample.t_node_ns]))
            case MetadataBlock():
                # No reading is like no reading.
                values = np.nan_to_num(sample.values, nan=np.inf)
                self._compare(values, sample.t_node_ns)
            case AudioBlock():
                self._push_sound(sample)
            case TextLine():
                pass

    def _push_sound(self, block: AudioBlock) -> None:
        size = max(round(CHUNK_S * block.rate_hz), 2)
        pcm = np.concatenate([self._sound, block.pcm])
        whole = len(pcm) // size * size
        start_ns = block.t_node_ns - len(self._sound) * NS_PER_S / block.rate_hz
        chunks, self._sound = pcm[:whole].reshape(-1, size), pcm[whole:]
        t_ns = start_ns + np.arange(1, len(chunks) + 1) * (size * NS_PER_S / block.rate_hz)
        self._note(np.ptp(chunks, axis=1) == 0.0, t_ns)

    def _compare(self, rows: np.ndarray, t_node_ns: np.ndarray) -> None:
        if not len(rows):
            return
        is_like = self._last is not None and self._last.shape == rows[0].shape
        before = self._last if is_like else None
        same = np.zeros(len(rows), np.bool_)
        others = tuple(range(1, rows.ndim))
        same[1:] = (rows[1:] == rows[:-1]).all(axis=others)
        same[0] = before is not None and np.array_equal(rows[0], before)
        self._last = rows[-1]
        self._note(same, t_node_ns)

    def _note(self, same: np.ndarray, t_node_ns: np.ndarray) -> None:
        """Take in which samples repeat the one before, and when they came."""
        if not len(same):
            return
        if self._first_ns is None:
            self._first_ns = int(t_node_ns[0])
        at = 0
        for new in np.flatnonzero(~same).tolist():
            self._run += new - at
            self._now_ns = int(t_node_ns[max(new - 1, 0)])
            self._end_run()
            at = new + 1
        self._run += len(same) - at
        self._now_ns = int(t_node_ns[-1])

    def _end_run(self) -> None:
        run = self._run
        if run and self.surprise < NO_REST:
            step = 1 << max(run.bit_length() - 4, 0) if run > 64 else 1
            length = -(-run // step) * step
            self._runs[length] = self._runs.get(length, 0) + 1
            self._longest = max(self._longest, run)
        self._run = 0

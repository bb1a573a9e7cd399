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

A stream that has noise of its own (`coeval.own_noise`) does not rest. It repeats itself by chance,
n times in a row at pⁿ, p no less than the longest run so far tells; or because its sender stalls.
Most hesitate for less than STALL_S. Half of them are taken to stall for longer, for a share of
their time that is as likely as by Jeffreys' prior: one in √(πN) of those has not done so in N times
STALL_S. What stalls and comes back is usual from then on, so that is how many such alarms all the
rest of a stream's life holds; it is taken for a day.
"""

import math

import numpy as np

from coeval.own_noise import Noise, PictureNoise, ReadingNoise
from coeval.samples import AudioBlock, FloatArray, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S

REST_REPEATS = 10
"""A stream that repeated itself so often in a row while all was well is one that rests."""
KNOWN_S = 30.0
"""A stream that did not rest for so long is one that does not: a hand lets go of a mouse before."""
LIVE_POWER, REST_POWER = 3.0, 1.0
STALL_S = 0.5
"""A sender that is busy, or paces a film anew, repeats a sample for less."""
START_S = 10.0
"""Before, a sender is not in its stride."""
STALLING_SHARE = 0.5
"""Senders that stall now and then; nobody knows, so as many as not."""
LATE_TIMES = 4.0
"""Repeats that come so much later than samples usually do are signs of life of a sender that tells
changes only: nothing else is told by them."""
CHUNK_S = 0.02
"""Sound is compared in pieces: one that is the same number throughout repeats the one before."""
LARGEST_SURPRISE = 600.0
ONCE_A_DAY = math.log(86_400.0)
"""A run as surprising as that is no rest: nothing is learned from it until another one comes,"""
BRIEF_S, BRIEF_REPEATS = 2.0, 3
"""unless it is over so soon: a fault lasts."""


class RepeatWatch:
    """Follows one stream; a plain object without I/O."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._sound: FloatArray = np.zeros(0, np.float32)
        self._noise: Noise | None = None
        self._first_ns: int | None = None
        self._new_ns = 0
        """When the last sample came that did not repeat the one before."""
        self._now_ns = 0
        self._num_new = 0
        self._run = 0
        """Repeats that are going on."""
        self._runs: dict[int, int] = {}
        """Runs that are over: number of each length, long ones rounded up by an eighth at most."""
        self._longest = 0
        self._longest_s = 0.0
        self._fault: tuple[int, float] | None = None
        """A run that was none: its repeats and its seconds."""

    @property
    def surprise(self) -> float:
        """Of the run that goes on, in nats, 0…LARGEST_SURPRISE; 0: the last sample was new."""
        if not self._run or self._first_ns is None:
            return 0.0
        num_repeats = sum(length * count for length, count in self._runs.items())
        chance = None if self._noise is None else self._noise.chance(num_repeats)
        nats = None if chance is None else self._of_noise(chance, num_repeats)
        if nats is None:
            nats = self._of_runs(rests=self._longest >= REST_REPEATS and chance != 0.0)
        return min(max(nats, 0.0), LARGEST_SURPRISE)

    def _of_runs(self, *, rests: bool) -> float:
        """By the runs so far alone."""
        assert self._first_ns is not None
        known_s = (self._now_ns - self._first_ns) / NS_PER_S
        before = sum(count for length, count in self._runs.items() if length >= self._run)
        nats = math.log((1.0 + known_s) / (1.0 + before))
        if self._run > self._longest:
            power = REST_POWER if rests else LIVE_POWER * min(known_s / KNOWN_S, 1.0)
            nats += power * math.log((1 + self._run) / (1 + self._longest))
        return nats

    def _of_noise(self, chance: float, num_repeats: int) -> float | None:
        """Of a stream with noise of its own; None: it stalls now and then, or is hardly known."""
        assert self._first_ns is not None
        live_s = (self._new_ns - self._first_ns) / NS_PER_S
        if self._longest_s >= STALL_S or live_s < START_S:
            return None
        step_s = live_s / (self._num_new + num_repeats)
        if self._held_s > LATE_TIMES * step_s * self._run:
            return None
        if self._held_s < STALL_S:
            return 0.0
        trials = min(self._num_new, live_s / STALL_S)
        stalls_a_day = STALLING_SHARE / math.sqrt(math.pi * trials) * STALL_S / self._held_s
        if self._longest:
            chance = max(chance, math.exp(-math.log(self._num_new) / self._longest))
        by_chance = math.log(step_s) - self._run * math.log(chance) if chance else math.inf
        return min(ONCE_A_DAY - math.log(stalls_a_day), by_chance)

    @property
    def _held_s(self) -> float:
        """How long the last sample has been repeated."""
        return (self._now_ns - self._new_ns) / NS_PER_S

    def push(self, sample: Sample) -> None:
        """Add a sample; lines of text say nothing here."""
        match sample:
            case Frame():
                self._push_picture(sample)
            case MetadataBlock():
                self._push_readings(sample)
            case AudioBlock():
                self._push_sound(sample)
            case TextLine():
                pass

    def _push_picture(self, frame: Frame) -> None:
        before, self._last = self._last, frame.grey
        is_same = before is not None and np.array_equal(frame.grey, before)
        if before is None or before.shape != frame.grey.shape:
            self._noise = PictureNoise()
        elif not is_same:
            assert isinstance(self._noise, PictureNoise)
            self._noise.push(frame.grey, before)
        self._note(np.array([is_same]), np.array([frame.t_node_ns]))

    def _push_readings(self, block: MetadataBlock) -> None:
        if not len(block.values):
            return
        # No reading is like no reading.
        rows = np.nan_to_num(block.values, nan=np.inf)
        last = self._last
        if last is None or last.shape != rows[0].shape:
            last, self._noise, first = rows[0], ReadingNoise(rows.shape[1]), 1
        else:
            first = 0
        before = np.concatenate([last[None], rows[:-1]])
        same = (rows == before).all(axis=1)
        same[:first] = False
        compared = np.flatnonzero(~same)[first:]
        if len(compared):
            assert isinstance(self._noise, ReadingNoise)
            self._noise.push(rows[compared], before[compared])
        self._last = rows[-1]
        self._note(same, block.t_node_ns)

    def _push_sound(self, block: AudioBlock) -> None:
        size = max(round(CHUNK_S * block.rate_hz), 2)
        pcm = np.concatenate([self._sound, block.pcm])
        whole = len(pcm) // size * size
        start_ns = block.t_node_ns - len(self._sound) * NS_PER_S / block.rate_hz
        chunks, self._sound = pcm[:whole].reshape(-1, size), pcm[whole:]
        t_ns = start_ns + np.arange(1, len(chunks) + 1) * (size * NS_PER_S / block.rate_hz)
        self._note(np.ptp(chunks, axis=1) == 0.0, t_ns)

    def _note(self, same: np.ndarray, t_node_ns: np.ndarray) -> None:
        """Take in which samples repeat the one before, and when they came."""
        if not len(same):
            return
        if self._first_ns is None:
            self._first_ns = self._new_ns = int(t_node_ns[0])
        at = 0
        for new in np.flatnonzero(~same).tolist():
            if new > at:
                self._run += new - at
                self._now_ns = int(t_node_ns[new - 1])
            self._end_run()
            self._num_new += 1
            self._new_ns = self._now_ns = int(t_node_ns[new])
            at = new + 1
        self._run += len(same) - at
        self._now_ns = int(t_node_ns[-1])

    def _end_run(self) -> None:
        if not self._run:
            return
        ended = self._run, self._held_s
        is_brief = self._run <= BRIEF_REPEATS or self._held_s <= BRIEF_S
        if is_brief or self.surprise < ONCE_A_DAY:
            self._learn(*ended)
        elif self._fault is None:
            self._fault = ended
        else:
            self._learn(*self._fault)
            self._learn(*ended)
            self._fault = None
        self._run = 0

    def _learn(self, run: int, held_s: float) -> None:
        step = 1 << max(run.bit_length() - 4, 0) if run > 64 else 1
        length = -(-run // step) * step
        self._runs[length] = self._runs.get(length, 0) + 1
        self._longest = max(self._longest, run)
        self._longest_s = max(self._longest_s, held_s)

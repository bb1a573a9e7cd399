"""Sound in which nothing is: digital silence, or a microphone's own noise and nothing else.

A quiet room between words is neither for long: somebody breathes, something hums louder. What is
called silent is sound that is quiet and steady in every band, moment by moment, for half a minute.
"""

from itertools import pairwise

import numpy as np

from coeval.relevance.judgement import Finding
from coeval.samples import AudioBlock, FloatArray
from coeval.time import NS_PER_S

CHUNK_S = 0.5
NUM_FRAMES = 20
"""Frames of 25 ms in a chunk."""
BANDS_HZ = (60.0, 300.0, 1000.0, 3000.0, 7900.0)
DIGITAL_PEAK = 1e-4
"""Sound that stays within ±3 steps of 16 bits around its mean is none."""
QUIET_RMS = 10 ** (-50 / 20)
"""Louder sound is never called silent, however steady: −50 dB of full scale."""
STEADY_DB = 2.5
"""A band's level over a chunk stays this near to that of the chunks before."""
TRANSIENT_DB = 8.0
"""No frame of any band rises this far above it: a click, a step, a breath does."""
DIGITAL_NS = 10 * NS_PER_S
"""Phones and films send nothing between words; longer than this is no pause."""
NOISE_NS = 30 * NS_PER_S
LONGEST_GAP_NS = NS_PER_S // 2


class SoundJudge:
    """Judges sound in chunks of half a second."""

    def __init__(self) -> None:
        self._pending = np.zeros(0, np.float32)
        self._t0_ns = 0.0
        self._levels_db: FloatArray | None = None
        """Mean levels of the chunks since the last sound, by band."""
        self._num_steady = 0
        self._quiet_since_ns = 0

    def push(self, sample: AudioBlock) -> list[Finding]:
        """Add a block of any length."""
        step_ns = NS_PER_S / sample.rate_hz
        expected_ns = self._t0_ns + len(self._pending) * step_ns
        if not len(self._pending) or abs(expected_ns - sample.t_node_ns) > LONGEST_GAP_NS:
            self._pending = np.zeros(0, np.float32)
            self._t0_ns = float(sample.t_node_ns)
        self._pending = np.concatenate([self._pending, sample.pcm.astype(np.float32, copy=False)])
        size = max(round(CHUNK_S * sample.rate_hz), NUM_FRAMES)
        found: list[Finding] = []
        while len(self._pending) >= size:
            chunk, self._pending = self._pending[:size], self._pending[size:]
            start_ns = round(self._t0_ns)
            self._t0_ns += size * step_ns
            found.append(self._judge(chunk, start_ns, round(self._t0_ns), rate_hz=sample.rate_hz))
        return found

    def advance(self, t_node_ns: int) -> list[Finding]:
        """A microphone that sends nothing says nothing of what it would have heard."""
        del t_node_ns
        return []

    def _judge(self, chunk: FloatArray, start_ns: int, end_ns: int, *, rate_hz: float) -> Finding:
        chunk = chunk - chunk.mean()
        if float(np.abs(chunk).max()) <= DIGITAL_PEAK:
            if self._num_steady == 0:
                self._quiet_since_ns = start_ns
            self._num_steady += 1
            # What is no sound at all has no level: noise after it begins a silence of its own.
            self._levels_db = None
            return Finding(
                t_node_ns=end_ns,
                reason="silent",
                since_node_ns=self._quiet_since_ns,
                limit_ns=DIGITAL_NS,
            )
        frames_db = band_levels_db(chunk, rate_hz=rate_hz)
        levels_db = frames_db.mean(axis=0)
        known_db = levels_db if self._levels_db is None else self._levels_db
        is_quiet = float(np.sqrt(np.mean(chunk * chunk))) <= QUIET_RMS
        is_steady = bool(
            (np.abs(levels_db - known_db) <= STEADY_DB).all()
            and (frames_db.max(axis=0) - known_db <= TRANSIENT_DB).all()
        )
        if not is_quiet or not is_steady:
            self._levels_db = levels_db if is_quiet else None
            self._num_steady = 0
            return Finding(t_node_ns=start_ns)
        if self._num_steady == 0:
            self._quiet_since_ns = start_ns
        self._num_steady += 1
        gain = max(1.0 / self._num_steady, 0.05)
        self._levels_db = (known_db + gain * (levels_db - known_db)).astype(np.float32)
        return Finding(
            t_node_ns=end_ns,
            reason="silent",
            since_node_ns=self._quiet_since_ns,
            limit_ns=NOISE_NS,
        )


def band_levels_db(chunk: FloatArray, *, rate_hz: float) -> FloatArray:
    """Level of each band in each frame of a chunk, dB, shape (NUM_FRAMES, bands)."""
    length = len(chunk) // NUM_FRAMES
    frames = chunk[: length * NUM_FRAMES].reshape(NUM_FRAMES, length)
    power = np.abs(np.fft.rfft(frames * np.hanning(length).astype(np.float32), axis=1)) ** 2
    hz = np.fft.rfftfreq(length, 1.0 / rate_hz)
    edges = np.searchsorted(hz, BANDS_HZ)
    bands = [power[:, a:b].sum(axis=1) for a, b in pairwise(edges.tolist()) if b > a]
    levels: FloatArray = (10 * np.log10(np.stack(bands, axis=1) + 1e-12)).astype(np.float32)
    return levels

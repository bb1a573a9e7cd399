"""Audio → rows: how loud each band is against its own recent level, and when it rises.

A row holds log-mel levels of the hop's two halves (2 × 24 bands), the broadband rise of its
four quarters, and the level of the whole; each against its running mean.
"""

import math

import numpy as np
from numpy.typing import NDArray

from coeval.features.grid import HopGrid
from coeval.features.running import RunningNorm
from coeval.hops import HOP_NS, Hops
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.preprocessing.noise_gate import NoiseGate
from coeval.samples import AudioBlock, FloatArray
from coeval.time import NS_PER_S, NodeNs

RATE_HZ = 16_000
WINDOW_SAMPLES = 400
STEP_SAMPLES = 200
FFT_SAMPLES = 512
NUM_BANDS = 24
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
QUARTERS = 4
LEVEL_FLOOR = 1e-7
"""Added to band power before the logarithm: about −70 dB of full scale."""
MEMORY_HOPS = 20 * 8

DIM = 2 * NUM_BANDS + QUARTERS + 1 + 1
"""Bands of two halves, four rises, level, coverage."""


def mel_weights() -> FloatArray:
    """Triangular mel filters over FFT bins, shape (FFT_SAMPLES/2 + 1, NUM_BANDS)."""
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    mel_edges = np.linspace(lowest, highest, NUM_BANDS + 2)
    edges_hz = 700 * (10 ** (mel_edges / 2595) - 1)
    bins_hz = np.arange(FFT_SAMPLES // 2 + 1) * RATE_HZ / FFT_SAMPLES
    low, mid, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - low) / (mid - low)
    falling = (high - bins_hz[:, None]) / (high - mid)
    weights = np.maximum(np.minimum(rising, falling), 0.0).astype(np.float32)
    normalised: FloatArray = weights / np.maximum(weights.sum(axis=0), 1e-6)
    return normalised


class AudioFeatures:
    """Streaming features of mono audio near 16 kHz."""

    def __init__(self, preprocessing: Preprocessing = DEFAULT_STEPS) -> None:
        self._window = np.hanning(WINDOW_SAMPLES).astype(np.float32)
        self._mel = mel_weights()
        self._pending = np.zeros(0, np.float32)
        self._pending_t_ns = 0.0
        self._rate_hz = 0.0
        self._grid = HopGrid(NUM_BANDS, hop_ns=HOP_NS // QUARTERS)
        self._quarters: list[Hops] = []
        self._last_quarter = np.zeros(NUM_BANDS, np.float32)
        self._gate = NoiseGate(NUM_BANDS) if preprocessing.noise else None
        self._norm = RunningNorm(
            DIM - 1, memory_hops=MEMORY_HOPS, floor=0.25, standardise=preprocessing.standardise
        )

    @property
    def is_warm(self) -> bool:
        """Whether the level is known over the whole memory."""
        return self._norm.is_warm

    def push(self, sample: AudioBlock) -> list[Hops]:
        """Add a block; take the rows it completes."""
        step_ns = NS_PER_S / sample.rate_hz
        expected_ns = self._pending_t_ns + len(self._pending) * step_ns
        if not len(self._pending) or abs(expected_ns - sample.t_node_ns) > HOP_NS / 4:
            self._pending = np.zeros(0, np.float32)
            self._pending_t_ns = float(sample.t_node_ns)
        self._rate_hz = sample.rate_hz
        self._pending = np.concatenate([self._pending, sample.pcm.astype(np.float32, copy=False)])
        num_frames = (len(self._pending) - WINDOW_SAMPLES) // STEP_SAMPLES + 1
        if num_frames <= 0:
            return []
        frames = np.lib.stride_tricks.sliding_window_view(self._pending, WINDOW_SAMPLES)
        frames = frames[::STEP_SAMPLES][:num_frames] * self._window
        power = np.abs(np.fft.rfft(frames, FFT_SAMPLES, axis=1)).astype(np.float32) ** 2
        levels = np.log(power @ self._mel / WINDOW_SAMPLES + LEVEL_FLOOR)
        middles = np.arange(num_frames) * STEP_SAMPLES + WINDOW_SAMPLES / 2
        edges_ns = (
            self._pending_t_ns
            + (np.append(middles, middles[-1] + STEP_SAMPLES) - STEP_SAMPLES / 2) * step_ns
        )
        edges = np.round(edges_ns).astype(np.int64)
        self._pending = self._pending[num_frames * STEP_SAMPLES :]
        self._pending_t_ns += num_frames * STEP_SAMPLES * step_ns
        return self._to_hops(self._grid.push(edges[:-1], edges[1:], levels))

    def advance(self, t_node_ns: int) -> list[Hops]:
        """Audio completes rows by its own samples only."""
        del t_node_ns
        return []

    def flush(self) -> list[Hops]:
        """Take the rows that are left and start anew."""
        rows = self._to_hops(self._grid.flush())
        self._quarters, self._pending = [], np.zeros(0, np.float32)
        return rows

    def _to_hops(self, quarters: list[Hops]) -> list[Hops]:
        """Gather quarter-hop rows into whole hops."""
        done: list[Hops] = []
        for part in quarters:
            if (
                self._quarters
                and self._quarters[-1].t0_node_ns
                + len(self._quarters[-1].rows) * (HOP_NS // QUARTERS)
                != part.t0_node_ns
            ):
                self._quarters = []
            start = part.t0_node_ns if not self._quarters else self._quarters[0].t0_node_ns
            rows = np.concatenate([q.rows for q in self._quarters] + [part.rows])
            skip = (-start // (HOP_NS // QUARTERS)) % QUARTERS
            t0 = start + skip * (HOP_NS // QUARTERS)
            rows = rows[skip:]
            whole = len(rows) // QUARTERS
            rest = rows[whole * QUARTERS :]
            rest_t0 = NodeNs(t0 + whole * HOP_NS)
            self._quarters = [Hops(t0_node_ns=rest_t0, rows=rest)] if len(rest) else []
            if whole:
                features = self._features(rows[: whole * QUARTERS])
                done.append(Hops(t0_node_ns=NodeNs(t0), rows=features))
        return done

    def _features(self, quarters: NDArray[np.float32]) -> FloatArray:
        """Rows of features from quarter-hop levels, shape (4·n, bands + 1) → (n, DIM)."""
        levels, covered = quarters[:, :-1], quarters[:, -1]
        coverage = covered.reshape(-1, QUARTERS).mean(axis=1)
        before = np.concatenate([self._last_quarter[None], levels[:-1]])
        self._last_quarter = levels[-1]
        rises = np.maximum(levels - before, 0.0).mean(axis=1).reshape(-1, QUARTERS)
        hops = levels.reshape(-1, QUARTERS, NUM_BANDS)
        if self._gate is not None:
            # Rises stay as they are: attenuating them, too, costs more than it gives (measured).
            gains = self._gate.push(hops, coverage >= 0.999)
            hops = hops + np.log(gains)[:, None].astype(np.float32)
        halves = np.concatenate([hops[:, :2].mean(axis=1), hops[:, 2:].mean(axis=1)], axis=1)
        raw = np.concatenate([halves, rises, hops.mean(axis=(1, 2))[:, None]], axis=1)
        return np.concatenate([self._norm.push(raw, coverage), coverage[:, None]], axis=1)

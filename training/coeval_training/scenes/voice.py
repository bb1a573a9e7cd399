"""Speech-like sound: a glottal pulse train and breath, shaped by moving formants.

After the source–filter model (Fant 1960): a periodic source and noise, each multiplied in
short-time spectra by the response of the mouth; zero delay, since the response has zero phase.
"""

from collections.abc import Sequence

import numpy as np

from coeval_training.scenes.latent import (
    LATENT_HZ,
    Array,
    Latent,
    Sentence,
    num_grid,
    on_grid,
    smooth,
)
from coeval_training.scenes.sounds import RATE_HZ

_FRAME = 512
_STEP = _FRAME // 2
_VOWELS_HZ = np.array(
    [
        (730, 1090, 2440),
        (270, 2290, 3010),
        (300, 870, 2240),
        (530, 1840, 2480),
        (570, 840, 2410),
        (490, 1350, 1690),
        (660, 1720, 2410),
        (440, 1020, 2240),
    ]
)
"""First three formants of American English vowels (Peterson & Barney 1952)."""
_WIDTHS_HZ = np.array([80.0, 110.0, 160.0])


class Voice:
    """One speaker's share of a scene's sentences as sound."""

    def __init__(self, latent: Latent, speaker: int) -> None:
        rng = latent.rng("voice", speaker)
        said = [s for s in latent.sentences if s.speaker == speaker]
        n = num_grid(latent.duration_s)
        self._rng = rng
        self._level = latent.signals[f"voice_{speaker}"]
        self._size = float(rng.uniform(0.88, 1.25))
        base_hz = float(rng.uniform(85, 170) if self._size < 1.03 else rng.uniform(150, 310))
        self._breath = float(rng.uniform(0.02, 0.15))
        self._sharp = float(10 ** rng.uniform(2.0, 3.3))
        turn = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
        self._pulse_rms = float(np.std(np.exp(self._sharp * (np.cos(turn) - 1))))
        self._gain = float(rng.uniform(0.5, 1.0))
        pitch, vowels, hiss = _articulate(rng, said, n)
        self._phase = np.cumsum(base_hz * pitch.astype(np.float64)) / LATENT_HZ
        self._vowels = [smooth(vowels[:, k] * self._size, 0.05) for k in range(3)]
        self._hiss = smooth(hiss, 0.02)
        self._hiss_hz = float(rng.uniform(3000, 5500))

    def sound(self, first: int, count: int) -> Array:
        """Samples first…first+count of the speech, 16 kHz, peak about 0.5."""
        a = first - _FRAME
        t_s = np.arange(a, a + _STEP * ((count + 3 * _FRAME) // _STEP)) / RATE_HZ
        grid = np.clip(t_s * LATENT_HZ, 0, len(self._phase) - 1.001)
        level = on_grid(self._level, np.maximum(t_s, 0))
        hiss = on_grid(self._hiss, np.maximum(t_s, 0))
        if not (np.any(level > 0) or np.any(hiss > 0.01)):
            return np.zeros(count, dtype=np.float32)
        low = grid.astype(np.int64)
        cycles = self._phase[low] + (self._phase[low + 1] - self._phase[low]) * (grid - low)
        turn = (2 * np.pi * (cycles % 1.0)).astype(np.float32)
        # exp(k(cos φ − 1)) is a smooth pulse whose harmonics fall off faster the smaller k is.
        pulse = np.exp(np.float32(self._sharp) * (np.cos(turn) - 1)) / np.float32(self._pulse_rms)
        noise = self._rng.standard_normal(len(t_s), dtype=np.float32)
        source = level * (pulse + np.float32(self._breath) * noise)
        frames_t = (a + _STEP * np.arange(len(t_s) // _STEP - 1) + _STEP) / RATE_HZ
        mouth = self._mouth(np.maximum(frames_t, 0))
        voiced = _shape(source, mouth)
        hz = np.fft.rfftfreq(_FRAME, 1 / RATE_HZ)
        teeth = np.exp(-(((hz - self._hiss_hz) / 2500) ** 2)).astype(np.float32)
        fricative = _shape(hiss * noise, np.broadcast_to(teeth, mouth.shape))
        out = self._gain * (0.6 * voiced + 0.12 * fricative)
        return np.asarray(out[_FRAME : _FRAME + count], dtype=np.float32)

    def _mouth(self, t_s: Array) -> Array:
        """The mouth's gain over frequency at each frame, shape (num, 257)."""
        hz = np.fft.rfftfreq(_FRAME, 1 / RATE_HZ).astype(np.float32)[None, :]
        gain = np.full((len(t_s), hz.shape[1]), 0.02, dtype=np.float32)
        for k in range(3):
            at = on_grid(self._vowels[k], t_s).astype(np.float32)[:, None]
            gain += np.float32(0.7**k) / (1 + ((hz - at) / np.float32(_WIDTHS_HZ[k])) ** 2)
        return gain


def _articulate(
    rng: np.random.Generator, said: Sequence[Sentence], n: int
) -> tuple[Array, Array, Array]:
    """Relative pitch, formants (n, 3) and hiss of consonants on the latent grid."""
    pitch = np.ones(n, dtype=np.float32)
    vowels = np.tile(_VOWELS_HZ[5].astype(np.float32), (n, 1))
    hiss = np.zeros(n, dtype=np.float32)
    melody = rng.uniform(0.05, 0.3)
    for sentence in said:
        length = max(sentence.t_end_s - sentence.t_s, 0.1)
        rises = rng.random() < 0.2
        for word in sentence.words:
            for t, duration, stress in word.syllables:
                a, b = (min(n, max(0, round(v * LATENT_HZ))) for v in (t, t + duration))
                part = (t - sentence.t_s) / length
                fall = 1.12 - 0.25 * part + (0.4 * max(part - 0.7, 0) if rises else 0)
                glide = np.linspace(-1, 1, b - a) * rng.normal(0, 0.06)
                pitch[a:b] = fall * (1 + 2 * melody * (stress - 0.6) + glide)
                vowels[a:b] = _VOWELS_HZ[int(rng.integers(len(_VOWELS_HZ)))] * rng.uniform(
                    0.93, 1.07, 3
                )
                if rng.random() < 0.55:  # a consonant before the vowel: s, f, t, k …
                    stop = rng.random() < 0.5
                    lead = 0.025 if stop else rng.uniform(0.06, 0.13)
                    c = max(0, round((t - 0.3 * lead) * LATENT_HZ))
                    d = min(n, c + max(2, round(lead * LATENT_HZ)))
                    hiss[c:d] = stress * rng.uniform(0.4, 1.0)
    jitter = 1 + 0.01 * rng.standard_normal(n).astype(np.float32)
    return smooth(pitch, 0.06) * jitter, vowels, hiss


def _shape(source: Array, gain: Array) -> Array:
    """Multiply short-time spectra by gains, shape (num frames, 257), and overlap-add."""
    num = len(gain)
    window = np.hanning(_FRAME + 1)[:_FRAME].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(source.astype(np.float32), _FRAME)[::_STEP][
        :num
    ]
    shaped = np.fft.irfft(np.fft.rfft(frames * window, axis=1) * gain, _FRAME, axis=1).astype(
        np.float32
    )
    out = np.zeros(_STEP * (num + 1), dtype=np.float32)
    out[: _STEP * num] += shaped[:, :_STEP].reshape(-1)
    out[_STEP:] += shaped[:, _STEP:].reshape(-1)
    return out

"""Renders a scene as mono sound at 16 kHz: events, motors, voices, music, noise, a room."""

from collections.abc import Iterator
from itertools import count

import numpy as np

from coeval.samples import AudioBlock
from coeval.time import NS_PER_S, NodeNs
from coeval_training.scenes.latent import LATENT_HZ, Array, Latent, nuisance, on_grid, thin
from coeval_training.scenes.sounds import RATE_HZ, TIMBRES, Voices
from coeval_training.scenes.voice import Voice

_BLOCK = RATE_HZ // 2
_CHUNK = 16 * _BLOCK
"""Rendered at once: 8 s, so that long scenes need no more memory than short ones."""

_NOISE_FRAME = 256
_SOUND_SHAPES_HZ = {
    "rustle": (2500.0, 2500.0),
    "wind": (250.0, 250.0),
    "hiss": (5500.0, 2500.0),
    "motor": (900.0, 900.0),
}
"""Middle and width of the noise that goes with a continuous sound, Hz."""


def audio(latent: Latent) -> Iterator[AudioBlock]:
    """Blocks of 0.5 s in time order from 0; the last one may be shorter."""
    total = int(latent.duration_s * RATE_HZ)
    mixer = _Mixer(latent)
    for first in range(0, total, _CHUNK):
        pcm = mixer.render(first, min(_CHUNK, total - first))
        for at in range(0, len(pcm), _BLOCK):
            t_ns = NodeNs((first + at) * NS_PER_S // RATE_HZ)
            yield AudioBlock(t_node_ns=t_ns, rate_hz=float(RATE_HZ), pcm=pcm[at : at + _BLOCK])


class _Mixer:
    """All sources of one scene; asked for chunks in order."""

    def __init__(self, latent: Latent) -> None:
        rng = latent.rng("audio")
        self._latent = latent
        self._rng = rng
        heard = thin([e for e in latent.events if e.type in TIMBRES], rng)
        types = ["clap", "knock", "cough", "ring", "horn", "click", "drop"]
        heard += nuisance(rng, latent.duration_s, types, rng.uniform(0, 8))
        self._events = sorted(heard, key=lambda event: event.t_s)
        self._onsets = np.array([event.t_s for event in self._events])
        self._sounds = Voices(rng)
        self._longest_s = 5.0
        speakers = sorted({sentence.speaker for sentence in latent.sentences})
        self._voices = [Voice(latent, speaker) for speaker in speakers]
        self._events_gain = float(rng.uniform(0.3, 0.9))
        self._motors = {
            name: _Motor(rng, latent.signals[name])
            for name, sound in latent.continuous.items()
            if sound == "motor"
        }
        self._bands = {name: float(rng.uniform(0.02, 0.25)) for name in latent.continuous}
        self._snr_db = float(rng.uniform(-5, 30))
        self._colour = float(rng.uniform(0, 1.2))
        self._sway = float(rng.uniform(0, 0.6))
        self._music = _Music(latent) if rng.random() < 0.15 else None
        self._music_gain = float(10 ** rng.uniform(-1.6, -0.5))
        self._room = _room(rng, echoes=rng.random() < 0.5, tinny=rng.random() < 0.4)
        self._tail = np.zeros(0, dtype=np.float32)
        self._loud = float(10 ** rng.uniform(-1.0, 0.1))
        self._hum_hz = float(rng.choice([0.0, 0.0, 50.0, 60.0]))
        self._bits = float(rng.choice([32768.0, 32768.0, 2048.0]))

    def render(self, first: int, num: int) -> Array:
        """Samples first…first+num, −1…1."""
        wet = self._event_sounds(first, num)
        for voice in self._voices:
            wet += voice.sound(first, num)
        t_s = (first + np.arange(num)) / RATE_HZ
        for motor in self._motors.values():
            wet += motor.sound(t_s)
        wet = self._in_room(wet)
        wet += self._noises(first, num)
        if self._music is not None:
            wet += self._music_gain * self._music.sound(first, num)
        if self._hum_hz:
            wet += 0.01 * np.sin(2 * np.pi * self._hum_hz * t_s).astype(np.float32)
        pcm = np.tanh(self._loud * wet)
        return (np.round(pcm * self._bits) / self._bits).astype(np.float32)

    def _event_sounds(self, first: int, num: int) -> Array:
        """The sounds of all events heard in this stretch; each depends on the event alone."""
        out = np.zeros(num, dtype=np.float32)
        a, b = np.searchsorted(
            self._onsets, [first / RATE_HZ - self._longest_s, (first + num) / RATE_HZ]
        )
        for k in range(int(a), int(b)):
            pcm = self._sounds.sound(self._events[k], self._latent.rng("sound", k))
            at = round(float(self._onsets[k]) * RATE_HZ) - first
            begin, end = max(at, 0), min(at + len(pcm), num)
            if begin < end:
                out[begin:end] += self._events_gain * pcm[begin - at : end - at]
        return out

    def _noises(self, first: int, num: int) -> Array:
        """Steady background and the noises of continuous sounds, as random short-time spectra."""
        step = _NOISE_FRAME // 2
        num_frames = num // step + 2
        hz = np.fft.rfftfreq(_NOISE_FRAME, 1 / RATE_HZ)
        t_s = (first + step * np.arange(num_frames)) / RATE_HZ
        # The loudest events have a peak near 0.5; the noise lies below their 0.1 rms.
        floor = 0.1 * 10 ** (-self._snr_db / 20)
        background = (np.maximum(hz, 60) / 1000) ** -self._colour
        background /= np.sqrt(np.mean(background**2))
        slow = 1 + self._sway * np.sin(2 * np.pi * 0.11 * t_s + np.sin(0.3 * t_s))
        power = (floor * slow)[:, None] ** 2 * background[None, :] ** 2
        for name, sound in self._latent.continuous.items():
            middle, width = _SOUND_SHAPES_HZ[sound]
            band = np.exp(-(((hz - middle) / width) ** 2))
            level = self._bands[name] * np.clip(on_grid(self._latent.signals[name], t_s), 0, 2)
            power += level[:, None] ** 2 * band[None, :] ** 2
        gain = np.sqrt(power)
        shape = (num_frames, len(hz))
        real = self._rng.standard_normal(shape, dtype=np.float32)
        imag = self._rng.standard_normal(shape, dtype=np.float32)
        spectra = (
            (real + 1j * imag) * gain.astype(np.float32) * np.float32(np.sqrt(_NOISE_FRAME / 2))
        )
        frames = np.fft.irfft(spectra, _NOISE_FRAME, axis=1).astype(np.float32)
        frames *= np.sqrt(np.hanning(_NOISE_FRAME + 1)[:_NOISE_FRAME]).astype(np.float32)
        # Frame k is centred on its time: half of the first one lies before the chunk.
        out = np.zeros(step * (num_frames + 1), dtype=np.float32)
        out[: step * num_frames] += frames[:, :step].reshape(-1)
        out[step:] += frames[:, step:].reshape(-1)
        return out[step : step + num]

    def _in_room(self, dry: Array) -> Array:
        """Add the room's echoes; the direct sound stays where it is."""
        size = 1 << int(len(dry) + len(self._room) - 1).bit_length()
        long = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(self._room, size), size)
        wet = long[: len(dry) + len(self._room)].astype(np.float32)
        wet[: len(self._tail)] += self._tail
        self._tail = wet[len(dry) :].copy()
        return wet[: len(dry)]


class _Motor:
    """A tone with overtones whose pitch and loudness follow a signal (0…1)."""

    def __init__(self, rng: np.random.Generator, signal: Array) -> None:
        self._signal = signal
        base, reach = rng.uniform(40, 120), rng.uniform(60, 400)
        self._phase = np.cumsum(base + reach * np.clip(signal, 0, 2).astype(np.float64)) / LATENT_HZ
        self._overtones = rng.uniform(0, 1, 5) / np.arange(1, 6)
        self._gain = float(rng.uniform(0.01, 0.12))

    def sound(self, t_s: Array) -> Array:
        """Its sound at the given times."""
        level = np.clip(on_grid(self._signal, t_s), 0, 1.5)
        if not np.any(level > 0):
            return np.zeros(len(t_s), dtype=np.float32)
        at = np.clip(t_s * LATENT_HZ, 0, len(self._phase) - 1.001)
        low = at.astype(np.int64)
        cycles = self._phase[low] + (self._phase[low + 1] - self._phase[low]) * (at - low)
        turn = (2 * np.pi * (cycles % 1.0)).astype(np.float32)
        out = np.zeros(len(t_s), dtype=np.float32)
        for k, weight in enumerate(self._overtones):
            out += np.float32(weight) * np.sin((k + 1) * turn)
        return np.asarray(self._gain * np.sqrt(level) * out, dtype=np.float32)


class _Music:
    """Notes of chords and a beat, with no relation to what happens."""

    def __init__(self, latent: Latent) -> None:
        rng = latent.rng("music")
        beat_s = 60 / rng.uniform(70, 150)
        scale = (
            220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16]) / 12) * rng.uniform(0.7, 1.4)
        )
        self._notes = []
        for k in count():
            t = k * beat_s / 2
            if t > latent.duration_s:
                break
            if k % 2 == 0 or rng.random() < 0.5:
                self._notes.append((t, float(rng.choice(scale)), float(rng.uniform(0.3, 1))))
            if k % 4 == 0:
                self._notes.append((t, 55.0, 1.0))
        self._t = np.array([note[0] for note in self._notes])

    def sound(self, first: int, num: int) -> Array:
        """Samples first…first+num."""
        out = np.zeros(num, dtype=np.float32)
        t = np.arange(int(0.8 * RATE_HZ), dtype=np.float32) / RATE_HZ
        decay = np.exp(-t / 0.2) * np.minimum(t / 0.005, 1)
        a, b = np.searchsorted(self._t, [first / RATE_HZ - 0.8, (first + num) / RATE_HZ])
        for start, hz, loud in self._notes[a:b]:
            at = round(start * RATE_HZ) - first
            begin, end = max(at, 0), min(at + len(t), num)
            if begin >= end:
                continue
            cut = slice(begin - at, end - at)
            turn = np.float32(2 * np.pi * hz) * t[cut]
            out[begin:end] += loud * decay[cut] * (np.sin(turn) + 0.4 * np.sin(2 * turn))
        return out


def _room(rng: np.random.Generator, *, echoes: bool, tinny: bool) -> Array:
    """Impulse response of room and microphone: the direct sound at once, then what decays.

    Echoes are noise under an exponential (Polack's model); a tinny microphone passes neither
    the lowest nor the highest tones. No response delays its sound by more than 0.2 ms.
    """
    direct = np.zeros(256, dtype=np.float32)
    direct[0] = 1.0
    if tinny:
        t = np.arange(256) / RATE_HZ
        high_hz, low_hz = rng.uniform(2500, 6000), rng.uniform(100, 500)
        high = np.exp(-2 * np.pi * high_hz * t)
        low = np.exp(-2 * np.pi * low_hz * t)
        direct = (high / high.sum() - low / low.sum()).astype(np.float32)
    if not echoes:
        return direct
    reverb_s = float(rng.uniform(0.1, 0.9))
    t = np.arange(int(reverb_s * RATE_HZ), dtype=np.float32) / RATE_HZ
    tail = rng.standard_normal(len(t), dtype=np.float32) * np.exp(-6.9 * t / reverb_s)
    tail[: int(rng.uniform(0.002, 0.015) * RATE_HZ)] = 0
    tail *= rng.uniform(0.1, 0.7) / np.sqrt(np.sum(tail**2) + 1e-9)
    tail[: len(direct)] += direct
    return np.asarray(tail, dtype=np.float32)

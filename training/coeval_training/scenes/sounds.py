"""The sound of one event: thuds, cracks, clicks, beeps, whooshes, hisses; numpy only."""

from collections.abc import Callable

import numpy as np

from coeval_training.scenes.latent import Array, Event

RATE_HZ = 16_000

TIMBRES = {
    "step": "thud",
    "hit": "crack",
    "grab": "click",
    "place": "knock",
    "jump": "whoosh",
    "land": "thud",
    "clap": "clap",
    "turn_left": "whoosh",
    "turn_right": "whoosh",
    "look_up": "rub",
    "look_down": "rub",
    "bump": "thud",
    "brake": "squeal",
    "stop": "knock",
    "start": "knock",
    "horn": "horn",
    "motor_start": "knock",
    "motor_stop": "knock",
    "press": "hiss",
    "press_hit": "crack",
    "clamp": "knock",
    "release": "hiss",
    "door_open": "squeal",
    "door_close": "thud",
    "door": "thud",
    "lamp_on": "click",
    "lamp_off": "click",
    "alarm": "beep",
    "eject": "whoosh",
    "spin": "rub",
    "gesture": "rub",
    "cough": "burst",
    "laugh": "laugh",
    "cup": "ring",
    "knock": "knock",
    "key": "key",
    "enter": "key",
    "click": "click",
    "scroll": "wheel",
    "window_open": "chime",
    "beep": "beep",
    "drop": "crack",
    "ring": "ring",
}
"""What an event of each type sounds like; a type not listed makes no sound."""

LOUDNESS = {
    "gesture": 0.06,
    "turn_left": 0.25,
    "turn_right": 0.25,
    "look_up": 0.2,
    "look_down": 0.2,
    "grab": 0.25,
    "jump": 0.25,
    "spin": 0.2,
    "scroll": 0.15,
    "key": 0.25,
    "enter": 0.4,
    "click": 0.3,
    "lamp_on": 0.3,
    "lamp_off": 0.25,
    "step": 0.4,
    "window_open": 0.25,
}
"""Peak of an event of strength 1 against the loudest ones; 0.7 if not listed."""


class Voices:
    """The pitch and material of each type of event in one scene."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._pitch = {name: float(rng.lognormal(0, 0.35)) for name in TIMBRES}
        self._decay = {name: float(rng.lognormal(0, 0.3)) for name in TIMBRES}

    def sound(self, event: Event, rng: np.random.Generator) -> Array:
        """The event's sound from its instant on, 16 kHz, peak about its loudness × strength."""
        make = _MAKERS[TIMBRES[event.type]]
        pitch = self._pitch[event.type] * float(rng.lognormal(0, 0.04))
        pcm = make(
            rng, pitch, self._decay[event.type] * float(rng.lognormal(0, 0.1)), event.duration_s
        )
        peak = float(np.max(np.abs(pcm))) + 1e-9
        return (pcm * (LOUDNESS.get(event.type, 0.7) * event.strength / peak)).astype(np.float32)


def _time(length_s: float) -> Array:
    return np.arange(int(length_s * RATE_HZ), dtype=np.float32) / RATE_HZ


def _noise(rng: np.random.Generator, n: int) -> Array:
    return rng.standard_normal(n, dtype=np.float32)


def _dull(noise: Array, times: int) -> Array:
    """Noise with less treble: a running mean over `times` samples."""
    total = np.cumsum(np.concatenate([np.zeros(times, dtype=np.float32), noise]))
    return np.asarray(total[times:] - total[:-times]) / np.float32(np.sqrt(times))


def _modes(rng: np.random.Generator, t: Array, base_hz: float, count: int, decay_s: float) -> Array:
    """A struck body: partials that die away, the high ones sooner."""
    out = np.zeros(len(t), dtype=np.float32)
    ratio = 1.0
    for _ in range(count):
        hz = min(base_hz * ratio, 7000.0)
        out += (
            np.exp(-t * (np.sqrt(ratio) / decay_s))
            * np.sin(np.float32(2 * np.pi * hz) * t)
            / ratio**0.5
        )
        ratio *= float(rng.uniform(1.3, 1.9))
    return out


def _thud(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.25)
    low = _modes(rng, t, 75 * pitch, 3, 0.05 * decay)
    return low + 0.5 * np.exp(-t / 0.012) * _dull(_noise(rng, len(t)), 12)


def _crack(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.4)
    body = _modes(rng, t, 420 * pitch, 6, 0.06 * decay)
    return body + 1.2 * np.exp(-t / 0.006) * _noise(rng, len(t))


def _knock(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.2)
    body = _modes(rng, t, 230 * pitch, 4, 0.025 * decay)
    return body + 0.5 * np.exp(-t / 0.004) * _noise(rng, len(t))


def _click(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.05)
    return np.exp(-t / (0.0025 * decay)) * _noise(rng, len(t)) + 0.5 * _modes(
        rng, t, 1900 * pitch, 2, 0.006
    )


def _key(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    down = _click(rng, pitch * 0.8, decay, 0)
    low = 0.5 * _modes(rng, _time(0.05), 180 * pitch, 2, 0.012)
    pcm = np.zeros(int(0.2 * RATE_HZ), dtype=np.float32)
    pcm[: len(down)] += down + low
    at = int(rng.uniform(0.06, 0.12) * RATE_HZ)
    pcm[at : at + len(down)] += 0.3 * down
    return pcm


def _wheel(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    pcm = np.zeros(int(0.15 * RATE_HZ), dtype=np.float32)
    for at in (0, 0.03, 0.055):
        tick = _click(rng, pitch, 0.5 * decay, 0)
        first = int(at * RATE_HZ)
        pcm[first : first + len(tick)] += tick * float(rng.uniform(0.5, 1))
    return pcm


def _clap(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.15)
    ring = np.sin(2 * np.pi * 1100 * pitch * t)
    return np.asarray(np.exp(-t / (0.009 * decay)) * ring * _noise(rng, len(t)))


def _swell(rng: np.random.Generator, duration_s: float) -> tuple[Array, Array]:
    """A time axis and a bump over the duration of a movement, at least 0.15 s."""
    t = _time(max(duration_s, 0.15))
    tau = t / (t[-1] + 1e-6)
    return t, (np.sin(np.pi * tau) ** float(rng.uniform(0.6, 1.6))).astype(np.float32)


def _whoosh(rng: np.random.Generator, pitch: float, _: float, duration_s: float) -> Array:
    t, bump = _swell(rng, duration_s)
    return bump * _dull(_noise(rng, len(t)), max(2, int(10 / pitch)))


def _rub(rng: np.random.Generator, pitch: float, _: float, duration_s: float) -> Array:
    t, bump = _swell(rng, duration_s)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * 23 * pitch * t)
    return bump * grain * _dull(_noise(rng, len(t)), max(2, int(4 / pitch)))


def _squeal(rng: np.random.Generator, pitch: float, _: float, duration_s: float) -> Array:
    t, bump = _swell(rng, duration_s)
    glide = 900 * pitch * (t + 0.1 * t * t) + 3 * np.sin(2 * np.pi * 11 * t)
    return np.asarray(bump * (np.sin(2 * np.pi * glide) + 0.4 * _dull(_noise(rng, len(t)), 3)))


def _hiss(rng: np.random.Generator, _: float, decay: float, duration_s: float) -> Array:
    t = _time(max(duration_s, 0.1) + 0.2)
    level = np.minimum(t / 0.01, 1) * np.exp(-np.maximum(t - duration_s, 0) / (0.05 * decay))
    noise = _noise(rng, len(t))
    return level * np.diff(noise, prepend=np.float32(0))


def _beep(_rng: np.random.Generator, pitch: float, _: float, duration_s: float) -> Array:
    t = _time(max(duration_s, 0.08))
    tone = np.sin(2 * np.pi * 1150 * pitch * t) + 0.3 * np.sin(2 * np.pi * 3450 * pitch * t)
    gate = np.minimum(np.minimum(t, t[-1] - t) / 0.004, 1)
    if duration_s > 0.5:
        gate = gate * (np.sin(2 * np.pi * 4 * t) > -0.2)
    return np.asarray(gate * tone)


def _horn(_: np.random.Generator, pitch: float, __: float, duration_s: float) -> Array:
    t = _time(max(duration_s, 0.3))
    gate = np.minimum(np.minimum(t, t[-1] - t) / 0.02, 1)
    low, high = (np.tanh(3 * np.sin(2 * np.pi * hz * pitch * t)) for hz in (400, 505))
    return np.asarray(gate * (low + high))


def _chime(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.5)
    first = _modes(rng, t, 660 * pitch, 3, 0.12 * decay)
    second = np.concatenate([np.zeros(1600, dtype=np.float32), 0.8 * first[:-1600]])
    return np.asarray(first + second)


def _ring(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.6)
    body = _modes(rng, t, 1500 * pitch, 5, 0.15 * decay)
    return np.asarray(body + np.exp(-t / 0.003) * _noise(rng, len(t)))


def _burst(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    t = _time(0.35)
    throat = 1 + 0.5 * np.sign(np.sin(2 * np.pi * 110 * pitch * t))
    return (
        np.minimum(t / 0.02, 1)
        * np.exp(-t / (0.08 * decay))
        * throat
        * _dull(_noise(rng, len(t)), 4)
    )


def _laugh(rng: np.random.Generator, pitch: float, decay: float, _: float) -> Array:
    pcm = np.zeros(int(1.4 * RATE_HZ), dtype=np.float32)
    t = _time(0.16)
    for k in range(int(rng.integers(3, 7))):
        ha = np.sin(np.pi * t / t[-1]) * np.tanh(
            2 * np.sin(2 * np.pi * 190 * pitch * t * (1 - 0.05 * k))
        )
        first = int(k * 0.19 * RATE_HZ)
        pcm[first : first + len(ha)] += (ha + 0.3 * _noise(rng, len(t))) * (0.85**k) * decay
    return pcm


_MAKERS: dict[str, Callable[[np.random.Generator, float, float, float], Array]] = {
    "thud": _thud,
    "crack": _crack,
    "knock": _knock,
    "click": _click,
    "key": _key,
    "wheel": _wheel,
    "clap": _clap,
    "whoosh": _whoosh,
    "rub": _rub,
    "squeal": _squeal,
    "hiss": _hiss,
    "beep": _beep,
    "horn": _horn,
    "chime": _chime,
    "ring": _ring,
    "burst": _burst,
    "laugh": _laugh,
}

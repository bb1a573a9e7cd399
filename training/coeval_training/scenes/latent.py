"""What really happens in a scene: signals on one grid, events, sentences, bodies; no sensor yet.

The world modules make a `Latent`; the sensor modules render it. Everything is on the scene's
own clock, float seconds from 0; signals lie on a regular grid of LATENT_HZ. Axes are those of
a camera: x right, y down, z forward (right-handed).
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LATENT_HZ = 200
"""Rate of the latent grid: above twice the fastest motion rendered (handheld shake, 8–40 Hz)."""

GRAVITY_M_S2 = 9.81

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens at an instant; every sensor may or may not notice it."""

    t_s: float
    """When it happens (the impact, the click, the start of a turn)."""
    type: str
    """What it is; sounds, jolts and words go by it."""
    strength: float = 1.0
    """How violent, about 0.2–1.5."""
    duration_s: float = 0.0
    """How long it lasts; 0: an impact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One spoken word and the times of its syllables."""

    t_s: float
    """When its first syllable begins."""
    t_end_s: float
    """When its last syllable ends."""
    text: str
    """The word."""
    syllables: tuple[tuple[float, float, float], ...]
    """(start, duration, stress 0.3–1) of each syllable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """What one speaker says in one breath."""

    speaker: int
    """Index of the speaker."""
    words: tuple[Word, ...]
    """Its words, in order, at least one."""

    @property
    def t_s(self) -> float:
        """When it begins."""
        return self.words[0].t_s

    @property
    def t_end_s(self) -> float:
        """When it ends."""
        return self.words[-1].t_end_s

    @property
    def text(self) -> str:
        """Its words as one line."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A textured shape seen by cameras; arrays on the latent grid, or constant (1,)."""

    shape: str
    """One of `ellipse`, `box`, `capsule`, `ring`."""
    x: Array
    """Centre, to the right of the view's middle, in half picture heights."""
    y: Array
    """Centre, downwards, in half picture heights."""
    half_width: Array
    """Half its width, in half picture heights."""
    half_height: Array
    """Half its height, in half picture heights."""
    angle: Array
    """Turn in rad, x towards y (clockwise in the picture)."""
    alpha: Array
    """Opacity 0…1."""
    brightness: float
    """Mean grey, 0…255."""
    contrast: float = 30.0
    """Strength of its texture, in grey levels."""
    in_world: bool = False
    """True: it moves with the background when the camera turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """One scene before any sensor looked at it."""

    seed: int
    """Where every random choice of the scene comes from."""
    kind: str
    """Which world it is."""
    flavour: str
    """Variant of the world (`walk`, `vehicle`, `close-up`, …)."""
    duration_s: float
    """Length; signals have `num_grid` points."""
    signals: dict[str, Array]
    """Named signals on the latent grid. Always there: `activity` (0…1), `gx gy gz` (rad/s) and
    `ax ay az` (specific force, m/s², gravity included) of the body the IMU is fixed to, `cam_yaw
    cam_pitch cam_roll` (rad) and `cam_zoom` (log2) of the camera, `light` (gain about 1)."""
    events: tuple[Event, ...]
    """All events, in time order."""
    sentences: tuple[Sentence, ...] = ()
    """All that is said, in time order of beginning."""
    bodies: tuple[Body, ...] = ()
    """Shapes, those behind first."""
    continuous: dict[str, str] = field(default_factory=dict)
    """Signals (0…1) that make a sound while they last: name → sound (`rustle`, `motor`, `wind`)."""

    def at(self, name: str, t_s: Array) -> Array:
        """The signal at given times, linear between grid points."""
        return on_grid(self.signals[name], t_s)

    def rng(self, *salt: int | str) -> np.random.Generator:
        """A random generator for each purpose, so that no stream disturbs another."""
        return seeded(self.seed, *salt)


def seeded(seed: int, *salt: int | str) -> np.random.Generator:
    """A generator that depends on the seed and the salt alone."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in salt]
    return np.random.default_rng([seed, *words])


def on_grid(signal: Array, t_s: Array) -> Array:
    """A latent signal at given times, linear between grid points, held at the ends."""
    if len(signal) == 1:
        return np.full(np.shape(t_s), signal[0], dtype=np.float32)
    at = np.clip(np.asarray(t_s) * LATENT_HZ, 0.0, len(signal) - 1.001)
    low = at.astype(np.int64)
    part = (at - low).astype(np.float32)
    return np.asarray(signal[low] * (1 - part) + signal[low + 1] * part)


def num_grid(duration_s: float) -> int:
    """How many grid points a scene of this length has."""
    return int(np.ceil(duration_s * LATENT_HZ)) + 2


def band_noise(rng: np.random.Generator, n: int, low_hz: float, high_hz: float) -> Array:
    """Gaussian noise between two frequencies, about 1/f amplitude inside, standard deviation 1."""
    size = 1 << int(n - 1).bit_length()
    hz = np.fft.rfftfreq(size, 1 / LATENT_HZ)
    gain = np.where((hz >= low_hz) & (hz <= high_hz), 1 / np.sqrt(np.maximum(hz, low_hz)), 0)
    spectrum = gain * (rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz)))
    noise = np.fft.irfft(spectrum, size)
    noise /= noise.std() + 1e-9
    return noise[:n].astype(np.float32)


def smooth(signal: Array, width_s: float) -> Array:
    """Mean over a centred window; does not delay."""
    half = int(width_s * LATENT_HZ / 2)
    if half < 1:
        return signal
    padded = np.pad(signal.astype(np.float64), (half + 1, half), mode="edge")
    total = np.cumsum(padded)
    return ((total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)).astype(np.float32)


def lowpass(signal: Array, tau_s: float) -> Array:
    """What a first-order sensor with this time constant makes of a signal (causal)."""
    size = 1 << int(2 * len(signal) - 1).bit_length()
    kernel = np.exp(-np.arange(len(signal)) / (tau_s * LATENT_HZ))
    kernel /= kernel.sum()
    first = float(signal[0])
    spectrum = np.fft.rfft(signal - first, size) * np.fft.rfft(kernel, size)
    return (first + np.fft.irfft(spectrum, size)[: len(signal)]).astype(np.float32)


def rate_of(signal: Array) -> Array:
    """Time derivative, per second."""
    return (np.gradient(signal.astype(np.float64)) * LATENT_HZ).astype(np.float32)


def integral_of(signal: Array) -> Array:
    """Running integral over seconds, from 0."""
    return (np.cumsum(signal.astype(np.float64)) / LATENT_HZ).astype(np.float32)


class Mover:
    """Sums up point-to-point movements into one position signal."""

    def __init__(self, n: int) -> None:
        self._velocity = np.zeros(n)

    def move(self, t_s: float, duration_s: float, delta: float, *, abrupt: bool = False) -> None:
        """Add a movement by `delta` from `t_s` on.

        Minimum jerk (Flash & Hogan 1985), or, when abrupt, a stroke that speeds up until it is
        stopped at its end, as a hammer's.
        """
        n = len(self._velocity)
        first, length = round(t_s * LATENT_HZ), max(2, round(duration_s * LATENT_HZ))
        tau = (np.arange(length) + 0.5) / length
        profile = tau**2 if abrupt else (tau * (1 - tau)) ** 2
        profile *= delta / profile.sum()
        a, b = max(first, 0), min(first + length, n)
        if a < b:
            self._velocity[a:b] += profile[a - first : b - first]

    def position(self) -> Array:
        """Where all the movements together have led, from 0."""
        return np.cumsum(self._velocity).astype(np.float32)


def activity_spans(rng: np.random.Generator, duration_s: float) -> list[tuple[float, float, float]]:
    """When something goes on: (start, end, level 0.3–1), with quiet stretches of 1–15 s between.

    Now and then a silence is long (up to a quarter of the scene); a third of the time at least
    is active.
    """
    busy = rng.uniform(2.0, 9.0)
    quiet = rng.uniform(0.8, 3.5)
    long_left = rng.random() < 0.3
    spans = []
    t = rng.uniform(0.0, 2.0)
    while t < duration_s - 0.5:
        length = min(float(np.clip(rng.lognormal(np.log(busy), 0.5), 1.0, 25.0)), duration_s - t)
        spans.append((t, t + length, float(rng.uniform(0.3, 1.0))))
        t += length + float(np.clip(rng.lognormal(np.log(quiet), 0.7), 0.5, 15.0))
        if long_left and rng.random() < 0.15:
            t += float(rng.uniform(8.0, min(40.0, duration_s / 4 + 8.1)))
            long_left = duration_s > 120
    return spans


def envelope(n: int, spans: Sequence[tuple[float, float, float]], ramp_s: float) -> Array:
    """The spans' levels on the latent grid, with soft edges."""
    level = np.zeros(n, dtype=np.float32)
    for start, end, height in spans:
        level[round(start * LATENT_HZ) : round(end * LATENT_HZ)] = height
    return smooth(level, ramp_s)


def pulses(n: int, events: Sequence[Event], *, rise_s: float, fall_s: float) -> Array:
    """A bump of height `strength` at each event: rises before it, falls after its duration."""
    signal = np.zeros(n, dtype=np.float32)
    reach = int(5 * fall_s * LATENT_HZ) + 1
    for event in events:
        first = event.t_s * LATENT_HZ
        hold = event.duration_s * LATENT_HZ
        a, b = max(0, int(first - 3 * rise_s * LATENT_HZ)), min(n, int(first + hold) + reach)
        since = (np.arange(a, b) - first) / LATENT_HZ
        bump = np.where(
            since < 0,
            np.exp(np.minimum(since, 0) / max(rise_s, 1e-4)),
            np.exp(-np.maximum(since - event.duration_s, 0) / fall_s),
        )
        signal[a:b] = np.maximum(signal[a:b], event.strength * bump)
    return signal


def constant(value: float) -> Array:
    """A signal that never changes."""
    return np.full(1, value, dtype=np.float32)


def in_order(events: Sequence[Event], duration_s: float) -> tuple[Event, ...]:
    """The events inside the scene, sorted by time."""
    inside = [event for event in events if 0.0 <= event.t_s < duration_s - 0.05]
    return tuple(sorted(inside, key=lambda event: event.t_s))


def thin(
    events: Sequence[Event], rng: np.random.Generator, low: float = 0.7, high: float = 0.95
) -> list[Event]:
    """The part of the events one sensor notices: 70–95% of them."""
    part = rng.uniform(low, high)
    keep = rng.random(len(events)) < part
    return [event for event, kept in zip(events, keep, strict=True) if kept]


def nuisance(
    rng: np.random.Generator, duration_s: float, types: Sequence[str], per_minute: float
) -> list[Event]:
    """Events only one sensor notices."""
    times = rng.uniform(0.0, duration_s, rng.poisson(per_minute * duration_s / 60.0))
    return [
        Event(
            t_s=float(t),
            type=str(rng.choice(list(types))),
            strength=float(rng.uniform(0.2, 1.0)),
            duration_s=float(rng.uniform(0.0, 0.8)),
        )
        for t in np.sort(times)
    ]

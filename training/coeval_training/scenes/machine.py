"""Renders a scene as numeric channels of machines and meters: 1–8 columns, 5–50 Hz."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from coeval.samples import MetadataBlock
from coeval_training.scenes.latent import (
    LATENT_HZ,
    Array,
    Event,
    Latent,
    band_noise,
    in_order,
    lowpass,
    nuisance,
    num_grid,
    on_grid,
    pulses,
    smooth,
    thin,
)
from coeval_training.scenes.stamps import sample_times_ns

_RATES_HZ = (5.0, 8.0, 10.0, 12.5, 20.0, 25.0, 33.3, 50.0)
_BATCH = 512

_FAST = {
    "wearable": ("moving", "cadence", "effort", "position", "reach", "limb_angle"),
    "rig": ("speed", "throttle", "steering", "heading", "shake", "altitude"),
    "machine": ("press", "clamp", "door", "belt", "motor", "load", "pressure", "lamp"),
    "people": ("voice", "talking", "hand_speed", "hand_x", "hand_y"),
    "desktop": ("cpu", "disk", "network", "memory", "keys", "clicks", "typing"),
}
"""Signals that follow the scene at once; every scene reports at least two of them or of events."""

_SLOW = {
    "wearable": ("moving", "effort"),
    "rig": ("speed", "activity"),
    "machine": ("temperature", "load"),
    "people": ("co2", "talking"),
    "desktop": ("cpu", "memory"),
}
"""Signals of which only a slow trace is seen: heart rate, temperature, room air."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One column: its name and its readings on the latent grid."""

    name: str
    """Column name."""
    signal: Array
    """What it reads, on the latent grid, before sensor noise."""
    noise: float
    """Standard deviation of a reading."""
    step: float
    """Readings are multiples of this; 0: not rounded."""


def channels(latent: Latent) -> list[Channel]:
    """The columns of this scene's machine, the informative ones mixed with others."""
    rng = latent.rng("machine channels")
    n = num_grid(latent.duration_s)
    seen = in_order(
        [
            *thin(list(latent.events), rng),
            *nuisance(rng, latent.duration_s, ["glitch"], rng.uniform(0, 3)),
        ],
        latent.duration_s,
    )
    num = int(rng.integers(1, 9))
    fast = [str(name) for name in rng.permutation(_FAST[latent.kind]) if name in latent.signals]
    made: list[Channel] = []
    for k in range(num):
        pick = rng.random()
        # A lone column must tell something; of many, some may be dull.
        if fast and (k == 0 or pick < 0.5):
            name = fast.pop()
            made.append(_meter(rng, name, latent.signals[name], _tau(rng)))
        elif seen and pick < 0.75:
            made.append(_from_events(rng, latent, seen, n))
        elif pick < 0.88:
            name = str(rng.choice(_SLOW[latent.kind]))
            trace = lowpass(latent.signals[name], float(rng.uniform(2, 30)))
            made.append(_meter(rng, f"slow_{name}", trace, 0.0))
        else:
            made.append(_dull(rng, n))
    if len(made) == 1 and seen and rng.random() < 0.5:
        made.append(_from_events(rng, latent, seen, n))
    order = rng.permutation(len(made))
    names: set[str] = set()
    unique = []
    for k in order:
        name = made[k].name
        while name in names:
            name += "_"
        names.add(name)
        unique.append(Channel(name, made[k].signal, made[k].noise, made[k].step))
    return unique


def machine(latent: Latent) -> Iterator[MetadataBlock]:
    """Readings in time order; columns as `channels` names them."""
    rng = latent.rng("machine")
    rate_hz = float(rng.choice(_RATES_HZ))
    columns = channels(latent)
    for t_ns in sample_times_ns(rng, latent.duration_s, rate_hz, jitter=0.1, batch=_BATCH):
        values = np.stack(
            [on_grid(c.signal, t_ns / 1e9).astype(np.float64) for c in columns], axis=1
        )
        for k, column in enumerate(columns):
            values[:, k] += column.noise * rng.standard_normal(len(values))
            if column.step:
                values[:, k] = np.round(values[:, k] / column.step) * column.step
        yield MetadataBlock(t_node_ns=t_ns, values=values)


def _tau(rng: np.random.Generator) -> float:
    """Time constant of a quick meter: most are instant, some take up to 50 ms."""
    return float(rng.choice([0.0, 0.0, rng.uniform(0.005, 0.05)]))


def _meter(rng: np.random.Generator, name: str, signal: Array, tau_s: float) -> Channel:
    """A signal in some unit, with noise and resolution of its own."""
    reading = lowpass(signal, tau_s) if tau_s else signal
    span = float(np.percentile(reading, 99) - np.percentile(reading, 1)) + 1e-6
    span = max(span, 1e-3 * float(np.abs(reading).max()))
    unit = float(10 ** rng.uniform(-1.5, 2.5)) / span * float(rng.choice([-1.0, 1.0], p=[0.2, 0.8]))
    rest = float(rng.normal(0, 3) * rng.choice([0.0, 1.0])) * abs(unit) * span
    noise = float(10 ** rng.uniform(-3.0, -1.2)) * abs(unit) * span
    step = float(rng.choice([0.0, 0.002, 0.02])) * abs(unit) * span
    return Channel(name, (unit * reading + rest).astype(np.float32), noise, step)


def _from_events(
    rng: np.random.Generator, latent: Latent, seen: tuple[Event, ...], n: int
) -> Channel:
    """A column that answers to events of one or all types: pulse, counter, switch or level."""
    types = sorted({event.type for event in seen})
    counts = np.array([sum(event.type == name for event in seen) for name in types])
    which = str(rng.choice(types, p=counts / counts.sum()))
    chosen = [event for event in seen if event.type == which or rng.random() < 0.03]
    if len(chosen) < 5 or rng.random() < 0.2:
        chosen, which = list(seen), "any"
    how: Callable[..., Array] = _ANSWERS[int(rng.integers(len(_ANSWERS)))]
    del latent
    return _meter(rng, f"{which}_{how.__name__[1:]}", how(rng, chosen, n), 0.0)


def _power(rng: np.random.Generator, events: list[Event], n: int) -> Array:
    """Drawn while it lasts and dying away after."""
    return pulses(n, events, rise_s=0.004, fall_s=float(rng.uniform(0.05, 0.5)))


def _count(_: np.random.Generator, events: list[Event], n: int) -> Array:
    """How many there have been."""
    steps = np.zeros(n, dtype=np.float32)
    for event in events:
        steps[min(n - 1, round(event.t_s * LATENT_HZ))] += 1
    return np.cumsum(steps, dtype=np.float32)


def _state(_: np.random.Generator, events: list[Event], n: int) -> Array:
    """0 or 1, flipped by each."""
    return np.asarray(_count(_, events, n) % 2, dtype=np.float32)


def _level(rng: np.random.Generator, events: list[Event], n: int) -> Array:
    """Set to a new height by each."""
    marks = np.zeros(n, dtype=np.int64)
    for event in events:
        marks[min(n - 1, round(event.t_s * LATENT_HZ))] += 1
    heights = rng.uniform(0, 1, int(marks.sum()) + 1)
    return heights[np.cumsum(marks)].astype(np.float32)


_ANSWERS = (_power, _power, _power, _count, _state, _level)


def _dull(rng: np.random.Generator, n: int) -> Channel:
    """A column that has nothing to do with the scene."""
    pick = int(rng.integers(4))
    if pick == 0:
        return Channel("battery", np.linspace(90, 85, n, dtype=np.float32), 0.01, 0.1)
    if pick == 1:
        return Channel("ambient", 20 + 0.3 * band_noise(rng, n, 0.01, 0.3), 0.02, 0.0)
    if pick == 2:
        return Channel("setpoint", np.full(n, rng.normal(0, 10), dtype=np.float32), 0.0, 0.0)
    wave = np.sin(2 * np.pi * rng.uniform(0.05, 2) * np.arange(n) / LATENT_HZ)
    return Channel("ripple", smooth(wave.astype(np.float32), 0.02), 0.05, 0.0)

"""Renders a scene as an IMU: gx gy gz in rad/s, ax ay az in m/s² with gravity, 100–200 Hz."""

from collections.abc import Iterator

import numpy as np

from coeval.samples import MetadataBlock
from coeval_training.scenes.latent import Array, Event, Latent, nuisance, thin
from coeval_training.scenes.stamps import sample_times_ns

COLUMNS = ("gx", "gy", "gz", "ax", "ay", "az")
UNITS = "rad/s, m/s^2"

_RATES_HZ = (100.0, 104.0, 119.0, 125.0, 166.7, 197.0, 200.0)
_BATCH = 1024

JOLTS_M_S2 = {
    "step": 7.0,
    "hit": 25.0,
    "grab": 2.5,
    "place": 4.0,
    "jump": 4.0,
    "land": 30.0,
    "clap": 16.0,
    "bump": 9.0,
    "stop": 1.5,
    "press_hit": 14.0,
    "clamp": 7.0,
    "door_close": 8.0,
    "eject": 2.0,
    "release": 1.5,
    "motor_start": 1.5,
    "cup": 5.0,
    "knock": 6.0,
    "door": 0.4,
    "key": 0.5,
    "enter": 0.8,
    "click": 0.35,
    "scroll": 0.12,
    "drop": 3.0,
    "laugh": 0.8,
    "cough": 1.5,
}
"""Shock an event of strength 1 gives the IMU, m/s²; what is not listed gives none."""


def imu(latent: Latent) -> Iterator[MetadataBlock]:
    """Readings in time order, columns as in COLUMNS, mounted at a fixed unknown attitude."""
    rng = latent.rng("imu")
    rate_hz = float(rng.choice(_RATES_HZ))
    mount = _attitude(rng)
    scale = 1 + 0.03 * rng.standard_normal(6)
    bias = np.concatenate([0.02 * rng.standard_normal(3), 0.15 * rng.standard_normal(3)])
    loudest = -1.6 if latent.kind == "desktop" else -0.8
    noise = np.repeat([10 ** rng.uniform(-3.2, -1.8), 10 ** rng.uniform(-2.4, loudest)], 3)
    seen = thin([e for e in latent.events if e.type in JOLTS_M_S2], rng, 0.8, 0.97)
    seen += nuisance(rng, latent.duration_s, ["place", "grab"], rng.uniform(0, 3))
    seen.sort(key=lambda event: event.t_s)
    onsets = np.array([event.t_s for event in seen])
    rings = {
        name: (rng.uniform(12, 45), rng.uniform(0.012, 0.06), *_directions(rng))
        for name in sorted({event.type for event in seen})
    }
    for t_ns in sample_times_ns(rng, latent.duration_s, rate_hz, jitter=0.1, batch=_BATCH):
        t_s = t_ns / 1e9
        felt = np.stack([latent.at(name, t_s) for name in COLUMNS], axis=1).astype(np.float64)
        a, b = np.searchsorted(onsets, [t_s[0] - 0.5, t_s[-1]])
        for event in seen[a:b]:
            _ring(felt, t_s, event, *rings[event.type])
        felt = np.concatenate([felt[:, :3] @ mount.T, felt[:, 3:] @ mount.T], axis=1)
        felt = felt * scale + bias + noise * rng.standard_normal(felt.shape)
        yield MetadataBlock(t_node_ns=t_ns, values=felt)


def _ring(
    felt: Array, t_s: Array, event: Event, hz: float, decay_s: float, turn: Array, push: Array
) -> None:
    """Add a shock that rings down from the event on, in place."""
    a, b = np.searchsorted(t_s, [event.t_s, event.t_s + 8 * decay_s])
    since = t_s[a:b] - event.t_s
    wave = np.exp(-since / decay_s) * np.cos(2 * np.pi * hz * since)
    size = JOLTS_M_S2[event.type] * event.strength
    felt[a:b, 3:] += size * wave[:, None] * push
    felt[a:b, :3] += 0.08 * size * wave[:, None] * turn


def _directions(rng: np.random.Generator) -> tuple[Array, Array]:
    """Axis a shock turns about and direction it pushes in, unit vectors."""
    axes = rng.standard_normal((2, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return axes[0], axes[1]


def _attitude(rng: np.random.Generator) -> Array:
    """A random rotation, shape (3, 3); often along the axes, as things get glued on."""
    if rng.random() < 0.4:
        axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
        return np.asarray(axes * np.linalg.det(axes))
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q * np.linalg.det(q))

"""A machine that works in cycles: pistons, doors, lamps, a motor; an IMU is bolted to it."""

from dataclasses import dataclass

import numpy as np

from coeval_training.scenes.latent import (
    GRAVITY_M_S2,
    LATENT_HZ,
    Array,
    Body,
    Event,
    Latent,
    Mover,
    activity_spans,
    band_noise,
    constant,
    envelope,
    in_order,
    lowpass,
    num_grid,
    pulses,
    rate_of,
    seeded,
    smooth,
    thin,
)

_STEPS = ("press", "clamp", "door", "lamp", "eject", "spin")


@dataclass(slots=True)
class _Plant:
    """What the programme of a machine moves while it is written down."""

    press: Mover
    clamp: Mover
    door: Mover
    spin: Mover
    belt: Mover
    events: list[Event]
    lamps: list[tuple[float, float]]


def build(seed: int, duration_s: float) -> Latent:
    """One scene of a working machine; cycles vary by 20–50%, so no two lags look alike."""
    rng = seeded(seed, "machine")
    n = num_grid(duration_s)
    spans = activity_spans(rng, duration_s)
    plant = _Plant(Mover(n), Mover(n), Mover(n), Mover(n), Mover(n), [], [])
    programme = [str(step) for step in rng.choice(_STEPS, size=int(rng.integers(3, 7)))]
    if "press" not in programme:
        programme[0] = "press"
    pace = float(rng.lognormal(np.log(0.7), 0.35))
    vary = rng.uniform(0.2, 0.5)
    for start, end, level in spans:
        plant.events.append(Event(t_s=start, type="motor_start", strength=level, duration_s=0.5))
        plant.spin.move(start, float(rng.uniform(0.2, 1.0)), level)
        t = start + float(rng.uniform(0.1, 0.6))
        while t < end:
            for step in programme:
                length = pace * float(rng.lognormal(0, vary))
                if t + length < end + 0.5:
                    _work(rng, plant, step, t, length, level)
                t += length + float(rng.exponential(0.15))
            if rng.random() < 0.1:
                plant.events.append(Event(t_s=t, type="alarm", strength=1.0, duration_s=0.8))
                plant.lamps.append((t, 0.8))
                t += float(rng.uniform(0.8, 2.5))
        plant.events.append(Event(t_s=end, type="motor_stop", strength=level, duration_s=0.8))
        plant.spin.move(end, float(rng.uniform(0.3, 1.5)), -level)
    events = in_order(plant.events, duration_s)
    press, clamp, door = (m.position() for m in (plant.press, plant.clamp, plant.door))
    spin = np.clip(plant.spin.position(), 0, None)
    belt = plant.belt.position()
    stroke = np.abs(rate_of(press)) + 0.6 * np.abs(rate_of(clamp)) + 0.4 * np.abs(rate_of(door))
    impacts = [e for e in events if e.type in ("press_hit", "clamp", "door_close", "eject")]
    inrush = pulses(n, [e for e in events if e.type == "motor_start"], rise_s=0.01, fall_s=0.15)
    load = 0.35 * spin + 0.25 * smooth(stroke, 0.03) + 0.8 * inrush
    jolt = pulses(n, impacts, rise_s=0.003, fall_s=0.08)
    ring = np.sin(2 * np.pi * rng.uniform(5, 11) * np.arange(n) / LATENT_HZ)
    size = rng.uniform(0.05, 0.3)
    on_head = rng.random() < 0.5
    ay = size * rate_of(rate_of(smooth(press, 0.03))) * (1.0 if on_head else 0.15)
    ax = size * rate_of(rate_of(smooth(clamp, 0.03))) * 0.3
    buzz = (0.03 + 0.5 * spin).astype(np.float32)
    tilt = 0.03 * door + 0.02 * belt
    lamp = np.zeros(n, dtype=np.float32)
    for t, length in plant.lamps:
        lamp[round(t * LATENT_HZ) : round((t + length) * LATENT_HZ)] = 1.0
    shake = rng.uniform(0.0, 0.012)
    signals = {
        "activity": envelope(n, spans, 0.2),
        "gx": 0.3 * rng.normal() * jolt * ring + 0.02 * buzz * band_noise(rng, n, 5, 60),
        "gy": rate_of(smooth(door * rng.normal(0, 0.6), 0.03)),
        "gz": 0.4 * rng.normal() * rate_of(smooth(clamp, 0.03)) * 0.2 + 0.2 * jolt * ring,
        "ax": ax + buzz * band_noise(rng, n, 15, 90) + GRAVITY_M_S2 * np.sin(tilt),
        "ay": ay - GRAVITY_M_S2 + buzz * band_noise(rng, n, 15, 90),
        "az": 0.3 * buzz * band_noise(rng, n, 15, 90),
        "cam_yaw": shake * jolt * ring,
        "cam_pitch": shake * jolt * ring * rng.normal(),
        "cam_roll": np.zeros(n),
        "cam_zoom": np.zeros(n),
        "light": np.clip(1 + 0.05 * band_noise(rng, n, 0.02, 0.4) - 0.06 * inrush, 0.4, 1.6),
        "press": press,
        "clamp": clamp,
        "door": door,
        "belt": belt,
        "motor": spin,
        "load": load,
        "pressure": 6 - 1.5 * lowpass(smooth(stroke, 0.05), 0.4),
        "temperature": 40 + 60 * lowpass(load, 25.0),
        "lamp": lamp,
        "hiss": np.clip(0.15 * smooth(stroke, 0.05), 0, 1),
    }
    return Latent(
        seed=seed,
        kind="machine",
        flavour=programme[0],
        duration_s=duration_s,
        signals={name: np.asarray(signal, dtype=np.float32) for name, signal in signals.items()},
        events=events,
        bodies=_bodies(rng, n, press, clamp, door, belt, spin, lamp, thin(list(events), rng)),
        continuous={"motor": "motor", "hiss": "hiss"},
    )


def _work(
    rng: np.random.Generator, plant: _Plant, step: str, t: float, length: float, level: float
) -> None:
    """One step of the programme, from `t` on, about `length` seconds."""
    strength = float(level * rng.uniform(0.7, 1.2))
    if step == "press":
        down = 0.35 * length
        plant.events.append(Event(t_s=t, type="press", strength=strength, duration_s=down))
        plant.press.move(t, down, strength, abrupt=True)
        plant.events.append(Event(t_s=t + down, type="press_hit", strength=strength))
        plant.press.move(t + 0.5 * length, 0.5 * length, -strength)
    elif step == "clamp":
        plant.clamp.move(t, 0.3 * length, strength, abrupt=True)
        plant.events.append(Event(t_s=t + 0.3 * length, type="clamp", strength=strength))
        plant.clamp.move(t + 0.7 * length, 0.3 * length, -strength)
        plant.events.append(
            Event(t_s=t + 0.7 * length, type="release", strength=strength, duration_s=0.2)
        )
    elif step == "door":
        plant.events.append(
            Event(t_s=t, type="door_open", strength=strength, duration_s=0.3 * length)
        )
        plant.door.move(t, 0.3 * length, 1.0)
        plant.door.move(t + 0.65 * length, 0.35 * length, -1.0, abrupt=True)
        plant.events.append(Event(t_s=t + length, type="door_close", strength=strength))
    elif step == "lamp":
        plant.events.append(
            Event(t_s=t, type="lamp_on", strength=strength, duration_s=0.6 * length)
        )
        plant.lamps.append((t, 0.6 * length))
        plant.events.append(Event(t_s=t + 0.6 * length, type="lamp_off", strength=strength))
    elif step == "eject":
        plant.belt.move(t, 0.5 * length, 0.4 * float(rng.choice([-1.0, 1.0])))
        plant.events.append(Event(t_s=t, type="eject", strength=strength, duration_s=0.5 * length))
    else:
        plant.spin.move(t, 0.3 * length, 0.4 * strength)
        plant.spin.move(t + 0.7 * length, 0.3 * length, -0.4 * strength)
        plant.events.append(Event(t_s=t, type="spin", strength=strength, duration_s=length))


def _bodies(
    rng: np.random.Generator,
    n: int,
    press: Array,
    clamp: Array,
    door: Array,
    belt: Array,
    spin: Array,
    lamp: Array,
    seen: list[Event],
) -> tuple[Body, ...]:
    """The machine's visible parts, laid out at random; a part may be out of view or lie behind."""
    tone = rng.uniform(20, 235, size=8)
    places = rng.permutation(np.linspace(-0.9, 0.9, 6)) + rng.normal(0, 0.08, 6)
    scale = rng.uniform(0.3, 0.7)

    def part(
        shape: str, x: Array, y: Array, w: float, h: float, grey: float, **more: Array
    ) -> Body:
        return Body(
            shape=shape,
            x=np.atleast_1d(np.asarray(x, dtype=np.float32)),
            y=np.atleast_1d(np.asarray(y, dtype=np.float32)),
            half_width=constant(w),
            half_height=constant(h),
            angle=np.asarray(more.get("angle", np.zeros(1)), dtype=np.float32),
            alpha=np.asarray(more.get("alpha", np.ones(1)), dtype=np.float32),
            brightness=grey,
            contrast=float(rng.uniform(10, 40)),
        )

    heading = np.cumsum(spin.astype(np.float64)) / LATENT_HZ * rng.uniform(3.0, 20.0)
    bodies = [
        part("box", places[0], np.asarray(0.55), 0.35, 0.15, tone[0]),
        part("box", places[0], -0.4 + scale * press, 0.18, 0.3, tone[1]),
        part("box", places[1] + 0.5 * scale * clamp, np.asarray(0.2), 0.2, 0.1, tone[2]),
        part("box", np.asarray(places[2]), -0.2 - 0.6 * scale * door, 0.25, 0.35, tone[3]),
        part("box", places[3] + 0.8 * belt, np.asarray(0.75), 0.3, 0.1, tone[4]),
        part(
            "capsule",
            np.asarray(places[4]),
            np.asarray(0.1),
            0.08,
            0.3,
            tone[5],
            angle=heading % (2 * np.pi),
        ),
    ]
    bodies = [body for body in bodies if rng.random() < 0.85] or bodies[:2]
    if rng.random() < 0.8:
        bodies.append(
            part("ellipse", np.asarray(places[5]), np.asarray(-0.6), 0.14, 0.14, 245.0, alpha=lamp)
        )
    if rng.random() < 0.5:
        sparks = [e for e in seen if e.type in ("press_hit", "clamp", "alarm")]
        glow = np.clip(pulses(n, sparks, rise_s=0.002, fall_s=0.1), 0, 1)
        bodies.append(
            part("ring", np.asarray(places[0]), np.asarray(0.3), 0.3, 0.3, 250.0, alpha=glow)
        )
    if rng.random() < 0.5:
        walk = 1.3 * np.sin(6.0 * smooth(band_noise(rng, n, 0.01, 0.08), 0.5))
        bodies.append(part("ellipse", walk, np.asarray(0.3), 0.18, 0.6, tone[6]))
    return tuple(bodies)

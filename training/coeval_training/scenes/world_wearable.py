"""A person who walks, hammers, reaches and jumps, an IMU on one limb, before a fixed camera."""

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
    integral_of,
    num_grid,
    pulses,
    rate_of,
    seeded,
    smooth,
    thin,
)

_MODES = ("walk", "hit", "reach", "shake", "jump", "clap")


def build(seed: int, duration_s: float) -> Latent:
    """One scene of an acting person; positions in metres, the picture about 1.2–3 m high."""
    rng = seeded(seed, "wearable")
    n = num_grid(duration_s)
    spans = activity_spans(rng, duration_s)
    activity = envelope(n, spans, 0.3)
    liking = rng.dirichlet(np.full(len(_MODES), 0.7))
    walk, hand_x, hand_y, turn = Mover(n), Mover(n), Mover(n), Mover(n)
    cadence = np.zeros(n, dtype=np.float32)
    wobble = np.zeros(n, dtype=np.float32)
    events: list[Event] = []
    heading = 1.0
    for start, end, level in spans:
        mode = str(rng.choice(_MODES, p=liking))
        if mode == "walk":
            heading = -heading
            step_hz = rng.uniform(1.3, 2.6)
            cadence[round(start * LATENT_HZ) : round(end * LATENT_HZ)] = step_hz
            walk.move(start, end - start, heading * rng.uniform(0.3, 1.2))
        elif mode == "shake":
            wobble[round(start * LATENT_HZ) : round(end * LATENT_HZ)] = level
        else:
            events += _strokes(rng, mode, (start, end, level), hand_x, hand_y, turn)
        # Small unnoticed movements go on beside whatever else is done.
        for t in rng.uniform(start, end, rng.poisson(0.5 * (end - start))):
            length = rng.uniform(0.3, 0.9)
            delta = rng.normal(0, 0.12)
            hand_x.move(t, length, delta)
            hand_x.move(t + length + rng.uniform(0, 1), length, -delta)
            turn.move(t, length, rng.normal(0, 0.3))
    pace = smooth(cadence, 0.4) * (1 + 0.06 * band_noise(rng, n, 0.05, 0.8))
    gait = 2 * np.pi * np.cumsum(pace.astype(np.float64)) / LATENT_HZ
    going = np.clip(pace / 1.5, 0, 1)
    strides = np.flatnonzero(np.diff(np.floor(gait / (2 * np.pi))) > 0)
    events += [
        Event(
            t_s=float(k / LATENT_HZ), type="step", strength=float(rng.uniform(0.5, 1.0) * going[k])
        )
        for k in strides
        if going[k] > 0.4
    ]
    swing = rng.uniform(0.3, 0.9)
    bob = (0.02 + 0.03 * rng.random()) * going * np.cos(gait)
    tremor = 0.004 * band_noise(rng, n, 0.3, 6.0)
    wobble_envelope = smooth(wobble, 0.25)
    shake = wobble_envelope * band_noise(rng, n, 1.0, 5.0)
    angle = _leaky(turn.position()) + swing * going * np.sin(gait / 2) + 0.5 * shake + 12.5 * tremor
    torso_x = _centred(walk.position())
    x = (
        torso_x
        + _leaky(hand_x.position())
        + 0.12 * shake
        + 0.18 * going * np.sin(gait / 2)
        + tremor
    )
    y = _leaky(hand_y.position()) + bob + 0.09 * wobble_envelope * band_noise(rng, n, 1.0, 5.0)
    lift = pulses(n, [e for e in events if e.type == "jump"], rise_s=0.08, fall_s=0.1)
    y = y - 0.25 * smooth(lift, 0.12)
    events_in = in_order(events, duration_s)
    signals = {
        "activity": activity,
        "moving": np.clip(going + wobble_envelope + 0.8 * smooth(np.abs(rate_of(x)), 0.1), 0, 2),
        "cadence": pace,
        "effort": smooth(np.abs(rate_of(rate_of(smooth(y, 0.05)))), 0.2) / 10,
        "position": torso_x,
        "reach": (x - torso_x).astype(np.float32),
        "limb_angle": angle.astype(np.float32),
        **_felt(rng, x, y, angle, n),
        **_still_camera(rng, n),
        "light": _light(rng, n),
    }
    signals["rustle"] = np.clip(0.3 * smooth(np.hypot(rate_of(x), rate_of(y)), 0.05), 0, 1)
    continuous = {"rustle": "rustle"}
    if rng.random() < 0.4:
        signals["treadmill"] = np.clip(pace / 2.5, 0, 1).astype(np.float32)
        continuous["treadmill"] = "motor"
    signals = {name: np.asarray(signal, dtype=np.float32) for name, signal in signals.items()}
    return Latent(
        seed=seed,
        kind="wearable",
        flavour=str(_MODES[int(liking.argmax())]),
        duration_s=duration_s,
        signals=signals,
        events=events_in,
        bodies=_bodies(rng, n, torso_x, x, y, bob, angle, events_in, duration_s),
        continuous=continuous,
    )


def _strokes(
    rng: np.random.Generator,
    mode: str,
    span: tuple[float, float, float],
    hand_x: Mover,
    hand_y: Mover,
    turn: Mover,
) -> list[Event]:
    """Single deliberate movements through a span, each with the event it ends in."""
    start, end, level = span
    events = []
    pace = rng.uniform(0.5, 1.8)
    t = start + rng.uniform(0.0, 0.4)
    while t < end:
        strength = float(level * rng.uniform(0.6, 1.2))
        if mode == "hit":
            raise_s, strike_s = rng.uniform(0.25, 0.5), rng.uniform(0.1, 0.22)
            height, tilt = 0.3 * strength, 0.9 * strength
            hand_y.move(t, raise_s, -height)
            turn.move(t, raise_s, -tilt)
            hand_y.move(t + raise_s, strike_s, height, abrupt=True)
            turn.move(t + raise_s, strike_s, tilt, abrupt=True)
            t += raise_s + strike_s
            events.append(Event(t_s=t, type="hit", strength=strength))
        elif mode == "reach":
            length = rng.uniform(0.4, 1.1)
            dx, dy = rng.normal(0, 0.35), rng.normal(0, 0.25)
            for mover, delta in ((hand_x, dx), (hand_y, dy), (turn, rng.normal(0, 0.5))):
                mover.move(t, length, delta)
                mover.move(t + length + 0.3, length, -delta)
            events.append(Event(t_s=t + length, type="grab", strength=strength))
            t += 2 * length + 0.3
            events.append(Event(t_s=t, type="place", strength=strength))
        elif mode == "jump":
            t += rng.uniform(0.3, 0.6)
            events.append(Event(t_s=t, type="jump", strength=strength, duration_s=0.3))
            t += 0.3 + rng.uniform(0.1, 0.2)
            events.append(Event(t_s=t, type="land", strength=strength))
        else:
            open_s = rng.uniform(0.15, 0.35)
            hand_x.move(t, open_s, 0.2)
            hand_x.move(t + open_s, 0.1, -0.2, abrupt=True)
            t += open_s + 0.1
            events.append(Event(t_s=t, type="clap", strength=strength))
        t += float(rng.lognormal(np.log(0.6 / pace), 0.6))
    return events


def _centred(position: Array) -> Array:
    """The same path about the middle of the picture."""
    return np.asarray(position - position.mean())


def _leaky(position: Array) -> Array:
    """A position that slowly returns to its place, so that no limb leaves the picture."""
    return position - smooth(position, 6.0)


def _felt(rng: np.random.Generator, x: Array, y: Array, angle: Array, n: int) -> dict[str, Array]:
    """What an IMU fixed to the limb feels: turn rates and specific force in its own axes."""
    out = rng.uniform(0.1, 0.5)  # how much of the motion leaves the picture's plane
    ax, ay = rate_of(rate_of(smooth(x, 0.03))), rate_of(rate_of(smooth(y, 0.03))) - GRAVITY_M_S2
    az = out * (rng.normal() * (ay + GRAVITY_M_S2) + rng.normal() * ax)
    side = out * rng.normal(size=2)
    wz = rate_of(smooth(angle, 0.02))
    cos, sin = np.cos(angle), np.sin(angle)
    breath = 0.03 * band_noise(rng, n, 0.1, 4.0)
    return {
        "gx": side[0] * wz + breath,
        "gy": side[1] * wz + rng.normal(0, 0.1) * ax,
        "gz": wz,
        "ax": cos * ax + sin * ay,
        "ay": -sin * ax + cos * ay,
        "az": az + 0.02 * band_noise(rng, n, 0.2, 20.0),
    }


def _still_camera(rng: np.random.Generator, n: int) -> dict[str, Array]:
    """A camera on a tripod, or held quite still by someone else."""
    held = rng.uniform(0.001, 0.012) if rng.random() < 0.4 else 0.0
    return {
        "cam_yaw": held * band_noise(rng, n, 0.1, 4.0),
        "cam_pitch": held * band_noise(rng, n, 0.1, 4.0),
        "cam_roll": 0.3 * held * band_noise(rng, n, 0.1, 2.0),
        "cam_zoom": np.zeros(n, dtype=np.float32),
    }


def _light(rng: np.random.Generator, n: int) -> Array:
    """Brightness of the scene about 1: drift, clouds, a lamp that flickers."""
    light = 1 + rng.uniform(0, 0.08) * band_noise(rng, n, 0.01, 0.3)
    if rng.random() < 0.3:
        phase = integral_of(np.full(n, rng.uniform(0.5, 9.0), dtype=np.float32))
        light = light + rng.uniform(0.01, 0.05) * np.sin(2 * np.pi * phase)
    return np.clip(light, 0.3, 1.7).astype(np.float32)


def _bodies(
    rng: np.random.Generator,
    n: int,
    torso_x: Array,
    x: Array,
    y: Array,
    bob: Array,
    angle: Array,
    events: tuple[Event, ...],
    duration_s: float,
) -> tuple[Body, ...]:
    """The person, the thing worked on, a lamp, and passers-by who have nothing to do with it."""
    px = 1 / rng.uniform(0.4, 1.1)  # half picture heights a metre
    mirror = rng.choice([-1.0, 1.0])
    tone = rng.uniform(30, 220, size=8)
    at_y = rng.uniform(-0.2, 0.3)

    def body(
        shape: str, bx: Array, by: Array, w: float, h: float, grey: float, turn: Array
    ) -> Body:
        return Body(
            shape=shape,
            x=np.asarray(mirror * bx * px, dtype=np.float32),
            y=np.asarray(by * px, dtype=np.float32),
            half_width=constant(w * px),
            half_height=constant(h * px),
            angle=np.asarray(mirror * turn, dtype=np.float32),
            alpha=constant(1.0),
            brightness=grey,
            contrast=float(rng.uniform(10, 45)),
        )

    zero = np.zeros(n, dtype=np.float32)
    lean = 0.1 * smooth(rate_of(torso_x), 0.3)
    bodies = [
        body("ellipse", torso_x, at_y + 0.15 + bob, 0.22, 0.38, tone[0], lean),
        body("ellipse", torso_x + lean, at_y - 0.35 + bob, 0.12, 0.15, tone[1], lean),
    ]
    seen = thin(list(events), rng)
    touched = [e for e in seen if e.type in ("hit", "grab", "place", "land", "clap")]
    if touched:
        nudge = pulses(n, touched, rise_s=0.005, fall_s=0.12)
        spot = rng.uniform(-0.6, 0.6)
        shiver = nudge * np.sin(2 * np.pi * rng.uniform(6, 12) * np.arange(n) / LATENT_HZ)
        bodies.append(
            body("box", spot + 0.05 * shiver, at_y + 0.5 + 0.08 * nudge, 0.2, 0.1, tone[2], zero)
        )
    if rng.random() < 0.5 and seen:
        lamp = Body(
            shape="ellipse",
            x=constant(float(rng.uniform(-1.1, 1.1))),
            y=constant(float(rng.uniform(-0.8, -0.3))),
            half_width=constant(0.12),
            half_height=constant(0.12),
            angle=constant(0.0),
            alpha=np.clip(
                pulses(n, [e for e in seen if e.type != "step"], rise_s=0.002, fall_s=0.15), 0, 1
            ),
            brightness=245.0,
        )
        bodies.append(lamp)
    other = 0.25 * np.sin(angle * -0.8)
    bodies.append(
        body("capsule", torso_x + other, at_y + 0.1 + bob, 0.06, 0.28, tone[3], -0.6 * angle)
    )
    arm_x, arm_y = torso_x + 0.5 * (x - torso_x), at_y + 0.05 + 0.5 * y
    bodies.append(body("capsule", arm_x, arm_y, 0.07, 0.3, tone[4], 0.5 * angle))
    bodies.append(body("box", x, at_y + 0.15 + y, 0.1, 0.1, tone[5], angle))
    for _ in range(int(rng.integers(0, 3))):
        bodies.append(_passer_by(rng, n, duration_s))
    return tuple(bodies)


def _passer_by(rng: np.random.Generator, n: int, duration_s: float) -> Body:
    """A shape that crosses the picture at times of its own: nuisance."""
    path = Mover(n)
    side = 1.0
    for t in np.sort(rng.uniform(0, duration_s, rng.poisson(duration_s / 25) + 1)):
        path.move(float(t), float(rng.uniform(1.5, 5.0)), side * 4.0)
        side = -side
    return Body(
        shape=str(rng.choice(["ellipse", "box"])),
        x=path.position() - 2.0,
        y=constant(float(rng.uniform(-0.2, 0.5))),
        half_width=constant(float(rng.uniform(0.08, 0.35))),
        half_height=constant(float(rng.uniform(0.2, 0.7))),
        angle=constant(0.0),
        alpha=constant(1.0),
        brightness=float(rng.uniform(30, 220)),
    )

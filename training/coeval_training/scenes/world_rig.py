"""A camera and an IMU on one rigid body: held in a hand, on a head, a vehicle, a drone."""

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
)

_FLAVOURS = ("handheld", "head", "vehicle", "drone")


def build(seed: int, duration_s: float) -> Latent:
    """One scene of a moving camera; signs as in a right-handed frame, x right, y down, z forward.

    Yaw turns right, pitch looks up, roll turns clockwise as seen from behind the camera. Body
    rates follow from the angles, so picture and gyro agree in sign and size.
    """
    rng = seeded(seed, "rig")
    n = num_grid(duration_s)
    flavour = str(rng.choice(_FLAVOURS))
    spans = activity_spans(rng, duration_s)
    activity = envelope(n, spans, 0.4)
    moving = flavour in ("vehicle", "drone")
    yaw_moves, pitch_moves, roll_moves = Mover(n), Mover(n), Mover(n)
    speed_moves = Mover(n)
    events: list[Event] = []
    pace = rng.uniform(0.2, 1.2)
    speed = 0.0
    for start, end, level in spans:
        if moving:
            target = float(level * rng.uniform(4.0, 15.0))
            speed_moves.move(start, min(3.0, 0.5 * (end - start)), target - speed)
            events.append(Event(t_s=start, type="start", strength=level, duration_s=1.0))
            stop_s = float(rng.uniform(0.8, 2.5))
            speed_moves.move(max(start, end - stop_s), stop_s, -target)
            events.append(
                Event(t_s=max(start, end - stop_s), type="brake", strength=level, duration_s=stop_s)
            )
            events.append(Event(t_s=end, type="stop", strength=level))
            speed = 0.0
        t = start + float(rng.exponential(1 / pace))
        while t < end:
            events += _turn(rng, t, level, flavour, yaw_moves, pitch_moves, roll_moves)
            t += 0.4 + float(rng.exponential(1 / pace))
    bumps = [
        Event(t_s=float(t), type="bump", strength=float(rng.uniform(0.3, 1.2)))
        for start, end, level in spans
        for t in rng.uniform(start, end, rng.poisson(0.4 * level * (end - start)))
    ]
    events += bumps
    gait, steps = _gait(rng, n, activity if flavour in ("handheld", "head") else activity * 0)
    events += steps
    high = {"handheld": 8.0, "head": 6.0, "vehicle": 12.0, "drone": 5.0}[flavour]
    amount = rng.uniform(0.01, 0.06) * (activity + rng.uniform(0.02, 0.2))
    jolt = pulses(n, [*bumps, *steps], rise_s=0.004, fall_s=0.07)
    ring = np.sin(2 * np.pi * rng.uniform(4, 9) * np.arange(n) / LATENT_HZ)
    yaw = yaw_moves.position() + amount * band_noise(rng, n, 0.3, high)
    pitch = _back(pitch_moves.position()) + amount * band_noise(rng, n, 0.3, high)
    pitch = pitch + 0.02 * gait + 0.03 * jolt * ring
    roll = _back(roll_moves.position()) + 0.6 * amount * band_noise(rng, n, 0.3, high)
    yaw, pitch, roll = (smooth(angle.astype(np.float32), 0.02) for angle in (yaw, pitch, roll))
    yaw_rate, pitch_rate, roll_rate = rate_of(yaw), rate_of(pitch), rate_of(roll)
    cos, sin = np.cos(roll), np.sin(roll)
    velocity = np.clip(smooth(speed_moves.position(), 0.2), 0, None)
    forward = rate_of(velocity)
    bounce = 0.01 * gait + 0.012 * jolt * ring
    heave = rate_of(rate_of(smooth(bounce.astype(np.float32), 0.03)))
    rough = 0.05 + (0.25 if moving else 0.05) * np.clip(velocity / 5, 0, 3)
    signals = {
        "activity": activity,
        "gx": yaw_rate * sin + pitch_rate * cos,
        "gy": yaw_rate * cos - pitch_rate * sin,
        "gz": roll_rate,
        "ax": -(GRAVITY_M_S2 - heave) * sin * np.cos(pitch)
        + velocity * yaw_rate * cos
        + rough * band_noise(rng, n, 1.0, 40.0),
        "ay": -(GRAVITY_M_S2 - heave) * cos * np.cos(pitch)
        - velocity * yaw_rate * sin
        + rough * band_noise(rng, n, 1.0, 40.0),
        "az": GRAVITY_M_S2 * np.sin(pitch) + forward + rough * band_noise(rng, n, 1.0, 40.0),
        "cam_yaw": yaw,
        "cam_pitch": pitch - 0.3 * bounce,
        "cam_roll": roll,
        "cam_zoom": integral_of((0.04 if moving else 0.0) * velocity)
        + (0.02 * smooth(activity * band_noise(rng, n, 0.1, 1.0), 0.1)),
        "light": np.clip(1 + 0.06 * band_noise(rng, n, 0.02, 0.5), 0.4, 1.6),
        "speed": velocity,
        "throttle": np.clip(forward / 3, -1, 1) + 0.05 * velocity,
        "steering": smooth(yaw_rate, 0.1),
        "heading": yaw,
        "altitude": smooth(integral_of(2 * activity * band_noise(rng, n, 0.02, 0.2)), 0.2)
        if flavour == "drone"
        else bounce,
        "shake": smooth(np.sqrt(yaw_rate**2 + pitch_rate**2), 0.1),
        "wind": np.clip(0.3 * (np.abs(yaw_rate) + np.abs(pitch_rate)) + velocity / 20, 0, 1),
    }
    continuous = {"wind": "wind"}
    if moving:
        signals["engine"] = np.clip(0.15 + velocity / 15 + 0.3 * np.abs(forward) / 3, 0, 1.2)
        continuous["engine"] = "motor"
    events_in = in_order(events, duration_s)
    return Latent(
        seed=seed,
        kind="rig",
        flavour=flavour,
        duration_s=duration_s,
        signals={name: np.asarray(signal, dtype=np.float32) for name, signal in signals.items()},
        events=events_in,
        bodies=_bodies(rng, n, moving),
        continuous=continuous,
    )


def _turn(
    rng: np.random.Generator,
    t: float,
    level: float,
    flavour: str,
    yaw: Mover,
    pitch: Mover,
    roll: Mover,
) -> list[Event]:
    """One deliberate turn: quick as a glance in the hand, slow in a vehicle."""
    slow = flavour in ("vehicle", "drone")
    length = float(rng.uniform(1.0, 4.0) if slow else rng.uniform(0.25, 1.3))
    angle = float(level * rng.uniform(0.15, 1.5) * rng.choice([-1.0, 1.0]))
    if slow or rng.random() < 0.75:
        yaw.move(t, length, angle)
        if flavour == "drone":
            roll.move(t, 0.4 * length, 0.3 * angle)
            roll.move(t + 0.6 * length, 0.4 * length, -0.3 * angle)
        side = "turn_right" if angle > 0 else "turn_left"
        return [Event(t_s=t, type=side, strength=abs(angle), duration_s=length)]
    pitch.move(t, length, 0.5 * angle)
    roll.move(t, length, 0.2 * float(rng.normal()))
    side = "look_up" if angle > 0 else "look_down"
    return [Event(t_s=t, type=side, strength=abs(angle), duration_s=length)]


def _gait(rng: np.random.Generator, n: int, activity: Array) -> tuple[Array, list[Event]]:
    """Steps of a carrier on foot: (bob −1…1, step events)."""
    step_hz = np.where(activity > 0.35, rng.uniform(1.4, 2.4), 0.0)
    step_hz = smooth(step_hz.astype(np.float32), 0.4) * (1 + 0.07 * band_noise(rng, n, 0.05, 0.8))
    phase = np.cumsum(step_hz.astype(np.float64)) / LATENT_HZ
    going = np.clip(step_hz / 1.2, 0, 1)
    at = np.flatnonzero(np.diff(np.floor(phase)) > 0)
    steps = [
        Event(t_s=float(k / LATENT_HZ), type="step", strength=float(0.5 * rng.uniform(0.5, 1)))
        for k in at
        if going[k] > 0.5
    ]
    return going * np.cos(2 * np.pi * phase), steps


def _back(angle: Array) -> Array:
    """An angle that is kept about level: what is slower than 3 s is taken out."""
    return np.asarray(0.8 * (angle - smooth(angle.astype(np.float32), 4.0)))


def _bodies(rng: np.random.Generator, n: int, moving: bool) -> tuple[Body, ...]:
    """Part of the vehicle or an arm in view, and things in the world that move by themselves."""
    bodies = []
    for _ in range(int(rng.integers(0, 3))):
        drift = integral_of(rng.uniform(0.05, 0.6) * band_noise(rng, n, 0.02, 0.3))
        bodies.append(
            Body(
                shape=str(rng.choice(["ellipse", "box"])),
                x=drift + np.float32(rng.uniform(-2, 2)),
                y=constant(float(rng.uniform(-0.5, 0.5))),
                half_width=constant(float(rng.uniform(0.1, 0.4))),
                half_height=constant(float(rng.uniform(0.1, 0.5))),
                angle=constant(0.0),
                alpha=constant(1.0),
                brightness=float(rng.uniform(30, 220)),
                in_world=True,
            )
        )
    if rng.random() < (0.6 if moving else 0.2):
        wobble = 0.01 * band_noise(rng, n, 1.0, 10.0)
        bodies.append(
            Body(
                shape="box",
                x=wobble,
                y=constant(float(rng.uniform(0.85, 1.2))),
                half_width=constant(float(rng.uniform(0.5, 1.6))),
                half_height=constant(float(rng.uniform(0.15, 0.4))),
                angle=constant(float(rng.normal(0, 0.05))),
                alpha=constant(1.0),
                brightness=float(rng.uniform(15, 120)),
            )
        )
    return tuple(bodies)

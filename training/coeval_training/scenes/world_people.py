"""People who talk: faces move with the syllables, hands with the stress; a wrist has the IMU."""

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
    rate_of,
    seeded,
    smooth,
)
from coeval_training.scenes.speech import VOCABULARY, converse, loudness

_ASIDES = ("clap", "cough", "laugh", "cup", "door", "key", "knock")


def build(seed: int, duration_s: float) -> Latent:
    """One scene of 1–4 speakers; speaker 0 wears the IMU and, in a close-up, fills the picture."""
    rng = seeded(seed, "people")
    n = num_grid(duration_s)
    num_speakers = int(rng.choice([1, 2, 3, 4], p=[0.45, 0.25, 0.2, 0.1]))
    flavour = "close-up" if num_speakers == 1 and rng.random() < 0.6 else "group"
    language = str(rng.choice(list(VOCABULARY), p=[0.6, 0.15, 0.15, 0.1]))
    spans = activity_spans(rng, duration_s)
    sentences = converse(
        rng,
        spans,
        speakers=num_speakers,
        main_share=float(rng.uniform(0.4, 0.75)),
        language=language,
    )
    sentences = [s for s in sentences if s.t_end_s < duration_s]
    voices = [loudness(sentences, n, speaker) for speaker in range(num_speakers)]
    voice = np.max(voices, axis=0)
    # The hands beat with the stressed syllables of the wearer (McNeill's beat gestures).
    beat_x, beat_y, turn = Mover(n), Mover(n), Mover(n)
    events: list[Event] = []
    liveliness = rng.uniform(0.35, 0.9)
    for sentence in sentences:
        if sentence.speaker != 0:
            if rng.random() < 0.3:  # a listener nods at the end of what another says
                beat_y.move(sentence.t_end_s, 0.3, 0.04)
                beat_y.move(sentence.t_end_s + 0.3, 0.4, -0.04)
            continue
        for word in sentence.words:
            t, length, stress = word.syllables[0]
            if stress > 0.65 and rng.random() < liveliness:
                size = float(stress * rng.uniform(0.05, 0.18))
                rise = float(rng.uniform(0.15, 0.3))
                middle = t + 0.4 * length
                beat_y.move(middle - rise, rise * 0.7, -size)
                beat_y.move(middle - 0.3 * rise, 0.3 * rise + 0.05, size, abrupt=True)
                beat_x.move(middle - rise, rise, float(rng.normal(0, 0.06)))
                turn.move(middle - rise, rise + 0.1, float(rng.normal(0, 0.35)))
                events.append(Event(t_s=middle + 0.05, type="gesture", strength=stress))
    for t in rng.uniform(0, duration_s, rng.poisson(duration_s / 9.0)):
        aside = str(rng.choice(_ASIDES))
        events.append(
            Event(t_s=float(t), type=aside, strength=float(rng.uniform(0.4, 1.2)), duration_s=0.3)
        )
        if aside in ("clap", "cup", "key", "knock"):
            beat_x.move(float(t) - 0.25, 0.25, 0.12, abrupt=True)
            beat_x.move(float(t) + 0.05, 0.4, -0.12)
    hand_x, hand_y = (_home(m.position()) for m in (beat_x, beat_y))
    angle = _home(turn.position())
    sway = 0.02 * band_noise(rng, n, 0.05, 0.6)
    hand_y = hand_y + 0.01 * band_noise(rng, n, 0.2, 3.0)
    ax, ay = rate_of(rate_of(smooth(hand_x, 0.03))), rate_of(rate_of(smooth(hand_y, 0.03)))
    ay = ay - GRAVITY_M_S2
    cos, sin = np.cos(angle), np.sin(angle)
    wz = rate_of(smooth(angle, 0.02))
    held = rng.uniform(0.0, 0.006)
    events_in = in_order(events, duration_s)
    signals = {
        "activity": envelope(n, spans, 0.3),
        "gx": 0.6 * rng.normal() * rate_of(smooth(hand_y, 0.03))
        + 0.02 * band_noise(rng, n, 0.1, 5),
        "gy": 0.6 * rng.normal() * rate_of(smooth(hand_x, 0.03))
        + 0.02 * band_noise(rng, n, 0.1, 5),
        "gz": wz,
        "ax": cos * ax + sin * ay,
        "ay": -sin * ax + cos * ay,
        "az": 0.4 * rng.normal() * ax + 0.03 * band_noise(rng, n, 0.2, 20.0),
        "cam_yaw": held * band_noise(rng, n, 0.1, 3.0),
        "cam_pitch": held * band_noise(rng, n, 0.1, 3.0),
        "cam_roll": np.zeros(n),
        "cam_zoom": np.zeros(n),
        "light": np.clip(1 + 0.04 * band_noise(rng, n, 0.01, 0.3), 0.4, 1.6),
        "voice": voice,
        "talking": smooth((voice > 0.05).astype(np.float32), 0.15),
        "hand_x": hand_x,
        "hand_y": hand_y,
        "hand_speed": np.hypot(rate_of(hand_x), rate_of(hand_y)),
        "co2": 450 + 8 * lowpass(voice, 20.0) + 2 * np.arange(n) / LATENT_HZ / 60,
        **{f"voice_{k}": level for k, level in enumerate(voices)},
    }
    signals = {name: np.asarray(signal, dtype=np.float32) for name, signal in signals.items()}
    return Latent(
        seed=seed,
        kind="people",
        flavour=flavour,
        duration_s=duration_s,
        signals=signals,
        events=events_in,
        sentences=tuple(sorted(sentences, key=lambda sentence: sentence.t_s)),
        bodies=_bodies(rng, n, flavour, signals, voices, sway.astype(np.float32)),
        continuous={},
    )


def _home(position: Array) -> Array:
    """A position that drifts back to its place over some seconds."""
    return np.asarray(position - smooth(position, 5.0))


def _bodies(
    rng: np.random.Generator,
    n: int,
    flavour: str,
    signals: dict[str, Array],
    voices: list[Array],
    sway: Array,
) -> tuple[Body, ...]:
    """Shoulders, faces, eyes and mouths; the hand of speaker 0."""
    close = flavour == "close-up"
    count = len(voices)
    size = rng.uniform(0.5, 0.95) if close else rng.uniform(0.22, 0.45)
    places = rng.normal(0, 0.15, 1) if count == 1 else np.linspace(-0.9, 0.9, count)
    bodies: list[Body] = []

    def add(
        shape: str,
        x: Array,
        y: Array,
        w: Array,
        h: Array,
        grey: float,
        contrast: float,
    ) -> None:
        bodies.append(
            Body(
                shape=shape,
                x=np.asarray(x, dtype=np.float32),
                y=np.asarray(y, dtype=np.float32),
                half_width=np.atleast_1d(np.asarray(w, dtype=np.float32)),
                half_height=np.atleast_1d(np.asarray(h, dtype=np.float32)),
                angle=constant(0.0),
                alpha=constant(1.0),
                brightness=grey,
                contrast=contrast,
            )
        )

    for speaker, place in enumerate(places):
        voice = voices[speaker]
        skin = float(rng.uniform(70, 210))
        nod = 0.05 * smooth(voice, 0.25) + 0.03 * band_noise(rng, n, 0.1, 1.2)
        turn = 0.05 * band_noise(rng, n, 0.05, 0.7) + 0.03 * smooth(voice, 0.3)
        x = place + size * (sway + turn)
        y = size * nod + (0.0 if close else rng.uniform(-0.35, 0.0))
        open_by = size * (0.03 + 0.2 * rng.uniform(0.6, 1.2) * smooth(voice, 0.04))
        flat = np.asarray(1.0)
        add(
            "ellipse",
            x,
            y + 1.45 * size,
            1.3 * size * flat,
            0.65 * size * flat,
            float(rng.uniform(20, 230)),
            40,
        )
        add(
            "ellipse",
            x,
            y - 0.15 * size,
            0.8 * size * flat,
            0.98 * size * flat,
            float(rng.uniform(15, 110)),
            25,
        )
        add("ellipse", x, y, 0.66 * size * flat, 0.85 * size * flat, skin, 15)
        blink = np.where(band_noise(rng, n, 0.1, 2.0) > 2.2, 0.01, 0.07)
        for side in (-0.27, 0.27):
            add(
                "ellipse",
                x + side * size,
                y - 0.2 * size,
                0.1 * size * flat,
                size * blink,
                skin * 0.35,
                5,
            )
        add(
            "ellipse",
            x,
            y + 0.42 * size + 0.3 * open_by,
            size * (0.26 - 0.05 * voice),
            open_by,
            skin * 0.4,
            5,
        )
    if rng.random() < 0.8:
        scale = 1.2 * size / 0.5 if not close else 1.5
        hand_x = float(places[0]) + size * 0.9 + scale * signals["hand_x"]
        hand_y = np.minimum(0.75, 0.6 + size * 0.3) + scale * signals["hand_y"]
        flat = np.asarray(1.0)
        add("ellipse", hand_x, hand_y, 0.22 * size * flat, 0.28 * size * flat, skin, 30)
    return tuple(bodies)

"""Somebody works at a computer: windows, typing, scrolling; a phone lies on the desk."""

import numpy as np

from coeval_training.scenes.latent import (
    GRAVITY_M_S2,
    LATENT_HZ,
    Array,
    Event,
    Latent,
    activity_spans,
    band_noise,
    envelope,
    in_order,
    lowpass,
    num_grid,
    pulses,
    seeded,
)
from coeval_training.scenes.speech import converse, loudness


def build(seed: int, duration_s: float) -> Latent:
    """One scene of desktop work: spans of typing, pointing, scrolling and reading."""
    rng = seeded(seed, "desktop")
    n = num_grid(duration_s)
    spans = activity_spans(rng, duration_s)
    liking = rng.dirichlet(np.full(4, 1.2))
    events: list[Event] = []
    windows = 0
    for start, end, level in spans:
        t = start
        while t < end:
            what = str(rng.choice(["type", "point", "scroll", "windows"], p=liking))
            if what == "type":
                t = _type(rng, events, t, min(end, t + float(rng.uniform(1.0, 6.0))))
            elif what == "point":
                events.append(Event(t_s=t, type="click", strength=level, duration_s=0.1))
                if rng.random() < 0.5:
                    events.append(Event(t_s=t + 0.08, type="page", strength=level))
                t += float(rng.lognormal(-0.2, 0.6))
            elif what == "scroll":
                for _ in range(int(rng.integers(2, 9))):
                    events.append(Event(t_s=t, type="scroll", strength=float(rng.uniform(0.3, 1))))
                    t += float(rng.uniform(0.08, 0.4))
                t += float(rng.uniform(0.3, 1.5))
            else:
                opens = windows < 1 or (windows < 4 and rng.random() < 0.55)
                windows += 1 if opens else -1
                kind = "window_open" if opens else "window_close"
                events.append(Event(t_s=t - 0.06, type="click", strength=level))
                events.append(
                    Event(t_s=t, type=kind, strength=float(rng.uniform(0.6, 1.2)), duration_s=0.6)
                )
                t += float(rng.uniform(0.6, 2.5))
            if rng.random() < 0.12:
                events.append(Event(t_s=t, type="beep", strength=0.8, duration_s=0.2))
                t += 0.3
    prompts = [
        (float(t), float(t) + float(rng.uniform(1.0, 3.0)), 1.0)
        for t in np.arange(rng.uniform(1, 8), duration_s - 4, rng.uniform(6, 20))
        if rng.random() < 0.7
    ]
    speaks = rng.random() < 0.7
    sentences = converse(rng, prompts, speakers=1, main_share=1.0, language="en") if speaks else []
    sentences = [s for s in sentences if s.t_end_s < duration_s]
    for sentence in sentences:
        events.append(
            Event(
                t_s=sentence.t_s,
                type="prompt",
                strength=1.0,
                duration_s=sentence.t_end_s - sentence.t_s,
            )
        )
    events_in = in_order(events, duration_s)

    def of(*types: str) -> list[Event]:
        return [event for event in events_in if event.type in types]

    keys = pulses(n, of("key"), rise_s=0.002, fall_s=0.08)
    heavy = pulses(n, of("window_open", "page"), rise_s=0.005, fall_s=0.35)
    light = pulses(n, of("click", "scroll", "window_close"), rise_s=0.003, fall_s=0.1)
    zero = np.zeros(n)
    hum = 0.008 * band_noise(rng, n, 20, 90)
    signals = {
        "activity": envelope(n, spans, 0.2),
        "gx": 0.002 * band_noise(rng, n, 1, 50),
        "gy": 0.002 * band_noise(rng, n, 1, 50),
        "gz": 0.002 * band_noise(rng, n, 1, 50),
        "ax": hum + 0.1,
        "ay": 0.008 * band_noise(rng, n, 20, 90),
        "az": -GRAVITY_M_S2 + 0.01 * band_noise(rng, n, 1, 80),
        "cam_yaw": zero,
        "cam_pitch": zero,
        "cam_roll": zero,
        "cam_zoom": zero,
        "light": np.ones(n),
        "cpu": 6 + 12 * keys + 60 * heavy + 18 * light + 3 * np.abs(band_noise(rng, n, 0.05, 2)),
        "disk": np.clip(900 * pulses(n, of("window_open"), rise_s=0.003, fall_s=0.2), 0, None),
        "network": 400 * pulses(n, of("page", "window_open"), rise_s=0.003, fall_s=0.5),
        "memory": 2000 + 150 * np.cumsum(_steps(n, of("window_open"), of("window_close"))),
        "keys": np.cumsum(_steps(n, of("key"), [])),
        "clicks": np.cumsum(_steps(n, of("click"), [])),
        "typing": lowpass(keys, 0.3),
        "voice": loudness(sentences, n),
        "voice_0": loudness(sentences, n),
    }
    return Latent(
        seed=seed,
        kind="desktop",
        flavour="speaking" if speaks else "silent",
        duration_s=duration_s,
        signals={name: np.asarray(signal, dtype=np.float32) for name, signal in signals.items()},
        events=events_in,
        sentences=tuple(sentences),
    )


def _type(rng: np.random.Generator, events: list[Event], t: float, end: float) -> float:
    """Keys at a typist's rhythm until `end`; the time after the last."""
    speed = rng.uniform(3.0, 9.0)
    while t < end:
        events.append(Event(t_s=t, type="key", strength=float(rng.uniform(0.4, 1.0))))
        t += float(rng.lognormal(np.log(1 / speed), 0.4))
        if rng.random() < 0.15:
            t += float(rng.exponential(0.35))
        if rng.random() < 0.05:
            events.append(Event(t_s=t, type="enter", strength=1.0))
            t += float(rng.uniform(0.2, 0.9))
    return t


def _steps(n: int, up: list[Event], down: list[Event]) -> Array:
    """+1 at each event of `up`, −1 at each of `down`, on the latent grid."""
    steps = np.zeros(n)
    for sign, events in ((1.0, up), (-1.0, down)):
        for event in events:
            steps[min(n - 1, round(event.t_s * LATENT_HZ))] += sign
    return steps

"""The sound of the session: spoken prompts, key clicks, mouse clicks, over a quiet room.

There is no microphone on a virtual screen. The voice is espeak-ng's; clicks are short bursts of
noise through a resonance; each is mixed in at the sample of its event's stamp.
"""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from coeval_lab.desktop_session.hands import InputEvent

RATE_HZ = 16_000
ROOM_LEVEL = 1.2e-4
"""Standard deviation of the room's noise: 4 of 32 768, −78 dB."""

Sound = NDArray[np.float64]


def mix(
    events: Sequence[InputEvent], prompts: Sequence[Path], *, t0_ns: int, length_s: float, seed: int
) -> NDArray[np.int16]:
    """The whole track.

    Args:
        events: the input events; every `say` takes the next prompt.
        prompts: spoken prompts, WAV.
        t0_ns: time of the first sample.
        length_s: length of the track.
        seed: of the noise in room and clicks.

    Returns:
        Mono samples at 16 kHz, shape (n,).
    """
    rng = np.random.default_rng(seed)
    track = ROOM_LEVEL * rng.standard_normal(round(length_s * RATE_HZ))
    voices = iter(prompts)
    for event in events:
        at_s = (event.t_ns - t0_ns) * 1e-9
        end_s = (event.t_end_ns - t0_ns) * 1e-9
        if event.kind == "say":
            add(track, 0.45 * read_voice(next(voices)), at_s)
        elif event.kind == "key":
            is_big = event.text.endswith(("Return", "space", "BackSpace"))
            add(track, click(rng, 900 if is_big else rng.uniform(1800, 3200), 0.30), at_s)
            add(track, click(rng, 2400, 0.10), end_s)
        elif event.kind == "button":
            add(track, click(rng, 3600, 0.25), at_s)
            add(track, click(rng, 4200, 0.15), end_s)
        elif event.kind == "wheel":
            add(track, click(rng, 1300, 0.12), at_s)
    return (np.clip(track, -1, 1) * 32_767).round().astype(np.int16)


def click(rng: np.random.Generator, pitch_hz: float, strength: float) -> Sound:
    """A key or a button: 25 ms of ringing with a noisy onset."""
    t = np.arange(round(0.025 * RATE_HZ)) / RATE_HZ
    ringing = np.sin(2 * np.pi * pitch_hz * t + rng.uniform(0, 6)) * np.exp(-t / 0.004)
    burst = rng.standard_normal(len(t)) * np.exp(-t / 0.0015)
    sound: Sound = strength * rng.uniform(0.6, 1.0) * (0.6 * ringing + 0.4 * burst)
    return sound


def add(track: Sound, sound: Sound, at_s: float) -> None:
    """Mix a sound in at the nearest sample; what lies outside is left out."""
    first = round(at_s * RATE_HZ)
    skip, end = max(-first, 0), min(first + len(sound), len(track))
    if end > first + skip:
        track[first + skip : end] += sound[skip : end - first]


def read_voice(path: Path) -> Sound:
    """A spoken prompt as mono samples at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    parts = []
    with av.open(str(path)) as container:
        for frame in (*container.decode(audio=0), None):
            parts += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float64)


def write_flac(path: Path, pcm: NDArray[np.int16]) -> None:
    """Write mono samples at 16 kHz as FLAC."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE_HZ, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

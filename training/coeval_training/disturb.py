"""Disturbances: what spoils samples outside the laboratory, put on purpose into clean ones.

In: a stream's samples on any clock, in time order. Out: the same samples at the same times,
spoilt. Training and benchmarks share it, so that both mean the same by "disturbed".
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from coeval.samples import AudioBlock, FloatArray, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.time import NS_PER_S

Kind = Literal["noise", "spikes", "light", "junk"]
KINDS: tuple[Kind, ...] = get_args(Kind)

KIND_OF: dict[Modality, Kind] = {
    "audio": "noise",
    "metadata": "spikes",
    "video": "light",
    "image": "light",
    "text": "junk",
}
"""What spoils each modality."""


def disturb(
    samples: Iterable[Sample], kind: Kind, rng: np.random.Generator, strength: float = 1.0
) -> Iterator[Sample]:
    """Spoil samples.

    Args:
        samples: of a modality to which the kind belongs (`KIND_OF`).
        kind: "noise", steady sound from another place; "spikes", impossible readings; "light",
            drifting exposure and mains flicker; "junk", codes, tags, stamps and ids in lines.
        rng: decides where and how much.
        strength: 0 nothing, 1 usual, 2 bad.
    """
    makers: dict[Kind, type[_Noise | _Spikes | _Light | _Junk]] = {
        "noise": _Noise,
        "spikes": _Spikes,
        "light": _Light,
        "junk": _Junk,
    }
    disturbance = makers[kind](rng, strength)
    return (disturbance.spoil(sample) for sample in samples)


class _Noise:
    """Coloured noise that swells slowly, or steps up and down as a fan does, and mains hum."""

    def __init__(self, rng: np.random.Generator, strength: float) -> None:
        self._rng = rng
        self._level = strength * 10 ** rng.uniform(-3.0, -1.5)
        self._colour = rng.uniform(0.0, 0.95)
        self._hum = strength * 10 ** rng.uniform(-3.5, -2.0) * (rng.random() < 0.5)
        self._hum_hz = float(rng.choice([50.0, 60.0]))
        self._step_s = rng.uniform(8.0, 40.0)
        self._depth = rng.uniform(0.0, 1.5)

    def spoil(self, sample: Sample) -> Sample:
        assert isinstance(sample, AudioBlock)
        t_s = sample.t_node_ns / NS_PER_S + np.arange(len(sample.pcm)) / sample.rate_hz
        white = self._rng.standard_normal(len(t_s)).astype(np.float32)
        noise = self._coloured(white)
        louder = np.exp(self._depth * np.sign(np.sin(2 * np.pi * t_s / self._step_s)) / 2)
        hum = np.sin(2 * np.pi * self._hum_hz * t_s) + 0.5 * np.sin(6 * np.pi * self._hum_hz * t_s)
        spoilt = sample.pcm + self._level * louder * noise + self._hum * hum
        return dataclasses.replace(sample, pcm=np.clip(spoilt, -1.0, 1.0).astype(np.float32))

    def _coloured(self, white: FloatArray) -> NDArray[np.float64]:
        """White noise summed over its own past, at unit power (cut after 64 samples)."""
        past = self._colour ** np.arange(64)
        shape = past / np.sqrt((past**2).sum())
        return np.convolve(white, shape)[: len(white)]


class _Spikes:
    """Single readings of single channels that are far off, at random, and a few that are none."""

    def __init__(self, rng: np.random.Generator, strength: float) -> None:
        self._rng = rng
        self._share = strength * 10 ** rng.uniform(-3.3, -2.0)
        self._missing = strength * 10 ** rng.uniform(-4.0, -2.5)
        self._size = 10 ** rng.uniform(1.5, 3.0)
        """Of a spike, in usual steps of its channel."""
        self._step: NDArray[np.float64] | None = None
        self._last: NDArray[np.float64] | None = None

    def spoil(self, sample: Sample) -> Sample:
        assert isinstance(sample, MetadataBlock)
        values = sample.values
        if not len(values):
            return sample
        before = values[:1] if self._last is None else self._last
        steps = np.abs(np.diff(np.concatenate([before, values]), axis=0))
        self._last = values[-1:]
        usual = np.nan_to_num(steps).mean(axis=0)
        self._step = usual if self._step is None else 0.9 * self._step + 0.1 * usual
        hit = self._rng.random(values.shape) < self._share
        sign = self._rng.choice([-1.0, 1.0], values.shape)
        spoilt = np.where(hit, values + sign * self._size * self._step, values)
        none = self._rng.random(values.shape) < self._missing
        broken = self._rng.choice([np.nan, np.inf, -np.inf], values.shape)
        return dataclasses.replace(sample, values=np.where(none, broken, spoilt))


class _Light:
    """Exposure that drifts and jumps, and lamps that flicker against the frame rate."""

    def __init__(self, rng: np.random.Generator, strength: float) -> None:
        self._rng = rng
        self._drift = strength * rng.uniform(0.0, 0.2)
        self._period_s = rng.uniform(4.0, 20.0)
        self._flicker = strength * rng.uniform(0.01, 0.08)
        self._beat_hz = rng.uniform(0.3, 9.0)
        self._jump_share = strength * rng.uniform(0.0, 0.01)
        self._jump = 0.0
        self._phase = rng.uniform(0.0, 2 * np.pi)

    def spoil(self, sample: Sample) -> Sample:
        assert isinstance(sample, Frame)
        t_s = sample.t_node_ns / NS_PER_S
        if self._rng.random() < self._jump_share:
            self._jump = float(self._rng.uniform(-0.25, 0.25))
        self._jump *= 0.97  # exposure control brings it back
        gain = np.exp(
            self._drift * np.sin(2 * np.pi * t_s / self._period_s + self._phase)
            + self._flicker * np.sin(2 * np.pi * self._beat_hz * t_s)
            + self._jump
        )
        grey = np.clip(np.round(sample.grey * gain), 0, 255).astype(np.uint8)
        return dataclasses.replace(sample, grey=grey)


class _Junk:
    """What tools write around a line: one way for all lines of a stream."""

    def __init__(self, rng: np.random.Generator, strength: float) -> None:
        self._rng = rng
        self._way = int(rng.integers(4))
        self._share = min(strength, 1.0)

    def spoil(self, sample: Sample) -> Sample:
        assert isinstance(sample, TextLine)
        if self._rng.random() >= self._share:
            return sample
        seconds = int(sample.t_node_ns // NS_PER_S)
        clock = f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        number = int(self._rng.integers(1 << 31))
        text = (
            f"2026-03-01T{clock}.{number % 1000:03d}Z {sample.text} id=0x{number:08x}",
            f"\x1b[3{number % 8}m{sample.text}\x1b[0m   ({number % 100000})",
            f'<font color="#{number % 0xFFFFFF:06x}"><i>{sample.text}</i></font>',
            f"Mar  1 {clock} host app[{number % 32768}]: {sample.text}\u200b\t",
        )[self._way]
        return dataclasses.replace(sample, text=text)

"""Faults injected into a stream's samples, before any feature is computed.

Each takes the samples of one stream and an instant, and gives the samples as a broken sensor, a
mixed-up log or a late pipeline would have sent them. Stamps stay in order.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from coeval.samples import AudioBlock, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.time import NS_PER_S
from coeval_lab.bench.material import Clock, cropped, first_ns, last_ns, stamped

Samples = Sequence[Sample]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault."""

    name: str
    """What it is called in the table."""
    modalities: tuple[Modality, ...]
    """Where it may happen."""
    inject: Callable[[Samples, Samples, int, np.random.Generator], list[Sample]]
    """(samples, another scene's samples of the modality, from when, randomness) → samples."""
    in_bar: bool
    """Whether the promised figure covers it."""
    alarms: bool = True
    """False: it is no anomaly (a stream that is not there): nothing may be said."""


def _since(samples: Samples, from_ns: int) -> Iterator[tuple[Sample, Sample | None]]:
    """Every sample cut at the instant, and the last one before it, for those after it."""
    before = cropped(samples, _BEGIN_NS, from_ns)
    last = before[-1] if before else None
    for sample in before:
        yield sample, None
    for sample in cropped(samples, from_ns, _END_NS):
        yield sample, last


_BEGIN_NS, _END_NS = -(1 << 62), 1 << 62


def frozen(samples: Samples, _: Samples, from_ns: int, __: np.random.Generator) -> list[Sample]:
    """The last picture again and again."""
    out: list[Sample] = []
    for sample, last in _since(samples, from_ns):
        if isinstance(sample, Frame) and isinstance(last, Frame):
            sample = dataclasses.replace(sample, grey=last.grey)
        out.append(sample)
    return out


def stuck(samples: Samples, _: Samples, from_ns: int, __: np.random.Generator) -> list[Sample]:
    """The last readings again and again."""
    out: list[Sample] = []
    for sample, last in _since(samples, from_ns):
        if isinstance(sample, MetadataBlock) and isinstance(last, MetadataBlock):
            values = np.broadcast_to(last.values[-1], sample.values.shape).copy()
            sample = dataclasses.replace(sample, values=values)
        out.append(sample)
    return out


def at_the_rail(
    samples: Samples, _: Samples, from_ns: int, rng: np.random.Generator
) -> list[Sample]:
    """Every channel at the end of its range."""
    seen = [s.values for s in cropped(samples, _BEGIN_NS, from_ns) if isinstance(s, MetadataBlock)]
    if not seen:
        return list(samples)
    past = np.concatenate(seen)
    rail = np.nanmax(past, axis=0) + 2.0 * (np.nanmax(past, axis=0) - np.nanmin(past, axis=0))
    rail = rail * rng.choice([1.0, -1.0])
    out: list[Sample] = []
    for sample, last in _since(samples, from_ns):
        if isinstance(sample, MetadataBlock) and last is not None:
            values = np.broadcast_to(rail, sample.values.shape).copy()
            sample = dataclasses.replace(sample, values=values)
        out.append(sample)
    return out


def silent(samples: Samples, _: Samples, from_ns: int, __: np.random.Generator) -> list[Sample]:
    """A microphone that gives nothing but its own faint noise floor of digital zero."""
    return [
        dataclasses.replace(sample, pcm=np.zeros_like(sample.pcm))
        if isinstance(sample, AudioBlock) and last is not None
        else sample
        for sample, last in _since(samples, from_ns)
    ]


def swapped(samples: Samples, other: Samples, from_ns: int, _: np.random.Generator) -> list[Sample]:
    """What another scene's stream shows: another log, another camera plugged in."""
    if not other:
        return list(samples)
    start = first_ns(other[0])
    span = max(last_ns(other[-1]) - start, 1)
    until = last_ns(samples[-1])
    out = cropped(samples, _BEGIN_NS, from_ns)
    at, take_from = from_ns, start + span // 4
    while at < until:  # a short one goes round
        moved = Clock(offset_ns=float(at - take_from))
        piece = cropped(other, take_from, min(start + span, take_from + until - at))
        out += [stamped(sample, moved) for sample in piece]
        at += start + span - take_from
        take_from = start
    return in_order(out)


def late(samples: Samples, _: Samples, from_ns: int, rng: np.random.Generator) -> list[Sample]:
    """Desynchronised by 0.5 to 5 s: from then on it shows what was earlier, or what is to come."""
    by_ns = round(float(np.exp(rng.uniform(np.log(0.5), np.log(5.0)))) * NS_PER_S)
    by_ns *= int(rng.choice([-1, 1]))
    moved = Clock(offset_ns=float(by_ns))
    out = cropped(samples, _BEGIN_NS, from_ns)
    out += [stamped(sample, moved) for sample in cropped(samples, from_ns - by_ns, _END_NS)]
    return in_order([s for s in out if first_ns(s) <= last_ns(samples[-1])])


def noisy(samples: Samples, _: Samples, from_ns: int, rng: np.random.Generator) -> list[Sample]:
    """A burst of noise as strong as the signal, for as long as it lasts."""
    readings = [s.values for s in samples if isinstance(s, MetadataBlock)]
    sound = [s.pcm for s in samples if isinstance(s, AudioBlock)]
    spread = np.nanstd(np.concatenate(readings), axis=0) if readings else np.zeros(0)
    loud = float(np.concatenate(sound).std()) if sound else 0.0
    out: list[Sample] = []
    for sample, last in _since(samples, from_ns):
        if last is not None:
            if isinstance(sample, MetadataBlock):
                noise = spread * rng.standard_normal(sample.values.shape)
                sample = dataclasses.replace(sample, values=sample.values + noise)
            elif isinstance(sample, AudioBlock):
                hiss = (3 * loud * rng.standard_normal(len(sample.pcm))).astype(np.float32)
                sample = dataclasses.replace(sample, pcm=np.clip(sample.pcm + hiss, -1, 1))
            elif isinstance(sample, Frame):
                grain = rng.normal(0, 40, sample.grey.shape)
                grey = np.clip(sample.grey + grain, 0, 255).astype(np.uint8)
                sample = dataclasses.replace(sample, grey=grey)
        out.append(sample)
    return out


def weak(samples: Samples, _: Samples, from_ns: int, rng: np.random.Generator) -> list[Sample]:
    """Gain lost: a tenth of the contrast, the loudness, the deflection."""
    del rng
    seen = [s.values for s in cropped(samples, _BEGIN_NS, from_ns) if isinstance(s, MetadataBlock)]
    centre = np.nanmean(np.concatenate(seen), axis=0) if seen else np.zeros(0)
    out: list[Sample] = []
    for sample, last in _since(samples, from_ns):
        if last is not None:
            if isinstance(sample, MetadataBlock):
                values = centre + 0.1 * (sample.values - centre)
                sample = dataclasses.replace(sample, values=values)
            elif isinstance(sample, AudioBlock):
                sample = dataclasses.replace(sample, pcm=0.1 * sample.pcm)
            elif isinstance(sample, Frame):
                grey = (0.1 * (sample.grey.astype(np.float32) - 128) + 128).astype(np.uint8)
                sample = dataclasses.replace(sample, grey=grey)
        out.append(sample)
    return out


def dropped(samples: Samples, _: Samples, from_ns: int, __: np.random.Generator) -> list[Sample]:
    """Nothing more comes."""
    return cropped(samples, _BEGIN_NS, from_ns)


def in_order(samples: list[Sample]) -> list[Sample]:
    """Without those that begin before the one before them ends."""
    kept = samples[:1]
    for sample in samples[1:]:
        if isinstance(sample, TextLine):
            is_late = first_ns(sample) > first_ns(kept[-1])
        elif isinstance(sample, AudioBlock):
            is_late = first_ns(sample) >= last_ns(kept[-1]) - 1_000_000
        else:
            is_late = first_ns(sample) > last_ns(kept[-1])
        if is_late:
            kept.append(sample)
    assert all(first_ns(a) <= first_ns(b) for a, b in pairwise(kept))
    return kept


FAULTS = (
    Fault(name="frozen camera", modalities=("video", "image"), inject=frozen, in_bar=True),
    Fault(name="stuck sensor", modalities=("metadata",), inject=stuck, in_bar=True),
    Fault(name="swapped text", modalities=("text",), inject=swapped, in_bar=True),
    Fault(
        name="desync",
        modalities=("text", "image", "video", "audio", "metadata"),
        inject=late,
        in_bar=True,
    ),
    Fault(name="at the rail", modalities=("metadata",), inject=at_the_rail, in_bar=False),
    Fault(name="dead microphone", modalities=("audio",), inject=silent, in_bar=False),
    Fault(
        name="noise burst", modalities=("video", "audio", "metadata"), inject=noisy, in_bar=False
    ),
    Fault(name="gain lost", modalities=("video", "audio", "metadata"), inject=weak, in_bar=False),
    Fault(name="swapped stream", modalities=("video", "audio"), inject=swapped, in_bar=False),
    Fault(
        name="dropped stream",
        modalities=("text", "image", "video", "audio", "metadata"),
        inject=dropped,
        in_bar=False,
        alarms=False,
    ),
)

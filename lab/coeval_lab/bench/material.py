"""Material of trials: streams held decoded, stamped anew by clocks that are wrong on purpose.

A false clock is physical here: every sample's stamp goes through it and the features are
computed from the stamped samples, so that fractional offsets move the hop grid as they would.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from coeval.lag import good_fft_size
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.samples import AudioBlock, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval.tracks import StreamTrack
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples, read_waveform
from coeval_lab.tracks import track_from

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A false clock: node time = t + offset + skew · (t − t0)."""

    offset_ns: float = 0.0
    """Offset at `t0_ns`; positive: fast."""
    skew_ppm: float = 0.0
    """Positive: fast."""
    t0_ns: int = 0
    """True time at which `offset_ns` holds."""

    def reads(self, t_ns: float) -> int:
        """Reading at a true time."""
        return round(t_ns + self.offset_ns + self.skew_ppm * 1e-6 * (t_ns - self.t0_ns))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """One stream, decoded, on the true clock."""

    name: str
    """Recording and stream, for the table."""
    modality: Modality
    """Its modality."""
    samples: Sequence[Sample]
    """Its samples."""
    sound: Sequence[AudioBlock] = ()
    """Audio at its native rate."""
    sigma_s: float = 0.0
    """How far its true clock can be trusted."""
    held_out: bool = True
    """Whether the encoders never saw it."""

    @property
    def start_ns(self) -> int:
        """True time of the first sample."""
        return first_ns(self.samples[0])

    @property
    def stop_ns(self) -> int:
        """True time of the end."""
        return last_ns(self.samples[-1])


def first_ns(sample: Sample) -> int:
    """Time of a sample's beginning."""
    return int(sample.t_node_ns[0] if isinstance(sample, MetadataBlock) else sample.t_node_ns)


def last_ns(sample: Sample) -> int:
    """Time of a sample's end."""
    if isinstance(sample, MetadataBlock):
        return int(sample.t_node_ns[-1])
    if isinstance(sample, AudioBlock):
        return int(sample.t_node_ns + len(sample.pcm) / sample.rate_hz * NS_PER_S)
    if isinstance(sample, TextLine) and sample.t_end_node_ns is not None:
        return int(sample.t_end_node_ns)
    return int(sample.t_node_ns)


def stamped(sample: Sample, clock: Clock) -> Sample:
    """A sample as the false clock would have stamped it."""
    if isinstance(sample, MetadataBlock):
        since = (sample.t_node_ns - clock.t0_ns).astype(np.float64)
        shift = np.round(clock.offset_ns + clock.skew_ppm * 1e-6 * since).astype(np.int64)
        return replace(sample, t_node_ns=sample.t_node_ns + shift)
    t_ns = NodeNs(clock.reads(sample.t_node_ns))
    if isinstance(sample, TextLine):
        end = sample.t_end_node_ns
        return replace(
            sample, t_node_ns=t_ns, t_end_node_ns=None if end is None else NodeNs(clock.reads(end))
        )
    if isinstance(sample, AudioBlock):
        rate_hz = sample.rate_hz / (1.0 + clock.skew_ppm * 1e-6)
        return replace(sample, t_node_ns=t_ns, rate_hz=rate_hz)
    return replace(sample, t_node_ns=t_ns)


def cropped(samples: Iterable[Sample], start_ns: int, stop_ns: int) -> list[Sample]:
    """The samples of a span of true time; blocks are cut to it."""
    kept: list[Sample] = []
    for sample in samples:
        if last_ns(sample) < start_ns or first_ns(sample) >= stop_ns:
            continue
        if isinstance(sample, MetadataBlock):
            inside = (sample.t_node_ns >= start_ns) & (sample.t_node_ns < stop_ns)
            if inside.any():
                kept.append(
                    MetadataBlock(t_node_ns=sample.t_node_ns[inside], values=sample.values[inside])
                )
        elif isinstance(sample, AudioBlock):
            low = max(0, round((start_ns - sample.t_node_ns) * sample.rate_hz / NS_PER_S))
            high = round((stop_ns - sample.t_node_ns) * sample.rate_hz / NS_PER_S)
            if len(sample.pcm[low:high]):
                t_ns = NodeNs(round(sample.t_node_ns + low / sample.rate_hz * NS_PER_S))
                kept.append(replace(sample, t_node_ns=t_ns, pcm=sample.pcm[low:high]))
        elif start_ns <= sample.t_node_ns < stop_ns:
            kept.append(sample)
    return kept


def track_of(
    stream: Stream,
    clock: Clock,
    *,
    node: str,
    start_ns: int,
    stop_ns: int,
    with_speech: bool = False,
    preprocessing: Preprocessing = DEFAULT_STEPS,
) -> StreamTrack:
    """A span of a stream as the product sees it through a false clock.

    `with_speech`: another node has text, so the product looks for speech in sound.
    """
    sound = [stamped(block, clock) for block in cropped(stream.sound, start_ns, stop_ns)]
    return track_from(
        (stamped(sample, clock) for sample in cropped(stream.samples, start_ns, stop_ns)),
        node=node,
        stream=stream.name,
        modality=stream.modality,
        waveform=tuple(block for block in sound if isinstance(block, AudioBlock)),
        with_rows=True,
        with_speech=with_speech,
        preprocessing=preprocessing,
    )


@lru_cache(maxsize=64)
def recorded(folder: Path, stream_id: str, *, held_out: bool) -> Stream:
    """A stream of a recording on disk, decoded; its stated truth is put right."""
    recording = open_recording(folder)
    manifest = recording.manifest
    spec = next(stream for stream in manifest.streams if stream.id == stream_id)
    truth = manifest.truth
    offset_s = truth.nodes[spec.node].offset_s if truth and spec.node in truth.nodes else 0.0
    right = Clock(offset_ns=-offset_s * NS_PER_S)
    sound = read_waveform(recording, spec).blocks() if spec.modality == "audio" else ()
    return Stream(
        name=f"{folder.name}/{stream_id}",
        modality=spec.modality,
        samples=[stamped(sample, right) for sample in read_samples(recording, spec)],
        sound=[
            block for block in (stamped(b, right) for b in sound) if isinstance(block, AudioBlock)
        ],
        sigma_s=(truth.sigma_s or 0.0) if truth else 0.0,
        held_out=held_out,
    )


def degraded(stream: Stream, *, seed: int) -> Stream:
    """Another microphone: reverberation (RT60 0.3 s, direct-to-reverberant 0 dB), 0 dB noise."""
    rng = np.random.default_rng(seed)
    blocks = []
    for block in stream.sound:
        length = round(0.3 * block.rate_hz)
        decay = np.exp(-6.9 * np.arange(length) / length)
        tail = rng.standard_normal(length) * decay
        tail[: round(0.003 * block.rate_hz)] = 0.0
        tail /= np.sqrt((tail**2).sum())
        tail[0] = 1.0
        size = good_fft_size(len(block.pcm) + length)
        wet = np.fft.irfft(np.fft.rfft(block.pcm, size) * np.fft.rfft(tail, size), size)
        wet = wet[: len(block.pcm)]
        noisy = wet + rng.standard_normal(len(wet)) * wet.std()
        scaled = (noisy / (np.abs(noisy).max() + 1e-9) * 0.9).astype(np.float32)
        blocks.append(replace(block, pcm=scaled))
    return replace(stream, name=f"{stream.name} +noise", sound=blocks, samples=at_16_khz(blocks))


def at_16_khz(blocks: Sequence[AudioBlock]) -> list[Sample]:
    """Sound as the features take it: 0.5 s blocks near 16 kHz."""
    from coeval.waveform import sound_at

    out: list[Sample] = []
    for block in blocks:
        seconds = len(block.pcm) / block.rate_hz
        for k in range(int(seconds / 0.5)):
            t_ns = int(block.t_node_ns) + k * NS_PER_S // 2
            times = t_ns + np.arange(SAMPLE_RATE_HZ // 2) * (NS_PER_S / SAMPLE_RATE_HZ)
            pcm = sound_at([block], times, rate_hz=SAMPLE_RATE_HZ)
            out.append(AudioBlock(t_node_ns=NodeNs(t_ns), rate_hz=SAMPLE_RATE_HZ, pcm=pcm))
    return out


def silent(stream: Stream) -> Stream:
    """The stream with nothing in it: a stuck sensor, a dead microphone, a frozen camera."""
    quiet: list[Sample] = []
    first = stream.samples[0]
    for sample in stream.samples:
        if isinstance(sample, AudioBlock):
            quiet.append(replace(sample, pcm=np.zeros_like(sample.pcm)))
        elif isinstance(sample, MetadataBlock):
            quiet.append(replace(sample, values=np.ones_like(sample.values)))
        elif isinstance(sample, Frame) and isinstance(first, Frame):
            quiet.append(replace(sample, grey=first.grey))
    return replace(stream, name=f"{stream.name} silent", samples=quiet or [first], sound=())

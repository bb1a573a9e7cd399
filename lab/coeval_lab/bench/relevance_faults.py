"""Faults of sensors, put into streams that are well: for a while they carry nothing.

Each fault is a function of a stream's samples: the same samples, but those within the span show
what the broken sensor would have shown. The same seed gives the same fault.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from coeval.relevance import Reason
from coeval.samples import AudioBlock, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S, NodeNs

Span = tuple[int, int]
"""Begin and end on the node's clock, ns."""
Break = Callable[[Sequence[Sample], Span, np.random.Generator], Iterator[Sample]]


def frozen(samples: Sequence[Sample], span: Span, rng: np.random.Generator) -> Iterator[Sample]:
    """A camera that sends the same picture again and again, bit for bit."""
    del rng
    held: Frame | None = None
    for sample in samples:
        assert isinstance(sample, Frame)
        if span[0] <= sample.t_node_ns < span[1] and held is not None:
            yield replace(sample, grey=held.grey)
        else:
            held = sample
            yield sample


def frozen_encoded(
    samples: Sequence[Sample], span: Span, rng: np.random.Generator
) -> Iterator[Sample]:
    """The same through an encoder: every second picture in fifty is drawn anew, a little off."""
    flips: np.ndarray | None = None
    for number, sample in enumerate(frozen(samples, span, rng)):
        assert isinstance(sample, Frame)
        if not span[0] <= sample.t_node_ns < span[1]:
            yield sample
            continue
        if flips is None or number % 50 == 0:
            flips = rng.integers(-1, 2, sample.grey.shape) * (rng.random(sample.grey.shape) < 0.3)
        grey = np.clip(sample.grey.astype(np.int16) + flips, 0, 255).astype(np.uint8)
        yield replace(sample, grey=grey)


def covered(samples: Sequence[Sample], span: Span, rng: np.random.Generator) -> Iterator[Sample]:
    """A lens that is covered: black, and the sensor's noise."""
    for sample in samples:
        assert isinstance(sample, Frame)
        if span[0] <= sample.t_node_ns < span[1]:
            noise = np.abs(3.0 + 1.0 * rng.standard_normal(sample.grey.shape))
            sample = replace(sample, grey=noise.astype(np.uint8))
        yield sample


def no_sound(samples: Sequence[Sample], span: Span, rng: np.random.Generator) -> Iterator[Sample]:
    """Zeros instead of sound."""
    del rng
    yield from _other_sound(samples, span, lambda num: np.zeros(num, np.float32))


def unplugged(samples: Sequence[Sample], span: Span, rng: np.random.Generator) -> Iterator[Sample]:
    """A microphone that is not there: the noise of its amplifier, −70 to −54 dB."""
    rms = 10 ** rng.uniform(-3.5, -2.7)
    yield from _other_sound(
        samples, span, lambda num: (rms * rng.standard_normal(num)).astype(np.float32)
    )


def stuck(samples: Sequence[Sample], span: Span, rng: np.random.Generator) -> Iterator[Sample]:
    """A sensor whose readings are all the last one."""
    del rng
    held: np.ndarray | None = None
    last: np.ndarray | None = None
    for sample in samples:
        assert isinstance(sample, MetadataBlock)
        values = sample.values.copy()
        for row, t_ns in enumerate(sample.t_node_ns.tolist()):
            if span[0] <= t_ns < span[1]:
                held = (values[row] if last is None else last) if held is None else held
                values[row] = held
            last = sample.values[row]
        yield replace(sample, values=values)


def heartbeat(samples: Sequence[Sample], span: Span, rng: np.random.Generator) -> Iterator[Sample]:
    """A log that says nothing but that it lives, by the clock."""
    period_s = float(rng.choice([0.2, 0.5, 1.0, 2.0]))
    times_s = np.arange(span[0] / NS_PER_S, span[1] / NS_PER_S, period_s)
    times_s = times_s + 0.002 * np.abs(rng.standard_normal(len(times_s)))
    words = str(rng.choice(["heartbeat ok {}", "[INFO] keepalive {}", "status {} ok"]))
    yield from _other_lines(samples, span, times_s, words)


def flood(samples: Sequence[Sample], span: Span, rng: np.random.Generator) -> Iterator[Sample]:
    """One error, many times a second."""
    rate = float(rng.uniform(15, 60))
    gaps_s = rng.exponential(1.0 / rate, int(2 * rate * (span[1] - span[0]) / NS_PER_S) + 10)
    times_s = span[0] / NS_PER_S + np.cumsum(gaps_s)
    yield from _other_lines(samples, span, times_s, "usb 1-1: device descriptor read error -{}")


def _other_sound(
    samples: Sequence[Sample], span: Span, make: Callable[[int], np.ndarray]
) -> Iterator[Sample]:
    for sample in samples:
        assert isinstance(sample, AudioBlock)
        t_ns = sample.t_node_ns + np.arange(len(sample.pcm)) * (NS_PER_S / sample.rate_hz)
        inside = (t_ns >= span[0]) & (t_ns < span[1])
        pcm = sample.pcm.copy()
        pcm[inside] = make(int(inside.sum()))
        yield replace(sample, pcm=pcm)


def _other_lines(
    samples: Sequence[Sample], span: Span, times_s: np.ndarray, words: str
) -> Iterator[Sample]:
    """Lines of one wording in place of all others within the span."""
    kept = [s for s in samples if not span[0] <= int(first_ns(s)) < span[1]]
    lines: list[Sample] = [
        TextLine(t_node_ns=NodeNs(round(t * NS_PER_S)), t_end_node_ns=None, text=words.format(k))
        for k, t in enumerate(times_s.tolist())
        if t * NS_PER_S < span[1]
    ]
    yield from sorted([*kept, *lines], key=first_ns)


def first_ns(sample: Sample) -> int:
    """A sample's first stamp."""
    return int(sample.t_node_ns[0] if isinstance(sample, MetadataBlock) else sample.t_node_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A way to break a sensor."""

    name: str
    """Its name in the table."""
    slot: str
    """The scene's stream that it befalls."""
    reason: Reason
    """What the filter should call it."""
    put: Break
    """Puts it into samples."""


FAULTS = (
    Fault(name="frozen camera", slot="video", reason="frozen", put=frozen),
    Fault(name="frozen camera, encoded", slot="video", reason="frozen", put=frozen_encoded),
    Fault(name="covered lens", slot="video", reason="dark", put=covered),
    Fault(name="no sound", slot="audio", reason="silent", put=no_sound),
    Fault(name="unplugged microphone", slot="audio", reason="silent", put=unplugged),
    Fault(name="stuck sensor", slot="imu", reason="stuck", put=stuck),
    Fault(name="stuck meter", slot="machine", reason="stuck", put=stuck),
    Fault(name="heartbeat lines", slot="text", reason="spam", put=heartbeat),
    Fault(name="flood of lines", slot="text", reason="spam", put=flood),
)
"""Stills come too seldom for a fault of a minute: their filter is tested, not measured here."""

"""What the learned encoders are compared with: methods that need no network, or half of one.

Hand-made activity with GCC-PHAT, canonical correlation, raw signals alone, and encoders trained by
one of the two losses only. All search as far as the product does.
Sign: lag = second − first; positive: the second clock is fast.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coeval.compare import (
    LAG_STEP_NS,
    PairWork,
    instant_scores,
    overlapping,
    signal_scores,
    sound_surfaces,
    speech_surfaces,
    still_scores,
)
from coeval.lag import good_fft_size
from coeval.line import LagGrid, fit_peak, search_lines
from coeval.samples import AudioBlock, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.signals import refine_by_signals
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack, node_span
from coeval.waveform import refine_by_waveform
from coeval_edge.encoder import Encoder
from coeval_lab.bench.encoders_learned import MAX_OFFSET_S, Lag, best_lag, compared
from coeval_lab.bench.syncwise import magnitude_of, syncwise_offset
from coeval_lab.tracks import embed

STEP_NS = 20_000_000
"""Activity is sampled at 50 Hz."""
LOWEST_HZ, HIGHEST_HZ = 0.1, 8.0
"""The band in which activity is whitened."""
FLOOR = 0.05
"""Frequencies below this share of the mean power are not lifted to the others' level."""
LINE_S = 0.4
"""A line of text is active for about so long."""
LEAST_ACTIVITY_S = 4.0
STILL = 1e-6
"""Activity that varies by less is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How much goes on in a stream, on a regular grid."""

    first: int
    """Index of the first value: node time / STEP_NS."""
    values: NDArray[np.float64]
    """Shape (n,)."""


def activity_of(samples: Sequence[Sample]) -> Activity | None:
    """Activity by hand: change of pictures, level of sound, pace of readings, beginnings of lines.

    Returns:
        None for a stream of under LEAST_ACTIVITY_S.
    """
    if not samples:
        return None
    if isinstance(samples[0], TextLine):
        return lines_activity([sample for sample in samples if isinstance(sample, TextLine)])
    if isinstance(samples[0], Frame):
        times, values = frames_change([sample for sample in samples if isinstance(sample, Frame)])
    elif isinstance(samples[0], AudioBlock):
        times, values = levels([sample for sample in samples if isinstance(sample, AudioBlock)])
    else:
        times, values = pace([sample for sample in samples if isinstance(sample, MetadataBlock)])
    if len(times) < 3 or times[-1] - times[0] < LEAST_ACTIVITY_S * NS_PER_S:
        return None
    # Steps that lie within the stream: one half covered would be an event of its own.
    half_ns = STEP_NS // 2
    first, last = -(-(int(times[0]) + half_ns) // STEP_NS), (int(times[-1]) - half_ns) // STEP_NS
    since = (times - int(times[0])).astype(np.float64)
    at = (np.arange(first, last + 1) * STEP_NS - int(times[0])).astype(np.float64)
    # The mean over a step, as the difference of the running sum, keeps fast readings from folding.
    edges = np.concatenate([at - 0.5 * STEP_NS, at[-1:] + 0.5 * STEP_NS])
    total = np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(since))])
    mean = np.diff(np.interp(edges, since, total)) / STEP_NS
    return Activity(first=first, values=mean)


def frames_change(frames: Sequence[Frame]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Logarithm of the mean change between neighbouring pictures, at the middle of the two."""
    times = np.array([int(frame.t_node_ns) for frame in frames], np.int64)
    changes = [
        float(np.abs(b.grey.astype(np.float32) - a.grey).mean())
        for a, b in itertools.pairwise(frames)
    ]
    kept = np.diff(times) > 0
    middles = times[:-1] + np.diff(times) // 2
    return middles[kept], np.log(np.array(changes)[kept] + 0.5)


def levels(blocks: Sequence[AudioBlock]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Logarithm of the sound's power in steps of 10 ms, at their middles."""
    times, values = [], []
    for block in blocks:
        size = max(round(0.01 * block.rate_hz), 1)
        frames = block.pcm[: len(block.pcm) // size * size].reshape(-1, size).astype(np.float64)
        values.append(np.log((frames**2).mean(axis=1) + 1e-7))
        middles = (np.arange(len(frames)) + 0.5) * size / block.rate_hz
        times.append(int(block.t_node_ns) + np.round(middles * NS_PER_S).astype(np.int64))
    t_ns, level = np.concatenate(times), np.concatenate(values)
    later = np.concatenate([[True], np.diff(t_ns) > 0])
    return t_ns[later], level[later]


def pace(blocks: Sequence[MetadataBlock]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Logarithm of how fast the channels change, each by its own usual pace, between readings."""
    times = np.concatenate([block.t_node_ns for block in blocks])
    values = np.nan_to_num(np.concatenate([block.values for block in blocks]))
    kept = np.concatenate([[True], np.diff(times) > 0])
    times, values = times[kept], values[kept]
    rates = np.diff(values, axis=0) / (np.diff(times)[:, None] / NS_PER_S)
    usual = np.sqrt((rates**2).mean(axis=0))
    moving = usual > 1e-12
    if not moving.any():
        return times[:0], np.zeros(0)
    size = np.sqrt(((rates[:, moving] / usual[moving]) ** 2).mean(axis=1))
    return times[:-1] + np.diff(times) // 2, np.log(size + 0.05)


def lines_activity(lines: Sequence[TextLine]) -> Activity | None:
    """An impulse where a line begins, fading within LINE_S."""
    times = np.array([int(line.t_node_ns) for line in lines], np.int64)
    if times[-1] - times[0] < LEAST_ACTIVITY_S * NS_PER_S:
        return None
    first = int(times[0]) // STEP_NS
    place = (times - first * STEP_NS) / STEP_NS
    impulses = np.zeros(int(place[-1]) + 2 + round(4 * LINE_S * NS_PER_S / STEP_NS))
    low = place.astype(np.int64)
    np.add.at(impulses, low, 1.0 - (place - low))
    np.add.at(impulses, low + 1, place - low)
    fading = np.exp(-np.arange(round(4 * LINE_S * NS_PER_S / STEP_NS)) * STEP_NS / LINE_S / 1e9)
    return Activity(first=first, values=np.convolve(impulses, fading)[: len(impulses)])


def activity_lag(a: Activity | None, b: Activity | None) -> Lag | None:
    """Lag of the highest peak of the two activities' GCC-PHAT; None where either does nothing."""
    if a is None or b is None or a.values.std() < STILL or b.values.std() < STILL:
        return None
    reach = round(MAX_OFFSET_S * NS_PER_S / STEP_NS)
    size = good_fft_size(len(a.values) + len(b.values))
    x, y = (np.fft.rfft(each.values - each.values.mean(), size) for each in (a, b))
    hz = np.fft.rfftfreq(size, STEP_NS / NS_PER_S)
    cross = np.where((hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ), x.conj() * y, 0.0)
    flat = cross / (np.abs(cross) + FLOOR * np.abs(cross).mean() + 1e-30)
    correlation = np.fft.irfft(flat, size)
    lags = np.arange(-len(a.values) + 1, len(b.values))
    common = np.minimum(len(a.values), len(b.values) - lags) - np.maximum(0, -lags)
    shorter = min(len(a.values), len(b.values))
    usable = (np.abs(lags + b.first - a.first) <= reach) & (common >= 0.3 * shorter)
    if not usable.any():
        return None
    scores = np.where(usable, correlation[lags % size], -np.inf)
    best = int(scores.argmax())
    shift = 0.0
    if 0 < best < len(scores) - 1 and np.isfinite(scores[best - 1 : best + 2]).all():
        left, top, right = scores[best - 1 : best + 2]
        shift = float(0.5 * (right - left) / max(2 * top - left - right, 1e-12))
    return Lag(
        t_first_ns=(a.first + 0.5 * len(a.values)) * STEP_NS,
        lag_ns=(float(lags[best]) + float(np.clip(shift, -0.5, 0.5)) + b.first - a.first) * STEP_NS,
    )


def raw_lag(a: StreamTrack, b: StreamTrack) -> Lag | None:
    """The best lag by raw signals alone, as the product takes them: channels against a picture's
    motion or other channels, waveforms, speech against lines, stills by a learnt map.

    Returns:
        None where nothing raw can be compared, or nothing peaks.
    """
    grid = LagGrid(
        lowest_ns=-round(MAX_OFFSET_S * NS_PER_S),
        step_ns=LAG_STEP_NS,
        num_lags=2 * round(MAX_OFFSET_S * NS_PER_S / LAG_STEP_NS) + 1,
    )
    spans = node_span([a]), node_span([b])
    usable = overlapping(grid, *spans)
    surfaces = [*sound_surfaces([a], [b], grid, usable), *speech_surfaces([a], [b], grid, usable)]
    found = (still_scores(a, b, grid), instant_scores(a, b, grid), signal_scores(a, b, grid))
    surfaces += [each.weighted(usable) for each in found if each is not None]
    if not surfaces:
        return None
    start_ns, stop_ns = spans[0]
    span_s = (stop_ns - start_ns) / NS_PER_S
    middle_ns = 0.5 * (start_ns + stop_ns)
    fit = fit_peak(search_lines(surfaces, grid, t_mid_ns=middle_ns, span_s=span_s), grid)
    if fit is None:
        return None
    if a.waveform and b.waveform:
        fit = (
            refine_by_waveform(a.waveform, b.waveform, fit, start_ns=start_ns, stop_ns=stop_ns)
            or fit
        )
    elif a.signals is not None and b.signals is not None:
        fit = refine_by_signals(a.signals, b.signals, fit, span_s=span_s) or fit
    return Lag(t_first_ns=fit.t_mid_ns, lag_ns=fit.lag_ns)


def has_raw(a: StreamTrack, b: StreamTrack) -> bool:
    """Whether a raw-signal method exists for two streams."""
    return (
        (a.signals is not None and b.signals is not None)
        or bool(a.waveform and b.waveform)
        or (a.speech is not None and b.spans is not None)
        or (a.spans is not None and b.speech is not None)
        or a.stills is not None
        or b.stills is not None
        or (a.instants is not None and b.instants is not None)
    )


def syncwise_lag(video: StreamTrack, sensor: StreamTrack) -> Lag | None:
    """SyncWISE on a video's motion and a sensor's readings."""
    if video.signals is None or sensor.signals is None:
        return None
    base_ns = int(video.signals.t_node_ns[0])
    found_s = syncwise_offset(
        *magnitude_of(video.signals, since_ns=base_ns),
        *magnitude_of(sensor.signals, since_ns=base_ns),
        max_offset_s=MAX_OFFSET_S,
    )
    if found_s is None:
        return None
    middle_ns = 0.5 * sum(map(float, node_span([video])))
    return Lag(t_first_ns=middle_ns, lag_ns=found_s * NS_PER_S)


def embeddings_alone(track: StreamTrack) -> StreamTrack:
    """A stream of which only embeddings are known."""
    return replace(
        track,
        signals=None,
        waveform=(),
        stills=None,
        rows=(),
        speech=None,
        spans=None,
        instants=None,
    )


def embeddings_lag(first: StreamTrack, second: StreamTrack) -> Lag | None:
    """The best lag by embeddings alone, in the product's chain."""
    a, b = embeddings_alone(first), embeddings_alone(second)
    work: PairWork | None = compared(a, b)
    return best_lag(work, {a.node: [a], b.node: [b]})


def encoded_by(folder: Path, track: StreamTrack) -> StreamTrack:
    """A stream as the encoder of its modality in a folder of ONNX files would show it.

    Raises:
        EncoderMismatch: the folder has no encoder of these features.
    """
    encoder = encoder_of(folder, track.modality)
    return replace(track, embeddings=embed(list(track.rows), track.modality, encoder=encoder))


_LOADED: dict[tuple[Path, Modality], Encoder] = {}


def encoder_of(folder: Path, modality: Modality) -> Encoder:
    """An encoder of a folder, opened once."""
    key = (folder, modality)
    if key not in _LOADED:
        _LOADED[key] = Encoder.load(modality, folder / f"{modality}.onnx")
    return _LOADED[key]
